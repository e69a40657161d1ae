//! Who gets which process or legacy session of a server.
//!
//! A client that can be asked nothing shares one session with all others of its kind. A client that can be (it declared
//! roots, sampling or elicitation) leases one for the length of a call: what a server asks on a process' only channel can
//! then belong to that call alone. Sessions start on demand (one start, however many wait), and are ended when idle.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use gatepost_policy::Principal;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{CallError, Cause, credential::Fingerprint};

/// What a session was opened for; calls of another key must not use it (`eras.md` 4: a server that learned A's roots must
/// not serve B).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Key {
    /// The capability set it was initialized with, a raw JSON object. Empty bytes: nothing can be asked.
    pub(crate) capabilities: Bytes,
    /// How it introduced itself, where it speaks for one client: a raw JSON object. `None`: as the gate.
    pub(crate) info: Option<Bytes>,
    /// Whose it is, where that matters.
    pub(crate) principal: Option<Principal>,
    /// Which tenant's it is, with `isolation: tenant`, where it is nobody's in particular.
    pub(crate) tenant: Option<Arc<str>>,
    /// What of its caller's own it was opened with.
    pub(crate) credential: Option<Fingerprint>,
    /// Whose conversation it is, with `isolation: session`.
    pub(crate) conversation: Option<[u8; 16]>,
}

/// How a call uses a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Together with any number of other calls.
    Shared,
    /// Alone; when all are taken, wait.
    Exclusive,
    /// Alone if possible; when all are taken, together with others.
    Preferred,
}

/// What a pool holds.
pub(crate) trait Pooled: Send + Sync + 'static {
    /// Whether it can still take calls.
    fn alive(&self) -> bool;
    /// Ends it, politely first.
    fn end(self: Arc<Self>, grace: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Starts one session. Runs as a task of its own: a caller that gives up does not undo a slow start.
pub(crate) type Starting<S> = Pin<Box<dyn Future<Output = Result<Arc<S>, CallError>> + Send>>;

/// The sessions of one server.
pub(crate) struct Pool<S: Pooled> {
    server: Arc<str>,
    max: usize,
    idle: Option<Duration>,
    entries: Mutex<Entries<S>>,
    changed: Notify,
}

struct Entries<S> {
    list: Vec<Entry<S>>,
    next: u64,
    reaping: bool,
    closed: bool,
}

struct Entry<S> {
    number: u64,
    key: Key,
    state: State<S>,
    users: usize,
    /// How many of its users wait for their clients. A session of which all do takes nobody's place.
    parked: usize,
    since: Instant,
}

enum State<S> {
    /// Holds what became of it once it has failed.
    Starting(watch::Receiver<Option<CallError>>),
    Ready(Arc<S>),
}

/// The right to use a session; gives it back when dropped.
pub(crate) struct Lease<S: Pooled> {
    session: Arc<S>,
    number: u64,
    parked: bool,
    pool: Arc<Pool<S>>,
}

enum Step<S: Pooled> {
    Have(Lease<S>),
    Start(
        u64,
        watch::Sender<Option<CallError>>,
        watch::Receiver<Option<CallError>>,
        Option<Arc<S>>,
    ),
    Join(watch::Receiver<Option<CallError>>),
    Wait,
}

// === impl Pool ===

impl<S: Pooled> Pool<S> {
    /// An empty pool. At most `max` sessions besides the common one (the one with the default key); one that was idle for
    /// `idle` is ended, never if `None`.
    pub(crate) fn new(server: Arc<str>, max: usize, idle: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            server,
            max: max.max(1),
            idle,
            entries: Mutex::new(Entries {
                list: Vec::new(),
                next: 0,
                reaping: false,
                closed: false,
            }),
            changed: Notify::new(),
        })
    }

    /// A session for `key`, started with `start` if there is none to use. Waits as long as the caller does.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        key: &Key,
        how: Use,
        start: impl Fn() -> Starting<S>,
    ) -> Result<Lease<S>, CallError> {
        let mut mine = None;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let mut failed = match self.step(key, how, mine)? {
                Step::Have(lease) => return Ok(lease),
                Step::Start(number, sender, receiver, evicted) => {
                    if let Some(evicted) = evicted {
                        tokio::spawn(evicted.end(Duration::from_secs(2)));
                    }
                    mine = Some(number);
                    tokio::spawn(Arc::clone(self).run_start(number, start(), sender));
                    receiver
                }
                Step::Join(receiver) => receiver,
                Step::Wait => {
                    changed.await;
                    continue;
                }
            };
            tokio::select! {
                biased;
                outcome = failed.wait_for(Option::is_some) => {
                    if let Ok(Some(error)) = outcome.map(|error| error.clone()) {
                        return Err(error);
                    }
                    // The sender is gone without an error: it is ready.
                }
                () = changed => {}
            }
        }
    }

    /// Takes in a session that was opened elsewhere.
    pub(crate) fn adopt(self: &Arc<Self>, key: Key, session: Arc<S>) {
        let mut entries = self.lock();
        let number = entries.next;
        entries.next += 1;
        entries.list.push(Entry {
            number,
            key,
            state: State::Ready(session),
            users: 0,
            parked: 0,
            since: Instant::now(),
        });
        self.mind(&mut entries);
        drop(entries);
        self.changed.notify_waiters();
    }

    /// Makes sure that somebody looks for idle sessions.
    fn mind(self: &Arc<Self>, entries: &mut Entries<S>) {
        if let Some(idle) = self.idle
            && !entries.reaping
        {
            entries.reaping = true;
            tokio::spawn(reap(Arc::downgrade(self), idle));
        }
    }

    /// The live sessions, whoever uses them.
    pub(crate) fn sessions(&self) -> Vec<Arc<S>> {
        self.lock()
            .list
            .iter()
            .filter_map(|entry| entry.ready().filter(|s| s.alive()).cloned())
            .collect()
    }

    /// The live session for `key`, without waiting and without a lease.
    pub(crate) fn peek(&self, key: &Key) -> Option<Arc<S>> {
        self.peek_any(|other| other == key)
    }

    /// The same, for the first key that `is` one that is looked for.
    pub(crate) fn peek_any(&self, is: impl Fn(&Key) -> bool) -> Option<Arc<S>> {
        let entries = self.lock();
        entries
            .list
            .iter()
            .filter(|entry| is(&entry.key))
            .find_map(|entry| entry.ready().filter(|s| s.alive()).cloned())
    }

    /// Takes a session out, so that nobody gets it again, and ends it. Its users finish as they can.
    pub(crate) fn discard(&self, session: &Arc<S>) {
        let mut entries = self.lock();
        let before = entries.list.len();
        entries
            .list
            .retain(|entry| entry.ready().is_none_or(|ready| !Arc::ptr_eq(ready, session)));
        let removed = entries.list.len() != before;
        drop(entries);
        if removed {
            tokio::spawn(Arc::clone(session).end(Duration::from_secs(2)));
            self.changed.notify_waiters();
        }
    }

    /// The client of `key` has learned that its session is gone.
    pub(crate) fn forget_lost(&self, key: &Key) {
        self.lock()
            .list
            .retain(|entry| entry.key != *key || !entry.is_lost());
    }

    /// Whether the loss of a session is kept until its client has learned of it; never longer than a session may be idle.
    fn tells_of_loss(&self, key: &Key) -> bool {
        key.conversation.is_some() && self.idle.is_some()
    }

    fn note_parked(&self, number: u64, parked: bool) {
        let mut entries = self.lock();
        if let Some(entry) = entries.list.iter_mut().find(|entry| entry.number == number) {
            entry.parked = if parked {
                entry.parked + 1
            } else {
                entry.parked.saturating_sub(1)
            };
        }
        drop(entries);
        self.changed.notify_waiters();
    }

    /// Ends everything; the pool starts nothing any more.
    pub(crate) async fn close(&self, grace: Duration) {
        let list = {
            let mut entries = self.lock();
            entries.closed = true;
            std::mem::take(&mut entries.list)
        };
        self.changed.notify_waiters();
        let ending = list.into_iter().filter_map(|entry| match entry.state {
            State::Ready(session) => Some(session.end(grace)),
            State::Starting(_) => None,
        });
        futures_util::future::join_all(ending).await;
    }

    fn lock(&self) -> MutexGuard<'_, Entries<S>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(self: &Arc<Self>, key: &Key, how: Use, mine: Option<u64>) -> Result<Step<S>, CallError> {
        let mut entries = self.lock();
        if entries.closed {
            return Err(CallError {
                server: Arc::clone(&self.server),
                cause: Cause::Stopping,
                retry_safe: true,
            });
        }
        // A client's own session takes with it what only it knew: its client must learn of that, once (`eras.md` 4).
        let mine_is_lost = |entry: &Entry<S>| entry.key == *key && entry.is_lost();
        if self.tells_of_loss(key) && entries.list.iter().any(mine_is_lost) {
            entries.list.retain(|entry| !mine_is_lost(entry));
            return Err(CallError {
                server: Arc::clone(&self.server),
                cause: Cause::SessionGone,
                retry_safe: true,
            });
        }
        entries
            .list
            .retain(|entry| !entry.is_lost() || self.tells_of_loss(&entry.key));
        let mut starting = None;
        let mut least: Option<usize> = None;
        for (place, entry) in entries
            .list
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.key == *key)
        {
            match &entry.state {
                // Whoever shares waits for the start that is under way; whoever started one waits for just that.
                State::Starting(failed) if how == Use::Shared || mine == Some(entry.number) => {
                    starting = Some(failed.clone());
                }
                State::Starting(_) => {}
                // What waits for a client is left alone with it.
                State::Ready(_) if how != Use::Shared && entry.is_parked() => {}
                State::Ready(_) if least.is_none_or(|least| entry.users < entries.list[least].users) => {
                    least = Some(place);
                }
                State::Ready(_) => {}
            }
        }
        if let Some(place) = least
            && (how == Use::Shared || entries.list[place].users == 0)
        {
            return Ok(self.take(&mut entries, place));
        }
        if let Some(failed) = starting {
            return Ok(Step::Join(failed));
        }
        let common = *key == Key::default();
        let others = entries.others();
        let mut evicted = None;
        if !common && others >= self.max {
            let victim = entries
                .list
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.is_replaceable())
                .min_by_key(|(_, entry)| entry.since)
                .map(|(place, _)| place);
            match (victim, least) {
                (Some(place), _) => evicted = entries.list.remove(place).ready().cloned(),
                (None, Some(place)) if how == Use::Preferred => return Ok(self.take(&mut entries, place)),
                (None, _) => return Ok(Step::Wait),
            }
        }
        let number = entries.next;
        entries.next += 1;
        let (sender, receiver) = watch::channel(None);
        entries.list.push(Entry {
            number,
            key: key.clone(),
            state: State::Starting(receiver.clone()),
            users: 0,
            parked: 0,
            since: Instant::now(),
        });
        Ok(Step::Start(number, sender, receiver, evicted))
    }

    fn take(self: &Arc<Self>, entries: &mut Entries<S>, place: usize) -> Step<S> {
        let entry = &mut entries.list[place];
        match &entry.state {
            State::Ready(session) => {
                entry.users += 1;
                Step::Have(Lease {
                    session: Arc::clone(session),
                    number: entry.number,
                    parked: false,
                    pool: Arc::clone(self),
                })
            }
            State::Starting(failed) => Step::Join(failed.clone()),
        }
    }

    async fn run_start(
        self: Arc<Self>,
        number: u64,
        start: Starting<S>,
        failed: watch::Sender<Option<CallError>>,
    ) {
        // A start that panics must not leave its waiters behind.
        let outcome = tokio::spawn(start).await.unwrap_or_else(|_| {
            Err(CallError {
                server: Arc::clone(&self.server),
                cause: Cause::NotStarted("a fault in the gate".to_owned()),
                retry_safe: true,
            })
        });
        let mut unwanted = None;
        {
            let mut entries = self.lock();
            let place = entries.list.iter().position(|entry| entry.number == number);
            match (outcome, place) {
                (Ok(session), Some(place)) => {
                    entries.list[place].state = State::Ready(session);
                    entries.list[place].since = Instant::now();
                    self.mind(&mut entries);
                }
                // The pool was closed meanwhile.
                (Ok(session), None) => unwanted = Some(session),
                (Err(error), place) => {
                    if let Some(place) = place {
                        entries.list.remove(place);
                    }
                    failed.send_replace(Some(error));
                }
            }
        }
        drop(failed);
        self.changed.notify_waiters();
        if let Some(session) = unwanted {
            session.end(Duration::from_secs(2)).await;
        }
    }
}

/// Ends sessions that were idle long enough, while there are sessions.
async fn reap<S: Pooled>(pool: Weak<Pool<S>>, idle: Duration) {
    let mut until = Instant::now() + idle;
    loop {
        tokio::time::sleep_until(until).await;
        let Some(pool) = pool.upgrade() else { return };
        let now = Instant::now();
        let mut ended = Vec::new();
        {
            let mut entries = pool.lock();
            let (over, kept): (Vec<_>, Vec<_>) =
                std::mem::take(&mut entries.list).into_iter().partition(|entry| {
                    entry.users == 0
                        && match &entry.state {
                            State::Ready(_) => {
                                entry.is_lost() && !pool.tells_of_loss(&entry.key)
                                    || entry.since + idle <= now
                            }
                            State::Starting(_) => false,
                        }
                });
            entries.list = kept;
            ended.extend(over.into_iter().filter_map(|entry| entry.ready().cloned()));
            if entries.list.is_empty() {
                entries.reaping = false;
            } else {
                let waiting = entries
                    .list
                    .iter()
                    .filter(|entry| entry.users == 0)
                    .map(|entry| entry.since + idle);
                until = waiting
                    .min()
                    .unwrap_or(now + idle)
                    .max(now + Duration::from_millis(10));
            }
        }
        let over = !pool.lock().reaping;
        if !ended.is_empty() {
            pool.changed.notify_waiters();
        }
        for session in ended {
            tokio::spawn(session.end(Duration::from_secs(2)));
        }
        if over {
            return;
        }
    }
}

impl<S> Entry<S> {
    /// Whether all that its users do is wait for their clients.
    fn is_parked(&self) -> bool {
        self.users > 0 && self.parked == self.users
    }

    fn ready(&self) -> Option<&Arc<S>> {
        match &self.state {
            State::Ready(session) => Some(session),
            State::Starting(_) => None,
        }
    }
}

impl<S: Pooled> Entries<S> {
    /// How many sessions count against the pool's `max`.
    fn others(&self) -> usize {
        let counts =
            |entry: &&Entry<S>| entry.key != Key::default() && !entry.is_lost() && !entry.is_parked();
        self.list.iter().filter(counts).count()
    }
}

impl<S: Pooled> Entry<S> {
    /// Nobody uses it, and nobody would miss it: another conversation's session holds what only it knows, so it stays until
    /// its own time comes.
    fn is_replaceable(&self) -> bool {
        self.users == 0
            && self.key != Key::default()
            && self.key.conversation.is_none()
            && self.ready().is_some()
    }

    /// It was ready and is no more.
    fn is_lost(&self) -> bool {
        self.ready().is_some_and(|session| !session.alive())
    }
}

// === impl Lease ===

impl<S: Pooled> Lease<S> {
    /// The session.
    pub(crate) fn session(&self) -> &Arc<S> {
        &self.session
    }

    /// Whether its user does nothing but wait for a client: then the session does not count against the pool's `max`.
    pub(crate) fn set_parked(&mut self, parked: bool) {
        if std::mem::replace(&mut self.parked, parked) != parked {
            self.pool.note_parked(self.number, parked);
        }
    }

    /// Ends the session instead of giving it back: it may still be busy with what its user gave up.
    pub(crate) fn discard(self) {
        self.pool.discard(&self.session);
    }
}

impl<S: Pooled> Drop for Lease<S> {
    fn drop(&mut self) {
        let mut entries = self.pool.lock();
        let mut spare = None;
        if let Some(place) = entries.list.iter().position(|entry| entry.number == self.number) {
            let entry = &mut entries.list[place];
            entry.users = entry.users.saturating_sub(1);
            entry.parked = entry.parked.saturating_sub(usize::from(self.parked));
            if entry.users == 0 {
                entry.since = Instant::now();
                // While calls were parked, others may have been started in their place.
                if entry.is_replaceable() && entries.others() > self.pool.max {
                    spare = entries.list.remove(place).ready().cloned();
                }
            }
        }
        drop(entries);
        if let Some(spare) = spare
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(spare.end(Duration::from_secs(2)));
        }
        self.pool.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
