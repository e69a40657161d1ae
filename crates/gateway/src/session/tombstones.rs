//! Ended sessions, on disk: fixed-size records, appended when a session ends and thinned out at each start.
//!
//! A record is written with one `write` before the DELETE is answered, which survives the end of the process; only a power
//! loss could bring a session back, and then its client would have to come back as well.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use super::ConversationId;

/// The session's id, and the second after which its token opens nothing anyway.
const RECORD: usize = 16 + 8;

/// The file of endings.
pub(super) struct Tombstones {
    file: File,
}

impl Tombstones {
    /// Opens the file, drops what has expired, and returns the rest. A record cut short by a crash is dropped with it.
    pub(super) fn open(path: &Path, now: u64) -> io::Result<(Self, Vec<(ConversationId, u64)>)> {
        let mut kept = Vec::new();
        match File::open(path) {
            Ok(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                let (records, _) = bytes.as_chunks::<RECORD>();
                kept.extend(
                    records
                        .iter()
                        .filter_map(read)
                        .filter(|(_, expiry)| *expiry > now),
                );
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Written beside and renamed, so that a crash here loses nothing.
        let fresh = path.with_extension("new");
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&fresh)?;
        for (id, expiry) in &kept {
            file.write_all(&record(*id, *expiry))?;
        }
        std::fs::rename(&fresh, path)?;
        Ok((Self { file }, kept))
    }

    /// Notes an ending.
    pub(super) fn add(&mut self, id: ConversationId, expiry: u64) -> io::Result<()> {
        self.file.write_all(&record(id, expiry))
    }
}

fn record(id: ConversationId, expiry: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..16].copy_from_slice(&id.0);
    record[16..].copy_from_slice(&expiry.to_be_bytes());
    record
}

fn read(record: &[u8; RECORD]) -> Option<(ConversationId, u64)> {
    let (id, expiry) = record.split_first_chunk()?;
    Some((ConversationId(*id), u64::from_be_bytes(*expiry.first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_read_back_until_they_expire() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.ended");
        let (mut tombstones, none) = Tombstones::open(&path, 0).unwrap();
        assert!(none.is_empty());
        tombstones.add(ConversationId([1; 16]), 100).unwrap();
        tombstones.add(ConversationId([2; 16]), 200).unwrap();
        // A crash in the middle of a record.
        tombstones.file.write_all(&[7; 5]).unwrap();
        let (mut tombstones, kept) = Tombstones::open(&path, 150).unwrap();
        assert_eq!(kept, [(ConversationId([2; 16]), 200)]);
        tombstones.add(ConversationId([3; 16]), 300).unwrap();
        let (_, kept) = Tombstones::open(&path, 150).unwrap();
        assert_eq!(
            kept,
            [(ConversationId([2; 16]), 200), (ConversationId([3; 16]), 300)]
        );
    }
}
