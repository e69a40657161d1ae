//! The gate's end of a module's pipe, for tests: raw lines, in both eras.

use std::{sync::Arc, time::Duration};

use gatepost_gateway::Module;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

/// How the caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    Modern,
}

pub(crate) const BOTH: [Era; 2] = [Era::Legacy, Era::Modern];

pub(crate) struct Caller {
    io: BufReader<DuplexStream>,
    era: Era,
    next_id: u64,
    /// Notifications that arrived while an answer was awaited.
    heard: Vec<Value>,
}

impl Caller {
    pub(crate) async fn connect(module: &Arc<dyn Module>, era: Era) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(module.serve(far));
        let mut caller = Self {
            io: BufReader::new(near),
            era,
            next_id: 1,
            heard: Vec::new(),
        };
        if era == Era::Legacy {
            let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
                                "clientInfo": {"name": "t", "version": "1"}});
            caller.ask("initialize", params).await;
            caller
                .write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
                .await;
        }
        caller
    }

    pub(crate) async fn write(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.io.get_mut().write_all(line.as_bytes()).await.unwrap();
    }

    async fn read(&mut self) -> Value {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(30), self.io.read_line(&mut line));
        assert_ne!(
            read.await.expect("a line in time").unwrap(),
            0,
            "the module closed the pipe"
        );
        serde_json::from_str(&line).unwrap()
    }

    /// Sends a request without waiting for its answer.
    pub(crate) async fn send(&mut self, method: &str, mut params: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if self.era == Era::Modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let mut request = json!({"jsonrpc": "2.0", "id": id, "method": method});
        request["params"] = params;
        self.write(&request).await;
        id
    }

    /// The whole answer to a request.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        loop {
            let message = self.read().await;
            if message["id"] == json!(id) && message.get("method").is_none() {
                return message;
            }
            self.heard.push(message);
        }
    }

    /// The result of a request that must succeed.
    pub(crate) async fn result(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(method, params).await;
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].take()
    }

    /// The result of a tool call, whichever way it went.
    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let mut params = json!({"name": tool});
        params["arguments"] = arguments;
        self.result("tools/call", params).await
    }

    /// The structured content of a call that must succeed.
    pub(crate) async fn value(&mut self, tool: &str, arguments: Value) -> Value {
        let mut result = self.call(tool, arguments).await;
        assert_ne!(result["isError"], true, "{result}");
        result["structuredContent"].take()
    }

    /// The text of a call that must succeed.
    pub(crate) async fn text(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        assert_ne!(result["isError"], true, "{result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// The message of a call that must fail in a way a model can read.
    pub(crate) async fn failure(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        assert_eq!(result["isError"], true, "{result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// The next notification with this method.
    pub(crate) async fn hear(&mut self, method: &str) -> Value {
        loop {
            if let Some(place) = self.heard.iter().position(|message| message["method"] == method) {
                return self.heard.remove(place);
            }
            let message = self.read().await;
            self.heard.push(message);
        }
    }

    /// Every listed tool has what a model needs: words, closed input, honest hints.
    pub(crate) async fn check_tools(&mut self, expected: &[&str]) -> Value {
        let tools = self.result("tools/list", json!({})).await["tools"].take();
        let mut names: Vec<&str> = tools
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, expected);
        for tool in tools.as_array().unwrap() {
            assert!(tool["description"].as_str().unwrap().len() > 40, "{tool}");
            assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
            assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{tool}");
            assert!(tool["annotations"]["readOnlyHint"].is_boolean(), "{tool}");
            for (name, property) in tool["inputSchema"]["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{name} of {tool}");
            }
        }
        tools
    }
}
