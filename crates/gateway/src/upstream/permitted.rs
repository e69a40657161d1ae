//! Where the gateway's proofs meet the servers: a call leaves only with a [`Permitted`].

use std::sync::Arc;

use gatepost_protocol::{envelope::Notification, version::Era};
use http::{HeaderName, HeaderValue};

use super::{
    CallError, Incoming,
    outgoing::{Outgoing, Wish},
    server::{Server, TellAs},
};
use crate::{
    authorize::Permitted,
    inbound::{Cancellation, Client},
};

/// A call whose server has begun to answer, and the right to make it again: a server may answer by asking for more.
pub struct Called {
    pub(crate) permitted: Permitted,
    pub(crate) outcome: Result<Incoming, CallError>,
}

impl Server {
    /// Sends a permitted call and gives what comes back as soon as there is something. Ids and progress tokens in it are
    /// this server's, not the client's. The proof is used up, and comes back with the answer.
    pub async fn call(&self, permitted: Permitted) -> Called {
        let outcome = self.send_permitted(&permitted).await;
        Called { permitted, outcome }
    }

    async fn send_permitted(&self, permitted: &Permitted) -> Result<Incoming, CallError> {
        let client = permitted.client();
        let mut params = Vec::new();
        if let Some(wanted) = permitted.header_params()
            && self.known().is_some_and(|facts| facts.era() == Era::Modern)
        {
            wanted.emit(permitted.request().param_raw("arguments"), |name, value| {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    params.push((name, value));
                }
            });
        }
        let wish: Arc<dyn Wish> = Arc::<Cancellation>::clone(permitted.cancellation());
        let out = Outgoing {
            request: permitted.request(),
            name: permitted.original_name(),
            version: client.version,
            capabilities: &client.capabilities,
            info: client.info.as_ref(),
            log_level: client.log_level.map(gatepost_protocol::logging::LogLevel::as_str),
            conversation: client.conversation.map(|conversation| *conversation.bytes()),
            principal: Some(&client.principal),
            headers: permitted
                .trace()
                .parts()
                .map(|(name, value)| (name, value.clone()))
                .collect(),
            params,
            repeatable: permitted.repeatable(),
            task: permitted.must_be_task(),
            input: permitted.input(),
            wish: Some(wish),
        };
        self.send(&out).await
    }

    /// Passes on a client's notification, on that client's own session with the server only: one that was made for its
    /// capabilities or its conversation.
    pub(crate) async fn notify(&self, client: &Client, notification: &Notification) {
        let whose = TellAs {
            capabilities: &client.capabilities,
            info: client.info.as_ref(),
            principal: &client.principal,
            conversation: client.conversation.map(|conversation| *conversation.bytes()),
        };
        self.tell(whose, notification).await;
    }
}

impl Wish for Cancellation {
    fn is_cancelled(&self) -> bool {
        Self::is_cancelled(self)
    }
}
