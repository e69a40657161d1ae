//! API keys: what is stored of them.

use std::sync::Arc;

use gatepost_policy::Principal;

use crate::{ApiKey, KeyHash, StoreError};

/// Seconds since 1970.
pub type UnixSeconds = u64;

/// The issuer of the principals of API keys; their subject is the key's id. It is no URL, so that no identity provider can
/// ever be it.
pub const KEY_ISSUER: &str = "gatepost:key";

/// What a key says of its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Which key it is; no secret.
    pub id: Arc<str>,
    /// The roles that it has by itself. Whether they exist is for the configuration to say.
    pub roles: Vec<Arc<str>>,
    /// The tenant that it acts for.
    pub tenant: Option<Arc<str>>,
    /// What it is for, in the words of who made it.
    pub name: Option<Arc<str>>,
    /// From when on it is no longer good; `None`: never.
    pub expires: Option<UnixSeconds>,
}

/// What a new key shall say of its bearer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// See [`KeyRecord::roles`].
    pub roles: Vec<Arc<str>>,
    /// See [`KeyRecord::tenant`].
    pub tenant: Option<Arc<str>>,
    /// See [`KeyRecord::name`].
    pub name: Option<Arc<str>>,
    /// See [`KeyRecord::expires`].
    pub expires: Option<UnixSeconds>,
}

/// All that is stored of a key. The key itself cannot be had from it.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// What it says of its bearer.
    pub record: Arc<KeyRecord>,
    /// What its secret must hash to.
    pub hash: KeyHash,
    /// When it was made.
    pub created: UnixSeconds,
    /// When it was revoked, if it was.
    pub revoked: Option<UnixSeconds>,
    /// When it was last used, give or take the pause between two writes.
    pub last_used: Option<UnixSeconds>,
}

/// What came of revoking a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It is revoked now.
    Now,
    /// It was already, at this time.
    Before(UnixSeconds),
    /// There is no such key.
    Unknown,
}

/// Where API keys are kept. Calls block.
pub trait Keys: Send + Sync {
    /// Keeps a new key. When this returns, the key survives a power failure.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if its id is that of another key; otherwise when the store fails.
    fn insert(&self, key: &StoredKey) -> Result<(), StoreError>;

    /// All keys, also those that are no longer good, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    fn list(&self) -> Result<Vec<StoredKey>, StoreError>;

    /// One key, good or not.
    ///
    /// # Errors
    /// When the store fails.
    fn find(&self, id: &str) -> Result<Option<StoredKey>, StoreError>;

    /// Ends a key for good. When this returns, that survives a power failure.
    ///
    /// # Errors
    /// When the store fails; then the key may be good still.
    fn revoke(&self, id: &str, now: UnixSeconds) -> Result<Revoked, StoreError>;

    /// Notes when keys were last used; an earlier time than what is known changes nothing, nor does an unknown id.
    ///
    /// # Errors
    /// When the store fails.
    fn used(&self, uses: &[(Arc<str>, UnixSeconds)]) -> Result<(), StoreError>;

    /// A number that is another one after a key was made, changed or revoked, by whichever process; being used is no change.
    /// Cheap enough to be asked every second.
    ///
    /// # Errors
    /// When the store fails.
    fn version(&self) -> Result<u64, StoreError>;
}

/// Makes and keeps a new key. It can be shown now, and never again.
///
/// # Errors
/// When the store fails or there are no random bytes.
pub fn create_key(
    keys: &dyn Keys,
    settings: KeySettings,
    now: UnixSeconds,
) -> Result<(ApiKey, StoredKey), StoreError> {
    let key = ApiKey::generate()?;
    let presented = key.presented();
    let KeySettings {
        roles,
        tenant,
        name,
        expires,
    } = settings;
    let stored = StoredKey {
        record: Arc::new(KeyRecord {
            id: presented.id().into(),
            roles,
            tenant,
            name,
            expires,
        }),
        hash: presented.hash(),
        created: now,
        revoked: None,
        last_used: None,
    };
    keys.insert(&stored)?;
    Ok((key, stored))
}

impl KeyRecord {
    /// Who the bearer is.
    pub fn principal(&self) -> Principal {
        let principal = Principal::new(KEY_ISSUER, self.id.clone());
        match &self.tenant {
            Some(tenant) => principal.with_tenant(tenant.clone()),
            None => principal,
        }
    }
}

impl StoredKey {
    /// Whether it is good at this time.
    pub fn is_live(&self, now: UnixSeconds) -> bool {
        self.revoked.is_none() && !self.record.is_expired(now)
    }
}

impl KeyRecord {
    /// Whether it is too late for it.
    pub fn is_expired(&self, now: UnixSeconds) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }
}
