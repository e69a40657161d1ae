//! Masking: what of a call's arguments may be kept, and shown to who reads the log.
//!
//! Two rules, each enough by itself: a value is masked when its *name* says that it is a secret (`names`), and any part of a
//! text is masked that *looks* like one (`patterns`). Both lean towards too much: an auditor who misses a word can ask, a
//! password in a log is out.
//!
//! It is one pass over the bytes without a tree, it reads no further than it writes, and what it writes is bounded and is JSON
//! whatever it was given. Masking what was masked changes nothing.

mod names;
mod patterns;

use std::borrow::Cow;

use gatepost_protocol::json::escape_into;
use names::Names;

/// What stands in for a secret.
pub const MASKED: &str = "[masked]";
/// The name of the member, and the beginning of the text, that says that more was there.
const MORE: &str = "…";
/// A text longer than this is shortened, in bytes.
const LONGEST_TEXT: usize = 280;
/// To at most this many.
const SHORTENED: usize = 240;
/// How far a text is read: a secret that begins within what is shown is recognised by its beginning.
const WINDOW: usize = 1024;
/// Deeper values are left out.
const DEEPEST: usize = 32;
/// What a remark on what was left out takes at most, in bytes.
const REMARK: usize = 48;
/// No number worth keeping is longer, in bytes.
const LONGEST_NUMBER: usize = 40;

/// What to mask.
#[derive(Clone, Debug, Default)]
pub struct Masker {
    names: Names,
}

impl Masker {
    /// Masks the built-in names and `more`, whatever their case and separators: `api_key` is also `X-Api-Key` and `apiKeys`.
    pub fn new<S: AsRef<str>>(more: impl IntoIterator<Item = S>) -> Self {
        Self {
            names: Names::new(more),
        }
    }

    /// Appends the JSON value `raw`, masked, in at most `limit` bytes (and never more than its own remark if `limit` is
    /// smaller than that). What is no JSON ends where it stops being any.
    pub fn json_into(&self, raw: &[u8], limit: usize, out: &mut Vec<u8>) {
        Walk {
            names: &self.names,
            raw,
            at: 0,
            begin: out.len(),
            limit,
            out,
            open: [0; DEEPEST],
            depth: 0,
        }
        .run();
    }

    /// `text` with what looks like a secret masked. It is not shortened.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        masked(text, &self.names)
    }
}

/// How often a text is gone over at most. Once is enough but for texts made to need more: what is masked no longer stands
/// between its neighbours, which may then look like something together.
const ROUNDS: usize = 4;

fn masked<'t>(text: &'t str, names: &Names) -> Cow<'t, str> {
    let mut now = Cow::Borrowed(text);
    if patterns::is_plain(text.as_bytes()) {
        return now;
    }
    for _ in 0..ROUNDS {
        let mut next = String::new();
        let mut from = 0;
        while let Some(secret) = patterns::find(now.as_bytes(), from, names) {
            next.push_str(now.get(from..secret.start).unwrap_or_default());
            next.push_str(MASKED);
            from = secret.end;
        }
        if from == 0 {
            break;
        }
        next.push_str(now.get(from..).unwrap_or_default());
        now = Cow::Owned(next);
    }
    now
}

/// As much of the beginning of `text` as fits into `most` bytes.
pub fn beginning(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

struct Walk<'a> {
    names: &'a Names,
    raw: &'a [u8],
    at: usize,
    out: &'a mut Vec<u8>,
    begin: usize,
    limit: usize,
    /// What closes each open array and object.
    open: [u8; DEEPEST],
    depth: usize,
}

impl<'a> Walk<'a> {
    fn run(&mut self) {
        let mut first = true;
        // A remark of an earlier masking stands where this one's would: it may be the last thing, and nothing else may.
        let mut last: Option<(usize, usize, usize, bool)> = None;
        loop {
            self.white();
            if self.byte() == self.closer() && self.closer().is_some() {
                self.at += 1;
                self.close();
            } else {
                if let Some((undo, at, depth, first)) = last {
                    self.out.truncate(undo);
                    (self.at, self.depth) = (at, depth);
                    self.give_up(first);
                    return;
                }
                let (undo, at, depth) = (self.out.len(), self.at, self.depth);
                let read = self.item(first);
                let fits = self.out.len() + REMARK + self.depth <= self.begin + self.limit;
                if !read || !fits && !self.is_remark(undo) {
                    self.out.truncate(undo);
                    self.depth = depth;
                    self.give_up(first);
                    return;
                }
                last = (!fits).then_some((undo, at, depth, first));
            }
            if self.depth == 0 {
                return;
            }
            // Behind what was opened comes its first item, behind anything else a comma or the end.
            first = matches!(self.out.last(), Some(b'{' | b'['));
            if first {
                continue;
            }
            self.white();
            match self.byte() {
                Some(b',') => self.at += 1,
                byte if byte == self.closer() => {}
                _ => {
                    self.give_up(false);
                    return;
                }
            }
        }
    }

    /// Writes the next value, with its key if it stands in an object; of an array or object only its beginning. Nothing
    /// sensible if there is none.
    fn item(&mut self, first: bool) -> bool {
        if !first {
            self.out.push(b',');
        }
        if self.closer() == Some(b'}') {
            let Some(key) = self.string() else { return false };
            self.white();
            if self.byte() != Some(b':') {
                return false;
            }
            self.at += 1;
            self.white();
            let key = unescaped(key);
            let secret = self.names.say_secret(key.as_bytes());
            let harmless = secret && self.byte() != Some(b'"') && self.names.may_be_a_count(key.as_bytes());
            self.text(&key, key.len());
            self.out.push(b':');
            if secret && !harmless {
                self.quoted(MASKED);
                return self.skip();
            }
        }
        self.value()
    }

    fn value(&mut self) -> bool {
        match self.byte() {
            Some(b'"') => {
                let Some(inner) = self.string() else { return false };
                let text = unescaped(inner);
                self.text(&text, inner.len());
                true
            }
            Some(open @ (b'{' | b'[')) => {
                let Some(place) = self.open.get_mut(self.depth) else {
                    self.quoted(MORE);
                    return self.skip();
                };
                *place = if open == b'{' { b'}' } else { b']' };
                self.depth += 1;
                self.at += 1;
                self.out.push(open);
                true
            }
            Some(b'-' | b'0'..=b'9') => {
                let start = self.at;
                while matches!(self.byte(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
                    self.at += 1;
                }
                let number = self.raw.get(start..self.at).unwrap_or_default();
                if number.len() > LONGEST_NUMBER {
                    self.quoted(&format!("{MORE} ({} digits)", number.len()));
                } else if patterns::find(number, 0, self.names).is_some() {
                    self.quoted(MASKED);
                } else if is_number(number) {
                    self.out.extend_from_slice(number);
                } else {
                    return false;
                }
                true
            }
            _ => {
                let rest = self.raw.get(self.at..).unwrap_or_default();
                let Some(word) = [&b"true"[..], b"false", b"null"]
                    .into_iter()
                    .find(|word| rest.starts_with(word))
                else {
                    return false;
                };
                self.at += word.len();
                self.out.extend_from_slice(word);
                true
            }
        }
    }

    /// Writes a text, masked and shortened. `bytes` is how long it was when it came.
    fn text(&mut self, text: &str, bytes: usize) {
        let window = beginning(text, WINDOW);
        let whole = bytes <= WINDOW;
        self.out.push(b'"');
        let begin = self.out.len();
        escape_into(self.out, &masked(window, self.names));
        if !whole || self.out.len() - begin > LONGEST_TEXT {
            let shown = std::str::from_utf8(self.out.get(begin..).unwrap_or_default())
                .ok()
                .map_or(0, |shown| cut(shown, SHORTENED));
            self.out.truncate(begin + shown);
            self.out
                .extend_from_slice(format!("{MORE} ({bytes} bytes)").as_bytes());
        }
        self.out.push(b'"');
    }

    fn quoted(&mut self, text: &str) {
        self.out.push(b'"');
        escape_into(self.out, text);
        self.out.push(b'"');
    }

    /// Whether what was written since `undo` is a remark of an earlier masking, for which there is always room.
    fn is_remark(&self, undo: usize) -> bool {
        let written = self.out.get(undo..).unwrap_or_default();
        let written = written.strip_prefix(b",").unwrap_or(written);
        written.len() <= REMARK
            && written
                .strip_prefix(b"\"")
                .is_some_and(|text| text.starts_with(MORE.as_bytes()))
    }

    /// Says how much is left, and closes what is open.
    fn give_up(&mut self, first: bool) {
        let left = self.raw.len() - self.at.min(self.raw.len());
        if !first {
            self.out.push(b',');
        }
        if self.closer() == Some(b'}') {
            self.quoted(MORE);
            self.out.push(b':');
        }
        self.quoted(&format!("{MORE} ({left} bytes)"));
        while self.depth > 0 {
            self.close();
        }
    }

    fn close(&mut self) {
        self.out.extend(self.closer());
        self.depth = self.depth.saturating_sub(1);
    }

    fn closer(&self) -> Option<u8> {
        self.depth
            .checked_sub(1)
            .and_then(|at| self.open.get(at).copied())
    }

    fn byte(&self) -> Option<u8> {
        self.raw.get(self.at).copied()
    }

    fn white(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes a string and gives what is between its quotes.
    fn string(&mut self) -> Option<&'a str> {
        if self.byte() != Some(b'"') {
            return None;
        }
        let start = self.at + 1;
        let end = string_end(self.raw, start)?;
        self.at = end + 1;
        std::str::from_utf8(self.raw.get(start..end)?).ok()
    }

    /// Passes over the next value, whatever it is.
    fn skip(&mut self) -> bool {
        let mut depth = 0usize;
        loop {
            match self.byte() {
                None => return false,
                Some(b'"') => match string_end(self.raw, self.at + 1) {
                    Some(end) => self.at = end + 1,
                    None => return false,
                },
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                Some(b'}' | b']') if depth == 0 => return false,
                Some(b'}' | b']') => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':' | b' ' | b'\t' | b'\n' | b'\r') if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                Some(b',' | b':') => return false,
                Some(_) => {
                    while !matches!(
                        self.byte(),
                        None | Some(
                            b',' | b':' | b'"' | b'{' | b'[' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'
                        )
                    ) {
                        self.at += 1;
                    }
                }
            }
            if depth == 0 {
                return true;
            }
        }
    }
}

/// Where the string ends that begins behind its quote at `at`.
fn string_end(raw: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', raw.get(at..)?)?;
        if raw.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// A JSON number (RFC 8259 §6).
fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(text);
    if whole == 0 || whole > 1 && text.first() == Some(&b'0') {
        return false;
    }
    let mut rest = text.get(whole..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix(b".") {
        let some = digits(fraction);
        if some == 0 {
            return false;
        }
        rest = fraction.get(some..).unwrap_or_default();
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', exponent @ ..] => exponent,
            exponent => exponent,
        };
        let some = digits(exponent);
        return some > 0 && some == exponent.len();
    }
    rest.is_empty()
}

/// The beginning of a JSON string, escapes resolved. Half a surrogate pair becomes U+FFFD.
fn unescaped(inner: &str) -> Cow<'_, str> {
    let inner = beginning(inner, 6 * WINDOW);
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(slash) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(rest.get(..slash).unwrap_or_default());
        let escape = rest.get(slash + 1..).unwrap_or_default();
        let mut after = escape.get(1..).unwrap_or_default();
        match escape.bytes().next() {
            Some(b'b') => text.push('\u{8}'),
            Some(b'f') => text.push('\u{c}'),
            Some(b'n') => text.push('\n'),
            Some(b'r') => text.push('\r'),
            Some(b't') => text.push('\t'),
            Some(b'u') => {
                let unit = |text: &str| text.get(..4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                let high = unit(after).unwrap_or(0xfffd);
                after = after.get(4..).unwrap_or_default();
                let low = after.strip_prefix("\\u").and_then(unit);
                let code = match low {
                    Some(low) if (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low) => {
                        after = after.get(6..).unwrap_or_default();
                        0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => high,
                };
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(byte) if byte.is_ascii() => text.push(char::from(byte)),
            _ => after = escape,
        }
        rest = after;
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Where to cut a text of at most `longest` bytes: between words, so that no part of a word can look like something that the
/// whole was not. No word is as long as that; then nothing is left.
fn cut(text: &str, longest: usize) -> usize {
    beginning(text, longest)
        .rfind(|c: char| c.is_ascii_whitespace() || !c.is_ascii())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
