//! How long somebody has to wait, in words for people.

use std::fmt;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// So many seconds, in the two largest units that say something: `42 s`, `5 min 3 s`, `5 h 27 min`, `1 d 2 h`. What is
/// less than the smaller of the two is rounded up, so that whoever waits as long does not come too early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait(pub(super) u64);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        // The unit that is rounded up to, which decides what the larger one is: 23 h 59 min and 1 s are a day.
        let in_minutes = seconds.div_ceil(MINUTE).saturating_mul(MINUTE);
        let (whole, large, rest, small) = if seconds < MINUTE {
            (seconds, "s", 0, "")
        } else if seconds < HOUR {
            (seconds / MINUTE, "min", seconds % MINUTE, "s")
        } else if in_minutes < DAY {
            (in_minutes / HOUR, "h", in_minutes % HOUR / MINUTE, "min")
        } else {
            let hours = seconds.div_ceil(HOUR);
            (hours / 24, "d", hours % 24, "h")
        };
        write!(f, "{whole} {large}")?;
        if rest > 0 {
            write!(f, " {rest} {small}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_two_units_and_never_too_short() {
        for (seconds, expected) in [
            (1, "1 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_599, "59 min 59 s"),
            (3_600, "1 h"),
            (3_601, "1 h 1 min"),
            (19_620, "5 h 27 min"),
            (19_621, "5 h 28 min"),
            (86_340, "23 h 59 min"),
            (86_341, "1 d"),
            (86_400, "1 d"),
            (86_401, "1 d 1 h"),
            (169_200, "1 d 23 h"),
            (169_201, "2 d"),
            (u64::MAX, "213503982334601 d 8 h"),
        ] {
            assert_eq!(Wait(seconds).to_string(), expected, "{seconds}");
        }
    }
}
