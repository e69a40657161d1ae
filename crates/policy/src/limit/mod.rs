//! The arithmetic of rate limits: four ways to count calls in a time.
//!
//! | algorithm | promises | after a pause | memory |
//! | --- | --- | --- | --- |
//! | [`TokenBucket`] | at most `burst + amount × t / period` calls in any time `t` | `burst` calls at once | two numbers |
//! | [`FixedWindow`] | at most `amount` in each window; windows begin at multiples of the period | `amount` at once; twice that around a window's edge | two numbers |
//! | [`SlidingWindow`] | at most `amount` in *any* window as long as the period | `amount` at once | 33 counters |
//! | [`LeakyBucket`] | at least `period / amount` between two calls | one call | two numbers |
//!
//! Time is a number of nanoseconds that the caller reads from a clock of its choice; only differences matter, except that
//! fixed windows begin at its multiples. A time before one that a meter has already seen counts as that one, so a clock that
//! goes backwards admits nothing. All of it is exact integer arithmetic: nothing is rounded in anybody's favour, however
//! many years it runs, and nothing overflows.
//!
//! A meter has no lock and knows no keys. To charge several at once or none, ask each for [`Meter::room`] and then
//! [`Meter::charge`] them.

mod fixed_window;
mod leaky_bucket;
mod sliding_window;
#[cfg(test)]
mod tests;
mod token_bucket;

use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use crate::{Action, Pattern};

pub use fixed_window::FixedWindow;
pub use leaky_bucket::LeakyBucket;
pub use sliding_window::SlidingWindow;
pub use token_bucket::TokenBucket;

/// The shortest period that is counted with, in nanoseconds: a microsecond.
const SHORTEST: u64 = 1_000;
/// The longest, in nanoseconds: 400 days. Multiplied by the slots of a sliding window it still fits into 64 bits.
const LONGEST: u64 = 400 * 24 * 60 * 60 * 1_000_000_000;

/// A number of calls in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    amount: NonZeroU32,
    period: NonZeroU64,
}

impl Rate {
    /// `amount` calls in `period`. A period shorter than a microsecond counts as one, a period longer than 400 days as 400
    /// days; configurations know nothing but seconds, minutes, hours and days.
    pub fn new(amount: NonZeroU32, period: Duration) -> Self {
        let nanos = u64::try_from(period.as_nanos()).unwrap_or(LONGEST);
        Self {
            amount,
            period: NonZeroU64::MIN.saturating_add(nanos.clamp(SHORTEST, LONGEST) - 1),
        }
    }

    /// How many calls.
    pub fn amount(self) -> NonZeroU32 {
        self.amount
    }

    /// In which time.
    pub fn period(self) -> Duration {
        Duration::from_nanos(self.period.get())
    }

    fn calls(self) -> u32 {
        self.amount.get()
    }

    /// In nanoseconds.
    fn nanos(self) -> u64 {
        self.period.get()
    }
}

/// For people: `100/min`, `20/s`, `5/90s`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = self.period();
        let unit = match (period.as_secs(), period.subsec_nanos()) {
            (1, 0) => "s",
            (60, 0) => "min",
            (3_600, 0) => "h",
            (86_400, 0) => "day",
            _ => return write!(f, "{}/{period:?}", self.amount),
        };
        write!(f, "{}/{unit}", self.amount)
    }
}

/// How long to wait before the same calls have room. Exact: if nobody else was admitted meanwhile they are admitted after
/// this time, and would not have been a nanosecond earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetryAfter(u64);

impl RetryAfter {
    /// More calls at once than the limit ever admits (or the clock has no such time any more).
    pub const NEVER: Self = Self(u64::MAX);

    /// In nanoseconds, at least one.
    pub fn nanos(self) -> u64 {
        self.0
    }

    /// The same as a duration.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// From `now` until `then`, which is later.
    fn until(then: u64, now: u64) -> Self {
        match then {
            u64::MAX => Self::NEVER,
            then => Self(then.saturating_sub(now).max(1)),
        }
    }
}

/// One counter of one limit, by any of the four algorithms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meter {
    /// See [`TokenBucket`].
    TokenBucket(TokenBucket),
    /// See [`FixedWindow`].
    FixedWindow(FixedWindow),
    /// See [`SlidingWindow`]; boxed, because it is three times as large as the others.
    SlidingWindow(Box<SlidingWindow>),
    /// See [`LeakyBucket`].
    LeakyBucket(LeakyBucket),
}

/// Calls `$method` of whichever it is.
macro_rules! each {
    ($meter:expr, $one:ident => $body:expr) => {
        match $meter {
            Meter::TokenBucket($one) => $body,
            Meter::FixedWindow($one) => $body,
            Meter::SlidingWindow($one) => $body,
            Meter::LeakyBucket($one) => $body,
        }
    };
}

impl Meter {
    /// Admits `n` calls at `now` and counts them, or admits and counts nothing and says when to come again.
    ///
    /// # Errors
    /// When the limit is reached.
    pub fn take(&mut self, now: u64, n: u32) -> Result<(), RetryAfter> {
        self.room(now, n)?;
        self.charge(now, n);
        Ok(())
    }

    /// Whether [`Meter::take`] would admit `n` calls at `now`; counts nothing.
    ///
    /// # Errors
    /// When it would not.
    pub fn room(&mut self, now: u64, n: u32) -> Result<(), RetryAfter> {
        each!(self, one => one.room(now, n))
    }

    /// Counts `n` calls at `now` for which [`Meter::room`] has just found room. Without that it still counts them, and
    /// those after them wait for it.
    pub fn charge(&mut self, now: u64, n: u32) {
        each!(self, one => one.charge(now, n));
    }

    /// Whether from `now` on it answers exactly like one that has never been charged, and may be forgotten.
    pub fn is_fresh(&self, now: u64) -> bool {
        each!(self, one => one.is_fresh(now))
    }

    /// How much of what it admits at once is used up at `now`: 0 only if nothing is, 255 if all of it is. What
    /// forgetting this meter would forgive.
    pub fn fullness(&self, now: u64) -> u8 {
        each!(self, one => one.fullness(now))
    }
}

/// Whether a limit with this `match` counts `action`. Its pattern sees `server__name`, for resources `server__uri`, as the
/// patterns of roles and views do; without one it counts everything.
pub fn counts(matching: Option<&Pattern>, action: &Action<'_>) -> bool {
    matching.is_none_or(|pattern| {
        let prefix = action.server.chars().chain("__".chars());
        pattern.matches_chars(prefix.chain(action.name.chars()))
    })
}

/// `part` of `whole` in 255ths, rounded up, so that only nothing is zero.
fn share(part: u128, whole: u128) -> u8 {
    let share = part.saturating_mul(255).div_ceil(whole.max(1));
    u8::try_from(share).unwrap_or(u8::MAX)
}
