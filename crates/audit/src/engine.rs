//! The engine: puts records in order, chains them, and gets them to the disk in groups.
//!
//! A record is numbered and hashed under a short lock and then waits in a buffer. Of the tasks that wait for it to be in the file
//! the first lets the others that are ready go before it, and then writes what all of them have brought, outside of the lock: a
//! busy gate makes one system call for many records, and nobody is sent to another thread. In `sync` they then wait, without
//! holding their thread, until the [keeper](crate::keeper) has brought the whole group to the disk.
//!
//! What fails is never half there: after a failed write the file is cut back to its last whole group, and everybody whose record
//! was in the buffer hears of it. After a failed fsync nothing is known of the file any more, so it is never written again.

mod state;
mod trouble;
mod wait;

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

use gatepost_config::{Durability, OnFailure};
use tokio::sync::watch;

use crate::{
    Hash, Settings,
    disk::Disk,
    line::{self, Run},
    record::Fields,
    signing::Signer,
    sink::Cursor,
};
pub(crate) use state::{Closing, Position, State};
pub(crate) use trouble::Cure;
pub use trouble::Unwritten;

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
        Self {
            settings,
            disk,
            signer,
            log,
            run,
            state: Mutex::new(State::new(position)),
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

/// A buffer that grew beyond this is not kept, in bytes.
const SPARE: usize = 1 << 20;
#[cfg(test)]
mod tests;
