//! Which server, and what is the thing called there? Answered from the compiled catalog, never by cutting up a name:
//! a server's own names may hold any separator.

use std::{borrow::Cow, sync::Arc};

use gatepost_policy::{Action, Circumstances, Classified, Decision, Kind, decide};
use gatepost_protocol::{
    headers::{HeaderParams, Sent},
    json,
    method::Method,
    version::Era,
};
use http::HeaderValue;

use crate::{
    catalog::{Completion, Tool},
    inbound::{Carrier, Inbound},
    refusal::Refusal,
    task::{self, Task},
    upstream::{CallError, Cause, Server},
};

/// A request whose target is known. Only `resolve` makes it.
pub struct Resolved {
    inbound: Arc<Inbound>,
    target: Target,
}

/// Where a request goes.
pub(crate) enum Target {
    /// The gate answers by itself.
    Gate(Method),
    /// A server answers.
    Server(There),
}

/// A thing of a server.
pub(crate) struct There {
    pub(crate) server: Arc<Server>,
    /// `None` for a vendor's method.
    pub(crate) method: Option<Method>,
    /// What it is called there; `None` where names are never changed (URIs, vendors' methods).
    pub(crate) original: Option<Arc<str>>,
    /// What the authorization is asked about.
    kind: Kind,
    name: Arc<str>,
    effect: Classified,
    /// The tool's entry, for what its schema asks of headers.
    tool: Option<Arc<Tool>>,
}

impl There {
    pub(crate) fn header_params(&self) -> Option<&HeaderParams> {
        self.tool()?.headers.as_ref()
    }

    pub(crate) fn tool(&self) -> Option<&Tool> {
        self.tool.as_deref()
    }

    /// Whether it asks about a call that was made before.
    pub(crate) fn follows_task(&self) -> bool {
        matches!(
            self.method,
            Some(Method::TasksGet | Method::TasksUpdate | Method::TasksCancel)
        )
    }

    pub(crate) fn action(&self) -> Action<'_> {
        Action {
            kind: self.kind,
            server: self.server.name(),
            name: &self.name,
            effect: self.effect,
        }
    }
}

impl Resolved {
    pub(crate) fn inbound(&self) -> &Arc<Inbound> {
        &self.inbound
    }

    pub(crate) fn into_parts(self) -> (Arc<Inbound>, Target) {
        (self.inbound, self.target)
    }
}

/// Finds the target, or says in the specification's words that there is none. Before anything counts as unknown, servers
/// never seen before get a moment to say what they offer; one that could be meant and cannot be reached is named.
pub(crate) async fn resolve(inbound: Arc<Inbound>) -> Result<Resolved, (Refusal, Arc<Inbound>)> {
    match target(&inbound) {
        Ok(target) => Ok(Resolved { inbound, target }),
        Err(refusal) if is_unknown(&refusal) && inbound.view.unseen().next().is_some() => {
            // Rare and large: kept out of every call's future.
            Box::pin(look_again(inbound)).await
        }
        Err(refusal) => Err((refusal, inbound)),
    }
}

async fn look_again(mut inbound: Arc<Inbound>) -> Result<Resolved, (Refusal, Arc<Inbound>)> {
    let endpoint = Arc::clone(inbound.endpoint());
    endpoint.catalog.settled(&endpoint.name, inbound.asker()).await;
    // Nobody else has seen the request yet, so it is ours to change.
    if let (Some(view), Some(inbound)) = (endpoint.view(inbound.asker()), Arc::get_mut(&mut inbound)) {
        inbound.view = view;
    }
    let found = match target(&inbound) {
        Err(refusal) if is_unknown(&refusal) => reach_the_unseen(&inbound).await.and(Err(refusal)),
        found => found,
    };
    match found {
        Ok(target) => Ok(Resolved { inbound, target }),
        Err(refusal) => Err((refusal, inbound)),
    }
}

fn is_unknown(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::UnknownName { .. } | Refusal::UnknownResource(_) | Refusal::UnknownMethod(_)
    )
}

/// Fails, in its own words, with the server that the request must mean if it means anything and that was never reached.
async fn reach_the_unseen(inbound: &Inbound) -> Result<(), Refusal> {
    let named = inbound.request.param_text("name").unwrap_or_default();
    // Neither who has nothing of it, nor who has nothing of it here, is told that there is such a server.
    let within_reach = |server: &&Arc<Server>| {
        inbound.client.caller.may_reach(server.name()) && inbound.view.rules().may_reach(server.name())
    };
    let meant = |server: &&Arc<Server>| {
        inbound.view.only_server().is_some()
            || named
                .strip_prefix(&**server.name())
                .is_some_and(|rest| rest.starts_with("__"))
    };
    let Some(server) = inbound.view.unseen().filter(within_reach).find(meant) else {
        return Ok(());
    };
    let patience = server.config().timeout;
    match tokio::time::timeout(patience, server.reach(inbound.asker())).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Refusal::Call(CallError {
            server: Arc::clone(server.name()),
            cause: Cause::Timeout(patience),
            retry_safe: true,
        })),
    }
}

fn target(inbound: &Inbound) -> Result<Target, Refusal> {
    let Some(method) = Method::parse(inbound.request.method()) else {
        return vendor(inbound);
    };
    match method {
        Method::ToolsCall => tool(inbound).map(Target::Server),
        Method::PromptsGet => prompt(inbound).map(Target::Server),
        Method::ResourcesRead => resource(inbound).map(Target::Server),
        Method::CompletionComplete => completion(inbound).map(Target::Server),
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => {
            task(inbound, method).map(Target::Server)
        }
        _ => Ok(Target::Gate(method)),
    }
}

fn text<'a>(inbound: &'a Inbound, param: &'static str) -> Result<Cow<'a, str>, Refusal> {
    inbound.request.param_text(param).ok_or_else(|| {
        Refusal::params(format!(
            "`{}` needs the string `params.{param}`",
            inbound.request.method()
        ))
    })
}

fn tool(inbound: &Inbound) -> Result<There, Refusal> {
    let name = text(inbound, "name")?;
    if let Some(arguments) = inbound.request.param("arguments")
        && json::kind(inbound.request.raw(), arguments) != Some(json::Kind::Object)
    {
        return Err(Refusal::params("`params.arguments` must be an object"));
    }
    let tool = inbound.view.tool(&name).ok_or_else(|| unknown("tool", &name))?;
    mirrored(inbound, tool)?;
    Ok(There {
        server: Arc::clone(&tool.server),
        method: Some(Method::ToolsCall),
        original: Some(Arc::clone(&tool.original)),
        kind: Kind::Call,
        name: Arc::clone(&tool.original),
        effect: tool.effect,
        tool: Some(Arc::clone(tool)),
    })
}

/// Compares `Mcp-Param-*` headers with the arguments. Only modern HTTP clients send them; stdio has no headers.
/// Source: MCP 2026-07-28, basic/transports/streamable-http#Server Behavior for Custom Headers.
fn mirrored(inbound: &Inbound, tool: &Tool) -> Result<(), Refusal> {
    let headers = inbound.headers();
    let Some(params) = &tool.headers else {
        return Ok(());
    };
    if inbound.carrier() != Carrier::Http || inbound.client.era() == Era::Legacy {
        return Ok(());
    }
    let sent = |name: &str| Sent::collect(headers.get_all(name).iter().map(HeaderValue::as_bytes));
    params
        .validate(inbound.request.param_raw("arguments"), sent)
        .map_err(|mismatch| Refusal::HeaderMismatch(mismatch.to_string()))
}

fn prompt(inbound: &Inbound) -> Result<There, Refusal> {
    let name = text(inbound, "name")?;
    let prompt = inbound
        .view
        .prompt(&name)
        .ok_or_else(|| unknown("prompt", &name))?;
    Ok(there(
        &prompt.server,
        Method::PromptsGet,
        Kind::Get,
        Arc::clone(&prompt.original),
        true,
    ))
}

fn resource(inbound: &Inbound) -> Result<There, Refusal> {
    let uri = text(inbound, "uri")?;
    let server = inbound
        .view
        .resource(&uri)
        .ok_or_else(|| Refusal::UnknownResource(uri.to_string()))?;
    Ok(there(
        server,
        Method::ResourcesRead,
        Kind::Read,
        Arc::from(&*uri),
        false,
    ))
}

fn completion(inbound: &Inbound) -> Result<There, Refusal> {
    let missing =
        || Refusal::params("`completion/complete` needs `params.ref`, a `ref/prompt` or a `ref/resource`");
    let raw = inbound.request.raw();
    let reference = inbound.request.param("ref").ok_or_else(missing)?;
    let members = json::object(raw, reference).map_err(|_| missing())?;
    let member = |name| members.get(raw, name).and_then(|span| json::text(raw, span));
    match member("type").as_deref() {
        Some("ref/prompt") => {
            let name = member("name").ok_or_else(missing)?;
            match inbound.view.completion(Completion::Prompt(&name)) {
                Some((server, Some(original))) => Ok(there(
                    &server,
                    Method::CompletionComplete,
                    Kind::Complete,
                    original,
                    true,
                )),
                _ => Err(unknown("prompt", &name)),
            }
        }
        Some("ref/resource") => {
            let uri = member("uri").ok_or_else(missing)?;
            let (server, _) = inbound
                .view
                .completion(Completion::Resource(&uri))
                .ok_or_else(|| Refusal::UnknownResource(uri.to_string()))?;
            Ok(there(
                &server,
                Method::CompletionComplete,
                Kind::Complete,
                Arc::from(&*uri),
                false,
            ))
        }
        _ => Err(missing()),
    }
}

/// A task of a server, by the name that the client was given. Only modern clients get here.
fn task(inbound: &Inbound, method: Method) -> Result<There, Refusal> {
    let view = &inbound.view;
    let public = text(inbound, "taskId")?;
    let there = task_there(inbound, &public, method);
    if there.is_none() && !view.offers_tasks() {
        return Err(Refusal::UnknownMethod(inbound.request.method().to_owned()));
    }
    if !task::declared(&inbound.client.capabilities) {
        return Err(Refusal::TasksUndeclared);
    }
    there.ok_or_else(|| unknown("task", &public))
}

/// The task that this client calls `public`, as the target of a request.
fn task_there(inbound: &Inbound, public: &str, method: Method) -> Option<There> {
    let view = &inbound.view;
    let task = Task::open(public, view.sealer(), view.name(), inbound.client.principal())?;
    let server = view.servers().find(|server| **server.name() == *task.server)?;
    // It may have become another server since.
    if server.known().is_some_and(|facts| !facts.version.is_modern()) {
        return None;
    }
    Some(There {
        server: Arc::clone(server),
        method: Some(method),
        original: Some(task.id.into()),
        kind: Kind::Call,
        effect: view.effect(&task.server, &task.tool),
        name: task.tool.into(),
        tool: None,
    })
}

/// The server and its own id of a task that this client may follow, and the tool that it was made with.
pub(crate) fn followed(inbound: &Inbound, public: &str) -> Option<(Arc<Server>, Arc<str>, Arc<str>)> {
    let there = task_there(inbound, public, Method::TasksGet)?;
    // The arguments that it was called with are not known any more; it was allowed with them.
    let decision = decide(
        &inbound.client.caller,
        inbound.view.rules(),
        &there.action(),
        Circumstances::Listing,
    );
    let id = there.original.clone()?;
    // Not what would take a token with more scopes, although it is shown.
    matches!(decision, Decision::Allow(_) | Decision::Depends(_)).then_some((there.server, id, there.name))
}

/// A method that only a server can know passes where there is only one server it could be for.
fn vendor(inbound: &Inbound) -> Result<Target, Refusal> {
    let method = inbound.request.method();
    let server = inbound
        .view
        .only_server()
        .ok_or_else(|| Refusal::UnknownMethod(method.to_owned()))?;
    // Between eras a method that neither knows has no meaning (eras.md, section 3, last rows).
    if server
        .known()
        .is_none_or(|facts| facts.version.era() != inbound.client.era())
    {
        return Err(Refusal::UnknownMethod(method.to_owned()));
    }
    Ok(Target::Server(There {
        server: Arc::clone(server),
        method: Method::parse(method),
        original: None,
        kind: Kind::Call,
        name: Arc::from(method),
        effect: Classified::UNKNOWN,
        tool: None,
    }))
}

fn there(server: &Arc<Server>, method: Method, kind: Kind, name: Arc<str>, renamed: bool) -> There {
    There {
        server: Arc::clone(server),
        method: Some(method),
        original: renamed.then(|| Arc::clone(&name)),
        kind,
        name,
        effect: Classified::BY_METHOD,
        tool: None,
    }
}

fn unknown(kind: &'static str, name: &str) -> Refusal {
    Refusal::UnknownName {
        kind,
        name: name.to_owned(),
    }
}
