//! A counter that begins anew with each window.

use super::{Rate, RetryAfter, share};

/// Admits `amount` calls in each window. Windows are as long as the period, and begin at multiples of it on the caller's
/// clock, the same for every key. Around the edge of two windows up to twice the amount can pass in a moment: whoever minds
/// wants a [`SlidingWindow`](super::SlidingWindow).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedWindow {
    rate: Rate,
    /// The number of the latest window seen.
    window: u64,
    /// What it has admitted.
    count: u32,
}

impl FixedWindow {
    /// A window in which nothing has been counted.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            window: 0,
            count: 0,
        }
    }

    fn window_of(&self, now: u64) -> u64 {
        now / self.rate.nanos()
    }

    fn count_at(&self, now: u64) -> u32 {
        if self.window_of(now) > self.window {
            0
        } else {
            self.count
        }
    }

    fn settle(&mut self, now: u64) {
        self.count = self.count_at(now);
        self.window = self.window.max(self.window_of(now));
    }

    pub(super) fn room(&mut self, now: u64, n: u32) -> Result<(), RetryAfter> {
        self.settle(now);
        let amount = self.rate.calls();
        if n == 0 || self.count.checked_add(n).is_some_and(|sum| sum <= amount) {
            return Ok(());
        }
        if n > amount {
            return Err(RetryAfter::NEVER);
        }
        let next = self.window.saturating_add(1).saturating_mul(self.rate.nanos());
        Err(RetryAfter::until(next, now))
    }

    pub(super) fn charge(&mut self, now: u64, n: u32) {
        self.settle(now);
        self.count = self.count.saturating_add(n);
    }

    pub(super) fn is_fresh(&self, now: u64) -> bool {
        self.count_at(now) == 0
    }

    pub(super) fn fullness(&self, now: u64) -> u8 {
        share(self.count_at(now).into(), self.rate.calls().into())
    }
}
