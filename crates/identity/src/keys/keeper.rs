//! Keeps the keys of one issuer: asks for them again before they are old, and once more when a token names one that is not
//! there; goes on with what it has while the issuer is down; and never lets callers decide how often an issuer is asked.
//!
//! However many wait, one exchange runs at a time, in a task of its own: a caller that gives up ends nothing.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use gatepost_config::SignatureAlgorithm as Algorithm;
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    task::AbortHandle,
    time::Instant,
};

use super::{
    jwk::Key,
    set::KeySet,
    source::{KeysError, Load},
};

/// How long keys count after their issuer was last heard of.
pub(crate) const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often an issuer is asked because of keys that nobody knows.
pub(crate) const UNKNOWN_EVERY: Duration = Duration::from_secs(30);
/// The longest time between two attempts at an issuer that does not answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a file is looked at, and looked at because of keys that nobody knows.
const FILE_EVERY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));

/// The keys of one issuer.
pub(crate) struct Keeper {
    issuer: Arc<str>,
    /// How old keys may get before they are asked for again.
    refresh: Duration,
    unknown_every: Duration,
    source: AsyncMutex<Box<dyn Load>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// When somebody last named a key that was not there, and was believed.
    asked: Option<Instant>,
    failure: Option<Failure>,
    running: Option<Running>,
    background: Option<AbortHandle>,
}

struct Held {
    keys: Arc<KeySet>,
    at: Instant,
}

struct Failure {
    why: Arc<str>,
    /// How many attempts in a row.
    times: u32,
    at: Instant,
}

/// How it is going with one issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerHealth {
    /// Whose.
    pub issuer: Arc<str>,
    /// How many keys there are. None: its tokens are refused.
    pub keys: usize,
    /// How long ago the issuer was last heard of, if it was.
    pub age: Option<Duration>,
    /// Why it is not heard of, since the last time that it should have been.
    pub failure: Option<Arc<str>>,
}

/// An exchange with the issuer that is under way.
#[derive(Clone)]
pub(crate) struct Running(watch::Receiver<()>);

/// What became of looking for a key.
pub(crate) enum Found {
    /// One of these may have signed.
    Keys(Vec<Arc<Key>>),
    /// There is no such key, and the issuer has been asked lately.
    Unknown,
    /// The issuer is being asked: look again when it has answered.
    Wait(Running),
    /// There are no keys at all.
    Unavailable { why: Arc<str>, retry_after: Duration },
}

impl Running {
    pub(crate) async fn finished(mut self) {
        // Nothing is ever sent: the channel closes when the exchange has ended, however it has.
        let _ = self.0.changed().await;
    }

    fn is_over(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

// === impl Keeper ===

impl Keeper {
    pub(crate) fn new(issuer: Arc<str>, refresh: Duration, source: Box<dyn Load>) -> Arc<Self> {
        Self::with(issuer, refresh, UNKNOWN_EVERY, source, None)
    }

    /// One whose keys are in a file and have been read.
    pub(crate) fn of_file(
        issuer: Arc<str>,
        refresh: Duration,
        source: Box<dyn Load>,
        keys: KeySet,
    ) -> Arc<Self> {
        let (every, unknown_every) = FILE_EVERY;
        Self::with(issuer, refresh.min(every), unknown_every, source, Some(keys))
    }

    fn with(
        issuer: Arc<str>,
        refresh: Duration,
        unknown_every: Duration,
        source: Box<dyn Load>,
        keys: Option<KeySet>,
    ) -> Arc<Self> {
        let held = keys.map(|keys| Held {
            keys: Arc::new(keys),
            at: Instant::now(),
        });
        Arc::new(Self {
            issuer,
            refresh,
            unknown_every,
            source: AsyncMutex::new(source),
            state: Mutex::new(State {
                held,
                ..State::default()
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to keep the keys fresh, if it has not begun before. Without a runtime it does nothing: the first that needs
    /// keys begins.
    pub(crate) fn begin(self: &Arc<Self>) {
        let mut state = self.state();
        if state.background.is_none()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let task = runtime.spawn(keep(Arc::downgrade(self)));
            state.background = Some(task.abort_handle());
        }
    }

    /// The keys that may have signed a token which names `kid` and `algorithm`.
    pub(crate) fn find(self: &Arc<Self>, kid: Option<&str>, algorithm: Algorithm) -> Found {
        self.begin();
        let mut state = self.state();
        state.forget_stale(&self.issuer);
        let running = state.running.clone().filter(|running| !running.is_over());
        let Some(held) = &state.held else {
            if let Some(running) = running {
                return Found::Wait(running);
            }
            return match state.failure.as_ref() {
                Some(failure) if failure.left() > Duration::ZERO => Found::Unavailable {
                    why: Arc::clone(&failure.why),
                    retry_after: failure.left(),
                },
                _ => self.ask(&mut state),
            };
        };
        let candidates = held.keys.candidates(kid, algorithm);
        match kid {
            _ if !candidates.is_empty() => Found::Keys(candidates),
            // The key is there and is for something else, or no key is named: newer keys would not change that.
            None => Found::Unknown,
            Some(kid) if held.keys.knows(kid) => Found::Unknown,
            Some(_) => {
                if let Some(running) = running {
                    return Found::Wait(running);
                }
                if state
                    .asked
                    .is_some_and(|asked| asked.elapsed() < self.unknown_every)
                {
                    return Found::Unknown;
                }
                state.asked = Some(Instant::now());
                self.ask(&mut state)
            }
        }
    }

    /// Asks the issuer in a task of its own.
    fn ask(self: &Arc<Self>, state: &mut State) -> Found {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return Found::Unavailable {
                why: "nothing can be asked outside a runtime".into(),
                retry_after: PATIENCE,
            };
        };
        let (over, running) = watch::channel(());
        let keeper = Arc::clone(self);
        runtime.spawn(async move {
            let outcome = keeper.source.lock().await.load(&keeper.issuer).await;
            keeper.finish(outcome);
            drop(over);
        });
        let running = Running(running);
        state.running = Some(running.clone());
        Found::Wait(running)
    }

    fn finish(&self, outcome: Result<KeySet, KeysError>) {
        let mut state = self.state();
        let issuer = &*self.issuer;
        state.running = None;
        match outcome {
            Ok(keys) => {
                let keys = match &state.held {
                    Some(held) => keys.succeed(&held.keys),
                    None => keys,
                };
                let count = keys.len();
                if state.failure.take().is_some() {
                    tracing::info!(issuer, keys = count, "the issuer's keys are there again");
                } else if state.held.is_none() {
                    tracing::info!(issuer, keys = count, "the issuer's keys are there");
                }
                state.held = Some(Held {
                    keys: Arc::new(keys),
                    at: Instant::now(),
                });
            }
            Err(error) => {
                let times = state.failure.as_ref().map_or(0, |failure| failure.times) + 1;
                // Each time at first, then less and less often.
                if times.is_power_of_two() {
                    match &state.held {
                        Some(held) => tracing::warn!(
                            issuer,
                            age_seconds = held.at.elapsed().as_secs(),
                            "the issuer's keys cannot be refreshed, and those that are there are used for up to 24 hours: {error}"
                        ),
                        None => tracing::warn!(
                            issuer,
                            "the issuer's keys are not to be had, so its tokens are refused: {error}"
                        ),
                    }
                }
                state.failure = Some(Failure {
                    why: error.to_string().into(),
                    times,
                    at: Instant::now(),
                });
                state.forget_stale(issuer);
            }
        }
    }

    /// How it is going.
    pub(crate) fn health(&self) -> IssuerHealth {
        let state = self.state();
        IssuerHealth {
            issuer: Arc::clone(&self.issuer),
            keys: state.held.as_ref().map_or(0, |held| held.keys.len()),
            age: state.held.as_ref().map(|held| held.at.elapsed()),
            failure: state.failure.as_ref().map(|failure| Arc::clone(&failure.why)),
        }
    }

    /// How long until the issuer is asked without anybody's doing.
    fn pause(&self) -> Duration {
        let state = self.state();
        match (&state.failure, &state.held) {
            (Some(failure), _) => failure.left(),
            (None, Some(held)) => self.refresh.saturating_sub(held.at.elapsed()),
            (None, None) => Duration::ZERO,
        }
    }

    fn refresh(self: &Arc<Self>) -> Option<Running> {
        let mut state = self.state();
        let running = state.running.clone().filter(|running| !running.is_over());
        match running.map_or_else(|| self.ask(&mut state), Found::Wait) {
            Found::Wait(running) => Some(running),
            Found::Keys(_) | Found::Unknown | Found::Unavailable { .. } => None,
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(task) = self.state().background.take() {
            task.abort();
        }
    }
}

/// Asks again and again, as long as the keeper lives.
async fn keep(keeper: Weak<Keeper>) {
    loop {
        let Some(pause) = keeper.upgrade().map(|keeper| keeper.pause()) else {
            return;
        };
        tokio::time::sleep(pause).await;
        let Some(running) = keeper.upgrade().and_then(|keeper| keeper.refresh()) else {
            return;
        };
        running.finished().await;
    }
}

// === impl State ===

impl State {
    fn forget_stale(&mut self, issuer: &str) {
        if let Some(held) = self.held.take_if(|held| held.at.elapsed() > STALE) {
            held.keys.withdraw_all();
            tracing::error!(
                issuer,
                "the issuer has not been heard of for 24 hours: its keys count for nothing until it answers"
            );
        }
    }
}

impl Failure {
    /// How long nobody should ask again.
    fn left(&self) -> Duration {
        let pause = Duration::from_secs(1 << (self.times - 1).min(10)).min(PATIENCE);
        pause.saturating_sub(self.at.elapsed())
    }
}

#[cfg(test)]
mod tests;
