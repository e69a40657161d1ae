//! Tells a connection what has changed: a legacy one by plain notifications, a modern one on its subscription streams.

use std::{
    collections::HashSet,
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

/// A legacy connection's announcements. They end with it.
#[derive(Default)]
pub(super) struct Announcer {
    watched: Arc<Mutex<HashSet<i64>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

// === impl Announcer ===

impl Announcer {
    /// Announces `changes` to `peer` until the connection ends. A second start replaces the first.
    pub(super) fn start(&self, mut changes: Receiver<Change>, peer: Peer<RoleServer>) {
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
        if let Some(earlier) = locked(&self.task).replace(task) {
            earlier.abort();
        }
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
