//! Messages that say two things at once, and several messages that pass for one.

use gatepost_testkit::gate::{Client, Post};
use serde_json::{Value, json};

use crate::house::{House, MARK};

const READER: &str = "readers";

/// Whatever stands where: what was decided about is what is called, or nothing is.
#[tokio::test]
async fn a_message_that_says_two_things_does_neither() {
    let house = House::open().await;
    let modern = house.modern("/mcp", json!({ "groups": [READER] }));
    let legacy = house.legacy("/mcp", json!({ "groups": [READER] })).await;
    let x = format!(r#"{{"x":"{MARK}"}}"#);
    let meta = {
        let whole = modern
            .request_as("1", "tools/call", "{}")
            .on_the_wire(house.gate.address())
            .1;
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        whole["params"]["_meta"].to_string()
    };
    let good = |client: &Client| {
        client.request_as(
            "1",
            "tools/call",
            &format!(r#"{{"name":"crm__echo","arguments":{x}}}"#),
        )
    };

    let mut rows: Vec<(String, Post)> = Vec::new();
    // The header names what is allowed, the body what is not; and the other way round.
    let hidden = modern.request_as(
        "1",
        "tools/call",
        &format!(r#"{{"name":"crm__pid","arguments":{x}}}"#),
    );
    rows.extend([
        (
            "the name in the header".to_owned(),
            hidden.clone().set("mcp-name", "crm__echo"),
        ),
        (
            "the name in the body".to_owned(),
            good(&modern).set("mcp-name", "crm__pid"),
        ),
        (
            "two names".to_owned(),
            good(&modern).header("mcp-name", "crm__pid"),
        ),
        (
            "two names, the other first".to_owned(),
            good(&modern)
                .set("mcp-name", "crm__pid")
                .header("mcp-name", "crm__echo"),
        ),
        (
            "a list of names".to_owned(),
            good(&modern).set("mcp-name", "crm__echo, crm__pid"),
        ),
        (
            "the method in the header".to_owned(),
            good(&modern).set("mcp-method", "tools/list"),
        ),
        (
            "two methods".to_owned(),
            good(&modern).header("mcp-method", "ping"),
        ),
        ("no name".to_owned(), good(&modern).without("mcp-name")),
        (
            "another's base64".to_owned(),
            good(&modern).set("mcp-name", "=?base64?Y3JtX19waWQ=?="),
        ),
    ]);
    // Two members of one name, of which a server might take the other one.
    let doubles = |meta: &str| {
        let call =
            |params: String| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let m = if meta.is_empty() {
            String::new()
        } else {
            format!(r#""_meta":{meta},"#)
        };
        vec![
            (
                "name twice",
                call(format!(
                    r#"{{{m}"name":"crm__echo","name":"crm__pid","arguments":{x}}}"#
                )),
            ),
            (
                "name twice, one escaped",
                call(format!(
                    r#"{{{m}"name":"crm__echo","n\u0061me":"crm__pid","arguments":{x}}}"#
                )),
            ),
            (
                "arguments twice",
                call(format!(
                    r#"{{{m}"name":"crm__echo","arguments":{{}},"arguments":{x}}}"#
                )),
            ),
            (
                "an argument twice",
                call(format!(
                    r#"{{{m}"name":"crm__echo","arguments":{{"x":1,"x":"{MARK}"}}}}"#
                )),
            ),
            (
                "an argument twice, deep",
                call(format!(
                    r#"{{{m}"name":"crm__echo","arguments":{{"a":[{{"x":1,"\u0078":"{MARK}"}}]}}}}"#
                )),
            ),
            (
                "params twice",
                format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{m}"name":"crm__echo"}},"params":{{{m}"name":"crm__pid","arguments":{x}}}}}"#
                ),
            ),
            (
                "method twice",
                format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{{{m}"name":"crm__echo","arguments":{x}}}}}"#
                ),
            ),
            (
                "id twice",
                format!(
                    r#"{{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{{{m}"name":"crm__echo","arguments":{x}}}}}"#
                ),
            ),
            (
                "two messages",
                format!(
                    "{0}{0}",
                    call(format!(r#"{{{m}"name":"crm__echo","arguments":{x}}}"#))
                ),
            ),
            (
                "a message and a half",
                format!(
                    "{0},",
                    call(format!(r#"{{{m}"name":"crm__echo","arguments":{x}}}"#))
                ),
            ),
        ]
    };
    for (what, body) in doubles(&meta) {
        rows.push((what.to_owned(), good(&modern).body(body)));
    }
    for (what, body) in doubles("") {
        rows.push((format!("{what}, in a session"), good(&legacy).body(body)));
    }
    let mut wrong = Vec::new();
    for (what, post) in rows {
        let answer = house.send(&post).await;
        if answer.status != 400 || house.calls() > 0 {
            wrong.push(format!("{what}: {} {}", answer.status, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    house.nothing_arrived();
    for client in [&modern, &legacy] {
        assert_eq!(house.send(&good(client)).await.outcome(), (200, None));
    }
}

fn call(id: usize, name: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}","arguments":{{}}}}}}"#
    )
}

/// Each message of a batch is decided and counted by itself.
#[tokio::test]
async fn a_batch_is_as_many_messages_as_it_holds() {
    let limits = "limits: [{ per: principal, match: \"old__echo\", rate: 3/h, burst: 3 }]";
    let house = House::with(json!({}), limits).await;
    let client = house.modern("/mcp/old", json!({ "groups": [READER] }));
    let client = client.greeting("2025-03-26", "{}").await;
    let names = ["echo", "pid", "echo", "unknown", "echo", "echo", "echo"];
    let messages: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(id, name)| call(id, name))
        .collect();
    let batch = client.post("", "{}", format!("[{}]", messages.join(",")));
    let answers = client.send(&batch).await.json();
    let mut allowed = 0;
    for answer in answers.as_array().unwrap() {
        let id = usize::try_from(answer["id"].as_u64().unwrap()).unwrap();
        match names[id] {
            "echo" => {
                allowed += usize::from(answer["result"]["isError"] != true && answer.get("result").is_some());
            }
            _ => assert_eq!(answer["error"]["code"], -32602, "{answer}"),
        }
    }
    assert_eq!((answers.as_array().unwrap().len(), allowed), (7, 3), "{answers}");
    assert_eq!(house.calls(), 3);

    // One of another in between is refused as a whole: there is one credential for all of them.
    let other = house.token("/mcp/old", json!({ "sub": "ben" }));
    let thief = batch.clone().set("authorization", format!("Bearer {other}"));
    assert_eq!(house.send(&thief).await.status, 404);
    // And no batch begins a session, or is any where its version has none.
    let begin = r#"[{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{}}}]"#;
    let answer = client.send(&client.post("", "{}", begin.to_owned())).await;
    assert!(
        answer.text().contains("error") && answer.header("mcp-session-id").is_none(),
        "{}",
        answer.text()
    );
    let newer = house.legacy("/mcp/old", json!({ "groups": [READER] })).await;
    let answer = newer
        .send(&newer.post("", "{}", format!("[{}]", call(1, "echo"))))
        .await;
    assert_eq!(answer.status, 400);
    let bare = Post::json("/mcp/old", format!("[{}]", call(1, "echo"))).header("x-api-key", &house.key.key);
    assert_eq!(house.send(&bare).await.status, 400);
    assert_eq!(house.calls(), 3);
}

/// A condition sees the arguments as the server will, and what it cannot judge is denied.
#[tokio::test]
async fn arguments_do_not_slip_past_a_condition() {
    let house = House::open().await;
    let modern = house.modern("/mcp/crm", json!({ "groups": ["careful"] }));
    let legacy = house.legacy("/mcp/crm", json!({ "groups": ["careful"] })).await;
    for client in [&modern, &legacy] {
        let before = house.calls();
        for arguments in [
            r#"{"env":"production"}"#,
            r#"{"env":"\u0070roduction"}"#,
            r#"{"\u0065nv":"production"}"#,
            r#"{ "x" : 1 , "env"	:	"production" }"#,
            "{}",
            r#"{"ENV":"test"}"#,
            r#"{"a":{"env":"test"}}"#,
        ] {
            let answer = client.call("echo", arguments).await;
            let error = answer.json()["result"]["isError"] == true || answer.json()["error"].is_object();
            assert!(answer.status == 200 && error, "{arguments}: {}", answer.text());
        }
        // Said twice it is no message.
        for arguments in [
            r#"{"env":"test","env":"production"}"#,
            r#"{"env":"test","\u0065nv":"production"}"#,
        ] {
            let answer = client.call("echo", arguments).await;
            assert_eq!(answer.status, 400, "{arguments}: {}", answer.text());
        }
        for no_object in [r#"["env"]"#, "null", r#""production""#, "1"] {
            let answer = client.call("echo", no_object).await;
            assert_eq!(
                answer.outcome(),
                (200, Some(-32602)),
                "{no_object}: {}",
                answer.text()
            );
        }
        let none = client.ask("tools/call", r#"{"name":"echo"}"#).await;
        assert_ne!(none.json()["result"]["isError"], false, "{}", none.text());
        assert_eq!(house.calls(), before);
        assert_eq!(
            client.call("echo", r#"{"env":"test"}"#).await.outcome(),
            (200, None)
        );
    }
}

/// What a condition costs does not grow with what a caller sends.
#[tokio::test]
async fn arguments_do_not_keep_a_condition_busy() {
    let house = House::open().await;
    let client = house.modern("/mcp/crm", json!({ "groups": ["searchers"] }));
    let many: Vec<String> = (0..100_000).map(|number| format!("x{number}")).collect();
    let long = ["n".repeat(1_000_000), "e".repeat(1_000_000)];
    for all in [json!(many), json!(long), json!(vec![json!([[[]]]); 10_000])] {
        let answer = client.call("echo", &json!({ "all": all }).to_string()).await;
        assert!(
            answer.text().contains("error") || answer.json()["result"]["isError"] == true,
            "{}",
            answer.status
        );
    }
    let deep = format!(r#"{{"all":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let answer = client.call("echo", &deep).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(house.calls(), 0);
    let answer = client.call("echo", r#"{"all":["nee","dle"]}"#).await;
    assert_eq!(answer.outcome(), (200, None), "{}", answer.text());
}
