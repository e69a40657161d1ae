//! The gate itself: what lives as long as the process does, and the configuration it currently follows.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use gatepost_audit::{Event, Log, Sinks};
use gatepost_config::{Config, Credential, Listen};
use gatepost_identity::{Clock, Identity, IdentityError, Resource};
use gatepost_policy::{Caller, Facts, RuleProblem, RuleSettings, Rules};
use gatepost_store::{Keeper, KeyRing, Store, StoreError, sealing_secrets};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    admit::Occupancy,
    bridge::{parking::Parking, postponed::Postponed, spent::Spent},
    catalog::{Catalog, EndpointName, View},
    conversation::Conversations,
    limits::{Limits, SystemClock},
    metrics::Metrics,
    module::Module,
    record::Uses,
    seal::{SealError, Sealer, random},
    session::Sessions,
    stored::Stored,
    transport::http::{old_sse::OldStreams, resume::Resumable},
    upstream::{Asker, Clients, Context, ContextError, Server},
};

/// How long a gate that stops waits for sinks to take its last records. What they have not taken is given to them after the
/// next start.
const LAST_RECORDS_WITHIN: Duration = Duration::from_secs(5);

/// Where the gate is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not listening yet.
    Starting,
    /// Taking calls.
    Ready,
    /// Told to stop: finishing what it has.
    Draining,
}

/// Everything that outlives a configuration.
pub struct Gate {
    snapshot: ArcSwap<Snapshot>,
    pub(crate) sessions: Sessions,
    pub(crate) conversations: Arc<Conversations>,
    pub(crate) old_streams: OldStreams,
    pub(crate) resumable: Arc<Resumable>,
    pub(crate) parking: Parking,
    pub(crate) spent: Spent,
    pub(crate) postponed: Postponed,
    pub(crate) metrics: Metrics,
    pub(crate) occupancy: Arc<Occupancy>,
    pub(crate) limits: Arc<Limits>,
    /// `None`: nothing is recorded.
    pub(crate) audit: Option<Log>,
    /// Where else records go, while the gate is open.
    pub(crate) sinks: Mutex<Option<Sinks>>,
    /// Whoever needs no credential: everybody while no identity is configured, and always this process's own side.
    pub(crate) local: Arc<Caller>,
    /// What everybody else may do.
    pub(crate) rules: Arc<Rules>,
    /// Who everybody else is; `None` where nobody has to say.
    pub(crate) identity: Option<Identity<Arc<Caller>>>,
    keys: Option<Arc<KeyRing>>,
    keeper: Mutex<Option<Keeper>>,
    /// What saves quotas, until it is told that nothing is counted any more.
    counting: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    store: Option<Store>,
    /// The tokens of principals in it, where servers want them.
    stored: Option<Arc<Stored>>,
    /// Keeps the request ids of two processes apart.
    pub(crate) id_seed: u64,
    phase: AtomicU8,
    stopping: watch::Sender<bool>,
}

/// One configuration, compiled. Immutable: a new configuration makes a new snapshot, and a request keeps the one it
/// began with.
pub struct Snapshot {
    pub(crate) config: Config,
    pub(crate) servers: Vec<Arc<Server>>,
    pub(crate) catalog: Arc<Catalog>,
    endpoints: HashMap<Box<str>, Arc<Endpoint>>,
}

/// One URL: `/mcp` or `/mcp/<name>`.
pub(crate) struct Endpoint {
    pub(crate) name: EndpointName,
    /// The path's last part; empty for `/mcp`.
    pub(crate) path: Box<str>,
    pub(crate) catalog: Arc<Catalog>,
    /// As clients and issuers of tokens know it.
    pub(crate) resource: Resource,
}

/// Where modules come from: the binary knows them, the gateway does not.
pub type Modules<'a> =
    dyn Fn(&str, &serde_json::Map<String, serde_json::Value>) -> Result<Arc<dyn Module>, String> + 'a;

/// Why the gate could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Keys.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// TLS roots and the like.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The data directory.
    #[error("ended sessions cannot be kept in {path}: {source}; give the gate's user access to `data_dir`")]
    Sessions {
        /// The data directory.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Roles and bindings that do not fit together.
    #[error(transparent)]
    Rules(#[from] RuleProblem),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] gatepost_audit::OpenError),
    /// The store in the data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Who is to be believed.
    #[error("identity: {0}")]
    Identity(#[from] IdentityError),
    /// A module refused its options.
    #[error("servers.{server}: {reason}")]
    Module {
        /// The server's name.
        server: String,
        /// In the module's words.
        reason: String,
    },
}

impl Gate {
    /// Compiles a configuration. Starts nothing: see [`Gate::open`]. `shared` is the folder of what several gates may keep
    /// together, mostly `data_dir`: API keys, the tokens of principals, what is used of quotas.
    pub fn build(
        config: Config,
        shared: &Path,
        modules: &Modules<'_>,
        supervisor: gatepost_process::Supervisor,
    ) -> Result<Arc<Self>, BuildError> {
        let sealer = Arc::new(sealer(&config)?);
        let conversations = Arc::new(Conversations::new()?);
        let clients: Arc<dyn Clients> = Arc::<Conversations>::clone(&conversations);
        let store = needs_store(&config)
            .then(|| Store::open(shared, &config.sealing_keys))
            .transpose()?;
        let mut context = Context::new(&config, supervisor, clients)?;
        let audit = config
            .audit
            .as_ref()
            .map(|audit| Log::open(gatepost_audit::Settings::new(&config.data_dir, audit)))
            .transpose()?;
        if let Some(log) = &audit {
            context.uses = Some(Arc::new(Uses(log.clone())));
        }
        let mut stored = None;
        if let Some(store) = &store {
            let tokens = Stored::new(Arc::clone(&store.credentials));
            context.stored = Some(Arc::<Stored>::clone(&tokens));
            stored = config.servers.iter().any(has_own_tokens).then_some(tokens);
        }
        let mut servers = Vec::with_capacity(config.servers.len());
        for server in &config.servers {
            let module = match &server.kind {
                gatepost_config::ServerKind::Module { module, options } => {
                    let failed = |reason| BuildError::Module {
                        server: server.name.clone(),
                        reason,
                    };
                    Some(modules(module, options.expose()).map_err(failed)?)
                }
                _ => None,
            };
            servers.push(Server::new(server, module, &context));
        }
        let catalog = Catalog::new(servers.clone(), &config, Arc::clone(&sealer));
        let sessions =
            Sessions::kept_in(&config.data_dir, sealer, config.session_expiry).map_err(|source| {
                BuildError::Sessions {
                    path: config.data_dir.display().to_string(),
                    source,
                }
            })?;
        let metrics = Metrics::default();
        let limits = Arc::new(Limits::new(
            &config.limits,
            &config.quotas,
            Arc::new(SystemClock::new()),
        ));
        if let Some(store) = &store {
            limits.load(&*store.counters)?;
        }
        let rules = Arc::new(Rules::compile(config.rule_settings())?);
        let keys = match &store {
            Some(store) if config.identity.as_ref().is_some_and(|identity| identity.api_keys) => {
                Some(Arc::new(KeyRing::load(Arc::clone(&store.keys))?))
            }
            _ => None,
        };
        let of_callers = Arc::clone(&rules);
        let identity = match &config.identity {
            None => None,
            Some(settings) => Some(Identity::new(
                settings,
                keys.clone(),
                Clock::system(),
                move |facts| Arc::new(of_callers.caller(facts)),
            )?),
        };
        let local = Arc::new(own_side(&config)?.caller(Facts::local()));
        let snapshot = {
            let endpoints = catalog.endpoints().map(|name| {
                let path: Box<str> = match &name {
                    EndpointName::All => "".into(),
                    EndpointName::Named(name) => (**name).into(),
                };
                let endpoint = Endpoint {
                    name,
                    path: path.clone(),
                    catalog: Arc::clone(&catalog),
                    resource: resource(&config, &url_path(&path)),
                };
                (path, Arc::new(endpoint))
            });
            Arc::new(Snapshot {
                endpoints: endpoints.collect(),
                config,
                servers,
                catalog: Arc::clone(&catalog),
            })
        };
        Ok(Arc::new(Self {
            snapshot: ArcSwap::new(snapshot),
            sessions,
            conversations,
            old_streams: OldStreams::default(),
            resumable: Arc::new(Resumable::new()?),
            parking: Parking::new()?,
            spent: Spent::default(),
            postponed: Postponed::default(),
            metrics,
            occupancy: Arc::default(),
            limits,
            audit,
            sinks: Mutex::default(),
            local,
            rules,
            identity,
            keys,
            keeper: Mutex::default(),
            counting: Mutex::default(),
            store,
            stored,
            id_seed: random::<8>().map(u64::from_be_bytes)?,
            phase: AtomicU8::new(Phase::Starting as u8),
            stopping: watch::Sender::new(false),
        }))
    }

    /// Begins to take calls: catalogs are fetched in the background from now on.
    pub fn open(&self) {
        if let Some(log) = &self.audit {
            let started = log.event(&Event::Started {
                version: env!("CARGO_PKG_VERSION"),
                configuration: None,
            });
            if let Err(unwritten) = started {
                tracing::error!(target: "gatepost::audit", %unwritten, "the start could not be recorded");
            }
            match Sinks::start(log) {
                Ok(sinks) => *lock(&self.sinks) = Some(sinks),
                Err(error) => {
                    tracing::error!(target: "gatepost::audit", %error, "the sinks of the audit log could not be started; what is recorded stays in the log until they are");
                }
            }
        }
        self.snapshot.load().catalog.start();
        if let Some(identity) = &self.identity {
            identity.begin();
        }
        if let Some(keys) = &self.keys {
            match keys.keep() {
                Ok(keeper) => *lock(&self.keeper) = Some(keeper),
                Err(error) => {
                    tracing::error!(%error, "API keys that are revoked from now on stay good until a restart");
                }
            }
        }
        if let Some(stored) = &self.stored {
            stored.begin();
        }
        if let Some(store) = &self.store {
            let (closing, closed) = oneshot::channel::<()>();
            let stop = async move {
                // Either way nothing is counted any more.
                let _ = closed.await;
            };
            let keeping = tokio::spawn(Arc::clone(&self.limits).keep(Arc::clone(&store.counters), stop));
            *lock(&self.counting) = Some((closing, keeping));
        }
        self.phase.store(Phase::Ready as u8, Relaxed);
    }

    /// What an endpoint at `url_path` is to clients and issuers, whether there is one or not.
    pub(crate) fn resource(&self, url_path: &str) -> Resource {
        resource(&self.snapshot.load().config, url_path)
    }

    /// How the sinks of the audit log are.
    pub(crate) fn sink_health(&self) -> Vec<gatepost_audit::SinkHealth> {
        lock(&self.sinks).as_ref().map(Sinks::health).unwrap_or_default()
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The endpoint at `/mcp` (empty path) or `/mcp/<path>`.
    pub(crate) fn endpoint(&self, path: &str) -> Option<Arc<Endpoint>> {
        self.snapshot.load().endpoints.get(path).cloned()
    }

    /// Where the gate is in its life.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// Tells everybody to finish: readiness goes off, listeners close, long streams end gracefully.
    pub fn drain(&self) {
        self.phase.store(Phase::Draining as u8, Relaxed);
        self.stopping.send_replace(true);
    }

    /// Turns true once the gate drains.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Waits until the gate drains.
    pub(crate) async fn until_stopping(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.stopping().wait_for(|stopping| *stopping).await;
    }

    /// How many calls are in flight.
    pub fn in_flight(&self) -> usize {
        self.occupancy.now()
    }

    /// Ends every server: pipes are closed, processes get `grace` and are then killed, sessions are deleted.
    pub async fn close(&self, grace: Duration) {
        let snapshot = self.snapshot();
        snapshot.catalog.stop();
        let stops = snapshot.servers.iter().map(|server| server.stop(grace));
        futures_util::future::join_all(stops).await;
        let keeper = lock(&self.keeper).take();
        if let Some(keeper) = keeper {
            // It waits for the disk as well, and as long as calls end a key that is revoked is to be noticed.
            let _ = tokio::task::spawn_blocking(move || keeper.close()).await;
        }
        let counting = lock(&self.counting).take();
        if let Some((closing, keeping)) = counting {
            // What was counted until now is saved, and only then is it over.
            drop(closing);
            let _ = keeping.await;
        }
        if let Some(log) = self.audit.clone() {
            // It waits for the disk. Nothing can be done about a panic in it; what it had written is there.
            let _ = tokio::task::spawn_blocking(move || log.close()).await;
        }
        let sinks = lock(&self.sinks).take();
        if let Some(sinks) = sinks {
            sinks.stop(LAST_RECORDS_WITHIN).await;
        }
    }
}

impl Snapshot {
    /// The configuration as it was checked.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The servers, in the configuration's order.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }
}

impl Endpoint {
    /// The lists as they are now for this caller; nothing once the endpoint is gone.
    pub(crate) fn view(&self, asker: Asker<'_>) -> Option<Arc<View>> {
        self.catalog.view_for(&self.name, asker)
    }

    /// The same for those who may see everything.
    pub(crate) fn everything(&self) -> Option<Arc<View>> {
        self.catalog.view(&self.name)
    }

    /// The servers behind it.
    pub(crate) fn servers(&self) -> Vec<Arc<Server>> {
        self.everything()
            .map(|view| view.servers().map(Arc::clone).collect())
            .unwrap_or_default()
    }

    /// As clients know it.
    pub(crate) fn url_path(&self) -> String {
        url_path(&self.path)
    }

    /// Whether this caller is to know that it exists.
    pub(crate) fn admits(&self, caller: &Caller) -> bool {
        self.catalog.admits(&self.name, caller)
    }
}

fn lock<T>(held: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn url_path(path: &str) -> String {
    if path.is_empty() {
        "/mcp".to_owned()
    } else {
        format!("/mcp/{path}")
    }
}

/// An endpoint as clients and issuers of tokens know it.
fn resource(config: &Config, url_path: &str) -> Resource {
    let issuers: Vec<Arc<str>> = config
        .identity
        .iter()
        .flat_map(|identity| &identity.jwt)
        .map(|issuer| Arc::clone(&issuer.issuer))
        .collect();
    let here = match &config.listen {
        Listen::Tcp(address) if config.http.public_url.is_none() && address.port() != 0 => {
            format!("http://{address}").parse().ok()
        }
        _ => None,
    };
    let public_url = config.http.public_url.as_ref().or(here.as_ref());
    Resource::new(public_url, url_path, issuers, Vec::new())
}

/// Whether anything is configured that is kept in the store.
fn needs_store(config: &Config) -> bool {
    config.identity.as_ref().is_some_and(|identity| identity.api_keys)
        || !config.quotas.is_empty()
        || config.servers.iter().any(has_own_tokens)
}

/// Whether principals may have stored tokens for a server.
fn has_own_tokens(server: &gatepost_config::Server) -> bool {
    let mut credentials = server.credentials.iter();
    credentials.any(|credential| matches!(credential, Credential::Principal))
}

/// What this process's own side may do: everything that is configured, for it could read every secret of it anyway.
fn own_side(config: &Config) -> Result<Arc<Rules>, RuleProblem> {
    let settings = RuleSettings {
        open: true,
        access: config.access,
        issuers: Vec::new(),
        roles: Vec::new(),
        bindings: Vec::new(),
    };
    Ok(Arc::new(Rules::compile(settings)?))
}

fn sealer(config: &Config) -> Result<Sealer, SealError> {
    let secrets = sealing_secrets(&config.sealing_keys, &config.data_dir)?;
    Sealer::new(&secrets.iter().map(|secret| &**secret).collect::<Vec<_>>())
}
