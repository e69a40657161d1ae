//! Whole servers: small HTTP servers and modules in this process that play the parts of real ones.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use ::http::{Method as Verb, Request as HttpRequest, Response as HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use gatepost_config::Config;
use gatepost_outbound::trusting;
use gatepost_policy::Principal;
use gatepost_process::Supervisor;
use gatepost_protocol::{
    envelope::{Message, Request},
    json::Strictness,
    method::Method,
    version::{Era, Version},
};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming as Received, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream},
    net::TcpListener,
    sync::mpsc,
};

use super::{
    CallError, Cause, Change, Clients, Context, Incoming, Server,
    context::own_info,
    credential::Presented,
    incoming::{Events, response_of},
    outgoing::{AsTask, Outgoing},
};
use crate::{Module, Serving};

mod asking;
mod credential;
mod flood;
mod ids;
mod level;
mod probe;
mod recorder;
mod trace;

// === servers over HTTP ===

type Answer = HttpResponse<BoxBody<Bytes, Infallible>>;

/// One request as a test server saw it.
#[derive(Clone)]
struct Seen {
    verb: Verb,
    path: String,
    headers: ::http::HeaderMap,
    body: Bytes,
}

impl Seen {
    fn method(&self) -> String {
        match Message::parse(self.body.clone(), Strictness::Edge) {
            Ok(Message::Request(request)) => request.method().to_owned(),
            Ok(Message::Notification(notification)) => notification.method().to_owned(),
            Ok(Message::Response(_)) => "response".to_owned(),
            Err(_) => self.verb.to_string(),
        }
    }

    fn id(&self) -> String {
        match Message::parse(self.body.clone(), Strictness::Edge) {
            Ok(Message::Request(request)) => String::from_utf8_lossy(request.id().bytes()).into_owned(),
            _ => "null".to_owned(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A running test server: where it is, what it saw, and how many connections it took.
#[derive(Clone)]
struct Backend {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl Backend {
    async fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Self {
            url: format!("http://{}/mcp", listener.local_addr().unwrap()),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (running, answer) = (backend.clone(), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                running.connections.fetch_add(1, Relaxed);
                let (seen, answer) = (Arc::clone(&running.seen), Arc::clone(&answer));
                tokio::spawn(async move {
                    let service = service_fn(move |request: HttpRequest<Received>| {
                        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                        async move {
                            let (head, body) = request.into_parts();
                            let body = body.collect().await.unwrap().to_bytes();
                            let path = head.uri.path().to_owned();
                            let request = Seen {
                                verb: head.method,
                                path,
                                headers: head.headers,
                                body,
                            };
                            seen.lock().unwrap().push(request.clone());
                            Ok::<_, Infallible>(answer(&request))
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        backend
    }

    fn seen(&self, method: &str) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| seen.method() == method)
            .cloned()
            .collect()
    }

    fn methods(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(Seen::method).collect()
    }

    /// Waits for the end of what is under way while the server says nothing to its call number `calls`: all the time that somebody
    /// may be patient for passes at once.
    async fn without_patience<T>(&self, calls: usize, under_way: impl Future<Output = T>) -> T {
        let passing = async {
            while self.seen("tools/call").len() < calls {
                tokio::task::yield_now().await;
            }
            loop {
                // What has been said is heard first.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                let _frozen = Frozen::new();
                tokio::time::advance(Duration::from_secs(61)).await;
            }
        };
        tokio::select! {
            done = under_way => done,
            () = passing => unreachable!("it never ends"),
        }
    }

    fn server(&self, more: &str) -> Arc<Server> {
        server(&format!("{{ url: {}, timeout: 60s{more} }}", self.url), None)
    }
}

/// Time stands still as long as there is one: also when what moves it on is dropped half way.
struct Frozen;

impl Frozen {
    fn new() -> Self {
        tokio::time::pause();
        Self
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let body = http_body_util::Full::new(body.into()).boxed();
    HttpResponse::builder()
        .status(status)
        .header("content-type", content_type)
        .body(body)
        .unwrap()
}

fn accepted() -> Answer {
    let mut accepted = answer(202, "text/plain", "");
    accepted.headers_mut().remove("content-type");
    accepted
}

fn result(seen: &Seen, result: &str) -> Answer {
    answer(
        200,
        "application/json",
        format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, seen.id()),
    )
}

fn error(seen: &Seen, status: u16, error: &str) -> Answer {
    answer(
        status,
        "application/json",
        format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, seen.id()),
    )
}

/// An event stream that a test feeds.
fn events() -> (mpsc::UnboundedSender<String>, Answer) {
    let (sender, receiver) = mpsc::unbounded_channel::<String>();
    let frames = stream::unfold(receiver, |mut receiver| async move {
        let text = receiver.recv().await?;
        Some((Ok(Frame::data(Bytes::from(text))), receiver))
    });
    let body = BodyExt::boxed(StreamBody::new(SyncStream(Mutex::new(Box::pin(frames)))));
    let response = HttpResponse::builder()
        .header("content-type", "text/event-stream")
        .body(body)
        .unwrap();
    (sender, response)
}

/// The first event of a `subscriptions/listen` that grants these resources.
fn acknowledged(uris: &str) -> String {
    event(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{{"resourceSubscriptions":{uris}}}}}}}"#
    ))
}

/// `BoxBody` wants `Sync`, which a stream that is only polled has no need of.
struct SyncStream<S>(Mutex<std::pin::Pin<Box<S>>>);

impl<S: futures_util::Stream> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.lock().unwrap().as_mut().poll_next(cx)
    }
}

fn event(message: &str) -> String {
    format!("data: {message}\n\n")
}

const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":"hi","odd":1,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"m","version":"1"}}}"#;
const INITIALIZED: &str =
    r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"l","version":"1"}}"#;

fn modern(seen: &Seen, call: impl FnOnce(&Seen) -> Answer) -> Answer {
    match seen.method().as_str() {
        "server/discover" => result(seen, DISCOVERED),
        _ => call(seen),
    }
}

/// A legacy server; each `initialize` makes the session `s1`, `s2` and so on.
fn legacy(sessions: &AtomicUsize, seen: &Seen, call: impl FnOnce(&Seen) -> Answer) -> Answer {
    match seen.method().as_str() {
        "server/discover" => answer(400, "text/plain", "Bad Request"),
        "initialize" => {
            let mut made = result(seen, INITIALIZED);
            let id = format!("s{}", sessions.fetch_add(1, Relaxed) + 1);
            made.headers_mut().insert("mcp-session-id", id.parse().unwrap());
            made
        }
        method if method.starts_with("notifications/") => accepted(),
        _ => call(seen),
    }
}

// === the gate's side ===

fn server(yaml: &str, module: Option<Arc<dyn Module>>) -> Arc<Server> {
    server_with(yaml, module, 1 << 20)
}

fn server_with(yaml: &str, module: Option<Arc<dyn Module>>, max_response: u64) -> Arc<Server> {
    server_for(yaml, module, max_response, None)
}

fn server_for(
    yaml: &str,
    module: Option<Arc<dyn Module>>,
    max_response: u64,
    clients: Option<Arc<dyn Clients>>,
) -> Arc<Server> {
    let config: Config = format!("servers: {{ s: {yaml} }}").parse().unwrap();
    let context = Context {
        tls: trusting(rustls::RootCertStore::empty()).unwrap(),
        supervisor: Supervisor::none(),
        max_response,
        info: own_info(),
        clients,
        stored: None,
        uses: None,
    };
    Server::new(&config.servers[0], module, &context)
}

/// A client with its next request.
struct Caller {
    request: Request,
    capabilities: Bytes,
    version: Version,
    conversation: Option<[u8; 16]>,
    principal: Principal,
    personal: Option<Arc<Presented>>,
    info: Option<Bytes>,
    log_level: Option<&'static str>,
    repeatable: bool,
}

impl Caller {
    fn legacy(params: &str) -> Self {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":"theirs","method":"tools/call","params":{params}}}"#);
        let Ok(Message::Request(request)) = Message::parse(raw.into(), Strictness::Edge) else {
            panic!("{params}")
        };
        Self {
            request,
            capabilities: Bytes::from_static(b"{}"),
            version: Version::V2025_11_25,
            conversation: None,
            principal: Principal::local(),
            personal: None,
            info: None,
            log_level: None,
            repeatable: false,
        }
    }

    fn asking() -> Self {
        Self {
            capabilities: Bytes::from_static(br#"{"roots":{"listChanged":true}}"#),
            ..Self::legacy("{}")
        }
    }

    fn out(&self) -> Outgoing<'_> {
        Outgoing {
            request: &self.request,
            name: Some("own"),
            version: self.version,
            capabilities: &self.capabilities,
            info: self.info.as_ref(),
            log_level: self.log_level,
            conversation: self.conversation,
            principal: Some(&self.principal),
            personal: self.personal.clone(),
            headers: vec![("traceparent".parse().unwrap(), "00-a-b-01".parse().unwrap())],
            params: vec![("mcp-param-x".parse().unwrap(), "1".parse().unwrap())],
            repeatable: self.repeatable,
            task: AsTask::No,
            input: None,
            call: None,
            wish: None,
        }
    }

    async fn call(&self, server: &Arc<Server>) -> Result<Incoming, CallError> {
        server.send(&self.out()).await
    }

    async fn text(&self, server: &Arc<Server>) -> Result<String, CallError> {
        let response = response_of(self.call(server).await?).await?;
        Ok(String::from_utf8_lossy(response.raw()).into_owned())
    }
}

fn cause<T>(outcome: Result<T, CallError>) -> Cause {
    match outcome {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.cause,
    }
}

fn streaming(incoming: Incoming) -> Events {
    match incoming {
        Incoming::Events(events) => events,
        _ => panic!("no stream"),
    }
}

// === modern HTTP ===

#[tokio::test]
async fn a_modern_server_gets_its_own_names_in_body_and_headers() {
    let backend = Backend::start(|seen| modern(seen, |seen| result(seen, r#"{"a":1}"#))).await;
    let server = backend.server("");
    let caller = Caller::legacy(r#"{"name":"public","arguments":{},"_meta":{"progressToken":"t"}}"#);
    for id in 1..=3 {
        assert_eq!(
            caller.text(&server).await.unwrap(),
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"a":1}}}}"#)
        );
    }
    let calls = backend.seen("tools/call");
    let call = &calls[0];
    assert_eq!(call.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(call.header("mcp-method"), Some("tools/call"));
    assert_eq!(call.header("mcp-name"), Some("own"));
    assert_eq!(call.header("mcp-param-x"), Some("1"));
    assert_eq!(call.header("traceparent"), Some("00-a-b-01"));
    assert_eq!(call.header("accept"), Some("application/json, text/event-stream"));
    let Ok(Message::Request(request)) = Message::parse(call.body.clone(), Strictness::Edge) else {
        panic!()
    };
    assert_eq!(request.param_text("name").unwrap(), "own");
    assert_eq!(request.meta_raw("progressToken"), Some(request.id().bytes()));
    assert_eq!(
        request
            .meta_text("io.modelcontextprotocol/protocolVersion")
            .unwrap(),
        "2026-07-28"
    );
    assert_eq!(
        backend.connections.load(Relaxed),
        1,
        "one connection, the probe's included"
    );
    let facts = server.known().unwrap();
    assert_eq!(
        (facts.era(), facts.instructions.as_deref()),
        (Era::Modern, Some("hi"))
    );
    assert_eq!(facts.extra, [("odd".to_owned(), Bytes::from_static(b"1"))]);
    assert_eq!(serde_json::to_value(server.health()).unwrap()["state"], "healthy");
}

#[tokio::test]
async fn events_pass_as_they_come() {
    let (feeder, answer) = events();
    let answers = Mutex::new(Some(answer));
    let backend = Backend::start(move |seen| modern(seen, |_| answers.lock().unwrap().take().unwrap())).await;
    let server = backend.server("");
    feeder.send(": hello\n\n".to_owned()).unwrap();
    feeder
        .send(event(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}"#,
        ))
        .unwrap();
    let mut changes = server.changes();
    let mut events = streaming(Caller::legacy("{}").call(&server).await.unwrap());
    assert!(matches!(events.next().await.unwrap(), Message::Notification(_)));
    feeder
        .send(event(
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
        ))
        .unwrap();
    feeder
        .send("data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,\"result\":{}}\n\n".to_owned())
        .unwrap();
    assert!(matches!(events.next().await.unwrap(), Message::Response(_)));
    assert_eq!(changes.recv().await.unwrap(), Change::Tools);
}

#[tokio::test]
async fn a_stream_that_dies_or_asks_fails_its_call_by_name() {
    let feeders = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&feeders);
    let backend = Backend::start(move |seen| {
        modern(seen, |_| {
            let (feeder, answer) = events();
            kept.lock().unwrap().push(feeder);
            answer
        })
    })
    .await;
    let server = backend.server("");
    let (caller, take) = (Caller::legacy("{}"), || feeders.lock().unwrap().pop());
    let breaking = async {
        while feeders.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(take());
    };
    let (outcome, ()) = tokio::join!(caller.call(&server), breaking);
    assert!(matches!(cause(outcome), Cause::Ended(_)));
    let asking = async {
        while feeders.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let feeder = take().unwrap();
        feeder
            .send(event(
                r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{}}"#,
            ))
            .unwrap();
        feeder
    };
    let (outcome, _feeder) = tokio::join!(caller.call(&server), asking);
    assert!(matches!(cause(outcome), Cause::Violation(text) if text.contains("elicitation/create")));
}

#[tokio::test]
async fn large_answers_stream_and_too_large_ones_fail() {
    let backend = Backend::start(|seen| {
        modern(seen, |seen| {
            let length = if seen.body.windows(4).any(|window| window == b"huge") {
                3 << 20
            } else {
                900 << 10
            };
            result(seen, &format!(r#"{{"text":"{}"}}"#, "x".repeat(length)))
        })
    })
    .await;
    let server = backend.server("");
    let Incoming::Partial(partial) = Caller::legacy("{}").call(&server).await.unwrap() else {
        panic!("whole")
    };
    assert!(partial.head.starts_with(br#"{"jsonrpc":"2.0","id":1,"#));
    let whole = partial.collect().await.unwrap();
    assert!(whole.raw().len() > 900 << 10);
    let huge = Caller::legacy(r#"{"arguments":{"huge":1}}"#).text(&server).await;
    assert!(matches!(cause(huge), Cause::TooLarge { .. }));
}

#[tokio::test]
async fn a_server_that_became_legacy_is_greeted_again() {
    let (moved, sessions) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let switch = Arc::clone(&moved);
    let backend = Backend::start(move |seen| match switch.load(Relaxed) {
        0 => modern(seen, |seen| result(seen, "{}")),
        _ if seen.header("mcp-protocol-version") == Some("2026-07-28") => answer(404, "text/plain", "gone"),
        _ => legacy(&sessions, seen, |seen| result(seen, r#"{"legacy":1}"#)),
    })
    .await;
    let server = backend.server("");
    let caller = Caller::legacy("{}");
    caller.text(&server).await.unwrap();
    moved.store(1, Relaxed);
    assert!(caller.text(&server).await.unwrap().contains("legacy"));
    assert_eq!(server.known().unwrap().era(), Era::Legacy);
}

#[tokio::test]
async fn a_version_error_is_our_fault_and_is_retried_once() {
    let calls = AtomicUsize::new(0);
    let backend = Backend::start(move |seen| {
        modern(seen, |seen| match calls.fetch_add(1, Relaxed) {
            0 => error(seen, 400, r#"{"code":-32020,"message":"headers"}"#),
            1 => result(seen, "{}"),
            _ => error(seen, 404, r#"{"code":-32601,"message":"x","data":{"k":1}}"#),
        })
    })
    .await;
    let server = backend.server("");
    let mut changes = server.changes();
    assert!(
        Caller::legacy("{}")
            .text(&server)
            .await
            .unwrap()
            .contains("result")
    );
    assert_eq!(changes.try_recv().unwrap(), Change::Tools);
    assert_eq!(backend.seen("server/discover").len(), 2);
    // An error of the server's own passes as it is, whatever the status.
    assert!(
        Caller::legacy("{}")
            .text(&server)
            .await
            .unwrap()
            .contains(r#"{"code":-32601,"message":"x","data":{"k":1}}"#)
    );
}

#[tokio::test]
async fn a_server_in_trouble_is_asked_again_on_the_next_call() {
    let up = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&up);
    let backend = Backend::start(move |seen| match now.load(Relaxed) {
        0 => answer(503, "text/html", "<h1>later</h1>"),
        _ => modern(seen, |seen| result(seen, "{}")),
    })
    .await;
    let server = backend.server("");
    let caller = Caller::legacy("{}");
    assert!(matches!(cause(caller.text(&server).await), Cause::Handshake(_)));
    assert_eq!(
        serde_json::to_value(server.health()).unwrap()["state"],
        "unhealthy"
    );
    assert_eq!(
        backend.methods(),
        ["server/discover"],
        "nothing is concluded, so nothing else is tried"
    );
    up.store(1, Relaxed);
    caller.text(&server).await.unwrap();
}

#[tokio::test]
async fn silence_and_redirects_are_named() {
    let hold = Mutex::new(Vec::new());
    let backend = Backend::start(move |seen| {
        modern(seen, |seen| {
            if seen.body.windows(4).any(|window| window == b"slow") {
                let (feeder, answer) = events();
                hold.lock().unwrap().push(feeder);
                return answer;
            }
            let mut moved = answer(307, "text/plain", "");
            moved
                .headers_mut()
                .insert("location", "http://elsewhere/".parse().unwrap());
            moved
        })
    })
    .await;
    let server = backend.server("");
    let slow = Caller::legacy(r#"{"arguments":{"slow":1}}"#);
    let slow = backend.without_patience(1, slow.text(&server)).await;
    assert!(matches!(cause(slow), Cause::Timeout(_)));
    let moved = cause(Caller::legacy("{}").text(&server).await);
    assert!(moved.to_string().contains("http://elsewhere/"), "{moved}");
}

#[tokio::test]
async fn what_was_lost_is_sent_again_only_if_that_changes_nothing() {
    let backend = {
        let lost = AtomicUsize::new(0);
        Backend::start(move |seen| {
            modern(seen, |seen| match lost.fetch_add(1, Relaxed) % 2 {
                0 => events().1,
                _ => result(seen, "{}"),
            })
        })
        .await
    };
    let server = backend.server("");
    assert!(server.fetch(Method::ToolsList, b"{}").await.is_ok());
    assert!(matches!(
        cause(Caller::legacy("{}").text(&server).await),
        Cause::Ended(_)
    ));
    assert_eq!(
        (backend.seen("tools/list").len(), backend.seen("tools/call").len()),
        (2, 1)
    );
}

// === legacy HTTP ===

#[tokio::test]
async fn a_legacy_server_is_initialized_once_and_its_session_shared() {
    let sessions = AtomicUsize::new(0);
    let backend = Backend::start(move |seen| legacy(&sessions, seen, |seen| result(seen, "{}"))).await;
    let server = backend.server("");
    let caller = Caller::legacy(r#"{"name":"public","task":{}}"#);
    let (a, b, c) = tokio::join!(caller.text(&server), caller.text(&server), caller.text(&server));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(
        backend.methods()[..3],
        ["server/discover", "initialize", "notifications/initialized"]
    );
    assert_eq!(backend.seen("initialize").len(), 1);
    let calls = backend.seen("tools/call");
    let call = &calls[0];
    assert_eq!(call.header("mcp-session-id"), Some("s1"));
    assert_eq!(call.header("mcp-protocol-version"), Some("2025-11-25"));
    assert_eq!(call.header("mcp-method"), None);
    assert_eq!(call.header("mcp-param-x"), None);
    assert!(!call.body.windows(6).any(|window| window == b"\"task\""));
    server.stop(Duration::from_secs(1)).await;
    assert_eq!(backend.seen("DELETE")[0].header("mcp-session-id"), Some("s1"));
    assert!(matches!(cause(caller.text(&server).await), Cause::Stopping));
}

#[tokio::test]
async fn a_lost_session_is_healed_unless_it_is_the_clients_own() {
    for (isolation, healed) in [("shared", true), ("principal", true), ("session", false)] {
        let sessions = AtomicUsize::new(0);
        let backend = Backend::start(move |seen| {
            legacy(&sessions, seen, |seen| {
                // What belongs to the first call's session is forgotten after it.
                if seen.header("mcp-session-id") == Some(if isolation == "shared" { "s1" } else { "s2" })
                    && seen.id() != "2"
                {
                    return error(seen, 404, r#"{"code":-32001,"message":"Session not found"}"#);
                }
                result(seen, "{}")
            })
        })
        .await;
        let server = backend.server(&format!(", isolation: {isolation}"));
        let caller = Caller {
            conversation: Some([7; 16]),
            ..Caller::legacy("{}")
        };
        caller.text(&server).await.unwrap();
        let second = caller.text(&server).await;
        if healed {
            assert!(second.is_ok(), "{isolation}");
        } else {
            assert!(matches!(cause(second), Cause::SessionGone));
            // And the client starts anew.
            caller.text(&server).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_question_on_the_calls_own_stream_reaches_the_client_and_its_answer_the_server() {
    let sessions = AtomicUsize::new(0);
    let (feeder, stream) = events();
    let streams = Mutex::new(Some(stream));
    let backend = Backend::start(move |seen| match (seen.verb.clone(), seen.method().as_str()) {
        (Verb::GET, _) => answer(405, "text/plain", ""),
        (_, "response") => accepted(),
        _ => legacy(&sessions, seen, |_| streams.lock().unwrap().take().unwrap()),
    })
    .await;
    let server = backend.server("");
    feeder
        .send(event(r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#))
        .unwrap();
    let mut events = streaming(Caller::asking().call(&server).await.unwrap());
    assert!(matches!(events.next().await.unwrap(), Message::Request(ask) if ask.method() == "roots/list"));
    events
        .reply(Bytes::from_static(
            br#"{"jsonrpc":"2.0","id":"q","result":{"roots":[]}}"#,
        ))
        .await
        .unwrap();
    feeder
        .send(event(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#))
        .unwrap();
    assert!(matches!(events.next().await.unwrap(), Message::Response(_)));
    let replies = backend.seen("response");
    assert_eq!(replies[0].header("mcp-session-id"), Some("s2"));
    // The common session was opened without capabilities, the client's own with what can be kept of them.
    let opened: Vec<_> = backend
        .seen("initialize")
        .into_iter()
        .map(|seen| seen.body)
        .collect();
    assert!(
        opened[1]
            .windows(29)
            .any(|window| window == br#""capabilities":{"roots":{}},""#),
        "{:?}",
        opened[1]
    );
}

#[tokio::test]
async fn a_question_on_the_get_stream_reaches_the_only_call() {
    let sessions = AtomicUsize::new(0);
    let (asker, stream) = events();
    let (feeder, call_stream) = events();
    let streams = Mutex::new((Some(stream), Some(call_stream)));
    let backend = Backend::start(move |seen| match seen.verb {
        Verb::GET => streams
            .lock()
            .unwrap()
            .0
            .take()
            .unwrap_or_else(|| answer(405, "text/plain", "")),
        _ => legacy(&sessions, seen, |_| streams.lock().unwrap().1.take().unwrap()),
    })
    .await;
    let server = backend.server("");
    let caller = Caller::asking();
    let asking = async {
        while backend.seen("tools/call").is_empty() {
            tokio::task::yield_now().await;
        }
        asker
            .send(event(r#"{"jsonrpc":"2.0","id":9,"method":"roots/list"}"#))
            .unwrap();
    };
    let (incoming, ()) = tokio::join!(caller.call(&server), asking);
    let mut events = streaming(incoming.unwrap());
    assert!(matches!(events.next().await.unwrap(), Message::Request(_)));
    feeder
        .send(event(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#))
        .unwrap();
    assert!(matches!(events.next().await.unwrap(), Message::Response(_)));
}

#[tokio::test]
async fn a_broken_stream_with_event_ids_is_resumed() {
    let sessions = AtomicUsize::new(0);
    let (feeder, stream) = events();
    let (later, resumed) = events();
    let streams = Mutex::new((Some(stream), Some(resumed)));
    let backend = Backend::start(move |seen| match seen.verb {
        Verb::GET => streams.lock().unwrap().1.take().unwrap(),
        _ => legacy(&sessions, seen, |_| streams.lock().unwrap().0.take().unwrap()),
    })
    .await;
    let server = backend.server("");
    feeder.send("id: e1\nretry: 10\ndata:\n\n".to_owned()).unwrap();
    drop(feeder);
    later
        .send(event(r#"{"jsonrpc":"2.0","id":2,"result":{"late":1}}"#))
        .unwrap();
    assert!(Caller::legacy("{}").text(&server).await.unwrap().contains("late"));
    let gets = backend.seen("GET");
    assert_eq!(gets[0].header("last-event-id"), Some("e1"));
}

#[tokio::test]
async fn a_watched_resource_is_counted_and_subscribed_again_on_a_new_session() {
    let sessions = AtomicUsize::new(0);
    let (asker, stream) = events();
    let streams = Mutex::new(Some(stream));
    let backend = Backend::start(move |seen| match seen.verb {
        Verb::GET => streams
            .lock()
            .unwrap()
            .take()
            .unwrap_or_else(|| answer(405, "text/plain", "")),
        _ => legacy(&sessions, seen, |seen| match seen.header("mcp-session-id") {
            Some("s1") if seen.method() == "tools/call" => answer(404, "text/plain", ""),
            _ => result(seen, "{}"),
        }),
    })
    .await;
    let server = backend.server("");
    let mut changes = server.changes();
    let watching = Arc::clone(&server);
    let watch = tokio::spawn(async move { watching.watch().await });
    server.subscribe(&server.common_watch, "a:b").await.unwrap();
    server.subscribe(&server.common_watch, "a:b").await.unwrap();
    assert_eq!(backend.seen("resources/subscribe").len(), 1);
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#;
    asker.send(event(updated)).unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::updated("a:b".into()));
    Caller::legacy("{}").text(&server).await.unwrap();
    let subscribed = backend.seen("resources/subscribe");
    assert_eq!(subscribed.len(), 2);
    assert_eq!(subscribed[1].header("mcp-session-id"), Some("s2"));
    server.unsubscribe(&server.common_watch, "a:b").await;
    assert!(backend.seen("resources/unsubscribe").is_empty());
    server.unsubscribe(&server.common_watch, "a:b").await;
    assert_eq!(backend.seen("resources/unsubscribe").len(), 1);
    server.stop(Duration::from_secs(1)).await;
    watch.await.unwrap();
}

/// Who subscribes finds the session gone, and the new one is told of what others watch as well.
#[tokio::test]
async fn what_is_watched_is_told_to_a_session_that_a_subscription_opens() {
    let sessions = AtomicUsize::new(0);
    let backend = Backend::start(move |seen| match seen.verb {
        Verb::GET => answer(405, "text/plain", ""),
        _ => legacy(&sessions, seen, |seen| {
            let watched = String::from_utf8_lossy(&seen.body).contains("a:b");
            match seen.header("mcp-session-id") {
                Some("s1") if !watched => answer(404, "text/plain", ""),
                _ => result(seen, "{}"),
            }
        }),
    })
    .await;
    let server = backend.server("");
    server.subscribe(&server.common_watch, "a:b").await.unwrap();
    server.subscribe(&server.common_watch, "c:d").await.unwrap();
    let told = || {
        let subscribed = backend.seen("resources/subscribe").into_iter();
        let anew = subscribed.filter(|seen| seen.header("mcp-session-id") == Some("s2"));
        let texts = anew.map(|seen| String::from_utf8_lossy(&seen.body).into_owned());
        let texts: Vec<_> = texts.collect();
        ["a:b", "c:d"].map(|uri| texts.iter().any(|text| text.contains(uri)))
    };
    let all = async {
        while told() != [true, true] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.unwrap();
}

#[tokio::test]
async fn a_modern_server_announces_on_its_listen_stream() {
    let (feeder, stream) = events();
    let (wider, second) = events();
    let streams = Mutex::new(VecDeque::from([stream, second]));
    let backend = Backend::start(move |seen| {
        modern(seen, |seen| match seen.method().as_str() {
            "subscriptions/listen" => streams.lock().unwrap().pop_front().unwrap_or_else(|| events().1),
            _ => result(seen, "{}"),
        })
    })
    .await;
    let server = backend.server("");
    let mut changes = server.changes();
    let watching = Arc::clone(&server);
    let watch = tokio::spawn(async move { watching.watch().await });
    feeder.send(acknowledged("[]")).unwrap();
    feeder
        .send(event(
            r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#,
        ))
        .unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Prompts);
    // A wider filter means another stream, which is open before the first one is closed.
    let subscribing = Arc::clone(&server);
    let subscribed =
        tokio::spawn(async move { subscribing.subscribe(&subscribing.common_watch, "a:b").await });
    while backend.seen("subscriptions/listen").len() < 2 {
        tokio::task::yield_now().await;
    }
    let asked = backend.seen("subscriptions/listen");
    assert!(
        asked[1]
            .body
            .windows(31)
            .any(|window| window == br#""resourceSubscriptions":["a:b"]"#)
    );
    feeder
        .send(event(
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
        ))
        .unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Tools);
    assert!(!subscribed.is_finished());
    wider.send(acknowledged(r#"["a:b"]"#)).unwrap();
    subscribed.await.unwrap().unwrap();
    feeder.closed().await;
    wider
        .send(event(
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#,
        ))
        .unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::updated("a:b".into()));
    server.stop(Duration::from_secs(1)).await;
    watch.await.unwrap();
}

#[tokio::test]
async fn a_resource_that_a_modern_server_does_not_grant_is_not_watched() {
    let (feeder, stream) = events();
    let streams = Mutex::new(VecDeque::from([stream]));
    let backend = Backend::start(move |seen| {
        modern(seen, |seen| {
            match (seen.method().as_str(), streams.lock().unwrap().pop_front()) {
                ("subscriptions/listen", Some(stream)) => stream,
                ("subscriptions/listen", None) => answer(404, "text/plain", "no more"),
                _ => result(seen, "{}"),
            }
        })
    })
    .await;
    let server = backend.server("");
    let watching = Arc::clone(&server);
    let watch = tokio::spawn(async move { watching.watch().await });
    feeder.send(acknowledged("[]")).unwrap();
    while backend.seen("subscriptions/listen").is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(server.subscribe(&server.common_watch, "a:b").await.is_err());
    while !server.common_watch.subscriptions.lock().await.is_empty() {
        tokio::task::yield_now().await;
    }
    server.stop(Duration::from_secs(1)).await;
    watch.await.unwrap();
}

// === the transport of 2024-11-05 ===

#[tokio::test]
async fn an_old_sse_server_is_found_and_spoken_to() {
    let (feeder, stream) = events();
    let streams = Mutex::new(Some(stream));
    let answers = feeder.clone();
    let backend = Backend::start(move |seen| match (&seen.verb, seen.path.as_str()) {
        (&Verb::GET, _) => streams.lock().unwrap().take().unwrap(),
        (_, "/mcp") => answer(405, "text/plain", "Method Not Allowed"),
        _ => {
            let result = match seen.method().as_str() {
                "initialize" => r#"{"protocolVersion":"2024-11-05","capabilities":{}}"#,
                "tools/call" => r#"{"old":1}"#,
                _ => return accepted(),
            };
            answers
                .send(event(&format!(
                    r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
                    seen.id()
                )))
                .unwrap();
            accepted()
        }
    })
    .await;
    feeder
        .send("event: endpoint\ndata: /messages?session=1\n\n".to_owned())
        .unwrap();
    let server = backend.server("");
    let caller = Caller::legacy("{}");
    assert!(caller.text(&server).await.unwrap().contains("old"));
    assert!(caller.text(&server).await.unwrap().contains("old"));
    assert_eq!(server.known().unwrap().version, Version::V2024_11_05);
    assert_eq!(
        backend.methods()[..4],
        ["server/discover", "initialize", "GET", "initialize"]
    );
    assert_eq!(backend.seen("tools/call")[0].path, "/messages");
}

// === modules ===

/// A legacy module that answers each call with the number of its connection, and asks for roots if it may.
#[derive(Clone, Default)]
struct Counting {
    connections: Arc<AtomicUsize>,
}

impl Module for Counting {
    fn serve(&self, io: DuplexStream) -> Serving {
        let number = self.connections.fetch_add(1, Relaxed) + 1;
        Box::pin(async move {
            let (from, mut to) = tokio::io::split(io);
            let mut lines = BufReader::new(from).lines();
            let mut say = async |line: String| to.write_all(format!("{line}\n").as_bytes()).await.unwrap();
            let mut asks = false;
            let mut open = None;
            while let Some(line) = lines.next_line().await.unwrap() {
                match Message::parse(line.into(), Strictness::Edge).unwrap() {
                    Message::Request(request) => {
                        let id = String::from_utf8_lossy(request.id().bytes()).into_owned();
                        let reply = |rest: String| format!(r#"{{"jsonrpc":"2.0","id":{id},{rest}}}"#);
                        match request.method() {
                            "initialize" => {
                                asks = request.param_raw("capabilities").is_some_and(|set| set != b"{}");
                                say(reply(format!(r#""result":{INITIALIZED}"#))).await;
                            }
                            "tools/call" if asks => {
                                open = Some(id);
                                say(r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#.to_owned()).await;
                            }
                            "tools/call" => say(reply(format!(r#""result":{{"n":{number}}}"#))).await,
                            _ => say(reply(r#""error":{"code":-32601,"message":"?"}"#.to_owned())).await,
                        }
                    }
                    Message::Response(_) => {
                        let id = open.take().unwrap();
                        say(format!(
                            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"n":{number}}}}}"#
                        ))
                        .await;
                    }
                    Message::Notification(_) => {}
                }
            }
        })
    }
}

fn counting() -> (Arc<Server>, Counting) {
    let module = Counting::default();
    let server = server(
        "{ module: calculator, timeout: 60s, pool: { max: 2 } }",
        Some(Arc::new(module.clone())),
    );
    (server, module)
}

#[tokio::test]
async fn clients_that_cannot_be_asked_share_one_connection() {
    let (server, module) = counting();
    let caller = Caller::legacy("{}");
    let texts = futures_util::future::join_all((0..20).map(|_| caller.text(&server))).await;
    assert!(
        texts
            .into_iter()
            .all(|text| text.unwrap().ends_with(r#""result":{"n":1}}"#))
    );
    assert_eq!(module.connections.load(Relaxed), 1);
    let response = server.fetch(Method::ToolsList, b"{}").await.unwrap();
    assert_eq!(response.error_message().unwrap(), "?");
}

#[tokio::test]
async fn clients_that_can_be_asked_lease_one_for_each_call() {
    let (server, module) = counting();
    let caller = Caller::asking();
    let mut first = streaming(caller.call(&server).await.unwrap());
    let mut second = streaming(caller.call(&server).await.unwrap());
    assert_eq!(
        module.connections.load(Relaxed),
        3,
        "the common one and two leased"
    );
    // A third waits for a place.
    let waiting = tokio::time::timeout(Duration::from_millis(50), caller.call(&server)).await;
    assert!(waiting.is_err());
    for events in [&mut first, &mut second] {
        assert!(matches!(events.next().await.unwrap(), Message::Request(_)));
        events
            .reply(Bytes::from_static(
                br#"{"jsonrpc":"2.0","id":"r","result":{"roots":[]}}"#,
            ))
            .await
            .unwrap();
        assert!(matches!(events.next().await.unwrap(), Message::Response(_)));
    }
    drop((first, second));
    let third = streaming(caller.call(&server).await.unwrap());
    assert_eq!(module.connections.load(Relaxed), 3, "given back, not opened anew");
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn a_leased_connection_whose_call_was_abandoned_is_given_up() {
    let (server, module) = counting();
    let caller = Caller::asking();
    drop(streaming(caller.call(&server).await.unwrap()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(streaming(caller.call(&server).await.unwrap()));
    assert_eq!(module.connections.load(Relaxed), 3);
}

// === programs ===

/// A legacy server that ends when its first message is not `initialize`; `$0` counts its starts.
const PROBE_KILLS: &str = r#"
read -r first
echo start >> "$0"
case "$first" in *'"method":"initialize"'*) ;; *) exit 1;; esac
id=$(echo "$first" | sed 's/.*"id":\([0-9]*\).*/\1/')
echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"protocolVersion\":\"2025-03-26\",\"capabilities\":{}}}"
while read -r line; do
  case "$line" in *notifications/*) continue;; esac
  id=$(echo "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
  echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"pid\":$$}}"
done
"#;

#[tokio::test]
async fn a_program_that_the_probe_kills_is_started_again_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("starts");
    let yaml = format!(
        "{{ command: /bin/sh, args: [-c, {}, {}], timeout: 60s }}",
        serde_json::to_string(PROBE_KILLS).unwrap(),
        serde_json::to_string(&count).unwrap()
    );
    let server = server(&yaml, None);
    let caller = Caller::legacy("{}");
    let first = caller.text(&server).await.unwrap();
    assert_eq!(
        first.replace("\"id\":2", ""),
        caller.text(&server).await.unwrap().replace("\"id\":3", "")
    );
    assert_eq!(server.known().unwrap().version, Version::V2025_03_26);
    let starts = || std::fs::read_to_string(&count).unwrap().lines().count();
    assert_eq!(starts(), 2);
    // The next process is not probed.
    let session = server.pool.sessions().pop().unwrap();
    server.pool.discard(&session);
    caller.text(&server).await.unwrap();
    assert_eq!(starts(), 3);
    server.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_program_that_dies_fails_its_call_and_is_started_again() {
    let script = r#"
read -r first
id=$(echo "$first" | sed 's/.*"id":\([0-9]*\).*/\1/')
echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{}}}"
read -r initialized; read -r call; echo boom >&2; exit 7
"#;
    let yaml = format!(
        "{{ command: /bin/sh, args: [-c, {}], era: legacy, timeout: 60s }}",
        serde_json::to_string(script).unwrap()
    );
    let server = server(&yaml, None);
    let caller = Caller::legacy("{}");
    for _ in 0..2 {
        let ended = cause(caller.text(&server).await).to_string();
        assert!(
            ended.contains("exited with code 7") && ended.contains("boom"),
            "{ended}"
        );
    }
    assert_eq!(
        serde_json::to_value(server.health()).unwrap()["state"],
        "unhealthy"
    );
}
