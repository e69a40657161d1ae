//! Where the gateway's proofs meet the servers: a call leaves only with a [`Permitted`].

use std::sync::Arc;

use gatepost_protocol::{envelope::Notification, version::Era};
use http::{HeaderName, HeaderValue};

use super::{
    Asker, CallError, Incoming,
    outgoing::{AsTask, Outgoing, Wish},
    polled::wants_task,
    server::{Server, TellAs},
};
use crate::{
    inbound::{Cancellation, Client},
    record::Permitted,
};

/// A call whose server has begun to answer, and the right to make it again: a server may answer by asking for more.
pub struct Called {
    pub(crate) permitted: Permitted,
    pub(crate) outcome: Result<Incoming, CallError>,
}

impl Server {
    /// Sends a permitted call and gives what comes back as soon as there is something. Ids and progress tokens in it are
    /// this server's, not the client's. The proof is used up, and comes back with the answer.
    pub async fn call(&self, mut permitted: Permitted) -> Called {
        if permitted.has_task() {
            let outcome = Box::pin(self.go_on_with_task(&mut permitted)).await;
            return Called { permitted, outcome };
        }
        let task = if permitted.must_be_task() {
            AsTask::Param
        } else {
            AsTask::No
        };
        let mut outcome = self.send_permitted(&permitted, task).await;
        if let Ok(incoming) = &outcome
            && wants_task(&permitted, incoming)
        {
            // Rare and large, so it must not make room in every call's future.
            outcome = Box::pin(self.call_as_task(&mut permitted)).await;
        }
        Called { permitted, outcome }
    }

    pub(super) async fn send_permitted(
        &self,
        permitted: &Permitted,
        task: AsTask,
    ) -> Result<Incoming, CallError> {
        let mut out = self.outgoing(permitted, task)?;
        if let Some(wanted) = permitted.header_params()
            && self.known().is_some_and(|facts| facts.era() == Era::Modern)
        {
            wanted.emit(permitted.request().param_raw("arguments"), |name, value| {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    out.params.push((name, value));
                }
            });
        }
        self.send(&out).await
    }

    pub(super) fn outgoing<'a>(
        &self,
        permitted: &'a Permitted,
        task: AsTask,
    ) -> Result<Outgoing<'a>, CallError> {
        let client = permitted.client();
        let wish: Arc<dyn Wish> = Arc::<Cancellation>::clone(permitted.cancellation());
        let personal = self.personal(Asker::of(&client.caller, permitted.inbound().headers()))?;
        Ok(Outgoing {
            request: permitted.request(),
            name: permitted.original_name(),
            version: client.version,
            capabilities: &client.capabilities,
            info: client.info.as_ref(),
            log_level: client.log_level.map(gatepost_protocol::logging::LogLevel::as_str),
            conversation: client.conversation.map(|conversation| *conversation.bytes()),
            principal: Some(client.principal()),
            personal,
            headers: permitted
                .trace()
                .parts()
                .map(|(name, value)| (name, value.clone()))
                .collect(),
            params: Vec::new(),
            repeatable: permitted.repeatable(),
            task,
            input: permitted.input(),
            call: permitted.call(),
            wish: Some(wish),
        })
    }

    /// Passes on a client's notification, on that client's own session with the server only: one that was made for its
    /// capabilities or its conversation.
    pub(crate) async fn notify(&self, client: &Client, notification: &Notification) {
        let whose = TellAs {
            capabilities: &client.capabilities,
            info: client.info.as_ref(),
            principal: client.principal(),
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
