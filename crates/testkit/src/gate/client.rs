//! A client of either era that writes its messages as text.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use serde_json::Value;

use super::events::Events;
use super::fail;
use super::post::{Answer, Post, Reply};

pub use crate::odd::Era;

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

/// A client at one endpoint. Ids count upwards from 1 for each client, so that those of two clients meet.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    path: String,
    era: Era,
    version: String,
    capabilities: String,
    /// More members of `_meta`, as text after a comma.
    meta: String,
    /// Headers of every request.
    headers: Vec<(String, String)>,
    session: Option<String>,
    initialized: Value,
    last_id: AtomicU64,
}

impl Client {
    /// A client of 2026-07-28.
    pub fn modern(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            path: path.to_owned(),
            era: Era::Modern,
            version: MODERN.to_owned(),
            capabilities: "{}".to_owned(),
            meta: String::new(),
            headers: Vec::new(),
            session: None,
            initialized: Value::Null,
            last_id: AtomicU64::new(0),
        }
    }

    /// A client of 2025-11-25, after its handshake.
    pub async fn legacy(address: SocketAddr, path: &str) -> Self {
        Self::legacy_of(address, path, LEGACY, "{}").await
    }

    /// A client of an older version, with capabilities, after its handshake.
    pub async fn legacy_of(address: SocketAddr, path: &str, version: &str, capabilities: &str) -> Self {
        Self::modern(address, path).greeting(version, capabilities).await
    }

    /// The same client as one of an older version, with capabilities, after its handshake.
    pub async fn greeting(self, version: &str, capabilities: &str) -> Self {
        let mut client = self;
        client.era = Era::Legacy;
        client.version = version.to_owned();
        client.capabilities = capabilities.to_owned();
        let params = format!(
            r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{{"name":"testkit","version":"0"}}}}"#
        );
        let answer = client.ask("initialize", &params).await;
        client.session = answer.header("mcp-session-id").map(str::to_owned);
        client.initialized = answer.json()["result"].clone();
        if client.initialized.is_null() {
            fail(format_args!("no handshake: {} {}", answer.status, answer.text()));
        }
        let accepted = client.notify("notifications/initialized", "{}").await;
        if accepted.status != 202 {
            fail(format_args!(
                "notifications/initialized: {} {}",
                accepted.status,
                accepted.text()
            ));
        }
        client
    }

    /// The same client of a session that began earlier, perhaps at another address.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// The same client, of 2026-07-28, with these capabilities on each request.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: &str) -> Self {
        self.capabilities = capabilities.to_owned();
        self
    }

    /// The same client with more members of `_meta` on each request: `"progressToken":7,"com.example/a":1`.
    #[must_use]
    pub fn with_meta(mut self, members: &str) -> Self {
        self.meta = members.to_owned();
        self
    }

    /// The same client, who presents a key or a token with each request.
    #[must_use]
    pub fn bearing(self, credential: &str) -> Self {
        self.with_header("authorization", &format!("Bearer {credential}"))
    }

    /// The same client with this header on each request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same client without any of the headers that it was told to send, such as another's session for a thief.
    #[must_use]
    pub fn without_headers(mut self) -> Self {
        self.headers.clear();
        self
    }

    /// The era it speaks.
    pub fn era(&self) -> Era {
        self.era
    }

    /// Its session, where it has one.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The result of its handshake.
    pub fn initialized(&self) -> &Value {
        &self.initialized
    }

    /// A request with an id of its own; `params` is the text of an object without `_meta`.
    pub fn request(&self, method: &str, params: &str) -> Post {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        self.request_as(&id.to_string(), method, params)
    }

    /// A request with this text as its id.
    pub fn request_as(&self, id: &str, method: &str, params: &str) -> Post {
        let params = self.with_own_meta(params);
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        self.post(method, &params, body)
    }

    /// A POST with the headers that belong to `method` and `params`, and any body.
    pub fn post(&self, method: &str, params: &str, body: String) -> Post {
        let mut post = self.with_own_headers(Post::json(&self.path, body));
        match (self.era, &self.session) {
            (Era::Modern, _) => {
                post = post
                    .header("mcp-protocol-version", &self.version)
                    .header("mcp-method", method);
                if let Some(name) = named(method, params) {
                    post = post.header("mcp-name", encoded(&name));
                }
            }
            (Era::Legacy, Some(session)) => {
                post = post
                    .header("mcp-session-id", session)
                    .header("mcp-protocol-version", &self.version);
            }
            (Era::Legacy, None) => {}
        }
        post
    }

    /// Sends a request and waits for the whole answer.
    pub async fn ask(&self, method: &str, params: &str) -> Answer {
        self.send(&self.request(method, params)).await
    }

    /// Calls a tool; `arguments` is the text of an object.
    pub async fn call(&self, tool: &str, arguments: &str) -> Answer {
        self.send(&self.calling(tool, arguments)).await
    }

    /// The request that calls a tool.
    pub fn calling(&self, tool: &str, arguments: &str) -> Post {
        self.request(
            "tools/call",
            &format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#),
        )
    }

    /// Calls a tool and waits for the head of the answer only.
    pub async fn begin(&self, tool: &str, arguments: &str) -> Reply {
        self.calling(tool, arguments).send(self.address).await
    }

    /// Sends a notification.
    pub async fn notify(&self, method: &str, params: &str) -> Answer {
        let params = self.with_own_meta(params);
        let body = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
        self.send(&self.post(method, &params, body)).await
    }

    /// Answers a server's question: `outcome` is `"result":…` or `"error":…`.
    pub async fn respond(&self, id: &Value, outcome: &str) -> Answer {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},{outcome}}}"#);
        self.send(&self.post("", "{}", body)).await
    }

    /// Sends a request that was made before.
    pub async fn send(&self, post: &Post) -> Answer {
        post.send(self.address).await.whole().await
    }

    /// Opens the stream on which a legacy server speaks by itself.
    pub async fn listen(&self) -> Events {
        let get = self.bare(Method::GET).header("accept", "text/event-stream");
        get.send(self.address).await.events()
    }

    /// Opens a modern subscription, under this text as its id; `filter` is the text of an object.
    pub async fn subscribe(&self, id: &str, filter: &str) -> Events {
        let params = format!(r#"{{"notifications":{filter}}}"#);
        self.request_as(id, "subscriptions/listen", &params)
            .send(self.address)
            .await
            .events()
    }

    /// Ends the session.
    pub async fn delete(&self) -> Answer {
        self.send(&self.bare(Method::DELETE)).await
    }

    /// A request without a body, in the session.
    pub fn bare(&self, verb: Method) -> Post {
        let mut post = self.with_own_headers(Post::new(verb, &self.path));
        if let Some(session) = &self.session {
            post = post
                .header("mcp-session-id", session)
                .header("mcp-protocol-version", &self.version);
        }
        post
    }

    fn with_own_headers(&self, post: Post) -> Post {
        self.headers
            .iter()
            .fold(post, |post, (name, value)| post.header(name, value))
    }

    /// The text of `params` with the `_meta` that belongs there.
    fn with_own_meta(&self, params: &str) -> String {
        let mut members = Vec::new();
        if self.era == Era::Modern {
            members.push(format!(
                concat!(
                    r#""io.modelcontextprotocol/protocolVersion":"{}","io.modelcontextprotocol/clientCapabilities":{},"#,
                    r#""io.modelcontextprotocol/clientInfo":{{"name":"testkit","version":"0"}}"#
                ),
                self.version, self.capabilities
            ));
        }
        if !self.meta.is_empty() {
            members.push(self.meta.clone());
        }
        if members.is_empty() {
            return params.to_owned();
        }
        let meta = members.join(",");
        let rest = params.trim_start().strip_prefix('{').unwrap_or(params);
        let comma = if rest.trim_start().starts_with('}') {
            ""
        } else {
            ","
        };
        format!(r#"{{"_meta":{{{meta}}}{comma}{rest}"#)
    }
}

/// What `Mcp-Name` repeats (M:basic/transports/streamable-http#Standard Request Headers).
fn named(method: &str, params: &str) -> Option<String> {
    // Only these are read: another parameter may hold a number that no program can represent.
    #[derive(serde::Deserialize)]
    struct Named {
        name: Option<String>,
        uri: Option<String>,
    }
    let named: Named = serde_json::from_str(params).ok()?;
    match method {
        "tools/call" | "prompts/get" => named.name,
        "resources/read" => named.uri,
        _ => None,
    }
}

/// M:basic/transports/streamable-http#Value Encoding.
fn encoded(value: &str) -> String {
    let plain = value.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && value.trim() == value
        && !value.starts_with("=?base64?");
    if plain {
        return value.to_owned();
    }
    format!("=?base64?{}?=", BASE64_STANDARD.encode(value))
}
