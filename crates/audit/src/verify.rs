//! Verification: is the log what was written?
//!
//! It reads every line once, from the first segment to the last, with nothing but the folder: offline, of a copy, of any size. It
//! stops at the first record that is not what it was, and says which that is. Where that cannot be told exactly, it names the
//! earliest it can be. What stands before the record it names is as it was written, with one exception: nothing vouches for the
//! record directly before a gap, since the one that did is gone.

mod doubt;

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    Hash, PublicKey, head,
    line::Head,
    open::Begin,
    read::{Lines, Next},
    segment,
    signing::{self, Signed},
};

use doubt::{Rest, Suspicion};

/// What is known from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The keys that signatures are checked with; none: they are not.
    pub keys: Vec<PublicKey>,
    /// Records that must be there, and their hashes.
    pub records: Vec<(u64, Hash)>,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Which log it is.
    pub log: Option<String>,
    /// How many files.
    pub segments: usize,
    /// How many records were read and fit together.
    pub records: u64,
    /// The first of them.
    pub first: Option<Passed>,
    /// The last of them.
    pub last: Option<Passed>,
    /// How many signatures are right.
    pub signatures: u64,
    /// The last record that one of them covers.
    pub signed_through: Option<u64>,
    /// Records that are signed, whether or not that was checked.
    pub checkpoints: u64,
    /// Where `head` says that the log ended when it was last written to the disk. `None`: there is no such file.
    pub head: Option<u64>,
    /// How many bytes stand behind the last whole record: a write that is under way, or was when the gate was killed.
    pub torn: u64,
    /// What the log says of its own troubles, in words.
    pub notes: Vec<String>,
    /// What is wrong first, if anything is.
    pub fault: Option<Fault>,
}

/// A record that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its number.
    pub seq: u64,
    /// Its time, as RFC 3339.
    pub time: String,
    /// Its hash.
    pub hash: Hash,
}

/// What is wrong, and with which record first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happened to it.
    pub kind: FaultKind,
    /// The number of the first record that it happened to.
    pub seq: u64,
    /// The file it is in, or would be in.
    pub file: Option<PathBuf>,
    /// How that was noticed.
    pub because: String,
}

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It is not what was written.
    Changed,
    /// It and those up to `through` are not there.
    Removed {
        /// The last of them.
        through: u64,
    },
    /// It and those up to `through` are not there, and nothing comes behind them.
    CutOff {
        /// The last of them.
        through: u64,
    },
    /// It stands behind a later one.
    Moved,
    /// It stands there a second time.
    Repeated,
    /// It was written by another run or another log.
    Foreign,
    /// It or one of those up to `through` was changed, and the chain made to fit.
    Rewritten {
        /// The record whose signature or hash shows it.
        through: u64,
    },
    /// A record that the gate signs has no signature, although records before it have one, or none has.
    Unsigned,
}

/// Reads a log and says what is wrong with it.
///
/// # Errors
/// When it cannot be read.
pub fn verify(folder: &Path, known: &Known) -> io::Result<Report> {
    // Before the records: while a gate is writing, what `head` knows of is in the file already.
    let head = head::read(folder);
    let files = segment::list(folder)?;
    let mut walk = Walk {
        known,
        report: Report {
            segments: files.len(),
            head: head.as_ref().map(|head| head.seq),
            ..Report::default()
        },
        begin: Hash::START,
        last: None,
        time: String::new(),
        removals: Vec::new(),
        head: head.and_then(|head| Some((head.seq, Hash::parse(head.hash.as_bytes())?))),
    };
    let mut fault = walk.files(&files)?;
    if fault.is_none() {
        fault = walk.beginning(&files).or_else(|| walk.end(&files));
    }
    walk.report.last = walk.last.as_ref().map(|last| Passed {
        seq: last.seq,
        time: walk.time.clone(),
        hash: last.hash,
    });
    walk.report.fault = fault;
    Ok(walk.report)
}

/// The record before, as much of it as is needed to judge the next.
struct Before {
    line: Vec<u8>,
    seq: u64,
    hash: Hash,
    run: String,
    /// The run of the record before this one.
    run_before: String,
    file: PathBuf,
}

/// What a record says about records that were removed on purpose.
#[derive(serde::Deserialize)]
struct Removal {
    from: u64,
    to: u64,
    last_hash: String,
}

struct Walk<'a> {
    known: &'a Known,
    report: Report,
    /// What the first record names as the hash of the one before it.
    begin: Hash,
    last: Option<Before>,
    /// The time of the last record.
    time: String,
    removals: Vec<Removal>,
    head: Option<(u64, Hash)>,
}

impl Walk<'_> {
    fn files(&mut self, files: &[segment::File]) -> io::Result<Option<Fault>> {
        for (at, file) in files.iter().enumerate() {
            let mut lines = Lines::open(&file.path, 0)?;
            let mut first = true;
            loop {
                match lines.next()? {
                    Next::End => break,
                    Next::Torn if at + 1 == files.len() => {
                        self.report.torn = lines.line.len() as u64;
                        break;
                    }
                    Next::Torn => {
                        let seq = self.expected(file);
                        return Ok(Some(fault(
                            FaultKind::Changed,
                            seq,
                            &file.path,
                            "its line does not end",
                        )));
                    }
                    Next::Line => {}
                }
                match self.line(file, &lines.line, first) {
                    None => first = false,
                    Some(Suspicion::Certain(fault)) => return Ok(Some(fault)),
                    Some(doubt) => {
                        let rest = Rest {
                            line: lines.line.clone(),
                            lines,
                            files: files.get(at + 1..).unwrap_or_default(),
                        };
                        return self.settle(&doubt, &file.path, rest).map(Some);
                    }
                }
            }
        }
        Ok(None)
    }

    fn expected(&self, file: &segment::File) -> u64 {
        self.last.as_ref().map_or(file.first, |last| last.seq + 1)
    }

    /// Takes the next line. Nothing if it fits.
    fn line(&mut self, file: &segment::File, line: &[u8], first: bool) -> Option<Suspicion> {
        let expected = self.expected(file);
        let certain =
            |kind, seq, because: &str| Some(Suspicion::Certain(fault(kind, seq, &file.path, because)));
        let Some(record) = Head::of(line) else {
            return certain(FaultKind::Changed, expected, "what stands there is no record");
        };
        let numbered = record.id.rsplit_once('-').and_then(|(_, seq)| seq.parse().ok()) == Some(record.seq);
        let follows = self.last.as_ref().is_none_or(|last| last.hash == record.prev);
        if record.seq != expected {
            // A gap that the gate itself found and could not help.
            if follows && numbered && record.seq > expected && self.last.is_some() {
                let through = record.seq - 1;
                let because = "they were gone when the gate was started again, as its next record says";
                return certain(FaultKind::Removed { through }, expected, because);
            }
            if follows && self.last.is_some() || !numbered {
                return certain(FaultKind::Changed, expected, "its number is another");
            }
            if record.seq > expected {
                return Some(Suspicion::Gap { found: record.seq });
            }
            let because = format!("it stands where record {expected} should be");
            return certain(FaultKind::Repeated, record.seq, &because);
        }
        if !follows {
            return Some(Suspicion::Break);
        }
        if !numbered {
            return certain(FaultKind::Changed, expected, "its id is another");
        }
        let opens = matches!(record.kind, "opened" | "recovered" | "segment");
        if self.last.as_ref().is_some_and(|last| last.run != record.run()) && !opens {
            return certain(FaultKind::Foreign, expected, "another run of the gate wrote it");
        }
        if first && file.first != record.seq {
            return certain(FaultKind::Moved, expected, "its file is named for another record");
        }
        if record.seq == 1 && record.prev != Hash::START {
            return certain(
                FaultKind::Changed,
                1,
                "the first record of a log has none before it",
            );
        }
        let hash = Hash::of(line);
        let told = self
            .signature(file, line, &record)
            .or_else(|| self.told(file, record.seq, hash));
        if let Some(fault) = told {
            return Some(Suspicion::Certain(fault));
        }
        self.accept(file, line, &record, hash);
        None
    }

    fn accept(&mut self, file: &segment::File, line: &[u8], record: &Head<'_>, hash: Hash) {
        match record.kind {
            "segment" if self.report.log.is_none() => self.report.log = Begin::of(line).log,
            "removed" => self.removals.extend(serde_json::from_slice::<Removal>(line).ok()),
            "recovered" | "resumed" => self.report.notes.push(format!(
                "record {} of {}: {}",
                record.seq,
                record.time,
                String::from_utf8_lossy(record.body).trim_end_matches('}')
            )),
            _ => {}
        }
        self.report.records += 1;
        if self.report.first.is_none() {
            self.begin = record.prev;
            self.report.first = Some(Passed {
                seq: record.seq,
                time: record.time.to_owned(),
                hash,
            });
        }
        self.time.clear();
        self.time.push_str(record.time);
        let last = self.last.get_or_insert_with(|| Before {
            line: Vec::new(),
            seq: record.seq,
            hash,
            run: String::new(),
            run_before: String::new(),
            file: PathBuf::new(),
        });
        (last.seq, last.hash) = (record.seq, hash);
        last.line.clear();
        last.line.extend_from_slice(line);
        if last.run_before != last.run {
            last.run_before.clone_from(&last.run);
        }
        if last.run != record.run() {
            last.run = record.run().to_owned();
        }
        if last.file != file.path {
            last.file.clone_from(&file.path);
        }
    }

    /// Checks the signature of a record that the gate signs if it has a key.
    fn signature(&mut self, file: &segment::File, line: &[u8], record: &Head<'_>) -> Option<Fault> {
        if !matches!(
            record.kind,
            "segment" | "checkpoint" | "opened" | "recovered" | "resumed" | "removed" | "stopped" | "sink"
        ) {
            return None;
        }
        let signed = signing::check(line, &self.known.keys);
        self.report.checkpoints += u64::from(signed != Signed::No);
        if self.known.keys.is_empty() {
            return None;
        }
        let from = self.report.signed_through.map_or_else(
            || self.report.first.as_ref().map_or(record.seq, |first| first.seq),
            |through| through + 1,
        );
        match signed {
            Signed::Right => {
                self.report.signatures += 1;
                self.report.signed_through = Some(record.seq);
                None
            }
            Signed::Wrong => Some(fault(
                FaultKind::Rewritten { through: record.seq },
                from,
                &file.path,
                &format!(
                    "the signature of record {} is by none of the keys given",
                    record.seq
                ),
            )),
            Signed::No if self.report.signed_through.is_some() => Some(fault(
                FaultKind::Unsigned,
                record.seq,
                &file.path,
                "records of its kind before it are signed",
            )),
            Signed::No => None,
        }
    }

    /// Compares a record with what is known from elsewhere.
    fn told(&self, file: &segment::File, seq: u64, hash: Hash) -> Option<Fault> {
        let wrong = self
            .known
            .records
            .iter()
            .any(|known| known.0 == seq && known.1 != hash);
        wrong.then(|| {
            let first = self
                .report
                .signed_through
                .map_or(1, |through| through + 1)
                .min(seq);
            fault(
                FaultKind::Rewritten { through: seq },
                first,
                &file.path,
                &format!("record {seq} has another hash than the checkpoint that was given"),
            )
        })
    }

    /// Whether what is missing at the beginning was removed on purpose.
    fn beginning(&self, files: &[segment::File]) -> Option<Fault> {
        let first = self.report.first.as_ref()?.seq;
        let on_purpose = self.removals.iter().any(|removal| {
            removal.to + 1 == first && removal.last_hash == self.begin.to_string()
                // They were to be removed, and the gate ended while it did that.
                || (removal.from..=removal.to).contains(&first)
        });
        (first > 1 && !on_purpose).then(|| Fault {
            kind: FaultKind::Removed { through: first - 1 },
            seq: 1,
            file: files.first().map(|file| file.path.clone()),
            because: format!(
                "the log begins with record {first}, and no record says that those before were removed"
            ),
        })
    }

    /// Whether something is missing at the end, as far as can be known.
    fn end(&self, files: &[segment::File]) -> Option<Fault> {
        let last = self.last.as_ref().map_or(0, |last| last.seq);
        let file = files.last().map(|file| file.path.clone());
        let cut = |through, because: &str| Fault {
            kind: FaultKind::CutOff { through },
            seq: last + 1,
            file: file.clone(),
            because: because.to_owned(),
        };
        // Two lines that have become one begin like a record and are none.
        if let Some(last) = self.last.as_ref().filter(|last| !is_json(&last.line)) {
            let because = "it runs into what follows";
            return Some(fault(FaultKind::Changed, last.seq, &last.file, because));
        }
        let known = self.known.records.iter().map(|known| known.0).max().unwrap_or(0);
        if known > last {
            return Some(cut(known, "the checkpoint that was given is of a later record"));
        }
        if let Some((head, hash)) = self.head {
            if head > last {
                return Some(cut(head, "`head` says that they were on the disk"));
            }
            if head == last && self.last.as_ref().is_some_and(|last| last.hash != hash) {
                return Some(Fault {
                    kind: FaultKind::Changed,
                    seq: last,
                    file,
                    because: "`head` has another hash of it".to_owned(),
                });
            }
        }
        if !self.known.keys.is_empty() && self.report.signatures == 0 {
            return Some(Fault {
                kind: FaultKind::Unsigned,
                seq: self.report.first.as_ref().map_or(1, |first| first.seq),
                file,
                because: "no record of this log is signed".to_owned(),
            });
        }
        None
    }
}

fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

fn fault(kind: FaultKind, seq: u64, file: &Path, because: &str) -> Fault {
    Fault {
        kind,
        seq,
        file: Some(file.to_path_buf()),
        because: because.to_owned(),
    }
}

#[cfg(test)]
mod tests;
