use proptest::prelude::*;

use super::*;

fn serde_accepts(raw: &[u8]) -> bool {
    std::str::from_utf8(raw).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}

#[test]
fn accepts_and_refuses_what_serde_json_does() {
    for raw in [
        "{}",
        "[]",
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.5e+10",
        "1E5",
        "\"\"",
        " [1, 2 ,{\"a\":[ ]}] ",
        "\"\\u00e9\\n\\/\"",
        "",
        " ",
        "{",
        "[",
        "]",
        "{]",
        "[}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "nul",
        "truex",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u123",
        "\"\t\"",
        "{a:1}",
        "1 2",
        "{}{}",
        "[1 2]",
        "{\"a\" 1}",
        "\u{feff}{}",
        "'a'",
        "NaN",
        "{\"a\":1 \"b\":2}",
        "\"tab\u{1}\"",
        "[[[[[]]]]]",
        "{\"é\":\"日本\"}",
    ] {
        assert_eq!(
            validate(raw.as_bytes(), Strictness::Server).is_ok(),
            serde_accepts(raw.as_bytes()),
            "{raw:?}"
        );
    }
}

#[test]
fn invalid_utf8_is_no_json() {
    assert_eq!(
        validate(b"\"a\xff\"", Strictness::Server),
        Err(JsonError::Utf8 { offset: 2 })
    );
}

#[test]
fn a_bare_span_excludes_surrounding_white_space() {
    assert_eq!(validate(b" {} \n", Strictness::Edge), Ok(Span::new(1, 3)));
}

#[test]
fn nesting_is_bounded_without_recursion() {
    for (strictness, limit) in [(Strictness::Edge, 64), (Strictness::Server, 1024)] {
        let nested = |levels: usize| [b"[".repeat(levels), b"]".repeat(levels)].concat();
        assert!(validate(&nested(limit), strictness).is_ok());
        assert_eq!(
            validate(&nested(limit + 1), strictness),
            Err(JsonError::Depth {
                limit: u32::try_from(limit).unwrap()
            })
        );
        let objects =
            |levels: usize| [b"{\"a\":".repeat(levels), b"1".to_vec(), b"}".repeat(levels)].concat();
        assert!(validate(&objects(limit), strictness).is_ok());
        assert!(validate(&objects(limit + 1), strictness).is_err());
    }
    assert!(validate(&b"[{\"a\":".repeat(700_000), Strictness::Server).is_err());
}

#[test]
fn the_edge_refuses_duplicate_keys_anywhere() {
    for raw in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"[{"x":[{"k":1,"b":2,"k":3}]}]"#,
        r#"{"\ud800":1,"\uD800":2}"#,
        r#"{"\ud83d\ude00":1,"😀":2}"#,
        r#"{"":1,"":2}"#,
    ] {
        assert!(
            matches!(
                validate(raw.as_bytes(), Strictness::Edge),
                Err(JsonError::DuplicateKey { .. })
            ),
            "{raw}"
        );
        assert!(validate(raw.as_bytes(), Strictness::Server).is_ok(), "{raw}");
    }
    for raw in [
        r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#,
        r#"{"\ud800":1,"\ud801":2}"#,
        r#"[{"a":1},{"a":1}]"#,
    ] {
        assert!(validate(raw.as_bytes(), Strictness::Edge).is_ok(), "{raw}");
    }
}

#[test]
fn large_objects_are_checked_too() {
    let mut keys: Vec<String> = (0..200_000).map(|n| format!("\"{n}\":0")).collect();
    let good = format!("{{{}}}", keys.join(","));
    assert!(validate(good.as_bytes(), Strictness::Edge).is_ok());
    keys.push("\"4711\":0".into());
    let bad = format!("{{{}}}", keys.join(","));
    assert_eq!(
        validate(bad.as_bytes(), Strictness::Edge),
        Err(JsonError::DuplicateKey {
            offset: bad.rfind("\"4711\"").unwrap()
        })
    );
    keys.pop();
    keys.push("\"471\\u0031\":0".into());
    assert!(validate(format!("{{{}}}", keys.join(",")).as_bytes(), Strictness::Edge).is_err());
}

#[test]
fn members_and_items_are_found() {
    let raw = br#" { "a" : [1, {"x":"]"} ,"\"" ] , "\u0062" : "q\"}" , "c":{} } "#;
    let span = validate(raw, Strictness::Edge).unwrap();
    let members = object(raw, span).unwrap();
    assert_eq!(members.len(), 3);
    assert_eq!(members.get(raw, "b").unwrap().of(raw), br#""q\"}""#);
    assert_eq!(members.get(raw, "c").unwrap().of(raw), b"{}");
    assert_eq!(members.get(raw, "d"), None);
    let list: Vec<&[u8]> = items(raw, members.get(raw, "a").unwrap())
        .map(|item| item.of(raw))
        .collect();
    assert_eq!(list, [&b"1"[..], br#"{"x":"]"}"#, br#""\"""#]);
    assert_eq!(items(b"[]", Span::new(0, 2)).count(), 0);
    assert_eq!(items(b"{}", Span::new(0, 2)).count(), 0);
    assert!(object(b"[1]", Span::new(0, 3)).is_err());
}

#[test]
fn text_is_decoded() {
    let decoded =
        |raw: &str| text(raw.as_bytes(), Span::all(raw.as_bytes())).map(std::borrow::Cow::into_owned);
    assert_eq!(decoded(r#""plain""#).as_deref(), Some("plain"));
    assert_eq!(
        decoded(r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#).as_deref(),
        Some("\"\\/\u{8}\u{c}\n\r\té😀")
    );
    assert_eq!(decoded(r#""\ud83d""#), None);
    assert_eq!(decoded(r#""\ude00\ud83d""#), None);
    assert_eq!(decoded("12"), None);
}

#[test]
fn spans_of_other_messages_do_not_panic() {
    assert_eq!(Span::new(5, 9).of(b"abc"), b"");
    assert_eq!(Span::new(9, 5).of(b"abcdefghijkl"), b"");
    assert!(object(b"{\"a\":1", Span::new(0, 40)).is_err());
}

fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        (-1e9..1e9f64).prop_map(|n| format!("{n:e}")),
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        "[a-z\\\\\"é\u{1}-\u{1f}]{0,90}".prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|list| format!("[{}]", list.join(" , "))),
            prop::collection::btree_map(any::<String>(), inner, 0..24).prop_map(|map| {
                let members: Vec<String> = map
                    .iter()
                    .map(|(k, v)| format!("{} :\n{v}", serde_json::to_string(k).unwrap()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// What the spans say, rebuilt as a value.
fn rebuilt(raw: &[u8], span: Span) -> serde_json::Value {
    match kind(raw, span).unwrap() {
        Kind::Object => object(raw, span)
            .unwrap()
            .iter()
            .map(|member| {
                (
                    text(raw, member.key).unwrap().into_owned(),
                    rebuilt(raw, member.value),
                )
            })
            .collect(),
        Kind::Array => items(raw, span).map(|item| rebuilt(raw, item)).collect(),
        Kind::String => text(raw, span).unwrap().into(),
        _ => serde_json::from_slice(span.of(raw)).unwrap(),
    }
}

proptest! {
    #[test]
    fn spans_rebuild_the_value(raw in json_text()) {
        let raw = raw.as_bytes();
        let span = validate(raw, Strictness::Edge).unwrap();
        prop_assert_eq!(rebuilt(raw, span), serde_json::from_slice::<serde_json::Value>(raw).unwrap());
    }

    #[test]
    fn broken_text_is_judged_as_serde_json_does(raw in json_text(), at in any::<prop::sample::Index>(), byte in prop::sample::select(b"{}[]\",:\\0-e.\x01 \xc3nu".to_vec())) {
        let mut raw = raw.into_bytes();
        let at = at.index(raw.len());
        raw[at] = byte;
        prop_assert_eq!(validate(&raw, Strictness::Server).is_ok(), serde_accepts(&raw));
    }

    #[test]
    fn any_bytes_are_survived(raw in prop::collection::vec(any::<u8>(), 0..200), start in 0usize..210, end in 0usize..210) {
        let _ = validate(&raw, Strictness::Edge);
        let span = Span::new(start, end);
        let _ = object(&raw, span);
        let _ = items(&raw, span).count();
        let _ = text(&raw, span);
    }

    #[test]
    fn quoting_is_undone_by_decoding(original in any::<String>()) {
        let quoted = quote(&original);
        prop_assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), original.clone());
        let decoded = text(&quoted, Span::all(&quoted));
        prop_assert_eq!(decoded.as_deref(), Some(original.as_str()));
    }

    #[test]
    fn the_end_of_a_string_is_found_at_any_length(length in 0usize..300, special_byte in prop::sample::select(b"\"\\\x00\x1f".to_vec())) {
        let mut raw = "é".repeat(length).into_bytes();
        raw.truncate(length);
        raw.push(special_byte);
        raw.extend_from_slice(b"\"\"\\tail");
        prop_assert_eq!(special(&raw, 0), length);
    }
}
