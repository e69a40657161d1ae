//! What is in a file: whether it is text, and the part of it that was asked for.

use std::io::{self, BufRead, BufReader, Read};

/// How much of a file decides whether it is text, in bytes.
const SNIFFED: usize = 8 * 1024;
/// The most text that one answer holds, in bytes.
pub(super) const MAX_TEXT: usize = 256 * 1024;
/// How far into a file an offset may reach, in bytes.
pub(super) const MAX_SCANNED: u64 = 64 * 1024 * 1024;

/// Some lines of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) text: String,
    /// How many lines `text` has.
    pub(super) count: usize,
    /// Whether a last line was too long and is cut off.
    pub(super) cut: bool,
    pub(super) end: End,
}

/// Why the lines stop where they stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The file has no more.
    File,
    /// There is more from the next line on.
    More,
    /// The first line that was asked for is farther in than [`MAX_SCANNED`].
    TooFar,
}

/// A file's beginning put back in front of the rest, and whether it is text: it has no zero byte. Fewer files are mistaken
/// that way than by looking for valid UTF-8.
pub(super) fn sniff(mut file: impl Read) -> io::Result<(bool, impl Read)> {
    let mut beginning = Vec::new();
    file.by_ref().take(SNIFFED as u64).read_to_end(&mut beginning)?;
    let is_text = !beginning.contains(&0);
    Ok((is_text, io::Cursor::new(beginning).chain(file)))
}

/// At most `limit` lines from line `first` (counted from 1) on, and at most [`MAX_TEXT`] bytes. Bytes that are no UTF-8
/// become U+FFFD.
pub(super) fn lines(file: impl Read, first: usize, limit: usize) -> io::Result<Lines> {
    let mut reader = BufReader::new(file);
    let mut scanned: u64 = 0;
    for _ in 1..first {
        let skipped = reader.by_ref().take(MAX_SCANNED - scanned).skip_until(b'\n')?;
        scanned += skipped as u64;
        if scanned >= MAX_SCANNED {
            return Ok(Lines {
                text: String::new(),
                count: 0,
                cut: false,
                end: End::TooFar,
            });
        }
        if skipped == 0 {
            break;
        }
    }
    let (mut bytes, mut count, mut cut) = (Vec::new(), 0, false);
    let end = loop {
        if reader.fill_buf()?.is_empty() {
            break End::File;
        }
        if count == limit {
            break End::More;
        }
        let before = bytes.len();
        reader
            .by_ref()
            .take((MAX_TEXT - before) as u64)
            .read_until(b'\n', &mut bytes)?;
        let whole = bytes.last() == Some(&b'\n') && bytes.len() > before;
        if !whole && !reader.fill_buf()?.is_empty() {
            if count > 0 {
                // A line that does not fit any more is left for the next answer.
                bytes.truncate(before);
            } else {
                cut = true;
                count = 1;
            }
            break End::More;
        }
        count += 1;
    };
    if cut {
        // Not half a character.
        let end = bytes.len().saturating_sub(3);
        if let Some(start) =
            (end..bytes.len()).find(|place| bytes.get(*place).is_some_and(|byte| *byte >= 0xC0))
        {
            bytes.truncate(start);
        }
    }
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(Lines {
        text,
        count,
        cut,
        end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_lines() {
        let file = "one\ntwo\r\nthree";
        let all = |text: &str, count, end| Lines {
            text: text.into(),
            count,
            cut: false,
            end,
        };
        assert_eq!(lines(file.as_bytes(), 1, 9).unwrap(), all(file, 3, End::File));
        assert_eq!(
            lines(file.as_bytes(), 2, 1).unwrap(),
            all("two\r\n", 1, End::More)
        );
        assert_eq!(lines(file.as_bytes(), 3, 1).unwrap(), all("three", 1, End::File));
        assert_eq!(lines(file.as_bytes(), 4, 1).unwrap(), all("", 0, End::File));
        assert_eq!(lines(&b""[..], 1, 1).unwrap(), all("", 0, End::File));
        assert_eq!(lines(&b"a\xFFb"[..], 1, 1).unwrap().text, "a\u{FFFD}b");
    }

    #[test]
    fn answers_are_bounded_whatever_the_file() {
        let line = format!("{}\n", "é".repeat(50_000));
        let many = lines(line.repeat(9).as_bytes(), 1, 100).unwrap();
        assert_eq!((many.count, many.cut, many.end), (2, false, End::More));
        assert_eq!(many.text.len(), 2 * line.len());
        let long = "é".repeat(200_000);
        let cut = lines(long.as_bytes(), 1, 1).unwrap();
        assert_eq!((cut.count, cut.cut, cut.end), (1, true, End::More));
        assert!(cut.text.len() <= MAX_TEXT && !cut.text.contains('\u{FFFD}'));
        let endless = lines(io::repeat(b'x'), 2, 1).unwrap();
        assert_eq!(endless.end, End::TooFar);
        assert_eq!(lines(io::repeat(b'\n'), usize::MAX, 1).unwrap().end, End::TooFar);
    }

    #[test]
    fn a_zero_byte_makes_a_file_binary() {
        for (bytes, expected) in [(&b"text"[..], true), (b"", true), (b"a\0b", false)] {
            let (is_text, mut rest) = sniff(bytes).unwrap();
            assert_eq!(is_text, expected);
            let mut read = Vec::new();
            rest.read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
        }
    }
}
