//! From the text of a condition to its tokens.
//!
//! Source: CEL language definition, Syntax.

use std::fmt;

use super::ConditionError;

/// One token, and the byte it begins at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) at: usize,
    pub(super) kind: TokenKind<'t>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind<'t> {
    /// A name, also a reserved one.
    Name(&'t str),
    /// Digits without a sign: whether they fit depends on the minus before them.
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// An operator or bracket.
    Mark(&'static str),
    End,
}

impl fmt::Display for TokenKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Mark(mark) => write!(f, "`{mark}`"),
            Self::Int(_) | Self::Uint(_) | Self::Double(_) => f.write_str("a number"),
            Self::Text(_) => f.write_str("a string"),
            Self::Bytes(_) => f.write_str("a byte string"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// Longer ones before those they begin with.
const MARKS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}", "=",
];

/// Reads tokens one after the other.
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, at: usize, message: impl Into<String>) -> ConditionError {
        ConditionError::new(self.text, at, message)
    }

    /// The next token; [`TokenKind::End`] again and again after the last.
    pub(super) fn next(&mut self) -> Result<Token<'t>, ConditionError> {
        self.skip_blank();
        let (at, rest) = (self.at, self.rest());
        let Some(first) = rest.chars().next() else {
            let kind = TokenKind::End;
            return Ok(Token { at, kind });
        };
        let fraction = first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit());
        let kind = if first.is_ascii_digit() || fraction {
            self.number()?
        } else if let Some(prefix) = string_prefix(rest) {
            self.string(prefix)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            TokenKind::Name(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_'))
        } else if let Some(mark) = MARKS.into_iter().find(|mark| rest.starts_with(mark)) {
            self.at += mark.len();
            match mark {
                "=" => return Err(self.wrong(at, "`=` means nothing here; compare with `==`")),
                mark => TokenKind::Mark(mark),
            }
        } else {
            let shown = crate::Printable(&rest[..first.len_utf8()]).to_string();
            return Err(self.wrong(at, format!("`{shown}` means nothing here")));
        };
        Ok(Token { at, kind })
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn skip_blank(&mut self) {
        loop {
            self.take_while(|c| matches!(c, '\t' | '\n' | '\x0c' | '\r' | ' '));
            if !self.rest().starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn number(&mut self) -> Result<TokenKind<'t>, ConditionError> {
        let start = self.at;
        let rest = self.rest();
        let kind = if let Some(digits) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let len = digits
                .find(|c: char| !c.is_ascii_hexdigit())
                .unwrap_or(digits.len());
            self.at += 2 + len;
            let value = u64::from_str_radix(&digits[..len], 16);
            let value = value.map_err(|_| self.wrong(start, "the number is none of 64 bits"))?;
            self.whole(value)
        } else {
            self.take_while(|c| c.is_ascii_digit());
            let fraction = self.rest().strip_prefix('.').is_some_and(starts_with_digit);
            if fraction {
                self.at += 1;
                self.take_while(|c| c.is_ascii_digit());
            }
            let exponent = self
                .rest()
                .strip_prefix(['e', 'E'])
                .is_some_and(|after| starts_with_digit(after.strip_prefix(['+', '-']).unwrap_or(after)));
            if exponent {
                self.at += 2;
                self.take_while(|c| c.is_ascii_digit());
            }
            let digits = &self.text[start..self.at];
            if fraction || exponent {
                match digits.parse::<f64>() {
                    Ok(value) if value.is_finite() => TokenKind::Double(value),
                    _ => return Err(self.wrong(start, "the number is too large")),
                }
            } else {
                let value = digits
                    .parse()
                    .map_err(|_| self.wrong(start, "the number is none of 64 bits"))?;
                self.whole(value)
            }
        };
        if self
            .rest()
            .starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        {
            return Err(self.wrong(start, "a number ends in letters"));
        }
        Ok(kind)
    }

    fn whole(&mut self, value: u64) -> TokenKind<'t> {
        if self.rest().starts_with(['u', 'U']) {
            self.at += 1;
            TokenKind::Uint(value)
        } else {
            TokenKind::Int(value)
        }
    }

    fn string(&mut self, prefix: Prefix) -> Result<TokenKind<'t>, ConditionError> {
        let start = self.at;
        self.at += prefix.letters;
        let rest = self.rest();
        let quote = ["'''", "\"\"\"", "'", "\""]
            .into_iter()
            .find(|quote| rest.starts_with(quote));
        let quote = quote.unwrap_or_default();
        self.at += quote.len();
        let mut out = Vec::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(quote) {
                self.at += quote.len();
                break;
            }
            match rest.chars().next() {
                None => return Err(self.wrong(start, "the string has no end")),
                Some('\n' | '\r') if quote.len() == 1 => {
                    return Err(self.wrong(start, "the string has no end on its line"));
                }
                Some('\\') if !prefix.raw => self.escape(prefix.bytes, &mut out)?,
                Some(c) => {
                    self.at += c.len_utf8();
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        if prefix.bytes {
            return Ok(TokenKind::Bytes(out));
        }
        match String::from_utf8(out) {
            Ok(text) => Ok(TokenKind::Text(text)),
            Err(_) => Err(self.wrong(start, "the string is no Unicode text")),
        }
    }

    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Result<(), ConditionError> {
        let start = self.at;
        let wrong = |lexer: &Self| lexer.wrong(start, "this is no escape; write a backslash as `\\\\`");
        let rest = &self.rest()[1..];
        let letter = rest.chars().next().ok_or_else(|| wrong(self))?;
        let code = |from: usize, digits: usize, radix: u32| {
            let digits = rest.get(from..from + digits)?;
            let proper = digits.chars().all(|c| c.is_digit(radix));
            u32::from_str_radix(digits, radix).ok().filter(|_| proper)
        };
        let (length, code, octet) = match letter {
            'a' => (1, Some(0x07), false),
            'b' => (1, Some(0x08), false),
            'f' => (1, Some(0x0c), false),
            'n' => (1, Some(0x0a), false),
            'r' => (1, Some(0x0d), false),
            't' => (1, Some(0x09), false),
            'v' => (1, Some(0x0b), false),
            '\\' | '?' | '"' | '\'' | '`' => (1, Some(u32::from(letter)), false),
            'x' | 'X' => (3, code(1, 2, 16), true),
            'u' if !bytes => (5, code(1, 4, 16), false),
            'U' if !bytes => (9, code(1, 8, 16), false),
            '0'..='3' => (3, code(0, 3, 8), true),
            _ => return Err(wrong(self)),
        };
        let code = code.ok_or_else(|| wrong(self))?;
        match (u8::try_from(code), char::from_u32(code)) {
            (Ok(byte), _) if bytes && octet => out.push(byte),
            (_, Some(c)) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            (_, None) => return Err(self.wrong(start, "this is no Unicode character")),
        }
        self.at += 1 + length;
        Ok(())
    }
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// The letters before a string.
#[derive(Clone, Copy)]
struct Prefix {
    letters: usize,
    raw: bool,
    bytes: bool,
}

fn string_prefix(rest: &str) -> Option<Prefix> {
    let letters = rest.find(['\'', '"']).filter(|&at| at <= 2)?;
    let (raw, bytes) = match &rest[..letters] {
        "" => (false, false),
        "r" | "R" => (true, false),
        "b" | "B" => (false, true),
        "br" | "bR" | "Br" | "BR" => (true, true),
        _ => return None,
    };
    Some(Prefix { letters, raw, bytes })
}
