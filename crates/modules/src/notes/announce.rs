//! Tells a connection what has changed: a legacy one by plain notifications, a modern one on its subscription streams.
//!
//! rmcp calls the handler some time after it has told the client that it is subscribed. What changes in between must not be
//! lost, so the receivers are made before: for the legacy notifications with the connection, for a subscription when its
//! filter is accepted.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use gatepost::rmcp::{
    Peer, RoleServer,
    model::ResourceUpdatedNotificationParam,
    service::{SubscriptionContext, SubscriptionSendError},
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
};

use super::{store::Change, uri};

/// How many notes one connection may watch.
const MAX_WATCHED: usize = 1_000;
/// How many subscriptions of one connection may be about to begin.
const MAX_ACCEPTED: usize = 1_000;

/// A connection's announcements. They end with it.
pub(super) struct Announcer {
    /// For the legacy notifications, until they start.
    early: Mutex<Option<Receiver<Change>>>,
    /// For subscriptions that were accepted and have not begun. Which takes which does not matter: none is younger than
    /// the one that takes it.
    accepted: Mutex<VecDeque<Receiver<Change>>>,
    watched: Arc<Mutex<HashSet<i64>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

// === impl Announcer ===

impl Announcer {
    pub(super) fn new(changes: Receiver<Change>) -> Self {
        Self {
            early: Mutex::new(Some(changes)),
            accepted: Mutex::default(),
            watched: Arc::default(),
            task: Mutex::default(),
        }
    }

    /// Announces changes to `peer` until the connection ends. Only the first start counts.
    pub(super) fn start(&self, peer: Peer<RoleServer>) {
        let Some(mut changes) = locked(&self.early).take() else {
            return;
        };
        let watched = self.watched.clone();
        let task = tokio::spawn(async move {
            loop {
                let told = match changes.recv().await {
                    Ok(change) => {
                        let watches = locked(&watched).contains(&change.id);
                        tell(&peer, change, watches).await
                    }
                    // What was missed is unknown, so the list counts as changed.
                    Err(RecvError::Lagged(_)) => peer.notify_resource_list_changed().await.is_ok(),
                    Err(RecvError::Closed) => return,
                };
                if !told {
                    return;
                }
            }
        });
        *locked(&self.task) = Some(task);
    }

    /// Keeps `changes` for a subscription that is about to begin.
    pub(super) fn accept(&self, changes: Receiver<Change>) {
        let mut accepted = locked(&self.accepted);
        // One is left behind where a subscription was accepted and its connection broke.
        if accepted.len() < MAX_ACCEPTED {
            accepted.push_back(changes);
        }
    }

    /// The changes since a subscription was accepted.
    pub(super) fn accepted(&self) -> Option<Receiver<Change>> {
        locked(&self.accepted).pop_front()
    }

    pub(super) fn watch(&self, id: i64) {
        let mut watched = locked(&self.watched);
        if watched.len() < MAX_WATCHED {
            watched.insert(id);
        }
    }

    pub(super) fn forget(&self, id: i64) {
        locked(&self.watched).remove(&id);
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        if let Some(task) = locked(&self.task).take() {
            task.abort();
        }
    }
}

async fn tell(peer: &Peer<RoleServer>, change: Change, watches: bool) -> bool {
    let listed = !change.listed || peer.notify_resource_list_changed().await.is_ok();
    listed
        && (!watches
            || peer
                .notify_resource_updated(ResourceUpdatedNotificationParam::new(uri(change.id)))
                .await
                .is_ok())
}

/// Announces `changes` on a modern subscription until it is cancelled or its connection ends.
pub(super) async fn until_cancelled(mut changes: Receiver<Change>, context: &SubscriptionContext) {
    let sink = context.sink();
    let accepted = sink.accepted();
    let lists = accepted.resources_list_changed == Some(true);
    let watches = |uri: &String| {
        accepted
            .resource_subscriptions
            .as_ref()
            .is_some_and(|uris| uris.contains(uri))
    };
    loop {
        let sent = tokio::select! {
            () = context.cancelled() => return,
            change = changes.recv() => match change {
                Ok(change) => {
                    let uri = uri(change.id);
                    let mut sent = Ok(());
                    if lists && change.listed {
                        sent = sink.notify_resource_list_changed().await;
                    }
                    if sent.is_ok() && watches(&uri) {
                        sent = sink.notify_resource_updated(uri).await;
                    }
                    sent
                }
                Err(RecvError::Lagged(_)) if lists => sink.notify_resource_list_changed().await,
                Err(RecvError::Lagged(_)) => Ok(()),
                Err(RecvError::Closed) => return,
            },
        };
        match sent {
            Ok(()) | Err(SubscriptionSendError::NotificationNotAccepted(_)) => {}
            Err(_) => return,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
