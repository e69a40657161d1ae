//! Counters by key, in shards: a call locks the few shards that its own counters are in, and nothing else.
//!
//! **All or none.** A call that several entries count locks all of its shards in ascending order, so that no two calls wait
//! for each other; asks every counter for room; and charges all of them or none. Nothing is taken back afterwards, so nobody
//! is refused for the sake of a call that was refused itself. The clock is read while the locks are held, hence no counter
//! ever sees it run back.
//!
//! **Bounded.** A counter that has come to equal one never used is forgotten: each new key looks at a few old ones in turn.
//! A full shard forgets the next one that has used less than an eighth of what it admits, or of the next sixteen the one that
//! has used least, if that is less than half; whoever is near a limit keeps their counter. If all sixteen are near it, the
//! newcomers of that shard share one counter for each entry: they are limited together rather than not at all. (Who gets a
//! counter of their own later begins it anew, so a newcomer may once have twice what the limit admits. To keep them sharing
//! until their common counter is quiet would keep them so long after a flood.)

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use gatepost_store::{Added, Used};
use smallvec::SmallVec;

use super::{
    clock::Clock,
    counter::{Counter, Day, Now},
    entry::{Entry, Measure},
    key::{Holder, Key, Subject},
};

/// How many shards there are, a power of two.
pub(super) const SHARDS: usize = 64;

/// How many counters a table holds at most: 262,144, some 30 MB, or 70 MB if all are of sliding windows.
pub(super) const CAPACITY: usize = SHARDS * 4_096;

/// How many old counters a new key looks at.
const SWEPT: usize = 4;
/// And how many when its shard is full.
const WEIGHED: usize = 16;
/// From here on a counter is too much used to be forgotten.
const HOT: u8 = 128;
/// Below this one is so little used that no other need be looked at.
const COLD: u8 = 32;

/// Counters by key.
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    capacity: usize,
    clock: Arc<dyn Clock>,
    /// Whether any entry counts days, and the wall clock matters.
    days: bool,
    /// New keys that had to share a counter.
    pub(super) shared: AtomicU64,
    /// Counters that were forgotten although they were used.
    pub(super) evicted: AtomicU64,
}

/// What a call wants of one entry.
pub(super) struct Wanted<'a> {
    pub(super) index: usize,
    pub(super) entry: &'a Entry,
    /// Where it is counted; after a charge the key it was counted at, which differs for a shared counter.
    pub(super) key: Key,
}

/// An entry that had no room, and for how long.
pub(super) struct Lack {
    pub(super) index: usize,
    pub(super) wait: Duration,
}

/// What most calls want at once.
pub(super) type Few<T> = SmallVec<[T; 4]>;

#[derive(Default)]
struct Shard {
    places: HashMap<Key, u32, BuildHasherDefault<Already>>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Where the next look at old counters begins.
    hand: usize,
    /// Days with something to save.
    unsaved: Vec<Key>,
    /// What was not saved of days that are over.
    over: Vec<Added>,
}

struct Slot {
    key: Key,
    counter: Counter,
    /// A call is about to charge it.
    pinned: bool,
}

/// A key is a random hash already.
#[derive(Default)]
struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }
}

impl std::hash::Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
    }
}

impl Key {
    fn shard(self) -> usize {
        (self.high >> (u64::BITS - SHARDS.ilog2())) as usize
    }

    /// The key in the same shard that all newcomers share.
    fn shared(self, entry: &Entry) -> Self {
        let bits = u64::MAX >> SHARDS.ilog2();
        Self {
            high: (self.high & !bits) | (entry.nonce.high & bits),
            low: entry.nonce.low,
        }
    }
}

impl Table {
    pub(super) fn new(capacity: usize, clock: Arc<dyn Clock>, days: bool) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            capacity: capacity / SHARDS,
            clock,
            days,
            shared: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        }
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        // Nothing that is done under the lock can leave a counter half changed.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now {
            nanos: self.clock.nanos(),
            wall: if self.days { self.clock.unix_millis() } else { 0 },
        }
    }

    /// Charges one call of `subject` to everything `wanted`, or nothing, and then says what had no room.
    pub(super) fn charge(&self, wanted: &mut [Wanted<'_>], subject: Subject<'_>) -> Result<(), Few<Lack>> {
        wanted.sort_unstable_by_key(|one| one.key.shard());
        let mut held: Few<(usize, MutexGuard<'_, Shard>)> = SmallVec::new();
        for one in &*wanted {
            let shard = one.key.shard();
            if held.last().is_none_or(|(latest, _)| *latest != shard) {
                held.push((shard, self.lock(shard)));
            }
        }
        let now = self.now();

        let mut places: Few<(usize, u32)> = SmallVec::new();
        let mut lacks = Few::new();
        let mut at = 0;
        for one in &mut *wanted {
            while held[at].0 != one.key.shard() {
                at += 1;
            }
            let shard = &mut *held[at].1;
            let place = self.place(shard, one, subject, now);
            places.push((at, place));
            if let Some(slot) = shard.slot(place) {
                slot.pinned = true;
            }
            shard.turn(place, one.entry, now);
            let room = shard
                .slot(place)
                .map(|slot| slot.counter.room(&one.entry.measure, now));
            if let Some(Err(wait)) = room {
                lacks.push(Lack {
                    index: one.index,
                    wait,
                });
            }
        }
        for (at, place) in places {
            let shard = &mut *held[at].1;
            if let Some(slot) = shard.slot(place) {
                slot.pinned = false;
                if lacks.is_empty() {
                    slot.counter.charge(now);
                    shard.list(place);
                }
            }
        }
        if lacks.is_empty() { Ok(()) } else { Err(lacks) }
    }

    /// Whether there would be room, without counting anything or making a counter.
    pub(super) fn room(&self, entry: &Entry, key: Key) -> Result<(), Duration> {
        let mut shard = self.lock(key.shard());
        let now = self.now();
        let own = shard.places.get(&key);
        // Who has no counter and would get none shares that of the newcomers.
        let crowded = shard.places.len() >= self.capacity;
        let shared = || shard.places.get(&key.shared(entry)).filter(|_| crowded);
        let Some(place) = own.or_else(shared).copied() else {
            return Ok(());
        };
        shard
            .slot(place)
            .map_or(Ok(()), |slot| slot.counter.room(&entry.measure, now))
    }

    /// A call that was charged at `key` has ended.
    pub(super) fn release(&self, key: Key) {
        let mut shard = self.lock(key.shard());
        if let Some(place) = shard.places.get(&key).copied()
            && let Some(slot) = shard.slot(place)
        {
            slot.counter.release();
        }
    }

    /// Adds bytes to the day of a call that was charged at `key` and runs.
    pub(super) fn add_bytes(&self, key: Key, entries: &[Entry], bytes: u64) {
        let mut shard = self.lock(key.shard());
        let Some(place) = shard.places.get(&key).copied() else {
            return;
        };
        let Some(entry) = shard.day(place).and_then(|day| entries.get(day.entry)) else {
            return;
        };
        shard.turn(place, entry, self.now());
        shard.add_bytes(place, bytes);
    }

    /// The same for what belongs to no call that runs.
    pub(super) fn spend(&self, mut one: Wanted<'_>, subject: Subject<'_>, bytes: u64) {
        let mut shard = self.lock(one.key.shard());
        let now = self.now();
        let place = self.place(&mut shard, &mut one, subject, now);
        shard.turn(place, one.entry, now);
        shard.add_bytes(place, bytes);
    }

    /// Where the counter for `one` is; there is one from now on.
    fn place(&self, shard: &mut Shard, one: &mut Wanted<'_>, subject: Subject<'_>, now: Now) -> u32 {
        if let Some(place) = shard.places.get(&one.key) {
            return *place;
        }
        shard.sweep(SWEPT, now);
        while shard.places.len() >= self.capacity {
            match shard.weigh(now) {
                Weighed::Forgot => {}
                Weighed::Evicted => {
                    self.evicted.fetch_add(1, Relaxed);
                }
                Weighed::AllHot => {
                    self.shared.fetch_add(1, Relaxed);
                    one.key = one.key.shared(one.entry);
                    if let Some(place) = shard.places.get(&one.key) {
                        return *place;
                    }
                    // So that the store does not take it for anybody's.
                    let nobody = [u8::try_from(one.key.shard()).unwrap_or(u8::MAX)];
                    return shard.insert(one.key, one.index, one.entry, &nobody, now);
                }
            }
        }
        // Only the store wants to know whose it is.
        let holder = match &one.entry.measure {
            Measure::Day { .. } => subject.holder(one.entry.per),
            Measure::Rate(_) | Measure::Concurrency(_) => None,
        };
        let holder = holder.as_ref().map(Holder::bytes).unwrap_or_default();
        shard.insert(one.key, one.index, one.entry, holder, now)
    }

    /// How many counters there are.
    pub(super) fn len(&self) -> usize {
        (0..SHARDS).map(|shard| self.lock(shard).places.len()).sum()
    }

    // === What quotas keep ===

    /// What is known of a holder's day from before the start.
    pub(super) fn know(&self, index: usize, entry: &Entry, key: Key, holder: &[u8], day: u32, used: Used) {
        // The counter that newcomers share has only the number of its shard for a holder.
        let (key, number) = match holder {
            [number] if usize::from(*number) < SHARDS => {
                let bits = u64::MAX >> SHARDS.ilog2();
                let high = (u64::from(*number) << bits.count_ones()) | (key.high & bits);
                (Key { high, ..key }.shared(entry), usize::from(*number))
            }
            _ => (key, key.shard()),
        };
        let mut shard = self.lock(number);
        let now = self.now();
        let known = shard.places.get(&key).copied();
        let place = known.unwrap_or_else(|| shard.insert(key, index, entry, holder, now));
        if let Some(kept) = shard.day(place).filter(|kept| kept.day == day) {
            kept.stored = used;
        }
    }

    /// Takes what one shard has to save. What is taken counts as being saved until [`Table::saved`] says how it went.
    pub(super) fn take_unsaved(
        &self,
        shard: usize,
        entries: &[Entry],
        keys: &mut Vec<Key>,
        additions: &mut Vec<Added>,
    ) {
        let mut shard = self.lock(shard);
        for key in mem::take(&mut shard.unsaved) {
            let Some(place) = shard.places.get(&key).copied() else {
                continue;
            };
            if let Some(day) = shard.day(place) {
                day.listed = false;
                day.saving = mem::take(&mut day.unsaved);
                let added = entries
                    .get(day.entry)
                    .and_then(|entry| added(entry, day, day.saving));
                if let Some(added) = added {
                    keys.push(key);
                    additions.push(added);
                }
            }
        }
        // Of a day that is over nobody waits for the sum: the key is that of no counter.
        keys.extend(shard.over.iter().map(|_| Key { high: 0, low: 0 }));
        additions.append(&mut shard.over);
    }

    /// The end of a save: the new sum, or `None` if nothing was saved and it must be tried again.
    pub(super) fn saved(&self, key: Key, added: Added, sum: Option<Used>) {
        let mut shard = self.lock(key.shard());
        let place = shard.places.get(&key).copied();
        let day = place.and_then(|place| shard.day(place));
        if let Some(day) = day.filter(|day| day.day == added.day) {
            day.saving = Used::default();
            match sum {
                Some(sum) => day.stored = sum,
                None => day.unsaved = day.unsaved.plus(added.used),
            }
            if let Some(place) = place {
                shard.list(place);
            }
        } else if sum.is_none() {
            shard.over.push(added);
        }
    }
}

/// What the store is to add; nothing for an entry that has no days.
fn added(entry: &Entry, day: &Day, used: Used) -> Option<Added> {
    let Measure::Day { name, .. } = &entry.measure else {
        return None;
    };
    (used != Used::default()).then(|| Added {
        quota: name.to_string(),
        key: day.holder.to_vec(),
        day: day.day,
        used,
    })
}

/// What became of a full shard.
enum Weighed {
    /// A counter was forgotten that nobody misses.
    Forgot,
    /// A used one was.
    Evicted,
    /// None can be.
    AllHot,
}

impl Shard {
    fn add_bytes(&mut self, place: u32, bytes: u64) {
        if let Some(day) = self.day(place) {
            day.unsaved = day.unsaved.plus(Used { calls: 0, bytes });
            self.list(place);
        }
    }

    fn slot(&mut self, place: u32) -> Option<&mut Slot> {
        self.slots.get_mut(place as usize)?.as_mut()
    }

    fn day(&mut self, place: u32) -> Option<&mut Day> {
        match &mut self.slot(place)?.counter {
            Counter::Day(day) => Some(day),
            Counter::Meter(_) | Counter::Running(_) => None,
        }
    }

    fn insert(&mut self, key: Key, index: usize, entry: &Entry, holder: &[u8], now: Now) -> u32 {
        let slot = Slot {
            key,
            counter: Counter::fresh(index, &entry.measure, holder, now),
            pinned: false,
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // A shard is far smaller than that.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(free) = self.slots.get_mut(place as usize) {
            *free = Some(slot);
        }
        self.places.insert(key, place);
        place
    }

    fn forget(&mut self, place: u32) {
        if let Some(slot) = self.slots.get_mut(place as usize).and_then(Option::take) {
            self.places.remove(&slot.key);
            self.free.push(place);
        }
    }

    /// The next place to look at, and what its counter is worth; `None` if it is empty or in use this moment.
    fn next(&mut self, now: Now) -> Option<(u32, Option<u8>)> {
        self.hand = if self.hand + 1 < self.slots.len() {
            self.hand + 1
        } else {
            0
        };
        let slot = self.slots.get(self.hand)?.as_ref()?;
        let place = u32::try_from(self.hand).ok()?;
        (!slot.pinned).then(|| (place, slot.counter.worth(now)))
    }

    /// Forgets what is worth nothing among the next `count`.
    fn sweep(&mut self, count: usize, now: Now) {
        for _ in 0..count {
            if let Some((place, None)) = self.next(now) {
                self.forget(place);
            }
        }
    }

    /// Makes room for one, if that harms nobody who is near a limit.
    fn weigh(&mut self, now: Now) -> Weighed {
        let mut least: Option<(u8, u32)> = None;
        for _ in 0..WEIGHED {
            match self.next(now) {
                Some((place, None)) => {
                    self.forget(place);
                    return Weighed::Forgot;
                }
                Some((place, Some(worth))) if worth < COLD => {
                    self.forget(place);
                    return Weighed::Evicted;
                }
                Some((place, Some(worth))) => {
                    let this = (worth, place);
                    least = Some(least.map_or(this, |least| least.min(this)));
                }
                None => {}
            }
        }
        match least {
            Some((worth, place)) if worth < HOT => {
                self.forget(place);
                Weighed::Evicted
            }
            _ => Weighed::AllHot,
        }
    }

    /// Begins a new day where it is time, and keeps what the last has not saved.
    fn turn(&mut self, place: u32, entry: &Entry, now: Now) {
        let Some(day) = self.day(place) else {
            return;
        };
        let date = day.day;
        if let Some(left) = day.turn(now.day()) {
            let left = added(entry, day, left).map(|added| Added { day: date, ..added });
            self.over.extend(left);
        }
    }

    /// Remembers that a day has something to save.
    fn list(&mut self, place: u32) {
        if let Some(Slot {
            key,
            counter: Counter::Day(day),
            ..
        }) = self.slot(place)
            && !day.listed
            && day.unsaved != Used::default()
        {
            day.listed = true;
            let key = *key;
            self.unsaved.push(key);
        }
    }
}
