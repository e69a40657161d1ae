//! Tasks of modern servers, followed by modern clients; and what an older client gets instead of a question.

use gatepost_testkit::conformance::{Era as Speaks, Fixture, Transport};
use gatepost_testkit::gate::{Answer, Client, Era, Gate, Puppet};
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
