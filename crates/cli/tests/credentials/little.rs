//! A little HTTP server that keeps every request it gets, and answers as a test says.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn authorization(&self) -> &str {
        self.header("authorization")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(crate) fn method(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }
}

/// What it is answered with: a status, and a document.
pub(crate) type Said = (u16, String);

/// The server. It goes when this is dropped.
pub(crate) struct Little {
    pub(crate) origin: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _serving: JoinSet<()>,
}

impl Little {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (all, answer) = (Arc::clone(&asked), Arc::new(answer));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
                connections.spawn(async move {
                    // The gate may close a connection as it likes.
                    let _ = serve(stream, &all, &*answer).await;
                });
            }
        });
        Self {
            origin,
            asked,
            _serving: serving,
        }
    }

    /// A server of 2026-07-28 that has for each caller what `tools` says for its `Authorization`; `None`: it answers 401.
    pub(crate) async fn modern(tools: impl Fn(&str) -> Option<Vec<String>> + Send + Sync + 'static) -> Self {
        Self::start(move |asked| {
            let Some(tools) = tools(asked.authorization()) else {
                return (401, format!("nobody knows {}", asked.authorization()));
            };
            let result = match &*asked.method() {
                "server/discover" => json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"],
                    "capabilities": { "tools": {} }, "instructions": format!("tools: {tools:?}") }),
                "tools/list" => {
                    let tools: Vec<Value> = tools
                        .iter()
                        .map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }))
                        .collect();
                    json!({ "resultType": "complete", "tools": tools, "ttlMs": 60_000, "cacheScope": "private" })
                }
                "tools/call" => json!({ "resultType": "complete",
                    "content": [{ "type": "text", "text": asked.json()["params"]["name"] }] }),
                _ => json!({ "resultType": "complete" }),
            };
            (200, json!({ "jsonrpc": "2.0", "id": asked.json()["id"], "result": result }).to_string())
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    all: &Mutex<Vec<Asked>>,
    answer: &(impl Fn(&Asked) -> Said + ?Sized),
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut headers = Vec::new();
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, length)| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let asked = Asked {
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        let (status, said) = answer(&asked);
        all.lock().unwrap().push(asked);
        let media = if said.starts_with('{') {
            "application/json"
        } else {
            "text/plain"
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n",
            said.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(said.as_bytes()).await?;
    }
}
