//! Newline-delimited messages (basic/transports/stdio: messages "MUST NOT contain embedded newlines").

use bytes::{Buf, Bytes, BytesMut};

/// A line was longer than allowed. It is skipped; the lines after it are read as usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {limit_bytes} bytes; it was skipped")]
pub struct LineTooLong {
    /// The limit.
    pub limit_bytes: usize,
}

/// Cuts a byte stream into lines. Memory stays bounded by the limit whatever arrives.
#[derive(Debug)]
pub struct LineDecoder {
    limit: usize,
    /// How much of the buffer is known to hold no newline.
    scanned: usize,
    /// Inside a line that was too long.
    skipping: bool,
}

impl LineDecoder {
    /// `limit_bytes` is the longest line allowed, without its end.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit: limit_bytes,
            scanned: 0,
            skipping: false,
        }
    }

    /// The next line in `buffer`, without its end (`\n` or `\r\n`); blank lines are passed over. `None`: read more.
    ///
    /// The line is cut off the buffer without copying. The buffer must be the same one from call to call, and only be
    /// appended to in between.
    ///
    /// # Errors
    /// [`LineTooLong`], once per such line, as soon as it is known. Call on as usual.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, LineTooLong> {
        loop {
            let fresh = buffer.get(self.scanned..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\n', fresh) else {
                if self.skipping {
                    buffer.clear();
                    self.scanned = 0;
                    return Ok(None);
                }
                self.scanned = buffer.len();
                // One more for the `\r` of a line of exactly the limit.
                if buffer.len() > self.limit.saturating_add(1) {
                    self.skipping = true;
                    self.scanned = 0;
                    // The allocation of a line that big is given back, not kept for the rest of the connection.
                    *buffer = BytesMut::new();
                    return Err(LineTooLong {
                        limit_bytes: self.limit,
                    });
                }
                return Ok(None);
            };
            let end = self.scanned + found;
            self.scanned = 0;
            if self.skipping {
                self.skipping = false;
                buffer.advance(end + 1);
                continue;
            }
            let mut line = buffer.split_to(end);
            buffer.advance(1);
            if line.last() == Some(&b'\r') {
                line.truncate(end - 1);
            }
            if line.len() > self.limit {
                return Err(LineTooLong {
                    limit_bytes: self.limit,
                });
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line.freeze()));
            }
        }
    }

    /// What is left when the stream has ended: a last line without its newline. Call [`decode`](Self::decode) until it
    /// gives nothing, then this.
    ///
    /// # Errors
    /// [`LineTooLong`], as in [`decode`](Self::decode).
    pub fn finish(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, LineTooLong> {
        self.scanned = 0;
        let skipping = std::mem::take(&mut self.skipping);
        let mut line = buffer.split();
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if skipping || line.trim_ascii().is_empty() {
            return Ok(None);
        }
        if line.len() > self.limit {
            return Err(LineTooLong {
                limit_bytes: self.limit,
            });
        }
        Ok(Some(line.freeze()))
    }
}

/// `message` on one line, as stdio needs it. JSON strings cannot hold a raw line break, so every one in a JSON message is
/// white space and may become a blank. Copies only if there is one.
pub fn one_line(message: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &message).is_none() {
        return message;
    }
    let blank = |byte: &u8| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            *byte
        }
    };
    message.iter().map(blank).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::framing::cut;

    /// Feeds `chunks` and notes each line, or `!` for one that was too long.
    fn lines(limit: usize, chunks: &[&[u8]]) -> Vec<String> {
        let mut decoder = LineDecoder::new(limit);
        let mut buffer = BytesMut::new();
        let mut out = Vec::new();
        let mut note = |line: Result<Option<Bytes>, LineTooLong>| match line {
            Ok(Some(line)) => {
                out.push(String::from_utf8(line.to_vec()).unwrap());
                true
            }
            Ok(None) => false,
            Err(_) => {
                out.push("!".into());
                true
            }
        };
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            while note(decoder.decode(&mut buffer)) {}
            assert!(buffer.len() <= limit + 1);
        }
        note(decoder.finish(&mut buffer));
        out
    }

    #[test]
    fn lines_are_cut_wherever_chunks_end() {
        assert_eq!(
            lines(9, &[b"a\nb", b"c\r", b"\n\n  \r\nd", b""]),
            ["a", "bc", "d"]
        );
        assert_eq!(lines(9, &[b"last\r"]), ["last"]);
        assert_eq!(lines(9, &[b"", b"\n"]), Vec::<String>::new());
    }

    #[test]
    fn long_lines_are_skipped_and_the_next_is_read() {
        assert_eq!(lines(3, &[b"abc\nabcd\nabc\r\nx"]), ["abc", "!", "abc", "x"]);
        assert_eq!(
            lines(3, &[b"abcdef", b"ghi", b"jk\nok\n", b"abcd"]),
            ["!", "ok", "!"]
        );
        assert_eq!(lines(3, &[b"abcde"]), ["!"]);
    }

    #[test]
    fn pretty_printed_json_is_put_on_one_line() {
        assert_eq!(
            &one_line(Bytes::from_static(b"{\n \"a\":\r\n1}"))[..],
            b"{  \"a\":  1}"
        );
        let flat = Bytes::from_static(b"{}");
        assert_eq!(one_line(flat.clone()).as_ptr(), flat.as_ptr());
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(text in "[ab\r\n]{0,60}", cuts in prop::collection::vec(1usize..9, 0..60)) {
            prop_assert_eq!(lines(5, &cut(text.as_bytes(), &cuts)), lines(5, &[text.as_bytes()]));
        }
    }
}
