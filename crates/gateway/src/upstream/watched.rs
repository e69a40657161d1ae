//! The resources that somebody watches on a server. What everybody is let in with is watched by the gate, once for all. What
//! is a caller's own to see is watched with that caller's own credential, on a stream of its own, and only those who came
//! with the same credential hear of it (`eras.md` 6: one per server and credential).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::{sync::Notify, task::AbortHandle};

use super::{
    Asker, CallError, Cause,
    credential::{Fingerprint, Presented},
    pool::Key,
    server::Server,
};

/// Credentials of callers with which one server's resources are watched at once: each costs it a stream.
const MOST_OWN: usize = 1024;
/// And how many of them may be one principal's, whose token is a new one now and then.
const MOST_OF_ONE: usize = 8;

/// What is watched on a server with one credential, and what the server agreed to tell of it.
#[derive(Default)]
pub(super) struct Watch {
    /// What is its watchers' own to present; `None`: they are let in as everybody is.
    pub(super) personal: Option<Arc<Presented>>,
    /// How many watch each resource.
    pub(super) subscriptions: tokio::sync::Mutex<HashMap<Arc<str>, usize>>,
    /// The subscriptions changed, or a session began.
    pub(super) stirred: Notify,
    /// What a modern server has agreed to tell of watched resources.
    pub(super) heard: tokio::sync::watch::Sender<Heard>,
}

/// What of the watched resources a modern server knows, and what it agreed to tell.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) asked: Vec<Arc<str>>,
    pub(super) granted: Vec<Arc<str>>,
}

/// What is watched with one caller's credential; heard for as long as anybody holds it.
pub(super) struct OwnWatch {
    pub(super) watch: Arc<Watch>,
    hearing: AbortHandle,
}

/// The watches with callers' credentials, while there are some.
#[derive(Default)]
pub(super) struct OwnWatches(Mutex<HashMap<Fingerprint, Weak<OwnWatch>>>);

/// A resource that somebody watches; given up when dropped.
pub(crate) struct Watched {
    server: Arc<Server>,
    uri: Arc<str>,
    own: Option<Arc<OwnWatch>>,
    /// The server has been told.
    begun: AtomicBool,
}

// === impl Watch ===

impl Watch {
    /// The session it is watched on, where the server keeps sessions.
    pub(super) fn key(&self) -> Key {
        let owner = self.personal.as_ref().and_then(|own| own.owner.as_ref());
        Key {
            principal: owner.map(|(principal, _)| principal.clone()),
            credential: owner.map(|(_, fingerprint)| *fingerprint),
            ..Key::default()
        }
    }

    /// Whose credential it is watched with; nothing for the gate's own.
    pub(super) fn of(&self) -> Option<Fingerprint> {
        self.personal.as_ref().and_then(|own| own.fingerprint())
    }
}

impl Drop for OwnWatch {
    fn drop(&mut self) {
        self.hearing.abort();
    }
}

// === impl OwnWatches ===

impl OwnWatches {
    /// The one of this session, if it is still held.
    pub(super) fn on(&self, key: &Key) -> Option<Arc<Watch>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(key.credential.as_ref()?)?.upgrade()?;
        (own.watch.key() == *key).then(|| Arc::clone(&own.watch))
    }
}

impl Server {
    /// Prepares to watch a resource for `asker`: the server hears of it with [`Watched::begin`].
    ///
    /// # Errors
    ///
    /// When there is no credential for this caller, or too much is watched with others.
    pub(crate) fn watched(
        self: &Arc<Self>,
        asker: Asker<'_>,
        uri: &Arc<str>,
    ) -> Result<Arc<Watched>, CallError> {
        let personal = self.personal(asker)?;
        Ok(Arc::new(Watched {
            server: Arc::clone(self),
            uri: Arc::clone(uri),
            own: personal.map(|own| self.own_watch(own)).transpose()?,
            begun: AtomicBool::new(false),
        }))
    }

    fn own_watch(self: &Arc<Self>, personal: Arc<Presented>) -> Result<Arc<OwnWatch>, CallError> {
        let mut all = self.own_watches.0.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = Watch {
            personal: Some(personal),
            ..Watch::default()
        };
        let key = watch.key();
        let Some(credential) = key.credential else {
            return Err(self.credentials.nothing_of_the_gates());
        };
        // One that the server has refused since is begun anew.
        let live = all.get(&credential).and_then(Weak::upgrade);
        if let Some(live) = live.filter(|own| !own.hearing.is_finished()) {
            return Ok(live);
        }
        all.retain(|_, own| own.strong_count() > 0);
        let others = all.values().filter_map(Weak::upgrade);
        let of_one = others
            .filter(|own| own.watch.key().principal == key.principal)
            .count();
        if all.len() >= MOST_OWN || of_one >= MOST_OF_ONE {
            let text =
                "its resources are watched with too many credentials already; give up some subscriptions";
            return Err(self.context.error(Cause::Busy(text.to_owned()), true));
        }
        let watch = Arc::new(watch);
        let (server, heard) = (self.me(), Arc::clone(&watch));
        let hearing = tokio::spawn(async move {
            if let Some(server) = server.upgrade() {
                server.watch_own(&heard).await;
            }
        });
        let own = Arc::new(OwnWatch {
            watch,
            hearing: hearing.abort_handle(),
        });
        all.insert(credential, Arc::downgrade(&own));
        Ok(own)
    }
}

// === impl Watched ===

impl Watched {
    /// Tells the server. Returns when it has agreed; given up before, nothing is watched.
    pub(crate) async fn begin(&self) -> Result<(), CallError> {
        self.server.subscribe(self.watch(), &self.uri).await?;
        self.begun.store(true, Relaxed);
        Ok(())
    }

    /// Gives it up now. Dropping does so soon.
    pub(crate) async fn end(&self) {
        if self.begun.swap(false, Relaxed) {
            self.server.unsubscribe(self.watch(), &self.uri).await;
        }
    }

    /// The server that is watched.
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// As its watcher named it.
    pub(crate) fn uri(&self) -> &Arc<str> {
        &self.uri
    }

    /// Whose credential it is watched with; nothing for the gate's own.
    pub(crate) fn of(&self) -> Option<Fingerprint> {
        self.watch().of()
    }

    /// Whether both are watched with one credential, which is still listened with.
    pub(crate) fn is_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.watch(), other.watch())
    }

    fn watch(&self) -> &Arc<Watch> {
        self.own
            .as_ref()
            .map_or(&self.server.common_watch, |own| &own.watch)
    }
}

impl Drop for Watched {
    /// A stream ends by being dropped, wherever its connection broke, and a session by being forgotten; telling the server
    /// takes longer than that.
    fn drop(&mut self) {
        if *self.begun.get_mut()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (server, uri) = (Arc::clone(&self.server), Arc::clone(&self.uri));
            let (watch, own) = (Arc::clone(self.watch()), self.own.take());
            runtime.spawn(async move {
                server.unsubscribe(&watch, &uri).await;
                drop(own);
            });
        }
    }
}
