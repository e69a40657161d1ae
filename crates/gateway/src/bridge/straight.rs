//! A legacy server asks a legacy client: its question goes down on the stream of the call, the client's answer goes up,
//! each under the other side's id.
//!
//! Source: `docs/eras.md` 5.4.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use gatepost_protocol::{
    ask::{Ask, NoAsk},
    envelope::{Outcome, Request},
    error::{INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, error_response},
};
use tokio::time::{Instant, sleep_until};

use crate::{
    gate::Gate,
    inbound::Client,
    receive::request_id,
    upstream::{Events, LateAnswers, Server},
};

/// Questions of one call that may be open at once; more is a mistake or an attack.
const MAX_OPEN: usize = 64;
/// How long a session that calls share waits, after its call has ended, for what the client was asked in it (as for roots:
/// `docs/eras.md` 5.3). Its next call waits as long.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// How long a client may take to answer a question whose call has ended (`docs/eras.md` 5.3).
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);

/// The questions that one client has yet to answer.
#[derive(Default)]
pub(crate) struct Straight {
    open: FuturesUnordered<BoxFuture<'static, (u64, Option<Bytes>)>>,
    /// What the server hears if no answer comes, by the open questions' ids.
    dismissals: Vec<(u64, Bytes)>,
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
    /// Whether a question waits for the client.
    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The next answer for the server. Nothing for a question that was withdrawn; pending while none is open.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        match self.open.next().await {
            Some((id, answer)) => {
                if answer.is_some() {
                    self.dismissals.retain(|(known, _)| *known != id);
                }
                answer
            }
            None => std::future::pending().await,
        }
    }

    /// What is still open when the call ends goes up all the same, this way: it was put to the client's newest call and may be
    /// about another.
    pub(crate) fn outlive(&mut self, late: LateAnswers) {
        self.late = Some(late);
    }

    /// The call has its response. What it leaves open is waited for a little longer, with the right to use its session; then
    /// the server hears that nobody answered. Typical: a server asks for roots in the first call it gets, whatever that is
    /// about, and would never again.
    pub(crate) fn settle(mut self, mut events: Events) {
        // What has another way up outlives the call as it is.
        if self.late.is_some() || !self.is_open() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        events.retire();
        runtime.spawn(async move {
            let until = Instant::now() + SETTLED_WITHIN;
            while !self.open.is_empty() {
                tokio::select! {
                    biased;
                    answer = self.next() => if let Some(answer) = answer
                        && events.reply(answer).await.is_err()
                    {
                        return;
                    },
                    () = sleep_until(until) => break,
                }
            }
            let dismissals = std::mem::take(&mut self.dismissals);
            events
                .reply_all(dismissals.into_iter().map(|(_, dismissal)| dismissal))
                .await;
        });
    }

    /// Puts a server's question.
    pub(crate) fn put(&mut self, gate: &Gate, client: &Client, question: &Request, of: &Server) -> Put {
        let server_id = request_id(question);
        let refuse = |code, text: &str| Put::Up(error_response(Some(&server_id), code, text, None));
        let Some(conversation) = client.conversation else {
            return refuse(METHOD_NOT_FOUND, "this client cannot be asked");
        };
        if self.open.len() >= MAX_OPEN {
            return refuse(INTERNAL_ERROR, "too many questions at once");
        }
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
        let ask = match Ask::of_request(question) {
            Ok(ask) => Some(ask),
            // A vendor's own, perhaps: the client knows best.
            Err(NoAsk::Method) => None,
            // Of a kind that nobody has declared.
            Err(problem @ NoAsk::Params) => return refuse(problem.code(), &problem.to_string()),
        };
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
        let asked_as = asked.id();
        let dismissal = match &ask {
            Some(ask) => ask.kind().dismissal(&server_id),
            None => error_response(Some(&server_id), INTERNAL_ERROR, "no answer in time", None),
        };
        self.dismissals.push((asked_as, dismissal));
        // A question may be large, and is needed again only for a newer client's answer.
        let ask = ask.filter(|_| client.version > server);
        self.open.push(Box::pin(async move {
            let Ok(answer) = (&mut asked.answer).await else {
                return (asked_as, None);
            };
            let answer = match (&ask, answer.outcome()) {
                (Some(ask), Outcome::Result(span)) => {
                    let result = answer.raw().slice(span.start()..span.end());
                    ask.reply(&server_id, &result, server)
                }
                _ => answer.rewrite().id(server_id.to_vec()).finish(),
            };
            (asked_as, Some(answer))
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
        let mut dismissals = std::mem::take(&mut self.dismissals);
        let settling = async move {
            let answering = async {
                while let Some((id, answer)) = open.next().await {
                    if let Some(answer) = answer {
                        dismissals.retain(|(known, _)| *known != id);
                        late(answer);
                    }
                }
            };
            let _ = tokio::time::timeout(ANSWERED_WITHIN, answering).await;
            for (_, dismissal) in dismissals {
                late(dismissal);
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(settling);
        }
    }
}
