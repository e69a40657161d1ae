//! Modern clients of legacy servers: what such a server asks parks the call, its client gets `input_required`, and the call
//! goes on when it is sent again with the answers. Through the real binary.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use gatepost_testkit::gate::{
    Answer, Client, Era, Gate, Heard, Part, Puppet, Stage as Servers, Writer, eventually, within,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");
const EVERYTHING: &str = r#"{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}"#;

/// A gate in front of one server whose every word the test says.
struct Stage {
    gate: Gate,
    puppet: Puppet,
}

impl Stage {
    async fn set(more: &str) -> Self {
        let puppet = Puppet::start(Era::Legacy).await;
        let gate = Gate::start(GATEPOST, &configuration(&puppet, more)).await;
        Self { gate, puppet }
    }

    fn client(&self) -> Client {
        self.gate.modern("/mcp/s").with_capabilities(EVERYTHING)
    }

    /// Begins a call, and has the server begin a stream in answer to it.
    async fn begin(&mut self, client: &Client, params: &Value) -> (JoinHandle<Answer>, Writer) {
        let request = client.request("tools/call", &call(params));
        let address = self.gate.address();
        let answer = tokio::spawn(async move { request.send(address).await.whole().await });
        (answer, self.puppet.turn().await.events())
    }

    /// A call that was answered with one form, still open on the server.
    async fn parked(&mut self, client: &Client) -> (Value, Writer) {
        let (answer, writer) = self.begin(client, &json!({})).await;
        writer.event(&form(7)).await;
        let asked = answer.await.unwrap();
        (unfinished(&asked), writer)
    }

    /// The next answer or notification that the server hears, its sessions' beginnings aside.
    async fn heard(&mut self) -> Value {
        loop {
            let heard = self.puppet.heard().await;
            if heard["method"] != "notifications/initialized" {
                return heard;
            }
        }
    }

    /// How many calls wait at the gate.
    async fn waiting(&self) -> String {
        let metrics = gatepost_testkit::gate::Post::get("/metrics");
        let text = metrics.send(self.gate.address()).await.whole().await;
        let lines = text.text();
        let line = lines
            .lines()
            .find(|line| line.starts_with("gatepost_calls_parked "));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    }
}

fn configuration(puppet: &Puppet, more: &str) -> String {
    let servers = json!({ "s": { "url": puppet.url() } });
    format!("servers: {servers}\n{more}")
}

/// The parameters of a call of the one tool, with these added.
fn call(more: &Value) -> String {
    let mut params = json!({ "name": "turn", "arguments": { "x": 1, "y": [true] } });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params.to_string()
}

/// The same call again, with answers to what `asked` asked.
fn again(asked: &Value, responses: &Value) -> Value {
    json!({ "requestState": asked["requestState"], "inputResponses": responses })
}

fn form(id: impl Into<Value>) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": "elicitation/create", "params": { "message": "Who?",
        "requestedSchema": { "type": "object", "properties": { "name": { "type": "string" } } },
        "_meta": { "progressToken": 9 } } })
}

fn unfinished(answer: &Answer) -> Value {
    let result = answer.json()["result"].clone();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(result["resultType"], "input_required", "{}", answer.text());
    result
}

fn accepted(name: &str) -> Value {
    json!({ "action": "accept", "content": { "name": name } })
}

#[tokio::test]
async fn a_question_is_answered_by_calling_again() {
    let mut stage = Stage::set("").await;
    let client = stage.client().with_meta(r#""progressToken":"mine""#);
    let (answer, writer) = stage.begin(&client, &json!({})).await;
    writer.event(&form(7)).await;
    let asked = unfinished(&answer.await.unwrap());
    assert_eq!(
        asked["inputRequests"],
        json!({ "ask-1": { "method": "elicitation/create", "params": { "message": "Who?",
            "requestedSchema": { "type": "object", "properties": { "name": { "type": "string" } } } } } })
    );
    assert_eq!(
        asked["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "puppet"
    );
    assert_eq!(stage.waiting().await, "1");
    // Written anew by its client, with another order and other white space: it is the same call.
    let params = format!(
        r#"{{"arguments": {{"y":[ true ], "x":1}}, "inputResponses":{{"ask-1":{}}}, "requestState":{}, "name":"turn"}}"#,
        accepted("Ann é"),
        asked["requestState"]
    );
    let request = client.request("tools/call", &params);
    let address = stage.gate.address();
    let retry = tokio::spawn(async move { request.send(address).await.whole().await });
    let heard = stage.heard().await;
    assert_eq!(
        heard,
        json!({ "jsonrpc": "2.0", "id": 7, "result": accepted("Ann é") })
    );
    let up = writer.id().clone();
    writer
        .event(&json!({ "jsonrpc": "2.0", "method": "notifications/progress",
            "params": { "progressToken": up, "progress": 1 } }))
        .await;
    writer
        .result(&json!({ "content": [{ "type": "text", "text": "hello" }] }))
        .await;
    let answer = retry.await.unwrap();
    let messages: Vec<Value> = answer
        .messages()
        .iter()
        .map(|raw| serde_json::from_slice(raw).unwrap())
        .collect();
    assert_eq!(
        messages[0]["params"]["progressToken"],
        "mine",
        "{}",
        answer.text()
    );
    assert_eq!(messages[1]["id"], 2, "{}", answer.text());
    assert_eq!(messages[1]["result"]["content"][0]["text"], "hello");
    assert_eq!(messages[1]["result"]["resultType"], "complete");
    assert_eq!(stage.waiting().await, "0");
}

#[tokio::test]
async fn what_is_asked_together_is_put_together_and_may_be_answered_in_parts() {
    let mut stage = Stage::set("asks: { settle: 200ms }").await;
    let client = stage.client();
    let (answer, writer) = stage.begin(&client, &json!({})).await;
    let sampling = json!({ "jsonrpc": "2.0", "id": 2, "method": "sampling/createMessage",
        "params": { "messages": [], "maxTokens": 5 } });
    let roots = json!({ "jsonrpc": "2.0", "id": 3, "method": "roots/list" });
    // As one write, so that no pause of this machine comes between.
    let together =
        [form("user_name"), sampling, roots].map(|asked| format!("event: message\ndata: {asked}\n\n"));
    assert!(writer.bytes(together.concat()).await);
    let first = unfinished(&answer.await.unwrap());
    let keys: Vec<&String> = first["inputRequests"].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["ask-1", "ask-2", "user_name"],
        "a name of the server's own is kept"
    );
    assert_eq!(first["inputRequests"]["ask-2"], json!({ "method": "roots/list" }));
    // An answer that is none to its question leaves everything as it was.
    let odd = json!({ "user_name": { "roots": [] } });
    let refused = client.ask("tools/call", &call(&again(&first, &odd))).await;
    assert_eq!(refused.outcome(), (200, Some(-32602)), "{}", refused.text());
    let one = json!({ "user_name": accepted("Ann"), "nobody asked": {} });
    let rest = client.ask("tools/call", &call(&again(&first, &one))).await;
    let second = unfinished(&rest);
    assert_eq!(
        second["inputRequests"].as_object().unwrap().len(),
        2,
        "{}",
        rest.text()
    );
    assert_ne!(first["requestState"], second["requestState"]);
    assert_eq!(stage.heard().await["id"], "user_name");
    // The first state has been used: the very same again gets the very same, anything else nothing.
    let same = client.ask("tools/call", &call(&again(&first, &one))).await;
    assert_eq!(unfinished(&same), second);
    let other = json!({ "user_name": accepted("Bob") });
    let late = client.ask("tools/call", &call(&again(&first, &other))).await;
    assert_eq!(late.outcome(), (200, Some(-32602)), "{}", late.text());
    let rest = json!({ "ask-2": { "roots": [] },
        "ask-1": { "role": "assistant", "content": { "type": "text", "text": "t" }, "model": "m" } });
    let params = call(&again(&second, &rest));
    let request = client.request("tools/call", &params);
    let address = stage.gate.address();
    let last = tokio::spawn(async move { request.send(address).await.whole().await });
    let mut heard = [
        stage.heard().await["id"].clone(),
        stage.heard().await["id"].clone(),
    ];
    heard.sort_by_key(Value::to_string);
    assert_eq!(heard, [json!(2), json!(3)]);
    // And again, in the same call.
    writer.event(&form(4)).await;
    let third = unfinished(&last.await.unwrap());
    assert_eq!(third["inputRequests"].as_object().unwrap().len(), 1);
    let key = third["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let request = client.request(
        "tools/call",
        &call(&again(&third, &json!({ key: accepted("x") }))),
    );
    let end = tokio::spawn(async move { request.send(address).await.whole().await });
    assert_eq!(stage.heard().await["id"], 4);
    writer.result(&json!({ "content": [] })).await;
    assert_eq!(end.await.unwrap().outcome(), (200, None));
}

/// A client that sends its retry twice learns that the first is being answered, and then gets the same answer.
#[tokio::test]
async fn an_equal_retry_of_one_that_is_being_answered_is_told_so() {
    let mut stage = Stage::set("").await;
    let client = stage.client();
    let address = stage.gate.address();
    let (asked, writer) = stage.parked(&client).await;
    let params = call(&again(&asked, &json!({ "ask-1": accepted("Ann") })));
    let send = || {
        let request = client.request("tools/call", &params);
        async move { request.send(address).await.whole().await }
    };
    let first = tokio::spawn(send());
    assert_eq!(stage.heard().await["id"], 7, "the server has the answer");
    let second = send().await;
    assert_eq!(second.outcome(), (200, Some(-32603)), "{}", second.text());
    let error = &second.json()["error"];
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("is being answered already"),
        "{error}"
    );
    assert_eq!(error["data"]["retry_safe"], true);
    writer.result(&json!({ "content": [] })).await;
    let first = first.await.unwrap();
    assert_eq!(first.outcome(), (200, None), "{}", first.text());
    assert_eq!(send().await.json()["result"], first.json()["result"]);
}

#[tokio::test]
async fn a_state_is_good_for_its_own_call_only() {
    let mut stage = Stage::set("views: { v: { include: [\"s__*\"], rename: { s__turn: turn } } }").await;
    let client = stage.client();
    let (asked, writer) = stage.parked(&client).await;
    let answers = json!({ "ask-1": accepted("Ann") });
    let with = |state: Value, more: Value| {
        let mut params = json!({ "name": "turn", "arguments": { "x": 1, "y": [true] }, "requestState": state,
            "inputResponses": answers });
        for (name, value) in more.as_object().unwrap() {
            params[name] = value.clone();
        }
        params.to_string()
    };
    let state = asked["requestState"].clone();
    let mut forged = state.as_str().unwrap().to_owned();
    forged.replace_range(20..21, if forged.as_bytes()[20] == b'A' { "B" } else { "A" });
    let elsewhere = stage.gate.modern("/mcp/v").with_capabilities(EVERYTHING);
    let mut said = Vec::new();
    for (client, params) in [
        (&client, with(json!(forged), json!({}))),
        (&client, with(json!(""), json!({}))),
        (&client, with(json!("the server's own"), json!({}))),
        (
            &client,
            with(state.clone(), json!({ "arguments": { "x": 2, "y": [true] } })),
        ),
        (
            &client,
            with(state.clone(), json!({ "arguments": { "x": 1.0, "y": [true] } })),
        ),
        (&elsewhere, with(state.clone(), json!({}))),
    ] {
        let refused = client.ask("tools/call", &params).await;
        assert_eq!(
            refused.outcome(),
            (200, Some(-32602)),
            "{params}: {}",
            refused.text()
        );
        said.push(refused.json()["error"]["message"].clone());
    }
    said.dedup();
    assert_eq!(said.len(), 1, "one message for every cause");
    assert!(
        said[0].as_str().unwrap().contains("make the call anew"),
        "{said:?}"
    );
    let not_a_string = client.ask("tools/call", &with(json!(7), json!({}))).await;
    assert_eq!(not_a_string.outcome(), (200, Some(-32602)));
    // After all that it is still good.
    let request = client.request("tools/call", &with(state, json!({})));
    let address = stage.gate.address();
    let good = tokio::spawn(async move { request.send(address).await.whole().await });
    assert_eq!(stage.heard().await["id"], 7);
    writer.result(&json!({ "content": [] })).await;
    assert_eq!(good.await.unwrap().outcome(), (200, None));
    let metrics = gatepost_testkit::gate::Post::get("/metrics");
    assert_eq!(metrics.send(address).await.whole().await.status, 200);
}

#[tokio::test]
async fn what_the_client_did_not_declare_is_refused_in_its_name() {
    let mut stage = Stage::set("").await;
    for (declared, required) in [
        (r#"{"roots":{}}"#, json!({ "elicitation": { "form": {} } })),
        (
            r#"{"elicitation":{"url":{}}}"#,
            json!({ "elicitation": { "form": {} } }),
        ),
        ("{}", json!({ "elicitation": { "form": {} } })),
    ] {
        let client = stage.gate.modern("/mcp/s").with_capabilities(declared);
        // A tool that can do without gives its result.
        let (answer, writer) = stage.begin(&client, &json!({})).await;
        writer.event(&form(1)).await;
        let refused = stage.heard().await;
        assert!(
            [json!(-32602), json!(-32601)].contains(&refused["error"]["code"]),
            "{refused}"
        );
        writer.result(&json!({ "content": [] })).await;
        assert_eq!(answer.await.unwrap().outcome(), (200, None), "{declared}");
        // One that cannot fails, and its client learns for lack of what.
        let (answer, writer) = stage.begin(&client, &json!({})).await;
        writer.event(&form(1)).await;
        stage.heard().await;
        let error =
            json!({ "jsonrpc": "2.0", "id": writer.id(), "error": { "code": -32000, "message": "no" } });
        writer.event(&error).await;
        let failed = answer.await.unwrap();
        assert_eq!(failed.outcome(), (400, Some(-32021)), "{}", failed.text());
        assert_eq!(failed.json()["error"]["data"]["requiredCapabilities"], required);
    }
}

#[tokio::test]
async fn the_server_need_not_wait_for_the_answer() {
    let mut stage = Stage::set("").await;
    let client = stage.client();
    let (asked, writer) = stage.parked(&client).await;
    writer
        .result(&json!({ "content": [{ "type": "text", "text": "without you" }] }))
        .await;
    // The result waits for the client.
    let answers = json!({ "ask-1": accepted("Ann") });
    let answer = client.ask("tools/call", &call(&again(&asked, &answers))).await;
    assert_eq!(
        answer.json()["result"]["content"][0]["text"],
        "without you",
        "{}",
        answer.text()
    );
    assert_eq!(stage.waiting().await, "0");
}

#[tokio::test]
async fn a_server_that_fails_meanwhile_is_named() {
    let mut stage = Stage::set("").await;
    let client = stage.client();
    let (asked, writer) = stage.parked(&client).await;
    drop(writer);
    let answers = json!({ "ask-1": accepted("Ann") });
    let answer = client.ask("tools/call", &call(&again(&asked, &answers))).await;
    assert_eq!(answer.outcome(), (200, Some(-32603)), "{}", answer.text());
    assert_eq!(answer.json()["error"]["data"]["server"], "s");
}

#[tokio::test]
async fn a_client_that_never_comes_back_costs_nothing_for_ever() {
    let mut stage = Stage::set("asks: { wait: 300ms }").await;
    let client = stage.client();
    let (asked, writer) = stage.parked(&client).await;
    let up = writer.id().clone();
    // Nobody answered: that is what the server hears, and then that nobody waits.
    assert_eq!(
        stage.heard().await,
        json!({ "jsonrpc": "2.0", "id": 7, "result": { "action": "cancel" } })
    );
    let cancelled = stage.heard().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], up);
    writer.abandoned().await;
    assert_eq!(stage.waiting().await, "0");
    let answers = json!({ "ask-1": accepted("Ann") });
    let late = client.ask("tools/call", &call(&again(&asked, &answers))).await;
    assert_eq!(late.outcome(), (200, Some(-32602)), "{}", late.text());
    assert!(
        stage.puppet.has_heard().is_none(),
        "never a silent second execution"
    );
}

#[tokio::test]
async fn waiting_calls_are_bounded() {
    let mut stage = Stage::set("asks: { per_principal: 2 }").await;
    let client = stage.client();
    let first = stage.parked(&client).await;
    let second = stage.parked(&client).await;
    let (answer, writer) = stage.begin(&client, &json!({})).await;
    writer.event(&form(1)).await;
    let refused = answer.await.unwrap();
    assert_eq!(refused.outcome(), (200, Some(-32603)), "{}", refused.text());
    assert!(
        refused.text().contains("asks.per_principal"),
        "{}",
        refused.text()
    );
    let dismissed = stage.heard().await;
    assert_eq!(dismissed["result"], json!({ "action": "cancel" }), "{dismissed}");
    writer.abandoned().await;
    // The others are well, and one that ends makes room.
    let (asked, writer) = first;
    let answers = json!({ "ask-1": accepted("Ann") });
    let request = client.request("tools/call", &call(&again(&asked, &answers)));
    let address = stage.gate.address();
    let good = tokio::spawn(async move { request.send(address).await.whole().await });
    writer.result(&json!({ "content": [] })).await;
    assert_eq!(good.await.unwrap().outcome(), (200, None));
    drop(stage.parked(&client).await);
    drop(second);
}

#[tokio::test]
async fn closing_the_stream_cancels_a_call_that_is_not_parked_and_no_other() {
    let mut stage = Stage::set("").await;
    let client = stage.client();
    let (parked, parked_writer) = stage.parked(&client).await;
    let (asked, writer) = stage.parked(&client).await;
    let answers = json!({ "ask-1": accepted("Ann") });
    let request = client.request("tools/call", &call(&again(&asked, &answers)));
    let address = stage.gate.address();
    let retry = tokio::spawn(async move { request.send(address).await.whole().await });
    assert_eq!(stage.heard().await["id"], 7);
    retry.abort();
    let cancelled = stage.heard().await;
    assert_eq!(cancelled["method"], "notifications/cancelled", "{cancelled}");
    writer.abandoned().await;
    assert!(parked_writer.is_heard());
    let request = client.request("tools/call", &call(&again(&parked, &answers)));
    let good = tokio::spawn(async move { request.send(address).await.whole().await });
    parked_writer.result(&json!({ "content": [] })).await;
    assert_eq!(good.await.unwrap().outcome(), (200, None));
}

/// A server need not heed a cancellation; it waits for no answer all the same.
#[tokio::test]
async fn closing_the_stream_before_the_client_is_told_dismisses_what_was_asked() {
    let mut stage = Stage::set("asks: { settle: 10s }").await;
    let client = stage.client().with_meta(r#""progressToken":"mine""#);
    let request = client.request("tools/call", &call(&json!({})));
    let address = stage.gate.address();
    let asking = tokio::spawn(async move { request.send(address).await.events() });
    let writer = stage.puppet.turn().await.events();
    writer.event(&form(7)).await;
    let progress = json!({ "progressToken": writer.id(), "progress": 1 });
    writer
        .event(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": progress }))
        .await;
    let mut events = asking.await.unwrap();
    assert_eq!(events.message().await["params"]["progressToken"], "mine");
    drop(events);
    let dismissed = stage.heard().await;
    assert_eq!(dismissed["id"], 7, "{dismissed}");
    assert_eq!(dismissed["result"], json!({ "action": "cancel" }), "{dismissed}");
    let cancelled = stage.heard().await;
    assert_eq!(cancelled["method"], "notifications/cancelled", "{cancelled}");
    writer.abandoned().await;
}

/// Nor is much asked of a client at once.
#[tokio::test]
async fn an_answer_to_what_was_not_put_to_the_client_is_none() {
    let mut stage = Stage::set("").await;
    let client = stage.client();
    let (asked, writer) = stage.parked(&client).await;
    let large = "x".repeat(9 << 20);
    for id in [8, 9] {
        let question = json!({ "jsonrpc": "2.0", "id": id, "method": "sampling/createMessage",
            "params": { "messages": [], "systemPrompt": large, "maxTokens": 5 } });
        writer.event(&question).await;
    }
    let refused = stage.heard().await;
    assert_eq!(refused["id"], 9, "{refused}");
    assert_eq!(refused["error"]["code"], -32603, "{refused}");
    let guessed = json!({ "role": "assistant", "content": { "type": "text", "text": "?" }, "model": "m" });
    let answers = json!({ "ask-1": accepted("Ann"), "ask-2": guessed });
    let rest = client.ask("tools/call", &call(&again(&asked, &answers))).await;
    let rest = unfinished(&rest);
    let keys: Vec<&String> = rest["inputRequests"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ask-2"]);
    assert_eq!(stage.heard().await["id"], 7);
}

#[tokio::test]
async fn a_parked_call_stays_with_its_owner() {
    let mut stage = Stage::set("").await;
    let client = stage.client();
    let (asked, _writer) = stage.parked(&client).await;
    let answers = json!({ "ask-1": accepted("Ann") });
    let params = call(&again(&asked, &answers));
    let Stage { gate, puppet } = stage;
    let gate = gate.restart(&configuration(&puppet, "")).await;
    let client = gate.modern("/mcp/s").with_capabilities(EVERYTHING);
    let late = client.ask("tools/call", &params).await;
    assert_eq!(late.outcome(), (200, Some(-32602)), "{}", late.text());
}

#[tokio::test]
async fn a_page_is_visited_and_its_name_stays_behind() {
    let mut stage = Stage::set("").await;
    let client = stage.client();
    let (answer, writer) = stage.begin(&client, &json!({})).await;
    let page = json!({ "mode": "url", "message": "Sign in", "url": "https://id.example.com/?a=b", "elicitationId": "e-1" });
    writer
        .event(&json!({ "jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": page }))
        .await;
    let asked = unfinished(&answer.await.unwrap());
    assert_eq!(
        asked["inputRequests"]["ask-1"]["params"],
        json!({ "mode": "url", "message": "Sign in", "url": "https://id.example.com/?a=b" })
    );
    let agreed = json!({ "ask-1": { "action": "accept" } });
    let request = client.request("tools/call", &call(&again(&asked, &agreed)));
    let address = stage.gate.address();
    let good = tokio::spawn(async move { request.send(address).await.whole().await });
    assert_eq!(stage.heard().await["result"], json!({ "action": "accept" }));
    writer.result(&json!({ "content": [] })).await;
    assert_eq!(good.await.unwrap().outcome(), (200, None));
    assert!(
        !stage.gate.log().contains("id.example.com"),
        "a URL may be a secret"
    );
}

#[tokio::test]
async fn a_call_that_needs_a_page_first_is_made_again_after_the_visit() {
    let mut stage = Stage::set("").await;
    let client = stage.client();
    let page = json!({ "mode": "url", "message": "Sign in", "url": "https://id.example.com/", "elicitationId": "e-1" });
    let refusal = |id: &Value| {
        json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32042, "message": "first sign in",
            "data": { "elicitations": [page] } } })
    };
    let (answer, writer) = stage.begin(&client, &json!({})).await;
    writer.event(&refusal(writer.id())).await;
    let asked = unfinished(&answer.await.unwrap());
    assert_eq!(
        asked["inputRequests"]["ask-1"]["params"]["url"],
        "https://id.example.com/"
    );
    assert_eq!(
        stage.waiting().await,
        "0",
        "the server has ended the call: nothing is parked"
    );
    let declined = json!({ "ask-1": { "action": "decline" } });
    let no = client.ask("tools/call", &call(&again(&asked, &declined))).await;
    assert_eq!(no.outcome(), (200, Some(-32603)), "{}", no.text());
    assert!(no.text().contains("did not agree"), "{}", no.text());
    // Another call's stream brings the word that the user is done.
    let (other, messenger) = stage.begin(&client, &json!({})).await;
    messenger
        .event(
            &json!({ "jsonrpc": "2.0", "method": "notifications/elicitation/complete",
            "params": { "elicitationId": "e-1" } }),
        )
        .await;
    messenger.result(&json!({ "content": [] })).await;
    let other = other.await.unwrap();
    assert!(!other.text().contains("e-1"), "{}", other.text());
    let agreed = json!({ "ask-1": { "action": "accept" } });
    let request = client.request("tools/call", &call(&again(&asked, &agreed)));
    let address = stage.gate.address();
    let good = tokio::spawn(async move { request.send(address).await.whole().await });
    let turn = stage.puppet.turn().await;
    assert!(
        turn.message["params"].get("inputResponses").is_none(),
        "{}",
        turn.message
    );
    turn.events().result(&json!({ "content": [] })).await;
    assert_eq!(good.await.unwrap().outcome(), (200, None));
    // Who cannot be sent to a page learns what it would take.
    let plain = stage
        .gate
        .modern("/mcp/s")
        .with_capabilities(r#"{"elicitation":{}}"#);
    let (answer, writer) = stage.begin(&plain, &json!({})).await;
    writer.event(&refusal(writer.id())).await;
    let failed = answer.await.unwrap();
    assert_eq!(failed.outcome(), (400, Some(-32021)), "{}", failed.text());
}

#[tokio::test]
async fn many_calls_may_wait_on_one_server_and_others_go_on() {
    let mut stage = Stage::set("").await;
    let client = stage.client();
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(stage.parked(&client).await);
    }
    assert_eq!(stage.waiting().await, "20");
    for (number, (asked, writer)) in waiting.into_iter().enumerate().rev() {
        let answers = json!({ "ask-1": accepted(&number.to_string()) });
        let request = client.request("tools/call", &call(&again(&asked, &answers)));
        let address = stage.gate.address();
        let good = tokio::spawn(async move { request.send(address).await.whole().await });
        let heard = stage.heard().await;
        assert_eq!(heard["result"]["content"]["name"], number.to_string());
        writer
            .result(&json!({ "content": [{ "type": "text", "text": number.to_string() }] }))
            .await;
        let answer = good.await.unwrap();
        assert_eq!(answer.json()["result"]["content"][0]["text"], number.to_string());
    }
    eventually("nothing is in flight", async || {
        stage.gate.health().await["in_flight"] == 0
    })
    .await;
}

/// The next call of the program's tool, whatever else it hears before.
async fn part(servers: &mut Servers) -> Part {
    loop {
        if let Heard::Call(part) = within("a call", servers.heard()).await {
            return part;
        }
    }
}

/// The next answer or notification, its handshakes aside.
async fn said(servers: &mut Servers) -> Value {
    loop {
        match within("a message", servers.heard()).await {
            Heard::Said { message, .. } if message["method"] != "notifications/initialized" => {
                return message;
            }
            Heard::Call(part) => panic!("an unexpected call: {}", part.message),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_program_that_waits_leaves_the_others_their_places_and_gets_its_own_back() {
    let mut servers = Servers::default();
    let (command, args) = servers.program(Era::Legacy).await;
    let configuration = json!({ "s": { "command": command, "args": args, "pool": { "max": 1 } } });
    let gate = Gate::start(
        GATEPOST,
        &format!("servers: {configuration}\nasks: {{ wait: 5s }}"),
    )
    .await;
    let client = gate.modern("/mcp/s").with_capabilities(EVERYTHING);
    let address = gate.address();
    let calling = || {
        let request = client.request("tools/call", &call(&json!({})));
        tokio::spawn(async move { request.send(address).await.whole().await })
    };
    // Within `asks.wait`, which leaves time to start a process:
    let first = calling();
    let mut waiting = part(&mut servers).await;
    waiting.say(&form(7));
    unfinished(&first.await.unwrap());
    // The only place of the pool is free for another call, on another process.
    let second = calling();
    let mut working = part(&mut servers).await;
    assert_ne!(waiting.line.session, working.line.session);
    // As many may wait as may work.
    working.say(&form(8));
    let refused = second.await.unwrap();
    assert_eq!(refused.outcome(), (200, Some(-32603)), "{}", refused.text());
    assert!(refused.text().contains("pool.max"), "{}", refused.text());
    assert_eq!(said(&mut servers).await["result"], json!({ "action": "cancel" }));
    assert_eq!(said(&mut servers).await["method"], "notifications/cancelled");
    working.end(&json!({ "result": { "content": [] } }), false);
    // Nobody comes for the first; its program is told so, and serves again once it is done with the call.
    let dismissed = said(&mut servers).await;
    assert_eq!(
        (&dismissed["id"], &dismissed["result"]["action"]),
        (&json!(7), &json!("cancel"))
    );
    assert_eq!(said(&mut servers).await["method"], "notifications/cancelled");
    waiting.end(&json!({ "result": { "content": [] } }), false);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let third = calling();
        let again = part(&mut servers).await;
        seen.push(again.line.session);
        again.end(&json!({ "result": { "content": [] } }), false);
        assert_eq!(third.await.unwrap().outcome(), (200, None));
    }
    assert_eq!(seen[0], seen[1], "no process for each call");
    // One for what needs no client, and one place of the pool's.
    eventually("no process is left over", async || {
        gate.health().await["servers"]["s"]["sessions"].as_u64().unwrap() <= 2
    })
    .await;
}

/// What a modern server's unfinished result holds.
fn required(state: &str, more: &Value) -> Value {
    let mut result = json!({ "resultType": "input_required", "requestState": state, "com.example/odd": [1.0],
        "inputRequests": { "who": { "method": "elicitation/create", "params": form(1)["params"] } } });
    for (name, value) in more.as_object().unwrap() {
        result[name] = value.clone();
    }
    result
}

/// Sends a call, and has the modern server answer it with one document.
async fn exchange(
    gate: &Gate,
    puppet: &mut Puppet,
    client: &Client,
    params: &Value,
    result: &Value,
) -> (Value, Answer) {
    let request = client.request("tools/call", &call(params));
    let address = gate.address();
    let answer = tokio::spawn(async move { request.send(address).await.whole().await });
    let turn = puppet.turn().await;
    let message = turn.message.clone();
    let writer = turn.document();
    let text = json!({ "jsonrpc": "2.0", "id": writer.id(), "result": result }).to_string();
    writer.bytes(text).await;
    drop(writer);
    (message, answer.await.unwrap())
}

#[tokio::test]
async fn a_modern_servers_state_is_sealed_to_its_caller_and_call() {
    let mut puppet = Puppet::start(Era::Modern).await;
    let keys = "sealing: { keys: [\"0123456789abcdef0123456789abcdef\"] }";
    let gate = Gate::start(GATEPOST, &configuration(&puppet, keys)).await;
    let twin = Gate::start(GATEPOST, &configuration(&puppet, keys)).await;
    let stranger = Gate::start(GATEPOST, &configuration(&puppet, "")).await;
    let client = gate.modern("/mcp/s").with_capabilities(EVERYTHING);
    for state in ["round 1 \" é".to_owned(), String::new(), "x".repeat(700_000)] {
        let (_, answer) = exchange(
            &gate,
            &mut puppet,
            &client,
            &json!({}),
            &required(&state, &json!({})),
        )
        .await;
        let asked = unfinished(&answer);
        let sealed = asked["requestState"].as_str().unwrap();
        assert!(sealed != state && !sealed.is_empty(), "{sealed}");
        assert_eq!(asked["com.example/odd"], json!([1.0]), "the rest passes as it is");
        assert_eq!(asked["inputRequests"]["who"]["params"], form(1)["params"]);
        let answers = again(&asked, &json!({ "who": accepted("Ann"), "odd": { "big": 1 } }));
        // On another gate with the same keys as well, and as often as the server likes.
        for gate in [&gate, &twin, &gate] {
            let client = gate.modern("/mcp/s").with_capabilities(EVERYTHING);
            let done = json!({ "resultType": "complete", "content": [] });
            let (heard, answer) = exchange(gate, &mut puppet, &client, &answers, &done).await;
            assert_eq!(heard["params"]["requestState"], json!(state));
            assert_eq!(heard["params"]["inputResponses"], answers["inputResponses"]);
            assert_eq!(answer.outcome(), (200, None), "{}", answer.text());
        }
        let elsewhere = stranger.modern("/mcp/s").with_capabilities(EVERYTHING);
        let mut other = answers.clone();
        other["arguments"] = json!({ "x": 2 });
        for (client, params) in [(&elsewhere, &answers), (&client, &other)] {
            let refused = client.ask("tools/call", &call(params)).await;
            assert_eq!(refused.outcome(), (200, Some(-32602)), "{}", refused.text());
        }
    }
    // Without a state an answer belongs to a first call, and is the server's to judge.
    let first = json!({ "inputResponses": { "who": accepted("Ann") } });
    let done = json!({ "resultType": "complete", "content": [] });
    let (heard, _) = exchange(&gate, &mut puppet, &client, &first, &done).await;
    assert_eq!(heard["params"]["inputResponses"], first["inputResponses"]);
    assert!(heard["params"].get("requestState").is_none());
}

#[tokio::test]
async fn a_modern_server_that_asks_for_too_much_is_named() {
    let mut puppet = Puppet::start(Era::Modern).await;
    let gate = Gate::start(GATEPOST, &configuration(&puppet, "")).await;
    let client = gate.modern("/mcp/s").with_capabilities(r#"{"elicitation":{}}"#);
    for (result, why) in [
        (
            required(
                "s",
                &json!({ "inputRequests": { "r": { "method": "roots/list" } } }),
            ),
            "roots/list",
        ),
        (
            required(
                "s",
                &json!({ "inputRequests": { "r": { "method": "tools/list" } } }),
            ),
            "tools/list",
        ),
        (required("s", &json!({ "inputRequests": [] })), "not an object"),
        (json!({ "resultType": "input_required" }), "asks for nothing"),
    ] {
        let (_, answer) = exchange(&gate, &mut puppet, &client, &json!({}), &result).await;
        assert_eq!(answer.outcome(), (200, Some(-32603)), "{}", answer.text());
        assert_eq!(answer.json()["error"]["data"]["server"], "s");
        assert!(answer.text().contains(why), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_call_that_waits_takes_no_place_among_those_that_work() {
    let puppet = Puppet::start(Era::Legacy).await;
    let servers = json!({ "s": { "url": puppet.url(), "concurrency": 1 } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let mut stage = Stage { gate, puppet };
    let client = stage.client();
    let (asked, waiting) = stage.parked(&client).await;
    let (answer, writer) = stage.begin(&client, &json!({})).await;
    writer.result(&json!({ "content": [] })).await;
    assert_eq!(answer.await.unwrap().outcome(), (200, None));
    let answers = json!({ "ask-1": accepted("Ann") });
    let request = client.request("tools/call", &call(&again(&asked, &answers)));
    let address = stage.gate.address();
    let good = tokio::spawn(async move { request.send(address).await.whole().await });
    assert_eq!(stage.heard().await["id"], 7);
    waiting.result(&json!({ "content": [] })).await;
    assert_eq!(good.await.unwrap().outcome(), (200, None));
}
