//! A server's answer on its way down: the client's id, its progress token and its era are put back, and nothing else is
//! touched. What can stream, streams.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use gatepost_protocol::{
    envelope::{Notification, Response},
    method::Method,
    translate,
    version::Version,
};
use http::StatusCode;
use tokio::time::sleep;

use crate::{
    answer::Answer,
    authorize::Permitted,
    conversation::OpenCall,
    gate::Gate,
    inbound::Inbound,
    receive::request_id,
    refusal::Refusal,
    respond::{About, render},
    upstream::{CallError, Incoming, Server, response_of},
};

mod relay;
mod splice;

use relay::{Item, Phase, Relay};

/// When nothing has come for this long, the answer becomes an event stream, so that somebody in between can see that the
/// call is alive (comments keep it so). Until then a plain JSON answer is still possible.
const COMMIT_TO_STREAM: Duration = Duration::from_secs(15);

type Calling = Pin<Box<dyn Future<Output = Result<Incoming, CallError>> + Send>>;

/// Calls the server and turns what comes back into the client's answer.
pub(crate) async fn forward(gate: &Arc<Gate>, permitted: Permitted) -> Result<Answer, Refusal> {
    let exchange = Exchange::of(&permitted);
    let open_call = exchange.open_call(gate);
    let server = Arc::clone(permitted.server());
    let mut calling: Calling = Box::pin(async move { server.call(permitted).await });
    let incoming = tokio::select! {
        biased;
        incoming = &mut calling => incoming?,
        () = exchange.inbound.cancellation.cancelled() => return Err(Refusal::Cancelled),
        () = sleep(COMMIT_TO_STREAM) => {
            return Ok(Relay::new(gate, exchange, open_call, Phase::Calling(calling)).into_answer());
        }
    };
    match incoming {
        Incoming::Whole(response) => {
            let (status, message) = exchange.finish(&response);
            Ok(Answer::with_status(status, message))
        }
        Incoming::Partial(partial) => {
            let partial = match splice::begin(partial, &exchange)? {
                splice::Begun::Result(chunks) => {
                    return Ok(Answer::Chunks(Box::pin(chunks.map(move |chunk| {
                        // The exchange counts as in flight until its last chunk is handed over.
                        let _in_flight = (&exchange, &open_call);
                        chunk
                    }))));
                }
                splice::Begun::Other(partial) => partial,
            };
            let (status, message) = exchange.finish(&response_of(Incoming::Partial(partial)).await?);
            Ok(Answer::with_status(status, message))
        }
        Incoming::Events(events) => {
            let mut relay = Relay::new(gate, exchange, open_call, Phase::Events(events));
            // A stream that begins with its response never needed to be one.
            let first = tokio::select! {
                first = relay.next() => first,
                () = sleep(COMMIT_TO_STREAM) => return Ok(relay.into_answer()),
            };
            match first {
                Some(Item::Last(status, message)) => Ok(Answer::with_status(status, message)),
                Some(Item::More(message)) => Ok(Answer::Messages(Box::pin(
                    stream::once(std::future::ready(message)).chain(relay.into_messages()),
                ))),
                None => Err(Refusal::Cancelled),
            }
        }
    }
}

/// What is needed to answer this one request, wherever its answer comes from.
struct Exchange {
    inbound: Arc<Inbound>,
    server: Arc<Server>,
    method: Option<Method>,
    id: Bytes,
}

impl Exchange {
    fn of(permitted: &Permitted) -> Self {
        Self {
            inbound: Arc::clone(permitted.inbound()),
            server: Arc::clone(permitted.server()),
            method: permitted.method(),
            id: request_id(permitted.request()),
        }
    }

    fn open_call(&self, gate: &Gate) -> Option<OpenCall> {
        let conversation = self.inbound.client.conversation?;
        let id = self.inbound.request.id().to_id();
        Some(gate.conversations.open_call(conversation, id, Arc::clone(&self.inbound.cancellation)))
    }

    fn server_version(&self) -> Version {
        self.server.known().map_or(self.inbound.client.version, |facts| facts.version)
    }

    /// Between equal versions only the id changes, so the answer can pass while it arrives.
    fn may_splice(&self) -> bool {
        self.server_version() == self.inbound.client.version
    }

    /// The client's form of the final response.
    fn finish(&self, response: &Response) -> (StatusCode, Bytes) {
        let down = translate::Down {
            id: &self.id,
            method: self.method,
            client: self.inbound.client.version,
            server: self.server_version(),
            server_name: self.server.name(),
            request: &self.inbound.request,
        };
        let (status, message) = down.response(response);
        (StatusCode::from_u16(status).unwrap_or(StatusCode::OK), message)
    }

    fn fail(&self, error: CallError) -> (StatusCode, Bytes) {
        let about = About { id: Some(self.id.clone()), era: Some(self.inbound.client.era()) };
        render(&Refusal::Call(error), &about)
    }

    /// The client's form of a notification, if it is for this client at all.
    fn notification(&self, notification: &Notification) -> Option<Bytes> {
        let client = &self.inbound.client;
        match notification.known_method() {
            Some(Method::Progress) => {
                // The token up was ours; the client knows its own.
                let token = self.inbound.request.meta_raw("progressToken")?;
                Some(notification.rewrite().param("progressToken", token).finish())
            }
            Some(Method::LogMessage) => {
                let level = notification.param_text("level").and_then(|level| translate::LogLevel::parse(&level));
                let wanted = match (client.log_level, level) {
                    (Some(wanted), Some(level)) => level >= wanted,
                    (Some(_), None) => true,
                    // 2026-07-28 server/utilities/logging: without `logLevel` nothing may be sent; 2025-11-25: anything may.
                    (None, _) => !client.version.is_modern(),
                };
                wanted.then(|| notification.raw().clone())
            }
            // What changed is announced on the client's own listening stream, by the catalog.
            Some(_) => None,
            None => (self.inbound.view.only_server().is_some() && self.may_splice()).then(|| notification.raw().clone()),
        }
    }
}

