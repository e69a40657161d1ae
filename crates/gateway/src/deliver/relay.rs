//! A call whose answer is more than one message: notifications go down as they come, a server's questions are put to the
//! client and its answers carried back, and the response ends it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};
use gatepost_protocol::{
    envelope::{Message, Request, Response},
    error::{METHOD_NOT_FOUND, error_response},
};
use http::StatusCode;

use super::{Calling, Exchange};
use crate::{
    answer::Answer,
    conversation::OpenCall,
    gate::Gate,
    inbound::Carrier,
    receive::request_id,
    upstream::{CallError, Events, Incoming, response_of},
};

/// While a client considers a question, its server is expected to be silent. Source: `eras.md` 5.3, elicitation.
const CLIENT_CONSIDERS: Duration = Duration::from_secs(600);

/// Where a relayed call is.
#[expect(
    clippy::large_enum_variant,
    reason = "one for each relayed call, on the heap with the stream that it is part of; a box would be a second allocation"
)]
pub(super) enum Phase {
    Calling(Calling),
    Events(Events),
    Done,
}

/// One message for the client.
pub(super) enum Item {
    More(Bytes),
    Last(StatusCode, Bytes),
}

/// A call whose answer is more than one message.
pub(super) struct Relay {
    gate: Arc<Gate>,
    exchange: Exchange,
    _open_call: Option<OpenCall>,
    phase: Phase,
    /// Questions of the server that the client has yet to answer.
    questions: FuturesUnordered<BoxFuture<'static, Option<Bytes>>>,
}

/// What one step of a relay found.
enum Step {
    Cancelled,
    Answered(Option<Bytes>),
    Called(Result<Incoming, CallError>),
    Message(Result<Message, CallError>),
}

impl Relay {
    pub(super) fn new(
        gate: &Arc<Gate>,
        exchange: Exchange,
        open_call: Option<OpenCall>,
        phase: Phase,
    ) -> Self {
        Self {
            gate: Arc::clone(gate),
            exchange,
            _open_call: open_call,
            phase,
            questions: FuturesUnordered::new(),
        }
    }

    /// The rest of the call as the client's answer, after what has been taken from it already.
    pub(super) fn into_answer(self, first: Option<Bytes>) -> Answer {
        let inbound = Arc::clone(&self.exchange.inbound);
        let messages = Box::pin(stream::iter(first).chain(self.into_messages()));
        match inbound.client.conversation {
            Some(session) if inbound.carrier() == Carrier::Http && !inbound.client.version.is_modern() => {
                Answer::Resumable(session, inbound.client.version, messages)
            }
            _ => Answer::Messages(messages),
        }
    }

    fn into_messages(self) -> impl futures_util::Stream<Item = Bytes> + Send {
        stream::unfold(self, |mut relay| async move {
            let message = match relay.next().await? {
                Item::More(message) | Item::Last(_, message) => message,
            };
            Some((message, relay))
        })
    }

    /// The next message for the client; nothing after the last one, or after the client gave up.
    pub(super) async fn next(&mut self) -> Option<Item> {
        loop {
            let step = self.step().await?;
            match step {
                Step::Cancelled => {
                    self.phase = Phase::Done;
                    return None;
                }
                Step::Answered(answer) => {
                    if let (Some(answer), Phase::Events(events)) = (answer, &mut self.phase) {
                        if self.questions.is_empty() {
                            events.context.silence = self.exchange.server.config().timeout;
                        }
                        if let Err(error) = events.reply(answer).await {
                            return Some(self.last(Err(error)));
                        }
                    }
                }
                Step::Called(Ok(Incoming::Whole(response))) => return Some(self.last(Ok(response))),
                Step::Called(Ok(partial @ Incoming::Partial(_))) => {
                    let collected = response_of(partial).await;
                    return Some(self.last(collected));
                }
                Step::Called(Ok(Incoming::Events(events))) => self.phase = Phase::Events(events),
                Step::Called(Err(error)) => return Some(self.last(Err(error))),
                Step::Message(Ok(Message::Response(response))) => return Some(self.last(Ok(response))),
                Step::Message(Ok(Message::Notification(notification))) => {
                    if let Some(message) = self.exchange.notification(&notification) {
                        return Some(Item::More(message));
                    }
                }
                Step::Message(Ok(Message::Request(question))) => {
                    if let Some(message) = self.ask(&question).await {
                        return Some(Item::More(message));
                    }
                }
                Step::Message(Err(error)) => return Some(self.last(Err(error))),
            }
        }
    }

    async fn step(&mut self) -> Option<Step> {
        let cancelled = self.exchange.inbound.cancellation.cancelled();
        let answered = async {
            match self.questions.next().await {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        };
        let step = tokio::select! {
            biased;
            () = cancelled => Step::Cancelled,
            answer = answered => Step::Answered(answer),
            step = async {
                match &mut self.phase {
                    Phase::Calling(calling) => Some(Step::Called(calling.await)),
                    Phase::Events(events) => Some(Step::Message(events.next().await)),
                    Phase::Done => None,
                }
            } => return step,
        };
        Some(step)
    }

    fn last(&mut self, outcome: Result<Response, CallError>) -> Item {
        self.phase = Phase::Done;
        let (status, message) = match outcome {
            Ok(response) => self.exchange.finish(&response),
            Err(error) => self.exchange.fail(&error),
        };
        Item::Last(status, message)
    }

    /// Puts a server's question to the client, on the stream of the call that it belongs to.
    async fn ask(&mut self, question: &Request) -> Option<Bytes> {
        let server_id = request_id(question);
        let client = &self.exchange.inbound.client;
        let Some(conversation) = client.conversation.filter(|_| !client.version.is_modern()) else {
            let refusal = error_response(
                Some(&server_id),
                METHOD_NOT_FOUND,
                "this client cannot be asked",
                None,
            );
            self.questions.push(Box::pin(std::future::ready(Some(refusal))));
            return None;
        };
        let mut asked = self.gate.conversations.ask(conversation);
        let message = question
            .rewrite()
            .id(asked.id().to_string().into_bytes())
            .remove_meta("progressToken")
            .finish();
        self.questions.push(Box::pin(async move {
            let answer = (&mut asked.answer).await.ok()?;
            Some(answer.rewrite().id(server_id.to_vec()).finish())
        }));
        if let Phase::Events(events) = &mut self.phase {
            events.context.silence = CLIENT_CONSIDERS;
        }
        Some(message)
    }
}
