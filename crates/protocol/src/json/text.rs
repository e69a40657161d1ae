//! JSON strings: decoding, comparing, encoding.

use std::borrow::Cow;

use super::Span;

fn inner(raw: &[u8], span: Span) -> Option<&[u8]> {
    match span.of(raw) {
        [b'"', inner @ .., b'"'] => Some(inner),
        _ => None,
    }
}

/// The string at `span`, decoded. `None` if it is no string, or holds half a surrogate pair and so is no Unicode text.
pub fn text(raw: &[u8], span: Span) -> Option<Cow<'_, str>> {
    let inner = inner(raw, span)?;
    match memchr::memchr(b'\\', inner) {
        None => std::str::from_utf8(inner).ok().map(Cow::Borrowed),
        Some(_) => String::from_utf8(decode(inner)?).ok().map(Cow::Owned),
    }
}

/// Whether the string at `span` says `wanted`, escapes decoded.
#[inline]
pub fn equals(raw: &[u8], span: Span, wanted: &str) -> bool {
    let Some(inner) = inner(raw, span) else {
        return false;
    };
    // Most keys differ in their first byte, which stands for itself unless it begins an escape.
    if inner.first() != wanted.as_bytes().first() && inner.first() != Some(&b'\\') {
        return false;
    }
    // No escape is shorter than what it stands for.
    if inner.len() == wanted.len() {
        return inner == wanted.as_bytes() && !has_escape(inner);
    }
    inner.len() > wanted.len()
        && has_escape(inner)
        && decode(inner).is_some_and(|text| text == wanted.as_bytes())
}

fn has_escape(inner: &[u8]) -> bool {
    memchr::memchr(b'\\', inner).is_some()
}

/// A key's bytes for comparing with other keys. Half a surrogate pair is kept apart from every other key.
pub(super) fn key_bytes(raw: &[u8], span: Span) -> Cow<'_, [u8]> {
    let inner = inner(raw, span).unwrap_or_default();
    if has_escape(inner) {
        decode(inner).map_or(Cow::Borrowed(inner), Cow::Owned)
    } else {
        Cow::Borrowed(inner)
    }
}

/// Resolves escapes. A lone surrogate is encoded in three bytes like any other code unit (WTF-8), so that the caller
/// sees that it is no UTF-8 while different strings stay different. `None` if an escape is malformed.
fn decode(inner: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(slash) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at_checked(slash)?;
        out.extend_from_slice(plain);
        let (code, after) = match escape {
            [_, b'b', after @ ..] => (0x08, after),
            [_, b'f', after @ ..] => (0x0c, after),
            [_, b'n', after @ ..] => (0x0a, after),
            [_, b'r', after @ ..] => (0x0d, after),
            [_, b't', after @ ..] => (0x09, after),
            [_, byte @ (b'"' | b'\\' | b'/'), after @ ..] => (u32::from(*byte), after),
            [_, b'u', after @ ..] => unicode(after)?,
            _ => return None,
        };
        push_code(&mut out, code);
        rest = after;
    }
    out.extend_from_slice(rest);
    Some(out)
}

fn unicode(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (high, after) = hex4(rest)?;
    if (0xd800..0xdc00).contains(&high)
        && let [b'\\', b'u', tail @ ..] = after
        && let Some((low, end)) = hex4(tail)
        && (0xdc00..0xe000).contains(&low)
    {
        return Some((0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), end));
    }
    Some((high, after))
}

fn hex4(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, after) = rest.split_at_checked(4)?;
    let mut code = 0;
    for &digit in digits {
        code = code << 4 | char::from(digit).to_digit(16)?;
    }
    Some((code, after))
}

fn push_code(out: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            let bits = |shift: u32| (code >> shift & 0x3f) as u8;
            out.extend_from_slice(&[0xe0 | (code >> 12 & 0x0f) as u8, 0x80 | bits(6), 0x80 | bits(0)]);
        }
    }
}

/// `text` as a JSON string, quotes included.
pub fn quote(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    quote_into(&mut out, text);
    out
}

/// Appends `text` as a JSON string, quotes included.
pub fn quote_into(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape_into(out, text);
    out.push(b'"');
}

/// Appends `text` as the inside of a JSON string, between its quotes.
pub fn escape_into(out: &mut Vec<u8>, text: &str) {
    let raw = text.as_bytes();
    let mut from = 0;
    loop {
        let at = super::scan::special(raw, from);
        out.extend_from_slice(raw.get(from..at).unwrap_or_default());
        let Some(&byte) = raw.get(at) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).map_or(b'0', |c| c as u8);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
        }
        from = at + 1;
    }
}

/// Writes one JSON object, member by member.
#[derive(Debug)]
pub struct ObjectWriter {
    out: Vec<u8>,
}

impl Default for ObjectWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ObjectWriter {
    /// `{`
    pub fn new() -> Self {
        Self { out: vec![b'{'] }
    }

    /// Adds a member whose value is raw JSON.
    pub fn raw(&mut self, key: &str, value: &[u8]) -> &mut Self {
        self.key(key);
        self.out.extend_from_slice(value);
        self
    }

    /// Adds a member whose value is a string.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        quote_into(&mut self.out, value);
        self
    }

    /// Adds a member whose value is a number.
    pub fn number(&mut self, key: &str, value: i64) -> &mut Self {
        self.raw(key, value.to_string().as_bytes())
    }

    fn key(&mut self, key: &str) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        quote_into(&mut self.out, key);
        self.out.push(b':');
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.out.len() == 1
    }

    /// The object.
    pub fn finish(&mut self) -> Vec<u8> {
        self.out.push(b'}');
        std::mem::take(&mut self.out)
    }
}
