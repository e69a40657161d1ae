//! Both eras, driven by raw lines: what the gate writes is what the tests write.

use rmcp::{
    ErrorData, RoleServer,
    handler::server::{
        router::{prompt::PromptRouter, tool::ToolRouter},
        wrapper::Parameters,
    },
    model::{
        PromptMessage, ReadResourceRequestParams, ReadResourceResponse, Role, ServerCapabilities,
        ServerConfig,
    },
    prompt, prompt_handler, prompt_router, schemars,
    service::RequestContext,
    tool, tool_handler, tool_router,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

use super::*;

#[derive(Clone)]
struct Sample {
    tool_router: ToolRouter<Self>,
    prompt_router: PromptRouter<Self>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Echo {
    text: String,
}

#[tool_router]
impl Sample {
    fn new() -> Self {
        Self {
            tool_router: Self::tool_router(),
            prompt_router: Self::prompt_router(),
        }
    }

    #[tool(description = "Says the text again.")]
    async fn echo(&self, Parameters(Echo { text }): Parameters<Echo>) -> String {
        text
    }

    #[tool(description = "Panics.")]
    async fn boom(&self) -> String {
        panic!("the secret is 42")
    }
}

#[prompt_router]
impl Sample {
    #[prompt(description = "Panics.")]
    async fn bang(&self) -> Vec<PromptMessage> {
        if self.prompt_router.map.is_empty() {
            return vec![PromptMessage::new_text(Role::User, "quiet")];
        }
        panic!("the secret is 43")
    }
}

#[tool_handler(router = self.tool_router)]
#[prompt_handler(router = self.prompt_router)]
impl ServerHandler for Sample {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_prompts()
                .enable_resources()
                .build(),
        )
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        panic!("no {}", request.uri)
    }
}

struct Wire {
    io: BufReader<DuplexStream>,
}

impl Wire {
    fn open() -> Self {
        let (near, far) = tokio::io::duplex(4096);
        let sample = Sample::new();
        tokio::spawn(module(move || sample.clone()).serve(far));
        Self {
            io: BufReader::new(near),
        }
    }

    async fn write(&mut self, message: &Value) {
        let mut line = message.to_string();
        line.push('\n');
        self.io.get_mut().write_all(line.as_bytes()).await.unwrap();
    }

    async fn read(&mut self) -> Value {
        let mut line = String::new();
        let read = tokio::time::timeout(std::time::Duration::from_secs(20), self.io.read_line(&mut line));
        assert_ne!(
            read.await.expect("an answer in time").unwrap(),
            0,
            "the module closed the pipe"
        );
        serde_json::from_str(&line).unwrap()
    }

    async fn ask(&mut self, message: Value) -> Value {
        self.write(&message).await;
        let answer = self.read().await;
        assert_eq!(answer["id"], message["id"], "{answer}");
        answer
    }

    /// The legacy opening.
    async fn initialize(&mut self, version: &str) -> Value {
        let answer = self
            .ask(json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {
                "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}))
            .await;
        self.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        answer
    }
}

/// A request in the 2026-07-28 form.
fn modern(id: u32, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn legacy(id: u32, method: &str, params: Value) -> Value {
    let mut request = json!({"jsonrpc": "2.0", "id": id, "method": method});
    request["params"] = params;
    request
}

#[tokio::test]
async fn a_modern_caller_discovers_and_calls_without_a_handshake() {
    let mut wire = Wire::open();
    let found = wire.ask(modern(1, "server/discover", json!({}))).await;
    let versions = found["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{found}");
    let answer = wire
        .ask(modern(
            2,
            "tools/call",
            json!({"name": "echo", "arguments": {"text": "hé"}}),
        ))
        .await;
    assert_eq!(answer["result"]["content"][0]["text"], "hé");
    assert_eq!(answer["result"]["resultType"], "complete");
    let list = wire.ask(modern(3, "tools/list", json!({}))).await;
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 2);
    assert!(
        list["result"]["ttlMs"].is_u64(),
        "the modern era wants caching hints: {list}"
    );
}

#[tokio::test]
async fn a_legacy_caller_shakes_hands_at_every_version() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut wire = Wire::open();
        assert_eq!(
            wire.initialize(version).await["result"]["protocolVersion"],
            version
        );
        let answer = wire
            .ask(legacy(
                2,
                "tools/call",
                json!({"name": "echo", "arguments": {"text": "a"}}),
            ))
            .await;
        assert_eq!(answer["result"]["content"][0]["text"], "a");
        assert_eq!(
            answer["result"].get("resultType"),
            None,
            "a field of the later era: {answer}"
        );
    }
}

#[tokio::test]
async fn a_probe_may_be_followed_by_a_handshake_and_a_handshake_by_modern_requests() {
    let mut wire = Wire::open();
    wire.ask(modern(1, "server/discover", json!({}))).await;
    assert_eq!(
        wire.initialize("2025-11-25").await["result"]["protocolVersion"],
        "2025-11-25"
    );
    let modern_answer = wire
        .ask(modern(
            2,
            "tools/call",
            json!({"name": "echo", "arguments": {"text": "m"}}),
        ))
        .await;
    assert_eq!(
        modern_answer["result"]["resultType"], "complete",
        "{modern_answer}"
    );
    let legacy_answer = wire
        .ask(legacy(
            3,
            "tools/call",
            json!({"name": "echo", "arguments": {"text": "l"}}),
        ))
        .await;
    assert_eq!(legacy_answer["result"]["content"][0]["text"], "l");
}

#[tokio::test]
async fn a_panic_answers_its_own_request_and_nothing_else() {
    for era in ["modern", "legacy"] {
        let mut wire = Wire::open();
        let form = if era == "modern" { modern } else { legacy };
        if era == "legacy" {
            wire.initialize("2025-11-25").await;
        }
        for (id, method, params, named) in [
            (
                1,
                "tools/call",
                json!({"name": "boom", "arguments": {}}),
                "tool `boom`",
            ),
            (2, "prompts/get", json!({"name": "bang"}), "prompt `bang`"),
            (3, "resources/read", json!({"uri": "x:y"}), "resource `x:y`"),
        ] {
            let answer = wire.ask(form(id, method, params)).await;
            assert_eq!(answer["error"]["code"], -32603, "{answer}");
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.starts_with(named), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
        let answer = wire
            .ask(form(
                4,
                "tools/call",
                json!({"name": "echo", "arguments": {"text": "on"}}),
            ))
            .await;
        assert_eq!(answer["result"]["content"][0]["text"], "on");
    }
}

#[tokio::test]
async fn malformed_parameters_are_answered_with_their_id() {
    let mut wire = Wire::open();
    wire.initialize("2025-11-25").await;
    for (id, params) in [
        (1, json!({})),
        (2, json!({"name": 7})),
        (3, json!({"name": "none"})),
        (4, json!([1])),
        (6, json!({"name": "echo", "_meta": 3})),
    ] {
        let answer = wire.ask(legacy(id, "tools/call", params)).await;
        assert!(answer["error"]["code"].is_i64(), "{answer}");
    }
    let answer = wire
        .ask(legacy(5, "tools/call", json!({"name": "echo", "arguments": {}})))
        .await;
    assert_eq!(
        answer["result"]["isError"], true,
        "a model can mend its arguments: {answer}"
    );
}

#[tokio::test]
async fn long_lines_pass_both_ways_and_connections_are_independent() {
    let mut first = Wire::open();
    let mut second = Wire::open();
    let text = "x".repeat(17 << 20);
    let ask = modern(
        1,
        "tools/call",
        json!({"name": "echo", "arguments": {"text": text}}),
    );
    let answer = first.ask(ask).await;
    assert_eq!(
        answer["result"]["content"][0]["text"].as_str().map(str::len),
        Some(17 << 20)
    );
    drop(first);
    assert!(second.ask(modern(1, "tools/list", json!({}))).await["result"]["tools"].is_array());
}

#[tokio::test]
async fn serving_ends_with_the_pipe() {
    let (near, far) = tokio::io::duplex(64);
    let serving = tokio::spawn(module(Sample::new).serve(far));
    drop(near);
    tokio::time::timeout(std::time::Duration::from_secs(20), serving)
        .await
        .unwrap()
        .unwrap();
}
