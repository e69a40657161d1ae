//! A strict JSON scanner that records places instead of building values.
//!
//! One pass over the bytes checks everything RFC 8259 asks for, without recursion (nesting cannot exhaust the stack)
//! and without a tree (memory stays a small multiple of the number of keys). What it leaves behind are [`Span`]s into
//! the caller's bytes.

mod scan;
mod text;

pub use scan::{Strictness, validate};
pub use text::{ObjectWriter, equals, escape_into, quote, quote_into, text};

pub(crate) use scan::{Envelope, Levels, bit, scan_envelope, set_bit, special};

use smallvec::SmallVec;

/// A place in a message: byte offsets, start included, end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// A span from two offsets. Messages are limited to 4 GiB by [`validate`], so offsets fit.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start: clamp(start),
            end: clamp(end),
        }
    }

    /// The span that covers all of `raw`.
    pub fn all(raw: &[u8]) -> Self {
        Self::new(0, raw.len())
    }

    /// Offset of the first byte.
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// Offset after the last byte.
    pub fn end(self) -> usize {
        self.end as usize
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        self.end().saturating_sub(self.start())
    }

    /// Whether nothing is covered.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The bytes this span covers. A span of another, shorter message gives an empty slice, never a panic.
    #[inline]
    pub fn of(self, raw: &[u8]) -> &[u8] {
        raw.get(self.start()..self.end()).unwrap_or_default()
    }
}

fn clamp(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// One `"key": value` of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The key with its quotes.
    pub key: Span,
    /// The value, without the white space around it.
    pub value: Span,
}

/// The members of one object, in the order they were sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    span: Span,
    list: SmallVec<[Member; 6]>,
}

impl Members {
    pub(crate) fn at(start: usize) -> Self {
        Self {
            span: Span::new(start, start),
            list: SmallVec::new(),
        }
    }

    pub(crate) fn push(&mut self, member: Member) {
        self.list.push(member);
    }

    pub(crate) fn close(&mut self, end: usize) {
        self.span = Span::new(self.span.start(), end);
    }

    /// The whole object, braces included.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The value of `name`. Keys compare decoded: `"\u0069d"` is `id`. Where a lenient parse let a name through twice,
    /// the last one counts, as it does for `JSON.parse`.
    pub fn get(&self, raw: &[u8], name: &str) -> Option<Span> {
        self.named(raw, name).last().map(|member| member.value)
    }

    /// All members called `name`: more than one only after a lenient parse.
    pub fn named<'a>(&'a self, raw: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a Member> {
        self.list
            .iter()
            .filter(move |member| equals(raw, member.key, name))
    }

    /// The members in the order they were sent.
    pub fn iter(&self) -> std::slice::Iter<'_, Member> {
        self.list.iter()
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether the object is `{}`.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl<'a> IntoIterator for &'a Members {
    type Item = &'a Member;
    type IntoIter = std::slice::Iter<'a, Member>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What kind of JSON value a span holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number of any size.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

/// The kind of the value at `span`, told from its first byte. The span must come from a validated message.
pub fn kind(raw: &[u8], span: Span) -> Option<Kind> {
    match span.of(raw).first()? {
        b'{' => Some(Kind::Object),
        b'[' => Some(Kind::Array),
        b'"' => Some(Kind::String),
        b'-' | b'0'..=b'9' => Some(Kind::Number),
        b't' | b'f' => Some(Kind::Bool),
        b'n' => Some(Kind::Null),
        _ => None,
    }
}

/// Why bytes are not acceptable JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON by RFC 8259.
    #[error("not JSON: {what} at byte {offset}")]
    Syntax {
        /// What was met or missed.
        what: &'static str,
        /// Offset of the byte where the text stops being JSON.
        offset: usize,
    },
    /// The bytes are not UTF-8 (RFC 8259 §8.1).
    #[error("not JSON: invalid UTF-8 at byte {offset}")]
    Utf8 {
        /// Offset of the first byte that is not UTF-8.
        offset: usize,
    },
    /// Nested deeper than allowed.
    #[error("JSON is nested deeper than {limit} levels")]
    Depth {
        /// Levels allowed.
        limit: u32,
    },
    /// One object names a member twice. Parsers disagree about which one counts, so what is checked might not be what
    /// is obeyed.
    #[error("an object names the same member twice, at byte {offset}")]
    DuplicateKey {
        /// Offset of the later occurrence's key.
        offset: usize,
    },
    /// More than 4 GiB.
    #[error("JSON text is larger than 4 GiB")]
    TooLarge,
    /// The value is JSON but not the kind that was asked for.
    #[error("expected {expected} at byte {offset}")]
    Kind {
        /// What was expected, with its article.
        expected: &'static str,
        /// Where the value begins.
        offset: usize,
    },
}

/// Lists the members of the object at `span`, which must come from a validated message.
///
/// Values are skipped, not checked again.
///
/// # Errors
/// [`JsonError::Kind`] if the span holds no object.
pub fn object(raw: &[u8], span: Span) -> Result<Members, JsonError> {
    let mut skip = scan::Skip::new(raw, span);
    let wrong = JsonError::Kind {
        expected: "an object",
        offset: span.start(),
    };
    let mut members = Members {
        span,
        list: SmallVec::new(),
    };
    if !skip.take(b'{') {
        return Err(wrong);
    }
    if skip.take(b'}') {
        return Ok(members);
    }
    loop {
        let key = skip.value().ok_or(wrong)?;
        if !skip.take(b':') {
            return Err(wrong);
        }
        let value = skip.value().ok_or(wrong)?;
        members.push(Member { key, value });
        if skip.take(b'}') {
            return Ok(members);
        }
        if !skip.take(b',') {
            return Err(wrong);
        }
    }
}

/// Walks the items of the array at `span`, which must come from a validated message. Anything but an array has none.
pub fn items(raw: &[u8], span: Span) -> Items<'_> {
    let mut skip = scan::Skip::new(raw, span);
    let open = skip.take(b'[') && !skip.take(b']');
    Items { skip, open }
}

/// Iterator over the items of an array, see [`items`].
#[derive(Debug)]
pub struct Items<'a> {
    skip: scan::Skip<'a>,
    open: bool,
}

impl Iterator for Items<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        if !self.open {
            return None;
        }
        let item = self.skip.value();
        self.open = item.is_some() && self.skip.take(b',');
        item
    }
}

#[cfg(test)]
mod tests;
