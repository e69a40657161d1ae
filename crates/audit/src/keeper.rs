//! The keeper: the log's own thread. It brings what was written to the disk, signs checkpoints, begins new segments, removes old
//! ones, and tries again after trouble.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use gatepost_config::Durability;

use crate::{
    Hash, Moment,
    engine::{Closing, Cure, Engine, State},
    head::{Head, Place},
    line,
    read::first_line,
    record::Fields,
    segment,
};

/// How long the keeper sleeps when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);
/// How often it looks for segments to remove.
const SWEEP: Duration = Duration::from_secs(60);
/// A segment is at most this part of `keep` old when the next is begun.
const PARTS: u128 = 10;
/// The next segment, until its name is known.
const NEXT: &str = "next.new";
/// The version of the format.
const FORMAT: u64 = 1;

pub(crate) struct Keeper {
    engine: Arc<Engine>,
    head: Head,
    /// The name of the digests' key.
    digest_key: String,
    checkpoint: Instant,
    sweep: Instant,
    rotate: Instant,
    /// When the current segment was begun.
    began: Moment,
    /// How long the disk took the last time.
    took: Duration,
}

impl Keeper {
    pub(crate) fn new(engine: Arc<Engine>, head: Head, digest_key: String) -> Self {
        let now = Instant::now();
        let path = segment::path(&engine.settings.folder, engine.lock().first);
        let began = began(&path).unwrap_or_else(engine.settings.clock);
        Self {
            engine,
            head,
            digest_key,
            checkpoint: now,
            sweep: now,
            rotate: now,
            began,
            took: Duration::ZERO,
        }
    }

    /// Runs until the log is closed.
    pub(crate) fn run(mut self) {
        loop {
            let closing = self.wait();
            self.cure();
            self.flush();
            if closing != Closing::No {
                self.finish(closing);
                return;
            }
            self.rotate_if_full();
            self.checkpoint_if_due();
            if self.sweep.elapsed() >= SWEEP {
                self.sweep();
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self) -> Closing {
        let engine = &*self.engine;
        let sync = engine.settings.durability == Durability::Sync;
        let mut state = engine.lock();
        let busy = |state: &State| {
            let unsynced = state.written > state.durable;
            state.closing != Closing::No
                || state.trouble.is_none() && unsynced && (!sync || state.joining > 0)
        };
        if !busy(&state) {
            state.idle = true;
            (state, _) = engine
                .work
                .wait_timeout_while(state, if sync { engine.settings.flush } else { IDLE }, |state| {
                    !busy(state)
                })
                .unwrap_or_else(PoisonError::into_inner);
            state.idle = false;
        }
        if state.written == state.durable || state.closing != Closing::No {
            return state.closing;
        }
        // Everything that comes meanwhile goes to the disk with it. In `sync` somebody waits, so it is not for long: those
        // whom the last group set free are likely to be back soon.
        let patience = if sync {
            self.took / 8
        } else {
            engine.settings.flush
        };
        state.idle = sync;
        (state, _) = engine
            .work
            .wait_timeout_while(state, patience, |state| {
                state.closing == Closing::No && !(sync && state.joining >= state.expected)
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.idle = false;
        state.closing
    }

    /// Brings everything to the disk. Says whether it is there.
    pub(crate) fn flush(&mut self) -> bool {
        let engine = Arc::clone(&self.engine);
        let mut state = engine.settle(engine.lock());
        // After a failed write what is in the file can still get to the disk, and somebody may wait for it.
        let whole = match state.trouble.as_ref().map(|trouble| trouble.cure) {
            None => true,
            Some(Cure::Again(_)) => false,
            Some(Cure::Another(_) | Cure::None) => return false,
        };
        let place = state.place(&engine.log);
        if state.durable < place.seq {
            let file = Arc::clone(&state.file);
            state.expected = std::mem::take(&mut state.joining);
            drop(state);
            let begun = Instant::now();
            let done = file.sync();
            self.took = begun.elapsed();
            let mut state = engine.quiet(engine.lock());
            if let Err(error) = done {
                engine.distrust(&mut state, &error);
                drop(state);
                self.cure();
                return false;
            }
            state.durable = state.durable.max(place.seq);
            drop(state);
            engine.announce();
            self.note(&place);
        } else {
            drop(state);
        }
        engine
            .published
            .send_if_modified(|published| std::mem::replace(&mut published.written, place.seq) != place.seq);
        whole
    }

    fn note(&mut self, place: &Place) {
        if let Err(error) = self.head.write(place) {
            tracing::warn!(%error, "the audit log's `head` cannot be written: a cut-off end may go unnoticed");
        }
    }

    fn finish(&mut self, closing: Closing) {
        let state = self.engine.lock();
        if state.trouble.is_some() {
            return;
        }
        let mut place = state.place(&self.engine.log);
        drop(state);
        place.closed = closing == Closing::Orderly;
        self.note(&place);
        let _ = self.head.sync();
    }

    fn checkpoint_if_due(&mut self) {
        let engine = &*self.engine;
        let mut state = engine.lock();
        let settings = &engine.settings;
        let due = state.since_checkpoint >= settings.checkpoint_records
            || state.since_checkpoint > 0 && self.checkpoint.elapsed() >= settings.checkpoint_every;
        if state.trouble.is_none() && due {
            engine.checkpoint(&mut state);
            drop(engine.settle(state));
            self.checkpoint = Instant::now();
        }
    }

    fn rotate_if_full(&mut self) {
        let settings = &self.engine.settings;
        let full = self.engine.lock().length >= settings.segment_bytes;
        // Only whole segments are removed, so one that grows slowly must not keep its records for ever.
        let old = settings.keep.is_some_and(|keep| {
            let age = u128::from((settings.clock)().micros_since(self.began));
            age > keep.as_micros() / PARTS
        });
        if !(full || old) || self.rotate > Instant::now() {
            return;
        }
        match self.rotate() {
            Ok(()) => {
                self.checkpoint = Instant::now();
                self.sweep();
            }
            Err(error) => {
                self.rotate = Instant::now() + self.engine.settings.retry;
                tracing::warn!(%error, "no new segment of the audit log can be made; the old one grows");
            }
        }
    }

    /// Begins a new segment. The old one ends in a checkpoint, and is on the disk before anything of the new one counts as
    /// durable.
    fn rotate(&mut self) -> io::Result<()> {
        let engine = Arc::clone(&self.engine);
        let (next, path) = self.next()?;
        let mut state = engine.lock();
        if state.trouble.is_none() {
            engine.checkpoint(&mut state);
        }
        let mut state = engine.settle(state);
        if state.trouble.is_some() {
            return Ok(());
        }
        engine
            .disk
            .rename(&path, &segment::path(&engine.settings.folder, state.next))?;
        let old = std::mem::replace(&mut state.file, next.into());
        state.first = state.next;
        state.length = 0;
        self.began = (engine.settings.clock)();
        engine.begin_segment(&mut state, &self.digest_key);
        drop(engine.settle(state));
        if let Err(error) = old.sync() {
            let mut state = engine.quiet(engine.lock());
            engine.distrust(&mut state, &error);
            return Ok(());
        }
        engine.disk.sync_folder(&engine.settings.folder)?;
        self.flush();
        Ok(())
    }

    fn next(&self) -> io::Result<(Box<dyn crate::disk::Segment>, PathBuf)> {
        let path = self.engine.settings.folder.join(NEXT);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.engine.disk.create(&path).map(|file| (file, path))
    }

    /// Tries what may help against trouble, if it is time.
    fn cure(&mut self) {
        let cure = self.engine.lock().trouble.as_ref().map(|trouble| trouble.cure);
        match cure {
            Some(Cure::Again(at)) if at <= Instant::now() => self.resume(),
            Some(Cure::Another(at)) if at <= Instant::now() => {
                if let Err(error) = self.replace() {
                    tracing::error!(%error, "no new segment of the audit log can be made");
                    self.later(Cure::Another);
                }
            }
            _ => {}
        }
    }

    fn later(&self, cure: fn(Instant) -> Cure) {
        if let Some(trouble) = &mut self.engine.lock().trouble {
            trouble.cure = cure(Instant::now() + self.engine.settings.retry);
        }
    }

    /// Goes on in the same file, which ends in a whole record.
    fn resume(&mut self) {
        let engine = Arc::clone(&self.engine);
        let mut state = engine.quiet(engine.lock());
        let file = Arc::clone(&state.file);
        if file.truncate(state.length).is_err() {
            drop(state);
            self.later(Cure::Again);
            return;
        }
        let seq = engine.resumed(&mut state);
        let mut state = engine.write(state);
        if state.written == seq {
            state.trouble = None;
            drop(state);
            tracing::info!("the audit log can be written again");
            self.flush();
        }
    }

    /// Goes on in another file, because nothing is known of the old one.
    fn replace(&mut self) -> io::Result<()> {
        let engine = Arc::clone(&self.engine);
        let (next, path) = self.next()?;
        let mut state = engine.quiet(engine.lock());
        engine
            .disk
            .rename(&path, &segment::path(&engine.settings.folder, state.next))?;
        state.file = next.into();
        state.first = state.next;
        state.length = 0;
        self.began = (engine.settings.clock)();
        engine.begin_segment(&mut state, &self.digest_key);
        let seq = engine.resumed(&mut state);
        let state = engine.write(state);
        let (written, file) = (state.written, Arc::clone(&state.file));
        drop(state);
        if written != seq {
            self.later(Cure::Another);
            return Ok(());
        }
        file.sync()?;
        engine.disk.sync_folder(&engine.settings.folder)?;
        let mut state = engine.lock();
        state.durable = seq;
        state.trouble = None;
        let place = state.place(&engine.log);
        drop(state);
        tracing::info!("the audit log goes on in another file");
        engine.announce();
        self.note(&place);
        Ok(())
    }

    /// Removes the segments that are older or more than the configuration wants, and leaves a record of it.
    fn sweep(&mut self) {
        self.sweep = Instant::now();
        if let Err(error) = self.remove_old() {
            tracing::warn!(%error, "old segments of the audit log cannot be removed");
        }
    }

    fn remove_old(&mut self) -> io::Result<()> {
        let engine = Arc::clone(&self.engine);
        let settings = &engine.settings;
        if settings.keep.is_none() && settings.max_bytes.is_none() {
            return Ok(());
        }
        let files = segment::list(&settings.folder)?;
        let now = (settings.clock)();
        let mut total: u64 = files.iter().map(|file| file.length).sum();
        let mut going = Vec::new();
        for pair in files.windows(2) {
            let [file, next] = pair else { continue };
            let too_old = match settings.keep {
                // What stands in a segment is older than the first record of the next.
                Some(keep) => began(&next.path)
                    .is_some_and(|began| u128::from(now.micros_since(began)) > keep.as_micros()),
                None => false,
            };
            let too_much = settings.max_bytes.is_some_and(|most| total > most);
            if !(too_old || too_much) || engine.is_held(next.first - 1, &files) {
                break;
            }
            total -= file.length;
            going.push((file, next));
        }
        let (Some((first, _)), Some((_, staying))) = (going.first(), going.last()) else {
            return Ok(());
        };
        let Some(last_hash) =
            first_line(&staying.path)?.and_then(|line| line::Head::of(&line).map(|head| head.prev))
        else {
            return Ok(());
        };
        let state = engine.lock();
        if state.trouble.is_some() {
            return Ok(());
        }
        let mut state = state;
        let bytes = going.iter().map(|(file, _)| file.length).sum();
        engine.removed(
            &mut state,
            first.first,
            staying.first - 1,
            last_hash,
            going.len() as u64,
            bytes,
        );
        drop(engine.settle(state));
        // Not before it is on the disk that they were removed on purpose.
        if !self.flush() {
            return Ok(());
        }
        for (file, _) in &going {
            fs::remove_file(&file.path)?;
        }
        engine.disk.sync_folder(&settings.folder)
    }
}

fn began(path: &std::path::Path) -> Option<Moment> {
    let line = first_line(path).ok()??;
    Moment::parse(line::Head::of(&line)?.time)
}

// === the log's own records ===

impl Engine {
    pub(crate) fn checkpoint(&self, state: &mut State) {
        let open = state.open_count();
        self.append_own(state, "checkpoint", |fields| {
            fields.number("open", open);
            self.signed_by(fields);
        });
        state.since_checkpoint = 0;
    }

    /// The first record of every segment says which log it belongs to, so that each can be told apart by itself.
    pub(crate) fn begin_segment(&self, state: &mut State, digest_key: &str) {
        let oldest = state.oldest_open();
        self.append_own(state, "segment", |fields| {
            fields.text("log", &self.log);
            fields.number("format", FORMAT);
            fields.text("digest_key", digest_key);
            if let Some(oldest) = oldest {
                fields.number("open_since", oldest);
            }
            self.signed_by(fields);
        });
    }

    fn resumed(&self, state: &mut State) -> u64 {
        let trouble = state.trouble.clone();
        self.append_own(state, "resumed", |fields| {
            if let Some(trouble) = trouble {
                fields.text("reason", &trouble.reason);
                fields.text("since", &trouble.since.to_string());
                fields.number("unwritten", trouble.unwritten);
            }
            self.signed_by(fields);
        })
    }

    fn removed(&self, state: &mut State, from: u64, to: u64, hash: Hash, segments: u64, bytes: u64) {
        self.append_own(state, "removed", |fields| {
            fields.number("from", from);
            fields.number("to", to);
            fields.text("last_hash", &hash.to_string());
            fields.number("segments", segments);
            fields.number("bytes", bytes);
            self.signed_by(fields);
        });
    }

    pub(crate) fn signed_by(&self, fields: &mut Fields<'_>) {
        if let Some(signer) = &self.signer {
            fields.text("signed_by", &signer.id);
        }
    }

    /// Whether a sink still needs a segment whose last record is `last`, and has not asked for more than it may.
    fn is_held(&self, last: u64, files: &[segment::File]) -> bool {
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.iter().filter(|hold| hold.has < last).any(|hold| {
            let waiting = files
                .iter()
                .zip(files.iter().skip(1).map(|next| next.first).chain([u64::MAX]))
                .filter(|(_, next)| *next > hold.has + 1);
            waiting.map(|(file, _)| file.length).sum::<u64>() <= hold.backlog
        })
    }
}
