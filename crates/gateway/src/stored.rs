//! The tokens that principals have stored for servers, in memory: every call to such a server asks for one, and the store
//! reads from disk. What is set or removed meanwhile, by whichever process, is noticed within a second.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use gatepost_config::Secret;
use gatepost_policy::Principal;
use gatepost_store::{Credentials, Slot, StoreError};

use crate::upstream::StoredTokens;

/// How long a token that was set or removed meanwhile may go unnoticed.
const EVERY: Duration = Duration::from_secs(1);

/// The tokens in a store.
pub(crate) struct Stored {
    credentials: Arc<dyn Credentials>,
    known: ArcSwap<Known>,
    /// Set when somebody looks for changes.
    kept: OnceLock<()>,
    me: Weak<Self>,
}

/// By server; `None`: it does not open with the keys there are.
type Tokens = HashMap<Box<str>, HashMap<Principal, Option<Secret>>>;

/// What was read.
struct Known {
    version: Option<u64>,
    /// An error: nothing could be.
    tokens: Result<Tokens, String>,
}

impl Stored {
    /// Reads what there is. Blocks.
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Arc<Self> {
        let known = Known::read(&*credentials);
        Arc::new_cyclic(|me| Self {
            known: ArcSwap::from_pointee(known),
            credentials,
            kept: OnceLock::new(),
            me: Weak::clone(me),
        })
    }

    /// Looks for changes from now on. Call it inside a tokio runtime; without it that begins when somebody asks.
    pub(crate) fn begin(&self) {
        self.kept.get_or_init(|| {
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(keep(Weak::clone(&self.me)));
            }
        });
    }

    /// Reads again if anything has changed. Blocks.
    fn look(&self) {
        let version = self.credentials.version().ok();
        if version.is_none() || version != self.known.load().version {
            self.known.store(Arc::new(Known::read(&*self.credentials)));
        }
    }
}

impl Known {
    fn read(credentials: &dyn Credentials) -> Self {
        // Before the tokens: what changes while they are read is read again.
        let version = credentials.version().ok();
        let tokens = Self::tokens(credentials).map_err(|error| {
            tracing::warn!(%error, "the stored tokens cannot be read");
            error.to_string()
        });
        Self { version, tokens }
    }

    fn tokens(credentials: &dyn Credentials) -> Result<Tokens, StoreError> {
        let mut all = Tokens::new();
        for kept in credentials.list()? {
            if kept.name != Slot::DEFAULT_NAME {
                continue;
            }
            let slot = Slot {
                server: &kept.server,
                principal: &kept.principal,
                name: &kept.name,
            };
            let token = match credentials.get(slot) {
                Ok(Some(token)) => Some(Secret::new(token.expose())),
                // It was removed meanwhile.
                Ok(None) => continue,
                Err(StoreError::Sealed { .. }) => None,
                Err(error) => return Err(error),
            };
            let server = all.entry(kept.server.into()).or_default();
            server.insert(kept.principal, token);
        }
        Ok(all)
    }
}

impl StoredTokens for Stored {
    fn token(&self, server: &str, principal: &Principal) -> Result<Option<Secret>, String> {
        self.begin();
        let known = self.known.load();
        let tokens = known.tokens.as_ref().map_err(Clone::clone)?;
        match tokens.get(server).and_then(|of| of.get(principal)) {
            None => Ok(None),
            Some(Some(token)) => Ok(Some(token.clone())),
            Some(None) => Err(
                "this caller's token was sealed with a key that is not in `sealing.keys` any more; \
                 set it again with `gatepost credentials set`"
                    .to_owned(),
            ),
        }
    }
}

/// Looks for changes for as long as somebody asks for tokens.
async fn keep(stored: Weak<Stored>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(stored) = stored.upgrade() else { return };
        // Whether it panicked is seen in the log; the tokens are those that were read last.
        let _ = tokio::task::spawn_blocking(move || stored.look()).await;
    }
}

#[cfg(test)]
mod tests {
    use gatepost_store::{Store, Token};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_noticed_within_a_second_and_is_its_principals_only() {
        let store = Store::in_memory();
        let ann = Principal::new("i", "ann");
        let slot = |name| Slot {
            server: "crm",
            principal: &ann,
            name,
        };
        let set = |name, token: &str| {
            let token = Token::new(token.to_owned().into()).unwrap();
            store.credentials.set(slot(name), &token, 0).unwrap();
        };
        set("another", "t-0");
        let stored = Stored::new(Arc::clone(&store.credentials));
        stored.begin();
        let read = |principal: &Principal| {
            let token = stored.token("crm", principal).unwrap();
            token.map(|token| token.expose().to_owned())
        };
        let a_while = async || tokio::time::sleep(EVERY + Duration::from_millis(100)).await;
        set(Slot::DEFAULT_NAME, "t-1");
        a_while().await;
        assert_eq!(read(&ann).as_deref(), Some("t-1"), "also for the first who asks");
        assert_eq!(read(&ann.clone().with_tenant("acme")), None);
        assert!(stored.token("other", &ann).unwrap().is_none());
        set(Slot::DEFAULT_NAME, "t-2");
        a_while().await;
        assert_eq!(read(&ann).as_deref(), Some("t-2"));
        store.credentials.remove(slot(Slot::DEFAULT_NAME)).unwrap();
        a_while().await;
        assert_eq!(read(&ann), None);
    }
}
