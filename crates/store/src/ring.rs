//! All API keys in memory: whether a key is good is asked with every call and must cost no I/O.
//!
//! A [`Keeper`] looks every second whether another process changed the keys, and writes now and then when they were last used.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use arc_swap::ArcSwap;
use thiserror::Error;

use crate::{KeyHash, KeyRecord, Keys, Presented, StoreError, StoredKey, UnixSeconds, Unreadable};

/// How often a keeper looks for changes of other processes: how long a revoked key may stay good.
const LOOK: Duration = Duration::from_secs(1);
/// Every so many looks, it writes when keys were last used.
const LOOKS_PER_WRITE: u32 = 10;
/// After so many looks in a row that failed, nobody knows any more which keys are revoked, and none is taken.
const FAILURES_BORNE: u32 = 30;

/// All keys, good or not, by their ids.
pub struct KeyRing {
    keys: Arc<dyn Keys>,
    known: ArcSwap<Known>,
    generation: AtomicU64,
    /// One refresh at a time, so that an older reading never replaces a newer one.
    refreshing: Mutex<()>,
    /// Looks that failed since the last one that did not.
    failures: AtomicU32,
    /// Who is told of keys that come and go.
    told: OnceLock<Told>,
}

type Told = Box<dyn Fn(KeyChange<'_>) + Send + Sync>;

/// What another process did to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange<'a> {
    /// It was made.
    Created(&'a KeyRecord),
    /// It was ended: the key of this id.
    Revoked(&'a str),
}

struct Known {
    version: u64,
    keys: HashMap<Arc<str>, Entry>,
}

#[derive(Clone)]
struct Entry {
    record: Arc<KeyRecord>,
    hash: KeyHash,
    revoked: bool,
    /// Stays the same when the keys are read again.
    usage: Arc<Usage>,
}

/// When a key was last used; zero: never.
#[derive(Default)]
struct Usage {
    last: AtomicU64,
    written: AtomicU64,
}

/// Why a key is not taken. For the log: who presented it is told no more than that it was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyRefusal {
    /// It is no key; nothing was looked up.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// There is no key with this id, or its secret is another.
    #[error("there is no such API key")]
    Unknown,
    /// It was revoked.
    #[error("the API key was revoked")]
    Revoked,
    /// Its time is over.
    #[error("the API key has expired")]
    Expired,
    /// The database could not be read for so long that a revocation may have been missed.
    #[error("API keys cannot be checked: the gate's database cannot be read")]
    Unavailable,
}

// === impl KeyRing ===

impl KeyRing {
    /// Reads all keys. Blocks.
    ///
    /// # Errors
    /// When the store fails.
    pub fn load(keys: Arc<dyn Keys>) -> Result<Self, StoreError> {
        let known = Known::read(&*keys, &HashMap::new())?;
        Ok(Self {
            keys,
            known: ArcSwap::from_pointee(known),
            generation: AtomicU64::new(0),
            refreshing: Mutex::new(()),
            failures: AtomicU32::new(0),
            told: OnceLock::new(),
        })
    }

    /// From now on `told` hears of keys that are made and revoked, whenever a [refresh](Self::refresh) finds some. The first
    /// call counts.
    pub fn tell(&self, told: impl Fn(KeyChange<'_>) + Send + Sync + 'static) {
        // The first one stays.
        let _ = self.told.set(Box::new(told));
    }

    /// Whether `presented` is a good key at this time, and what it says of its bearer. Notes that it was used.
    ///
    /// The secret is compared in constant time, also where there is no such id, so that the time tells nothing. That a key is
    /// revoked or expired is only found out by who has it.
    ///
    /// # Errors
    /// [`KeyRefusal`]
    pub fn verify(&self, presented: &str, now: UnixSeconds) -> Result<Arc<KeyRecord>, KeyRefusal> {
        /// What an unknown id is compared with.
        const NOBODY: KeyHash = KeyHash::stored([0; 32]);
        let presented = Presented::parse(presented)?;
        let known = self.known.load();
        let entry = known.keys.get(presented.id());
        let same = presented
            .hash()
            .matches(entry.map_or(&NOBODY, |entry| &entry.hash));
        let Some(entry) = entry.filter(|_| same) else {
            return Err(KeyRefusal::Unknown);
        };
        if entry.revoked {
            Err(KeyRefusal::Revoked)
        } else if entry.record.is_expired(now) {
            Err(KeyRefusal::Expired)
        } else if self.failures.load(Relaxed) >= FAILURES_BORNE {
            Err(KeyRefusal::Unavailable)
        } else {
            entry.usage.note(now);
            Ok(entry.record.clone())
        }
    }

    /// Notes that the key `id` was used without being verified again, because its bearer is remembered. An id that is not
    /// known changes nothing.
    pub fn touch(&self, id: &str, now: UnixSeconds) {
        if let Some(entry) = self.known.load().keys.get(id) {
            entry.usage.note(now);
        }
    }

    /// A number that is another one after a key that was there was revoked, changed or removed, or when keys can no longer be
    /// checked. Who remembers a bearer reads it *before* [`verify`](Self::verify), keeps it beside what it remembers, and
    /// forgets that once the number is another.
    pub fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    /// Reads the keys again if any process changed them; says whether it did. Blocks.
    ///
    /// # Errors
    /// When the store fails; then what was known stays, for some time.
    pub fn refresh(&self) -> Result<bool, StoreError> {
        let refreshed = self.try_refresh();
        if refreshed.is_ok() {
            self.failures.store(0, Relaxed);
        } else if self.failures.fetch_add(1, Relaxed) + 1 == FAILURES_BORNE {
            self.generation.fetch_add(1, SeqCst);
        }
        refreshed
    }

    fn try_refresh(&self) -> Result<bool, StoreError> {
        let _alone = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.known.load();
        if self.keys.version()? == before.version {
            return Ok(false);
        }
        let after = Known::read(&*self.keys, &before.keys)?;
        let lost = before.keys.iter().any(|(id, old)| !after.has(id, old));
        let after = Arc::new(after);
        self.known.store(Arc::clone(&after));
        if lost {
            self.generation.fetch_add(1, SeqCst);
        }
        if let Some(told) = self.told.get() {
            after.since(&before, told);
        }
        Ok(true)
    }

    /// Writes when keys were last used, of those that were used since the last time. Blocks.
    ///
    /// # Errors
    /// When the store fails; then it is written the next time.
    pub fn write_usage(&self) -> Result<(), StoreError> {
        let known = self.known.load();
        let (mut uses, mut written) = (Vec::new(), Vec::new());
        for (id, entry) in &known.keys {
            let last = entry.usage.last.load(Relaxed);
            if last > entry.usage.written.load(Relaxed) {
                uses.push((id.clone(), last));
                written.push((&entry.usage, last));
            }
        }
        if uses.is_empty() {
            return Ok(());
        }
        self.keys.used(&uses)?;
        for (usage, last) in written {
            usage.written.store(last, Relaxed);
        }
        Ok(())
    }

    /// Starts a thread that keeps the ring up to date until its keeper is closed.
    ///
    /// # Errors
    /// When the operating system has no threads left.
    pub fn keep(self: &Arc<Self>) -> io::Result<Keeper> {
        self.keep_every(LOOK)
    }

    pub(crate) fn keep_every(self: &Arc<Self>, look: Duration) -> io::Result<Keeper> {
        let (stop, stopped) = channel();
        let ring = Arc::clone(self);
        let thread = Builder::new().name("gatepost-keys".to_owned()).spawn(move || {
            let mut looks = 0;
            while stopped.recv_timeout(look) == Err(RecvTimeoutError::Timeout) {
                ring.look();
                looks += 1;
                if looks % LOOKS_PER_WRITE == 0 {
                    ring.write_usage_or_say();
                }
            }
            ring.write_usage_or_say();
        })?;
        Ok(Keeper { stop, thread })
    }

    fn look(&self) {
        match self.refresh() {
            Ok(true) => tracing::info!(keys = self.known.load().keys.len(), "API keys have changed"),
            Ok(false) => {}
            Err(error) => {
                let failures = self.failures.load(Relaxed);
                // Once when it begins, and once when it begins to hurt.
                if failures == 1 {
                    tracing::warn!(%error, "API keys cannot be read; those that are known stay good for now");
                } else if failures == FAILURES_BORNE {
                    tracing::error!(%error, "API keys cannot be read; none is taken until they can");
                }
            }
        }
    }

    fn write_usage_or_say(&self) {
        if let Err(error) = self.write_usage() {
            tracing::warn!(%error, "when API keys were last used cannot be written");
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("keys", &self.known.load().keys.len())
            .finish_non_exhaustive()
    }
}

impl Known {
    /// Reads all keys. Those that were known keep their usage.
    fn read(keys: &dyn Keys, before: &HashMap<Arc<str>, Entry>) -> Result<Self, StoreError> {
        // The version first: a change between the two reads is read twice instead of never.
        let version = keys.version()?;
        let keys = keys.list()?.into_iter().map(|key| {
            let StoredKey {
                record,
                hash,
                revoked,
                ..
            } = key;
            let usage = before.get(&record.id).map(|entry| entry.usage.clone());
            let entry = Entry {
                hash,
                revoked: revoked.is_some(),
                usage: usage.unwrap_or_default(),
                record,
            };
            (entry.record.id.clone(), entry)
        });
        Ok(Self {
            version,
            keys: keys.collect(),
        })
    }

    /// Tells what has changed since `before`.
    fn since(&self, before: &Self, told: &Told) {
        for (id, entry) in &self.keys {
            let old = before.keys.get(id);
            if old.is_none() {
                told(KeyChange::Created(&entry.record));
            }
            if entry.revoked && old.is_none_or(|old| !old.revoked) {
                told(KeyChange::Revoked(id));
            }
        }
    }

    /// Whether whoever was verified by `old` would be again, as the same.
    fn has(&self, id: &str, old: &Entry) -> bool {
        self.keys.get(id).is_some_and(|new| {
            new.revoked == old.revoked && new.record == old.record && new.hash.matches(&old.hash)
        })
    }
}

impl Usage {
    fn note(&self, now: UnixSeconds) {
        // A look is cheaper than a write that all processors hear of.
        if self.last.load(Relaxed) < now {
            self.last.fetch_max(now, Relaxed);
        }
    }
}

/// The thread that keeps a [`KeyRing`] up to date.
#[derive(Debug)]
#[must_use = "the keys are kept up to date as long as the keeper is there"]
pub struct Keeper {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Ends the thread, which writes once more when keys were last used. Blocks until it has.
    pub fn close(self) {
        drop(self.stop);
        // A panic of the thread has been told to the log by its hook.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests;
