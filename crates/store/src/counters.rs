//! How much of each quota is used: counts that survive a restart.

use crate::StoreError;

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Calls.
    pub calls: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What one counter grows by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Which quota: a name that stays the same as long as the quota means the same.
    pub quota: String,
    /// Whose count: any bytes that tell the quota's holders apart.
    pub key: Vec<u8>,
    /// Which day, as days since 1970 in UTC.
    pub day: u32,
    /// How much.
    pub used: Used,
}

/// Where counts are kept. Calls block. A count stops at 2^63 - 1.
pub trait Counters: Send + Sync {
    /// Adds to many counters at once, all or none, and says what each then is, in the order given. Another process may have
    /// added to them too.
    ///
    /// # Errors
    /// When the store fails; nothing was added then.
    fn add(&self, additions: &[Added]) -> Result<Vec<Used>, StoreError>;

    /// One counter; one that was never added to is zero.
    ///
    /// # Errors
    /// When the store fails.
    fn read(&self, quota: &str, key: &[u8], day: u32) -> Result<Used, StoreError>;

    /// All counters of a day.
    ///
    /// # Errors
    /// When the store fails.
    fn read_day(&self, day: u32) -> Result<Vec<Added>, StoreError>;

    /// Deletes the counters of all days before `day` and says how many there were.
    ///
    /// # Errors
    /// When the store fails.
    fn forget_before(&self, day: u32) -> Result<usize, StoreError>;
}

/// The most that a counter holds: SQLite's integers have a sign.
pub(crate) const MOST: u64 = i64::MAX as u64;

impl Used {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sum = |one: u64, other: u64| one.saturating_add(other).min(MOST);
        Self {
            calls: sum(self.calls, other.calls),
            bytes: sum(self.bytes, other.bytes),
        }
    }
}
