//! Keeping one server's listing up to date: at the start, when it announces a change, when it comes back, and when its
//! listing has grown stale. One refresh at a time; what is announced meanwhile leads to one more.

use std::{
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;
use gatepost_policy::EffectRules;
use tokio::{
    sync::{Notify, broadcast, watch},
    time::{Duration, Instant, sleep, sleep_until, timeout},
};

use super::{
    Catalog, ViewChange,
    demand::Demand,
    listing::{self, Bounds, List, ListError, Listing},
    persist,
    personal::{Shelf, Whose},
    source::{About, AskedFor, ListKind, Source},
    view::Member,
};
use crate::upstream::{CallError, Change, Presented};

/// The shortest time from one refresh of a server to the next: a server that announces without end costs no more.
const PAUSE: Duration = Duration::from_millis(250);
/// The first wait after a failure; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long a server may think about a list that it does not claim to have. Some never answer such a question.
const UNDECLARED: Duration = Duration::from_millis(1500);
/// How long the listing of a remote server counts as fresh that neither announces changes nor says how long.
const UNSAID: Duration = Duration::from_secs(60);
/// A server's own `ttlMs` is heeded between these.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(3600);

/// Which lists to fetch, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted(u8);

impl Wanted {
    const NONE: Self = Self(0);
    const ALL: Self = Self(0b1111);

    fn of(kinds: &[ListKind]) -> Self {
        Self(kinds.iter().fold(0, |bits, kind| bits | 1 << *kind as u8))
    }

    fn has(self, kind: ListKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }
}

/// One server in the catalog.
pub(super) struct Slot<S> {
    pub(super) source: Arc<S>,
    pub(super) name: Arc<str>,
    pub(super) effects: Arc<EffectRules>,
    /// See [`super::persist::identity`].
    pub(super) identity: String,
    pub(super) listing: ArcSwapOption<Listing>,
    pub(super) demand: Arc<Demand>,
    /// What it says to some callers alone.
    pub(super) shelf: Shelf,
    /// Turns true when the first refresh has ended, well or not.
    pub(super) tried: watch::Sender<bool>,
    /// Until when lists wait for the first refresh; set by the first that does.
    pub(super) patience: OnceLock<Instant>,
    failure: Mutex<Option<String>>,
    saving: Mutex<()>,
    pending: AtomicU8,
    announced: Notify,
}

impl<S: Source> Slot<S> {
    pub(super) fn new(source: Arc<S>, effects: EffectRules, identity: String, kept: Option<Listing>) -> Self {
        let name = Arc::clone(source.name());
        let listing = ArcSwapOption::from_pointee(kept);
        Self {
            source,
            name,
            effects: Arc::new(effects),
            identity,
            listing,
            demand: Arc::new(Demand::new()),
            shelf: Shelf::default(),
            tried: watch::Sender::new(false),
            patience: OnceLock::new(),
            failure: Mutex::new(None),
            saving: Mutex::new(()),
            pending: AtomicU8::new(0),
            announced: Notify::new(),
        }
    }

    /// The server as views see it now: what it says to everybody, or to `whose` alone.
    pub(super) fn member(&self, whose: Option<&Whose>) -> Member<S> {
        Member {
            server: Arc::clone(&self.source),
            name: Arc::clone(&self.name),
            listing: match whose {
                None => self.listing.load_full(),
                Some(whose) => self.shelf.listing(whose),
            },
            own: whose.is_some(),
            effects: Arc::clone(&self.effects),
            demand: Arc::clone(&self.demand),
        }
    }

    /// Keeps the listing on disk. Blocks. One save at a time, each of what is newest, so that an older listing never
    /// replaces a newer.
    pub(super) fn save(&self, folder: &Path) {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listing) = self.listing.load_full() else {
            return;
        };
        let saved = persist::save(folder, &self.name, &persist::encode(&listing, &self.identity));
        if let Err(error) = saved {
            tracing::warn!(server = &*self.name, %error, "failed to keep the listing in {}", folder.display());
        }
    }

    /// Why the latest refresh failed, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes how a refresh went; true if that is news.
    fn note(&self, failure: Option<String>) -> bool {
        let mut noted = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *noted != failure;
        *noted = failure;
        news
    }

    fn announce(&self, wanted: Wanted) {
        self.pending.fetch_or(wanted.0, Ordering::AcqRel);
        self.announced.notify_one();
    }

    fn take_pending(&self) -> Wanted {
        Wanted(self.pending.swap(0, Ordering::AcqRel))
    }
}

/// Hears what a server announces, until it is gone. Apart from refreshing, so that updates of resources pass at once.
pub(super) async fn hear<S: Source>(
    catalog: Arc<Catalog<S>>,
    at: usize,
    mut changes: broadcast::Receiver<Change>,
) {
    let Some(slot) = catalog.slots.get(at) else { return };
    loop {
        let change = changes.recv().await;
        if matches!(
            change,
            Ok(Change::Tools | Change::Prompts | Change::Resources | Change::Reconnected) | Err(_)
        ) {
            slot.shelf.grow_stale();
        }
        match change {
            Ok(Change::Tools) => slot.announce(Wanted::of(&[ListKind::Tools])),
            Ok(Change::Prompts) => slot.announce(Wanted::of(&[ListKind::Prompts])),
            Ok(Change::Resources) => slot.announce(Wanted::of(&[ListKind::Resources, ListKind::Templates])),
            Ok(Change::Updated { uri, of }) => catalog.pass_on(at, |server| ViewChange::Updated {
                server,
                uri: Arc::clone(&uri),
                of,
            }),
            Ok(Change::ElicitationComplete(id)) => {
                catalog.pass_on(at, |server| ViewChange::ElicitationComplete {
                    server,
                    id: Arc::clone(&id),
                });
            }
            Ok(Change::Reconnected) | Err(broadcast::error::RecvError::Lagged(_)) => {
                slot.announce(Wanted::ALL);
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Refreshes one server for ever.
pub(super) async fn keep<S: Source>(catalog: Arc<Catalog<S>>, at: usize) {
    let Some(slot) = catalog.slots.get(at) else { return };
    if slot.source.asked_for() == AskedFor::Owners {
        slot.tried.send_replace(true);
        return;
    }
    let mut failures: u32 = 0;
    let mut wanted = Wanted::ALL;
    loop {
        let began = Instant::now();
        // Whatever was announced until now is covered by what is asked from now on.
        wanted = Wanted(wanted.0 | slot.take_pending().0);
        let outcome = refresh(slot, None, slot.listing.load_full(), wanted).await;
        if let Some(listing) = outcome.listing {
            slot.listing.store(Some(Arc::new(listing)));
            catalog.changed(at);
        }
        if slot.note(outcome.failure.clone()) {
            match &outcome.failure {
                Some(failure) => {
                    tracing::warn!(server = &*slot.name, "failed to refresh the catalog: {failure}");
                }
                None => tracing::debug!(server = &*slot.name, "the catalog is up to date"),
            }
        }
        slot.tried.send_replace(true);
        let retry = if outcome.again == Wanted::NONE {
            failures = 0;
            let freshness = Freshness::of(slot);
            slot.demand.fresh_for(freshness.on_demand);
            freshness.timer
        } else {
            failures = failures.saturating_add(1);
            slot.demand.fresh_for(None);
            Some(back_off(failures))
        };
        sleep_until(began + PAUSE).await;
        wanted = tokio::select! {
            () = slot.announced.notified() => outcome.again,
            () = slot.demand.wanted() => Wanted::ALL,
            () = wait(retry) => if outcome.again == Wanted::NONE { Wanted::ALL } else { outcome.again },
        };
    }
}

async fn wait(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// One second, two, four … a minute, each shortened by up to a quarter so that servers do not return in step.
pub(super) fn back_off(failures: u32) -> Duration {
    let full = FIRST_WAIT
        .saturating_mul(1 << failures.saturating_sub(1).min(8))
        .min(LONGEST_WAIT);
    full - jitter(full / 4)
}

/// A random part of `most`.
fn jitter(most: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 1024;
    most.mul_f64(random as f64 / 1024.0)
}

/// How long a listing counts as fresh.
#[derive(Debug, PartialEq, Eq)]
struct Freshness {
    /// After this, whoever asks for it sets off a refresh.
    on_demand: Option<Duration>,
    /// After this, it is refreshed by itself.
    timer: Option<Duration>,
}

impl Freshness {
    fn of<S: Source>(slot: &Slot<S>) -> Self {
        let Some(listing) = slot.listing.load_full() else {
            return Self {
                on_demand: None,
                timer: None,
            };
        };
        let offered = ListKind::ALL.into_iter().filter(|kind| listing.declares(*kind));
        let announces = offered.clone().all(|kind| listing.announces(kind));
        let said = offered.filter_map(|kind| listing.list(kind).ttl).min();
        let ttl = said.map(|ttl| ttl.clamp(*TTL.start(), *TTL.end()));
        match (slot.source.is_remote(), announces) {
            (true, false) => {
                // A TTL of zero says "ask every time", which is answered by asking when somebody does.
                let timer = ttl.filter(|_| said.is_some_and(|said| !said.is_zero()));
                Self {
                    on_demand: ttl.or(Some(UNSAID)),
                    timer: timer.map(|ttl| ttl + jitter(ttl / 10)),
                }
            }
            (true, true) => {
                let timer = ttl.filter(|_| said.is_some_and(|said| !said.is_zero()));
                Self {
                    on_demand: None,
                    timer: timer.map(|ttl| ttl + jitter(ttl / 10)),
                }
            }
            (false, false) => Self {
                on_demand: ttl,
                timer: None,
            },
            (false, true) => Self {
                on_demand: None,
                timer: None,
            },
        }
    }
}

/// What a refresh brought.
pub(super) struct Outcome {
    /// The new listing, if anything differs from the old.
    pub(super) listing: Option<Listing>,
    /// What could not be had and should be asked for again.
    again: Wanted,
    /// Why.
    pub(super) failure: Option<String>,
}

/// Asks for everything, in the name of the owner of `own`.
pub(super) async fn refresh_own<S: Source>(
    slot: &Slot<S>,
    own: &Arc<Presented>,
    old: Option<Arc<Listing>>,
) -> Outcome {
    refresh(slot, Some(own), old, Wanted::ALL).await
}

/// For how long what a server said to one caller is taken for fresh. What it announces it announces to the gate.
pub(super) fn fresh_for(listing: &Listing) -> Duration {
    let offered = ListKind::ALL.into_iter().filter(|kind| listing.declares(*kind));
    let said = offered.filter_map(|kind| listing.list(kind).ttl).min();
    said.map_or(UNSAID, |ttl| ttl.clamp(*TTL.start(), *TTL.end()))
}

async fn refresh<S: Source>(
    slot: &Slot<S>,
    own: Option<&Arc<Presented>>,
    old: Option<Arc<Listing>>,
    wanted: Wanted,
) -> Outcome {
    let failed = |failure: &CallError| Outcome {
        listing: None,
        again: wanted,
        failure: Some(failure.to_string()),
    };
    let about = match slot.source.about(own).await {
        Ok(about) => about,
        Err(error) => return failed(&error),
    };
    let kinds: Vec<ListKind> = ListKind::ALL
        .into_iter()
        .filter(|kind| old.is_none() || wanted.has(*kind))
        .collect();
    let fetched = join_all(kinds.iter().map(|kind| fetch(slot, own, &about, *kind))).await;
    let mut lists = old
        .as_ref()
        .map_or_else(|| ListKind::ALL.map(|_| Arc::default()), |old| old.lists.clone());
    let mut again = Wanted::NONE;
    let mut failure = None;
    let mut changed = old.as_ref().is_none_or(|old| old.about != about);
    for (kind, list) in kinds.into_iter().zip(fetched) {
        match list {
            Ok(list) => {
                let kept = &mut lists[kind as usize];
                if !list.same(kept) {
                    // What one caller sees is no news for everybody's log.
                    if own.is_none() {
                        report(slot, kept, &list);
                    }
                    *kept = Arc::new(list);
                    changed = true;
                }
            }
            Err(error) => {
                again = Wanted(again.0 | Wanted::of(&[kind]).0);
                failure.get_or_insert(match error {
                    ListError::Call(error) => error.to_string(),
                    error => format!("server `{}` {error}", slot.name),
                });
            }
        }
    }
    Outcome {
        listing: changed.then_some(Listing { about, lists }),
        again,
        failure,
    }
}

async fn fetch<S: Source>(
    slot: &Slot<S>,
    own: Option<&Arc<Presented>>,
    about: &About,
    kind: ListKind,
) -> Result<List, ListError> {
    let bounds = Bounds::default();
    let modern_http = about.version.is_modern() && slot.source.is_remote();
    let fetch = listing::fetch(&*slot.source, own, kind, modern_http, &bounds);
    if listing::declares(&about.capabilities, kind.capability()) {
        return fetch.await;
    }
    // Asked all the same, since servers forget to declare what they have; but what is not promised cannot fail.
    Ok(timeout(UNDECLARED, fetch)
        .await
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default())
}

/// Logs what is new about a list.
fn report<S>(slot: &Slot<S>, old: &List, new: &List) {
    for remark in new.remarks.iter().filter(|remark| !old.remarks.contains(remark)) {
        tracing::warn!(server = &*slot.name, "{remark}");
    }
}
