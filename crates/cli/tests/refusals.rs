//! Bad input, and what it gets: status, code, and nothing of it reaches a server.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use gatepost_testkit::gate::{Answer, Client, Gate, Method, Nobody, Post, eventually, within};
use gatepost_testkit::odd::{Behaviour, Odd, OddServer, program};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");

/// Stands in every bad request, so that a server that got any of it gives it away.
const MARK: &str = "must-not-arrive";

struct Setting {
    modern: OddServer,
    old: OddServer,
    gate: Gate,
}

async fn setting() -> Setting {
    let modern = OddServer::start(Odd::modern()).await.unwrap();
    let old = OddServer::start(Odd::legacy()).await.unwrap();
    let servers = json!({ "modern": { "url": modern.url() }, "old": { "url": old.url() } });
    let views = json!({ "view": { "include": ["modern__*"] } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}\nviews: {views}")).await;
    Setting { modern, old, gate }
}

impl Setting {
    /// Whether anything marked, or any call, came through.
    #[track_caller]
    fn nothing_arrived(&self) {
        for received in self.modern.received().into_iter().chain(self.old.received()) {
            assert!(!format!("{received:?}").contains(MARK), "{received:?}");
            assert_ne!(received.method(), "tools/call", "{received:?}");
        }
    }

    async fn send(&self, post: &Post) -> Answer {
        post.send(self.gate.address()).await.whole().await
    }

    /// Sends each bad request, and compares what it gets.
    async fn check(&self, rows: &[(&str, Post, u16, Option<i64>)]) {
        let mut wrong = Vec::new();
        for (what, post, status, code) in rows {
            let answer = self.send(post).await;
            if answer.outcome() != (*status, *code) {
                let (got, expected) = (answer.outcome(), (status, code));
                wrong.push(format!(
                    "{what}: {got:?} instead of {expected:?}: {}",
                    answer.text()
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        self.nothing_arrived();
    }
}

/// A call that would be in order.
fn call(client: &Client) -> Post {
    client.request_as(
        "11",
        "tools/call",
        &format!(r#"{{"name":"echo","arguments":{{"x":"{MARK}"}}}}"#),
    )
}

const MODERN_META: &str = concat!(
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientCapabilities":{}"#
);

#[tokio::test]
async fn a_call_in_order_does_arrive() {
    let setting = setting().await;
    for client in [
        setting.gate.modern("/mcp/modern"),
        setting.gate.legacy("/mcp/old").await,
    ] {
        let answer = client.send(&call(&client)).await;
        assert_eq!(
            (answer.outcome(), answer.tool_text()),
            ((200, None), format!(r#"{{"x":"{MARK}"}}"#))
        );
    }
    assert!(setting.modern.last("tools/call").is_some() && setting.old.last("tools/call").is_some());
}

#[tokio::test]
async fn hosts_and_origins_that_are_not_allowed_get_403() {
    let setting = setting().await;
    let port = setting.gate.address().port();
    let modern = call(&setting.gate.modern("/mcp/modern"));
    let legacy = setting.gate.legacy("/mcp/old").await;
    let denied = |name: &str, value: &str| modern.clone().set(name, value);
    let forbidden = [
        ("host of another name", denied("host", "evil.example")),
        ("rebound host", denied("host", &format!("evil.example:{port}"))),
        ("host with another port", denied("host", "127.0.0.1:1")),
        (
            "host that only begins well",
            denied("host", &format!("127.0.0.1.evil.example:{port}")),
        ),
        ("origin of another site", denied("origin", "https://evil.example")),
        ("null origin", denied("origin", "null")),
        ("origin with another port", denied("origin", "http://127.0.0.1:1")),
        (
            "origin that only begins well",
            denied("origin", &format!("http://localhost.evil.example:{port}")),
        ),
        ("cross-site page", denied("sec-fetch-site", "cross-site")),
        (
            "GET",
            legacy
                .bare(Method::GET)
                .header("accept", "text/event-stream")
                .header("origin", "https://evil.example"),
        ),
        (
            "DELETE",
            legacy
                .bare(Method::DELETE)
                .header("origin", "https://evil.example"),
        ),
    ];
    for (what, post) in forbidden {
        let answer = setting.send(&post).await;
        assert_eq!(answer.status, 403, "{what}: {}", answer.text());
    }
    setting.nothing_arrived();

    for origin in [
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
    ] {
        let answer = setting.send(&modern.clone().set("origin", &origin)).await;
        assert_eq!(answer.status, 200, "{origin}: {}", answer.text());
    }
}

/// The answer comes before the body does.
#[tokio::test]
async fn an_origin_is_refused_before_the_body_is_read() {
    let setting = setting().await;
    let post = call(&setting.gate.modern("/mcp/modern")).set("origin", "https://evil.example");
    let (head, _) = post.on_the_wire(setting.gate.address());
    let mut stream = TcpStream::connect(setting.gate.address()).await.unwrap();
    stream.write_all(&head).await.unwrap();
    let mut answer = [0; 12];
    within("the status line", stream.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
}

#[tokio::test]
async fn headers_that_disagree_with_the_body_get_header_mismatch() {
    let setting = setting().await;
    let good = call(&setting.gate.modern("/mcp/modern"));
    let unnamed = good.clone().without("mcp-name");
    let row = |what: &'static str, post: Post| (what, post, 400, Some(-32020));
    let rows = [
        row("another method", good.clone().set("mcp-method", "tools/list")),
        row(
            "method in another case",
            good.clone().set("mcp-method", "Tools/Call"),
        ),
        row("no method", good.clone().without("mcp-method")),
        row("another name", good.clone().set("mcp-name", "pid")),
        row("no name", unnamed.clone()),
        row("empty name", good.clone().set("mcp-name", "")),
        row("malformed base64", good.clone().set("mcp-name", "=?base64?!!!?=")),
        row(
            "base64 of no text",
            good.clone().set("mcp-name", "=?base64?/w==?="),
        ),
        row(
            "base64 of another name",
            good.clone().set("mcp-name", "=?base64?cGlk?="),
        ),
        row(
            "another version",
            good.clone().set("mcp-protocol-version", "2025-11-25"),
        ),
        row("no version", good.clone().without("mcp-protocol-version")),
        row("two methods", good.clone().header("mcp-method", "tools/call")),
        row("two names", good.clone().header("mcp-name", "echo")),
        row(
            "two versions",
            good.clone().header("mcp-protocol-version", "2026-07-28"),
        ),
        row("bytes that are no text", unnamed.header("mcp-name", b"ech\xff")),
    ];
    setting.check(&rows).await;
}

/// Base64 where none is needed is allowed (M:basic/transports/streamable-http#Value Encoding).
#[tokio::test]
async fn a_name_in_base64_is_the_name() {
    let setting = setting().await;
    let good = call(&setting.gate.modern("/mcp/modern"));
    let answer = setting.send(&good.set("mcp-name", "=?base64?ZWNobw==?=")).await;
    assert_eq!(answer.outcome(), (200, None), "{}", answer.text());
    let up = setting.modern.last("tools/call").unwrap();
    assert_eq!(up.header("mcp-name"), Some("echo"));
}

#[tokio::test]
async fn modern_requests_that_are_no_such_thing() {
    let setting = setting().await;
    let modern = setting.gate.modern("/mcp");
    let tools_list = |meta: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":11,"method":"tools/list","params":{{"_meta":{{{meta}}},"x":"{MARK}"}}}}"#
        );
        modern.post("tools/list", "{}", body)
    };
    let no_meta = format!(r#"{{"jsonrpc":"2.0","id":11,"method":"tools/list","params":{{"x":"{MARK}"}}}}"#);
    let no_params = r#"{"jsonrpc":"2.0","id":11,"method":"tools/list"}"#.to_owned();
    let ask = |method: &str| modern.request_as("11", method, &format!(r#"{{"x":"{MARK}"}}"#));
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    let future = concat!(
        r#""io.modelcontextprotocol/protocolVersion":"2031-01-01","#,
        r#""io.modelcontextprotocol/clientCapabilities":{}"#
    );
    let older = future.replace("2031-01-01", "2025-11-25");
    let rows = [
        (
            "no _meta",
            modern.post("tools/list", "{}", no_meta),
            400,
            Some(-32602),
        ),
        (
            "no params",
            modern.post("tools/list", "{}", no_params),
            400,
            Some(-32602),
        ),
        (
            "no version in _meta",
            tools_list(r#""io.modelcontextprotocol/clientCapabilities":{}"#),
            400,
            Some(-32602),
        ),
        ("no capabilities in _meta", tools_list(version), 400, Some(-32602)),
        (
            "capabilities of a wrong type",
            tools_list(&format!(
                r#"{version},"io.modelcontextprotocol/clientCapabilities":[]"#
            )),
            400,
            Some(-32602),
        ),
        (
            "version of the future",
            tools_list(future).set("mcp-protocol-version", "2031-01-01"),
            400,
            Some(-32022),
        ),
        (
            "legacy version in the modern form",
            tools_list(&older).set("mcp-protocol-version", "2025-11-25"),
            400,
            Some(-32022),
        ),
        ("unknown method", ask("vendor/unheard-of"), 404, Some(-32601)),
        ("ping", ask("ping"), 404, Some(-32601)),
        ("initialize", ask("initialize"), 404, Some(-32601)),
        ("logging/setLevel", ask("logging/setLevel"), 404, Some(-32601)),
        (
            "resources/subscribe",
            ask("resources/subscribe"),
            404,
            Some(-32601),
        ),
        ("tasks/result", ask("tasks/result"), 404, Some(-32601)),
        (
            "a method of servers",
            ask("sampling/createMessage"),
            404,
            Some(-32601),
        ),
    ];
    setting.check(&rows).await;
    let answer = setting.send(&rows[5].1).await.json();
    assert_eq!(answer["id"], 11, "{answer}");
    assert_eq!(answer["error"]["data"]["requested"], "2031-01-01", "{answer}");
    assert!(
        answer["error"]["data"]["supported"]
            .as_array()
            .unwrap()
            .contains(&json!("2026-07-28")),
        "{answer}"
    );
}

/// A server's own "method not found" is a 404 too (M:basic/transports/streamable-http#Protocol Version Header).
#[tokio::test]
async fn what_one_server_does_not_know_is_404_to_modern_clients_only() {
    let setting = setting().await;
    let answer = setting
        .gate
        .modern("/mcp/modern")
        .ask("vendor/unheard-of", "{}")
        .await;
    assert_eq!(answer.outcome(), (404, Some(-32601)), "{}", answer.text());
    let answer = setting
        .gate
        .legacy("/mcp/old")
        .await
        .ask("vendor/unheard-of", "{}")
        .await;
    assert_eq!(answer.outcome(), (200, Some(-32601)), "{}", answer.text());
}

/// 404 tells a legacy client that its session is gone: an unknown method is no such thing.
#[tokio::test]
async fn unknown_methods_of_legacy_clients_get_200() {
    let setting = setting().await;
    for path in ["/mcp", "/mcp/modern", "/mcp/view"] {
        let legacy = setting.gate.legacy(path).await;
        for method in [
            "vendor/unheard-of",
            "server/discover",
            "subscriptions/listen",
            "tasks/get",
            "tasks/list",
            "tasks/cancel",
            "tasks/result",
            "sampling/createMessage",
        ] {
            let answer = legacy.ask(method, &format!(r#"{{"x":"{MARK}"}}"#)).await;
            assert_eq!(
                answer.outcome(),
                (200, Some(-32601)),
                "{method} at {path}: {}",
                answer.text()
            );
        }
    }
    setting.nothing_arrived();
}

#[tokio::test]
async fn what_is_no_single_json_rpc_message_gets_400() {
    let setting = setting().await;
    let modern = setting.gate.modern("/mcp/modern");
    let legacy = setting.gate.legacy("/mcp/old").await;
    let good =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{M}}}"#.replace('M', MODERN_META);
    let bomb = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{{{MODERN_META}}},"name":"echo","arguments":{{"x":{open}"{MARK}"{close}}}}}}}"#
        )
    };
    let with = |member: &str| good.replacen('{', &format!("{{{member},"), 1);
    let invalid_json: [(&str, String); 7] = [
        ("nothing", String::new()),
        ("half a message", good[..good.len() - 1].to_owned()),
        ("HTML", "<html></html>".to_owned()),
        ("a message and more", format!("{good} x")),
        (
            "a comma too many",
            good.replacen("},\"id\"", "},,\"id\"", 1)
                .replacen(",\"id\"", ",,\"id\"", 1),
        ),
        (
            "a control character in a text",
            good.replacen("2.0", "2.\u{1}0", 1),
        ),
        ("single quotes", good.replace('"', "'")),
    ];
    let invalid_request: [(&str, String); 14] = [
        ("batch", format!("[{good}]")),
        ("empty batch", "[]".to_owned()),
        ("null", "null".to_owned()),
        ("text", r#""text""#.to_owned()),
        ("empty object", "{}".to_owned()),
        ("id is null", good.replacen("\"id\":1", "\"id\":null", 1)),
        ("id is a fraction", good.replacen("\"id\":1", "\"id\":1.5", 1)),
        ("id is an object", good.replacen("\"id\":1", "\"id\":{}", 1)),
        ("id is a list", good.replacen("\"id\":1", "\"id\":[1]", 1)),
        ("id is true", good.replacen("\"id\":1", "\"id\":true", 1)),
        ("method is a number", good.replacen("\"tools/list\"", "1", 1)),
        ("another JSON-RPC", good.replacen("2.0", "1.0", 1)),
        ("no JSON-RPC", good.replacen("\"jsonrpc\":\"2.0\",", "", 1)),
        (
            "params is a list",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[1]}"#.to_owned(),
        ),
    ];
    let either: [(&str, String); 5] = [
        ("duplicate id", with("\"id\":2")),
        ("duplicate method", with("\"method\":\"tools/call\"")),
        (
            "duplicate key spelt otherwise",
            with(r#""\u006dethod":"tools/call""#),
        ),
        (
            "duplicate key inside params",
            good.replacen("\"_meta\":", "\"_meta\":{},\"_meta\":", 1),
        ),
        ("nesting bomb", bomb(100_000)),
    ];
    let mut wrong = Vec::new();
    let mut check = async |what: &str, body: &str, codes: &[i64]| {
        let modern = modern.post("tools/list", "{}", body.to_owned());
        let legacy = legacy.post("tools/list", "{}", body.to_owned());
        for (era, post) in [("modern", modern), ("legacy", legacy)] {
            let (status, code) = setting.send(&post).await.outcome();
            if status != 400 || !code.is_some_and(|code| codes.contains(&code)) {
                wrong.push(format!("{era}, {what}: {status} {code:?}"));
            }
        }
    };
    for (what, body) in &invalid_json {
        check(what, body, &[-32700]).await;
    }
    for (what, body) in &invalid_request {
        check(what, body, &[-32600]).await;
    }
    for (what, body) in &either {
        check(what, body, &[-32700, -32600]).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    setting.nothing_arrived();
}

/// Depth that is merely unusual is not hostile.
#[tokio::test]
async fn moderate_nesting_passes() {
    let setting = setting().await;
    let arguments = format!(r#"{{"x":{}{}}}"#, "[".repeat(60), "]".repeat(60));
    let answer = setting.gate.modern("/mcp/modern").call("echo", &arguments).await;
    assert_eq!(answer.tool_text(), arguments);
}

#[tokio::test]
async fn bytes_that_are_no_utf8_get_400() {
    let setting = setting().await;
    let post = call(&setting.gate.modern("/mcp/modern"));
    let body = String::from_utf8(post.on_the_wire(setting.gate.address()).1.to_vec()).unwrap();
    let body = body
        .into_bytes()
        .into_iter()
        .map(|byte| if byte == b'2' { 0xff } else { byte });
    let answer = setting.send(&post.body(body.collect::<Vec<u8>>())).await;
    assert_eq!(answer.outcome(), (400, Some(-32700)), "{}", answer.text());
    setting.nothing_arrived();
}

#[tokio::test]
async fn bodies_that_are_not_json_by_their_type_are_refused() {
    let setting = setting().await;
    let post = call(&setting.gate.modern("/mcp/modern"));
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let answer = setting
            .send(&post.clone().set("content-type", content_type))
            .await;
        assert_eq!(answer.status, 415, "{content_type}");
    }
    assert_eq!(
        setting.send(&post.clone().without("content-type")).await.status,
        415
    );
    setting.nothing_arrived();
    let answer = setting
        .send(&post.set("content-type", "application/json; charset=utf-8"))
        .await;
    assert_eq!(answer.status, 200);
}

/// 2025-03-26/basic/index#Batching: that version's receivers must accept batches; no other version has them.
#[tokio::test]
async fn batches_are_for_sessions_of_2025_03_26_only() {
    let setting = setting().await;
    let address = setting.gate.address();
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/roots/list_changed"},{"jsonrpc":"2.0","id":"b","method":"tools/list"}]"#;
    for version in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let client = Client::legacy_of(address, "/mcp/old", version, "{}").await;
        let answer = client.send(&client.post("", "{}", batch.to_owned())).await;
        assert_eq!(
            answer.outcome(),
            (400, Some(-32600)),
            "{version}: {}",
            answer.text()
        );
    }
    let client = Client::legacy_of(address, "/mcp/old", "2025-03-26", "{}").await;
    assert_eq!(client.initialized()["protocolVersion"], "2025-03-26");
    let answer = client.send(&client.post("", "{}", batch.to_owned())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let responses: Vec<Value> = answer
        .messages()
        .iter()
        .flat_map(|message| match serde_json::from_slice(message).unwrap() {
            Value::Array(all) => all,
            one => vec![one],
        })
        .collect();
    let by_id = |id: Value| {
        responses
            .iter()
            .find(|one| one["id"] == id)
            .expect("it is answered")
    };
    assert_eq!(responses.len(), 2, "{responses:?}");
    assert_eq!(by_id(json!(1))["result"], json!({}));
    assert!(by_id(json!("b"))["result"]["tools"].is_array());
    // Never sent up as a batch.
    assert!(
        setting
            .old
            .received()
            .iter()
            .all(|one| !one.text().starts_with('['))
    );

    let notices = r#"[{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}]"#;
    assert_eq!(
        client
            .send(&client.post("", "{}", notices.to_owned()))
            .await
            .status,
        202
    );
    let params =
        r#"{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"c","version":"0"}}"#;
    let handshake = format!(r#"[{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}]"#);
    let answer = client.send(&client.post("", "{}", handshake)).await;
    assert!(
        answer.text().contains("-32600"),
        "{} {}",
        answer.status,
        answer.text()
    );
}

async fn small_gate(http: &str) -> (OddServer, Gate) {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    let servers = json!({ "modern": { "url": server.url() } });
    let gate = Gate::start(GATEPOST, &format!("http: {{ {http} }}\nservers: {servers}")).await;
    (server, gate)
}

#[tokio::test]
async fn bodies_over_the_limit_get_413() {
    let (server, gate) = small_gate("max_body: 64KiB").await;
    let client = gate.modern("/mcp/modern");
    let arguments = |size: usize| format!(r#"{{"x":"{}"}}"#, "a".repeat(size));
    let post = client.calling("echo", &arguments(70_000));
    // It may answer before it has been sent everything; then this end may see the connection close first.
    let (mut head, body) = post.on_the_wire(gate.address());
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    stream.write_all(&head).await.unwrap();
    let mut answer = [0; 12];
    within("the status line", stream.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413", "announced by its length");

    let text = String::from_utf8(head).unwrap();
    head = text
        .replace(
            &format!("content-length: {}", body.len()),
            "transfer-encoding: chunked",
        )
        .into_bytes();
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    stream.write_all(&head).await.unwrap();
    stream
        .write_all(format!("{:x}\r\n", body.len()).as_bytes())
        .await
        .unwrap();
    stream.write_all(&body[..66_000]).await.unwrap();
    within("the status line", stream.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413", "found by counting");
    assert_eq!(server.all("tools/call").len(), 0);

    let fitting = arguments(60_000);
    assert_eq!(client.call("echo", &fitting).await.tool_text(), fitting);
}

/// Reads until the other end closes.
async fn closes(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset is a close too.
    let _ = within("the connection to be closed", stream.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn slow_headers_slow_bodies_and_idle_connections_are_closed() {
    // One limit each, so that nothing else ends where the machine is busy.
    let (_server, gate) = small_gate("header_timeout: 200ms").await;
    let call = |gate: &Gate| {
        let post = gate.modern("/mcp/modern").calling("echo", "{}");
        post.on_the_wire(gate.address())
    };
    let (head, _) = call(&gate);
    let mut slow_header = TcpStream::connect(gate.address()).await.unwrap();
    slow_header.write_all(&head[..head.len() / 2]).await.unwrap();
    closes(&mut slow_header).await;

    let (server, gate) = small_gate("body_timeout: 200ms").await;
    let (head, body) = call(&gate);
    let mut slow_body = TcpStream::connect(gate.address()).await.unwrap();
    slow_body.write_all(&head).await.unwrap();
    slow_body.write_all(&body[..10]).await.unwrap();
    let answer = closes(&mut slow_body).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 408"),
        "{}",
        String::from_utf8_lossy(&answer)
    );

    assert_eq!(server.all("tools/call").len(), 0);

    let (_server, gate) = small_gate("idle_timeout: 1s").await;
    let mut silent = TcpStream::connect(gate.address()).await.unwrap();
    assert!(closes(&mut silent).await.is_empty());

    let mut idle = TcpStream::connect(gate.address()).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let answer = closes(&mut idle).await;
    assert!(
        answer.starts_with(b"HTTP/1.1"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

/// An open call is not an idle connection.
#[tokio::test]
async fn a_long_call_outlives_the_idle_timeout() {
    let (_server, gate) = small_gate("idle_timeout: 1s").await;
    let answer = gate.modern("/mcp/modern").call("slow", r#"{"ms":2500}"#).await;
    assert_eq!(answer.tool_text(), "at last");
}

/// What a call that failed by its server says: whose fault, and why.
#[track_caller]
fn fails_by_name(what: &str, answer: &Answer, server: &str) -> String {
    let message = answer.json();
    assert_eq!(answer.outcome(), (200, Some(-32603)), "{what}: {}", answer.text());
    let error = &message["error"];
    assert_eq!(error["data"]["server"], server, "{what}: {error}");
    assert!(
        error["message"].as_str().unwrap().contains(server),
        "{what}: {error}"
    );
    assert!(error["data"]["retry_safe"].is_boolean(), "{what}: {error}");
    error["data"]["cause"].as_str().expect("a cause").to_owned()
}

#[tokio::test]
async fn answers_over_the_limit_fail_by_name_and_cost_little() {
    let modern = OddServer::start(Odd::modern()).await.unwrap();
    let old = OddServer::start(Odd::legacy()).await.unwrap();
    let pipe = program(&Odd::legacy()).unwrap();
    let servers = json!({
        "modern": { "url": modern.url() }, "old": { "url": old.url() },
        "pipe": { "command": pipe.command, "args": pipe.args },
    });
    let gate = Gate::start(
        GATEPOST,
        &format!("http: {{ max_response: 1MiB }}\nservers: {servers}"),
    )
    .await;
    for server in ["modern", "old", "pipe"] {
        let path = format!("/mcp/{server}");
        let client = if server == "modern" {
            gate.modern(&path)
        } else {
            gate.legacy(&path).await
        };
        for (what, tool, arguments) in [
            ("a text that is too long", "over_max", r#"{"bytes":3000000}"#),
            ("an event that never ends", "endless_line", r#"{"as":"sse"}"#),
        ] {
            fails_by_name(
                &format!("{what} of {server}"),
                &client.call(tool, arguments).await,
                server,
            );
        }
        // A document that never ends has been passed on in part when it turns out too long: then the answer breaks off.
        let reply = client.begin("endless_line", r#"{"as":"json"}"#).await;
        if let Ok(answer) = reply.try_whole().await {
            fails_by_name(
                &format!("a document of {server} that never ends"),
                &answer,
                server,
            );
        }
        let answer = client.call("over_max", r#"{"bytes":900000}"#).await;
        assert_eq!(answer.tool_text().len(), 900_000, "{server} goes on");
    }
    if let Some(memory) = gate.memory_bytes() {
        assert!(memory < 100 << 20, "{} MiB", memory >> 20);
    }
}

#[tokio::test]
async fn unknown_things_get_the_errors_of_the_specification() {
    let setting = setting().await;
    let gate = &setting.gate;
    for path in ["/mcp", "/mcp/modern", "/mcp/view"] {
        for client in [gate.modern(path), gate.legacy(path).await] {
            let era = client.era();
            let what = format!("{era:?} at {path}");
            // Tools and prompts: M:server/tools#Error Handling, L:server/tools#Error Handling, and alike for prompts.
            for (method, params) in [
                (
                    "tools/call",
                    format!(r#"{{"name":"nobody__{MARK}","arguments":{{}}}}"#),
                ),
                ("prompts/get", format!(r#"{{"name":"nobody__{MARK}"}}"#)),
            ] {
                let answer = client.ask(method, &params).await;
                assert_eq!(
                    answer.outcome().1,
                    Some(-32602),
                    "{method}, {what}: {}",
                    answer.text()
                );
            }
            if path == "/mcp/modern" {
                continue;
            }
            let answer = client
                .ask("resources/read", &format!(r#"{{"uri":"nobody:{MARK}"}}"#))
                .await;
            let code = if client.session().is_some() {
                -32002
            } else {
                -32602
            };
            assert_eq!(
                answer.outcome().1,
                Some(code),
                "resources/read, {what}: {}",
                answer.text()
            );
            assert_eq!(
                answer.json()["error"]["data"]["uri"],
                format!("nobody:{MARK}"),
                "{what}"
            );
            let answer = client
                .ask("tools/list", &format!(r#"{{"cursor":"{MARK}"}}"#))
                .await;
            assert_eq!(
                answer.outcome().1,
                Some(-32602),
                "cursor, {what}: {}",
                answer.text()
            );
        }
    }
    for path in ["/mcp/nobody", "/mcp/modern/x", "/nowhere", "/"] {
        let answer = setting.send(&call(&gate.modern(path))).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    setting.nothing_arrived();
}

#[tokio::test]
async fn sessions_that_are_none_get_404() {
    let setting = setting().await;
    let client = setting.gate.legacy("/mcp/old").await;
    let session = client.session().expect("a session").to_owned();
    let tampered = |at: usize| {
        let mut bytes = session.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        bytes
    };
    let ping = client.request("ping", "{}");
    assert_eq!(setting.send(&ping).await.status, 200);
    for (what, id) in [
        ("made up", b"made-up".to_vec()),
        ("empty", Vec::new()),
        ("changed at its beginning", tampered(2)),
        ("changed in its middle", tampered(session.len() / 2)),
        ("cut off", session.as_bytes()[..session.len() - 4].to_vec()),
    ] {
        let answer = setting.send(&ping.clone().set("mcp-session-id", &id)).await;
        assert_eq!(answer.status, 404, "{what}: {}", answer.text());
        for verb in [Method::GET, Method::DELETE] {
            let post = client
                .bare(verb.clone())
                .set("mcp-session-id", &id)
                .header("accept", "text/event-stream");
            assert_eq!(setting.send(&post).await.status, 404, "{verb}, {what}");
        }
    }
    // A session belongs to its endpoint.
    let elsewhere = setting.gate.legacy("/mcp/modern").await;
    let foreign = elsewhere.request("ping", "{}").set("mcp-session-id", &session);
    assert_eq!(setting.send(&foreign).await.status, 404);

    assert!(client.delete().await.status / 100 == 2);
    assert_eq!(setting.send(&ping).await.status, 404);
    assert_eq!(client.delete().await.status, 404);
}

/// Neither a session nor modern: 400, since the client must begin otherwise.
#[tokio::test]
async fn legacy_requests_without_a_session_get_400() {
    let setting = setting().await;
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"x":"{MARK}"}}}}"#);
    for path in ["/mcp", "/mcp/old"] {
        let answer = setting.send(&Post::json(path, body.clone())).await;
        assert_eq!(answer.outcome(), (400, Some(-32600)), "{}", answer.text());
        for verb in [Method::GET, Method::DELETE, Method::PUT, Method::PATCH] {
            let answer = setting.send(&Post::new(verb.clone(), path)).await;
            assert_eq!(answer.status, 405, "{verb} {path}");
            assert!(
                answer.header("allow").is_some_and(|allow| allow.contains("POST")),
                "{verb} {path}"
            );
        }
    }
    setting.nothing_arrived();
}

#[tokio::test]
async fn servers_that_fail_are_named_with_their_cause() {
    let gone = Nobody::anywhere();
    let modern = OddServer::start(Odd::modern()).await.unwrap();
    let old = OddServer::start(Odd::legacy()).await.unwrap();
    let pipe = program(&Odd::legacy()).unwrap();
    let modern_pipe = program(&Odd::modern()).unwrap();
    let servers = json!({
        "gone": { "url": format!("http://{}/mcp", gone.address()) },
        "missing": { "command": "/nowhere/at-all" },
        "ending": { "command": "false" },
        "modern": { "url": modern.url(), "timeout": "300ms" },
        "old": { "url": old.url(), "timeout": "300ms" },
        "pipe": { "command": pipe.command, "args": pipe.args, "timeout": "300ms" },
        "modern-pipe": { "command": modern_pipe.command, "args": modern_pipe.args, "timeout": "300ms" },
        // The same for what is answered, however busy the machine is.
        "patient-modern": { "url": modern.url() },
        "patient-old": { "url": old.url() },
        "patient-pipe": { "command": pipe.command, "args": pipe.args },
        "patient-modern-pipe": { "command": modern_pipe.command, "args": modern_pipe.args },
    });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    for server in ["gone", "missing", "ending"] {
        for client in [
            gate.modern(&format!("/mcp/{server}")),
            gate.legacy(&format!("/mcp/{server}")).await,
        ] {
            // It was never seen, so nobody knows its tools: a vendor's method goes to it in any case.
            let answer = client
                .ask(
                    "completion/complete",
                    r#"{"ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":""}}"#,
                )
                .await;
            let cause = fails_by_name(server, &answer, server);
            assert!(!cause.is_empty());
        }
    }
    for server in ["modern", "modern-pipe", "old", "pipe"] {
        let path = format!("/mcp/{server}");
        let modern = server.starts_with("modern");
        let client = if modern {
            gate.modern(&path)
        } else {
            gate.legacy(&path).await
        };
        // The first call may have to start the server, which takes longer than these timeouts on a busy machine.
        eventually("the server is up", async || {
            client.call("echo", "{}").await.outcome() == (200, None)
        })
        .await;
        for (what, tool, arguments) in [
            ("too slow", "never", "{}"),
            ("nonsense", "not_json", "{}"),
            ("an answer to nobody", "wrong_id", "{}"),
            ("dies in the middle of a document", "die_mid_stream", "{}"),
            (
                "dies in the middle of a stream",
                "die_mid_stream",
                r#"{"as":"sse"}"#,
            ),
            ("ends", "exit", "{}"),
        ] {
            let answer = client.call(tool, arguments).await;
            fails_by_name(&format!("{what}, {server}"), &answer, server);
            eventually("the server is back", async || {
                client.call("echo", "{}").await.outcome() == (200, None)
            })
            .await;
        }
    }
    for status in [500, 502, 503, 429, 401, 403] {
        let answer = gate
            .modern("/mcp/patient-modern")
            .call("http_status", &format!(r#"{{"status":{status}}}"#))
            .await;
        let cause = fails_by_name("a bare status", &answer, "patient-modern");
        assert!(cause.contains(&status.to_string()), "{status}: {cause}");
    }
    // A line or event that is not JSON is skipped.
    for server in [
        "patient-modern",
        "patient-old",
        "patient-pipe",
        "patient-modern-pipe",
    ] {
        let path = format!("/mcp/{server}");
        let client = if server.contains("modern") {
            gate.modern(&path)
        } else {
            gate.legacy(&path).await
        };
        let answer = client.call("garbage_line", "{}").await;
        assert!(answer.status == 200, "{server}: {}", answer.text());
        let answer = client.call("duplicate_answer", "{}").await;
        assert_eq!(answer.tool_text(), "first", "{server}: {}", answer.text());
    }
}

/// A server whose probe answers oddly is found out about, or named.
#[tokio::test]
async fn servers_that_answer_the_probe_oddly() {
    for (what, odd, works) in [
        (
            "HTML",
            Odd::legacy().with("server/discover", Behaviour::Html),
            true,
        ),
        (
            "404",
            Odd::legacy().with("server/discover", Behaviour::Status(404)),
            true,
        ),
        (
            "-32601",
            Odd::legacy().with("server/discover", Behaviour::Error(-32601)),
            true,
        ),
        (
            "-32602",
            Odd::legacy().with("server/discover", Behaviour::Error(-32602)),
            true,
        ),
        (
            "silence",
            Odd::legacy().with("server/discover", Behaviour::Silence),
            true,
        ),
        (
            "500",
            Odd::legacy().with("server/discover", Behaviour::Status(500)),
            false,
        ),
        (
            "401",
            Odd::modern().with("server/discover", Behaviour::Status(401)),
            false,
        ),
        (
            "sessionless",
            Odd {
                sessionless: true,
                ..Odd::legacy()
            },
            true,
        ),
        (
            "no GET",
            Odd {
                no_get: true,
                ..Odd::legacy()
            },
            true,
        ),
        (
            "an older version",
            Odd {
                version: Some("2025-03-26".to_owned()),
                ..Odd::legacy()
            },
            true,
        ),
        (
            "a version of its own",
            Odd {
                version: Some("1999-01-01".to_owned()),
                ..Odd::legacy()
            },
            false,
        ),
    ] {
        let server = OddServer::start(odd).await.unwrap();
        // Only silence is waited for.
        let probe = if what == "silence" { "200ms" } else { "30s" };
        let servers = json!({ "odd": { "url": server.url(), "probe_timeout": probe } });
        let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
        let answer = gate
            .modern("/mcp/odd")
            .ask("resources/read", r#"{"uri":"odd:resource"}"#)
            .await;
        if works {
            assert_eq!(answer.outcome(), (200, None), "{what}: {}", answer.text());
        } else {
            fails_by_name(what, &answer, "odd");
        }
    }
}

#[tokio::test]
async fn public_addresses_are_refused_at_start() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let folder = tempfile::tempdir().unwrap();
        let refused = Gate::try_start(GATEPOST, &format!("listen: \"{address}\""), folder)
            .await
            .unwrap_err();
        assert!(!refused.status.success());
        assert!(refused.said.contains(address), "{}", refused.said);
        // What to set.
        assert!(refused.said.contains("127.0.0.1"), "{}", refused.said);
    }
}

/// A page of an allowed origin may use the gate, which its browser believes only if it is told so; any other may not.
#[tokio::test]
async fn a_page_of_an_allowed_origin_is_welcome_by_name() {
    const PAGE: &str = "https://app.example.com";
    let server = OddServer::start(Odd::modern()).await.unwrap();
    let servers = json!({ "s": { "url": server.url() } });
    let http = json!({ "origins": [PAGE] });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}\nhttp: {http}")).await;
    let preflight = |origin| {
        Post::new(Method::OPTIONS, "/mcp")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "mcp-method, mcp-param-region")
    };
    let allowed = preflight(PAGE).send(gate.address()).await.whole().await;
    assert_eq!(allowed.outcome().0, 204);
    assert_eq!(allowed.header("access-control-allow-origin"), Some(PAGE));
    assert!(
        allowed
            .header("access-control-allow-methods")
            .unwrap()
            .contains("POST")
    );
    let refused = preflight("https://evil.example")
        .send(gate.address())
        .await
        .whole()
        .await;
    assert_eq!(refused.outcome().0, 403);
    assert_eq!(refused.header("access-control-allow-origin"), None);

    let list = gate.modern("/mcp").request("tools/list", "{}");
    let answer = list
        .clone()
        .header("origin", PAGE)
        .send(gate.address())
        .await
        .whole()
        .await;
    assert_eq!(answer.outcome(), (200, None));
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    assert!(
        answer
            .header("access-control-expose-headers")
            .unwrap()
            .contains("mcp-session-id")
    );
    // Nobody else is told anything.
    let plain = list.send(gate.address()).await.whole().await;
    assert_eq!(plain.header("access-control-allow-origin"), None);
}
