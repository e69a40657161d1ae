//! Values of expressions. What comes from the arguments stays the bytes that were sent until somebody looks into it.
//!
//! Source: CEL language definition, Values, Gradual Type Checking (heterogeneous equality), Numeric comparison.

use std::{cmp::Ordering, ops::Deref, rc::Rc, sync::Arc};

use gatepost_protocol::json;

#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Blob<'a>),
    List(List<'a>),
    Map(Map<'a>),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    /// Nanoseconds.
    Duration(i128),
}

/// A string, in the condition or the arguments, or made.
#[derive(Clone, Debug)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Made(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// Bytes, in the condition or made.
#[derive(Clone, Debug)]
pub(super) enum Blob<'a> {
    Borrowed(&'a [u8]),
    Made(Rc<[u8]>),
}

impl Deref for Blob<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Made(bytes) => bytes,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum List<'a> {
    Built(Rc<[Value<'a>]>),
    /// A valid JSON array.
    Json(&'a [u8]),
    Names(&'a [Arc<str>]),
}

#[derive(Clone, Debug)]
pub(super) enum Map<'a> {
    Built(Rc<[(Value<'a>, Value<'a>)]>),
    /// A valid JSON object.
    Json(&'a [u8]),
    /// The arguments of the call, whose members are looked up more than once.
    Args,
    Principal,
    Tool,
}

impl Value<'_> {
    /// Its type, as a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Timestamp(_) => "timestamp",
            Self::Duration(_) => "duration",
        }
    }

    /// The place that it means in a list.
    pub(super) fn as_index(&self) -> Option<Option<usize>> {
        match *self {
            Self::Int(index) => Some(usize::try_from(index).ok()),
            Self::Uint(index) => Some(usize::try_from(index).ok()),
            Self::Double(index) if index.fract() == 0.0 && (0.0..=1e15).contains(&index) => {
                Some(Some(index as usize))
            }
            _ => None,
        }
    }

    /// How it compares with another; `Err` where there is no order between such types, `Ok(None)` beside what is no number.
    pub(super) fn order(&self, other: &Self) -> Result<Option<Ordering>, ()> {
        let order = match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Bytes(a), Self::Bytes(b)) => a[..].cmp(&b[..]),
            (Self::Timestamp(a), Self::Timestamp(b)) | (Self::Duration(a), Self::Duration(b)) => a.cmp(b),
            _ => match (Number::of(self), Number::of(other)) {
                (Some(a), Some(b)) => return Ok(a.order(b)),
                _ => return Err(()),
            },
        };
        Ok(Some(order))
    }
}

/// A number of any type: they are compared by value.
#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
    Double(f64),
}

impl Number {
    fn of(value: &Value<'_>) -> Option<Self> {
        match *value {
            Value::Int(number) => Some(Self::Whole(number.into())),
            Value::Uint(number) => Some(Self::Whole(number.into())),
            Value::Double(number) => Some(Self::Double(number)),
            _ => None,
        }
    }

    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Some(a.cmp(&b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(&b),
            (Self::Whole(a), Self::Double(b)) => exactly(a, b),
            (Self::Double(a), Self::Whole(b)) => exactly(b, a).map(Ordering::reverse),
        }
    }
}

/// Compares without rounding: a whole number of 64 bits may lie between two doubles.
fn exactly(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // A cast of what is too large stays at the end of the range, which is far beyond 64 bits.
    let floor = double.floor();
    Some(whole.cmp(&(floor as i128)).then_with(|| {
        if double > floor {
            Ordering::Less
        } else {
            Ordering::Equal
        }
    }))
}

/// Why a JSON value is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A number that no type holds exactly enough.
    Number,
    /// A string with half a surrogate pair.
    Text,
    /// Not JSON.
    Form,
}

impl<'a> Value<'a> {
    /// The value of valid JSON without white space around it.
    ///
    /// A number without a point or exponent is an `int`, or a `uint` where only that holds it. One that neither holds, and
    /// one with more digits than a double keeps, is an error: what is checked must be what the server reads.
    pub(super) fn of_json(raw: &'a [u8]) -> Result<Self, Unreadable> {
        let all = json::Span::all(raw);
        match json::kind(raw, all).ok_or(Unreadable::Form)? {
            json::Kind::Object => Ok(Self::Map(Map::Json(raw))),
            json::Kind::Array => Ok(Self::List(List::Json(raw))),
            json::Kind::String => match json::text(raw, all) {
                Some(std::borrow::Cow::Borrowed(text)) => Ok(Self::Text(Text::Borrowed(text))),
                Some(std::borrow::Cow::Owned(text)) => Ok(Self::Text(Text::Made(text.into()))),
                None => Err(Unreadable::Text),
            },
            json::Kind::Number => number(raw),
            json::Kind::Bool => Ok(Self::Bool(raw == b"true")),
            json::Kind::Null => Ok(Self::Null),
        }
    }
}

fn number<'a>(raw: &[u8]) -> Result<Value<'a>, Unreadable> {
    /// The most decimal digits that are needed to tell a double from every other.
    const DIGITS: usize = 17;
    let text = std::str::from_utf8(raw).map_err(|_| Unreadable::Form)?;
    if !text.contains(['.', 'e', 'E']) {
        if let Ok(number) = text.parse() {
            return Ok(Value::Int(number));
        }
        return text.parse().map(Value::Uint).map_err(|_| Unreadable::Number);
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_matches('0').len();
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && digits <= DIGITS => Ok(Value::Double(number)),
        _ => Err(Unreadable::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(whole: i64, double: f64, expected: Option<Ordering>) {
        assert_eq!(Value::Int(whole).order(&Value::Double(double)), Ok(expected));
        let reversed = expected.map(Ordering::reverse);
        assert_eq!(Value::Double(double).order(&Value::Int(whole)), Ok(reversed));
    }

    #[test]
    fn whole_numbers_and_doubles_compare_exactly() {
        check(1, 1.0, Some(Ordering::Equal));
        check(1, 1.5, Some(Ordering::Less));
        check(-1, -1.5, Some(Ordering::Greater));
        check(i64::MAX, 9_223_372_036_854_775_808.0, Some(Ordering::Less));
        check(
            9_007_199_254_740_993,
            9_007_199_254_740_992.0,
            Some(Ordering::Greater),
        );
        check(i64::MIN, f64::NEG_INFINITY, Some(Ordering::Greater));
        check(i64::MAX, f64::INFINITY, Some(Ordering::Less));
        check(0, f64::NAN, None);
    }

    #[test]
    fn numbers_of_arguments_are_exact_or_an_error() {
        for (raw, expected) in [
            ("0", "Ok(Int(0))"),
            ("-9223372036854775808", "Ok(Int(-9223372036854775808))"),
            ("9223372036854775808", "Ok(Uint(9223372036854775808))"),
            ("18446744073709551615", "Ok(Uint(18446744073709551615))"),
            ("18446744073709551616", "Err(Number)"),
            ("-9223372036854775809", "Err(Number)"),
            ("1.0", "Ok(Double(1.0))"),
            ("1e3", "Ok(Double(1000.0))"),
            ("0.30000000000000004", "Ok(Double(0.30000000000000004))"),
            ("1.50000000000000000000000", "Ok(Double(1.5))"),
            ("100.00000000000000001", "Err(Number)"),
            ("1e999", "Err(Number)"),
        ] {
            assert_eq!(format!("{:?}", Value::of_json(raw.as_bytes())), expected, "{raw}");
        }
    }
}
