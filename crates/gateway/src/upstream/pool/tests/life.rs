//! Holds the pool to the table of a session's life: every way through it is walked, and after each step what can be seen of
//! the place in the pool is what the table says.

use gatepost_protocol::lifecycle::{SessionEvent, SessionState};
use tokio::sync::oneshot;

use super::*;

const IDLE: Duration = Duration::from_secs(300);

/// What can be seen of a place from outside. Several states look alike: nothing is held before the first start, after the
/// last end, and after a failure.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Starting,
    Ready,
    Lost,
}

impl From<SessionState> for Seen {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::Unopened | SessionState::Failed | SessionState::Ended => Self::Nothing,
            SessionState::Opening | SessionState::Reopening => Self::Starting,
            SessionState::Open => Self::Ready,
            SessionState::Lost => Self::Lost,
        }
    }
}

type Outcome = Result<Arc<Fake>, CallError>;

/// A call that waits for its start, and how that is going to end.
struct Start {
    call: tokio::task::JoinHandle<Result<(), CallError>>,
    end: oneshot::Sender<Outcome>,
}

/// One place in a pool, and all that it takes to let things happen to it.
struct Life {
    pool: Arc<Pool<Fake>>,
    key: Key,
    /// The start that is under way.
    starting: Option<Start>,
    started: Vec<Arc<Fake>>,
}

impl Life {
    fn begin(key: Key) -> Self {
        Self {
            pool: Pool::new("s".into(), 4, Some(IDLE)),
            key,
            starting: None,
            started: Vec::new(),
        }
    }

    fn seen(&self) -> Seen {
        let entries = self.pool.lock();
        match entries.list.as_slice() {
            [] => Seen::Nothing,
            [entry] if entry.is_lost() => Seen::Lost,
            [entry] => match entry.state {
                State::Starting(_) => Seen::Starting,
                State::Ready(_) => Seen::Ready,
            },
            _ => panic!("one place became several"),
        }
    }

    /// Asks for the session, as a call does.
    async fn need(&mut self) -> Option<CallError> {
        let (end, ends) = oneshot::channel::<Outcome>();
        let ends = Arc::new(Mutex::new(Some(ends)));
        let (pool, key) = (Arc::clone(&self.pool), self.key.clone());
        let call = tokio::spawn(async move {
            let start = || -> Starting<Fake> {
                let ends = ends.lock().unwrap().take().expect("one start for one need");
                Box::pin(async move { ends.await.unwrap() })
            };
            pool.lease(&key, Use::Shared, start).await.map(drop)
        });
        settle().await;
        if call.is_finished() {
            return call.await.unwrap().err();
        }
        self.starting = Some(Start { call, end });
        None
    }

    async fn starts(&mut self, outcome: Outcome) {
        let fine = outcome.is_ok();
        let Start { call, end } = self.starting.take().unwrap();
        end.send(outcome).unwrap_or_else(|_| panic!("nobody starts"));
        assert_eq!(call.await.unwrap().is_ok(), fine);
    }

    async fn happens(&mut self, event: SessionEvent, before: SessionState) {
        match event {
            SessionEvent::Needed => assert!(self.need().await.is_none()),
            SessionEvent::Greeted => {
                let fake = Arc::new(Fake {
                    number: self.started.len(),
                    ended: AtomicBool::new(false),
                });
                self.started.push(Arc::clone(&fake));
                self.starts(Ok(fake)).await;
            }
            // It makes no difference to who waits whether it never began to speak or fell silent.
            SessionEvent::Refused => self.starts(Err(refused())).await,
            SessionEvent::Died if before != SessionState::Open => self.starts(Err(refused())).await,
            SessionEvent::Forgotten | SessionEvent::Died => {
                self.started.last().unwrap().ended.store(true, Ordering::Relaxed);
            }
            SessionEvent::Idle => {
                tokio::time::sleep(2 * IDLE).await;
                assert!(!self.started.last().unwrap().alive(), "it is ended");
            }
            // Both are how a call ends that must leave nothing behind.
            SessionEvent::Discarded | SessionEvent::RepeatFailed => {
                let start = || panic!("it is open");
                let lease = self.pool.lease(&self.key, Use::Shared, start).await.unwrap();
                lease.discard();
                settle().await;
                assert!(!self.started.last().unwrap().alive(), "it is ended");
            }
            SessionEvent::Surrendered => {
                let gone = self.need().await.unwrap();
                assert!(matches!(gone.cause, Cause::SessionGone), "{gone}");
            }
            SessionEvent::Stopping => {
                self.pool.close(Duration::ZERO).await;
                if let Some(Start { call, end }) = self.starting.take() {
                    let late = Arc::new(Fake {
                        number: self.started.len(),
                        ended: AtomicBool::new(false),
                    });
                    assert!(end.send(Ok(Arc::clone(&late))).is_ok());
                    assert!(
                        call.await.unwrap().is_err(),
                        "the pool gives nothing out any more"
                    );
                    settle().await;
                    self.started.push(late);
                }
                assert!(
                    self.started.iter().all(|session| !session.alive()),
                    "all are ended"
                );
                assert!(self.need().await.is_some(), "and nothing starts");
            }
        }
    }
}

fn refused() -> CallError {
    CallError {
        server: "s".into(),
        cause: Cause::NotStarted("as the test wants".to_owned()),
        retry_safe: true,
    }
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Walks every way of at most `steps` events of those that `may` happen, and gives the rows it came by.
async fn walk(
    key: &Key,
    steps: usize,
    may: fn(SessionState, SessionEvent) -> bool,
) -> Vec<(SessionState, SessionEvent)> {
    let mut ways: Vec<Vec<SessionEvent>> = vec![Vec::new()];
    let mut rows = Vec::new();
    for _ in 0..steps {
        let mut longer = Vec::new();
        for way in &ways {
            let end = way
                .iter()
                .fold(SessionState::INITIAL, |state, event| state.on(*event).unwrap());
            for &event in SessionEvent::ALL {
                let Some(next) = end.on(event).filter(|_| may(end, event)) else {
                    continue;
                };
                let mut life = Life::begin(key.clone());
                let mut state = SessionState::INITIAL;
                for &event in way.iter().chain([&event]) {
                    life.happens(event, state).await;
                    state = state.on(event).unwrap();
                }
                assert_eq!(life.seen(), next.into(), "after {way:?} and {event:?}");
                rows.push((end, event));
                longer.push([way.as_slice(), &[event]].concat());
            }
        }
        ways = longer;
    }
    rows
}

#[tokio::test(start_paused = true)]
async fn places_live_as_their_table_says() {
    let common = walk(&Key::default(), 6, |_, event| event != SessionEvent::Surrendered).await;
    let own = Key {
        conversation: Some([1; 16]),
        ..Key::default()
    };
    // Where state is, nothing is opened again behind its client's back.
    let heals = |state, event| !(state == SessionState::Lost && event == SessionEvent::Needed);
    let surrendered = walk(&own, 4, heals).await;
    for row in SessionState::TRANSITIONS {
        let walked = common
            .iter()
            .chain(&surrendered)
            .any(|walked| *walked == (row.from, row.event));
        assert!(walked, "{row:?} was not walked");
    }
}
