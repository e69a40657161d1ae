//! What is known of credentials that have been looked at, for a while.
//!
//! A credential is never kept: entries are found by its HMAC under a key that this process has made up and nobody else
//! knows, so neither memory that leaks nor the time that a look-up takes says anything about one.
//!
//! Each shard keeps two generations. When the younger is full it becomes the older, and what was the older is dropped;
//! an entry that is still asked for moves to the younger. So there is a bound, what is used stays, and no call pays for
//! putting anything in order.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::{error::Unspecified, hmac, rand::SystemRandom};
use tokio::time::Instant;

const SHARDS: usize = 32;

/// Makes [`Mark`]s.
pub(crate) struct Marker(hmac::Key);

/// What stands for a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark([u8; 32]);

/// Entries by [`Mark`], each until a time of its own.
pub(crate) struct Cache<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    /// The most entries of a generation of a shard.
    room: usize,
}

struct Shard<V> {
    young: Entries<V>,
    old: Entries<V>,
}

type Entries<V> = HashMap<Mark, Entry<V>, BuildHasherDefault<Taken>>;

struct Entry<V> {
    value: V,
    until: Instant,
}

impl Marker {
    pub(crate) fn new() -> Result<Self, Unspecified> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map(Self)
    }

    pub(crate) fn mark(&self, credential: &[u8]) -> Mark {
        let mut mark = [0; 32];
        let tag = hmac::sign(&self.0, credential);
        mark.iter_mut()
            .zip(tag.as_ref())
            .for_each(|(to, from)| *to = *from);
        Mark(mark)
    }
}

impl<V: Clone> Cache<V> {
    /// With room for about `most` entries.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            room: (most / SHARDS / 2).max(1),
        }
    }

    fn shard(&self, mark: &Mark) -> MutexGuard<'_, Shard<V>> {
        self.shards[usize::from(mark.0[0]) % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, mark: &Mark, now: Instant) -> Option<V> {
        let mut shard = self.shard(mark);
        if let Some(entry) = shard.young.get(mark) {
            if entry.until > now {
                return Some(entry.value.clone());
            }
            shard.young.remove(mark);
            return None;
        }
        let entry = shard.old.remove(mark).filter(|entry| entry.until > now)?;
        let value = entry.value.clone();
        shard.put(*mark, entry, self.room);
        Some(value)
    }

    pub(crate) fn put(&self, mark: Mark, value: V, until: Instant) {
        self.shard(&mark).put(mark, Entry { value, until }, self.room);
    }
}

impl<V> Shard<V> {
    fn put(&mut self, mark: Mark, entry: Entry<V>, room: usize) {
        if self.young.len() >= room {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(mark, entry);
    }
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
        }
    }
}

impl std::hash::Hash for Mark {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// A [`Mark`] is as random as a hash: eight bytes of it do.
#[derive(Default)]
struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let taken = bytes.last_chunk().copied().unwrap_or_default();
        self.0 = u64::from_le_bytes(taken);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn marks_say_nothing_and_are_this_processes_own() {
        let (one, other) = (Marker::new().unwrap(), Marker::new().unwrap());
        assert!(one.mark(b"a") == one.mark(b"a"));
        assert!(one.mark(b"a") != one.mark(b"b"));
        assert!(one.mark(b"a") != other.mark(b"a"));
    }

    #[test]
    fn entries_end() {
        let (cache, marker) = (Cache::new(1000), Marker::new().unwrap());
        let now = Instant::now();
        cache.put(marker.mark(b"a"), 1, now + Duration::from_secs(5));
        let at = |seconds| cache.get(&marker.mark(b"a"), now + Duration::from_secs(seconds));
        assert_eq!(at(4), Some(1));
        assert_eq!(at(5), None);
        // Looked at when it was over: it is gone.
        assert_eq!(at(0), None);
        assert_eq!(cache.get(&marker.mark(b"b"), now), None);
    }

    #[test]
    fn there_is_a_bound_and_what_is_used_stays() {
        let (cache, marker) = (Cache::new(640), Marker::new().unwrap());
        let now = Instant::now();
        let until = now + Duration::from_secs(5);
        cache.put(marker.mark(b"used"), 0, until);
        for number in 0..10_000 {
            cache.put(marker.mark(number.to_string().as_bytes()), number, until);
            assert_eq!(cache.get(&marker.mark(b"used"), now), Some(0));
        }
        let kept: usize = cache
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap())
            .map(|shard| shard.young.len() + shard.old.len())
            .sum();
        assert!((320..=640).contains(&kept), "{kept}");
        assert_eq!(cache.get(&marker.mark(b"0"), now), None);
        assert_eq!(cache.get(&marker.mark(b"9999"), now), Some(9999));
    }
}
