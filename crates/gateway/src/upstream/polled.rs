//! A legacy client's call that a modern server does only as a task: the gate makes it again with the tasks extension
//! declared, asks how the task is until it has ended, and answers plainly. Its client never hears of tasks.
//!
//! What the task asks is handed over like what a call asks: as an unfinished result, after which the call is made again
//! with the answers ([`crate::bridge::replay`]). Here the answers then go to the task.
//!
//! Source: tasks extension, Capability Negotiation, Task Polling; `docs/eras.md` 8.

use std::{sync::Arc, time::Duration};

use gatepost_protocol::{
    envelope::{Message, Outcome, Request, Response},
    error::{INTERNAL_ERROR, MISSING_REQUIRED_CLIENT_CAPABILITY, error_response, result_response},
    json::{self, ObjectWriter, Span, Strictness},
    method::Method,
    translate::TASKS_EXTENSION,
};
use tokio::time::{sleep, timeout};

use super::{
    CallError, Cause,
    awaited::{Asked, FAILURES, USUAL_PAUSE, about, may_go_on, pause_of},
    incoming::{Incoming, response_of},
    outgoing::{AsTask, Outgoing},
    server::Server,
};
use crate::{bridge::replay::Input, record::Permitted};

/// The id of what the gate says in a server's place; on its way down it becomes the client's.
const NO_ID: &[u8] = b"0";
/// How long the server may take to hear that nobody waits any more.
const CANCELLED_WITHIN: Duration = Duration::from_secs(10);

/// A task that is waited for. Dropped before it has ended, it is cancelled.
pub(crate) struct Polled {
    server: Arc<Server>,
    asked: Asked,
    /// A raw JSON string.
    id: Vec<u8>,
    pause: Duration,
    /// The keys of its questions that were put to the client.
    put: Vec<String>,
    ended: bool,
}

/// Whether a server refuses a legacy client's call for want of the tasks extension, and of nothing else. Nothing was done.
pub(super) fn wants_task(permitted: &Permitted, incoming: &Incoming) -> bool {
    let Incoming::Whole(response) = incoming else {
        return false;
    };
    let Outcome::Error {
        code: MISSING_REQUIRED_CLIENT_CAPABILITY,
        data: Some(data),
        ..
    } = response.outcome()
    else {
        return false;
    };
    !permitted.client().version.is_modern()
        && permitted.method() == Some(Method::ToolsCall)
        && names_tasks_only(response.raw(), data)
}

/// `requiredCapabilities` is `{"extensions":{"io.modelcontextprotocol/tasks":…}}`.
fn names_tasks_only(raw: &[u8], data: Span) -> bool {
    let only = |span: Span, name: &str| {
        let members = json::object(raw, span).ok()?;
        members.get(raw, name).filter(|_| members.len() == 1)
    };
    let required = json::object(raw, data)
        .ok()
        .and_then(|data| data.get(raw, "requiredCapabilities"));
    required
        .and_then(|required| only(required, "extensions"))
        .and_then(|extensions| only(extensions, TASKS_EXTENSION))
        .is_some()
}

impl Server {
    /// Makes the call as a task, and waits for what becomes of it.
    pub(super) async fn call_as_task(&self, permitted: &mut Permitted) -> Result<Incoming, CallError> {
        let incoming = self.send_permitted(permitted, AsTask::Extension).await?;
        let response = match incoming {
            Incoming::Whole(response) => response,
            // It answers plainly, now that it need not.
            other => return Ok(other),
        };
        let raw = response.raw();
        let is_task = response
            .result_member("resultType")
            .is_some_and(|kind| json::equals(raw, kind, "task"));
        let id = response
            .result_member("taskId")
            .filter(|id| is_task && json::text(raw, *id).is_some());
        let Some(id) = id else {
            return Ok(Incoming::Whole(response));
        };
        let pause = response.result_member("pollIntervalMs");
        let mut polled = Box::new(Polled {
            server: Arc::clone(permitted.server()),
            asked: Asked::of(&self.outgoing(permitted, AsTask::Extension)?),
            id: id.of(raw).to_vec(),
            pause: pause
                .and_then(|span| pause_of(span.of(raw)))
                .unwrap_or(USUAL_PAUSE),
            put: Vec::new(),
            ended: false,
        });
        let outcome = polled.wait().await;
        permitted.keep_task(polled);
        outcome.map(Incoming::Whole)
    }

    /// Goes on with the task that this call became, with what the client has answered.
    pub(super) async fn go_on_with_task(&self, permitted: &mut Permitted) -> Result<Incoming, CallError> {
        let Some(mut polled) = permitted.take_task() else {
            return Err(self.context.error(Cause::Stopping, false));
        };
        let outcome = match polled.update(permitted.input()).await {
            Ok(()) => polled.wait().await,
            Err(error) => Err(error),
        };
        permitted.keep_task(polled);
        outcome.map(Incoming::Whole)
    }
}

impl Polled {
    /// Whether nothing more can come of it.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Asks until the task has ended, or asks for something: the response of the call.
    async fn wait(&mut self) -> Result<Response, CallError> {
        let mut failures = 0;
        loop {
            sleep(self.pause).await;
            let state = match self.ask(&self.about(Method::TasksGet)?, None).await {
                Ok(state) => state,
                Err(error) => {
                    failures += 1;
                    if !may_go_on(&error) || failures >= FAILURES {
                        // It may go on all the same, so the call must not be made again.
                        return Err(CallError {
                            retry_safe: false,
                            ..error
                        });
                    }
                    continue;
                }
            };
            failures = 0;
            if let Some(response) = self.heard(state)? {
                return Ok(response);
            }
        }
    }

    /// The response of the call, if this answer to `tasks/get` holds it.
    fn heard(&mut self, state: Response) -> Result<Option<Response>, CallError> {
        if let Outcome::Error { .. } = state.outcome() {
            self.ended = true;
            return Ok(Some(state));
        }
        let raw = state.raw();
        let member = |name| state.result_member(name);
        if let Some(pause) = member("pollIntervalMs").and_then(|span| pause_of(span.of(raw))) {
            self.pause = pause;
        }
        let text = |name| member(name).and_then(|span| json::text(raw, span));
        let missing = |what: &str| self.violation(format!("its task has ended without `{what}`"));
        let said = match text("status").as_deref() {
            Some("working") => return Ok(None),
            Some("input_required") => {
                let questions = member("inputRequests").ok_or_else(|| missing("inputRequests"))?;
                let Some(asks) = self.new_asks(raw, questions)? else {
                    // What was answered may still be shown.
                    return Ok(None);
                };
                result_response(NO_ID, &asks)
            }
            Some("completed") => {
                let result = member("result").ok_or_else(|| missing("result"))?;
                result_response(NO_ID, result.of(raw))
            }
            Some("failed") => {
                let error = member("error").ok_or_else(|| missing("error"))?;
                ObjectWriter::new()
                    .text("jsonrpc", "2.0")
                    .raw("id", NO_ID)
                    .raw("error", error.of(raw))
                    .finish()
                    .into()
            }
            Some("cancelled") => {
                let why = text("statusMessage").unwrap_or_default();
                let server = self.server.name();
                let message = format!("server `{server}` cancelled what it was doing: {why}");
                error_response(Some(NO_ID), INTERNAL_ERROR, &message, None)
            }
            _ => return Err(self.violation("its task has a status that no version has".to_owned())),
        };
        self.ended = !matches!(text("status").as_deref(), Some("input_required"));
        match Message::parse(said, Strictness::Server) {
            Ok(Message::Response(response)) => Ok(Some(response)),
            _ => Err(self.violation("its task has an outcome that is none".to_owned())),
        }
    }

    /// The unfinished result that asks what was not asked before; nothing if all of it was.
    fn new_asks(&mut self, raw: &[u8], questions: Span) -> Result<Option<Vec<u8>>, CallError> {
        let all = json::object(raw, questions)
            .map_err(|_| self.violation("`inputRequests` of its task is no object".to_owned()))?;
        let mut fresh = ObjectWriter::new();
        let before = self.put.len();
        for question in &all {
            let key = json::text(raw, question.key).unwrap_or_default();
            if self.put.iter().all(|put| *put != key) {
                fresh.raw(&key, question.value.of(raw));
                self.put.push(key.into_owned());
            }
        }
        let result = ObjectWriter::new()
            .text("resultType", "input_required")
            .raw("inputRequests", &fresh.finish())
            .finish();
        Ok((self.put.len() > before).then_some(result))
    }

    /// Brings the client's answers.
    async fn update(&self, input: Option<&Input>) -> Result<(), CallError> {
        let answer = self.ask(&self.about(Method::TasksUpdate)?, input).await?;
        match answer.error_message() {
            None => Ok(()),
            Some(why) => Err(self.violation(format!("it refused what its task had asked for: {why}"))),
        }
    }

    async fn ask(&self, request: &Request, input: Option<&Input>) -> Result<Response, CallError> {
        let out = Outgoing {
            input,
            ..self.asked.about(request, AsTask::Extension)
        };
        response_of(self.server.send(&out).await?).await
    }

    fn about(&self, method: Method) -> Result<Request, CallError> {
        about(&self.id, method).ok_or_else(|| self.violation("its task cannot be named".to_owned()))
    }

    fn violation(&self, why: String) -> CallError {
        self.server.context.error(Cause::Violation(why), false)
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        let (false, Some(request)) = (self.ended, about(&self.id, Method::TasksCancel)) else {
            return;
        };
        let (server, asked) = (Arc::clone(&self.server), self.asked.clone());
        // A call is given up by being dropped; telling the server takes longer than that.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let out = asked.about(&request, AsTask::Extension);
                let cancelled = async { response_of(server.send(&out).await?).await };
                if let Ok(Err(error)) = timeout(CANCELLED_WITHIN, cancelled).await {
                    tracing::debug!(%error, "a task was not cancelled");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_want_of_tasks_makes_a_task_of_a_call() {
        let check = |data: &str, expected| {
            assert_eq!(
                names_tasks_only(data.as_bytes(), Span::all(data.as_bytes())),
                expected,
                "{data}"
            );
        };
        let extensions = |extensions| format!(r#"{{"requiredCapabilities":{{"extensions":{extensions}}}}}"#);
        check(&extensions(r#"{"io.modelcontextprotocol/tasks":{}}"#), true);
        check(
            &extensions(r#"{"io.modelcontextprotocol/tasks":{},"x/y":{}}"#),
            false,
        );
        check(&extensions(r#"{"x/y":{}}"#), false);
        check(&extensions("7"), false);
        check(
            r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}},"sampling":{}}}"#,
            false,
        );
        check("{}", false);
        check("[]", false);
    }
}
