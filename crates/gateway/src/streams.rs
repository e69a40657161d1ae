//! Long streams, on which callers wait for what may never come. Each holds a place among the calls in flight of the whole
//! gate, so that one caller must not have as many of them as they like.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use gatepost_policy::Principal;

use crate::refusal::Refusal;

/// Streams that one principal may have open at once: more than any client opens, and far fewer than the gate has places.
pub(crate) const MOST: usize = 256;

/// The open streams of each principal.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<Principal, usize>>);

/// A stream while it is open.
pub(crate) struct OpenStream {
    streams: Arc<Streams>,
    principal: Principal,
}

impl Streams {
    /// One more stream of `principal`. This process's own side has no bound: nobody can be told apart there.
    pub(crate) fn open(self: &Arc<Self>, principal: &Principal) -> Result<Option<OpenStream>, Refusal> {
        if principal.is_local() {
            return Ok(None);
        }
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(principal.clone()).or_default();
        if *count >= MOST {
            return Err(Refusal::TooManyStreams { limit: MOST });
        }
        *count += 1;
        Ok(Some(OpenStream {
            streams: Arc::clone(self),
            principal: principal.clone(),
        }))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_takes_nobody_elses_streams() {
        let streams = Arc::<Streams>::default();
        let ann = Principal::new("i", "ann");
        let mut open: Vec<_> = (0..MOST).map(|_| streams.open(&ann).unwrap()).collect();
        assert!(matches!(streams.open(&ann), Err(Refusal::TooManyStreams { .. })));
        assert!(streams.open(&ann.clone().with_tenant("acme")).is_ok());
        assert!(streams.open(&Principal::local()).unwrap().is_none());
        open.pop();
        open.push(streams.open(&ann).unwrap());
        drop(open);
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
