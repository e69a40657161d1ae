//! What the gate gave to one caller, in the hands of another: sessions, streams, tasks, states, cursors, addresses.

use gatepost_testkit::conformance::{Era as Speaks, Fixture, Transport};
use gatepost_testkit::gate::{Answer, Client, Era, Method, Post, Puppet, eventually};
use gatepost_testkit::odd::{Behaviour, Odd, OddServer};
use serde_json::{Value, json};

use crate::house::{ApiKey, House, MARK, address, seen};

/// Everybody whom ann of acme is not, with a name for each.
fn others(house: &House, path: &str) -> Vec<(&'static str, String)> {
    vec![
        ("another subject", house.token(path, json!({ "sub": "ben" }))),
        (
            "the same in another tenant",
            house.token(path, json!({ "org": "globex" })),
        ),
        ("the same of another issuer", house.other_token("ann")),
        ("a key", house.key.key.clone()),
    ]
}

/// A message in a session, whoever sends it.
fn within(path: &str, session: &str, token: &str, body: &str) -> Post {
    Post::json(path, body.to_owned())
        .header("mcp-session-id", session)
        .header("mcp-protocol-version", "2025-11-25")
        .header("authorization", format!("Bearer {token}"))
}

#[tokio::test]
async fn a_replayed_session_opens_nothing() {
    let house = House::open().await;
    let owner = house.legacy("/mcp/old", json!({})).await;
    let session = owner.session().unwrap().to_owned();
    let mut stream = owner.listen().await;
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"x":"{MARK}"}}}}}}"#
    );
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    // Ann with a new token is still ann, on the same endpoint.
    let again = house.token("/mcp/old", json!({ "groups": ["readers"], "jti": "2" }));
    assert_eq!(
        house
            .send(&within("/mcp/old", &session, &again, ping))
            .await
            .status,
        200
    );

    let unknown = house.token("/mcp/old", json!({ "sub": "ben" }));
    let unknown = house.send(&within("/mcp/old", "nothing", &unknown, &call)).await;
    assert_eq!(unknown.status, 404);
    let mut thieves = others(&house, "/mcp/old");
    for (path, who) in [
        ("/mcp", "herself at another endpoint"),
        ("/mcp/crm", "herself at another server"),
    ] {
        thieves.push((who, house.token(path, json!({}))));
    }
    for (who, token) in &thieves {
        let path = match *who {
            "herself at another endpoint" => "/mcp",
            "herself at another server" => "/mcp/crm",
            _ => "/mcp/old",
        };
        for body in [&*call, cancel, answer, ping] {
            let post = within(path, &session, token, body);
            let got = house.send(&post).await;
            assert_eq!(got.status, 404, "{who}: {}", got.text());
            if body == call {
                assert_eq!(seen(&got, "-"), seen(&unknown, "-"), "{who}");
            }
        }
        for verb in [Method::GET, Method::DELETE] {
            let post = Post::new(verb, path)
                .header("accept", "text/event-stream")
                .header("mcp-session-id", &session)
                .header("authorization", format!("Bearer {token}"));
            assert_eq!(house.send(&post).await.status, 404, "{who}");
        }
    }
    // A session is no credential, and cannot be made up.
    let post = within("/mcp/old", &session, "", ping).without("authorization");
    assert_eq!(house.send(&post).await.status, 401);
    let owns = house.token("/mcp/old", json!({}));
    for at in [0, 6, session.len() / 2, session.len() - 3] {
        let mut forged = session.clone();
        let other = if &forged[at..=at] == "A" { "B" } else { "A" };
        forged.replace_range(at..=at, other);
        assert_eq!(
            house.send(&within("/mcp/old", &forged, &owns, ping)).await.status,
            404,
            "{at}"
        );
    }
    let short = &session[..session.len() - 4];
    assert_eq!(
        house.send(&within("/mcp/old", short, &owns, ping)).await.status,
        404
    );
    let two = within("/mcp/old", &session, &thieves[0].1, ping).header("mcp-session-id", "x");
    assert_eq!(house.send(&two).await.status, 404);
    house.nothing_arrived();

    // Nobody has disturbed it: neither the session nor its stream ended.
    assert_eq!(owner.call("list_changed", "{}").await.outcome(), (200, None));
    assert_eq!(
        stream.message().await["method"],
        "notifications/tools/list_changed"
    );
    assert_eq!(owner.delete().await.status, 204);
    for token in [&owns, &thieves[0].1] {
        assert_eq!(
            house
                .send(&within("/mcp/old", &session, token, ping))
                .await
                .status,
            404
        );
    }
}

#[tokio::test]
async fn a_broken_stream_is_resumed_by_its_owner_only() {
    let mut puppet = Puppet::start(Era::Legacy).await;
    let house = House::with(json!({ "slow": { "url": puppet.url() } }), "").await;
    let owner = house.legacy("/mcp/slow", json!({})).await;
    let call = owner.begin("turn", "{}");
    let speak = async {
        let writer = puppet.turn().await.events();
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "error", "data": "first" } });
        assert!(writer.event(&note).await);
        writer
    };
    let (reply, writer) = tokio::join!(call, speak);
    let mut events = reply.events();
    let mut last = None;
    while last.is_none() {
        last = events.next().await.expect("an event").id;
    }
    let last = last.unwrap();
    drop(events);
    let resume = |client: &Client| {
        client
            .bare(Method::GET)
            .header("accept", "text/event-stream")
            .header("last-event-id", &last)
    };
    let same_person = house.legacy("/mcp/slow", json!({})).await;
    let mut thieves = vec![("her other session", same_person)];
    for (who, token) in others(&house, "/mcp/slow") {
        let client = house.gate.modern("/mcp/slow").bearing(&token);
        thieves.push((who, client.greeting("2025-11-25", "{}").await));
    }
    for (who, thief) in &thieves {
        let answer = thief.send(&resume(thief)).await;
        assert_eq!(answer.status, 400, "{who}: {}", answer.text());
    }
    let again = resume(&owner);
    let rest = owner.send(&again);
    let end = async {
        let result = json!({ "content": [{ "type": "text", "text": "only hers" }] });
        writer.result(&result).await;
    };
    let (rest, ()) = tokio::join!(rest, end);
    assert!(rest.text().contains("only hers"), "{}", rest.text());
}

#[tokio::test]
async fn the_address_of_an_old_stream_is_its_owners() {
    let house = House::open().await;
    let token = house.token("/mcp/old", json!({}));
    let open = Post::get("/sse/old")
        .header("accept", "text/event-stream")
        .header("authorization", format!("Bearer {token}"));
    let mut events = open.send(house.gate.address()).await.events();
    let address = events.next().await.unwrap().data;
    let say = |token: &str, body: &str| {
        Post::json(&address, body.to_owned()).header("authorization", format!("Bearer {token}"))
    };
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{{"name":"echo","arguments":{{"x":"{MARK}"}}}}}}"#
    );
    let elsewhere = Post::json("/sse/old?session=AAAAAAAAAAAAAAAAAAAAAA", call.clone())
        .header("authorization", format!("Bearer {token}"));
    let unknown = house.send(&elsewhere).await;
    for (who, token) in others(&house, "/mcp/old") {
        let answer = house.send(&say(&token, &call)).await;
        assert_eq!(answer.status, 404, "{who}");
        assert_eq!(seen(&answer, "-"), seen(&unknown, "-"), "{who}");
    }
    let elsewhere = house.token("/mcp/crm", json!({}));
    assert_eq!(house.send(&say(&elsewhere, &call)).await.status, 401);
    let nobody = say("", &call).without("authorization");
    assert_eq!(house.send(&nobody).await.status, 401);
    house.nothing_arrived();

    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#;
    assert_eq!(house.send(&say(&token, initialize)).await.status, 202);
    assert_eq!(events.message().await["id"], 1);
    assert_eq!(house.send(&say(&token, &call)).await.status, 202);
    assert_eq!(events.message().await["id"], 9);
    // Whoever has fewer rights by now, has fewer on the stream.
    let fewer = house.token("/mcp/old", json!({ "groups": ["readers"] }));
    let hidden = r#"{"jsonrpc":"2.0","id":10,"method":"tools/call","params":{"name":"pid","arguments":{}}}"#;
    assert_eq!(house.send(&say(&fewer, hidden)).await.status, 202);
    let answer = events.message().await;
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!(10), &json!(-32602)),
        "{answer}"
    );
}

async fn about(client: &Client, method: &str, id: &str) -> Answer {
    let params = json!({ "taskId": id }).to_string();
    client
        .send(&client.request(method, &params).header("mcp-name", id))
        .await
}

#[tokio::test]
async fn a_task_is_its_owners() {
    const TASKS: &str = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
    let jobs = Fixture::start(Speaks::Modern, Transport::Http).await.unwrap();
    let house = House::with(json!({ "jobs": { "url": jobs.url } }), "").await;
    let bearing = |path: &str, token: &str| house.gate.modern(path).with_capabilities(TASKS).bearing(token);
    let owner = bearing("/mcp", &house.token("/mcp", json!({})));
    let arguments = json!({ "seconds": 0.01, "label": MARK }).to_string();
    let made = owner.call("jobs__slow_compute", &arguments).await.json();
    let id = made["result"]["taskId"].as_str().expect("a task").to_owned();

    let mut thieves = others(&house, "/mcp");
    // She herself, whose roles do not show the tool any more.
    thieves.push((
        "herself with fewer roles",
        house.token("/mcp", json!({ "groups": ["readers"] })),
    ));
    for (who, token) in thieves {
        let thief = bearing("/mcp", &token);
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            let hers = about(&thief, method, &id).await;
            let nobodys = about(&thief, method, "nothing").await;
            assert_eq!(hers.outcome(), (200, Some(-32602)), "{who}: {}", hers.text());
            let id_of = |answer: &Answer| answer.json()["id"].to_string();
            let alike = |answer: &Answer, name: &str| {
                seen(answer, name).replace(&format!(r#""id":{}"#, id_of(answer)), "")
            };
            assert_eq!(alike(&hers, &id), alike(&nobodys, "nothing"), "{who}");
        }
        let filter = json!({ "taskIds": [id] }).to_string();
        let mut events = thief.subscribe("5", &filter).await;
        let granted = events.message().await;
        assert!(
            granted["params"]["notifications"]["taskIds"].is_null(),
            "{who}: {granted}"
        );
    }
    let elsewhere = bearing("/mcp/jobs", &house.token("/mcp/jobs", json!({})));
    assert_eq!(
        about(&elsewhere, "tasks/get", &id).await.outcome(),
        (200, Some(-32602))
    );
    eventually("the task is done for its owner", async || {
        let task = about(&owner, "tasks/get", &id).await.json();
        assert_eq!(task["result"]["taskId"], id, "{task}");
        task["result"]["status"] == "completed"
    })
    .await;
}

/// What a server asked one caller is answered by nobody else.
#[tokio::test]
async fn a_request_state_is_its_owners() {
    const ABLE: &str = r#"{"elicitation":{"form":{}}}"#;
    let house = House::open().await;
    let bearing = |path: &str, token: &str| house.gate.modern(path).with_capabilities(ABLE).bearing(token);
    let owner = bearing("/mcp/old", &house.token("/mcp/old", json!({})));
    let asked = owner.call("ask_elicitation", "{}").await.json();
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    let (key, _) = result["inputRequests"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    let params = json!({
        "name": "ask_elicitation", "arguments": {}, "requestState": result["requestState"],
        "inputResponses": { key: { "action": "accept", "content": { "x": MARK } } },
    });
    let mut thieves = others(&house, "/mcp/old");
    thieves.push((
        "herself with fewer roles",
        house.token("/mcp/old", json!({ "groups": ["careful"] })),
    ));
    for (who, token) in thieves {
        let answer = bearing("/mcp/old", &token)
            .ask("tools/call", &params.to_string())
            .await;
        assert!(
            matches!(answer.outcome(), (200, Some(-32602)) | (404, _)),
            "{who}: {}",
            answer.text()
        );
        assert!(!answer.text().contains(MARK), "{who}");
    }
    let mut elsewhere = params.clone();
    elsewhere["name"] = "old__ask_elicitation".into();
    let there = bearing("/mcp", &house.token("/mcp", json!({})));
    let answer = there.ask("tools/call", &elsewhere.to_string()).await;
    assert_eq!(answer.outcome(), (200, Some(-32602)), "{}", answer.text());
    // For another tool than the one that asked.
    let mut other_tool = params.clone();
    other_tool["name"] = "echo".into();
    let answer = owner.ask("tools/call", &other_tool.to_string()).await;
    assert_eq!(answer.outcome(), (200, Some(-32602)), "{}", answer.text());
    house.nothing_arrived();

    let answer = owner.ask("tools/call", &params.to_string()).await;
    assert!(answer.tool_text().contains(MARK), "{}", answer.text());
}

/// A place in a list, and one kind of what is sealed for another.
#[tokio::test]
async fn what_is_sealed_for_one_thing_opens_no_other() {
    let tool = |name: &str| json!({ "name": name, "description": "d".repeat(2_500_000), "inputSchema": { "type": "object" } });
    let listed = json!({ "tools": [tool("one"), tool("two")] }).to_string();
    let wide = OddServer::start(Odd::legacy().with("tools/list", Behaviour::Result(listed)))
        .await
        .unwrap();
    let house = House::with(json!({ "wide": { "url": wide.url() } }), "").await;
    let owner = house.modern("/mcp", json!({}));
    let mut cursor = Value::Null;
    eventually("a list of two pages", async || {
        cursor = owner.ask("tools/list", "{}").await.json()["result"]["nextCursor"].clone();
        cursor.is_string()
    })
    .await;
    let next = json!({ "cursor": cursor }).to_string();
    let second = owner.ask("tools/list", &next).await;
    assert_eq!(
        second.names("tools").last().map(String::as_str),
        Some("wide__two")
    );

    // Who sees less of the list gets no more of it by another's place in it.
    let reader = house.modern("/mcp", json!({ "groups": ["careful"] }));
    let answer = reader.ask("tools/list", &next).await;
    assert!(!answer.text().contains("wide__"), "{}", answer.status);
    for (path, method) in [
        ("/mcp/wide", "tools/list"),
        ("/mcp/open", "tools/list"),
        ("/mcp", "prompts/list"),
    ] {
        let answer = house.modern(path, json!({})).ask(method, &next).await;
        assert_eq!(answer.outcome(), (200, Some(-32602)), "{path} {method}");
    }
    let session = house.legacy("/mcp/old", json!({})).await;
    let session = session.session().unwrap();
    let cursor = cursor.as_str().unwrap();
    let as_cursor = owner
        .ask("tools/list", &json!({ "cursor": session }).to_string())
        .await;
    assert_eq!(as_cursor.outcome(), (200, Some(-32602)));
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let as_session = within("/mcp", cursor, &house.token("/mcp", json!({})), ping);
    assert_eq!(house.send(&as_session).await.status, 404);
    let params =
        json!({ "name": "crm__echo", "arguments": {}, "requestState": session, "inputResponses": {} });
    let as_state = owner.ask("tools/call", &params.to_string()).await;
    assert_ne!(as_state.outcome(), (200, None), "{}", as_state.text());
}

/// A key that is revoked is good for nothing any more, also where it has begun something.
#[tokio::test]
async fn a_revoked_key_ends_within_a_moment() {
    let house = House::open().await;
    let folder = house.gate.folder();
    let lost = ApiKey::create(folder, &["--role", "all"]).await;
    let client = |key: &ApiKey, path: &str| house.gate.modern(path).bearing(&key.key);
    // Asked again and again from elsewhere, since who is refused too often is not heard any more.
    let mut number = 0;
    let mut status = async |key: &ApiKey| {
        number += 1;
        let post = client(key, "/mcp").request("tools/list", "{}");
        house.send(&post.from(address(number))).await.status
    };
    eventually("the new key is known", async || status(&lost).await == 200).await;
    let session = client(&lost, "/mcp/old").greeting("2025-11-25", "{}").await;
    assert_eq!(session.call("echo", "{}").await.status, 200);
    let open = Post::get("/sse/old")
        .header("accept", "text/event-stream")
        .header("x-api-key", &lost.key);
    let mut events = open.send(house.gate.address()).await.events();
    let address = events.next().await.unwrap().data;

    house.gate.command(&["keys", "revoke", &lost.id]).await;
    eventually("it is refused", async || status(&lost).await == 401).await;
    let calls = house.calls();
    assert_eq!(session.call("echo", "{}").await.status, 401);
    assert_eq!(session.delete().await.status, 401);
    let say =
        Post::json(&address, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).header("x-api-key", &lost.key);
    assert_eq!(house.send(&say).await.status, 401);
    assert_eq!(house.calls(), calls);
    // The session is nobody else's now either.
    let stolen = house.gate.modern("/mcp/old").bearing(&house.key.key);
    let stolen = stolen
        .request("ping", "{}")
        .header("mcp-session-id", session.session().unwrap());
    assert_eq!(house.send(&stolen).await.status, 404);
    assert_eq!(status(&house.key).await, 200);

    let listed = house.gate.command(&["keys", "list", "--json"]).await;
    assert!(
        listed.contains(&lost.id) && !listed.contains(&lost.key[20..40]),
        "{listed}"
    );
}

/// What is open when a key is revoked, ends soon after: no more is told on it.
#[tokio::test]
async fn a_revoked_key_ends_open_streams() {
    let house = House::open().await;
    let lost = ApiKey::create(house.gate.folder(), &["--role", "all"]).await;
    let client = |path: &str| house.gate.modern(path).bearing(&lost.key);
    let mut number = 0;
    eventually("the new key is known", async || {
        number += 1;
        let post = client("/mcp").request("tools/list", "{}");
        house.send(&post.from(address(number))).await.status == 200
    })
    .await;
    let mut subscription = client("/mcp")
        .subscribe("1", r#"{"toolsListChanged":true}"#)
        .await;
    let session = client("/mcp/old").greeting("2025-11-25", "{}").await;
    let mut own_stream = session.listen().await;
    let open = Post::get("/sse/old").header("x-api-key", &lost.key);
    let mut old_stream = open.send(house.gate.address()).await.events();
    let kept = house.legacy("/mcp/old", json!({})).await;
    let mut kept_stream = kept.listen().await;
    house.gate.command(&["keys", "revoke", &lost.id]).await;
    for (what, stream) in [
        ("the subscription", &mut subscription),
        ("the session's stream", &mut own_stream),
        ("the old stream", &mut old_stream),
    ] {
        let end = async { while stream.next().await.is_some() {} };
        gatepost_testkit::gate::within(what, end).await;
    }
    // Everybody else's stay.
    kept.call("list_changed", "{}").await;
    assert_eq!(
        kept_stream.message().await["method"],
        "notifications/tools/list_changed"
    );
}
