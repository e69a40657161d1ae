//! How long to wait before trying again: longer each time, and not in step with anybody else.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The pause after `failures` failures in a row: none after the first, then doubling up to half a minute, each a fifth
/// longer or shorter by chance.
pub(crate) fn delay(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else {
        return Duration::ZERO;
    };
    let pause = FIRST.saturating_mul(1 << doublings.min(10)).min(LONGEST);
    // Not for secrets: each `RandomState` has other keys, which is chance enough.
    let chance = RandomState::new().hash_one(failures) % 401;
    pause.mul_f64(0.8 + chance as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert_eq!(delay(0), Duration::ZERO);
        assert_eq!(delay(1), Duration::ZERO);
        let within = |failures, seconds: f64| {
            let pause = delay(failures).as_secs_f64();
            assert!(
                (seconds * 0.8..=seconds * 1.21).contains(&pause),
                "{failures}: {pause}"
            );
        };
        within(2, 0.5);
        within(3, 1.0);
        within(6, 8.0);
        within(9, 30.0);
        within(u32::MAX, 30.0);
    }
}
