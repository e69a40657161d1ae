//! Calls that were given up because their users were still busy on a page: kept for a while, so that the same call, made
//! again, goes on instead of beginning anew.
//!
//! Source: `docs/eras.md` 5.5, last row.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::replay::Left;
use crate::session::ConversationId;

/// Source: `docs/eras.md` 5.5.
const KEPT: Duration = Duration::from_secs(600);
/// What one client, and all clients together, may leave here. Beyond that the oldest is forgotten.
const MAX_PER_CONVERSATION: usize = 16;
const MAX: usize = 512;
/// What a server may have kept for one call. More than that is forgotten, and the call begins anew.
const MAX_BYTES: usize = 64 * 1024;

/// Whose call it was, and a digest of what was called.
type Key = (ConversationId, [u8; 32]);

/// What calls left behind that were given up.
#[derive(Default)]
pub(crate) struct Postponed {
    calls: Mutex<HashMap<Key, (Instant, Left)>>,
    /// How many, so that a call need not lock, or make a digest of itself, to learn that there are none.
    count: AtomicUsize,
}

impl Postponed {
    /// Keeps what a call left behind, in place of what an equal one did before.
    pub(crate) fn put(&self, conversation: ConversationId, digest: [u8; 32], left: Left) {
        if left.size() > MAX_BYTES {
            return;
        }
        let mut calls = self.calls();
        let now = Instant::now();
        calls.retain(|_, (until, _)| *until > now);
        calls.remove(&(conversation, digest));
        let own = calls.keys().filter(|(owner, _)| *owner == conversation).count();
        if own >= MAX_PER_CONVERSATION {
            forget_oldest(&mut calls, |(owner, _)| *owner == conversation);
        }
        if calls.len() >= MAX {
            forget_oldest(&mut calls, |_| true);
        }
        calls.insert((conversation, digest), (now + KEPT, left));
        self.count.store(calls.len(), Relaxed);
    }

    /// What an equal call of the same client left behind; only once.
    pub(crate) fn take(&self, conversation: ConversationId, digest: [u8; 32]) -> Option<Left> {
        let mut calls = self.calls();
        let (until, left) = calls.remove(&(conversation, digest))?;
        self.count.store(calls.len(), Relaxed);
        (until > Instant::now()).then_some(left)
    }

    /// Whether there is nothing to take. Free of locks.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<Key, (Instant, Left)>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_oldest(calls: &mut HashMap<Key, (Instant, Left)>, mine: impl Fn(&Key) -> bool) {
    let of_mine = calls.iter().filter(|(key, _)| mine(key));
    let oldest = of_mine.min_by_key(|(_, (until, _))| *until).map(|(key, _)| *key);
    if let Some(oldest) = oldest {
        calls.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(size: usize) -> Left {
        Left::of_state("s".repeat(size))
    }

    fn someone() -> ConversationId {
        ConversationId::new().unwrap()
    }

    fn digest(of: u16) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&of.to_be_bytes());
        digest
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_kept_ten_minutes_for_its_own_client_and_once() {
        let (postponed, ann, ben) = (Postponed::default(), someone(), someone());
        assert!(postponed.is_empty());
        postponed.put(ann, digest(1), left(1));
        postponed.put(ann, digest(2), left(2));
        assert!(!postponed.is_empty());
        assert!(postponed.take(ben, digest(1)).is_none() && postponed.take(ann, digest(3)).is_none());
        assert_eq!(postponed.take(ann, digest(1)).map(|left| left.size()), Some(1));
        assert!(postponed.take(ann, digest(1)).is_none());
        tokio::time::advance(KEPT - Duration::from_millis(1)).await;
        postponed.put(ben, digest(1), left(1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(postponed.take(ann, digest(2)).is_none(), "too late");
        assert!(postponed.take(ben, digest(1)).is_some() && postponed.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_of_equal_calls_is_kept() {
        let (postponed, ann) = (Postponed::default(), someone());
        postponed.put(ann, digest(1), left(1));
        postponed.put(ann, digest(1), left(2));
        assert_eq!(postponed.take(ann, digest(1)).map(|left| left.size()), Some(2));
        assert!(postponed.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded() {
        let (postponed, ann) = (Postponed::default(), someone());
        postponed.put(ann, digest(0), left(MAX_BYTES + 1));
        assert!(postponed.is_empty(), "too large");
        let other = someone();
        postponed.put(other, digest(0), left(1));
        for of in 0..=16 {
            tokio::time::advance(Duration::from_secs(1)).await;
            postponed.put(ann, digest(of), left(1));
        }
        assert!(postponed.take(ann, digest(0)).is_none(), "the oldest made way");
        assert!((1..=16).all(|of| postponed.take(ann, digest(of)).is_some()));
        let crowd: Vec<_> = (0..MAX).map(|_| someone()).collect();
        for one in &crowd {
            tokio::time::advance(Duration::from_millis(1)).await;
            postponed.put(*one, digest(0), left(1));
        }
        assert!(postponed.take(other, digest(0)).is_none());
        assert!(crowd.iter().all(|one| postponed.take(*one, digest(0)).is_some()));
        assert!(postponed.is_empty());
    }
}
