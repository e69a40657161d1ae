//! What becomes of records, and of who waits for them, when the log cannot be written.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{Engine, Mark, state::State};
use crate::{Moment, disk::Segment};

/// The log cannot be written, so what was to be recorded is not. With `on_failure: deny` the call must not be made; if it has
/// been made already, the answer must say that it is not on record.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the audit log cannot be written: {reason}")]
pub struct Unwritten {
    pub(super) reason: Arc<str>,
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

/// How many ends of epochs are remembered. They are seconds apart at least.
const ENDED: usize = 16;

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

impl Engine {
    /// What is not written is refused, or counted.
    pub(super) fn lose(&self, count: u64, error: Unwritten) -> Result<Mark, Unwritten> {
        self.lost.fetch_add(count, Ordering::Relaxed);
        if self.allows_loss() {
            Ok(Mark::NOWHERE)
        } else {
            Err(error)
        }
    }

    /// After a failed write: nothing of the group, nor of what was chained to it, is there.
    pub(super) fn take_back(&self, state: &mut State, file: &Arc<dyn Segment>, error: &io::Error) {
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
}
