//! What comes back for a call: a whole response, a large one still arriving, or messages one after the other.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use gatepost_protocol::envelope::{Message, Request, Response};

use super::{
    CallError, Cause,
    health::Guard,
    http::{Body, EventStream},
    outgoing::Wish,
    pipe::{Fault, Ticket},
    pool::Lease,
    session::Session,
};

/// How long an abandoned call may keep its leased session before the session is given up with it.
const ABANDONED_FOR: Duration = Duration::from_secs(10);

/// A server's answer to a call. Ids and progress tokens in it are ours, not the client's.
pub(crate) enum Incoming {
    /// The complete response.
    Whole(Response),
    /// A large response of which only the beginning is here.
    Partial(Partial),
    /// Notifications or questions first, the response last.
    Events(Events),
}

/// A large `application/json` response still arriving.
pub(crate) struct Partial {
    pub(crate) head: Bytes,
    pub(crate) rest: Body,
    /// How many more bytes are allowed.
    pub(crate) left: u64,
    pub(crate) context: Waiting,
    pub(crate) guard: Option<Guard>,
}

/// Whom we wait for, and how long without a sign of life.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) server: Arc<str>,
    pub(crate) silence: Duration,
    pub(crate) limit: u64,
}

/// Messages of one call, as they arrive. Dropped before the response, it tells the server that the call is cancelled, if
/// the client wished that or is modern (for whom closing is cancelling).
pub(crate) struct Events {
    pub(crate) first: Option<Message>,
    pub(crate) source: Source,
    pub(crate) context: Waiting,
    /// The silence is ours: the server waits for the client.
    pub(crate) patient: bool,
    pub(crate) guard: Option<Guard>,
}

pub(crate) enum Source {
    Pipe(PipeCall),
    Http(Box<EventStream>),
}

/// A call on a pipe, with the lease that lasts as long as it.
pub(crate) struct PipeCall {
    pub(crate) ticket: Option<Ticket>,
    pub(crate) lease: Option<Lease<Session>>,
    /// The session serves no other call meanwhile.
    pub(crate) exclusive: bool,
    /// Going away means cancelling.
    pub(crate) closing_cancels: bool,
    pub(crate) wish: Option<Arc<dyn Wish>>,
}

// === impl Waiting ===

impl Waiting {
    /// An error of this server.
    pub(crate) fn error(&self, cause: Cause, retry_safe: bool) -> CallError {
        CallError {
            server: Arc::clone(&self.server),
            cause,
            retry_safe,
        }
    }

    /// The answer is over the limit.
    pub(crate) fn too_large(&self) -> CallError {
        self.error(Cause::TooLarge { limit: self.limit }, false)
    }

    /// Waits for `future`, but not longer than this server may be silent.
    pub(crate) async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, CallError> {
        tokio::time::timeout(self.silence, future)
            .await
            .map_err(|_| self.error(Cause::Timeout(self.silence), false))
    }

    /// What a fault on a pipe is to a caller.
    pub(crate) fn fault(&self, fault: Fault, sent: bool) -> CallError {
        match fault {
            Fault::Ended(reason) => self.error(Cause::Ended(reason.to_string()), !sent),
            Fault::Violation(text) => self.error(Cause::Violation(text), false),
            Fault::TooLarge(limit) => self.error(Cause::TooLarge { limit }, false),
        }
    }
}

// === impl Partial ===

impl Partial {
    /// Whether the message is a result, its id stands before it, and so both are known already.
    pub(crate) fn has_result(&self) -> bool {
        id_before_result(&self.head).is_some()
    }

    /// The bytes of the whole message with `id` in the place of ours. Without [`Partial::has_result`] the id stays.
    pub(crate) fn spliced(self, id: Bytes) -> impl Stream<Item = Result<Bytes, CallError>> + Send {
        let mut first = Vec::with_capacity(self.head.len() + id.len());
        match id_before_result(&self.head) {
            Some(place) => {
                first.extend_from_slice(&self.head[..place.start]);
                first.extend_from_slice(&id);
                first.extend_from_slice(&self.head[place.end..]);
            }
            None => first.extend_from_slice(&self.head),
        }
        stream::unfold(
            (Some(Bytes::from(first)), Some(self)),
            |(first, partial)| async move {
                let mut partial = partial?;
                if let Some(first) = first {
                    return Some((Ok(first), (None, Some(partial))));
                }
                match partial.chunk().await.transpose()? {
                    Ok(chunk) => Some((Ok(chunk), (None, Some(partial)))),
                    Err(error) => Some((Err(error), (None, None))),
                }
            },
        )
    }

    /// The whole response, after all.
    pub(crate) async fn collect(mut self) -> Result<Response, CallError> {
        let mut whole = Vec::from(&self.head[..]);
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        super::http::parse_response(whole.into(), &self.context)
    }

    /// The next piece after `head`; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, CallError> {
        match self.context.within(self.rest.data()).await? {
            None => Ok(None),
            Some(Err(error)) => Err(self.context.error(Cause::Ended(error.to_string()), false)),
            Some(Ok(data)) => {
                self.left = self
                    .left
                    .checked_sub(data.len() as u64)
                    .ok_or_else(|| self.context.too_large())?;
                Ok(Some(data))
            }
        }
    }
}

// === impl Events ===

impl Events {
    /// The next message: a notification, a question for the client, or the response, after which nothing follows. Each
    /// message starts the server's `timeout` anew. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Message, CallError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let Self {
            source,
            context,
            patient,
            ..
        } = self;
        let next = async {
            match source {
                Source::Http(stream) => stream.next().await,
                Source::Pipe(PipeCall {
                    ticket: Some(ticket), ..
                }) => ticket.next().await.map_err(|fault| context.fault(fault, true)),
                Source::Pipe(_) => {
                    Err(context.error(Cause::Ended("the answer was already taken".to_owned()), false))
                }
            }
        };
        if *patient {
            next.await
        } else {
            context.within(next).await?
        }
    }

    /// Says whether the server waits for the client, so that its silence is no fault of its own.
    pub(crate) fn waiting_for_client(&mut self, waiting: bool) {
        self.patient = waiting;
    }

    /// Sends the client's answer to a question, with the server's id in it.
    pub(crate) async fn reply(&mut self, response: Bytes) -> Result<(), CallError> {
        match &mut self.source {
            Source::Http(stream) => self.context.within(stream.reply(response)).await?,
            Source::Pipe(PipeCall {
                ticket: Some(ticket), ..
            }) => {
                let sent = self.context.within(ticket.pipe().send(response)).await?;
                sent.map_err(|fault| self.context.fault(fault, true))
            }
            Source::Pipe(_) => Ok(()),
        }
    }
}

impl PipeCall {
    /// The answer of a pipe: whole if the response is the first thing that comes.
    pub(crate) async fn begin(mut self, context: Waiting) -> Result<Incoming, CallError> {
        let Some(ticket) = &mut self.ticket else {
            return Err(context.error(Cause::Ended("the answer was already taken".to_owned()), false));
        };
        match context.within(ticket.next()).await? {
            Ok(Message::Response(response)) => Ok(Incoming::Whole(response)),
            Ok(first) => Ok(Incoming::Events(Events {
                first: Some(first),
                source: Source::Pipe(self),
                context,
                patient: false,
                guard: None,
            })),
            Err(fault) => Err(context.fault(fault, true)),
        }
    }
}

impl Drop for PipeCall {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take().filter(|ticket| !ticket.answered()) else {
            return;
        };
        if self.closing_cancels || self.wish.as_ref().is_some_and(|wish| wish.is_cancelled()) {
            ticket.cancel("the client no longer waits");
        }
        // A leased session is free when the server is done with the call, not when its client has left.
        if self.exclusive
            && let Some(lease) = self.lease.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if tokio::time::timeout(ABANDONED_FOR, ticket.response())
                    .await
                    .is_err()
                {
                    lease.discard();
                }
            });
        }
    }
}

/// A message that was handed on by value, for callers that want just the response.
pub(crate) async fn response_of(incoming: Incoming) -> Result<Response, CallError> {
    match incoming {
        Incoming::Whole(response) => Ok(response),
        Incoming::Partial(partial) => partial.collect().await,
        Incoming::Events(mut events) => loop {
            match events.next().await? {
                Message::Response(response) => return Ok(response),
                Message::Notification(_) => {}
                Message::Request(request) => events.reply(unasked(&request)).await?,
            }
        },
    }
}

/// Where the id is, if `head` begins an envelope whose `result` comes after it. Anything unusual is `None`, and is read
/// as a whole.
fn id_before_result(head: &[u8]) -> Option<Range<usize>> {
    let mut at = 0;
    let blank = |at: &mut usize| {
        while head.get(*at).is_some_and(u8::is_ascii_whitespace) {
            *at += 1;
        }
    };
    // A string without escapes, or the digits of a number: all that may stand before `result`.
    let simple = |at: &mut usize| -> Option<Range<usize>> {
        let start = *at;
        if head.get(start) == Some(&b'"') {
            let length = head
                .get(start + 1..)?
                .iter()
                .take(200)
                .position(|byte| matches!(byte, b'"' | b'\\'))?;
            *at = start + length + 2;
            return (head.get(*at - 1) == Some(&b'"')).then_some(start..*at);
        }
        while head
            .get(*at)
            .is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-')
        {
            *at += 1;
        }
        (*at > start).then_some(start..*at)
    };
    blank(&mut at);
    (head.get(at) == Some(&b'{')).then(|| at += 1)?;
    let mut id = None;
    loop {
        blank(&mut at);
        let key = &head[simple(&mut at)?];
        blank(&mut at);
        (head.get(at) == Some(&b':')).then(|| at += 1)?;
        blank(&mut at);
        if key == b"\"result\"" {
            return id;
        }
        let value = simple(&mut at)?;
        match key {
            b"\"id\"" if id.is_none() => id = Some(value),
            b"\"jsonrpc\"" => {}
            _ => return None,
        }
        blank(&mut at);
        (head.get(at) == Some(&b',')).then(|| at += 1)?;
    }
}

/// The gate's own questions can be asked nothing back.
fn unasked(request: &Request) -> Bytes {
    gatepost_protocol::error::error_response(
        Some(request.id().bytes()),
        gatepost_protocol::error::METHOD_NOT_FOUND,
        "the gate itself can be asked nothing",
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_before_a_result_only() {
        let check = |head: &[u8], expected: Option<&[u8]>| {
            assert_eq!(id_before_result(head).map(|place| &head[place]), expected);
        };
        check(br#"{"jsonrpc":"2.0","id":17,"result":{"id":3"#, Some(b"17"));
        check(b" { \"id\" : \"a\" ,\n \"result\" : {", Some(b"\"a\""));
        check(br#"{"jsonrpc":"2.0","result":{"content":["#, None);
        check(br#"{"jsonrpc":"2.0","id":17,"error":{"code":1"#, None);
        check(br#"{"jsonrpc":"2.0","x":{},"id":17,"result":{"#, None);
        check(br#"{"jsonrpc":"2.0","id":17"#, None);
        check(b"", None);
    }
}
