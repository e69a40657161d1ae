//! What stands between callers and servers: who they are, what they may do, how much of it, and the record of it all. It
//! lives as long as the gate, and is opened and closed with it.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gatepost_audit::{Event, Log, SinkHealth, Sinks};
use gatepost_config::{Config, Credential};
use gatepost_identity::{Clock, Identity};
use gatepost_policy::{Caller, Facts, RuleProblem, RuleSettings, Rules};
use gatepost_store::{Keeper, KeyChange, KeyRing, Store};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    gate::BuildError,
    limits::{Limits, SystemClock},
    record::Uses,
    stored::Stored,
    upstream::Context,
};

/// How long a gate that stops waits for sinks to take its last records. What they have not taken is given to them after the
/// next start.
const LAST_RECORDS_WITHIN: Duration = Duration::from_secs(5);

/// Everything that decides about calls, and remembers them.
pub(crate) struct Governance {
    /// Whoever needs no credential: everybody while no identity is configured, and always this process's own side.
    pub(crate) local: Arc<Caller>,
    /// Who everybody else is; `None` where nobody has to say.
    pub(crate) identity: Option<Identity<Arc<Caller>>>,
    /// What everybody else may do.
    pub(crate) rules: Arc<Rules>,
    /// How much.
    pub(crate) limits: Arc<Limits>,
    /// `None`: nothing is recorded.
    pub(crate) audit: Option<Log>,
    /// Where else records go, while the gate is open.
    sinks: Mutex<Option<Sinks>>,
    keys: Option<Arc<KeyRing>>,
    /// What notices keys that are made and revoked.
    keeper: Mutex<Option<Keeper>>,
    store: Option<Store>,
    /// The tokens of principals in it, where servers want them.
    stored: Option<Arc<Stored>>,
    /// What saves quotas, until it is told that nothing is counted any more.
    counting: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl Governance {
    /// What a configuration wants. `shared` is the folder of what several gates may keep together.
    ///
    /// # Errors
    /// When the store, the audit log or an issuer's keys cannot be had.
    pub(crate) fn build(config: &Config, shared: &Path) -> Result<Self, BuildError> {
        let store = needs_store(config)
            .then(|| Store::open(shared, &config.sealing_keys))
            .transpose()?;
        let audit = config
            .audit
            .as_ref()
            .map(|audit| Log::open(gatepost_audit::Settings::new(&config.data_dir, audit)))
            .transpose()?;
        let limits = Limits::new(&config.limits, &config.quotas, Arc::new(SystemClock::new()));
        if let Some(store) = &store {
            limits.load(&*store.counters)?;
        }
        let rules = Arc::new(Rules::compile(config.rule_settings())?);
        let keys = match &store {
            Some(store) if takes_keys(config) => Some(Arc::new(KeyRing::load(Arc::clone(&store.keys))?)),
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
        let stored = store
            .as_ref()
            .filter(|_| config.servers.iter().any(has_own_tokens))
            .map(|store| Stored::new(Arc::clone(&store.credentials)));
        Ok(Self {
            local: Arc::new(own_side(config)?.caller(Facts::local())),
            identity,
            rules,
            limits: Arc::new(limits),
            audit,
            sinks: Mutex::default(),
            keys,
            keeper: Mutex::default(),
            store,
            stored,
            counting: Mutex::default(),
        })
    }

    /// Gives servers what they need of it.
    pub(crate) fn equip(&self, context: &mut Context) {
        if let Some(log) = &self.audit {
            context.uses = Some(Arc::new(Uses(log.clone())));
        }
        if let Some(stored) = &self.stored {
            context.stored = Some(Arc::<Stored>::clone(stored));
        }
    }

    /// Begins what runs beside the calls. Inside a tokio runtime.
    pub(crate) fn open(&self) {
        if let Some(log) = &self.audit {
            self.begin_records(log);
        }
        if let Some(identity) = &self.identity {
            identity.begin();
        }
        if let Some(keys) = &self.keys {
            if let Some(log) = self.audit.clone() {
                keys.tell(move |change| recorded(&log, change));
            }
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
    }

    fn begin_records(&self, log: &Log) {
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

    /// How the sinks of the audit log are.
    pub(crate) fn sinks(&self) -> Vec<SinkHealth> {
        lock(&self.sinks).as_ref().map(Sinks::health).unwrap_or_default()
    }

    /// Ends it, after the last call: what was counted is saved, and the log is closed and handed to its sinks.
    pub(crate) async fn close(&self) {
        let keeper = lock(&self.keeper).take();
        if let Some(keeper) = keeper {
            // It waits for the disk as well, and as long as calls end a key that is revoked is to be noticed.
            let _ = tokio::task::spawn_blocking(move || keeper.close()).await;
        }
        let counting = lock(&self.counting).take();
        if let Some((closing, keeping)) = counting {
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

/// Puts on record who came to have a key, or lost it. Only what other processes do while the gate runs is heard of.
fn recorded(log: &Log, change: KeyChange<'_>) {
    let written = match change {
        KeyChange::Created(key) => {
            let roles: Vec<&str> = key.roles.iter().map(|role| &**role).collect();
            log.event(&Event::KeyCreated {
                key: &key.id,
                roles: &roles,
                tenant: key.tenant.as_deref(),
            })
        }
        KeyChange::Revoked(key) => log.event(&Event::KeyRevoked { key }),
    };
    if let Err(unwritten) = written {
        tracing::error!(target: "gatepost::audit", %unwritten, "a key that was made or revoked could not be recorded");
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn takes_keys(config: &Config) -> bool {
    config.identity.as_ref().is_some_and(|identity| identity.api_keys)
}

/// Whether anything is configured that is kept in the store.
fn needs_store(config: &Config) -> bool {
    takes_keys(config) || !config.quotas.is_empty() || config.servers.iter().any(has_own_tokens)
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
