//! Legacy clients of modern servers: what such a server needs of its client becomes a question on the call's stream, and the
//! call is made again with the answers. Through the real binary, over each transport that legacy clients have.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use std::collections::HashMap;
use std::process::Stdio;

use futures_util::future::join_all;
use gatepost_testkit::conformance::{self, Fixture, RunningFixture, Transport};
use gatepost_testkit::gate::{
    Client, Era, Events, Gate, Method, Post, Puppet, Reply, Turn, eventually, within,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");
const NEWEST: &str = "2025-11-25";

/// How a legacy client reaches the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Http,
    OldSse,
    Stdio,
}

const WAYS: [Way; 3] = [Way::Http, Way::OldSse, Way::Stdio];

/// A legacy client that can be asked.
struct Person {
    wire: Wire,
    last_id: u64,
}

enum Wire {
    /// Every call has a stream of its own.
    Http {
        client: Client,
        gate: Gate,
        calls: HashMap<u64, Stream>,
    },
    /// One stream for everything, and an address to post to.
    OldSse {
        gate: Gate,
        path: String,
        events: Events,
    },
    /// One pipe each way.
    Stdio {
        _child: Child,
        _folder: TempDir,
        input: ChildStdin,
        output: Lines<BufReader<ChildStdout>>,
    },
}

/// What answers a POST.
enum Stream {
    Coming(JoinHandle<Reply>),
    Events(Events),
}

impl Person {
    /// After the handshake, in front of the server at `url`, which is called `s`.
    async fn meet(way: Way, url: &str, version: &str, capabilities: Value) -> Self {
        let configuration = format!("servers: {}", json!({ "s": { "url": url } }));
        let wire = match way {
            Way::Http => {
                let gate = Gate::start(GATEPOST, &configuration).await;
                let client =
                    Client::legacy_of(gate.address(), "/mcp/s", version, &capabilities.to_string()).await;
                let calls = HashMap::new();
                return Self {
                    wire: Wire::Http { client, gate, calls },
                    last_id: 0,
                };
            }
            Way::OldSse => {
                let gate = Gate::start(GATEPOST, &configuration).await;
                let open = Post::get("/sse/s").header("accept", "text/event-stream");
                let mut events = open.send(gate.address()).await.events();
                let first = events.next().await.expect("the first event");
                assert_eq!(first.kind.as_deref(), Some("endpoint"));
                let path = first.data;
                Wire::OldSse { gate, path, events }
            }
            Way::Stdio => {
                let folder = tempfile::tempdir().unwrap();
                let configuration = format!("data_dir: state\n{configuration}\n");
                std::fs::write(folder.path().join("gatepost.yaml"), configuration).unwrap();
                let mut child = Command::new(GATEPOST)
                    .args(["stdio", "--view", "s", "-c", "gatepost.yaml"])
                    .current_dir(folder.path())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .kill_on_drop(true)
                    .spawn()
                    .unwrap();
                let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
                Wire::Stdio {
                    _child: child,
                    _folder: folder,
                    input,
                    output: BufReader::new(output).lines(),
                }
            }
        };
        let mut person = Self { wire, last_id: 0 };
        let params = json!({ "protocolVersion": version, "capabilities": capabilities,
            "clientInfo": { "name": "testkit", "version": "0" } });
        let id = person.request("initialize", &params).await;
        let answer = person.ended(id).await;
        assert_eq!(answer["result"]["protocolVersion"], version, "{answer}");
        person.notify("notifications/initialized", &json!({})).await;
        person
    }

    /// Who can be asked everything.
    async fn able(way: Way, url: &str) -> Self {
        let able =
            json!({ "elicitation": { "form": {}, "url": {} }, "sampling": { "tools": {} }, "roots": {} });
        Self::meet(way, url, NEWEST, able).await
    }

    /// Sends a request and does not wait.
    async fn request(&mut self, method: &str, params: &Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        if let Wire::Http { client, gate, calls } = &mut self.wire {
            let (post, address) = (
                client.request_as(&id.to_string(), method, &params.to_string()),
                gate.address(),
            );
            let coming = tokio::spawn(async move { post.send(address).await });
            calls.insert(id, Stream::Coming(coming));
        } else {
            let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
            self.say(&message).await;
        }
        id
    }

    async fn call(&mut self, tool: &str) -> u64 {
        let params = json!({ "name": tool, "arguments": { "n": 1.0 } });
        self.request("tools/call", &params).await
    }

    async fn notify(&mut self, method: &str, params: &Value) {
        self.say(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
            .await;
    }

    /// Answers a question; `outcome` has `result` or `error`.
    async fn answer(&mut self, asked: &Value, outcome: Value) {
        let mut message = json!({ "jsonrpc": "2.0", "id": asked["id"] });
        message
            .as_object_mut()
            .unwrap()
            .extend(outcome.as_object().unwrap().clone());
        self.say(&message).await;
    }

    /// Says what has no answer.
    async fn say(&mut self, message: &Value) {
        match &mut self.wire {
            Wire::Http { client, .. } => {
                let taken = client.send(&client.post("", "{}", message.to_string())).await;
                assert_eq!(taken.status, 202, "{}", taken.text());
            }
            Wire::OldSse { gate, path, .. } => {
                let taken = Post::json(path, message.to_string()).send(gate.address()).await;
                assert_eq!(taken.status, 202);
            }
            Wire::Stdio { input, .. } => {
                input.write_all(format!("{message}\n").as_bytes()).await.unwrap();
                input.flush().await.unwrap();
            }
        }
    }

    /// The next message on the call's stream; where all share one, of any call. `None` when it has ended.
    async fn next(&mut self, call: u64) -> Option<Value> {
        loop {
            let message = match &mut self.wire {
                Wire::Http { calls, .. } => {
                    let mut events = match calls.remove(&call)? {
                        Stream::Events(events) => events,
                        Stream::Coming(coming) => {
                            let reply = within("an answer", coming).await.unwrap();
                            let streams = reply
                                .header("content-type")
                                .is_some_and(|kind| kind == "text/event-stream");
                            if !streams {
                                return Some(reply.whole().await.json());
                            }
                            reply.events()
                        }
                    };
                    let event = events.next().await?;
                    calls.insert(call, Stream::Events(events));
                    event.json()
                }
                Wire::OldSse { events, .. } => events.message().await,
                Wire::Stdio { output, .. } => {
                    let line = within("a line", output.next_line()).await.unwrap()?;
                    serde_json::from_str(&line).unwrap()
                }
            };
            // What the server offers is no part of any call; priming events are empty.
            let changed = message["method"]
                .as_str()
                .is_some_and(|method| method.ends_with("list_changed"));
            if !changed && !message.is_null() {
                return Some(message);
            }
        }
    }

    async fn heard(&mut self, call: u64) -> Value {
        self.next(call).await.expect("a message before the end")
    }

    /// The next message must be a question.
    async fn asked(&mut self, call: u64, method: &str) -> Value {
        let message = self.heard(call).await;
        assert_eq!(message["method"], method, "{message}");
        assert!(message["id"].is_u64(), "{message}");
        message
    }

    /// The next message must be the response.
    async fn ended(&mut self, call: u64) -> Value {
        let message = self.heard(call).await;
        assert!(message.get("method").is_none(), "{message}");
        assert_eq!(message["id"], call);
        message
    }

    async fn text(&mut self, call: u64) -> String {
        let message = self.ended(call).await;
        assert!(message["result"].get("resultType").is_none(), "{message}");
        let text = message["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{message}")).to_owned()
    }
}

/// A server of 2026-07-28 whose tools ask.
async fn fixture() -> RunningFixture {
    Fixture::start(conformance::Era::Modern, Transport::Http)
        .await
        .unwrap()
}

fn named(name: &str) -> Value {
    json!({ "result": { "action": "accept", "content": { "name": name, "ok": true } } })
}

fn sampled(text: &str) -> Value {
    json!({ "result": { "role": "assistant", "content": { "type": "text", "text": text }, "model": "m" } })
}

fn rooted(uri: &str) -> Value {
    json!({ "result": { "roots": [{ "uri": uri }] } })
}

fn refusal() -> Value {
    json!({ "error": { "code": -1, "message": "the user said no", "data": { "x": [1] } } })
}

/// The server's `input_required`.
async fn ask(turn: Turn, asks: Value, state: Option<&str>) {
    let mut result = json!({ "resultType": "input_required", "inputRequests": asks });
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    end(turn, result).await;
}

async fn end(turn: Turn, result: Value) {
    let id = turn.message["id"].clone();
    let document = turn.document();
    let response = json!({ "jsonrpc": "2.0", "id": id, "result": result });
    assert!(document.bytes(response.to_string()).await);
}

async fn finish(turn: Turn, text: &str) {
    let content = json!([{ "type": "text", "text": text }]);
    end(turn, json!({ "resultType": "complete", "content": content })).await;
}

fn page(url: &str) -> Value {
    json!({ "method": "elicitation/create", "params": { "mode": "url", "message": "sign in", "url": url } })
}

fn form() -> Value {
    json!({ "method": "elicitation/create", "params": { "mode": "form", "message": "which?", "requestedSchema": {
        "type": "object", "properties": { "c": { "type": "string", "oneOf": [{ "const": "r", "title": "Red" }] } } } } })
}

#[tokio::test]
async fn each_kind_of_question_is_asked_and_its_answer_heard() {
    let server = fixture().await;
    for way in WAYS {
        let mut person = Person::able(way, &server.url).await;
        let cases = [
            ("elicitation", "elicitation/create", named("Ann"), "Hello, Ann!"),
            (
                "sampling",
                "sampling/createMessage",
                sampled("Paris"),
                "Sampling result: Paris",
            ),
            (
                "list_roots",
                "roots/list",
                rooted("file:///a"),
                "Found 1 root(s): [{\"uri\":\"file:///a\"}]",
            ),
        ];
        for (tool, method, answer, text) in cases {
            let call = person.call(&format!("test_input_required_result_{tool}")).await;
            let asked = person.asked(call, method).await;
            person.answer(&asked, answer).await;
            assert_eq!(person.text(call).await, text, "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_prompt_may_ask_too() {
    let server = fixture().await;
    let mut person = Person::able(Way::Http, &server.url).await;
    let params = json!({ "name": "test_input_required_result_prompt" });
    let call = person.request("prompts/get", &params).await;
    let asked = person.asked(call, "elicitation/create").await;
    let context = json!({ "action": "accept", "content": { "context": "tests" } });
    person.answer(&asked, json!({ "result": context })).await;
    let result = &person.ended(call).await["result"];
    assert_eq!(
        result["messages"][0]["content"]["text"],
        "Prompt with context: tests"
    );
}

#[tokio::test]
async fn several_questions_are_asked_at_once() {
    let server = fixture().await;
    for way in WAYS {
        let mut person = Person::able(way, &server.url).await;
        let call = person.call("test_input_required_result_multiple_inputs").await;
        let mut asked = HashMap::new();
        for _ in 0..3 {
            let message = person.heard(call).await;
            asked.insert(message["method"].as_str().unwrap().to_owned(), message);
        }
        // None of them waits for another's answer, and these may come in any order.
        person.answer(&asked["roots/list"], rooted("file:///a")).await;
        person.answer(&asked["elicitation/create"], named("Ann")).await;
        person
            .answer(&asked["sampling/createMessage"], sampled("Hi"))
            .await;
        assert_eq!(
            person.text(call).await,
            "Name: Ann; Greeting: Hi; Roots: 1",
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn a_call_may_ask_again_and_keep_its_state_with_the_gate() {
    let server = fixture().await;
    for way in WAYS {
        let mut person = Person::able(way, &server.url).await;
        let call = person.call("test_input_required_result_multi_round").await;
        let first = person.asked(call, "elicitation/create").await;
        person.answer(&first, named("Ann")).await;
        let second = person.asked(call, "elicitation/create").await;
        assert_ne!(first["id"], second["id"]);
        let colour = json!({ "result": { "action": "accept", "content": { "color": "blue" } } });
        person.answer(&second, colour).await;
        assert_eq!(
            person.text(call).await,
            "Multi-round complete for Ann who likes blue",
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn the_call_that_is_made_again_is_the_same_but_for_the_answers() {
    for way in WAYS {
        let mut puppet = Puppet::start(Era::Modern).await;
        let mut person = Person::able(way, &puppet.url()).await;
        for state in [None, Some(""), Some("\u{e9}\"\n\\ 1.0")] {
            let call = person.call("turn").await;
            let first = puppet.turn().await;
            let (before, headers) = (first.message.clone(), first.headers.clone());
            ask(first, json!({ "k/1": form() }), state).await;
            let asked = person.asked(call, "elicitation/create").await;
            assert_eq!(asked["params"], form()["params"]);
            let answer = json!({ "action": "accept", "content": { "c": "r" } });
            person.answer(&asked, json!({ "result": answer })).await;
            let again = puppet.turn().await;
            let mut expected = before.clone();
            expected["id"] = again.message["id"].clone();
            expected["params"]["inputResponses"] = json!({ "k/1": answer });
            if let Some(state) = state {
                expected["params"]["requestState"] = state.into();
            }
            assert_eq!(again.message, expected, "{way:?}");
            assert_ne!(again.message["id"], before["id"]);
            for name in ["mcp-method", "mcp-name", "mcp-protocol-version"] {
                assert_eq!(again.headers.get(name), headers.get(name), "{name}");
            }
            finish(again, "done").await;
            assert_eq!(person.text(call).await, "done");
        }
    }
}

#[tokio::test]
async fn a_server_may_put_a_call_off() {
    let mut puppet = Puppet::start(Era::Modern).await;
    let mut person = Person::able(Way::Http, &puppet.url()).await;
    let call = person.call("turn").await;
    ask(puppet.turn().await, json!({}), Some("later")).await;
    let again = puppet.turn().await;
    assert_eq!(again.message["params"]["requestState"], "later");
    assert!(again.message["params"].get("inputResponses").is_none());
    finish(again, "done").await;
    assert_eq!(person.text(call).await, "done");
}

#[tokio::test]
async fn a_refusal_dismisses_an_elicitation() {
    let server = fixture().await;
    for way in WAYS {
        let mut person = Person::able(way, &server.url).await;
        let call = person.call("test_elicitation").await;
        let asked = person.asked(call, "elicitation/create").await;
        person.answer(&asked, refusal()).await;
        assert_eq!(
            person.text(call).await,
            "Elicitation completed: action=cancel, content=null",
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn without_sampling_or_roots_the_call_ends_with_the_clients_own_error() {
    let server = fixture().await;
    for way in WAYS {
        let mut person = Person::able(way, &server.url).await;
        for (tool, method) in [
            ("sampling", "sampling/createMessage"),
            ("list_roots", "roots/list"),
        ] {
            let call = person.call(&format!("test_input_required_result_{tool}")).await;
            let asked = person.asked(call, method).await;
            person.answer(&asked, refusal()).await;
            let error = person.ended(call).await["error"].clone();
            assert_eq!(error["code"], -32603, "{way:?}: {error}");
            assert_eq!(error["data"], refusal()["error"]);
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("`s`") && message.contains(method), "{message}");
        }
        // One refusal takes the other questions back.
        let call = person.call("test_input_required_result_multiple_inputs").await;
        let mut others = Vec::new();
        let mut sampling = Value::Null;
        for _ in 0..3 {
            let message = person.heard(call).await;
            if message["method"] == "sampling/createMessage" {
                sampling = message;
            } else {
                others.push(message["id"].clone());
            }
        }
        person.answer(&sampling, refusal()).await;
        for _ in 0..2 {
            let notice = person.heard(call).await;
            assert_eq!(notice["method"], "notifications/cancelled", "{notice}");
            assert!(others.contains(&notice["params"]["requestId"]), "{notice}");
        }
        assert_eq!(person.ended(call).await["error"]["code"], -32603);
    }
}

#[tokio::test]
async fn a_cancelled_call_takes_its_question_back_and_is_not_answered() {
    let server = fixture().await;
    for way in WAYS {
        let mut person = Person::able(way, &server.url).await;
        let call = person.call("test_input_required_result_elicitation").await;
        let asked = person.asked(call, "elicitation/create").await;
        person
            .notify("notifications/cancelled", &json!({ "requestId": call }))
            .await;
        let notice = person.heard(call).await;
        assert_eq!(notice["method"], "notifications/cancelled", "{way:?}");
        assert_eq!(notice["params"]["requestId"], asked["id"]);
        if way == Way::Http {
            assert_eq!(person.next(call).await, None, "the stream ends");
        }
        // On a stream for everything, the next answer is another call's.
        let next = person.call("test_simple_text").await;
        person.text(next).await;
    }
}

#[tokio::test]
async fn calls_at_once_get_each_their_own_answers() {
    let server = fixture().await;
    for way in WAYS {
        let mut person = Person::able(way, &server.url).await;
        let mut open = Vec::new();
        for name in ["Ann", "Bob", "Cy"] {
            let call = person.call("test_input_required_result_elicitation").await;
            let asked = person.asked(call, "elicitation/create").await;
            open.push((name, call, asked));
        }
        // The last first.
        while let Some((name, call, asked)) = open.pop() {
            person.answer(&asked, named(name)).await;
            assert_eq!(person.text(call).await, format!("Hello, {name}!"), "{way:?}");
        }
    }
}

#[tokio::test]
async fn clients_with_equal_ids_get_each_their_own_answers() {
    let server = fixture().await;
    let servers = json!({ "s": { "url": server.url } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let mut open = Vec::new();
    for name in ["Ann", "Bob", "Cy"] {
        let client = Client::legacy_of(gate.address(), "/mcp/s", NEWEST, r#"{"elicitation":{}}"#).await;
        let mut events = client
            .begin("test_input_required_result_elicitation", "{}")
            .await
            .events();
        let asked = events.message_of("elicitation/create").await;
        open.push((name, client, events, asked));
    }
    // Nobody can answer for another.
    let (_, ann, ..) = &open[0];
    let (.., foreign) = &open[1];
    let stolen = named("Mallory").to_string();
    let taken = ann
        .respond(
            &foreign["id"],
            stolen.trim_start_matches('{').trim_end_matches('}'),
        )
        .await;
    assert_eq!(taken.status, 400);
    for (name, client, _, asked) in open.iter().rev() {
        let outcome = format!(r#""result":{{"action":"accept","content":{{"name":"{name}"}}}}"#);
        assert_eq!(client.respond(&asked["id"], &outcome).await.status, 202);
    }
    for (name, _client, mut events, _) in open {
        let response = events.response().await;
        assert_eq!(
            response["result"]["content"][0]["text"],
            format!("Hello, {name}!")
        );
    }
}

/// The gate waits a second before it asks the server again, so all ways are gone at once.
#[tokio::test]
async fn a_page_is_shown_once_and_its_end_is_told() {
    join_all(WAYS.map(async |way| {
        let mut puppet = Puppet::start(Era::Modern).await;
        let mut person = Person::able(way, &puppet.url()).await;
        let call = person.call("turn").await;
        ask(
            puppet.turn().await,
            json!({ "k": page("https://a.example/?x=1") }),
            Some("s1"),
        )
        .await;
        let asked = person.asked(call, "elicitation/create").await;
        let params = &asked["params"];
        assert_eq!(
            (&params["mode"], &params["url"]),
            (&json!("url"), &json!("https://a.example/?x=1"))
        );
        let id = params["elicitationId"].as_str().unwrap().to_owned();
        assert!(id.len() > 16, "{id}");
        person
            .answer(&asked, json!({ "result": { "action": "accept" } }))
            .await;
        // The user is not done yet, and is not asked again.
        let again = puppet.turn().await;
        assert_eq!(
            again.message["params"]["inputResponses"],
            json!({ "k": { "action": "accept" } })
        );
        assert_eq!(again.message["params"]["requestState"], "s1");
        ask(again, json!({ "k": page("https://a.example/?x=1") }), Some("s2")).await;
        let again = puppet.turn().await;
        assert_eq!(
            again.message["params"]["inputResponses"],
            json!({ "k": { "action": "accept" } })
        );
        assert_eq!(again.message["params"]["requestState"], "s2");
        finish(again, "done").await;
        let notice = person.heard(call).await;
        assert_eq!(
            notice["method"], "notifications/elicitation/complete",
            "{way:?}: {notice}"
        );
        assert_eq!(notice["params"], json!({ "elicitationId": id }));
        assert_eq!(person.text(call).await, "done");
    }))
    .await;
}

#[tokio::test]
async fn a_page_that_the_user_does_not_visit_is_declined_to_the_server() {
    for action in ["decline", "cancel"] {
        let mut puppet = Puppet::start(Era::Modern).await;
        let mut person = Person::able(Way::Http, &puppet.url()).await;
        let call = person.call("turn").await;
        ask(
            puppet.turn().await,
            json!({ "k": page("https://a.example/") }),
            None,
        )
        .await;
        let asked = person.asked(call, "elicitation/create").await;
        person
            .answer(&asked, json!({ "result": { "action": action } }))
            .await;
        let again = puppet.turn().await;
        assert_eq!(
            again.message["params"]["inputResponses"],
            json!({ "k": { "action": action } })
        );
        finish(again, "without").await;
        assert_eq!(person.text(call).await, "without");
    }
}

#[tokio::test]
async fn nobody_is_asked_what_he_did_not_declare() {
    let asks = [
        form(),
        page("https://a.example/"),
        json!({ "method": "roots/list" }),
    ];
    let declared = [
        json!({}),
        json!({ "elicitation": {} }),
        json!({ "elicitation": {} }),
    ];
    for (asked, declared) in asks.into_iter().zip(declared) {
        let mut puppet = Puppet::start(Era::Modern).await;
        let mut person = Person::meet(Way::Http, &puppet.url(), NEWEST, declared).await;
        let call = person.call("turn").await;
        let method = asked["method"].as_str().unwrap().to_owned();
        ask(puppet.turn().await, json!({ "k": asked }), None).await;
        let error = person.ended(call).await["error"].clone();
        assert_eq!(error["code"], -32603, "{error}");
        assert_eq!(error["data"]["server"], "s");
        assert!(error["message"].as_str().unwrap().contains(&method), "{error}");
    }
}

/// eras.md 2, client capabilities: as the modern era writes them, without what the gate cannot keep up.
#[tokio::test]
async fn a_server_hears_what_its_client_can_answer() {
    let both = json!({ "form": {}, "url": {} });
    let cases = [
        (
            "2025-06-18",
            json!({ "elicitation": {} }),
            json!({ "elicitation": { "form": {} } }),
        ),
        (
            NEWEST,
            json!({ "elicitation": both, "tasks": {}, "x": {} }),
            json!({ "elicitation": both, "x": {} }),
        ),
        (
            NEWEST,
            json!({ "roots": { "listChanged": true } }),
            json!({ "roots": {} }),
        ),
    ];
    for (version, declared, heard) in cases {
        let mut puppet = Puppet::start(Era::Modern).await;
        let mut person = Person::meet(Way::Http, &puppet.url(), version, declared).await;
        let call = person.call("turn").await;
        let turn = puppet.turn().await;
        let meta = &turn.message["params"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], heard);
        finish(turn, "done").await;
        assert_eq!(person.text(call).await, "done");
    }
}

#[tokio::test]
async fn a_question_takes_the_form_that_the_clients_version_knows() {
    for way in WAYS {
        let mut puppet = Puppet::start(Era::Modern).await;
        let capabilities = json!({ "elicitation": {} });
        let mut person = Person::meet(way, &puppet.url(), "2025-06-18", capabilities).await;
        let call = person.call("turn").await;
        ask(puppet.turn().await, json!({ "k": form() }), None).await;
        let asked = person.asked(call, "elicitation/create").await;
        assert!(asked["params"].get("mode").is_none(), "{way:?}: {asked}");
        let field = &asked["params"]["requestedSchema"]["properties"]["c"];
        assert_eq!(
            field,
            &json!({ "type": "string", "enum": ["r"], "enumNames": ["Red"] })
        );
        person
            .answer(&asked, json!({ "result": { "action": "decline" } }))
            .await;
        finish(puppet.turn().await, "done").await;
        assert_eq!(person.text(call).await, "done");
    }
}

/// 2025-11-25 basic/transports, Resumability: a broken stream is no cancellation, and what was said is said again.
#[tokio::test]
async fn a_client_whose_stream_breaks_can_come_back_to_its_question() {
    let server = fixture().await;
    let servers = json!({ "s": { "url": server.url } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let client = Client::legacy_of(gate.address(), "/mcp/s", NEWEST, r#"{"elicitation":{}}"#).await;
    let mut events = client
        .begin("test_input_required_result_elicitation", "{}")
        .await
        .events();
    let first = events.next().await.expect("the priming event");
    let before = first.id.expect("an id to come back with");
    let question = events.message_of("elicitation/create").await;
    drop(events);
    let back = client
        .bare(Method::GET)
        .header("accept", "text/event-stream")
        .header("last-event-id", &before);
    let mut events = back.send(gate.address()).await.events();
    assert_eq!(events.message_of("elicitation/create").await, question);
    let outcome = r#""result":{"action":"accept","content":{"name":"Ann"}}"#;
    assert_eq!(client.respond(&question["id"], outcome).await.status, 202);
    let response = events.response().await;
    assert_eq!(response["result"]["content"][0]["text"], "Hello, Ann!");
}

/// Nobody waits for the answers of a session that has ended.
#[tokio::test]
async fn a_session_that_ends_takes_its_calls_along() {
    let mut puppet = Puppet::start(Era::Modern).await;
    let servers = json!({ "s": { "url": puppet.url() } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let client = Client::legacy_of(gate.address(), "/mcp/s", NEWEST, r#"{"elicitation":{}}"#).await;
    let asking = async { ask(puppet.turn().await, json!({ "k": form() }), None).await };
    let (reply, ()) = tokio::join!(client.begin("turn", "{}"), asking);
    let mut events = reply.events();
    events.message_of("elicitation/create").await;
    assert!(client.delete().await.status < 300);
    eventually("the stream ends", async || match events.next().await {
        Some(event) => {
            let message = event.json();
            assert!(message["method"].is_string() || message.is_null(), "{message}");
            false
        }
        None => true,
    })
    .await;
}

/// What a server of 2025-11-25 asks on the stream of a call.
fn request(id: impl Into<Value>, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

/// The next answer that a legacy server hears.
async fn answer_to(puppet: &mut Puppet, id: impl Into<Value>) -> Value {
    let id = id.into();
    loop {
        let heard = puppet.heard().await;
        if heard["id"] == id {
            return heard;
        }
    }
}

/// Typical: a server asks for roots as soon as it can, in a call that does not need them.
#[tokio::test]
async fn a_legacy_server_hears_an_answer_that_comes_after_its_call() {
    let mut puppet = Puppet::start(Era::Legacy).await;
    let mut person = Person::able(Way::Http, &puppet.url()).await;
    let call = person.call("turn").await;
    let writer = puppet.turn().await.events();
    writer.event(&request("r", "roots/list", &json!({}))).await;
    let asked = person.asked(call, "roots/list").await;
    let content = json!([{ "type": "text", "text": "done" }]);
    writer.result(&json!({ "content": content })).await;
    assert_eq!(person.text(call).await, "done");
    person.answer(&asked, rooted("file:///a")).await;
    let heard = answer_to(&mut puppet, "r").await;
    assert_eq!(heard["result"], rooted("file:///a")["result"], "{heard}");
}

#[tokio::test]
async fn a_legacy_server_can_ask_only_so_much_at_once() {
    let mut puppet = Puppet::start(Era::Legacy).await;
    let mut person = Person::able(Way::Http, &puppet.url()).await;
    let call = person.call("turn").await;
    let writer = puppet.turn().await.events();
    for id in 0..64 {
        writer.event(&request(id, "roots/list", &json!({}))).await;
        person.asked(call, "roots/list").await;
    }
    writer.event(&request(64, "roots/list", &json!({}))).await;
    let heard = answer_to(&mut puppet, 64).await;
    assert_eq!(heard["error"]["code"], -32603, "{heard}");
}

/// A question that no version knows is none that this client has declared.
#[tokio::test]
async fn a_malformed_question_is_not_passed_on() {
    let mut puppet = Puppet::start(Era::Legacy).await;
    let mut person = Person::able(Way::Http, &puppet.url()).await;
    let call = person.call("turn").await;
    let writer = puppet.turn().await.events();
    let odd = json!({ "mode": "telepathy", "message": "?" });
    writer.event(&request("odd", "elicitation/create", &odd)).await;
    let heard = answer_to(&mut puppet, "odd").await;
    assert_eq!(heard["error"]["code"], -32602, "{heard}");
    writer
        .result(&json!({ "content": [{ "type": "text", "text": "done" }] }))
        .await;
    assert_eq!(person.text(call).await, "done");
}
