//! What a server asks where no call's own stream says whose question it is (`eras.md` 5.2 step 2, 5.4).
//!
//! A question goes to the only call that it can belong to. Where none is in flight it is put to the client whose own the
//! session is, if that client keeps a stream open for it; else it waits for the session's next call, but not for long.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use gatepost_protocol::{
    ask::{Ask, NoAsk},
    envelope::Request,
    error::{INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, error_response, result_response},
    method::Method,
};

/// How long a question that belongs to no call waits for the next one.
const HELD_FOR: Duration = Duration::from_secs(30);
/// Questions that may wait on one session.
const MOST_HELD: usize = 16;
/// How long a client may take to answer a question outside its calls (`eras.md` 5.3).
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);

/// Those who can be asked outside a call: clients with a conversation and an open stream.
pub(crate) trait Clients: Send + Sync {
    /// Puts a server's question to the client of a conversation. `None`: it listens nowhere now. Otherwise its answer,
    /// with the question's own id in it, or nothing once the client is gone.
    fn put(
        self: Arc<Self>,
        conversation: [u8; 16],
        question: &Request,
    ) -> Option<BoxFuture<'static, Option<Bytes>>>;
}

/// The client whose own a session is (`isolation: session`).
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) clients: Arc<dyn Clients>,
    pub(crate) conversation: [u8; 16],
    /// What the session was opened with: a raw JSON object.
    pub(crate) capabilities: Bytes,
}

/// Of whom a session over HTTP may ask, and what is learned from its asking.
pub(crate) struct Asking {
    /// It was opened with capabilities that let the server ask.
    pub(crate) allowed: bool,
    /// Whose own it is.
    pub(crate) owner: Option<Owner>,
    /// The server was seen to ask beside the stream of a call: from then on each call needs a session of its own.
    pub(crate) aside: Arc<AtomicBool>,
}

/// Questions that wait for a call.
#[derive(Default)]
pub(crate) struct Held(VecDeque<Request>);

/// A session on which a server asks.
pub(crate) trait Session: Send + Sync + 'static {
    /// Looks at the questions that wait.
    fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T;

    /// Sends an answer without waiting until the server has it.
    fn answer(self: &Arc<Self>, answer: Bytes);
}

// === impl Asking ===

impl Asking {
    /// The server asked beside the stream of a call that is in flight.
    pub(crate) fn note_aside(&self, server: &str) {
        if !self.aside.swap(true, Relaxed) {
            tracing::debug!(target: "gatepost::server", server,
                "asks beside the streams of its calls: clients that can be asked get sessions of their own");
        }
    }
}

// === impl Held ===

impl Held {
    /// Keeps a question; false if too many wait already.
    pub(crate) fn keep(&mut self, question: &Request) -> bool {
        let room = self.0.len() < MOST_HELD;
        if room {
            self.0.push_back(question.clone());
        }
        room
    }

    /// All of them, oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Request> + '_ {
        self.0.drain(..)
    }

    fn take(&mut self, id: &[u8]) -> Option<Request> {
        let place = self.0.iter().position(|held| held.id().bytes() == id)?;
        self.0.remove(place)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === what becomes of a question ===

/// The answer to a `ping`, which needs no client.
pub(crate) fn pong(request: &Request) -> Option<Bytes> {
    (request.known_method() == Some(Method::Ping)).then(|| result_response(request.id().bytes(), b"{}"))
}

/// Puts a question to the client whose own the session is, or refuses what that client did not declare; false if the client
/// listens nowhere.
pub(crate) fn put_to_owner<S: Session>(session: &Arc<S>, owner: &Owner, question: &Request) -> bool {
    // "Servers MUST NOT send elicitation requests with modes that are not supported by the client", and alike for tools in
    // sampling. Source: MCP 2025-11-25, client/elicitation and client/sampling, Capabilities.
    let refusal = match Ask::of_request(question) {
        Ok(ask) if ask.kind().is_declared(&owner.capabilities) => None,
        Ok(ask) => Some(ask.kind().undeclared(&owner.capabilities)),
        Err(NoAsk::Params) => Some((INVALID_PARAMS, "the parameters do not fit the method")),
        // A vendor's own, perhaps: the client knows best.
        Err(NoAsk::Method) => None,
    };
    if let Some((code, text)) = refusal {
        let id = question.id().bytes();
        session.answer(error_response(Some(id), code, text, None));
        return true;
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return false;
    };
    let Some(answer) = Arc::clone(&owner.clients).put(owner.conversation, question) else {
        return false;
    };
    let (session, question) = (Arc::downgrade(session), question.clone());
    runtime.spawn(async move {
        let answer = tokio::time::timeout(ANSWERED_WITHIN, answer).await;
        let Some(session) = session.upgrade() else { return };
        match answer {
            Ok(Some(answer)) => session.answer(answer),
            Ok(None) => refuse(&session, &question, "the client is gone"),
            Err(_) => refuse(&session, &question, "the client did not answer in time"),
        }
    });
    true
}

/// Begins the time for which a question is held, after which it is refused.
pub(crate) fn expire<S: Session>(session: &Arc<S>, question: &Request) {
    let (session, id) = (
        Arc::downgrade(session),
        Bytes::copy_from_slice(question.id().bytes()),
    );
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    runtime.spawn(async move {
        tokio::time::sleep(HELD_FOR).await;
        let Some(session) = session.upgrade() else { return };
        if let Some(expired) = session.held(|held| held.take(&id)) {
            refuse(
                &session,
                &expired,
                "no call is in flight that this could belong to",
            );
        }
    });
}

/// Refuses a question that nobody can be found for.
pub(crate) fn refuse<S: Session>(session: &Arc<S>, question: &Request, why: &str) {
    session.answer(error_response(
        Some(question.id().bytes()),
        INTERNAL_ERROR,
        why,
        None,
    ));
}

/// Refuses a question as a client does that never declared it.
pub(crate) fn unsupported<S: Session>(session: &Arc<S>, question: &Request) {
    let text = format!(
        "the client of this session does not support `{}`",
        question.method()
    );
    session.answer(error_response(
        Some(question.id().bytes()),
        METHOD_NOT_FOUND,
        &text,
        None,
    ));
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use gatepost_protocol::{envelope::Message, json::Strictness};

    use super::*;

    #[derive(Default)]
    struct Noted {
        held: Mutex<Held>,
        answers: Mutex<Vec<Bytes>>,
    }

    impl Session for Noted {
        fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
            look(&mut self.held.lock().unwrap())
        }

        fn answer(self: &Arc<Self>, answer: Bytes) {
            self.answers.lock().unwrap().push(answer);
        }
    }

    fn question(id: usize) -> Request {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#);
        match Message::parse(raw.into(), Strictness::Server) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_refused_in_time_unless_somebody_takes_it() {
        let session = Arc::new(Noted::default());
        for id in 0..MOST_HELD {
            let question = question(id);
            assert!(session.held(|held| held.keep(&question)));
            expire(&session, &question);
        }
        assert!(!session.held(|held| held.keep(&question(99))));
        tokio::time::sleep(HELD_FOR - Duration::from_millis(1)).await;
        assert!(session.answers.lock().unwrap().is_empty());
        let taken = session.held(|held| held.take(b"3")).unwrap();
        assert_eq!(taken.id().bytes(), b"3");
        tokio::time::sleep(Duration::from_millis(2)).await;
        let answers = session.answers.lock().unwrap();
        assert_eq!(answers.len(), MOST_HELD - 1);
        assert!(answers.iter().all(|answer| {
            let text = String::from_utf8_lossy(answer);
            text.contains("-32603") && !text.contains(r#""id":3,"#)
        }));
    }
}
