//! `head`: how far the log had got when it last was on the disk. A small file beside the segments, written after every fsync, by
//! which a cut-off end is noticed without any key.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::disk::private;

pub(crate) const NAME: &str = "head";
/// It always has this length, so that it is overwritten by a single write, in one sector.
const LENGTH: usize = 384;

/// A place in the log. A text such as `1234:<hash>`, as `--expect-checkpoint` takes it, holds the first two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Which log.
    pub(crate) log: String,
    /// The last record.
    pub(crate) seq: u64,
    /// Its hash.
    pub(crate) hash: String,
    /// The segment it is in.
    pub(crate) segment: u64,
    /// Where it ends there, in bytes.
    pub(crate) bytes: u64,
    /// The log was closed in order after it.
    #[serde(default)]
    pub(crate) closed: bool,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Head(File);

impl Head {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        private(&mut options).open(folder.join(NAME)).map(Self)
    }

    pub(crate) fn write(&mut self, place: &Place) -> io::Result<()> {
        let mut text = serde_json::to_vec(place)?;
        text.resize(LENGTH.max(text.len() + 1) - 1, b' ');
        text.push(b'\n');
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(&text)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// What `head` says. `None` if there is none, or if it is torn.
pub(crate) fn read(folder: &Path) -> Option<Place> {
    let mut text = String::new();
    File::open(folder.join(NAME))
        .ok()?
        .take(4 * LENGTH as u64)
        .read_to_string(&mut text)
        .ok()?;
    serde_json::from_str(text.trim()).ok()
}
