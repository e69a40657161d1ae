//! What is kept as long as the process lives: for gates that shall leave nothing behind, and for tests.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gatepost_policy::Principal;
use zeroize::Zeroizing;

use crate::{
    Added, Counters, Credentials, Kept, Keys, Revoked, Slot, StoreError, StoredKey, Token, UnixSeconds, Used,
};

/// A store without a file.
#[derive(Default)]
pub struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    keys: BTreeMap<Arc<str>, StoredKey>,
    keys_version: u64,
    /// By server, principal and name.
    tokens: BTreeMap<(String, Principal, String), (Zeroizing<String>, UnixSeconds)>,
    tokens_version: u64,
    /// By day, quota and key.
    counters: BTreeMap<(u32, String, Vec<u8>), Used>,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl Keys for Memory {
    fn insert(&self, key: &StoredKey) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.keys.contains_key(&key.record.id) {
            return Err(StoreError::Taken {
                id: key.record.id.to_string(),
            });
        }
        state.keys.insert(key.record.id.clone(), key.clone());
        state.keys_version += 1;
        Ok(())
    }

    fn list(&self) -> Result<Vec<StoredKey>, StoreError> {
        let mut keys: Vec<StoredKey> = self.state().keys.values().cloned().collect();
        // They come by id, and stay so within one second.
        keys.sort_by_key(|key| key.created);
        Ok(keys)
    }

    fn find(&self, id: &str) -> Result<Option<StoredKey>, StoreError> {
        Ok(self.state().keys.get(id).cloned())
    }

    fn revoke(&self, id: &str, now: UnixSeconds) -> Result<Revoked, StoreError> {
        let mut state = self.state();
        let Some(key) = state.keys.get_mut(id) else {
            return Ok(Revoked::Unknown);
        };
        if let Some(at) = key.revoked {
            return Ok(Revoked::Before(at));
        }
        key.revoked = Some(now);
        state.keys_version += 1;
        Ok(Revoked::Now)
    }

    fn used(&self, uses: &[(Arc<str>, UnixSeconds)]) -> Result<(), StoreError> {
        let mut state = self.state();
        for (id, at) in uses {
            if let Some(key) = state.keys.get_mut(id) {
                key.last_used = key.last_used.max(Some(*at));
            }
        }
        Ok(())
    }

    fn version(&self) -> Result<u64, StoreError> {
        Ok(self.state().keys_version)
    }
}

fn place(slot: Slot<'_>) -> (String, Principal, String) {
    (
        slot.server.to_owned(),
        slot.principal.clone(),
        slot.name.to_owned(),
    )
}

impl Credentials for Memory {
    fn set(&self, slot: Slot<'_>, token: &Token, now: UnixSeconds) -> Result<bool, StoreError> {
        let mut state = self.state();
        let text = Zeroizing::new(token.expose().to_owned());
        state.tokens_version += 1;
        Ok(state.tokens.insert(place(slot), (text, now)).is_some())
    }

    fn get(&self, slot: Slot<'_>) -> Result<Option<Token>, StoreError> {
        let text = self
            .state()
            .tokens
            .get(&place(slot))
            .map(|(text, _)| text.clone());
        // What is here was a token once, and is one still.
        Ok(text.and_then(|text| Token::new(text).ok()))
    }

    fn list(&self) -> Result<Vec<Kept>, StoreError> {
        let kept = self
            .state()
            .tokens
            .iter()
            .map(|((server, principal, name), (_, set))| Kept {
                server: server.clone(),
                principal: principal.clone(),
                name: name.clone(),
                set: *set,
                opens: true,
            })
            .collect();
        Ok(kept)
    }

    fn remove(&self, slot: Slot<'_>) -> Result<bool, StoreError> {
        let mut state = self.state();
        let removed = state.tokens.remove(&place(slot)).is_some();
        state.tokens_version += u64::from(removed);
        Ok(removed)
    }

    fn version(&self) -> Result<u64, StoreError> {
        Ok(self.state().tokens_version)
    }
}

impl Counters for Memory {
    fn add(&self, additions: &[Added]) -> Result<Vec<Used>, StoreError> {
        let mut state = self.state();
        let totals = additions.iter().map(|one| {
            let place = (one.day, one.quota.clone(), one.key.clone());
            let total = state.counters.entry(place).or_default();
            *total = total.plus(one.used);
            *total
        });
        Ok(totals.collect())
    }

    fn read(&self, quota: &str, key: &[u8], day: u32) -> Result<Used, StoreError> {
        let place = (day, quota.to_owned(), key.to_owned());
        Ok(self.state().counters.get(&place).copied().unwrap_or_default())
    }

    fn read_day(&self, day: u32) -> Result<Vec<Added>, StoreError> {
        let state = self.state();
        let counters = state.counters.iter().filter(|((of, ..), _)| *of == day);
        Ok(counters
            .map(|((day, quota, key), used)| Added {
                quota: quota.clone(),
                key: key.clone(),
                day: *day,
                used: *used,
            })
            .collect())
    }

    fn forget_before(&self, day: u32) -> Result<usize, StoreError> {
        let mut state = self.state();
        let before = state.counters.len();
        state.counters.retain(|(of, ..), _| *of >= day);
        Ok(before - state.counters.len())
    }
}
