use gatepost_protocol::{envelope::Message, json::Strictness};
use serde_json::{Value, json};
use tokio::time::{advance, timeout};

use super::*;

const OLD: Version = Version::V2025_06_18;
const NEW: Version = Version::V2025_11_25;

/// A client with its call, and a server that says what the test wants it to.
struct Scene {
    conversations: Arc<Conversations>,
    client: ConversationId,
    replay: Replay,
    begun: Instant,
}

/// What the client was told: of a question its id, of a notification none.
#[derive(Debug)]
struct Told {
    id: u64,
    message: Value,
}

impl Scene {
    fn new(version: Version, capabilities: &Value) -> Self {
        let conversations = Arc::<Conversations>::default();
        let client = ConversationId::new().unwrap();
        let capabilities = Bytes::from(capabilities.to_string());
        let replay = Replay::new(&conversations, client, version, capabilities, "tickets".into());
        Self {
            conversations,
            client,
            replay,
            begun: Instant::now(),
        }
    }

    fn able() -> Self {
        let able =
            json!({ "elicitation": { "form": {}, "url": {} }, "sampling": { "tools": {} }, "roots": {} });
        Self::new(NEW, &able)
    }

    /// The server answers `input_required`.
    fn round(&mut self, asks: Value, state: Option<&str>) {
        self.replay.asked(required(asks, state)).unwrap();
    }

    async fn told(&mut self) -> Told {
        match self.replay.turn().await {
            Turn::Say(message) => {
                let message: Value = serde_json::from_slice(&message).unwrap();
                let id = message["id"].as_u64().unwrap_or_default();
                Told { id, message }
            }
            other => panic!("{other:?}"),
        }
    }

    async fn again(&mut self) -> (Value, Option<String>) {
        match self.replay.turn().await {
            Turn::Again(Input { responses, state }) => {
                let responses = responses.map_or(Value::Null, |raw| serde_json::from_slice(&raw).unwrap());
                (responses, state)
            }
            other => panic!("{other:?}"),
        }
    }

    async fn stopped(&mut self) -> (i64, String, Value) {
        match self.replay.turn().await {
            Turn::Stop { code, message, data } => {
                let data = data.map_or(Value::Null, |raw| serde_json::from_slice(&raw).unwrap());
                (code, message, data)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Nothing is to be done, however long one waits.
    async fn idle(&mut self) {
        let day = Duration::from_secs(86_400);
        assert!(timeout(day, self.replay.turn()).await.is_err());
    }

    fn answer(&self, id: u64, outcome: &Value) {
        let mut message = json!({ "jsonrpc": "2.0", "id": id });
        message
            .as_object_mut()
            .unwrap()
            .extend(outcome.as_object().unwrap().clone());
        let response = match Message::parse(message.to_string().into(), Strictness::Edge) {
            Ok(Message::Response(response)) => response,
            other => panic!("{other:?}"),
        };
        let _heard = self.conversations.answer(self.client, response);
    }

    fn result(&self, id: u64, result: &Value) {
        self.answer(id, &json!({ "result": result }));
    }

    /// The server sends the user to a page, and the user agrees: what it is called.
    async fn visit(&mut self, key: &str, url: &str) -> String {
        self.round(json!({ key: page(url) }), Some("s"));
        let told = self.told().await;
        self.result(told.id, &json!({ "action": "accept" }));
        assert_eq!(
            self.again().await,
            (json!({ key: { "action": "accept" } }), Some("s".to_owned()))
        );
        told.message["params"]["elicitationId"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn seconds(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }
}

fn required(asks: Value, state: Option<&str>) -> InputRequired {
    let mut result = json!({ "resultType": "input_required" });
    result["inputRequests"] = asks;
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    let message = json!({ "jsonrpc": "2.0", "id": 1, "result": result });
    match Message::parse(message.to_string().into(), Strictness::Server) {
        Ok(Message::Response(response)) => InputRequired::of(&response).unwrap().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn form(message: &str) -> Value {
    json!({ "method": "elicitation/create", "params": {
        "mode": "form", "message": message, "requestedSchema": { "type": "object", "properties": {} } } })
}

fn page(url: &str) -> Value {
    json!({ "method": "elicitation/create", "params": { "mode": "url", "message": "sign in", "url": url } })
}

fn sampling() -> Value {
    json!({ "method": "sampling/createMessage", "params": { "messages": [], "maxTokens": 1 } })
}

fn roots() -> Value {
    json!({ "method": "roots/list" })
}

fn refusal() -> Value {
    json!({ "error": { "code": -1, "message": "user rejected", "data": { "why": 1.0 } } })
}

#[tokio::test(start_paused = true)]
async fn all_questions_of_a_round_are_asked_at_once_and_all_answers_awaited() {
    let mut scene = Scene::able();
    scene.round(
        json!({ "who": form("name?"), "what": sampling(), "where": roots() }),
        Some("st\u{e4}te\n\""),
    );
    let told = [scene.told().await, scene.told().await, scene.told().await];
    let asked = |method: &str| told.iter().find(|told| told.message["method"] == method).unwrap();
    let (who, what, places) = (
        asked("elicitation/create"),
        asked("sampling/createMessage"),
        asked("roots/list"),
    );
    assert_eq!(who.message["params"], form("name?")["params"]);
    assert!(who.id != what.id && what.id != places.id && who.id != places.id);
    let said = json!({ "role": "assistant", "content": { "type": "text", "text": "t" }, "model": "m" });
    scene.result(places.id, &json!({ "roots": [] }));
    scene.result(what.id, &said);
    assert!(
        timeout(Duration::from_secs(599), scene.replay.turn())
            .await
            .is_err(),
        "not all are there"
    );
    scene.result(who.id, &json!({ "action": "accept", "content": { "n": 1.0 } }));
    let (responses, state) = scene.again().await;
    let expected = json!({ "who": { "action": "accept", "content": { "n": 1.0 } }, "what": said, "where": { "roots": [] } });
    assert_eq!(responses, expected);
    assert_eq!(state.as_deref(), Some("st\u{e4}te\n\""));
    scene.idle().await;
}

#[tokio::test(start_paused = true)]
async fn no_state_stays_none_and_an_empty_one_empty() {
    for state in [None, Some("")] {
        let mut scene = Scene::able();
        scene.round(json!({ "r": roots() }), state);
        let told = scene.told().await;
        scene.result(told.id, &json!({ "roots": [] }));
        assert_eq!(scene.again().await.1.as_deref(), state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_was_given_up_loses_nothing() {
    let mut scene = Scene::able();
    scene.round(json!({ "r": roots(), "f": form("?") }), None);
    let told = [scene.told().await, scene.told().await];
    for told in told {
        for _ in 0..3 {
            assert!(
                timeout(Duration::from_secs(1), scene.replay.turn())
                    .await
                    .is_err()
            );
        }
        let answer = match told.message["method"].as_str() {
            Some("roots/list") => json!({ "roots": [] }),
            _ => json!({ "action": "decline" }),
        };
        scene.result(told.id, &answer);
    }
    assert_eq!(
        scene.again().await.0,
        json!({ "r": { "roots": [] }, "f": { "action": "decline" } })
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_without_an_answer_is_taken_back_in_its_time() {
    for (ask, seconds) in [
        (form("?"), 600),
        (page("https://a/"), 600),
        (sampling(), 300),
        (roots(), 30),
    ] {
        let mut scene = Scene::able();
        scene.round(json!({ "k": ask }), Some("s"));
        let asked = scene.told().await;
        let notice = scene.told().await.message;
        assert_eq!(scene.seconds(), seconds);
        assert_eq!(notice["method"], "notifications/cancelled");
        assert_eq!(
            notice["params"],
            json!({ "requestId": asked.id, "reason": "no answer in time" })
        );
        if ask["method"] == "elicitation/create" {
            let dismissed = json!({ "k": { "action": "cancel" } });
            assert_eq!(scene.again().await, (dismissed, Some("s".to_owned())));
        } else {
            let (code, message, data) = scene.stopped().await;
            let method = ask["method"].as_str().unwrap();
            assert!(code == -32603 && data.is_null());
            assert!(
                message.contains("`tickets`") && message.contains(method),
                "{message}"
            );
        }
        // Its answer comes too late for anybody.
        scene.result(asked.id, &json!({ "action": "accept" }));
    }
}

#[tokio::test(start_paused = true)]
async fn one_late_answer_does_not_hasten_or_delay_the_others() {
    let mut scene = Scene::able();
    scene.round(json!({ "a": form("a"), "b": form("b") }), None);
    let first = scene.told().await;
    advance(Duration::from_secs(5)).await;
    let second = scene.told().await;
    assert_eq!(scene.told().await.message["params"]["requestId"], first.id);
    assert_eq!(scene.seconds(), 600);
    scene.result(second.id, &json!({ "action": "accept" }));
    assert_eq!(
        scene.again().await.0,
        json!({ "a": { "action": "cancel" }, "b": { "action": "accept" } })
    );
}

#[tokio::test(start_paused = true)]
async fn an_elicitation_that_the_client_refuses_was_dismissed() {
    for ask in [form("?"), page("https://a/")] {
        let mut scene = Scene::able();
        scene.round(json!({ "k": ask }), None);
        let told = scene.told().await;
        scene.answer(told.id, &refusal());
        assert_eq!(scene.again().await.0, json!({ "k": { "action": "cancel" } }));
        assert!(scene.replay.finished().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn for_sampling_and_roots_a_refusal_ends_the_call_and_takes_back_the_rest() {
    for (ask, method) in [(sampling(), "sampling/createMessage"), (roots(), "roots/list")] {
        let mut scene = Scene::able();
        scene.round(json!({ "a": form("?"), "b": ask }), None);
        let told = [scene.told().await, scene.told().await];
        let [other, refused] = told.each_ref().map(|told| told.id);
        scene.answer(refused, &refusal());
        let notice = scene.told().await.message;
        assert_eq!(notice["method"], "notifications/cancelled");
        assert_eq!(notice["params"]["requestId"], other);
        let (code, message, data) = scene.stopped().await;
        assert_eq!((code, &data), (-32603, &refusal()["error"]));
        for word in ["`tickets`", method, "user rejected"] {
            assert!(message.contains(word), "{message}");
        }
        assert!(scene.replay.left().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_wrong_kind_is_none() {
    let mut scene = Scene::able();
    scene.round(json!({ "k": form("?") }), None);
    let told = scene.told().await;
    scene.result(told.id, &json!({ "roots": [] }));
    assert_eq!(scene.again().await.0, json!({ "k": { "action": "cancel" } }));
    scene.round(json!({ "k": roots() }), None);
    let told = scene.told().await;
    scene.result(told.id, &json!([]));
    assert_eq!(scene.stopped().await.0, -32603);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_leaves_no_question_open() {
    let mut scene = Scene::able();
    scene.round(json!({ "k": form("?"), "r": roots() }), None);
    let _asked = [scene.told().await, scene.told().await];
    scene.conversations.end(scene.client);
    assert_eq!(scene.stopped().await.0, -32603);
    assert_eq!(scene.seconds(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_ask_ten_times() {
    let mut scene = Scene::able();
    for round in 0..10 {
        scene.round(json!({ "k": form("?") }), Some(&round.to_string()));
        let told = scene.told().await;
        scene.result(told.id, &json!({ "action": "accept" }));
        assert_eq!(scene.again().await.1, Some(round.to_string()));
        // Being put off does not count.
        scene.round(json!({}), Some("later"));
        assert_eq!(scene.again().await, (Value::Null, Some("later".to_owned())));
    }
    scene.round(json!({ "k": form("?") }), Some("10"));
    let (code, message, data) = scene.stopped().await;
    assert!(
        code == -32603 && message.contains("`tickets`") && data.is_null(),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_may_be_put_off_ten_times_with_growing_pauses() {
    let mut scene = Scene::able();
    let mut at = Vec::new();
    for _ in 0..10 {
        scene.round(json!({}), Some("later"));
        assert_eq!(scene.again().await, (Value::Null, Some("later".to_owned())));
        at.push(scene.seconds());
    }
    assert_eq!(at, [0, 1, 3, 7, 15, 31, 61, 91, 121, 151]);
    scene.round(json!({}), Some("later"));
    let (code, message, _) = scene.stopped().await;
    assert!(code == -32603 && message.contains("`tickets`"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn what_the_client_did_not_declare_is_the_servers_fault() {
    let cases = [
        (json!({}), form("?")),
        (json!({}), page("https://a/")),
        (json!({ "elicitation": {} }), page("https://a/")),
        (json!({ "elicitation": { "url": {} } }), form("?")),
        (json!({}), sampling()),
        (
            json!({ "sampling": {} }),
            json!({ "method": "sampling/createMessage", "params": { "messages": [], "tools": [] } }),
        ),
        (json!({ "sampling": {} }), roots()),
    ];
    for (capabilities, ask) in cases {
        let mut scene = Scene::new(NEW, &capabilities);
        let problem = scene
            .replay
            .asked(required(json!({ "a": ask, "b": roots() }), None))
            .unwrap_err();
        assert!(problem.contains(ask["method"].as_str().unwrap()), "{problem}");
        // Nobody was asked anything.
        scene.idle().await;
    }
    // An empty object is form mode, and all that clients before 2025-11-25 can declare.
    for version in [OLD, NEW] {
        let mut scene = Scene::new(version, &json!({ "elicitation": {} }));
        scene.round(json!({ "k": form("?") }), None);
        assert_eq!(scene.told().await.message["method"], "elicitation/create");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_more_than_anybody_can_answer() {
    let asks = |count: usize| -> Value { (0..count).map(|n| (n.to_string(), roots())).collect() };
    let mut scene = Scene::able();
    let problem = scene
        .replay
        .asked(required(asks(MAX_AT_ONCE + 1), None))
        .unwrap_err();
    assert!(problem.contains("101"), "{problem}");
    scene.round(asks(MAX_AT_ONCE), None);
    for _ in 0..MAX_AT_ONCE {
        scene.told().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_takes_the_form_of_the_clients_version() {
    let mut scene = Scene::new(OLD, &json!({ "elicitation": {} }));
    scene.round(json!({ "k": form("?") }), None);
    let told = scene.told().await;
    assert!(told.message["params"].get("mode").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_question_for_which_the_clients_version_has_no_form_ends_the_call() {
    let several = json!({ "method": "elicitation/create", "params": { "message": "m", "requestedSchema": {
        "type": "object", "properties": { "c": { "type": "array", "items": { "enum": ["a"] } } } } } });
    let tools = json!({ "method": "sampling/createMessage", "params": { "messages": [], "tools": [] } });
    let cases = [(several, "elicitation/create"), (tools, "sampling/createMessage")];
    for (ask, method) in cases {
        let mut scene = Scene::new(OLD, &json!({ "elicitation": {}, "sampling": { "tools": {} } }));
        scene.round(json!({ "a": form("?"), "k": ask }), None);
        let (code, message, _) = scene.stopped().await;
        assert_eq!(code, -32603);
        for word in ["`tickets`", method, "client of this version"] {
            assert!(message.contains(word), "{message}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_takes_back_what_the_client_was_asked() {
    let mut scene = Scene::able();
    scene.round(json!({ "a": form("a"), "b": form("b"), "c": form("c") }), None);
    let (first, second) = (scene.told().await, scene.told().await);
    scene.result(first.id, &json!({ "action": "accept" }));
    assert!(
        timeout(Duration::ZERO, scene.replay.turn()).await.is_ok(),
        "the third is asked"
    );
    assert!(
        timeout(Duration::from_secs(1), scene.replay.turn())
            .await
            .is_err()
    );
    let notices: Vec<Value> = scene
        .replay
        .withdraw()
        .iter()
        .map(|raw| serde_json::from_slice(raw).unwrap())
        .collect();
    let taken_back: Vec<u64> = notices
        .iter()
        .filter_map(|notice| notice["params"]["requestId"].as_u64())
        .collect();
    assert_eq!(taken_back.len(), 2);
    assert!(taken_back.contains(&second.id) && !taken_back.contains(&first.id));
    assert!(
        notices
            .iter()
            .all(|notice| notice["method"] == "notifications/cancelled")
    );
    scene.idle().await;
    assert!(scene.replay.withdraw().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_never_said_is_not_taken_back() {
    let mut scene = Scene::able();
    scene.round(json!({ "a": form("a") }), None);
    assert!(scene.replay.withdraw().is_empty());
    scene.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_gets_a_name_that_nobody_can_guess() {
    let mut scene = Scene::able();
    let first = scene.visit("k", "https://a/?x=1").await;
    let second = scene.visit("k", "https://a/?x=2").await;
    assert!(first.len() >= 22 && second.len() >= 22 && first != second);
    let completed: Vec<Value> = scene
        .replay
        .finished()
        .iter()
        .map(|raw| serde_json::from_slice(raw).unwrap())
        .collect();
    let notice = |id: &str| json!({ "jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": { "elicitationId": id } });
    assert_eq!(completed, [notice(&first), notice(&second)]);
    assert!(scene.replay.finished().is_empty(), "once");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_names_its_page_itself_is_left_to_it() {
    let mut scene = Scene::able();
    let mut named = page("https://a/");
    named["params"]["elicitationId"] = "mine".into();
    scene.round(json!({ "k": named }), None);
    let told = scene.told().await;
    assert_eq!(told.message["params"]["elicitationId"], "mine");
    scene.result(told.id, &json!({ "action": "accept" }));
    scene.again().await;
    let completed = scene.replay.finished();
    assert!(completed.len() == 1 && String::from_utf8_lossy(&completed[0]).contains(r#""mine""#));
}

#[tokio::test(start_paused = true)]
async fn the_same_page_is_not_shown_again_but_the_call_made_again() {
    let mut scene = Scene::able();
    let id = scene.visit("k", "https://a/?secret").await;
    let mut at = Vec::new();
    let entry = loop {
        // Neither its key nor the other words matter.
        let mut ask = page("https://a/?secret");
        ask["params"]["message"] = "still?".into();
        scene.round(json!({ "other": ask }), Some("t"));
        match scene.replay.turn().await {
            Turn::Again(input) => {
                let responses: Value = serde_json::from_slice(&input.responses.unwrap()).unwrap();
                assert_eq!(responses, json!({ "other": { "action": "accept" } }));
                assert_eq!(input.state.as_deref(), Some("t"));
                at.push(scene.seconds());
            }
            Turn::Stop { code, message, data } => {
                assert_eq!(code, -32042);
                assert!(
                    message.contains("`tickets`") && !message.contains("secret"),
                    "{message}"
                );
                break serde_json::from_slice::<Value>(&data.unwrap()).unwrap();
            }
            other @ Turn::Say(_) => panic!("{other:?}"),
        }
    };
    assert_eq!(at[..8], [1, 3, 7, 15, 31, 61, 91, 121]);
    assert_eq!(at.last(), Some(&300));
    assert!(at.len() > 10, "these do not count as questions");
    assert_eq!(
        entry,
        json!({ "elicitations": [{ "mode": "url", "elicitationId": id, "url": "https://a/?secret", "message": "sign in" }] })
    );
    assert_eq!(scene.stopped().await.0, -32042);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_given_up_goes_on_where_it_was() {
    let mut scene = Scene::able();
    let id = scene.visit("k", "https://a/").await;
    let left = loop {
        scene.round(json!({ "k": page("https://a/") }), Some("kept"));
        if let Turn::Stop { .. } = scene.replay.turn().await {
            break scene.replay.left().unwrap();
        }
    };
    assert!(left.size() > "kept".len() + "https://a/".len());
    let mut next = Scene::able();
    let input = next.replay.resume(left);
    assert_eq!(input.state.as_deref(), Some("kept"));
    assert_eq!(
        input.responses.as_deref(),
        Some(&br#"{"k":{"action":"accept"}}"#[..])
    );
    // The client was told of the page already.
    next.round(json!({ "k": page("https://a/") }), Some("kept"));
    next.again().await;
    assert_eq!(next.seconds(), 1);
    let completed = next.replay.finished();
    assert!(String::from_utf8_lossy(&completed[0]).contains(&id));
}

#[tokio::test(start_paused = true)]
async fn each_page_has_its_own_time() {
    let mut scene = Scene::able();
    scene.visit("k", "https://a/").await;
    for _ in 0..8 {
        scene.round(json!({ "k": page("https://a/") }), None);
        scene.again().await;
    }
    scene.visit("k", "https://b/").await;
    let before = scene.seconds();
    scene.round(json!({ "a": page("https://a/"), "b": page("https://b/") }), None);
    let accepted = json!({ "action": "accept" });
    assert_eq!(scene.again().await.0, json!({ "a": accepted, "b": accepted }));
    assert_eq!(scene.seconds() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_new_beside_a_known_page_is_asked() {
    let mut scene = Scene::able();
    scene.visit("k", "https://a/").await;
    scene.round(json!({ "k": page("https://a/"), "f": form("?") }), None);
    let told = scene.told().await;
    assert_eq!(told.message["params"], form("?")["params"]);
    scene.result(told.id, &json!({ "action": "decline" }));
    assert_eq!(
        scene.again().await.0,
        json!({ "k": { "action": "accept" }, "f": { "action": "decline" } })
    );
}

#[tokio::test(start_paused = true)]
async fn a_page_twice_in_one_round_is_shown_once() {
    let mut scene = Scene::able();
    scene.round(json!({ "a": page("https://a/"), "b": page("https://a/") }), None);
    let told = scene.told().await;
    scene.result(told.id, &json!({ "action": "decline" }));
    let declined = json!({ "action": "decline" });
    assert_eq!(scene.again().await.0, json!({ "a": declined, "b": declined }));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_the_user_does_not_visit_is_declined_to_the_server_each_time() {
    for action in ["decline", "cancel"] {
        let mut scene = Scene::able();
        let refused = json!({ "action": action, "x": 1 });
        scene.round(json!({ "k": page("https://a/") }), None);
        let told = scene.told().await;
        scene.result(told.id, &refused);
        assert_eq!(scene.again().await.0, json!({ "k": refused }));
        for _ in 1..10 {
            scene.round(json!({ "k": page("https://a/") }), None);
            assert_eq!(
                scene.again().await.0,
                json!({ "k": refused }),
                "without asking twice"
            );
        }
        scene.round(json!({ "k": page("https://a/") }), None);
        assert_eq!(scene.stopped().await.0, -32603);
        assert!(scene.replay.finished().is_empty());
    }
}
