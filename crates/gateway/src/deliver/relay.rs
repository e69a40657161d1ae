//! A call whose answer is more than one message: notifications go down as they come, a server's questions are put to the
//! client and its answers carried back, and the response ends it.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use gatepost_protocol::{
    ask::InputRequired,
    envelope::{Message, Outcome, Request, Response},
    error::error_response,
    lifecycle::{ParkedEvent, ParkedState},
};
use http::StatusCode;
use tokio::time::{Instant, sleep, sleep_until};

use super::{COMMIT_TO_STREAM, Calling, Exchange, Finished, call};
use crate::{
    answer::{Answer, Resume},
    bridge::{
        gather::Gather,
        parking::{Parked, Parking},
        replay::{Left, Replay, Turn},
        spent::UnderWay,
        state::{Opens, call_digest},
        straight::{Put, Straight},
    },
    conversation::OpenCall,
    gate::Gate,
    inbound::{Carrier, Inbound},
    record::Permitted,
    refusal::Refusal,
    seal::random,
    session::ConversationId,
    upstream::{CallError, Called, Cause, Events, Incoming, response_of},
};

/// Where a relayed call is.
#[expect(
    clippy::large_enum_variant,
    reason = "one for each relayed call, on the heap with the stream that it is part of; a box would be a second allocation"
)]
pub(super) enum Phase {
    Calling(Calling),
    Events(Events),
    /// The server has ended the call with questions; it is called again when they are answered.
    Asking,
    Done,
}

/// What a call has for its client, one after the other.
type Items = Pin<Box<dyn Stream<Item = Item> + Send>>;

/// One message for the client.
enum Item {
    More(Bytes),
    Last(StatusCode, Bytes),
}

/// A call whose answer is more than one message.
pub(super) struct Relay {
    gate: Arc<Gate>,
    exchange: Exchange,
    _open_call: Option<OpenCall>,
    phase: Phase,
    /// To be said before anything else.
    said: VecDeque<Item>,
    /// Heard before anything else.
    heard: Option<Result<Message, CallError>>,
    /// A legacy server's questions to a legacy client.
    straight: Straight,
    /// A legacy server's questions to a modern client.
    gather: Option<Box<Gather>>,
    /// The client came back to a parked call with these answers, which go up before anything is heard.
    returned: Option<Vec<Bytes>>,
    /// How it came back; an equal request gets an equal answer.
    used: Option<UnderWay>,
    /// A modern server's questions to a legacy client.
    replay: Option<Box<Replay>>,
    /// The right to make the call again.
    permitted: Option<Permitted>,
}

/// What one step of a relay found.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, taken apart at once; a box for each message would be an allocation more"
)]
enum Step {
    Cancelled,
    Answered(Option<Bytes>),
    Called(Called),
    Message(Result<Message, CallError>),
    Settled,
    Turn(Turn),
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
            said: VecDeque::new(),
            heard: None,
            straight: Straight::default(),
            gather: None,
            returned: None,
            used: None,
            replay: None,
            permitted: None,
        }
    }

    /// A call that was parked, for the request that brought these answers.
    pub(super) fn resumed(
        gate: &Arc<Gate>,
        exchange: Exchange,
        open_call: Option<OpenCall>,
        mut parked: Parked,
        replies: Vec<Bytes>,
        used: UnderWay,
    ) -> Self {
        let phase = parked.events.take().map_or(Phase::Done, Phase::Events);
        let mut relay = Self::new(gate, exchange, open_call, phase);
        relay.heard = parked.last;
        relay.returned = Some(replies);
        relay.used = Some(used);
        relay.gather = Some(Box::new(parked.gather));
        relay
    }

    /// A call that goes on where an earlier one like it was given up.
    pub(super) fn continued(
        gate: &Arc<Gate>,
        exchange: Exchange,
        open_call: Option<OpenCall>,
        mut permitted: Permitted,
        conversation: ConversationId,
        left: Left,
    ) -> Self {
        let mut replay = Box::new(replay_of(gate, &exchange, conversation));
        permitted.bring(Some(replay.resume(left)));
        let mut relay = Self::new(gate, exchange, open_call, Phase::Calling(call(permitted)));
        relay.replay = Some(replay);
        relay
    }

    /// With the right to make the call again.
    pub(super) fn repeatable(mut self, permitted: Permitted) -> Self {
        self.permitted = Some(permitted);
        self
    }

    /// After a response that was heard already.
    pub(super) fn after(mut self, response: Response) -> Self {
        self.heard = Some(Ok(Message::Response(response)));
        self
    }

    /// The call as its client's answer. A stream that begins with its response never needed to be one.
    pub(super) async fn begin(self) -> Result<Answer, Refusal> {
        let inbound = Arc::clone(&self.exchange.inbound);
        let mut items = self.into_items();
        // The stream keeps its place when it is not waited for any longer: it may be half way through sending something up.
        let first = tokio::select! {
            first = items.next() => first,
            () = sleep(COMMIT_TO_STREAM) => return Ok(streamed(&inbound, None, items)),
        };
        match first {
            Some(Item::Last(status, message)) => Ok(Answer::with_status(status, message)),
            Some(Item::More(message)) => Ok(streamed(&inbound, Some(message), items)),
            None => Err(Refusal::Cancelled),
        }
    }

    /// The call as a stream, of which nothing has been seen yet.
    pub(super) fn into_answer(self) -> Answer {
        let inbound = Arc::clone(&self.exchange.inbound);
        streamed(&inbound, None, self.into_items())
    }

    fn into_items(self) -> Items {
        Box::pin(stream::unfold(self, |mut relay| async move {
            let item = relay.next().await?;
            Some((item, relay))
        }))
    }

    /// The next message for the client; nothing after the last one, or after the client gave up.
    async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.said.pop_front() {
                return Some(item);
            }
            if let Some(replies) = self.returned.take() {
                self.come_back(replies).await;
                continue;
            }
            match self.step().await? {
                Step::Cancelled => self.withdraw(),
                Step::Answered(Some(answer)) => self.reply(answer).await,
                Step::Answered(None) => {}
                Step::Called(called) => self.called(called).await,
                Step::Message(Ok(Message::Response(response))) => self.last(Ok(response)),
                Step::Message(Ok(Message::Notification(notification))) => {
                    if let Some(message) = self.exchange.notification(&notification) {
                        self.say(message);
                    }
                }
                Step::Message(Ok(Message::Request(question))) => self.ask(question).await,
                Step::Message(Err(error)) => self.last(Err(error)),
                Step::Settled => {
                    self.park().await;
                }
                Step::Turn(turn) => self.turn(turn),
            }
        }
    }

    async fn step(&mut self) -> Option<Step> {
        if let Some(heard) = self.heard.take() {
            return Some(Step::Message(heard));
        }
        if matches!(self.phase, Phase::Done) {
            return None;
        }
        let cancelled = self.exchange.inbound.cancellation.cancelled();
        let settled_at = self.gather.as_ref().and_then(|gather| gather.settled_at());
        let turn = async {
            match &mut self.replay {
                Some(replay) => replay.turn().await,
                None => std::future::pending().await,
            }
        };
        let step = tokio::select! {
            biased;
            () = cancelled => Step::Cancelled,
            () = self.gate.cut_off() => Step::Message(Err(self.exchange.cut_off())),
            answer = self.straight.next() => Step::Answered(answer),
            turn = turn => Step::Turn(turn),
            step = async {
                match &mut self.phase {
                    Phase::Calling(calling) => Some(Step::Called(calling.await)),
                    Phase::Events(events) => Some(Step::Message(events.next().await)),
                    Phase::Asking => std::future::pending().await,
                    Phase::Done => None,
                }
            } => return step,
            () = sleep_until(settled_at.unwrap_or_else(Instant::now)), if settled_at.is_some() => Step::Settled,
        };
        Some(step)
    }

    fn say(&mut self, message: Bytes) {
        self.said.push_back(Item::More(message));
    }

    /// Says the last message.
    fn end(&mut self, status: StatusCode, message: Bytes) {
        // From now on an equal request gets this.
        if let Some(used) = self.used.take() {
            used.keep(status, &message);
        }
        self.said.push_back(Item::Last(status, message));
    }

    async fn called(&mut self, called: Called) {
        self.permitted = Some(called.permitted);
        match called.outcome {
            Ok(Incoming::Whole(response)) => self.last(Ok(response)),
            Ok(partial @ Incoming::Partial(_)) => {
                let collected = response_of(partial).await;
                self.last(collected);
            }
            Ok(Incoming::Events(events)) => self.phase = Phase::Events(events),
            Err(error) => self.last(Err(error)),
        }
    }

    /// The call's end, unless the server asks for something first.
    fn last(&mut self, outcome: Result<Response, CallError>) {
        let mut events = match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Events(events) => Some(events),
            _ => None,
        };
        let mut required = None;
        if let Some(gather) = &mut self.gather {
            let event = if outcome.is_ok() {
                ParkedEvent::Responded
            } else {
                ParkedEvent::Failed
            };
            match gather.state() {
                ParkedState::Answered => gather.on(ParkedEvent::RetriedInFull),
                _ => gather.on(event),
            }
            let (any_time, dismissed) = gather.left_over();
            if let Some(mut events) = events.take() {
                for question in any_time {
                    events.put_back(question);
                }
                events.end_with(dismissed);
            }
            required = gather.required();
        }
        let finished = match &outcome {
            Ok(response) => match (response.outcome(), required) {
                // It failed, and asked for what this client cannot give: that is what the client must know.
                (Outcome::Error { .. }, Some(required)) => {
                    let (status, message) = self.exchange.incapable(&required);
                    Finished::Message(status, message)
                }
                _ => self.exchange.finish(&self.gate, response),
            },
            Err(error) => {
                let (status, message) = self.exchange.fail(error);
                Finished::Message(status, message)
            }
        };
        if let (Some(events), Ok(_), true) = (events, &outcome, self.straight.is_open()) {
            std::mem::take(&mut self.straight).settle(events);
        }
        match (finished, outcome) {
            (Finished::Message(status, message), outcome) => {
                if let (Some(replay), Ok(_)) = (&mut self.replay, outcome) {
                    self.said.extend(replay.finished().into_iter().map(Item::More));
                }
                self.end(status, message);
            }
            (Finished::Asks, Ok(response)) => self.asked(&response),
            (Finished::Asks, Err(_)) => {}
        }
    }

    /// A modern server's questions for a legacy client.
    fn asked(&mut self, response: &Response) {
        let inbound = &self.exchange.inbound;
        let required =
            InputRequired::of(response).unwrap_or_else(|| Err("it is no longer unfinished".to_owned()));
        let Some(conversation) = inbound.client.conversation else {
            return self.violation("it asks a client that cannot be asked".to_owned());
        };
        let replay = self
            .replay
            .get_or_insert_with(|| Box::new(replay_of(&self.gate, &self.exchange, conversation)));
        match required.and_then(|required| replay.asked(required)) {
            Ok(()) => self.phase = Phase::Asking,
            Err(why) => self.violation(why),
        }
    }

    fn violation(&mut self, why: String) {
        self.last(Err(CallError {
            server: Arc::clone(self.exchange.server.name()),
            cause: Cause::Violation(why),
            retry_safe: false,
        }));
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Say(message) => self.say(message),
            Turn::Again(input) => {
                // Kept since the call was made for the first time.
                let Some(mut permitted) = self.permitted.take() else {
                    return self.violation("it asks again after its call has ended".to_owned());
                };
                permitted.bring(Some(input));
                self.exchange.begun = Instant::now();
                self.phase = Phase::Calling(call(permitted));
            }
            Turn::Stop { code, message, data } => {
                self.phase = Phase::Done;
                let inbound = &self.exchange.inbound;
                if let Some(left) = self.replay.as_mut().and_then(|replay| replay.left())
                    && let Some(conversation) = inbound.client.conversation
                {
                    let digest = call_digest(&inbound.request);
                    self.gate.postponed.put(conversation, digest, left);
                }
                let error = error_response(Some(&self.exchange.id), code, &message, data.as_deref());
                self.end(StatusCode::OK, error);
            }
        }
    }

    /// The client cancelled its call.
    fn withdraw(&mut self) {
        self.dismiss();
        self.phase = Phase::Done;
        self.heard = None;
        if let Some(replay) = &mut self.replay {
            self.said.extend(replay.withdraw().into_iter().map(Item::More));
        }
    }

    /// Nobody waits for the call any more: what its server has asked is answered as by a client that never came back, before
    /// the call is cancelled (`docs/lifecycles.md`).
    fn dismiss(&mut self) {
        let Some(mut gather) = self.gather.take() else {
            return;
        };
        // Parked it is only while the answers of a retry are on their way up.
        if matches!(gather.state(), ParkedState::Calling | ParkedState::Settling) {
            gather.on(ParkedEvent::Cancelled);
        }
        if gather.has_open()
            && let Phase::Events(events) = std::mem::replace(&mut self.phase, Phase::Done)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let parked = Parked {
                events: Some(events),
                gather: *gather,
                last: None,
            };
            runtime.spawn(parked.give_up());
        }
    }

    async fn reply(&mut self, answer: Bytes) {
        if let Phase::Events(events) = &mut self.phase
            && let Err(error) = events.reply(answer).await
        {
            self.last(Err(error));
        }
    }

    /// Sends up what the client's retry has brought. What it left out, and what was asked meanwhile, is asked at once.
    async fn come_back(&mut self, replies: Vec<Bytes>) {
        for reply in replies {
            self.reply(reply).await;
        }
        let Some(gather) = self
            .gather
            .as_mut()
            .filter(|gather| gather.state() == ParkedState::Parked)
        else {
            return;
        };
        if gather.has_open() {
            gather.on(ParkedEvent::RetriedInPart);
            self.park().await;
        } else {
            gather.on(ParkedEvent::RetriedInFull);
        }
    }

    /// Puts a server's question to the client.
    async fn ask(&mut self, question: Request) {
        let client = &self.exchange.inbound.client;
        if !client.version.is_modern() {
            match self
                .straight
                .put(&self.gate, client, &question, &self.exchange.server)
            {
                Put::Down(message) => {
                    if let Phase::Events(events) = &self.phase
                        && let Some(late) = events.late_answers()
                    {
                        self.straight.outlive(late);
                    }
                    self.say(message);
                }
                Put::Up(refusal) => self.reply(refusal).await,
            }
            return;
        }
        let settle = || self.gate.snapshot().config().asks.settle;
        let gather = self
            .gather
            .get_or_insert_with(|| Box::new(Gather::new(&self.exchange.inbound, settle())));
        if let Some(reply) = gather.question(question) {
            self.reply(reply).await;
        }
    }

    /// The server is quiet, and its client is told what was asked. The call waits at the gate.
    async fn park(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Done);
        let (Phase::Events(events), Some(gather)) = (phase, self.gather.take()) else {
            return;
        };
        let exchange = &self.exchange;
        let wait = self.gate.snapshot().config().asks.wait;
        let mut parked = Parked {
            events: Some(events),
            gather: *gather,
            last: self.heard.take(),
        };
        let deadline = *parked
            .gather
            .deadline
            .get_or_insert_with(|| Instant::now() + wait);
        let Ok(nonce) = random() else {
            return self.violation("the platform gives no random bytes".to_owned());
        };
        // The answer is made before the call is handed over, so that nobody can come for it too early.
        let ticket = self.gate.parking.ticket(nonce);
        let opens = Opens::Parked {
            owner: ticket.owner,
            place: ticket.place,
            nonce,
        };
        let state = exchange.seal(opens, deadline.saturating_duration_since(Instant::now()));
        let facts = exchange.server.known();
        let info = facts.as_ref().and_then(|facts| facts.server_info.as_deref());
        let message = parked.gather.input_required(&exchange.id, &state, info);
        let principal = exchange.inbound.client.principal();
        match Parking::park(&self.gate, principal, &exchange.server, parked, ticket) {
            Ok(()) => self.end(StatusCode::OK, message),
            Err(full) => {
                let (full, mut parked) = *full;
                parked.gather.on(ParkedEvent::NoRoom);
                parked.give_up().await;
                let (status, message) = self.exchange.fail(&CallError {
                    server: Arc::clone(self.exchange.server.name()),
                    cause: Cause::Busy(full.to_string()),
                    retry_safe: false,
                });
                self.end(status, message);
            }
        }
    }
}

/// The form in which an answer of several messages goes down.
fn streamed(inbound: &Inbound, first: Option<Bytes>, items: Items) -> Answer {
    let rest = items.map(|item| match item {
        Item::More(message) | Item::Last(_, message) => message,
    });
    let messages = Box::pin(stream::iter(first).chain(rest));
    match inbound.client.conversation {
        Some(session) if inbound.carrier() == Carrier::Http && !inbound.client.version.is_modern() => {
            let resume = Resume {
                owner: inbound.client.principal().clone(),
                session,
                version: inbound.client.version,
            };
            Answer::Resumable(Box::new(resume), messages)
        }
        _ => Answer::Messages(messages),
    }
}

impl Drop for Relay {
    /// To a modern client closing the stream is cancelling.
    fn drop(&mut self) {
        self.dismiss();
    }
}

fn replay_of(gate: &Gate, exchange: &Exchange, conversation: ConversationId) -> Replay {
    let client = &exchange.inbound.client;
    Replay::new(
        &gate.conversations,
        conversation,
        client.version,
        client.capabilities.clone(),
        Arc::clone(exchange.server.name()),
    )
}
