//! A call of a tool that a server of 2025-11-25 does only as a task (`execution.taskSupport: required`): the gate says that it
//! is to be one, waits for its result on the same session, and cancels it. Its client never hears of tasks.
//!
//! A driver of its own does this and hands over what the server says, so that waiting stays cancel safe and a task can
//! still be cancelled when nobody waits any more.
//!
//! Source: MCP 2025-11-25, basic/utilities/tasks; `docs/eras.md` 8.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gatepost_audit::CallId;
use gatepost_policy::Principal;
use gatepost_protocol::{
    envelope::{Message, Outcome, Request, Response},
    error::{INTERNAL_ERROR, error_response},
    json::{self, ObjectWriter, Strictness},
    method::Method,
    version::Version,
};
use http::{HeaderName, HeaderValue};
use tokio::sync::mpsc;

use super::{
    CallError, Cause,
    credential::Presented,
    incoming::{Events, Incoming, Source, Waiting, response_of},
    level::InUse,
    outgoing::{AsTask, Outgoing, Wish},
    pool::Lease,
    session::{self, Session},
};

/// Names the task in `_meta` of everything that belongs to it (basic/utilities/tasks, Associating Task-Related Messages).
const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
/// The pause before a task is asked for again after the answer broke off: between these, if the server says how long.
const PAUSE: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(30);
/// The same, if it does not.
pub(super) const USUAL_PAUSE: Duration = Duration::from_secs(1);
/// How often in a row the server may fail to say how the task is.
pub(super) const FAILURES: u32 = 5;
/// How long a task that nobody waits for may keep a session that serves no other call.
const ABANDONED_FOR: Duration = Duration::from_secs(10);

/// The caller's end. Dropping it leaves the task, which is then cancelled if the client wished that or is modern.
pub(crate) struct Awaited {
    said: mpsc::Receiver<Result<Message, CallError>>,
    orders: mpsc::UnboundedSender<Order>,
    context: Waiting,
}

/// What the caller wants meanwhile.
enum Order {
    Reply(Bytes),
    PutBack(Box<Request>),
    Parked(bool),
    Ping,
}

/// Makes the call as a task.
pub(super) async fn call(
    lease: Lease<Session>,
    exclusive: bool,
    level: Option<InUse>,
    out: &Outgoing<'_>,
    context: &Waiting,
) -> Result<Incoming, CallError> {
    let (says, said) = mpsc::channel(1);
    let (orders, ordered) = mpsc::unbounded_channel();
    let driver = Driver {
        session: Arc::clone(lease.session()),
        lease,
        exclusive,
        _level: level,
        asked: Asked::of(out),
        context: context.clone(),
        says,
        ordered,
        task: None,
        made_by: None,
        pause: USUAL_PAUSE,
        parked: false,
    };
    tokio::spawn(driver.run());
    let mut awaited = Awaited {
        said,
        orders,
        context: context.clone(),
    };
    Ok(match awaited.next().await? {
        Message::Response(response) => Incoming::Whole(response),
        first => Incoming::Events(Events {
            first: Some(first),
            source: Source::Task(awaited),
            context: context.clone(),
            unanswered: 0,
            guard: None,
        }),
    })
}

// === impl Awaited ===

impl Awaited {
    /// The next message; the response is the last. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Message, CallError> {
        let over = || Cause::Ended("the answer was already taken".to_owned());
        match self.said.recv().await {
            Some(said) => said,
            None => Err(self.context.error(over(), false)),
        }
    }

    /// Sends the client's answer to a question.
    pub(super) fn reply(&self, response: Bytes) {
        self.order(Order::Reply(response));
    }

    /// Takes back a question that stays unanswered.
    pub(super) fn put_back(&self, question: &Request) {
        self.order(Order::PutBack(Box::new(question.clone())));
    }

    /// Asks the server for a sign of life.
    pub(super) fn ping(&self) {
        self.order(Order::Ping);
    }

    /// Says whether the call only waits for its client.
    pub(super) fn set_parked(&self, parked: bool) {
        self.order(Order::Parked(parked));
    }

    fn order(&self, order: Order) {
        // An error only says that the task is over.
        let _ = self.orders.send(order);
    }
}

// === impl Driver ===

struct Driver {
    session: Arc<Session>,
    lease: Lease<Session>,
    exclusive: bool,
    _level: Option<InUse>,
    asked: Asked,
    context: Waiting,
    says: mpsc::Sender<Result<Message, CallError>>,
    ordered: mpsc::UnboundedReceiver<Order>,
    /// The task's id as a raw JSON string, once it is made.
    task: Option<Vec<u8>>,
    /// The id of the request that made it, which is the token of its progress.
    made_by: Option<u64>,
    pause: Duration,
    parked: bool,
}

/// What became of waiting.
enum End {
    Response(Box<Response>),
    Failed(CallError),
    /// Nobody waits any more.
    Left,
}

impl Driver {
    async fn run(mut self) {
        let end = self.drive().await;
        let said = match end {
            End::Response(response) => Ok(Message::Response(*response)),
            End::Failed(error) => Err(error),
            End::Left => return self.leave().await,
        };
        // An error says that the caller left just now: there is nothing left to cancel.
        let _ = self.says.send(said).await;
    }

    async fn drive(&mut self) -> End {
        let created = {
            let out = self.asked.out();
            session::begin(&self.session, &out, None, &self.context).await
        };
        let response = match created {
            // Not left before the task has a name: only by that it can be cancelled.
            Ok(incoming) => match self.follow(incoming, false).await {
                End::Response(response) => response,
                end => return end,
            },
            Err(error) => return End::Failed(error),
        };
        let Some(task) = created_task(&response) else {
            // It did the call plainly after all, or refused it.
            return End::Response(response);
        };
        self.made_by = response.id().and_then(gatepost_protocol::envelope::RawId::as_u64);
        self.task = Some(task.id);
        self.pause = task.pause.unwrap_or(self.pause);
        loop {
            let broken = match self.result().await {
                End::Failed(error) if may_go_on(&error) => error,
                End::Failed(error) => return End::Failed(self.lasting(error)),
                End::Response(response) => return End::Response(Box::new(Self::plain(*response))),
                End::Left => return End::Left,
            };
            if let Some(end) = self.look(broken).await {
                return end;
            }
        }
    }

    /// Waits for the result once, and passes on what is asked meanwhile.
    async fn result(&mut self) -> End {
        let Some(request) = self.about(Method::TasksResult) else {
            return End::Left;
        };
        let begun = {
            let out = self.asked.about(&request, AsTask::No);
            let beginning = session::begin(&self.session, &out, self.made_by, &self.context);
            tokio::select! {
                begun = beginning => begun,
                () = self.says.closed() => return End::Left,
            }
        };
        match begun {
            Ok(incoming) => self.follow(incoming, true).await,
            Err(error) => End::Failed(error),
        }
    }

    /// Hands over what comes, until the response.
    async fn follow(&mut self, incoming: Incoming, may_leave: bool) -> End {
        let mut events = match incoming {
            Incoming::Whole(response) => return End::Response(Box::new(response)),
            partial @ Incoming::Partial(_) => {
                return response_of(partial)
                    .await
                    .map_or_else(End::Failed, |response| End::Response(Box::new(response)));
            }
            Incoming::Events(events) => events,
        };
        loop {
            // The caller looks after the time its client takes.
            let patient = self.parked || events.unanswered > 0;
            let heard = async {
                if patient {
                    events.next_whenever().await
                } else {
                    events.next().await
                }
            };
            let message = tokio::select! {
                () = self.says.closed(), if may_leave => return End::Left,
                Some(order) = self.ordered.recv() => {
                    if let Err(error) = self.obey(order, &mut events).await {
                        return End::Failed(error);
                    }
                    continue;
                }
                message = heard => message,
            };
            let message = match message {
                Ok(Message::Response(response)) => return End::Response(Box::new(response)),
                Ok(message) => unrelated(message),
                Err(error) => return End::Failed(error),
            };
            let question = match &message {
                Message::Request(question) => Some(question.id().bytes().to_vec()),
                _ => None,
            };
            if self.says.send(Ok(message)).await.is_err()
                && let Some(id) = question
            {
                let refusal = error_response(Some(&id), INTERNAL_ERROR, "the client no longer waits", None);
                if let Err(error) = events.reply(refusal).await {
                    return End::Failed(error);
                }
            }
        }
    }

    async fn obey(&mut self, order: Order, events: &mut Events) -> Result<(), CallError> {
        match order {
            Order::Reply(answer) => events.reply(self.related(answer)).await,
            Order::PutBack(question) => {
                events.put_back(*question);
                Ok(())
            }
            Order::Ping => {
                events.ping();
                Ok(())
            }
            Order::Parked(parked) => {
                self.parked = parked;
                self.lease.set_parked(parked);
                Ok(())
            }
        }
    }

    /// Waiting broke off. Finds out whether the task goes on; if not, how the call ends.
    async fn look(&mut self, broken: CallError) -> Option<End> {
        for _ in 0..FAILURES {
            tokio::select! {
                () = tokio::time::sleep(self.pause) => {}
                () = self.says.closed() => return Some(End::Left),
            }
            let request = self.about(Method::TasksGet)?;
            match self.ask(&request).await {
                Ok(response) if matches!(response.outcome(), Outcome::Result(_)) => {
                    let raw = response.raw();
                    let pause = response.result_member("pollInterval");
                    self.pause = pause
                        .and_then(|span| pause_of(span.of(raw)))
                        .unwrap_or(self.pause);
                    return None;
                }
                Ok(_) => break,
                Err(error) if may_go_on(&error) => {}
                Err(_) => break,
            }
        }
        Some(End::Failed(self.lasting(broken)))
    }

    async fn ask(&self, request: &Request) -> Result<Response, CallError> {
        let out = self.asked.about(request, AsTask::No);
        let incoming = session::begin(&self.session, &out, None, &self.context).await?;
        self.context.within(response_of(incoming)).await?
    }

    /// Nobody waits any more.
    async fn leave(self) {
        if self.task.is_none() {
            return;
        }
        let wished = self.asked.version.is_modern()
            || self.asked.wish.as_ref().is_some_and(|wish| wish.is_cancelled());
        let method = if wished {
            Method::TasksCancel
        } else {
            Method::TasksResult
        };
        // A session that others share is not kept by a task that nobody waits for.
        if !wished && !self.exclusive {
            return;
        }
        let Some(request) = self.about(method) else {
            return;
        };
        let ended = tokio::time::timeout(ABANDONED_FOR, self.ask(&request)).await;
        if !matches!(ended, Ok(Ok(_))) && self.exclusive {
            self.lease.discard();
        }
    }

    /// A question of the gate's own about the task.
    fn about(&self, method: Method) -> Option<Request> {
        about(self.task.as_ref()?, method)
    }

    /// What happened after the server had begun: the call must not be made again, whatever it was.
    fn lasting(&self, error: CallError) -> CallError {
        let cause = match error.cause {
            Cause::SessionGone => Cause::Ended("its session is gone, and the task with it".to_owned()),
            cause => cause,
        };
        self.context.error(cause, false)
    }

    /// The result without the name of the task.
    fn plain(response: Response) -> Response {
        let Some(meta) = response.result_meta_members() else {
            return response;
        };
        if meta.get(response.raw(), RELATED_TASK).is_none() {
            return response;
        }
        let mut edits = response.rewrite();
        if meta.len() == 1 {
            edits.remove_result_member("_meta");
        } else {
            edits.remove_result_meta(RELATED_TASK);
        }
        let plain = edits.finish();
        drop(edits);
        match Message::parse(plain, Strictness::Server) {
            Ok(Message::Response(plain)) => plain,
            _ => response,
        }
    }

    /// A client's answer with the name of the task, once it has one.
    fn related(&self, answer: Bytes) -> Bytes {
        let Some(task) = &self.task else { return answer };
        let related = ObjectWriter::new().raw("taskId", task).finish();
        match Message::parse(answer.clone(), Strictness::Server) {
            Ok(Message::Response(response)) => response.rewrite().result_meta(RELATED_TASK, related).finish(),
            _ => answer,
        }
    }
}

/// A question about the task with this id, a raw JSON string.
pub(super) fn about(task: &[u8], method: Method) -> Option<Request> {
    let params = ObjectWriter::new().raw("taskId", task).finish();
    let raw = ObjectWriter::new()
        .text("jsonrpc", "2.0")
        .raw("id", b"0")
        .text("method", method.name())
        .raw("params", &params)
        .finish();
    match Message::parse(raw.into(), Strictness::Server) {
        Ok(Message::Request(request)) => Some(request),
        _ => None,
    }
}

/// Whether the task may well go on although waiting for it ended so.
pub(super) fn may_go_on(error: &CallError) -> bool {
    matches!(
        error.cause,
        Cause::Timeout(_)
            | Cause::Ended(_)
            | Cause::Unreachable(_)
            | Cause::Http {
                status: 500..=599,
                ..
            }
    )
}

/// A task that was made.
struct Created {
    /// A raw JSON string.
    id: Vec<u8>,
    pause: Option<Duration>,
}

fn created_task(response: &Response) -> Option<Created> {
    let raw = response.raw();
    let task = json::object(raw, response.result_member("task")?).ok()?;
    let id = task.get(raw, "taskId")?;
    json::text(raw, id)?;
    let pause = task.get(raw, "pollInterval");
    Some(Created {
        id: id.of(raw).to_vec(),
        pause: pause.and_then(|span| pause_of(span.of(raw))),
    })
}

/// A `pollInterval`, in milliseconds.
pub(super) fn pause_of(text: &[u8]) -> Option<Duration> {
    let milliseconds = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(Duration::from_millis(milliseconds).clamp(*PAUSE.start(), *PAUSE.end()))
}

/// A message without the name of the task.
fn unrelated(message: Message) -> Message {
    macro_rules! plain {
        ($message:expr) => {{
            let meta = $message.meta_members();
            let related = meta.filter(|meta| meta.get($message.raw(), RELATED_TASK).is_some());
            related.map(|meta| {
                let mut edits = $message.rewrite();
                if meta.len() == 1 {
                    edits.remove_param("_meta");
                } else {
                    edits.remove_meta(RELATED_TASK);
                }
                edits.finish()
            })
        }};
    }
    let raw = match &message {
        Message::Request(request) => plain!(request),
        Message::Notification(notification) => plain!(notification),
        Message::Response(_) => None,
    };
    raw.and_then(|raw| Message::parse(raw, Strictness::Server).ok())
        .unwrap_or(message)
}

// === impl Asked ===

/// A call that outlives whoever asked for it.
#[derive(Clone)]
pub(super) struct Asked {
    request: Request,
    name: Option<String>,
    version: Version,
    capabilities: Bytes,
    info: Option<Bytes>,
    log_level: Option<String>,
    conversation: Option<[u8; 16]>,
    principal: Option<Principal>,
    personal: Option<Arc<Presented>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    call: Option<CallId>,
    wish: Option<Arc<dyn Wish>>,
}

impl Asked {
    pub(super) fn of(out: &Outgoing<'_>) -> Self {
        Self {
            request: out.request.clone(),
            name: out.name.map(str::to_owned),
            version: out.version,
            capabilities: out.capabilities.clone(),
            info: out.info.cloned(),
            log_level: out.log_level.map(str::to_owned),
            conversation: out.conversation,
            principal: out.principal.cloned(),
            personal: out.personal.clone(),
            headers: out.headers.clone(),
            call: out.call,
            wish: out.wish.clone(),
        }
    }

    /// The call itself.
    fn out(&self) -> Outgoing<'_> {
        Outgoing {
            request: &self.request,
            name: self.name.as_deref(),
            version: self.version,
            capabilities: &self.capabilities,
            info: self.info.as_ref(),
            log_level: self.log_level.as_deref(),
            conversation: self.conversation,
            principal: self.principal.as_ref(),
            personal: self.personal.clone(),
            headers: self.headers.clone(),
            params: Vec::new(),
            repeatable: false,
            task: AsTask::Param,
            input: None,
            call: self.call,
            wish: None,
        }
    }

    /// A question about its task, from the same client.
    pub(super) fn about<'a>(&'a self, request: &'a Request, task: AsTask) -> Outgoing<'a> {
        Outgoing {
            request,
            name: None,
            task,
            ..self.out()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(raw: &str) -> Message {
        Message::parse(raw.to_owned().into(), Strictness::Server).unwrap()
    }

    #[test]
    fn only_the_name_of_the_task_is_taken_away() {
        let related = format!(r#""{RELATED_TASK}":{{"taskId":"t"}}"#);
        let check = |meta: &str, expected: &str| {
            let question = |meta: &str| {
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{{"a":1{meta}}}}}"#)
            };
            let plain = unrelated(message(&question(meta)));
            assert_eq!(plain.raw(), question(expected).as_bytes());
            let response = |meta: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"a":1{meta}}}}}"#);
            let Message::Response(whole) = message(&response(meta)) else {
                panic!("no response");
            };
            assert_eq!(Driver::plain(whole).raw(), response(expected).as_bytes());
        };
        check("", "");
        check(r#","_meta":{"x":1}"#, r#","_meta":{"x":1}"#);
        check(&format!(r#","_meta":{{{related}}}"#), "");
        check(&format!(r#","_meta":{{"x":1,{related}}}"#), r#","_meta":{"x":1}"#);
    }

    #[test]
    fn what_is_no_task_is_the_calls_own_answer() {
        let check = |result: &str, expected: Option<(&str, Option<Duration>)>| {
            let Message::Response(response) =
                message(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#))
            else {
                panic!("no response");
            };
            let created = created_task(&response);
            let found = created
                .as_ref()
                .map(|task| (std::str::from_utf8(&task.id).unwrap(), task.pause));
            assert_eq!(found, expected, "{result}");
        };
        check(r#"{"task":{"taskId":"t\u0031"}}"#, Some((r#""t\u0031""#, None)));
        check(
            r#"{"task":{"taskId":"t","pollInterval":5000}}"#,
            Some((r#""t""#, Some(Duration::from_secs(5)))),
        );
        check(
            r#"{"task":{"taskId":"t","pollInterval":0}}"#,
            Some((r#""t""#, Some(*PAUSE.start()))),
        );
        check(
            r#"{"task":{"taskId":"t","pollInterval":-1.5}}"#,
            Some((r#""t""#, None)),
        );
        check(r#"{"task":{"taskId":7}}"#, None);
        check(r#"{"task":7}"#, None);
        check(r#"{"content":[]}"#, None);
    }
}
