//! A bucket that fills with tokens at a constant rate and holds so many at most; a call takes one.

use std::num::NonZeroU32;

use super::{Rate, RetryAfter, share};

/// Admits `burst` calls at once after a pause and `amount` in each period in the long run: in any time `t` at most
/// `burst + amount × t / period`.
///
/// What is counted is the debt, the tokens that are missing: a nanosecond pays back `amount` units, a call costs `period`
/// units. So nothing is ever divided, except to say when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    rate: Rate,
    burst: NonZeroU32,
    /// In units, when it was `at`. At most `burst × period`, 87 bits.
    debt: u128,
    /// In nanoseconds.
    at: u64,
}

impl TokenBucket {
    /// A full bucket that holds `burst` tokens; usually as many as the rate's amount.
    pub fn new(rate: Rate, burst: NonZeroU32) -> Self {
        Self {
            rate,
            burst,
            debt: 0,
            at: 0,
        }
    }

    fn cost(&self, n: u32) -> u128 {
        u128::from(n) * u128::from(self.rate.nanos())
    }

    fn debt_at(&self, now: u64) -> u128 {
        let passed = now.saturating_sub(self.at);
        let paid = u128::from(passed) * u128::from(self.rate.calls());
        self.debt.saturating_sub(paid)
    }

    fn settle(&mut self, now: u64) {
        self.debt = self.debt_at(now);
        self.at = self.at.max(now);
    }

    pub(super) fn room(&mut self, now: u64, n: u32) -> Result<(), RetryAfter> {
        self.settle(now);
        let wanted = self.debt.saturating_add(self.cost(n));
        let over = wanted.saturating_sub(self.cost(self.burst.get()));
        if over == 0 || n == 0 {
            return Ok(());
        }
        if n > self.burst.get() {
            return Err(RetryAfter::NEVER);
        }
        let wait = over.div_ceil(u128::from(self.rate.calls()));
        let wait = u64::try_from(wait).unwrap_or(u64::MAX);
        Err(RetryAfter::until(self.at.saturating_add(wait), now))
    }

    pub(super) fn charge(&mut self, now: u64, n: u32) {
        self.settle(now);
        self.debt = self.debt.saturating_add(self.cost(n));
    }

    pub(super) fn is_fresh(&self, now: u64) -> bool {
        self.debt_at(now) == 0
    }

    pub(super) fn fullness(&self, now: u64) -> u8 {
        share(self.debt_at(now), self.cost(self.burst.get()))
    }
}
