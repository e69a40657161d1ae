//! One server behind the gate, whatever its transport and era: finds out how to speak to it, picks the session a call
//! belongs on, heals what may be healed, and tells how it is.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use gatepost_config::{Isolation, ServerKind};
use gatepost_protocol::{
    envelope::{Notification, Outcome},
    error::{HEADER_MISMATCH, UNSUPPORTED_PROTOCOL_VERSION},
    logging::LogLevel,
    version::{Era, Version},
};
use tokio::sync::{Semaphore, broadcast};

use super::{
    Asker, CallError, Cause, Context, awaited,
    change::{Announcer, Change},
    connect::{Connector, Found, Way},
    credential::{Credentials, Presented},
    facts::{Facts, can_be_asked, is_implementation, offered},
    health::{Guard, Health, HealthState, Pulse},
    http::ModernServer,
    incoming::{Incoming, Waiting},
    outgoing::{AsTask, Outgoing},
    pool::{Key, Lease, Pool, Use},
    session::{self, Session},
    watched::{OwnWatches, Watch},
};
use crate::{Module, metrics::ServerMetrics};

/// How much longer a call waits for a place than a start may take.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// A server behind the gate.
pub struct Server {
    me: Weak<Self>,
    name: Arc<str>,
    config: gatepost_config::Server,
    pub(super) context: Waiting,
    pub(super) info: Bytes,
    pub(super) credentials: Credentials,
    pub(super) connector: Arc<Connector>,
    pub(super) pool: Arc<Pool<Session>>,
    /// What it said when it was greeted last.
    facts: ArcSwapOption<Facts>,
    /// How a server behind a URL is spoken to, once that is known.
    manner: ArcSwapOption<Manner>,
    /// One greeting at a time; calls wait for it.
    greeting: tokio::sync::Mutex<()>,
    pub(super) announcer: Announcer,
    concurrency: Option<Arc<Semaphore>>,
    pulse: Arc<Pulse>,
    metrics: ServerMetrics,
    /// What clients offer, in canonical form, so that it is worked out once for each kind of client.
    offers: Mutex<HashMap<(Bytes, Version), Bytes>>,
    /// What is watched as everybody is let in.
    pub(super) common_watch: Arc<Watch>,
    /// What is watched with callers' own credentials.
    pub(super) own_watches: OwnWatches,
    /// A common session has existed before: the next one is a reconnection.
    connected_before: AtomicBool,
    stopping: tokio::sync::watch::Sender<bool>,
}

/// How a server behind a URL is spoken to.
pub(super) enum Manner {
    Modern(ModernServer),
    Legacy,
    OldSse,
}

impl Server {
    /// A server that is not spoken to before it is needed. `module` is there exactly if the configuration names one.
    pub(crate) fn new(
        config: &gatepost_config::Server,
        module: Option<Arc<dyn Module>>,
        shared: &Context,
    ) -> Arc<Self> {
        let name: Arc<str> = config.name.as_str().into();
        let context = Waiting {
            server: Arc::clone(&name),
            silence: config.timeout,
            limit: shared.max_response,
        };
        let announcer = Announcer::new();
        let credentials = Credentials::new(config, &name, shared);
        let way = Connector::way(config, module, shared, &context, &announcer, credentials.common());
        let connector = Arc::new(Connector::new(
            way,
            config,
            context.clone(),
            shared,
            announcer.clone(),
        ));
        // A module costs nothing while it is idle, and its memory may be its point.
        let idle = (!matches!(config.kind, ServerKind::Module { .. })).then_some(config.pool.idle);
        let max = usize::try_from(config.pool.max.get()).unwrap_or(usize::MAX);
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            pool: Pool::new(Arc::clone(&name), max, idle),
            name,
            config: config.clone(),
            context,
            info: shared.info.clone(),
            credentials,
            connector,
            facts: ArcSwapOption::empty(),
            manner: ArcSwapOption::empty(),
            greeting: tokio::sync::Mutex::new(()),
            announcer,
            concurrency: config
                .concurrency
                .map(|most| Arc::new(Semaphore::new(most.get() as usize))),
            pulse: Arc::default(),
            metrics: ServerMetrics::default(),
            offers: Mutex::default(),
            common_watch: Arc::default(),
            own_watches: OwnWatches::default(),
            connected_before: AtomicBool::new(false),
            stopping: tokio::sync::watch::channel(false).0,
        })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn me(&self) -> Weak<Self> {
        Weak::clone(&self.me)
    }

    /// What is counted of its calls.
    pub(crate) fn metrics(&self) -> &ServerMetrics {
        &self.metrics
    }

    /// Its configuration.
    pub fn config(&self) -> &gatepost_config::Server {
        &self.config
    }

    /// What is `asker`'s own to present here; `None`: it is let in as everybody is.
    pub(crate) fn personal(&self, asker: Asker<'_>) -> Result<Option<Arc<Presented>>, CallError> {
        if self.credentials.may_be_personal() {
            self.credentials.resolve(asker)
        } else {
            Ok(None)
        }
    }

    /// Sends a call and gives what comes back as soon as there is something.
    pub(super) async fn send(&self, out: &Outgoing<'_>) -> Result<Incoming, CallError> {
        let permit = match &self.concurrency {
            None => None,
            Some(places) => Some(self.place(places).await?),
        };
        if out.personal.is_none() && self.credentials.are_personal() {
            return Err(self.credentials.nothing_of_the_gates());
        }
        self.credentials
            .note_use(out.personal.as_ref(), out.principal, out.call);
        let guard = self.pulse.begin(permit);
        let mut outcome = self.send_once(out).await;
        if self.must_greet_again(&outcome) {
            self.forget();
            outcome = self.send_again(out).await;
        } else if was_not_processed(&outcome) || out.repeatable && was_lost(&outcome) {
            let again = self.send_again(out).await;
            // A second attempt that did not get as far as the server tells less than the first.
            if was_not_processed(&outcome) || !again.as_ref().is_err_and(|error| error.retry_safe) {
                outcome = again;
            }
        }
        match outcome {
            Ok(incoming) => {
                self.pulse.well();
                Ok(guarded(incoming, guard))
            }
            Err(error) => {
                let error = self.cleaned(error, out.personal.as_ref());
                // What one caller has to present says nothing of the server.
                if out.personal.is_none() || !is_refusal(&error) {
                    self.pulse.ill(&error);
                }
                Err(error)
            }
        }
    }

    /// An error without the secrets that the server was sent.
    pub(super) fn cleaned(&self, error: CallError, personal: Option<&Arc<Presented>>) -> CallError {
        match &self.connector.way {
            Way::Url(endpoint, _) => error.edited(|text| endpoint.cleaned(text, personal)),
            _ => error,
        }
    }

    /// Rare, so it must not make room in every call's future (and on every worker's stack).
    async fn send_again(&self, out: &Outgoing<'_>) -> Result<Incoming, CallError> {
        Box::pin(self.send_once(out)).await
    }

    async fn place(&self, places: &Arc<Semaphore>) -> Result<tokio::sync::OwnedSemaphorePermit, CallError> {
        let busy = |why: &str| self.context.error(Cause::Busy(why.to_owned()), true);
        match tokio::time::timeout(self.context.silence, Arc::clone(places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(self.context.error(Cause::Stopping, true)),
            Err(_) => Err(busy(
                "`concurrency` calls are in flight, and none of them ended in time",
            )),
        }
    }

    /// Whether the answer means that we speak to the server wrongly, and that it did nothing.
    fn must_greet_again(&self, outcome: &Result<Incoming, CallError>) -> bool {
        match outcome {
            Ok(Incoming::Whole(response)) => {
                let modern = self.known().is_some_and(|facts| facts.era() == Era::Modern);
                match response.outcome() {
                    Outcome::Error {
                        code: HEADER_MISMATCH,
                        ..
                    } if modern => {
                        // The headers follow the tool's schema, which must have changed.
                        self.announcer.announce(Change::Tools);
                        true
                    }
                    Outcome::Error {
                        code: UNSUPPORTED_PROTOCOL_VERSION,
                        ..
                    } => modern,
                    _ => false,
                }
            }
            // A modern server has no sessions, so this 404 says that there is no such server any more, or another one.
            Err(CallError {
                cause: Cause::Http { status: 404, .. },
                ..
            }) => {
                matches!(self.manner.load().as_deref(), Some(Manner::Modern(_)))
            }
            _ => false,
        }
    }

    async fn send_once(&self, out: &Outgoing<'_>) -> Result<Incoming, CallError> {
        if *self.stopping.borrow() {
            return Err(self.context.error(Cause::Stopping, true));
        }
        let facts = self.greet(out.personal.as_ref()).await?;
        if let Some(manner) = self.manner.load_full()
            && let Manner::Modern(server) = &*manner
        {
            return server.call(out, facts.version).await;
        }
        let (key, how) = self.key(out, &facts);
        if key.conversation.is_some() && key.credential.is_some() {
            self.part_with_old_credentials(&key)?;
        }
        let first = Box::pin(self.send_on_session(out, &key, how)).await;
        match first {
            Err(error) if matches!(error.cause, Cause::SessionGone) => {
                Box::pin(self.start_anew(error, out, &key, how)).await
            }
            other => other,
        }
    }

    /// A session belongs to one credential, also where it is one client's own. One that comes with another must learn that what
    /// the server held for it is not there any more.
    fn part_with_old_credentials(&self, key: &Key) -> Result<(), CallError> {
        let is_old =
            |other: &Key| other.conversation == key.conversation && other.credential != key.credential;
        match self.pool.peek_any(is_old) {
            None => Ok(()),
            Some(old) => {
                self.pool.discard(&old);
                Err(self.context.error(Cause::SessionGone, true))
            }
        }
    }

    /// The session is gone, and the server did nothing. Where its state is nobody's, the gate starts anew behind the
    /// client's back; a client with a session of its own must learn of it.
    async fn start_anew(
        &self,
        gone: CallError,
        out: &Outgoing<'_>,
        key: &Key,
        how: Use,
    ) -> Result<Incoming, CallError> {
        if key.conversation.is_some() {
            self.pool.forget_lost(key);
            return Err(gone);
        }
        match self.send_on_session(out, key, how).await {
            Err(CallError {
                cause: Cause::SessionGone,
                ..
            }) => {
                let text = "it forgot a session that it had just opened".to_owned();
                Err(self.context.error(Cause::Violation(text), true))
            }
            other => other,
        }
    }

    async fn send_on_session(&self, out: &Outgoing<'_>, key: &Key, how: Use) -> Result<Incoming, CallError> {
        let lease = self.lease(key, how, out.personal.as_ref()).await?;
        let exclusive = how == Use::Exclusive;
        let level = match out.log_level.and_then(LogLevel::parse) {
            None => None,
            Some(level) => {
                let alone = exclusive || key.conversation.is_some();
                Box::pin(self.tell_level(lease.session(), level, alone)).await
            }
        };
        if out.task == AsTask::Param {
            return Box::pin(awaited::call(lease, exclusive, level, out, &self.context)).await;
        }
        session::call(lease, exclusive, level, out, &self.context).await
    }

    /// A session for `key`, whose credential is the fingerprint of `personal`; waits for a free one within the server's
    /// `timeout`, for a starting one within `start_timeout`.
    pub(super) async fn lease(
        &self,
        key: &Key,
        how: Use,
        personal: Option<&Arc<Presented>>,
    ) -> Result<Lease<Session>, CallError> {
        let start = || -> super::pool::Starting<Session> {
            let (server, key, context) = (Weak::clone(&self.me), key.clone(), self.context.clone());
            let personal = personal.cloned();
            Box::pin(async move {
                let gone = || context.error(Cause::Stopping, true);
                server
                    .upgrade()
                    .ok_or_else(gone)?
                    .open(&key, personal.as_ref())
                    .await
            })
        };
        // A start that ends at the last moment is to say itself what was wrong with it.
        let patience = self.context.silence.max(self.config.start_timeout) + LAST_MOMENT;
        match tokio::time::timeout(patience, self.pool.lease(key, how, start)).await {
            Ok(lease) => lease,
            Err(_) => Err(self.context.error(
                Cause::Busy(format!(
                    "all {} places of its pool are taken (`pool.max`)",
                    self.config.pool.max
                )),
                true,
            )),
        }
    }

    async fn open(&self, key: &Key, personal: Option<&Arc<Presented>>) -> Result<Arc<Session>, CallError> {
        let old_sse = matches!(self.manner.load().as_deref(), Some(Manner::OldSse));
        // What is opened is there for other calls too.
        self.credentials.note_use(personal, key.principal.as_ref(), None);
        let session = match self.connector.open(key, personal, self.known(), old_sse).await {
            Ok(session) => session,
            Err(error) => {
                // It no longer takes the handshake it took: perhaps it is another server by now.
                if matches!(error.cause, Cause::Handshake(_)) {
                    self.forget();
                }
                return Err(error);
            }
        };
        self.learned(&session.facts, personal.is_some());
        let watch = if *key == Key::default() {
            if self.connected_before.swap(true, Relaxed) {
                self.announcer.announce(Change::Reconnected);
            }
            Some(Arc::clone(&self.common_watch))
        } else {
            self.own_watches.on(key)
        };
        if let Some(watch) = watch {
            self.replay(&watch, &session).await;
            watch.stirred.notify_waiters();
        }
        Ok(session)
    }

    /// Which session a call belongs on, and whether it needs it for itself.
    pub(super) fn key(&self, out: &Outgoing<'_>, facts: &Facts) -> (Key, Use) {
        let capabilities = match facts.era() {
            // A modern server hears of capabilities with each request.
            Era::Modern => Bytes::new(),
            Era::Legacy => self.offer(out.capabilities, facts.version),
        };
        let Some(principal) = out.principal else {
            return (Key::default(), Use::Shared);
        };
        let isolation = self.config.isolation;
        let credential = out.personal.as_ref().and_then(|own| own.owner.as_ref());
        let personal = self.is_personal(&capabilities) || credential.is_some();
        let conversation = out.conversation.filter(|_| isolation == Isolation::Session);
        let info = introduced(out.info, &capabilities, conversation);
        let how = if !can_be_asked(&capabilities) || conversation.is_some() {
            Use::Shared
        } else if matches!(self.connector.way, Way::Url(..))
            && !matches!(self.manner.load().as_deref(), Some(Manner::OldSse))
            && !self.connector.asks_aside.load(Relaxed)
        {
            // What a server asks over HTTP mostly comes on the call's own stream.
            Use::Preferred
        } else {
            Use::Exclusive
        };
        (
            Key {
                capabilities,
                info,
                // A principal belongs to a tenant, so that both would say the same.
                tenant: (!personal && isolation == Isolation::Tenant)
                    .then(|| principal.tenant().map(Arc::from))
                    .flatten(),
                principal: personal.then(|| principal.clone()),
                credential: credential.map(|(_, fingerprint)| *fingerprint),
                conversation,
            },
            how,
        )
    }

    /// Whether a session with these capabilities is for one principal.
    fn is_personal(&self, capabilities: &Bytes) -> bool {
        !capabilities.is_empty()
            || match self.config.isolation {
                Isolation::Shared | Isolation::Tenant => false,
                Isolation::Principal | Isolation::Session => true,
            }
    }

    fn offer(&self, capabilities: &Bytes, version: Version) -> Bytes {
        if capabilities.len() <= 2 {
            return Bytes::new();
        }
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(offer) = offers.get(&(capabilities.clone(), version)) {
            return offer.clone();
        }
        let offer = offered(capabilities, version);
        // Capabilities are the clients' words, and there may be any number of them.
        if offers.len() >= 256 {
            offers.clear();
        }
        // A copy: the bytes may be a slice of a whole request.
        offers.insert((Bytes::copy_from_slice(capabilities), version), offer.clone());
        offer
    }

    /// Its credentials.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What the server says of itself; greets it if that has not been done.
    pub(crate) async fn facts(&self) -> Result<Arc<Facts>, CallError> {
        let greeted = self.greet(None).await;
        greeted.map_err(|error| {
            let error = self.cleaned(error, None);
            if !self.credentials.are_personal() {
                self.pulse.ill(&error);
            }
            error
        })
    }

    /// What is known of it, without waiting.
    pub(crate) fn known(&self) -> Option<Arc<Facts>> {
        self.facts.load_full()
    }

    /// What it announces from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.announcer.listen()
    }

    /// Waits until the server has said of every one of these elicitations that it is complete, or if it did so within the
    /// last ten minutes; false if that takes longer than `within`.
    pub(crate) async fn elicitation_completed(&self, ids: &[String], within: Duration) -> bool {
        self.announcer.completed_all(ids, within).await
    }

    pub(super) fn manner(&self) -> Option<Arc<Manner>> {
        self.manner.load_full()
    }

    pub(super) async fn greet(&self, personal: Option<&Arc<Presented>>) -> Result<Arc<Facts>, CallError> {
        match self.known() {
            Some(facts) => Ok(facts),
            // Rare and large, so it must not make room in every call's future (and on every worker's stack).
            None => Box::pin(self.greet_first(personal)).await,
        }
    }

    async fn greet_first(&self, personal: Option<&Arc<Presented>>) -> Result<Arc<Facts>, CallError> {
        if personal.is_none() && self.credentials.are_personal() {
            return Err(self.credentials.nothing_of_the_gates());
        }
        let _one_at_a_time = tokio::time::timeout(self.config.start_timeout, self.greeting.lock())
            .await
            .map_err(|_| {
                self.context
                    .error(Cause::Timeout(self.config.start_timeout), true)
            })?;
        if let Some(facts) = self.known() {
            return Ok(facts);
        }
        let Way::Url(endpoint, transport) = &self.connector.way else {
            let lease = self.lease(&Key::default(), Use::Shared, None).await?;
            return Ok(Arc::clone(&lease.session().facts));
        };
        // Whoever comes first greets it; what only its own session is told stays with that.
        let owner = personal.and_then(|own| own.owner.as_ref());
        let key = Key {
            principal: owner.map(|(principal, _)| principal.clone()),
            credential: owner.map(|(_, fingerprint)| *fingerprint),
            ..Key::default()
        };
        // What is opened is there for other calls too.
        self.credentials.note_use(personal, key.principal.as_ref(), None);
        let found = self
            .connector
            .greet_url(&endpoint.presenting(personal), *transport, &key)
            .await?;
        let (manner, facts, session) = match found {
            Found::Modern(facts) => {
                let server = ModernServer::new(endpoint.clone(), self.announcer.clone());
                (Manner::Modern(server), facts, None)
            }
            Found::Legacy(session) => (Manner::Legacy, Arc::clone(&session.facts), Some(session)),
            Found::OldSse(session) => (Manner::OldSse, Arc::clone(&session.facts), Some(session)),
        };
        self.manner.store(Some(Arc::new(manner)));
        self.learned(&facts, personal.is_some());
        if let Some(session) = session {
            if personal.is_none() {
                self.connected_before.store(true, Relaxed);
            }
            self.pool.adopt(key, session);
        }
        self.common_watch.stirred.notify_waiters();
        Ok(facts)
    }

    /// Keeps what the server says of itself; of what it said to one caller only what is the same for all.
    fn learned(&self, facts: &Arc<Facts>, personal: bool) {
        let before = self.facts.load_full();
        let news = match &before {
            None => true,
            Some(before) if personal => before.version != facts.version,
            Some(before) => before != facts,
        };
        if news {
            tracing::info!(target: "gatepost::server", server = &*self.name, version = %facts.version, "greeted");
            self.facts.store(Some(if personal {
                Arc::new(facts.impersonal())
            } else {
                Arc::clone(facts)
            }));
        }
        self.pulse.well();
    }

    /// Drops the verdict: the next call greets the server again.
    pub(super) fn forget(&self) {
        self.manner.store(None);
        self.facts.store(None);
    }

    /// Passes on what a client says without asking, on that client's own session and nowhere else.
    pub(super) async fn tell(&self, out: TellAs<'_>, notification: &Notification) {
        let Some(facts) = self.known().filter(|facts| facts.era() == Era::Legacy) else {
            return;
        };
        let capabilities = self.offer(out.capabilities, facts.version);
        let conversation = out
            .conversation
            .filter(|_| self.config.isolation == Isolation::Session);
        if !self.is_personal(&capabilities) {
            return;
        }
        let key = Key {
            info: introduced(out.info, &capabilities, conversation),
            capabilities,
            tenant: None,
            principal: Some(out.principal.clone()),
            credential: None,
            conversation,
        };
        // Whatever its caller has presented since.
        let is_its = |other: &Key| {
            *other
                == Key {
                    credential: other.credential,
                    ..key.clone()
                }
        };
        if let Some(session) = self.pool.peek_any(is_its)
            && let Err(error) = session.send(notification.raw().clone(), &self.context).await
        {
            tracing::debug!(%error, "a notification was not delivered");
        }
    }

    /// Ends every session: processes get `grace` after their input was closed and again after TERM, HTTP sessions are
    /// deleted. Calls in flight fail.
    pub(crate) async fn stop(&self, grace: Duration) {
        self.stopping.send_replace(true);
        if let Some(places) = &self.concurrency {
            places.close();
        }
        self.common_watch.stirred.notify_waiters();
        self.pool.close(grace).await;
        if let Way::Url(endpoint, _) = &self.connector.way {
            endpoint.client().close_idle();
        }
    }

    pub(super) fn stopping(&self) -> tokio::sync::watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// How it is.
    pub fn health(&self) -> Health {
        let (mut state, reason, last) = self.pulse.read();
        let restarts = match &self.connector.way {
            Way::Process(launcher) => launcher.crashes().failures(),
            _ => 0,
        };
        if state == HealthState::Healthy && restarts > 1 {
            state = HealthState::Degraded;
        }
        let facts = self.known();
        Health {
            state,
            reason,
            era: facts.as_ref().map(|facts| match facts.era() {
                Era::Modern => "modern",
                Era::Legacy => "legacy",
            }),
            version: facts.as_ref().map(|facts| facts.version.as_str()),
            sessions: self.pool.sessions().len(),
            in_flight: self.pulse.in_flight(),
            restarts,
            last_error_seconds_ago: last.as_ref().map(|(_, ago)| ago.as_secs()),
            last_error: last.map(|(text, _)| text),
        }
    }
}

/// Whether the server had ended before it could read the request, as a process does that was killed while it was idle.
fn was_not_processed(outcome: &Result<Incoming, CallError>) -> bool {
    let ended = |error: &CallError| error.retry_safe && matches!(error.cause, Cause::Ended(_));
    outcome.as_ref().err().is_some_and(ended)
}

/// Whether a call was lost on the way, and nobody knows whether the server acted on it: the connection broke, the program
/// ended, something before the server gave up on it. Only what changes nothing is sent again then (`eras.md` 4).
fn was_lost(outcome: &Result<Incoming, CallError>) -> bool {
    matches!(
        outcome,
        Err(CallError {
            cause: Cause::Ended(_)
                | Cause::Http {
                    status: 500..=599,
                    ..
                },
            ..
        })
    )
}

/// Whether a server does not take what it was presented with.
pub(super) fn is_refusal(error: &CallError) -> bool {
    matches!(
        error.cause,
        Cause::Http {
            status: 401 | 403,
            ..
        }
    )
}

/// How a session introduces its client: as itself where the session is a client's own or leased to it, else as the gate
/// (`eras.md` 2).
fn introduced(info: Option<&Bytes>, capabilities: &[u8], conversation: Option<[u8; 16]>) -> Option<Bytes> {
    let own = conversation.is_some() || can_be_asked(capabilities);
    // A copy: the bytes may be a slice of a whole request.
    info.filter(|info| own && is_implementation(info))
        .map(|info| Bytes::copy_from_slice(info))
}

/// Whose notification it is.
pub(super) struct TellAs<'a> {
    pub(super) capabilities: &'a Bytes,
    pub(super) info: Option<&'a Bytes>,
    pub(super) principal: &'a gatepost_policy::Principal,
    pub(super) conversation: Option<[u8; 16]>,
}

/// Ties the call's place to what is still to come of it.
fn guarded(incoming: Incoming, guard: Guard) -> Incoming {
    match incoming {
        Incoming::Whole(response) => Incoming::Whole(response),
        Incoming::Partial(partial) => Incoming::Partial(super::incoming::Partial {
            guard: Some(guard),
            ..partial
        }),
        Incoming::Events(mut events) => {
            events.guard = Some(guard);
            Incoming::Events(events)
        }
    }
}
