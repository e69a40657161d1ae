//! Hearing of changes: the stream a server announces them on, kept open, and the resources that are watched on it.
//!
//! A local process is not started for this, and not kept from its idle stop: it announces while it runs, and counts as
//! changed when it starts again. Only watched resources keep it alive.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use gatepost_protocol::{
    envelope::{Message, Notification, Outcome},
    json,
    method::Method,
    version::{Era, Version},
};

use super::{
    CallError, Cause, backoff,
    change::Change,
    connect::Way,
    facts::Facts,
    http::{Listening, ModernServer},
    incoming::Waiting,
    outgoing::Outgoing,
    pipe::{Pipe, Ticket},
    pool::{Key, Lease, Use},
    server::{Manner, Server, is_refusal},
    session::{Link, Session},
    watched::{Heard, Watch},
};

/// A stream that lived this long was worth opening.
const SETTLED: Duration = Duration::from_secs(10);
/// How often a server without a change stream is looked at.
const QUIET: Duration = Duration::from_secs(60);
/// How often it is looked whether a stored credential is still there.
const LOOKED_AT: Duration = Duration::from_secs(2);
/// How long a server may take to acknowledge a stream before it counts as open without.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(2);

impl Server {
    /// Keeps hearing of changes until the server is stopped.
    pub(crate) async fn watch(&self) {
        let mut stopping = self.stopping();
        // The gate has no business by itself where only callers have credentials.
        let has_business = !self.credentials.are_personal();
        tokio::select! {
            () = self.watch_on(&self.common_watch), if has_business => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    /// Keeps hearing of what is watched with one caller's credential, while that is good and the server is not stopped.
    pub(super) async fn watch_own(&self, watch: &Watch) {
        let Some(presented) = &watch.personal else { return };
        let wanted = async {
            loop {
                let stirred = watch.stirred.notified();
                if !watch.subscriptions.lock().await.is_empty() {
                    return self.watch_on(watch).await;
                }
                stirred.await;
            }
        };
        let taken_back = async {
            while self.credentials.still_has(presented) {
                tokio::time::sleep(LOOKED_AT).await;
            }
        };
        let mut stopping = self.stopping();
        tokio::select! {
            () = wanted => {}
            () = taken_back => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    /// Ends only where a caller's credential is refused.
    async fn watch_on(&self, watch: &Watch) {
        let remote = matches!(self.connector.way, Way::Url(..));
        let mut failures = 0u32;
        let mut lost = false;
        loop {
            let stirred = watch.stirred.notified();
            let began = tokio::time::Instant::now();
            let idle = !remote
                && self.pool.peek(&watch.key()).is_none()
                && watch.subscriptions.lock().await.is_empty();
            if idle {
                stirred.await;
                continue;
            }
            match self.watch_once(watch, lost).await {
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
                Err(error) => {
                    tracing::debug!(server = &**self.name(), %error, "hearing of changes ended");
                    if watch.personal.is_some() && is_refusal(&error) {
                        return;
                    }
                }
            }
            lost = true;
            watch.heard.send_replace(Heard::default());
            failures = if began.elapsed() > SETTLED {
                1
            } else {
                failures.saturating_add(1)
            };
            tokio::time::sleep(backoff::delay(failures).max(Duration::from_millis(100))).await;
        }
    }

    /// Hears until the stream ends, or until what is wanted changes.
    async fn watch_once(&self, watch: &Watch, lost: bool) -> Result<Ended, CallError> {
        let facts = self.facts_of(watch).await?;
        if let Some(manner) = self.manner()
            && let Manner::Modern(server) = &*manner
        {
            return self
                .hear(watch, Line::Http(server), &facts, &mut None, lost)
                .await;
        }
        let mut lease = self
            .lease(&watch.key(), Use::Shared, watch.personal.as_ref())
            .await?;
        // What only listens takes no caller's place.
        lease.set_parked(watch.personal.is_some());
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
                let keep = !watch.subscriptions.lock().await.is_empty()
                    || matches!(self.connector.way, Way::Url(..));
                let mut lease = keep.then_some(lease);
                let pipe = Arc::clone(pipe);
                if facts.era() == Era::Modern {
                    return self.hear(watch, Line::Pipe(pipe), &facts, &mut lease, lost).await;
                }
                // Made before what it guards is read, so that no change falls between.
                let mut stirred = Box::pin(watch.stirred.notified());
                // A legacy server announces on the pipe itself, which reads anyway.
                loop {
                    tokio::select! {
                        () = pipe.closed() => return Err(self.context.error(Cause::Ended("the pipe ended".to_owned()), true)),
                        () = &mut stirred => {
                            stirred = Box::pin(watch.stirred.notified());
                            if lease.is_some() == watch.subscriptions.lock().await.is_empty()
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

    /// Hears of a modern server's changes on a `subscriptions/listen` of the gate's own. When more or less is wanted,
    /// another one is opened before this one is closed, so that nothing is missed between them (`eras.md` 6).
    async fn hear(
        &self,
        watch: &Watch,
        line: Line<'_>,
        facts: &Facts,
        lease: &mut Option<Lease<Session>>,
        lost: bool,
    ) -> Result<Ended, CallError> {
        // Made before what it guards is read, so that no change falls between.
        let mut stirred = Box::pin(watch.stirred.notified());
        let mut wanted = wanted_of(watch).await;
        // A server behind a URL may be asked in vain; a program would complain in its log.
        if matches!(line, Line::Pipe(_)) && wanted.is_empty() && !facts.announces() {
            return Ok(Ended::Quiet);
        }
        let Opening::Open(mut hearing, mut agreed) = self.begin(watch, &line, facts, &wanted).await? else {
            watch.heard.send_replace(Heard {
                asked: wanted,
                granted: Vec::new(),
            });
            return Ok(Ended::Quiet);
        };
        settle(watch, &wanted, agreed.as_ref());
        if lost {
            // Something may have been missed.
            self.announcer.announce(Change::Reconnected);
            for uri in &wanted {
                self.announcer
                    .of(watch.of())
                    .announce(Change::updated(Arc::clone(uri)));
            }
        }
        loop {
            tokio::select! {
                message = hearing.next(&self.context) => match message? {
                    Message::Response(response) => {
                        return match response.outcome() {
                            Outcome::Error { .. } => Ok(Ended::Quiet),
                            // The server ends the stream in order, as for a restart.
                            Outcome::Result(_) => Err(self.stream_ended()),
                        };
                    }
                    Message::Notification(notification) => {
                        agreed = granted_in(&notification).or(agreed);
                        settle(watch, &wanted, agreed.as_ref());
                    }
                    Message::Request(_) => {}
                },
                () = &mut stirred => {
                    stirred = Box::pin(watch.stirred.notified());
                    let now = wanted_of(watch).await;
                    if let Line::Pipe(pipe) = &line
                        && !self.keeps(lease, !now.is_empty(), pipe).await?
                    {
                        return Ok(Ended::Changed);
                    }
                    if now == wanted {
                        // Somebody may have left and come back meanwhile.
                        settle(watch, &wanted, agreed.as_ref());
                        continue;
                    }
                    let mut over = false;
                    let opened = {
                        let mut opening = pin!(self.begin(watch, &line, facts, &now));
                        loop {
                            tokio::select! {
                                biased;
                                opened = &mut opening => break opened?,
                                message = hearing.next(&self.context), if !over => over = is_last(&message),
                            }
                        }
                    };
                    match opened {
                        Opening::Open(next, granted) => {
                            // What the old stream has brought already is not dropped with it.
                            while !over && let Some(message) = hearing.next(&self.context).now_or_never() {
                                over = is_last(&message);
                            }
                            hearing = next;
                            (wanted, agreed) = (now, granted);
                            settle(watch, &wanted, agreed.as_ref());
                        }
                        Opening::Refused if over => return Err(self.stream_ended()),
                        // It goes on telling what it told; whoever waits for more learns that it will not come.
                        Opening::Refused => {
                            watch.heard.send_modify(|heard| heard.asked = now);
                        }
                    }
                }
            }
        }
    }

    /// Asks a modern server for a stream and waits a little for its acknowledgement.
    async fn begin(
        &self,
        watch: &Watch,
        line: &Line<'_>,
        facts: &Facts,
        wanted: &[Arc<str>],
    ) -> Result<Opening, CallError> {
        let request = self.question(Method::SubscriptionsListen, &filter(wanted))?;
        let out = self.owners(watch.personal.as_ref(), &request);
        match self.listen(line, &out, facts.version).await? {
            Some((hearing, first)) => Ok(Opening::Open(hearing, first.as_ref().and_then(granted_in))),
            None => Ok(Opening::Refused),
        }
    }

    /// Opens a stream, and gives with it the first notification if that comes soon; nothing if the server refuses.
    pub(super) async fn listen(
        &self,
        line: &Line<'_>,
        out: &Outgoing<'_>,
        version: Version,
    ) -> Result<Option<(Hearing, Option<Notification>)>, CallError> {
        if matches!(line, Line::Http(_)) {
            // Elsewhere it is the session's, which was noted when it was opened.
            self.credentials
                .note_use(out.personal.as_ref(), out.principal, None);
        }
        let mut hearing = match line {
            Line::Http(server) => match server.listen(out, version).await {
                Ok(listening) => Hearing::Http(Box::new(listening)),
                // It does not offer the stream.
                Err(CallError {
                    cause:
                        Cause::Handshake(_)
                        | Cause::Http {
                            status: 404 | 405, ..
                        },
                    ..
                }) => return Ok(None),
                Err(error) => return Err(error),
            },
            Line::Pipe(pipe) => {
                let ticket = pipe.call(true, |id| out.compose(version, id)).await;
                Hearing::Pipe(ticket.map_err(|fault| self.context.fault(fault, false))?)
            }
        };
        match tokio::time::timeout(ACKNOWLEDGED_WITHIN, hearing.next(&self.context)).await {
            Ok(Ok(Message::Response(response))) => match response.outcome() {
                Outcome::Error { .. } => Ok(None),
                Outcome::Result(_) => Err(self.stream_ended()),
            },
            Ok(Ok(Message::Notification(first))) => Ok(Some((hearing, Some(first)))),
            // It may still come.
            Ok(Ok(Message::Request(_))) | Err(_) => Ok(Some((hearing, None))),
            Ok(Err(error)) => Err(error),
        }
    }

    /// Keeps a process from its idle stop while resources are watched on it. False if it is another one by now.
    async fn keeps(
        &self,
        lease: &mut Option<Lease<Session>>,
        keep: bool,
        pipe: &Arc<Pipe>,
    ) -> Result<bool, CallError> {
        if !keep {
            *lease = None;
        } else if lease.is_none() {
            let fresh = self.lease(&Key::default(), Use::Shared, None).await?;
            let same = matches!(&fresh.session().link, Link::Pipe(other) if Arc::ptr_eq(pipe, other));
            *lease = Some(fresh);
            return Ok(same);
        }
        Ok(true)
    }

    fn stream_ended(&self) -> CallError {
        self.context
            .error(Cause::Ended("it ended the stream".to_owned()), true)
    }

    pub(super) async fn facts_of(&self, watch: &Watch) -> Result<Arc<Facts>, CallError> {
        match &watch.personal {
            None => self.facts().await,
            own => self
                .greet(own.as_ref())
                .await
                .map_err(|error| self.cleaned(error, own.as_ref())),
        }
    }
}

/// The server has agreed to `granted` out of `asked`; `None` while it has said nothing.
fn settle(watch: &Watch, asked: &[Arc<str>], granted: Option<&Vec<Arc<str>>>) {
    if let Some(granted) = granted {
        watch.heard.send_replace(Heard {
            asked: asked.to_vec(),
            granted: granted.clone(),
        });
    }
}

/// The resources to watch now, in order.
pub(super) async fn wanted_of(watch: &Watch) -> Vec<Arc<str>> {
    let mut uris: Vec<_> = watch.subscriptions.lock().await.keys().cloned().collect();
    uris.sort_unstable();
    uris
}

/// Why hearing ended without a fault.
enum Ended {
    /// What is wanted has changed, or the stream ended in order.
    Changed,
    /// The server has no such stream.
    Quiet,
}

/// Where a modern server is asked for a stream.
pub(super) enum Line<'a> {
    Http(&'a ModernServer),
    Pipe(Arc<Pipe>),
}

/// An open stream of a modern server's changes, which are announced as they come.
pub(super) enum Hearing {
    Http(Box<Listening>),
    Pipe(Ticket),
}

/// What became of asking for a stream.
enum Opening {
    /// It is open. What was granted, once that is acknowledged.
    Open(Hearing, Option<Vec<Arc<str>>>),
    /// The server has no such stream.
    Refused,
}

impl Hearing {
    /// What is no change: the acknowledgement, or the response that ends it. Cancel safe.
    pub(super) async fn next(&mut self, context: &Waiting) -> Result<Message, CallError> {
        match self {
            Self::Http(listening) => listening.next().await,
            Self::Pipe(ticket) => ticket.next().await.map_err(|fault| context.fault(fault, true)),
        }
    }
}

impl Drop for Hearing {
    /// Gives the stream up. Over HTTP the connection says so.
    fn drop(&mut self) {
        if let Self::Pipe(ticket) = self
            && !ticket.answered()
        {
            ticket.cancel("nobody listens any more");
        }
    }
}

fn is_last(message: &Result<Message, CallError>) -> bool {
    matches!(message, Err(_) | Ok(Message::Response(_)))
}

/// The URIs in an acknowledgement. Source: 2026-07-28 basic/patterns/subscriptions#Acknowledgment.
fn granted_in(notification: &Notification) -> Option<Vec<Arc<str>>> {
    if notification.known_method() != Some(Method::SubscriptionsAcknowledged) {
        return None;
    }
    let raw = notification.raw();
    let uris = notification
        .param("notifications")
        .and_then(|granted| json::object(raw, granted).ok())
        .and_then(|granted| granted.get(raw, "resourceSubscriptions"));
    let texts = uris
        .into_iter()
        .flat_map(|uris| json::items(raw, uris))
        .filter_map(|uri| json::text(raw, uri));
    Some(texts.map(|uri| Arc::from(&*uri)).collect())
}

/// The `params` of a `subscriptions/listen` for all lists and these resources.
fn filter(uris: &[Arc<str>]) -> Vec<u8> {
    let mut raw =
        br#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true"#
            .to_vec();
    if !uris.is_empty() {
        raw.extend_from_slice(br#","resourceSubscriptions":["#);
        for (place, uri) in uris.iter().enumerate() {
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
