//! May they? Lists are compiled with the same `policy::decide`, so what is listed can be called and what is not listed
//! cannot.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use gatepost_policy::{
    Action, By, Caller, Circumstances, Classified, Decision, Kind, Reason, UnixMillis, decide,
};
use gatepost_protocol::{envelope::Request, method::Method};

use crate::{
    catalog::View,
    inbound::Inbound,
    refusal::{Hidden, Refusal},
    resolve::{Resolved, Target, There},
};

/// A call that the rules allow this principal, through this endpoint, now. Only [`authorize`] makes it.
pub struct Authorized {
    inbound: Arc<Inbound>,
    there: There,
    by: By,
}

impl Authorized {
    pub(crate) fn inbound(&self) -> &Arc<Inbound> {
        &self.inbound
    }

    /// What it is there.
    pub(crate) fn there(&self) -> &There {
        &self.there
    }

    /// What is done, in the policy's terms.
    pub(crate) fn action(&self) -> Action<'_> {
        self.there.action()
    }

    /// The rule that allows it.
    pub(crate) fn by(&self) -> &By {
        &self.by
    }
}

/// What the gate answers by itself, and what a server answers.
pub enum Fork {
    /// The gate.
    Here(Arc<Inbound>, Method),
    /// A server.
    There(Authorized),
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
        Decision::Allow(by) | Decision::Depends(by) => Ok(Fork::There(Authorized { inbound, there, by })),
        Decision::NeedsScopes(scopes) => {
            let needed = Arc::clone(scopes.needed());
            let resource = &inbound.endpoint().resource;
            Err(Refusal::Scopes {
                challenge: resource.insufficient_scope(needed.iter().map(|scope| &**scope)),
                needed,
            })
        }
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
    Refusal::Hidden(Box::new(Hidden {
        told: hidden(&inbound.request, there),
        server: Arc::clone(there.server.name()),
        name: action.name.into(),
        reason,
    }))
}

/// Whether the caller may be told of changes of a resource.
pub(crate) fn may_watch(caller: &Caller, view: &View, server: &str, uri: &str) -> bool {
    let action = Action {
        kind: Kind::Subscribe,
        server,
        name: uri,
        effect: Classified::BY_METHOD,
    };
    let circumstances = Circumstances::Calling {
        arguments: b"",
        now: now(),
    };
    decide(caller, view.rules(), &action, circumstances).is_allowed()
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
