//! May they? The only maker of [`Permitted`], without which no server can be called.
//!
//! Lists are compiled with the same `policy::decide`, so what is listed can be called and what is not listed cannot.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use gatepost_policy::{Action, By, Circumstances, Decision, Reason, UnixMillis, decide};
use gatepost_protocol::{envelope::Request, headers::HeaderParams, method::Method};

use crate::{
    bridge::replay::Input,
    inbound::{Cancellation, Client, Inbound, Trace},
    refusal::Refusal,
    resolve::{Resolved, Target, There},
    upstream::{Polled, Server},
};

/// Proof that this principal may make this call, through this endpoint, now. Only [`authorize`] makes it, and
/// `Server::call` takes nothing else.
///
/// ```compile_fail
/// use gatepost_gateway::stages::{Inbound, Permitted, There};
/// fn forge(inbound: Inbound, there: There) -> Permitted {
///     Permitted { inbound, there }
/// }
/// ```
pub struct Permitted {
    inbound: Arc<Inbound>,
    there: There,
    /// The rule that allowed it.
    by: By,
    /// Rare, so it takes no more room than it must.
    input: Option<Box<Input>>,
    /// The call has become this task, and somebody waits for it here.
    task: Option<Box<Polled>>,
}

/// What the gate answers by itself, and what a server answers.
pub enum Fork {
    /// The gate.
    Here(Arc<Inbound>, Method),
    /// A server.
    There(Permitted),
}

impl Permitted {
    pub(crate) fn inbound(&self) -> &Arc<Inbound> {
        &self.inbound
    }

    /// The request as the client sent it, with the client's id and the public name.
    pub(crate) fn request(&self) -> &Request {
        &self.inbound.request
    }

    /// The server it goes to.
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.there.server
    }

    /// `None` for a vendor's method.
    pub(crate) fn method(&self) -> Option<Method> {
        self.there.method
    }

    /// What the tool or prompt is called there; `None` where the name stays as it is.
    pub(crate) fn original_name(&self) -> Option<&str> {
        self.there.original.as_deref()
    }

    /// The same, to be kept.
    pub(crate) fn original(&self) -> Option<&Arc<str>> {
        self.there.original.as_ref()
    }

    /// What the gate adds to a call that is made again.
    pub(crate) fn input(&self) -> Option<&Input> {
        self.input.as_deref()
    }

    /// Adds that.
    pub(crate) fn bring(&mut self, input: Option<Input>) {
        self.input = input.map(Box::new);
    }

    /// Whether the call has become a task that goes on.
    pub(crate) fn has_task(&self) -> bool {
        self.task.is_some()
    }

    /// That task.
    pub(crate) fn take_task(&mut self) -> Option<Box<Polled>> {
        self.task.take()
    }

    /// Keeps it, unless it has ended.
    pub(crate) fn keep_task(&mut self, task: Box<Polled>) {
        self.task = (!task.has_ended()).then_some(task);
    }

    /// What is done, in the policy's terms.
    pub(crate) fn action(&self) -> Action<'_> {
        self.there.action()
    }

    /// The rule that allows it.
    pub(crate) fn by(&self) -> &By {
        &self.by
    }

    /// Who asks.
    pub(crate) fn client(&self) -> &Client {
        &self.inbound.client
    }

    /// The trace it belongs to.
    pub(crate) fn trace(&self) -> Trace<'_> {
        self.inbound.trace()
    }

    /// What the tool's schema wants to see in headers.
    pub(crate) fn header_params(&self) -> Option<&HeaderParams> {
        self.there.header_params()
    }

    /// Whether the tool's structured output is nothing this client's version can take.
    pub(crate) fn drops_structured(&self) -> bool {
        self.there
            .tool()
            .is_some_and(|tool| tool.drops_structured(self.inbound.client.version))
    }

    /// Whether a legacy server does this call only as a task (2025-11-25 basic/utilities/tasks, Tool-Level Negotiation).
    pub(crate) fn must_be_task(&self) -> bool {
        self.there.tool().is_some_and(|tool| tool.only_as_task)
    }

    /// Whether making this call twice does no more than making it once.
    pub(crate) fn repeatable(&self) -> bool {
        match self.there.tool() {
            Some(tool) => tool.repeatable,
            None => self.there.method.is_some_and(|method| method.facts().repeatable),
        }
    }

    /// The client's wish to end this call.
    pub(crate) fn cancellation(&self) -> &Arc<Cancellation> {
        &self.inbound.cancellation
    }
}

/// Asks the policy.
pub fn authorize(resolved: Resolved) -> Result<Fork, Refusal> {
    let (inbound, target) = resolved.into_parts();
    let there = match target {
        Target::Gate(method) => return Ok(Fork::Here(inbound, method)),
        Target::Server(there) => there,
    };
    let circumstances = if there.follows_task() {
        // What the call was made with is not known any more; it was allowed with that.
        Circumstances::Listing
    } else {
        Circumstances::Calling {
            arguments: inbound.request.param_raw("arguments").unwrap_or_default(),
            now: now(),
        }
    };
    let caller = &inbound.client.caller;
    match decide(caller, inbound.view.rules(), &there.action(), circumstances) {
        Decision::Allow(by) | Decision::Depends(by) => Ok(Fork::There(Permitted {
            inbound,
            there,
            by,
            input: None,
            task: None,
        })),
        Decision::NeedsScopes(scopes) => Err(Refusal::Scopes(Arc::clone(scopes.needed()))),
        Decision::Deny(reason) => Err(denied(&inbound, &there, reason)),
    }
}

/// Rare and large: kept out of every call's future.
#[cold]
fn denied(inbound: &Inbound, there: &There, reason: Reason) -> Refusal {
    let action = there.action();
    let principal = inbound.client.principal();
    tracing::info!(target: "gatepost::denied", %principal, server = action.server, name = action.name, %reason);
    let shown = decide(
        &inbound.client.caller,
        inbound.view.rules(),
        &action,
        Circumstances::Listing,
    );
    if shown.is_shown() {
        return Refusal::Denied {
            reason: Box::new(reason),
            tool: there.method == Some(Method::ToolsCall),
        };
    }
    hidden(&inbound.request, there)
}

/// The time, as conditions see it.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A forbidden name and an unknown one look alike to those who may not see it.
fn hidden(request: &Request, there: &There) -> Refusal {
    let name = |param| request.param_text(param).unwrap_or_default().into_owned();
    match there.method {
        Some(Method::ToolsCall) => Refusal::UnknownName {
            kind: "tool",
            name: name("name"),
        },
        Some(Method::PromptsGet) => Refusal::UnknownName {
            kind: "prompt",
            name: name("name"),
        },
        Some(Method::ResourcesRead) => Refusal::UnknownResource(name("uri")),
        Some(Method::TasksGet | Method::TasksUpdate | Method::TasksCancel) if there.original.is_some() => {
            Refusal::UnknownName {
                kind: "task",
                name: name("taskId"),
            }
        }
        Some(Method::CompletionComplete) => Refusal::params("there is nothing of that name to complete"),
        _ => Refusal::UnknownMethod(request.method().to_owned()),
    }
}
