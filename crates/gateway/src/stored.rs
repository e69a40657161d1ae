//! The tokens that principals have stored for servers, read from the store now and then instead of for every call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gatepost_config::Secret;
use gatepost_policy::Principal;
use gatepost_store::{Credentials, Slot};
use tokio::time::Instant;

use crate::upstream::StoredTokens;

/// How long a token that was set or removed meanwhile may go unnoticed.
const FRESH: Duration = Duration::from_secs(1);
/// Tokens that are remembered; beyond, all are forgotten and read again as they are needed.
const MOST: usize = 10_000;

/// Reads tokens from the store.
pub(crate) struct Stored {
    credentials: Arc<dyn Credentials>,
    known: Mutex<HashMap<(Box<str>, Principal), (Instant, Option<Secret>)>>,
}

impl Stored {
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Self {
        Self {
            credentials,
            known: Mutex::default(),
        }
    }
}

impl StoredTokens for Stored {
    fn token(&self, server: &str, principal: &Principal) -> Result<Option<Secret>, String> {
        let key = (Box::from(server), principal.clone());
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, token)) = known.get(&key)
            && now.duration_since(*read) < FRESH
        {
            return Ok(token.clone());
        }
        let slot = Slot {
            server,
            principal,
            name: Slot::DEFAULT_NAME,
        };
        let token = self.credentials.get(slot).map_err(|error| error.to_string())?;
        let token = token.map(|token| Secret::new(token.expose()));
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, (now, token.clone()));
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use gatepost_store::{Store, Token};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_noticed_within_a_second_and_is_its_principals_only() {
        let store = Store::in_memory();
        let stored = Stored::new(Arc::clone(&store.credentials));
        let ann = Principal::new("i", "ann");
        let read = |principal: &Principal| {
            let token = stored.token("crm", principal).unwrap();
            token.map(|token| token.expose().to_owned())
        };
        assert_eq!(read(&ann), None);
        let slot = Slot {
            server: "crm",
            principal: &ann,
            name: Slot::DEFAULT_NAME,
        };
        let token = Token::new("t-1".to_owned().into()).unwrap();
        store.credentials.set(slot, &token, 0).unwrap();
        assert_eq!(read(&ann), None, "still remembered");
        tokio::time::advance(FRESH).await;
        assert_eq!(read(&ann).as_deref(), Some("t-1"));
        assert_eq!(read(&ann.clone().with_tenant("acme")), None);
        assert!(stored.token("other", &ann).unwrap().is_none());
        store.credentials.remove(slot).unwrap();
        tokio::time::advance(FRESH).await;
        assert_eq!(read(&ann), None);
    }
}
