//! The engine: puts records in order, chains them, and gets them to the disk in groups.
//!
//! A record is numbered and hashed under a short lock and then waits in a buffer. Of the tasks that wait for it to be in the file
//! the first lets the others that are ready go before it, and then writes what all of them have brought, outside of the lock: a
//! busy gate makes one system call for many records, and nobody is sent to another thread. In `sync` they then wait, without
//! holding their thread, until the [keeper](crate::keeper) has brought the whole group to the disk.
//!
//! What fails is never half there: after a failed write the file is cut back to its last whole group, and everybody whose record
//! was in the buffer hears of it. After a failed fsync nothing is known of the file any more, so it is never written again.

use std::{
    collections::{HashSet, VecDeque},
    future::poll_fn,
    hash::{BuildHasherDefault, Hasher},
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    time::Instant,
};

use gatepost_config::{Durability, OnFailure};
use tokio::sync::watch;

use crate::{
    Hash, Moment, Settings,
    disk::{Disk, Segment},
    head::Place,
    line::{self, Run},
    record::Fields,
    signing::Signer,
    sink::Cursor,
};

/// The log cannot be written, so what was to be recorded is not. With `on_failure: deny` the call must not be made; if it has
/// been made already, the answer must say that it is not on record.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the audit log cannot be written: {reason}")]
pub struct Unwritten {
    reason: Arc<str>,
}

/// How the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Why it cannot be written, if it cannot.
    pub failed: Option<Arc<str>>,
    /// Whether that lasts until the gate is started again.
    pub is_final: bool,
    /// Whether calls are refused for it.
    pub refuses: bool,
    /// Records that could not be written since the start.
    pub unwritten: u64,
    /// The number of the last record that is in the file.
    pub written: u64,
    /// The number of the last record that is known to be on the disk.
    pub durable: u64,
    /// Calls without an outcome yet.
    pub open: usize,
}

/// Where a record stands, for waiting until it is durable. Number 0: it is not there, and that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) seq: u64,
    epoch: u32,
}

impl Mark {
    const NOWHERE: Self = Self { seq: 0, epoch: 0 };
}

/// What a record does to the set of calls without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Opens,
    Closes(Mark),
}

/// How far the log has got, for sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Published {
    /// The last record that may be read.
    pub(crate) written: u64,
    /// The last of those that must not wait.
    pub(crate) urgent: u64,
}

/// What a sink still has to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) sink: String,
    /// The last record it has.
    pub(crate) has: u64,
    /// How much may wait for it, in bytes.
    pub(crate) backlog: u64,
}

pub(crate) struct Engine {
    pub(crate) settings: Settings,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) signer: Option<Signer>,
    /// Which log this is, whatever becomes of its folder.
    pub(crate) log: String,
    pub(crate) run: Run,
    state: Mutex<State>,
    /// A group has been written, or is lost.
    written: Condvar,
    /// There is something for the keeper.
    pub(crate) work: Condvar,
    /// Counts how often what is durable has changed.
    durable: watch::Sender<u64>,
    pub(crate) published: watch::Sender<Published>,
    lost: AtomicU64,
    /// What sinks still have to read.
    pub(crate) holds: Mutex<Vec<Hold>>,
    /// Where the log ended when it was opened: there a sink begins that is new.
    pub(crate) began: Cursor,
}

pub(crate) struct State {
    /// The number and the predecessor of the next record.
    pub(crate) next: u64,
    hash: Hash,
    /// Lines that are not in the file yet.
    pub(crate) pending: Vec<u8>,
    spare: Vec<u8>,
    writing: bool,
    waiting: u32,
    /// A task is about to write, and others may join until it does.
    gathering: bool,
    /// Tasks that wait for that, or for the write that is under way.
    joined: Vec<Waker>,
    /// The last record in the buffer that must not wait for its sinks.
    urgent: u64,
    /// The last record in the file.
    pub(crate) written: u64,
    written_hash: Hash,
    /// The current segment: its file, the number of its first record, how long it is.
    pub(crate) file: Arc<dyn Segment>,
    pub(crate) first: u64,
    pub(crate) length: u64,
    /// The last record that is on the disk.
    pub(crate) durable: u64,
    /// Calls without an outcome.
    open: HashSet<u64, BuildHasherDefault<Mixed>>,
    /// Goes up whenever records are taken back.
    epoch: u32,
    /// Which record was the last that stayed when an epoch ended; the latest few.
    ended: VecDeque<(u32, u64)>,
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

/// Why the log cannot be written.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) reason: Arc<str>,
    pub(crate) since: Moment,
    pub(crate) cure: Cure,
    /// Records that could not be written meanwhile.
    pub(crate) unwritten: u64,
}

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    /// Writing again, once the file is cut to its last whole group.
    Again(Instant),
    /// Another file: nothing is known of this one.
    Another(Instant),
    /// Only another start of the gate.
    None,
}

/// Spreads consecutive numbers.
#[derive(Default)]
struct Mixed(u64);

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

/// Where an engine goes on.
pub(crate) struct Position {
    pub(crate) next: u64,
    pub(crate) hash: Hash,
    pub(crate) file: Box<dyn Segment>,
    pub(crate) first: u64,
    pub(crate) length: u64,
}

impl Engine {
    pub(crate) fn new(
        settings: Settings,
        disk: Box<dyn Disk>,
        signer: Option<Signer>,
        log: String,
        run: Run,
        position: Position,
    ) -> Self {
        let written = position.next - 1;
        let began = Cursor {
            log: log.clone(),
            seq: written,
            segment: position.first,
            offset: position.length,
            attempted: 0,
            attempts: 0,
        };
        let state = State {
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
        };
        Self {
            settings,
            disk,
            signer,
            log,
            run,
            state: Mutex::new(state),
            written: Condvar::new(),
            work: Condvar::new(),
            durable: watch::Sender::new(0),
            published: watch::Sender::new(Published { written, urgent: 0 }),
            lost: AtomicU64::new(0),
            holds: Mutex::new(Vec::new()),
            began,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half way through a change of the chain.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_sync(&self) -> bool {
        self.settings.durability == Durability::Sync
    }

    fn allows_loss(&self) -> bool {
        self.settings.on_failure == OnFailure::Allow
    }

    /// Adds a record and returns when it is in the file. Blocks for one write at most.
    pub(crate) fn record(&self, body: &[u8], change: Change, urgent: bool) -> Result<Mark, Unwritten> {
        let mark = self.enter(body, change, urgent)?;
        if mark == Mark::NOWHERE {
            return Ok(mark);
        }
        match self.flush(Some(mark)) {
            Some(Err(error)) => self.lose(0, error),
            _ => Ok(mark),
        }
    }

    /// Adds a record, which is in the file when [`durable`](Self::durable) has returned.
    pub(crate) fn enter(&self, body: &[u8], change: Change, urgent: bool) -> Result<Mark, Unwritten> {
        let mut state = self.lock();
        if state.closing != Closing::No {
            let reason = Arc::from("it was closed");
            drop(state);
            return self.lose(1, Unwritten { reason });
        }
        if let Change::Closes(intent) = change {
            if intent.seq == 0 || state.was_taken_back(intent) {
                let reason = Arc::from("its intent is not there");
                drop(state);
                return self.lose(1, Unwritten { reason });
            }
            state.open.remove(&intent.seq);
        }
        if let Some(trouble) = &mut state.trouble {
            trouble.unwritten += 1;
            let error = Unwritten::because(trouble);
            drop(state);
            return self.lose(1, error);
        }
        let seq = self.append(&mut state, body, false);
        if change == Change::Opens {
            state.open.insert(seq);
        }
        if urgent {
            state.urgent = seq;
        }
        Ok(Mark {
            seq,
            epoch: state.epoch,
        })
    }

    /// Writes what is in the buffer, or waits until somebody else has; what became of `mark` by that.
    fn flush(&self, mark: Option<Mark>) -> Option<Result<(), Unwritten>> {
        let mut state = self.lock();
        let done = loop {
            let done = mark.and_then(|mark| state.verdict(mark, state.written));
            if done.is_some() || (mark.is_none() && state.pending.is_empty()) || state.trouble.is_some() {
                break done;
            }
            if state.writing {
                state.waiting += 1;
                state = self.written.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.waiting -= 1;
            } else {
                state = self.write(state);
            }
        };
        // In `sync` the keeper is woken by who waits for it.
        if state.idle && !self.is_sync() {
            state.idle = false;
            self.work.notify_one();
        }
        let written = state.written;
        // What is not in the file yet is announced by whoever writes it.
        let urgent = if state.urgent <= written {
            std::mem::take(&mut state.urgent)
        } else {
            0
        };
        drop(state);
        if urgent > 0 {
            self.published.send_modify(|published| {
                published.written = published.written.max(written);
                published.urgent = published.urgent.max(urgent);
            });
        }
        done
    }

    /// Returns when a record is in the file, together with those of everybody who is ready now.
    async fn in_file(&self, mark: Mark) -> Result<(), Unwritten> {
        loop {
            let turn = poll_fn(|cx| {
                let mut state = self.lock();
                if let Some(done) = state.verdict(mark, state.written) {
                    return Poll::Ready(Err(done));
                }
                // Whoever is at it wakes all who have joined when it is done.
                if state.gathering || state.writing {
                    state.joined.push(cx.waker().clone());
                    return Poll::Pending;
                }
                state.gathering = true;
                // It writes when it is dropped: also if nobody waits for this any more, those who joined do.
                Poll::Ready(Ok(Group(self)))
            });
            match turn.await {
                Err(done) => return done,
                Ok(group) => {
                    tokio::task::yield_now().await;
                    drop(group);
                }
            }
        }
    }

    /// What is not written is refused, or counted.
    fn lose(&self, count: u64, error: Unwritten) -> Result<Mark, Unwritten> {
        self.lost.fetch_add(count, Ordering::Relaxed);
        if self.allows_loss() {
            Ok(Mark::NOWHERE)
        } else {
            Err(error)
        }
    }

    /// Returns when a record is in the file.
    pub(crate) async fn survives(&self, mark: Mark) -> Result<(), Unwritten> {
        if mark.seq == 0 {
            return Ok(());
        }
        match self.in_file(mark).await {
            Err(error) => self.lose(0, error).map(drop),
            Ok(()) => Ok(()),
        }
    }

    /// Returns when a record is as durable as the configuration asks for.
    pub(crate) async fn durable(&self, mark: Mark) -> Result<(), Unwritten> {
        if mark.seq == 0 {
            return Ok(());
        }
        let mut done = self.in_file(mark).await;
        if done.is_ok() && self.is_sync() {
            // Boxed, so that who only ever runs `batch` does not carry it in every future.
            done = Box::pin(self.synced(mark)).await;
        }
        match done {
            Err(error) => self.lose(0, error).map(drop),
            Ok(()) => Ok(()),
        }
    }

    async fn synced(&self, mark: Mark) -> Result<(), Unwritten> {
        let mut changes = self.durable.subscribe();
        let mut joined = false;
        loop {
            {
                let mut state = self.lock();
                if let Some(done) = state.verdict(mark, state.durable) {
                    return done;
                }
                if !joined {
                    joined = true;
                    state.joining += 1;
                    if state.idle && state.joining >= state.expected {
                        self.work.notify_one();
                    }
                }
            }
            if changes.changed().await.is_err() {
                return Err(Unwritten {
                    reason: "it was closed".into(),
                });
            }
        }
    }

    /// Numbers, chains and signs a record, and leaves it in the buffer. Only while there is no trouble.
    pub(crate) fn append(&self, state: &mut State, body: &[u8], signed: bool) -> u64 {
        let seq = state.next;
        let start = state.pending.len();
        line::begin(
            &mut state.pending,
            seq,
            (self.settings.clock)(),
            &self.run,
            state.hash,
        );
        state.pending.extend_from_slice(body);
        if let (true, Some(signer)) = (signed, &self.signer) {
            signer.sign(&mut state.pending, start);
        }
        state.hash = Hash::of(state.pending.get(start..).unwrap_or_default());
        state.pending.push(b'\n');
        state.next += 1;
        state.since_checkpoint += 1;
        seq
    }

    /// Adds one of the log's own records, signed if there is a key.
    pub(crate) fn append_own(
        &self,
        state: &mut State,
        kind: &str,
        write: impl FnOnce(&mut Fields<'_>),
    ) -> u64 {
        let mut body = Vec::new();
        let mut fields = Fields::begin(&mut body, kind);
        write(&mut fields);
        fields.end();
        self.append(state, &body, true)
    }

    /// Puts one of the log's own records into the file, if that can be written at all.
    pub(crate) fn say(&self, kind: &str, write: impl FnOnce(&mut Fields<'_>)) {
        let mut state = self.lock();
        if state.trouble.is_none() && state.closing == Closing::No {
            self.append_own(&mut state, kind, |fields| {
                write(fields);
                self.signed_by(fields);
            });
            drop(self.settle(state));
        }
    }

    /// Writes the buffer as one group. The caller has seen that nobody is writing.
    pub(crate) fn write<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let spare = std::mem::take(&mut state.spare);
        let mut group = std::mem::replace(&mut state.pending, spare);
        let (last, hash) = (state.next - 1, state.hash);
        let file = Arc::clone(&state.file);
        state.writing = true;
        drop(state);
        let done = file.append(&group);
        let mut state = self.lock();
        state.writing = false;
        match done {
            Ok(()) => {
                state.written = last;
                state.written_hash = hash;
                state.length += group.len() as u64;
            }
            Err(error) => self.take_back(&mut state, &file, &error),
        }
        group.clear();
        if group.capacity() <= SPARE {
            state.spare = group;
        }
        if state.waiting > 0 {
            self.written.notify_all();
        }
        if state.joined.is_empty() {
            return state;
        }
        let joined = std::mem::take(&mut state.joined);
        drop(state);
        joined.into_iter().for_each(Waker::wake);
        self.lock()
    }

    /// After a failed write: nothing of the group, nor of what was chained to it, is there.
    fn take_back(&self, state: &mut State, file: &Arc<dyn Segment>, error: &io::Error) {
        let reason = format!("writing it failed: {error}");
        // A line that is half there would be taken for one that was changed.
        let cut = file.truncate(state.length);
        if let Err(error) = &cut {
            tracing::error!(%error, "the audit log cannot be cut back to its last whole record");
        }
        let staying = state.written;
        self.fail(
            state,
            &reason,
            Cure::Again(Instant::now() + self.settings.retry),
            staying,
        );
    }

    /// After a failed fsync: what of the file is on the disk is not known, and asking again would not tell. Nobody may be
    /// writing.
    pub(crate) fn distrust(&self, state: &mut State, error: &io::Error) {
        let reason = format!("the disk did not confirm what was written: {error}");
        let (cure, staying) = if self.allows_loss() {
            // What is in the file stays in the chain; the next file goes on from there.
            (Cure::Another(Instant::now()), state.written)
        } else {
            (Cure::None, state.durable)
        };
        self.fail(state, &reason, cure, staying);
    }

    /// Enters trouble. What is in the buffer is lost; of what is in the file, `staying` is the last that counts.
    fn fail(&self, state: &mut State, reason: &str, cure: Cure, staying: u64) {
        let unwritten = state.next - 1 - state.written;
        tracing::error!(
            reason,
            records = unwritten,
            calls = if self.allows_loss() {
                "go on without"
            } else {
                "are refused"
            },
            "the audit log cannot be written"
        );
        self.lost.fetch_add(unwritten, Ordering::Relaxed);
        let earlier = state.trouble.take();
        state.trouble = Some(Trouble {
            reason: reason.into(),
            since: earlier
                .as_ref()
                .map_or_else(self.settings.clock, |trouble| trouble.since),
            cure,
            unwritten: unwritten + earlier.map_or(0, |trouble| trouble.unwritten),
        });
        state.ended.push_back((state.epoch, staying));
        if state.ended.len() > ENDED {
            state.ended.pop_front();
        }
        state.epoch += 1;
        state.pending.clear();
        state.next = state.written + 1;
        state.hash = state.written_hash;
        let written = state.written;
        state.open.retain(|&seq| seq <= written);
        self.announce();
        if state.waiting > 0 {
            self.written.notify_all();
        }
    }

    /// Tells those who wait that something has changed.
    pub(crate) fn announce(&self) {
        self.durable.send_modify(|count| *count += 1);
    }

    /// Waits until nobody writes.
    pub(crate) fn quiet<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while state.writing {
            state.waiting += 1;
            state = self.written.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state
    }

    /// Waits until nobody writes and the buffer is empty, or until there is trouble.
    pub(crate) fn settle<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        loop {
            state = self.quiet(state);
            if state.pending.is_empty() || state.trouble.is_some() {
                return state;
            }
            state = self.write(state);
        }
    }

    pub(crate) fn health(&self) -> Health {
        let state = self.lock();
        let trouble = state.trouble.as_ref();
        Health {
            failed: trouble.map(|trouble| Arc::clone(&trouble.reason)),
            is_final: trouble.is_some_and(|trouble| trouble.cure == Cure::None),
            refuses: trouble.is_some() && !self.allows_loss(),
            unwritten: self.lost.load(Ordering::Relaxed),
            written: state.written,
            durable: state.durable,
            open: state.open.len(),
        }
    }
}

/// Those who wait together for one write.
struct Group<'a>(&'a Engine);

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.0.lock().gathering = false;
        self.0.flush(None);
        // Those who joined while there was nothing to write, or could not be.
        let joined = std::mem::take(&mut self.0.lock().joined);
        joined.into_iter().for_each(Waker::wake);
    }
}

/// A buffer that grew beyond this is not kept, in bytes.
const SPARE: usize = 1 << 20;
/// How many ends of epochs are remembered. They are seconds apart at least.
const ENDED: usize = 16;

impl State {
    /// Whether a record is there, given the last that is; `None`: not yet.
    fn verdict(&self, mark: Mark, through: u64) -> Option<Result<(), Unwritten>> {
        if self.was_taken_back(mark) {
            let reason = self.trouble.as_ref().map(|trouble| Arc::clone(&trouble.reason));
            let reason = reason.unwrap_or_else(|| "it could not be written for a moment".into());
            return Some(Err(Unwritten { reason }));
        }
        (mark.seq <= through).then_some(Ok(()))
    }

    fn was_taken_back(&self, mark: Mark) -> bool {
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

impl Unwritten {
    pub(crate) fn because(trouble: &Trouble) -> Self {
        Self {
            reason: Arc::clone(&trouble.reason),
        }
    }

    /// Why.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

#[cfg(test)]
mod tests;
