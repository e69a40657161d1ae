//! One counter: what one entry has counted for one holder.

use std::time::Duration;

use gatepost_policy::limit::{Meter, RetryAfter};
use gatepost_store::Used;

use super::entry::Measure;

/// A day in milliseconds.
pub(super) const DAY: u64 = 24 * 60 * 60 * 1_000;

/// How long to wait for a call to end; nobody knows, so this is short.
const WHEN_ONE_ENDS: Duration = Duration::from_secs(1);

/// The two times, read together while the counters are held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// See [`Clock::nanos`](super::clock::Clock::nanos).
    pub(super) nanos: u64,
    /// Milliseconds since 1970 on the wall.
    pub(super) wall: u64,
}

impl Now {
    /// Days since 1970.
    pub(super) fn day(self) -> u32 {
        u32::try_from(self.wall / DAY).unwrap_or(u32::MAX)
    }
}

/// What is counted.
#[derive(Debug)]
pub(super) enum Counter {
    /// Calls in a time.
    Meter(Meter),
    /// Calls that run.
    Running(u32),
    /// What is used of a day.
    Day(Box<Day>),
}

/// What is used of a quota. Boxed, because most gates have none.
#[derive(Debug)]
pub(super) struct Day {
    /// Which entry's.
    pub(super) entry: usize,
    /// Whose, as the store has it.
    pub(super) holder: Box<[u8]>,
    /// Days since 1970.
    pub(super) day: u32,
    /// What the store says, all processes together.
    pub(super) stored: Used,
    /// What is on its way there.
    pub(super) saving: Used,
    /// What is not.
    pub(super) unsaved: Used,
    /// Calls that may still add bytes.
    pub(super) running: u32,
    /// Whether the shard's list of what to save names it.
    pub(super) listed: bool,
}

impl Day {
    pub(super) fn used(&self) -> Used {
        self.stored.plus(self.saving).plus(self.unsaved)
    }

    /// Begins `today` if it is another day. What the last one has not saved yet is returned.
    ///
    /// A wall clock that is set back over midnight gives nobody a second allowance: the day that has begun goes on. More
    /// than one day back, it was the later time that was wrong.
    pub(super) fn turn(&mut self, today: u32) -> Option<Used> {
        if self.day == today || self.day == today.saturating_add(1) {
            return None;
        }
        self.day = today;
        self.stored = Used::default();
        self.saving = Used::default();
        let left = std::mem::take(&mut self.unsaved);
        (left != Used::default()).then_some(left)
    }
}

impl Counter {
    /// One that has counted nothing.
    pub(super) fn fresh(entry: usize, measure: &Measure, holder: &[u8], now: Now) -> Self {
        match measure {
            Measure::Rate(meter) => Self::Meter(meter.clone()),
            Measure::Concurrency(_) => Self::Running(0),
            Measure::Day { .. } => Self::Day(Box::new(Day {
                entry,
                holder: holder.into(),
                day: now.day(),
                stored: Used::default(),
                saving: Used::default(),
                unsaved: Used::default(),
                running: 0,
                listed: false,
            })),
        }
    }

    /// Whether there is room for one more call, else how long to wait.
    pub(super) fn room(&mut self, measure: &Measure, now: Now) -> Result<(), Duration> {
        match (self, measure) {
            (Self::Meter(meter), _) => meter.room(now.nanos, 1).map_err(RetryAfter::duration),
            (Self::Running(running), Measure::Concurrency(most)) if *running >= *most => Err(WHEN_ONE_ENDS),
            (Self::Day(day), Measure::Day { calls, bytes, .. }) => {
                let used = day.used();
                let over = calls.is_some_and(|most| used.calls >= most.get())
                    || bytes.is_some_and(|most| used.bytes >= most);
                if !over {
                    return Ok(());
                }
                let ends = (u64::from(day.day) + 1).saturating_mul(DAY);
                Err(Duration::from_millis(ends.saturating_sub(now.wall)))
            }
            _ => Ok(()),
        }
    }

    /// Counts a call for which there is room.
    pub(super) fn charge(&mut self, now: Now) {
        match self {
            Self::Meter(meter) => meter.charge(now.nanos, 1),
            Self::Running(running) => *running = running.saturating_add(1),
            Self::Day(day) => {
                day.running = day.running.saturating_add(1);
                day.unsaved = day.unsaved.plus(Used { calls: 1, bytes: 0 });
            }
        }
    }

    /// A call has ended.
    pub(super) fn release(&mut self) {
        match self {
            Self::Meter(_) => {}
            Self::Running(running) => *running = running.saturating_sub(1),
            Self::Day(day) => day.running = day.running.saturating_sub(1),
        }
    }

    /// How much would be forgiven if it was forgotten, in 255ths of what is admitted; `None` if nothing at all and for ever.
    pub(super) fn worth(&self, now: Now) -> Option<u8> {
        match self {
            Self::Meter(meter) if meter.is_fresh(now.nanos) => None,
            Self::Meter(meter) => Some(meter.fullness(now.nanos)),
            Self::Running(0) => None,
            Self::Running(_) => Some(u8::MAX),
            Self::Day(day) => {
                let unsaved = day.listed || day.saving != Used::default();
                let over = now.day() > day.day && day.running == 0 && !unsaved;
                (!over).then_some(u8::MAX)
            }
        }
    }
}
