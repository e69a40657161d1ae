//! One full-duplex connection that many calls share: a stdio program, a module in this process, an old SSE server.
//!
//! Every request gets an id of ours, unique for the connection's life, and answers find their way back by it. What a
//! server says without naming a call is handled by what is safe: a change notice goes to whoever watches the server; a
//! log line reaches a call only if it is the only one that the server can be at (it may be another client's otherwise);
//! and so does a question to the client, unless all calls are one client's (`eras.md` 5.2, 5.4).
//!
//! Memory is bounded: by the limit on one message, and by a bound on what waits for one call. Beyond that notifications
//! are dropped and counted, an answer never is.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use gatepost_protocol::{
    envelope::{Message, Notification, Request},
    error::{self, METHOD_NOT_FOUND},
    json::{self, Strictness},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    asking::{self, Held, Owner},
    change::Announcer,
};

/// Abandoned calls that are kept in mind.
const MAX_LEFT: usize = 1024;
/// Messages that may wait for a server that does not read.
const MAX_UNSENT: usize = 64;
/// Answers to questions that may wait besides, for a server that asks and does not read.
const MAX_UNSENT_ANSWERS: usize = 256;
/// How long a server may still be at a call that nobody waits for: what it says without naming one may be about that.
pub(super) const LEFT_FOR: Duration = Duration::from_secs(10);
/// Lines longer than this are cut in the log.
const LOGGED_BYTES: usize = 200;

mod call;
mod inlet;
mod lines;

pub(crate) use call::Ticket;
pub(crate) use inlet::Inlet;
pub(crate) use lines::{read_lines, write_lines};

use call::Call;

/// How a server's own messages are to be taken; known once the handshake is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Modern: a server never asks on its own.
    Modern,
    /// Legacy, opened without capabilities: what it asks goes to the only call, whose client refuses it, or is refused.
    Mute,
    /// Legacy, leased for one call at a time: what it asks belongs to that call.
    Leased,
    /// Legacy, all calls are one conversation's: what it asks goes to the latest of them.
    Conversation,
}

/// The sending half and the books.
pub(crate) struct Pipe {
    server: Arc<str>,
    outlet: mpsc::Sender<Bytes>,
    next: AtomicU64,
    books: Mutex<Books>,
    announcer: Announcer,
    /// Lines that were no JSON-RPC.
    nonsense: AtomicU64,
    /// Notifications that nobody read in time, or that belonged to nobody.
    dropped: AtomicU64,
    over: watch::Sender<bool>,
    /// Answers for which there is no room among what is to be sent.
    unsent_answers: AtomicUsize,
}

struct Books {
    calls: HashMap<u64, Arc<Call>>,
    /// Calls that were answered, and the later ones that hear of their progress.
    heirs: HashMap<u64, u64>,
    /// Clients' calls that nobody waits for any more and that were not answered, and until when that matters.
    left: HashMap<u64, Instant>,
    held: Held,
    /// Whose own the connection is.
    owner: Option<Owner>,
    manners: Manners,
    ended: Option<Arc<str>>,
}

/// Why a call on a pipe cannot go on.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The connection is over, for this reason.
    Ended(Arc<str>),
    /// The connection is over, for this reason, and the server never got the request.
    Undelivered(Arc<str>),
    /// The server did what the protocol forbids.
    Violation(String),
    /// The answer is over this many bytes.
    TooLarge(u64),
}

// === impl Pipe ===

impl Pipe {
    /// A new connection: the pipe, where received messages go in, and what is to be sent.
    pub(crate) fn new(server: Arc<str>, announcer: Announcer) -> (Arc<Self>, Inlet, mpsc::Receiver<Bytes>) {
        let (outlet, unsent) = mpsc::channel(MAX_UNSENT);
        let pipe = Arc::new(Self {
            server,
            outlet,
            next: AtomicU64::new(1),
            books: Mutex::new(Books {
                calls: HashMap::new(),
                heirs: HashMap::new(),
                left: HashMap::new(),
                held: Held::default(),
                owner: None,
                manners: Manners::Mute,
                ended: None,
            }),
            announcer,
            nonsense: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            over: watch::channel(false).0,
            unsent_answers: AtomicUsize::new(0),
        });
        (Arc::clone(&pipe), Inlet { pipe }, unsent)
    }

    /// Says how to take the server's own messages from now on, and whose own the connection is.
    pub(crate) fn set_manners(&self, manners: Manners, owner: Option<Owner>) {
        let mut books = self.books();
        books.manners = manners;
        books.owner = owner;
    }

    /// Whether messages can still come and go.
    pub(crate) fn alive(&self) -> bool {
        self.books().ended.is_none()
    }

    /// Why it ended.
    pub(crate) fn ended(&self) -> Option<Arc<str>> {
        self.books().ended.clone()
    }

    /// Waits until it has ended.
    pub(crate) async fn closed(&self) {
        // The sender lives as long as `self`.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// Calls in flight, the gate's own included.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        self.books().calls.len()
    }

    /// Sends a request made by `compose` from its new id. `own`: the gate's own question, to which nothing
    /// unattributable belongs.
    pub(crate) async fn call(
        self: &Arc<Self>,
        own: bool,
        compose: impl FnOnce(u64) -> Bytes,
    ) -> Result<Ticket, Fault> {
        let id = self.next.fetch_add(1, Relaxed);
        let call = Arc::new(Call::new(own));
        let raw = compose(id);
        {
            let mut books = self.books();
            if let Some(reason) = &books.ended {
                return Err(Fault::Ended(Arc::clone(reason)));
            }
            books.calls.insert(id, Arc::clone(&call));
            if !own && matches!(books.manners, Manners::Leased | Manners::Conversation) {
                for ask in books.held.drain() {
                    call.push(Message::Request(ask), true);
                }
            }
        }
        // From here on dropping the ticket cleans up, so a caller may give up while the server does not read.
        let ticket = Ticket {
            pipe: Arc::clone(self),
            id,
            call,
            answered: false,
        };
        self.send(raw).await?;
        Ok(ticket)
    }

    /// Sends a notification or a response.
    pub(crate) async fn send(&self, raw: Bytes) -> Result<(), Fault> {
        self.outlet.send(raw).await.map_err(|_| self.fault())
    }

    fn fault(&self) -> Fault {
        Fault::Ended(self.ended().unwrap_or_else(|| "the connection was closed".into()))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the server that no call in flight is waited for any more, and waits until it has been sent that.
    pub(crate) async fn cancel_all(&self) {
        let ids: Vec<u64> = self.books().calls.keys().copied().collect();
        for id in ids {
            self.send_now(cancelled(id, "the gate is stopping"));
        }
        // Every place is free when nothing is left to be written.
        let _ = self.outlet.reserve_many(MAX_UNSENT).await;
        tokio::task::yield_now().await;
    }

    /// Asks for a sign of life. The answer belongs to no call and is passed over.
    pub(crate) fn ping(&self) {
        self.send_now(ping(self.next.fetch_add(1, Relaxed)));
    }

    /// Sends without waiting; for answers and notes whose loss harms nobody but a server that does not read.
    pub(crate) fn send_now(&self, raw: Bytes) {
        if self.outlet.try_send(raw).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    fn only_call(&self) -> Option<Arc<Call>> {
        self.books().only_call()
    }

    /// The server asks something; which call that belongs to is for its manners to say.
    fn asked(self: &Arc<Self>, question: &Request) {
        let (call, manners, owner) = {
            let mut books = self.books();
            let call = match books.manners {
                Manners::Modern | Manners::Mute => books.only_call(),
                Manners::Leased | Manners::Conversation => books.newest_call(),
            };
            (call, books.manners, books.owner.clone())
        };
        match (manners, call) {
            (Manners::Modern, call) => {
                let text = format!(
                    "it sent the request `{:.200}`, which a modern server must not",
                    question.method()
                );
                self.send_now(error::error_response(
                    Some(question.id().bytes()),
                    METHOD_NOT_FOUND,
                    &text,
                    None,
                ));
                tracing::warn!(target: "gatepost::server", server = &*self.server, "{text}");
                if let Some(call) = call {
                    call.fail(Fault::Violation(text));
                }
            }
            (_, Some(call)) => self.hand(&call, question),
            (Manners::Mute, None) => asking::unsupported(self, question),
            (Manners::Leased | Manners::Conversation, None) => {
                if !owner.is_some_and(|owner| asking::put_to_owner(self, &owner, question)) {
                    self.hold(question);
                }
            }
        }
    }

    /// Takes back a question that the call it was handed to leaves unanswered: it is for the next call.
    pub(crate) fn put_back(self: &Arc<Self>, question: &Request) {
        let manners = self.books().manners;
        match manners {
            // Nobody of this session can be asked, so there is nothing to wait for.
            Manners::Modern | Manners::Mute => asking::unsupported(self, question),
            Manners::Leased | Manners::Conversation => self.asked(question),
        }
    }

    fn hand(self: &Arc<Self>, call: &Call, question: &Request) {
        if !call.push(Message::Request(question.clone()), false) {
            let why = "the call that this belongs to is over, or takes no questions that fast";
            asking::refuse(self, question, why);
        }
    }

    /// Keeps a question for the next call (typical: `roots/list` right after `initialized`), but not for long.
    fn hold(self: &Arc<Self>, question: &Request) {
        let mut books = self.books();
        // One may have come meanwhile.
        if let Some(call) = books.newest_call() {
            drop(books);
            return self.hand(&call, question);
        }
        let kept = books.held.keep(question);
        drop(books);
        if kept {
            asking::expire(self, question);
        } else {
            asking::refuse(self, question, "there is no call that this could belong to");
        }
    }

    fn call_of(&self, raw: &[u8]) -> Option<Arc<Call>> {
        let digits = raw
            .strip_prefix(b"\"")
            .and_then(|raw| raw.strip_suffix(b"\""))
            .unwrap_or(raw);
        let id = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let books = self.books();
        let call = books.calls.get(&id);
        call.or_else(|| books.calls.get(books.heirs.get(&id)?))
            .map(Arc::clone)
    }

    fn deliver(&self, call: Option<&Call>, notification: Notification) {
        let delivered = call.is_some_and(|call| call.push(Message::Notification(notification), false));
        if !delivered {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl Books {
    /// Nobody waits for a call any more, but its server may still be at it.
    fn leave(&mut self, id: u64) {
        if self.left.len() >= MAX_LEFT {
            self.forget_left();
        }
        if self.left.len() < MAX_LEFT {
            self.left.insert(id, Instant::now() + LEFT_FOR);
        }
    }

    fn forget_left(&mut self) {
        let now = Instant::now();
        self.left.retain(|_, until| *until > now);
    }

    /// The only call that the server can be at.
    fn only_call(&mut self) -> Option<Arc<Call>> {
        if !self.left.is_empty() && self.manners != Manners::Conversation {
            self.forget_left();
            if !self.left.is_empty() {
                return None;
            }
        }
        let mut calls = self.calls.values().filter(|call| !call.own);
        calls.next().filter(|_| calls.next().is_none()).map(Arc::clone)
    }

    fn newest_call(&self) -> Option<Arc<Call>> {
        let calls = self.calls.iter().filter(|(_, call)| !call.own);
        calls.max_by_key(|(id, _)| **id).map(|(_, call)| Arc::clone(call))
    }
}

impl asking::Session for Pipe {
    fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(&mut self.books().held)
    }

    fn answer(self: &Arc<Self>, answer: Bytes) {
        // Room is mostly there at once; a question that is not answered for want of it would hang its call.
        let Err(mpsc::error::TrySendError::Full(answer)) = self.outlet.try_send(answer) else {
            return;
        };
        if self.unsent_answers.fetch_add(1, Relaxed) >= MAX_UNSENT_ANSWERS {
            self.unsent_answers.fetch_sub(1, Relaxed);
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let pipe = Arc::clone(self);
            runtime.spawn(async move {
                let _ = pipe.send(answer).await;
                pipe.unsent_answers.fetch_sub(1, Relaxed);
            });
        }
    }
}

impl Pipe {
    /// The connection was over before `messages` got as far as the server, so that their calls may be made again, whatever
    /// they ask for.
    pub(crate) fn finish_before(&self, messages: &[Bytes], reason: &str) {
        let mut calls = Vec::new();
        for message in messages {
            if let Ok(Message::Request(request)) = Message::parse(message.clone(), Strictness::Server) {
                let id = request.id().as_u64();
                calls.extend(id.and_then(|id| self.books().calls.remove(&id)));
            }
        }
        // First the end, then the calls: whoever made them must not come back to this connection.
        self.finish(reason);
        let reason: Arc<str> = reason.into();
        for call in calls {
            call.fail(Fault::Undelivered(Arc::clone(&reason)));
        }
    }

    /// The connection is over, for `reason`; the first reason stays.
    pub(crate) fn finish(&self, reason: &str) {
        let reason: Arc<str> = reason.into();
        let calls = {
            let mut books = self.books();
            books.ended.get_or_insert_with(|| Arc::clone(&reason));
            books.held.drain().for_each(drop);
            std::mem::take(&mut books.calls)
        };
        for call in calls.into_values() {
            call.fail(Fault::Ended(Arc::clone(&reason)));
        }
        self.over.send_replace(true);
    }
}

/// A `ping` under one of our ids.
pub(crate) fn ping(id: u64) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#).into()
}

/// `notifications/cancelled` for one of our requests.
pub(crate) fn cancelled(id: u64, reason: &str) -> Bytes {
    let mut raw = Vec::with_capacity(120);
    raw.extend_from_slice(br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"#);
    raw.extend_from_slice(id.to_string().as_bytes());
    raw.extend_from_slice(br#","reason":"#);
    json::quote_into(&mut raw, reason);
    raw.extend_from_slice(b"}}");
    raw.into()
}

#[cfg(test)]
mod tests;
