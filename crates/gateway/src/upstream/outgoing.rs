//! What goes up: a client's permitted request, or a question of the gate's own, seen as a server is to receive it.

use std::sync::Arc;

use bytes::Bytes;
use gatepost_audit::CallId;
use gatepost_policy::Principal;
use gatepost_protocol::{
    envelope::{Message, Request},
    json::{self, ObjectWriter, Span, Strictness},
    method::Method,
    rewrite::Rewrite,
    translate::{ClientSide, InputUp, TASKS_EXTENSION, UpCall, client_capabilities_up, request_up},
    version::Version,
};
use http::{HeaderName, HeaderValue};

use super::credential::Presented;
use crate::bridge::replay::Input;

/// Whether the client said that it wants no answer any more.
pub(crate) trait Wish: Send + Sync {
    /// True once it did.
    fn is_cancelled(&self) -> bool;
}

/// Whether a request may become a task on its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AsTask {
    /// Unless its client says so itself.
    No,
    /// It must: a legacy server is told so (2025-11-25 basic/utilities/tasks, Creating Tasks).
    Param,
    /// A modern server is told that it may, and which task is spoken of.
    Extension,
}

/// One request on its way to a server.
#[derive(Clone)]
pub(crate) struct Outgoing<'a> {
    /// As the client sent it: its id, the public name.
    pub(crate) request: &'a Request,
    /// What the tool or prompt is called on the server; `None` where the name stays.
    pub(crate) name: Option<&'a str>,
    /// The client's version.
    pub(crate) version: Version,
    /// The client's capabilities, a raw JSON object.
    pub(crate) capabilities: &'a Bytes,
    /// The client's `clientInfo`, a raw JSON object.
    pub(crate) info: Option<&'a Bytes>,
    /// The log level the client's session has set, as it is on the wire. Modern clients have it in `_meta`.
    pub(crate) log_level: Option<&'a str>,
    /// The client's conversation, where it has one.
    pub(crate) conversation: Option<[u8; 16]>,
    /// Who asks; `None`: the gate itself.
    pub(crate) principal: Option<&'a Principal>,
    /// What is the caller's own to present, where there is such a thing.
    pub(crate) personal: Option<Arc<Presented>>,
    /// Headers that travel along: the trace context, and `Mcp-Param-*` for a modern server.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// `Mcp-Param-*` for a modern server over HTTP.
    pub(crate) params: Vec<(HeaderName, HeaderValue)>,
    /// Making it twice does no more than making it once, so it may be sent again when nobody knows whether it arrived.
    pub(crate) repeatable: bool,
    /// Whether it may become a task, for which somebody then waits.
    pub(crate) task: AsTask,
    /// Answers and state that the gate knows better than the request, for a modern server.
    pub(crate) input: Option<&'a Input>,
    /// The call on record that this is, or belongs to.
    pub(crate) call: Option<CallId>,
    /// Tells a client that cancelled from one that only went away.
    pub(crate) wish: Option<Arc<dyn Wish>>,
}

impl Outgoing<'_> {
    /// Whether this is the gate's own question.
    pub(crate) fn own(&self) -> bool {
        self.principal.is_none()
    }

    /// The message for a server that speaks `version`, under our id. The progress token is the id, so that it is unique
    /// on the server, and is there only if the client sent one.
    pub(crate) fn compose(&self, version: Version, id: u64) -> Bytes {
        let id = id.to_string();
        let reference = self.name.and_then(|name| self.reference(name));
        let state = self
            .input
            .and_then(|input| input.state.as_deref().map(json::quote));
        let up = UpCall {
            version,
            id: id.as_bytes(),
            name: self.name.filter(|_| reference.is_none()),
            progress_token: Some(id.as_bytes()),
            input: self.input.map(|input| InputUp {
                responses: input.responses.as_deref(),
                state: state.as_deref(),
            }),
        };
        let crosses = version.is_modern() && !self.version.is_modern() && !self.own();
        let mut capabilities =
            crosses.then(|| client_capabilities_up(self.capabilities, self.version, version));
        if let Some(capabilities) = capabilities.as_mut().filter(|_| self.task == AsTask::Extension) {
            *capabilities = with_tasks(capabilities);
        }
        let client = ClientSide {
            version: self.version,
            capabilities: capabilities.as_deref().unwrap_or(self.capabilities),
            info: self.info.map(|info| &**info),
            log_level: self.log_level,
        };
        let raw = request_up(self.request, &client, &up);
        if self.task == AsTask::Param && !version.is_modern() {
            return parsed(&raw).map_or(raw, |request| {
                request.rewrite().param("task", &b"{}"[..]).finish()
            });
        }
        let Some(reference) = reference else { return raw };
        parsed(&raw).map_or(raw, |request| request.rewrite().param("ref", reference).finish())
    }

    /// As [`Outgoing::compose`], for a server that has no headers: the trace context goes into `_meta`, unless the client
    /// has put one there itself.
    pub(crate) fn compose_with_trace(&self, version: Version, id: u64) -> Bytes {
        let raw = self.compose(version, id);
        // `tracestate` says nothing without the `traceparent` it came with (W3C Trace Context 3.3).
        let foreign = self.request.meta("traceparent").is_some();
        let missing = |(name, _): &&(HeaderName, HeaderValue)| {
            self.request.meta(name.as_str()).is_none() && !(foreign && name.as_str() == "tracestate")
        };
        if !self.headers.iter().any(|header| missing(&header)) {
            return raw;
        }
        let Some(request) = parsed(&raw) else { return raw };
        let mut rewrite = request.rewrite();
        for (name, value) in self.headers.iter().filter(missing) {
            if let Ok(value) = value.to_str() {
                rewrite.meta(name.as_str(), json::quote(value));
            }
        }
        rewrite.finish()
    }

    /// `params.ref` of a completion with the server's own name in it.
    fn reference(&self, name: &str) -> Option<Vec<u8>> {
        if self.method() != Some(Method::CompletionComplete) {
            return None;
        }
        let raw = self.request.param_raw("ref")?;
        let members = json::object(raw, Span::all(raw)).ok()?;
        let mut rewrite = Rewrite::new(raw);
        rewrite.set_member(&members, "name", json::quote(name));
        Some(rewrite.finish().into())
    }

    /// What `Mcp-Name` says: the server's own name of what is asked for.
    pub(crate) fn target(&self) -> Option<std::borrow::Cow<'_, str>> {
        let target = self.request.known_method()?.facts().target?;
        if let Some(name) = self.name {
            return Some(name.into());
        }
        self.request.param_text(target.param())
    }

    /// The method, if any version has it.
    pub(crate) fn method(&self) -> Option<Method> {
        self.request.known_method()
    }
}

/// Capabilities with the tasks extension among them.
fn with_tasks(capabilities: &[u8]) -> Vec<u8> {
    let Ok(members) = json::object(capabilities, Span::all(capabilities)) else {
        return capabilities.to_vec();
    };
    let extensions = members
        .get(capabilities, "extensions")
        .and_then(|span| json::object(capabilities, span).ok());
    let mut edits = Rewrite::new(capabilities);
    match &extensions {
        Some(extensions) => edits.set_member(extensions, TASKS_EXTENSION, &b"{}"[..]),
        None => {
            let tasks = ObjectWriter::new().raw(TASKS_EXTENSION, b"{}").finish();
            edits.set_member(&members, "extensions", tasks);
        }
    }
    edits.finish().into()
}

fn parsed(raw: &Bytes) -> Option<Request> {
    match Message::parse(raw.clone(), Strictness::Server) {
        Ok(Message::Request(request)) => Some(request),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_declared_beside_what_the_client_declares() {
        for (client, declared) in [
            ("{}", r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#),
            (
                r#"{"roots":{},"extensions":{"x/y":{"a":1}}}"#,
                r#"{"roots":{},"extensions":{"x/y":{"a":1},"io.modelcontextprotocol/tasks":{}}}"#,
            ),
        ] {
            assert_eq!(with_tasks(client.as_bytes()), declared.as_bytes());
        }
    }
}
