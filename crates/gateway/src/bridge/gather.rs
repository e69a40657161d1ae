//! What a legacy server asks of a modern client, over all the rounds of one call: gathered until the server is quiet, put
//! to the client as one `input_required`, answered when the client sends the call again.
//!
//! Source: `docs/eras.md` 5.2.

use std::time::Duration;

use bytes::Bytes;
use gatepost_protocol::{
    ask::{Answers, Ask, AskKind, input_answers, input_required},
    envelope::Request,
    error::{INTERNAL_ERROR, METHOD_NOT_FOUND, error_response, result_response},
    json,
    lifecycle::{ParkedEvent, ParkedState},
    method::Method,
    version::Version,
};
use tokio::time::Instant;

use crate::{inbound::Inbound, receive::request_id};

/// Questions of one call that may be open at once; more is a mistake or an attack.
const MAX_OPEN: usize = 64;
/// And so for their bytes, together; a single one may have the size of any message.
const MAX_OPEN_BYTES: usize = 16 * 1024 * 1024;

/// The questions of one call.
pub(crate) struct Gather {
    state: ParkedState,
    may_be_asked: bool,
    /// The client's, a raw JSON object.
    capabilities: Bytes,
    settle: Duration,
    /// When the round is over, if nothing more is asked.
    settled_at: Option<Instant>,
    open: Vec<Open>,
    /// What the server asked although the client did not declare it.
    refused: Vec<AskKind>,
    /// Answers that came with the first call, for questions that a stateless server would have asked in an earlier one.
    supplied: Answers,
    asked: u64,
    /// When the call's time for waiting is over; begins with its first round.
    pub(crate) deadline: Option<Instant>,
}

/// A question that waits for its answer.
struct Open {
    /// In `inputRequests`.
    key: String,
    /// The server's id, raw JSON.
    id: Bytes,
    ask: Ask,
    request: Request,
    /// The client knows of it.
    told: bool,
}

impl Gather {
    /// No questions yet.
    pub(crate) fn new(inbound: &Inbound, settle: Duration) -> Self {
        // Without a `requestState` answers belong to nothing yet. What is malformed answers nothing.
        let supplied = match input_answers(&inbound.request) {
            Ok((Some(answers), None)) => answers,
            _ => Answers::new(),
        };
        Self {
            state: ParkedState::INITIAL,
            may_be_asked: inbound.request.known_method().is_some_and(Method::may_ask),
            capabilities: inbound.client.capabilities.clone(),
            settle,
            settled_at: None,
            open: Vec::new(),
            refused: Vec::new(),
            supplied,
            asked: 0,
            deadline: None,
        }
    }

    /// Where the call stands.
    pub(crate) fn state(&self) -> ParkedState {
        self.state
    }

    /// Something happened to the call.
    pub(crate) fn on(&mut self, event: ParkedEvent) {
        match self.state.on(event) {
            Some(next) => self.state = next,
            // A fault of the gate's own; the call itself can go on.
            None => tracing::error!(
                state = self.state.name(),
                event = event.name(),
                "no such step in a parked call's life"
            ),
        }
    }

    /// The server asks. Gives what to answer it at once; nothing if the client is to answer.
    pub(crate) fn question(&mut self, question: Request) -> Option<Bytes> {
        let id = request_id(&question);
        let refuse = |code, text: &str| Some(error_response(Some(&id), code, text, None));
        let ask = match Ask::of_request(&question) {
            Ok(ask) => ask,
            Err(problem) => return refuse(problem.code(), &problem.to_string()),
        };
        let kind = ask.kind();
        // 2026-07-28 basic/patterns/mrtr, Supported Requests: no other request can be answered with a question.
        if !self.may_be_asked {
            return refuse(
                METHOD_NOT_FOUND,
                "this client cannot be asked anything during this request",
            );
        }
        if !kind.is_declared(&self.capabilities) {
            if !self.refused.contains(&kind) {
                self.refused.push(kind);
            }
            let (code, text) = kind.undeclared(&self.capabilities);
            return refuse(code, text);
        }
        let bytes: usize = self.open.iter().map(|open| open.request.raw().len()).sum();
        let too_large = !self.open.is_empty() && bytes + question.raw().len() > MAX_OPEN_BYTES;
        if self.open.len() >= MAX_OPEN || too_large {
            return refuse(INTERNAL_ERROR, "too many questions at once");
        }
        let key = self.key(&id);
        if let Some(place) = self
            .supplied
            .iter()
            .position(|(name, answer)| *name == key && kind.fits(answer))
        {
            let (_, answer) = self.supplied.swap_remove(place);
            return Some(result_response(&id, &answer));
        }
        self.on(ParkedEvent::Asked);
        self.settled_at = Some(Instant::now() + self.settle);
        self.open.push(Open {
            key,
            id,
            ask,
            request: question,
            told: false,
        });
        None
    }

    /// The name of a question towards the client: the server's own id if it says something, else a number.
    fn key(&mut self, id: &[u8]) -> String {
        let taken = |key: &str| self.open.iter().any(|open| open.key == key);
        if let Some(text) = json::text(id, json::Span::all(id)).filter(|text| !taken(text)) {
            return text.into_owned();
        }
        let mut number = self.asked + 1;
        while taken(&format!("ask-{number}")) {
            number += 1;
        }
        self.asked = number;
        format!("ask-{number}")
    }

    /// When the round is over, while one is open and its client waits.
    pub(crate) fn settled_at(&self) -> Option<Instant> {
        self.settled_at.filter(|_| self.state == ParkedState::Settling)
    }

    /// Whether a question waits for the client.
    pub(crate) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The unfinished result that puts every open question to the client.
    pub(crate) fn input_required(&mut self, id: &[u8], state: &str, server_info: Option<&[u8]>) -> Bytes {
        for open in &mut self.open {
            open.told = true;
        }
        let asks = self.open.iter().map(|open| (open.key.as_str(), &open.ask));
        input_required(id, asks, state, server_info)
    }

    /// The open questions, for whoever checks answers to them.
    pub(crate) fn asks(&self) -> Vec<(String, AskKind)> {
        self.open
            .iter()
            .map(|open| (open.key.clone(), open.ask.kind()))
            .collect()
    }

    /// Takes the client's answers, and gives what goes up. Keys that the client was not told, and what is no answer, are
    /// ignored: the question stays open.
    pub(crate) fn answers(&mut self, answers: &Answers, server: Version) -> Vec<Bytes> {
        let mut replies = Vec::new();
        self.open.retain(|open| {
            let found = answers
                .iter()
                .find(|(key, _)| open.told && *key == open.key)
                .map(|(_, answer)| answer);
            let Some(answer) = found.filter(|answer| open.ask.kind().fits(answer)) else {
                return true;
            };
            replies.push(open.ask.reply(&open.id, answer, server));
            false
        });
        replies
    }

    /// Answers every open question as a client that never came back.
    pub(crate) fn dismiss(&mut self) -> Vec<Bytes> {
        self.open.drain(..).map(Open::dismissed).collect()
    }

    /// The final result has come, and nobody will answer the open questions in this call. Roots may be asked for at any time,
    /// so if this call's client was not told of it, the next one may be (first); whatever else is asked is asked for a call,
    /// and is this call's client's to dismiss (second).
    pub(crate) fn left_over(&mut self) -> (Vec<Request>, Vec<Bytes>) {
        let (any_time, ours): (Vec<Open>, Vec<Open>) = self
            .open
            .drain(..)
            .partition(|open| !open.told && open.ask.kind() == AskKind::Roots);
        (
            any_time.into_iter().map(|open| open.request).collect(),
            ours.into_iter().map(Open::dismissed).collect(),
        )
    }

    /// The capabilities that the client would have needed, as a raw JSON object; `None` if nothing was refused.
    pub(crate) fn required(&self) -> Option<String> {
        if self.refused.is_empty() {
            return None;
        }
        let mut all = serde_json::Map::new();
        for kind in &self.refused {
            let Ok(serde_json::Value::Object(one)) = serde_json::from_str(kind.required()) else {
                continue;
            };
            for (name, inner) in one {
                match (all.get_mut(&name), inner) {
                    (Some(serde_json::Value::Object(known)), serde_json::Value::Object(inner)) => {
                        known.extend(inner);
                    }
                    (_, inner) => {
                        all.insert(name, inner);
                    }
                }
            }
        }
        Some(serde_json::Value::Object(all).to_string())
    }
}

impl Open {
    /// The answer of a client that never came back.
    fn dismissed(self) -> Bytes {
        self.ask.kind().dismissal(&self.id)
    }
}
