//! Moments as RFC 3339 text in UTC, which models and people both read.

#[cfg(feature = "notes")]
use std::time::{SystemTime, UNIX_EPOCH};

use gatepost_protocol::calendar::Date;

/// Now, in whole seconds since 1970.
#[cfg(feature = "notes")]
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |past| i64::try_from(past.as_secs()).unwrap_or(i64::MAX))
}

/// `seconds` since 1970 as `2026-07-28T09:30:00Z`. The Gregorian calendar is extended to all years.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let date = Date::on(days);
    let (year, month, day) = (date.year(), date.month(), date.day());
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_785_231_000, "2026-07-28T09:30:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
