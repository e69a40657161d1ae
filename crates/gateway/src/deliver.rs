//! A server's answer on its way down: the client's id, its progress token and its era are put back, and nothing else is
//! touched. What can stream, streams.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use gatepost_protocol::{
    ask::{Ask, AskKind, InputRequired, input_required, pages},
    envelope::{Message, Notification, Outcome, Response},
    error::{MISSING_REQUIRED_CLIENT_CAPABILITY, URL_ELICITATION_REQUIRED, error_response},
    json::{self, Strictness},
    logging::LogLevel,
    method::Method,
    translate::{self, CacheHints, ErrorFacts, ResultPlan, ResultProblem},
    version::Era,
};
use http::StatusCode;
use tokio::time::{Instant, sleep};

use crate::{
    answer::Answer,
    bridge::{
        again::{self, Next},
        page::Pages,
        state::{Belongs, Opens, call_digest},
    },
    conversation::OpenCall,
    gate::Gate,
    inbound::{Carrier, Inbound},
    receive::request_id,
    record::{Ledger, Permitted},
    refusal::Refusal,
    respond::{About, render},
    task::Task,
    upstream::{CallError, Called, Cause, Facts, Incoming, Server, response_of},
};

mod relay;
mod splice;
mod steadfast;

use relay::{Phase, Relay};
use steadfast::Steadfast;

/// When nothing has come for this long, the answer becomes an event stream, so that somebody in between can see that the
/// call is alive (comments keep it so). Until then a plain JSON answer is still possible.
const COMMIT_TO_STREAM: Duration = Duration::from_secs(15);

/// How long what is not kept here may be sent again: a modern server's state, whose true lifetime only the server knows,
/// and the right to call again after visiting a page.
const STATE_LASTS: Duration = Duration::from_secs(24 * 60 * 60);

/// Source: MCP 2026-07-28, basic/patterns/mrtr, Supported Requests.
const NOT_HERE: &str = "it asks for input where only `tools/call`, `prompts/get` and `resources/read` may";

type Calling = Pin<Box<dyn Future<Output = Called> + Send>>;

fn call(permitted: Permitted) -> Calling {
    let server = Arc::clone(permitted.server());
    Box::pin(async move { server.call(permitted).await })
}

/// Calls the server and turns what comes back into the client's answer.
pub(crate) async fn forward(
    gate: &Arc<Gate>,
    permitted: Permitted,
    ledger: Ledger,
) -> Result<Answer, Refusal> {
    let inbound = permitted.inbound();
    if again::brings_state(&permitted) {
        let outcome = Box::pin(go_on(gate, permitted)).await;
        return ledger.close(outcome).await;
    }
    // To a modern client closing the stream is cancelling. To a legacy one it is not: the call goes on without it.
    // Source: MCP 2025-11-25, basic/transports#Sending Messages to the Server 6.
    if inbound.carrier() == Carrier::Connection || inbound.client.version.is_modern() {
        let outcome = converse(gate, permitted).await;
        return ledger.close(outcome).await;
    }
    let (gate, cancellation) = (Arc::clone(gate), Arc::clone(&inbound.cancellation));
    let call = Box::pin(async move { ledger.close(converse(&gate, permitted).await).await });
    Steadfast {
        call: Some(call),
        cancellation,
    }
    .await
}

/// A modern client's call that was answered with questions before.
async fn go_on(gate: &Arc<Gate>, mut permitted: Permitted) -> Result<Answer, Refusal> {
    match again::open(gate, &permitted).await? {
        Next::Call(input) => {
            permitted.bring(input);
            converse(gate, permitted).await
        }
        Next::Resume(parked, replies, used) => {
            let exchange = Exchange::of(&permitted);
            let open_call = exchange.open_call(gate);
            let relay = Relay::resumed(gate, exchange, open_call, *parked, replies, used);
            relay.begin().await
        }
        Next::Repeat(status, answer) => {
            let id = request_id(permitted.request());
            Ok(Answer::with_status(status, renamed(answer, &id)))
        }
    }
}

/// The same answer to another request.
fn renamed(answer: Bytes, id: &[u8]) -> Bytes {
    match Message::parse(answer.clone(), Strictness::Server) {
        Ok(Message::Response(response)) => response.rewrite().id(id).finish(),
        // It was one when it was given.
        _ => answer,
    }
}

async fn converse(gate: &Arc<Gate>, permitted: Permitted) -> Result<Answer, Refusal> {
    let exchange = Exchange::of(&permitted);
    let open_call = exchange.open_call(gate);
    if !gate.postponed.is_empty()
        && let Some(conversation) = exchange.inbound.client.conversation
        && let Some(left) = gate
            .postponed
            .take(conversation, call_digest(&exchange.inbound.request))
    {
        let relay = Relay::continued(gate, exchange, open_call, permitted, conversation, left);
        return Box::pin(relay.begin()).await;
    }
    let mut calling = call(permitted);
    let called = tokio::select! {
        biased;
        called = &mut calling => called,
        () = exchange.inbound.cancellation.cancelled(), if open_call.is_some() => return Err(Refusal::Cancelled),
        () = gate.cut_off() => return Err(exchange.cut_off().into()),
        () = sleep(COMMIT_TO_STREAM) => {
            let relay = Relay::new(gate, exchange, open_call, Phase::Calling(calling));
            return Ok(relay.into_answer());
        }
    };
    if let Ok(Incoming::Whole(response)) = &called.outcome
        && let Finished::Message(status, message) = exchange.finish(gate, response)
    {
        return Ok(Answer::with_status(status, message));
    }
    // Larger and less common, so it must not make room in every call's future, which is moved.
    Box::pin(answer(gate, exchange, open_call, called)).await
}

/// Everything that comes back for a call, but for a result that was there at once.
async fn answer(
    gate: &Arc<Gate>,
    exchange: Exchange,
    open_call: Option<OpenCall>,
    called: Called,
) -> Result<Answer, Refusal> {
    let Called { permitted, outcome } = called;
    let response = match outcome.inspect_err(|error| exchange.failed(error))? {
        Incoming::Whole(response) => response,
        Incoming::Partial(partial) => {
            let partial = match splice::begin(partial, &exchange)? {
                splice::Begun::Result(chunks) => {
                    return Ok(Answer::Chunks(Box::pin(chunks.map(move |chunk| {
                        // The exchange counts as in flight until its last chunk is handed over.
                        let _in_flight = (&exchange, &open_call);
                        chunk
                    }))));
                }
                splice::Begun::Other(partial) => partial,
            };
            response_of(Incoming::Partial(partial)).await?
        }
        Incoming::Events(events) => {
            let relay = Relay::new(gate, exchange, open_call, Phase::Events(events)).repeatable(permitted);
            return relay.begin().await;
        }
    };
    let relay = Relay::new(gate, exchange, open_call, Phase::Asking).repeatable(permitted);
    relay.after(response).begin().await
}

/// What a server's response is to its client.
enum Finished {
    /// The answer.
    Message(StatusCode, Bytes),
    /// Questions that this client is asked one by one, before the call is made again.
    Asks,
}

/// What is needed to answer this one request, wherever its answer comes from.
struct Exchange {
    inbound: Arc<Inbound>,
    server: Arc<Server>,
    method: Option<Method>,
    id: Bytes,
    drop_structured: bool,
    naming: Naming,
    begun: Instant,
}

/// What the client calls a task that its answer may speak of.
enum Naming {
    /// Nothing: its answer speaks of none.
    Same,
    /// By a name of the gate's own, made when a call of this tool becomes a task.
    New(Arc<str>),
    /// As it did when it asked.
    Asked,
}

impl Naming {
    fn of(permitted: &Permitted) -> Self {
        match (permitted.method(), permitted.original()) {
            (Some(Method::ToolsCall), Some(tool)) => Self::New(Arc::clone(tool)),
            (Some(Method::TasksGet | Method::TasksUpdate | Method::TasksCancel), _) => Self::Asked,
            _ => Self::Same,
        }
    }
}

impl Exchange {
    fn of(permitted: &Permitted) -> Self {
        Self {
            inbound: Arc::clone(permitted.inbound()),
            server: Arc::clone(permitted.server()),
            method: permitted.method(),
            id: request_id(permitted.request()),
            drop_structured: permitted.drops_structured(),
            naming: Naming::of(permitted),
            begun: Instant::now(),
        }
    }

    /// The gate ends before its server has answered.
    fn cut_off(&self) -> CallError {
        CallError {
            server: Arc::clone(self.server.name()),
            cause: Cause::Stopping,
            retry_safe: false,
        }
    }

    fn open_call(&self, gate: &Gate) -> Option<OpenCall> {
        let conversation = self.inbound.client.conversation?;
        let id = self.inbound.request.id().to_id();
        Some(
            gate.conversations
                .open_call(conversation, id, Arc::clone(&self.inbound.cancellation)),
        )
    }

    /// The server answered, be it with an error of its own.
    fn answered(&self) {
        self.server.metrics().call(self.begun.elapsed(), true);
    }

    fn failed(&self, error: &CallError) {
        self.server.metrics().call(self.begun.elapsed(), false);
        tracing::warn!(
            target: "gatepost::call",
            server = &*error.server,
            method = self.inbound.request.method(),
            request = %self.inbound.request_id(),
            trace = self.inbound.trace().parent(),
            cause = %error.cause,
            "a call failed",
        );
    }

    /// What has to change on the way down.
    fn plan<'a>(&self, facts: Option<&'a Facts>) -> ResultPlan<'a> {
        let client = self.inbound.client.version;
        ResultPlan {
            method: self.method,
            server: facts.map_or(client, |facts| facts.version),
            client,
            // What one call returns may be kept by nobody unless its server says otherwise (eras.md section 7).
            hints: CacheHints::NONE,
            // A modern server says who it is itself, or has been told not to; a legacy one said it in its handshake.
            server_info: facts
                .filter(|facts| facts.era() == Era::Legacy)
                .and_then(|facts| facts.server_info.as_deref()),
            drop_structured: self.drop_structured,
            task_id: None,
        }
    }

    /// The client's `taskId` in place of the one in the result, as raw JSON.
    fn task_id(&self, response: &Response) -> Option<Vec<u8>> {
        let raw = response.raw();
        let text = |member| json::text(raw, response.result_member(member)?);
        match &self.naming {
            Naming::Same => None,
            Naming::Asked => {
                text("taskId")?;
                Some(self.inbound.request.param_raw("taskId")?.to_vec())
            }
            Naming::New(tool) => {
                let id = text("taskId")?;
                text("resultType").filter(|kind| kind == "task")?;
                let task = Task {
                    server: self.server.name().to_string(),
                    tool: tool.to_string(),
                    id: id.into_owned(),
                };
                let view = &self.inbound.view;
                let public = task.seal(view.sealer(), view.name(), self.inbound.client.principal());
                Some(json::quote(&public))
            }
        }
    }

    /// The client's form of a response.
    fn finish(&self, gate: &Gate, response: &Response) -> Finished {
        let facts = self.server.known();
        let task_id = self.task_id(response);
        let plan = ResultPlan {
            task_id: task_id.as_deref(),
            ..self.plan(facts.as_deref())
        };
        if let Outcome::Error { code, .. } = response.outcome() {
            self.answered();
            if code == URL_ELICITATION_REQUIRED {
                if let Some((status, message)) = self.pages(response, facts.as_deref()) {
                    return Finished::Message(status, message);
                }
                self.sent_to(gate, response);
            }
            let uri = self.inbound.request.param_text("uri");
            let error = translate::error_down(
                response,
                &self.id,
                &ErrorFacts {
                    method: self.method,
                    uri: uri.as_deref(),
                    server_name: self.server.name(),
                    server: plan.server,
                    client: plan.client,
                    client_capabilities: self.inbound.client.capabilities(),
                },
            );
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::OK);
            return Finished::Message(status, error.body);
        }
        let problem = match plan.apply(response, &self.id) {
            Ok(message) => {
                self.answered();
                return Finished::Message(StatusCode::OK, message);
            }
            Err(problem) => problem,
        };
        let cause = match problem {
            ResultProblem::Unfinished if plan.client.is_modern() => match self.unfinished(response) {
                Ok(message) => {
                    self.answered();
                    return Finished::Message(StatusCode::OK, message);
                }
                Err(why) => Cause::Violation(why),
            },
            ResultProblem::Unfinished if self.method.is_some_and(Method::may_ask) => return Finished::Asks,
            ResultProblem::Unfinished => Cause::Violation(NOT_HERE.to_owned()),
            ResultProblem::UnknownResultType(_) => Cause::Violation(problem.to_string()),
            ResultProblem::TaskForLegacy => Cause::BeyondClient(problem.to_string()),
        };
        let (status, message) = self.fail(&CallError {
            server: Arc::clone(self.server.name()),
            cause,
            retry_safe: false,
        });
        Finished::Message(status, message)
    }

    /// A modern server's questions for a modern client: they pass, and what the server wants to see again is sealed to this
    /// caller and this call, because to the server all callers look alike (`eras.md` 5.1).
    fn unfinished(&self, response: &Response) -> Result<Bytes, String> {
        if !self.method.is_some_and(Method::may_ask) {
            return Err(NOT_HERE.to_owned());
        }
        let required =
            InputRequired::of(response).unwrap_or_else(|| Err("it is no longer unfinished".to_owned()))?;
        for (key, ask) in &required.asks {
            if !ask.kind().is_declared(self.inbound.client.capabilities()) {
                return Err(format!(
                    "it asks `{key}`, `{}`, which the client did not declare that it answers",
                    ask.kind().method().name()
                ));
            }
        }
        let state = required
            .state
            .map(|state| self.seal(Opens::Server(state), STATE_LASTS));
        Ok(translate::unfinished_down(response, &self.id, state.as_deref()))
    }

    /// A legacy server's pages that the user is to visit first, for a modern client; nothing for any other client, and
    /// where the error names none.
    fn pages(&self, response: &Response, facts: Option<&Facts>) -> Option<(StatusCode, Bytes)> {
        let client = &self.inbound.client;
        if !client.version.is_modern() || !self.method.is_some_and(Method::may_ask) {
            return None;
        }
        let pages = Pages::of(response)?;
        if !pages.suits(client.capabilities()) {
            return Some(self.incapable(AskKind::Url.required()));
        }
        let state = self.seal(Opens::Pages { ids: pages.ids() }, STATE_LASTS);
        let info = facts.and_then(|facts| facts.server_info.as_deref());
        let message = input_required(&self.id, pages.asks(), &state, info);
        Some((StatusCode::OK, message))
    }

    /// A legacy client is sent to pages by the error itself: whoever was given the name of a visit is told when it is over.
    fn sent_to(&self, gate: &Gate, response: &Response) {
        let Some(conversation) = self.inbound.client.conversation else {
            return;
        };
        for visit in pages(response).iter().filter_map(Ask::elicitation_id) {
            gate.sessions.with(conversation, |live| {
                live.elicitations.insert(self.server.name(), &visit);
            });
        }
    }

    fn seal(&self, opens: Opens, lasts: Duration) -> String {
        Belongs::to(&self.inbound, &self.server).seal(self.inbound.view.sealer(), opens, lasts)
    }

    /// The call failed because the client cannot be asked what it takes. Source: MCP 2026-07-28, basic/index#Error Codes.
    fn incapable(&self, required: &str) -> (StatusCode, Bytes) {
        let text = format!(
            "server {} asks for what this client did not declare",
            self.server.name()
        );
        let data = format!(r#"{{"requiredCapabilities":{required}}}"#);
        let error = error_response(
            Some(&self.id),
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            &text,
            Some(data.as_bytes()),
        );
        (StatusCode::BAD_REQUEST, error)
    }

    fn fail(&self, error: &CallError) -> (StatusCode, Bytes) {
        self.failed(error);
        let about = About {
            id: Some(self.id.clone()),
            era: Some(self.inbound.client.era()),
        };
        render(&Refusal::Call(error.clone()), &about)
    }

    /// The client's form of a notification, if it is for this client at all.
    fn notification(&self, notification: &Notification) -> Option<Bytes> {
        let client = &self.inbound.client;
        match notification.known_method() {
            Some(Method::Progress) => {
                // The token up was ours; the client knows its own.
                let token = self.inbound.request.meta_raw("progressToken")?;
                Some(notification.rewrite().param("progressToken", token).finish())
            }
            Some(Method::LogMessage) => {
                let level = notification
                    .param_text("level")
                    .and_then(|level| LogLevel::parse(&level));
                let wanted = match (client.log_level, level) {
                    (Some(wanted), Some(level)) => level >= wanted,
                    (Some(_), None) => true,
                    // 2026-07-28 server/utilities/logging: without `logLevel` nothing may be sent; 2025-11-25: anything may.
                    (None, _) => !client.version.is_modern(),
                };
                wanted.then(|| notification.raw().clone())
            }
            // What changed is announced on the client's own listening stream, by the catalog.
            Some(_) => None,
            None => self
                .inbound
                .view
                .only_server()
                .map(|_| notification.raw().clone()),
        }
    }
}

#[cfg(test)]
mod tests;
