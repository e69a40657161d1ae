//! The 2024-11-05 transport for clients that know no other: a GET opens the one stream on which everything comes, its first
//! event names the address to POST to. Served at `/sse` and `/sse/<name>`, beside the endpoints under `/mcp`.
//!
//! Source: MCP 2024-11-05, basic/transports#HTTP with SSE.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use gatepost_protocol::framing::sse::sse_event;
use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::{
    Front,
    body::{Chunks, collect},
    events,
    mcp::content_type,
};
use crate::{
    answer::Answer,
    gate::{Endpoint, Gate},
    identify::{Identified, identify, lapse, stranger},
    inbound::{Arrival, Carrier, RequestId},
    path,
    receive::internal,
    record::turned_away,
    refusal::Refusal,
    seal::random,
    transport::{channel::Channel, connection::Connection},
};

const PREFIX: &str = "/sse";
const KEY: &str = "session=";

/// The open streams, by the unguessable name in the address they gave out.
#[derive(Default)]
pub(crate) struct OldStreams {
    open: Mutex<HashMap<String, Arc<Channel>>>,
}

impl OldStreams {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Channel>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a path belongs to this transport.
pub(super) fn owns(path: &str) -> bool {
    path.strip_prefix(PREFIX)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a request to this transport gets: a stream, or the word that its message was taken.
pub(super) enum Reply {
    /// The stream.
    Stream(Chunks),
    /// 202; the answer comes on the stream.
    Taken(Answer),
}

/// Answers one request to `/sse…`.
pub(super) async fn answer(
    front: &Front,
    from: Option<IpAddr>,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    front.allowed.check(request.uri(), request.headers())?;
    match *request.method() {
        Method::GET => stream_of(&front.gate, from, request).await.map(Reply::Stream),
        Method::POST => take(front, from, request).await.map(Reply::Taken),
        _ => Err(Refusal::Verb {
            method: request.method().to_string(),
            allowed: "GET, POST",
        }),
    }
}

async fn stream_of(
    gate: &Arc<Gate>,
    from: Option<IpAddr>,
    mut request: Request<Incoming>,
) -> Result<Chunks, Refusal> {
    let headers = std::mem::take(request.headers_mut());
    let path = request.uri().path();
    let rest = path.strip_prefix(PREFIX).unwrap_or_default();
    let Some(endpoint) = gate.endpoint(rest.strip_prefix('/').unwrap_or(rest)) else {
        // By the name that one would have, so that nobody tells by it which there are.
        return Err(stranger(gate, &headers, from, &format!("/mcp{rest}")).await);
    };
    let identified = identified(gate, arrival(gate, Arc::clone(&endpoint), headers, from)).await?;
    let connection =
        Connection::of(gate, endpoint, Arc::clone(identified.caller())).map_err(|error| internal(&error))?;
    let key = URL_SAFE_NO_PAD.encode(random::<16>().map_err(|error| internal(&error))?);
    let (channel, unread) = Channel::new(connection);
    gate.old_streams.open().insert(key.clone(), Arc::new(channel));
    let address = format!("{path}?{KEY}{key}");
    let first = sse_event(address.as_bytes(), None, Some("endpoint"));
    let open = OpenStream {
        gate: Arc::clone(gate),
        key,
        unread,
    };
    let lapse = lapse(gate, &identified)?;
    let messages = stream::unfold(open, |mut open| async move {
        let gate = Arc::clone(&open.gate);
        let message = tokio::select! {
            message = open.unread.recv() => message,
            () = gate.until_stopping() => None,
        };
        message.map(|message| (message, open))
    });
    Ok(Box::pin(stream::once(std::future::ready(Ok(first))).chain(
        events::named_stream(Box::pin(messages.take_until(lapse)), "message"),
    )))
}

/// Who asks. The stream and each message to it are admitted one by one.
async fn identified(gate: &Gate, arrival: Arrival) -> Result<Identified, Refusal> {
    if let Err(refusal) = path::arrive(gate, arrival.address) {
        turned_away(
            gate,
            arrival.address,
            &arrival.endpoint.url_path(),
            None,
            &refusal,
        );
        return Err(refusal);
    }
    identify(gate, arrival).await.map_err(|away| away.recorded(gate))
}

fn arrival(gate: &Gate, endpoint: Arc<Endpoint>, headers: HeaderMap, from: Option<IpAddr>) -> Arrival {
    Arrival {
        endpoint,
        headers,
        address: from,
        carrier: Carrier::Connection,
        request_id: RequestId::next(gate.id_seed),
    }
}

async fn take(front: &Front, from: Option<IpAddr>, request: Request<Incoming>) -> Result<Answer, Refusal> {
    content_type(request.headers())?;
    let query = request.uri().query().unwrap_or_default();
    let key = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(KEY))
        .unwrap_or_default();
    let channel = front
        .gate
        .old_streams
        .open()
        .get(key)
        .cloned()
        .ok_or(Refusal::SessionGone)?;
    let headers = request.headers().clone();
    let endpoint = Arc::clone(channel.connection().endpoint());
    let identified = identified(&front.gate, arrival(&front.gate, endpoint, headers, from)).await?;
    // Whoever has come to know the address of another's stream must not speak on it.
    if !channel.connection().belongs_to(&identified) {
        return Err(Refusal::SessionGone);
    }
    let body: Bytes = collect(request, front.body_limit, front.body_patience).await?;
    channel.take(identified, body).await;
    Ok(Answer::Accepted)
}

/// A stream while it is open.
struct OpenStream {
    gate: Arc<Gate>,
    key: String,
    unread: mpsc::Receiver<Bytes>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let channel = self.gate.old_streams.open().remove(&self.key);
        // The stream is the session: with it go its calls and subscriptions, which takes longer than a drop may.
        if let (Some(channel), Ok(runtime)) = (channel, tokio::runtime::Handle::try_current()) {
            // Nobody is there to hear how its calls end.
            runtime.spawn(async move { channel.forsake().await });
        }
    }
}
