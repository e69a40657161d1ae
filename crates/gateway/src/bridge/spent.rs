//! What retries of parked calls were answered with, for a while: a client whose connection broke sends the same retry
//! again, and must get the same answer and no second execution.
//!
//! A state that was used with other answers opens nothing.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use gatepost_protocol::{ask::canonical, envelope::Request};
use http::StatusCode;
use tokio::time::Instant;

use crate::seal::fingerprint;

const KEPT: Duration = Duration::from_secs(300);
/// Answers kept, and the largest of them. What is more or larger is forgotten; its retry is told to call anew.
const MOST: usize = 256;
const MAX_BYTES: usize = 256 * 1024;

/// One use of one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    nonce: [u8; 12],
    /// Of the answers it was used with.
    digest: [u8; 32],
}

/// The answers that were given lately, and the uses whose answers are on their way.
#[derive(Default)]
pub(crate) struct Spent {
    /// Oldest first.
    entries: Mutex<VecDeque<Entry>>,
    under_way: Mutex<Vec<Use>>,
}

/// A use whose answer is on its way, until that is kept or this is dropped.
pub(crate) struct UnderWay {
    spent: Arc<Spent>,
    of: Use,
}

struct Entry {
    of: Use,
    until: Instant,
    status: StatusCode,
    answer: Bytes,
}

impl Use {
    /// The use of the state with this nonce that a request makes.
    pub(crate) fn of(nonce: [u8; 12], request: &Request) -> Self {
        let mut text = Vec::new();
        if let Some(span) = request.param("inputResponses") {
            canonical(request.raw(), span, &mut text);
        }
        Self {
            nonce,
            digest: fingerprint(&text),
        }
    }
}

impl Spent {
    /// The use begins to be answered; nothing if it is being answered already.
    pub(crate) fn begin(self: &Arc<Self>, of: Use) -> Option<UnderWay> {
        let mut under_way = self.under_way();
        if under_way.contains(&of) {
            return None;
        }
        under_way.push(of);
        drop(under_way);
        Some(UnderWay {
            spent: Arc::clone(self),
            of,
        })
    }

    /// Keeps the last message of an answer.
    fn keep(&self, of: Use, status: StatusCode, answer: &Bytes) {
        if answer.len() > MAX_BYTES {
            return;
        }
        let now = Instant::now();
        let mut entries = self.entries();
        entries.retain(|entry| entry.until > now);
        if entries.len() >= MOST {
            entries.pop_front();
        }
        entries.push_back(Entry {
            of,
            until: now + KEPT,
            status,
            // A copy: the bytes may be a slice of something larger.
            answer: Bytes::copy_from_slice(answer),
        });
    }

    /// What the same use was answered with before.
    pub(crate) fn answer(&self, of: Use) -> Option<(StatusCode, Bytes)> {
        let now = Instant::now();
        let entries = self.entries();
        let entry = entries.iter().find(|entry| entry.of == of && entry.until > now)?;
        Some((entry.status, entry.answer.clone()))
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, Vec<Use>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// Keeps the last message of its answer.
    pub(crate) fn keep(&self, status: StatusCode, answer: &Bytes) {
        self.spent.keep(self.of, status, answer);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.spent.under_way().retain(|other| *other != self.of);
    }
}

#[cfg(test)]
mod tests {
    use gatepost_protocol::{envelope::Message, json::Strictness};

    use super::*;

    fn used(nonce: u8, responses: &str) -> Use {
        let raw =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"inputResponses":{responses}}}}}"#);
        match Message::parse(raw.into(), Strictness::Edge) {
            Ok(Message::Request(request)) => Use::of([nonce; 12], &request),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_equal_use_gets_the_same_answer_for_a_while() {
        let spent = Spent::default();
        let answer = Bytes::from_static(b"answer");
        spent.keep(used(1, r#"{"a":{"x":1,"y":2}}"#), StatusCode::OK, &answer);
        let same = used(1, r#"{ "a": {"y":2, "x":1} }"#);
        assert_eq!(spent.answer(same), Some((StatusCode::OK, answer)));
        assert_eq!(spent.answer(used(2, r#"{"a":{"x":1,"y":2}}"#)), None);
        assert_eq!(spent.answer(used(1, r#"{"a":{"x":2,"y":2}}"#)), None);
        tokio::time::sleep(KEPT).await;
        assert_eq!(spent.answer(same), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_use_is_answered_once_at_a_time() {
        let spent = Arc::new(Spent::default());
        let (same, other) = (used(1, r#"{"a":{"x":1}}"#), used(1, r#"{"a":{"x":2}}"#));
        let first = spent.begin(same).unwrap();
        assert!(spent.begin(same).is_none());
        assert!(spent.begin(other).is_some());
        first.keep(StatusCode::OK, &Bytes::from_static(b"answer"));
        drop(first);
        assert!(spent.answer(same).is_some());
        assert!(spent.begin(same).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded() {
        let spent = Spent::default();
        let large = Bytes::from(vec![b' '; MAX_BYTES + 1]);
        spent.keep(used(0, "{}"), StatusCode::OK, &large);
        assert_eq!(spent.answer(used(0, "{}")), None);
        for at in 0..=MOST {
            spent.keep(
                used(1, &format!(r#"{{"at":{at}}}"#)),
                StatusCode::OK,
                &Bytes::new(),
            );
        }
        assert_eq!(spent.answer(used(1, r#"{"at":0}"#)), None);
        assert!(spent.answer(used(1, r#"{"at":1}"#)).is_some());
    }
}
