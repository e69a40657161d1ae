//! The log as the gate sees it: intents, outcomes, denials, events.

use std::{
    fmt,
    fs::File,
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Instant,
};

use aws_lc_rs::hmac;
use gatepost_policy::{Effect, mask::Masker};

use crate::{
    Health, Settings, Unwritten,
    disk::{Disk, RealDisk},
    engine::{Change, Closing, Engine, Mark},
    keeper::Keeper,
    line,
    open::{OpenError, Opened, open},
    record::{Denial, Digest, End, Event, Fields, Intent, Outcome, Scribe, with_buffer},
    settings::Kept,
};

/// The audit log, open for writing. Cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Open>);

struct Open {
    engine: Arc<Engine>,
    scribe: Scribe,
    keeper: Mutex<Option<JoinHandle<()>>>,
    /// Who holds it writes the log.
    lock: Mutex<Option<File>>,
}

/// Names a call that is on record, as long as the log is open. [`Log::id`] spells it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId(NonZeroU64);

/// A call whose intent is written. What becomes of it is told by [`outcome`](Self::outcome); dropped without, it counts as
/// abandoned.
#[must_use = "a call that is on record needs an outcome"]
pub struct OpenCall {
    log: Log,
    intent: Mark,
    begun: Instant,
    destructive: bool,
    /// Its outcome has been told.
    done: bool,
}

/// A record that was written: in the file, where it survives the gate, but perhaps not on the disk yet.
#[derive(Clone)]
pub struct Written {
    engine: Arc<Engine>,
    mark: Mark,
}

/// How a record is added: written at once, or with others.
type Add = fn(&Engine, &[u8], Change, bool) -> Result<Mark, Unwritten>;

impl Log {
    /// Opens the log, or begins one. Blocks: it reads what an earlier run left if that ended in a crash.
    ///
    /// # Errors
    /// When it cannot be had or written.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        Self::open_on(settings, Box::new(RealDisk))
    }

    pub(crate) fn open_on(settings: Settings, disk: Box<dyn Disk>) -> Result<Self, OpenError> {
        let scribed = (Masker::new(&settings.mask), settings.arguments, settings.results);
        let folder = settings.folder.clone();
        let Opened {
            engine,
            head,
            digests,
            digest_key,
            lock,
        } = open(settings, disk)?;
        let (masker, arguments, results) = scribed;
        let scribe = Scribe {
            masker,
            key: digests,
            arguments,
            results,
        };
        let engine = Arc::new(engine);
        let keeper = Keeper::new(Arc::clone(&engine), head, digest_key);
        let keeper = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || keeper.run())
            .map_err(|source| OpenError::File {
                action: "start a thread for",
                path: folder,
                source,
            })?;
        Ok(Self(Arc::new(Open {
            engine,
            scribe,
            keeper: Mutex::new(Some(keeper)),
            lock: Mutex::new(Some(lock)),
        })))
    }

    /// Puts on record that a call is about to be made. It must not be made before [`OpenCall::durable`] has returned.
    ///
    /// Blocks for one write of the operating system at most.
    ///
    /// # Errors
    /// When the log cannot be written and that is not allowed: then the call must not be made.
    pub fn intent(&self, intent: &Intent<'_>) -> Result<OpenCall, Unwritten> {
        self.describe(intent, Engine::record)
    }

    /// The same for a task among many: the record is written when [`OpenCall::durable`] is awaited, together with those of all
    /// tasks that are ready then, and blocks nobody before.
    ///
    /// # Errors
    /// As [`intent`](Self::intent).
    pub fn intent_among_others(&self, intent: &Intent<'_>) -> Result<OpenCall, Unwritten> {
        self.describe(intent, Engine::enter)
    }

    fn describe(&self, intent: &Intent<'_>, add: Add) -> Result<OpenCall, Unwritten> {
        let begun = Instant::now();
        let destructive = intent.what.effect == Some(Effect::Destructive);
        let intent = with_buffer(|body| {
            self.0.scribe.intent(body, intent);
            add(&self.0.engine, body, Change::Opens, destructive)
        })?;
        Ok(OpenCall {
            log: self.clone(),
            intent,
            begun,
            destructive,
            done: false,
        })
    }

    /// Puts on record that something was refused. It is refused whether that can be written or not.
    ///
    /// # Errors
    /// When the log cannot be written and that is not allowed.
    pub fn denial(&self, denial: &Denial<'_>) -> Result<Written, Unwritten> {
        with_buffer(|body| {
            self.0.scribe.denial(body, denial);
            self.write(body, Change::None, true)
        })
    }

    /// Puts on record something that is no call.
    ///
    /// # Errors
    /// When the log cannot be written and that is not allowed.
    pub fn event(&self, event: &Event<'_>) -> Result<Written, Unwritten> {
        with_buffer(|body| {
            self.0.scribe.event(body, event);
            self.write(body, Change::None, false)
        })
    }

    /// The id of a call's intent, by which other records refer to it.
    pub fn id(&self, call: CallId) -> String {
        line::id(&self.0.engine.run, call.0.get())
    }

    fn write(&self, body: &[u8], change: Change, urgent: bool) -> Result<Written, Unwritten> {
        let mark = self.0.engine.record(body, change, urgent)?;
        Ok(Written {
            engine: Arc::clone(&self.0.engine),
            mark,
        })
    }

    /// For a result that is passed on in parts: feed it and give it to [`Outcome::digest`]. `None`: nothing of results is kept.
    pub fn digest(&self) -> Option<Digest> {
        (self.0.scribe.results != Kept::Nothing).then(|| Digest::new(&self.0.scribe.key))
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.0.engine.health()
    }

    /// Ends the log in order: calls that are still open get an outcome that says so, a signed record ends it, and all is on the
    /// disk when this returns. It blocks, and further records are refused.
    pub fn close(&self) {
        let open = &*self.0;
        let engine = &*open.engine;
        let mut state = engine.settle(engine.lock());
        if state.closing == Closing::No {
            if state.trouble.is_none() {
                for seq in state.take_open() {
                    let mut body = Vec::new();
                    let mut fields = Fields::begin(&mut body, "outcome");
                    fields.text("of", &line::id(&engine.run, seq));
                    fields.text("outcome", "unknown");
                    fields.text("reason", "the gate ended before the call did");
                    fields.end();
                    engine.append(&mut state, &body, false);
                }
                engine.append_own(&mut state, "stopped", |fields| engine.signed_by(fields));
                state = engine.settle(state);
            }
            state.closing = Closing::Orderly;
            engine.work.notify_one();
        }
        drop(state);
        open.end();
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }
}

impl Open {
    /// Waits for the keeper and gives the log free.
    fn end(&self) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            let _ = keeper.join();
            self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

/// Everything that was acknowledged is in the file already; this only brings it to the disk.
impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.engine.lock();
        if state.closing == Closing::No {
            state.closing = Closing::Dropped;
        }
        drop(state);
        self.engine.work.notify_one();
        self.end();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log")
            .field(&self.0.engine.settings.folder)
            .finish()
    }
}

// === impl OpenCall ===

impl OpenCall {
    /// Returns when the intent is as durable as the configuration asks for: in the file in `batch`, on the disk in `sync`.
    ///
    /// # Errors
    /// When the log cannot be written and that is not allowed: then the call must not be made.
    pub async fn durable(&self) -> Result<(), Unwritten> {
        self.log.0.engine.durable(self.intent).await
    }

    /// The id of the intent's record, by which other records refer to it. `None` if the log could not be written, and that
    /// is allowed.
    pub fn id(&self) -> Option<String> {
        Some(self.log.id(self.short()?))
    }

    /// The same in short, for as long as the log is open.
    pub fn short(&self) -> Option<CallId> {
        NonZeroU64::new(self.intent.seq).map(CallId)
    }

    #[cfg(test)]
    pub(crate) fn intent_seq(&self) -> u64 {
        self.intent.seq
    }

    /// Puts on record how the call ended. When this returns the record survives the gate, so the answer may be sent; who wants
    /// it to survive the machine as well waits for [`Written::durable`]. (If neither does, the next start says that the
    /// outcome is not known: the intent is on the disk.)
    ///
    /// # Errors
    /// When the log cannot be written and that is not allowed: then the answer must say so.
    pub fn outcome(mut self, outcome: Outcome<'_>) -> Result<Written, Unwritten> {
        self.done = true;
        self.describe(outcome, Engine::record)
    }

    /// The same for a task among many: the record is written when [`Written::in_file`] is awaited, together with those of all
    /// tasks that are ready then, and blocks nobody before.
    ///
    /// # Errors
    /// As [`outcome`](Self::outcome).
    pub fn outcome_among_others(mut self, outcome: Outcome<'_>) -> Result<Written, Unwritten> {
        self.done = true;
        self.describe(outcome, Engine::enter)
    }

    fn describe(&self, outcome: Outcome<'_>, add: Add) -> Result<Written, Unwritten> {
        let micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let open = &*self.log.0;
        let mut of = Vec::with_capacity(line::RUN + 12);
        line::push_id(&mut of, &open.engine.run, self.intent.seq);
        let of = String::from_utf8_lossy(&of);
        let mark = with_buffer(|body| {
            open.scribe.outcome(body, &of, micros, outcome);
            add(&open.engine, body, Change::Closes(self.intent), self.destructive)
        })?;
        Ok(Written {
            engine: Arc::clone(&open.engine),
            mark,
        })
    }
}

/// Who waited for the call has gone, or forgot it. There is no other place where that can be noticed.
impl Drop for OpenCall {
    fn drop(&mut self) {
        if !self.done && self.intent.seq != 0 {
            let _ = self.describe(Outcome::new(End::Abandoned), Engine::record);
        }
    }
}

impl fmt::Debug for OpenCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenCall").field("intent", &self.intent).finish()
    }
}

// === impl Written ===

impl Written {
    /// Returns when the record is in the file, where it survives the gate. That is enough for an outcome in `sync` too: its
    /// intent is on the disk, so a power cut cannot hide the call, and waiting for the disk a second time would halve how many
    /// calls a second there can be.
    ///
    /// # Errors
    /// When the log cannot be written and that is not allowed: then the answer must say so.
    pub async fn in_file(&self) -> Result<(), Unwritten> {
        self.engine.survives(self.mark).await
    }

    /// Returns when the record is as durable as the configuration asks for: in the file in `batch`, on the disk in `sync`.
    ///
    /// # Errors
    /// When the log cannot be written and that is not allowed.
    pub async fn durable(&self) -> Result<(), Unwritten> {
        self.engine.durable(self.mark).await
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Written").field(&self.mark).finish()
    }
}

impl Digest {
    pub(crate) fn new(key: &hmac::Key) -> Self {
        Self::with(hmac::Context::with_key(key))
    }
}

#[cfg(test)]
pub(crate) mod tests;
