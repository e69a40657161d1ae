use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::envelope::{Message, Response};
use crate::json::Strictness;
use crate::version::Version::{self, *};

fn ask(method: &str, params: &Value) -> Ask {
    let raw = json!({ "jsonrpc": "2.0", "id": "a", "method": method, "params": params }).to_string();
    match Message::parse(raw.into(), Strictness::Server) {
        Ok(Message::Request(request)) => Ask::of_request(&request).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn response(result: &Value) -> Response {
    let raw = json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string();
    match Message::parse(raw.into(), Strictness::Server) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

fn value(raw: &[u8]) -> Value {
    serde_json::from_slice(raw).unwrap()
}

#[test]
fn kinds_are_told_apart_and_declared_apart() {
    let check = |method: &str, params: Value, kind: AskKind, declared: &[&str], not: &[&str]| {
        let asked = ask(method, &params);
        assert_eq!(asked.kind(), kind, "{method} {params}");
        for capabilities in declared {
            assert!(
                kind.is_declared(capabilities.as_bytes()),
                "{kind:?} {capabilities}"
            );
        }
        for capabilities in not {
            assert!(
                !kind.is_declared(capabilities.as_bytes()),
                "{kind:?} {capabilities}"
            );
        }
        assert!(kind.is_declared(kind.required().as_bytes()));
    };
    check(
        "elicitation/create",
        json!({ "message": "m", "requestedSchema": {} }),
        AskKind::Form,
        &[r#"{"elicitation":{}}"#, r#"{"elicitation":{"form":{},"url":{}}}"#],
        &["{}", r#"{"elicitation":{"url":{}}}"#, r#"{"elicitation":null}"#],
    );
    check(
        "elicitation/create",
        json!({ "mode": "url", "url": "https://a", "elicitationId": "e" }),
        AskKind::Url,
        &[r#"{"elicitation":{"url":{}}}"#],
        &[r#"{"elicitation":{}}"#, r#"{"elicitation":{"form":{}}}"#],
    );
    check(
        "sampling/createMessage",
        json!({ "messages": [] }),
        AskKind::Sampling,
        &[r#"{"sampling":{}}"#],
        &[r#"{"roots":{}}"#],
    );
    check(
        "sampling/createMessage",
        json!({ "messages": [], "toolChoice": {} }),
        AskKind::SamplingWithTools,
        &[r#"{"sampling":{"tools":{}}}"#],
        &[r#"{"sampling":{}}"#],
    );
    check(
        "roots/list",
        json!({}),
        AskKind::Roots,
        &[r#"{"roots":{}}"#],
        &["{}"],
    );
}

#[test]
fn what_is_no_question_is_refused_by_its_fault() {
    let refused = |raw: &str| match Message::parse(raw.to_owned().into(), Strictness::Server) {
        Ok(Message::Request(request)) => Ask::of_request(&request).unwrap_err().code(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(r#"{"jsonrpc":"2.0","id":1,"method":"x/y"}"#),
        METHOD_NOT_FOUND
    );
    assert_eq!(
        refused(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#),
        METHOD_NOT_FOUND
    );
    for params in [r#"{"mode":7}"#, r#"{"mode":"voice"}"#, r#"{"mode":"url"}"#] {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{params}}}"#);
        assert_eq!(refused(&raw), INVALID_PARAMS, "{params}");
    }
}

#[test]
fn a_legacy_question_becomes_an_entry() {
    let asked = ask(
        "elicitation/create",
        &json!({ "mode": "url", "message": "m", "url": "https://a/?b=1", "elicitationId": "e", "task": {}, "x": 1.0,
            "_meta": { "progressToken": 3 } }),
    );
    assert_eq!(
        value(&asked.entry()),
        json!({ "method": "elicitation/create", "params": { "mode": "url", "message": "m", "url": "https://a/?b=1", "x": 1.0 } })
    );
    assert_eq!(asked.elicitation_id().as_deref(), Some("e"));
    let kept = ask("roots/list", &json!({ "_meta": { "progressToken": 3, "v": 1 } }));
    assert_eq!(
        value(&kept.entry()),
        json!({ "method": "roots/list", "params": { "_meta": { "v": 1 } } })
    );
    let message = input_required(b"7", [("a\"", &kept)], "s", Some(br#"{"name":"n"}"#));
    assert_eq!(
        value(&message),
        json!({ "jsonrpc": "2.0", "id": 7, "result": { "resultType": "input_required",
            "inputRequests": { "a\"": { "method": "roots/list", "params": { "_meta": { "v": 1 } } } }, "requestState": "s",
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "n" } } } })
    );
}

#[test]
fn an_unfinished_result_is_read() {
    assert!(InputRequired::of(&response(&json!({ "content": [] }))).is_none());
    let read = |result: Value| InputRequired::of(&response(&result)).unwrap();
    let found = read(json!({ "resultType": "input_required", "requestState": "",
        "inputRequests": { "b": { "method": "roots/list" }, "a": { "method": "elicitation/create", "params": {} } } }))
    .unwrap();
    let keys: Vec<_> = found
        .asks
        .iter()
        .map(|(key, ask)| (key.as_str(), ask.kind()))
        .collect();
    assert_eq!(keys, [("a", AskKind::Form), ("b", AskKind::Roots)]);
    assert_eq!(found.state.as_deref(), Some(""));
    for wrong in [
        json!({ "resultType": "input_required" }),
        json!({ "resultType": "input_required", "requestState": 1 }),
        json!({ "resultType": "input_required", "inputRequests": [] }),
        json!({ "resultType": "input_required", "inputRequests": { "a": 1 } }),
        json!({ "resultType": "input_required", "inputRequests": { "a": { "method": "tools/list" } } }),
    ] {
        assert!(read(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn a_form_takes_the_shape_of_the_clients_version() {
    let form = json!({ "mode": "form", "message": "m", "requestedSchema": { "type": "object", "properties": {
        "name": { "type": "string" },
        "colour": { "type": "string", "title": "t", "oneOf": [{ "const": "r", "title": "Red" }, { "const": "g", "title": "Green" }] },
    } } });
    let asked = ask("elicitation/create", &form);
    assert_eq!(
        value(&asked.request(b"5", V2025_11_25, None).unwrap())["params"],
        form
    );
    assert_eq!(
        value(&asked.request(b"5", V2025_06_18, None).unwrap())["params"],
        json!({ "message": "m", "requestedSchema": { "type": "object", "properties": {
            "name": { "type": "string" },
            "colour": { "type": "string", "title": "t", "enum": ["r", "g"], "enumNames": ["Red", "Green"] },
        } } })
    );
    assert_eq!(
        asked.request(b"5", V2025_03_26, None),
        Err(BeyondClient::Elicitation)
    );
    let several = ask(
        "elicitation/create",
        &json!({ "requestedSchema": { "properties": { "c": { "type": "array", "items": {} } } } }),
    );
    assert!(several.request(b"5", V2025_11_25, None).is_ok());
    assert_eq!(
        several.request(b"5", V2025_06_18, None),
        Err(BeyondClient::MultiSelect)
    );
    let page = ask(
        "elicitation/create",
        &json!({ "mode": "url", "url": "https://a" }),
    );
    assert_eq!(
        value(&page.request(b"\"x\"", V2025_11_25, Some("minted")).unwrap()),
        json!({ "jsonrpc": "2.0", "id": "x", "method": "elicitation/create",
            "params": { "mode": "url", "url": "https://a", "elicitationId": "minted" } })
    );
    assert_eq!(page.request(b"5", V2025_06_18, None), Err(BeyondClient::Url));
    let tools = ask("sampling/createMessage", &json!({ "messages": [], "tools": [] }));
    assert_eq!(tools.request(b"5", V2025_06_18, None), Err(BeyondClient::Tools));
}

#[test]
fn a_choice_is_written_once_whatever_else_is_there() {
    // By hand: serde_json would drop the doubled names.
    let raw = r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"requestedSchema":{"properties":{"c":
        {"enum":["x"],"oneOf":[],"enumNames":1,"oneOf":[{"const":"r","title":"Red"}],"x":1}}}}}"#;
    let Ok(Message::Request(request)) = Message::parse(raw.into(), Strictness::Server) else {
        panic!("no request");
    };
    let asked = Ask::of_request(&request)
        .unwrap()
        .request(b"5", V2025_06_18, None)
        .unwrap();
    let text = String::from_utf8(asked.to_vec()).unwrap();
    let field = r#""c":
        {"enum":["r"],"enumNames":["Red"],"x":1}"#;
    assert!(text.contains(field), "{text}");
}

#[test]
fn an_answer_takes_the_shape_of_the_servers_version() {
    let sampling = ask("sampling/createMessage", &json!({ "messages": [] }));
    let answer = |content: Value| -> Bytes {
        json!({ "role": "assistant", "content": content, "model": "m", "resultType": "complete" })
            .to_string()
            .into()
    };
    let block = json!({ "type": "text", "text": "t" });
    let shaped = |content: Value, server: Version| sampling.result_for(&answer(content), server);
    assert_eq!(
        value(&shaped(json!([block]), V2025_06_18).unwrap()),
        json!({ "role": "assistant", "content": block, "model": "m" })
    );
    assert_eq!(
        value(&shaped(json!([block]), V2025_11_25).unwrap())["content"],
        json!([block])
    );
    assert_eq!(
        shaped(json!([block, block]), V2025_06_18),
        Err(BeyondClient::Blocks)
    );
    assert!(AskKind::Sampling.fits(&answer(block)) && !AskKind::Form.fits(br#"{"roots":[]}"#));
    assert!(AskKind::Roots.fits(br#"{"roots":[]}"#) && AskKind::Url.fits(br#"{"action":"accept"}"#));
}

#[test]
fn answers_of_a_call_made_again_are_read() {
    let request = |params: Value| {
        let raw = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
        match Message::parse(raw.into(), Strictness::Edge) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    };
    let read = request(json!({ "inputResponses": { "a": { "action": "accept" } }, "requestState": "s\n" }));
    let (answers, state) = input_answers(&read).unwrap();
    assert_eq!(
        answers,
        Some(vec![(
            "a".to_owned(),
            Bytes::from_static(br#"{"action":"accept"}"#)
        )])
    );
    assert_eq!(state.as_deref(), Some("s\n"));
    assert_eq!(input_answers(&request(json!({}))), Ok((None, None)));
    assert_eq!(
        input_answers(&request(json!({ "inputResponses": [] }))),
        Err(NotAnswers::Whole)
    );
    assert_eq!(
        input_answers(&request(json!({ "inputResponses": { "a": 1 } }))),
        Err(NotAnswers::Answer)
    );
    assert_eq!(
        input_answers(&request(json!({ "requestState": 1 }))),
        Err(NotAnswers::State)
    );
}

#[test]
fn equal_json_has_one_spelling() {
    let spelled = |raw: &str| {
        let mut out = Vec::new();
        canonical(raw.as_bytes(), Span::all(raw.as_bytes()), &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        spelled(r#" {"b" : [1.0, {"y":null,"x":"\u0041"}], "\u0061": -0.5e1}"#.trim()),
        r#"{"a":-0.5e1,"b":[1.0,{"x":"A","y":null}]}"#
    );
    assert_ne!(spelled("1.0"), spelled("1"));
}

#[test]
fn pages_of_a_refusal_are_read() {
    let raw = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32042, "message": "m", "data": { "elicitations": [
        { "mode": "url", "url": "https://a", "elicitationId": "e", "message": "m" }, { "mode": "form" }, 7] } } });
    let response = |raw: &Value| match Message::parse(raw.to_string().into(), Strictness::Server) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?}"),
    };
    let found = pages(&response(&raw));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].elicitation_id().as_deref(), Some("e"));
    let mut other = raw.clone();
    other["error"]["code"] = json!(-32041);
    assert!(pages(&response(&other)).is_empty());
}

#[test]
fn what_is_not_declared_is_refused_as_by_one_who_does_not_know_it() {
    for (kind, capabilities, code) in [
        (AskKind::Form, "{}", METHOD_NOT_FOUND),
        (AskKind::Form, r#"{"elicitation":{"url":{}}}"#, INVALID_PARAMS),
        (AskKind::Url, r#"{"roots":{}}"#, METHOD_NOT_FOUND),
        (AskKind::Url, r#"{"elicitation":{}}"#, INVALID_PARAMS),
        (AskKind::SamplingWithTools, r#"{"sampling":{}}"#, INVALID_PARAMS),
        (AskKind::SamplingWithTools, "{}", METHOD_NOT_FOUND),
        (AskKind::Sampling, "{}", METHOD_NOT_FOUND),
        (AskKind::Roots, "{}", METHOD_NOT_FOUND),
    ] {
        assert_eq!(
            kind.undeclared(capabilities.as_bytes()).0,
            code,
            "{kind:?} {capabilities}"
        );
    }
}
