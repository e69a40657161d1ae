//! When a server should be asked again, told from how fresh its listing is when somebody asks for it.
//!
//! A `ttlMs` is no polling interval (2026-07-28 server/utilities/caching, Freshness Calculation): the list is asked for
//! again when it is needed and stale. The asker gets what there is at once, and hears `list_changed` if that was old.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::{
    sync::Notify,
    time::{Duration, Instant},
};

/// Never stale.
const NEVER: u64 = u64::MAX;

/// One server's freshness, shared by the views that show it and the task that refreshes it.
#[derive(Debug)]
pub(crate) struct Demand {
    epoch: Instant,
    /// Milliseconds after `epoch` from which the listing is stale.
    stale_at: AtomicU64,
    wake: Notify,
}

impl Demand {
    /// Fresh for ever.
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            stale_at: AtomicU64::new(NEVER),
            wake: Notify::new(),
        }
    }

    /// The listing has just been fetched and is fresh for so long; `None`: until the server says otherwise.
    pub(crate) fn fresh_for(&self, ttl: Option<Duration>) {
        let at = ttl.map_or(NEVER, |ttl| self.now().saturating_add(millis(ttl)));
        self.stale_at.store(at, Ordering::Relaxed);
    }

    /// Somebody wants the listing: if it is stale, whoever refreshes it is woken, once.
    pub(crate) fn ask(&self) {
        let at = self.stale_at.load(Ordering::Relaxed);
        if at != NEVER && self.now() >= at {
            self.stale_at.store(NEVER, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }

    /// Waits until a stale listing is wanted.
    pub(crate) async fn wanted(&self) {
        self.wake.notified().await;
    }

    fn now(&self) -> u64 {
        millis(self.epoch.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER - 1)
}
