//! Values that must lie between two others: durations, sizes, numbers, and how many in which time.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use serde_json::{Value as Json, json};

use crate::{
    ByteSize, Rate,
    reader::{Findings, Setting, or_expansion},
    tree::Node,
    units::{self, RateError},
    values::{GraceTime, parsed, with_unit},
};

/// A second, in the unit of [`Within`].
pub(crate) const SECOND: u64 = 1_000;
/// A minute, in the unit of [`Within`].
pub(crate) const MINUTE: u64 = 60 * SECOND;
/// An hour, in the unit of [`Within`].
pub(crate) const HOUR: u64 = 60 * MINUTE;
/// A day, in the unit of [`Within`].
pub(crate) const DAY: u64 = 24 * HOUR;

/// A duration from `LEAST` to `MOST` milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Within<const LEAST: u64, const MOST: u64>(pub(crate) Duration);

impl<const LEAST: u64, const MOST: u64> Setting for Within<LEAST, MOST> {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let (least, most) = (Duration::from_millis(LEAST), Duration::from_millis(MOST));
        parsed(node, path, findings, ("a duration", "`30s`"), |text| {
            let duration = units::parse_duration(text)
                .map_err(|error| with_unit(text, error, "s, ms, m, h, d", "`30s` or `1h30m`"))?;
            if (least..=most).contains(&duration) {
                return Ok(Self(duration));
            }
            let (least, most) = (units::spell_duration(least), units::spell_duration(most));
            Err(out_of_range(&least, &most))
        })
    }

    fn schema() -> Json {
        GraceTime::schema()
    }
}

/// A size from `LEAST` to `MOST` bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SizeWithin<const LEAST: u64, const MOST: u64>(pub(crate) ByteSize);

impl<const LEAST: u64, const MOST: u64> Setting for SizeWithin<LEAST, MOST> {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        parsed(node, path, findings, ("a size", "`64MiB`"), |text| {
            let size = units::parse_size(text).map_err(|error| {
                with_unit(
                    text,
                    error,
                    "B, KiB, MiB, GiB, TiB, kB, MB, GB",
                    "`64MiB` or `1GiB`",
                )
            })?;
            if (LEAST..=MOST).contains(&size.0) {
                return Ok(Self(size));
            }
            Err(out_of_range(
                &ByteSize(LEAST).to_string(),
                &ByteSize(MOST).to_string(),
            ))
        })
    }

    fn schema() -> Json {
        ByteSize::schema()
    }
}

/// A whole number from 1 to `MOST`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpTo<const MOST: u32>(pub(crate) NonZeroU32);

impl<const MOST: u32> Setting for UpTo<MOST> {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let number = NonZeroU32::read(node, path, findings)?;
        if number.get() > MOST {
            let remedy = format!("write a whole number of at least 1 and at most {MOST}");
            findings.problem(&node.place, path, "is out of range", remedy);
            return None;
        }
        Some(Self(number))
    }

    fn schema() -> Json {
        or_expansion(&json!({ "type": "integer", "minimum": 1, "maximum": MOST }))
    }
}

fn out_of_range(least: &str, most: &str) -> (String, String) {
    (
        "is out of range".to_owned(),
        format!("write at least {least} and at most {most}"),
    )
}

/// What is wrong with `10/week`, and how it would be right.
fn no_rate(error: RateError, example: &str, periods: &str) -> (String, String) {
    (
        error.to_string(),
        format!("write it like {example}; times are {periods}"),
    )
}

impl Setting for Rate {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        parsed(node, path, findings, ("a rate", "`100/min`"), |text| {
            let wrong = |error| no_rate(error, "`100/min`", "s, min, h, day");
            let (amount, per) = units::parse_per(text).map_err(wrong)?;
            let amount = units::parse_amount(amount).map_err(wrong)?;
            let amount = u32::try_from(amount).map_err(|_| wrong(RateError::TooLarge))?;
            match NonZeroU32::new(amount) {
                Some(amount) => Ok(Self { amount, per }),
                None => Err(allows_nothing()),
            }
        })
    }

    fn schema() -> Json {
        or_expansion(&json!({ "type": "string", "pattern": "^[0-9]+ ?/ ?(s|min|m|h|day|d)$" }))
    }
}

fn allows_nothing() -> (String, String) {
    (
        "would allow nothing".to_owned(),
        "write at least 1; what nobody may do is left out of every role".to_owned(),
    )
}

/// The part of `1000/day` before the slash.
fn daily(text: &str, example: &str) -> Result<String, (String, String)> {
    let wrong = |error| no_rate(error, example, "day");
    let (amount, per) = units::parse_per(text).map_err(wrong)?;
    if per != Duration::from_millis(DAY) {
        let remedy = format!("write it like {example}, or write a limit with this rate");
        return Err(("is no daily quota".to_owned(), remedy));
    }
    Ok(amount.to_owned())
}

/// Calls in a day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DailyCalls(pub(crate) NonZeroU64);

impl Setting for DailyCalls {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        parsed(node, path, findings, ("a daily quota", "`100000/day`"), |text| {
            let amount = daily(text, "`100000/day`")?;
            let amount =
                units::parse_amount(&amount).map_err(|error| no_rate(error, "`100000/day`", "day"))?;
            NonZeroU64::new(amount).map(Self).ok_or_else(allows_nothing)
        })
    }

    fn schema() -> Json {
        or_expansion(&json!({ "type": "string", "pattern": "^[0-9]+ ?/ ?(day|d)$" }))
    }
}

/// Bytes in a day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DailyBytes(pub(crate) ByteSize);

impl Setting for DailyBytes {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        parsed(node, path, findings, ("a daily quota", "`1GiB/day`"), |text| {
            let amount = daily(text, "`1GiB/day`")?;
            let size = units::parse_size(&amount).map_err(|error| {
                (
                    error.to_string(),
                    "write it like `1GiB/day`; units are B, KiB, MiB, GiB, TiB, kB, MB, GB".to_owned(),
                )
            })?;
            if size.0 == 0 {
                return Err(allows_nothing());
            }
            Ok(Self(size))
        })
    }

    fn schema() -> Json {
        or_expansion(&json!({ "type": "string", "pattern": "^[0-9]+ ?(B|[KMGT]iB|[kKMG]B) ?/ ?(day|d)$" }))
    }
}
