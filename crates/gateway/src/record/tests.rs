//! What is on record, and what is counted, of what ends in unusual ways.

use futures_util::StreamExt;
use serde_json::Value;

use crate::{
    answer::Answer,
    rig::{META, Rig},
};

fn of_kind(rig: &Rig, kind: &str) -> Vec<Value> {
    let mut records = rig.records();
    records.retain(|record| record["kind"] == *kind);
    records
}

/// A call that is answered with a stream.
async fn streamed(rig: &Rig) -> Answer {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"m","method":"tools/call","params":{{"name":"log","_meta":{{{META},"io.modelcontextprotocol/logLevel":"debug"}}}}}}"#
    );
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "log"),
    ];
    rig.answer(&headers, &body).await
}

#[tokio::test]
async fn whoever_breaks_off_has_used_what_has_passed() {
    for audit in ["", ", audit: {}"] {
        let quota = format!(", quotas: [{{ per: global, bytes: 100B/day }}]{audit}");
        let rig = Rig::with("", &quota).await;
        let Answer::Messages(mut messages) = streamed(&rig).await else {
            panic!("no stream")
        };
        messages.next().await.unwrap();
        drop(messages);
        let Answer::Whole { status, .. } = streamed(&rig).await else {
            panic!("it was made")
        };
        assert_eq!(status, 429, "{audit}");
    }
}

#[tokio::test]
async fn what_is_denied_without_a_word_is_on_record() {
    let rig = Rig::with("", ", access: read, audit: {}").await;
    let session = rig.session("{}").await;
    let told = rig.within(&session, "vendor/do", r#"{"a":1}"#).await;
    assert_eq!((told.status, told.code()), (200, -32601));
    let denials = of_kind(&rig, "denial");
    let [denial] = &*denials else {
        panic!("{denials:?}")
    };
    let text = denial.to_string();
    assert!(text.contains("vendor/do") && text.contains("read-only"), "{text}");
    assert!(text.contains(r#""server":"s""#), "{text}");
    assert!(rig.heard("vendor/do").is_empty());
    // Nobody waits for the answer to a notification, but the auditor does not miss it.
    let said = r#"{"jsonrpc":"2.0","method":"vendor/said","params":{"a":1}}"#;
    rig.post(&[("mcp-session-id", &session)], said).await;
    assert_eq!(of_kind(&rig, "denial").len(), 2);
    assert!(of_kind(&rig, "intent").is_empty());
}

#[tokio::test]
async fn a_vendors_notification_is_recorded_and_limited_like_a_call() {
    let limits = ", audit: {}, limits: [{ per: server, rate: 1/h, burst: 1 }]";
    let rig = Rig::with("", limits).await;
    let session = rig.session(r#"{"roots":{}}"#).await;
    let said = r#"{"jsonrpc":"2.0","method":"vendor/said","params":{"password":"hunter22"}}"#;
    for _ in 0..2 {
        let told = rig.post(&[("mcp-session-id", &session)], said).await;
        assert_eq!(told.status, 202);
    }
    let intents = of_kind(&rig, "intent");
    let [intent] = &*intents else {
        panic!("{intents:?}")
    };
    let text = intent.to_string();
    assert!(
        text.contains("vendor/said") && text.contains("destructive"),
        "{text}"
    );
    assert!(!text.contains("hunter22"), "{text}");
    assert_eq!(of_kind(&rig, "outcome").len(), 1);
    assert_eq!(of_kind(&rig, "denial").len(), 1);
}

#[tokio::test]
async fn a_caller_over_a_limit_is_told_of_what() {
    for (bound, status) in [
        ("quotas: [{ per: principal, calls: 1/day }]", 429),
        (
            "limits: [{ per: principal, match: 's__*', rate: 1/h, burst: 1 }]",
            200,
        ),
    ] {
        let rig = Rig::with("", &format!(", audit: {{}}, {bound}")).await;
        let session = rig.session("{}").await;
        let call = async || rig.within(&session, "tools/call", r#"{"name":"echo"}"#).await;
        assert_eq!(call().await.status, 200);
        let over = call().await;
        assert_eq!(over.status, status, "{over:?}");
        let error = &over.message["error"];
        let text = match status {
            // Where only some things are over, their result says so.
            200 => &over.message["result"]["content"][0]["text"],
            _ => &error["message"],
        };
        let text = text.as_str().unwrap();
        assert!(text.starts_with("`echo` of server `s`: the limit of "), "{text}");
        if status == 429 {
            assert_eq!(error["data"]["server"], "s");
            assert_eq!(error["data"]["name"], "echo");
        }
        let denials = of_kind(&rig, "denial");
        let [denial] = &*denials else {
            panic!("{denials:?}")
        };
        assert_eq!(denial["what"]["server"], "s", "{denial}");
        assert!(denial.to_string().contains("`echo` of server"), "{denial}");
    }
}

#[tokio::test]
async fn a_retry_that_opens_nothing_was_not_sent() {
    let rig = Rig::with("", ", audit: {}").await;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"m","method":"tools/call","params":{{"name":"echo","requestState":"x","_meta":{{{META}}}}}}}"#
    );
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ];
    assert_eq!(rig.post(&headers, &body).await.code(), -32602);
    let outcomes = of_kind(&rig, "outcome");
    let [outcome] = &*outcomes else {
        panic!("{outcomes:?}")
    };
    assert!(outcome["outcome"].as_str().unwrap().contains("not"), "{outcome}");
    assert!(rig.heard("tools/call").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_withdrawn_on_its_stream_was_cancelled() {
    let rig = Rig::with("", ", audit: {}").await;
    let session = rig.session("{}").await;
    let headers = [("mcp-session-id", &*session)];
    // It says nothing for so long that a stream is begun.
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"hang"}}"#;
    let Answer::Resumable(_, messages) = rig.answer(&headers, call).await else {
        panic!("no stream")
    };
    let wish = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    rig.post(&headers, wish).await;
    assert!(messages.collect::<Vec<_>>().await.is_empty());
    let outcomes = of_kind(&rig, "outcome");
    let [outcome] = &*outcomes else {
        panic!("{outcomes:?}")
    };
    assert_eq!(outcome["outcome"], "cancelled");
}
