use proptest::prelude::*;

use super::*;

fn json(raw: &str) -> String {
    limited(raw, 4096)
}

fn limited(raw: &str, limit: usize) -> String {
    let mut out = Vec::new();
    Masker::new(["employee_no"]).json_into(raw.as_bytes(), limit, &mut out);
    String::from_utf8(out).unwrap()
}

fn text(text: &str) -> String {
    Masker::default().text(text).into_owned()
}

#[test]
fn what_is_named_a_secret_is_masked_whatever_it_is() {
    for (raw, masked) in [
        (
            r#"{"user":"ann","password":"hunter2"}"#,
            r#"{"user":"ann","password":"[masked]"}"#,
        ),
        (r#"{ "API-Key" : 12345 }"#, r#"{"API-Key":"[masked]"}"#),
        (
            r#"{"a":[{"Employee No":[1,{"x":"}"}]}],"b":2}"#,
            r#"{"a":[{"Employee No":"[masked]"}],"b":2}"#,
        ),
        (r#"{"pass\u0077ord":null}"#, r#"{"password":"[masked]"}"#),
        (
            r#"{"max_tokens":500,"maxTokens":"x"}"#,
            r#"{"max_tokens":500,"maxTokens":"[masked]"}"#,
        ),
    ] {
        assert_eq!(json(raw), masked);
    }
}

#[test]
fn the_rest_stays() {
    for raw in [
        "{}",
        "[]",
        "null",
        "-1.5e+10",
        r#"{"a":[1,true,false,null,"x",[],{}],"b":{"c":"é \"q\" \\ \u0001"}}"#,
        r#"{"query":"SELECT * FROM t WHERE id = 4","path":"/home/ann/notes-2026.md","n":1764000000000000}"#,
        r#"{"id":"f81d4fae-7dec-11d0-a765-00a0c91e6bf6","sha":"2b47a97e0c5e3f1b2a4d6c8e0f1a3b5c7d9e1f2a"}"#,
    ] {
        assert_eq!(json(raw), raw);
    }
}

#[test]
fn what_looks_like_a_secret_is_masked_wherever_it_stands() {
    for (plain, masked) in [
        ("use gp_0123456789ab_abcdefghijklmnop now", "use [masked] now"),
        ("key=sk-proj-abcdefghij0123456789", "key=[masked]"),
        ("AKIAIOSFODNN7EXAMPLE", "[masked]"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "[masked]"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789!", "[masked]!"),
        ("xoxb-1234567890-abcdef", "[masked]"),
        ("a eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln b", "a [masked] b"),
        (
            "curl -H 'Authorization: Bearer abcdefgh' x",
            "curl -H 'Authorization: [masked]",
        ),
        ("bearer abcdefgh, then", "bearer [masked], then"),
        ("Basic dXNlcjpwYXNz", "Basic [masked]"),
        ("pay 4111 1111 1111 1111 today", "pay [masked] today"),
        ("5500-0000-0000-0004", "[masked]"),
        ("mail ann.b+x@mail.example.com.", "mail [masked]."),
        (
            "postgres://app:hunter2@db/main",
            "postgres://app:[masked]@db/main",
        ),
        (
            "https://x.org/?a=1&access_token=abc&b=2",
            "https://x.org/?a=1&access_token=[masked]&b=2",
        ),
        (
            r#"{"password": "a\"b", "x": 1}"#,
            r#"{"password": "[masked]", "x": 1}"#,
        ),
        (
            r#"{\"password\":\"ab\",\"x\":1}"#,
            r#"{\"password\":\"[masked]\",\"x\":1}"#,
        ),
        (
            "mysql --password hunter2 -u ann",
            "mysql --password [masked] -u ann",
        ),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=[masked] psql"),
        (
            "password: correct horse\nuser: ann",
            "password: [masked]\nuser: ann",
        ),
        (
            "x\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\ny",
            "x\n[masked]\ny",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "[masked]"),
        ("q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ", "[masked]"),
    ] {
        assert_eq!(text(plain), masked, "{plain}");
    }
    for plain in [
        "the basic information about tokens",
        "4111 1111 1111 1112",
        "1764000000000000",
        "call me @home or ann@localhost",
        "https://example.com/a@b",
        "12:30:45",
        "sk-short",
        "[masked]",
        "password=[masked]",
    ] {
        assert_eq!(text(plain), plain);
    }
}

#[test]
fn numbers_and_keys_are_looked_at_too() {
    assert_eq!(json("[4111111111111111,5]"), r#"["[masked]",5]"#);
    assert_eq!(json(r#"{"ann@example.com":1}"#), r#"{"[masked]":1}"#);
    assert_eq!(json(r#""ann\u0040example.com""#), r#""[masked]""#);
}

#[test]
fn what_is_written_is_bounded_and_says_what_is_missing() {
    let long = format!(r#"{{"a":"{}","b":1}}"#, "word ".repeat(1000));
    let masked = json(&long);
    assert!(masked.ends_with(r#"word… (5000 bytes)","b":1}"#), "{masked}");
    let many = format!(r#"{{"a":[{}]}}"#, vec!["123"; 5000].join(","));
    let masked = limited(&many, 200);
    assert!(masked.len() <= 200 && masked.contains("123,\"… ("), "{masked}");
    let wide: Vec<String> = (0..500).map(|at| format!(r#""k{at}":{at}"#)).collect();
    let masked = limited(&format!("{{{}}}", wide.join(",")), 200);
    assert!(masked.len() <= 200 && masked.contains(r#","…":"… ("#), "{masked}");
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    assert_eq!(json(&deep), format!("{}\"…\"{}", "[".repeat(32), "]".repeat(32)));
    assert_eq!(json(&"7".repeat(1000)), r#""… (1000 digits)""#);
}

#[test]
fn what_is_no_json_ends_where_it_stops_being_any() {
    for raw in [
        "",
        "{",
        "[1,",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":}",
        "[1 2]",
        "nul",
        "[01]",
        "\"abc",
        "{1:2}",
        "]",
        "[1}",
        "{\"a\":1]",
        "-",
        "[1e]",
    ] {
        let masked = json(raw);
        serde_json::from_str::<serde_json::Value>(&masked)
            .unwrap_or_else(|error| panic!("{raw}: {masked}: {error}"));
    }
}

/// Secrets of every kind, of which no part may be seen again.
const CANARIES: [&str; 8] = [
    "gp_canaryCANARY_0123456789abcdef0123",
    "sk-canary0123456789canary",
    "ghp_canary0123456789canary0123456789",
    "AKIACANARYCANARY0001",
    "eyJcanary0123456789.canary0123456789.canary",
    "canary.person@canary.example.com",
    "xoxp-canary-0123456789",
    "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
];

fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-zA-Z0-9 .,:=/@_\\-\"'\\\\é\n]{0,20}",
        1 => prop::sample::select(vec![
            "password", "token=", "\"secret\": ", "https://", "Bearer ", "4111111111111111", "4111 1111 ", "[masked]", "…", "eyJ",
            "-----BEGIN ", "-----END ", "@x.org", "--password ", "gp_", "\\\"",
        ]).prop_map(str::to_owned),
    ]
}

fn some_text() -> impl Strategy<Value = String> {
    prop::collection::vec(fragment(), 0..6).prop_map(|parts| parts.concat())
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        some_text().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec(
                (prop_oneof![Just("password".to_owned()), some_text()], inner),
                0..6
            )
            .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn texts_that_look_like_our_remarks_get_no_more_room() {
    let many = serde_json::json!(vec!["…"; 1000]).to_string();
    let keyed = format!("{{{}\"a\":1}}", "\"…\":\"…\",".repeat(100));
    for raw in [many, keyed] {
        let masked = limited(&raw, 200);
        assert!(masked.len() <= 200, "{} bytes: {masked}", masked.len());
        assert_eq!(limited(&masked, 200), masked);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_json_stays_json_within_the_limit_and_masking_again_changes_nothing(value in value(), limit in 60usize..2000) {
        let masked = limited(&value.to_string(), limit);
        prop_assert!(masked.len() <= limit, "{} > {limit}", masked.len());
        let read = serde_json::from_str::<serde_json::Value>(&masked);
        prop_assert!(read.is_ok(), "{masked}");
        prop_assert_eq!(limited(&masked, limit), masked);
    }

    #[test]
    fn any_bytes_become_json(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut out = Vec::new();
        Masker::default().json_into(&raw, 500, &mut out);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok(), "{:?}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn no_canary_survives_a_broken_block_before_it(glue in "[a-z]{0,3}|-----BEGIN -----END |-----END -----BEGIN |gp_x") {
        let text = format!("{glue}-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY----- and {glue} -----BEGIN X-----\ncanary\n-----END X-----");
        let masked = Masker::default().text(&text).into_owned();
        prop_assert!(!masked.contains("canary"), "{text:?} {masked}");
    }

    #[test]
    fn no_canary_survives(before in some_text(), at in 0..CANARIES.len(), after in some_text(), named in any::<bool>()) {
        let text = format!("{before} {} {after}", CANARIES[at]);
        let raw = if named {
            serde_json::json!({ "outer": { "x_secret_y": [text] } })
        } else {
            serde_json::json!([{ "a": text }])
        };
        let masked = json(&raw.to_string());
        let lower = masked.to_lowercase();
        // What random text before it says may have masked more, never less.
        prop_assert!(!lower.contains("canary"), "{masked}");
    }

    /// What is passed over at a glance holds nothing that a closer look would find.
    #[test]
    fn what_is_plain_holds_no_secret(text in prop_oneof![some_text(), "[ -~]{0,24}", "[a-c4-5=:@ \t-]{0,12}"]) {
        if patterns::is_plain(text.as_bytes()) {
            let names = Names::new(["colour"]);
            prop_assert_eq!(patterns::find(text.as_bytes(), 0, &names), None);
        }
    }

    #[test]
    fn a_text_is_masked_once(text in some_text()) {
        let masked = Masker::default().text(&text).into_owned();
        prop_assert_eq!(Masker::default().text(&masked), masked.as_str());
    }
}
