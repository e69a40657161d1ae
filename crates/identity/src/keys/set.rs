//! A set of keys as an issuer publishes it (RFC 7517 §5).

use std::sync::Arc;

use gatepost_config::SignatureAlgorithm as Algorithm;
use serde_json::Value;

use super::jwk::{Key, Unusable};
use crate::json;

/// The longest text of a set.
pub(crate) const MAX_BYTES: u64 = 512 * 1024;
/// The most keys of a set.
const MAX_KEYS: usize = 100;
/// The most keys that are tried on a token that names none.
const MAX_TRIED: usize = 8;

/// Keys of one issuer.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Arc<Key>>,
}

/// A text is no usable set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeySet {
    /// It is no JSON, or a name comes twice in one object.
    #[error("it is no JSON Web Key Set: {0}")]
    Json(String),
    /// It has no list of keys.
    #[error("it is no JSON Web Key Set: it has no list `keys`")]
    NoKeys,
    /// It has too many keys.
    #[error("it has {0} keys, and more than {MAX_KEYS} are not looked through")]
    TooMany(usize),
    /// No key in it can be used.
    #[error("it has no key that can be used{0}")]
    Useless(String),
}

impl KeySet {
    /// Reads a set. Keys that are of no use are passed over; a set without any other is an error.
    pub(crate) fn parse(text: &[u8], issuer: &str) -> Result<Self, BadKeySet> {
        let document = json::object(text).map_err(|error| BadKeySet::Json(error.to_string()))?;
        let Some(Value::Array(members)) = document.get("keys") else {
            return Err(BadKeySet::NoKeys);
        };
        if members.len() > MAX_KEYS {
            return Err(BadKeySet::TooMany(members.len()));
        }
        let mut keys = Vec::with_capacity(members.len());
        let mut first = None;
        for member in members {
            match Key::of(member) {
                Ok(key) => keys.push(Arc::new(key)),
                Err(why) => {
                    if why == Unusable::Private {
                        tracing::error!(
                            issuer,
                            "a set of keys shows a private key, which is not used: {why}"
                        );
                    } else {
                        tracing::debug!(issuer, "a key is passed over: {why}");
                    }
                    first.get_or_insert(why);
                }
            }
        }
        if keys.is_empty() {
            let why = first.map(|why| format!(": {why}")).unwrap_or_default();
            return Err(BadKeySet::Useless(why));
        }
        Ok(Self { keys })
    }

    /// The keys that may have signed a token that names `kid` and `algorithm`.
    pub(crate) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Vec<Arc<Key>> {
        self.keys
            .iter()
            .filter(|key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid)) && key.fits(algorithm))
            .take(MAX_TRIED)
            .cloned()
            .collect()
    }

    /// Whether there is a key of that name, of whatever type.
    pub(crate) fn knows(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Takes over from `older`: keys that stay are the same, those that are gone are withdrawn.
    pub(crate) fn succeed(mut self, older: &Self) -> Self {
        for old in &older.keys {
            match self.keys.iter_mut().find(|key| key.is_same(old)) {
                Some(key) => *key = Arc::clone(old),
                None => old.withdraw(),
            }
        }
        self
    }

    pub(crate) fn withdraw_all(&self) {
        self.keys.iter().for_each(|key| key.withdraw());
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}
