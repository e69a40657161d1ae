use futures_util::StreamExt;

use super::*;
use crate::rig::Rig;

#[test]
fn a_notice_covers_what_lies_below() {
    let check = |watched: &str, uri: &str, expected| {
        assert_eq!(covers(watched, uri), expected, "{watched} {uri}");
    };
    check("file:///a", "file:///a", true);
    check("file:///a", "file:///a/b", true);
    check("file:///a/", "file:///a/b", true);
    check("file:///a", "file:///a?q", true);
    check("file:///a", "file:///a#f", true);
    check("file:///a", "file:///ab", false);
    check("file:///a/b", "file:///a", false);
    check("file:///a", "", false);
    check("a:b", "a:bc", false);
}

fn updated(uri: &str) -> ViewChange {
    ViewChange::Updated {
        server: "s".into(),
        uri: uri.into(),
        of: None,
    }
}

#[test]
fn notices_are_spelled_out() {
    let check = |change: &ViewChange, tag: Option<&str>, expected: &str| {
        let message = notification(change, tag.map(str::as_bytes));
        assert_eq!(String::from_utf8_lossy(&message), expected);
    };
    check(
        &ViewChange::Tools,
        None,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
    );
    // The client's id, its type kept.
    check(
        &ViewChange::Prompts,
        Some("7"),
        r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#,
    );
    check(
        &ViewChange::Resources,
        Some(r#""7""#),
        r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"7"}}}"#,
    );
    check(
        &updated("a:\"b"),
        None,
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:\"b"}}"#,
    );
    check(
        &updated("a:b"),
        Some("7"),
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"uri":"a:b"}}"#,
    );
}

#[test]
fn the_first_and_the_last_message_are_spelled_out() {
    let check = |filter: Filter, granted: &str| {
        let expected = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":"x"}},"notifications":{granted}}}}}"#
        );
        assert_eq!(
            String::from_utf8_lossy(&acknowledged(&filter, b"\"x\"")),
            expected
        );
    };
    check(Filter::default(), "{}");
    check(
        Filter {
            tools: true,
            resources: true,
            uris: vec!["a:b".into(), "c:\"d".into()],
            ..Filter::default()
        },
        r#"{"resourceSubscriptions":["a:b","c:\"d"],"resourcesListChanged":true,"toolsListChanged":true}"#,
    );
    check(
        Filter {
            prompts: true,
            ..Filter::default()
        },
        r#"{"promptsListChanged":true}"#,
    );
    assert_eq!(
        String::from_utf8_lossy(&closing(b"3")),
        r#"{"jsonrpc":"2.0","id":3,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":3}}}"#
    );
}

/// Somebody's watch of `uri` at the rig's server, of which the server has not been told.
fn watched(rig: &Rig, uri: &str) -> Arc<Watched> {
    let asker = Asker::plain(&rig.gate.governance.local);
    let server = Arc::clone(&rig.gate.snapshot().servers()[0]);
    server.watched(asker, &uri.into()).unwrap()
}

#[tokio::test]
async fn who_was_too_slow_is_told_of_everything_once() {
    let (sender, changes) = broadcast::channel(2);
    let filter = Filter {
        tools: true,
        ..Filter::default()
    };
    let rig = Rig::start("").await;
    let mut follow = Follow {
        changes,
        eyes: Eyes::of(
            &rig.gate.endpoint("s").unwrap(),
            Asker::plain(&rig.gate.governance.local),
        ),
        interest: Interest::Filter(filter, vec![watched(&rig, "a:b")]),
        tag: None,
        pending: Vec::new(),
    };
    for change in [
        ViewChange::Prompts,
        updated("x:y"),
        updated("a:b/c"),
        ViewChange::Prompts,
    ] {
        sender.send(change).ok().unwrap();
    }
    let mut told = Vec::new();
    drop(sender);
    while let Some(message) = follow.next().await {
        told.push(String::from_utf8_lossy(&message).into_owned());
    }
    // Two were missed; of the two that were not, one is of interest.
    let count = |what: &str| told.iter().filter(|message| message.contains(what)).count();
    assert_eq!(
        (
            count("tools/list_changed"),
            count(r#""uri":"a:b""#),
            count(r#""uri":"a:b/c""#),
            told.len()
        ),
        (1, 1, 1, 3),
        "{told:?}"
    );
}

#[tokio::test]
async fn what_lies_below_a_watched_resource_is_told_to_those_who_may_read_it() {
    let rig = Rig::with("", ", views: { v: { exclude: ['s__a:b/secret*'] } }").await;
    let (sender, changes) = broadcast::channel(4);
    let mut follow = Follow {
        changes,
        eyes: Eyes::of(
            &rig.gate.endpoint("v").unwrap(),
            Asker::plain(&rig.gate.governance.local),
        ),
        interest: Interest::Filter(Filter::default(), vec![watched(&rig, "a:b")]),
        tag: None,
        pending: Vec::new(),
    };
    for uri in ["a:b/secret", "a:b/open"] {
        sender.send(updated(uri)).ok().unwrap();
    }
    drop(sender);
    let told = follow.next().await.unwrap();
    assert!(String::from_utf8_lossy(&told).contains("a:b/open"), "{told:?}");
    assert!(follow.next().await.is_none());
}

#[tokio::test]
async fn a_filter_says_what_is_wrong_with_it() {
    let rig = Rig::start("").await;
    let many: Vec<String> = (0..=MAX_NAMED).map(|n| format!("\"a:{n}\"")).collect();
    let many = format!(r#"{{"resourceSubscriptions":[{}]}}"#, many.join(","));
    for (filter, named) in [
        ("7", "notifications"),
        ("[]", "notifications"),
        (r#"{"toolsListChanged":1}"#, "toolsListChanged"),
        (r#"{"promptsListChanged":"true"}"#, "promptsListChanged"),
        (r#"{"resourcesListChanged":null}"#, "resourcesListChanged"),
        (r#"{"resourceSubscriptions":{}}"#, "resourceSubscriptions"),
        (r#"{"resourceSubscriptions":[7]}"#, "resourceSubscriptions"),
        (&many, "resourceSubscriptions"),
    ] {
        let params = format!(r#""notifications":{filter},"#);
        let Answer::Whole { body, .. } = rig.modern("subscriptions/listen", &params).await else {
            panic!("{filter} opened a stream")
        };
        let text = String::from_utf8(body.concat()).unwrap();
        assert!(
            text.contains("-32602") && text.contains(named),
            "{filter}: {text}"
        );
    }
    assert!(matches!(
        rig.modern("subscriptions/listen", "").await,
        Answer::Whole { .. }
    ));
}

#[tokio::test]
async fn a_stream_grants_what_exists_and_gives_it_up_at_its_end() {
    let rig = Rig::start("").await;
    let params =
        r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:b","no:such","a:b"]},"#;
    let Answer::Messages(mut messages) = rig.modern("subscriptions/listen", params).await else {
        panic!("no stream")
    };
    let first: serde_json::Value = serde_json::from_slice(&messages.next().await.unwrap()).unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["_meta"][META_SUBSCRIPTION_ID], "m");
    assert_eq!(first["params"]["notifications"]["toolsListChanged"], true);
    assert_eq!(
        first["params"]["notifications"]["resourceSubscriptions"][0], "a:b",
        "{first}"
    );
    let heard = |method: &str| {
        rig.heard(method)
            .iter()
            .filter(|line| line.contains("\"a:b\""))
            .count()
    };
    assert_eq!(
        (heard("resources/subscribe"), heard("resources/unsubscribe")),
        (1, 0)
    );
    drop(messages);
    let given_up = async {
        while heard("resources/unsubscribe") == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), given_up)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_gate_that_stops_ends_its_streams_in_order() {
    let rig = Rig::start("").await;
    let params = r#""notifications":{"toolsListChanged":true},"#;
    let Answer::Messages(mut messages) = rig.modern("subscriptions/listen", params).await else {
        panic!("no stream")
    };
    messages.next().await.unwrap();
    rig.gate.drain();
    assert_eq!(messages.next().await.unwrap(), closing(b"\"m\""));
    assert!(messages.next().await.is_none());
}

#[test]
fn the_end_of_a_stream_on_a_shared_channel_is_announced() {
    let said: Vec<String> = farewell(b"\"m\"", Carrier::Connection)
        .iter()
        .map(|message| String::from_utf8_lossy(message).into_owned())
        .collect();
    assert_eq!(
        said[0],
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"m","reason":"the gate is stopping"}}"#
    );
    assert_eq!((said.len(), said[1].as_bytes()), (2, &closing(b"\"m\"")[..]));
    assert_eq!(farewell(b"3", Carrier::Http), [closing(b"3")]);
}

#[tokio::test]
async fn a_session_has_one_stream() {
    let rig = Rig::start("").await;
    let id = rig.session("{}").await;
    let admitted = rig.admitted(&[("mcp-session-id", &id)]).await;
    let session = crate::receive::open_session(&rig.gate, &admitted).ok().unwrap();
    let open = || {
        session_stream(
            &rig.gate,
            &admitted.arrival().endpoint,
            Asker::plain(admitted.caller()),
            &session,
        )
    };
    let mut first = open();
    let second = open();
    assert!(first.next().await.is_none(), "the newer one takes over");
    assert_eq!(rig.gate.sessions.held(), 1);
    drop(first);
    assert_eq!(rig.gate.sessions.held(), 1, "the second is still open");
    drop(second);
    assert_eq!(rig.gate.sessions.held(), 0);
}
