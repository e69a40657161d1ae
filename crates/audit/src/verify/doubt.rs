//! Which record is it? A break in the chain shows between two records, and the culprit may be either, or one that is gone. What
//! comes behind the break tells, as far as it can be told.

use std::{io, path::Path};

use super::{Fault, FaultKind, Walk, fault, is_json};
use crate::{
    Hash,
    line::Head,
    read::{Lines, Next},
    segment,
};

/// What is wrong with a line.
pub(super) enum Suspicion {
    /// This.
    Certain(Fault),
    /// It names another hash for the line before than that line has.
    Break,
    /// It has a higher number than comes next.
    Gap {
        /// Which.
        found: u64,
    },
}

/// The line under suspicion and what comes behind it.
pub(super) struct Rest<'a> {
    pub(super) line: Vec<u8>,
    pub(super) lines: Lines,
    pub(super) files: &'a [segment::File],
}

impl Rest<'_> {
    /// The next line, of this file or the next.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if self.lines.next()? == Next::Line {
                return Ok(Some(&self.lines.line));
            }
            let Some((file, rest)) = self.files.split_first() else {
                return Ok(None);
            };
            self.lines = Lines::open(&file.path, 0)?;
            self.files = rest;
        }
    }
}

/// How many records may have been taken out and the rest numbered anew for that to be recognised.
const RENUMBERED: u64 = 64;

impl Walk<'_> {
    pub(super) fn settle(&self, doubt: &Suspicion, file: &Path, mut rest: Rest<'_>) -> io::Result<Fault> {
        match doubt {
            Suspicion::Certain(fault) => Ok(fault.clone()),
            Suspicion::Gap { found } => self.gap(*found, file, &mut rest),
            Suspicion::Break => self.broken(file, &mut rest),
        }
    }

    fn gap(&self, found: u64, file: &Path, rest: &mut Rest<'_>) -> io::Result<Fault> {
        let expected = self.last.as_ref().map_or(found, |last| last.seq + 1);
        let changed = || {
            self.last.as_ref().map(|last| {
                fault(
                    FaultKind::Changed,
                    last.seq,
                    &last.file,
                    "it runs into what follows, or does not lead to it",
                )
            })
        };
        // Two lines that have become one begin like a record and are none.
        if let Some(fault) = self
            .last
            .as_ref()
            .filter(|last| !is_json(&last.line))
            .and_then(|_| changed())
        {
            return Ok(fault);
        }
        while let Some(line) = rest.next()? {
            let Some(record) = Head::of(line).filter(|record| record.seq == expected) else {
                continue;
            };
            let leads = self.last.as_ref().is_none_or(|last| last.hash == record.prev);
            let because = format!("it stands behind record {found}");
            let moved = || fault(FaultKind::Moved, expected, file, &because);
            return Ok(changed().filter(|_| !leads).unwrap_or_else(moved));
        }
        let through = found - 1;
        let because = format!("record {found} stands where it should be");
        Ok(fault(FaultKind::Removed { through }, expected, file, &because))
    }

    fn broken(&self, file: &Path, rest: &mut Rest<'_>) -> io::Result<Fault> {
        let line = rest.line.clone();
        // What is said of this line's hash by what comes next, or by `head` if nothing does.
        let said = match rest.next()? {
            Some(next) => Head::of(next).map(|next| next.prev),
            None => None,
        };
        let (Some(last), Some(record)) = (&self.last, Head::of(&line)) else {
            return Ok(fault(FaultKind::Changed, 1, file, "it does not fit"));
        };
        let said = said.or_else(|| self.head.filter(|head| head.0 == record.seq).map(|head| head.1));
        let here = |kind, because: &str| fault(kind, record.seq, file, because);
        let opens = matches!(record.kind, "opened" | "recovered" | "segment");
        let before = || {
            let because = format!("record {} has another hash of it", record.seq);
            fault(FaultKind::Changed, last.seq, &last.file, &because)
        };
        if record.run() != last.run && !opens {
            // Unless it is the one before whose id is another.
            let id = format!("{}-{}", record.run(), last.seq);
            let restored = replaced(&last.line, "id", &id, &format!("{}-{}", last.run, last.seq));
            // No run comes back: then it is that record, with more than its id changed.
            if Hash::of(&restored) == record.prev || record.run() == last.run_before {
                return Ok(before());
            }
            return Ok(here(
                FaultKind::Foreign,
                "another run of the gate wrote it, and it does not follow",
            ));
        }
        let Some(said) = said.filter(|said| *said != Hash::of(&line)) else {
            return Ok(before());
        };
        if Hash::of(&replaced(
            &line,
            "prev",
            &last.hash.to_string(),
            &record.prev.to_string(),
        )) == said
        {
            return Ok(here(FaultKind::Changed, "the hash it names is another"));
        }
        for by in 1..=RENUMBERED {
            let number = record.seq + by;
            let restored = replaced(&line, "seq", &number.to_string(), &record.seq.to_string());
            let id = format!("{}-{number}", record.run());
            if [&restored, &replaced(&restored, "id", &id, record.id)]
                .into_iter()
                .any(|line| Hash::of(line) == said)
            {
                let through = record.seq + by - 1;
                return Ok(here(
                    FaultKind::Removed { through },
                    "those behind it were given other numbers",
                ));
            }
        }
        Ok(before())
    }
}

/// The line with one of its own members as it may have been.
fn replaced(line: &[u8], member: &str, with: &str, instead_of: &str) -> Vec<u8> {
    let quote = if member == "seq" { "" } else { "\"" };
    let written = |value: &str| format!("\"{member}\":{quote}{value}{quote}");
    let text = String::from_utf8_lossy(line);
    text.replacen(&written(instead_of), &written(with), 1)
        .into_bytes()
}
