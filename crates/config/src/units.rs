//! Durations and sizes, which always carry their unit.

use std::{fmt, time::Duration};

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The number of bytes, for comparing with lengths; the largest `usize` where it does not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The units of sizes. Decimal and binary ones differ, as the standards have it (IEC 80000-13).
const SIZES: [(&str, u64); 9] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("TiB", 1 << 40),
    ("B", 1),
];

/// The units of durations, in milliseconds.
const DURATIONS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, bytes) in &SIZES[..3] {
            if self.0 != 0 && self.0.is_multiple_of(*bytes) {
                return write!(f, "{}{unit}", self.0 / bytes);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// Why a text is no duration or size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    #[error("has no unit")]
    NoUnit,
    #[error("has an unknown unit")]
    UnknownUnit,
    #[error("is no whole number followed by a unit")]
    NotANumber,
    #[error("is too large")]
    TooLarge,
}

/// Why a text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RateError {
    #[error("does not say in which time")]
    NoPeriod,
    #[error("has an unknown time")]
    UnknownPeriod,
    #[error("is no whole number in a time")]
    NotANumber,
    #[error("is too large")]
    TooLarge,
}

/// Reads `64KiB`, `4MiB`, `1GB`, `512B`.
pub(crate) fn parse_size(text: &str) -> Result<ByteSize, UnitError> {
    let (number, rest) = leading_number(text)?;
    let unit = unit_of(rest, &SIZES)?;
    number.checked_mul(unit).map(ByteSize).ok_or(UnitError::TooLarge)
}

/// Reads `100ms`, `30s`, `5m`, `1h30m`, `7d`; the parts are added.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (mut number, mut rest) = leading_number(text)?;
    let mut total = 0_u64;
    loop {
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = unit_of(&rest[..end], &DURATIONS)?;
        total = number
            .checked_mul(unit)
            .and_then(|part| total.checked_add(part))
            .ok_or(UnitError::TooLarge)?;
        // A century is never meant, and adding it to the clock could overflow.
        if total > 36_500 * 86_400_000 {
            return Err(UnitError::TooLarge);
        }
        if end == rest.len() {
            return Ok(Duration::from_millis(total));
        }
        (number, rest) = leading_number(&rest[end..])?;
    }
}

/// Writes a duration as [`parse_duration`] reads it, in the largest unit that fits.
pub(crate) fn spell_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let unit = DURATIONS
        .iter()
        .rev()
        .find(|(_, factor)| millis != 0 && millis.is_multiple_of(*factor));
    unit.map_or_else(
        || "0s".to_owned(),
        |(name, factor)| format!("{}{name}", millis / factor),
    )
}

/// The periods of rates, and the units of durations they are.
const PERIODS: [(&str, u64); 6] = [
    ("s", 1),
    ("min", 60),
    ("m", 60),
    ("h", 3_600),
    ("day", 86_400),
    ("d", 86_400),
];

/// Reads `100/min`: the part before the slash, and the time.
pub(crate) fn parse_per(text: &str) -> Result<(&str, Duration), RateError> {
    let (amount, period) = text.split_once('/').ok_or(RateError::NoPeriod)?;
    let found = PERIODS.iter().find(|(name, _)| *name == period.trim());
    let (_, seconds) = found.ok_or(RateError::UnknownPeriod)?;
    Ok((amount.trim(), Duration::from_secs(*seconds)))
}

/// Reads the number of a rate.
pub(crate) fn parse_amount(text: &str) -> Result<u64, RateError> {
    match leading_number(text) {
        Ok((number, "")) => Ok(number),
        Err(UnitError::TooLarge) => Err(RateError::TooLarge),
        _ => Err(RateError::NotANumber),
    }
}

fn leading_number(text: &str) -> Result<(u64, &str), UnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return Err(UnitError::NotANumber);
    }
    let number = text[..end].parse().map_err(|_| UnitError::TooLarge)?;
    Ok((number, &text[end..]))
}

fn unit_of(text: &str, units: &[(&str, u64)]) -> Result<u64, UnitError> {
    if text.is_empty() {
        return Err(UnitError::NoUnit);
    }
    let unit = units.iter().find(|(name, _)| *name == text.trim_start());
    unit.map(|(_, factor)| *factor).ok_or(UnitError::UnknownUnit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |ms| Ok(Duration::from_millis(ms));
        for (text, expected) in [
            ("30s", ms(30_000)),
            ("5m", ms(300_000)),
            ("1h30m", ms(5_400_000)),
            ("100ms", ms(100)),
            ("1m500ms", ms(60_500)),
            ("7d", ms(604_800_000)),
            ("0s", ms(0)),
            ("30 s", ms(30_000)),
            ("30", Err(UnitError::NoUnit)),
            ("30x", Err(UnitError::UnknownUnit)),
            ("1h30", Err(UnitError::NoUnit)),
            ("", Err(UnitError::NotANumber)),
            ("s", Err(UnitError::NotANumber)),
            ("-1s", Err(UnitError::NotANumber)),
            ("1.5s", Err(UnitError::UnknownUnit)),
            ("99999999999999999999s", Err(UnitError::TooLarge)),
            ("18446744073709551615d", Err(UnitError::TooLarge)),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("4MiB", Ok(4 << 20)),
            ("64KiB", Ok(64 << 10)),
            ("1GB", Ok(1_000_000_000)),
            ("512B", Ok(512)),
            ("4194304", Err(UnitError::NoUnit)),
            ("4mib", Err(UnitError::UnknownUnit)),
            ("18446744073709551615KiB", Err(UnitError::TooLarge)),
        ] {
            assert_eq!(parse_size(text), expected.map(ByteSize), "{text:?}");
        }
    }

    #[test]
    fn durations_print_as_they_are_written() {
        for text in ["0s", "1ms", "1500ms", "30s", "5m", "90m", "1h", "7d"] {
            assert_eq!(spell_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn rates() {
        let per = |seconds| Ok(("100", Duration::from_secs(seconds)));
        for (text, expected) in [
            ("100/s", per(1)),
            ("100 / min", per(60)),
            ("100/h", per(3_600)),
            ("100/day", per(86_400)),
            ("100", Err(RateError::NoPeriod)),
            ("100/", Err(RateError::UnknownPeriod)),
            ("100/week", Err(RateError::UnknownPeriod)),
            ("100/10s", Err(RateError::UnknownPeriod)),
        ] {
            assert_eq!(parse_per(text), expected, "{text:?}");
        }
        assert_eq!(parse_amount("1000"), Ok(1_000));
        assert_eq!(parse_amount("1.5"), Err(RateError::NotANumber));
        assert_eq!(parse_amount("-1"), Err(RateError::NotANumber));
    }

    #[test]
    fn sizes_print_as_they_are_written() {
        for text in ["4MiB", "64KiB", "1000B", "3GiB", "0B"] {
            assert_eq!(parse_size(text).unwrap().to_string(), text);
        }
    }
}
