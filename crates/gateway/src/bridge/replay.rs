//! A legacy client calls a modern server that needs something of it: `input_required` becomes requests on the stream of
//! the call, and once the client has answered them all, the call is made again with the answers.
//!
//! Nothing here reads a stream or calls a server: [`Replay::asked`] takes what the server said, [`Replay::turn`] says what
//! is to be done next.
//!
//! Source: `docs/eras.md` 5.3 and 5.5; MCP 2026-07-28, basic/patterns/mrtr.

use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use gatepost_protocol::{
    ask::{Ask, AskKind, InputRequired, input_responses},
    envelope::{Outcome, Response},
    error::{INTERNAL_ERROR, URL_ELICITATION_REQUIRED},
    json::{self, ObjectWriter, Span},
    version::Version,
};
use tokio::{
    sync::oneshot::error::RecvError,
    time::{Instant, sleep_until},
};

use crate::{
    conversation::{Conversations, OpenQuestion},
    seal::random,
    session::ConversationId,
};

/// How long a user may consider a form or a page. Source: `docs/eras.md` 5.3, 3.
const ELICITATION_WITHIN: Duration = Duration::from_secs(600);
/// How long a model may take, and whoever approves what it is asked. Source: `docs/eras.md` 5.3, 3.
const SAMPLING_WITHIN: Duration = Duration::from_secs(300);
/// How long a program may take to list its roots. Source: `docs/eras.md` 5.3, 3.
const ROOTS_WITHIN: Duration = Duration::from_secs(30);
/// How often one call may ask. Source: `docs/eras.md` 5.3, 4.
const MAX_ASKING: u32 = 10;
/// How often one call may be put off with a `requestState` and no question. Source: `docs/eras.md` 5.3, 4.
const MAX_PUT_OFF: u32 = 10;
/// The longest pause before a call is made again. Source: `docs/eras.md` 5.5, last row.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a call is made again and again while its user is busy on a page. Source: `docs/eras.md` 5.5, last row.
const PAGE_WITHIN: Duration = Duration::from_secs(300);
/// The user agreed to visit the page; nothing more is known. Source: MCP 2026-07-28, client/elicitation, URL Mode.
const ACCEPTED: &[u8] = br#"{"action":"accept"}"#;

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
    pages: Vec<Page>,
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
    pages: Vec<Page>,
}

impl Left {
    /// How much of it a server has chosen, in bytes.
    pub(crate) fn size(&self) -> usize {
        let state = self.input.state.as_ref().map_or(0, String::len);
        let pages = self.pages.iter().map(|page| page.url.len() + page.entry.len());
        state + self.input.responses.as_ref().map_or(0, Bytes::len) + pages.sum::<usize>()
    }

    #[cfg(test)]
    pub(crate) fn of_state(state: String) -> Self {
        let (responses, state) = (None, Some(state));
        Self {
            input: Input { responses, state },
            pages: Vec::new(),
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

/// One question of a round, and all the keys that its server put it under.
struct Question {
    keys: Vec<String>,
    kind: AskKind,
    /// Its place in `pages`, if the user is sent to one.
    page: Option<usize>,
    place: Place,
}

enum Place {
    /// Not yet put to the client.
    Unsaid(OpenQuestion, Bytes),
    /// The client has it, and until then to answer.
    Said(OpenQuestion, Instant),
    /// A raw JSON object.
    Answered(Bytes),
}

/// A page that the user was asked to visit; nobody is asked the same twice.
#[derive(Debug, Clone)]
struct Page {
    url: String,
    id: String,
    /// The entry of `data.elicitations` of -32042, raw JSON.
    entry: Bytes,
    /// What the user said: a raw JSON object.
    answer: Option<Bytes>,
    accepted: bool,
}

#[derive(Clone, Copy)]
struct Visit {
    until: Instant,
    times: u32,
}

/// Something happened to the question of this number.
enum Event {
    Answered(usize, Result<Response, RecvError>),
    Late(usize),
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
            pages: Vec::new(),
            visit: None,
            left: None,
            asking: 0,
            put_off: 0,
        }
    }

    /// Goes on where an earlier call of the same client was given up: what this call brings along the first time.
    pub(crate) fn resume(&mut self, left: Left) -> Input {
        self.pages = left.pages;
        left.input
    }

    /// The server answered `input_required`.
    ///
    /// # Errors
    /// In words, if it asked what the client did not declare.
    pub(crate) fn asked(&mut self, required: InputRequired) -> Result<(), String> {
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
    ///
    /// Source: MCP 2025-11-25, client/elicitation, Completion Notifications for URL Mode Elicitation.
    pub(crate) fn finished(&mut self) -> Vec<Bytes> {
        let completed = self.pages.drain(..).filter(|page| page.accepted);
        completed
            .map(|page| {
                let id = ObjectWriter::new().text("elicitationId", &page.id).finish();
                notification("notifications/elicitation/complete", &id)
            })
            .collect()
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
        let known = self.pages.len();
        let mut questions: Vec<Question> = Vec::with_capacity(asks.len());
        for (key, ask) in asks {
            let url = ask.url();
            let page = url.and_then(|url| self.pages.iter().position(|page| page.url == url));
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
            page.and_then(|page| self.pages.get(page))
                .is_some_and(|page| page.accepted)
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
            && let Some(page) = self.pages.get(index)
        {
            // "The same URL again is not shown again" (eras.md 5.5), whatever the user said to it.
            let answer = page.answer.clone().unwrap_or_else(|| ACCEPTED.into());
            let place = Place::Answered(answer);
            return Ok(Question {
                keys,
                kind,
                page: Some(index),
                place,
            });
        }
        let minted = match ask.url() {
            Some(url) => Some(self.mint(ask, &url)?),
            None => None,
        };
        let open = self.conversations.ask(self.conversation);
        let id = open.id().to_string();
        let name = minted.as_ref().map(|page| page.id.as_str());
        // eras.md 5.3, 7: a form that a version lacks cannot be asked. No user dismissed it, so nothing true can be said to
        // the server.
        let message = ask.request(id.as_bytes(), self.version, name).map_err(|beyond| {
            format!(
                "asked for `{}` in a way that this client cannot answer: {beyond}",
                kind.method().name()
            )
        })?;
        let page = minted.map(|page| {
            self.pages.push(page);
            self.pages.len() - 1
        });
        Ok(Question {
            keys,
            kind,
            page,
            place: Place::Unsaid(open, message),
        })
    }

    /// A page of a server that has no name for its elicitation, which 2025-11-25 requires.
    fn mint(&self, ask: &Ask, url: &str) -> Result<Page, String> {
        let id = match ask.elicitation_id() {
            Some(id) => id.into_owned(),
            None => {
                let bytes = random::<16>().map_err(|error| {
                    format!("sends its user to a page that cannot be given a name: {error}")
                })?;
                URL_SAFE_NO_PAD.encode(bytes)
            }
        };
        let params = ask.params().map_or(&[][..], |params| params);
        let members = json::object(params, Span::all(params)).ok();
        let message = members
            .and_then(|members| members.get(params, "message"))
            .map_or(&br#""""#[..], |message| message.of(params));
        let entry = ObjectWriter::new()
            .text("mode", "url")
            .text("elicitationId", &id)
            .text("url", url)
            .raw("message", message)
            .finish();
        Ok(Page {
            url: url.to_owned(),
            id,
            entry: entry.into(),
            answer: None,
            accepted: false,
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
            .filter_map(|page| self.pages.get(page))
            .map(|page| &page.entry[..])
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
            pages: self.pages.clone(),
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
        let (Event::Answered(index, _) | Event::Late(index)) = event;
        let Some(question) = questions.get_mut(index) else {
            return;
        };
        let answer = match &event {
            Event::Answered(_, Ok(response)) => question.read(response),
            Event::Answered(_, Err(_)) => Err(NoAnswer::new("its session has ended")),
            Event::Late(_) => {
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
            let page = question.page.and_then(|page| self.pages.get_mut(page));
            if let (Some(page), Place::Answered(answer)) = (page, &question.place) {
                page.accepted = action(answer).is_some_and(|action| action == "accept");
                page.answer = (!page.accepted).then(|| answer.clone());
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

/// Why there is no answer, and the client's own error object if it sent one.
struct NoAnswer {
    why: String,
    error: Option<Bytes>,
}

impl NoAnswer {
    fn new(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            error: None,
        }
    }
}

impl Question {
    /// Puts it to the client; from now on its time runs.
    fn say(&mut self) -> Option<Bytes> {
        let until = Instant::now() + within(self.kind);
        match std::mem::replace(&mut self.place, Place::Answered(Bytes::new())) {
            Place::Unsaid(open, message) => {
                self.place = Place::Said(open, until);
                Some(message)
            }
            place => {
                self.place = place;
                None
            }
        }
    }

    /// What the client answered, a raw JSON object.
    fn read(&self, response: &Response) -> Result<Bytes, NoAnswer> {
        let slice = |span: Span| response.raw().slice(span.start()..span.end());
        match response.outcome() {
            Outcome::Result(span) if self.kind.fits(span.of(response.raw())) => Ok(slice(span)),
            Outcome::Result(_) => Err(NoAnswer::new("the client's answer is not of that kind")),
            Outcome::Error { span, .. } => Err(NoAnswer {
                why: response.error_message().unwrap_or_default().into_owned(),
                error: Some(slice(span)),
            }),
        }
    }

    /// The notification that takes it back, if the client has it and did not answer.
    ///
    /// Source: MCP 2025-11-25, basic/utilities/cancellation.
    fn cancelled(&self, reason: &str) -> Option<Bytes> {
        let Place::Said(open, _) = &self.place else {
            return None;
        };
        let params = ObjectWriter::new()
            .raw("requestId", open.id().to_string().as_bytes())
            .text("reason", reason)
            .finish();
        Some(notification("notifications/cancelled", &params))
    }
}

/// The next answer, or the next question that gets none in time; `None` if none is open.
async fn event(questions: &mut [Question]) -> Option<Event> {
    let said = questions.iter().enumerate();
    let (until, late) = said
        .filter_map(|(index, question)| match question.place {
            Place::Said(_, until) => Some((until, index)),
            _ => None,
        })
        .min()?;
    let answer = poll_fn(|cx: &mut Context<'_>| {
        for (index, question) in questions.iter_mut().enumerate() {
            if let Place::Said(open, _) = &mut question.place
                && let Poll::Ready(answer) = Pin::new(&mut open.answer).poll(cx)
            {
                return Poll::Ready(Event::Answered(index, answer));
            }
        }
        Poll::Pending
    });
    Some(tokio::select! {
        biased;
        answer = answer => answer,
        () = sleep_until(until) => Event::Late(late),
    })
}

fn within(kind: AskKind) -> Duration {
    match kind {
        AskKind::Form | AskKind::Url => ELICITATION_WITHIN,
        AskKind::Sampling | AskKind::SamplingWithTools => SAMPLING_WITHIN,
        AskKind::Roots => ROOTS_WITHIN,
    }
}

/// 1, 2, 4 … 30 s.
fn pause(times: u32) -> Duration {
    Duration::from_secs(1 << times.min(5)).min(LONGEST_PAUSE)
}

/// What the user did with an elicitation.
fn action(answer: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    let members = json::object(answer, Span::all(answer)).ok()?;
    json::text(answer, members.get(answer, "action")?)
}

fn notification(method: &str, params: &[u8]) -> Bytes {
    let mut message = ObjectWriter::new();
    message
        .text("jsonrpc", "2.0")
        .text("method", method)
        .raw("params", params);
    message.finish().into()
}

#[cfg(test)]
mod tests;
