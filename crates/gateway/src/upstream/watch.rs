//! Hearing of changes: the stream a server announces them on, kept open, and the resources that are watched on it.
//!
//! A local process is not started for this, and not kept from its idle stop: it announces while it runs, and counts as
//! changed when it starts again. Only watched resources keep it alive.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gatepost_protocol::{
    envelope::{Message, Outcome},
    json,
    method::Method,
    version::Era,
};

use super::{
    CallError, Cause, backoff,
    change::Change,
    connect::Way,
    incoming::response_of,
    pool::{Key, Use},
    server::{Manner, Server},
    session::{self, Link, Session},
};

/// A stream that lived this long was worth opening.
const SETTLED: Duration = Duration::from_secs(10);
/// How often a server without a change stream is looked at.
const QUIET: Duration = Duration::from_secs(60);

impl Server {
    /// Keeps hearing of changes until the server is stopped.
    pub(crate) async fn watch(&self) {
        let mut stopping = self.stopping();
        tokio::select! {
            () = self.watch_on() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn watch_on(&self) {
        let remote = matches!(self.connector.way, Way::Url(..));
        let mut failures = 0u32;
        let mut lost = false;
        loop {
            let stirred = self.stirred.notified();
            let began = tokio::time::Instant::now();
            let idle = !remote
                && self.pool.peek(&Key::default()).is_none()
                && self.subscriptions.lock().await.is_empty();
            if idle {
                stirred.await;
                continue;
            }
            match self.watch_once(lost).await {
                Ok(Ended::Changed) => {
                    failures = 0;
                    lost = false;
                    continue;
                }
                Ok(Ended::Quiet) => {
                    tokio::select! {
                        () = stirred => {}
                        () = tokio::time::sleep(QUIET) => {}
                    }
                    failures = 0;
                    lost = false;
                    continue;
                }
                Err(error) => tracing::debug!(server = &**self.name(), %error, "hearing of changes ended"),
            }
            lost = true;
            failures = if began.elapsed() > SETTLED {
                1
            } else {
                failures.saturating_add(1)
            };
            tokio::time::sleep(backoff::delay(failures).max(Duration::from_millis(100))).await;
        }
    }

    /// Hears until the stream ends, or until what is wanted changes.
    async fn watch_once(&self, lost: bool) -> Result<Ended, CallError> {
        let facts = self.facts().await?;
        if let Some(manner) = self.manner()
            && let Manner::Modern(server) = &*manner
        {
            return self.listen_over_http(server, facts.version, lost).await;
        }
        let lease = self.lease(&Key::default(), Use::Shared).await?;
        let session = Arc::clone(lease.session());
        match &session.link {
            Link::Http(http) => {
                let mut last_id = None;
                // The lease keeps the session, and with it the stream, from being idle.
                if http.listen(&mut last_id).await? {
                    Ok(Ended::Changed)
                } else {
                    Ok(Ended::Quiet)
                }
            }
            Link::Pipe(pipe) => {
                let keep =
                    !self.subscriptions.lock().await.is_empty() || matches!(self.connector.way, Way::Url(..));
                let lease = keep.then_some(lease);
                let pipe = Arc::clone(pipe);
                // Made before what it guards is read, so that no change falls between.
                let mut stirred = Box::pin(self.stirred.notified());
                if facts.era() == Era::Modern {
                    let filter = self.filter().await;
                    let request = self.question(Method::SubscriptionsListen, &filter)?;
                    let out = self.own(&request);
                    let ticket = pipe.call(true, |id| out.compose(facts.version, id)).await;
                    let mut ticket = ticket.map_err(|fault| self.context.fault(fault, false))?;
                    let outcome = loop {
                        tokio::select! {
                            message = ticket.next() => match message {
                                Ok(Message::Response(response)) if response.result().is_none() => break Ended::Quiet,
                                Ok(Message::Response(_)) => break Ended::Changed,
                                Ok(_) => {}
                                Err(fault) => return Err(self.context.fault(fault, true)),
                            },
                            () = &mut stirred => {
                                stirred = Box::pin(self.stirred.notified());
                                if self.filter().await != filter {
                                    ticket.cancel("another filter");
                                    break Ended::Changed;
                                }
                            }
                        }
                    };
                    drop(lease);
                    return Ok(outcome);
                }
                // A legacy server announces on the pipe itself, which reads anyway.
                loop {
                    tokio::select! {
                        () = pipe.closed() => return Err(self.context.error(Cause::Ended("the pipe ended".to_owned()), true)),
                        () = &mut stirred => {
                            stirred = Box::pin(self.stirred.notified());
                            if lease.is_some() == self.subscriptions.lock().await.is_empty()
                                && !matches!(self.connector.way, Way::Url(..))
                            {
                                return Ok(Ended::Changed);
                            }
                        }
                    }
                }
            }
        }
    }

    async fn listen_over_http(
        &self,
        server: &super::http::ModernServer,
        version: gatepost_protocol::version::Version,
        lost: bool,
    ) -> Result<Ended, CallError> {
        // Made before what it guards is read, so that no change falls between.
        let mut stirred = Box::pin(self.stirred.notified());
        let filter = self.filter().await;
        let request = self.question(Method::SubscriptionsListen, &filter)?;
        let out = self.own(&request);
        let mut listening = match server.listen(&out, version).await {
            Ok(listening) => listening,
            // It does not offer the stream.
            Err(CallError {
                cause:
                    Cause::Handshake(_)
                    | Cause::Http {
                        status: 404 | 405, ..
                    },
                ..
            }) => {
                return Ok(Ended::Quiet);
            }
            Err(error) => return Err(error),
        };
        if lost {
            // Something may have been missed.
            self.announcer.announce(Change::Reconnected);
            for uri in self.subscriptions.lock().await.keys() {
                self.announcer.announce(Change::Updated(Arc::clone(uri)));
            }
        }
        loop {
            tokio::select! {
                message = listening.next() => match message? {
                    Message::Response(response) => {
                        return match response.outcome() {
                            Outcome::Error { .. } => Ok(Ended::Quiet),
                            // The server ends the stream in order, as for a restart.
                            Outcome::Result(_) => Err(self.context.error(Cause::Ended("it ended the stream".to_owned()), true)),
                        };
                    }
                    Message::Notification(_) | Message::Request(_) => {}
                },
                () = &mut stirred => {
                    stirred = Box::pin(self.stirred.notified());
                    if self.filter().await != filter {
                        return Ok(Ended::Changed);
                    }
                }
            }
        }
    }

    /// The `params` of a `subscriptions/listen` for all that is wanted now.
    async fn filter(&self) -> Vec<u8> {
        let subscriptions = self.subscriptions.lock().await;
        let mut uris: Vec<_> = subscriptions.keys().collect();
        uris.sort_unstable();
        let mut raw =
            br#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true"#.to_vec();
        if !uris.is_empty() {
            raw.extend_from_slice(br#","resourceSubscriptions":["#);
            for (place, uri) in uris.into_iter().enumerate() {
                if place > 0 {
                    raw.push(b',');
                }
                json::quote_into(&mut raw, uri);
            }
            raw.push(b']');
        }
        raw.extend_from_slice(b"}}");
        raw
    }

    /// Watches a resource. Counted: the server hears of the first watcher and of the last that leaves.
    pub(crate) async fn subscribe(&self, uri: &str) -> Result<(), CallError> {
        let facts = self.facts().await?;
        let mut subscriptions = self.subscriptions.lock().await;
        if let Some(count) = subscriptions.get_mut(uri) {
            *count += 1;
            return Ok(());
        }
        if facts.era() == Era::Legacy {
            self.tell_subscription(Method::ResourcesSubscribe, uri).await?;
        }
        subscriptions.insert(uri.into(), 1);
        drop(subscriptions);
        self.stirred.notify_waiters();
        Ok(())
    }

    /// One watcher less.
    pub(crate) async fn unsubscribe(&self, uri: &str) {
        let mut subscriptions = self.subscriptions.lock().await;
        let Some(count) = subscriptions.get_mut(uri) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        subscriptions.remove(uri);
        let legacy = self.known().is_some_and(|facts| facts.era() == Era::Legacy);
        // A process that is not running has nothing to forget.
        if legacy
            && self.pool.peek(&Key::default()).is_some()
            && let Err(error) = self.tell_subscription(Method::ResourcesUnsubscribe, uri).await
        {
            tracing::debug!(%error, "unsubscribing");
        }
        drop(subscriptions);
        self.stirred.notify_waiters();
    }

    async fn tell_subscription(&self, method: Method, uri: &str) -> Result<(), CallError> {
        let request = self.question(method, &uri_params(uri))?;
        let out = self.own(&request);
        let response = response_of(self.send(&out).await?).await?;
        match response.error_message() {
            None => Ok(()),
            Some(text) => Err(self.context.error(
                Cause::Violation(format!("it refused `{}`: {text}", method.name())),
                true,
            )),
        }
    }

    /// Tells a new common session what is watched.
    pub(super) async fn replay(&self, session: &Arc<Session>) {
        if session.facts.era() != Era::Legacy {
            return;
        }
        // Not waiting: whoever subscribes holds the lock while it waits for this very session, and subscribes on it.
        let Ok(subscriptions) = self.subscriptions.try_lock() else {
            return;
        };
        let uris: Vec<Arc<str>> = subscriptions.keys().cloned().collect();
        drop(subscriptions);
        for uri in uris {
            let Ok(request) = self.question(Method::ResourcesSubscribe, &uri_params(&uri)) else {
                continue;
            };
            let replayed = session::ask(session, &self.own(&request), &self.context).await;
            match replayed {
                Ok(()) => self.announcer.announce(Change::Updated(uri)),
                Err(error) => tracing::debug!(%error, "subscribing again"),
            }
        }
    }
}

/// Why hearing ended without a fault.
enum Ended {
    /// What is wanted has changed, or the stream ended in order.
    Changed,
    /// The server has no such stream.
    Quiet,
}

fn uri_params(uri: &str) -> Bytes {
    let mut raw = br#"{"uri":"#.to_vec();
    json::quote_into(&mut raw, uri);
    raw.push(b'}');
    raw.into()
}
