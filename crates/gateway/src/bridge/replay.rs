//! A legacy client calls a modern server that needs something of it: `input_required` becomes requests on the stream of
//! the call, and once the client has answered them all, the call is made again with the answers.
//!
//! Nothing here reads a stream or calls a server: [`Replay::asked`] takes what the server said, [`Replay::turn`] says what
//! is to be done next.
//!
//! Source: `docs/eras.md` 5.3 and 5.5; MCP 2026-07-28, basic/patterns/mrtr.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use gatepost_protocol::{
    ask::{Ask, InputRequired, input_responses},
    error::{INTERNAL_ERROR, URL_ELICITATION_REQUIRED},
    json::ObjectWriter,
    version::Version,
};
use tokio::time::{Instant, sleep_until};

use crate::{conversation::Conversations, session::ConversationId};

mod errand;
mod question;

use errand::Errand;
use question::{Event, NoAnswer, Place, Question, event};

/// How much may be asked at once. Ours: every one is an entry in a map, and a user who is asked more is not asked but
/// flooded.
const MAX_AT_ONCE: usize = 100;
/// How often one call may ask. Source: `docs/eras.md` 5.3, 4.
const MAX_ASKING: u32 = 10;
/// How often one call may be put off with a `requestState` and no question. Source: `docs/eras.md` 5.3, 4.
const MAX_PUT_OFF: u32 = 10;
/// The longest pause before a call is made again. Source: `docs/eras.md` 5.5, last row.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a call is made again and again while its user is busy on a page. Source: `docs/eras.md` 5.5, last row.
const PAGE_WITHIN: Duration = Duration::from_secs(300);

/// What a call that is made again brings along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Input {
    /// `inputResponses`, a raw JSON object.
    pub(crate) responses: Option<Bytes>,
    /// `requestState` as the server gave it, decoded.
    pub(crate) state: Option<String>,
}

/// A legacy client's call on a modern server, over all its rounds.
pub(crate) struct Replay {
    conversations: Arc<Conversations>,
    conversation: ConversationId,
    version: Version,
    /// A raw JSON object.
    capabilities: Bytes,
    server: Arc<str>,
    round: Round,
    /// What else the client has to be told before the next turn.
    notices: VecDeque<Bytes>,
    /// Every page that the user was sent to.
    errands: Vec<Errand>,
    /// Since when, and how often, the call is made again only because the user is busy on a page.
    visit: Option<Visit>,
    left: Option<Left>,
    /// Rounds with questions.
    asking: u32,
    /// Rounds with nothing but a state.
    put_off: u32,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Say this to the client on the call's stream: a question, or a notification about one.
    Say(Bytes),
    /// Send the call again with this.
    Again(Input),
    /// The call ends with this error for the client.
    Stop {
        /// The JSON-RPC code.
        code: i64,
        /// In words.
        message: String,
        /// Raw JSON.
        data: Option<Bytes>,
    },
}

/// What a call leaves behind that its client may make again once its user is done on a page.
#[derive(Debug, Clone)]
pub(crate) struct Left {
    input: Input,
    errands: Vec<Errand>,
}

impl Left {
    /// How much of it a server has chosen, in bytes.
    pub(crate) fn size(&self) -> usize {
        let state = self.input.state.as_ref().map_or(0, String::len);
        let errands = self
            .errands
            .iter()
            .map(|errand| errand.url.len() + errand.entry.len());
        state + self.input.responses.as_ref().map_or(0, Bytes::len) + errands.sum::<usize>()
    }

    #[cfg(test)]
    pub(crate) fn of_state(state: String) -> Self {
        let (responses, state) = (None, Some(state));
        Self {
            input: Input { responses, state },
            errands: Vec::new(),
        }
    }
}

/// Where the call is between two answers of its server.
enum Round {
    /// The server works.
    Calling,
    /// The client considers.
    Asking {
        questions: Vec<Question>,
        state: Option<String>,
    },
    /// All that is needed is there, and it is not yet time.
    Waiting { until: Instant, input: Input },
    /// There is nothing more to be done.
    Stopping(Turn),
}

#[derive(Clone, Copy)]
struct Visit {
    until: Instant,
    times: u32,
}

impl Replay {
    pub(crate) fn new(
        conversations: &Arc<Conversations>,
        conversation: ConversationId,
        version: Version,
        capabilities: Bytes,
        server: Arc<str>,
    ) -> Self {
        Self {
            conversations: Arc::clone(conversations),
            conversation,
            version,
            capabilities,
            server,
            round: Round::Calling,
            notices: VecDeque::new(),
            errands: Vec::new(),
            visit: None,
            left: None,
            asking: 0,
            put_off: 0,
        }
    }

    /// Goes on where an earlier call of the same client was given up: what this call brings along the first time.
    pub(crate) fn resume(&mut self, left: Left) -> Input {
        self.errands = left.errands;
        left.input
    }

    /// The server answered `input_required`.
    ///
    /// # Errors
    /// In words, if it asked what the client did not declare, or more than anybody can be asked.
    pub(crate) fn asked(&mut self, required: InputRequired) -> Result<(), String> {
        if required.asks.len() > MAX_AT_ONCE {
            let asks = required.asks.len();
            return Err(format!(
                "it asked {asks} questions at once; {MAX_AT_ONCE} are allowed"
            ));
        }
        // "Servers MUST NOT send elicitation requests with modes that are not supported by the client", and alike for the
        // others. Source: MCP 2026-07-28, client/elicitation, client/sampling and client/roots, Capabilities.
        for (key, ask) in &required.asks {
            if !ask.kind().is_declared(&self.capabilities) {
                return Err(format!(
                    "it asked for `{}` under `{key}`, and the client did not declare {}",
                    ask.kind().method().name(),
                    ask.kind().required(),
                ));
            }
        }
        let InputRequired { asks, state } = required;
        self.round = if asks.is_empty() {
            self.wait_for_server(state)
        } else {
            self.open(asks, state)
        };
        Ok(())
    }

    /// The next turn; none comes while the server works. Cancel safe.
    pub(crate) async fn turn(&mut self) -> Turn {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Turn::Say(notice);
            }
            match &mut self.round {
                Round::Calling => return pending().await,
                Round::Waiting { until, input } => {
                    sleep_until(*until).await;
                    let input = std::mem::take(input);
                    self.round = Round::Calling;
                    return Turn::Again(input);
                }
                Round::Stopping(stop) => return stop.clone(),
                Round::Asking { questions, .. } => {
                    if let Some(message) = questions.iter_mut().find_map(Question::say) {
                        return Turn::Say(message);
                    }
                    match event(questions).await {
                        Some(event) => self.heard(event),
                        None => self.answered(),
                    }
                }
            }
        }
    }

    /// The client cancelled the call: what to tell it of the questions that are still open.
    pub(crate) fn withdraw(&mut self) -> Vec<Bytes> {
        self.close("the call was cancelled");
        self.notices.drain(..).collect()
    }

    /// The call has ended with a final result: what to tell the client before it.
    pub(crate) fn finished(&mut self) -> Vec<Bytes> {
        let errands = self.errands.drain(..);
        errands.filter_map(|errand| errand.completed()).collect()
    }

    /// After a stop with -32042: with what the call goes on if the client makes it again.
    pub(crate) fn left(&mut self) -> Option<Left> {
        self.left.take()
    }

    /// A round without questions: the server only wants to be called again.
    fn wait_for_server(&mut self, state: Option<String>) -> Round {
        if self.put_off >= MAX_PUT_OFF {
            return self.stopping(&format!("put this call off more than {MAX_PUT_OFF} times"));
        }
        let pause = self.put_off.checked_sub(1).map_or(Duration::ZERO, pause);
        self.put_off += 1;
        Round::Waiting {
            until: Instant::now() + pause,
            input: Input {
                responses: None,
                state,
            },
        }
    }

    /// A round of questions, some of which may be answered already.
    fn open(&mut self, asks: Vec<(String, Ask)>, state: Option<String>) -> Round {
        let known = self.errands.len();
        let mut questions: Vec<Question> = Vec::with_capacity(asks.len());
        for (key, ask) in asks {
            let url = ask.url();
            let page = url.and_then(|url| self.errands.iter().position(|errand| errand.url == url));
            // Twice in one round is twice the same, too.
            let same = questions
                .iter_mut()
                .find(|question| page.is_some() && question.page == page);
            if let Some(same) = same {
                same.keys.push(key);
                continue;
            }
            match self.question(key, &ask, page) {
                Ok(question) => questions.push(question),
                Err(problem) => return self.stopping(&problem),
            }
        }
        let busy = questions.iter().all(|question| {
            let page = question.page.filter(|page| *page < known);
            page.and_then(|page| self.errands.get(page))
                .is_some_and(Errand::is_accepted)
        });
        if busy {
            return self.wait_for_user(questions, state);
        }
        if self.asking >= MAX_ASKING {
            return self.stopping(&format!(
                "asked for something during this call more than {MAX_ASKING} times"
            ));
        }
        self.asking += 1;
        // Whatever it is, it has moved on, and each page has its own time.
        self.visit = None;
        Round::Asking { questions, state }
    }

    /// One question, ready to be put to the client unless it was before.
    fn question(&mut self, key: String, ask: &Ask, page: Option<usize>) -> Result<Question, String> {
        let kind = ask.kind();
        let keys = vec![key];
        if let Some(index) = page
            && let Some(errand) = self.errands.get(index)
        {
            // "The same URL again is not shown again" (eras.md 5.5), whatever the user said to it.
            let place = Place::Answered(errand.answer());
            return Ok(Question {
                keys,
                kind,
                page: Some(index),
                place,
            });
        }
        let errand =
            match ask.url() {
                Some(url) => Some(Errand::new(ask, &url).map_err(|error| {
                    format!("sent its user to a page that cannot be given a name: {error}")
                })?),
                None => None,
            };
        let open = self.conversations.ask(self.conversation);
        let id = open.id().to_string();
        let name = errand.as_ref().map(|errand| errand.id.as_str());
        // eras.md 5.3, 7: a form that a version lacks cannot be asked. No user dismissed it, so nothing true can be said to
        // the server.
        let message = ask.request(id.as_bytes(), self.version, name).map_err(|beyond| {
            format!(
                "asked for `{}` in a way that this client cannot answer: {beyond}",
                kind.method().name()
            )
        })?;
        let page = errand.map(|errand| {
            self.errands.push(errand);
            self.errands.len() - 1
        });
        Ok(Question {
            keys,
            kind,
            page,
            place: Place::Unsaid(open, message),
        })
    }

    /// A round that only says again which pages the user has yet to be done with.
    fn wait_for_user(&mut self, questions: Vec<Question>, state: Option<String>) -> Round {
        let now = Instant::now();
        let visit = self.visit.get_or_insert(Visit {
            until: now + PAGE_WITHIN,
            times: 0,
        });
        if now < visit.until {
            let until = visit.until.min(now + pause(visit.times));
            visit.times += 1;
            let input = self.input(questions, state);
            return Round::Waiting { until, input };
        }
        // Source: MCP 2025-11-25, client/elicitation, URL Elicitation Required Error.
        let open = questions.iter().filter_map(|question| question.page);
        let entries: Vec<_> = open
            .filter_map(|page| self.errands.get(page))
            .map(|errand| &errand.entry[..])
            .collect();
        let mut list = vec![b'['];
        list.extend_from_slice(&entries.join(&b','));
        list.push(b']');
        let data = ObjectWriter::new().raw("elicitations", &list).finish();
        let message = format!(
            "server `{}` still waits for its user to be done on a page; make this call again when that is so",
            self.server
        );
        self.left = Some(Left {
            input: self.input(questions, state),
            errands: self.errands.clone(),
        });
        Round::Stopping(Turn::Stop {
            code: URL_ELICITATION_REQUIRED,
            message,
            data: Some(data.into()),
        })
    }

    fn heard(&mut self, event: Event) {
        let Round::Asking { questions, .. } = &mut self.round else {
            return;
        };
        let Some(question) = questions.get_mut(event.index) else {
            return;
        };
        let answer = match event.answer {
            Some(Ok(response)) => question.read(&response),
            Some(Err(_)) => Err(NoAnswer::new("its session has ended")),
            None => {
                const REASON: &str = "no answer in time";
                self.notices.extend(question.cancelled(REASON));
                Err(NoAnswer::new(REASON))
            }
        };
        match answer.or_else(|none| question.kind.dismissed().map(Bytes::from).map_err(|_| none)) {
            Ok(answer) => question.place = Place::Answered(answer),
            Err(none) => {
                let method = question.kind.method().name();
                question.place = Place::Answered(Bytes::new());
                self.close("the call has failed");
                self.round = Round::Stopping(Turn::Stop {
                    code: INTERNAL_ERROR,
                    message: format!(
                        "server `{}` asked the client for `{method}` and cannot go on without: {}",
                        self.server, none.why
                    ),
                    data: none.error,
                });
            }
        }
    }

    /// Nothing is open any more: the call can be made again.
    fn answered(&mut self) {
        let Round::Asking { questions, state } = std::mem::replace(&mut self.round, Round::Calling) else {
            return;
        };
        for question in &questions {
            let errand = question.page.and_then(|page| self.errands.get_mut(page));
            if let (Some(errand), Place::Answered(answer)) = (errand, &question.place) {
                errand.keep(answer);
            }
        }
        self.round = Round::Waiting {
            until: Instant::now(),
            input: self.input(questions, state),
        };
    }

    fn input(&self, questions: Vec<Question>, state: Option<String>) -> Input {
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            if let Place::Answered(answer) = question.place {
                answers.extend(question.keys.into_iter().map(|key| (key, answer.clone())));
            }
        }
        Input {
            responses: Some(input_responses(&answers).into()),
            state,
        }
    }

    /// Takes back every question that the client has and did not answer.
    fn close(&mut self, reason: &str) {
        if let Round::Asking { questions, .. } = std::mem::replace(&mut self.round, Round::Calling) {
            let notices = questions.iter().filter_map(|question| question.cancelled(reason));
            self.notices.extend(notices);
        }
    }

    fn stopping(&self, problem: &str) -> Round {
        Round::Stopping(Turn::Stop {
            code: INTERNAL_ERROR,
            message: format!("server `{}` {problem}", self.server),
            data: None,
        })
    }
}

/// 1, 2, 4 … 30 s.
fn pause(times: u32) -> Duration {
    Duration::from_secs(1 << times.min(5)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
