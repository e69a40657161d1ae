//! Server-sent events as they arrive, and what they are for the call they belong to.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, future::BoxFuture};
use gatepost_outbound::Body;
use gatepost_protocol::{
    envelope::{Message, Request, Response},
    framing::sse::{SseDecoder, SseEvent},
    json::Strictness,
};
use http::StatusCode;

use super::{
    super::{
        CallError, Cause, asking,
        change::{Announcer, change_of},
        incoming::{Partial, Waiting},
        pool::Lease,
        session::Session,
    },
    legacy::{LegacyCall, LegacySession},
    reply::answering,
};

/// How long after its response a stream may stay open before its connection is given up.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Why no further event will come.
#[derive(Debug)]
pub(crate) enum StreamEnd {
    /// The stream was closed or broke.
    Over(String),
    /// One event is larger than allowed.
    TooLarge,
}

/// A body read as events.
pub(crate) struct EventSource {
    body: Body,
    decoder: SseDecoder,
    over: bool,
    /// The id of the last event that had one, and how long the server wants us to wait before we come back.
    pub(crate) last_id: Option<Bytes>,
    pub(crate) retry: Option<Duration>,
}

// === impl EventSource ===

impl EventSource {
    /// Events of `body`, each of at most `limit` bytes.
    pub(crate) fn new(body: Body, limit: u64) -> Self {
        let decoder = SseDecoder::new(usize::try_from(limit).unwrap_or(usize::MAX));
        Self {
            body,
            decoder,
            over: false,
            last_id: None,
            retry: None,
        }
    }

    /// Reads a stream that has said everything to its end, so that its connection can be used again.
    fn finish(mut self: Box<Self>) {
        loop {
            // Most servers end the stream together with the response: then nothing has to be waited for.
            match self.body.data().now_or_never() {
                Some(None | Some(Err(_))) => return,
                Some(Some(Ok(_))) => {}
                None => break,
            }
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let rest = async { while let Some(Ok(_)) = self.body.data().await {} };
                // A stream that stays open costs its connection.
                let _ = tokio::time::timeout(ENDS_WITHIN, rest).await;
            });
        }
    }

    /// The next event. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<SseEvent, StreamEnd> {
        loop {
            let mut event = self.decoder.next_event().map_err(|_| StreamEnd::TooLarge)?;
            if event.is_none() && self.over {
                event = Some(
                    self.decoder
                        .finish()
                        .ok_or_else(|| StreamEnd::Over("the event stream ended".to_owned()))?,
                );
            }
            if let Some(event) = event {
                if let Some(id) = &event.id {
                    self.last_id = Some(id.clone()).filter(|id| !id.is_empty());
                }
                self.retry = event.retry.map(Duration::from_millis).or(self.retry);
                return Ok(event);
            }
            match self.body.data().await {
                Some(Ok(data)) => self.decoder.feed(data),
                Some(Err(error)) => return Err(StreamEnd::Over(error.to_string())),
                None => self.over = true,
            }
        }
    }
}

/// The event stream of one call.
pub(crate) struct EventStream {
    state: State,
    /// The id of the call's request.
    id: u64,
    context: Waiting,
    announcer: Announcer,
    /// Of a legacy call: where its questions are answered, and how it goes on when the stream breaks.
    legacy: Option<LegacyCall>,
    /// Something came that is no message.
    nonsense: bool,
}

enum State {
    /// The answer's head is not here yet, but the server already asks something on another stream.
    Pending(super::legacy::Pending),
    /// The answer is a large document of which this much is here. Rare after a question on another stream, so it is collected.
    Collecting(Box<Partial>, BytesMut),
    Live(Box<EventSource>),
    /// It broke, and is taken up again where it was. Kept here, so that whoever stops looking does not make it begin anew.
    Resuming(BoxFuture<'static, Result<Box<EventSource>, String>>),
    /// Everything was given out.
    Done,
}

impl EventStream {
    pub(crate) fn live(
        body: Body,
        id: u64,
        context: Waiting,
        announcer: Announcer,
        legacy: Option<LegacyCall>,
    ) -> Self {
        let source = EventSource::new(body, context.limit);
        Self {
            state: State::Live(Box::new(source)),
            id,
            context,
            announcer,
            legacy,
            nonsense: false,
        }
    }

    pub(crate) fn pending(
        pending: super::legacy::Pending,
        context: Waiting,
        announcer: Announcer,
        legacy: LegacyCall,
    ) -> Self {
        Self {
            state: State::Pending(pending),
            id: legacy.id(),
            context,
            announcer,
            legacy: Some(legacy),
            nonsense: false,
        }
    }

    /// The next message; the response is the last. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Message, CallError> {
        loop {
            let received = match &mut self.legacy {
                None => self.state.next(&self.context).await,
                Some(call) => tokio::select! {
                    biased;
                    received = self.state.next(&self.context) => received,
                    Some(ask) = call.asked() => return Ok(ask),
                },
            };
            let data = match received {
                Ok(Received::Response(status, response)) => {
                    if let Some(call) = &mut self.legacy {
                        call.answered();
                    }
                    return answering(*response, self.id, status, &self.context).map(Message::Response);
                }
                Ok(Received::Data(data)) => {
                    if let Some(call) = &mut self.legacy {
                        call.heard();
                    }
                    data
                }
                Err(StreamEnd::TooLarge) => return Err(self.context.too_large()),
                Err(StreamEnd::Over(why)) => {
                    self.resume(why)?;
                    continue;
                }
            };
            // A priming event has no data.
            if data.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match Message::parse(data, Strictness::Server) {
                Ok(Message::Response(response)) => {
                    if let State::Live(source) = std::mem::replace(&mut self.state, State::Done) {
                        source.finish();
                    }
                    if let Some(call) = &mut self.legacy {
                        call.answered();
                    }
                    return answering(response, self.id, StatusCode::OK, &self.context)
                        .map(Message::Response);
                }
                Ok(Message::Notification(notification)) => match change_of(&notification) {
                    Some(change) => self.announcer.announce(change),
                    None => return Ok(Message::Notification(notification)),
                },
                Ok(Message::Request(request)) => match &self.legacy {
                    // 2026-07-28 streamable-http, Receiving Messages: the server MUST NOT send requests on the stream.
                    None => {
                        let text = format!(
                            "it sent the request `{:.200}`, which a modern server must not",
                            request.method()
                        );
                        return Err(self.context.error(Cause::Violation(text), false));
                    }
                    // On the call's own stream it is this call's question, whoever the session is for.
                    Some(call) => match asking::pong(&request) {
                        Some(answer) => call.session().answer_later(answer),
                        None => return Ok(Message::Request(request)),
                    },
                },
                Err(error) => {
                    let server = &*self.context.server;
                    if std::mem::replace(&mut self.nonsense, true) {
                        tracing::debug!(target: "gatepost::server", server, %error, "not JSON-RPC, skipped");
                    } else {
                        tracing::warn!(target: "gatepost::server", server, %error,
                            "sent an event that is not JSON-RPC; it is skipped, and so will be more on its stream");
                    }
                }
            }
        }
    }

    /// Asks the server of a legacy call for a sign of life.
    pub(crate) fn ping(&self) {
        if let Some(call) = &self.legacy {
            call.session().ping();
        }
    }

    /// The call is over, and only its session still needed.
    pub(crate) fn retire(&mut self) {
        if let Some(call) = &mut self.legacy {
            call.retire();
        }
    }

    /// The server is silent too long: who stops waiting says so.
    pub(crate) fn stop_waiting(&mut self) {
        if let Some(call) = &mut self.legacy {
            call.stop_waiting();
        }
    }

    /// The right to use the call's session, where there is one.
    pub(crate) fn lease(&mut self) -> Option<&mut Lease<Session>> {
        self.legacy.as_mut()?.lease()
    }

    /// The call's session, if all calls on it are one client's.
    pub(crate) fn session_of_its_own(&self) -> Option<&Arc<LegacySession>> {
        let session = self.legacy.as_ref()?.session();
        session.has_owner().then_some(session)
    }

    /// Sends the client's answer to a question.
    pub(crate) async fn reply(&mut self, response: Bytes) -> Result<(), CallError> {
        match &self.legacy {
            Some(call) => {
                let session = Arc::clone(call.session());
                let sent = session.send(response).await;
                // Whatever became of the answer, the call had begun. That its session is gone is the call's end, and no word
                // to a client about a session of its own.
                sent.map_err(|error| CallError {
                    retry_safe: false,
                    cause: match error.cause {
                        Cause::SessionGone => Cause::Ended("it no longer has the call's session".to_owned()),
                        cause => cause,
                    },
                    ..error
                })
            }
            None => Ok(()),
        }
    }

    /// Takes back a question that this call leaves unanswered.
    pub(crate) fn put_back(&mut self, question: &Request) {
        if let Some(call) = &self.legacy {
            call.put_back(question);
        }
    }

    /// The stream has ended. One that can be taken up again is, in its own time.
    fn resume(&mut self, why: String) -> Result<(), CallError> {
        if let (State::Live(source), Some(call)) = (&self.state, &mut self.legacy)
            && let Some(id) = source.last_id.clone()
        {
            let retry = source.retry;
            let wait = retry.unwrap_or(Duration::from_secs(1)).min(self.context.silence);
            let (resumed, limit) = (call.resume(id.clone(), wait), self.context.limit);
            self.state = State::Resuming(Box::pin(async move {
                let Some(body) = resumed.await else {
                    return Err(why);
                };
                let mut source = EventSource::new(body, limit);
                source.last_id = Some(id);
                source.retry = retry;
                Ok(Box::new(source))
            }));
            return Ok(());
        }
        Err(self.context.error(Cause::Ended(why), false))
    }
}

enum Received {
    Data(Bytes),
    Response(StatusCode, Box<Response>),
}

impl State {
    /// Cancel safe: what has come is kept here.
    async fn next(&mut self, context: &Waiting) -> Result<Received, StreamEnd> {
        loop {
            match self {
                Self::Live(source) => {
                    return source
                        .next()
                        .await
                        .map(|event| Received::Data(event.message().cloned().unwrap_or_default()));
                }
                Self::Done => return Err(StreamEnd::Over("the answer was already taken".to_owned())),
                Self::Resuming(resumed) => match resumed.await {
                    Ok(source) => *self = Self::Live(source),
                    Err(why) => {
                        *self = Self::Done;
                        return Err(StreamEnd::Over(why));
                    }
                },
                Self::Collecting(partial, whole) => match partial.chunk().await {
                    Ok(Some(chunk)) => whole.extend_from_slice(&chunk),
                    Ok(None) => {
                        let whole = std::mem::take(whole).freeze();
                        *self = Self::Done;
                        return Ok(Received::Data(whole));
                    }
                    Err(error) => return Err(StreamEnd::Over(error.cause.to_string())),
                },
                Self::Pending(pending) => {
                    let reply = pending.await;
                    *self = Self::Done;
                    match reply {
                        Ok(super::Reply::Response(status, response)) => {
                            return Ok(Received::Response(status, Box::new(response)));
                        }
                        Ok(super::Reply::Events(body)) => {
                            *self = Self::Live(Box::new(EventSource::new(body, context.limit)));
                        }
                        Ok(super::Reply::Partial(partial)) => {
                            let whole = BytesMut::from(&partial.head[..]);
                            *self = Self::Collecting(Box::new(partial), whole);
                        }
                        Ok(super::Reply::Empty) => {
                            return Err(StreamEnd::Over("it answered with an empty body".to_owned()));
                        }
                        Ok(super::Reply::Failed { status, detail }) => {
                            return Err(StreamEnd::Over(format!(
                                "it answered HTTP {}: {detail}",
                                status.as_u16()
                            )));
                        }
                        Err(error) => return Err(StreamEnd::Over(error.cause.to_string())),
                    }
                }
            }
        }
    }
}
