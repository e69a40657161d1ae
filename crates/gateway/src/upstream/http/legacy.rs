//! Streamable HTTP of 2025-03-26 to 2025-11-25: a session made by `initialize`, named by `Mcp-Session-Id`.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use gatepost_outbound::{Body, Request as HttpRequest, Response as HttpResponse};
use gatepost_protocol::{
    envelope::{Message, Request, Response},
    json::Strictness,
    version::Version,
};
use http::{HeaderValue, StatusCode};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    super::{
        CallError, Cause,
        asking::{self, Asking, Held},
        change::{Announcer, change_of},
        incoming::{Events, Incoming, Partial, Source},
        level::InUse,
        outgoing::{Outgoing, Wish},
        pipe::{LEFT_FOR, cancelled, ping},
        pool::Lease,
        session::Session,
    },
    Endpoint, LAST_EVENT_ID, PROTOCOL_VERSION, Reply, SESSION_ID,
    modern::failed,
    reply::{answering, read_reply},
    stream::{EventSource, EventStream, StreamEnd},
    version_header,
};

/// A call's answer that has not begun.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send>>;

/// What comes first of a call: its answer's head, or a question on another stream.
enum First {
    Reply(Box<Result<Reply, CallError>>),
    Ask(Box<Message>),
}

/// What may wait for one call that does not read what comes beside it, and how many of its questions are known to have come
/// so.
const MAX_ASIDES: usize = 64;
/// Longer ids are nobody's counter, and not worth remembering.
const LONGEST_ID: usize = 1024;
/// Answers that may be on their way at once, to a server that asks faster than it takes them.
const MAX_ANSWERING: usize = 256;
/// How often a broken stream is taken up again.
const RESUMPTIONS: u32 = 5;

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

#[derive(Default)]
struct Books {
    /// Calls that get what comes on the GET stream: a question, or a log line they wanted.
    calls: Vec<(u64, mpsc::Sender<Message>)>,
    /// Until when the server may still be at a call that nobody waits for any more.
    left_until: Option<Instant>,
    /// Questions that came when there was no call.
    held: Held,
}

/// The right to use a session for a call.
pub(crate) struct Tenure {
    pub(crate) lease: Lease<Session>,
    /// No other call is on the session meanwhile.
    pub(crate) exclusive: bool,
}

/// What a call on a legacy session needs besides its stream. Dropped before the answer, it cancels if that was wished.
pub(crate) struct LegacyCall {
    session: Arc<LegacySession>,
    id: u64,
    asks: Option<mpsc::Receiver<Message>>,
    /// The ids of the questions that came so.
    asides: Vec<Bytes>,
    resumed: u32,
    open: bool,
    closing_cancels: bool,
    wish: Option<Arc<dyn Wish>>,
    /// It is a client's, not the gate's own.
    counted: bool,
    /// Kept for as long as the call.
    tenure: Option<Tenure>,
    _level: Option<InUse>,
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
        let mut call = LegacyCall {
            session: Arc::clone(self),
            id,
            asks: None,
            asides: Vec::new(),
            resumed: 0,
            open: true,
            closing_cancels: out.version.is_modern() && !out.own(),
            wish: out.wish.clone(),
            counted: !out.own(),
            tenure,
            _level: level,
        };
        self.in_flight.fetch_add(usize::from(call.counted), Relaxed);
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
            call.asks = Some(asks);
            let first = first.inspect_err(|_| call.stop_waiting())?;
            match first {
                First::Reply(reply) => *reply,
                // The server asks on its GET stream before it has begun to answer.
                First::Ask(ask) => {
                    call.note(&ask);
                    let stream = EventStream::pending(pending, context.clone(), self.announcer.clone(), call);
                    return Ok(Incoming::Events(Events {
                        first: Some(*ask),
                        source: Source::Http(Box::new(stream)),
                        context: context.clone(),
                        unanswered: 0,
                        guard: None,
                    }));
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
                    first => Ok(Incoming::Events(Events {
                        first: Some(first),
                        source: Source::Http(Box::new(stream)),
                        context: context.clone(),
                        unanswered: 0,
                        guard: None,
                    })),
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

    /// Keeps the GET stream open until it ends or is refused: announces changes, and finds out whose the questions on it
    /// are. `Ok(false)`: the server has no such stream (405), which is its right.
    pub(crate) async fn listen(self: &Arc<Self>, last_id: &mut Option<Bytes>) -> Result<bool, CallError> {
        match self.open_stream(last_id.as_ref()).await? {
            Some(body) => self.follow(body, last_id).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Hears what comes on the GET stream until it ends, which is always an error.
    async fn follow(self: &Arc<Self>, body: Body, last_id: &mut Option<Bytes>) -> Result<(), CallError> {
        let mut source = EventSource::new(body, self.endpoint.context.limit);
        loop {
            let event = source.next().await;
            if source.last_id.is_some() {
                last_id.clone_from(&source.last_id);
            }
            match event {
                Ok(event) => {
                    if let Some(data) = event.message() {
                        self.heard(data.clone());
                    }
                }
                Err(StreamEnd::TooLarge) => return Err(self.endpoint.context.too_large()),
                Err(StreamEnd::Over(why)) => {
                    return Err(self.endpoint.context.error(Cause::Ended(why), true));
                }
            }
        }
    }

    fn heard(self: &Arc<Self>, data: Bytes) {
        match Message::parse(data, Strictness::Server) {
            Ok(Message::Notification(notification)) => {
                if let Some(change) = change_of(&notification) {
                    self.announcer.announce(change);
                } else if let Some(call) = self.only_call() {
                    let _ = call.try_send(Message::Notification(notification));
                } else {
                    tracing::debug!(target: "gatepost::server", server = &*self.endpoint.context.server,
                        method = notification.method(), "a notification that belongs to no call");
                }
            }
            Ok(Message::Request(request)) => {
                if let Some(answer) = asking::pong(&request) {
                    self.answer_later(answer);
                } else if self.asking.allowed {
                    self.asked(&request);
                } else {
                    asking::unsupported(self, &request);
                }
            }
            Ok(Message::Response(_)) | Err(_) => {}
        }
    }

    /// The server asks beside the stream of a call.
    fn asked(self: &Arc<Self>, question: &Request) {
        let owner = self.asking.owner.as_ref();
        let call = {
            let books = self.books();
            match books.calls.as_slice() {
                [] if !self.may_be_at_another(&books) => None,
                [(_, call)] if !self.may_be_at_another(&books) => Some(Ok(call.clone())),
                // All of them are one client's.
                [.., (_, newest)] if owner.is_some() => Some(Ok(newest.clone())),
                _ => Some(Err(())),
            }
        };
        if call.is_some() {
            self.asking.note_aside(&self.endpoint.context.server);
        }
        match call {
            Some(Ok(call)) => {
                if call.try_send(Message::Request(question.clone())).is_err() {
                    let why = "the call that this belongs to is over, or takes no questions that fast";
                    asking::refuse(self, question, why);
                }
            }
            Some(Err(())) => {
                asking::refuse(self, question, "it cannot be told which call this belongs to");
            }
            None => {
                if !owner.is_some_and(|owner| asking::put_to_owner(self, owner, question)) {
                    self.hold(question);
                }
            }
        }
    }

    /// Keeps a question for the next call (typical: `roots/list` right after `initialized`), but not for long.
    fn hold(self: &Arc<Self>, question: &Request) {
        if self.books().keep(question) {
            asking::expire(self, question);
        } else {
            asking::refuse(self, question, "there is no call that this could belong to");
        }
    }

    fn only_call(&self) -> Option<mpsc::Sender<Message>> {
        let books = self.books();
        match books.calls.as_slice() {
            [(_, call)] if self.in_flight.load(Relaxed) == 1 && !self.may_be_at_another(&books) => {
                Some(call.clone())
            }
            _ => None,
        }
    }

    /// Whether what comes beside the calls may be about one that was abandoned, of another client.
    fn may_be_at_another(&self, books: &Books) -> bool {
        self.asking.owner.is_none() && books.left_until.is_some_and(|until| until > Instant::now())
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
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

    async fn open_stream(&self, last_id: Option<&Bytes>) -> Result<Option<Body>, CallError> {
        let mut request = self.endpoint.listen();
        self.mark(&mut request);
        if let Some(id) = last_id.and_then(|id| HeaderValue::from_bytes(id).ok()) {
            request.field(&LAST_EVENT_ID, &id);
        }
        let response = self.endpoint.send(request).await?;
        match self.read(response).await? {
            Reply::Events(body) => Ok(Some(body)),
            Reply::Failed { status, detail } if !matches!(status.as_u16(), 400..=499) => {
                Err(failed(&self.endpoint, status, detail))
            }
            _ => Ok(None),
        }
    }
}

impl Books {
    /// A call begins, and takes the questions that wait for one.
    fn enter(&mut self, id: u64, call: mpsc::Sender<Message>) {
        for question in self.held.drain() {
            // Its receiver is in the same hands.
            let _ = call.try_send(Message::Request(question));
        }
        self.calls.push((id, call));
    }

    /// Keeps a question until the next call, or hands it to one that has begun meanwhile.
    fn keep(&mut self, question: &Request) -> bool {
        match self.calls.as_slice() {
            [] => self.held.keep(question),
            [(_, call)] => call.try_send(Message::Request(question.clone())).is_ok(),
            _ => false,
        }
    }
}

impl asking::Session for LegacySession {
    fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(&mut self.books().held)
    }

    fn answer(self: &Arc<Self>, answer: Bytes) {
        self.answer_later(answer);
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

impl LegacyCall {
    /// The right to use its session.
    pub(crate) fn lease(&mut self) -> Option<&mut Lease<Session>> {
        Some(&mut self.tenure.as_mut()?.lease)
    }

    /// The id of its request.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn session(&self) -> &Arc<LegacySession> {
        &self.session
    }

    /// A question that came on the GET stream. Never ends while the call is open.
    pub(crate) async fn asked(&mut self) -> Option<Message> {
        let Some(asks) = &mut self.asks else {
            return std::future::pending().await;
        };
        let asked = asks.recv().await;
        if let Some(message) = &asked {
            self.note(message);
        }
        asked
    }

    fn note(&mut self, message: &Message) {
        let Message::Request(question) = message else {
            return;
        };
        let id = question.id().bytes();
        if id.len() > LONGEST_ID {
            return;
        }
        // The oldest has been answered, if its server is in its senses.
        if self.asides.len() >= MAX_ASIDES {
            self.asides.remove(0);
        }
        self.asides.push(Bytes::copy_from_slice(id));
    }

    /// Takes back a question that this call leaves unanswered: it is for the next one, unless it came on this call's stream.
    pub(crate) fn put_back(&self, question: &Request) {
        let session = &self.session;
        if !session.asking.allowed {
            asking::unsupported(session, question);
        } else if self.asides.iter().any(|id| *id == question.id().bytes()) {
            self.give_back(question);
        } else {
            asking::refuse(session, question, "the call that this belongs to is over");
        }
    }

    /// What came beside the call may have been meant for no call at all.
    fn give_back(&self, question: &Request) {
        let session = &self.session;
        session.books().calls.retain(|(id, _)| *id != self.id);
        if session.has_owner() {
            // Another call of the same client may be what it is about.
            session.asked(question);
        } else {
            session.hold(question);
        }
    }

    /// The server is silent too long. Source: 2025-11-25 basic/lifecycle, Timeouts.
    pub(crate) fn stop_waiting(&mut self) {
        self.closing_cancels = true;
    }

    fn timed_out(&mut self, error: &CallError) {
        if matches!(error.cause, Cause::Timeout(_)) {
            self.stop_waiting();
        }
    }

    /// Nothing that comes beside calls is about this one any more.
    pub(crate) fn retire(&mut self) {
        let counted = std::mem::take(&mut self.counted);
        self.session.in_flight.fetch_sub(usize::from(counted), Relaxed);
        self.session.books().calls.retain(|(id, _)| *id != self.id);
        let Some(mut asks) = self.asks.take() else { return };
        // A question that nobody has read would leave the server waiting.
        while let Ok(message) = asks.try_recv() {
            if let Message::Request(question) = message {
                self.give_back(&question);
            }
        }
    }

    /// The response is here: nothing to cancel any more.
    pub(crate) fn answered(&mut self) {
        self.open = false;
    }

    /// Something came: a server that closes its stream now and then on purpose may go on doing so.
    pub(crate) fn heard(&mut self) {
        self.resumed = 0;
    }

    /// Takes the stream up again after the event `id`; nothing if that cannot be done.
    pub(crate) fn resume(
        &mut self,
        id: Bytes,
        wait: Duration,
    ) -> impl Future<Output = Option<Body>> + Send + use<> {
        let tries = RESUMPTIONS.saturating_sub(self.resumed);
        self.resumed += 1;
        let session = Arc::clone(&self.session);
        async move {
            for _ in 0..tries {
                tokio::time::sleep(wait).await;
                match session.open_stream(Some(&id)).await {
                    Ok(Some(body)) => return Some(body),
                    Ok(None) => break,
                    Err(error) => tracing::debug!(%error, "resuming a stream"),
                }
            }
            None
        }
    }
}

impl Drop for LegacyCall {
    fn drop(&mut self) {
        if self.open && self.counted {
            self.session.books().left_until = Some(Instant::now() + LEFT_FOR);
        }
        self.retire();
        let wished = self.closing_cancels || self.wish.as_ref().is_some_and(|wish| wish.is_cancelled());
        if self.open && wished {
            self.session
                .send_later(cancelled(self.id, "the client no longer waits"));
        }
        // The server may still be at it, and ask: the next call must not be taken for this one.
        if self.open
            && let Some(tenure) = self.tenure.take().filter(|tenure| tenure.exclusive)
        {
            tenure.lease.discard();
        }
    }
}

/// Keeps the GET stream of a session while it lives; returns when there is none or the session is gone. `opened` is
/// dropped once the server has answered for the first time, be it with a refusal.
pub(crate) async fn keep_listening(session: Weak<LegacySession>, opened: oneshot::Sender<()>) {
    let mut opened = Some(opened);
    let mut last_id = None;
    let mut failures = 0u32;
    loop {
        let Some(live) = session.upgrade().filter(|session| session.alive()) else {
            return;
        };
        let since = Instant::now();
        let body = live.open_stream(last_id.as_ref()).await;
        drop(opened.take());
        let ended = match body {
            Ok(None) => return,
            Ok(Some(body)) => live.follow(body, &mut last_id).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => {}
            Err(CallError {
                cause: Cause::SessionGone,
                ..
            }) => return,
            Err(error) => tracing::debug!(%error, "the change stream ended"),
        }
        drop(live);
        failures = if since.elapsed() > Duration::from_secs(10) {
            0
        } else {
            failures + 1
        };
        tokio::time::sleep(super::super::backoff::delay(failures)).await;
    }
}
