//! One server behind the gate, whatever its transport and era: finds out how to speak to it, picks the session a call
//! belongs on, heals what may be healed, and tells how it is.

mod known;
mod lease;
mod send;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use gatepost_config::ServerKind;
use gatepost_protocol::version::{Era, Version};
use tokio::sync::{Semaphore, broadcast};

use super::{
    Asker, CallError, Context,
    change::{Announcer, Change},
    connect::{Connector, Way},
    credential::{Credentials, Presented},
    facts::Facts,
    health::{Health, HealthState, Pulse},
    http::ModernServer,
    incoming::Waiting,
    pool::Pool,
    session::Session,
    watched::{OwnWatches, Watch},
};
use crate::{Module, metrics::ServerMetrics};
pub(crate) use lease::TellAs;
pub(crate) use send::is_refusal;

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

    /// An error without the secrets that the server was sent.
    pub(super) fn cleaned(&self, error: CallError, personal: Option<&Arc<Presented>>) -> CallError {
        match &self.connector.way {
            Way::Url(endpoint, _) => error.edited(|text| endpoint.cleaned(text, personal)),
            _ => error,
        }
    }

    /// Its credentials.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
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
