//! Changing the id and a few members of the result of a response that is too large to wait for.
//!
//! Chunks pass through as slices of what came in; only the edited places are new. What comes out is, byte for byte, what
//! [`ResponseRewrite`](crate::rewrite::ResponseRewrite) makes of the whole message with the same edits.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::json::{self, Levels, Span, Strictness, bit, quote_into, set_bit, special};

/// What to change.
#[derive(Debug, Clone, Default)]
pub struct SpliceEdits {
    /// The new id, as raw JSON. Put in if the response has none, as an error response may.
    pub id: Option<Bytes>,
    /// Members of the result to leave out.
    pub remove: &'static [&'static str],
    /// Members to put at the end of the result, each only if the server's own was not there (or is removed).
    pub add: SmallVec<[(&'static str, Bytes); 3]>,
    /// Members of the result that stop the filter with [`SpliceError::Unfinished`]: the response must be seen whole.
    pub stop: &'static [&'static str],
}

/// What kind of response it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It has a `result`.
    Result,
    /// It has an `error`.
    Error,
}

/// Why the bytes are no response. What was given out before must not be taken for a whole message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// Not JSON.
    #[error("the response is not JSON: unexpected byte at {offset}")]
    Syntax {
        /// Where, counted from the start of the response.
        offset: u64,
    },
    /// Something follows the response.
    #[error("something follows the response at byte {offset}")]
    Trailing {
        /// Where it begins.
        offset: u64,
    },
    /// The bytes ended too soon.
    #[error("the response ends in the middle")]
    Truncated,
    /// Nested deeper than 1,024 levels.
    #[error("the response is nested deeper than 1024 levels")]
    Depth,
    /// A key or white space that would have to be held back is absurdly large.
    #[error("the response holds a key or white space larger than 64 KiB")]
    Unwieldy,
    /// JSON, but no response: it has a `method`, or neither `result` nor `error`.
    #[error("the answer is not a JSON-RPC response")]
    NotAResponse,
    /// The result has one of the members that were to stop the filter.
    #[error("the result turns out to ask for input after most of it has been passed on")]
    Unfinished,
}

/// A key or separator that is held back may not grow beyond this.
const MAX_HELD: usize = 64 * 1024;
/// Keys and ids are compared and reported up to this length.
const MAX_NOTED: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value must come.
    Value,
    /// A value or `]`.
    FirstItem,
    /// A key or `}`.
    FirstKey,
    /// A key.
    Key,
    Colon,
    /// A comma, or the end of what is open.
    After,
    Text {
        is_key: bool,
        escape: bool,
    },
    Scalar,
    Done,
}

/// What happens to the bytes going by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    Hold,
    Drop,
}

/// The depth-1 member whose value is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Id,
    Result,
    Other,
}

/// The filter. Feed chunks in order, then [`finish`](Self::finish).
#[derive(Debug)]
pub struct IdSplicer {
    edits: SpliceEdits,
    state: State,
    depth: usize,
    objects: Levels,
    mode: Mode,
    /// Start of the bytes of the current chunk that were not dealt with yet.
    from: usize,
    held: Vec<u8>,
    part: Part,
    /// Inside the result, which is an object and has edits.
    in_result: bool,
    /// A member of the result was kept.
    kept: bool,
    removing: bool,
    /// Which additions the server sent itself.
    present: SmallVec<[bool; 3]>,
    /// The key or id under way, quotes included.
    noting: bool,
    noted: SmallVec<[u8; 64]>,
    id: Option<SmallVec<[u8; 32]>>,
    seen: Option<Seen>,
    /// Bytes of earlier chunks.
    offset: u64,
}

impl IdSplicer {
    /// A filter for one response.
    pub fn new(edits: SpliceEdits) -> Self {
        let present = edits.add.iter().map(|_| false).collect();
        Self {
            edits,
            state: State::Value,
            depth: 0,
            objects: [0; 17],
            mode: Mode::Pass,
            from: 0,
            held: Vec::new(),
            part: Part::Other,
            in_result: false,
            kept: false,
            removing: false,
            present,
            noting: false,
            noted: SmallVec::new(),
            id: None,
            seen: None,
            offset: 0,
        }
    }

    /// Whether it is a result or an error, once that is known.
    pub fn seen(&self) -> Option<Seen> {
        self.seen
    }

    /// The id the response came with, as raw JSON, once it has gone by. Ids beyond 512 bytes are cut.
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }

    /// Filters one chunk; what is to be sent is appended to `out`, as slices of the chunk wherever possible.
    ///
    /// # Errors
    /// A [`SpliceError`] ends the response: nothing more may be fed.
    pub fn feed(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), SpliceError> {
        let mut at = 0;
        self.from = 0;
        while let Some(&byte) = chunk.get(at) {
            match self.state {
                State::Text { is_key, escape: true } => {
                    self.note(&[byte]);
                    self.state = State::Text {
                        is_key,
                        escape: false,
                    };
                    at += 1;
                }
                State::Text {
                    is_key,
                    escape: false,
                } => {
                    let end = special(chunk, at);
                    self.note(chunk.get(at..end).unwrap_or_default());
                    at = end;
                    match chunk.get(at) {
                        None => break,
                        Some(b'"') => {
                            self.note(b"\"");
                            at += 1;
                            if is_key {
                                self.key_end(chunk, at, out)?;
                            } else {
                                self.value_end(chunk, at, out)?;
                            }
                        }
                        Some(b'\\') => {
                            self.note(b"\\");
                            self.state = State::Text { is_key, escape: true };
                            at += 1;
                        }
                        Some(_) => return Err(self.wrong(at)),
                    }
                }
                State::Scalar => {
                    if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.') {
                        self.note(&[byte]);
                        at += 1;
                    } else {
                        // The delimiter is looked at again.
                        self.value_end(chunk, at, out)?;
                    }
                }
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => at += 1,
                State::Value | State::FirstItem => self.value_start(byte, chunk, &mut at, out)?,
                State::FirstKey | State::Key => match byte {
                    b'"' => {
                        self.key_start(chunk, at, out)?;
                        at += 1;
                    }
                    b'}' if self.state == State::FirstKey => self.close(chunk, &mut at, out)?,
                    _ => return Err(self.wrong(at)),
                },
                State::Colon if byte == b':' => {
                    self.state = State::Value;
                    at += 1;
                }
                State::Colon => return Err(self.wrong(at)),
                State::After => match (byte, bit(&self.objects, self.depth)) {
                    (b',', is_object) => {
                        self.state = if is_object { State::Key } else { State::Value };
                        at += 1;
                        if self.at_result_level() && !self.kept {
                            // What comes first needs no comma before it.
                            self.switch(chunk, at, Mode::Drop, out)?;
                            self.held.clear();
                        }
                    }
                    (b'}', true) | (b']', false) => self.close(chunk, &mut at, out)?,
                    _ => return Err(self.wrong(at)),
                },
                State::Done => {
                    return Err(SpliceError::Trailing {
                        offset: self.offset + at as u64,
                    });
                }
            }
        }
        self.switch(chunk, chunk.len(), self.mode, out)?;
        self.offset += chunk.len() as u64;
        Ok(())
    }

    /// Says whether what was fed is one whole response.
    ///
    /// # Errors
    /// [`SpliceError::Truncated`] or [`SpliceError::NotAResponse`].
    pub fn finish(&self) -> Result<(), SpliceError> {
        match (self.state, self.seen) {
            (State::Done, Some(_)) => Ok(()),
            (State::Done, None) => Err(SpliceError::NotAResponse),
            _ => Err(SpliceError::Truncated),
        }
    }

    #[cold]
    fn wrong(&self, at: usize) -> SpliceError {
        SpliceError::Syntax {
            offset: self.offset + at as u64,
        }
    }

    fn at_result_level(&self) -> bool {
        self.in_result && self.depth == 2
    }

    /// Deals with the bytes up to `at` as the mode says, and goes on in another mode.
    fn switch(
        &mut self,
        chunk: &Bytes,
        at: usize,
        mode: Mode,
        out: &mut Vec<Bytes>,
    ) -> Result<(), SpliceError> {
        if at > self.from {
            match self.mode {
                Mode::Pass => out.push(chunk.slice(self.from..at)),
                Mode::Hold => {
                    self.held
                        .extend_from_slice(chunk.get(self.from..at).unwrap_or_default());
                    if self.held.len() > MAX_HELD {
                        return Err(SpliceError::Unwieldy);
                    }
                }
                Mode::Drop => {}
            }
        }
        self.from = at;
        self.mode = mode;
        Ok(())
    }

    fn release(&mut self, out: &mut Vec<Bytes>) {
        if !self.held.is_empty() {
            out.push(Bytes::copy_from_slice(&self.held));
            self.held.clear();
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        if self.noting {
            let room = MAX_NOTED.saturating_sub(self.noted.len());
            self.noted
                .extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        }
    }

    fn start_noting(&mut self) {
        self.noting = true;
        self.noted.clear();
    }

    fn key_start(&mut self, chunk: &Bytes, at: usize, out: &mut Vec<Bytes>) -> Result<(), SpliceError> {
        self.noting = false;
        if self.depth == 1 || self.at_result_level() {
            self.start_noting();
            self.note(b"\"");
        }
        if self.at_result_level() && !self.kept {
            // White space before the first key stays; there is no comma yet that would go with it.
            self.switch(chunk, at, Mode::Hold, out)?;
            self.release(out);
        }
        self.state = State::Text {
            is_key: true,
            escape: false,
        };
        Ok(())
    }

    fn key_end(&mut self, chunk: &Bytes, at: usize, out: &mut Vec<Bytes>) -> Result<(), SpliceError> {
        self.state = State::Colon;
        if !std::mem::take(&mut self.noting) {
            return Ok(());
        }
        let key = Span::all(&self.noted);
        let is = |name: &str| json::equals(&self.noted, key, name);
        if self.depth == 1 {
            self.part = Part::Other;
            if is("id") {
                self.part = Part::Id;
            } else if is("result") {
                self.part = Part::Result;
                self.seen = Some(Seen::Result);
            } else if is("error") {
                self.seen = Some(Seen::Error);
            } else if is("method") {
                return Err(SpliceError::NotAResponse);
            }
            return Ok(());
        }
        if self.edits.stop.iter().any(|name| is(name)) {
            return Err(SpliceError::Unfinished);
        }
        self.removing = self.edits.remove.iter().any(|name| is(name));
        if self.removing {
            self.switch(chunk, at, Mode::Drop, out)?;
            self.held.clear();
            return Ok(());
        }
        for ((name, _), present) in self.edits.add.iter().zip(&mut self.present) {
            *present |= json::equals(&self.noted, key, name);
        }
        self.kept = true;
        self.switch(chunk, at, Mode::Pass, out)?;
        self.release(out);
        Ok(())
    }

    fn value_start(
        &mut self,
        byte: u8,
        chunk: &Bytes,
        at: &mut usize,
        out: &mut Vec<Bytes>,
    ) -> Result<(), SpliceError> {
        if byte == b']' && self.state == State::FirstItem {
            return self.close(chunk, at, out);
        }
        if self.depth == 0 && byte != b'{' {
            return Err(SpliceError::NotAResponse);
        }
        if self.depth == 1 && self.part == Part::Id {
            self.start_noting();
            if let Some(id) = self.edits.id.clone() {
                self.switch(chunk, *at, Mode::Drop, out)?;
                out.push(id);
            }
        }
        match byte {
            b'"' => {
                self.note(b"\"");
                self.state = State::Text {
                    is_key: false,
                    escape: false,
                };
                *at += 1;
            }
            b'{' | b'[' => {
                if self.depth >= Strictness::Server.max_depth() as usize {
                    return Err(SpliceError::Depth);
                }
                let is_object = byte == b'{';
                self.depth += 1;
                set_bit(&mut self.objects, self.depth, is_object);
                self.state = if is_object {
                    State::FirstKey
                } else {
                    State::FirstItem
                };
                *at += 1;
                let SpliceEdits {
                    remove, add, stop, ..
                } = &self.edits;
                let edited = !(remove.is_empty() && add.is_empty() && stop.is_empty());
                if self.depth == 2 && is_object && self.part == Part::Result && edited {
                    self.in_result = true;
                    self.kept = false;
                    self.present.fill(false);
                    // From here on white space and commas wait for what comes next.
                    self.switch(chunk, *at, Mode::Hold, out)?;
                }
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.state = State::Scalar,
            _ => return Err(self.wrong(*at)),
        }
        Ok(())
    }

    /// A value has ended before `at`.
    fn value_end(&mut self, chunk: &Bytes, at: usize, out: &mut Vec<Bytes>) -> Result<(), SpliceError> {
        self.state = State::After;
        if self.depth == 1 && self.part == Part::Id {
            self.id = Some(SmallVec::from_slice(&self.noted));
            self.noting = false;
            self.part = Part::Other;
            self.switch(chunk, at, Mode::Pass, out)?;
        } else if self.at_result_level() {
            self.removing = false;
            self.switch(chunk, at, Mode::Hold, out)?;
        } else if self.depth == 0 {
            self.state = State::Done;
        }
        Ok(())
    }

    /// Closes what is open at `at`.
    fn close(&mut self, chunk: &Bytes, at: &mut usize, out: &mut Vec<Bytes>) -> Result<(), SpliceError> {
        if self.at_result_level() {
            self.switch(chunk, *at, Mode::Pass, out)?;
            self.add(out);
            self.release(out);
            self.in_result = false;
        }
        if self.depth == 1
            && self.id.is_none()
            && let Some(id) = self.edits.id.clone()
        {
            if self.seen.is_none() {
                return Err(SpliceError::NotAResponse);
            }
            self.switch(chunk, *at, Mode::Pass, out)?;
            out.push(Bytes::from_static(b",\"id\":"));
            out.push(id);
        }
        self.depth -= 1;
        *at += 1;
        self.value_end(chunk, *at, out)
    }

    /// The additions the server did not make itself.
    fn add(&mut self, out: &mut Vec<Bytes>) {
        let mut text = Vec::new();
        for ((name, value), present) in self.edits.add.iter().zip(&self.present) {
            if *present {
                continue;
            }
            if std::mem::replace(&mut self.kept, true) {
                text.push(b',');
            }
            quote_into(&mut text, name);
            text.push(b':');
            text.extend_from_slice(value);
        }
        if !text.is_empty() {
            out.push(text.into());
        }
    }
}

#[cfg(test)]
mod tests;
