//! Just enough HTTP/1.1 framing for both ends of the benchmark.
//!
//! The generator and the backend share a core with nobody's mercy: every microsecond they burn is one the
//! target cannot be driven with, so neither carries an HTTP library.

use anyhow::{Context as _, Result, bail};
use memchr::{memchr, memmem};

/// What the head of a message says about its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `content-length`, or nothing at all (0).
    Length(usize),
    /// `transfer-encoding: chunked`.
    Chunked,
}

/// The head of a request or a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// Bytes up to and including the empty line.
    pub(crate) len: usize,
    /// The request or status line.
    pub(crate) first_line: &'a [u8],
    /// How the body ends.
    pub(crate) framing: Framing,
    /// Whether the peer closes after this message.
    pub(crate) close: bool,
    /// `mcp-session-id`, if there is one.
    pub(crate) session: Option<&'a [u8]>,
}

impl<'a> Head<'a> {
    /// Reads the head at the start of `bytes`; `None` while it is incomplete.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Option<Self>> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let mut lines = Lines(&bytes[..end + 2]);
        let first_line = lines.next().context("empty HTTP head")?;
        let mut head = Self {
            len: end + 4,
            first_line,
            framing: Framing::Length(0),
            close: false,
            session: None,
        };
        for line in lines {
            let Some(colon) = memchr(b':', line) else {
                bail!("header line without a colon")
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            // The length of a name rules almost all of them out without comparing.
            match name.len() {
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    let length = std::str::from_utf8(value)?
                        .parse()
                        .context("odd content-length")?;
                    head.framing = Framing::Length(length);
                }
                14 if name.eq_ignore_ascii_case(b"mcp-session-id") => head.session = Some(value),
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") && value == b"chunked" => {
                    head.framing = Framing::Chunked;
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    head.close = value.eq_ignore_ascii_case(b"close");
                }
                _ => {}
            }
        }
        Ok(Some(head))
    }

    /// The status code of a response.
    pub(crate) fn status(&self) -> Result<u16> {
        let code = self.first_line.get(9..12).context("short status line")?;
        std::str::from_utf8(code)?.parse().context("odd status line")
    }
}

struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let end = memmem::find(self.0, b"\r\n")?;
        let line = &self.0[..end];
        self.0 = &self.0[end + 2..];
        Some(line)
    }
}

/// Finds the end of a body that arrives in pieces, looking at no byte of a chunk twice.
#[derive(Debug)]
pub(crate) struct BodyEnd {
    framing: Framing,
    /// Where the next chunk header starts, or the body itself for a plain length.
    at: usize,
}

impl BodyEnd {
    /// For the body that follows `head`.
    pub(crate) fn new(head: &Head<'_>) -> Self {
        Self {
            framing: head.framing,
            at: head.len,
        }
    }

    /// Where the message ends in `bytes` (head included), or `None` while more must be read.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        if let Framing::Length(length) = self.framing {
            return Ok((bytes.len() >= self.at + length).then_some(self.at + length));
        }
        loop {
            let Some(rest) = bytes.get(self.at..) else {
                return Ok(None);
            };
            let Some(line_end) = memmem::find(rest, b"\r\n") else {
                return Ok(None);
            };
            let line = &rest[..line_end];
            let digits = &line[..memchr(b';', line).unwrap_or(line.len())];
            let size =
                usize::from_str_radix(std::str::from_utf8(digits)?.trim(), 16).context("odd chunk size")?;
            let next = self.at + line_end + 2 + size + 2;
            if size == 0 {
                // Trailers are not expected from any target.
                return Ok((bytes.len() >= next).then_some(next));
            }
            if bytes.len() < next {
                return Ok(None);
            }
            self.at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_where_the_body_ends() {
        let bytes =
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nMcp-Session-Id: s1\r\nConnection: close\r\n\r\nhello";
        let head = Head::parse(bytes).unwrap().unwrap();
        assert_eq!(
            (head.status().unwrap(), head.close, head.session),
            (200, true, Some(&b"s1"[..]))
        );
        assert_eq!(BodyEnd::new(&head).find(bytes).unwrap(), Some(bytes.len()));
        assert_eq!(BodyEnd::new(&head).find(&bytes[..bytes.len() - 1]).unwrap(), None);
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\n").unwrap().is_none());
    }

    #[test]
    fn chunks_are_found_however_they_are_cut() {
        let bytes =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\n";
        let head = Head::parse(bytes).unwrap().unwrap();
        let mut end = BodyEnd::new(&head);
        for cut in head.len..bytes.len() {
            assert_eq!(end.find(&bytes[..cut]).unwrap(), None, "at {cut}");
        }
        assert_eq!(end.find(bytes).unwrap(), Some(bytes.len()));
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n").is_err());
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").is_err());
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
        let head = Head::parse(bytes).unwrap().unwrap();
        assert!(BodyEnd::new(&head).find(bytes).is_err());
    }
}
