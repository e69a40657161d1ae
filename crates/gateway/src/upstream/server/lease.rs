//! Which session a call belongs on, and how it comes to be: from the pool, or opened for it.

use std::{
    sync::{Arc, PoisonError, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use gatepost_config::Isolation;
use gatepost_policy::Principal;
use gatepost_protocol::{
    envelope::Notification,
    version::{Era, Version},
};

use super::{
    super::{
        CallError, Cause,
        change::Change,
        connect::Way,
        credential::Presented,
        facts::{Facts, can_be_asked, is_implementation, offered},
        outgoing::Outgoing,
        pool::{Key, Lease, Starting, Use},
        session::Session,
    },
    Manner, Server,
};

/// How much longer a call waits for a place than a start may take.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// Whose notification it is.
pub(crate) struct TellAs<'a> {
    pub(crate) capabilities: &'a Bytes,
    pub(crate) info: Option<&'a Bytes>,
    pub(crate) principal: &'a Principal,
    pub(crate) conversation: Option<[u8; 16]>,
}

impl Server {
    /// A session for `key`, whose credential is the fingerprint of `personal`; waits for a free one within the server's
    /// `timeout`, for a starting one within `start_timeout`.
    pub(crate) async fn lease(
        &self,
        key: &Key,
        how: Use,
        personal: Option<&Arc<Presented>>,
    ) -> Result<Lease<Session>, CallError> {
        let start = || -> Starting<Session> {
            let (server, key, context) = (Weak::clone(&self.me), key.clone(), self.context.clone());
            let personal = personal.cloned();
            Box::pin(async move {
                let gone = || context.error(Cause::Stopping, true);
                server
                    .upgrade()
                    .ok_or_else(gone)?
                    .open(&key, personal.as_ref())
                    .await
            })
        };
        // A start that ends at the last moment is to say itself what was wrong with it.
        let patience = self.context.silence.max(self.config.start_timeout) + LAST_MOMENT;
        match tokio::time::timeout(patience, self.pool.lease(key, how, start)).await {
            Ok(lease) => lease,
            Err(_) => Err(self.context.error(
                Cause::Busy(format!(
                    "all {} places of its pool are taken (`pool.max`)",
                    self.config.pool.max
                )),
                true,
            )),
        }
    }

    async fn open(&self, key: &Key, personal: Option<&Arc<Presented>>) -> Result<Arc<Session>, CallError> {
        let old_sse = matches!(self.manner.load().as_deref(), Some(Manner::OldSse));
        // What is opened is there for other calls too.
        self.credentials.note_use(personal, key.principal.as_ref(), None);
        let session = match self.connector.open(key, personal, self.known(), old_sse).await {
            Ok(session) => session,
            Err(error) => {
                // It no longer takes the handshake it took: perhaps it is another server by now.
                if matches!(error.cause, Cause::Handshake(_)) {
                    self.forget();
                }
                return Err(error);
            }
        };
        self.learned(&session.facts, personal.is_some());
        let watch = if *key == Key::default() {
            if self.connected_before.swap(true, Relaxed) {
                self.announcer.announce(Change::Reconnected);
            }
            Some(Arc::clone(&self.common_watch))
        } else {
            self.own_watches.on(key)
        };
        if let Some(watch) = watch {
            self.replay(&watch, &session).await;
            watch.stirred.notify_waiters();
        }
        Ok(session)
    }

    /// Which session a call belongs on, and whether it needs it for itself.
    pub(crate) fn key(&self, out: &Outgoing<'_>, facts: &Facts) -> (Key, Use) {
        let capabilities = match facts.era() {
            // A modern server hears of capabilities with each request.
            Era::Modern => Bytes::new(),
            Era::Legacy => self.offer(out.capabilities, facts.version),
        };
        let Some(principal) = out.principal else {
            return (Key::default(), Use::Shared);
        };
        let isolation = self.config.isolation;
        let credential = out.personal.as_ref().and_then(|own| own.owner.as_ref());
        let personal = self.is_personal(&capabilities) || credential.is_some();
        let conversation = out.conversation.filter(|_| isolation == Isolation::Session);
        let info = introduced(out.info, &capabilities, conversation);
        let how = if !can_be_asked(&capabilities) || conversation.is_some() {
            Use::Shared
        } else if matches!(self.connector.way, Way::Url(..))
            && !matches!(self.manner.load().as_deref(), Some(Manner::OldSse))
            && !self.connector.asks_aside.load(Relaxed)
        {
            // What a server asks over HTTP mostly comes on the call's own stream.
            Use::Preferred
        } else {
            Use::Exclusive
        };
        (
            Key {
                capabilities,
                info,
                // A principal belongs to a tenant, so that both would say the same.
                tenant: (!personal && isolation == Isolation::Tenant)
                    .then(|| principal.tenant().map(Arc::from))
                    .flatten(),
                principal: personal.then(|| principal.clone()),
                credential: credential.map(|(_, fingerprint)| *fingerprint),
                conversation,
            },
            how,
        )
    }

    /// Whether a session with these capabilities is for one principal.
    fn is_personal(&self, capabilities: &Bytes) -> bool {
        !capabilities.is_empty()
            || match self.config.isolation {
                Isolation::Shared | Isolation::Tenant => false,
                Isolation::Principal | Isolation::Session => true,
            }
    }

    fn offer(&self, capabilities: &Bytes, version: Version) -> Bytes {
        if capabilities.len() <= 2 {
            return Bytes::new();
        }
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(offer) = offers.get(&(capabilities.clone(), version)) {
            return offer.clone();
        }
        let offer = offered(capabilities, version);
        // Capabilities are the clients' words, and there may be any number of them.
        if offers.len() >= 256 {
            offers.clear();
        }
        // A copy: the bytes may be a slice of a whole request.
        offers.insert((Bytes::copy_from_slice(capabilities), version), offer.clone());
        offer
    }

    /// Passes on what a client says without asking, on that client's own session and nowhere else.
    pub(crate) async fn tell(&self, out: TellAs<'_>, notification: &Notification) {
        let Some(facts) = self.known().filter(|facts| facts.era() == Era::Legacy) else {
            return;
        };
        let capabilities = self.offer(out.capabilities, facts.version);
        let conversation = out
            .conversation
            .filter(|_| self.config.isolation == Isolation::Session);
        if !self.is_personal(&capabilities) {
            return;
        }
        let key = Key {
            info: introduced(out.info, &capabilities, conversation),
            capabilities,
            tenant: None,
            principal: Some(out.principal.clone()),
            credential: None,
            conversation,
        };
        // Whatever its caller has presented since.
        let is_its = |other: &Key| {
            *other
                == Key {
                    credential: other.credential,
                    ..key.clone()
                }
        };
        if let Some(session) = self.pool.peek_any(is_its)
            && let Err(error) = session.send(notification.raw().clone(), &self.context).await
        {
            tracing::debug!(%error, "a notification was not delivered");
        }
    }
}

/// How a session introduces its client: as itself where the session is a client's own or leased to it, else as the gate
/// (`eras.md` 2).
fn introduced(info: Option<&Bytes>, capabilities: &[u8], conversation: Option<[u8; 16]>) -> Option<Bytes> {
    let own = conversation.is_some() || can_be_asked(capabilities);
    // A copy: the bytes may be a slice of a whole request.
    info.filter(|info| own && is_implementation(info))
        .map(|info| Bytes::copy_from_slice(info))
}
