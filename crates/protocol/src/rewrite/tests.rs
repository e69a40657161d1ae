use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::envelope::{Message, Request, Response};
use crate::json::{Span, Strictness, object, validate};
use crate::rewrite::Rewrite;

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

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_call_is_spliced_and_the_rest_stays() {
    let call = request(
        r#"{ "jsonrpc":"2.0", "id": "a" ,"method":"tools/call","params":{"name":"s__t","arguments":{"z":1, "a":1e400},"task":{},"_meta":{"x":1,"k":2}} }"#,
    );
    let mut edits = call.rewrite();
    edits
        .id(&b"7"[..])
        .param_text("name", "t")
        .remove_param("task")
        .remove_meta("x")
        .meta("new", &b"[]"[..]);
    assert_eq!(
        text(&edits.finish()),
        r#"{ "jsonrpc":"2.0", "id": 7 ,"method":"tools/call","params":{"name":"t","arguments":{"z":1, "a":1e400},"_meta":{"k":2,"new":[]}} }"#
    );
}

#[test]
fn missing_objects_are_created() {
    let bare = request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    assert_eq!(bare.rewrite().finish(), *bare.raw());
    assert_eq!(
        text(
            &bare
                .rewrite()
                .param("cursor", &b"\"c\""[..])
                .meta("a", &b"1"[..])
                .meta("b", &b"2"[..])
                .finish()
        ),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"c","_meta":{"a":1,"b":2}}}"#
    );
    let empty = request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{ }}"#);
    assert_eq!(
        text(&empty.rewrite().meta("a", &b"1"[..]).finish()),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"a":1} }}"#
    );
    let odd = request(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":null}}"#);
    assert_eq!(
        text(&odd.rewrite().meta("a", &b"1"[..]).finish()),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"a":1}}}"#
    );
}

#[test]
fn results_are_edited_and_errors_are_not() {
    let list =
        response(r#"{"result":{"ttlMs":5,"tools":[],"resultType":"complete"},"jsonrpc":"2.0","id":3}"#);
    let mut edits = list.rewrite();
    edits
        .id(&b"\"x\""[..])
        .remove_result_member("ttlMs")
        .remove_result_member("resultType")
        .result_meta("m", &b"1"[..]);
    assert_eq!(
        text(&edits.finish()),
        r#"{"result":{"tools":[],"_meta":{"m":1}},"jsonrpc":"2.0","id":"x"}"#
    );
    let failed = response(r#"{"jsonrpc":"2.0","id":3,"error":{"code":1,"message":"m"}}"#);
    let mut edits = failed.rewrite();
    edits
        .result_member("a", &b"1"[..])
        .result_meta("a", &b"1"[..])
        .remove_result_member("code");
    assert!(edits.is_empty());
}

#[test]
fn the_last_word_counts() {
    let raw = br#"{"a":1,"b":2}"#;
    let members = object(raw, Span::all(raw)).unwrap();
    let mut edits = Rewrite::new(raw);
    edits.set_member(&members, "c", &b"1"[..]);
    edits.set_member(&members, "c", &b"2"[..]);
    edits.set_member(&members, "a", &b"3"[..]);
    edits.set_member(&members, "a", &b"4"[..]);
    edits.remove_member(&members, "b");
    edits.set_member(&members, "b", &b"5"[..]);
    assert_eq!(&edits.finish()[..], br#"{"a":4,"b":5,"c":2}"#);
    edits.remove_member(&members, "c");
    edits.remove_member(&members, "a");
    assert_eq!(&edits.finish()[..], br#"{"b":5}"#);
}

#[test]
fn every_duplicate_is_changed() {
    let raw = br#"{"a":1,"b":2,"a":3}"#;
    let members = object(raw, Span::all(raw)).unwrap();
    let mut edits = Rewrite::new(raw);
    edits.set_member(&members, "a", &b"0"[..]);
    assert_eq!(&edits.finish()[..], br#"{"a":null,"b":2,"a":0}"#);
    edits.set_member(&members, "a", &b"9"[..]);
    assert_eq!(&edits.finish()[..], br#"{"a":null,"b":2,"a":9}"#);
    let mut edits = Rewrite::new(raw);
    edits.remove_member(&members, "a");
    assert_eq!(&edits.finish()[..], br#"{"b":2}"#);
}

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

proptest! {
    #[test]
    fn edits_of_an_object_come_out_as_edits_of_a_map(
        present in prop::sample::subsequence(KEYS.to_vec(), 0..=6),
        edits in prop::collection::vec((0usize..6, prop::option::of(0u8..99)), 0..8),
        nested in any::<bool>(),
        spaces in prop::sample::select(vec!["", " ", "\n\t"]),
    ) {
        let list: Vec<String> = present.iter().map(|k| format!("{spaces}\"{k}\"{spaces}:{spaces}\"{k}\"{spaces}")).collect();
        let mut raw = format!("{{{spaces}{}}}", list.join(","));
        if nested {
            raw = format!("{{\"x\":{raw}{spaces},\"y\":1}}");
        }
        let raw = raw.as_bytes();
        let root = object(raw, validate(raw, Strictness::Edge).unwrap()).unwrap();
        let inner = if nested { object(raw, root.get(raw, "x").unwrap()).unwrap() } else { root.clone() };
        let mut expected: Map<String, Value> = present.iter().map(|k| ((*k).to_owned(), Value::from(*k))).collect();
        let mut rewrite = Rewrite::new(raw);
        for (key, value) in edits {
            match value {
                Some(value) => {
                    rewrite.set_member(&inner, KEYS[key], value.to_string().into_bytes());
                    expected.insert(KEYS[key].to_owned(), value.into());
                }
                None => {
                    rewrite.remove_member(&inner, KEYS[key]);
                    expected.remove(KEYS[key]);
                }
            }
        }
        if nested {
            rewrite.set_member(&root, "z", &b"0"[..]);
        }
        let done = rewrite.finish();
        let value: Value = serde_json::from_slice(&done).unwrap();
        let got = if nested { value["x"].clone() } else { value.clone() };
        prop_assert_eq!(got, Value::Object(expected));
        if nested {
            prop_assert_eq!(&value["y"], &Value::from(1));
            prop_assert_eq!(&value["z"], &Value::from(0));
        }
    }
}
