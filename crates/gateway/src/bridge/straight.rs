//! A legacy server asks a legacy client: its question goes down on the stream of the call, the client's answer goes up,
//! each under the other side's id.
//!
//! Source: `docs/eras.md` 5.4.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use gatepost_protocol::{
    ask::Ask,
    envelope::{Outcome, Request},
    error::{INVALID_PARAMS, METHOD_NOT_FOUND, error_response, result_response},
};

use crate::{
    gate::Gate,
    inbound::Client,
    receive::request_id,
    upstream::{LateAnswers, Server},
};

/// How long a client may take to answer a question whose call has ended (`docs/eras.md` 5.3).
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);

/// The questions that one client has yet to answer.
#[derive(Default)]
pub(crate) struct Straight {
    open: FuturesUnordered<BoxFuture<'static, Option<Bytes>>>,
    late: Option<LateAnswers>,
}

/// What becomes of a question.
pub(crate) enum Put {
    /// It goes down.
    Down(Bytes),
    /// The server is answered at once.
    Up(Bytes),
}

impl Straight {
    /// The next answer for the server. Nothing for a question that was withdrawn; pending while none is open.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        match self.open.next().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// What is still open when the call ends goes up all the same, this way: it was put to the client's newest call and may be
    /// about another.
    pub(crate) fn outlive(&mut self, late: LateAnswers) {
        self.late = Some(late);
    }

    /// Puts a server's question.
    pub(crate) fn put(&mut self, gate: &Gate, client: &Client, question: &Request, of: &Server) -> Put {
        let server_id = request_id(question);
        let refuse = |code, text: &str| Put::Up(error_response(Some(&server_id), code, text, None));
        let Some(conversation) = client.conversation else {
            return refuse(METHOD_NOT_FOUND, "this client cannot be asked");
        };
        let server = of.known().map_or(client.version, |facts| facts.version);
        let mut asked = gate.conversations.ask(conversation);
        let id = asked.id().to_string().into_bytes();
        let as_it_is = || {
            let mut edits = question.rewrite();
            edits
                .id(id.clone())
                .remove_meta("progressToken")
                .remove_param("task");
            edits.finish()
        };
        let ask = Ask::of_request(question).ok();
        let message = match &ask {
            Some(ask) if !ask.kind().is_declared(&client.capabilities) => {
                let (code, text) = ask.kind().undeclared(&client.capabilities);
                return refuse(code, text);
            }
            Some(ask) if client.version < server => match ask.request(&id, client.version, None) {
                Ok(message) => message,
                Err(beyond) => return refuse(INVALID_PARAMS, &beyond.to_string()),
            },
            // Between equal versions, and what no version knows: not a byte more is touched.
            _ => as_it_is(),
        };
        // Whoever was given the name of a visit is told when it is over.
        if let Some(visit) = ask.as_ref().and_then(Ask::elicitation_id) {
            gate.sessions
                .with(conversation, |live| live.elicitations.insert(of.name(), &visit));
        }
        let newer_client = client.version > server;
        self.open.push(Box::pin(async move {
            let answer = (&mut asked.answer).await.ok()?;
            if newer_client && let (Some(ask), Outcome::Result(span)) = (&ask, answer.outcome()) {
                let raw = answer.raw();
                let result = raw.slice(span.start()..span.end());
                return Some(match ask.result_for(&result, server) {
                    Ok(result) => result_response(&server_id, &result),
                    Err(beyond) => {
                        error_response(Some(&server_id), INVALID_PARAMS, &beyond.to_string(), None)
                    }
                });
            }
            Some(answer.rewrite().id(server_id.to_vec()).finish())
        }));
        Put::Down(message)
    }
}

impl Drop for Straight {
    fn drop(&mut self) {
        let Some(late) = self.late.take().filter(|_| !self.open.is_empty()) else {
            return;
        };
        let mut open = std::mem::take(&mut self.open);
        let answering = async move {
            while let Some(answer) = open.next().await {
                if let Some(answer) = answer {
                    late(answer);
                }
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(ANSWERED_WITHIN, answering));
        }
    }
}
