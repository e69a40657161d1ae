use serde_json::json;

use super::*;
use crate::rig::Rig;

fn result(answer: Answer) -> serde_json::Value {
    match answer {
        Answer::Whole { body, .. } => {
            let message: serde_json::Value = serde_json::from_slice(&body.concat()).unwrap();
            message["result"].clone()
        }
        _ => panic!("no whole answer"),
    }
}

#[tokio::test]
async fn the_gate_answers_what_needs_no_server() {
    let rig = Rig::start("").await;
    let session = rig.session("{}").await;
    let before = rig.heard("tools/list").len();
    let told = rig.within(&session, "ping", "{}").await;
    assert_eq!(
        (told.message["id"].clone(), told.message["result"].clone()),
        (json!(7), json!({}))
    );
    let legacy = rig.within(&session, "tools/list", "{}").await.message["result"].clone();
    assert_eq!(legacy["tools"][0]["name"], "echo");
    assert!(legacy.get("resultType").is_none() && legacy.get("ttlMs").is_none());
    let modern = result(rig.modern("tools/list", "").await);
    assert_eq!(
        (&modern["resultType"], &modern["tools"]),
        (&json!("complete"), &legacy["tools"])
    );
    let discovered = result(rig.modern("server/discover", "").await);
    assert_eq!(discovered["supportedVersions"][0], "2026-07-28");
    assert_eq!(rig.heard("tools/list").len(), before, "no server was asked");
}

#[tokio::test]
async fn a_cursor_is_ours_or_nothing() {
    let rig = Rig::start("").await;
    let session = rig.session("{}").await;
    for cursor in ["7", "null", r#""made up""#] {
        let params = format!(r#"{{"cursor":{cursor}}}"#);
        assert_eq!(
            rig.within(&session, "tools/list", &params).await.code(),
            -32602,
            "{cursor}"
        );
    }
}

#[tokio::test]
async fn a_level_is_kept_for_the_session_and_reaches_the_server_with_its_calls() {
    let rig = Rig::start("").await;
    let (ann, ben) = (rig.session("{}").await, rig.session("{}").await);
    for wrong in ["{}", r#"{"level":7}"#, r#"{"level":"loud"}"#] {
        assert_eq!(
            rig.within(&ann, "logging/setLevel", wrong).await.code(),
            -32602,
            "{wrong}"
        );
    }
    let set = rig.within(&ann, "logging/setLevel", r#"{"level":"debug"}"#).await;
    assert_eq!(set.message["result"], json!({}));
    rig.within(&ben, "tools/call", r#"{"name":"echo"}"#).await;
    assert!(rig.heard("logging/setLevel").is_empty(), "ben wants nothing");
    rig.within(&ann, "tools/call", r#"{"name":"echo"}"#).await;
    let heard = rig.heard("logging/setLevel");
    assert!(
        heard.len() == 1 && heard[0].contains(r#""level":"debug""#),
        "{heard:?}"
    );
}

#[tokio::test]
async fn a_resource_is_watched_once_and_given_up_with_its_session() {
    let rig = Rig::start("").await;
    let session = rig.session("{}").await;
    for params in ["{}", r#"{"uri":7}"#] {
        assert_eq!(
            rig.within(&session, "resources/subscribe", params).await.code(),
            -32602
        );
    }
    let watched = r#"{"uri":"a:b"}"#;
    for _ in 0..2 {
        let told = rig.within(&session, "resources/subscribe", watched).await;
        assert_eq!(told.message["result"], json!({}));
    }
    assert_eq!(rig.heard("resources/subscribe").len(), 1);
    // Somebody else who watches it keeps it.
    let other = rig.session("{}").await;
    rig.within(&other, "resources/subscribe", watched).await;
    let end = async |session: &str| {
        let admitted = rig.admitted(&[("mcp-session-id", session)]).await;
        let opened = crate::receive::open_session(&rig.gate, &admitted).ok().unwrap();
        end_session(&rig.gate, opened.id).await;
    };
    end(&session).await;
    assert!(rig.heard("resources/unsubscribe").is_empty());
    assert_eq!(rig.within(&session, "ping", "{}").await.status, 404, "it is gone");
    end(&other).await;
    assert_eq!(rig.heard("resources/unsubscribe").len(), 1);
    // Giving up what is not watched is no error.
    let third = rig.session("{}").await;
    let told = rig.within(&third, "resources/unsubscribe", watched).await;
    assert_eq!(told.message["result"], json!({}));
    assert_eq!(rig.heard("resources/unsubscribe").len(), 1);
}

#[tokio::test]
async fn a_client_that_says_too_much_of_itself_gets_no_session() {
    let rig = Rig::start("").await;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{"x":"{}"}}}}}}"#,
        "x".repeat(10_000)
    );
    let told = rig.post(&[], &body).await;
    assert_eq!((told.code(), told.session), (-32602, None));
}

/// Two servers have the same resource; who may only see the second's watches that one, and gives up that one.
#[tokio::test]
async fn what_is_given_up_is_what_was_watched() {
    use gatepost_policy::{Facts, KEY_ISSUER, Method, Principal};

    let roles = ", identity: { api_keys: true }, roles: { tees: { allow: ['t__*'] } }";
    let rig = Rig::with(" }, t: { module: calculator", roles).await;
    let endpoint = rig.gate.endpoint("").unwrap();
    let asker = crate::upstream::Asker::plain(&rig.gate.governance.local);
    endpoint.catalog.settled(&endpoint.name, asker).await;
    let mut facts = Facts::of(Principal::new(KEY_ISSUER, "k"), Method::ApiKey { id: "k".into() });
    facts.roles.push("tees".into());
    let post = async |session: &str, body: String| {
        let mut headers = http::HeaderMap::new();
        if !session.is_empty() {
            headers.insert("mcp-session-id", session.parse().unwrap());
        }
        let arrival = crate::inbound::Arrival {
            endpoint: rig.gate.endpoint("").unwrap(),
            headers,
            address: None,
            carrier: Carrier::Http,
            request_id: crate::inbound::RequestId::next(0),
        };
        let identified = crate::identify::verified(&rig.gate, arrival, facts.clone()).unwrap();
        let admitted = crate::path::join(&rig.gate, identified).ok().unwrap();
        let opened = crate::receive::open_session(&rig.gate, &admitted).ok();
        let answer = crate::path::posted(&rig.gate, admitted, body.into()).await;
        (answer.ok().unwrap(), opened)
    };
    let begin = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
    let (Answer::Whole { session, .. }, _) = post("", begin.to_owned()).await else {
        panic!("no answer")
    };
    let watch = r#"{"jsonrpc":"2.0","id":2,"method":"resources/subscribe","params":{"uri":"a:b"}}"#;
    let (answer, opened) = post(&session.unwrap(), watch.to_owned()).await;
    assert_eq!(result(answer), json!({}));
    assert_eq!(rig.heard("resources/subscribe").len(), 1);
    end_session(&rig.gate, opened.unwrap().id).await;
    assert_eq!(rig.heard("resources/unsubscribe").len(), 1);
}
