//! Sinks: where else records go.
//!
//! A sink is sent the log's own lines, in order, each at least once. It reads them from the segments, so nothing waits in memory and
//! nothing is on disk twice; how far it has got is a small file. Before a batch is sent that file says so, so that a batch
//! which may have been received before is marked as sent again, also after a `kill -9`.

mod cursor;
mod target;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    Log,
    engine::{Engine, Hold},
    record::Fields,
};
pub(crate) use cursor::Cursor;
use cursor::{Batch, CursorFile, Found};
use target::{NotTaken, Target, Terms, target};

/// How much a batch holds at most, in bytes; a single record may be longer.
const BATCH_BYTES: usize = 1 << 20;
/// No pause after a failure is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// After so many failures in a row the log says so.
const TROUBLE: u32 = 3;

/// The sinks of a log, each with a task of its own.
#[derive(Debug)]
pub struct Sinks {
    tasks: JoinSet<()>,
    stop: watch::Sender<Option<Instant>>,
    health: Vec<Arc<Mutex<SinkHealth>>>,
}

/// How a sink is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkHealth {
    /// Which: `stdout`, or a URL without its query.
    pub name: String,
    /// The last record it has.
    pub delivered: u64,
    /// Failures in a row.
    pub failures: u32,
    /// What the last one was.
    pub error: Option<String>,
}

impl Sinks {
    /// Starts the sinks of `log`, on the current tokio runtime.
    ///
    /// # Errors
    /// When a file that says how far a sink has got cannot be had.
    pub fn start(log: &Log) -> io::Result<Self> {
        let engine = log.engine();
        let targets = engine.settings.sinks.iter().map(target).collect();
        Self::start_with(engine, targets)
    }

    fn start_with(engine: &Arc<Engine>, targets: Vec<(Terms, Box<dyn Target>)>) -> io::Result<Self> {
        let stop = watch::Sender::new(None);
        let mut sinks = Self {
            tasks: JoinSet::new(),
            health: Vec::new(),
            stop,
        };
        for (terms, target) in targets {
            let (mut file, said) = CursorFile::open(&engine.settings.folder, &terms.key)?;
            let cursor = said
                .filter(|said| said.log == engine.log && said.seq <= engine.began.seq)
                .unwrap_or_else(|| engine.began.clone());
            // A sink that is new begins here even if the gate is killed before it has sent anything.
            file.write(&cursor)?;
            let health = Arc::new(Mutex::new(SinkHealth {
                name: terms.name.clone(),
                delivered: cursor.seq,
                ..SinkHealth::default()
            }));
            engine.hold(&terms, cursor.seq);
            sinks.health.push(Arc::clone(&health));
            let sink = Sink {
                engine: Arc::clone(engine),
                batch: terms.batch,
                terms,
                target,
                file,
                cursor,
                failures: 0,
                health,
                stop: sinks.stop.subscribe(),
            };
            sinks.tasks.spawn(sink.run());
        }
        Ok(sinks)
    }

    /// How they are.
    pub fn health(&self) -> Vec<SinkHealth> {
        let of =
            |health: &Arc<Mutex<SinkHealth>>| health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.health.iter().map(of).collect()
    }

    /// Delivers what there is, as far as that is possible within `within`, and ends them. What is left is delivered after the
    /// next start. Call it after [`Log::close`].
    pub async fn stop(mut self, within: Duration) {
        let until = Instant::now() + within;
        self.stop.send_replace(Some(until));
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout_at(until, all).await;
        self.tasks.shutdown().await;
    }
}

struct Sink {
    engine: Arc<Engine>,
    terms: Terms,
    target: Box<dyn Target>,
    file: CursorFile,
    cursor: Cursor,
    /// How many records go into a batch; fewer than the terms say once it was too large.
    batch: u64,
    failures: u32,
    health: Arc<Mutex<SinkHealth>>,
    stop: watch::Receiver<Option<Instant>>,
}

impl Sink {
    async fn run(mut self) {
        while self.wait_for_records().await {
            while self.cursor.seq < self.engine.published.borrow().written {
                if !self.deliver_next().await && !self.pause().await {
                    return;
                }
            }
        }
    }

    /// Returns when it is time to send something. Nothing left and no more to come: false.
    async fn wait_for_records(&mut self) -> bool {
        let mut published = self.engine.published.subscribe();
        let mut until: Option<Instant> = None;
        loop {
            let now = *published.borrow_and_update();
            let waiting = now.written.saturating_sub(self.cursor.seq);
            if self.stop.borrow().is_some() {
                return waiting > 0;
            }
            if waiting >= self.batch
                || waiting > 0 && now.urgent > self.cursor.seq && now.urgent <= now.written
            {
                return true;
            }
            if waiting > 0 {
                until.get_or_insert_with(|| Instant::now() + self.terms.every);
            }
            let due = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = published.changed() => if changed.is_err() { return false },
                _ = self.stop.changed() => {}
                () = due => return true,
            }
        }
    }

    /// Delivers a batch. Whether it went on.
    async fn deliver_next(&mut self) -> bool {
        let through = self.engine.published.borrow().written;
        let folder = self.engine.settings.folder.clone();
        let (cursor, most) = (self.cursor.clone(), self.batch);
        let found =
            tokio::task::spawn_blocking(move || cursor.next(&folder, through, most, BATCH_BYTES)).await;
        match found.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(Found::Batch(batch)) => self.deliver(&batch).await,
            Ok(Found::Gone { from, to }) => {
                tracing::warn!(
                    sink = self.terms.name,
                    from,
                    to,
                    "records were removed before the sink took them"
                );
                self.say("skipped", |fields| {
                    fields.number("from", from);
                    fields.number("to", to);
                    fields.number("records", to - from + 1);
                });
                self.cursor.seq = to;
                self.cursor.offset = 0;
                self.cursor.segment = to + 1;
                self.keep();
                true
            }
            Ok(Found::Nothing) => {
                self.failed("what was published cannot be found in the log");
                false
            }
            Err(error) => {
                self.failed(&format!("the log cannot be read: {error}"));
                false
            }
        }
    }

    async fn deliver(&mut self, batch: &Batch) -> bool {
        self.cursor.attempt(batch);
        self.keep();
        match self.target.deliver(batch, self.cursor.attempts).await {
            Ok(()) => {
                self.cursor.advance(batch);
                self.keep();
                self.batch = self.terms.batch;
                if self.failures >= TROUBLE {
                    let failures = u64::from(self.failures);
                    self.say("recovered", |fields| fields.number("failures", failures));
                    tracing::info!(sink = self.terms.name, "the audit sink takes records again");
                }
                self.failures = 0;
                self.tell(None);
                true
            }
            Err(NotTaken::TooLarge) if batch.records > 1 => {
                self.batch = (batch.records / 2).max(1);
                true
            }
            Err(NotTaken::TooLarge) => {
                self.failed("a single record is too large for it");
                false
            }
            Err(NotTaken::Because(reason)) => {
                self.failed(&reason);
                false
            }
        }
    }

    fn failed(&mut self, reason: &str) {
        self.failures = self.failures.saturating_add(1);
        self.tell(Some(reason));
        if self.failures == TROUBLE {
            tracing::warn!(
                sink = self.terms.name,
                reason,
                "the audit sink does not take records; they wait"
            );
            self.say("failing", |fields| fields.text("reason", reason));
        }
    }

    /// Waits before the next attempt; longer each time, and never as long as others do. False: it is to stop.
    async fn pause(&mut self) -> bool {
        let doubled = self
            .terms
            .pause
            .saturating_mul(1 << self.failures.saturating_sub(1).min(16))
            .min(LONGEST_PAUSE);
        let mut random = [0; 1];
        let _ = getrandom::fill(&mut random);
        let wait = doubled.mul_f64(0.5 + f64::from(random[0]) / 512.0);
        if self.stop.borrow().is_some() {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            // One last attempt.
            _ = self.stop.changed() => self.deliver_next().await,
        }
    }

    /// Writes down how far it has got.
    fn keep(&mut self) {
        if let Err(error) = self.file.write(&self.cursor) {
            tracing::warn!(%error, sink = self.terms.name, "how far the audit sink has got cannot be written down");
        }
        self.engine.hold(&self.terms, self.cursor.seq);
    }

    fn tell(&self, error: Option<&str>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.delivered = self.cursor.seq;
        health.failures = self.failures;
        health.error = error.map(str::to_owned);
    }

    fn say(&self, state: &str, write: impl FnOnce(&mut Fields<'_>)) {
        self.engine.say("sink", |fields| {
            fields.text("sink", &self.terms.name);
            fields.text("state", state);
            write(fields);
        });
    }
}

impl Engine {
    /// Notes what a sink still has to read, so that it is not removed.
    fn hold(&self, terms: &Terms, has: u64) {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        match holds.iter_mut().find(|hold| hold.sink == terms.key) {
            Some(hold) => hold.has = has,
            None => holds.push(Hold {
                sink: terms.key.clone(),
                has,
                backlog: terms.backlog,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
