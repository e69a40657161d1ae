use super::*;
use crate::catalog::fake::Fake;

async fn fetched(fake: &Fake, kind: ListKind) -> Result<List, String> {
    fetch(fake, None, kind, fake.remote, &Bounds::default())
        .await
        .map_err(|error| error.to_string())
}

fn raws(list: &List) -> Vec<&str> {
    list.items
        .iter()
        .map(|item| std::str::from_utf8(&item.raw).unwrap())
        .collect()
}

fn remarks(list: &List) -> Vec<String> {
    list.remarks.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn all_pages_are_fetched_and_items_stay_as_they_were_sent() {
    let odd = r#"{ "x-vendor" : 1e400, "name":"\u0061", "icons":7,"annotations":{"audience":["system"]} }"#;
    let fake = Fake::new("s")
        .page(
            ListKind::Tools,
            None,
            &format!(r#"{{"tools":[{odd}],"nextCursor":""}}"#),
        )
        .page(ListKind::Tools, Some(""), r#"{"tools":[],"nextCursor":"2"}"#)
        .page(
            ListKind::Tools,
            Some("2"),
            r#"{"tools":[{"name":"b"}],"nextCursor":null}"#,
        );
    let list = fetched(&fake, ListKind::Tools).await.unwrap();
    assert_eq!(raws(&list), [odd, r#"{"name":"b"}"#]);
    assert_eq!(&*list.items[0].key, "a");
    assert_eq!(list.remarks, []);
}

#[tokio::test]
async fn a_cursor_that_comes_back_ends_the_list() {
    let fake = Fake::new("s")
        .page(
            ListKind::Prompts,
            None,
            r#"{"prompts":[{"name":"a"}],"nextCursor":"x"}"#,
        )
        .page(
            ListKind::Prompts,
            Some("x"),
            r#"{"prompts":[{"name":"b"}],"nextCursor":"x"}"#,
        );
    let list = fetched(&fake, ListKind::Prompts).await.unwrap();
    assert_eq!(list.items.len(), 2);
    assert_eq!(
        remarks(&list),
        ["`prompts/list` was cut: a cursor came back a second time"]
    );
}

#[tokio::test]
async fn lists_are_bounded() {
    let three = r#"{"tools":[{"name":"a"},{"name":"b"},{"name":"c"}],"nextCursor":"x"}"#;
    let fake = Fake::new("s").page(ListKind::Tools, None, three).page(
        ListKind::Tools,
        Some("x"),
        r#"{"tools":[{"name":"d"}],"nextCursor":"y"}"#,
    );
    let all = Bounds::default();
    for (bounds, kept, why) in [
        (Bounds { items: 2, ..all }, 2, "it is too large"),
        (Bounds { bytes: 25, ..all }, 2, "it is too large"),
        (Bounds { pages: 2, ..all }, 4, "it has too many pages"),
    ] {
        let list = fetch(&fake, None, ListKind::Tools, false, &bounds).await.unwrap();
        assert_eq!(list.items.len(), kept, "{bounds:?}");
        assert_eq!(remarks(&list), [format!("`tools/list` was cut: {why}")]);
    }
}

#[tokio::test]
async fn what_a_server_lacks_is_empty_and_what_fails_is_no_list() {
    let fake = Fake::new("s").page(ListKind::Tools, None, r#"{"tools":[],"nextCursor":"gone"}"#);
    assert!(fetched(&fake, ListKind::Prompts).await.unwrap().items.is_empty());
    let error = fetched(&fake, ListKind::Tools).await.unwrap_err();
    assert_eq!(error, "answered `tools/list` with error -32601: Method not found");
    for shapeless in ["{}", r#"{"tools":null}"#, r#"{"tools":{}}"#, "[]", "7"] {
        let fake = Fake::new("s").page(ListKind::Tools, None, shapeless);
        let error = fetched(&fake, ListKind::Tools).await.unwrap_err();
        assert_eq!(
            error, "answered `tools/list` without an array `tools`",
            "{shapeless}"
        );
    }
    fake.set_down(true);
    let error = fetched(&fake, ListKind::Prompts).await.unwrap_err();
    assert!(error.starts_with("server `s` cannot be reached"), "{error}");
}

#[tokio::test]
async fn items_without_a_name_are_skipped_and_odd_names_reported() {
    let items = [
        "7",
        r#"{"title":"no name"}"#,
        r#"{"name":7}"#,
        r#"{"name":""}"#,
        r#"{"name":"a","name":"b"}"#,
        r#"{"name":"twice"}"#,
        r#"{"name":"twice","title":"later"}"#,
        r#"{"name":"pay\u202eload"}"#,
        r#"{"name":"näme\\"}"#,
    ];
    let fake = Fake::new("s").items(ListKind::Prompts, &items);
    let list = fetched(&fake, ListKind::Prompts).await.unwrap();
    assert_eq!(raws(&list), [items[5], items[7], items[8]]);
    assert_eq!(
        remarks(&list),
        [
            "item 0 of `prompts/list` is left out: it is not an object",
            "item 1 of `prompts/list` is left out: it has no key (name, uri or uriTemplate)",
            "item 2 of `prompts/list` is left out: its key (name, uri or uriTemplate) is not a string",
            "item 3 of `prompts/list` is left out: its key (name, uri or uriTemplate) is empty",
            "item 4 of `prompts/list` is left out: it has its key (name, uri or uriTemplate) twice",
            "the prompt `twice` is listed twice; the first counts",
            r"the prompt `pay\u{202e}load` has characters that mislead a reader",
        ]
    );
}

/// Source: MCP 2026-07-28, server/tools#x-mcp-header.
#[tokio::test]
async fn a_bad_header_annotation_costs_a_modern_http_tool_its_place() {
    let tool = |name, header| {
        format!(
            r#"{{"name":"{name}","inputSchema":{{"type":"object","properties":{{"p":{{"type":"string","x-mcp-header":{header}}}}}}}}}"#
        )
    };
    let (good, bad) = (tool("good", "\"Region\""), tool("bad", "\"not a token\""));
    // This schema names a member twice: odd, but it says nothing about headers.
    let odd = r#"{"name":"odd","inputSchema":{"title":"\u0061","title":"b"}}"#;
    let fake = Fake::new("s").items(ListKind::Tools, &[&good, &bad, odd]);
    let strict = fetch(&fake, None, ListKind::Tools, true, &Bounds::default())
        .await
        .unwrap();
    assert_eq!(raws(&strict), [&*good, odd]);
    assert!(strict.items[0].headers.is_some());
    assert!(remarks(&strict)[0].starts_with("the tool `bad` is left out: its `x-mcp-header` is invalid: "));
    let lenient = fetch(&fake, None, ListKind::Tools, false, &Bounds::default())
        .await
        .unwrap();
    assert_eq!(raws(&lenient), [&*good, &*bad, odd]);
    assert!(lenient.items[1].headers.is_none());
    assert!(remarks(&lenient)[0].contains("which is ignored"));
}

#[tokio::test]
async fn hints_ttl_scope_and_what_else_a_page_says() {
    let first = r#"{"_meta":{"a":1},"tools":[{"name":"r","annotations":{"readOnlyHint":true,"destructiveHint":"no"}}],
        "ttlMs":9000,"cacheScope":"public","vendor":[1, 2],"nextCursor":"x"}"#;
    let second = r#"{"tools":[],"ttlMs":5000,"cacheScope":"private","vendor":3}"#;
    let fake = Fake::new("s")
        .page(ListKind::Tools, None, first)
        .page(ListKind::Tools, Some("x"), second);
    let list = fetched(&fake, ListKind::Tools).await.unwrap();
    assert_eq!(
        list.items[0].hints,
        Hints {
            read_only: Some(true),
            destructive: None
        }
    );
    assert_eq!((list.ttl, list.private), (Some(Duration::from_secs(5)), true));
    assert_eq!(list.meta.as_deref(), Some(&br#"{"a":1}"#[..]));
    assert_eq!(
        list.extra,
        [(Bytes::from_static(b"\"vendor\""), Bytes::from_static(b"[1, 2]"))]
    );
}

#[test]
fn a_ttl_is_an_integer_that_is_not_negative() {
    let day = 24 * 60 * 60 * 1000;
    for (text, expected) in [
        ("0", Some(0)),
        ("60000", Some(60_000)),
        ("99999999999999999999999", Some(day)),
        ("-1", None),
        ("1.5", None),
        ("1e3", None),
        ("\"5\"", None),
        ("null", None),
    ] {
        assert_eq!(
            milliseconds(text.as_bytes()),
            expected.map(Duration::from_millis),
            "{text}"
        );
    }
}

#[test]
fn capabilities_are_read_leniently() {
    let raw =
        br#"{"tools":{"listChanged":true},"prompts":{"listChanged":1},"resources":null,"logging":true}"#;
    assert!(declares(raw, "tools") && flag(raw, "tools", "listChanged"));
    assert!(declares(raw, "prompts") && !flag(raw, "prompts", "listChanged"));
    assert!(!declares(raw, "resources") && declares(raw, "logging") && !declares(raw, "completions"));
    assert!(!declares(b"[]", "tools") && !flag(b"", "tools", "listChanged"));
}
