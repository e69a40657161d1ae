//! What a server says beside the streams of calls, on the session's GET stream: whose is it?

use std::{
    sync::{Arc, MutexGuard, PoisonError, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use gatepost_outbound::Body;
use gatepost_protocol::{
    envelope::{Message, Request},
    json::Strictness,
};
use http::HeaderValue;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    super::{
        super::{
            CallError, Cause,
            asking::{self, Held},
            backoff,
            change::change_of,
        },
        LAST_EVENT_ID, Reply,
        modern::failed,
        stream::{EventSource, StreamEnd},
    },
    LegacySession,
};

/// A session's calls, and what came while there was none.
#[derive(Default)]
pub(super) struct Books {
    /// Calls that get what comes on the GET stream: a question, or a log line they wanted.
    pub(super) calls: Vec<(u64, mpsc::Sender<Message>)>,
    /// Until when the server may still be at a call that nobody waits for any more.
    pub(super) left_until: Option<Instant>,
    /// Questions that came when there was no call.
    held: Held,
}

impl Books {
    /// A call begins, and takes the questions that wait for one.
    pub(super) fn enter(&mut self, id: u64, call: mpsc::Sender<Message>) {
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

impl LegacySession {
    /// Keeps the GET stream open until it ends or is refused: announces changes, and finds out whose the questions on it
    /// are. `Ok(false)`: the server has no such stream (405), which is its right.
    pub(crate) async fn listen(self: &Arc<Self>, last_id: &mut Option<Bytes>) -> Result<bool, CallError> {
        match self.open_stream(last_id.as_ref()).await? {
            Some(body) => self.follow(body, last_id).await.map(|()| true),
            None => Ok(false),
        }
    }

    pub(super) async fn open_stream(&self, last_id: Option<&Bytes>) -> Result<Option<Body>, CallError> {
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
    pub(super) fn asked(self: &Arc<Self>, question: &Request) {
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
    pub(super) fn hold(self: &Arc<Self>, question: &Request) {
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

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
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
        tokio::time::sleep(backoff::delay(failures)).await;
    }
}
