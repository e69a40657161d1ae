use std::{sync::Arc, time::Duration};

use gatepost_protocol::{
    envelope::{Message, Outcome, Response},
    json::Strictness,
};

use super::*;
use crate::upstream::{CallError, Cause};

/// Status, code, and the whole error of what `era` is told.
fn told(refusal: &Refusal, era: Option<Era>) -> (u16, i64, Response) {
    let about = About {
        id: Some(Bytes::from_static(b"\"x\"")),
        era,
    };
    let (status, raw) = render(refusal, &about);
    let Ok(Message::Response(response)) = Message::parse(raw, Strictness::Server) else {
        panic!("{refusal:?} is answered with something else")
    };
    let Outcome::Error { code, .. } = response.outcome() else {
        panic!("{refusal:?} is answered with a result")
    };
    assert_eq!(response.id().unwrap().bytes(), b"\"x\"", "the id is echoed");
    (status.as_u16(), code, response)
}

fn malformed(raw: &'static str) -> Refusal {
    match Message::parse(Bytes::from_static(raw.as_bytes()), Strictness::Edge) {
        Ok(_) => panic!("{raw} is a message"),
        Err(error) => Refusal::Malformed(error),
    }
}

fn failed(cause: Cause) -> Refusal {
    Refusal::Call(CallError {
        server: "files".into(),
        cause,
        retry_safe: false,
    })
}

const BOTH: [Option<Era>; 2] = [Some(Era::Modern), Some(Era::Legacy)];
const UNKNOWN: [Option<Era>; 3] = [None, Some(Era::Modern), Some(Era::Legacy)];

#[test]
fn what_bad_input_gets() {
    let check = |refusal: Refusal, eras: &[Option<Era>], status: u16, code: i64| {
        for era in eras {
            let (got_status, got_code, _) = told(&refusal, *era);
            assert_eq!((got_status, got_code), (status, code), "{refusal:?} for {era:?}");
        }
    };
    let text = || "x".to_owned();
    // Origin or Host not allowed.
    check(Refusal::Host(text()), &UNKNOWN, 403, -32600);
    check(Refusal::Origin(text()), &UNKNOWN, 403, -32600);
    check(Refusal::CrossSite, &UNKNOWN, 403, -32600);
    // Header and body disagree.
    check(Refusal::HeaderMismatch(text()), &[Some(Era::Modern)], 400, -32020);
    // Unsupported version, unknown method, missing `_meta` field.
    let version = || Refusal::Version { requested: text() };
    check(version(), &[Some(Era::Modern)], 400, -32022);
    let method = || Refusal::UnknownMethod(text());
    check(method(), &[Some(Era::Modern), None], 404, -32601);
    check(Refusal::Meta("m"), &[Some(Era::Modern)], 400, -32602);
    // To a legacy client 404 would mean that its session is gone.
    check(method(), &[Some(Era::Legacy)], 200, -32601);
    // Not JSON, a batch, duplicate keys, a nesting bomb, an id of a wrong type.
    check(malformed("{\"jsonrpc\":"), &UNKNOWN, 400, -32700);
    check(malformed("hello"), &UNKNOWN, 400, -32700);
    check(Refusal::Batch, &UNKNOWN, 400, -32600);
    for odd in [
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        "7",
    ] {
        check(malformed(odd), &UNKNOWN, 400, -32600);
    }
    let bomb = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}{}}}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    check(malformed(bomb.leak()), &UNKNOWN, 400, -32600);
    // Over `http.max_body`, or too slow.
    check(Refusal::TooLarge { limit: 4 }, &UNKNOWN, 413, -32600);
    check(Refusal::SlowBody(Duration::from_secs(30)), &UNKNOWN, 408, -32600);
    check(Refusal::BrokenBody(text()), &UNKNOWN, 400, -32600);
    // Unknown tool, prompt, resource, server, view, session.
    let tool = || Refusal::UnknownName {
        kind: "tool",
        name: text(),
    };
    check(tool(), &BOTH, 200, -32602);
    check(
        Refusal::UnknownResource(text()),
        &[Some(Era::Modern)],
        200,
        -32602,
    );
    check(
        Refusal::UnknownResource(text()),
        &[Some(Era::Legacy)],
        200,
        -32002,
    );
    check(Refusal::NoEndpoint(text()), &UNKNOWN, 404, -32600);
    check(Refusal::SessionGone, &[Some(Era::Legacy)], 404, -32600);
    check(Refusal::NoSession, &UNKNOWN, 400, -32600);
    // What another gate has, and what a server no longer has of one client: a legacy one begins anew on 404.
    check(Refusal::UnknownQuestion, &[Some(Era::Legacy)], 400, -32600);
    check(Refusal::UnknownStream, &UNKNOWN, 400, -32600);
    check(failed(Cause::SessionGone), &[Some(Era::Legacy)], 404, -32603);
    check(failed(Cause::SessionGone), &[Some(Era::Modern)], 200, -32603);
    // A server down, slow, talking nonsense, dying mid-stream, answering too much.
    for cause in [
        Cause::Unreachable(text()),
        Cause::NotStarted(text()),
        Cause::Timeout(Duration::from_secs(1)),
        Cause::Nonsense(text()),
        Cause::Ended(text()),
        Cause::TooLarge { limit: 64 },
        Cause::Violation(text()),
        Cause::Busy(text()),
    ] {
        check(failed(cause), &BOTH, 200, -32603);
    }
    // And the rest.
    check(Refusal::params("no"), &BOTH, 200, -32602);
    check(Refusal::ContentType(text()), &UNKNOWN, 415, -32600);
    check(Refusal::Accept, &UNKNOWN, 406, -32600);
    let verb = || Refusal::Verb {
        method: text(),
        allowed: "POST",
    };
    check(verb(), &UNKNOWN, 405, -32600);
    check(Refusal::Overloaded { limit: 1 }, &UNKNOWN, 503, -32603);
    check(Refusal::TooManyStreams { limit: 256 }, &UNKNOWN, 429, -32603);
    check(Refusal::Internal("x".into()), &UNKNOWN, 500, -32603);
}

#[test]
fn errors_carry_what_a_client_can_act_on() {
    let data = |refusal: &Refusal, era| {
        let (_, _, response) = told(refusal, Some(era));
        let error: serde_json::Value = serde_json::from_slice(response.raw()).unwrap();
        error["error"]["data"].clone()
    };
    let version = Refusal::Version {
        requested: "2025-06-18".to_owned(),
    };
    assert_eq!(
        data(&version, Era::Modern),
        json!({ "supported": ["2026-07-28"], "requested": "2025-06-18" }),
        "a legacy version cannot be spoken in this form"
    );
    let resource = Refusal::UnknownResource("a:\"b".to_owned());
    for era in [Era::Modern, Era::Legacy] {
        assert_eq!(data(&resource, era), json!({ "uri": "a:\"b" }));
    }
    let call = failed(Cause::Timeout(Duration::from_millis(1_500)));
    let expected = json!({
        "server": "files",
        "cause": "did not answer within 1500 ms",
        "retry_safe": false,
    });
    assert_eq!(data(&call, Era::Legacy), expected);
    let (_, _, response) = told(&call, Some(Era::Modern));
    assert!(response.error_message().unwrap().contains("`files`"));
}

#[test]
fn a_message_without_an_id_is_refused_without_one() {
    let (_, raw) = render(&Refusal::Batch, &About::default());
    let message: serde_json::Value = serde_json::from_slice(&raw).unwrap();
    assert_eq!(
        message.get("id").cloned().unwrap_or_default(),
        serde_json::Value::Null
    );
}

#[test]
fn a_cancelled_request_gets_no_answer() {
    assert!(matches!(
        refuse(&Refusal::Cancelled, &About::default()),
        Answer::Cancelled
    ));
    let refused = refuse(&Refusal::Internal(Arc::from("x")), &About::default());
    assert!(matches!(refused, Answer::Whole { status, .. } if status == StatusCode::INTERNAL_SERVER_ERROR));
}
