use std::time::Duration;

use crate::{answer::Answer, rig::Rig};

const CANCELLED: &str = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}"#;
const HANG: &str = r#"{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"hang"}}"#;
const ROOTS: &str = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;

/// Lets other tasks run until `done`.
async fn until(done: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while !done() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_cancelled_call_gets_no_answer_and_its_server_hears_of_it() {
    let rig = Rig::start("").await;
    let (ann, ben) = (rig.session("{}").await, rig.session("{}").await);
    let (ann, ben) = ([("mcp-session-id", &*ann)], [("mcp-session-id", &*ben)]);
    let cancelling = async {
        until(|| !rig.heard("tools/call").is_empty()).await;
        // Another client's wish with the same id changes nothing.
        assert_eq!(rig.post(&ben, CANCELLED).await.status, 202);
        assert!(rig.heard("notifications/cancelled").is_empty());
        assert_eq!(rig.post(&ann, CANCELLED).await.status, 202);
    };
    let (answer, ()) = tokio::join!(rig.answer(&ann, HANG), cancelling);
    assert!(matches!(answer, Answer::Cancelled));
    until(|| !rig.heard("notifications/cancelled").is_empty()).await;
    // The server knows the call by the gate's id.
    let call = rig.heard("tools/call").remove(0);
    let id = call.split_once(r#""id":"#).unwrap().1;
    let id = &id[..id.find(',').unwrap()];
    let cancelled = rig.heard("notifications/cancelled").remove(0);
    assert!(
        cancelled.contains(&format!(r#""requestId":{id}"#)),
        "{call} {cancelled}"
    );
    // It may cross the answer, or name nothing.
    for odd in [
        CANCELLED,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}"#,
    ] {
        assert_eq!(rig.post(&ann, odd).await.status, 202);
    }
}

#[tokio::test]
async fn changed_roots_are_told_on_the_clients_own_session_only() {
    let rig = Rig::start("").await;
    let (plain, rooted) = (rig.session("{}").await, rig.session(r#"{"roots":{}}"#).await);
    for session in [&plain, &rooted] {
        rig.within(session, "tools/call", r#"{"name":"echo"}"#).await;
    }
    for session in [&plain, &rooted] {
        assert_eq!(rig.post(&[("mcp-session-id", session)], ROOTS).await.status, 202);
    }
    let heard = || rig.heard("notifications/roots/list_changed");
    until(|| !heard().is_empty()).await;
    // 1 is the session that all share.
    assert_eq!(heard(), [format!("2 {ROOTS}")]);
}

#[tokio::test]
async fn a_vendors_notification_passes_to_the_only_server() {
    let rig = Rig::start("").await;
    let session = rig.session(r#"{"roots":{}}"#).await;
    rig.within(&session, "tools/call", r#"{"name":"echo"}"#).await;
    let vendor = r#"{"jsonrpc":"2.0","method":"vendor/said","params":{"a":1.0}}"#;
    let known = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    for body in [known, vendor] {
        assert_eq!(rig.post(&[("mcp-session-id", &session)], body).await.status, 202);
    }
    until(|| !rig.heard("vendor/said").is_empty()).await;
    assert_eq!(rig.heard("vendor/said"), [format!("2 {vendor}")]);
    let own = rig.heard("notifications/initialized");
    assert_eq!(own.len(), 2, "the gate's, one for each session: {own:?}");
}

#[tokio::test]
async fn an_answer_to_what_was_never_asked_is_refused() {
    let rig = Rig::start("").await;
    let session = rig.session("{}").await;
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let told = rig.post(&[("mcp-session-id", &session)], answer).await;
    assert_eq!((told.status, told.code()), (400, -32600));
    assert!(told.message.get("id").is_none_or(serde_json::Value::is_null));
    assert!(told.message.to_string().contains("Mcp-Session-Id"));
    // Without an id it names no question.
    let unread = r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"?"}}"#;
    assert_eq!(
        rig.post(&[("mcp-session-id", &session)], unread).await.status,
        202
    );
    // A modern client answers no questions that way.
    let modern = rig.post(&[("mcp-protocol-version", "2026-07-28")], answer).await;
    assert_eq!(modern.code(), -32602);
}
