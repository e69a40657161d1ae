//! One question to the client: put, answered, late, or taken back.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use gatepost_protocol::{
    ask::AskKind,
    envelope::{Outcome, Response},
    json::{ObjectWriter, Span},
};
use tokio::{
    sync::oneshot::error::RecvError,
    time::{Instant, sleep_until},
};

use crate::conversation::OpenQuestion;

/// How long a user may consider a form or a page. Source: `docs/eras.md` 5.3, 3.
const ELICITATION_WITHIN: Duration = Duration::from_secs(600);
/// How long a model may take, and whoever approves what it is asked. Source: `docs/eras.md` 5.3, 3.
const SAMPLING_WITHIN: Duration = Duration::from_secs(300);
/// How long a program may take to list its roots. Source: `docs/eras.md` 5.3, 3.
const ROOTS_WITHIN: Duration = Duration::from_secs(30);

/// One question of a round, and all the keys that its server put it under.
pub(super) struct Question {
    pub(super) keys: Vec<String>,
    pub(super) kind: AskKind,
    /// Its place among the pages, if the user is sent to one.
    pub(super) page: Option<usize>,
    pub(super) place: Place,
}

/// Where a question is.
pub(super) enum Place {
    /// Not yet put to the client.
    Unsaid(OpenQuestion, Bytes),
    /// The client has it, and until then to answer.
    Said(OpenQuestion, Instant),
    /// A raw JSON object.
    Answered(Bytes),
}

/// Something happened to the question of this number.
pub(super) struct Event {
    pub(super) index: usize,
    /// `None` if it got none in time.
    pub(super) answer: Option<Result<Response, RecvError>>,
}

/// Why there is no answer, and the client's own error object if it sent one.
pub(super) struct NoAnswer {
    pub(super) why: String,
    pub(super) error: Option<Bytes>,
}

impl NoAnswer {
    pub(super) fn new(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            error: None,
        }
    }
}

impl Question {
    /// Puts it to the client; from now on its time runs.
    pub(super) fn say(&mut self) -> Option<Bytes> {
        if !matches!(self.place, Place::Unsaid(..)) {
            return None;
        }
        let until = Instant::now() + within(self.kind);
        match std::mem::replace(&mut self.place, Place::Answered(Bytes::new())) {
            Place::Unsaid(open, message) => {
                self.place = Place::Said(open, until);
                Some(message)
            }
            Place::Said(..) | Place::Answered(_) => None,
        }
    }

    /// What the client answered, a raw JSON object.
    pub(super) fn read(&self, response: &Response) -> Result<Bytes, NoAnswer> {
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
    pub(super) fn cancelled(&self, reason: &str) -> Option<Bytes> {
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

/// The next answer, or the next question that gets none in time; `None` if none is open. Cancel safe.
pub(super) async fn event(questions: &mut [Question]) -> Option<Event> {
    let said = questions.iter().enumerate();
    let (until, late) = said
        .filter_map(|(index, question)| match question.place {
            Place::Said(_, until) => Some((until, index)),
            Place::Unsaid(..) | Place::Answered(_) => None,
        })
        .min()?;
    let answer = poll_fn(|cx: &mut Context<'_>| {
        for (index, question) in questions.iter_mut().enumerate() {
            if let Place::Said(open, _) = &mut question.place
                && let Poll::Ready(answer) = Pin::new(&mut open.answer).poll(cx)
            {
                return Poll::Ready(Event {
                    index,
                    answer: Some(answer),
                });
            }
        }
        Poll::Pending
    });
    Some(tokio::select! {
        biased;
        answer = answer => answer,
        () = sleep_until(until) => Event { index: late, answer: None },
    })
}

fn within(kind: AskKind) -> Duration {
    match kind {
        AskKind::Form | AskKind::Url => ELICITATION_WITHIN,
        AskKind::Sampling | AskKind::SamplingWithTools => SAMPLING_WITHIN,
        AskKind::Roots => ROOTS_WITHIN,
    }
}

pub(super) fn notification(method: &str, params: &[u8]) -> Bytes {
    let mut message = ObjectWriter::new();
    message
        .text("jsonrpc", "2.0")
        .text("method", method)
        .raw("params", params);
    message.finish().into()
}
