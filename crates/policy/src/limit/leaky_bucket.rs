//! A bucket with room for one call, which leaks out at a constant rate.

use super::{Rate, RetryAfter};

/// Admits one call, and the next when that one has leaked out, `period / amount` later: calls that pass are spaced, whatever
/// came before. No pause earns a burst; that is the difference from a [`TokenBucket`](super::TokenBucket). In any time `t`
/// it admits at most `1 + amount × t / period` calls, and at most `amount` in any period.
///
/// Nothing waits inside: a call that comes too early is refused, and told when the bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakyBucket {
    rate: Rate,
    /// When the bucket is empty, the whole nanoseconds.
    whole: u64,
    /// And the rest, in parts of `amount` to the nanosecond. Without it a third of a second would be rounded at every call.
    part: u32,
}

impl LeakyBucket {
    /// An empty bucket.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            whole: 0,
            part: 0,
        }
    }

    /// The first nanosecond at which it is empty.
    fn empty_at(&self) -> u64 {
        self.whole.saturating_add(u64::from(self.part > 0))
    }

    pub(super) fn room(&self, now: u64, n: u32) -> Result<(), RetryAfter> {
        let empty = self.empty_at();
        if n > 1 {
            return Err(RetryAfter::NEVER);
        }
        if n == 0 || now >= empty {
            return Ok(());
        }
        Err(RetryAfter::until(empty, now))
    }

    pub(super) fn charge(&mut self, now: u64, n: u32) {
        // Who comes at the first possible nanosecond comes at the exact time, which lies less than one before: so the rate
        // is kept exactly by those who wait as long as they are told. Everybody later begins anew.
        if now > self.empty_at() {
            (self.whole, self.part) = (now, 0);
        }
        let amount = u128::from(self.rate.calls());
        let units = u128::from(self.part) + u128::from(n) * u128::from(self.rate.nanos());
        let more = u64::try_from(units / amount).unwrap_or(u64::MAX);
        self.whole = self.whole.saturating_add(more);
        self.part = u32::try_from(units % amount).unwrap_or(0);
    }

    pub(super) fn is_fresh(&self, now: u64) -> bool {
        // At the first possible nanosecond what comes next still depends on the part before it.
        now > self.empty_at() || (now == self.whole && self.part == 0)
    }

    pub(super) fn fullness(&self, now: u64) -> u8 {
        if now >= self.empty_at() { 0 } else { u8::MAX }
    }
}
