//! A server behind the gate whose every word the test says itself, when it wants to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{fail, within};
use crate::odd::Era;

/// A server with one tool, `turn`, whose calls the test answers. It goes when this is dropped.
#[derive(Debug)]
pub struct Puppet {
    address: SocketAddr,
    turns: mpsc::UnboundedReceiver<Turn>,
    heard: mpsc::UnboundedReceiver<Value>,
    _serving: JoinSet<()>,
}

/// A call of the tool that waits for its answer.
#[derive(Debug)]
pub struct Turn {
    /// The headers it came with.
    pub headers: HeaderMap,
    /// The request.
    pub message: Value,
    answer: oneshot::Sender<Response<Said>>,
}

/// The way to say more of an answer.
#[derive(Debug)]
pub struct Writer {
    id: Value,
    said: mpsc::Sender<Bytes>,
}

impl Puppet {
    /// Starts a server of `era` on a free port.
    pub async fn start(era: Era) -> Self {
        Self::start_as(era, false).await
    }

    /// Starts a server of 2025-11-25 whose tool is called as a task only. What is asked of its tasks are turns, too.
    pub async fn of_tasks() -> Self {
        Self::start_as(Era::Legacy, true).await
    }

    async fn start_as(era: Era, tasks: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.unwrap_or_else(|error| fail(format_args!("listen: {error}")));
        let address = listener
            .local_addr()
            .unwrap_or_else(|error| fail(format_args!("listen: {error}")));
        let (turning, turns) = mpsc::unbounded_channel();
        let (hearing, heard) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (turning, hearing) = (turning.clone(), hearing.clone());
                connections.spawn(async move {
                    _ = stream.set_nodelay(true);
                    let service = service_fn(|request| {
                        respond((era, tasks), request, turning.clone(), hearing.clone())
                    });
                    // How a connection ends is the gate's affair.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            turns,
            heard,
            _serving: serving,
        }
    }

    /// The endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The next call of the tool.
    pub async fn turn(&mut self) -> Turn {
        match within("a call", self.turns.recv()).await {
            Some(turn) => turn,
            None => fail(format_args!("the server is gone")),
        }
    }

    /// Whether a call waits for its turn.
    pub fn has_turn(&mut self) -> Option<Turn> {
        self.turns.try_recv().ok()
    }

    /// The next notification or response that it was sent.
    pub async fn heard(&mut self) -> Value {
        match within("a notification", self.heard.recv()).await {
            Some(message) => message,
            None => fail(format_args!("the server is gone")),
        }
    }

    /// Whether a notification or response waits to be heard.
    pub fn has_heard(&mut self) -> Option<Value> {
        self.heard.try_recv().ok()
    }
}

impl Turn {
    /// Begins a stream of events.
    pub fn events(self) -> Writer {
        self.begin("text/event-stream")
    }

    /// Begins a document.
    pub fn document(self) -> Writer {
        self.begin("application/json")
    }

    fn begin(self, content_type: &'static str) -> Writer {
        // Short: what is said and not yet taken stays with whoever says it.
        let (said, saying) = mpsc::channel(1);
        let mut answer = Response::new(Said(saying));
        answer
            .headers_mut()
            .insert("content-type", HeaderValue::from_static(content_type));
        // The gate may have gone; then the writer notices.
        let _ = self.answer.send(answer);
        Writer {
            id: self.message["id"].clone(),
            said,
        }
    }
}

impl Writer {
    /// The id of the request that is being answered.
    pub fn id(&self) -> &Value {
        &self.id
    }

    /// Says these bytes; whether anybody still listens.
    pub async fn bytes(&self, bytes: impl Into<Bytes>) -> bool {
        self.said.send(bytes.into()).await.is_ok()
    }

    /// Says one event with this message.
    pub async fn event(&self, message: &Value) -> bool {
        self.bytes(format!("event: message\ndata: {message}\n\n")).await
    }

    /// Says the event that ends the call, and the end.
    pub async fn result(self, result: &Value) {
        self.event(&json!({ "jsonrpc": "2.0", "id": self.id, "result": result }))
            .await;
    }

    /// Waits until nobody listens any more.
    pub async fn abandoned(&self) {
        within("the call to be given up", self.said.closed()).await;
    }

    /// Whether somebody listens.
    pub fn is_heard(&self) -> bool {
        !self.said.is_closed()
    }
}

/// A body that is said bit by bit.
#[derive(Debug)]
struct Said(mpsc::Receiver<Bytes>);

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

async fn respond(
    (era, tasks): (Era, bool),
    request: Request<Incoming>,
    turning: mpsc::UnboundedSender<Turn>,
    hearing: mpsc::UnboundedSender<Value>,
) -> Result<Response<Said>, Infallible> {
    let (parts, body) = request.into_parts();
    if parts.method != http::Method::POST {
        return Ok(status(StatusCode::METHOD_NOT_ALLOWED));
    }
    let Ok(body) = body.collect().await else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    let message: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    let id = message["id"].clone();
    if id.is_null() || message.get("method").is_none() {
        // Nobody may be waiting for it.
        let _ = hearing.send(message);
        return Ok(status(StatusCode::ACCEPTED));
    }
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    if method == "tools/call" || method.starts_with("tasks/") {
        let (answer, answered) = oneshot::channel();
        let _ = turning.send(Turn {
            headers: parts.headers,
            message,
            answer,
        });
        // A turn that is dropped answers with nothing: the server failed.
        return Ok(answered
            .await
            .unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR)));
    }
    let Some(mut result) = routine(era, &method) else {
        let code = if era == Era::Modern { 404 } else { 200 };
        return Ok(document(code, &unknown(&id)));
    };
    if tasks && method == "initialize" {
        result["capabilities"]["tasks"] = json!({ "cancel": {}, "requests": { "tools": { "call": {} } } });
    }
    if tasks && method == "tools/list" {
        result["tools"][0]["execution"] = json!({ "taskSupport": "required" });
    }
    Ok(document(
        200,
        &json!({ "jsonrpc": "2.0", "id": id, "result": result }),
    ))
}

/// What a server with the tool `turn` answers to everything but calls; `None`: it does not know the method.
pub(super) fn routine(era: Era, method: &str) -> Option<Value> {
    let capabilities = json!({ "tools": {}, "logging": {} });
    let tool = json!({ "name": "turn", "inputSchema": { "type": "object" } });
    Some(match (method, era) {
        ("server/discover", Era::Modern) => {
            json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": capabilities, "ttlMs": 60_000, "cacheScope": "public",
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "puppet", "version": "0" } } })
        }
        ("initialize", Era::Legacy) => json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "serverInfo": { "name": "puppet", "version": "0" } }),
        ("tools/list", Era::Modern) => {
            json!({ "resultType": "complete", "tools": [tool], "ttlMs": 60_000, "cacheScope": "public" })
        }
        ("tools/list", Era::Legacy) => json!({ "tools": [tool] }),
        ("ping" | "logging/setLevel", Era::Legacy) => json!({}),
        _ => return None,
    })
}

/// The answer to a method that nobody knows.
pub(super) fn unknown(id: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "Method not found" } })
}

fn document(code: u16, message: &Value) -> Response<Said> {
    let mut response = status(StatusCode::from_u16(code).unwrap_or_default());
    let (said, saying) = mpsc::channel(1);
    // There is room for one.
    let _ = said.try_send(Bytes::from(message.to_string()));
    *response.body_mut() = Said(saying);
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/json"));
    response
}

fn status(code: StatusCode) -> Response<Said> {
    let mut response = Response::new(Said(mpsc::channel(1).1));
    *response.status_mut() = code;
    response
}
