//! What a server answers, a client gets, byte for byte in `result`; what a client sends, a server gets. Measured with a
//! server that answers odd things, by comparing with the answer it gives without a gate.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use gatepost_testkit::gate::{Answer, Client, Era, Gate};
use gatepost_testkit::odd::{
    ERROR, Odd, OddServer, Program, Received, definition_bytes, fixed_methods, fixed_tools, program,
    result_bytes,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");

/// The ways to one server, and what its things are called there.
const ENDPOINTS: [(&str, &str); 3] = [
    ("/mcp/odd", ""),
    ("/mcp", "odd__"),
    ("/mcp/renamed", "other-name."),
];

/// One server behind a gate, and everything it was sent.
enum Behind {
    Http(OddServer),
    Stdio(Program),
}

impl Behind {
    fn received(&self) -> Vec<Received> {
        match self {
            Self::Http(server) => server.received(),
            Self::Stdio(program) => program.received(),
        }
    }

    fn last(&self, method: &str) -> Received {
        // The message may hold a number that no program can represent, so it is not parsed.
        let method = format!(r#""method":"{method}""#);
        let received = self.received();
        received
            .into_iter()
            .rfind(|one| one.text().contains(&method))
            .expect("it was received")
    }

    fn is_http(&self) -> bool {
        matches!(self, Self::Http(_))
    }
}

fn odd(era: Era) -> Odd {
    match era {
        Era::Modern => Odd::modern(),
        Era::Legacy => Odd::legacy(),
    }
}

async fn start(era: Era, stdio: bool) -> (Behind, Gate) {
    let (behind, server) = if stdio {
        let program = program(&odd(era)).unwrap();
        let server = json!({ "command": program.command, "args": program.args });
        (Behind::Stdio(program), server)
    } else {
        let server = OddServer::start(odd(era)).await.unwrap();
        let url = server.url();
        (Behind::Http(server), json!({ "url": url }))
    };
    let names = fixed_tools().chain(["echo", "big_text", "rpc_error", "odd_prompt"]);
    let renames: serde_json::Map<String, Value> = names
        .map(|name| (format!("odd__{name}"), format!("other-name.{name}").into()))
        .collect();
    let views = json!({ "renamed": { "rename": renames } });
    let gate = Gate::start(
        GATEPOST,
        &format!("servers: {}\nviews: {views}", json!({ "odd": server })),
    )
    .await;
    (behind, gate)
}

async fn client(gate: &Gate, era: Era, path: &str) -> Client {
    match era {
        Era::Modern => gate.modern(path),
        Era::Legacy => gate.legacy(path).await,
    }
}

/// The parameters that get the odd server's fixed answer of a method, and whether only one server can be meant.
fn params_of(method: &str, prefix: &str) -> Option<(String, bool)> {
    let params = match method {
        "prompts/get" => format!(r#"{{"name":"{prefix}odd_prompt"}}"#),
        "resources/read" => r#"{"uri":"odd:resource"}"#.to_owned(),
        "completion/complete" => format!(
            r#"{{"ref":{{"type":"ref/prompt","name":"{prefix}odd_prompt"}},"argument":{{"name":"who","value":""}}}}"#
        ),
        "vendor/odd" => "{}".to_owned(),
        _ => return None,
    };
    Some((params, method == "vendor/odd"))
}

#[track_caller]
fn same(what: &str, got: &[u8], expected: &[u8]) {
    assert_eq!(
        String::from_utf8_lossy(got),
        String::from_utf8_lossy(expected),
        "{what}"
    );
}

async fn every_result_is_untouched(era: Era, stdio: bool) {
    let (behind, gate) = start(era, stdio).await;
    for (path, prefix) in ENDPOINTS {
        let client = client(&gate, era, path).await;
        for tool in fixed_tools() {
            let answer = client.call(&format!("{prefix}{tool}"), "{}").await;
            same(
                &format!("{tool} at {path}"),
                &answer.result(),
                &result_bytes(tool, era),
            );
        }
        for method in fixed_methods() {
            let Some((params, alone)) = params_of(method, prefix) else {
                continue;
            };
            if alone && path != "/mcp/odd" {
                continue;
            }
            let answer = client.ask(method, &params).await;
            same(
                &format!("{method} at {path}"),
                &answer.result(),
                &result_bytes(method, era),
            );
        }
        let error = client.call(&format!("{prefix}rpc_error"), "{}").await.error();
        same(&format!("the error at {path}"), &error, ERROR.as_bytes());
    }
    drop(behind);
}

#[tokio::test]
async fn results_of_a_modern_http_server_are_untouched() {
    every_result_is_untouched(Era::Modern, false).await;
}

#[tokio::test]
async fn results_of_a_legacy_http_server_are_untouched() {
    every_result_is_untouched(Era::Legacy, false).await;
}

#[tokio::test]
async fn results_of_a_modern_program_are_untouched() {
    every_result_is_untouched(Era::Modern, true).await;
}

#[tokio::test]
async fn results_of_a_legacy_program_are_untouched() {
    every_result_is_untouched(Era::Legacy, true).await;
}

/// The fixed bytes are what a client without a gate gets: without this the tests above would prove nothing.
#[tokio::test]
async fn the_expected_bytes_are_the_direct_ones() {
    for era in [Era::Modern, Era::Legacy] {
        let server = OddServer::start(odd(era)).await.unwrap();
        let client = match era {
            Era::Modern => Client::modern(server.address(), "/mcp"),
            Era::Legacy => Client::legacy(server.address(), "/mcp").await,
        };
        for tool in fixed_tools() {
            same(
                tool,
                &client.call(tool, "{}").await.result(),
                &result_bytes(tool, era),
            );
        }
    }
}

/// A legacy server that answers by event streams, and one with the transport of 2024-11-05.
#[tokio::test]
async fn the_way_a_legacy_server_frames_its_answers_changes_nothing() {
    let mut streaming = Odd::legacy();
    streaming.sse = true;
    let streaming = OddServer::start(streaming).await.unwrap();
    let old = OddServer::start(Odd::legacy()).await.unwrap();
    let servers = json!({
        "streaming": { "url": streaming.url() },
        "old": { "url": old.sse_url(), "transport": "sse" },
    });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    for path in ["/mcp/streaming", "/mcp/old"] {
        let client = gate.legacy(path).await;
        for tool in fixed_tools() {
            let answer = client.call(tool, "{}").await;
            same(
                &format!("{tool} at {path}"),
                &answer.result(),
                &result_bytes(tool, Era::Legacy),
            );
        }
    }
}

async fn texts_of_16_mib_pass(era: Era, stdio: bool) {
    let (_behind, gate) = start(era, stdio).await;
    let expected = result_bytes("big_text", era);
    for (path, prefix) in ENDPOINTS {
        let answer = client(&gate, era, path)
            .await
            .call(&format!("{prefix}big_text"), "{}")
            .await;
        let result = answer.result();
        assert_eq!(result.len(), expected.len(), "at {path}");
        assert!(result == expected, "the text changed at {path}");
    }
}

#[tokio::test]
async fn texts_of_16_mib_pass_from_a_modern_http_server() {
    texts_of_16_mib_pass(Era::Modern, false).await;
}

#[tokio::test]
async fn texts_of_16_mib_pass_from_a_legacy_http_server() {
    texts_of_16_mib_pass(Era::Legacy, false).await;
}

#[tokio::test]
async fn texts_of_16_mib_pass_from_a_program() {
    texts_of_16_mib_pass(Era::Legacy, true).await;
}

/// The entries of a list, as they are spelt.
fn entries(answer: &Answer, list: &str) -> Vec<String> {
    let result = answer.result();
    let members: std::collections::HashMap<String, Box<RawValue>> = serde_json::from_slice(&result).unwrap();
    let entries: Vec<Box<RawValue>> = serde_json::from_str(members[list].get()).unwrap();
    entries.iter().map(|entry| entry.get().to_owned()).collect()
}

async fn definitions_are_untouched_but_for_the_name(era: Era) {
    let (_behind, gate) = start(era, false).await;
    for (path, prefix) in ENDPOINTS {
        let listed = entries(
            &client(&gate, era, path).await.ask("tools/list", "{}").await,
            "tools",
        );
        for tool in ["unknown_fields", "key_order", "big_numbers", "odd_icons", "echo"] {
            let definition = String::from_utf8(definition_bytes(tool)).unwrap();
            let own = format!(r#""name":"{tool}""#);
            let expected = definition.replacen(&own, &format!(r#""name":"{prefix}{tool}""#), 1);
            assert!(
                listed.contains(&expected),
                "{expected}\nis not listed at {path} among\n{}",
                listed.join("\n")
            );
        }
    }
}

#[tokio::test]
async fn definitions_of_a_modern_server_are_untouched_but_for_the_name() {
    definitions_are_untouched_but_for_the_name(Era::Modern).await;
}

#[tokio::test]
async fn definitions_of_a_legacy_server_are_untouched_but_for_the_name() {
    definitions_are_untouched_but_for_the_name(Era::Legacy).await;
}

#[tokio::test]
async fn other_lists_are_untouched_but_for_names() {
    for era in [Era::Modern, Era::Legacy] {
        let (_behind, gate) = start(era, false).await;
        for (path, prefix) in ENDPOINTS {
            let client = client(&gate, era, path).await;
            let resources = entries(&client.ask("resources/list", "{}").await, "resources");
            let first = r#"{"uri":"odd:resource","name":"odd","size":18446744073709551616,"odd":[]}"#;
            assert_eq!(resources[0], first, "at {path}");
            let templates = entries(
                &client.ask("resources/templates/list", "{}").await,
                "resourceTemplates",
            );
            assert_eq!(
                templates,
                [r#"{"name":"made","uriTemplate":"odd:made/{+path}","odd":false}"#],
                "at {path}"
            );
            let prompts = entries(&client.ask("prompts/list", "{}").await, "prompts");
            let prompt = format!(
                r#"{{"odd":1E+2,"name":"{prefix}odd_prompt","arguments":[{{"name":"who","required":true,"x":null}}]}}"#
            );
            assert_eq!(prompts, [prompt], "at {path}");
        }
    }
}

/// The capabilities of one server are its own, a vendor's among them.
#[tokio::test]
async fn vendor_capabilities_and_instructions_pass() {
    for era in [Era::Modern, Era::Legacy] {
        let (_behind, gate) = start(era, false).await;
        let greeting = match era {
            Era::Modern => gate.modern("/mcp/odd").ask("server/discover", "{}").await.text(),
            Era::Legacy => {
                let params = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"0"}}"#;
                let post = gatepost_testkit::gate::Post::json(
                    "/mcp/odd",
                    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}"#),
                );
                post.send(gate.address()).await.whole().await.text()
            }
        };
        for part in [
            r#""zVendor":{"a":[1.0]}"#,
            r#""experimental":{"com.example/odd":{"level":18446744073709551616}}"#,
            r#""aVendor":null"#,
        ] {
            assert!(greeting.contains(part), "{part} is not in {greeting}");
        }
        let message: Value = serde_json::from_str(&greeting).unwrap();
        assert_eq!(
            message["result"]["instructions"], "Expect éverything.",
            "{greeting}"
        );
    }
}

/// The exact text of `params`, and of `_meta` in it, that a server received.
fn params(received: &Received) -> (String, Option<String>) {
    #[derive(serde::Deserialize)]
    struct Request {
        params: Box<RawValue>,
    }
    #[derive(serde::Deserialize)]
    struct Params {
        #[serde(rename = "_meta")]
        meta: Option<Box<RawValue>>,
    }
    let request: Request = serde_json::from_slice(&received.body).unwrap();
    let params: Params = serde_json::from_str(request.params.get()).unwrap();
    (
        request.params.get().to_owned(),
        params.meta.map(|meta| meta.get().to_owned()),
    )
}

/// Keys in no order, numbers that no program would choose, a text in several spellings.
const ARGUMENTS: &str = concat!(
    r#"{"z":18446744073709551616,"a":{"y":-0,"b":[1E+2,1.0,0.10,-9223372036854775809]},"#,
    r#""text":"\u00e9 é \/ / \ud83d\ude00 😀","null":null,"m":{},"vast":1e400}"#
);

async fn requests_are_untouched_but_for_name_and_token(era: Era, stdio: bool) {
    let (behind, gate) = start(era, stdio).await;
    for (path, prefix) in ENDPOINTS {
        let client = client(&gate, era, path).await;
        let client = client
            .with_meta(r#""com.example/z":{"z":1,"a":18446744073709551616},"progressToken":"mine","x":-0"#);
        let sent = format!(r#"{{"zz":1E+2,"name":"{prefix}echo","arguments":{ARGUMENTS},"aa":null}}"#);
        let answer = client.ask("tools/call", &sent).await;
        assert_eq!(answer.tool_text(), ARGUMENTS, "at {path}");

        let request = client.request("tools/call", &sent);
        let (_, body) = request.on_the_wire(gate.address());
        let client_sent = Received {
            at: String::new(),
            headers: Vec::new(),
            body,
            connection: 0,
        };
        let (expected, _) = params(&client_sent);
        let expected = expected.replacen(&format!(r#""name":"{prefix}echo""#), r#""name":"echo""#, 1);

        let received = behind.last("tools/call");
        let (got, meta) = params(&received);
        let token = serde_json::from_str::<Value>(&meta.unwrap()).unwrap()["progressToken"].clone();
        assert!(token.is_number() || token.is_string(), "{token}");
        assert_ne!(token, "mine", "tokens of two clients would meet");
        let got = got.replacen(
            &format!(r#""progressToken":{token}"#),
            r#""progressToken":"mine""#,
            1,
        );
        assert_eq!(got, expected, "at {path}");
        if era == Era::Modern && behind.is_http() {
            assert_eq!(received.header("mcp-name"), Some("echo"), "the server's own name");
        }
    }
}

#[tokio::test]
async fn requests_to_a_modern_http_server_are_untouched_but_for_name_and_token() {
    requests_are_untouched_but_for_name_and_token(Era::Modern, false).await;
}

#[tokio::test]
async fn requests_to_a_legacy_http_server_are_untouched_but_for_name_and_token() {
    requests_are_untouched_but_for_name_and_token(Era::Legacy, false).await;
}

#[tokio::test]
async fn requests_to_programs_are_untouched_but_for_name_and_token() {
    requests_are_untouched_but_for_name_and_token(Era::Modern, true).await;
    requests_are_untouched_but_for_name_and_token(Era::Legacy, true).await;
}

/// Ids come back as they were sent, whatever they are; the server sees the gate's own, each only once.
#[tokio::test]
async fn ids_come_back_as_sent_and_are_unique_on_the_server() {
    for era in [Era::Modern, Era::Legacy] {
        let (behind, gate) = start(era, false).await;
        let client = client(&gate, era, "/mcp/odd").await;
        let ids = [
            "0",
            "-7",
            "7",
            "7",
            "9007199254740993",
            r#""""#,
            r#""7""#,
            r#""\u00e9\"é""#,
        ];
        for id in ids {
            let post = client.request_as(id, "tools/call", r#"{"name":"echo","arguments":{}}"#);
            let answer = client.send(&post).await;
            assert!(
                answer.text().contains(&format!(r#""id":{id}"#)),
                "{id}: {}",
                answer.text()
            );
        }
        let received = behind.received();
        let ids_up: Vec<Value> = received
            .iter()
            .filter(|one| one.method() == "tools/call")
            .map(|one| one.json()["id"].clone())
            .collect();
        let unique: std::collections::HashSet<String> = ids_up.iter().map(Value::to_string).collect();
        assert_eq!((ids_up.len(), unique.len()), (ids.len(), ids.len()), "{ids_up:?}");
    }
}

/// The W3C trace context passes from the headers to a server, everything else of the client's headers stays here.
#[tokio::test]
async fn trace_context_passes_and_credentials_do_not() {
    let (behind, gate) = start(Era::Modern, false).await;
    let client = gate.modern("/mcp/odd");
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let post = client
        .calling("echo", "{}")
        .header("traceparent", traceparent)
        .header("tracestate", "a=1")
        .header("authorization", "Bearer secret-of-the-client")
        .header("cookie", "secret-of-the-client=1")
        .header("x-api-key", "secret-of-the-client")
        .header("mcp-session-id", "secret-of-the-client");
    assert_eq!(client.send(&post).await.status, 200);
    let received = behind.last("tools/call");
    let in_body = received.text().contains(traceparent);
    assert!(
        received.header("traceparent") == Some(traceparent) || in_body,
        "{received:?}"
    );
    for one in behind.received() {
        assert!(!format!("{one:?}").contains("secret-of-the-client"), "{one:?}");
    }

    let with_meta = gate
        .modern("/mcp/odd")
        .with_meta(&format!(r#""traceparent":"{traceparent}""#));
    assert_eq!(with_meta.call("echo", "{}").await.status, 200);
    assert!(behind.last("tools/call").text().contains(traceparent));
}
