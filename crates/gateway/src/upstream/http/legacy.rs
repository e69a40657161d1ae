//! Streamable HTTP of 2025-03-26 to 2025-11-25: a session made by `initialize`, named by `Mcp-Session-Id`.

mod beside;
mod call;

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use gatepost_outbound::{Request as HttpRequest, Response as HttpResponse};
use gatepost_protocol::{
    envelope::{Message, Response},
    version::Version,
};
use http::{HeaderValue, StatusCode};
use tokio::sync::mpsc;

use super::{
    super::{
        CallError, Cause,
        asking::Asking,
        change::Announcer,
        incoming::{Events, Incoming, Partial, Source},
        level::InUse,
        outgoing::Outgoing,
        pipe::ping,
    },
    Endpoint, PROTOCOL_VERSION, Reply, SESSION_ID,
    modern::failed,
    reply::{answering, read_reply},
    stream::EventStream,
    version_header,
};
use beside::Books;
pub(crate) use beside::keep_listening;
use call::MAX_ASIDES;
pub(crate) use call::{LegacyCall, Tenure};

/// A call's answer that has not begun.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send>>;

/// What comes first of a call: its answer's head, or a question on another stream.
enum First {
    Reply(Box<Result<Reply, CallError>>),
    Ask(Box<Message>),
}

/// Answers that may be on their way at once, to a server that asks faster than it takes them.
const MAX_ANSWERING: usize = 256;

/// One session on a legacy server.
pub(crate) struct LegacySession {
    endpoint: Endpoint,
    id: Option<HeaderValue>,
    version: Version,
    asking: Asking,
    next: AtomicU64,
    gone: AtomicBool,
    /// Answers on their way.
    answering: AtomicUsize,
    announcer: Announcer,
    /// Clients' calls in flight.
    in_flight: AtomicUsize,
    books: Mutex<Books>,
}

impl LegacySession {
    /// A session that `initialize` has opened.
    pub(crate) fn new(
        endpoint: Endpoint,
        id: Option<HeaderValue>,
        version: Version,
        asking: Asking,
        announcer: Announcer,
    ) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            id,
            version,
            asking,
            // 1 was `initialize`.
            next: AtomicU64::new(2),
            gone: AtomicBool::new(false),
            answering: AtomicUsize::new(0),
            announcer,
            in_flight: AtomicUsize::new(0),
            books: Mutex::default(),
        })
    }

    /// Whether the server may still know it.
    pub(crate) fn alive(&self) -> bool {
        !self.gone.load(Relaxed)
    }

    /// Whether it is one client's own.
    pub(crate) fn has_owner(&self) -> bool {
        self.asking.owner.is_some()
    }

    /// Sends a call. [`Cause::SessionGone`] says that the server no longer knows the session and did nothing.
    pub(crate) async fn call(
        self: &Arc<Self>,
        out: &Outgoing<'_>,
        tenure: Option<Tenure>,
        level: Option<InUse>,
    ) -> Result<Incoming, CallError> {
        let id = self.next.fetch_add(1, Relaxed);
        let mut request = self.post(out.compose(self.version, id));
        for (name, value) in &out.headers {
            request.field(name, value);
        }
        let mut call = LegacyCall::new(self, id, out, tenure, level);
        let context = &self.endpoint.context;
        let listens = self.asking.allowed || out.log_level.is_some();
        let reply = if listens && !out.own() {
            let (sender, mut asks) = mpsc::channel(MAX_ASIDES);
            self.books().enter(id, sender);
            let session = Arc::clone(self);
            let mut pending: Pending = Box::pin(async move {
                // No time limit of its own: while the client is being asked, the server's silence is no fault.
                let response = session.endpoint.send_patiently(request).await?;
                session.read(response).await
            });
            let first = async {
                tokio::select! {
                    biased;
                    reply = &mut pending => First::Reply(Box::new(reply)),
                    Some(ask) = asks.recv() => First::Ask(Box::new(ask)),
                }
            };
            let first = context.within(first).await;
            call.hear(asks);
            let first = first.inspect_err(|_| call.stop_waiting())?;
            match first {
                First::Reply(reply) => *reply,
                // The server asks on its GET stream before it has begun to answer.
                First::Ask(ask) => {
                    call.note(&ask);
                    let stream = EventStream::pending(pending, context.clone(), self.announcer.clone(), call);
                    return Ok(self.events(*ask, stream));
                }
            }
        } else {
            self.read(self.endpoint.send(request).await?).await
        };
        match reply.inspect_err(|error| call.timed_out(error))? {
            Reply::Response(status, response) => {
                call.answered();
                answering(response, id, status, context).map(Incoming::Whole)
            }
            Reply::Partial(partial) => {
                call.answered();
                Ok(Incoming::Partial(Partial {
                    asked: Some(id),
                    ..partial
                }))
            }
            Reply::Events(body) => {
                let mut stream =
                    EventStream::live(body, id, context.clone(), self.announcer.clone(), Some(call));
                let first = context.within(stream.next()).await;
                match first.inspect_err(|_| stream.stop_waiting())?? {
                    Message::Response(response) => Ok(Incoming::Whole(response)),
                    first => Ok(self.events(first, stream)),
                }
            }
            Reply::Empty => {
                call.answered();
                Err(context.error(Cause::Nonsense("an empty body".to_owned()), false))
            }
            Reply::Failed { status, detail } => {
                call.answered();
                Err(failed(&self.endpoint, status, detail))
            }
        }
    }

    /// An answer that comes in parts, of which `first` is here.
    fn events(&self, first: Message, stream: EventStream) -> Incoming {
        Incoming::Events(Events {
            first: Some(first),
            source: Source::Http(Box::new(stream)),
            context: self.endpoint.context.clone(),
            unanswered: 0,
            guard: None,
        })
    }

    /// Sends a notification or a response and waits until the server has it.
    pub(crate) async fn send(&self, message: Bytes) -> Result<(), CallError> {
        let response = self.endpoint.send(self.post(message)).await?;
        match self.read(response).await? {
            Reply::Failed { status, detail } => Err(failed(&self.endpoint, status, detail)),
            Reply::Empty | Reply::Response(..) | Reply::Partial(_) | Reply::Events(_) => Ok(()),
        }
    }

    /// Asks for a sign of life, whose coming nobody waits for.
    pub(crate) fn ping(self: &Arc<Self>) {
        self.send_later(ping(self.next.fetch_add(1, Relaxed)));
    }

    /// Sends a notification or a response without waiting for it.
    pub(crate) fn send_later(self: &Arc<Self>, message: Bytes) {
        let session = Arc::clone(self);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = session.send(message).await {
                    tracing::debug!(%error, "a note was not delivered");
                }
            });
        }
    }

    /// Answers a question without waiting until the server has it. One that asks faster than it takes answers gets no more.
    pub(crate) fn answer_later(self: &Arc<Self>, answer: Bytes) {
        if self.answering.fetch_add(1, Relaxed) >= MAX_ANSWERING {
            self.answering.fetch_sub(1, Relaxed);
            tracing::debug!(target: "gatepost::server", server = &*self.endpoint.context.server,
                "asks faster than it takes answers");
            return;
        }
        let session = Arc::clone(self);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = session.send(answer).await {
                    tracing::debug!(%error, "an answer was not delivered");
                }
                session.answering.fetch_sub(1, Relaxed);
            });
        }
    }

    /// Ends the session on the server (2025-11-25 basic/transports, Session Management: clients SHOULD).
    pub(crate) async fn delete(&self) {
        if self.gone.swap(true, Relaxed) || self.id.is_none() {
            return;
        }
        let mut request = self.endpoint.delete();
        self.mark(&mut request);
        let deleted = async {
            let response = self.endpoint.send(request).await?;
            read_reply(response, &self.endpoint.context).await
        };
        // Servers may refuse (405); there is nothing to be done about it.
        let _ = tokio::time::timeout(Duration::from_secs(2), deleted).await;
    }

    fn post(&self, body: Bytes) -> HttpRequest {
        let mut request = self.endpoint.post(body);
        self.mark(&mut request);
        request
    }

    fn mark(&self, request: &mut HttpRequest) {
        if let Some(id) = &self.id {
            request.field(&SESSION_ID, id);
        }
        if self.version.has_version_header() {
            request.field(&PROTOCOL_VERSION, &version_header(self.version));
        }
    }

    /// Reads a reply and notices when the session is gone.
    async fn read(&self, response: HttpResponse) -> Result<Reply, CallError> {
        let status = response.status;
        let reply = read_reply(response, &self.endpoint.context).await?;
        if self.id.is_some() && session_gone(status, &reply) {
            self.gone.store(true, Relaxed);
            return Err(self.endpoint.context.error(Cause::SessionGone, true));
        }
        Ok(reply)
    }
}

/// Whether an answer says that the session is gone: 404, whatever the body (2025-11-25 basic/transports, Session
/// Management), or what servers that keep sessions in memory say instead after a restart: 400 with an error that speaks
/// of the session.
fn session_gone(status: StatusCode, reply: &Reply) -> bool {
    match reply {
        _ if status == StatusCode::NOT_FOUND => true,
        Reply::Response(StatusCode::BAD_REQUEST, response) => speaks_of_session(response),
        Reply::Failed {
            status: StatusCode::BAD_REQUEST,
            detail,
        } => detail.to_ascii_lowercase().contains("session"),
        _ => false,
    }
}

fn speaks_of_session(response: &Response) -> bool {
    response
        .error_message()
        .is_some_and(|text| text.to_ascii_lowercase().contains("session"))
}
