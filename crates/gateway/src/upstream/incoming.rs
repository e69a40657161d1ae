//! What comes back for a call: a whole response, a large one still arriving, or messages one after the other.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gatepost_outbound::Body;
use gatepost_protocol::envelope::{Message, Request, Response};

use super::{
    CallError, Cause, asking,
    awaited::Awaited,
    health::Guard,
    http::EventStream,
    level::InUse,
    outgoing::Wish,
    pipe::{Fault, Ticket},
    pool::Lease,
    session::Session,
};

/// How long an abandoned call may keep its leased session before the session is given up with it.
const ABANDONED_FOR: Duration = Duration::from_secs(10);

/// How long a client may take to answer a server's question: people are asked (`eras.md` 5.3).
const CLIENT_ANSWERS_WITHIN: Duration = Duration::from_secs(600);

/// A server's answer to a call. Ids and progress tokens in it are ours, not the client's.
pub(crate) enum Incoming {
    /// The complete response.
    Whole(Response),
    /// A large response of which only the beginning is here.
    Partial(Partial),
    /// Notifications or questions first, the response last.
    Events(Events),
}

/// A large `application/json` response still arriving.
pub(crate) struct Partial {
    pub(crate) head: Bytes,
    pub(crate) rest: Body,
    /// How many more bytes are allowed.
    pub(crate) left: u64,
    pub(crate) context: Waiting,
    /// The id of the request that this must answer.
    pub(crate) asked: Option<u64>,
    /// Counts the call as in flight until the last byte.
    #[expect(dead_code, reason = "held, never read")]
    pub(crate) guard: Option<Guard>,
}

/// Whom we wait for, and how long without a sign of life.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) server: Arc<str>,
    pub(crate) silence: Duration,
    pub(crate) limit: u64,
}

/// Messages of one call, as they arrive. Dropped before the response, it tells the server that the call is cancelled, if
/// the client wished that or is modern (for whom closing is cancelling).
pub(crate) struct Events {
    pub(crate) first: Option<Message>,
    pub(crate) source: Source,
    pub(crate) context: Waiting,
    /// Questions that the client has not answered yet: the server's silence is no fault of its own meanwhile.
    pub(crate) unanswered: usize,
    /// Counts the call as in flight until the last byte.
    pub(crate) guard: Option<Guard>,
}

pub(crate) enum Source {
    Pipe(PipeCall),
    Http(Box<EventStream>),
    Task(Awaited),
}

/// A call on a pipe, with the lease that lasts as long as it.
pub(crate) struct PipeCall {
    pub(crate) ticket: Option<Ticket>,
    pub(crate) lease: Option<Lease<Session>>,
    /// The session serves no other call meanwhile.
    pub(crate) exclusive: bool,
    /// What it wants of the server's log.
    #[expect(dead_code, reason = "held, never read")]
    pub(crate) level: Option<InUse>,
    /// Going away means cancelling: to a modern client it does, and whoever stops waiting because the server is silent says so
    /// (2025-11-25 basic/lifecycle, Timeouts).
    pub(crate) closing_cancels: bool,
    pub(crate) wish: Option<Arc<dyn Wish>>,
}

// === impl Waiting ===

impl Waiting {
    /// An error of this server.
    pub(crate) fn error(&self, cause: Cause, retry_safe: bool) -> CallError {
        CallError {
            server: Arc::clone(&self.server),
            cause,
            retry_safe,
        }
    }

    /// The answer is over the limit.
    pub(crate) fn too_large(&self) -> CallError {
        self.error(Cause::TooLarge { limit: self.limit }, false)
    }

    /// Waits for `future`, but not longer than this server may be silent.
    pub(crate) fn within<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, CallError>> {
        // Not an `async fn`, which would make room for `future` twice.
        let timed = tokio::time::timeout(self.silence, future);
        async move {
            timed
                .await
                .map_err(|_| self.error(Cause::Timeout(self.silence), false))
        }
    }

    /// What a fault on a pipe is to a caller.
    pub(crate) fn fault(&self, fault: Fault, sent: bool) -> CallError {
        match fault {
            Fault::Ended(reason) => self.error(Cause::Ended(reason.to_string()), !sent),
            Fault::Undelivered(reason) => self.error(Cause::Ended(reason.to_string()), true),
            Fault::Violation(text) => self.error(Cause::Violation(text), false),
            Fault::TooLarge(limit) => self.error(Cause::TooLarge { limit }, false),
        }
    }
}

// === impl Partial ===

impl Partial {
    /// The whole response, after all.
    pub(crate) async fn collect(mut self) -> Result<Response, CallError> {
        let mut whole = Vec::from(&self.head[..]);
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        let response = super::http::parse_response(&whole.into(), &self.context)?;
        match self.asked {
            Some(id) => super::http::answering(response, id, http::StatusCode::OK, &self.context),
            None => Ok(response),
        }
    }

    /// Whether a response under the raw id `named`, if any, is the one that was asked for.
    pub(crate) fn check_id(&self, named: Option<&[u8]>) -> Result<(), CallError> {
        match self.asked {
            Some(id) if named != Some(id.to_string().as_bytes()) => {
                Err(super::http::mistaken(named, id, &self.context))
            }
            _ => Ok(()),
        }
    }

    /// The next piece after `head`; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, CallError> {
        match self.context.within(self.rest.data()).await? {
            None => Ok(None),
            Some(Err(error)) => Err(self.context.error(Cause::Ended(error.to_string()), false)),
            Some(Ok(data)) => {
                self.left = self
                    .left
                    .checked_sub(data.len() as u64)
                    .ok_or_else(|| self.context.too_large())?;
                Ok(Some(data))
            }
        }
    }
}

// === impl Events ===

impl Events {
    /// The next message: a notification, a question for the client, or the response, after which nothing follows. Each
    /// message starts the server's `timeout` anew. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Message, CallError> {
        // Whoever waits for a task asks now and then whether it goes on.
        if self.unanswered == 0 && matches!(self.source, Source::Task(_)) {
            return self.next_whenever().await;
        }
        let patience = if self.unanswered > 0 {
            self.context.silence.max(CLIENT_ANSWERS_WITHIN)
        } else {
            self.context.silence
        };
        match tokio::time::timeout(patience, self.next_whenever()).await {
            Ok(next) => next,
            Err(_) => {
                match &mut self.source {
                    Source::Pipe(call) => call.closing_cancels = true,
                    Source::Http(stream) => stream.stop_waiting(),
                    Source::Task(_) => {}
                }
                Err(self.context.error(Cause::Timeout(patience), false))
            }
        }
    }

    /// The same, however long the server is silent: while it waits for a client that was told so and may take its time.
    /// Cancel safe.
    pub(crate) async fn next_whenever(&mut self) -> Result<Message, CallError> {
        let message = match (self.first.take(), &mut self.source) {
            (Some(first), _) => first,
            (None, Source::Http(stream)) => stream.next().await?,
            (None, Source::Task(task)) => task.next().await?,
            (
                None,
                Source::Pipe(PipeCall {
                    ticket: Some(ticket), ..
                }),
            ) => {
                let next = ticket.next().await;
                next.map_err(|fault| self.context.fault(fault, true))?
            }
            (None, Source::Pipe(_)) => {
                let taken = Cause::Ended("the answer was already taken".to_owned());
                return Err(self.context.error(taken, false));
            }
        };
        self.unanswered += usize::from(matches!(message, Message::Request(_)));
        Ok(message)
    }

    /// Sends the client's answer to a question, with the server's id in it.
    pub(crate) async fn reply(&mut self, response: Bytes) -> Result<(), CallError> {
        self.unanswered = self.unanswered.saturating_sub(1);
        match &mut self.source {
            Source::Http(stream) => self.context.within(stream.reply(response)).await?,
            Source::Task(task) => {
                task.reply(response);
                Ok(())
            }
            Source::Pipe(PipeCall {
                ticket: Some(ticket), ..
            }) => {
                let sent = self.context.within(ticket.pipe().send(response)).await?;
                sent.map_err(|fault| self.context.fault(fault, true))
            }
            Source::Pipe(_) => Ok(()),
        }
    }
}

/// Sends the answer to a question, whatever became of the call that it was asked in.
pub(crate) type LateAnswers = Box<dyn Fn(Bytes) + Send + Sync>;

impl Events {
    /// How to answer a question after this call has ended. There is a need only where the session is one client's own: what
    /// was asked in this call may be about another of that client's, and the server waits for it.
    pub(crate) fn late_answers(&self) -> Option<LateAnswers> {
        match &self.source {
            Source::Http(stream) => stream.session_of_its_own().map(late),
            Source::Pipe(call) => call.ticket.as_ref()?.pipe_of_its_own().map(late),
            Source::Task(_) => None,
        }
    }

    /// Asks the server for a sign of life; nobody waits for it. A session on which nothing happens but waiting must not look
    /// idle to its server. Source: MCP 2025-11-25, basic/utilities/ping.
    pub(crate) fn ping(&self) {
        match &self.source {
            Source::Http(stream) => stream.ping(),
            Source::Task(task) => task.ping(),
            Source::Pipe(call) => {
                if let Some(ticket) = &call.ticket {
                    ticket.pipe().ping();
                }
            }
        }
    }

    /// The call is over, and only the right to use its session still needed, to answer what it leaves open.
    pub(crate) fn retire(&mut self) {
        self.guard = None;
        // On a pipe the answer itself ends the call.
        if let Source::Http(stream) = &mut self.source {
            stream.retire();
        }
    }

    /// Answers what a call that has ended leaves open, in its own time. The stream, and with it the lease, lasts until the
    /// server has all of it, so that nobody else's call comes between.
    pub(crate) fn end_with(mut self, answers: Vec<Bytes>) {
        if answers.is_empty() {
            return;
        }
        self.retire();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { self.reply_all(answers).await });
        }
    }

    /// Sends these answers, until one cannot be sent: then nobody hears the others either.
    pub(crate) async fn reply_all(&mut self, answers: impl IntoIterator<Item = Bytes>) {
        for answer in answers {
            if self.reply(answer).await.is_err() {
                break;
            }
        }
    }

    /// Says whether the call only waits for its client, so that it takes no place under `concurrency`, and its session none
    /// of the pool's.
    pub(crate) fn set_parked(&mut self, parked: bool) {
        let lease = match &mut self.source {
            Source::Http(stream) => stream.lease(),
            Source::Pipe(call) => call.lease.as_mut(),
            Source::Task(task) => {
                task.set_parked(parked);
                None
            }
        };
        if let Some(lease) = lease {
            lease.set_parked(parked);
        }
        if let Some(guard) = &mut self.guard {
            guard.set_parked(parked);
        }
    }

    /// Takes back a question that this call leaves unanswered, because its response came first: the question is for the
    /// session's next call (`eras.md` 5.2 step 9).
    #[expect(
        clippy::needless_pass_by_value,
        reason = "whoever gives a question back has no more business with it"
    )]
    pub(crate) fn put_back(&mut self, ask: Request) {
        self.unanswered = self.unanswered.saturating_sub(1);
        match &mut self.source {
            Source::Task(task) => task.put_back(&ask),
            Source::Http(stream) => stream.put_back(&ask),
            Source::Pipe(PipeCall {
                ticket: Some(ticket), ..
            }) => ticket.pipe().put_back(&ask),
            Source::Pipe(_) => {}
        }
    }
}

fn late<S: asking::Session>(session: &Arc<S>) -> LateAnswers {
    let session = Arc::downgrade(session);
    Box::new(move |answer| {
        if let Some(session) = session.upgrade() {
            session.answer(answer);
        }
    })
}

impl PipeCall {
    /// The answer of a pipe: whole if the response is the first thing that comes.
    pub(crate) async fn begin(mut self, context: Waiting) -> Result<Incoming, CallError> {
        let Some(ticket) = &mut self.ticket else {
            return Err(context.error(Cause::Ended("the answer was already taken".to_owned()), false));
        };
        let first = context.within(ticket.next()).await;
        match first.inspect_err(|_| self.closing_cancels = true)? {
            Ok(Message::Response(response)) => Ok(Incoming::Whole(response)),
            Ok(first) => Ok(Incoming::Events(Events {
                first: Some(first),
                source: Source::Pipe(self),
                context,
                unanswered: 0,
                guard: None,
            })),
            Err(fault) => Err(context.fault(fault, true)),
        }
    }
}

impl Drop for PipeCall {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take().filter(|ticket| !ticket.answered()) else {
            return;
        };
        if self.closing_cancels || self.wish.as_ref().is_some_and(|wish| wish.is_cancelled()) {
            ticket.cancel("the client no longer waits");
        }
        // A leased session is free when the server is done with the call, not when its client has left.
        if self.exclusive
            && let Some(lease) = self.lease.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if tokio::time::timeout(ABANDONED_FOR, ticket.response())
                    .await
                    .is_err()
                {
                    lease.discard();
                }
            });
        }
    }
}

/// A message that was handed on by value, for callers that want just the response.
pub(crate) async fn response_of(incoming: Incoming) -> Result<Response, CallError> {
    match incoming {
        Incoming::Whole(response) => Ok(response),
        Incoming::Partial(partial) => partial.collect().await,
        Incoming::Events(mut events) => loop {
            match events.next().await? {
                Message::Response(response) => return Ok(response),
                Message::Notification(_) => {}
                Message::Request(request) => events.reply(unasked(&request)).await?,
            }
        },
    }
}

/// The gate's own questions can be asked nothing back.
fn unasked(request: &Request) -> Bytes {
    gatepost_protocol::error::error_response(
        Some(request.id().bytes()),
        gatepost_protocol::error::METHOD_NOT_FOUND,
        "the gate itself can be asked nothing",
        None,
    )
}
