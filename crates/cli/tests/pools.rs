//! Processes and connections: shared, started on demand, ended when idle, never left behind.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use gatepost_testkit::gate::{Client, Era, Gate, Puppet, eventually, is_alive, signal};
use gatepost_testkit::odd::{Behaviour, Odd, OddServer, Program, program};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");

const ERAS: [Era; 2] = [Era::Modern, Era::Legacy];

fn odd(era: Era) -> Odd {
    match era {
        Era::Modern => Odd::modern(),
        Era::Legacy => Odd::legacy(),
    }
}

async fn gate_before(program: &Program, more: &Value) -> Gate {
    let mut server = json!({ "command": program.command, "args": program.args });
    server
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Gate::start(GATEPOST, &format!("servers: {}", json!({ "s": server }))).await
}

async fn client(gate: &Gate, era: Era) -> Client {
    match era {
        Era::Modern => gate.modern("/mcp/s"),
        Era::Legacy => gate.legacy("/mcp/s").await,
    }
}

async fn pid(client: &Client) -> u32 {
    client
        .call("pid", "{}")
        .await
        .tool_text()
        .parse()
        .expect("a process id")
}

#[tokio::test]
async fn many_clients_share_one_process() {
    for era in ERAS {
        let program = program(&odd(era)).unwrap();
        let gate = gate_before(&program, &json!({})).await;
        let mut calls = tokio::task::JoinSet::new();
        for at in 0..24 {
            let client = client(&gate, if at % 2 == 0 { era } else { Era::Modern }).await;
            calls.spawn(async move {
                // All are under way at once.
                assert_eq!(client.call("slow", r#"{"ms":100}"#).await.tool_text(), "at last");
                pid(&client).await
            });
        }
        let processes: BTreeSet<u32> = calls.join_all().await.into_iter().collect();
        assert_eq!(processes.len(), 1, "{era:?}");
        let received = program.received();
        let greetings = received
            .iter()
            .filter(|one| matches!(&*one.method(), "initialize" | "server/discover"));
        assert!(greetings.count() <= 2, "greeted once, after a probe perhaps");
        let ids: Vec<Value> = received
            .iter()
            .filter(|one| !one.method().is_empty())
            .map(|one| one.json()["id"].clone())
            .filter(|id| !id.is_null())
            .collect();
        let unique: BTreeSet<String> = ids.iter().map(Value::to_string).collect();
        assert_eq!(ids.len(), unique.len(), "an id was used twice on one process");
    }
}

#[tokio::test]
async fn an_idle_process_is_ended_and_started_again_on_demand() {
    for era in ERAS {
        let program = program(&odd(era)).unwrap();
        let gate = gate_before(&program, &json!({ "pool": { "idle": "300ms" } })).await;
        let client = client(&gate, era).await;
        let first = pid(&client).await;
        eventually("it is ended", async || !is_alive(first)).await;
        let second = pid(&client).await;
        assert_ne!(first, second);
    }
}

/// A process that works is not idle, however long that takes.
#[tokio::test]
async fn a_busy_process_is_not_idle() {
    let program = program(&Odd::legacy()).unwrap();
    let gate = gate_before(&program, &json!({ "pool": { "idle": "100ms" } })).await;
    let answer = gate.modern("/mcp/s").call("slow", r#"{"ms":800}"#).await;
    assert_eq!(answer.tool_text(), "at last");
}

#[tokio::test]
async fn a_crash_is_named_and_the_next_call_has_a_new_process() {
    for era in ERAS {
        let program = program(&odd(era)).unwrap();
        let gate = gate_before(&program, &json!({})).await;
        let client = client(&gate, era).await;
        let first = pid(&client).await;
        let answer = client.call("exit", "{}").await;
        assert_eq!(answer.outcome(), (200, Some(-32603)), "{}", answer.text());
        let error = answer.json()["error"].clone();
        assert_eq!(
            (&error["data"]["server"], &error["data"]["retry_safe"]),
            (&json!("s"), &json!(false)),
            "{error}"
        );
        assert!(
            error["data"]["cause"].as_str().unwrap().contains("ended"),
            "{error}"
        );
        let second = pid(&client).await;
        assert_ne!(first, second);

        // From outside, in the middle of a call.
        let call = client.calling("never", "{}");
        let address = gate.address();
        let call = tokio::spawn(async move { call.send(address).await.whole().await });
        eventually("the call arrives", async || {
            program
                .received()
                .iter()
                .any(|one| one.text().contains(r#""never""#))
        })
        .await;
        signal(second, "KILL");
        let answer = call.await.unwrap();
        assert_eq!(answer.outcome(), (200, Some(-32603)), "{}", answer.text());
        assert_eq!(answer.json()["error"]["data"]["server"], "s");
        // A server that keeps ending is started again after a pause, and its calls say why until then.
        eventually("a new process", async || {
            let answer = client.call("pid", "{}").await;
            answer.outcome() == (200, None) && answer.tool_text() != second.to_string()
        })
        .await;
    }
}

/// What it writes to its standard error is in the log under its name, and does not block it.
#[tokio::test]
async fn standard_error_goes_to_the_log() {
    let program = program(&Odd::legacy()).unwrap();
    let gate = gate_before(&program, &json!({})).await;
    let answer = gate
        .modern("/mcp/s")
        .call("flood_stderr", r#"{"bytes":1048576}"#)
        .await;
    assert_eq!(answer.tool_text(), "ok");
    gate.logged("eeeeeeee").await;
    let log = gate.log();
    let line = log.lines().find(|line| line.contains("eeeeeeee")).unwrap();
    assert!(
        line.contains(r#""server":"s""#),
        "{}",
        &line[..300.min(line.len())]
    );
}

#[tokio::test]
async fn lines_before_the_first_message_are_no_verdict() {
    for era in ERAS {
        let program = program(&Odd {
            banner: true,
            start_ms: 300,
            ..odd(era)
        })
        .unwrap();
        let gate = gate_before(&program, &json!({})).await;
        assert_eq!(
            client(&gate, era).await.call("echo", "{}").await.tool_text(),
            "{}"
        );
    }
}

/// A server that dies of the probe is started again and greeted as its kind is.
#[tokio::test]
async fn a_legacy_program_that_dies_of_the_probe_works() {
    let odd = Odd::legacy().with("server/discover", Behaviour::Exit);
    let program = program(&odd).unwrap();
    let gate = gate_before(&program, &json!({})).await;
    assert_eq!(gate.modern("/mcp/s").call("echo", "{}").await.tool_text(), "{}");
    assert_eq!(
        gate.legacy("/mcp/s").await.call("echo", "{}").await.tool_text(),
        "{}"
    );
}

#[tokio::test]
async fn one_server_that_hangs_harms_nobody_else() {
    let mut servers = Vec::new();
    for at in 0..19 {
        let odd = odd(ERAS[at % 2]).plain("t", 5);
        servers.push((format!("s{at}"), OddServer::start(odd).await.unwrap()));
    }
    let mute = Odd::legacy()
        .with("server/discover", Behaviour::Silence)
        .with("initialize", Behaviour::Silence);
    let hanging = OddServer::start(mute.plain("t", 5)).await.unwrap();
    servers.insert(7, ("hanging".to_owned(), hanging));
    let configured: Map<String, Value> = servers
        .iter()
        // Whoever waits for the silent one waits longer than this test does.
        .map(|(name, server)| {
            let server = json!({ "url": server.url(), "timeout": "10m", "start_timeout": "10m" });
            (name.clone(), server)
        })
        .collect();
    let gate = Gate::start(GATEPOST, &format!("servers: {}", Value::Object(configured))).await;

    let mut names = Vec::new();
    // Newcomers are waited for a little; those that take longer come later.
    eventually("all others are listed", async || {
        names = gate.modern("/mcp").ask("tools/list", "{}").await.names("tools");
        names.len() == 19 * 5
    })
    .await;
    let mut calls = tokio::task::JoinSet::new();
    for at in 0..19 {
        for _ in 0..4 {
            let client = gate.modern("/mcp");
            calls.spawn(async move {
                client
                    .call(&format!("s{at}__t_0003"), r#"{"x":1}"#)
                    .await
                    .tool_text()
            });
        }
    }
    for text in calls.join_all().await {
        assert_eq!(text, r#"{"x":1}"#);
    }
    let legacy = gate.legacy("/mcp").await;
    assert_eq!(legacy.ask("tools/list", "{}").await.names("tools"), names);
    assert_eq!(legacy.call("s3__t_0000", "{}").await.tool_text(), "{}");
}

/// A tree like that of `npx`: a shell that starts the server, which starts a process that ignores TERM.
#[tokio::test]
async fn nothing_is_left_behind_when_the_gate_is_killed() {
    let stubborn = Odd {
        linger: true,
        grandchild: true,
        ..Odd::legacy()
    };
    let program = program(&stubborn).unwrap();
    let quoted: Vec<String> = std::iter::once(program.command.display().to_string())
        .chain(program.args.iter().cloned())
        .map(|word| format!("'{word}'"))
        .collect();
    let script = format!("{}; true", quoted.join(" "));
    for killed in [true, false] {
        let servers = json!({ "s": { "command": "sh", "args": ["-c", script] } });
        let configuration = format!("shutdown: {{ grace: 500ms }}\nservers: {servers}");
        let gate = Gate::start(GATEPOST, &configuration).await;
        let client = gate.modern("/mcp/s");
        let server = pid(&client).await;
        let grandchild: u32 = client
            .call("grandchild", "{}")
            .await
            .tool_text()
            .parse()
            .expect("a process id");
        assert!(is_alive(server) && is_alive(grandchild));
        let folder = if killed {
            gate.kill().await
        } else {
            gate.terminate().await.1
        };
        // The promise is two seconds; by itself the tree would last for ten minutes.
        eventually("the tree is gone", async || {
            !is_alive(server) && !is_alive(grandchild)
        })
        .await;
        drop(folder);
    }
}

#[tokio::test]
async fn connections_to_a_server_are_used_again() {
    for era in ERAS {
        let server = OddServer::start(odd(era)).await.unwrap();
        let gate = Gate::start(
            GATEPOST,
            &format!("servers: {}", json!({ "s": { "url": server.url() } })),
        )
        .await;
        let client = client(&gate, era).await;
        assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
        eventually("it is watched", async || server.listeners() > 0).await;
        let before = server.connections();
        for _ in 0..50 {
            assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
        }
        let used = server.connections() - before;
        // A client may be faster than the way back to the pool.
        assert!(
            used <= 20,
            "{era:?}: {used} connections for 50 calls, one after the other"
        );
    }
}

/// An answer that comes as an event stream gives its connection back too.
#[tokio::test]
async fn connections_are_used_again_after_event_streams() {
    let server = OddServer::start(Odd {
        sse: true,
        ..Odd::legacy()
    })
    .await
    .unwrap();
    let gate = Gate::start(
        GATEPOST,
        &format!("servers: {}", json!({ "s": { "url": server.url() } })),
    )
    .await;
    let client = gate.legacy("/mcp/s").await;
    assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
    eventually("it is watched", async || server.listeners() > 0).await;
    let before = server.connections();
    for _ in 0..50 {
        assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
    }
    let used = server.connections() - before;
    // A client may be faster than the way back to the pool.
    assert!(used <= 20, "{used} connections for 50 calls, one after the other");
}

#[tokio::test]
async fn concurrency_is_bounded_where_the_configuration_says_so() {
    let mut puppet = Puppet::start(Era::Modern).await;
    let servers = json!({ "s": { "url": puppet.url(), "concurrency": 2 } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let client = gate.modern("/mcp/s");
        calls.spawn(async move { client.call("turn", "{}").await.tool_text() });
    }
    let mut working = vec![puppet.turn().await, puppet.turn().await];
    eventually("all six have come to the gate", async || {
        gate.health().await["in_flight"] == 6
    })
    .await;
    let done = json!({ "resultType": "complete", "content": [{ "type": "text", "text": "at last" }] });
    for _ in 0..4 {
        assert!(puppet.has_turn().is_none(), "more than two at once");
        working.remove(0).events().result(&done).await;
        working.push(puppet.turn().await);
    }
    for turn in working {
        turn.events().result(&done).await;
    }
    assert!(calls.join_all().await.iter().all(|text| text == "at last"));
}
