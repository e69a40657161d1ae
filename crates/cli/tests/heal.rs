//! Sessions heal: what a server lost, a restart of the gate, another gate in its place, and what cannot be healed.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use gatepost_testkit::gate::{Answer, Client, Era, Gate, Method, Puppet, eventually, is_alive, signal};
use gatepost_testkit::odd::{Odd, OddServer, program};
use serde_json::{Value, json};

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");

const KEY: &str = "a key that is at least thirty-two characters long";

async fn gate_before(server: &Value) -> Gate {
    Gate::start(GATEPOST, &format!("servers: {}", json!({ "s": server }))).await
}

async fn pid(client: &Client) -> u32 {
    client
        .call("pid", "{}")
        .await
        .tool_text()
        .parse()
        .expect("a process id")
}

/// That a call was lost and not repeated, said as it is.
#[track_caller]
fn lost(answer: &Answer) {
    assert_eq!(answer.outcome(), (200, Some(-32603)), "{}", answer.text());
    let data = answer.json()["error"]["data"].clone();
    assert_eq!(
        (&data["server"], &data["retry_safe"]),
        (&json!("s"), &json!(false)),
        "{data}"
    );
}

/// A program that was killed while nobody used it is started again, for the call that finds it gone.
#[tokio::test]
async fn a_program_that_was_killed_is_started_again_quietly() {
    for odd in [Odd::legacy(), Odd::modern()] {
        let program = program(&odd).unwrap();
        let gate = gate_before(&json!({ "command": program.command, "args": program.args })).await;
        for client in [gate.legacy("/mcp/s").await, gate.modern("/mcp/s")] {
            let first = pid(&client).await;
            signal(first, "KILL");
            eventually("it is gone", async || !is_alive(first)).await;
            eventually("another one", async || {
                let answer = client.call("pid", "{}").await;
                // What was on its way when the process ended may be lost, but never with a wrong word about it.
                answer.outcome() == (200, None) && answer.tool_text() != first.to_string()
            })
            .await;
        }
    }
}

/// An old SSE server that no longer knows its stream did nothing with what was posted to it.
#[tokio::test]
async fn a_stream_that_an_old_server_forgot_is_opened_again_quietly() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let gate = gate_before(&json!({ "url": server.sse_url(), "transport": "sse" })).await;
    for client in [gate.legacy("/mcp/s").await, gate.modern("/mcp/s")] {
        assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
        server.lose_sessions();
        let calls = server.all("tools/call").len();
        assert_eq!(client.call("echo", r#"{"x":2}"#).await.tool_text(), r#"{"x":2}"#);
        // Once in vain, unless what the gate asks by itself was the first to find out, and once that counts.
        let made = server.all("tools/call").len() - calls;
        assert!(made == 1 || made == 2, "{made} calls");

        // Nor with what waited to be posted behind that.
        server.lose_sessions();
        let many = (0..8).map(|_| client.call("echo", r#"{"x":3}"#));
        for answer in futures_util::future::join_all(many).await {
            assert_eq!(answer.tool_text(), r#"{"x":3}"#);
        }
    }
}

/// The log level and the subscriptions of its clients are told to a session that replaces a lost one.
#[tokio::test]
async fn what_clients_asked_for_is_asked_for_again() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let gate = gate_before(&json!({ "url": server.url() })).await;
    let client = gate.legacy("/mcp/s").await;
    assert_eq!(
        client
            .ask("logging/setLevel", r#"{"level":"error"}"#)
            .await
            .outcome(),
        (200, None)
    );
    let subscribed = client
        .ask("resources/subscribe", r#"{"uri":"odd:resource"}"#)
        .await;
    assert_eq!(subscribed.outcome(), (200, None), "{}", subscribed.text());
    let mut stream = client.listen().await;
    assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
    let session = |method: &str| {
        server
            .last(method)
            .and_then(|last| last.header("mcp-session-id").map(str::to_owned))
    };
    let (before, greetings) = (session("tools/call"), server.all("initialize").len());
    assert_eq!(session("logging/setLevel"), before);

    server.lose_sessions();
    assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
    let after = session("tools/call");
    assert_ne!(after, before);
    assert_eq!(session("logging/setLevel"), after, "the level of its client");
    eventually("the subscription", async || {
        session("resources/subscribe") == after
    })
    .await;
    assert_eq!(server.all("initialize").len(), greetings + 1, "once");
    // A change may have been missed meanwhile, so the client is told of one; and then of those that come.
    assert_eq!(
        stream.message_of("notifications/resources/updated").await["params"]["uri"],
        "odd:resource"
    );
    eventually("it is listened to", async || server.listeners() > 0).await;
    server.updated("odd:resource/below").await;
    loop {
        let updated = stream.message_of("notifications/resources/updated").await;
        if updated["params"]["uri"] == "odd:resource/below" {
            break;
        }
    }
}

/// Nobody knows whether a lost call was acted on: it is made again only if that changes nothing.
#[tokio::test]
async fn a_lost_call_is_repeated_only_where_that_changes_nothing() {
    for era in [Era::Modern, Era::Legacy] {
        for declared in [json!({}), json!({ "turn": "write" }), json!({ "turn": "read" })] {
            let mut puppet = Puppet::start(era).await;
            let gate = gate_before(&json!({ "url": puppet.url(), "effects": declared })).await;
            let client = gate.modern("/mcp/s");
            let call = tokio::spawn(async move { client.call("turn", "{}").await });
            // The first one gets HTTP 500: it may have been acted on.
            let first = puppet.turn().await;
            let first_id = first.message["id"].clone();
            drop(first);
            if declared["turn"] == "read" {
                let second = puppet.turn().await;
                assert_ne!(second.message["id"], first_id);
                let text =
                    json!({ "resultType": "complete", "content": [{ "type": "text", "text": "done" }] });
                second.events().result(&text).await;
                assert_eq!(call.await.unwrap().tool_text(), "done", "{era:?}");
            } else {
                lost(&call.await.unwrap());
            }
        }
    }
}

#[tokio::test]
async fn a_call_that_breaks_its_connection_or_program_is_sent_twice_at_most() {
    for (odd, declared, sent) in [
        (Odd::modern(), "read", 2),
        (Odd::legacy(), "read", 2),
        (Odd::legacy(), "destructive", 1),
    ] {
        let server = OddServer::start(odd.clone()).await.unwrap();
        let gate = gate_before(&json!({ "url": server.url(), "effects": { "exit": declared } })).await;
        let client = gate.legacy("/mcp/s").await;
        lost(&client.call("exit", "{}").await);
        assert_eq!(server.all("tools/call").len(), sent, "{declared}");
        assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");

        let program = program(&odd).unwrap();
        let gate = gate_before(
            &json!({ "command": program.command, "args": program.args, "effects": { "exit": declared } }),
        )
        .await;
        let client = gate.legacy("/mcp/s").await;
        lost(&client.call("exit", "{}").await);
        let calls = program
            .received()
            .into_iter()
            .filter(|one| one.method() == "tools/call");
        assert_eq!(calls.count(), sent, "{declared}");
    }
}

/// What only this client had on the server is gone, and only the client can begin it anew: it is told so as the
/// specification says, and its session is over.
#[tokio::test]
async fn a_client_whose_own_session_is_lost_gets_404_and_begins_anew() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let gate = gate_before(&json!({ "url": server.url(), "isolation": "session" })).await;
    let client = gate.legacy("/mcp/s").await;
    let other = gate.legacy("/mcp/s").await;
    for client in [&client, &other] {
        assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
    }
    let calls = server.all("tools/call").len();
    server.lose_sessions();
    let answer = client.call("echo", "{}").await;
    assert_eq!(answer.outcome(), (404, Some(-32603)), "{}", answer.text());
    assert!(answer.text().contains("initialize"), "{}", answer.text());
    assert_eq!(server.all("tools/call").len(), calls + 1, "it was not sent again");
    for _ in 0..2 {
        assert_eq!(client.ask("ping", "{}").await.status, 404, "its session is over");
    }
    let anew = gate.legacy("/mcp/s").await;
    assert_eq!(anew.call("echo", r#"{"x":1}"#).await.tool_text(), r#"{"x":1}"#);
    // The other one has lost its own too.
    assert_eq!(other.call("echo", "{}").await.status, 404);
    // Modern clients have no session that could be over.
    assert_eq!(gate.modern("/mcp/s").call("echo", "{}").await.tool_text(), "{}");
}

#[tokio::test]
async fn a_client_whose_own_program_has_died_gets_404() {
    let program = program(&Odd::legacy()).unwrap();
    let gate =
        gate_before(&json!({ "command": program.command, "args": program.args, "isolation": "session" }))
            .await;
    let (client, other) = (gate.legacy("/mcp/s").await, gate.legacy("/mcp/s").await);
    let (first, second) = (pid(&client).await, pid(&other).await);
    assert_ne!(first, second);
    lost(&client.call("exit", "{}").await);
    eventually("it is gone", async || !is_alive(first)).await;
    let answer = client.call("pid", "{}").await;
    assert_eq!(answer.outcome(), (404, Some(-32603)), "{}", answer.text());
    assert_eq!(client.ask("ping", "{}").await.status, 404);
    assert_eq!(pid(&other).await, second, "nobody else is touched");
}

/// A question outside every call goes where its client listens: that is what the GET stream of a session is for.
#[tokio::test]
async fn a_client_with_a_session_of_its_own_is_asked_outside_its_calls() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let gate = gate_before(&json!({ "url": server.url(), "isolation": "session" })).await;
    let client = Client::legacy_of(gate.address(), "/mcp/s", "2025-11-25", r#"{"roots":{}}"#).await;
    let mut stream = client.listen().await;
    assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
    let own = server
        .last("tools/call")
        .unwrap()
        .header("mcp-session-id")
        .map(str::to_owned);
    eventually("both sessions are listened to", async || server.listeners() == 2).await;
    server
        .say(r#"{"jsonrpc":"2.0","id":"ours","method":"roots/list"}"#)
        .await;
    let asked = stream.message_of("roots/list").await;
    let roots = r#""result":{"roots":[{"uri":"file:///a","odd":1.0}]}"#;
    assert_eq!(client.respond(&asked["id"], roots).await.status, 202);
    let answers = || {
        let all = server.received().into_iter();
        let mut answers = all.filter(|one| one.json()["id"] == "ours" && one.method().is_empty());
        answers.find(|one| one.header("mcp-session-id") == own.as_deref())
    };
    eventually("the server has the answer", async || answers().is_some()).await;
    assert!(answers().unwrap().text().contains(roots), "to the byte");
}

/// An elicitation at a URL that is done is told to the session that was given it, and to no other.
#[tokio::test]
async fn the_end_of_a_url_elicitation_reaches_its_own_session() {
    let mut puppet = Puppet::start(Era::Legacy).await;
    let gate = gate_before(&json!({ "url": puppet.url() })).await;
    let mut open = Vec::new();
    for id in ["first", "second"] {
        let capabilities = r#"{"elicitation":{"form":{},"url":{}}}"#;
        let client = Client::legacy_of(gate.address(), "/mcp/s", "2025-11-25", capabilities).await;
        let stream = client.listen().await;
        let mut call = {
            let (reply, turn) = tokio::join!(client.begin("turn", "{}"), async {
                let writer = puppet.turn().await.events();
                let params = json!({ "mode": "url", "elicitationId": id, "url": "https://a.example/", "message": "?" });
                writer
                    .event(&json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params }))
                    .await;
                writer
            });
            (reply.events(), turn)
        };
        let asked = call.0.message_of("elicitation/create").await;
        assert_eq!(asked["params"]["elicitationId"], id);
        let accepted = client
            .respond(&asked["id"], r#""result":{"action":"accept"}"#)
            .await;
        assert_eq!(accepted.status, 202);
        open.push((id, client, stream, call));
    }
    // Both are said on one call's stream; it is the ids that say whose they are.
    for id in ["first", "second"] {
        let complete = json!({ "jsonrpc": "2.0", "method": "notifications/elicitation/complete",
            "params": { "elicitationId": id } });
        assert!(open[0].3.1.event(&complete).await);
    }
    for (id, _client, stream, _) in &mut open {
        let told = stream.message_of("notifications/elicitation/complete").await;
        assert_eq!(told["params"], json!({ "elicitationId": id }));
    }
}

#[tokio::test]
async fn a_session_outlives_the_gate_by_its_keys() {
    let configuration = format!(r#"sealing: {{ keys: ["{KEY}"] }}"#);
    let gate = Gate::start(GATEPOST, &configuration).await;
    let client = gate.legacy("/mcp").await;
    gate.kill().await;
    // Nothing of the first gate is left but its key.
    let gate = Gate::start(GATEPOST, &configuration).await;
    let client = client.at(gate.address());
    assert_eq!(client.ask("ping", "{}").await.outcome(), (200, None));
    let newer = format!(r#"sealing: {{ keys: ["another {KEY}", "{KEY}"] }}"#);
    let gate = gate.restart(&newer).await;
    let client = client.at(gate.address());
    assert_eq!(client.ask("ping", "{}").await.outcome(), (200, None));
    let gate = gate
        .restart(&format!(r#"sealing: {{ keys: ["another {KEY}"] }}"#))
        .await;
    let client = client.at(gate.address());
    assert_eq!(
        client.ask("ping", "{}").await.status,
        404,
        "its key was taken away"
    );
}

#[tokio::test]
async fn a_session_belongs_to_its_endpoint() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let gate = gate_before(&json!({ "url": server.url() })).await;
    let client = gate.legacy("/mcp/s").await;
    let session = client.session().unwrap();
    for path in ["/mcp", "/mcp/s"] {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let post = gatepost_testkit::gate::Post::json(path, ping).header("mcp-session-id", session);
        let answer = post.send(gate.address()).await.whole().await;
        assert_eq!(answer.status, if path == "/mcp/s" { 200 } else { 404 }, "{path}");
    }
}

/// Two gates with the same keys, before the same server.
async fn two_gates(url: &str) -> [Gate; 2] {
    let configuration = format!(
        "sealing: {{ keys: [{}] }}\nservers: {}",
        json!(KEY),
        json!({ "s": { "url": url } })
    );
    [
        Gate::start(GATEPOST, &configuration).await,
        Gate::start(GATEPOST, &configuration).await,
    ]
}

#[tokio::test]
async fn two_gates_serve_one_client() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let [here, there] = two_gates(&server.url()).await;
    let client = here.legacy("/mcp/s").await;
    let names = client.ask("tools/list", "{}").await.names("tools");
    let level = client.ask("logging/setLevel", r#"{"level":"error"}"#).await;
    assert_eq!(level.outcome(), (200, None));
    let logged = |answer: &Answer| {
        let messages = answer.messages().into_iter();
        messages
            .filter(|message| String::from_utf8_lossy(message).contains("notifications/message"))
            .count()
    };
    let few = logged(&client.call("log", "{}").await);
    assert_eq!(few, 4, "error and graver");
    let client = client.at(there.address());
    assert_eq!(client.ask("tools/list", "{}").await.names("tools"), names);
    assert_eq!(client.call("echo", r#"{"x":1}"#).await.tool_text(), r#"{"x":1}"#);
    // Documented: what a session changed is known to the gate it was said to.
    assert_eq!(logged(&client.call("log", "{}").await), 8);
}

#[tokio::test]
async fn what_lives_on_another_gate_is_refused_with_what_to_do() {
    let mut puppet = Puppet::start(Era::Legacy).await;
    let [here, there] = two_gates(&puppet.url()).await;
    let client = Client::legacy_of(here.address(), "/mcp/s", "2025-11-25", r#"{"roots":{}}"#).await;
    let (reply, writer) = tokio::join!(client.begin("turn", "{}"), async {
        let writer = puppet.turn().await.events();
        writer
            .event(&json!({ "jsonrpc": "2.0", "id": 5, "method": "roots/list" }))
            .await;
        writer
    });
    let mut events = reply.events();
    let primed = events.next().await.unwrap();
    let asked = events.message_of("roots/list").await;
    let refused = |answer: &Answer| {
        assert_eq!(answer.outcome(), (400, Some(-32600)), "{}", answer.text());
        assert!(answer.text().contains("Mcp-Session-Id"), "{}", answer.text());
    };
    let resume = |client: &Client| {
        client
            .bare(Method::GET)
            .header("accept", "text/event-stream")
            .header("last-event-id", primed.id.as_deref().unwrap())
    };

    let client = client.at(there.address());
    refused(&client.respond(&asked["id"], r#""result":{"roots":[]}"#).await);
    refused(&client.send(&resume(&client)).await);

    // Where it belongs all of it works.
    let client = client.at(here.address());
    drop(events);
    let mut events = resume(&client).send(here.address()).await.events();
    assert_eq!(events.message_of("roots/list").await["id"], asked["id"]);
    assert_eq!(
        client
            .respond(&asked["id"], r#""result":{"roots":[]}"#)
            .await
            .status,
        202
    );
    loop {
        let heard = puppet.heard().await;
        if heard["id"] == 5 {
            assert_eq!(heard["result"], json!({ "roots": [] }));
            break;
        }
    }
    writer.result(&json!({ "content": [] })).await;
    assert_eq!(events.response().await["result"]["content"], json!([]));
    // An answer that comes again is only late.
    let late = client.respond(&asked["id"], r#""result":{"roots":[]}"#).await;
    assert_eq!(late.status, 202);
}
