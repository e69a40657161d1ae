//! The catalog: what all servers offer, kept up to date in the background and compiled for each endpoint.
//!
//! ```text
//! Source (a server) ──fetch, all pages──▶ Listing ──▶ View (one per endpoint) ──▶ pages of bytes
//!        └──────changes──▶ refresh            └──▶ catalogs/<server>.json
//! ```
//!
//! No request of a client waits for a server here: lists are answered from the compiled view, and a server that is down
//! keeps what it last offered. A [`View`] never changes; when a listing does, the views that show it are compiled anew
//! and replaced, and only then is the change announced.

mod demand;
mod greeting;
mod listing;
mod page;
mod persist;
mod personal;
mod refresh;
mod remark;
mod source;
mod template;
mod view;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use arc_swap::ArcSwap;
use gatepost_config::Config;
use gatepost_policy::{Caller, EffectRules, ViewRules, Visibility};
use tokio::{
    sync::broadcast,
    task::JoinSet,
    time::{Duration, Instant, timeout_at},
};

pub(crate) use remark::CatalogReport;
use remark::{EndpointReport, ServerReport};
pub(crate) use source::{ListKind, Source};
pub(crate) use view::{Candidate, Completion, EndpointName, Tool, View};

use crate::{
    seal::Sealer,
    upstream::{Asker, Fingerprint, Server},
};
use personal::Scope;
use refresh::Slot;
use source::AskedFor;
use view::Rules;

/// How long a list waits for servers that were never seen before.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many announcements a slow listener may be behind before it loses some.
const ANNOUNCEMENTS: usize = 256;

/// Views of one endpoint that are kept for callers who do not see everything. Each tenant has its own, and there may be far
/// more tenants than roles: so many at least, and at most, and between them as many as show so many things together, which
/// are some 100 MB.
const AUDIENCES: std::ops::RangeInclusive<usize> = 256..=4096;
const SHOWN_TO_AUDIENCES: usize = 256 * 1024;

/// Something changed on an endpoint. What is announced can already be seen in [`Catalog::view`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ViewChange {
    /// Its list of tools.
    Tools,
    /// Its list of prompts.
    Prompts,
    /// Its lists of resources or templates.
    Resources,
    /// A resource of one of its servers, or something below it.
    Updated {
        /// Which server said so.
        server: Arc<str>,
        /// The URI, as the server named it.
        uri: Arc<str>,
        /// With whose credential that was heard: nobody else is to know. Nothing for the gate's own.
        of: Option<Fingerprint>,
    },
    /// What one of its servers asked a client to do at a URL is done.
    ElicitationComplete {
        /// Which server said so.
        server: Arc<str>,
        /// The server's `elicitationId`.
        id: Arc<str>,
    },
}

/// What all servers offer.
pub(crate) struct Catalog<S = Server> {
    slots: Vec<Arc<Slot<S>>>,
    endpoints: Vec<Endpoint<S>>,
    by_name: HashMap<EndpointName, usize>,
    /// `None`: nothing is kept.
    folder: Option<PathBuf>,
    sealer: Arc<Sealer>,
    tasks: Mutex<JoinSet<()>>,
    me: Weak<Self>,
}

struct Endpoint<S> {
    rules: Arc<Rules>,
    /// Places in `slots`, in the order of the configuration.
    members: Vec<usize>,
    /// Those of them that some callers have credentials of their own for.
    personal: Vec<usize>,
    views: ArcSwap<Views<S>>,
    /// Held while views are compiled and replaced, so that an older one never replaces a newer.
    compiling: Mutex<()>,
    changes: broadcast::Sender<ViewChange>,
}

/// What one endpoint shows, and to whom. Views for others than everybody are compiled when the first of them comes.
struct Views<S> {
    everybody: Arc<View<S>>,
    others: HashMap<Audience, Arc<View<S>>>,
}

/// Who sees the same: what the rules show alike, of the same servers' answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Audience {
    visibility: Visibility,
    scope: Scope,
}

/// What the catalog is told about one server.
struct Plan<S> {
    source: Arc<S>,
    effects: EffectRules,
    identity: String,
}

impl<S: Source> Catalog<S> {
    /// Compiles every endpoint of the configuration from what was kept of earlier runs. Asks nobody: see
    /// [`Catalog::start`].
    pub(crate) fn new(servers: Vec<Arc<S>>, config: &Config, sealer: Arc<Sealer>) -> Arc<Self> {
        let plans = servers
            .into_iter()
            .map(|source| {
                let server = config
                    .servers
                    .iter()
                    .find(|server| *server.name == **source.name());
                Plan {
                    effects: server.map(|server| server.effects.clone()).unwrap_or_default(),
                    identity: server.map(persist::identity).unwrap_or_default(),
                    source,
                }
            })
            .collect();
        Self::build(
            plans,
            rules(config),
            Some(config.data_dir.join("catalogs")),
            sealer,
        )
    }

    fn build(
        plans: Vec<Plan<S>>,
        rules: Vec<Rules>,
        folder: Option<PathBuf>,
        sealer: Arc<Sealer>,
    ) -> Arc<Self> {
        let slots: Vec<Arc<Slot<S>>> = plans
            .into_iter()
            .map(
                |Plan {
                     source,
                     effects,
                     identity,
                 }| {
                    // What was said to the gate at another time is for nobody who has to come with something of its own.
                    let kept = folder
                        .as_ref()
                        .filter(|_| source.asked_for() != AskedFor::Owners)
                        .and_then(|folder| {
                            persist::load(folder, source.name(), &identity, source.is_remote())
                        });
                    Arc::new(Slot::new(source, effects, identity, kept))
                },
            )
            .collect();
        let endpoints: Vec<Endpoint<S>> = rules
            .into_iter()
            .map(|rules| Endpoint::new(Arc::new(rules), &slots, &sealer))
            .collect();
        let by_name = endpoints
            .iter()
            .enumerate()
            .map(|(at, endpoint)| (endpoint.rules.name.clone(), at))
            .collect();
        Arc::new_cyclic(|me| Self {
            slots,
            endpoints,
            by_name,
            folder,
            sealer,
            tasks: Mutex::default(),
            me: Weak::clone(me),
        })
    }

    /// Begins to fetch, watch and refresh every server in the background, until [`Catalog::stop`]. Call it once, inside
    /// a tokio runtime.
    pub(crate) fn start(self: &Arc<Self>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, slot) in self.slots.iter().enumerate() {
            // Listening begins before anything is asked, so that no change falls between.
            tasks.spawn(refresh::hear(Arc::clone(self), at, slot.source.changes()));
            tasks.spawn(refresh::keep(Arc::clone(self), at));
            let source = Arc::clone(&slot.source);
            tasks.spawn(async move { source.watch().await });
        }
    }

    /// Ends what [`Catalog::start`] began. What is compiled stays.
    pub(crate) fn stop(&self) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }

    /// Every endpoint: `/mcp`, the servers, the views.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = EndpointName> {
        self.endpoints.iter().map(|endpoint| endpoint.rules.name.clone())
    }

    /// What an endpoint offers at the moment, to those who may see everything.
    pub(crate) fn view(&self, endpoint: &EndpointName) -> Option<Arc<View<S>>> {
        Some(Arc::clone(&self.endpoint(endpoint)?.views.load().everybody))
    }

    /// What an endpoint offers to this caller at the moment.
    pub(crate) fn view_for(&self, endpoint: &EndpointName, asker: Asker<'_>) -> Option<Arc<View<S>>> {
        let endpoint = self.endpoint(endpoint)?;
        let audience = Audience {
            visibility: asker.caller.visibility(),
            scope: endpoint.scope(&self.slots, asker),
        };
        match endpoint.views.load().of(&audience) {
            Some(view) => Some(Arc::clone(view)),
            None => Some(endpoint.compile_for(asker.caller, audience, &self.slots, &self.sealer)),
        }
    }

    /// Waits until each server of an endpoint has been seen or has failed once, at most 2 s; and not again for a server
    /// that somebody has already waited for so long. Afterwards its things arrive as a change of the lists. Servers that
    /// `asker` has credentials of its own for are asked in its name.
    pub(crate) async fn settled(&self, endpoint: &EndpointName, asker: Asker<'_>) {
        self.settled_within(PATIENCE, endpoint, asker).await;
    }

    /// For somebody who wants to know once, instead of [`Catalog::start`]: asks those servers of an endpoint of which
    /// nothing is known, and waits for them as [`Catalog::settled`] does.
    pub(crate) async fn ask_unseen(
        self: &Arc<Self>,
        patience: Duration,
        endpoint: &EndpointName,
        asker: Asker<'_>,
    ) {
        {
            let members = self.endpoint(endpoint).into_iter().flat_map(|one| &one.members);
            let unseen = members.filter(|at| {
                let slot = self.slots.get(**at);
                slot.is_some_and(|slot| slot.listing.load().is_none())
            });
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            for &at in unseen {
                tasks.spawn(refresh::keep(Arc::clone(self), at));
            }
        }
        self.settled_within(patience, endpoint, asker).await;
    }

    /// The servers of an endpoint of which nothing is known to this caller, each with the reason.
    pub(crate) fn unseen(&self, endpoint: &EndpointName, asker: Asker<'_>) -> Vec<(Arc<str>, String)> {
        let Some(view) = self.view_for(endpoint, asker) else {
            return Vec::new();
        };
        let why = |server: &Arc<S>| {
            let slot = self.slots.iter().find(|slot| slot.name == *server.name());
            match slot.and_then(|slot| slot.failure()) {
                Some(failure) => failure,
                None if server.asked_for() == AskedFor::Owners => {
                    "it is asked only with a credential of who calls".to_owned()
                }
                None => "it has not answered yet".to_owned(),
            }
        };
        view.unseen()
            .map(|server| (Arc::clone(server.name()), why(server)))
            .collect()
    }

    async fn settled_within(&self, patience: Duration, endpoint: &EndpointName, asker: Asker<'_>) {
        let Some(endpoint) = self.endpoint(endpoint) else {
            return;
        };
        let patience = Instant::now() + patience;
        // They begin before anything is waited for.
        let own: Vec<_> = endpoint
            .personal
            .iter()
            .filter_map(|at| {
                let presented = self.slots.get(*at)?.source.own(asker).ok()??;
                self.freshen(*at, presented)
            })
            .collect();
        for slot in endpoint.members.iter().filter_map(|at| self.slots.get(*at)) {
            // What the server has said counts once this endpoint shows it.
            let views = endpoint.views.load();
            if views
                .everybody
                .members()
                .iter()
                .any(|member| member.name == slot.name && member.listing.is_some())
            {
                continue;
            }
            let until = *slot.patience.get_or_init(|| patience);
            // Whether the time is over or the sender gone: there is nothing more to wait for.
            let _ = timeout_at(until, slot.tried.subscribe().wait_for(|tried| *tried)).await;
        }
        for own in own {
            own.settled(patience).await;
        }
    }

    /// Whether this caller is to know that an endpoint exists.
    pub(crate) fn admits(&self, endpoint: &EndpointName, caller: &Caller) -> bool {
        self.endpoint(endpoint).is_some_and(|endpoint| {
            let rules = &endpoint.rules;
            let within_reach = match &rules.name {
                EndpointName::Named(server) if rules.single => caller.may_reach(server),
                _ => true,
            };
            within_reach && rules.view.admits(caller)
        })
    }

    /// What changes on an endpoint from now on; nothing for an endpoint that does not exist.
    pub(crate) fn changes(&self, endpoint: &EndpointName) -> broadcast::Receiver<ViewChange> {
        match self.endpoint(endpoint) {
            Some(endpoint) => endpoint.changes.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// What is odd about the servers' listings and the endpoints.
    pub(crate) fn report(&self) -> CatalogReport {
        let server = |slot: &Arc<Slot<S>>| {
            let listing = slot.listing.load_full();
            let count = |kind| {
                listing
                    .as_ref()
                    .map_or(0, |listing| listing.list(kind).items.len())
            };
            ServerReport {
                server: Arc::clone(&slot.name),
                known: listing.is_some(),
                items: ListKind::ALL.map(count),
                failure: slot.failure(),
                remarks: listing
                    .iter()
                    .flat_map(|listing| listing.remarks().cloned())
                    .collect(),
            }
        };
        let endpoint = |endpoint: &Endpoint<S>| {
            let remarks = endpoint.views.load().everybody.remarks().to_vec();
            (!remarks.is_empty()).then(|| EndpointReport {
                endpoint: endpoint.rules.name.to_string(),
                remarks,
            })
        };
        CatalogReport {
            servers: self.slots.iter().map(server).collect(),
            endpoints: self.endpoints.iter().filter_map(endpoint).collect(),
        }
    }

    fn endpoint(&self, name: &EndpointName) -> Option<&Endpoint<S>> {
        self.endpoints.get(*self.by_name.get(name)?)
    }

    /// A server's listing was replaced: compiles what shows it anew, announces what changed, keeps it on disk.
    fn changed(&self, at: usize) {
        for endpoint in self
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.members.contains(&at))
        {
            endpoint.recompile(&self.slots, &self.sealer);
        }
        let Some(slot) = self.slots.get(at) else { return };
        let Some(folder) = self.folder.clone() else { return };
        let slot = Arc::clone(slot);
        tokio::task::spawn_blocking(move || slot.save(&folder));
    }

    /// A server says something that has nothing to do with its lists: it passes at once.
    fn pass_on(&self, at: usize, change: impl Fn(Arc<str>) -> ViewChange) {
        let Some(slot) = self.slots.get(at) else { return };
        for endpoint in self
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.members.contains(&at))
        {
            endpoint.announce(change(Arc::clone(&slot.name)));
        }
    }
}

impl<S: Source> Endpoint<S> {
    fn new(rules: Arc<Rules>, slots: &[Arc<Slot<S>>], sealer: &Arc<Sealer>) -> Self {
        let is_personal = |at: &usize| slots[*at].source.asked_for() != AskedFor::Everybody;
        let shows = |slot: &Slot<S>| match &rules.name {
            EndpointName::Named(name) if rules.single => slot.name == *name,
            _ => true,
        };
        let members: Vec<usize> = (0..slots.len()).filter(|at| shows(&slots[*at])).collect();
        let view = compile(
            &rules,
            Caller::local(),
            &Scope::default(),
            &members,
            slots,
            sealer,
        );
        let changes = broadcast::Sender::new(ANNOUNCEMENTS);
        Self {
            rules,
            personal: members.iter().copied().filter(is_personal).collect(),
            members,
            views: ArcSwap::from_pointee(Views::new(view)),
            compiling: Mutex::new(()),
            changes,
        }
    }

    fn recompile(&self, slots: &[Arc<Slot<S>>], sealer: &Arc<Sealer>) {
        let guard = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        let everybodys = Scope::default();
        let new = compile(
            &self.rules,
            Caller::local(),
            &everybodys,
            &self.members,
            slots,
            sealer,
        );
        let new = Arc::new(Views::new(new));
        let old = self.views.swap(Arc::clone(&new));
        drop(guard);
        let (new, old) = (&new.everybody, &old.everybody);
        for remark in new
            .remarks()
            .iter()
            .filter(|remark| !old.remarks().contains(remark))
        {
            tracing::warn!(endpoint = %self.rules.name, "{remark}");
        }
        // What one server's thing hides from most, others see who may not see that one.
        let same = |kind| new.same_list(old, kind) && !new.hides_some(kind) && !old.hides_some(kind);
        if !same(ListKind::Tools) {
            self.announce(ViewChange::Tools);
        }
        if !same(ListKind::Prompts) {
            self.announce(ViewChange::Prompts);
        }
        if !same(ListKind::Resources) || !same(ListKind::Templates) {
            self.announce(ViewChange::Resources);
        }
    }

    /// The first caller of this audience is here.
    fn compile_for(
        &self,
        caller: &Arc<Caller>,
        audience: Audience,
        slots: &[Arc<Slot<S>>],
        sealer: &Arc<Sealer>,
    ) -> Arc<View<S>> {
        let _guard = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        let views = self.views.load();
        if let Some(view) = views.of(&audience) {
            return Arc::clone(view);
        }
        let view = Arc::new(compile(
            &self.rules,
            Arc::clone(caller),
            &audience.scope,
            &self.members,
            slots,
            sealer,
        ));
        self.views
            .store(Arc::new(views.with(audience, Arc::clone(&view))));
        view
    }

    fn announce(&self, change: ViewChange) {
        // An error only says that nobody listens now.
        let _ = self.changes.send(change);
    }
}

impl<S: Source> Views<S> {
    fn new(everybody: View<S>) -> Self {
        Self {
            everybody: Arc::new(everybody),
            others: HashMap::new(),
        }
    }

    fn of(&self, audience: &Audience) -> Option<&Arc<View<S>>> {
        if audience.visibility == Caller::local().visibility() && audience.scope.is_everybodys() {
            return Some(&self.everybody);
        }
        self.others.get(audience)
    }

    /// How many are kept for others.
    fn room(&self) -> usize {
        let shown = ListKind::ALL.map(|kind| self.everybody.entries(kind).len());
        let each = shown.iter().sum::<usize>().max(1);
        (SHOWN_TO_AUDIENCES / each).clamp(*AUDIENCES.start(), *AUDIENCES.end())
    }

    /// The same with one more. Any other makes room: where callers come in turns, the oldest, or the one that was not
    /// wanted for longest, would always be the one that is wanted next.
    fn with(&self, audience: Audience, view: Arc<View<S>>) -> Self {
        let mut others = self.others.clone();
        if others.len() >= self.room()
            && let Some(any) = others.keys().next().cloned()
        {
            others.remove(&any);
        }
        others.insert(audience, view);
        Self {
            everybody: Arc::clone(&self.everybody),
            others,
        }
    }
}

fn compile<S: Source>(
    rules: &Arc<Rules>,
    audience: Arc<Caller>,
    scope: &Scope,
    members: &[usize],
    slots: &[Arc<Slot<S>>],
    sealer: &Arc<Sealer>,
) -> View<S> {
    let members = members
        .iter()
        .filter_map(|at| Some(slots.get(*at)?.member(scope.whose(*at))))
        .collect();
    View::compile(Arc::clone(rules), audience, members, Arc::clone(sealer))
}

/// The endpoints of a configuration.
fn rules(config: &Config) -> Vec<Rules> {
    let plain = |name, single| Rules {
        name,
        view: ViewRules::everything(),
        rename: Vec::new(),
        description: None,
        single,
    };
    let mut rules = Vec::new();
    if config.endpoints.all {
        rules.push(plain(EndpointName::All, false));
    }
    let named = |name: &str| EndpointName::Named(name.into());
    if config.endpoints.servers {
        rules.extend(
            config
                .servers
                .iter()
                .map(|server| plain(named(&server.name), true)),
        );
    }
    rules.extend(config.views.iter().map(|view| Rules {
        name: named(&view.name),
        view: view.rules.clone(),
        rename: view.rename.clone(),
        description: view.description.clone(),
        single: false,
    }));
    rules
}
