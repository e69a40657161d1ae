//! What of a server's notifications reaches which client.

use futures_util::StreamExt;

use crate::{
    answer::Answer,
    rig::{META, Rig},
};

/// Every message of an answer, in the order it came.
async fn messages(answer: Answer) -> Vec<String> {
    let messages = match answer {
        Answer::Whole { body, .. } => vec![body.concat().into()],
        Answer::Messages(messages) | Answer::Resumable(_, messages) => messages.collect().await,
        _ => panic!("neither whole nor a stream of messages"),
    };
    let texts = messages
        .iter()
        .map(|message: &bytes::Bytes| String::from_utf8_lossy(message).into_owned());
    texts.collect()
}

/// The levels of the log lines among them.
fn levels(messages: &[String]) -> Vec<&str> {
    let levels = messages.iter().filter_map(|message| {
        let (_, rest) = message.split_once(r#""level":""#)?;
        rest.split_once('"').map(|(level, _)| level)
    });
    levels.collect()
}

async fn modern(rig: &Rig, meta: &str) -> Vec<String> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"m","method":"tools/call","params":{{"name":"log","_meta":{{{META}{meta}}}}}}}"#
    );
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "log"),
    ];
    messages(rig.answer(&headers, &body).await).await
}

async fn legacy(rig: &Rig, session: &str) -> Vec<String> {
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"log"}}"#;
    messages(rig.answer(&[("mcp-session-id", session)], body).await).await
}

#[tokio::test]
async fn a_modern_client_gets_the_lines_it_asked_for() {
    let rig = Rig::start("").await;
    assert_eq!(
        modern(&rig, "").await.len(),
        1,
        "without `logLevel` only the answer"
    );
    let level = r#","io.modelcontextprotocol/logLevel":"warning""#;
    let told = modern(&rig, level).await;
    // A level that nobody knows may be anything.
    assert_eq!(levels(&told), ["warning", "odd", "critical"]);
    assert!(told.last().unwrap().contains(r#""id":"m""#));
    // Another client's debugging is not shown to this one, though the server now writes it.
    let debug = r#","io.modelcontextprotocol/logLevel":"debug""#;
    assert_eq!(levels(&modern(&rig, debug).await).len(), 4);
    assert_eq!(levels(&modern(&rig, level).await).len(), 3);
    let set: Vec<_> = rig.heard("logging/setLevel");
    assert_eq!(levels(&set), ["warning", "debug"]);
}

#[tokio::test]
async fn a_legacy_client_gets_all_until_it_sets_a_level() {
    let rig = Rig::start("").await;
    let session = rig.session("{}").await;
    assert_eq!(levels(&legacy(&rig, &session).await).len(), 4);
    rig.within(&session, "logging/setLevel", r#"{"level":"error"}"#)
        .await;
    assert_eq!(levels(&legacy(&rig, &session).await), ["odd", "critical"]);
}

#[tokio::test]
async fn progress_comes_back_under_the_clients_own_token() {
    let rig = Rig::start("").await;
    for token in ["\"mine\"", "7", "\"\\u0061\""] {
        let told = modern(&rig, &format!(r#","progressToken":{token}"#)).await;
        assert_eq!(
            told[0],
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1.0}}}}"#
            )
        );
        assert_eq!(told.len(), 2);
    }
}

/// A session that many calls use in turn does not wait for ever for what a client was asked in one of them.
#[tokio::test(start_paused = true)]
async fn what_a_legacy_client_does_not_answer_after_its_call_is_dismissed_in_time() {
    for more in ["", ", isolation: session"] {
        let rig = Rig::start(more).await;
        let session = rig.session(r#"{"roots":{}}"#).await;
        let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ask"}}"#;
        let told = messages(rig.answer(&[("mcp-session-id", &session)], body).await).await;
        assert!(
            told[0].contains("roots/list") && told[1].contains("result"),
            "{told:?}"
        );
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(rig.lines(r#""id":"r""#).is_empty());
        tokio::time::sleep(std::time::Duration::from_secs(600)).await;
        let heard = rig.lines(r#""id":"r""#);
        assert!(heard.len() == 1 && heard[0].contains("-32603"), "{heard:?}");
    }
}
