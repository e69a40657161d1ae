//! Lists that belong to one caller: where a server is asked with something of a caller's own, what it answers is that
//! caller's, and nobody else is shown it. Source: 2026-07-28 server/utilities/caching, "Caches MUST NOT be shared across
//! authorization contexts".
//!
//! Such lists are asked for when they are wanted, kept for as long as the server says or a minute, forgotten when nobody
//! has asked for ten, and never written to disk. They are found by the fingerprint of what was presented: another token
//! is another context, so that nobody sees what another token of the same caller has shown.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep_until, timeout_at},
};

use super::{
    Audience, Catalog, Endpoint, ViewChange, Views,
    listing::Listing,
    refresh::{self, Slot, back_off},
    source::{ListKind, Source},
};
use crate::upstream::{Asker, Fingerprint, Presented};

/// How many callers' lists of one server are kept; the one that nobody has asked for longest makes room. Who has none waits
/// for the server before anything can be called: there should be room for everybody who is at work at the same time.
const MOST: usize = 1024;
/// How long they are kept when nobody asks.
const IDLE: Duration = Duration::from_secs(600);

/// Whose list of a server is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// What was said to whoever presents this.
    Own(Fingerprint),
    /// Nobody's: there is nothing to present for the caller.
    Nobodys,
}

/// Which lists of an endpoint's servers are one caller's own. Empty: none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Scope(Option<Box<[(usize, Whose)]>>);

/// What one server says to some callers alone.
#[derive(Default)]
pub(super) struct Shelf(Mutex<HashMap<Fingerprint, Arc<Own>>>);

/// What it says to one of them.
pub(super) struct Own {
    presented: Arc<Presented>,
    listing: ArcSwapOption<Listing>,
    /// Turns true when the first question has been answered, well or not.
    tried: watch::Sender<bool>,
    /// Until when lists wait for that; set by the first that does.
    patience: OnceLock<Instant>,
    state: Mutex<State>,
}

struct State {
    /// Somebody is asking.
    asking: bool,
    /// From when it is to be asked again.
    stale_at: Option<Instant>,
    /// When it was wanted last.
    wanted: Instant,
    failures: u32,
}

// === impl Scope ===

impl Scope {
    /// Whether nothing in it is one caller's own.
    pub(super) fn is_everybodys(&self) -> bool {
        self.0.is_none()
    }

    /// Whose list of the server in this place; nothing: everybody's.
    pub(super) fn whose(&self, at: usize) -> Option<&Whose> {
        let all = self.0.as_ref()?;
        all.iter().find(|(place, _)| *place == at).map(|(_, whose)| whose)
    }
}

impl<S: Source> Endpoint<S> {
    /// Which lists are this caller's own.
    pub(super) fn scope(&self, slots: &[Arc<Slot<S>>], asker: Asker<'_>) -> Scope {
        if self.personal.is_empty() {
            return Scope::default();
        }
        let own: Box<[(usize, Whose)]> = self
            .personal
            .iter()
            .filter_map(|at| match slots.get(*at)?.source.own(asker) {
                Ok(own) => Some((*at, Whose::Own(own?.fingerprint()?))),
                Err(_) => Some((*at, Whose::Nobodys)),
            })
            .collect();
        Scope((!own.is_empty()).then_some(own))
    }

    /// Views of an answer that was replaced are compiled anew for the next who asks.
    fn drop_views(&self, at: usize, of: Fingerprint) {
        let _guard = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        let views = self.views.load();
        let keeps = |audience: &Audience| audience.scope.whose(at) != Some(&Whose::Own(of));
        if views.others.keys().all(keeps) {
            return;
        }
        let others = views.others.iter().filter(|(audience, _)| keeps(audience));
        self.views.store(Arc::new(Views {
            everybody: Arc::clone(&views.everybody),
            others: others
                .map(|(audience, view)| (audience.clone(), view.clone()))
                .collect(),
        }));
    }
}

// === impl Shelf ===

impl Shelf {
    /// What is known of what was said to `whose` owner.
    pub(super) fn listing(&self, whose: &Whose) -> Option<Arc<Listing>> {
        match whose {
            Whose::Own(fingerprint) => self.all().get(fingerprint)?.listing.load_full(),
            Whose::Nobodys => None,
        }
    }

    /// The place of whoever presents this; the flag says that it is new.
    fn place(&self, fingerprint: Fingerprint, presented: Arc<Presented>) -> (Arc<Own>, bool) {
        let mut all = self.all();
        if let Some(own) = all.get(&fingerprint) {
            return (Arc::clone(own), false);
        }
        if all.len() >= MOST {
            let longest = all.iter().min_by_key(|(_, own)| own.state().wanted);
            if let Some(longest) = longest.map(|(fingerprint, _)| *fingerprint) {
                all.remove(&longest);
            }
        }
        let own = Arc::new(Own {
            presented,
            listing: ArcSwapOption::empty(),
            tried: watch::Sender::new(false),
            patience: OnceLock::new(),
            state: Mutex::new(State {
                asking: false,
                stale_at: None,
                wanted: Instant::now(),
                failures: 0,
            }),
        });
        all.insert(fingerprint, Arc::clone(&own));
        (own, true)
    }

    /// The server says that its lists have changed, to whomever: they are asked for again when they are wanted.
    pub(super) fn grow_stale(&self) {
        for own in self.all().values() {
            own.state().stale_at = None;
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Fingerprint, Arc<Own>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Own ===

impl Own {
    /// Waits for the first answer, as [`Catalog::settled`] does.
    pub(super) async fn settled(&self, patience: Instant) {
        let until = *self.patience.get_or_init(|| patience);
        let _ = timeout_at(until, self.tried.subscribe().wait_for(|tried| *tried)).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that it is wanted; true if it should be asked for now, by whoever hears that.
    fn wanted(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        state.wanted = now;
        let due = !state.asking && state.stale_at.is_none_or(|at| at <= now);
        state.asking |= due;
        due
    }
}

// === impl Catalog ===

impl<S: Source> Catalog<S> {
    /// Somebody wants a server's lists in the name of the owner of `presented`. They are asked for in the background if that
    /// has not been done or was done long ago. Nothing for what is not one caller's own.
    pub(super) fn freshen(&self, at: usize, presented: Arc<Presented>) -> Option<Arc<Own>> {
        let fingerprint = presented.fingerprint()?;
        let slot = self.slots.get(at)?;
        let (own, new) = slot.shelf.place(fingerprint, presented);
        if own.wanted() {
            tokio::spawn(ask(Weak::clone(&self.me), at, fingerprint, Arc::clone(&own)));
        }
        if new {
            tokio::spawn(forget(
                Weak::clone(&self.me),
                at,
                fingerprint,
                Arc::downgrade(&own),
            ));
        }
        Some(own)
    }

    /// What a server said to the owner of `of` was replaced.
    fn changed_for(&self, at: usize, of: Fingerprint, old: Option<&Listing>, new: &Listing) {
        let differs = |kinds: &[ListKind]| {
            kinds.iter().any(|kind| match old {
                Some(old) => !new.list(*kind).same(old.list(*kind)),
                None => !new.list(*kind).items.is_empty(),
            })
        };
        for endpoint in self
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.personal.contains(&at))
        {
            endpoint.drop_views(at, of);
            // Whoever sees no change in its own lists is not told of one.
            if differs(&[ListKind::Tools]) {
                endpoint.announce(ViewChange::Tools);
            }
            if differs(&[ListKind::Prompts]) {
                endpoint.announce(ViewChange::Prompts);
            }
            if differs(&[ListKind::Resources, ListKind::Templates]) {
                endpoint.announce(ViewChange::Resources);
            }
        }
    }
}

/// Asks a server for its lists in the name of one caller.
async fn ask<S: Source>(catalog: Weak<Catalog<S>>, at: usize, of: Fingerprint, own: Arc<Own>) {
    let Some(slot) = catalog
        .upgrade()
        .and_then(|catalog| catalog.slots.get(at).cloned())
    else {
        return;
    };
    let old = own.listing.load_full();
    let outcome = refresh::refresh_own(&slot, &own.presented, old.clone()).await;
    let new = outcome.listing.map(Arc::new);
    if let Some(new) = &new {
        own.listing.store(Some(Arc::clone(new)));
    }
    {
        let mut state = own.state();
        state.asking = false;
        let pause = match (&outcome.failure, own.listing.load().as_deref()) {
            (None, Some(listing)) => {
                state.failures = 0;
                refresh::fresh_for(listing)
            }
            _ => {
                state.failures = state.failures.saturating_add(1);
                back_off(state.failures)
            }
        };
        state.stale_at = Some(Instant::now() + pause);
    }
    if let Some(why) = &outcome.failure {
        tracing::debug!(
            server = &*slot.name,
            "failed to ask for a caller's own lists: {why}"
        );
    }
    if let (Some(new), Some(catalog)) = (&new, catalog.upgrade()) {
        catalog.changed_for(at, of, old.as_deref(), new);
    }
    own.tried.send_replace(true);
}

/// Takes a caller's lists away when nobody has wanted them for a while.
async fn forget<S: Source>(catalog: Weak<Catalog<S>>, at: usize, of: Fingerprint, own: Weak<Own>) {
    while let Some(until) = own.upgrade().map(|own| own.state().wanted + IDLE) {
        if until > Instant::now() {
            sleep_until(until).await;
            continue;
        }
        let Some(catalog) = catalog.upgrade() else { return };
        if let Some(slot) = catalog.slots.get(at) {
            let mut all = slot.shelf.all();
            // Another may have its place by now.
            if all
                .get(&of)
                .is_some_and(|other| own.ptr_eq(&Arc::downgrade(other)))
            {
                all.remove(&of);
            }
        }
        break;
    }
    if let Some(catalog) = catalog.upgrade() {
        for endpoint in catalog
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.personal.contains(&at))
        {
            endpoint.drop_views(at, of);
        }
    }
}

#[cfg(test)]
mod tests;
