//! Asking the log: who called what, and how it ended.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::Path,
};

use gatepost_policy::Pattern;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Moment,
    line::Head,
    read::{Lines, Next, first_line, last_lines},
    segment,
};

/// A record, as much of it as one asks for. `docs/audit.md` describes all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the fields are named as in the record, which docs/audit.md describes"
)]
pub struct Record {
    pub seq: u64,
    pub time: String,
    pub id: String,
    pub kind: String,
    pub who: RecordedWho,
    pub what: RecordedWhat,
    pub decision: RecordedDecision,
    pub arguments: Option<Box<RawValue>>,
    pub of: Option<String>,
    pub outcome: Option<String>,
    pub code: Option<i64>,
    pub reason: Option<String>,
    pub us: Option<u64>,
    pub trace: Option<String>,
}

/// Who asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct RecordedWho {
    pub issuer: Option<String>,
    pub subject: Option<String>,
    pub tenant: Option<String>,
    pub client: Option<String>,
    pub address: Option<String>,
}

/// For what.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct RecordedWhat {
    pub endpoint: Option<String>,
    pub method: Option<String>,
    pub server: Option<String>,
    pub name: Option<String>,
    pub original: Option<String>,
    pub effect: Option<String>,
}

/// What was decided.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as above")]
pub struct RecordedDecision {
    pub allow: Option<bool>,
    pub status: Option<u16>,
    pub reason: Option<String>,
    pub role: Option<String>,
    pub rule: Option<String>,
}

impl Record {
    /// Reads a line. `None` if it is no record.
    pub fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// Which calls and denials are asked for. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Not before.
    pub since: Option<Moment>,
    /// Before.
    pub until: Option<Moment>,
    /// Of this subject.
    pub principal: Option<String>,
    /// Of this tenant.
    pub tenant: Option<String>,
    /// For a tool, prompt or resource whose name, as the client or as the server has it, matches.
    pub tool: Option<Pattern>,
    /// For this server.
    pub server: Option<String>,
    /// That ended so: `ok`, `tool_error`, `error`, `cancelled`, `abandoned`, `not_sent`, `unknown`; `open`: has not ended.
    pub outcome: Option<String>,
    /// Allowed, or denied.
    pub allowed: Option<bool>,
}

/// A call with its outcome, or a denial.
#[derive(Debug)]
pub struct Entry {
    /// The record of the intent or denial.
    pub record: Record,
    /// Its line.
    pub line: Box<RawValue>,
    /// The record of the outcome and its line; none for a denial and while the call is open.
    pub outcome: Option<(Record, Box<RawValue>)>,
}

impl Filter {
    fn in_time(&self, time: &str) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        Moment::parse(time).is_some_and(|time| {
            self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
        })
    }

    fn takes(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        let named = |pattern: &Pattern| {
            [&record.what.name, &record.what.original]
                .into_iter()
                .flatten()
                .any(|name| pattern.matches(name))
        };
        is(&self.principal, &record.who.subject)
            && is(&self.tenant, &record.who.tenant)
            && is(&self.server, &record.what.server)
            && self.tool.as_ref().is_none_or(named)
            && self
                .allowed
                .is_none_or(|allowed| record.decision.allow == Some(allowed))
    }

    /// Whether it asks for nothing but a time.
    fn is_of_time_only(&self) -> bool {
        self.principal.is_none()
            && self.tenant.is_none()
            && self.tool.is_none()
            && self.server.is_none()
            && self.outcome.is_none()
            && self.allowed.is_none()
    }
}

/// The newest `limit` entries that a filter takes, oldest first. 0: all of them, which are then all in memory.
///
/// # Errors
/// When the log cannot be read.
pub fn query(folder: &Path, filter: &Filter, limit: usize) -> io::Result<Vec<Entry>> {
    let mut found: BTreeMap<u64, Entry> = BTreeMap::new();
    // With a wish for an outcome, calls wait here until they have one.
    let mut waiting: BTreeMap<u64, Entry> = BTreeMap::new();
    let wanted = filter.outcome.as_deref();
    each(folder, filter.since, |head, line| {
        match head.kind {
            "intent" | "denial" if filter.in_time(head.time) => {
                let Some((record, line)) = both(line).filter(|(record, _)| filter.takes(record)) else {
                    return Ok(());
                };
                let entry = Entry {
                    record,
                    line,
                    outcome: None,
                };
                match (wanted, head.kind) {
                    (None, _) => drop(found.insert(head.seq, entry)),
                    (Some(_), "intent") => drop(waiting.insert(head.seq, entry)),
                    (Some(_), _) => {}
                }
            }
            "outcome" => {
                let of = head.first_text("of").unwrap_or_default();
                let Some(seq) = of.split_once('-').and_then(|(_, seq)| seq.parse().ok()) else {
                    return Ok(());
                };
                let calls = if wanted.is_some() {
                    &mut waiting
                } else {
                    &mut found
                };
                if calls.get(&seq).is_none_or(|entry| entry.record.id != of) {
                    return Ok(());
                }
                let outcome = both(line);
                if let Some(wanted) = wanted {
                    let Some(mut entry) = waiting.remove(&seq) else {
                        return Ok(());
                    };
                    let ended = outcome
                        .as_ref()
                        .and_then(|(outcome, _)| outcome.outcome.as_deref());
                    if ended == Some(wanted) {
                        entry.outcome = outcome;
                        found.insert(seq, entry);
                    }
                } else if let Some(entry) = found.get_mut(&seq) {
                    entry.outcome = outcome;
                }
            }
            _ => {}
        }
        while limit > 0 && found.len() > limit {
            found.pop_first();
        }
        Ok(())
    })?;
    if wanted == Some("open") {
        found = waiting;
        while limit > 0 && found.len() > limit {
            found.pop_first();
        }
    }
    Ok(found.into_values().collect())
}

fn both(line: &[u8]) -> Option<(Record, Box<RawValue>)> {
    Some((Record::of(line)?, serde_json::from_slice(line).ok()?))
}

/// Passes on the lines of a log as they are: all records of a time, or, if the filter asks for more, the calls and denials it
/// takes and their outcomes.
///
/// # Errors
/// When the log cannot be read, or what `to` says.
pub fn export(folder: &Path, filter: &Filter, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let everything = filter.is_of_time_only();
    let mut open: HashSet<String> = HashSet::new();
    each(folder, filter.since, |head, line| match head.kind {
        _ if everything => {
            if filter.in_time(head.time) {
                to(line)?;
            }
            Ok(())
        }
        "intent" | "denial" if filter.in_time(head.time) => {
            if Record::of(line).is_some_and(|record| filter.takes(&record)) {
                to(line)?;
                if head.kind == "intent" {
                    open.insert(head.id.to_owned());
                }
            }
            Ok(())
        }
        "outcome" if open.remove(head.first_text("of").unwrap_or_default()) => to(line),
        _ => Ok(()),
    })
}

/// Every line from the segment on in which `since` may be.
fn each(
    folder: &Path,
    since: Option<Moment>,
    mut to: impl FnMut(&Head<'_>, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let files = segment::list(folder)?;
    let mut from = 0;
    if let Some(since) = since {
        for (at, file) in files.iter().enumerate() {
            let began = first_line(&file.path).ok().flatten();
            let began = began
                .as_deref()
                .and_then(Head::of)
                .and_then(|head| Moment::parse(head.time));
            if began.is_some_and(|began| began <= since) {
                from = at;
            }
        }
    }
    for file in files.get(from..).unwrap_or_default() {
        let mut lines = match Lines::open(&file.path, 0) {
            // A gate that is running has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            lines => lines?,
        };
        while lines.next()? == Next::Line {
            if let Some(head) = Head::of(&lines.line) {
                to(&head, &lines.line)?;
            }
        }
    }
    Ok(())
}

/// The end of a log, and what is added to it.
pub struct Tail {
    folder: std::path::PathBuf,
    /// What is read already, to be handed out.
    ready: std::vec::IntoIter<Vec<u8>>,
    file: Option<(u64, Lines)>,
}

impl Tail {
    /// Begins with the last `count` records.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn last(folder: &Path, count: usize) -> io::Result<Self> {
        let files = segment::list(folder)?;
        let mut ready: Vec<Vec<u8>> = Vec::new();
        let mut file = None;
        for segment in files.iter().rev() {
            let missing = count - ready.len();
            if missing == 0 && file.is_some() {
                break;
            }
            let (mut lines, end) = last_lines(&segment.path, missing)?;
            if file.is_none() {
                file = Some((segment.first, Lines::open(&segment.path, end)?));
            }
            lines.append(&mut ready);
            ready = lines;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            ready: ready.into_iter(),
            file,
        })
    }

    /// The next record, if there is one yet.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.ready.next() {
            return Ok(Some(line));
        }
        loop {
            if let Some((_, lines)) = &mut self.file
                && lines.next()? == Next::Line
            {
                return Ok(Some(std::mem::take(&mut lines.line)));
            }
            let after = self.file.as_ref().map_or(0, |(first, _)| *first);
            let files = segment::list(&self.folder)?;
            let Some(next) = files.iter().find(|file| file.first > after) else {
                return Ok(None);
            };
            self.file = Some((next.first, Lines::open(&next.path, 0)?));
        }
    }
}
