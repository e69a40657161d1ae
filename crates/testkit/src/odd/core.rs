//! The server behind all transports: its switches, its memory of what happened, and the dispatch.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::faults;
use super::out::{Op, Out};
use super::received::Received;
use super::table::{self, TOOLS, filled};
use super::{Behaviour, Cursors, Era, Odd};

/// Everything that outlives one message.
#[derive(Debug, Default)]
pub(super) struct Core {
    state: Mutex<State>,
    pub(super) connections: AtomicU64,
    pub(super) abandoned: AtomicU64,
    next: AtomicU64,
    record: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct State {
    odd: Odd,
    received: Vec<Received>,
    sessions: HashSet<String>,
    /// The streams of the 2024-11-05 transport, by session.
    channels: HashMap<String, Out>,
    listeners: Vec<Listener>,
    /// Open questions to clients, by the text of their id.
    asks: HashMap<String, oneshot::Sender<String>>,
    grown: usize,
    grandchild: Option<u32>,
}

/// Somebody who wants to hear what changes.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    pub(super) out: Out,
    /// The id and filter of a `subscriptions/listen`; without it everything is sent, as legacy channels do.
    pub(super) subscription: Option<(String, Filter)>,
}

/// What a subscription asks for (M:basic/patterns/subscriptions#Notification Filter).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: Vec<String>,
}

impl Filter {
    fn wants(&self, method: &str, uri: Option<&str>) -> bool {
        match method {
            "notifications/tools/list_changed" => self.tools_list_changed,
            "notifications/prompts/list_changed" => self.prompts_list_changed,
            "notifications/resources/list_changed" => self.resources_list_changed,
            _ => uri.is_some_and(|uri| self.resource_subscriptions.iter().any(|wanted| wanted == uri)),
        }
    }
}

/// A JSON-RPC message of any kind, its parts as they came.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) id: Option<Box<RawValue>>,
    pub(super) method: Option<String>,
    params: Option<Box<RawValue>>,
}

/// The parts of any request's parameters that this server looks at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Params {
    pub(super) name: Option<String>,
    pub(super) uri: Option<String>,
    cursor: Option<String>,
    protocol_version: Option<String>,
    pub(super) arguments: Option<Box<RawValue>>,
    pub(super) input_responses: Option<Box<RawValue>>,
    notifications: Option<Filter>,
    #[serde(rename = "_meta")]
    pub(super) meta: Option<Meta>,
}

/// The parts of `_meta` that this server looks at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    #[serde(rename = "progressToken")]
    pub(super) progress_token: Option<Box<RawValue>>,
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    pub(super) version: Option<String>,
}

/// One request under way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) core: Arc<Core>,
    pub(super) era: Era,
    pub(super) id: Box<RawValue>,
    pub(super) method: String,
    pub(super) params: Params,
    pub(super) session: Option<String>,
    pub(super) out: Out,
}

impl Core {
    pub(super) fn new(odd: Odd, record: Option<PathBuf>) -> Arc<Self> {
        let core = Self {
            record,
            ..Self::default()
        };
        core.state().odd = odd;
        Arc::new(core)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn odd(&self) -> Odd {
        self.state().odd.clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Odd)) {
        change(&mut self.state().odd);
    }

    pub(super) fn receive(&self, received: Received) {
        if let Some(record) = &self.record {
            // A record that cannot be written shows as an empty one in the test.
            _ = received.append_to(record);
        }
        self.state().received.push(received);
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.state().received.clone()
    }

    pub(super) fn forget_received(&self) {
        self.state().received.clear();
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn new_session(&self) -> String {
        let session = format!("odd-session-{}", self.number());
        self.state().sessions.insert(session.clone());
        session
    }

    pub(super) fn has_session(&self, session: &str) -> bool {
        self.state().sessions.contains(session)
    }

    /// Forgets `session`, or all of them where a transport has none; whether there was any.
    pub(super) fn forget_session(&self, session: Option<&str>) -> bool {
        let sessions = &mut self.state().sessions;
        match session {
            Some(session) => sessions.remove(session),
            None => sessions.drain().count() > 0,
        }
    }

    pub(super) fn keep_channel(&self, session: &str, out: Out) {
        self.state().channels.insert(session.to_owned(), out);
    }

    pub(super) fn channel(&self, session: &str) -> Option<Out> {
        let state = self.state();
        let out = state
            .channels
            .get(session)
            .filter(|_| state.sessions.contains(session))?;
        (!out.is_closed()).then(|| out.clone())
    }

    pub(super) fn sessions(&self) -> usize {
        self.state().sessions.len()
    }

    pub(super) fn grow(&self) {
        self.state().grown += 1;
    }

    pub(super) fn grandchild(&self) -> Option<u32> {
        self.state().grandchild
    }

    pub(super) fn set_grandchild(&self, pid: u32) {
        self.state().grandchild = Some(pid);
    }

    pub(super) fn listen(&self, listener: Listener) {
        self.state().listeners.push(listener);
    }

    pub(super) fn listeners(&self) -> usize {
        let listeners = &mut self.state().listeners;
        listeners.retain(|listener| !listener.out.is_closed());
        listeners.len()
    }

    /// Tells everybody who wants to know; `uri` is what `notifications/resources/updated` is about.
    pub(super) async fn announce(&self, method: &str, uri: Option<&str>) {
        self.listeners();
        let listeners = self.state().listeners.clone();
        for listener in listeners {
            let mut params = uri.map_or_else(Vec::new, |uri| vec![format!(r#""uri":"{uri}""#)]);
            if let Some((id, filter)) = &listener.subscription {
                if !filter.wants(method, uri) {
                    continue;
                }
                params.push(format!(
                    r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#
                ));
            }
            let message = notification(method, &format!("{{{}}}", params.join(",")));
            listener.out.offer(Op::Message(message)).await;
        }
    }

    /// Says this to every legacy channel, whatever it is.
    pub(super) async fn say(&self, message: &str) {
        self.listeners();
        let listeners = self.state().listeners.clone();
        for listener in listeners.iter().filter(|one| one.subscription.is_none()) {
            let message = Op::Message(Bytes::copy_from_slice(message.as_bytes()));
            listener.out.offer(message).await;
        }
    }

    /// Hands a client's answer to the call that asked.
    pub(super) fn answered(&self, id: &RawValue, message: &str) {
        let asked = self.state().asks.remove(id.get());
        if let Some(asked) = asked {
            // The call may have been cancelled meanwhile.
            _ = asked.send(message.to_owned());
        }
    }

    /// All the tools there are now, as they are listed.
    fn definitions(&self) -> Vec<String> {
        let state = self.state();
        let odd = TOOLS
            .iter()
            .filter(|_| state.odd.odd_tools)
            .map(|tool| tool.definition().into_owned());
        let prefix = &state.odd.prefix;
        let plain = (0..state.odd.plain_tools).map(|index| {
            table::plain_definition(&format!("{prefix}_{index:04}"), "answers with its arguments")
        });
        odd.chain(plain)
            .chain((1..=state.grown).map(faults::grown))
            .collect()
    }
}

impl Message {
    /// Reads one message.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The parameters; what does not fit counts as absent.
    pub(super) fn params(&self) -> Params {
        self.params
            .as_ref()
            .and_then(|params| serde_json::from_str(params.get()).ok())
            .unwrap_or_default()
    }
}

impl Call {
    /// Answers the request, or does not, as the switches say. Ends when the client has gone.
    pub(super) async fn play(self) {
        let finished = tokio::select! {
            biased;
            () = self.answer() => true,
            () = self.out.closed() => false,
        };
        if !finished {
            self.core.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn answer(&self) {
        let odd = self.core.odd();
        match odd.methods.get(&self.method).cloned().unwrap_or_default() {
            Behaviour::Natural => {}
            Behaviour::Silence => std::future::pending().await,
            Behaviour::Html => return self.out.send(faults::html()).await,
            Behaviour::Exit => return self.out.send(Op::Die).await,
            Behaviour::Error(code) => return self.error(code, "as told").await,
            Behaviour::Status(status) => {
                return self
                    .out
                    .send(Op::Reply {
                        status,
                        content_type: "text/plain",
                        body: Bytes::new(),
                    })
                    .await;
            }
            Behaviour::Slow(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Behaviour::Result(result) => return self.result(result.as_bytes()).await,
        }
        match (self.method.as_str(), self.era) {
            ("server/discover", Era::Modern) => {
                self.result(table::discovered(&["2026-07-28"]).as_bytes()).await;
            }
            ("initialize", Era::Legacy) => {
                let asked = self.params.protocol_version.as_deref().unwrap_or_default();
                let version = odd.version.as_deref().unwrap_or(asked);
                self.result(table::initialized(version).as_bytes()).await;
            }
            ("tools/list", _) => self.list(&odd).await,
            ("tools/call", _) => self.call(&odd).await,
            ("subscriptions/listen", Era::Modern) => self.listen().await,
            ("ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe", Era::Modern) => {
                self.unknown().await;
            }
            (method, era) => match table::fixed_result(method, era) {
                Some(result) => self.result(result.as_bytes()).await,
                None => self.unknown().await,
            },
        }
    }

    async fn call(&self, odd: &Odd) {
        let name = self.params.name.clone().unwrap_or_default();
        if name == "id_last" {
            let result = table::fixed_result(&name, self.era).unwrap_or_default();
            let id = self.id.get();
            let message =
                format!(r#"{{"a":{{"id":0}},"result":{result},"jsonrpc":"2.0","id":{id},"z":1E+2}}"#);
            return self.out.send(Op::Last(message.into())).await;
        }
        let plain = name.starts_with(&format!("{}_", odd.prefix)) || name.starts_with("grown_");
        if let Some(result) = table::fixed_result(&name, self.era) {
            self.result(result.as_bytes()).await;
        } else if faults::play(self, &name).await {
        } else if plain {
            self.text(self.params.arguments.as_deref().map_or("{}", |raw| raw.get()))
                .await;
        } else {
            self.error(-32602, "Unknown tool").await;
        }
    }

    async fn list(&self, odd: &Odd) {
        let all = self.core.definitions();
        let page = if odd.page == 0 { all.len().max(1) } else { odd.page };
        let start = match self.params.cursor.as_deref() {
            None => 0,
            Some("") => page,
            Some(cursor) => match cursor
                .strip_prefix("after ")
                .and_then(|number| number.parse().ok())
            {
                Some(start) => start,
                None => return self.error(-32602, "Unknown cursor").await,
            },
        };
        let end = (start + page).min(all.len());
        let next = match odd.cursors {
            Cursors::Loop => Some("after 0".to_owned()),
            _ if end >= all.len() => None,
            Cursors::EmptyFirst if start == 0 => Some(String::new()),
            _ => Some(format!("after {end}")),
        };
        let next = next.map_or_else(String::new, |cursor| format!(r#","nextCursor":"{cursor}""#));
        let tools = all.get(start..end).unwrap_or_default().join(",");
        let result = filled(&format!(r#"{{@R"tools":[{tools}]{next}@C}}"#), self.era);
        self.result(result.as_bytes()).await;
    }

    /// Stays open, as subscriptions do (M:basic/patterns/subscriptions#Acknowledgment).
    async fn listen(&self) {
        let id = self.id.get().to_owned();
        let filter = self.params.notifications.clone().unwrap_or_default();
        let uris = serde_json::to_string(&filter.resource_subscriptions).unwrap_or_default();
        let granted = format!(
            concat!(
                r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{{"toolsListChanged":{tools},"#,
                r#""promptsListChanged":{prompts},"resourcesListChanged":{resources},"resourceSubscriptions":{uris}}}}}"#
            ),
            id = id,
            tools = filter.tools_list_changed,
            prompts = filter.prompts_list_changed,
            resources = filter.resources_list_changed,
            uris = uris
        );
        self.notify("notifications/subscriptions/acknowledged", &granted)
            .await;
        self.core.listen(Listener {
            out: self.out.clone(),
            subscription: Some((id, filter)),
        });
        std::future::pending::<()>().await;
    }

    /// Sends a request of our own and waits for its answer: the whole message, byte for byte.
    pub(super) async fn ask(&self, method: &str, params: &str) -> String {
        // Small numbers on purpose: they meet the client's own ids.
        let id = self.core.number().to_string();
        let (answer, answered) = oneshot::channel();
        self.core.state().asks.insert(id.clone(), answer);
        let request = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        self.out.send(Op::Message(request.into())).await;
        match answered.await {
            Ok(answer) => answer,
            // The server is being taken down.
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) async fn notify(&self, method: &str, params: &str) {
        self.out.send(Op::Message(notification(method, params))).await;
    }

    pub(super) async fn result(&self, result: &[u8]) {
        self.envelope("result", result).await;
    }

    /// A result with one text, escaped as JSON demands.
    pub(super) async fn text(&self, text: &str) {
        let text = serde_json::Value::from(text);
        self.result(
            filled(
                &format!(r#"{{@R"content":[{{"type":"text","text":{text}}}]}}"#),
                self.era,
            )
            .as_bytes(),
        )
        .await;
    }

    pub(super) async fn error(&self, code: i64, message: &str) {
        self.envelope(
            "error",
            format!(r#"{{"code":{code},"message":"{message}"}}"#).as_bytes(),
        )
        .await;
    }

    /// The method does not exist: over modern HTTP a 404 too (M:basic/transports/streamable-http#Protocol Version Header).
    async fn unknown(&self) {
        let body = self.message("error", br#"{"code":-32601,"message":"Method not found"}"#);
        if self.era == Era::Modern {
            self.out
                .send(Op::Reply {
                    status: 404,
                    content_type: "application/json",
                    body,
                })
                .await;
        } else {
            self.out.send(Op::Last(body)).await;
        }
    }

    pub(super) async fn envelope(&self, key: &str, value: &[u8]) {
        self.out.send(Op::Last(self.message(key, value))).await;
    }

    pub(super) fn message(&self, key: &str, value: &[u8]) -> Bytes {
        let front = format!(r#"{{"jsonrpc":"2.0","id":{},"{key}":"#, self.id.get());
        [front.as_bytes(), value, b"}"].concat().into()
    }
}

fn notification(method: &str, params: &str) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#).into()
}
