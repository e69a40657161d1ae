//! Tasks: modern servers' followed by modern clients, and those that the gate waits for so that a client of any era sees a
//! plain call. And what an older client gets instead of a question.
#![allow(
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use gatepost_store::Store;
use gatepost_testkit::conformance::{Era as Speaks, Fixture, RunningFixture, Transport};
use gatepost_testkit::gate::{Answer, Client, Era, Gate, Puppet, Turn};
use serde_json::{Value, json};

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");
const TASKS: &str = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
/// The fixture's ids are texts of its own; no server gives one that long.
const SEALED: usize = 100;

async fn about(client: &Client, method: &str, id: &str) -> Answer {
    let params = json!({ "taskId": id }).to_string();
    let post = client.request(method, &params).header("mcp-name", id);
    client.send(&post).await
}

async fn created(client: &Client, tool: &str, label: &str) -> String {
    let arguments = json!({ "seconds": 0.01, "label": label }).to_string();
    let answer = client.call(tool, &arguments).await.json();
    assert_eq!(answer["result"]["resultType"], "task", "{answer}");
    answer["result"]["taskId"].as_str().unwrap_or_default().to_owned()
}

async fn text_of(client: &Client, id: &str) -> String {
    loop {
        let answer = about(client, "tasks/get", id).await.json();
        let task = &answer["result"];
        assert_eq!(task["taskId"], id, "{answer}");
        if task["status"] == "working" {
            continue;
        }
        assert_eq!(task["status"], "completed", "{answer}");
        return task["result"]["content"][0]["text"].to_string();
    }
}

#[tokio::test]
async fn a_task_finds_its_server_again_and_nobody_elses() {
    let (a, b) = (
        Fixture::start(Speaks::Modern, Transport::Http).await.unwrap(),
        Fixture::start(Speaks::Modern, Transport::Http).await.unwrap(),
    );
    let servers = json!({ "a": { "url": a.url }, "b": { "url": b.url } });
    let views = json!({ "v": { "include": ["a__slow_compute"] } });
    let configuration = format!("servers: {servers}\nviews: {views}");
    let gate = Gate::start(GATEPOST, &configuration).await;
    let at = |gate: &Gate, path: &str| gate.modern(path).with_capabilities(TASKS);
    let all = at(&gate, "/mcp");

    let of_a = created(&all, "a__slow_compute", "one").await;
    let of_b = created(&all, "b__slow_compute", "two").await;
    assert!(text_of(&all, &of_a).await.contains("one"));
    assert!(text_of(&all, &of_b).await.contains("two"));
    assert!(of_a.len() > SEALED);
    let done = about(&all, "tasks/cancel", &of_b).await;
    assert_eq!(done.outcome(), (200, None), "{}", done.text());

    // A view allows the task of a tool that it shows.
    let view = at(&gate, "/mcp/v");
    let of_view = created(&view, "a__slow_compute", "three").await;
    assert!(text_of(&view, &of_view).await.contains("three"));

    // One server cannot tell who asks either.
    let single = at(&gate, "/mcp/a");
    let of_single = created(&single, "slow_compute", "four").await;
    assert!(of_single.len() > SEALED);
    assert!(text_of(&single, &of_single).await.contains("four"));
    let direct = Client::modern(a.address(), "/mcp").with_capabilities(TASKS);
    let own = created(&direct, "slow_compute", "five").await;
    assert!(own.len() < SEALED);

    // Unknown, the server's own, of another endpoint, forged.
    let mut forged = of_a.clone();
    forged.replace_range(60..61, if &of_a[60..61] == "A" { "B" } else { "A" });
    for (client, foreign) in [(&all, &of_single), (&single, &of_a)] {
        for id in ["nothing", &own, &of_view, &forged, foreign] {
            for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
                assert_eq!(
                    about(client, method, id).await.outcome(),
                    (200, Some(-32602)),
                    "{id}"
                );
            }
        }
    }
    for (path, id) in [("/mcp", &of_a), ("/mcp/a", &of_single)] {
        let undeclared = about(&gate.modern(path), "tasks/get", id).await;
        assert_eq!(undeclared.outcome(), (400, Some(-32021)));
        assert_eq!(
            undeclared.json()["error"]["data"],
            json!({ "requiredCapabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } } })
        );
    }

    // A task outlives the gate.
    let gate = gate.restart(&configuration).await;
    assert!(text_of(&at(&gate, "/mcp"), &of_a).await.contains("one"));
    assert!(text_of(&at(&gate, "/mcp/a"), &of_single).await.contains("four"));
}

#[tokio::test]
async fn a_question_is_no_result_for_an_older_client() {
    let mut puppet = Puppet::start(Era::Modern).await;
    let servers = json!({ "asking": { "url": puppet.url() } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    for path in ["/mcp/asking", "/mcp"] {
        let client = gate.legacy(path).await;
        let tool = if path == "/mcp" { "asking__turn" } else { "turn" };
        for (result, words) in [
            (
                json!({ "resultType": "input_required", "inputRequests": {} }),
                "asks for nothing",
            ),
            (json!({ "resultType": "task", "taskId": "t" }), "made a task"),
        ] {
            let asks = async { puppet.turn().await.events().result(&result).await };
            let (answer, ()) = tokio::join!(client.call(tool, "{}"), asks);
            let error: Value = answer.json()["error"].clone();
            assert_eq!(error["code"], -32603, "{}", answer.text());
            assert_eq!(error["data"]["server"], "asking");
            assert_eq!(error["data"]["retry_safe"], false);
            let message = error["message"].as_str().unwrap();
            assert!(
                message.contains("`asking`") && message.contains(words),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn who_follows_a_task_hears_of_it_under_its_own_name() {
    let fixture = Fixture::start(Speaks::Modern, Transport::Http).await.unwrap();
    let servers = json!({ "a": { "url": fixture.url }, "b": { "url": fixture.url } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let both = r#"{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
    for (path, tool) in [("/mcp", "a__confirm_delete"), ("/mcp/a", "confirm_delete")] {
        let client = gate.modern(path).with_capabilities(both);
        let task = created(&client, tool, "").await;
        while about(&client, "tasks/get", &task).await.json()["result"]["status"] != "input_required" {}
        let foreign = if path == "/mcp" { "/mcp/b" } else { "/mcp" };
        let foreign = gate.modern(foreign).with_capabilities(both);
        let other = if path == "/mcp" {
            "confirm_delete"
        } else {
            "a__confirm_delete"
        };
        let theirs = created(&foreign, other, "").await;

        let filter = json!({ "taskIds": [theirs, task, "nothing"], "toolsListChanged": true }).to_string();
        let mut stream = client.subscribe("\"s\"", &filter).await;
        let acknowledged = stream.message().await;
        let granted = &acknowledged["params"]["notifications"];
        assert_eq!(*granted, json!({ "toolsListChanged": true, "taskIds": [task] }));

        let answer = json!({ "confirm": { "action": "accept", "content": { "confirm": true } } });
        let params = json!({ "taskId": task, "inputResponses": answer }).to_string();
        let update = client.request("tasks/update", &params).header("mcp-name", &task);
        assert_eq!(client.send(&update).await.outcome(), (200, None));
        let last = loop {
            let notice = stream.message().await;
            assert_eq!(notice["method"], "notifications/tasks");
            assert_eq!(notice["params"]["taskId"], task);
            assert_eq!(
                notice["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
                "s"
            );
            if notice["params"]["status"] != "working" {
                break notice;
            }
        };
        assert_eq!(last["params"]["status"], "completed", "{last}");
        assert_eq!(last["params"]["result"]["content"][0]["text"], "Deleted");

        let undeclared = json!({ "notifications": { "taskIds": [task] } }).to_string();
        let refused = gate.modern(path).ask("subscriptions/listen", &undeclared).await;
        assert_eq!(refused.outcome(), (400, Some(-32021)));
    }
}

/// What a client is told of a task may be its whole result: it counts on quotas like an answer.
#[tokio::test]
async fn what_is_told_of_a_task_counts_on_its_quotas() {
    let fixture = Fixture::start(Speaks::Modern, Transport::Http).await.unwrap();
    let servers = json!({ "a": { "url": fixture.url } });
    let configuration =
        format!("audit: {{}}\nquotas: [{{ per: tool, bytes: 1GiB/day }}]\nservers: {servers}");
    let gate = Gate::start(GATEPOST, &configuration).await;
    let both = r#"{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
    let client = gate.modern("/mcp").with_capabilities(both);
    let task = created(&client, "a__confirm_delete", "").await;
    while about(&client, "tasks/get", &task).await.json()["result"]["status"] != "input_required" {}
    let filter = json!({ "taskIds": [task] }).to_string();
    let mut stream = client.subscribe("1", &filter).await;
    let answer = json!({ "confirm": { "action": "accept", "content": { "confirm": true } } });
    let params = json!({ "taskId": task, "inputResponses": answer }).to_string();
    let update = client.request("tasks/update", &params).header("mcp-name", &task);
    assert_eq!(client.send(&update).await.outcome(), (200, None));
    let mut told = 0;
    loop {
        let event = stream.next().await.unwrap();
        let notice = event.json();
        if notice["method"] == "notifications/tasks" {
            told += event.data.len() as u64;
        }
        if notice["params"]["status"] == "completed" {
            break;
        }
    }
    drop(stream);
    let (_, folder) = gate.terminate().await;
    let state = folder.path().join("state");
    let mut answered = 0;
    for file in std::fs::read_dir(state.join("audit")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
        let records = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for outcome in records.filter(|record| record["kind"] == "outcome") {
            answered += outcome["in"].as_u64().unwrap() + outcome["out"].as_u64().unwrap();
        }
    }
    let store = Store::open(&state, &[]).unwrap();
    // A test may run over midnight.
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let today = u32::try_from(since.as_secs() / 86_400).unwrap();
    let days = [today - 1, today].map(|day| store.counters.read_day(day).unwrap());
    let counted: u64 = days.iter().flatten().map(|counter| counter.used.bytes).sum();
    assert!(told > 0);
    assert_eq!(counted, answered + told);
}

/// A gate in front of a legacy fixture that makes tasks.
async fn legacy_fixture(transport: Transport) -> (RunningFixture, Gate) {
    let fixture = Fixture::start(Speaks::Legacy, transport).await.unwrap();
    let servers = json!({ "s": { "url": fixture.url } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    (fixture, gate)
}

const FORMS: &str = r#"{"elicitation":{"form":{}}}"#;

#[tokio::test]
async fn a_tool_that_is_only_a_task_is_a_plain_call_for_every_client() {
    for transport in [Transport::Http, Transport::Sse] {
        let (_fixture, gate) = legacy_fixture(transport).await;
        let modern = gate.modern("/mcp/s").with_capabilities(FORMS);
        let legacy = Client::legacy_of(gate.address(), "/mcp/s", "2025-11-25", FORMS).await;
        // On one pipe for everything its order is certain.
        if matches!(transport, Transport::Sse) {
            // The token is good for as long as the task (basic/utilities/tasks, Task Progress Notifications).
            let curious = gate
                .modern("/mcp/s")
                .with_capabilities(FORMS)
                .with_meta(r#""progressToken":"mine""#);
            let mut events = curious.begin("failing_job", "{}").await.events();
            let progress = events.message().await;
            assert_eq!(progress["params"]["progressToken"], "mine", "{progress}");
            assert_eq!(events.message().await["result"]["isError"], true);
        }
        for client in [&modern, &legacy] {
            let failed = client.call("failing_job", "{}").await.json();
            assert_eq!(failed["result"]["isError"], true, "{failed}");
            assert_eq!(failed["result"].get("task"), None);
            assert!(!failed.to_string().contains("related-task"), "{failed}");
            let listed = client.ask("tools/list", "{}").await.json();
            assert!(!listed.to_string().contains("required\"}"), "{listed}");
        }

        let asked = modern.call("test_tool_with_task", "{}").await.json();
        let question = &asked["result"]["inputRequests"]["user_name"];
        assert_eq!(question["method"], "elicitation/create", "{asked}");
        assert!(!asked.to_string().contains("related-task"), "{asked}");
        let answers = json!({ "user_name": { "action": "accept", "content": { "name": "Ann" } } });
        let params = json!({ "name": "test_tool_with_task", "arguments": {},
            "requestState": asked["result"]["requestState"], "inputResponses": answers });
        let done = modern.ask("tools/call", &params.to_string()).await;
        assert_eq!(done.tool_text(), "Worked for Ann", "{}", done.text());

        let mut events = legacy.begin("test_tool_with_task", "{}").await.events();
        let question = events.message().await;
        assert_eq!(question["method"], "elicitation/create", "{question}");
        assert!(!question.to_string().contains("related-task"), "{question}");
        let answer = r#""result":{"action":"accept","content":{"name":"Bob"}}"#;
        legacy.respond(&question["id"], answer).await;
        let done = events.message().await;
        assert_eq!(done["result"]["content"][0]["text"], "Worked for Bob", "{done}");
    }
}

/// What the puppet says of its task.
fn task(status: &str) -> Value {
    json!({ "taskId": "t/1", "status": status, "createdAt": "2026-07-28T00:00:00Z",
        "lastUpdatedAt": "2026-07-28T00:00:00Z", "ttl": 60_000, "pollInterval": 1 })
}

/// Answers with this and nothing else.
async fn say(turn: Turn, result: &Value) {
    let writer = turn.document();
    let answer = json!({ "jsonrpc": "2.0", "id": writer.id(), "result": result });
    writer.bytes(answer.to_string()).await;
}

/// The next thing that is asked of the server's task, which must be this.
async fn asked_of_task(puppet: &mut Puppet, method: &str) -> Turn {
    let turn = puppet.turn().await;
    assert_eq!(turn.message["method"], method, "{}", turn.message);
    assert_eq!(turn.message["params"], json!({ "taskId": "t/1" }));
    turn
}

#[tokio::test]
async fn waiting_for_a_task_survives_a_broken_stream_and_names_the_task_to_its_server_only() {
    let mut puppet = Puppet::of_tasks().await;
    let servers = json!({ "s": { "url": puppet.url(), "timeout": "5s" } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let client = Client::legacy_of(gate.address(), "/mcp/s", "2025-11-25", FORMS).await;
    let request = client.calling("turn", r#"{"x":1}"#);
    let address = gate.address();
    let answer = tokio::spawn(async move { request.send(address).await });

    let call = puppet.turn().await;
    assert_eq!(
        call.message["params"],
        json!({ "name": "turn", "arguments": { "x": 1 }, "task": {} })
    );
    say(call, &json!({ "task": task("working") })).await;
    // Silence for longer than the server's `timeout` says nothing about a task.
    let silent = asked_of_task(&mut puppet, "tasks/result").await;
    let state = asked_of_task(&mut puppet, "tasks/get").await;
    say(state, &task("working")).await;
    drop(silent);
    let broken = asked_of_task(&mut puppet, "tasks/result").await.events();
    broken.bytes(": nothing yet\n\n").await;
    drop(broken);
    let state = asked_of_task(&mut puppet, "tasks/get").await;
    say(state, &task("input_required")).await;
    let waiting = asked_of_task(&mut puppet, "tasks/result").await.events();
    let related = json!({ "io.modelcontextprotocol/related-task": { "taskId": "t/1" } });
    let mut params = json!({ "message": "Who?", "requestedSchema": { "type": "object", "properties": {} } });
    params["_meta"] = related.clone();
    let question = json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": params });
    waiting.event(&question).await;

    let mut events = answer.await.unwrap().events();
    let question = events.message().await;
    assert_eq!(question["params"].get("_meta"), None, "{question}");
    client
        .respond(&question["id"], r#""result":{"action":"decline"}"#)
        .await;
    let heard = loop {
        let heard = puppet.heard().await;
        if heard.get("result").is_some() {
            break heard;
        }
    };
    assert_eq!(
        heard,
        json!({ "jsonrpc": "2.0", "id": "q", "result": { "action": "decline", "_meta": related } })
    );
    let mut meta = related;
    meta["x"] = json!(1);
    waiting.result(&json!({ "content": [], "_meta": meta })).await;
    let done = events.message().await;
    assert_eq!(done["result"], json!({ "content": [], "_meta": { "x": 1 } }));
}

#[tokio::test]
async fn a_cancelled_call_cancels_its_task() {
    let mut puppet = Puppet::of_tasks().await;
    let servers = json!({ "s": { "url": puppet.url() } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    for era in [Era::Legacy, Era::Modern] {
        let client = match era {
            Era::Legacy => gate.legacy("/mcp/s").await,
            Era::Modern => gate.modern("/mcp/s"),
        };
        let request = client.request_as("77", "tools/call", r#"{"name":"turn","arguments":{}}"#);
        let address = gate.address();
        let answer = tokio::spawn(async move { request.send(address).await.whole().await });
        let call = puppet.turn().await;
        say(call, &json!({ "task": task("working") })).await;
        let waiting = asked_of_task(&mut puppet, "tasks/result").await.events();
        match era {
            Era::Legacy => {
                client
                    .notify("notifications/cancelled", r#"{"requestId":77}"#)
                    .await;
            }
            Era::Modern => answer.abort(),
        }
        let cancel = asked_of_task(&mut puppet, "tasks/cancel").await;
        say(cancel, &task("cancelled")).await;
        waiting.abandoned().await;
    }
}

#[tokio::test]
async fn a_modern_servers_tool_that_is_only_a_task_is_a_plain_call_for_a_legacy_client() {
    let fixture = Fixture::start(Speaks::Modern, Transport::Http).await.unwrap();
    let servers = json!({ "s": { "url": fixture.url } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let client = Client::legacy_of(gate.address(), "/mcp", "2025-06-18", r#"{"elicitation":{}}"#).await;
    let failed = client.call("s__failing_job", "{}").await.json();
    assert_eq!(failed["result"]["isError"], true, "{failed}");
    assert_eq!(failed["result"].get("resultType"), None);

    // It asks before it becomes a task.
    let mut events = client.begin("s__test_tool_with_task", "{}").await.events();
    let question = events.message().await;
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let answer = r#""result":{"action":"accept","content":{"name":"Bob"}}"#;
    client.respond(&question["id"], answer).await;
    let done = events.message().await;
    assert_eq!(done["result"]["content"][0]["text"], "Worked for Bob", "{done}");
}

/// Refuses a call because it must be a task.
async fn refuse_plain(turn: Turn) {
    let declared = &turn.message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(declared.get("extensions"), None);
    let writer = turn.document();
    let required = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    let error = json!({ "code": -32021, "message": "a task", "data": { "requiredCapabilities": required } });
    let answer = json!({ "jsonrpc": "2.0", "id": writer.id(), "error": error });
    writer.bytes(answer.to_string()).await;
}

/// What the modern puppet says of its task.
fn modern_task(more: &Value) -> Value {
    let mut task = json!({ "resultType": "complete", "taskId": "t/1", "createdAt": "2026-07-28T00:00:00Z",
        "lastUpdatedAt": "2026-07-28T00:00:00Z", "ttlMs": null, "pollIntervalMs": 1 });
    for (name, value) in more.as_object().unwrap() {
        task[name] = value.clone();
    }
    task
}

/// The next thing that a modern server's task is asked, which must be this, with the extension declared.
async fn polled(puppet: &mut Puppet, method: &str) -> Turn {
    let turn = puppet.turn().await;
    assert_eq!(turn.message["method"], method, "{}", turn.message);
    assert_eq!(turn.message["params"]["taskId"], "t/1");
    assert_eq!(turn.headers["mcp-name"], "t/1");
    let declared = &turn.message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(
        declared["extensions"],
        json!({ "io.modelcontextprotocol/tasks": {} })
    );
    turn
}

#[tokio::test]
async fn a_modern_servers_task_asks_a_legacy_client_and_ends_as_its_call() {
    let mut puppet = Puppet::start(Era::Modern).await;
    let servers = json!({ "s": { "url": puppet.url() } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let client = Client::legacy_of(gate.address(), "/mcp/s", "2025-11-25", FORMS).await;
    let address = gate.address();
    let begin = || {
        let request = client.request_as("77", "tools/call", r#"{"name":"turn","arguments":{"x":1}}"#);
        tokio::spawn(async move { request.send(address).await })
    };
    let answer = begin();
    refuse_plain(puppet.turn().await).await;
    let call = puppet.turn().await;
    assert_eq!(call.message["params"]["arguments"], json!({ "x": 1 }));
    say(
        call,
        &modern_task(&json!({ "resultType": "task", "status": "working" })),
    )
    .await;
    say(
        polled(&mut puppet, "tasks/get").await,
        &modern_task(&json!({ "status": "working" })),
    )
    .await;
    let form = |message: &str| {
        json!({ "method": "elicitation/create", "params": { "mode": "form", "message": message,
            "requestedSchema": { "type": "object", "properties": {} } } })
    };
    let asks = json!({ "status": "input_required", "inputRequests": { "a": form("first") } });
    say(polled(&mut puppet, "tasks/get").await, &modern_task(&asks)).await;
    let mut events = answer.await.unwrap().events();
    let question = events.message().await;
    assert_eq!(question["params"]["message"], "first", "{question}");
    client
        .respond(&question["id"], r#""result":{"action":"decline"}"#)
        .await;
    let update = polled(&mut puppet, "tasks/update").await;
    assert_eq!(
        update.message["params"]["inputResponses"],
        json!({ "a": { "action": "decline" } })
    );
    say(update, &json!({ "resultType": "complete" })).await;
    // The server may show for a while what was answered already.
    let asks = json!({ "status": "input_required", "inputRequests": { "a": form("first") } });
    say(polled(&mut puppet, "tasks/get").await, &modern_task(&asks)).await;
    let asks =
        json!({ "status": "input_required", "inputRequests": { "a": form("first"), "b": form("second") } });
    say(polled(&mut puppet, "tasks/get").await, &modern_task(&asks)).await;
    let question = events.message().await;
    assert_eq!(question["params"]["message"], "second", "{question}");
    client
        .respond(&question["id"], r#""result":{"action":"cancel"}"#)
        .await;
    let update = polled(&mut puppet, "tasks/update").await;
    assert_eq!(
        update.message["params"]["inputResponses"],
        json!({ "b": { "action": "cancel" } })
    );
    say(update, &json!({ "resultType": "complete" })).await;
    let done = json!({ "status": "completed", "result": { "content": [], "_meta": { "x": 1 } } });
    say(polled(&mut puppet, "tasks/get").await, &modern_task(&done)).await;
    let done = events.message().await;
    assert_eq!(
        done,
        json!({ "jsonrpc": "2.0", "id": 77, "result": { "content": [], "_meta": { "x": 1 } } })
    );

    // A protocol error is the call's own.
    let answer = begin();
    refuse_plain(puppet.turn().await).await;
    say(
        puppet.turn().await,
        &modern_task(&json!({ "resultType": "task", "status": "working" })),
    )
    .await;
    let failed = json!({ "status": "failed", "error": { "code": -32000, "message": "no", "data": 1 } });
    say(polled(&mut puppet, "tasks/get").await, &modern_task(&failed)).await;
    let failed = answer.await.unwrap().whole().await.json();
    assert_eq!(
        failed["error"],
        json!({ "code": -32000, "message": "no", "data": 1 })
    );

    // Whoever cancels the call cancels the task, also while it is asked something.
    for asks in [false, true] {
        let answer = begin();
        refuse_plain(puppet.turn().await).await;
        say(
            puppet.turn().await,
            &modern_task(&json!({ "resultType": "task", "status": "working" })),
        )
        .await;
        let state = polled(&mut puppet, "tasks/get").await;
        if asks {
            let asks = json!({ "status": "input_required", "inputRequests": { "a": form("first") } });
            say(state, &modern_task(&asks)).await;
            answer.await.unwrap().events().message().await;
            client
                .notify("notifications/cancelled", r#"{"requestId":77}"#)
                .await;
        } else {
            client
                .notify("notifications/cancelled", r#"{"requestId":77}"#)
                .await;
            drop(state);
        }
        say(
            polled(&mut puppet, "tasks/cancel").await,
            &json!({ "resultType": "complete" }),
        )
        .await;
    }
}
