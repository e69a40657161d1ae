use proptest::prelude::*;

use super::*;
use crate::envelope::{Message, Response};
use crate::framing::cut;

const EDITS: &[&str] = &["resultType", "ttlMs", "cacheScope"];

fn edits(
    id: &'static str,
    remove: &'static [&'static str],
    add: &[(&'static str, &'static str)],
) -> SpliceEdits {
    SpliceEdits {
        id: Some(Bytes::from_static(id.as_bytes())),
        remove,
        add: add
            .iter()
            .map(|(name, value)| (*name, Bytes::from_static(value.as_bytes())))
            .collect(),
        stop: &[],
    }
}

#[test]
fn a_member_that_stops_stops_wherever_it_comes() {
    for raw in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"requestState":"s","content":[]}}"#,
        r#"{"result":{"content":[{"requestState":1}],"requestState":"s"},"jsonrpc":"2.0","id":1}"#,
    ] {
        let stopping = SpliceEdits {
            stop: &["requestState"],
            ..edits("7", &[], &[])
        };
        assert_eq!(
            splice(stopping, &[raw.as_bytes()]),
            Err(SpliceError::Unfinished),
            "{raw}"
        );
    }
    let inner = r#"{"id":1,"result":{"content":[{"requestState":1}]}}"#;
    let stopping = SpliceEdits {
        stop: &["requestState"],
        ..edits("7", &[], &[])
    };
    assert_eq!(
        splice(stopping, &[inner.as_bytes()]).unwrap(),
        inner.replace(":1,\"r", ":7,\"r")
    );
}

fn splice(edits: SpliceEdits, chunks: &[&[u8]]) -> Result<String, SpliceError> {
    let mut splicer = IdSplicer::new(edits);
    let mut out = Vec::new();
    for chunk in chunks {
        splicer.feed(&Bytes::copy_from_slice(chunk), &mut out)?;
    }
    splicer.finish()?;
    Ok(String::from_utf8(out.concat()).unwrap())
}

fn byte_by_byte(edits: SpliceEdits, text: &str) -> Result<String, SpliceError> {
    splice(edits, &text.as_bytes().chunks(1).collect::<Vec<_>>())
}

#[test]
fn edits_are_made_wherever_chunks_end() {
    for (text, remove, add, wanted) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            &[][..],
            &[][..],
            r#"{"jsonrpc":"2.0","id":"x","result":{}}"#,
        ),
        (
            r#" {"result" : { "a":"}\"" } , "\u0069d" : "q\"" } "#,
            &[],
            &[],
            r#" {"result" : { "a":"}\"" } , "\u0069d" : "x" } "#,
        ),
        (
            r#"{"id":1,"result":{ }}"#,
            EDITS,
            &[("a", "1"), ("b", "2")],
            r#"{"id":"x","result":{"a":1,"b":2 }}"#,
        ),
        (
            r#"{"id":1,"result":{"ttlMs":1}}"#,
            EDITS,
            &[("a", "1")],
            r#"{"id":"x","result":{"a":1}}"#,
        ),
        (
            r#"{"id":1,"result":{ "ttlMs":1 , "a":2, "cacheScope":"p" }}"#,
            EDITS,
            &[],
            r#"{"id":"x","result":{ "a":2 }}"#,
        ),
        (
            r#"{"id":1,"result":{"a":[{"ttlMs":1}],"ttlMs":{"x":[]},"b":2}}"#,
            EDITS,
            &[],
            r#"{"id":"x","result":{"a":[{"ttlMs":1}],"b":2}}"#,
        ),
        (
            r#"{"id":1,"result":{"a":0}}"#,
            &[],
            &[("a", "1"), ("b", "2")],
            r#"{"id":"x","result":{"a":0,"b":2}}"#,
        ),
        (
            r#"{"id":1,"result":{"\u0074tlMs":0}}"#,
            EDITS,
            &[("ttlMs", "1")],
            r#"{"id":"x","result":{"ttlMs":1}}"#,
        ),
        (
            r#"{"id":1,"result":[{"ttlMs":1}]}"#,
            EDITS,
            &[("a", "1")],
            r#"{"id":"x","result":[{"ttlMs":1}]}"#,
        ),
        (
            r#"{"error":{"code":1,"ttlMs":1},"id":null}"#,
            EDITS,
            &[("a", "1")],
            r#"{"error":{"code":1,"ttlMs":1},"id":"x"}"#,
        ),
        (
            r#"{"error":{"id":7}}"#,
            &[],
            &[],
            r#"{"error":{"id":7},"id":"x"}"#,
        ),
    ] {
        let edits = edits("\"x\"", remove, add);
        assert_eq!(
            splice(edits.clone(), &[text.as_bytes()]).as_deref(),
            Ok(wanted),
            "{text}"
        );
        assert_eq!(byte_by_byte(edits, text).as_deref(), Ok(wanted), "{text}");
    }
}

#[test]
fn what_is_no_response_is_refused() {
    use SpliceError as E;
    for (text, error) in [
        (r#"{"id":1,"result":{}} x"#, E::Trailing { offset: 21 }),
        (r#"{"id":1,"result":{}}{"#, E::Trailing { offset: 20 }),
        (r#"{"id":1,"result":{"#, E::Truncated),
        (r#"{"id":1,"result":"a"#, E::Truncated),
        ("", E::Truncated),
        (r#"{"id":1,"result":}"#, E::Syntax { offset: 17 }),
        (r#"{"id":1 "result":1}"#, E::Syntax { offset: 8 }),
        (r#"{"id":1,"result":[}}"#, E::Syntax { offset: 18 }),
        (r#"{"id":1,"result":{1:2}}"#, E::Syntax { offset: 18 }),
        (r#"{"id":1,"result":{"a":1,}}"#, E::Syntax { offset: 24 }),
        ("{\"id\":1,\"result\":\"\n\"}", E::Syntax { offset: 18 }),
        (r#"[]"#, E::NotAResponse),
        (r#"1"#, E::NotAResponse),
        (r#"{"id":1}"#, E::NotAResponse),
        (r#"{}"#, E::NotAResponse),
        (r#"{"id":1,"method":"ping"}"#, E::NotAResponse),
    ] {
        assert_eq!(
            splice(edits("2", EDITS, &[]), &[text.as_bytes()]),
            Err(error),
            "{text}"
        );
        assert_eq!(byte_by_byte(edits("2", EDITS, &[]), text), Err(error), "{text}");
    }
    let deep = format!("{{\"id\":1,\"result\":{}", "[".repeat(2000));
    assert_eq!(splice(edits("2", &[], &[]), &[deep.as_bytes()]), Err(E::Depth));
    let wide = format!("{{\"id\":1,\"result\":{{{}", " ".repeat(70_000));
    assert_eq!(
        splice(edits("2", EDITS, &[]), &[wide.as_bytes()]),
        Err(E::Unwieldy)
    );
}

#[test]
fn what_went_by_is_reported() {
    let mut splicer = IdSplicer::new(edits("2", &[], &[]));
    let mut out = Vec::new();
    splicer
        .feed(&Bytes::from_static(br#"{"id":"a\"b"#), &mut out)
        .unwrap();
    assert_eq!((splicer.id(), splicer.seen()), (None, None));
    splicer
        .feed(&Bytes::from_static(br#"","error":"#), &mut out)
        .unwrap();
    assert_eq!(
        (splicer.id(), splicer.seen()),
        (Some(&br#""a\"b""#[..]), Some(Seen::Error))
    );
}

#[test]
fn large_values_are_not_copied() {
    let text = Bytes::from(format!(
        r#"{{"id":1,"result":{{"text":"{}"}}}}"#,
        "x".repeat(100_000)
    ));
    let mut out = Vec::new();
    let mut splicer = IdSplicer::new(edits("2", EDITS, &[("a", "1")]));
    splicer.feed(&text, &mut out).unwrap();
    let largest = out.iter().max_by_key(|piece| piece.len()).unwrap();
    assert!(largest.len() > 100_000);
    assert!(text.as_ptr_range().contains(&largest.as_ptr()));
}

fn rewritten(text: &str, edits: &SpliceEdits) -> String {
    let response: Response = match Message::parse(Bytes::copy_from_slice(text.as_bytes()), Strictness::Server)
    {
        Ok(Message::Response(response)) => response,
        other => panic!("{text} {other:?}"),
    };
    let mut rewrite = response.rewrite();
    rewrite.id(edits.id.as_deref().unwrap());
    for &name in edits.remove {
        rewrite.remove_result_member(name);
    }
    for (name, value) in &edits.add {
        if response.result_member(name).is_none() {
            rewrite.result_member(name, &value[..]);
        }
    }
    String::from_utf8(rewrite.finish().to_vec()).unwrap()
}

proptest! {
    #[test]
    fn it_does_what_the_whole_message_rewrite_does(
        members in prop::collection::vec(
            (
                prop::sample::select(vec!["ttlMs", "cacheScope", "resultType", "a", "b", "resultTyp\\u0065", "", "id", "x\\\""]),
                prop::sample::select(vec!["1", "\"p\"", "null", "{}", "[]", "{\"ttlMs\":[1,{\"id\":2}]}", "\"\\\\\"", "-1.5e3", "\"日本\""]),
            ),
            0..7,
        ),
        space in prop::sample::select(vec!["", " ", "\n  "]),
        id_last in any::<bool>(),
        remove in any::<bool>(),
        added in 0usize..3,
        cuts in prop::collection::vec(1usize..12, 0..60),
    ) {
        let list: Vec<String> =
            members.iter().map(|(k, v)| format!("{space}\"{k}\"{space}:{space}{v}{space}")).collect();
        let result = format!("\"result\"{space}:{space}{{{space}{}}}{space}", list.join(","));
        let text = if id_last {
            format!("{space}{{{space}{result},\"jsonrpc\":\"2.0\",{space}\"id\":{space}7{space}}}{space}")
        } else {
            format!("{{\"id\":\"i\",\"jsonrpc\":\"2.0\",{result}}}")
        };
        let additions = [("b", "[0]"), ("new", "{}")];
        let edits = edits("\"down\"", if remove { EDITS } else { &[] }, &additions[..added]);
        let wanted = rewritten(&text, &edits);
        prop_assert_eq!(splice(edits.clone(), &[text.as_bytes()]), Ok(wanted.clone()));
        prop_assert_eq!(splice(edits, &cut(text.as_bytes(), &cuts)), Ok(wanted));
    }

    #[test]
    fn any_bytes_are_survived(raw in "[{}\\[\\]\":,\\\\a1 ]{0,60}", cuts in prop::collection::vec(1usize..5, 0..60)) {
        let text = format!("{{\"id\":1,\"result\":{{{raw}");
        let whole = splice(edits("2", EDITS, &[("a", "1")]), &[text.as_bytes()]);
        prop_assert_eq!(splice(edits("2", EDITS, &[("a", "1")]), &cut(text.as_bytes(), &cuts)), whole);
    }
}
