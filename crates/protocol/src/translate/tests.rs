use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::envelope::{Message, Request, Response};
use crate::json::Strictness;
use crate::method::Method;
use crate::version::Version::{self, *};

fn request(raw: &str) -> Request {
    match Message::parse(Bytes::copy_from_slice(raw.as_bytes()), Strictness::Edge) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn response(raw: &str) -> Response {
    match Message::parse(Bytes::copy_from_slice(raw.as_bytes()), Strictness::Server) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

fn value(raw: &[u8]) -> Value {
    serde_json::from_slice(raw).unwrap()
}

#[test]
fn requests_up() {
    let up = |from: Version, to: Version, level: Option<&str>, params: &str| {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{params}}}"#);
        let client = ClientSide {
            version: from,
            capabilities: b"{\"roots\":{}}",
            info: Some(b"{\"name\":\"c\"}"),
            log_level: level,
        };
        let call = UpCall {
            version: to,
            id: b"7",
            name: Some("t"),
            progress_token: Some(b"99"),
            input: None,
        };
        let sent = request_up(&request(&raw), &client, &call);
        let text = String::from_utf8(sent.to_vec()).unwrap();
        text.strip_prefix(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":"#)
            .and_then(|t| t.strip_suffix('}'))
            .unwrap()
            .to_owned()
    };
    for (from, to, level, params, wanted) in [
        // Nothing but the splices.
        (
            V2026_07_28,
            V2026_07_28,
            None,
            r#"{"name":"s__t","_meta":{"io.modelcontextprotocol/clientInfo":{"name":"x"},"progressToken":"p"},"requestState":"","inputResponses":{}}"#,
            r#"{"name":"t","_meta":{"io.modelcontextprotocol/clientInfo":{"name":"x"},"progressToken":99},"requestState":"","inputResponses":{}}"#,
        ),
        (
            V2025_11_25,
            V2025_11_25,
            None,
            r#"{"name":"s__t","arguments":{"task":1},"task":{"ttl":1},"requestState":"x"}"#,
            r#"{"name":"t","arguments":{"task":1}}"#,
        ),
        // Modern to legacy.
        (
            V2026_07_28,
            V2025_06_18,
            None,
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"info","traceparent":"00-1","vendor/x":1},"name":"s__t","inputResponses":{},"task":{}}"#,
            r#"{"_meta":{"traceparent":"00-1","vendor/x":1},"name":"t"}"#,
        ),
        // Legacy to modern.
        (
            V2025_11_25,
            V2026_07_28,
            Some("info"),
            r#"{"name":"s__t","inputResponses":{},"requestState":"x"}"#,
            r#"{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/logLevel":"info"}}"#,
        ),
        (
            V2024_11_05,
            V2026_07_28,
            None,
            r#"{"name":"s__t","_meta":{"progressToken":1}}"#,
            r#"{"name":"t","_meta":{"progressToken":99,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/clientInfo":{"name":"c"}}}"#,
        ),
    ] {
        assert_eq!(up(from, to, level, params), wanted, "{from} to {to}");
    }
}

#[test]
fn results_down() {
    let hints = CacheHints {
        ttl_ms: 5,
        scope: CacheScope::Private,
        never_public: false,
    };
    let list = Method::ToolsList;
    let call = Method::ToolsCall;
    for (method, server, client, result, wanted) in [
        (
            call,
            V2025_11_25,
            V2025_11_25,
            r#"{"ttlMs":1, "content":[{"type":"new"}]}"#,
            r#"{"ttlMs":1, "content":[{"type":"new"}]}"#,
        ),
        (
            call,
            V2026_07_28,
            V2026_07_28,
            r#"{"resultType":"complete","a":1e400}"#,
            r#"{"resultType":"complete","a":1e400}"#,
        ),
        (
            call,
            V2025_11_25,
            V2026_07_28,
            r#"{"content":[]}"#,
            r#"{"content":[],"resultType":"complete"}"#,
        ),
        (
            list,
            V2025_11_25,
            V2026_07_28,
            r#"{"tools":[]}"#,
            r#"{"tools":[],"resultType":"complete","ttlMs":5,"cacheScope":"private"}"#,
        ),
        (
            list,
            V2025_11_25,
            V2026_07_28,
            r#"{"ttlMs":7,"cacheScope":"public"}"#,
            r#"{"ttlMs":7,"cacheScope":"public","resultType":"complete"}"#,
        ),
        (
            list,
            V2025_11_25,
            V2026_07_28,
            r#"{"ttlMs":-1,"cacheScope":"all"}"#,
            r#"{"ttlMs":5,"cacheScope":"private","resultType":"complete"}"#,
        ),
        (
            list,
            V2026_07_28,
            V2025_06_18,
            r#"{"resultType":"complete","tools":[],"ttlMs":1,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{},"v":1}}"#,
            r#"{"tools":[],"_meta":{"v":1}}"#,
        ),
        (
            call,
            V2026_07_28,
            V2025_11_25,
            r#"{"content":[],"structuredContent":[1, 2]}"#,
            r#"{"content":[{"type":"text","text":"[1, 2]"}]}"#,
        ),
        (
            call,
            V2026_07_28,
            V2025_11_25,
            r#"{"content":[{"type":"text","text":"x"}],"structuredContent":7}"#,
            r#"{"content":[{"type":"text","text":"x"}]}"#,
        ),
        (
            call,
            V2026_07_28,
            V2025_11_25,
            r#"{"structuredContent":{"a":1}}"#,
            r#"{"structuredContent":{"a":1}}"#,
        ),
        (
            call,
            V2025_06_18,
            V2025_03_26,
            r#"{"content":[{"type":"resource_link","name":"n","title":"T","uri":"a:b","description":"d"},{"type":"audio","data":"AA=="}]}"#,
            r#"{"content":[{"type":"text","text":"T\na:b\nd"},{"type":"audio","data":"AA=="}]}"#,
        ),
        (
            call,
            V2025_06_18,
            V2025_03_26,
            r#"{"content":[{"type":"hologram"}]}"#,
            r#"{"content":[{"type":"text","text":"[unsupported content: hologram]"}]}"#,
        ),
        (
            call,
            V2025_11_25,
            V2024_11_05,
            r#"{"content":[{"type":"audio","data":"AA==","mimeType":"audio/wav"}]}"#,
            r#"{"content":[{"type":"resource","resource":{"uri":"gatepost:audio/a6dc28c0e3a4a4b9","mimeType":"audio/wav","blob":"AA=="}}]}"#,
        ),
        (
            Method::PromptsGet,
            V2025_11_25,
            V2025_03_26,
            r#"{"messages":[{"role":"user","content":{"type":"resource_link","name":"n","uri":"a:b"}},{"role":"user","content":{"type":"text","text":""}}]}"#,
            r#"{"messages":[{"role":"user","content":{"type":"text","text":"n\na:b"}},{"role":"user","content":{"type":"text","text":""}}]}"#,
        ),
    ] {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
        let got = result_down(Some(method), server, client, hints, &response(&raw), b"\"c\"").unwrap();
        let wanted = format!(r#"{{"jsonrpc":"2.0","id":"c","result":{wanted}}}"#);
        // The name of a piece of audio only has to be stable.
        let text = String::from_utf8(got.to_vec()).unwrap();
        let anonymous = |text: &str| match text.split_once("gatepost:audio/") {
            Some((head, tail)) => format!("{head}{}", &tail[16..]),
            None => text.to_owned(),
        };
        assert_eq!(anonymous(&text), anonymous(&wanted), "{server} to {client}");
        // What may stream comes out the same, but for what is documented.
        let plan = ResultPlan {
            method: Some(method),
            server,
            client,
            hints,
            server_info: None,
            drop_structured: false,
            task_id: None,
        };
        if plan.is_streamable() && !result.contains("ttlMs") && !result.contains("_meta") {
            let mut out = Vec::new();
            let mut splicer = plan.splicer(Bytes::from_static(b"\"c\""));
            splicer.feed(&Bytes::from(raw), &mut out).unwrap();
            splicer.finish().unwrap();
            assert_eq!(String::from_utf8(out.concat()).unwrap(), wanted);
        }
    }
}

#[test]
fn results_that_cannot_be_passed_on_are_named() {
    let odd = response(r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"later"}}"#);
    assert!(result_down(None, V2026_07_28, V2026_07_28, CacheHints::NONE, &odd, b"1").is_err());
    assert!(result_down(None, V2026_07_28, V2025_11_25, CacheHints::NONE, &odd, b"1").is_err());
    // The member means nothing from a server of a version that does not have it.
    assert!(result_down(None, V2025_11_25, V2025_11_25, CacheHints::NONE, &odd, b"1").is_ok());
}

#[test]
fn a_result_that_is_none_yet_is_never_passed_on_as_one() {
    for (kind, problem) in [
        ("input_required", ResultProblem::Unfinished),
        ("task", ResultProblem::TaskForLegacy),
    ] {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"resultType":"{kind}","taskId":"t"}}}}"#);
        let down = |client| {
            let method = Some(Method::ToolsCall);
            result_down(
                method,
                V2026_07_28,
                client,
                CacheHints::NONE,
                &response(&raw),
                b"1",
            )
        };
        // Whoever called has to seal what the server wants back, also for a client of its own version.
        let unfinished = problem == ResultProblem::Unfinished;
        assert_eq!(down(V2026_07_28).is_err(), unfinished, "{kind}");
        assert_eq!(down(V2025_11_25), Err(problem));
    }
}

#[test]
fn doubled_members_do_not_multiply_what_takes_their_place() {
    let content = r#""content":0,"#.repeat(1000);
    let structured = "x".repeat(10_000);
    let raw =
        format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{{content}"structuredContent":"{structured}"}}}}"#);
    let method = Some(Method::ToolsCall);
    let hints = CacheHints::NONE;
    let got = result_down(method, V2026_07_28, V2025_11_25, hints, &response(&raw), b"1").unwrap();
    assert!(got.len() < 2 * raw.len(), "{} from {}", got.len(), raw.len());
}

#[test]
fn an_unfinished_result_keeps_everything_but_id_and_state() {
    let raw =
        r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"input_required", "requestState":"s","x":1.0}}"#;
    let down = |state| String::from_utf8(unfinished_down(&response(raw), b"\"c\"", state).to_vec()).unwrap();
    assert_eq!(down(None), raw.replace("7", "\"c\""));
    assert_eq!(
        down(Some("a\"")),
        raw.replace("7", "\"c\"").replace(r#""s""#, r#""a\"""#)
    );
}

#[test]
fn a_task_gets_the_name_its_client_knows() {
    let plan = ResultPlan {
        method: Some(Method::TasksGet),
        server: V2026_07_28,
        client: V2026_07_28,
        hints: CacheHints::NONE,
        server_info: None,
        drop_structured: false,
        task_id: Some(br#""sealed""#),
    };
    let raw = r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete", "taskId" :"own","result":{"taskId":"own"}}}"#;
    assert_eq!(
        plan.apply(&response(raw), b"1").unwrap(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete", "taskId" :"sealed","result":{"taskId":"own"}}}"#
    );
}

#[test]
fn a_plan_stamps_and_restricts() {
    let plan = ResultPlan {
        method: Some(Method::ResourcesRead),
        server: V2026_07_28,
        client: V2026_07_28,
        hints: CacheHints {
            never_public: true,
            ..CacheHints::NONE
        },
        server_info: Some(b"{\"name\":\"s\"}"),
        drop_structured: false,
        task_id: None,
    };
    assert!(!plan.is_streamable());
    let read = response(
        r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","ttlMs":9,"cacheScope":"public"}}"#,
    );
    assert_eq!(
        value(&plan.apply(&read, b"1").unwrap())["result"],
        json!({"resultType": "complete", "ttlMs": 9, "cacheScope": "private", "_meta": {META_SERVER_INFO: {"name": "s"}}})
    );
    let own = response(
        r#"{"jsonrpc":"2.0","id":7,"result":{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"own"}}}}"#,
    );
    assert_eq!(
        value(&plan.apply(&own, b"1").unwrap())["result"]["_meta"][META_SERVER_INFO]["name"],
        "own"
    );
}

#[test]
fn errors_down() {
    let read = Some(Method::ResourcesRead);
    let call = Some(Method::ToolsCall);
    let modern_to = |client| (V2026_07_28, client);
    for (method, (server, client), code, data, wanted_code, wanted_data, status) in [
        (call, modern_to(V2026_07_28), -32000, "1", -32000, json!(1), 200),
        (call, modern_to(V2026_07_28), -32601, "1", -32601, json!(1), 404),
        (call, modern_to(V2025_11_25), -32601, "1", -32601, json!(1), 200),
        (
            read,
            (V2025_11_25, V2026_07_28),
            -32002,
            "{\"x\":1}",
            -32602,
            json!({"x": 1, "uri": "a:b"}),
            200,
        ),
        (
            read,
            (V2025_11_25, V2026_07_28),
            -32002,
            "null",
            -32602,
            json!({"uri": "a:b"}),
            200,
        ),
        (
            read,
            (V2025_11_25, V2026_07_28),
            -32002,
            "{\"uri\":\"own\"}",
            -32602,
            json!({"uri": "own"}),
            200,
        ),
        (
            call,
            (V2025_11_25, V2026_07_28),
            -32002,
            "1",
            -32603,
            json!({"server": "s", "code": -32002, "message": "m", "data": 1}),
            200,
        ),
        (
            call,
            (V2025_11_25, V2025_06_18),
            -32002,
            "1",
            -32002,
            json!(1),
            200,
        ),
        (
            read,
            modern_to(V2025_11_25),
            -32602,
            "{\"uri\":\"a:b\"}",
            -32002,
            json!({"uri": "a:b"}),
            200,
        ),
        (
            read,
            modern_to(V2025_11_25),
            -32602,
            "{\"uri\":\"other\"}",
            -32602,
            json!({"uri": "other"}),
            200,
        ),
        (
            call,
            modern_to(V2025_11_25),
            -32602,
            "{\"uri\":\"a:b\"}",
            -32602,
            json!({"uri": "a:b"}),
            200,
        ),
        (
            read,
            (V2025_11_25, V2025_11_25),
            -32602,
            "{\"uri\":\"a:b\"}",
            -32602,
            json!({"uri": "a:b"}),
            200,
        ),
        (
            call,
            modern_to(V2026_07_28),
            -32021,
            r#"{"requiredCapabilities":{"sampling":{}}}"#,
            -32021,
            json!({"requiredCapabilities": {"sampling": {}}}),
            400,
        ),
        (
            call,
            modern_to(V2026_07_28),
            -32021,
            r#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#,
            -32021,
            json!({"requiredCapabilities": {"elicitation": {"url": {}}}}),
            400,
        ),
        (
            call,
            modern_to(V2026_07_28),
            -32021,
            r#"{"requiredCapabilities":{"elicitation":{"form":{}}}}"#,
            -32603,
            json!({"server": "s", "code": -32021, "message": "m", "data": {"requiredCapabilities": {"elicitation": {"form": {}}}}}),
            200,
        ),
        (call, modern_to(V2025_11_25), -32021, "1", -32021, json!(1), 200),
        (
            call,
            modern_to(V2026_07_28),
            -32020,
            "1",
            -32603,
            json!({"server": "s", "code": -32020, "message": "m", "data": 1}),
            200,
        ),
        (
            call,
            modern_to(V2025_11_25),
            -32022,
            "1",
            -32603,
            json!({"server": "s", "code": -32022, "message": "m", "data": 1}),
            200,
        ),
        (
            call,
            (V2025_11_25, V2025_11_25),
            -32022,
            "1",
            -32022,
            json!(1),
            200,
        ),
        (
            call,
            (V2025_11_25, V2026_07_28),
            -32050,
            "1",
            -32603,
            json!({"server": "s", "code": -32050, "message": "m", "data": 1}),
            200,
        ),
        (call, modern_to(V2025_11_25), -32050, "1", -32050, json!(1), 200),
        (
            call,
            (V2025_11_25, V2025_11_25),
            -32042,
            "1",
            -32042,
            json!(1),
            200,
        ),
    ] {
        let raw =
            format!(r#"{{"jsonrpc":"2.0","id":7,"error":{{"code":{code},"message":"m","data":{data}}}}}"#);
        let facts = ErrorFacts {
            method,
            uri: Some("a:b"),
            server_name: "s",
            server,
            client,
            client_capabilities: br#"{"elicitation":{"form":{}}}"#,
        };
        let down = error_down(&response(&raw), b"\"c\"", &facts);
        let body = value(&down.body);
        let context = format!("{code} {data} {server} to {client}");
        assert_eq!(body["id"], "c", "{context}");
        assert_eq!(body["error"]["code"], wanted_code, "{context}");
        assert_eq!(body["error"]["data"], wanted_data, "{context}");
        assert_eq!(down.status, status, "{context}");
    }
}

#[test]
fn a_url_is_told_to_clients_that_cannot_be_asked() {
    let raw = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"url":"https://x.example/a"}]}}}"#;
    let facts = ErrorFacts {
        method: None,
        uri: None,
        server_name: "s",
        server: V2025_11_25,
        client: V2025_06_18,
        client_capabilities: b"{}",
    };
    let body = value(&error_down(&response(raw), b"1", &facts).body);
    assert_eq!(body["error"]["code"], -32603);
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("https://x.example/a")
    );
}

#[test]
fn tools_down() {
    let down = |raw: &str, server, client| {
        tool_down(raw.as_bytes(), server, client).map(|tool| String::from_utf8(tool.into_owned()).unwrap())
    };
    let odd = r#"{"name":"t","inputSchema":{"type":"object","properties":{"a":true,"b":false,"c":{"properties":{"d":true}}}},"outputSchema":{"type":"array"},"execution":{}}"#;
    assert_eq!(down(odd, V2026_07_28, V2026_07_28).as_deref(), Some(odd));
    assert_eq!(down(odd, V2025_11_25, V2025_11_25).as_deref(), Some(odd));
    assert_eq!(
        down(odd, V2026_07_28, V2025_11_25).as_deref(),
        Some(
            r#"{"name":"t","inputSchema":{"type":"object","properties":{"a":{},"b":{"not":{}},"c":{"properties":{"d":true}}}},"execution":{}}"#
        )
    );
    assert!(down(odd, V2025_11_25, V2026_07_28).is_some_and(|tool| !tool.contains("execution")));
    assert!(drops_structured_content(odd.as_bytes(), V2026_07_28, V2025_11_25));
    assert!(!drops_structured_content(
        odd.as_bytes(),
        V2026_07_28,
        V2026_07_28
    ));
    for (execution, left) in [
        (r#","execution":{"taskSupport":"required"}"#, ""),
        (
            r#","execution":{"taskSupport":"required","x":1}"#,
            r#","execution":{"x":1}"#,
        ),
        (
            r#","execution":{"taskSupport":"optional"}"#,
            r#","execution":{"taskSupport":"optional"}"#,
        ),
    ] {
        let tool = |execution| format!(r#"{{"name":"t"{execution}}}"#);
        assert_eq!(down(&tool(execution), V2025_11_25, V2025_06_18), Some(tool(left)));
    }
    let plain = r#"{"name":"t","outputSchema":{"type":"object","properties":{}}}"#;
    assert_eq!(down(plain, V2026_07_28, V2024_11_05).as_deref(), Some(plain));
    assert!(!drops_structured_content(
        plain.as_bytes(),
        V2026_07_28,
        V2025_11_25
    ));
    for no_tool in ["{}", "7", r#"{"name":7}"#] {
        assert_eq!(down(no_tool, V2026_07_28, V2025_11_25), None);
    }
}

#[test]
fn client_capabilities_are_cut_to_what_works() {
    for (client, server, given, wanted) in [
        (V2026_07_28, V2026_07_28, r#"{"tasks":{}}"#, r#"{"tasks":{}}"#),
        (
            V2025_11_25,
            V2026_07_28,
            r#"{"roots":{"listChanged":true},"tasks":{},"x":1}"#,
            r#"{"roots":{},"x":1}"#,
        ),
        (
            V2025_11_25,
            V2025_11_25,
            r#"{"roots":{"listChanged":true}}"#,
            r#"{"roots":{"listChanged":true}}"#,
        ),
        (
            V2026_07_28,
            V2025_11_25,
            r#"{"extensions":{"io.modelcontextprotocol/tasks":{},"y":{}}}"#,
            r#"{"extensions":{"y":{}}}"#,
        ),
        (
            V2025_06_18,
            V2026_07_28,
            r#"{"elicitation":{}}"#,
            r#"{"elicitation":{"form":{}}}"#,
        ),
        (
            V2025_11_25,
            V2026_07_28,
            r#"{"elicitation":{}}"#,
            r#"{"elicitation":{}}"#,
        ),
        (
            V2026_07_28,
            V2025_06_18,
            r#"{"elicitation":{"form":{},"url":{}}}"#,
            r#"{"elicitation":{}}"#,
        ),
        (V2026_07_28, V2025_06_18, r#"{"elicitation":{"url":{}}}"#, "{}"),
        (
            V2026_07_28,
            V2025_03_26,
            r#"{"elicitation":{},"sampling":{}}"#,
            r#"{"sampling":{}}"#,
        ),
    ] {
        let got = client_capabilities_up(given.as_bytes(), client, server);
        assert_eq!(String::from_utf8(got).unwrap(), wanted, "{client} to {server}");
    }
}
