use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::envelope::Message;
use crate::json::Strictness;

fn request(raw: &str) -> Request {
    match Message::parse(Bytes::copy_from_slice(raw.as_bytes()), Strictness::Edge) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// The table of Value Encoding.
#[test]
fn the_specifications_examples_encode_and_decode() {
    for (text, header) in [
        ("us-west1", "us-west1"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ("", ""),
        ("a\tb", "a\tb"),
    ] {
        assert_eq!(encode_value(text), header);
        assert_eq!(decode_value(header.as_bytes()).as_deref(), Ok(text));
    }
}

#[test]
fn malformed_values_are_refused() {
    for bad in [
        &b"=?base64?SGVsbG8?="[..],
        b"=?base64?SGVs!G8=?=",
        b"=?base64?SGVsbG9=?=",
        b"=?base64?SGVs bG8=?=",
        b"=?base64?/w==?=",
        b"=?base64?SGVsbG8==?=",
        b"caf\xc3\xa9",
        b"a\x01b",
        b"a\x7f",
    ] {
        assert!(decode_value(bad).is_err(), "{bad:?}");
    }
    // Not the sentinel: the markers are case-sensitive and both are needed.
    for plain in [
        "=?BASE64?SGVsbG8=?=",
        "SGVsbG8=",
        "=?base64?SGVsbG8=",
        "=?base64?=",
    ] {
        assert_eq!(decode_value(plain.as_bytes()).as_deref(), Ok(plain));
    }
}

#[test]
fn method_and_name_must_agree() {
    let once = |value: &'static str| Sent::Once(value.as_bytes());
    let call = request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"caf\u00e9"}}"#);
    let good = once("=?base64?Y2Fmw6k=?=");
    assert_eq!(validate_request(&call, once("tools/call"), good), Ok(()));
    assert_eq!(validate_request(&call, once(" tools/call\t"), good), Ok(()));
    for (method, name) in [
        (Sent::Absent, good),
        (Sent::Repeated, good),
        (once("tools/list"), good),
        (once("TOOLS/CALL"), good),
        (once("tools/call"), Sent::Absent),
        (once("tools/call"), Sent::Repeated),
        (once("tools/call"), once("cafe")),
        (once("tools/call"), once("=?base64?Y2Fmw6k?=")),
        (once("=?base64?dG9vbHMvY2FsbA==?="), good),
    ] {
        assert!(
            validate_request(&call, method, name).is_err(),
            "{method:?} {name:?}"
        );
    }
    let read = request(r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b"}}"#);
    assert_eq!(
        validate_request(&read, once("resources/read"), once("a:b")),
        Ok(())
    );
    let list = request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    assert_eq!(validate_request(&list, once("tools/list"), Sent::Absent), Ok(()));
    let nameless = request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#);
    assert_eq!(
        validate_request(&nameless, once("tools/call"), Sent::Absent),
        Ok(())
    );
    assert!(validate_request(&nameless, once("tools/call"), once("x")).is_err());
    assert_eq!(
        validate_request(&read, once("resources/read"), once("foo"))
            .unwrap_err()
            .to_string(),
        "Header mismatch: Mcp-Name header value 'foo' does not match body value 'a:b'"
    );
}

#[test]
fn the_version_must_agree() {
    assert_eq!(validate_version(Sent::Once(b"2026-07-28"), "2026-07-28"), Ok(()));
    assert!(validate_version(Sent::Once(b"2025-11-25"), "2026-07-28").is_err());
    assert!(validate_version(Sent::Absent, "2026-07-28").is_err());
    assert!(validate_version(Sent::collect([&b"2026-07-28"[..], b"2026-07-28"]), "2026-07-28").is_err());
}

#[test]
fn annotations_obey_every_constraint() {
    use InvalidAnnotation as I;
    let compile = |properties: &str| {
        HeaderParams::compile(format!(r#"{{"type":"object","properties":{properties}}}"#).as_bytes())
    };
    assert_eq!(compile(r#"{"a":{"type":"string"}}"#), Ok(None));
    assert_eq!(compile(r#"{"x-mcp-header":{"type":"string"}}"#), Ok(None));
    assert_eq!(
        compile(r#"{"a":{"type":"string","default":{"x-mcp-header":"A"}}}"#),
        Ok(None)
    );
    for good in [
        r#"{"a":{"type":"string","x-mcp-header":"Region"}}"#,
        r#"{"a":{"type":"integer","x-mcp-header":"A"},"b":{"type":"boolean","x-mcp-header":"B"}}"#,
        r#"{"a":{"type":"object","properties":{"b":{"type":"string","x-mcp-header":"Deep"}}}}"#,
        r#"{"a":{"type":"string","x\u002dmcp\u002dheader":"A"}}"#,
        r#"{"properties":{"type":"string","x-mcp-header":"A"}}"#,
    ] {
        assert!(matches!(compile(good), Ok(Some(_))), "{good}");
    }
    for (bad, wanted) in [
        (
            r#"{"a":{"type":"string","x-mcp-header":""}}"#,
            I::NotToken(String::new()),
        ),
        (
            r#"{"a":{"type":"string","x-mcp-header":"a b"}}"#,
            I::NotToken("a b".into()),
        ),
        (
            r#"{"a":{"type":"string","x-mcp-header":"a:b"}}"#,
            I::NotToken("a:b".into()),
        ),
        (
            r#"{"a":{"type":"string","x-mcp-header":"a\r\nb"}}"#,
            I::NotToken("a\r\nb".into()),
        ),
        (
            r#"{"a":{"type":"string","x-mcp-header":"é"}}"#,
            I::NotToken("é".into()),
        ),
        (r#"{"a":{"type":"string","x-mcp-header":7}}"#, I::NotText),
        (
            r#"{"a":{"type":"number","x-mcp-header":"A"}}"#,
            I::NotPrimitive("A".into()),
        ),
        (
            r#"{"a":{"type":"object","x-mcp-header":"A"}}"#,
            I::NotPrimitive("A".into()),
        ),
        (r#"{"a":{"x-mcp-header":"A"}}"#, I::NotPrimitive("A".into())),
        (
            r#"{"a":{"items":{"type":"string","x-mcp-header":"A"}}}"#,
            I::NotReachable,
        ),
        (
            r#"{"a":{"anyOf":[{"type":"string","x-mcp-header":"A"}]}}"#,
            I::NotReachable,
        ),
        (
            r#"{"a":{"not":{"properties":{"b":{"type":"string","x-mcp-header":"A"}}}}}"#,
            I::NotReachable,
        ),
    ] {
        assert_eq!(compile(bad), Err(wanted), "{bad}");
    }
    assert!(matches!(
        compile(r#"{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}"#),
        Err(I::Repeated(_))
    ));
    let defs = br#"{"$defs":{"x":{"type":"string","x-mcp-header":"A"}}}"#;
    assert_eq!(HeaderParams::compile(defs), Err(I::NotReachable));
    assert_eq!(
        HeaderParams::compile(br#"{"type":"string","x-mcp-header":"A"}"#),
        Err(I::NotReachable)
    );
}

const SCHEMA: &[u8] = br#"{"properties":{
    "s":{"type":"string","x-mcp-header":"S"},
    "o":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
    "b":{"type":"boolean","x-mcp-header":"B"}}}"#;

#[test]
fn arguments_and_headers_must_agree() {
    let params = HeaderParams::compile(SCHEMA).unwrap().unwrap();
    let check = |arguments: Option<&str>, headers: &[(&str, &'static str)]| {
        params.validate(arguments.map(str::as_bytes), |name| {
            let values = headers
                .iter()
                .filter(|(header, _)| header.eq_ignore_ascii_case(name));
            Sent::collect(values.map(|(_, value)| value.as_bytes()))
        })
    };
    for (arguments, headers) in [
        (None, &[][..]),
        (Some("{}"), &[]),
        (Some(r#"{"s":null,"o":null}"#), &[]),
        (Some(r#"{"s":"x"}"#), &[("mcp-param-s", "x")]),
        (Some(r#"{"s":"x"}"#), &[("Mcp-Param-S", "=?base64?eA==?=")]),
        (Some(r#"{"s":" x"}"#), &[("Mcp-Param-S", "=?base64?IHg=?=")]),
        (Some(r#"{"o":{"n":42}}"#), &[("Mcp-Param-N", "42.0")]),
        (Some(r#"{"o":{"n":4.20e1}}"#), &[("Mcp-Param-N", "42")]),
        (
            Some(r#"{"o":{"n":9007199254740993}}"#),
            &[("Mcp-Param-N", "9007199254740993")],
        ),
        (Some(r#"{"o":{"n":-0}}"#), &[("Mcp-Param-N", "0")]),
        (Some(r#"{"b":false}"#), &[("Mcp-Param-B", "false")]),
        (Some(r#"{"s":{}}"#), &[]),
    ] {
        assert_eq!(check(arguments, headers), Ok(()), "{arguments:?} {headers:?}");
    }
    for (arguments, headers) in [
        (None, &[("Mcp-Param-S", "x")][..]),
        (Some(r#"{"s":null}"#), &[("Mcp-Param-S", "null")]),
        (Some(r#"{"s":"x"}"#), &[]),
        (Some(r#"{"s":"x"}"#), &[("Mcp-Param-S", "X")]),
        (
            Some(r#"{"s":"x"}"#),
            &[("Mcp-Param-S", "x"), ("mcp-param-s", "x")],
        ),
        (Some(r#"{"s":"x"}"#), &[("Mcp-Param-S", "=?base64?eA=?=")]),
        (Some(r#"{"s":"x"}"#), &[("Mcp-Param-S", "=?base64?e$==?=")]),
        (
            Some(r#"{"o":{"n":9007199254740993}}"#),
            &[("Mcp-Param-N", "9007199254740992")],
        ),
        (Some(r#"{"o":{"n":1}}"#), &[("Mcp-Param-N", "one")]),
        (Some(r#"{"o":{"n":1}}"#), &[("Mcp-Param-N", "0x1")]),
        (
            Some(r#"{"o":{"n":1}}"#),
            &[("Mcp-Param-N", "1e99999999999999999999")],
        ),
        (Some(r#"{"b":true}"#), &[("Mcp-Param-B", "True")]),
        (Some(r#"{"s":{}}"#), &[("Mcp-Param-S", "{}")]),
    ] {
        assert!(check(arguments, headers).is_err(), "{arguments:?} {headers:?}");
    }
}

#[test]
fn headers_are_emitted_from_the_arguments() {
    let params = HeaderParams::compile(SCHEMA).unwrap().unwrap();
    let mut emitted = Vec::new();
    params.emit(
        Some(br#"{"b":true,"s":"\u00e9","o":{"n":4.0e1},"x":1}"#),
        |name, value| {
            emitted.push(format!("{name}: {value}"));
        },
    );
    emitted.sort();
    assert_eq!(
        emitted,
        [
            "Mcp-Param-B: true",
            "Mcp-Param-N: 40",
            "Mcp-Param-S: =?base64?w6k=?="
        ]
    );
    params.emit(Some(br#"{"s":null}"#), |name, _| panic!("{name}"));
    params.emit(None, |name, _| panic!("{name}"));
}

proptest! {
    #[test]
    fn any_text_survives_the_header(text in any::<String>()) {
        let header = encode_value(&text);
        prop_assert!(header.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')));
        let decoded = decode_value(header.as_bytes());
        prop_assert_eq!(decoded.as_deref(), Ok(text.as_str()));
    }

    #[test]
    fn what_is_emitted_validates(text in any::<String>(), number in any::<i64>(), flag in any::<bool>()) {
        let params = HeaderParams::compile(SCHEMA).unwrap().unwrap();
        let arguments = serde_json::json!({"s": text, "o": {"n": number}, "b": flag}).to_string();
        let mut headers = std::collections::HashMap::new();
        params.emit(Some(arguments.as_bytes()), |name, value| {
            headers.insert(name.to_owned(), value.to_owned());
        });
        let lookup = |name: &str| headers.get(name).map_or(Sent::Absent, |value| Sent::Once(value.as_bytes()));
        prop_assert_eq!(params.validate(Some(arguments.as_bytes()), lookup), Ok(()));
    }
}
