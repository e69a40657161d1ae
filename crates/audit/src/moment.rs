//! Moments: microseconds since 1970, and their RFC 3339 form in UTC, which sorts as text.

use std::time::{SystemTime, UNIX_EPOCH};

use gatepost_protocol::calendar::Date;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub i64);

const SECOND: i64 = 1_000_000;

impl Moment {
    /// Now, by the system's clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is, in microseconds; nothing if the clock was set back.
    pub fn micros_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// Appends `2026-07-28T09:30:00.000000Z`.
    pub(crate) fn push_to(self, out: &mut Vec<u8>) {
        let seconds = self.0.div_euclid(SECOND);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let date = Date::on(days);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        put(&mut text[0..4], date.year().clamp(0, 9999));
        put(&mut text[5..7], date.month());
        put(&mut text[8..10], date.day());
        put(&mut text[11..13], second / 3_600);
        put(&mut text[14..16], second / 60 % 60);
        put(&mut text[17..19], second % 60);
        put(&mut text[20..26], self.0.rem_euclid(SECOND));
        out.extend_from_slice(&text);
    }

    /// Reads RFC 3339 text of any offset, a date alone (its first moment in UTC), or seconds and zone left out.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let mut parts = date.split('-');
        let (year, month, day) = (
            number(parts.next()?, 4)?,
            number(parts.next()?, 2)?,
            number(parts.next()?, 2)?,
        );
        if parts.next().is_some() {
            return None;
        }
        let mut micros = Date::new(year, month, day)?.days() * 86_400 * SECOND;
        let Some(rest) = rest.strip_prefix(['T', 't', ' ']) else {
            return rest.is_empty().then_some(Self(micros));
        };
        let zone = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
        let (clock, zone) = rest.split_at_checked(zone)?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let mut parts = clock.split(':');
        let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
        let second = parts.next().map_or(Some(0), |part| number(part, 2))?;
        if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        micros += (hour * 3_600 + minute * 60 + second) * SECOND;
        if !fraction.is_empty() {
            let digits = fraction.get(..fraction.len().min(6))?;
            let scale = 10_i64.pow(6 - u32::try_from(digits.len()).ok()?);
            micros += number(digits, digits.len())? * scale;
        }
        micros -= offset(zone)? * SECOND;
        Some(Self(micros))
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(27);
        self.push_to(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.bytes().next() {
        None | Some(b'Z' | b'z') => return (zone.len() <= 1).then_some(0),
        Some(b'-') => -1,
        _ => 1,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    Some(sign * (number(hours, 2)? * 3_600 + number(minutes, 2)? * 60))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

fn put(place: &mut [u8], mut value: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_785_231_000_000_001, "2026-07-28T09:30:00.000001Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Moment(micros).to_string(), text);
            assert_eq!(Moment::parse(text), Some(Moment(micros)));
        }
    }

    #[test]
    fn what_people_write() {
        let moment = Moment::parse("2026-07-28T09:30:00Z");
        for text in [
            "2026-07-28T09:30",
            "2026-07-28 09:30:00",
            "2026-07-28T11:30:00+02:00",
            "2026-07-28T05:00:00.0-04:30",
        ] {
            assert_eq!(Moment::parse(text), moment, "{text}");
        }
        assert_eq!(Moment::parse("2026-07-28"), Moment::parse("2026-07-28T00:00:00Z"));
        for text in [
            "",
            "yesterday",
            "2026-02-29",
            "2026-13-01",
            "2026-07-28T25:00",
            "2026-07-28Tx",
            "2026-07-28T09:30Zz",
            "2026-07-2é",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }
}
