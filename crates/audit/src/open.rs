//! Opening: what an earlier run left is taken up, and what it could not finish is said.
//!
//! Nothing is repaired silently. A line that was torn by a crash moves to a file beside the segment and a record says so; calls
//! whose outcome nobody wrote get one that says that it is not known; what `head` knows of and the log does not have stays a gap
//! in the numbers for ever.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::hmac;

use crate::{
    Hash, Settings,
    chain::{hex, sha256},
    disk::{Disk, private, private_folder, sync_folder},
    engine::{Engine, Position},
    head::{self, Place},
    line::{Head, new_run},
    read::{Lines, Next, first_line, last_line},
    record::Fields,
    segment,
    signing::Signer,
};

const LOCK: &str = "lock";
/// How many calls without an outcome are looked for after a crash. A gate has fewer under way.
const MOST_OPEN: usize = 100_000;

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error("the audit log in {} is being written by another process; stop that gate, or set another `data_dir`", folder.display())]
    Taken {
        /// Where it is.
        folder: PathBuf,
    },
    /// The operating system refuses.
    #[error("failed to {action} {}: {source}; give the gate's user access to `data_dir`", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// The key of the digests is none.
    #[error("{} holds fewer than 32 bytes; if nobody needs the digests made with it, remove it and a new one is made", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The signing key is none.
    #[error("the cryptographic library refused `audit.signing_key`")]
    SigningKey,
    /// The log itself cannot be written.
    #[error("{0}; make room or give access, then start again")]
    Unwritten(#[from] crate::Unwritten),
}

/// An open log without its thread.
pub(crate) struct Opened {
    pub(crate) engine: Engine,
    pub(crate) head: head::Head,
    pub(crate) digests: hmac::Key,
    pub(crate) digest_key: String,
    /// Held until it is dropped.
    pub(crate) lock: File,
}

pub(crate) fn open(settings: Settings, disk: Box<dyn Disk>) -> Result<Opened, OpenError> {
    let folder = settings.folder.clone();
    private_folder(&folder).map_err(failed("make", &folder))?;
    let lock = take_lock(&folder)?;
    let (digests, digest_key) = digest_key(&settings.key)?;
    let signer = match &settings.signing_key {
        Some(key) => Some(Signer::new(key).ok_or(OpenError::SigningKey)?),
        None => None,
    };
    let run =
        new_run().map_err(|error| failed("ask for randomness for", &folder)(io::Error::other(error)))?;
    let left = Left::find(&folder)?;
    let log = match &left.log {
        Some(log) => log.clone(),
        None => {
            new_log().map_err(|error| failed("ask for randomness for", &folder)(io::Error::other(error)))?
        }
    };
    let (file, first, length) = match left.segment {
        Some((first, length)) => {
            let path = segment::path(&folder, first);
            (disk.extend(&path).map_err(failed("open", &path))?, first, length)
        }
        None => {
            let path = segment::path(&folder, left.next);
            (disk.create(&path).map_err(failed("make", &path))?, left.next, 0)
        }
    };
    let head = head::Head::open(&folder).map_err(failed("open", &folder.join(head::NAME)))?;
    let position = Position {
        next: left.next,
        hash: left.hash,
        file,
        first,
        length,
    };
    let engine = Engine::new(settings, disk, signer, log, run, position);
    engine.take_up(&left, &digest_key)?;
    sync_folder(&folder).map_err(failed("sync", &folder))?;
    Ok(Opened {
        engine,
        head,
        digests,
        digest_key,
        lock,
    })
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |source| OpenError::File { action, path, source }
}

fn take_lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let file = private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Taken {
            folder: folder.to_path_buf(),
        }),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}

/// The key of the digests and its name; made on first use.
fn digest_key(path: &Path) -> Result<(hmac::Key, String), OpenError> {
    let bytes = match fs::read(path) {
        Ok(bytes) if bytes.len() >= 32 => bytes,
        Ok(_) => {
            return Err(OpenError::Key {
                path: path.to_path_buf(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = vec![0; 32];
            getrandom::fill(&mut bytes).map_err(|error| failed("make", path)(io::Error::other(error)))?;
            crate::disk::replace(path, &bytes).map_err(failed("make", path))?;
            bytes
        }
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mut name = hex(&sha256(&[b"gatepost audit key\n", &bytes[..]].concat()));
    name.truncate(16);
    Ok((hmac::Key::new(hmac::HMAC_SHA256, &bytes), name))
}

fn new_log() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

/// What an earlier run left.
#[derive(Debug, Default)]
struct Left {
    log: Option<String>,
    /// The segment to go on in, and how long it is. `None`: begin one.
    segment: Option<(u64, u64)>,
    /// The number and the predecessor of the next record.
    next: u64,
    hash: Hash,
    /// Calls without an outcome: the numbers and ids of their intents.
    open: BTreeMap<u64, String>,
    /// How much was torn, and the file it was moved to.
    torn: Option<(u64, String)>,
    /// The first record that is not what it was when `head` was written.
    damaged: Option<u64>,
    /// The last record that `head` knows of, if the log ends before it.
    missing: Option<u64>,
    /// The log was not closed in order.
    crashed: bool,
}

impl Default for Hash {
    fn default() -> Self {
        Self::START
    }
}

impl Left {
    fn find(folder: &Path) -> Result<Self, OpenError> {
        let head = head::read(folder);
        let mut files = segment::list(folder).map_err(failed("read", folder))?;
        let mut left = Self {
            next: 1,
            log: head.as_ref().map(|head| head.log.clone()),
            crashed: !files.is_empty(),
            ..Self::default()
        };
        while let Some(file) = files.last() {
            if left.ends_in_order(file, head.as_ref())? {
                break;
            }
            left.scan(folder, &files, head.as_ref())?;
            if left.segment.is_some() {
                break;
            }
            // Nothing of it is whole: it was begun and never came to be.
            fs::remove_file(&file.path).map_err(failed("remove", &file.path))?;
            files.pop();
        }
        if let Some(head) = &head {
            let known = left.next - 1;
            if head.seq > known {
                left.missing = Some(head.seq);
                left.next = head.seq + 1;
            }
        }
        Ok(left)
    }

    /// Whether the log ends where `head` says that it was closed. Then nothing needs to be read.
    fn ends_in_order(&mut self, file: &segment::File, head: Option<&Place>) -> Result<bool, OpenError> {
        let Some(head) =
            head.filter(|head| head.closed && head.segment == file.first && head.bytes == file.length)
        else {
            return Ok(false);
        };
        let last = last_line(&file.path, file.length).map_err(failed("read", &file.path))?;
        let Some(line) = last.filter(|line| Hash::of(line).to_string() == head.hash) else {
            return Ok(false);
        };
        if Head::of(&line).is_none_or(|line| line.seq != head.seq) {
            return Ok(false);
        }
        self.segment = Some((file.first, file.length));
        self.next = head.seq + 1;
        self.hash = Hash::of(&line);
        self.crashed = false;
        Ok(true)
    }

    /// Reads the end of the log: the last segment, and those before it in which calls may have begun that have no outcome.
    fn scan(
        &mut self,
        folder: &Path,
        files: &[segment::File],
        head: Option<&Place>,
    ) -> Result<(), OpenError> {
        let Some((last, before)) = files.split_last() else {
            return Ok(());
        };
        let begin = first_line(&last.path).map_err(failed("read", &last.path))?;
        let said = begin.as_deref().map(Begin::of).unwrap_or_default();
        self.log = said.log.or(self.log.take());
        self.open.clear();
        if let Some(oldest) = said.open_since {
            let from = before.iter().rposition(|file| file.first <= oldest).unwrap_or(0);
            for file in before.get(from..).unwrap_or_default() {
                let mut lines = Lines::open(&file.path, 0).map_err(failed("read", &file.path))?;
                while lines.next().map_err(failed("read", &file.path))? == Next::Line {
                    if let Some(head) = Head::of(&lines.line) {
                        self.follow(&head);
                    }
                }
            }
        }
        // Behind this nothing was known to be on the disk, so what is no record there was torn rather than changed.
        let settled = match head {
            Some(head) if head.segment == last.first => head.bytes,
            Some(head) if head.segment < last.first => 0,
            _ => u64::MAX,
        };
        let mut lines = Lines::open(&last.path, 0).map_err(failed("read", &last.path))?;
        let mut expected: Option<(u64, Hash)> = None;
        let mut good = 0;
        while lines.next().map_err(failed("read", &last.path))? == Next::Line {
            let hash = Hash::of(&lines.line);
            let record = Head::of(&lines.line);
            let fits = record.is_some_and(|record| {
                expected.map_or(record.seq == last.first, |(seq, prev)| {
                    record.prev == prev && (record.seq == seq || self.may_follow_a_gap(&record, seq))
                })
            });
            let begin = lines.offset - lines.line.len() as u64 - 1;
            if !fits {
                if begin >= settled {
                    break;
                }
                let seq = expected.map_or(last.first, |(seq, _)| seq);
                self.damaged.get_or_insert(seq);
            }
            let seq = record.map_or(expected.map_or(last.first, |(seq, _)| seq), |record| record.seq);
            if let Some(record) = &record {
                self.follow(record);
            }
            expected = Some((seq.saturating_add(1), hash));
            good = lines.offset;
        }
        let length = last.path.metadata().map_err(failed("read", &last.path))?.len();
        if good < length {
            self.torn = Some((length - good, set_aside(folder, last, good, length)?));
        }
        // What the disk never confirmed is written once more: it may be in the cache only, where a failed fsync left it.
        let from = if settled == u64::MAX { 0 } else { settled };
        rewrite(&last.path, from, good).map_err(failed("write", &last.path))?;
        if let Some((next, hash)) = expected {
            self.segment = Some((last.first, good));
            self.next = next;
            self.hash = hash;
        }
        Ok(())
    }

    /// Where an earlier opening found less than `head` knew of, the numbers go on behind the gap, and this record says so.
    fn may_follow_a_gap(&self, record: &Head<'_>, expected: u64) -> bool {
        record.seq > expected && record.kind == "recovered"
    }

    fn follow(&mut self, record: &Head<'_>) {
        match record.kind {
            "intent" if self.open.len() < MOST_OPEN => {
                self.open.insert(record.seq, record.id.to_owned());
            }
            "outcome" => {
                let of = record.first_text("of").unwrap_or_default();
                let seq = of.split_once('-').and_then(|(_, seq)| seq.parse().ok());
                if let Some(seq) = seq
                    && self.open.get(&seq).is_some_and(|id| id == of)
                {
                    self.open.remove(&seq);
                }
            }
            _ => {}
        }
    }
}

/// What the first record of a segment says.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Begin {
    pub(crate) kind: String,
    pub(crate) log: Option<String>,
    pub(crate) open_since: Option<u64>,
}

impl Begin {
    pub(crate) fn of(line: &[u8]) -> Self {
        let begin: Self = serde_json::from_slice(line).unwrap_or_default();
        if begin.kind == "segment" {
            begin
        } else {
            Self::default()
        }
    }
}

/// Moves the end of a segment to a file of its own.
fn set_aside(folder: &Path, file: &segment::File, from: u64, to: u64) -> Result<String, OpenError> {
    let name = format!("{:020}-{from}.torn", file.first);
    let path = folder.join(&name);
    let mut source = File::open(&file.path).map_err(failed("read", &file.path))?;
    let moved = source.seek(SeekFrom::Start(from)).and_then(|_| {
        // A crash in the midst of this very thing leaves the file there.
        let mut torn = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&path)?;
        io::copy(&mut source.take(to - from), &mut torn)?;
        torn.sync_all()
    });
    moved
        .and_then(|()| sync_folder(folder))
        .map_err(failed("write", &path))?;
    let cut = OpenOptions::new().write(true).open(&file.path).and_then(|file| {
        file.set_len(from)?;
        file.sync_all()
    });
    cut.map_err(failed("cut", &file.path))?;
    Ok(name)
}

fn rewrite(path: &Path, from: u64, to: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut at = from;
    let mut part = vec![0; 256 * 1024];
    while at < to {
        let size = usize::try_from(to - at).unwrap_or(usize::MAX).min(part.len());
        let part = part.get_mut(..size).unwrap_or_default();
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(part)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(part)?;
        at += size as u64;
    }
    file.sync_all()
}

impl Engine {
    /// Says in the log how it was found.
    fn take_up(&self, left: &Left, digest_key: &str) -> Result<(), OpenError> {
        let mut state = self.lock();
        if left.segment.is_none() {
            self.begin_segment(&mut state, digest_key);
        }
        let whole = left.torn.is_none() && left.damaged.is_none() && left.missing.is_none();
        if !whole {
            tracing::warn!(?left.torn, ?left.damaged, ?left.missing, "the audit log was not whole; it says so itself");
        }
        self.append_own(&mut state, if whole { "opened" } else { "recovered" }, |fields| {
            fields.raw("crashed", if left.crashed { b"true" } else { b"false" });
            fields.text("digest_key", digest_key);
            if let Some((bytes, file)) = &left.torn {
                fields.number("torn_bytes", *bytes);
                fields.text("torn_file", file);
            }
            if let Some(seq) = left.damaged {
                fields.number("damaged", seq);
            }
            if let Some(seq) = left.missing {
                fields.number("missing_through", seq);
            }
            self.signed_by(fields);
        });
        for id in left.open.values() {
            let mut body = Vec::new();
            let mut fields = Fields::begin(&mut body, "outcome");
            fields.text("of", id);
            fields.text("outcome", "unknown");
            fields.text("reason", "the gate ended before the call did");
            fields.end();
            self.append(&mut state, &body, false);
        }
        if !left.open.is_empty() {
            tracing::warn!(calls = left.open.len(), "calls of an earlier run have no outcome");
        }
        let state = self.settle(state);
        if let Some(trouble) = &state.trouble {
            return Err(crate::Unwritten::because(trouble).into());
        }
        let file = std::sync::Arc::clone(&state.file);
        drop(state);
        file.sync().map_err(failed("sync", &self.settings.folder))?;
        let mut state = self.lock();
        state.durable = state.written;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
