//! A window that moves with every call, in slots.

use super::{Rate, RetryAfter, share};

/// Into how many slots a window is cut.
const SLOTS: u64 = 32;
/// A window that ends within a slot touches one more.
const KEPT: usize = SLOTS as usize + 1;

/// Admits at most `amount` calls in *any* window as long as the period, wherever it begins.
///
/// An exact log of calls would need as much memory as calls are admitted, and the usual estimate from two windows admits too
/// many when the calls of the earlier one came late. This one has one counter for each 32nd of the period and forgets a
/// counter when all of it has left the window. So the promise holds without exception, in constant memory, and the error is
/// on the strict side: a call counts for at least one period and for at most 33/32 of it (with `100/min`, a place comes back
/// up to 1.9 s late).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    rate: Rate,
    /// The number of the latest slot seen; slot `s` begins at `s × period / 32`, rounded up.
    newest: u64,
    /// What each of the latest slots has admitted; slot `s` is at `s % KEPT`.
    counts: [u32; KEPT],
    /// All of them together.
    sum: u32,
}

impl SlidingWindow {
    /// A window in which nothing has been counted.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            newest: 0,
            counts: [0; KEPT],
            sum: 0,
        }
    }

    /// ⌊now × SLOTS / period⌋, without a product that needs more than 64 bits.
    fn slot_of(&self, now: u64) -> u64 {
        let period = self.rate.nanos();
        (now / period) * SLOTS + (now % period) * SLOTS / period
    }

    /// When a slot begins: the first nanosecond whose [`Self::slot_of`] it is.
    fn begin_of(&self, slot: u64) -> u64 {
        let period = self.rate.nanos();
        let within = (slot % SLOTS * period).div_ceil(SLOTS);
        (slot / SLOTS).saturating_mul(period).saturating_add(within)
    }

    fn place(slot: u64) -> usize {
        (slot % KEPT as u64) as usize
    }

    fn settle(&mut self, now: u64) {
        let slot = self.slot_of(now);
        let passed = slot.saturating_sub(self.newest);
        if passed >= KEPT as u64 {
            self.counts = [0; KEPT];
            self.sum = 0;
        } else {
            for gone in self.newest + 1..=self.newest + passed {
                let count = &mut self.counts[Self::place(gone)];
                self.sum = self.sum.saturating_sub(*count);
                *count = 0;
            }
        }
        self.newest = self.newest.max(slot);
    }

    pub(super) fn room(&mut self, now: u64, n: u32) -> Result<(), RetryAfter> {
        self.settle(now);
        let amount = self.rate.calls();
        let over = (u64::from(self.sum) + u64::from(n)).saturating_sub(amount.into());
        if over == 0 || n == 0 {
            return Ok(());
        }
        if n > amount {
            return Err(RetryAfter::NEVER);
        }
        let mut freed = 0;
        let oldest = self.newest.saturating_sub(SLOTS);
        for slot in oldest..=self.newest {
            freed += u64::from(self.counts[Self::place(slot)]);
            if freed >= over {
                let forgotten = self.begin_of(slot.saturating_add(KEPT as u64));
                return Err(RetryAfter::until(forgotten, now));
            }
        }
        Err(RetryAfter::NEVER)
    }

    pub(super) fn charge(&mut self, now: u64, n: u32) {
        self.settle(now);
        // No more than the sum can take, so that taking a slot out of it again leaves the others.
        let n = n.min(u32::MAX - self.sum);
        self.sum += n;
        self.counts[Self::place(self.newest)] += n;
    }

    /// What is counted at `now`.
    fn sum_at(&self, now: u64) -> u32 {
        let passed = self.slot_of(now).saturating_sub(self.newest).min(KEPT as u64);
        let gone: u32 = (self.newest + 1..=self.newest + passed)
            .map(|slot| self.counts[Self::place(slot)])
            .sum();
        self.sum.saturating_sub(gone)
    }

    pub(super) fn is_fresh(&self, now: u64) -> bool {
        self.sum_at(now) == 0
    }

    pub(super) fn fullness(&self, now: u64) -> u8 {
        share(self.sum_at(now).into(), self.rate.calls().into())
    }
}
