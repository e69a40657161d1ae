//! The proof that a call may leave.

use std::sync::Arc;

use gatepost_audit::CallId;
use gatepost_protocol::{envelope::Request, headers::HeaderParams, method::Method};

use crate::{
    authorize::Authorized,
    bridge::replay::Input,
    inbound::{Cancellation, Client, Inbound, Trace},
    resolve::There,
    upstream::{Polled, Server},
};

/// Proof that this principal may make this call, through this endpoint, now, that there is room for it, and that it is in
/// the audit log if there is one. Only `record` makes it, and `Server::call` takes nothing else.
///
/// ```compile_fail
/// use gatepost_gateway::stages::{Authorized, Permitted};
/// fn forge(authorized: Authorized) -> Permitted {
///     Permitted { authorized, input: None, task: None, call: None }
/// }
/// ```
pub struct Permitted {
    pub(super) authorized: Authorized,
    /// What the gate adds to a call that is made again. Rare, so it takes no more room than it must.
    pub(super) input: Option<Box<Input>>,
    /// The call has become this task, and somebody waits for it here.
    pub(super) task: Option<Box<Polled>>,
    /// What it is on record as.
    pub(super) call: Option<CallId>,
}

impl Permitted {
    pub(crate) fn inbound(&self) -> &Arc<Inbound> {
        self.authorized.inbound()
    }

    /// The request as the client sent it, with the client's id and the public name.
    pub(crate) fn request(&self) -> &Request {
        &self.inbound().request
    }

    /// The server it goes to.
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.there().server
    }

    /// `None` for a vendor's method.
    pub(crate) fn method(&self) -> Option<Method> {
        self.there().method
    }

    /// What the tool or prompt is called there; `None` where the name stays as it is.
    pub(crate) fn original_name(&self) -> Option<&str> {
        self.there().original.as_deref()
    }

    /// The same, to be kept.
    pub(crate) fn original(&self) -> Option<&Arc<str>> {
        self.there().original.as_ref()
    }

    /// What the gate adds to a call that is made again.
    pub(crate) fn input(&self) -> Option<&Input> {
        self.input.as_deref()
    }

    /// Adds that.
    pub(crate) fn bring(&mut self, input: Option<Input>) {
        self.input = input.map(Box::new);
    }

    /// What it is on record as, if it is.
    pub(crate) fn call(&self) -> Option<CallId> {
        self.call
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

    fn there(&self) -> &There {
        self.authorized.there()
    }

    /// Who asks.
    pub(crate) fn client(&self) -> &Client {
        &self.inbound().client
    }

    /// The trace it belongs to.
    pub(crate) fn trace(&self) -> Trace<'_> {
        self.inbound().trace()
    }

    /// What the tool's schema wants to see in headers.
    pub(crate) fn header_params(&self) -> Option<&HeaderParams> {
        self.there().header_params()
    }

    /// Whether the tool's structured output is nothing this client's version can take.
    pub(crate) fn drops_structured(&self) -> bool {
        self.there()
            .tool()
            .is_some_and(|tool| tool.drops_structured(self.inbound().client.version))
    }

    /// Whether a legacy server does this call only as a task (2025-11-25 basic/utilities/tasks, Tool-Level Negotiation).
    pub(crate) fn must_be_task(&self) -> bool {
        self.there().tool().is_some_and(|tool| tool.only_as_task)
    }

    /// Whether making this call twice does no more than making it once.
    pub(crate) fn repeatable(&self) -> bool {
        match self.there().tool() {
            Some(tool) => tool.repeatable,
            None => self
                .there()
                .method
                .is_some_and(|method| method.facts().repeatable),
        }
    }

    /// The client's wish to end this call.
    pub(crate) fn cancellation(&self) -> &Arc<Cancellation> {
        &self.inbound().cancellation
    }
}
