//! The odd server over HTTP: streamable HTTP of either era at `/mcp`, the 2024-11-05 transport at `/sse`.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::core::{Call, Core, Listener, Message, Params};
use super::out::{EVENT_FRONT, Framing, Op, Out, event};
use super::received::Received;
use super::{Era, Handle, Odd};

/// An odd server on a free port of the loopback; it ends when this is dropped, with all its connections.
#[derive(Debug)]
pub struct OddServer {
    handle: Handle,
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Deref for OddServer {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl OddServer {
    /// Starts a server that behaves as `odd` says.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(odd: Odd) -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), Handle::new(odd, None)).await
    }

    /// Starts a server at `address`: for one that comes back where another one was.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start_at(address: SocketAddr, handle: Handle) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&handle.0)));
        Ok(Self {
            handle,
            address,
            _serving: serving,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The streamable HTTP endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The endpoint of the 2024-11-05 transport.
    #[must_use]
    pub fn sse_url(&self) -> String {
        format!("http://{}/sse", self.address)
    }

    /// Waits until it is ended, which nobody but the caller can do.
    pub async fn wait(mut self) {
        self._serving.join_next().await;
    }
}

async fn serve(listener: TcpListener, core: Arc<Core>) {
    tokio::time::sleep(Duration::from_millis(core.odd().start_ms)).await;
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = core.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let core = Arc::clone(&core);
        connections.spawn(async move {
            _ = stream.set_nodelay(true);
            let service = service_fn(|request| respond(Arc::clone(&core), request, number));
            // A connection that breaks is what many of these tests are about.
            _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// The connection is cut: hyper ends it without another byte.
#[derive(Debug, thiserror::Error)]
#[error("cut off, as told")]
struct Cut;

type Answer = Result<Response<Answering>, Cut>;

async fn respond(core: Arc<Core>, request: Request<Incoming>, connection: u64) -> Answer {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    core.receive(Received {
        at: format!("{} {}", parts.method, parts.uri),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body: body.clone(),
        connection,
    });
    let odd = core.odd();
    match (odd.era, &parts.method, parts.uri.path()) {
        (era, &Method::POST, "/mcp") => post(core, era, &parts.headers, &body).await,
        (Era::Legacy, &Method::GET, "/mcp") => get(&core, &parts.headers),
        (Era::Legacy, &Method::DELETE, "/mcp") => {
            let ended = core.forget_session(header(&parts.headers, "mcp-session-id"));
            bare(if ended { 200 } else { 404 })
        }
        (Era::Legacy, &Method::GET, "/sse") => Ok(old_stream(&core)),
        (Era::Legacy, &Method::POST, "/messages") => old_message(&core, parts.uri.query(), &body),
        (_, _, "/mcp" | "/sse") => bare(405),
        _ => bare(404),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn post(core: Arc<Core>, era: Era, headers: &HeaderMap, body: &Bytes) -> Answer {
    let Some(message) = Message::parse(body) else {
        return document(
            400,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Not JSON"}}"#.into(),
        );
    };
    let session = header(headers, "mcp-session-id").map(str::to_owned);
    let odd = core.odd();
    // A probe comes before any session; only a server that was told how to answer it gets to do so.
    let probe = message.method.as_deref() == Some("server/discover");
    let handshake = message.method.as_deref() == Some("initialize");
    let before_session = handshake || probe && odd.methods.contains_key("server/discover");
    if era == Era::Legacy && !odd.sessionless && !before_session {
        match &session {
            Some(session) if core.has_session(session) => {}
            Some(_) => return bare(404),
            None => {
                return document(
                    400,
                    error(&message, -32000, "Bad Request: Server not initialized"),
                );
            }
        }
    }
    let (id, method) = match (message.id.clone(), message.method.clone()) {
        (Some(id), Some(method)) => (id, method),
        (Some(id), None) => {
            core.answered(&id, &String::from_utf8_lossy(body));
            return bare(202);
        }
        (None, _) => return bare(202),
    };
    let params = message.params();
    if era == Era::Modern
        && let Some(fault) = mismatch(headers, &method, &params)
    {
        return document(400, error(&message, -32020, &fault));
    }
    let given = (era == Era::Legacy && handshake && !odd.sessionless).then(|| core.new_session());
    let (out, mut ops) = Out::new();
    tokio::spawn(
        Call {
            core,
            era,
            id,
            method,
            params,
            session,
            out,
        }
        .play(),
    );
    // Without a first word the answer is one long silence; a method that ends so has cut the connection.
    let first = loop {
        match ops.recv().await {
            Some(Op::Stderr(_)) => {}
            Some(op) => break op,
            None => return Err(Cut),
        }
    };
    let mut answer = answering(first, ops, odd.sse)?;
    if let Some(session) = given.and_then(|session| session.parse().ok()) {
        answer.headers_mut().insert("mcp-session-id", session);
    }
    Ok(answer)
}

/// What is wrong with the headers of a modern request (M:basic/transports/streamable-http#Server Validation).
fn mismatch(headers: &HeaderMap, method: &str, params: &Params) -> Option<String> {
    let version = params.meta.as_ref().and_then(|meta| meta.version.as_deref());
    let named = matches!(method, "tools/call" | "prompts/get" | "resources/read");
    let name = if named {
        params.name.as_deref().or(params.uri.as_deref())
    } else {
        None
    };
    let expected = [
        ("mcp-protocol-version", version),
        ("mcp-method", Some(method)),
        ("mcp-name", name),
    ];
    expected.into_iter().find_map(|(header_name, expected)| {
        let found = header(headers, header_name).map(decoded);
        ((named || header_name != "mcp-name") && found.as_deref() != expected)
            .then(|| format!("{header_name} does not agree with the body"))
    })
}

/// A header value, taken out of its Base64 sentinel (M:basic/transports/streamable-http#Value Encoding).
fn decoded(value: &str) -> String {
    let coded = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    let bytes = coded.and_then(|coded| BASE64_STANDARD.decode(coded).ok());
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_else(|| value.to_owned())
}

fn get(core: &Arc<Core>, headers: &HeaderMap) -> Answer {
    let odd = core.odd();
    match header(headers, "mcp-session-id") {
        _ if odd.no_get => return bare(405),
        Some(session) if core.has_session(session) => {}
        None if odd.sessionless => {}
        _ => return bare(404),
    }
    let (out, ops) = Out::new();
    core.listen(Listener {
        out,
        subscription: None,
    });
    Ok(streaming(VecDeque::new(), ops))
}

/// 2024-11-05/basic/transports#HTTP with SSE: the first event says where to POST.
fn old_stream(core: &Arc<Core>) -> Response<Answering> {
    let session = core.new_session();
    let (out, ops) = Out::new();
    core.keep_channel(&session, out.clone());
    core.listen(Listener {
        out,
        subscription: None,
    });
    let endpoint = format!("event: endpoint\ndata: /messages?session={session}\n\n");
    streaming([endpoint.into()].into(), ops)
}

fn old_message(core: &Arc<Core>, query: Option<&str>, body: &Bytes) -> Answer {
    let session = query.and_then(|query| query.strip_prefix("session="));
    let Some(out) = session.and_then(|session| core.channel(session)) else {
        return bare(404);
    };
    let Some(message) = Message::parse(body) else {
        return bare(400);
    };
    match (message.id.clone(), message.method.clone()) {
        (Some(id), Some(method)) => {
            let (core, params) = (Arc::clone(core), message.params());
            let session = session.map(str::to_owned);
            tokio::spawn(
                Call {
                    core,
                    era: Era::Legacy,
                    id,
                    method,
                    params,
                    session,
                    out,
                }
                .play(),
            );
        }
        (Some(id), None) => core.answered(&id, &String::from_utf8_lossy(body)),
        (None, _) => {}
    }
    bare(202)
}

fn error(message: &Message, code: i64, text: &str) -> Bytes {
    let id = message.id.as_ref().map_or("null", |id| id.get());
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{text}"}}}}"#).into()
}

fn bare(status: u16) -> Answer {
    whole(status, None, Bytes::new())
}

fn document(status: u16, body: Bytes) -> Answer {
    whole(status, Some("application/json"), body)
}

fn whole(status: u16, content_type: Option<&'static str>, body: Bytes) -> Answer {
    let ready = if body.is_empty() {
        VecDeque::new()
    } else {
        [body].into()
    };
    let mut answer = Response::new(Answering {
        ready,
        more: None,
        framing: Framing::Json,
        dying: false,
    });
    *answer.status_mut() = StatusCode::from_u16(status).map_err(|_| Cut)?;
    if let Some(content_type) = content_type {
        answer
            .headers_mut()
            .insert("content-type", http::HeaderValue::from_static(content_type));
    }
    Ok(answer)
}

fn streaming(ready: VecDeque<Bytes>, more: mpsc::Receiver<Op>) -> Response<Answering> {
    let mut answer = Response::new(Answering {
        ready,
        more: Some(more),
        framing: Framing::Sse,
        dying: false,
    });
    let headers = answer.headers_mut();
    headers.insert(
        "content-type",
        http::HeaderValue::from_static("text/event-stream"),
    );
    headers.insert("cache-control", http::HeaderValue::from_static("no-cache"));
    answer
}

/// The head that the first thing to send asks for, and the body that goes on with the rest.
fn answering(first: Op, rest: mpsc::Receiver<Op>, sse: bool) -> Answer {
    match first {
        Op::Last(json) if sse => Ok(streaming([event(&json)].into(), rest)),
        Op::Last(json) => document(200, json),
        Op::Message(json) => Ok(streaming([event(&json)].into(), rest)),
        Op::Open(Framing::Sse) => Ok(streaming(VecDeque::new(), rest)),
        Op::Open(Framing::Json) | Op::Begin(_) | Op::Raw(_) | Op::Stderr(_) => {
            let mut answer = document(200, Bytes::new())?;
            answer.body_mut().more = Some(rest);
            Ok(answer)
        }
        Op::Reply {
            status,
            content_type,
            body,
        } => whole(status, Some(content_type), body),
        Op::Die => Err(Cut),
    }
}

/// A body that is there, or that is still being made.
#[derive(Debug)]
struct Answering {
    ready: VecDeque<Bytes>,
    more: Option<mpsc::Receiver<Op>>,
    framing: Framing,
    /// The next thing that happens is the cut.
    dying: bool,
}

impl Body for Answering {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if self.dying {
                return Poll::Ready(Some(Err(Cut)));
            }
            let Some(more) = &mut self.more else {
                return Poll::Ready(None);
            };
            let bytes = match (ready!(more.poll_recv(context)), self.framing) {
                (None, _) => return Poll::Ready(None),
                (Some(Op::Die), _) => {
                    // hyper sends what it has when it must wait; without that the client would see nothing
                    // of the answer that is broken off.
                    self.dying = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                (Some(Op::Open(_) | Op::Stderr(_)), _) => continue,
                (Some(Op::Message(json) | Op::Last(json)), Framing::Sse) => event(&json),
                (Some(Op::Begin(bytes)), Framing::Sse) => [EVENT_FRONT, &bytes].concat().into(),
                (Some(Op::Reply { body, .. }), Framing::Sse) => event(&body),
                (Some(Op::Message(bytes) | Op::Last(bytes) | Op::Begin(bytes) | Op::Raw(bytes)), _)
                | (Some(Op::Reply { body: bytes, .. }), Framing::Json) => bytes,
            };
            self.ready.push_back(bytes);
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.more.is_some() {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.ready.iter().map(|bytes| bytes.len() as u64).sum())
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.more.is_none()
    }
}
