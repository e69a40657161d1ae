//! Timestamps and durations: nanoseconds, and the calendar of UTC and of fixed offsets from it.
//!
//! Source: CEL language definition, Abstract Types; RFC 3339. Zones with names would need a table that changes several times
//! a year, so only offsets are known.

use std::fmt::Write;

use gatepost_protocol::calendar::Date;

pub(super) const SECOND: i128 = 1_000_000_000;
const MINUTE: i128 = 60 * SECOND;
const HOUR: i128 = 60 * MINUTE;
const DAY: i128 = 24 * HOUR;

/// 0001-01-01T00:00:00Z.
const FIRST: i128 = -62_135_596_800 * SECOND;
/// The moment before 10000-01-01T00:00:00Z.
const LAST: i128 = 253_402_300_800 * SECOND - 1;
/// Some ten thousand years.
const LONGEST: i128 = 315_576_000_000 * SECOND;

/// `nanos` since 1970, if it is within the years 1 to 9999.
pub(super) fn timestamp(nanos: i128) -> Option<i128> {
    (FIRST..=LAST).contains(&nanos).then_some(nanos)
}

/// `nanos`, if it is at most some ten thousand years.
pub(super) fn duration(nanos: i128) -> Option<i128> {
    (-LONGEST..=LONGEST).contains(&nanos).then_some(nanos)
}

/// What can be asked of a timestamp, and the last four of a duration too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Getter {
    FullYear,
    Month,
    Date,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

impl Getter {
    pub(super) const ALL: [(&'static str, Self); 10] = [
        ("getFullYear", Self::FullYear),
        ("getMonth", Self::Month),
        ("getDate", Self::Date),
        ("getDayOfMonth", Self::DayOfMonth),
        ("getDayOfWeek", Self::DayOfWeek),
        ("getDayOfYear", Self::DayOfYear),
        ("getHours", Self::Hours),
        ("getMinutes", Self::Minutes),
        ("getSeconds", Self::Seconds),
        ("getMilliseconds", Self::Milliseconds),
    ];

    pub(super) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, getter)| *getter == self);
        found.map_or("", |(name, _)| name)
    }

    /// Of a timestamp, `offset` minutes east of UTC. Months, days of the month but for `getDate`, of the week (from Sunday)
    /// and of the year are counted from 0.
    pub(super) fn of_timestamp(self, nanos: i128, offset: i32) -> i64 {
        let local = nanos + i128::from(offset) * MINUTE;
        let (days, within) = (clamped(local.div_euclid(DAY)), local.rem_euclid(DAY));
        let date = Date::on(days);
        match self {
            Self::FullYear => date.year(),
            Self::Month => date.month() - 1,
            Self::Date => date.day(),
            Self::DayOfMonth => date.day() - 1,
            // 1970-01-01 was a Thursday.
            Self::DayOfWeek => (days.rem_euclid(7) + 4) % 7,
            Self::DayOfYear => date.days_into_year(),
            Self::Hours => clamped(within / HOUR),
            Self::Minutes => clamped(within / MINUTE % 60),
            Self::Seconds => clamped(within / SECOND % 60),
            Self::Milliseconds => clamped(within / 1_000_000 % 1000),
        }
    }

    /// Of a duration: the whole of it in that unit; its milliseconds are those beyond whole seconds.
    pub(super) fn of_duration(self, nanos: i128) -> Option<i64> {
        let number = match self {
            Self::Hours => nanos / HOUR,
            Self::Minutes => nanos / MINUTE,
            Self::Seconds => nanos / SECOND,
            Self::Milliseconds => nanos / 1_000_000 % 1000,
            _ => return None,
        };
        Some(clamped(number))
    }
}

fn clamped(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

/// Minutes east of UTC, from `UTC`, `Z`, `+02:00`, `-05:30` or `02:00`.
pub(super) fn offset(text: &str) -> Option<i32> {
    if matches!(text, "UTC" | "Z") {
        return Some(0);
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = digits.split_once(':')?;
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

fn two(digits: &str) -> Option<i32> {
    (digits.len() == 2).then(|| digits_of(digits)).flatten()
}

fn digits_of(digits: &str) -> Option<i32> {
    let proper = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| proper)
}

/// Reads `2026-11-21T15:04:05.123Z`.
pub(super) fn parse_timestamp(text: &str) -> Option<i128> {
    let (date, time) = text.split_once(['T', 't'])?;
    let &[year, month, day] = &*date.split('-').collect::<Vec<_>>() else {
        return None;
    };
    let year = (year.len() == 4).then(|| digits_of(year)).flatten()?;
    let (month, day) = (two(month)?, two(day)?);
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    let east = match zone {
        "Z" | "z" => 0,
        zone => offset(zone)?,
    };
    let &[hour, minute, second] = &*time.split(':').collect::<Vec<_>>() else {
        return None;
    };
    let (second, fraction) = match second.split_once('.') {
        None => (second, 0),
        Some((second, fraction)) => (second, fraction_nanos(fraction)?),
    };
    let (hour, minute, second) = (two(hour)?, two(minute)?, two(second)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let date = Date::new(year.into(), month.into(), day.into())?;
    let minutes = i128::from(hour * 60 + minute - east);
    timestamp(i128::from(date.days()) * DAY + minutes * MINUTE + i128::from(second) * SECOND + fraction)
}

/// Digits after the point of a second; those beyond nanoseconds are cut.
fn fraction_nanos(digits: &str) -> Option<i128> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{digits:0<9}");
    nanos.get(..9)?.parse().ok()
}

/// Reads `1h30m`, `-1.5s`, `250ms`, `0`.
pub(super) fn parse_duration(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanos = match unit {
            "h" => HOUR,
            "m" => MINUTE,
            "s" => SECOND,
            "ms" => 1_000_000,
            "us" | "µs" | "μs" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || number.len() > 30 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut part = whole.checked_mul(nanos)?;
        let mut scale = nanos;
        for digit in fraction.bytes() {
            scale /= 10;
            part += i128::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * scale;
        }
        total = duration(total.checked_add(part)?)?;
        rest = after;
    }
    duration(sign * total)
}

/// Writes a timestamp as RFC 3339, in UTC, with as many digits of a second as it has.
pub(super) fn print_timestamp(nanos: i128) -> String {
    let get = |getter: Getter| getter.of_timestamp(nanos, 0);
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        get(Getter::FullYear),
        get(Getter::Month) + 1,
        get(Getter::Date),
        get(Getter::Hours),
        get(Getter::Minutes),
        get(Getter::Seconds)
    );
    push_fraction(&mut text, nanos.rem_euclid(SECOND));
    text.push('Z');
    text
}

/// Writes a duration in seconds, as `5400s` or `-1.5s`.
pub(super) fn print_duration(nanos: i128) -> String {
    let mut text = String::new();
    if nanos < 0 {
        text.push('-');
    }
    let positive = nanos.abs();
    let _ = write!(text, "{}", positive / SECOND);
    push_fraction(&mut text, positive % SECOND);
    text.push('s');
    text
}

fn push_fraction(text: &mut String, nanos: i128) {
    if nanos > 0 {
        let digits = format!("{nanos:09}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_fixed() {
        for (text, expected) in [
            ("UTC", Some(0)),
            ("Z", Some(0)),
            ("+02:00", Some(120)),
            ("-05:30", Some(-330)),
            ("02:00", Some(120)),
            ("Europe/Berlin", None),
            ("+2:00", None),
            ("+24:00", None),
            ("", None),
        ] {
            assert_eq!(offset(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_read_prints_again() {
        for text in [
            "2026-11-21T15:04:05Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
            "1969-12-31T23:59:59.5Z",
        ] {
            assert_eq!(print_timestamp(parse_timestamp(text).unwrap()), text);
        }
        for (text, printed) in [
            ("1h30m", "5400s"),
            ("-1.5s", "-1.5s"),
            ("250ms", "0.25s"),
            ("1.5h", "5400s"),
            ("1us1ns", "0.000001001s"),
            ("0", "0s"),
        ] {
            assert_eq!(print_duration(parse_duration(text).unwrap()), printed, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T15:04:05",
            "2026-11-21 15:04:05Z",
            "2026-11-21T15:04:60Z",
            "0000-01-01T00:00:00Z",
            "2026-11-21T15:04:05.Z",
            "2026-11-21T15:04:05+2",
            "+026-11-21T15:04:05Z",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text:?}");
        }
        for text in [
            "",
            "1",
            "s",
            "1 s",
            ".s",
            "1d",
            "1h-1m",
            "1.1.1s",
            "9999999999999h",
            "--1s",
            "1s1",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }
}
