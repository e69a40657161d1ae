use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines,
};
use tokio::net::TcpStream;

use super::*;

/// What came back on a connection of its own.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether the body ended as it said it would.
    whole: bool,
}

impl Reply {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

async fn exchange(server: &OddServer, verb: &str, headers: &str, body: &str) -> Option<Reply> {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{verb} HTTP/1.1\r\nhost: odd\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A connection that is cut may end in a reset.
    _ = stream.read_to_end(&mut bytes).await;
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..split].to_vec()).unwrap().to_lowercase();
    let (body, whole) = if head.contains("transfer-encoding: chunked") {
        unchunked(&bytes[split + 4..])
    } else {
        (bytes[split + 4..].to_vec(), true)
    };
    Some(Reply {
        status: head[9..12].parse().unwrap(),
        head,
        body,
        whole,
    })
}

fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
    (body, false)
}

fn modern_request(method: &str, mut params: Value) -> (String, String) {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    let name = params["name"]
        .as_str()
        .or(params["uri"].as_str())
        .map_or_else(String::new, |name| format!("mcp-name: {name}\r\n"));
    let headers = format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n{name}");
    (
        headers,
        json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string(),
    )
}

async fn modern(server: &OddServer, method: &str, params: Value) -> Option<Reply> {
    let (headers, body) = modern_request(method, params);
    exchange(server, "POST /mcp", &headers, &body).await
}

async fn call(server: &OddServer, tool: &str, arguments: Value) -> Option<Reply> {
    modern(
        server,
        "tools/call",
        json!({"name": tool, "arguments": arguments}),
    )
    .await
}

async fn legacy(server: &OddServer, session: &str, body: Value) -> Option<Reply> {
    exchange(
        server,
        "POST /mcp",
        &format!("mcp-session-id: {session}\r\n"),
        &body.to_string(),
    )
    .await
}

async fn session(server: &OddServer) -> String {
    let body =
        json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18"}});
    let reply = exchange(server, "POST /mcp", "", &body.to_string())
        .await
        .unwrap();
    assert_eq!(reply.json()["result"]["protocolVersion"], "2025-06-18");
    let line = reply
        .head
        .lines()
        .find_map(|line| line.strip_prefix("mcp-session-id: "));
    line.unwrap().to_owned()
}

fn envelope(id: &str, result: &[u8]) -> Vec<u8> {
    [
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#).as_bytes(),
        result,
        b"}",
    ]
    .concat()
}

#[tokio::test]
async fn fixed_results_arrive_byte_for_byte_in_both_eras() {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    for tool in fixed_tools().filter(|tool| *tool != "id_last") {
        let reply = call(&server, tool, json!({})).await.unwrap();
        assert_eq!(
            reply.body,
            envelope("7", &result_bytes(tool, Era::Modern)),
            "{tool}"
        );
    }
    server.change(|odd| odd.era = Era::Legacy);
    let session = session(&server).await;
    for method in fixed_methods() {
        let reply = legacy(
            &server,
            &session,
            json!({"jsonrpc":"2.0","id":"x","method":method}),
        )
        .await
        .unwrap();
        assert_eq!(
            reply.body,
            envelope("\"x\"", &result_bytes(method, Era::Legacy)),
            "{method}"
        );
    }
    let reply = legacy(
        &server,
        &session,
        json!({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"id_last"}}),
    );
    let text = reply.await.unwrap().text();
    assert!(text.ends_with(r#""id":1,"z":1E+2}"#), "{text}");
}

#[tokio::test]
async fn a_big_text_and_an_error_arrive_whole() {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    let reply = call(&server, "big_text", json!({})).await.unwrap();
    assert_eq!(
        reply.body.len(),
        envelope("7", &result_bytes("big_text", Era::Modern)).len()
    );
    let reply = call(&server, "rpc_error", json!({})).await.unwrap();
    assert_eq!(
        reply.text(),
        format!(r#"{{"jsonrpc":"2.0","id":7,"error":{ERROR}}}"#)
    );
}

#[tokio::test]
async fn a_modern_request_must_say_the_same_in_headers_and_body() {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    let (headers, body) = modern_request("tools/call", json!({"name": "echo"}));
    for (from, to) in [
        ("2026-07-28", "2025-11-25"),
        ("tools/call", "tools/list"),
        ("name: echo", "name: other"),
    ] {
        let reply = exchange(&server, "POST /mcp", &headers.replace(from, to), &body)
            .await
            .unwrap();
        assert_eq!(
            (reply.status, reply.json()["error"]["code"].as_i64()),
            (400, Some(-32020)),
            "{to}"
        );
    }
    let coded = headers.replace("name: echo", "name: =?base64?ZWNobw==?=");
    assert_eq!(
        exchange(&server, "POST /mcp", &coded, &body)
            .await
            .unwrap()
            .status,
        200
    );
    let reply = modern(&server, "no/such", json!({})).await.unwrap();
    assert_eq!(
        (reply.status, reply.json()["error"]["code"].as_i64()),
        (404, Some(-32601))
    );
    assert_eq!(exchange(&server, "GET /mcp", "", "").await.unwrap().status, 405);
}

#[tokio::test]
async fn a_legacy_session_must_exist_and_can_end_or_be_lost() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let ping = json!({"jsonrpc":"2.0","id":1,"method":"ping"});
    assert_eq!(
        exchange(&server, "POST /mcp", "", &ping.to_string())
            .await
            .unwrap()
            .status,
        400
    );
    assert_eq!(
        legacy(&server, "nobody's", ping.clone()).await.unwrap().status,
        404
    );
    let first = session(&server).await;
    assert_eq!(
        legacy(&server, &first, ping.clone()).await.unwrap().json()["result"],
        json!({})
    );
    let gone = exchange(
        &server,
        "DELETE /mcp",
        &format!("mcp-session-id: {first}\r\n"),
        "",
    )
    .await
    .unwrap();
    assert_eq!((gone.status, server.sessions()), (200, 0));
    let second = session(&server).await;
    server.lose_sessions();
    assert_eq!(legacy(&server, &second, ping).await.unwrap().status, 404);
}

#[tokio::test]
async fn what_was_received_is_kept_exactly() {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    let (headers, _) = modern_request("tools/call", json!({"name": "echo"}));
    let body = concat!(
        r#"{"id":1E0, "method":"tools/call","params":{"name":"echo","arguments":{"z":1E+2,"a":18446744073709551616},"#,
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#
    );
    let reply = exchange(
        &server,
        "POST /mcp",
        &format!("{headers}X-Odd: a\r\nx-odd: b\r\n"),
        body,
    )
    .await
    .unwrap();
    assert_eq!(
        reply.json()["result"]["content"][0]["text"],
        r#"{"z":1E+2,"a":18446744073709551616}"#
    );
    let received = server.last("tools/call").unwrap();
    assert_eq!((received.text().as_str(), received.connection), (body, 1));
    assert_eq!(
        received
            .headers
            .iter()
            .filter(|(name, _)| name == "x-odd")
            .count(),
        2
    );
    assert_eq!(server.connections(), 1);
    server.forget_received();
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn broken_answers_are_broken_as_promised() {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    assert!(call(&server, "exit", json!({})).await.is_none());
    for framing in ["json", "sse"] {
        let reply = call(&server, "die_mid_stream", json!({"as": framing}))
            .await
            .unwrap();
        assert!(
            !reply.whole && reply.text().ends_with(r#""text":""#),
            "{framing}: {reply:?}"
        );
        assert_eq!(reply.head.contains("text/event-stream"), framing == "sse");
    }
    assert!(
        call(&server, "not_json", json!({}))
            .await
            .unwrap()
            .text()
            .starts_with("<!DOCTYPE")
    );
    let reply = call(&server, "http_status", json!({"status": 503, "body": "busy"}))
        .await
        .unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (503, "busy"));
    assert_eq!(
        call(&server, "wrong_id", json!({})).await.unwrap().json()["id"],
        "nobody's"
    );
    assert_eq!(
        call(&server, "duplicate_answer", json!({}))
            .await
            .unwrap()
            .text()
            .matches(r#""id":7"#)
            .count(),
        2
    );
    let text = call(&server, "garbage_line", json!({})).await.unwrap().text();
    assert!(
        text.contains("data: Listening on") && text.contains(r#""id":7,"result""#),
        "{text}"
    );
    assert_eq!(
        call(&server, "over_max", json!({"bytes": 100_000}))
            .await
            .unwrap()
            .body
            .len()
            / 100_000,
        1
    );
    assert!(
        call(&server, "flood_stderr", json!({}))
            .await
            .unwrap()
            .text()
            .contains("ok")
    );
    assert_eq!(
        call(&server, "no_such_tool", json!({})).await.unwrap().json()["error"]["code"],
        -32602
    );
}

#[tokio::test]
async fn an_endless_answer_waits_for_its_reader_and_ends_with_it() {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    for tool in ["endless_line", "endless_events", "never"] {
        let abandoned = server.abandoned();
        let (headers, body) = modern_request("tools/call", json!({"name": tool}));
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: odd\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        if tool == "never" {
            while server
                .last("tools/call")
                .is_none_or(|last| last.json()["params"]["name"] != "never")
            {
                tokio::task::yield_now().await;
            }
        } else {
            let mut bytes = vec![0; 300_000];
            stream.read_exact(&mut bytes).await.unwrap();
        }
        drop(stream);
        while server.abandoned() == abandoned {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn methods_answer_as_told() {
    let server = OddServer::start(Odd::modern().with("server/discover", Behaviour::Html))
        .await
        .unwrap();
    let discover = || modern(&server, "server/discover", json!({}));
    assert!(discover().await.unwrap().text().contains("<title>"));
    let tell =
        |behaviour| server.change(|odd| _ = odd.methods.insert("server/discover".to_owned(), behaviour));
    tell(Behaviour::Exit);
    assert!(discover().await.is_none());
    tell(Behaviour::Error(-32601));
    assert_eq!(discover().await.unwrap().json()["error"]["code"], -32601);
    tell(Behaviour::Status(503));
    assert_eq!(discover().await.unwrap().status, 503);
    tell(Behaviour::Result(
        r#"{"supportedVersions":["2025-11-25"]}"#.to_owned(),
    ));
    assert_eq!(
        discover().await.unwrap().json()["result"]["supportedVersions"],
        json!(["2025-11-25"])
    );
    tell(Behaviour::Slow(1));
    assert_eq!(
        discover().await.unwrap().json()["result"]["supportedVersions"],
        json!(["2026-07-28"])
    );
    tell(Behaviour::Silence);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), discover())
            .await
            .is_err()
    );
    let legacy_server = OddServer::start(Odd::legacy()).await.unwrap();
    let reply = modern(&legacy_server, "server/discover", json!({}))
        .await
        .unwrap();
    assert_eq!(
        (reply.status, reply.json()["error"]["code"].as_i64()),
        (400, Some(-32000))
    );
}

#[tokio::test]
async fn a_list_comes_in_as_many_pages_as_wanted() {
    for (cursors, page) in [
        (Cursors::Natural, 1),
        (Cursors::EmptyFirst, 2),
        (Cursors::Natural, 0),
    ] {
        let odd = Odd {
            page,
            cursors,
            ..Odd::modern().plain("t", 5)
        };
        let server = OddServer::start(odd).await.unwrap();
        let (mut names, mut pages, mut params) = (Vec::new(), 0, json!({}));
        loop {
            let result = modern(&server, "tools/list", params.clone())
                .await
                .unwrap()
                .json()["result"]
                .clone();
            let tools = result["tools"].as_array().unwrap();
            names.extend(tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()));
            pages += 1;
            match result.get("nextCursor") {
                Some(cursor) => params["cursor"] = cursor.clone(),
                None => break,
            }
        }
        assert_eq!(names, ["t_0000", "t_0001", "t_0002", "t_0003", "t_0004"]);
        assert_eq!(pages, if page == 0 { 1 } else { 5usize.div_ceil(page) });
    }
    let server = OddServer::start(Odd {
        cursors: Cursors::Loop,
        ..Odd::modern()
    })
    .await
    .unwrap();
    let list = modern(&server, "tools/list", json!({"cursor": "after 0"}))
        .await
        .unwrap()
        .text();
    assert!(list.contains(r#""nextCursor":"after 0""#));
    for tool in fixed_tools() {
        assert!(
            list.contains(std::str::from_utf8(&definition_bytes(tool)).unwrap()),
            "{tool} as defined"
        );
    }
    let reply = modern(&server, "tools/list", json!({"cursor": "bad"}))
        .await
        .unwrap();
    assert_eq!(reply.json()["error"]["code"], -32602);
}

#[tokio::test]
async fn every_listed_tool_exists() {
    let server = OddServer::start(Odd {
        sessionless: true,
        ..Odd::legacy()
    })
    .await
    .unwrap();
    let list = json!({"jsonrpc":"2.0","id":1,"method":"tools/list"}).to_string();
    let list = exchange(&server, "POST /mcp", "", &list).await.unwrap().json();
    let endless = [
        "never",
        "endless_line",
        "endless_events",
        "ask_elicitation",
        "ask_sampling",
        "ask_roots",
    ];
    for tool in list["result"]["tools"].as_array().unwrap() {
        if endless.contains(&tool["name"].as_str().unwrap()) {
            continue;
        }
        let params = json!({"name":tool["name"],"arguments":{"bytes":10,"ms":1}});
        let call = json!({"jsonrpc":"2.0","id":1,"method":"tools/call","params":params}).to_string();
        let reply = exchange(&server, "POST /mcp", "", &call).await;
        assert!(
            reply.is_none_or(|reply| !reply.text().contains("-32602")),
            "{tool}"
        );
    }
}

#[tokio::test]
async fn notes_come_under_the_callers_token_and_before_the_answer() {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    let params = json!({"name": "progress", "arguments": {"count": 2}, "_meta": {"progressToken": "t\"1"}});
    let text = modern(&server, "tools/call", params).await.unwrap().text();
    let events: Vec<_> = text.split_terminator("\n\n").collect();
    assert_eq!(events.len(), 3);
    assert!(
        events[..2]
            .iter()
            .all(|event| event.contains(r#""progressToken":"t\"1""#)),
        "{text}"
    );
    assert!(events[2].contains(r#""id":7,"result""#));
    assert_eq!(
        call(&server, "log", json!({}))
            .await
            .unwrap()
            .text()
            .matches("notifications/message")
            .count(),
        8
    );
    assert!(
        call(&server, "foreign_progress", json!({}))
            .await
            .unwrap()
            .text()
            .contains("nobody's")
    );
}

/// Reads events from a connection that stays open.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn open(server: &OddServer, verb: &str, headers: &str, body: &str) -> Self {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let request = format!(
            "{verb} HTTP/1.1\r\nhost: odd\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(BufReader::new(stream))
    }

    async fn data(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).await.unwrap(), 0, "the stream ended");
            if let Some(data) = line.strip_prefix("data: ") {
                return data.trim_end().to_owned();
            }
        }
    }
}

#[tokio::test]
async fn changes_are_told_to_those_who_listen() {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    let (headers, body) = modern_request(
        "subscriptions/listen",
        json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": ["odd:resource"]}}),
    );
    let mut events = Events::open(&server, "POST /mcp", &headers, &body).await;
    assert!(
        events
            .data()
            .await
            .contains("notifications/subscriptions/acknowledged")
    );
    while server.listeners() == 0 {
        tokio::task::yield_now().await;
    }
    server.announce("notifications/prompts/list_changed").await;
    server.updated("odd:other").await;
    call(&server, "list_changed", json!({})).await.unwrap();
    call(&server, "resource_updated", json!({})).await.unwrap();
    let told = [events.data().await, events.data().await];
    assert!(told[0].contains("notifications/tools/list_changed") && told[0].contains(r#"subscriptionId":7"#));
    assert!(told[1].contains(r#""uri":"odd:resource""#), "{told:?}");
    assert!(
        modern(&server, "tools/list", json!({}))
            .await
            .unwrap()
            .text()
            .contains("grown_1")
    );
    assert!(
        call(&server, "grown_1", json!({}))
            .await
            .unwrap()
            .text()
            .contains("result")
    );
}

#[tokio::test]
async fn a_legacy_server_asks_on_the_calls_stream_and_a_modern_one_with_a_result() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let session = session(&server).await;
    let headers = format!("mcp-session-id: {session}\r\n");
    let call_body =
        json!({"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"ask_elicitation"}});
    let mut events = Events::open(&server, "POST /mcp", &headers, &call_body.to_string()).await;
    let ask: Value = serde_json::from_str(&events.data().await).unwrap();
    assert_eq!(ask["method"], "elicitation/create");
    let answer =
        json!({"jsonrpc":"2.0","id":ask["id"],"result":{"action":"accept","content":{"name":"Ann"}}});
    assert_eq!(
        legacy(&server, &session, answer.clone()).await.unwrap().status,
        202
    );
    let result: Value = serde_json::from_str(&events.data().await).unwrap();
    assert_eq!(result["result"]["content"][0]["text"], answer.to_string());

    server.change(|odd| odd.era = Era::Modern);
    let reply = call(&server, "ask_roots", json!({})).await.unwrap().json();
    assert_eq!(reply["result"]["resultType"], "input_required");
    assert_eq!(
        reply["result"]["inputRequests"]["the asked"]["method"],
        "roots/list"
    );
    let again = json!({"name": "ask_roots", "inputResponses": {"the asked": {"roots": []}}});
    let text =
        modern(&server, "tools/call", again).await.unwrap().json()["result"]["content"][0]["text"].clone();
    assert_eq!(text, r#"{"the asked":{"roots":[]}}"#);
}

#[tokio::test]
async fn the_old_transport_answers_on_its_stream() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    assert_eq!(
        exchange(&server, "POST /sse", "", "{}").await.unwrap().status,
        405
    );
    let mut events = Events::open(&server, "GET /sse", "", "").await;
    let endpoint = events.data().await;
    let verb = format!("POST {endpoint}");
    let post = async |body: Value| {
        exchange(&server, &verb, "", &body.to_string())
            .await
            .unwrap()
            .status
    };
    let initialize =
        json!({"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05"}});
    assert_eq!(post(initialize).await, 202);
    assert!(events.data().await.contains(r#""protocolVersion":"2024-11-05""#));
    assert_eq!(
        post(json!({"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"key_order"}})).await,
        202
    );
    assert_eq!(
        events.data().await.into_bytes(),
        envelope("2", &result_bytes("key_order", Era::Legacy))
    );
    server.announce("notifications/tools/list_changed").await;
    assert!(events.data().await.contains("list_changed"));
    drop(events);
    while server.listeners() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(post(json!({"jsonrpc":"2.0","id":3,"method":"ping"})).await, 404);
}

/// An odd server on pipes within the test.
struct Piped {
    handle: Handle,
    input: Option<DuplexStream>,
    output: Lines<BufReader<DuplexStream>>,
    ended: tokio::task::JoinHandle<std::io::Result<Ended>>,
}

impl Piped {
    fn start(odd: Odd) -> Self {
        let handle = Handle::new(odd, None);
        let (input, server_input) = tokio::io::duplex(1 << 16);
        let (server_output, output) = tokio::io::duplex(1 << 16);
        let serving = handle.clone();
        let ended = tokio::spawn(async move {
            serve_stdio(&serving, server_input, server_output, tokio::io::sink()).await
        });
        Self {
            handle,
            input: Some(input),
            output: BufReader::new(output).lines(),
            ended,
        }
    }

    async fn send(&mut self, line: Value) {
        let line = format!("{line}\n");
        self.input
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .await
            .unwrap();
    }

    async fn call(&mut self, tool: &str) {
        self.send(json!({"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":tool}}))
            .await;
    }

    async fn line(&mut self) -> String {
        self.output.next_line().await.unwrap().expect("a line")
    }
}

#[tokio::test]
async fn on_pipes_an_answer_is_a_line() {
    let mut server = Piped::start(Odd {
        banner: true,
        ..Odd::modern()
    });
    assert!(server.line().await.starts_with("odd server"));
    assert_eq!(
        (server.line().await, server.line().await),
        (String::new(), "{not json".to_owned())
    );
    server
        .send(json!({"jsonrpc":"2.0","id":1,"method":"server/discover"}))
        .await;
    assert!(server.line().await.contains("supportedVersions"));
    server.call("big_numbers").await;
    assert_eq!(
        server.line().await.into_bytes(),
        envelope("5", &result_bytes("big_numbers", Era::Modern))
    );
    server.call("garbage_line").await;
    assert!(server.line().await.starts_with("Listening") && server.line().await.contains(r#""id":5"#));
    server
        .send(json!({"jsonrpc":"2.0","id":2,"method":"initialize"}))
        .await;
    assert!(server.line().await.contains("-32601"));
    assert_eq!(server.handle.received().len(), 4);
    server.input = None;
    assert_eq!(server.ended.await.unwrap().unwrap(), Ended::InputClosed);
}

#[tokio::test]
async fn on_pipes_a_server_dies_when_told() {
    let mut server = Piped::start(Odd::legacy());
    server
        .send(json!({"jsonrpc":"2.0","id":1,"method":"server/discover"}))
        .await;
    assert!(server.line().await.contains("-32601"));
    server
        .send(json!({"jsonrpc":"2.0","id":2,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}))
        .await;
    assert!(server.line().await.contains("2025-11-25"));
    server.call("list_changed").await;
    assert!(server.line().await.contains("list_changed") && server.line().await.contains("ok"));
    server.call("die_mid_stream").await;
    assert!(
        server.line().await.ends_with(r#""text":""#),
        "half a line, then nothing"
    );
    assert_eq!(server.ended.await.unwrap().unwrap(), Ended::Died);
}

#[tokio::test]
async fn as_a_program_it_tells_what_it_was_sent() {
    let program = program(&Odd::modern()).unwrap();
    let mut command = tokio::process::Command::new(&program.command);
    command
        .args(&program.args)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = json!({"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"pid"}}).to_string();
    input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    let answer = output.next_line().await.unwrap().unwrap();
    assert!(
        answer.contains(&format!(r#""text":"{}""#, child.id().unwrap())),
        "{answer}"
    );
    assert_eq!(program.received().last().map(Received::text), Some(line.clone()));
    input
        .write_all(line.replace("pid", "exit").as_bytes())
        .await
        .unwrap();
    input.write_all(b"\n").await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(3));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_program_that_lingers_ignores_the_end_of_its_input_and_term() {
    let alive = |pid: u32| std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists();
    let program = program(&Odd {
        linger: true,
        grandchild: true,
        ..Odd::modern()
    })
    .unwrap();
    let mut command = tokio::process::Command::new(&program.command);
    command
        .args(&program.args)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = json!({"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"grandchild"}});
    input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    let answer: Value = serde_json::from_str(&output.next_line().await.unwrap().unwrap()).unwrap();
    let grandchild: u32 = answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    drop(input);
    let term = |signal: &str, pid: u32| {
        std::process::Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
    };
    term("-TERM", child.id().unwrap()).unwrap();
    let stays = tokio::time::timeout(Duration::from_millis(200), child.wait()).await;
    let both = stays.is_err() && alive(child.id().unwrap()) && alive(grandchild);
    term("-KILL", grandchild).unwrap();
    child.kill().await.unwrap();
    assert!(both, "{stays:?}");
}
