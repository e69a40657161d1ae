//! How much of it: limits of rates and of calls at once, and daily quotas.
//!
//! The arithmetic is `gatepost_policy::limit`; here is whose counters there are, and when they are asked. There are three
//! points, each as early as what it needs is known, because a refusal should cost as little as possible:
//!
//! | point | asks | where it is known |
//! | --- | --- | --- |
//! | [`Limits::arrive`] | rates per address | before identity |
//! | [`Limits::enter`] | rates per principal, per tenant and of the whole gate | before the body is read |
//! | [`Limits::call`] | all that names tools or servers or has a `match`, calls at once, quotas | when the target is known |
//!
//! At each point a call is charged to everything there or, if anything has no room, to nothing (`table.rs` says how, without
//! a lock over all). What an earlier point has charged stays charged when a later one refuses: the message was read, and
//! taking it back would admit more than a limit allows when others have been refused meanwhile.
//!
//! Counters of addresses, which strangers can make as many of as they like, are apart from those of known callers.

mod clock;
mod counter;
mod entry;
mod key;
mod quota;
mod table;
#[cfg(test)]
mod tests;
mod wait;

use std::{
    fmt::Write,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use gatepost_config::{Limit, Per, Quota};
use gatepost_policy::{
    Action, Principal,
    limit::{Meter, Rate, TokenBucket},
};
use smallvec::SmallVec;

pub(crate) use clock::{Clock, SystemClock};
use entry::{Entry, Measure, Stage};
use key::{Key, Keyed, Subject};
use table::{CAPACITY, Few, Table, Wanted};
use wait::Wait;

use crate::metrics::header;

/// How many credentials one address may present that are refused: so many at once, and so many a minute.
const FAILURES_A_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// After this time without a failure every address is as good as new.
const FAILURES_IN: Duration = Duration::from_secs(60);

/// All limits and quotas of a configuration, and what they have counted.
pub(crate) struct Limits {
    entries: Box<[Entry]>,
    /// Which entries each point asks.
    arrive: Box<[usize]>,
    enter: Box<[usize]>,
    call: Box<[usize]>,
    /// Refused credentials per address; always there.
    failures: Entry,
    /// Records of refused strangers per address; always there.
    records: Entry,
    /// When the latest failure was, in nanoseconds; zero if never. Mostly nobody guesses, and then nobody waits for a lock to hear it.
    failed: AtomicU64,
    keyed: Keyed,
    /// Counters of addresses, before identity.
    strangers: Table,
    /// All others.
    known: Table,
    clock: Arc<dyn Clock>,
    /// Held while quotas are saved.
    saving: Mutex<()>,
}

/// A limit or quota is reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {words} is reached; try again in {}", Wait(self.seconds()))]
pub struct Exceeded {
    /// Which: the entry's place in `limits`, and after those in `quotas`. `None`: the gate's own, of refused credentials.
    pub(crate) index: Option<usize>,
    /// The limit in words for people: `100/min per principal`.
    pub(crate) words: Arc<str>,
    /// When all that refused will have room, if nobody else comes.
    pub(crate) retry_after: Duration,
    /// What is over.
    pub(crate) scope: Scope,
}

impl Exceeded {
    /// For a `Retry-After` header: whole seconds, rounded up, at least one.
    pub(crate) fn seconds(&self) -> u64 {
        let up = u64::from(self.retry_after.subsec_nanos() > 0);
        self.retry_after.as_secs().saturating_add(up).max(1)
    }
}

/// What is over: whether the caller can do something else meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The caller is: whatever they do next is refused too. HTTP 429.
    Caller,
    /// A server, a tool, or some tools are. An error of the tool.
    Target,
}

/// The right to one call: a place among those that run at once, given back when this is dropped, and where its bytes count.
#[must_use]
#[derive(Default)]
pub(crate) struct Permit(Option<Held>);

struct Held {
    limits: Arc<Limits>,
    keys: SmallVec<[Key; 2]>,
}

impl Permit {
    /// Counts bytes of the call, of its arguments or its answer, on the quotas that it was charged to. They are counted
    /// after the fact: the call that goes over a quota is the last one that ran.
    pub(crate) fn add_bytes(&self, bytes: u64) {
        if let Some(held) = &self.0 {
            for key in &held.keys {
                held.limits.known.add_bytes(*key, &held.limits.entries, bytes);
            }
        }
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for key in &self.keys {
            self.limits.known.release(*key);
        }
    }
}

impl Limits {
    /// Limits that have counted nothing yet; see [`Limits::load`].
    pub(crate) fn new(limits: &[Limit], quotas: &[Quota], clock: Arc<dyn Clock>) -> Self {
        Self::bounded(limits, quotas, clock, CAPACITY)
    }

    /// The same with room for `capacity` counters in each table.
    fn bounded(limits: &[Limit], quotas: &[Quota], clock: Arc<dyn Clock>, capacity: usize) -> Self {
        let keyed = Keyed::new();
        // One byte, which no holder is.
        let nonce = |index: usize| {
            keyed
                .key(&[0xff; 1])
                .of(keyed.key(format!("entry {index}").as_bytes()))
        };
        let of_quota = |(place, quota): (usize, &Quota)| {
            let same = |other: &&Quota| other.per == quota.per && other.matching == quota.matching;
            let twins = quotas[..place].iter().filter(same).count();
            Entry::quota(quota, twins, nonce(limits.len() + place))
        };
        let entries: Box<[Entry]> = limits
            .iter()
            .enumerate()
            .map(|(index, limit)| Entry::limit(limit, nonce(index)))
            .chain(quotas.iter().enumerate().map(of_quota))
            .collect();
        let at = |stage| {
            (0..entries.len())
                .filter(|&index| entries[index].stage() == stage)
                .collect()
        };
        let (arrive, enter, call) = (at(Stage::Arrive), at(Stage::Enter), at(Stage::Call));
        let rate = Rate::new(FAILURES_A_MINUTE, FAILURES_IN);
        let failures = Entry::named(
            Per::Ip,
            None,
            Measure::Rate(Meter::TokenBucket(TokenBucket::new(rate, FAILURES_A_MINUTE))),
            nonce(usize::MAX),
            format!("{rate} refused credentials per address"),
        );
        let records = Entry::named(
            Per::Ip,
            None,
            Measure::Rate(Meter::TokenBucket(TokenBucket::new(rate, FAILURES_A_MINUTE))),
            nonce(usize::MAX - 1),
            format!("{rate} records of refusals per address"),
        );
        Self {
            entries,
            arrive,
            enter,
            call,
            failures,
            records,
            failed: AtomicU64::new(0),
            keyed,
            strangers: Table::new(capacity, Arc::clone(&clock), false),
            known: Table::new(capacity, Arc::clone(&clock), !quotas.is_empty()),
            clock,
            saving: Mutex::default(),
        }
    }

    /// Somebody has connected from `address` and asks for something. Nobody's address is limited who has none.
    ///
    /// # Errors
    /// When a rate per address is reached.
    pub(crate) fn arrive(&self, address: Option<IpAddr>) -> Result<(), Exceeded> {
        let subject = Subject {
            principal: None,
            address,
            action: None,
        };
        self.charge(&self.strangers, &self.arrive, subject).map(drop)
    }

    /// Whether credentials from `address` may be looked at, or whether too many were refused lately. Ask this only of
    /// credentials that are not already known to be good, so that nobody who has come in is kept out by a neighbour.
    ///
    /// # Errors
    /// When too many were.
    pub(crate) fn may_try(&self, address: Option<IpAddr>) -> Result<(), Exceeded> {
        let failed = self.failed.load(Relaxed);
        let since = || Duration::from_nanos(self.clock.nanos().saturating_sub(failed));
        if failed == 0 || since() > FAILURES_IN {
            return Ok(());
        }
        let Some(key) = self.key_of(&self.failures, Subject::from(address)) else {
            return Ok(());
        };
        self.strangers.room(&self.failures, key).map_err(|retry_after| {
            self.failures.count_refusal();
            Exceeded {
                index: None,
                words: Arc::clone(&self.failures.words),
                retry_after,
                scope: Scope::Caller,
            }
        })
    }

    /// Credentials from `address` were refused.
    pub(crate) fn refused(&self, address: Option<IpAddr>) {
        let subject = Subject::from(address);
        if let Some(key) = self.key_of(&self.failures, subject) {
            let wanted = Wanted {
                index: usize::MAX,
                entry: &self.failures,
                key,
            };
            // Beyond the burst nothing is counted, so that the one who stops is heard again soon.
            let _ = self.strangers.charge(&mut [wanted], subject);
            self.failed.fetch_max(self.clock.nanos().max(1), Relaxed);
        }
    }

    /// Whether one more refusal of somebody at `address` whom nobody knows is to be on record. A record takes room on the
    /// disk, and whoever fills the disk stops a gate that takes no calls without records.
    pub(crate) fn is_worth_a_record(&self, address: Option<IpAddr>) -> bool {
        let subject = Subject::from(address);
        let Some(key) = self.key_of(&self.records, subject) else {
            return true;
        };
        let wanted = Wanted {
            index: usize::MAX,
            entry: &self.records,
            key,
        };
        self.strangers.charge(&mut [wanted], subject).is_ok()
    }

    /// `principal` is known, and nothing of what it wants.
    ///
    /// # Errors
    /// When one of its rates is reached, or its tenant's, or the gate's.
    pub(crate) fn enter(&self, principal: &Principal) -> Result<(), Exceeded> {
        let subject = Subject {
            principal: Some(principal),
            address: None,
            action: None,
        };
        self.charge(&self.known, &self.enter, subject).map(drop)
    }

    /// `principal`, at `address`, is about to do `action`, and may. The permit is to be kept as long as that takes.
    ///
    /// # Errors
    /// When a limit or quota is reached.
    pub(crate) fn call(
        self: &Arc<Self>,
        principal: &Principal,
        address: Option<IpAddr>,
        action: &Action<'_>,
    ) -> Result<Permit, Exceeded> {
        let subject = Subject {
            principal: Some(principal),
            address,
            action: Some(action),
        };
        let keys = self.charge(&self.known, &self.call, subject)?;
        Ok(Permit((!keys.is_empty()).then(|| Held {
            limits: Arc::clone(self),
            keys,
        })))
    }

    /// Counts bytes that `principal`, at `address`, is told of `action` after its call has been answered. Like all bytes they are
    /// counted after the fact.
    pub(crate) fn spend(
        &self,
        principal: &Principal,
        address: Option<IpAddr>,
        action: &Action<'_>,
        bytes: u64,
    ) {
        let subject = Subject {
            principal: Some(principal),
            address,
            action: Some(action),
        };
        for (index, entry) in self.entries.iter().enumerate() {
            if matches!(entry.measure, Measure::Day { bytes: Some(_), .. })
                && entry.counts(subject.action)
                && let Some(key) = self.key_of(entry, subject)
            {
                self.known.spend(Wanted { index, entry, key }, subject, bytes);
            }
        }
    }

    /// The limits and quotas that count `action`, in words for people. Callers without a tenant are together like one.
    pub(crate) fn counting(&self, action: &Action<'_>) -> impl Iterator<Item = &str> {
        let counting = self.entries.iter().filter(|entry| entry.counts(Some(action)));
        counting.map(|entry| &*entry.words)
    }

    /// Charges `subject` to those of `indices` that count it, all or none. The keys are those that want to hear more of it.
    fn charge(
        &self,
        table: &Table,
        indices: &[usize],
        subject: Subject<'_>,
    ) -> Result<SmallVec<[Key; 2]>, Exceeded> {
        if indices.is_empty() {
            return Ok(SmallVec::new());
        }
        // Most entries are per the same thing: its hash is made once.
        let mut made: Few<(Per, Option<Key>)> = SmallVec::new();
        let mut wanted: Few<Wanted<'_>> = SmallVec::new();
        for &index in indices {
            let entry = &self.entries[index];
            if !entry.counts(subject.action) {
                continue;
            }
            let known = made.iter().find(|(per, _)| *per == entry.per).copied();
            let (_, key) = known.unwrap_or_else(|| {
                let key = subject
                    .holder(entry.per)
                    .map(|holder| self.keyed.key(holder.bytes()));
                made.push((entry.per, key));
                (entry.per, key)
            });
            wanted.extend(key.map(|key| Wanted {
                index,
                entry,
                key: key.of(entry.nonce),
            }));
        }
        let charged = table.charge(&mut wanted, subject);
        charged.map_err(|lacks| self.exceeded(&lacks))?;
        let lasting = |one: &&Wanted<'_>| !matches!(one.entry.measure, Measure::Rate(_));
        Ok(wanted.iter().filter(lasting).map(|one| one.key).collect())
    }

    /// Says what is over: the entry that takes longest, so that whoever waits for it has room everywhere.
    fn exceeded(&self, lacks: &[table::Lack]) -> Exceeded {
        let mut longest = (Duration::ZERO, 0);
        let mut scope = Scope::Target;
        for lack in lacks {
            let entry = &self.entries[lack.index];
            entry.count_refusal();
            if entry.scope() == Scope::Caller {
                scope = Scope::Caller;
            }
            if lack.wait >= longest.0 {
                longest = (lack.wait, lack.index);
            }
        }
        let (retry_after, index) = longest;
        Exceeded {
            index: Some(index),
            words: Arc::clone(&self.entries[index].words),
            retry_after,
            scope,
        }
    }

    fn key_of(&self, entry: &Entry, subject: Subject<'_>) -> Option<Key> {
        let holder = subject.holder(entry.per)?;
        Some(self.keyed.key(holder.bytes()).of(entry.nonce))
    }

    /// Days since 1970.
    fn today(&self) -> u32 {
        u32::try_from(self.clock.unix_millis() / counter::DAY).unwrap_or(u32::MAX)
    }

    /// How many calls each entry has refused, in words and numbers; the gate's own limit of refused credentials is the last.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&str, u64)> {
        let all = self.entries.iter().chain([&self.failures]);
        all.map(|entry| (&*entry.words, entry.refused.load(Relaxed)))
    }

    /// In Prometheus' text form.
    pub(crate) fn write(&self, out: &mut String) {
        header(
            out,
            "gatepost_limited_total",
            "counter",
            "Calls that were refused because a limit or quota was reached.",
        );
        for (words, refused) in self.refusals() {
            let words = words.replace('\\', r"\\").replace('"', "\\\"");
            let _ = writeln!(out, "gatepost_limited_total{{limit=\"{words}\"}} {refused}");
        }
        let tables = [("address", &self.strangers), ("caller", &self.known)];
        header(
            out,
            "gatepost_limit_counters",
            "gauge",
            "Counters of limits that are held in memory.",
        );
        for (of, table) in tables {
            let _ = writeln!(out, "gatepost_limit_counters{{of=\"{of}\"}} {}", table.len());
        }
        header(
            out,
            "gatepost_limit_counters_lost_total",
            "counter",
            "Counters that found no room: forgotten while used, or shared by newcomers.",
        );
        for (of, table) in tables {
            for (how, count) in [("forgotten", &table.evicted), ("shared", &table.shared)] {
                let count = count.load(Relaxed);
                let _ = writeln!(
                    out,
                    "gatepost_limit_counters_lost_total{{of=\"{of}\",how=\"{how}\"}} {count}"
                );
            }
        }
    }
}

impl From<Option<IpAddr>> for Subject<'_> {
    fn from(address: Option<IpAddr>) -> Self {
        Self {
            principal: None,
            address,
            action: None,
        }
    }
}
