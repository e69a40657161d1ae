//! A whole gate in a test, in front of one small legacy server, entered where the transports enter it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gatepost_process::Supervisor;
use gatepost_protocol::{envelope::Message, json::Strictness};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

use crate::{
    Gate, Module, Serving,
    admit::Admitted,
    answer::Answer,
    inbound::{Arrival, Carrier, RequestId},
    path, respond,
};

/// The gate, and what its server heard.
pub(crate) struct Rig {
    pub(crate) gate: Arc<Gate>,
    heard: Heard,
    _data: tempfile::TempDir,
}

/// Lines that the server got, the connection's number before each.
type Heard = Arc<Mutex<Vec<String>>>;

/// What a client is told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) message: serde_json::Value,
    pub(crate) session: Option<String>,
}

impl Told {
    /// The code of the error; 0 for a result.
    pub(crate) fn code(&self) -> i64 {
        self.message["error"]["code"].as_i64().unwrap_or_default()
    }
}

/// A modern request's `_meta` members and headers.
pub(crate) const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

impl Rig {
    /// A gate that has read its server's lists. Settings of the server may be given in YAML.
    pub(crate) async fn start(more: &str) -> Self {
        Self::with(more, "").await
    }

    /// The same with settings of the whole gate besides, each with a comma before it.
    pub(crate) async fn with(more: &str, whole: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = serde_json::to_string(data.path()).unwrap();
        let yaml =
            format!("{{ data_dir: {folder}, servers: {{ s: {{ module: calculator{more} }} }}{whole} }}");
        let heard = Heard::default();
        let module = Small(Arc::clone(&heard));
        let modules = move |_: &str, _: &serde_json::Map<String, serde_json::Value>| {
            Ok(Arc::new(module.clone()) as Arc<dyn Module>)
        };
        let gate = Gate::build(yaml.parse().unwrap(), data.path(), &modules, Supervisor::none()).unwrap();
        gate.open();
        let endpoint = gate.endpoint("s").unwrap();
        let asker = crate::upstream::Asker::plain(&gate.governance.local);
        endpoint.catalog.settled(&endpoint.name, asker).await;
        // A list is not waited for longer than a client would like; a test has time.
        while !endpoint.catalog.report().servers[0].known {
            tokio::task::yield_now().await;
        }
        Self {
            gate,
            heard,
            _data: data,
        }
    }

    /// A message that arrived at `/mcp/s` and has a place.
    pub(crate) async fn admitted(&self, headers: &[(&str, &str)]) -> Admitted {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).unwrap(),
                    HeaderValue::try_from(*value).unwrap(),
                )
            })
            .collect();
        let arrival = Arrival {
            endpoint: self.gate.endpoint("s").unwrap(),
            headers,
            address: None,
            carrier: Carrier::Http,
            request_id: RequestId::next(0),
        };
        path::enter(&self.gate, arrival).await.ok().unwrap()
    }

    /// What a POST of `body` is answered with, refusals included.
    pub(crate) async fn answer(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let answer = path::posted(&self.gate, self.admitted(headers).await, body).await;
        answer.unwrap_or_else(|(refusal, about)| respond::refuse(&refusal, &about))
    }

    /// The same, for what is one message or none.
    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: &str) -> Told {
        match self.answer(headers, body).await {
            Answer::Whole {
                status,
                body,
                session,
            } => Told {
                status: status.as_u16(),
                message: serde_json::from_slice(&body.concat()).unwrap(),
                session,
            },
            Answer::Accepted => Told {
                status: 202,
                message: serde_json::Value::Null,
                session: None,
            },
            _ => panic!("{body} was answered with a stream, or not at all"),
        }
    }

    /// A modern request with all its headers; `params` are its other members, with a comma after them.
    pub(crate) async fn modern(&self, method: &str, params: &str) -> Answer {
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":"m","method":"{method}","params":{{{params}"_meta":{{{META}}}}}}}"#
        );
        self.answer(&headers, &body).await
    }

    /// Begins a legacy session of a client with these capabilities and returns its id.
    pub(crate) async fn session(&self, capabilities: &str) -> String {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"clientInfo":{{"name":"c","version":"1"}}}}}}"#
        );
        self.post(&[], &body).await.session.unwrap()
    }

    /// A legacy request in a session.
    pub(crate) async fn within(&self, session: &str, method: &str, params: &str) -> Told {
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#);
        self.post(&[("mcp-session-id", session)], &body).await
    }

    /// The records of the audit log so far.
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        for entry in std::fs::read_dir(self._data.path().join("audit")).unwrap() {
            let path = entry.unwrap().path();
            if let Ok(text) = std::fs::read_to_string(path) {
                let parsed = text.lines().filter_map(|line| serde_json::from_str(line).ok());
                lines.extend(parsed.filter(|line: &serde_json::Value| line["kind"].is_string()));
            }
        }
        lines
    }

    /// What the server heard of one method, the connection's number first.
    pub(crate) fn heard(&self, method: &str) -> Vec<String> {
        self.lines(&format!(r#""method":"{method}""#))
    }

    /// What the server heard that holds this, the connection's number first.
    pub(crate) fn lines(&self, wanted: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard
            .iter()
            .filter(|line| line.contains(wanted))
            .cloned()
            .collect()
    }
}

/// A legacy server with a tool that echoes, one that never answers, one that logs and reports progress, one that asks for
/// roots and does not wait for them, and a resource that can be watched.
#[derive(Clone)]
struct Small(Heard);

impl Module for Small {
    fn serve(&self, io: DuplexStream) -> Serving {
        let heard = Arc::clone(&self.0);
        Box::pin(async move {
            let (from, mut to) = tokio::io::split(io);
            let mut lines = BufReader::new(from).lines();
            let mut connection = None;
            while let Ok(Some(line)) = lines.next_line().await {
                {
                    let mut heard = heard.lock().unwrap();
                    let begun = heard.iter().filter(|line| line.contains(r#""initialize""#));
                    let number = *connection.get_or_insert(begun.count() + 1);
                    heard.push(format!("{number} {line}"));
                }
                let Ok(Message::Request(request)) = Message::parse(line.clone().into(), Strictness::Edge)
                else {
                    continue;
                };
                let outcome = match request.method() {
                    "initialize" => {
                        r#""result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"logging":{},"resources":{"subscribe":true}},"serverInfo":{"name":"small","version":"1"}}"#
                    }
                    "tools/list" => {
                        r#""result":{"tools":[{"name":"echo","inputSchema":{"type":"object"}},{"name":"hang","inputSchema":{"type":"object"}},{"name":"log","inputSchema":{"type":"object"}},{"name":"ask","inputSchema":{"type":"object"}}]}"#
                    }
                    "resources/list" => r#""result":{"resources":[{"uri":"a:b","name":"b"}]}"#,
                    "resources/templates/list" => r#""result":{"resourceTemplates":[]}"#,
                    "tools/call" if line.contains(r#""name":"hang""#) => continue,
                    "tools/call" => r#""result":{"content":[]}"#,
                    "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => r#""result":{}"#,
                    _ => r#""error":{"code":-32601,"message":"?"}"#,
                };
                let id = String::from_utf8_lossy(request.id().bytes()).into_owned();
                let mut said = String::new();
                if line.contains(r#""name":"ask""#) {
                    said.push_str("{\"jsonrpc\":\"2.0\",\"id\":\"r\",\"method\":\"roots/list\"}\n");
                }
                if line.contains(r#""name":"log""#) {
                    for level in ["debug", "warning", "odd", "critical"] {
                        said.push_str(&format!(
                            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"level\":\"{level}\",\"data\":1.0}}}}\n"
                        ));
                    }
                    let token = request.meta_raw("progressToken").map(String::from_utf8_lossy);
                    let token = token.as_deref().unwrap_or("0");
                    said.push_str(&format!(
                        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{token},\"progress\":1.0}}}}\n"
                    ));
                }
                said.push_str(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{outcome}}}\n"));
                if to.write_all(said.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
    }
}
