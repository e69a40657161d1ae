//! Keys that the gate itself has made, as far as this crate cares.

use std::fmt;

use gatepost_policy::{Facts, UnixMillis};

/// The API keys that are alive, in memory: whoever keeps them answers at once, without waiting for a disk.
pub trait ApiKeys: Send + Sync {
    /// Whose key this is.
    ///
    /// # Errors
    ///
    /// If it is nobody's, or no longer.
    fn verify(&self, key: &str, now: UnixMillis) -> Result<KeyBearer, KeyProblem>;

    /// A number that is another one whenever a key that was alive may not be it any more: what was verified before is then
    /// verified again.
    fn generation(&self) -> u64;

    /// The key of that public part has been used. Called for the first use and then now and then, not for each.
    fn used(&self, id: &str, now: UnixMillis);
}

/// Whom a key belongs to.
#[derive(Clone, Debug)]
pub struct KeyBearer {
    /// What is known of them.
    pub facts: Facts,
    /// When the key ends by itself.
    pub expires: Option<UnixMillis>,
}

/// Why a key is not taken. Clients hear the same of all of them: which it is helps only who guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyProblem {
    /// It does not look like a key, or its checksum is wrong.
    Malformed,
    /// No key has that public part, or its secret is another.
    Unknown,
    /// It has been revoked.
    Revoked,
    /// Its time is over.
    Expired,
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is no key of this kind, or mistyped",
            Self::Unknown => "is unknown",
            Self::Revoked => "has been revoked",
            Self::Expired => "has expired",
        })
    }
}
