//! One connection that carries whole messages both ways: standard input and output, or a caller in this process.
//!
//! The first message decides: `initialize` makes the connection legacy, and everything without modern `_meta` belongs to
//! that client from then on; a modern request stands alone on any connection. Source: `eras.md` 1.1, last paragraph.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use gatepost_policy::Caller;
use gatepost_protocol::{
    envelope::Message,
    error::{INTERNAL_ERROR, error_response},
    translate::META_PROTOCOL_VERSION,
    version::Era,
};

use crate::{
    answer::{Answer, Messages},
    gate::{Endpoint, Gate},
    here,
    identify::{self, Identified},
    inbound::{Arrival, Carrier, Client, RequestId},
    listen, path,
    receive::{self, Refused, internal, request_id},
    refusal::Refusal,
    respond::{self, About},
    seal::SealError,
    session::{ConversationId, Session},
    upstream::Asker,
};

/// A connection to one endpoint of the gate, from inside this process.
///
/// ```no_run
/// # async fn example(gate: std::sync::Arc<gatepost_gateway::Gate>) -> Result<(), gatepost_gateway::OpenError> {
/// use futures_util::StreamExt;
/// let connection = gatepost_gateway::Connection::open(&gate, "files")?;
/// let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
/// let mut answers = connection.send(ping.into()).await;
/// while let Some(message) = answers.next().await {
///     println!("{}", String::from_utf8_lossy(&message));
/// }
/// # Ok(()) }
/// ```
pub struct Connection {
    gate: Arc<Gate>,
    endpoint: Arc<Endpoint>,
    /// Whose it is: what others say on it is not heard.
    caller: Arc<Caller>,
    id: ConversationId,
    /// The legacy client, once it has introduced itself.
    client: Mutex<Option<Client>>,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The gate has no endpoint of all its servers.
    #[error("there is no endpoint of all servers: `endpoints.all` switches it off")]
    NoneOfAll,
    /// The gate has no such endpoint.
    #[error(
        "there is no server or view `{0}`; it is not in the configuration, or `endpoints` switches it off"
    )]
    NoEndpoint(String),
    /// No random bytes.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl Connection {
    /// Opens a connection to `/mcp` (empty `path`) or `/mcp/<path>`.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub fn open(gate: &Arc<Gate>, path: &str) -> Result<Self, OpenError> {
        let endpoint = gate.endpoint(path).ok_or_else(|| match path {
            "" => OpenError::NoneOfAll,
            _ => OpenError::NoEndpoint(path.to_owned()),
        })?;
        Ok(Self::of(gate, endpoint, Arc::clone(&gate.governance.local))?)
    }

    /// A connection of somebody in particular.
    pub(crate) fn of(
        gate: &Arc<Gate>,
        endpoint: Arc<Endpoint>,
        caller: Arc<Caller>,
    ) -> Result<Self, SealError> {
        Ok(Self {
            gate: Arc::clone(gate),
            endpoint,
            caller,
            id: ConversationId::new()?,
            client: Mutex::new(None),
        })
    }

    /// Whether it is this caller's own.
    pub(crate) fn belongs_to(&self, from: &Identified) -> bool {
        from.principal() == self.caller.principal()
    }

    /// Where it leads.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Who speaks here when nobody has to say who they are: this process's own side.
    pub(crate) fn own_side(&self) -> Identified {
        let arrival = Arrival {
            endpoint: Arc::clone(&self.endpoint),
            headers: http::HeaderMap::new(),
            address: None,
            carrier: Carrier::Connection,
            request_id: RequestId::next(self.gate.id_seed),
        };
        identify::local(&self.gate, arrival)
    }

    /// Sends one message and returns what comes back for it: nothing for a notification; for a request any number of
    /// messages, of which the last is the response.
    pub async fn send(&self, message: Bytes) -> impl Stream<Item = Bytes> + Send + use<> {
        messages(self.receive(self.own_side(), message).await)
    }

    /// Whether the message is the handshake, which everything after it depends on.
    pub(crate) fn is_handshake(raw: &[u8]) -> bool {
        memchr::memmem::find(raw, b"\"initialize\"").is_some()
    }

    /// Answers one message.
    pub(crate) async fn receive(&self, from: Identified, raw: Bytes) -> Answer {
        match self.exchange(from, raw).await {
            Ok(answer) => answer,
            Err((refusal, about)) => {
                self.gate.metrics.refused(&refusal);
                respond::refuse(&refusal, &about)
            }
        }
    }

    async fn exchange(&self, from: Identified, raw: Bytes) -> Result<Answer, Refused> {
        let admitted = path::join(&self.gate, from)?;
        let message = receive::parse(raw)?;
        let client = self.client_of(&message, admitted.caller())?;
        let id = match &message {
            Message::Request(request) => Some(request_id(request)),
            Message::Notification(_) | Message::Response(_) => None,
        };
        let answer = path::spoken(&self.gate, admitted, message, client).await?;
        Ok(in_one(answer, id))
    }

    fn client_of(&self, message: &Message, caller: &Arc<Caller>) -> Result<Client, Refused> {
        let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Message::Request(request) = message {
            let refused = |era| {
                let about = About {
                    id: Some(request_id(request)),
                    era: Some(era),
                };
                move |refusal| (refusal, about)
            };
            if request.meta(META_PROTOCOL_VERSION).is_some() {
                let mut client = receive::modern(request, caller, None).map_err(refused(Era::Modern))?;
                // On a shared channel a modern client cancels by a notification, which has to find the call.
                client.conversation = Some(self.id);
                return Ok(client);
            }
            if request.method() == "initialize" {
                let client = receive::handshake(request, caller, self.id).map_err(refused(Era::Legacy))?;
                *known = Some(client.clone());
                return Ok(client);
            }
            return known
                .clone()
                .map(|client| self.as_it_is(client, caller))
                .ok_or_else(|| refused(Era::Modern)(Refusal::NoSession));
        }
        // A notification or response needs no handshake to be understood; without one it can only concern this connection.
        Ok(known
            .clone()
            .unwrap_or_else(|| receive::nobody(caller, Some(self.id))))
    }

    /// The client with what may have changed since its handshake: the caller's credential may be another by now.
    fn as_it_is(&self, mut client: Client, caller: &Arc<Caller>) -> Client {
        client.caller = Arc::clone(caller);
        client.log_level = self.gate.sessions.level(self.id);
        client
    }

    /// What the legacy client of this connection is told unasked; nothing before its handshake.
    pub(crate) fn notices(&self) -> Option<Messages> {
        let session = self.session()?;
        Some(listen::session_stream(
            &self.gate,
            &self.endpoint,
            Asker::plain(&self.caller),
            &session,
        ))
    }

    /// The client is gone: its calls are cancelled and its subscriptions given up.
    pub(crate) async fn close(&self) {
        here::end_connection(&self.gate, self.id).await;
    }

    fn session(&self) -> Option<Session> {
        let client = self
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let Client {
            version,
            capabilities,
            info,
            ..
        } = client;
        Some(Session {
            id: self.id,
            version,
            capabilities,
            info,
        })
    }
}

/// An answer to the request of this raw id, for a channel that carries whole messages: a large one that passes in chunks is
/// collected, and an error in its place if it breaks off.
pub(crate) fn in_one(answer: Answer, id: Option<Bytes>) -> Answer {
    let Answer::Chunks(mut chunks) = answer else {
        return answer;
    };
    Answer::Messages(Box::pin(stream::once(async move {
        let mut joined = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => joined.put_slice(&chunk),
                Err(error) => {
                    let message = internal(&*error).to_string();
                    return error_response(id.as_deref(), INTERNAL_ERROR, &message, None);
                }
            }
        }
        joined.freeze()
    })))
}

/// The messages of an answer, whatever its form.
pub(crate) fn messages(answer: Answer) -> Messages {
    match in_one(answer, None) {
        Answer::Whole { body, .. } => Box::pin(stream::once(std::future::ready(join(&body)))),
        Answer::Messages(messages) | Answer::Resumable(_, messages) => messages,
        Answer::Chunks(_) | Answer::Resumed(_) | Answer::Accepted | Answer::Ended | Answer::Cancelled => {
            Box::pin(stream::empty())
        }
    }
}

fn join(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [whole] => whole.clone(),
        pieces => {
            let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
            pieces.iter().for_each(|piece| joined.put_slice(piece));
            joined.freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_error_of_its_request() {
        let said = async |chunks: Vec<Result<Bytes, Box<dyn std::error::Error + Send + Sync>>>| {
            let answer = Answer::Chunks(Box::pin(stream::iter(chunks)));
            let answer = in_one(answer, Some(Bytes::from_static(br#""seven""#)));
            let all: Vec<Bytes> = messages(answer).collect().await;
            let [only] = &*all else { panic!("{all:?}") };
            serde_json::from_slice::<serde_json::Value>(only).unwrap()
        };
        let begun = || Ok(Bytes::from_static(br#"{"jsonrpc":"2.0","id":"seven","result""#));
        let whole = said(vec![begun(), Ok(Bytes::from_static(b":{}}"))]).await;
        assert_eq!(whole["result"], serde_json::json!({}));
        let broken = said(vec![begun(), Err("the server broke off".into())]).await;
        assert_eq!(
            (&broken["id"], &broken["error"]["code"]),
            (&"seven".into(), &(-32603).into())
        );
    }
}
