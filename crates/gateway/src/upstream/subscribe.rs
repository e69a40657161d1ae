//! Subscribing to resources. Counted: a server hears of the first watcher and of the last that leaves, and of all that is
//! watched when its session is a new one.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use gatepost_protocol::{json, method::Method, version::Era};

use super::{
    CallError, Cause,
    change::Change,
    incoming::response_of,
    server::Server,
    session::{self, Session},
    watch::wanted_of,
    watched::Watch,
};

impl Server {
    /// Watches a resource. Returns when the server has agreed; given up before, nothing is watched.
    pub(super) async fn subscribe(&self, watch: &Arc<Watch>, uri: &str) -> Result<(), CallError> {
        let facts = self.facts_of(watch).await?;
        let mut subscriptions = watch.subscriptions.lock().await;
        if facts.era() == Era::Legacy && !subscriptions.contains_key(uri) {
            self.tell_subscription(watch, Method::ResourcesSubscribe, uri)
                .await?;
        }
        let count = subscriptions.entry(uri.into()).or_insert(0);
        *count += 1;
        let first = *count == 1;
        drop(subscriptions);
        let mut undo = Undo(Some((self.me(), Arc::clone(watch), uri.into())));
        // Of an earlier filter than the one that is asked for now.
        let mut heard = watch.heard.subscribe();
        if first {
            watch.stirred.notify_waiters();
        }
        if facts.era() == Era::Modern {
            let about = |uris: &[Arc<str>]| uris.iter().any(|other| **other == *uri);
            let settled = self.context.within(heard.wait_for(|heard| about(&heard.asked)));
            // The sender lives as long as `self`.
            let granted = settled.await?.is_ok_and(|heard| about(&heard.granted));
            if !granted {
                let text = format!("it does not tell of changes of `{uri}`");
                return Err(self.context.error(Cause::NotOffered(text), true));
            }
        }
        undo.0 = None;
        Ok(())
    }

    /// One watcher less.
    pub(super) async fn unsubscribe(&self, watch: &Watch, uri: &str) {
        let mut subscriptions = watch.subscriptions.lock().await;
        let Some(count) = subscriptions.get_mut(uri) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        subscriptions.remove(uri);
        // Whoever comes back must wait until the server knows of it again.
        watch
            .heard
            .send_modify(|heard| heard.asked.retain(|other| **other != *uri));
        let legacy = self.known().is_some_and(|facts| facts.era() == Era::Legacy);
        // A process that is not running has nothing to forget.
        if legacy
            && self.pool.peek(&watch.key()).is_some()
            && let Err(error) = self
                .tell_subscription(watch, Method::ResourcesUnsubscribe, uri)
                .await
        {
            tracing::debug!(%error, "unsubscribing");
        }
        // Where nothing is left to watch with a caller's credential, nothing is asked for with it either.
        let stirs = watch.personal.is_none() || !subscriptions.is_empty();
        drop(subscriptions);
        if stirs {
            watch.stirred.notify_waiters();
        }
    }

    async fn tell_subscription(&self, watch: &Watch, method: Method, uri: &str) -> Result<(), CallError> {
        let request = self.question(method, &uri_params(uri))?;
        let out = self.owners(watch.personal.as_ref(), &request);
        let response = response_of(self.send(&out).await?).await?;
        match response.error_message() {
            None => Ok(()),
            Some(text) => Err(self.context.error(
                Cause::NotOffered(format!("it refused `{}`: {text}", method.name())),
                true,
            )),
        }
    }

    /// Tells a new session what is watched on it.
    pub(super) async fn replay(&self, watch: &Arc<Watch>, session: &Arc<Session>) {
        if session.facts.era() != Era::Legacy {
            return;
        }
        match watch.subscriptions.try_lock() {
            Ok(subscriptions) => {
                let uris = subscriptions.keys().cloned().collect();
                drop(subscriptions);
                self.replay_all(watch, session, uris).await;
            }
            // Not waiting here: whoever subscribes holds the lock while it waits for this very session.
            Err(_) => {
                let (server, watch, session) = (self.me(), Arc::clone(watch), Arc::clone(session));
                tokio::spawn(async move {
                    let Some(server) = server.upgrade() else { return };
                    let uris = wanted_of(&watch).await;
                    server.replay_all(&watch, &session, uris).await;
                });
            }
        }
    }

    async fn replay_all(&self, watch: &Watch, session: &Arc<Session>, uris: Vec<Arc<str>>) {
        for uri in uris {
            let Ok(request) = self.question(Method::ResourcesSubscribe, &uri_params(&uri)) else {
                continue;
            };
            let out = self.owners(watch.personal.as_ref(), &request);
            match session::ask(session, &out, &self.context).await {
                Ok(()) => self.announcer.of(watch.of()).announce(Change::updated(uri)),
                Err(error) => tracing::debug!(%error, "subscribing again"),
            }
        }
    }
}

/// Unsubscribes unless it is taken away: a subscriber that gave up must leave no count behind.
struct Undo(Option<(Weak<Server>, Arc<Watch>, Arc<str>)>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some((server, watch, uri)) = self.0.take()
            && let Some(server) = server.upgrade()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { server.unsubscribe(&watch, &uri).await });
        }
    }
}

fn uri_params(uri: &str) -> Bytes {
    let mut raw = br#"{"uri":"#.to_vec();
    json::quote_into(&mut raw, uri);
    raw.push(b'}');
    raw.into()
}
