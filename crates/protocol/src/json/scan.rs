//! The scanner itself, and the cheaper walk over text it has already accepted.

use smallvec::SmallVec;

use super::text::{equals, key_bytes};
use super::{JsonError, Member, Members, Span};

/// How much is asked of a text beyond being JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// From clients, and from whoever else is untrusted: no object anywhere names a member twice, at most 64 levels.
    Edge,
    /// From servers, whose answers pass as they are: anything that is JSON, at most 1,024 levels.
    Server,
}

impl Strictness {
    /// How many arrays and objects may be open at once.
    pub const fn max_depth(self) -> u32 {
        match self {
            Self::Edge => 64,
            Self::Server => 1024,
        }
    }
}

/// Checks that `raw` is one JSON value and says where it is (white space around it is allowed).
///
/// # Errors
/// A [`JsonError`] that says what is wrong and where.
pub fn validate(raw: &[u8], strictness: Strictness) -> Result<Span, JsonError> {
    let mut scanner = Scanner::new(raw, strictness)?;
    scanner.run().map(|()| scanner.found.span)
}

/// The places a JSON-RPC message is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Envelope {
    /// The whole value.
    pub(crate) span: Span,
    /// Members of the value, if it is an object.
    pub(crate) root: Option<Members>,
    /// Members of the last of `params`, `result` and `error` that is an object.
    pub(crate) body: Option<Members>,
    /// Members of that object's `_meta`, if it is one.
    pub(crate) meta: Option<Members>,
}

/// Like [`validate`], and notes the members of the envelope, of its `params`, `result` or `error`, and of `_meta` therein.
///
/// On an error, what was found before it is handed back, so that the answer can still name the request's id.
pub(crate) fn scan_envelope(raw: &[u8], strictness: Strictness) -> (Result<(), JsonError>, Envelope) {
    match Scanner::new(raw, strictness) {
        Ok(mut scanner) => (scanner.run(), scanner.found),
        Err(error) => (Err(error), Envelope::default()),
    }
}

/// One bit per open level; 1,024 levels and the one that overflows.
pub(crate) type Levels = [u64; 17];

pub(crate) fn bit(levels: &Levels, depth: usize) -> bool {
    levels
        .get(depth / 64)
        .is_some_and(|word| word >> (depth % 64) & 1 == 1)
}

pub(crate) fn set_bit(levels: &mut Levels, depth: usize, on: bool) {
    if let Some(word) = levels.get_mut(depth / 64) {
        *word = *word & !(1 << (depth % 64)) | (u64::from(on) << (depth % 64));
    }
}

struct Scanner<'a> {
    raw: &'a [u8],
    at: usize,
    /// How many arrays and objects are open.
    depth: usize,
    limit: u32,
    unique: bool,
    /// Which open levels are objects.
    objects: Levels,
    /// Which open objects have a key with an escape.
    escaped: Levels,
    /// Keys of all open objects, and where each object's begin. Only kept when keys must be unique.
    keys: SmallVec<[Span; 24]>,
    frames: SmallVec<[u32; 12]>,
    /// The levels being recorded: levels `1..=captured` are envelope, body and `_meta`.
    captured: usize,
    /// The member under way on each recorded level: its key, and where its value begins.
    pending: [(Span, usize); 3],
    found: Envelope,
}

impl<'a> Scanner<'a> {
    fn new(raw: &'a [u8], strictness: Strictness) -> Result<Self, JsonError> {
        if u32::try_from(raw.len()).is_err() {
            return Err(JsonError::TooLarge);
        }
        // Checked once, up front: from here on, a byte ≥ 0x80 can only occur inside strings, and is fine there.
        if let Err(error) = std::str::from_utf8(raw) {
            return Err(JsonError::Utf8 {
                offset: error.valid_up_to(),
            });
        }
        Ok(Self {
            raw,
            at: 0,
            depth: 0,
            limit: strictness.max_depth(),
            unique: strictness == Strictness::Edge,
            objects: [0; 17],
            escaped: [0; 17],
            keys: SmallVec::new(),
            frames: SmallVec::new(),
            captured: 0,
            pending: [(Span::default(), 0); 3],
            found: Envelope::default(),
        })
    }

    #[cold]
    fn wrong(&self, what: &'static str) -> JsonError {
        JsonError::Syntax {
            what,
            offset: self.at,
        }
    }

    fn run(&mut self) -> Result<(), JsonError> {
        self.at = white_end(self.raw, self.at);
        let start = self.at;
        loop {
            // A value begins here.
            if self.depth != 0
                && self.depth == self.captured
                && let Some(pending) = self.pending.get_mut(self.depth - 1)
            {
                pending.1 = self.at;
            }
            match self.raw.get(self.at) {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{') => {
                    self.open(true)?;
                    if self.raw.get(self.at) == Some(&b'}') {
                        self.close()?;
                    } else {
                        self.key()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.open(false)?;
                    if self.raw.get(self.at) == Some(&b']') {
                        self.close()?;
                    } else {
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                Some(_) => return Err(self.wrong("expected a value")),
                None => return Err(self.wrong("unexpected end")),
            }
            // A value has ended here.
            loop {
                if self.depth == 0 {
                    self.found.span = Span::new(start, self.at);
                    self.at = white_end(self.raw, self.at);
                    return if self.at == self.raw.len() {
                        Ok(())
                    } else {
                        Err(self.wrong("something follows the end of the value"))
                    };
                }
                if self.depth == self.captured {
                    self.record();
                }
                self.at = white_end(self.raw, self.at);
                let in_object = bit(&self.objects, self.depth);
                match self.raw.get(self.at) {
                    Some(b',') => {
                        self.at = white_end(self.raw, self.at + 1);
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if in_object => self.close()?,
                    Some(b']') if !in_object => self.close()?,
                    Some(_) if in_object => return Err(self.wrong("expected `,` or `}`")),
                    Some(_) => return Err(self.wrong("expected `,` or `]`")),
                    None => return Err(self.wrong("unexpected end")),
                }
            }
        }
    }

    /// Enters an array or object and skips to its first byte.
    fn open(&mut self, is_object: bool) -> Result<(), JsonError> {
        if self.depth >= self.limit as usize {
            return Err(JsonError::Depth { limit: self.limit });
        }
        if is_object && self.depth == self.captured && self.captured < 3 {
            self.capture();
        }
        self.depth += 1;
        set_bit(&mut self.objects, self.depth, is_object);
        if is_object && self.unique {
            set_bit(&mut self.escaped, self.depth, false);
            self.frames
                .push(u32::try_from(self.keys.len()).unwrap_or(u32::MAX));
        }
        self.at = white_end(self.raw, self.at + 1);
        Ok(())
    }

    /// Starts recording the object that begins here, if it is the envelope, its body, or the body's `_meta`.
    fn capture(&mut self) {
        let members = Some(Members::at(self.at));
        match self.captured {
            0 => self.found.root = members,
            1 => {
                let key = self.pending[0].0;
                if !["params", "result", "error"]
                    .iter()
                    .any(|name| equals(self.raw, key, name))
                {
                    return;
                }
                self.found.body = members;
                self.found.meta = None;
            }
            _ => {
                if !equals(self.raw, self.pending[1].0, "_meta") {
                    return;
                }
                self.found.meta = members;
            }
        }
        self.captured += 1;
    }

    fn recorded(&mut self) -> Option<&mut Members> {
        match self.captured {
            1 => self.found.root.as_mut(),
            2 => self.found.body.as_mut(),
            3 => self.found.meta.as_mut(),
            _ => None,
        }
    }

    /// Notes the member whose value has just ended.
    fn record(&mut self) {
        let Some(&(key, start)) = self.pending.get(self.depth - 1) else {
            return;
        };
        let value = Span::new(start, self.at);
        if let Some(members) = self.recorded() {
            members.push(Member { key, value });
        }
    }

    fn close(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        let at = self.at;
        if self.depth == self.captured {
            if let Some(members) = self.recorded() {
                members.close(at);
            }
            self.captured -= 1;
        }
        if self.unique && bit(&self.objects, self.depth) {
            let frame = self.frames.pop().map_or(0, |start| start as usize);
            let keys = self.keys.get_mut(frame..).unwrap_or_default();
            check_unique(self.raw, keys, bit(&self.escaped, self.depth))?;
            self.keys.truncate(frame);
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a key and its colon, and stops at the value.
    fn key(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        if self.raw.get(start) != Some(&b'"') {
            return Err(self.wrong("expected a member name in quotes"));
        }
        let escaped = self.string()?;
        let key = Span::new(start, self.at);
        if self.unique {
            self.keys.push(key);
            if escaped {
                set_bit(&mut self.escaped, self.depth, true);
            }
        }
        if self.depth == self.captured
            && let Some(pending) = self.pending.get_mut(self.depth - 1)
        {
            pending.0 = key;
        }
        self.at = white_end(self.raw, self.at);
        if self.raw.get(self.at) != Some(&b':') {
            return Err(self.wrong("expected `:`"));
        }
        self.at = white_end(self.raw, self.at + 1);
        Ok(())
    }

    /// Reads a string from its opening quote to behind its closing one; says whether it holds an escape.
    #[inline]
    fn string(&mut self) -> Result<bool, JsonError> {
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at = special(self.raw, self.at);
            match self.raw.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    match self.raw.get(self.at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                        Some(b'u') => {
                            let hex = self.raw.get(self.at + 2..self.at + 6).unwrap_or_default();
                            if hex.len() != 4 || !hex.iter().all(u8::is_ascii_hexdigit) {
                                return Err(self.wrong("expected four hexadecimal digits after `\\u`"));
                            }
                            self.at += 6;
                        }
                        _ => return Err(self.wrong("unknown escape")),
                    }
                }
                Some(_) => return Err(self.wrong("unescaped control character in a string")),
                None => return Err(self.wrong("unexpected end inside a string")),
            }
        }
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.raw.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.raw.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.wrong("expected a digit")),
        }
        if self.raw.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.raw.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.raw.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.digits();
        if self.at == start {
            Err(self.wrong("expected a digit"))
        } else {
            Ok(())
        }
    }

    fn digits(&mut self) {
        while matches!(self.raw.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if self.raw.get(self.at..self.at + word.len()) != Some(word) {
            return Err(self.wrong("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }
}

/// Up to this many keys are compared with each other; more are sorted, so that a hostile object of a million keys costs
/// n·log n. Typical objects are far below.
const FEW_KEYS: usize = 16;

fn check_unique(raw: &[u8], keys: &mut [Span], escaped: bool) -> Result<(), JsonError> {
    let twice = |key: Span| JsonError::DuplicateKey { offset: key.start() };
    if escaped {
        let mut decoded: Vec<_> = keys
            .iter()
            .map(|&key| (key_bytes(raw, key), key.start()))
            .collect();
        decoded.sort_unstable();
        return match decoded
            .windows(2)
            .find(|pair| matches!(pair, [a, b] if a.0 == b.0))
        {
            Some([_, (_, offset)]) => Err(JsonError::DuplicateKey { offset: *offset }),
            _ => Ok(()),
        };
    }
    if keys.len() <= FEW_KEYS {
        for (index, key) in keys.iter().enumerate() {
            let earlier = keys.get(..index).unwrap_or_default();
            if earlier
                .iter()
                .any(|other| other.len() == key.len() && other.of(raw) == key.of(raw))
            {
                return Err(twice(*key));
            }
        }
        return Ok(());
    }
    keys.sort_unstable_by(|a, b| {
        a.len()
            .cmp(&b.len())
            .then_with(|| a.of(raw).cmp(b.of(raw)))
            .then_with(|| a.start().cmp(&b.start()))
    });
    match keys
        .windows(2)
        .find(|pair| matches!(pair, [a, b] if a.of(raw) == b.of(raw)))
    {
        Some([_, later]) => Err(twice(*later)),
        _ => Ok(()),
    }
}

/// The first byte from `at` on that is not JSON white space.
#[inline]
pub(super) fn white_end(raw: &[u8], mut at: usize) -> usize {
    while matches!(raw.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The first byte from `at` on that means something inside a string: a quote, a backslash, or a control character
/// (which is not allowed there). `raw.len()` if there is none.
///
/// Short strings end within two 8-byte steps; long ones (16 MiB texts are usual) go on in steps of 64 bytes that the
/// compiler turns into vector code.
#[inline]
pub(crate) fn special(raw: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let rest = |at: usize| raw.get(at..).unwrap_or_default();
    let mut words = 0;
    while let Some(chunk) = rest(at).first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        // Each term marks a byte by its high bit; borrows can mark bytes above a true one only, so the lowest is right.
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        let hits = (quote.wrapping_sub(ONES) & !quote
            | slash.wrapping_sub(ONES) & !slash
            | word.wrapping_sub(ONES * 0x20) & !word)
            & HIGH;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
        words += 1;
        if words == 2 {
            while let Some(chunk) = rest(at).first_chunk::<64>() {
                let hit = chunk.iter().fold(0u8, |hit, &byte| {
                    hit | u8::from(byte < 0x20 || byte == b'"' || byte == b'\\')
                });
                if hit != 0 {
                    break;
                }
                at += 64;
            }
        }
    }
    while raw
        .get(at)
        .is_some_and(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
    {
        at += 1;
    }
    at
}

/// A walk over text that was validated before: it finds the ends of values and checks nothing else. Given other text
/// it stops early; it never panics or loops.
#[derive(Debug)]
pub(super) struct Skip<'a> {
    raw: &'a [u8],
    at: usize,
}

impl<'a> Skip<'a> {
    pub(super) fn new(raw: &'a [u8], span: Span) -> Self {
        Self {
            raw: raw.get(..span.end()).unwrap_or(raw),
            at: span.start(),
        }
    }

    /// Takes `byte` if it is what comes next after white space.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        self.at = white_end(self.raw, self.at);
        let taken = self.raw.get(self.at) == Some(&byte);
        self.at += usize::from(taken);
        taken
    }

    /// The value that comes next after white space.
    pub(super) fn value(&mut self) -> Option<Span> {
        self.at = white_end(self.raw, self.at);
        let start = self.at;
        match self.raw.get(start)? {
            b'"' => self.string()?,
            b'{' | b'[' => {
                let mut depth = 0usize;
                loop {
                    match self.raw.get(self.at)? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            b',' | b':' | b'}' | b']' => return None,
            _ => {
                while !matches!(
                    self.raw.get(self.at),
                    None | Some(b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')
                ) {
                    self.at += 1;
                }
            }
        }
        Some(Span::new(start, self.at))
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at = special(self.raw, self.at);
            match self.raw.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }
}
