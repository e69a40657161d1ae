//! How a server is, for `/health`, `/metrics` and people.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{CallError, Cause};

/// How well a server is, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// It was not asked anything yet.
    Unknown,
    /// Its last answer was in order.
    Healthy,
    /// It can be reached, but something was wrong last time.
    Degraded,
    /// It could not be reached, started or greeted.
    Unhealthy,
}

/// How a server is.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// In one word.
    pub state: HealthState,
    /// Why, if it is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `modern` or `legacy`, once it was greeted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub era: Option<&'static str>,
    /// The protocol version it is spoken to in, once it was greeted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'static str>,
    /// Processes, modules' connections or legacy sessions that are open.
    pub sessions: usize,
    /// Calls in flight.
    pub in_flight: usize,
    /// How often in a row its process has ended by itself.
    pub restarts: u32,
    /// The last error, which may be over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Seconds since that error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_seconds_ago: Option<u64>,
}

/// What is remembered of a server's answers.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    in_flight: AtomicUsize,
    answered: AtomicBool,
    failing: AtomicBool,
    last: Mutex<Option<(CallError, Instant)>>,
}

/// Counts a call for as long as it lasts, and holds its place under `concurrency`.
pub(crate) struct Guard {
    pulse: Arc<Pulse>,
    permit: Option<OwnedSemaphorePermit>,
    /// Where a call that only waits for its client has given its place back.
    given_back: Option<Arc<Semaphore>>,
}

impl Guard {
    /// A call that only waits for its client takes no place. When the client is back it goes on whether one is free or not:
    /// the server is at it already.
    pub(crate) fn set_parked(&mut self, parked: bool) {
        if parked {
            self.given_back = self.permit.take().map(|permit| Arc::clone(permit.semaphore()));
        } else if let Some(places) = self.given_back.take() {
            self.permit = places.try_acquire_owned().ok();
        }
    }
}

impl Pulse {
    /// A call begins.
    pub(crate) fn begin(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> Guard {
        self.in_flight.fetch_add(1, Relaxed);
        Guard {
            pulse: Arc::clone(self),
            permit,
            given_back: None,
        }
    }

    /// The server answered in order.
    pub(crate) fn well(&self) {
        // Most calls find it so already and need not write.
        if !self.answered.load(Relaxed) {
            self.answered.store(true, Relaxed);
        }
        if self.failing.load(Relaxed) {
            self.failing.store(false, Relaxed);
        }
    }

    /// It did not.
    pub(crate) fn ill(&self, error: &CallError) {
        self.failing.store(true, Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((error.clone(), Instant::now()));
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// State, reason, last error and its age.
    pub(crate) fn read(&self) -> (HealthState, Option<String>, Option<(String, Duration)>) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = last
            .as_ref()
            .map(|(error, at)| (error.cause.to_string(), at.elapsed()));
        match (&last, self.failing.load(Relaxed)) {
            (Some((error, _)), true) => (severity(&error.cause), Some(error.cause.to_string()), text),
            _ if self.answered.load(Relaxed) => (HealthState::Healthy, None, text),
            _ => (HealthState::Unknown, None, text),
        }
    }
}

/// A server that cannot be spoken to is worse than one that answers badly.
fn severity(cause: &Cause) -> HealthState {
    match cause {
        Cause::Unreachable(_)
        | Cause::NotStarted(_)
        | Cause::Handshake(_)
        | Cause::NoCredential(_)
        | Cause::Ended(_)
        | Cause::Timeout(_) => HealthState::Unhealthy,
        _ => HealthState::Degraded,
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pulse.in_flight.fetch_sub(1, Relaxed);
    }
}
