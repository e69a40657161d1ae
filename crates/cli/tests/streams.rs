//! What moves while a call lasts, or without one: events, progress, logs, cancellation, changes, questions to clients.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use std::time::Duration;

use gatepost_testkit::gate::{Client, Era, Gate, Puppet, Writer, eventually, within};
use gatepost_testkit::odd::{Odd, OddServer, program, result_bytes};
use serde_json::{Value, json};

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");

const ERAS: [Era; 2] = [Era::Modern, Era::Legacy];
/// Client and server: MM, LM, ML, LL.
const CELLS: [(Era, Era); 4] = [
    (Era::Modern, Era::Modern),
    (Era::Legacy, Era::Modern),
    (Era::Modern, Era::Legacy),
    (Era::Legacy, Era::Legacy),
];

fn odd(era: Era) -> Odd {
    match era {
        Era::Modern => Odd::modern(),
        Era::Legacy => Odd::legacy(),
    }
}

async fn gate_before(url: &str) -> Gate {
    Gate::start(GATEPOST, &format!("servers: {}", json!({ "s": { "url": url } }))).await
}

async fn client(gate: &Gate, era: Era, path: &str) -> Client {
    match era {
        Era::Modern => gate.modern(path),
        Era::Legacy => gate.legacy(path).await,
    }
}

/// A complete result with one text, as the era has it.
fn text(era: Era, text: &str) -> Value {
    let mut result = json!({ "content": [{ "type": "text", "text": text }] });
    if era == Era::Modern {
        result["resultType"] = "complete".into();
    }
    result
}

fn progress(token: &Value, done: u64) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": token, "progress": done } })
}

#[tokio::test]
async fn an_event_is_passed_on_before_the_next_exists() {
    for (down, up) in CELLS {
        let mut puppet = Puppet::start(up).await;
        let gate = gate_before(&puppet.url()).await;
        let client = client(&gate, down, "/mcp/s")
            .await
            .with_meta(r#""progressToken":"mine""#);
        let begin = async {
            let turn = puppet.turn().await;
            let token = turn.message["params"]["_meta"]["progressToken"].clone();
            let writer = turn.events();
            assert!(writer.event(&progress(&token, 1)).await);
            (token, writer)
        };
        let (reply, (token, writer)) = tokio::join!(client.begin("turn", "{}"), begin);
        let mut events = reply.events();
        for done in 1..5 {
            let message = events.message_of("notifications/progress").await;
            assert_eq!(
                message["params"],
                json!({ "progressToken": "mine", "progress": done }),
                "{down:?} {up:?}"
            );
            // Only now does the server go on.
            assert!(writer.event(&progress(&token, done + 1)).await);
        }
        writer.result(&text(up, "done")).await;
        let response = events.response().await;
        assert_eq!(
            response["result"]["content"][0]["text"], "done",
            "{down:?} {up:?}: {response}"
        );
        assert_eq!(events.next().await, None, "the stream ends with the response");
    }
}

#[tokio::test]
async fn streams_tell_proxies_not_to_hold_them_back() {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    let gate = gate_before(&server.url()).await;
    let client = gate.modern("/mcp/s").with_meta(r#""progressToken":1"#);
    let events = client.begin("progress", "{}").await.events();
    assert_eq!(events.header("x-accel-buffering"), Some("no"));
    assert!(events.header("mcp-session-id").is_none());
}

#[tokio::test]
async fn the_beginning_of_a_long_document_is_passed_on_before_its_end_exists() {
    for era in ERAS {
        let mut puppet = Puppet::start(era).await;
        let gate = gate_before(&puppet.url()).await;
        let client = client(&gate, era, "/mcp/s").await;
        let half = "a".repeat(1 << 20);
        let begin = async {
            let writer = puppet.turn().await.document();
            let front = format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[{{"type":"text","text":""#,
                writer.id()
            );
            assert!(writer.bytes(front).await && writer.bytes(half.clone()).await);
            writer
        };
        let (mut reply, writer) = tokio::join!(client.begin("turn", "{}"), begin);
        let mut got = Vec::new();
        while got.len() < half.len() {
            got.extend(reply.chunk().await.unwrap().expect("more of the text"));
        }
        let end = if era == Era::Modern {
            r#""}],"resultType":"complete"}}"#
        } else {
            r#""}]}}"#
        };
        assert!(writer.bytes(format!("{half}{end}")).await);
        drop(writer);
        while let Some(chunk) = reply.chunk().await.unwrap() {
            got.extend(chunk);
        }
        let message: Value = serde_json::from_slice(&got).unwrap();
        assert_eq!(
            message["result"]["content"][0]["text"].as_str().map(str::len),
            Some(2 * half.len())
        );
    }
}

/// Says `piece` until nobody takes it for a while; how often it was taken.
async fn fill(writer: &Writer, piece: &str, times: usize) -> usize {
    for said in 0..times {
        // Whoever takes nothing for so long is not going to.
        let taken = tokio::time::timeout(Duration::from_millis(700), writer.bytes(piece.to_owned())).await;
        if taken.is_err() {
            return said;
        }
    }
    times
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_server_back() {
    const PIECES: usize = 900;
    for (era, events) in [(Era::Modern, true), (Era::Legacy, true), (Era::Modern, false)] {
        let mut puppet = Puppet::start(era).await;
        let gate = gate_before(&puppet.url()).await;
        let client = client(&gate, era, "/mcp/s")
            .await
            .with_meta(r#""io.modelcontextprotocol/logLevel":"debug""#);
        let filler = "a".repeat(64 << 10);
        let piece = if events {
            let message = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "error", "data": filler } });
            format!("event: message\ndata: {message}\n\n")
        } else {
            filler
        };
        let begin = async {
            let turn = puppet.turn().await;
            if events {
                let writer = turn.events();
                assert!(writer.bytes(piece.clone()).await);
                return writer;
            }
            let writer = turn.document();
            let front = format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"complete","content":[{{"type":"text","text":""#,
                writer.id()
            );
            assert!(writer.bytes(front).await);
            for _ in 0..16 {
                assert!(writer.bytes(piece.clone()).await);
            }
            writer
        };
        let (reply, writer) = tokio::join!(client.begin("turn", "{}"), begin);
        let taken = fill(&writer, &piece, PIECES).await;
        assert!(
            taken < PIECES / 2,
            "{taken} of {PIECES} pieces were taken from the server, events: {events}"
        );
        if let Some(memory) = gate.memory_bytes() {
            assert!(
                memory < 80 << 20,
                "{} MiB in the gate, events: {events}",
                memory >> 20
            );
        }
        // Once the client reads, everything comes.
        let (answer, ()) = tokio::join!(reply.whole(), async {
            for _ in taken..200 {
                assert!(writer.bytes(piece.clone()).await);
            }
            if events {
                writer.result(&text(era, "done")).await;
            } else {
                assert!(writer.bytes(r#""}]}}"#).await);
            }
        });
        let response = answer.json();
        assert!(
            response["result"]["content"][0]["text"].is_string(),
            "events: {events}"
        );
        if events {
            // One was on its way when the server was held back: it may have been taken after all.
            assert!(answer.messages().len() >= 201, "{}", answer.messages().len());
        }
    }
}

#[tokio::test]
async fn two_clients_with_the_same_id_and_token_get_their_own_progress() {
    for (down, up) in CELLS {
        let mut puppet = Puppet::start(up).await;
        let gate = gate_before(&puppet.url()).await;
        let first = client(&gate, down, "/mcp/s")
            .await
            .with_meta(r#""progressToken":7"#);
        let second = client(&gate, down, "/mcp")
            .await
            .with_meta(r#""progressToken":7"#);
        let request = |client: &Client, tool: &str| {
            client.request_as(
                "7",
                "tools/call",
                &format!(r#"{{"name":"{tool}","arguments":{{"whose":"{tool}"}}}}"#),
            )
        };
        let (one, two) = (request(&first, "turn"), request(&second, "s__turn"));
        let begin = async {
            let mut turns = [puppet.turn().await, puppet.turn().await];
            turns.sort_by_key(|turn| turn.message["params"]["arguments"]["whose"] != "turn");
            let tokens = turns
                .each_ref()
                .map(|turn| turn.message["params"]["_meta"]["progressToken"].clone());
            assert_ne!(tokens[0], tokens[1]);
            let ids = turns.each_ref().map(|turn| turn.message["id"].clone());
            assert_ne!(ids[0], ids[1]);
            let writers = turns.map(gatepost_testkit::gate::Turn::events);
            for (at, (writer, token)) in writers.iter().zip(&tokens).enumerate() {
                // Each says whose it is in the number.
                assert!(writer.event(&progress(token, 10 * (at as u64 + 1))).await);
            }
            writers
        };
        let (one, two, [writer_one, writer_two]) =
            tokio::join!(one.send(gate.address()), two.send(gate.address()), begin);
        for (reply, number, writer) in [(two, 20, writer_two), (one, 10, writer_one)] {
            let mut events = reply.events();
            let message = events.message_of("notifications/progress").await;
            assert_eq!(
                message["params"],
                json!({ "progressToken": 7, "progress": number }),
                "{down:?} {up:?}"
            );
            writer.result(&text(up, "done")).await;
            let response = events.response().await;
            assert_eq!(response["id"], 7);
        }
    }
}

/// On a shared process everything comes through one pipe.
#[tokio::test]
async fn clients_of_one_process_get_their_own_progress() {
    for era in ERAS {
        let program = program(&odd(era)).unwrap();
        let servers = json!({ "s": { "command": program.command, "args": program.args } });
        let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let client = client(&gate, era, "/mcp/s")
                .await
                .with_meta(r#""progressToken":"same""#);
            calls.spawn(async move { client.call("progress", r#"{"count":20}"#).await });
        }
        for answer in calls.join_all().await {
            let messages: Vec<Value> = answer
                .messages()
                .iter()
                .map(|message| serde_json::from_slice(message).unwrap())
                .collect();
            assert_eq!(messages.len(), 21, "{}", answer.text());
            for (at, message) in messages[..20].iter().enumerate() {
                assert_eq!(message["params"]["progressToken"], "same");
                assert_eq!(message["params"]["message"], format!("step {}", at + 1));
            }
        }
    }
}

/// Progress that nobody asked for, or under a token that nobody gave, reaches nobody.
#[tokio::test]
async fn foreign_progress_is_dropped() {
    for era in ERAS {
        let server = OddServer::start(odd(era)).await.unwrap();
        let gate = gate_before(&server.url()).await;
        let client = client(&gate, era, "/mcp/s").await;
        let answer = client.call("foreign_progress", "{}").await;
        assert_eq!(answer.tool_text(), "ok");
        assert_eq!(answer.messages().len(), 1, "{}", answer.text());
    }
}

/// Levels of `notifications/message` in an answer.
fn levels(answer: &gatepost_testkit::gate::Answer) -> Vec<String> {
    let messages = answer.messages();
    let parsed = messages
        .iter()
        .map(|message| serde_json::from_slice::<Value>(message).unwrap());
    parsed
        .filter(|message| message["method"] == "notifications/message")
        .map(|message| message["params"]["level"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn logs_reach_a_client_at_the_level_it_asked_for() {
    const GRAVE: [&str; 5] = ["warning", "error", "critical", "alert", "emergency"];
    for server_era in ERAS {
        let server = OddServer::start(odd(server_era)).await.unwrap();
        let gate = gate_before(&server.url()).await;

        let silent = gate.modern("/mcp/s").call("log", "{}").await;
        assert_eq!(
            (levels(&silent).len(), silent.tool_text().as_str()),
            (0, "ok"),
            "{server_era:?}: nobody asked"
        );
        let warned = gate
            .modern("/mcp/s")
            .with_meta(r#""io.modelcontextprotocol/logLevel":"warning""#);
        assert_eq!(
            levels(&warned.call("log", "{}").await),
            GRAVE,
            "modern client, {server_era:?} server"
        );
        let odd_level = gate
            .modern("/mcp/s")
            .with_meta(r#""io.modelcontextprotocol/logLevel":"loud""#);
        assert_eq!(odd_level.call("log", "{}").await.outcome().1, Some(-32602));

        let legacy = gate.legacy("/mcp/s").await;
        assert_eq!(
            legacy
                .ask("logging/setLevel", r#"{"level":"loud"}"#)
                .await
                .outcome(),
            (200, Some(-32602))
        );
        assert_eq!(
            legacy
                .ask("logging/setLevel", r#"{"level":"warning"}"#)
                .await
                .outcome(),
            (200, None)
        );
        assert_eq!(
            levels(&legacy.call("log", "{}").await),
            GRAVE,
            "legacy client, {server_era:?} server"
        );
        // A level belongs to one session.
        let other = gate.legacy("/mcp/s").await;
        assert_eq!(
            other
                .ask("logging/setLevel", r#"{"level":"emergency"}"#)
                .await
                .outcome(),
            (200, None)
        );
        assert_eq!(levels(&other.call("log", "{}").await), ["emergency"]);
        assert_eq!(levels(&legacy.call("log", "{}").await), GRAVE);
    }
}

#[tokio::test]
async fn closing_the_stream_of_a_modern_call_cancels_it() {
    for up in ERAS {
        for after_the_first_event in [false, true] {
            let mut puppet = Puppet::start(up).await;
            let gate = gate_before(&puppet.url()).await;
            let client = gate.modern("/mcp/s").with_meta(r#""progressToken":1"#);
            let post = client.calling("turn", "{}");
            let address = gate.address();
            let call = tokio::spawn(async move { post.send(address).await });
            let turn = puppet.turn().await;
            let token = turn.message["params"]["_meta"]["progressToken"].clone();
            let writer = turn.events();
            if after_the_first_event {
                assert!(writer.event(&progress(&token, 1)).await);
                drop(call.await.unwrap());
            } else {
                call.abort();
                // With what it may have got already.
                drop(call);
            }
            if up == Era::Legacy {
                let heard = loop {
                    let heard = puppet.heard().await;
                    if heard["method"] == "notifications/cancelled" {
                        break heard;
                    }
                };
                assert_eq!(heard["params"]["requestId"], *writer.id());
            } else {
                writer.abandoned().await;
            }
        }
    }
}

#[tokio::test]
async fn a_legacy_client_cancels_by_saying_so() {
    for up in ERAS {
        let mut puppet = Puppet::start(up).await;
        let gate = gate_before(&puppet.url()).await;
        let client = gate.legacy("/mcp/s").await.with_meta(r#""progressToken":1"#);
        let post = client.request_as(
            r#""to be cancelled""#,
            "tools/call",
            r#"{"name":"turn","arguments":{}}"#,
        );
        let begin = async {
            let turn = puppet.turn().await;
            let token = turn.message["params"]["_meta"]["progressToken"].clone();
            let writer = turn.events();
            assert!(writer.event(&progress(&token, 1)).await);
            writer
        };
        let (reply, writer) = tokio::join!(post.send(gate.address()), begin);
        let mut events = reply.events();
        events.message_of("notifications/progress").await;
        let params = r#"{"requestId":"to be cancelled","reason":"a change of mind"}"#;
        assert_eq!(client.notify("notifications/cancelled", params).await.status, 202);
        if up == Era::Legacy {
            let heard = loop {
                let heard = puppet.heard().await;
                if heard["method"] == "notifications/cancelled" {
                    break heard;
                }
            };
            assert_eq!(
                heard["params"]["requestId"],
                *writer.id(),
                "in the server's terms"
            );
        } else {
            writer.abandoned().await;
        }
        // No response comes, and the stream ends.
        while let Some(event) = events.next().await {
            assert_ne!(event.json()["id"], "to be cancelled", "{event:?}");
        }
    }
}

/// L:basic/transports#Sending Messages 6: "Disconnection … SHOULD NOT be interpreted as the client cancelling its request".
#[tokio::test]
async fn a_legacy_client_that_disconnects_has_not_cancelled() {
    for up in ERAS {
        let mut puppet = Puppet::start(up).await;
        let gate = gate_before(&puppet.url()).await;
        let client = gate.legacy("/mcp/s").await;
        let post = client.calling("turn", "{}");
        let address = gate.address();
        let call = tokio::spawn(async move { post.send(address).await });
        let writer = puppet.turn().await.events();
        call.abort();
        // With what it may have got already.
        drop(call);
        // Another call goes all the way there and back, so that the gate had every occasion to react.
        for _ in 0..3 {
            let (answer, ()) = tokio::join!(client.call("turn", "{}"), async {
                puppet.turn().await.events().result(&text(up, "done")).await;
            });
            assert_eq!(answer.tool_text(), "done");
        }
        assert!(writer.is_heard(), "the gate gave up the call of a {up:?} server");
        while let Some(heard) = puppet.has_heard() {
            assert_ne!(heard["method"], "notifications/cancelled");
        }
        writer.result(&text(up, "done")).await;
    }
}

/// A cancelled call on a pipe is told to the server, which shares the pipe with others.
#[tokio::test]
async fn cancelling_a_call_of_a_program_tells_it() {
    for (down, up) in CELLS {
        let program = program(&odd(up)).unwrap();
        let servers = json!({ "s": { "command": program.command, "args": program.args } });
        let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
        let client = client(&gate, down, "/mcp/s").await;
        let post = client.request_as("77", "tools/call", r#"{"name":"never","arguments":{}}"#);
        let address = gate.address();
        let call = tokio::spawn(async move { post.send(address).await });
        let received =
            |method: &'static str| program.received().into_iter().find(|one| one.method() == method);
        eventually("the call to arrive", async || received("tools/call").is_some()).await;
        if down == Era::Legacy {
            assert_eq!(
                client
                    .notify("notifications/cancelled", r#"{"requestId":77}"#)
                    .await
                    .status,
                202
            );
        } else {
            call.abort();
        }
        eventually("the server to hear of it", async || {
            received("notifications/cancelled").is_some()
        })
        .await;
        let (cancelled, called) = (
            received("notifications/cancelled").unwrap(),
            received("tools/call").unwrap(),
        );
        assert_eq!(cancelled.json()["params"]["requestId"], called.json()["id"]);
        assert_eq!(
            client.call("echo", "{}").await.tool_text(),
            "{}",
            "the process goes on"
        );
    }
}

#[tokio::test]
async fn subscriptions_tell_what_was_asked_for_and_nothing_else() {
    for up in ERAS {
        let server = OddServer::start(odd(up)).await.unwrap();
        let gate = gate_before(&server.url()).await;
        for (path, name) in [("/mcp/s", "grown_1"), ("/mcp", "s__grown_2")] {
            let client = gate.modern(path);
            client.ask("tools/list", "{}").await;
            let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["odd:resource"]}"#;
            let mut wide = client.subscribe(r#""a text""#, filter).await;
            let mut narrow = client
                .subscribe(
                    "5",
                    r#"{"promptsListChanged":true,"resourceSubscriptions":["odd:made/other"]}"#,
                )
                .await;
            let key = "io.modelcontextprotocol/subscriptionId";
            for (events, id) in [(&mut wide, json!("a text")), (&mut narrow, json!(5))] {
                let first = events.message().await;
                assert_eq!(
                    first["method"], "notifications/subscriptions/acknowledged",
                    "{first}"
                );
                assert_eq!(first["params"]["_meta"][key], id, "{first}");
            }
            eventually("the gate to listen", async || server.listeners() > 0).await;

            server.grow();
            server.announce("notifications/tools/list_changed").await;
            let changed = wide.message().await;
            assert_eq!(changed["method"], "notifications/tools/list_changed", "{changed}");
            assert_eq!(changed["params"]["_meta"][key], "a text", "{changed}");
            let names = client.ask("tools/list", "{}").await.names("tools");
            assert!(names.iter().any(|listed| listed == name), "{names:?}");

            server.updated("odd:unheard-of").await;
            server.updated("odd:resource").await;
            let updated = wide.message().await;
            assert_eq!(updated["method"], "notifications/resources/updated", "{updated}");
            assert_eq!(updated["params"]["uri"], "odd:resource", "{updated}");
            assert_eq!(updated["params"]["_meta"][key], "a text", "{updated}");
            server.updated("odd:made/other").await;
            let updated = narrow.message().await;
            assert_eq!(
                updated["params"]["uri"], "odd:made/other",
                "{up:?}, {path}: nothing came before: {updated}"
            );
        }
    }
}

#[tokio::test]
async fn the_stream_of_a_legacy_session_tells_changes_and_its_own_subscriptions() {
    for up in ERAS {
        let server = OddServer::start(odd(up)).await.unwrap();
        let gate = gate_before(&server.url()).await;
        let client = gate.legacy("/mcp/s").await;
        let other = gate.legacy("/mcp/s").await;
        let mut events = client.listen().await;
        let mut others = other.listen().await;
        assert_eq!(
            client
                .ask("resources/subscribe", r#"{"uri":"odd:resource"}"#)
                .await
                .outcome(),
            (200, None)
        );
        assert_eq!(
            other
                .ask("resources/subscribe", r#"{"uri":"odd:made/other"}"#)
                .await
                .outcome(),
            (200, None)
        );
        eventually("the gate to listen", async || server.listeners() > 0).await;

        server.updated("odd:resource").await;
        let updated = events.message().await;
        assert_eq!(updated["method"], "notifications/resources/updated", "{updated}");
        assert_eq!(updated["params"]["uri"], "odd:resource");
        assert!(
            updated["params"]["_meta"]
                .get("io.modelcontextprotocol/subscriptionId")
                .is_none(),
            "{updated}"
        );
        server.updated("odd:made/other").await;
        assert_eq!(
            others.message().await["params"]["uri"],
            "odd:made/other",
            "{up:?}: nothing came before"
        );

        assert_eq!(
            client
                .ask("resources/unsubscribe", r#"{"uri":"odd:resource"}"#)
                .await
                .outcome(),
            (200, None)
        );
        server.updated("odd:resource").await;
        server.grow();
        server.announce("notifications/tools/list_changed").await;
        for events in [&mut events, &mut others] {
            let changed = events.message().await;
            assert_eq!(
                changed["method"], "notifications/tools/list_changed",
                "{up:?}: {changed}"
            );
        }
        let names = client.ask("tools/list", "{}").await.names("tools");
        assert!(names.contains(&"grown_1".to_owned()), "{names:?}");

        assert!(client.delete().await.status / 100 == 2);
        assert_eq!(events.next().await, None, "the end of a session ends its stream");
    }
}

/// What two subscribe to is subscribed once upstream, and ends with the last of them.
#[tokio::test]
async fn subscriptions_are_counted_by_uri() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let gate = gate_before(&server.url()).await;
    let (one, two) = (gate.legacy("/mcp/s").await, gate.legacy("/mcp").await);
    let uri = r#"{"uri":"odd:resource"}"#;
    for client in [&one, &two] {
        assert_eq!(
            client.ask("resources/subscribe", uri).await.outcome(),
            (200, None)
        );
    }
    assert_eq!(server.all("resources/subscribe").len(), 1);
    assert_eq!(one.ask("resources/unsubscribe", uri).await.outcome(), (200, None));
    assert_eq!(server.all("resources/unsubscribe").len(), 0);
    assert_eq!(two.ask("resources/unsubscribe", uri).await.outcome(), (200, None));
    eventually("the last to end it", async || {
        server.all("resources/unsubscribe").len() == 1
    })
    .await;
}

/// A client that went away without a word: what it watched is given up with its session.
#[tokio::test]
async fn what_an_expired_session_watched_is_given_up() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let servers = json!({ "s": { "url": server.url() } });
    let gate = Gate::start(
        GATEPOST,
        &format!("sessions: {{ expiry: 2s }}\nservers: {servers}"),
    )
    .await;
    let mut late = 0;
    let client = loop {
        let client = gate.legacy("/mcp/s").await;
        let answer = client
            .ask("resources/subscribe", r#"{"uri":"odd:resource"}"#)
            .await;
        match answer.outcome() {
            (200, None) => break client,
            // On a busy machine it may be over before that.
            (404, _) if late < 10 => late += 1,
            _ => panic!("{}", answer.text()),
        }
    };
    eventually("it to be given up", async || {
        let (begun, ended) = (
            server.all("resources/subscribe"),
            server.all("resources/unsubscribe"),
        );
        ended.len() == begun.len() && !begun.is_empty()
    })
    .await;
    assert_eq!(client.ask("ping", "{}").await.status, 404);
}

#[tokio::test]
async fn sessions_outlive_the_gate() {
    for up in ERAS {
        let server = OddServer::start(odd(up)).await.unwrap();
        let configuration = format!("servers: {}", json!({ "s": { "url": server.url() } }));
        let gate = Gate::start(GATEPOST, &configuration).await;
        let client = gate.legacy("/mcp/s").await;
        assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
        let gate = gate.restart(&configuration).await;
        let client = client.at(gate.address());
        assert_eq!(
            client.call("echo", r#"{"x":1}"#).await.tool_text(),
            r#"{"x":1}"#,
            "{up:?}"
        );
        assert!(
            client
                .ask("tools/list", "{}")
                .await
                .names("tools")
                .contains(&"echo".to_owned())
        );
        assert!(client.delete().await.status / 100 == 2);
        assert_eq!(client.ask("ping", "{}").await.status, 404);
    }
}

/// "Revoked until the token's expiry": a restart does not wake the dead.
#[tokio::test]
async fn an_ended_session_stays_ended_after_a_restart() {
    let configuration = "servers: {}";
    let gate = Gate::start(GATEPOST, configuration).await;
    let client = gate.legacy("/mcp").await;
    assert!(client.delete().await.status / 100 == 2);
    let gate = gate.restart(configuration).await;
    let client = client.at(gate.address());
    assert_eq!(client.ask("ping", "{}").await.status, 404);
}

/// The server's session is nobody's on a shared server: losing it goes unnoticed.
#[tokio::test]
async fn a_lost_session_of_the_server_is_healed() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let gate = gate_before(&server.url()).await;
    for client in [gate.legacy("/mcp/s").await, gate.modern("/mcp/s")] {
        assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
        server.lose_sessions();
        assert_eq!(client.call("echo", r#"{"x":2}"#).await.tool_text(), r#"{"x":2}"#);
        assert_eq!(client.call("lose_session", "{}").await.tool_text(), "ok");
        assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
    }
}

const ASKS: [(&str, &str, &str, &str); 3] = [
    (
        "ask_elicitation",
        "elicitation/create",
        r#"{"elicitation":{}}"#,
        r#""result":{"odd":1E+2,"action":"accept","content":{"name":"Ann","big":18446744073709551616}}"#,
    ),
    (
        "ask_sampling",
        "sampling/createMessage",
        r#"{"sampling":{}}"#,
        r#""result":{"model":"m","role":"assistant","content":{"type":"text","text":"Paris \u00e9"},"odd":-0}"#,
    ),
    (
        "ask_roots",
        "roots/list",
        r#"{"roots":{}}"#,
        r#""result":{"roots":[{"uri":"file:///a","odd":1.0}]}"#,
    ),
];

async fn legacy_questions_reach_the_legacy_client(gate: &Gate) {
    for (tool, method, capabilities, outcome) in ASKS {
        for outcome in [
            outcome,
            r#""error":{"code":-1,"message":"no \u00e9","data":{"x":1E+2}}"#,
        ] {
            let client = Client::legacy_of(gate.address(), "/mcp/s", "2025-11-25", capabilities).await;
            let mut events = client.begin(tool, "{}").await.events();
            let asked = events.message_of(method).await;
            assert!(!asked["id"].is_null(), "{asked}");
            if method == "elicitation/create" {
                assert_eq!(
                    asked["params"]["requestedSchema"]["properties"]["name"]["x-odd"], 1,
                    "{asked}"
                );
            }
            assert_eq!(client.respond(&asked["id"], outcome).await.status, 202);
            let response = events.response().await;
            // The tool answers with the whole message that it was sent.
            let text = response["result"]["content"][0]["text"]
                .as_str()
                .expect("a text")
                .to_owned();
            assert!(text.contains(outcome), "{tool}: {text}");
        }
    }
}

#[tokio::test]
async fn questions_of_a_legacy_http_server_reach_a_legacy_client() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    legacy_questions_reach_the_legacy_client(&gate_before(&server.url()).await).await;
}

#[tokio::test]
async fn questions_of_a_legacy_program_reach_a_legacy_client() {
    let program = program(&Odd::legacy()).unwrap();
    let servers = json!({ "s": { "command": program.command, "args": program.args } });
    legacy_questions_reach_the_legacy_client(&Gate::start(GATEPOST, &format!("servers: {servers}")).await)
        .await;
}

#[tokio::test]
async fn questions_of_an_old_sse_server_reach_a_legacy_client() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let servers = json!({ "s": { "url": server.sse_url(), "transport": "sse" } });
    legacy_questions_reach_the_legacy_client(&Gate::start(GATEPOST, &format!("servers: {servers}")).await)
        .await;
}

/// Two who are asked at once answer each their own question, even with equal ids.
#[tokio::test]
async fn answers_reach_the_call_they_belong_to() {
    let program = program(&Odd::legacy()).unwrap();
    let servers = json!({ "s": { "command": program.command, "args": program.args } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let mut open = Vec::new();
    for name in ["Ann", "Bob", "Cy"] {
        let client = Client::legacy_of(gate.address(), "/mcp/s", "2025-11-25", r#"{"elicitation":{}}"#).await;
        let mut events = client.begin("ask_elicitation", "{}").await.events();
        let asked = events.message_of("elicitation/create").await;
        open.push((name, client, events, asked));
    }
    for (name, client, _, asked) in open.iter().rev() {
        let outcome = format!(r#""result":{{"action":"accept","content":{{"name":"{name}"}}}}"#);
        assert_eq!(client.respond(&asked["id"], &outcome).await.status, 202);
    }
    for (name, _client, mut events, _) in open {
        let response = events.response().await;
        let text = response["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(text.contains(name), "{name}: {text}");
    }
}

/// Who declared nothing is not asked; the server hears that, and the call goes on.
#[tokio::test]
async fn clients_without_the_capability_are_not_asked() {
    let http = OddServer::start(Odd::legacy()).await.unwrap();
    let pipe = program(&Odd::legacy()).unwrap();
    let servers =
        json!({ "http": { "url": http.url() }, "pipe": { "command": pipe.command, "args": pipe.args } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    for path in ["/mcp/http", "/mcp/pipe"] {
        let client = gate.legacy(path).await;
        for (tool, ..) in ASKS {
            let answer = client.call(tool, "{}").await;
            let text = answer.tool_text();
            assert!(
                text.contains(r#""error""#) && text.contains("-32601"),
                "{tool} at {path}: {text}"
            );
            assert_eq!(answer.messages().len(), 1, "{}", answer.text());
        }
    }
}

/// The exact text of a member of an object.
fn raw(object: &[u8], name: &str) -> String {
    let members: std::collections::HashMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_slice(object).unwrap();
    members[name].get().to_owned()
}

#[tokio::test]
async fn input_required_passes_between_modern_ends() {
    let http = OddServer::start(Odd::modern()).await.unwrap();
    let pipe = program(&Odd::modern()).unwrap();
    let servers =
        json!({ "http": { "url": http.url() }, "pipe": { "command": pipe.command, "args": pipe.args } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let direct = Client::modern(http.address(), "/mcp");
    for (path, prefix) in [("/mcp/http", ""), ("/mcp/pipe", ""), ("/mcp", "http__")] {
        for (tool, method, capabilities, _) in ASKS {
            let client = gate.modern(path).with_capabilities(capabilities);
            let tool = format!("{prefix}{tool}");
            let first = client.call(&tool, r#"{"b":1,"a":2}"#).await;
            let result = first.result();
            let own = direct.call(tool.trim_start_matches(prefix), "{}").await.result();
            assert_eq!(
                raw(&result, "inputRequests"),
                raw(&own, "inputRequests"),
                "{tool} at {path}"
            );
            assert_eq!(first.json()["result"]["resultType"], "input_required");
            assert_eq!(
                first.json()["result"]["inputRequests"]["the asked"]["method"],
                method
            );

            let state = raw(&result, "requestState");
            let responses =
                r#"{"the asked":{"action":"accept","content":{"z":1E+2,"a":18446744073709551616}}}"#;
            let retry = |state: &str| {
                format!(
                    r#"{{"name":"{tool}","arguments":{{"b":1,"a":2}},"inputResponses":{responses},"requestState":{state}}}"#
                )
            };
            let second = client.ask("tools/call", &retry(&state)).await;
            assert_eq!(second.tool_text(), responses, "{tool} at {path}");
            if path != "/mcp/pipe" {
                let up = http.last("tools/call").unwrap().json();
                assert_eq!(
                    up["params"]["requestState"], "odd state é",
                    "as the server gave it"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_gate_told_to_stop_finishes_what_it_has() {
    let mut puppet = Puppet::start(Era::Modern).await;
    let gate = gate_before(&puppet.url()).await;
    let client = gate.modern("/mcp/s").with_meta(r#""progressToken":1"#);
    let mut listening = gate
        .modern("/mcp/s")
        .subscribe("9", r#"{"toolsListChanged":true}"#)
        .await;
    listening
        .message_of("notifications/subscriptions/acknowledged")
        .await;
    let begin = async {
        let turn = puppet.turn().await;
        let token = turn.message["params"]["_meta"]["progressToken"].clone();
        let writer = turn.events();
        assert!(writer.event(&progress(&token, 1)).await);
        writer
    };
    let (reply, writer) = tokio::join!(client.begin("turn", "{}"), begin);
    let mut events = reply.events();
    events.message_of("notifications/progress").await;
    let ended = tokio::spawn(gate.terminate());
    // M:basic/patterns/subscriptions#Graceful Closure.
    let closing = listening.response().await;
    assert_eq!(
        (&closing["id"], &closing["result"]["resultType"]),
        (&json!(9), &json!("complete")),
        "{closing}"
    );
    writer.result(&text(Era::Modern, "done")).await;
    assert_eq!(events.response().await["result"]["content"][0]["text"], "done");
    let (status, _folder) = within("the gate's end", ended).await.unwrap();
    assert!(status.success(), "{status}");
}

/// Plain requests cross eras: what an era needs is added or taken away, nothing else.
#[tokio::test]
async fn results_cross_eras() {
    for (down, up) in [(Era::Modern, Era::Legacy), (Era::Legacy, Era::Modern)] {
        let server = OddServer::start(odd(up)).await.unwrap();
        let gate = gate_before(&server.url()).await;
        let client = client(&gate, down, "/mcp/s").await;
        for tool in ["unknown_fields", "vendor_meta", "is_error"] {
            let answer = client.call(tool, "{}").await;
            let mut got = answer.json()["result"].clone();
            let mut expected: Value = serde_json::from_slice(&result_bytes(tool, down)).unwrap();
            // The gate names the server to modern clients: eras.md 7.
            for value in [&mut got, &mut expected] {
                if let Some(meta) = value.get_mut("_meta").and_then(Value::as_object_mut) {
                    meta.remove("io.modelcontextprotocol/serverInfo");
                    if meta.is_empty() {
                        value.as_object_mut().unwrap().remove("_meta");
                    }
                }
            }
            assert_eq!(got, expected, "{tool}, {down:?} client, {up:?} server");
        }
        let read = client.ask("resources/read", r#"{"uri":"odd:resource"}"#).await;
        let read = &read.json()["result"];
        assert_eq!(read["contents"][0]["uri"], "odd:resource");
        let modern = down == Era::Modern;
        for field in ["resultType", "ttlMs", "cacheScope"] {
            assert_eq!(read.get(field).is_some(), modern, "{field}: {read}");
        }
    }
}

/// A call that runs when the grace is over ends with an error of its own, whoever speaks with whom.
#[tokio::test]
async fn what_the_end_of_the_grace_cuts_is_told_so() {
    for (down, up) in CELLS {
        let server = OddServer::start(odd(up)).await.unwrap();
        let servers = json!({ "s": { "url": server.url() } });
        let configuration = format!("shutdown: {{ grace: 300ms }}\nservers: {servers}");
        let gate = Gate::start(GATEPOST, &configuration).await;
        let client = client(&gate, down, "/mcp/s").await;
        let (post, address) = (client.calling("never", "{}"), gate.address());
        let call = tokio::spawn(async move { post.send(address).await.whole().await });
        eventually("the server to be asked", async || {
            server.all("tools/call").len() == 1
        })
        .await;
        gate.terminate().await;
        let answer = call.await.unwrap();
        assert_eq!(
            answer.outcome(),
            (200, Some(-32603)),
            "{down:?} {up:?}: {}",
            answer.text()
        );
        let message = answer.json();
        assert!(!message["id"].is_null(), "{message}");
        assert_eq!(message["error"]["data"]["server"], "s", "{message}");
        assert_eq!(message["error"]["data"]["retry_safe"], false, "{message}");
    }
}
