//! Holds sessions to the table of their life: every way through it is walked with real tokens, and after each step what
//! can be seen of the session is what the table says.

use std::time::Duration;

use gatepost_protocol::lifecycle::{TokenEvent, TokenState};

use super::{tests::session, *};

const ENDPOINT: &str = "files";
const HOUR: Duration = Duration::from_secs(3600);

/// One session, and all that it takes to let things happen to it.
struct Life {
    folder: tempfile::TempDir,
    sealer: Arc<Sealer>,
    sessions: Sessions,
    session: Session,
    token: String,
    /// The same session's token as it will be when its time is over.
    lapsed: String,
}

impl Life {
    fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sealer = Arc::new(Sealer::new(&["key"]).unwrap());
        let sessions = Sessions::kept_in(folder.path(), Arc::clone(&sealer), HOUR).unwrap();
        let over = Sessions::new(Arc::clone(&sealer), Duration::ZERO);
        let session = session();
        let begin = |sessions: &Sessions| sessions.begin(&session, ENDPOINT, &Principal::local()).unwrap();
        let (token, lapsed) = (begin(&sessions), begin(&over));
        Self {
            folder,
            sealer,
            sessions,
            session,
            token,
            lapsed,
        }
    }

    fn state(&self) -> TokenState {
        let id = self.session.id;
        let shard = self.sessions.shard(id);
        let (held, ended) = (shard.live.contains_key(&id), shard.ended.contains_key(&id));
        drop(shard);
        let opens = self
            .sessions
            .open(&self.token, ENDPOINT, &Principal::local())
            .is_some();
        match (opens, ended, held) {
            (true, false, true) => TokenState::Held,
            (true, false, false) => TokenState::Sealed,
            (false, true, false) => TokenState::Ended,
            (false, false, false) => TokenState::Expired,
            other => panic!("(opens, ended, held) is {other:?}, which is no state"),
        }
    }

    fn happens(&mut self, event: TokenEvent) {
        let id = self.session.id;
        match event {
            TokenEvent::Changed => self.sessions.with(id, |live| {
                // The first change is a level, and whatever comes then something else.
                let server = Arc::from("crm");
                match live.level {
                    None => live.level = Some(LogLevel::Debug),
                    Some(_) => live.elicitations.insert(&server, "e"),
                }
            }),
            TokenEvent::Restored => self.sessions.with(id, |live| *live = Live::default()),
            TokenEvent::Restarted => {
                let again = Sessions::kept_in(self.folder.path(), Arc::clone(&self.sealer), HOUR);
                self.sessions = again.unwrap();
            }
            TokenEvent::Deleted => drop(self.sessions.end(id)),
            TokenEvent::Lapsed => {
                self.token.clone_from(&self.lapsed);
                self.sessions.shard(id).sweep(Duration::ZERO);
            }
        }
    }
}

#[test]
fn sessions_live_as_their_table_says() {
    let mut ways: Vec<Vec<TokenEvent>> = vec![Vec::new()];
    let mut rows = std::collections::HashSet::new();
    for _ in 0..5 {
        let mut longer = Vec::new();
        for way in &ways {
            let mut state = TokenState::INITIAL;
            for event in way {
                state = state.on(*event).unwrap();
            }
            for event in TokenEvent::ALL {
                let Some(next) = state.on(*event) else { continue };
                let mut life = Life::begin();
                assert_eq!(life.state(), TokenState::INITIAL);
                way.iter().for_each(|event| life.happens(*event));
                assert_eq!(life.state(), state, "after {way:?}");
                life.happens(*event);
                assert_eq!(life.state(), next, "after {way:?} and {event:?}");
                rows.insert((state, *event));
                longer.push([way.as_slice(), &[*event]].concat());
            }
        }
        ways = longer;
    }
    assert_eq!(rows.len(), TokenState::TRANSITIONS.len(), "every row was walked");
}
