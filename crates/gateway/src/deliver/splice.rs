//! A large answer passes while it arrives: only its id is exchanged on the way.

use bytes::Bytes;
use futures_util::{Stream, stream};
use gatepost_protocol::framing::{IdSplicer, Seen, SpliceError};

use super::{Exchange, Naming};
use crate::{
    transport::Broken,
    upstream::{CallError, Cause, Partial},
};

/// What the beginning of a large answer shows.
pub(super) enum Begun<S> {
    /// A result, in the client's form.
    Result(S),
    /// An error, or a result that must be seen whole.
    Other(Partial),
}

/// Looks at the beginning. A result between equal versions passes; everything else is untouched.
pub(super) fn begin(
    partial: Partial,
    exchange: &Exchange,
) -> Result<Begun<impl Stream<Item = Result<Bytes, Broken>> + Send + use<>>, CallError> {
    let facts = exchange.server.known();
    let plan = exchange.plan(facts.as_deref());
    // A call that became a task is answered in a few bytes, so only what is asked of a task needs its name exchanged here.
    if !plan.is_streamable() || matches!(exchange.naming, Naming::Asked) {
        return Ok(Begun::Other(partial));
    }
    let mut splicer = plan.splicer(exchange.id.clone());
    let mut ready = Vec::new();
    match splicer.feed(&partial.head, &mut ready) {
        Ok(()) => {}
        // It asks for something: that is no result yet.
        Err(SpliceError::Unfinished) => return Ok(Begun::Other(partial)),
        Err(error) => return Err(partial.context.error(Cause::Nonsense(error.to_string()), false)),
    }
    if splicer.seen() != Some(Seen::Result) {
        return Ok(Begun::Other(partial));
    }
    if splicer.id().is_some() {
        partial.check_id(splicer.id())?;
    }
    exchange.answered();
    ready.reverse();
    let passing = Passing {
        partial,
        splicer,
        ready,
        ended: false,
    };
    Ok(Begun::Result(stream::try_unfold(
        passing,
        |mut passing| async move { Ok(passing.next().await?.map(|chunk| (chunk, passing))) },
    )))
}

struct Passing {
    partial: Partial,
    splicer: IdSplicer,
    /// Pieces to hand on, last first.
    ready: Vec<Bytes>,
    ended: bool,
}

impl Passing {
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(piece) = self.ready.pop() {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            match self.partial.chunk().await? {
                Some(chunk) => {
                    self.splicer.feed(&chunk, &mut self.ready)?;
                    self.ready.reverse();
                }
                None => {
                    self.splicer.finish()?;
                    // Too late to say so: the client must not take what it got for an answer.
                    self.partial.check_id(self.splicer.id())?;
                    self.ended = true;
                }
            }
        }
    }
}
