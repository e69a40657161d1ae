//! What a server announces on its own: its lists changed, a resource changed, it was away and is back, or somebody has done
//! elsewhere what it asked for.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gatepost_protocol::{envelope::Notification, method::Method};
use tokio::{sync::broadcast, time::Instant};

use super::credential::Fingerprint;

/// How long it is remembered that an elicitation is complete, and of how many.
const COMPLETED_FOR: Duration = Duration::from_secs(600);
const MOST_COMPLETED: usize = 256;

/// Something changed on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its tools.
    Tools,
    /// Its prompts.
    Prompts,
    /// Its resources or templates.
    Resources,
    /// A resource, or one below it.
    Updated {
        /// As the server named it.
        uri: Arc<str>,
        /// With whose credential that was heard: nobody else is to know. Nothing for the gate's own.
        of: Option<Fingerprint>,
    },
    /// What it asked for under this `elicitationId`, at a URL, is done.
    /// Source: MCP 2025-11-25, client/elicitation#Completion Notifications for URL Mode Elicitation.
    ElicitationComplete(Arc<str>),
    /// The connection was lost and is back; anything may have changed meanwhile.
    Reconnected,
}

/// Passes on what a server announces. Nobody has to listen.
#[derive(Debug, Clone)]
pub(crate) struct Announcer {
    changes: broadcast::Sender<Change>,
    completed: Arc<Mutex<Completed>>,
    /// With whose credential it hears what it passes on.
    of: Option<Fingerprint>,
}

/// The elicitations that were completed lately, oldest first.
#[derive(Debug, Default)]
struct Completed(VecDeque<(Arc<str>, Instant)>);

impl Change {
    /// A resource changed; who is to hear of it, its announcer knows.
    pub(crate) fn updated(uri: Arc<str>) -> Self {
        Self::Updated { uri, of: None }
    }
}

impl Announcer {
    pub(crate) fn new() -> Self {
        Self {
            changes: broadcast::channel(256).0,
            completed: Arc::default(),
            of: None,
        }
    }

    /// The same for what is heard with somebody's own credential.
    pub(crate) fn of(&self, credential: Option<Fingerprint>) -> Self {
        Self {
            of: credential,
            ..self.clone()
        }
    }

    pub(crate) fn announce(&self, mut change: Change) {
        if let Change::Updated { of, .. } = &mut change {
            *of = self.of;
        }
        if let Change::ElicitationComplete(id) = &change {
            self.completed().note(Arc::clone(id));
        }
        // An error only says that nobody listens now.
        let _ = self.changes.send(change);
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Waits until every one of these elicitations is complete, or was lately; false if that takes longer than `within`.
    pub(crate) async fn completed_all(&self, ids: &[String], within: Duration) -> bool {
        let mut changes = self.listen();
        let all = async {
            while !self.completed().has(ids) {
                // Whatever came, or was missed: the books say what it means.
                if let Err(broadcast::error::RecvError::Closed) = changes.recv().await {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(within, all).await.unwrap_or(false)
    }

    fn completed(&self) -> MutexGuard<'_, Completed> {
        self.completed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Completed {
    fn note(&mut self, id: Arc<str>) {
        self.0
            .retain(|(known, at)| *known != id && at.elapsed() < COMPLETED_FOR);
        if self.0.len() >= MOST_COMPLETED {
            self.0.pop_front();
        }
        self.0.push_back((id, Instant::now()));
    }

    fn has(&self, ids: &[String]) -> bool {
        let lately = |id: &String| {
            let mut all = self.0.iter();
            all.any(|(known, at)| **known == **id && at.elapsed() < COMPLETED_FOR)
        };
        ids.iter().all(lately)
    }
}

/// The change that `notification` announces, if it is that kind.
pub(crate) fn change_of(notification: &Notification) -> Option<Change> {
    Some(match notification.known_method()? {
        Method::ToolsListChanged => Change::Tools,
        Method::PromptsListChanged => Change::Prompts,
        Method::ResourcesListChanged => Change::Resources,
        Method::ResourcesUpdated => Change::updated(notification.param_text("uri")?.into()),
        Method::ElicitationComplete => {
            Change::ElicitationComplete(notification.param_text("elicitationId")?.into())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(id: &str) -> Change {
        Change::ElicitationComplete(id.into())
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_elicitations_learns_when_all_are_complete() {
        let announcer = Announcer::new();
        let ids = ["a".to_owned(), "b".to_owned()];
        announcer.announce(done("a"));
        let completing = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            announcer.announce(Change::Tools);
            announcer.announce(done("b"));
        };
        let began = Instant::now();
        let (all, ()) = tokio::join!(announcer.completed_all(&ids, Duration::from_secs(10)), completing);
        assert!(all);
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        // It is remembered, but not for ever.
        assert!(announcer.completed_all(&ids, Duration::ZERO).await);
        tokio::time::sleep(COMPLETED_FOR).await;
        assert!(!announcer.completed_all(&ids, Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_completions_are_kept_than_there_is_room_for() {
        let announcer = Announcer::new();
        for at in 0..=MOST_COMPLETED {
            announcer.announce(done(&at.to_string()));
        }
        assert_eq!(announcer.completed().0.len(), MOST_COMPLETED);
        assert!(!announcer.completed_all(&["0".to_owned()], Duration::ZERO).await);
        assert!(announcer.completed_all(&["1".to_owned()], Duration::ZERO).await);
    }
}
