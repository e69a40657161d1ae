//! Servers behind the gate that say nothing by themselves: what all of them hear comes to the test in one place, and the
//! test says, piece by piece, what they answer, ask and tell. Over HTTP, with sessions where the era has them, and on pipes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::puppet::{routine, unknown};
use super::{fail, within};
use crate::odd::{Era, built};

/// All the servers of a test. They go when this is dropped.
#[derive(Debug)]
pub struct Stage {
    heard: mpsc::UnboundedReceiver<Heard>,
    hearing: mpsc::UnboundedSender<Heard>,
    servers: usize,
    serving: JoinSet<()>,
}

/// What a server has heard.
#[derive(Debug)]
pub enum Heard {
    /// A call of its only tool, `turn`.
    Call(Part),
    /// A notification, or the response to a question.
    Said {
        /// Where.
        line: Line,
        /// The message.
        message: Value,
    },
    /// A session has begun, or a program.
    Opened(Line),
    /// A session was ended by the gate, or a program.
    Closed(Line),
}

/// A session on a server, or a program. A modern server has only one, behind a URL.
#[derive(Debug, Clone)]
pub struct Line {
    /// The server, in the order of their starts.
    pub server: usize,
    /// Different for all sessions of that server.
    pub session: u64,
    /// Where it speaks beside the answers to calls: the GET stream, or the program's output.
    out: Arc<Mutex<Option<mpsc::UnboundedSender<Bytes>>>>,
    lines: bool,
}

/// A call that waits for its answer.
#[derive(Debug)]
pub struct Part {
    /// Where it came.
    pub line: Line,
    /// The request.
    pub message: Value,
    /// Nothing where answers are lines.
    begun: Option<oneshot::Sender<Response<Said>>>,
    said: Option<mpsc::UnboundedSender<Bytes>>,
}

/// What each connection of a server needs.
#[derive(Debug, Clone)]
struct Server {
    era: Era,
    number: usize,
    hearing: mpsc::UnboundedSender<Heard>,
    sessions: Arc<Mutex<Vec<Line>>>,
}

impl Default for Stage {
    fn default() -> Self {
        let (hearing, heard) = mpsc::unbounded_channel();
        Self {
            heard,
            hearing,
            servers: 0,
            serving: JoinSet::new(),
        }
    }
}

impl Stage {
    /// What a server has heard next.
    pub async fn heard(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => fail(format_args!("the servers are gone")),
        }
    }

    /// Starts a server behind a URL, which is given back.
    pub async fn http(&mut self, era: Era) -> String {
        let (listener, address) = listen().await;
        let server = self.server(era);
        self.serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                connections.spawn(async move {
                    _ = stream.set_nodelay(true);
                    let service = service_fn(|request| server.respond(request));
                    // How a connection ends is the gate's affair.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        format!("http://{address}/mcp")
    }

    /// Starts a server that is a program: its command and arguments are given back. Each process is a session.
    pub async fn program(&mut self, era: Era) -> (PathBuf, Vec<String>) {
        let (listener, address) = listen().await;
        let server = self.server(era);
        self.serving.spawn(async move {
            let mut processes = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                processes.spawn(server.clone().converse(stream));
            }
        });
        let relay = built("stdio-relay")
            .unwrap_or_else(|error| fail(format_args!("the relay is not built: {error}")));
        (relay, vec![address.to_string()])
    }

    fn server(&mut self, era: Era) -> Server {
        let number = self.servers;
        self.servers += 1;
        Server {
            era,
            number,
            hearing: self.hearing.clone(),
            sessions: Arc::default(),
        }
    }
}

impl Line {
    /// Says a message beside the answers to calls; false if nobody listens there.
    pub fn say(&self, message: &Value) -> bool {
        self.bytes(self.frame(message))
    }

    /// The message as it stands on this line.
    pub fn frame(&self, message: &Value) -> String {
        if self.lines {
            format!("{message}\n")
        } else {
            format!("event: message\ndata: {message}\n\n")
        }
    }

    /// Says these bytes, as a write of their own.
    pub fn bytes(&self, bytes: impl Into<Bytes>) -> bool {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.as_ref().is_some_and(|out| out.send(bytes.into()).is_ok())
    }

    fn speaks_into(&self, out: mpsc::UnboundedSender<Bytes>) {
        *self.out.lock().unwrap_or_else(PoisonError::into_inner) = Some(out);
    }
}

impl Part {
    /// Whether something was said, so that the answer can no longer be one document.
    pub fn has_begun(&self) -> bool {
        self.said.is_some() || self.line.lines
    }

    /// Says a message on the call's own stream; false if nobody listens any more.
    pub fn say(&mut self, message: &Value) -> bool {
        self.bytes(self.line.frame(message))
    }

    /// Says these bytes of a message, as a write of their own.
    pub fn bytes(&mut self, bytes: impl Into<Bytes>) -> bool {
        if self.line.lines {
            return self.line.bytes(bytes);
        }
        self.begin("text/event-stream");
        self.said
            .as_ref()
            .is_some_and(|said| said.send(bytes.into()).is_ok())
    }

    /// Says the response, and nothing after it.
    pub fn end(mut self, outcome: &Value, document: bool) -> bool {
        let mut message = json!({ "jsonrpc": "2.0", "id": self.message["id"] });
        if let (Some(message), Some(outcome)) = (message.as_object_mut(), outcome.as_object()) {
            message.extend(outcome.clone());
        }
        if !document || self.has_begun() {
            return self.say(&message);
        }
        self.begin("application/json");
        let text = Bytes::from(message.to_string());
        self.said.as_ref().is_some_and(|said| said.send(text).is_ok())
    }

    fn begin(&mut self, content_type: &'static str) {
        let Some(begun) = self.begun.take() else { return };
        let (said, saying) = mpsc::unbounded_channel();
        // The gate may have gone; then saying fails.
        let _ = begun.send(streamed(content_type, saying));
        self.said = Some(said);
    }
}

impl Server {
    fn tell(&self, heard: Heard) {
        // The test may be over.
        let _ = self.hearing.send(heard);
    }

    fn open(&self, lines: bool) -> Line {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let line = Line {
            server: self.number,
            session: sessions.len() as u64,
            out: Arc::default(),
            lines,
        };
        sessions.push(line.clone());
        line
    }

    fn session(&self, headers: &HeaderMap) -> Option<Line> {
        let named = headers.get("mcp-session-id")?.to_str().ok()?;
        let number: u64 = named.strip_prefix("session-")?.parse().ok()?;
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.iter().find(|line| line.session == number).cloned()
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Said>, Infallible> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Ok(bare(StatusCode::BAD_REQUEST));
        };
        let message: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        let begins = method == "initialize" && self.era == Era::Legacy;
        let line = if begins || self.era == Era::Modern && method == "server/discover" {
            let line = self.open(false);
            self.tell(Heard::Opened(line.clone()));
            Some(line)
        } else if self.era == Era::Modern {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.first().cloned()
        } else {
            self.session(&parts.headers)
        };
        let Some(line) = line else {
            return Ok(bare(StatusCode::NOT_FOUND));
        };
        if parts.method != Method::POST {
            return Ok(self.beside(&parts.method, line));
        }
        let id = message["id"].clone();
        if id.is_null() || method.is_empty() {
            self.tell(Heard::Said { line, message });
            return Ok(bare(StatusCode::ACCEPTED));
        }
        if method == "tools/call" {
            let (begun, beginning) = oneshot::channel();
            self.tell(Heard::Call(Part {
                line,
                message,
                begun: Some(begun),
                said: None,
            }));
            // A part that is dropped answers with nothing: the server failed.
            let answer = beginning.await;
            return Ok(answer.unwrap_or_else(|_| bare(StatusCode::INTERNAL_SERVER_ERROR)));
        }
        let (code, answer) = match routine(self.era, &method) {
            Some(result) => (200, json!({ "jsonrpc": "2.0", "id": id, "result": result })),
            None if self.era == Era::Modern => (404, unknown(&id)),
            None => (200, unknown(&id)),
        };
        let (said, saying) = mpsc::unbounded_channel();
        let _ = said.send(Bytes::from(answer.to_string()));
        let mut response = streamed("application/json", saying);
        *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
        if begins && let Ok(name) = HeaderValue::from_str(&format!("session-{}", line.session)) {
            response.headers_mut().insert("mcp-session-id", name);
        }
        Ok(response)
    }

    /// What is neither request nor response: the stream of a session, and its end.
    fn beside(&self, method: &Method, line: Line) -> Response<Said> {
        if self.era == Era::Modern {
            return bare(StatusCode::METHOD_NOT_ALLOWED);
        }
        if method == Method::DELETE {
            self.tell(Heard::Closed(line));
            return bare(StatusCode::OK);
        }
        let (said, saying) = mpsc::unbounded_channel();
        line.speaks_into(said);
        streamed("text/event-stream", saying)
    }

    /// Serves one process.
    async fn converse(self, stream: TcpStream) {
        _ = stream.set_nodelay(true);
        let line = self.open(true);
        let (said, mut saying) = mpsc::unbounded_channel::<Bytes>();
        line.speaks_into(said);
        self.tell(Heard::Opened(line.clone()));
        let (input, mut output) = stream.into_split();
        let mut lines = BufReader::new(input).lines();
        loop {
            tokio::select! {
                read = lines.next_line() => match read {
                    Ok(Some(read)) => self.read(&line, &read),
                    Ok(None) | Err(_) => break,
                },
                Some(bytes) = saying.recv() => if output.write_all(&bytes).await.is_err() {
                    break;
                },
            }
        }
        self.tell(Heard::Closed(line));
    }

    fn read(&self, line: &Line, read: &str) {
        let message: Value = serde_json::from_str(read).unwrap_or_default();
        let (id, method) = (
            message["id"].clone(),
            message["method"].as_str().unwrap_or_default(),
        );
        if id.is_null() || method.is_empty() {
            return self.tell(Heard::Said {
                line: line.clone(),
                message,
            });
        }
        if method == "tools/call" {
            return self.tell(Heard::Call(Part {
                line: line.clone(),
                message,
                begun: None,
                said: None,
            }));
        }
        line.say(&match routine(self.era, method) {
            Some(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            None => unknown(&id),
        });
    }
}

/// A body that is said bit by bit, and never waits for whoever reads it.
#[derive(Debug)]
struct Said(Option<mpsc::UnboundedReceiver<Bytes>>);

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some(said) => said
                .poll_recv(context)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }
}

fn streamed(content_type: &'static str, saying: mpsc::UnboundedReceiver<Bytes>) -> Response<Said> {
    let mut response = Response::new(Said(Some(saying)));
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static(content_type));
    response
}

fn bare(code: StatusCode) -> Response<Said> {
    let mut response = Response::new(Said(None));
    *response.status_mut() = code;
    response
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = within("a port", TcpListener::bind("127.0.0.1:0")).await;
    let listener = listener.unwrap_or_else(|error| fail(format_args!("listen: {error}")));
    let address = listener
        .local_addr()
        .unwrap_or_else(|error| fail(format_args!("listen: {error}")));
    (listener, address)
}
