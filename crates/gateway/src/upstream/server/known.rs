//! What is known of a server: it is greeted when somebody needs to know it, and again when it turns out to be another one.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{
    super::{
        CallError, Cause,
        connect::{Found, Way},
        credential::Presented,
        facts::Facts,
        http::ModernServer,
        pool::{Key, Use},
    },
    Manner, Server,
};

impl Server {
    /// What the server says of itself; greets it if that has not been done.
    pub(crate) async fn facts(&self) -> Result<Arc<Facts>, CallError> {
        let greeted = self.greet(None).await;
        greeted.map_err(|error| {
            let error = self.cleaned(error, None);
            if !self.credentials.are_personal() {
                self.pulse.ill(&error);
            }
            error
        })
    }

    /// What is known of it, without waiting.
    pub(crate) fn known(&self) -> Option<Arc<Facts>> {
        self.facts.load_full()
    }

    pub(crate) async fn greet(&self, personal: Option<&Arc<Presented>>) -> Result<Arc<Facts>, CallError> {
        match self.known() {
            Some(facts) => Ok(facts),
            // Rare and large, so it must not make room in every call's future (and on every worker's stack).
            None => Box::pin(self.greet_first(personal)).await,
        }
    }

    async fn greet_first(&self, personal: Option<&Arc<Presented>>) -> Result<Arc<Facts>, CallError> {
        if personal.is_none() && self.credentials.are_personal() {
            return Err(self.credentials.nothing_of_the_gates());
        }
        let _one_at_a_time = tokio::time::timeout(self.config.start_timeout, self.greeting.lock())
            .await
            .map_err(|_| {
                self.context
                    .error(Cause::Timeout(self.config.start_timeout), true)
            })?;
        if let Some(facts) = self.known() {
            return Ok(facts);
        }
        let Way::Url(endpoint, transport) = &self.connector.way else {
            let lease = self.lease(&Key::default(), Use::Shared, None).await?;
            return Ok(Arc::clone(&lease.session().facts));
        };
        // Whoever comes first greets it; what only its own session is told stays with that.
        let owner = personal.and_then(|own| own.owner.as_ref());
        let key = Key {
            principal: owner.map(|(principal, _)| principal.clone()),
            credential: owner.map(|(_, fingerprint)| *fingerprint),
            ..Key::default()
        };
        // What is opened is there for other calls too.
        self.credentials.note_use(personal, key.principal.as_ref(), None);
        let found = self
            .connector
            .greet_url(&endpoint.presenting(personal), *transport, &key)
            .await?;
        let (manner, facts, session) = match found {
            Found::Modern(facts) => {
                let server = ModernServer::new(endpoint.clone(), self.announcer.clone());
                (Manner::Modern(server), facts, None)
            }
            Found::Legacy(session) => (Manner::Legacy, Arc::clone(&session.facts), Some(session)),
            Found::OldSse(session) => (Manner::OldSse, Arc::clone(&session.facts), Some(session)),
        };
        self.manner.store(Some(Arc::new(manner)));
        self.learned(&facts, personal.is_some());
        if let Some(session) = session {
            if personal.is_none() {
                self.connected_before.store(true, Relaxed);
            }
            self.pool.adopt(key, session);
        }
        self.common_watch.stirred.notify_waiters();
        Ok(facts)
    }

    /// Keeps what the server says of itself; of what it said to one caller only what is the same for all.
    pub(super) fn learned(&self, facts: &Arc<Facts>, personal: bool) {
        let before = self.facts.load_full();
        let news = match &before {
            None => true,
            Some(before) if personal => before.version != facts.version,
            Some(before) => before != facts,
        };
        if news {
            tracing::info!(target: "gatepost::server", server = &*self.name, version = %facts.version, "greeted");
            self.facts.store(Some(if personal {
                Arc::new(facts.impersonal())
            } else {
                Arc::clone(facts)
            }));
        }
        self.pulse.well();
    }

    /// Drops the verdict: the next call greets the server again.
    pub(crate) fn forget(&self) {
        self.manner.store(None);
        self.facts.store(None);
    }
}
