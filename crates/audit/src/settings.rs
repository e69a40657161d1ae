//! What the log is told: the configuration's `audit`, and what only the gate knows.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use gatepost_config::{Audit, Durability, OnFailure, Recorded, SigningKey, Sink};

use crate::Moment;

/// Where the log is within `data_dir`.
const FOLDER: &str = "audit";
/// The key of the digests, beside the log rather than in it: a copy of the log is for those who check it, the key is not.
const KEY: &str = "audit.key";

/// What the log is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the segments.
    pub folder: PathBuf,
    /// The key of the digests; made if it is not there.
    pub key: PathBuf,
    /// When a record counts as written.
    pub durability: Durability,
    /// What happens to calls while the log cannot be written.
    pub on_failure: OnFailure,
    /// What is kept of arguments besides their digest, which is always kept.
    pub arguments: Kept,
    /// What is kept of results.
    pub results: Kept,
    /// What checkpoints are signed with.
    pub signing_key: Option<SigningKey>,
    /// How large a segment gets, in bytes, before the next is begun.
    pub segment_bytes: u64,
    /// How old a segment may get. `None`: as old as it likes.
    pub keep: Option<Duration>,
    /// How large all segments may get together, in bytes. `None`: as large as they like.
    pub max_bytes: Option<u64>,
    /// Names whose values are masked, besides the built-in ones.
    pub mask: Vec<String>,
    /// Where else records go.
    pub sinks: Vec<Sink>,
    /// How long what was written may wait for the disk in [`Durability::Batch`].
    pub flush: Duration,
    /// After how many records there is a checkpoint.
    pub checkpoint_records: u64,
    /// And after how long, if there are any records at all.
    pub checkpoint_every: Duration,
    /// How long to wait after the log could not be written before trying again.
    pub retry: Duration,
    /// What time it is.
    pub clock: fn() -> Moment,
}

/// How much is kept of arguments or of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing (of arguments: nothing but their digest).
    Nothing,
    /// A digest.
    Digest,
    /// A digest, and the value with its secrets masked.
    Masked,
}

impl Settings {
    /// The configuration's `audit`, for the log in `data_dir`.
    pub fn new(data_dir: &Path, audit: &Audit) -> Self {
        Self {
            durability: audit.durability,
            on_failure: audit.on_failure,
            arguments: audit.arguments.into(),
            results: audit.results.into(),
            signing_key: audit.signing_key.clone(),
            segment_bytes: audit.segment.0,
            keep: audit.keep,
            max_bytes: audit.max_size.map(|size| size.0),
            mask: audit.mask.clone(),
            sinks: audit.sinks.clone(),
            ..Self::plain(data_dir)
        }
    }

    /// The defaults, for the log in `data_dir`: `audit: {}`.
    pub fn plain(data_dir: &Path) -> Self {
        Self {
            folder: folder(data_dir),
            key: data_dir.join(KEY),
            durability: Durability::Batch,
            on_failure: OnFailure::Deny,
            arguments: Kept::Masked,
            results: Kept::Nothing,
            signing_key: None,
            segment_bytes: 64 << 20,
            keep: None,
            max_bytes: None,
            mask: Vec::new(),
            sinks: Vec::new(),
            flush: Duration::from_millis(100),
            checkpoint_records: 10_000,
            checkpoint_every: Duration::from_secs(10),
            retry: Duration::from_secs(5),
            clock: Moment::now,
        }
    }
}

/// Where the log is within `data_dir`.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

impl From<Recorded> for Kept {
    fn from(recorded: Recorded) -> Self {
        match recorded {
            Recorded::None => Self::Nothing,
            Recorded::Digest => Self::Digest,
            Recorded::Masked => Self::Masked,
        }
    }
}
