//! The log level of a legacy session: what the server is asked to write, for all who use the session together.
//!
//! A client's level comes with each of its calls: modern ones name it, of a legacy one the gate remembers it. A session of
//! many gets the most verbose one in use, and what that is too much for a client is left out on the way down
//! (`eras.md` 7). The level falls only after nobody wanted it for a while, so that two clients in turn cost no extra
//! message a call.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gatepost_protocol::{logging::LogLevel, method::Method, version::Era};
use tokio::time::Instant;

use super::{
    server::Server,
    session::{self, Session},
};

/// How long a session of many stays at a level that nobody wants any more.
const LINGER: Duration = Duration::from_secs(60);

/// How long a server may take to accept a level before the call that wants it goes ahead.
const SET_LEVEL_WITHIN: Duration = Duration::from_secs(2);

/// What a session's server was told, and who wants what.
#[derive(Debug, Default)]
pub(crate) struct Level {
    wants: Mutex<Wants>,
    /// One change at a time, so that the last one told is the one that is meant.
    telling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Wants {
    /// How many calls in flight want each level, in the order of [`LogLevel::ALL`].
    calls: [usize; LogLevel::ALL.len()],
    told: Option<LogLevel>,
    /// When a call last wanted what the server was told.
    wanted: Option<Instant>,
}

/// A call's wish for a level, while it is in flight.
#[derive(Debug)]
pub(crate) struct InUse {
    of: Arc<Level>,
    level: LogLevel,
}

impl Server {
    /// Has the session's server log what a call wants to see, if the server can be told (`eras.md` 7).
    pub(super) async fn tell_level(&self, session: &Session, level: LogLevel, alone: bool) -> Option<InUse> {
        if session.facts.era() == Era::Modern || !session.facts.has_logging() {
            return None;
        }
        let in_use = session.level.enter(level);
        let tell = async |level: LogLevel| {
            let params = format!(r#"{{"level":"{}"}}"#, level.as_str());
            let Ok(request) = self.question(Method::LoggingSetLevel, params.as_bytes()) else {
                return;
            };
            let own = self.own(&request);
            // A log line is not worth a call: if this fails, the call goes on and finds out what is wrong.
            match tokio::time::timeout(SET_LEVEL_WITHIN, session::ask(session, &own, &self.context)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "setting the log level"),
                Err(_) => tracing::debug!(server = &**self.name(), "no answer to a log level"),
            }
        };
        session.level.settle(alone, tell).await;
        Some(in_use)
    }
}

impl Level {
    /// Notes what a call wants.
    pub(crate) fn enter(self: &Arc<Self>, level: LogLevel) -> InUse {
        let mut wants = self.wants();
        wants.calls[level as usize] += 1;
        if wants.told == Some(level) {
            wants.wanted = Some(Instant::now());
        }
        drop(wants);
        InUse {
            of: Arc::clone(self),
            level,
        }
    }

    /// Lets `tell` bring the server to the level that is in use, if it is at another one. `alone`: the session belongs to
    /// one client, whose level is followed down at once. Whatever comes of it, the server is not told the same again.
    pub(crate) async fn settle(&self, alone: bool, tell: impl AsyncFnOnce(LogLevel)) {
        if self.due(alone).is_none() {
            return;
        }
        let _one_at_a_time = self.telling.lock().await;
        // Another call may have seen to it meanwhile.
        let Some(level) = self.due(alone) else { return };
        tell(level).await;
        let mut wants = self.wants();
        wants.told = Some(level);
        wants.wanted = Some(Instant::now());
    }

    /// The level to tell the server now.
    fn due(&self, alone: bool) -> Option<LogLevel> {
        let wants = self.wants();
        let most_verbose = LogLevel::ALL
            .into_iter()
            .find(|level| wants.calls[*level as usize] > 0)?;
        let Some(told) = wants.told else {
            return Some(most_verbose);
        };
        let lingers = !alone && wants.wanted.is_some_and(|at| at.elapsed() < LINGER);
        (most_verbose < told || (most_verbose > told && !lingers)).then_some(most_verbose)
    }

    fn wants(&self) -> MutexGuard<'_, Wants> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut wants = self.of.wants();
        wants.calls[self.level as usize] -= 1;
        if wants.told == Some(self.level) {
            wants.wanted = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LogLevel::{Debug, Error, Info};

    /// What the server is told when a call that wants `level` begins.
    async fn told(level: &Arc<Level>, alone: bool) -> Option<LogLevel> {
        let mut told = None;
        level.settle(alone, async |level| told = Some(level)).await;
        told
    }

    #[tokio::test(start_paused = true)]
    async fn the_most_verbose_level_in_use_is_told_when_it_changes() {
        let level = Arc::new(Level::default());
        assert_eq!(told(&level, false).await, None, "nobody wants anything");
        let error = level.enter(Error);
        assert_eq!(told(&level, false).await, Some(Error));
        assert_eq!(told(&level, false).await, None, "it knows");
        let debug = level.enter(Debug);
        assert_eq!(told(&level, false).await, Some(Debug));
        let info = level.enter(Info);
        assert_eq!(told(&level, false).await, None, "less than it knows");
        drop(debug);
        assert_eq!(told(&level, false).await, None, "the next one may want it again");
        tokio::time::sleep(LINGER).await;
        assert_eq!(told(&level, false).await, Some(Info));
        drop((info, error));
        assert_eq!(told(&level, false).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_call_keeps_its_level() {
        let level = Arc::new(Level::default());
        let _debug = level.enter(Debug);
        assert_eq!(told(&level, false).await, Some(Debug));
        tokio::time::sleep(10 * LINGER).await;
        let _error = level.enter(Error);
        assert_eq!(told(&level, false).await, None);
    }

    #[tokio::test]
    async fn a_session_of_one_client_follows_it_at_once() {
        let level = Arc::new(Level::default());
        drop(level.enter(Debug));
        assert_eq!(told(&level, true).await, None);
        for wanted in [Debug, Error, Info] {
            let _call = level.enter(wanted);
            assert_eq!(told(&level, true).await, Some(wanted));
        }
    }
}
