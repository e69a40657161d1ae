//! How far the log has got: what is in the buffer, in the file, on the disk, and which calls are open.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    task::Waker,
};

use super::{
    Mark,
    trouble::{Trouble, Unwritten},
};
use crate::{Hash, disk::Segment, head::Place};

pub(crate) struct State {
    /// The number and the predecessor of the next record.
    pub(crate) next: u64,
    pub(super) hash: Hash,
    /// Lines that are not in the file yet.
    pub(crate) pending: Vec<u8>,
    pub(super) spare: Vec<u8>,
    pub(super) writing: bool,
    pub(super) waiting: u32,
    /// A task is about to write, and others may join until it does.
    pub(super) gathering: bool,
    /// Tasks that wait for that, or for the write that is under way.
    pub(super) joined: Vec<Waker>,
    /// The last record in the buffer that must not wait for its sinks.
    pub(super) urgent: u64,
    /// The last record in the file.
    pub(crate) written: u64,
    pub(super) written_hash: Hash,
    /// The current segment: its file, the number of its first record, how long it is.
    pub(crate) file: Arc<dyn Segment>,
    pub(crate) first: u64,
    pub(crate) length: u64,
    /// The last record that is on the disk.
    pub(crate) durable: u64,
    /// Calls without an outcome.
    pub(super) open: HashSet<u64, BuildHasherDefault<Mixed>>,
    /// Goes up whenever records are taken back.
    pub(super) epoch: u32,
    /// Which record was the last that stayed when an epoch ended; the latest few.
    pub(super) ended: VecDeque<(u32, u64)>,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) since_checkpoint: u64,
    /// How many tasks have begun to wait for the disk since it was last asked, and how many are worth waiting for.
    pub(crate) joining: u64,
    pub(crate) expected: u64,
    /// The keeper sleeps until it is woken.
    pub(crate) idle: bool,
    pub(crate) closing: Closing,
}

/// Whether the log is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    No,
    /// Nobody has it any more.
    Dropped,
    /// It has said everything.
    Orderly,
}

/// Where an engine goes on.
pub(crate) struct Position {
    pub(crate) next: u64,
    pub(crate) hash: Hash,
    pub(crate) file: Box<dyn Segment>,
    pub(crate) first: u64,
    pub(crate) length: u64,
}

impl State {
    pub(super) fn new(position: Position) -> Self {
        let written = position.next - 1;
        Self {
            next: position.next,
            hash: position.hash,
            pending: Vec::new(),
            spare: Vec::new(),
            writing: false,
            waiting: 0,
            gathering: false,
            joined: Vec::new(),
            urgent: 0,
            written,
            written_hash: position.hash,
            file: position.file.into(),
            first: position.first,
            length: position.length,
            durable: written,
            open: HashSet::default(),
            epoch: 0,
            ended: VecDeque::new(),
            trouble: None,
            since_checkpoint: 0,
            joining: 0,
            expected: 0,
            idle: false,
            closing: Closing::No,
        }
    }

    /// Whether a record is there, given the last that is; `None`: not yet.
    pub(super) fn verdict(&self, mark: Mark, through: u64) -> Option<Result<(), Unwritten>> {
        if self.was_taken_back(mark) {
            let reason = self.trouble.as_ref().map(|trouble| Arc::clone(&trouble.reason));
            let reason = reason.unwrap_or_else(|| "it could not be written for a moment".into());
            return Some(Err(Unwritten { reason }));
        }
        (mark.seq <= through).then_some(Ok(()))
    }

    pub(super) fn was_taken_back(&self, mark: Mark) -> bool {
        self.ended
            .iter()
            .any(|&(epoch, staying)| epoch >= mark.epoch && mark.seq > staying)
    }

    /// The oldest call without an outcome.
    pub(crate) fn oldest_open(&self) -> Option<u64> {
        self.open.iter().min().copied()
    }

    /// How many there are.
    pub(crate) fn open_count(&self) -> u64 {
        self.open.len() as u64
    }

    /// All of them, oldest first; none is open afterwards.
    pub(crate) fn take_open(&mut self) -> Vec<u64> {
        let mut open: Vec<u64> = self.open.drain().collect();
        open.sort_unstable();
        open
    }

    /// Where the file ends.
    pub(crate) fn place(&self, log: &str) -> Place {
        Place {
            log: log.to_owned(),
            seq: self.written,
            hash: self.written_hash.to_string(),
            segment: self.first,
            bytes: self.length,
            closed: false,
        }
    }
}

/// Spreads consecutive numbers.
#[derive(Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}
