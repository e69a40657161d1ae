//! Daily quotas beyond this process: read at the start, written behind each second and at the end.
//!
//! Calls are counted in memory and never wait for the store. What the store is told is what was *added*, so several processes
//! can share one; what it answers is the sum of all. `kill -9` loses the last second of counting, in the caller's favour; a
//! store that fails loses nothing while the process lives, because what could not be added is added later.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use gatepost_store::{Counters, StoreError};
use tokio::time::MissedTickBehavior;

use super::{Limits, entry::Measure, table::SHARDS};

/// How often counts are written.
const EVERY: Duration = Duration::from_secs(1);

impl Limits {
    /// Whether there are quotas, and so something to load and to save.
    pub(crate) fn has_quotas(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.measure, Measure::Day { .. }))
    }

    /// Continues with what `store` knows of today, and lets it forget the days before yesterday. Blocks.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn load(&self, store: &dyn Counters) -> Result<(), StoreError> {
        if !self.has_quotas() {
            return Ok(());
        }
        let today = self.today();
        store.forget_before(today.saturating_sub(1))?;
        for known in store.read_day(today)? {
            let entry = self.entries.iter().enumerate().find(
                |(_, entry)| matches!(&entry.measure, Measure::Day { name, .. } if **name == *known.quota),
            );
            // A quota that is no longer configured keeps its count, in case it comes back today.
            if let Some((index, entry)) = entry {
                let key = self.keyed.key(&known.key).of(entry.nonce);
                self.known
                    .know(index, entry, key, &known.key, known.day, known.used);
            }
        }
        Ok(())
    }

    /// Writes what has been counted since the last time. Blocks.
    ///
    /// # Errors
    /// When the store fails; the counts are kept for the next time.
    pub(crate) fn save(&self, store: &dyn Counters) -> Result<(), StoreError> {
        // One at a time: what is on its way has one place in each counter.
        let _one = self
            .saving
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (mut keys, mut additions) = (Vec::new(), Vec::new());
        for shard in 0..SHARDS {
            self.known
                .take_unsaved(shard, &self.entries, &mut keys, &mut additions);
        }
        if additions.is_empty() {
            return Ok(());
        }
        let sums = store.add(&additions);
        let answers: &[_] = sums.as_deref().unwrap_or_default();
        for (place, (key, added)) in keys.into_iter().zip(additions).enumerate() {
            self.known.saved(key, added, answers.get(place).copied());
        }
        sums.map(drop)
    }

    /// Saves each second until `stop`, and once more then.
    pub(crate) async fn keep(self: Arc<Self>, store: Arc<dyn Counters>, stop: impl Future<Output = ()>) {
        if !self.has_quotas() {
            return;
        }
        let mut stop = pin!(stop);
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut day = self.today();
        let mut failing = false;
        loop {
            let last = tokio::select! {
                _ = tick.tick() => false,
                () = &mut stop => true,
            };
            let (limits, store) = (Arc::clone(&self), Arc::clone(&store));
            let yesterday = self.today().saturating_sub(1);
            let turned = std::mem::replace(&mut day, self.today()) != day;
            let saved = tokio::task::spawn_blocking(move || {
                limits.save(&*store)?;
                if turned {
                    store.forget_before(yesterday)?;
                }
                Ok::<_, StoreError>(())
            });
            let failure = match saved.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            match &failure {
                Some(error) if last => tracing::error!(%error, "the last counts of the quotas are lost"),
                Some(error) if !failing => {
                    tracing::warn!(%error, "quotas cannot be saved; trying again each second");
                }
                None if failing => tracing::info!("quotas are saved again"),
                _ => {}
            }
            failing = failure.is_some();
            if last {
                return;
            }
        }
    }
}
