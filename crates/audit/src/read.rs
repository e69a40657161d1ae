//! Reading lines: of one file, or of a whole log from some record on.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

/// No line of ours is longer, in bytes; what is longer is no line.
pub(crate) const LONGEST: usize = 1 << 20;

/// What a file holds at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A line, without its end, is in the buffer.
    Line,
    /// What is in the buffer is no whole line: the file ends in it.
    Torn,
    /// The file ends.
    End,
}

/// The lines of a file, and where they are.
pub(crate) struct Lines {
    reader: BufReader<File>,
    /// Where the next line begins, in bytes.
    pub(crate) offset: u64,
    pub(crate) line: Vec<u8>,
}

impl Lines {
    pub(crate) fn open(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))?;
        }
        Ok(Self {
            reader: BufReader::with_capacity(256 * 1024, file),
            offset,
            line: Vec::new(),
        })
    }

    /// Reads the next line into [`line`](Self::line). At the end of a file that grows it may be asked again.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        self.line.clear();
        let read = (&mut self.reader)
            .take(LONGEST as u64)
            .read_until(b'\n', &mut self.line)?;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
            self.offset += read as u64;
            return Ok(Next::Line);
        }
        Ok(match read {
            0 => Next::End,
            LONGEST => {
                // It is none of ours, whatever it is: pass over it as one.
                self.offset += read as u64;
                let rest = self.reader.skip_until(b'\n')?;
                self.offset += rest as u64;
                Next::Line
            }
            _ => {
                // Whoever writes it may be in the midst of it.
                self.reader.seek(SeekFrom::Start(self.offset))?;
                Next::Torn
            }
        })
    }
}

/// The first line of a file, if it has one.
pub(crate) fn first_line(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut lines = Lines::open(path, 0)?;
    Ok((lines.next()? == Next::Line).then_some(lines.line))
}

/// The last line of a file of `length` bytes that ends in a line end.
pub(crate) fn last_line(path: &Path, length: u64) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    let start = length.saturating_sub(LONGEST as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(length - start).read_to_end(&mut tail)?;
    if tail.pop() != Some(b'\n') {
        return Ok(None);
    }
    let begin = tail
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    Ok(Some(tail.split_off(begin)))
}

/// The last `count` lines of a file, and where they end.
pub(crate) fn last_lines(path: &Path, count: usize) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut start = length;
    let mut tail = Vec::new();
    // As many parts from the end as hold one line end more than there are lines.
    while start > 0 && tail.iter().filter(|&&byte| byte == b'\n').count() <= count {
        let size = start.min(256 * 1024);
        start -= size;
        file.seek(SeekFrom::Start(start))?;
        let mut part = Vec::new();
        (&mut file).take(size).read_to_end(&mut part)?;
        part.append(&mut tail);
        tail = part;
    }
    let whole = tail
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let end = start + whole as u64;
    tail.truncate(whole.saturating_sub(1));
    let mut lines: Vec<Vec<u8>> = tail.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    if whole == 0 {
        lines.clear();
    }
    let from = lines.len().saturating_sub(count);
    Ok((lines.split_off(from), end))
}
