//! What a gate keeps for good, in `data_dir/gatepost.db`: API keys, the tokens that principals have with servers, and how much
//! of its quotas is used.
//!
//! Each concern is a trait, with an implementation in memory and one in SQLite; one suite runs on both. The traits' calls block:
//! a thread that serves others asks through a blocking task. What every call needs, whether a key is good, is asked of a
//! [`KeyRing`], which has all keys in memory. Several processes may have one database open: what `gatepost keys` changes is
//! noticed by a gate that runs.
//!
//! No clock is read here: whoever asks says what time it is.

mod api_key;
mod counters;
mod credentials;
mod error;
mod keys;
mod memory;
mod ring;
mod sealing;
pub mod sqlite;
#[cfg(test)]
mod suite;

use std::{path::Path, sync::Arc};

use gatepost_config::Secret;

pub use api_key::{ApiKey, KEY_PREFIX, KeyHash, Presented, Unreadable};
pub use counters::{Added, Counters, Used};
pub use credentials::{Credentials, Kept, Slot, Token, TokenError};
pub use error::StoreError;
pub use keys::{KEY_ISSUER, KeyRecord, KeySettings, Keys, Revoked, StoredKey, UnixSeconds, create_key};
pub use memory::Memory;
pub use ring::{Keeper, KeyChange, KeyRefusal, KeyRing};
pub use sealing::{SealingError, sealing_secrets};
pub use sqlite::Database;

/// The database's name in the data directory.
pub const FILE: &str = "gatepost.db";

/// Everything that is kept, each part behind its trait.
#[derive(Clone)]
pub struct Store {
    /// API keys.
    pub keys: Arc<dyn Keys>,
    /// The tokens of principals.
    pub credentials: Arc<dyn Credentials>,
    /// How much of the quotas is used.
    pub counters: Arc<dyn Counters>,
}

impl Store {
    /// The store in `data_dir`, which is made if it is not there, for its owner only. `sealing_keys` are those of the
    /// configuration; without any, the key in `data_dir/sealing.key` seals, which is made when it is first needed. Blocks.
    ///
    /// # Errors
    /// When the folder or the database cannot be made or opened.
    pub fn open(data_dir: &Path, sealing_keys: &[Secret]) -> Result<Self, StoreError> {
        Ok(Self::of(Database::open(data_dir, sealing_keys)?))
    }

    /// A store that lives as long as the process.
    pub fn in_memory() -> Self {
        Self::of(Memory::default())
    }

    fn of(all: impl Keys + Credentials + Counters + 'static) -> Self {
        let all = Arc::new(all);
        Self {
            keys: all.clone(),
            credentials: all.clone(),
            counters: all,
        }
    }
}
