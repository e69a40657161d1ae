//! The two clocks that limits are measured by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells limits the time. Tests have one of their own.
pub(crate) trait Clock: Send + Sync {
    /// Nanoseconds that pass evenly and never run back. They are counted from 1970 as it seemed when the process began, so
    /// that fixed windows of a minute begin with the minutes on the wall.
    fn nanos(&self) -> u64;

    /// Milliseconds since 1970 as the wall clock has them now, for the days of quotas.
    fn unix_millis(&self) -> u64;
}

/// The clocks of the machine. The even one is tokio's, so it stands where a test pauses it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock {
    /// The time of the wall, when it was `start`.
    began: Duration,
    start: Instant,
}

impl SystemClock {
    /// Begins now.
    pub(crate) fn new() -> Self {
        Self {
            began: wall(),
            start: Instant::now(),
        }
    }

    /// One whose even clock begins at zero now.
    #[cfg(test)]
    pub(super) fn at_zero() -> Self {
        Self {
            began: Duration::ZERO,
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn nanos(&self) -> u64 {
        let passed = self.began.saturating_add(self.start.elapsed());
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }

    fn unix_millis(&self) -> u64 {
        u64::try_from(wall().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A wall clock before 1970 counts as 1970.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
