//! Request ids: strings or integers, kept as they were sent.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::json::{self, Span};

/// An id as it stands in a message: a JSON string with its quotes, or the digits of an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawId<'a>(&'a [u8]);

impl<'a> RawId<'a> {
    pub(crate) fn new(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// The raw JSON.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The id as a number, if it is one of the plain counters that the gate gives out itself.
    pub fn as_u64(self) -> Option<u64> {
        // No id of ours is longer, and no shorter one can overflow.
        if self.0.is_empty() || self.0.len() > 19 {
            return None;
        }
        self.0.iter().try_fold(0u64, |number, byte| {
            byte.is_ascii_digit()
                .then(|| number * 10 + u64::from(byte - b'0'))
        })
    }

    /// An owned id.
    pub fn to_id(self) -> Id {
        let text = match self.0 {
            [b'"', inner @ .., b'"'] if inner.contains(&b'\\') => {
                json::text(self.0, Span::all(self.0)).map(|text| text.as_ref().into())
            }
            _ => None,
        };
        Id {
            raw: self.0.into(),
            text,
        }
    }
}

/// Whether `raw`, a JSON value, may be an id: a string or an integer (basic/index, Requests: "MUST include a string or
/// integer ID", "MUST NOT be null").
pub(super) fn is_valid(raw: &[u8]) -> bool {
    match raw {
        [b'"', ..] => true,
        [b'-' | b'0'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// An owned id. Two ids are equal if they mean the same: `"a"` and `"\u0061"` are, `1` and `"1"` are not.
#[derive(Clone)]
pub struct Id {
    raw: Box<[u8]>,
    /// The decoded text, only where the raw form holds an escape.
    text: Option<Box<str>>,
}

impl Id {
    /// An id from raw JSON, if it is a string or an integer.
    pub fn from_raw(raw: &[u8]) -> Option<Self> {
        let span = json::validate(raw, json::Strictness::Edge).ok()?;
        let raw = span.of(raw);
        is_valid(raw).then(|| RawId::new(raw).to_id())
    }

    /// The id as it was sent, as raw JSON.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The id as it was sent.
    pub fn as_raw(&self) -> RawId<'_> {
        RawId::new(&self.raw)
    }

    /// See [`RawId::as_u64`].
    pub fn as_u64(&self) -> Option<u64> {
        self.as_raw().as_u64()
    }

    fn meaning(&self) -> (bool, &[u8]) {
        match (&self.text, &*self.raw) {
            (Some(text), _) => (true, text.as_bytes()),
            (None, [b'"', inner @ .., b'"']) => (true, inner),
            (None, digits) => (false, digits),
        }
    }
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self {
            raw: number.to_string().into_bytes().into(),
            text: None,
        }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.meaning() == other.meaning()
    }
}

impl Eq for Id {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.meaning().hash(state);
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}
