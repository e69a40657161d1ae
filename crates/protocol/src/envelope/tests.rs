use super::*;

fn parse(raw: &str) -> Result<Message, ParseError> {
    Message::parse(Bytes::copy_from_slice(raw.as_bytes()), Strictness::Edge)
}

fn request(raw: &str) -> Request {
    match parse(raw) {
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

#[test]
fn a_request_shows_its_parts() {
    let request = request(
        r#" {"id": "x\n1", "params":{"name":"a\u0062","arguments":{"n":18446744073709551616},"_meta":{"k":"v","n":1}},"method":"tools/call","jsonrpc":"2.0"} "#,
    );
    assert_eq!(request.id().bytes(), br#""x\n1""#);
    assert_eq!(request.method(), "tools/call");
    assert_eq!(request.known_method(), Some(Method::ToolsCall));
    assert_eq!(request.param_text("name").as_deref(), Some("ab"));
    assert_eq!(
        request.param_raw("arguments"),
        Some(&br#"{"n":18446744073709551616}"#[..])
    );
    assert_eq!(request.meta_text("k").as_deref(), Some("v"));
    assert_eq!(request.meta_text("n"), None);
    assert_eq!(request.meta_raw("n"), Some(&b"1"[..]));
    assert_eq!(request.param("other"), None);
    assert!(
        request
            .params()
            .is_some_and(|span| span.of(request.raw()).starts_with(b"{\"name\""))
    );
}

#[test]
fn escaped_names_are_understood() {
    let request = request(
        r#"{"jsonrpc":"2\u002e0","\u0069d":1,"m\u0065thod":"tools\u002fcall","p\u0061rams":{"_m\u0065ta":{"a":2}}}"#,
    );
    assert_eq!(request.method(), "tools/call");
    assert_eq!(request.id().as_u64(), Some(1));
    assert_eq!(request.meta_raw("a"), Some(&b"2"[..]));
}

#[test]
fn the_kinds_are_told_apart() {
    assert!(matches!(
        parse(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
        Ok(Message::Notification(_))
    ));
    assert!(matches!(
        parse(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
        Ok(Message::Response(_))
    ));
    let response =
        response(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"n\"o","data":[1]}}"#);
    let Outcome::Error {
        code,
        data: Some(data),
        ..
    } = response.outcome()
    else {
        panic!()
    };
    assert_eq!((code, data.of(response.raw())), (-32601, &b"[1]"[..]));
    assert_eq!(response.error_message().as_deref(), Some("n\"o"));
    assert!(response.result_members().is_none());
}

#[test]
fn what_is_no_message_is_refused_with_its_id() {
    for (raw, code, id) in [
        ("", PARSE_ERROR, None),
        ("{", PARSE_ERROR, None),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a"} x"#, PARSE_ERROR, None),
        ("[]", INVALID_REQUEST, None),
        (" \n[{", INVALID_REQUEST, None),
        ("1", INVALID_REQUEST, None),
        (r#"{"id":1,"method":"a"}"#, INVALID_REQUEST, Some("1")),
        (
            r#"{"jsonrpc":"1.0","id":"q","method":"a"}"#,
            INVALID_REQUEST,
            Some("\"q\""),
        ),
        (
            r#"{"jsonrpc":2.0,"id":1,"method":"a"}"#,
            INVALID_REQUEST,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#,
            INVALID_REQUEST,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#,
            INVALID_REQUEST,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1e3,"method":"a"}"#,
            INVALID_REQUEST,
            None,
        ),
        (r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#, INVALID_REQUEST, None),
        (r#"{"jsonrpc":"2.0","id":[],"method":"a"}"#, INVALID_REQUEST, None),
        (
            r#"{"jsonrpc":"2.0","id":true,"method":"a"}"#,
            INVALID_REQUEST,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":1}"#,
            INVALID_REQUEST,
            Some("1"),
        ),
        (r#"{"jsonrpc":"2.0","id":1}"#, INVALID_REQUEST, Some("1")),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[1]}"#,
            INVALID_REQUEST,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":null}"#,
            INVALID_REQUEST,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#,
            INVALID_REQUEST,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
            INVALID_REQUEST,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":"x","message":""}}"#,
            INVALID_REQUEST,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":"x"}"#,
            INVALID_REQUEST,
            Some("1"),
        ),
        (r#"{"jsonrpc":"2.0","result":{}}"#, INVALID_REQUEST, None),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":1,"x":2}}"#,
            INVALID_REQUEST,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"a","id":1,"id":2}"#,
            INVALID_REQUEST,
            Some("2"),
        ),
    ] {
        let error = parse(raw).expect_err(raw);
        assert_eq!(
            (error.code(), error.id.as_deref()),
            (code, id.map(str::as_bytes)),
            "{raw} {error}"
        );
        serde_json::from_slice::<serde_json::Value>(&error.response()).expect(raw);
    }
}

#[test]
fn servers_are_read_leniently() {
    let both = response(r#"{"jsonrpc":"2.0","id":1,"result":{"a":1},"error":null}"#);
    assert_eq!(
        both.result_member("a").map(|span| span.of(both.raw())),
        Some(&b"1"[..])
    );
    let failed = response(r#"{"jsonrpc":"2.0","id":null,"result":null,"error":{"message":"m"}}"#);
    assert!(failed.id().is_none());
    assert!(matches!(failed.outcome(), Outcome::Error { code: -32603, .. }));
    let ping = Message::parse(
        Bytes::from_static(br#"{"jsonrpc":"2.0","id":0,"method":"ping","params":null}"#),
        Strictness::Server,
    );
    assert!(matches!(ping, Ok(Message::Request(request)) if request.params().is_none()));
}

#[test]
fn the_right_body_is_kept_when_several_stand_side_by_side() {
    let response =
        response(r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"a":1}},"params":{"_meta":{"b":2}}}"#);
    assert!(
        response
            .result_meta_members()
            .is_some_and(|meta| meta.get(response.raw(), "a").is_some())
    );
    assert!(response.result_member("_meta").is_some());
}

#[test]
fn ids_compare_by_meaning() {
    let id = |raw: &str| Id::from_raw(raw.as_bytes());
    assert_eq!(id("\"a\""), id("\"\\u0061\""));
    assert_ne!(id("\"1\""), id("1"));
    assert_eq!(id("7"), Some(Id::from(7)));
    assert_eq!(id("18446744073709551616").and_then(|id| id.as_u64()), None);
    assert_eq!(
        id("9999999999999999999").and_then(|id| id.as_u64()),
        Some(9_999_999_999_999_999_999)
    );
    for bad in ["null", "1.0", "1e2", "{}", "[1]", "true", "", "1 2"] {
        assert_eq!(id(bad), None, "{bad}");
    }
}

#[test]
fn batches_are_split() {
    let raw = Bytes::from_static(br#" [ {"a":1} , 2 ] "#);
    let parts = Batch::split(&raw, Strictness::Edge).unwrap();
    assert_eq!(parts, [&br#"{"a":1}"#[..], b"2"]);
    for bad in ["[]", "{}", "[1", "[{\"a\":1,\"a\":1}]"] {
        assert!(
            Batch::split(&Bytes::from_static(bad.as_bytes()), Strictness::Edge).is_err(),
            "{bad}"
        );
    }
}
