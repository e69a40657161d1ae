//! One conversation with one endpoint: modern requests, whatever the server behind it speaks.

use std::{
    borrow::Cow,
    fmt::Write,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::StreamExt;
use gatepost_gateway::{Connection, Gate, HealthState, Server};
use gatepost_process::ShutdownSignals;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{
    client::{TargetArgs, notice::Notices},
    exit,
    failure::Failure,
    gate, logging, output,
};

/// How long the server has to end once there is nothing more to ask.
const GRACE: Duration = Duration::from_secs(1);

/// How often it is looked at whether the servers are there.
const GLANCE: Duration = Duration::from_millis(10);

/// After how long a wait is explained.
const PATIENCE: Duration = Duration::from_secs(2);

/// The answer of a well-behaved server never takes so many pages.
const MOST_PAGES: usize = 10_000;

/// Unknown names, and arguments that do not fit (2026-07-28 server/tools#Error Handling).
const UNKNOWN: i64 = -32602;
/// 2025-11-25 server/resources#Error Handling.
const RESOURCE_NOT_FOUND: i64 = -32002;
/// 2026-07-28 basic/index#Error Codes.
const MISSING_CAPABILITY: i64 = -32021;

/// A client of one endpoint.
pub(crate) struct Client {
    connection: Connection,
    ids: AtomicU64,
    notices: Notices,
    /// How to name this server on a command line again.
    pub(crate) repeated: String,
}

/// The parameters of a request, in order; each value is raw JSON.
#[derive(Debug, Default)]
pub(crate) struct Params(String);

/// What came back.
#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
    message: String,
    data: Option<serde_json::Value>,
}

/// Does `work` with a client of the target, and ends what was started for it whichever way it goes.
///
/// # Errors
/// Those of `work`, and when there is no server to talk to.
pub(crate) fn with_client<T>(
    args: &TargetArgs,
    work: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let target = args.target()?;
    logging::start_quietly()?;
    gate::block_on(async {
        let mut signals = ShutdownSignals::listen()
            .map_err(|error| Failure::new(format!("failed to listen for signals: {error}"), ""))?;
        let gate = gate::build(target.config, &target.modules_dir)?;
        let connection = Connection::open(&gate, &target.endpoint).map_err(|error| {
            Failure::new(
                error.to_string(),
                "`gatepost check` lists the servers and views; `--view` names one",
            )
            .code(exit::USAGE)
        })?;
        gate.open();
        let client = Client {
            connection,
            ids: AtomicU64::new(1),
            notices: Notices::default(),
            repeated: target.repeated,
        };
        let everything = async {
            client.meet(&gate, &target.endpoint).await?;
            work(&client).await
        };
        let outcome = tokio::select! {
            outcome = everything => outcome,
            signal = signals.next() => {
                Err(Failure::new(format!("interrupted by {signal}"), "").code(exit::INTERRUPTED))
            }
        };
        client.notices.clear();
        gate.drain();
        tokio::select! {
            () = gate.close(GRACE) => {}
            _ = signals.next() => {}
        }
        outcome
    })
}

/// What to do about a server that could not be talked to at all.
fn remedy(reason: &str) -> &'static str {
    if reason.contains("wants other credentials") {
        "present some with `--header 'Authorization: Bearer ${env:NAME}'`; the quotes are so that the shell leaves it as it is"
    } else if reason.contains("come back later") {
        "wait, then try again"
    } else {
        "check the URL or the command; GATEPOST_LOG=info shows what the server says"
    }
}

impl Client {
    /// Waits until every server of the endpoint has answered or failed: a first `npx` may download for a while, and a
    /// list without its tools would be wrong.
    async fn meet(&self, gate: &Gate, endpoint: &str) -> Result<(), Failure> {
        let snapshot = gate.snapshot();
        let servers = snapshot.servers().iter();
        // A view may show any server, its own name is that of none.
        let single = snapshot
            .servers()
            .iter()
            .any(|server| &**server.name() == endpoint);
        let servers: Vec<&Arc<Server>> = servers
            .filter(|server| !single || &**server.name() == endpoint)
            .collect();
        let unknown = |server: &&Arc<Server>| server.health().state == HealthState::Unknown;
        let started = Instant::now();
        let explained = started + PATIENCE;
        let until = started + longest(&servers);
        let mut silent = true;
        while servers.iter().any(unknown) && Instant::now() < until {
            tokio::time::sleep(GLANCE).await;
            if silent && Instant::now() > explained {
                silent = false;
                let names: Vec<&str> = servers
                    .iter()
                    .filter(|server| unknown(server))
                    .map(|s| &**s.name())
                    .collect();
                if !names.is_empty() {
                    output::words(&format!("waiting for {}\n", names.join(", ")));
                }
            }
        }
        for server in servers {
            let health = server.health();
            let greeted = health.version.is_some() || health.state == HealthState::Healthy;
            if greeted && health.state != HealthState::Unhealthy {
                continue;
            }
            let reason = output::harmless(health.reason.as_deref().unwrap_or("it does not answer"));
            let message = format!("server `{}`: {reason}", server.name());
            if single {
                let remedy = remedy(&reason);
                return Err(Failure::new(message, remedy).code(exit::SERVER));
            }
            let warn = output::style::WARNING;
            output::words(&format!(
                "{warn}warning{warn:#}: {message}; what it offers is missing\n"
            ));
        }
        // A list waits for what is still on its way, and an error in it will come again where it matters.
        let _ = self.ask("tools/list", Params::default()).await;
        Ok(())
    }

    /// Sends one request and waits for its result, showing on stderr what the server says meanwhile.
    ///
    /// # Errors
    /// The server's error, or the gate's about the server.
    pub(crate) async fn ask(&self, method: &str, params: Params) -> Result<Box<RawValue>, Failure> {
        let id = self.ids.fetch_add(1, Relaxed);
        let request = params.request(id, method);
        let mut answers = pin!(self.connection.send(request.into()).await);
        while let Some(message) = answers.next().await {
            let incoming: Incoming<'_> = serde_json::from_slice(&message).map_err(|error| {
                Failure::new(format!("failed to understand the answer: {error}"), "").code(exit::SERVER)
            })?;
            if let Some(method) = incoming.method {
                self.notices.show(&method, incoming.params);
                continue;
            }
            self.notices.clear();
            if let Some(error) = incoming.error {
                return Err(self.failed(method, &error));
            }
            let result = incoming.result.ok_or_else(|| {
                Failure::new("the answer has neither result nor error", "").code(exit::SERVER)
            })?;
            return complete(result);
        }
        let message = format!("the server ended the conversation before it answered {method}");
        Err(Failure::new(message, "GATEPOST_LOG=debug shows what happened").code(exit::SERVER))
    }

    /// All items of a list, each as the server wrote it. A server that has no such list has an empty one.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub(crate) async fn list(&self, method: &str, member: &str) -> Result<Vec<Box<RawValue>>, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut params = Params::default();
            if let Some(cursor) = &cursor {
                params.text("cursor", cursor);
            }
            let page = self.ask(method, params).await?;
            let page: std::collections::HashMap<&str, &RawValue> =
                serde_json::from_str(page.get()).map_err(odd)?;
            if let Some(list) = page.get(member) {
                items.extend(serde_json::from_str::<Vec<Box<RawValue>>>(list.get()).map_err(odd)?);
            }
            cursor = match page.get("nextCursor") {
                Some(next) => serde_json::from_str(next.get()).map_err(odd)?,
                None => None,
            };
            if cursor.is_none() {
                return Ok(items);
            }
        }
        Err(Failure::new(format!("{method} goes on for more than {MOST_PAGES} pages"), "").code(exit::SERVER))
    }

    fn failed(&self, method: &str, error: &RpcError) -> Failure {
        let message = output::harmless(&error.message);
        // The gate names the server in the data of what a server is to blame for.
        if error
            .data
            .as_ref()
            .is_some_and(|data| data.get("server").is_some_and(serde_json::Value::is_string))
        {
            let remedy = "check that server; GATEPOST_LOG=info shows what it says";
            return Failure::new(message, remedy).code(exit::SERVER);
        }
        let message = format!("{message} ({})", error.code);
        let kind = match (error.code, method) {
            (UNKNOWN, "tools/call") => "tools",
            (UNKNOWN, "prompts/get") => "prompts",
            (UNKNOWN | RESOURCE_NOT_FOUND, "resources/read") => "resources",
            (MISSING_CAPABILITY, _) => {
                let remedy = "the server wants to ask back; use a client that supports what it asks for";
                return Failure::new(message, remedy);
            }
            _ => return Failure::new(format!("{method}: {message}"), ""),
        };
        let remedy = format!("see what there is with `gatepost list {kind}{}`", self.repeated);
        Failure::new(message, remedy)
    }
}

/// How long the slowest of them may take to be greeted; each fails by itself before that.
fn longest(servers: &[&Arc<Server>]) -> Duration {
    let times = servers
        .iter()
        .map(|server| server.config().start_timeout + server.config().probe_timeout);
    times.max().unwrap_or_default() + GRACE
}

/// A result that wants more of the client is none: this one declared that it can answer nothing.
fn complete(result: &RawValue) -> Result<Box<RawValue>, Failure> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "resultType")]
        result_type: Option<Cow<'a, str>>,
    }
    let kind = serde_json::from_str::<Kind<'_>>(result.get()).map_err(odd)?;
    if kind.result_type.as_deref() == Some("input_required") {
        let message = "the server wants to ask back, which the command line cannot answer";
        return Err(Failure::new(
            message,
            "call it from a client that supports elicitation",
        ));
    }
    Ok(result.to_owned())
}

/// An answer that is JSON but not what the specification says.
#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
pub(crate) fn odd(error: serde_json::Error) -> Failure {
    Failure::new(
        format!("the server's answer is not what MCP says: {error}"),
        "`--json` shows it as it is",
    )
    .code(exit::SERVER)
}

impl Params {
    /// Adds a member whose value is JSON already.
    pub(crate) fn raw(&mut self, name: &str, json: &str) {
        let _ = write!(self.0, "{}:{json},", serde_json::Value::from(name));
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.raw(name, &serde_json::Value::from(text).to_string());
    }

    /// The request, in the form of 2026-07-28: its `_meta` says everything that a handshake used to say.
    fn request(&self, id: u64, method: &str) -> String {
        let meta = serde_json::json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "gatepost", "version": env!("CARGO_PKG_VERSION") },
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/logLevel": "info",
            "progressToken": id,
        });
        let method = serde_json::Value::from(method);
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{{{}"_meta":{meta}}}}}"#,
            self.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_json_and_its_arguments_are_untouched() {
        let mut params = Params::default();
        params.text("name", "a\"b");
        params.raw("arguments", r#"{"z":1,"a":123456789012345678901234567890}"#);
        let request = params.request(7, "tools/call");
        let parsed: serde_json::Value = serde_json::from_str(&request).unwrap();
        assert_eq!(parsed["params"]["name"], "a\"b");
        assert_eq!(parsed["params"]["_meta"]["progressToken"], 7);
        assert!(request.contains(r#"{"z":1,"a":123456789012345678901234567890}"#));
    }
}
