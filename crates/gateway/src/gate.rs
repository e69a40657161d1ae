//! The gate itself: what lives as long as the process does, and the configuration it currently follows.

use std::{
    collections::HashMap,
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use arc_swap::ArcSwap;
use gatepost_config::{Config, Listen};
use gatepost_identity::{IdentityError, Resource};
use gatepost_policy::{Caller, RuleProblem};
use gatepost_store::{StoreError, sealing_secrets};
use tokio::sync::watch;

use crate::{
    admit::Occupancy,
    bridge::{parking::Parking, postponed::Postponed, spent::Spent},
    catalog::{Catalog, EndpointName, View},
    conversation::Conversations,
    governance::Governance,
    metrics::Metrics,
    module::Module,
    seal::{SealError, Sealer, random},
    session::Sessions,
    streams::Streams,
    transport::http::{old_sse::OldStreams, resume::Resumable},
    upstream::{Asker, Clients, Context, ContextError, Server},
};

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
    pub(crate) spent: Arc<Spent>,
    pub(crate) postponed: Postponed,
    pub(crate) metrics: Metrics,
    pub(crate) occupancy: Arc<Occupancy>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) governance: Governance,
    /// Keeps the request ids of two processes apart.
    pub(crate) id_seed: u64,
    phase: AtomicU8,
    stopping: watch::Sender<bool>,
    cutting: watch::Sender<bool>,
    is_cut: AtomicBool,
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
        let governance = Governance::build(&config, shared)?;
        let mut context = Context::new(&config, supervisor, clients)?;
        governance.equip(&mut context);
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
            spent: Arc::default(),
            postponed: Postponed::default(),
            metrics: Metrics::default(),
            occupancy: Arc::default(),
            streams: Arc::default(),
            governance,
            id_seed: random::<8>().map(u64::from_be_bytes)?,
            phase: AtomicU8::new(Phase::Starting as u8),
            stopping: watch::Sender::new(false),
            cutting: watch::Sender::new(false),
            is_cut: AtomicBool::new(false),
        }))
    }

    /// Begins to take calls: catalogs are fetched in the background from now on.
    pub fn open(self: &Arc<Self>) {
        self.governance.open();
        tokio::spawn(Sessions::keep_swept(Arc::downgrade(self), |gate: &Self| {
            &gate.sessions
        }));
        self.snapshot.load().catalog.start();
        self.phase.store(Phase::Ready as u8, Relaxed);
    }

    /// What an endpoint at `url_path` is to clients and issuers, whether there is one or not.
    pub(crate) fn resource(&self, url_path: &str) -> Resource {
        resource(&self.snapshot.load().config, url_path)
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

    /// Gives up waiting for servers: every call that is still running is answered with an error.
    pub fn cut(&self) {
        self.is_cut.store(true, Relaxed);
        self.cutting.send_replace(true);
        self.conversations.stir();
    }

    /// Turns true once calls are cut.
    pub(crate) fn cutting(&self) -> watch::Receiver<bool> {
        self.cutting.subscribe()
    }

    /// Ready once calls are cut. Every call waits for it, so that it costs a look and wakes nobody: whoever carries calls polls
    /// them when [`Gate::cutting`] turns.
    pub(crate) fn cut_off(&self) -> impl Future<Output = ()> + '_ {
        std::future::poll_fn(|_| {
            if self.is_cut.load(Relaxed) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
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
        self.governance.close().await;
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

fn sealer(config: &Config) -> Result<Sealer, SealError> {
    let secrets = sealing_secrets(&config.sealing_keys, &config.data_dir)?;
    Sealer::new(&secrets.iter().map(|secret| &**secret).collect::<Vec<_>>())
}
