//! How far a sink has got, on disk; and what it gets next, from the segments themselves.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    disk::{private, private_folder},
    line::Head,
    read::{Lines, Next},
    segment,
};

/// A place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Which log.
    pub(crate) log: String,
    /// The last record that was delivered.
    pub(crate) seq: u64,
    /// The segment in which the next is looked for, and from where, in bytes.
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// The last record that was ever sent, which may have been received without our knowing.
    pub(crate) attempted: u64,
    /// How often what comes next was sent.
    pub(crate) attempts: u64,
}

/// Records on their way.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Lines as they are in the log, each with its end.
    pub(crate) lines: Vec<u8>,
    pub(crate) records: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Where the next begins.
    segment: u64,
    offset: u64,
}

/// What there is for a sink.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    Batch(Batch),
    /// These records were removed before they could be delivered.
    Gone {
        from: u64,
        to: u64,
    },
}

/// The file a cursor is kept in. It always has one length, so it is overwritten by one write.
#[derive(Debug)]
pub(crate) struct CursorFile(File);

const LENGTH: usize = 320;

impl CursorFile {
    /// Opens the file of the sink called `key`, and reads what it says.
    pub(crate) fn open(folder: &Path, key: &str) -> io::Result<(Self, Option<Cursor>)> {
        let folder = folder.join("sinks");
        private_folder(&folder)?;
        let path: PathBuf = folder.join(format!("{key}.json"));
        let said = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let file = private(OpenOptions::new().write(true).create(true).truncate(false)).open(path)?;
        Ok((Self(file), said))
    }

    pub(crate) fn write(&mut self, cursor: &Cursor) -> io::Result<()> {
        let mut text = serde_json::to_vec(cursor)?;
        text.resize(LENGTH.max(text.len() + 1) - 1, b' ');
        text.push(b'\n');
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(&text)
    }
}

impl Cursor {
    /// What comes next: at most `most` records in about `bytes` bytes, none behind `through`. What was sent before is never
    /// mixed with what was not.
    pub(crate) fn next(&self, folder: &Path, through: u64, most: u64, bytes: usize) -> io::Result<Found> {
        if self.seq >= through {
            return Ok(Found::Nothing);
        }
        let through = if self.attempted > self.seq {
            through.min(self.attempted)
        } else {
            through
        };
        let files = segment::list(folder)?;
        let wanted = self.seq + 1;
        // The last segment that begins at or before the record wanted; if there is none, the record is gone.
        let Some(at) = files.iter().rposition(|file| file.first <= wanted) else {
            return Ok(files.first().map_or(Found::Nothing, |file| Found::Gone {
                from: wanted,
                to: file.first - 1,
            }));
        };
        let mut batch = Batch {
            lines: Vec::new(),
            records: 0,
            first: wanted,
            last: self.seq,
            segment: self.segment,
            offset: self.offset,
        };
        for file in files.get(at..).unwrap_or_default() {
            let offset = if file.first == self.segment {
                self.offset
            } else {
                0
            };
            let mut lines = Lines::open(&file.path, offset)?;
            while batch.records < most && batch.lines.len() < bytes && lines.next()? == Next::Line {
                // A line that is no record any more is passed on all the same: the receiver can tell, and nothing is left out.
                let seq = Head::of(&lines.line).map_or(batch.last + 1, |head| head.seq);
                if seq > through {
                    break;
                }
                (batch.segment, batch.offset) = (file.first, lines.offset);
                if seq > self.seq {
                    batch.lines.extend_from_slice(&lines.line);
                    batch.lines.push(b'\n');
                    batch.records += 1;
                    batch.last = batch.last.max(seq);
                }
            }
        }
        Ok(if batch.records == 0 {
            Found::Nothing
        } else {
            Found::Batch(batch)
        })
    }

    /// Before a batch is sent: from now on it may have been received.
    pub(crate) fn attempt(&mut self, batch: &Batch) {
        if self.attempted < batch.last {
            self.attempted = batch.last;
            self.attempts = 0;
        }
        self.attempts += 1;
    }

    /// After it was received.
    pub(crate) fn advance(&mut self, batch: &Batch) {
        self.seq = batch.last;
        (self.segment, self.offset) = (batch.segment, batch.offset);
        if self.attempted <= self.seq {
            self.attempts = 0;
        }
    }
}
