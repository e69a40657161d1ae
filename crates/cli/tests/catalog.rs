//! Lists: whole, in order, without asking anybody, and whatever a single server does.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use std::collections::BTreeSet;

use gatepost_testkit::gate::{Client, Gate, eventually};
use gatepost_testkit::odd::{Cursors, Odd, OddServer};
use serde_json::{Map, Value, json};

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");

async fn gate_before(servers: &[(&str, &OddServer)]) -> Gate {
    let servers: Map<String, Value> = servers
        .iter()
        .map(|(name, server)| ((*name).to_owned(), json!({ "url": server.url() })))
        .collect();
    Gate::start(GATEPOST, &format!("servers: {}", Value::Object(servers))).await
}

async fn both(gate: &Gate, path: &str) -> [Client; 2] {
    [gate.modern(path), gate.legacy(path).await]
}

async fn tools(client: &Client) -> Vec<String> {
    client.ask("tools/list", "{}").await.names("tools")
}

#[tokio::test]
async fn a_thousand_tools_of_twenty_servers_come_in_one_answer_that_asks_nobody() {
    let mut servers = Vec::new();
    for at in 0..20 {
        // Of both eras, some with pages of their own.
        let odd = if at % 2 == 0 { Odd::modern() } else { Odd::legacy() };
        let odd = Odd {
            page: at % 3 * 7,
            ..odd.plain(&format!("tool{at}"), 50)
        };
        servers.push((format!("s{at:02}"), OddServer::start(odd).await.unwrap()));
    }
    let named: Vec<(&str, &OddServer)> = servers
        .iter()
        .map(|(name, server)| (name.as_str(), server))
        .collect();
    let gate = gate_before(&named).await;
    let expected: Vec<String> = (0..20)
        .flat_map(|at| (0..50).map(move |tool| format!("s{at:02}__tool{at}_{tool:04}")))
        .collect();
    eventually("the catalog is whole", async || {
        tools(&gate.modern("/mcp")).await.len() == 1000
    })
    .await;

    // Watching begins once a catalog is there: only then it is quiet.
    eventually("all are watched", async || {
        servers.iter().all(|(_, server)| server.listeners() > 0)
    })
    .await;
    let counts = || {
        servers
            .iter()
            .map(|(_, server)| server.received().len())
            .collect::<Vec<_>>()
    };
    let before = counts();
    for client in both(&gate, "/mcp").await {
        for _ in 0..3 {
            let answer = client.ask("tools/list", "{}").await;
            assert_eq!(
                answer.names("tools"),
                expected,
                "in the order of the configuration, then of each server"
            );
            assert!(answer.json()["result"].get("nextCursor").is_none());
        }
    }
    assert_eq!(counts(), before, "somebody was asked");
}

#[tokio::test]
async fn lists_over_4_mib_are_cut_into_pages() {
    const TOOLS: usize = 30_000;
    // A long name makes it large with fewer tools.
    let prefix = "n".repeat(100);
    let odd = Odd {
        page: 2000,
        ..Odd::modern().plain(&prefix, TOOLS)
    };
    let server = OddServer::start(odd).await.unwrap();
    let gate = gate_before(&[("s", &server)]).await;
    let client = gate.modern("/mcp/s");
    eventually("the catalog is there", async || !tools(&client).await.is_empty()).await;
    for client in both(&gate, "/mcp/s").await {
        let mut names = Vec::new();
        let mut cursor: Option<Value> = None;
        let mut pages = 0;
        loop {
            let params = cursor.as_ref().map_or_else(
                || "{}".to_owned(),
                |cursor| json!({ "cursor": cursor }).to_string(),
            );
            let answer = client.ask("tools/list", &params).await;
            assert!(
                answer.body.len() <= (4 << 20) + (256 << 10),
                "{} bytes on one page",
                answer.body.len()
            );
            names.extend(answer.names("tools"));
            pages += 1;
            cursor = answer.json()["result"].get("nextCursor").cloned();
            let Some(cursor) = &cursor else { break };
            // The server's own cursors never leave the gate.
            assert!(!cursor.as_str().unwrap().contains("after "), "{cursor}");
        }
        assert!(pages > 1, "{pages}");
        assert_eq!(
            (names.len(), names.iter().collect::<BTreeSet<_>>().len()),
            (TOOLS, TOOLS)
        );
    }
    // A cursor belongs to one endpoint.
    let cursor = client.ask("tools/list", "{}").await.json()["result"]["nextCursor"].clone();
    let elsewhere = gate
        .modern("/mcp")
        .ask("tools/list", &json!({ "cursor": cursor }).to_string())
        .await;
    assert_eq!(elsewhere.outcome().1, Some(-32602), "{}", elsewhere.text());
}

#[tokio::test]
async fn all_pages_of_a_server_are_fetched() {
    for cursors in [Cursors::Natural, Cursors::EmptyFirst] {
        for odd in [Odd::modern(), Odd::legacy()] {
            let server = OddServer::start(Odd {
                page: 7,
                cursors,
                ..odd.plain("t", 40)
            })
            .await
            .unwrap();
            let gate = gate_before(&[("s", &server)]).await;
            assert_eq!(tools(&gate.modern("/mcp/s")).await.len(), 40, "{cursors:?}");
        }
    }
}

/// A server whose pages never end costs a bounded number of them, and nobody else anything.
#[tokio::test]
async fn a_list_without_end_is_cut_short() {
    let endless = Odd {
        page: 5,
        cursors: Cursors::Loop,
        ..Odd::modern().plain("t", 20)
    };
    let endless = OddServer::start(endless).await.unwrap();
    let good = OddServer::start(Odd::modern().plain("t", 3)).await.unwrap();
    let gate = gate_before(&[("endless", &endless), ("good", &good)]).await;
    let good_tools = ["good__t_0000", "good__t_0001", "good__t_0002"];
    eventually("the good one is listed", async || {
        let names = tools(&gate.modern("/mcp")).await;
        good_tools.iter().all(|tool| names.contains(&(*tool).to_owned()))
    })
    .await;
    let pages = endless.all("tools/list").len();
    assert!(pages < 2_000, "{pages} pages");
    let asked = gate.modern("/mcp").call("good__t_0001", r#"{"x":1}"#).await;
    assert_eq!(asked.tool_text(), r#"{"x":1}"#);
}

#[tokio::test]
async fn a_server_that_is_down_keeps_its_place() {
    let a = OddServer::start(Odd::modern().plain("t", 2)).await.unwrap();
    let b = OddServer::start(Odd::legacy().plain("t", 2)).await.unwrap();
    let servers = json!({ "a": { "url": a.url() }, "b": { "url": b.url() } });
    let configuration = format!("servers: {servers}");
    let gate = Gate::start(GATEPOST, &configuration).await;
    let expected = ["a__t_0000", "a__t_0001", "b__t_0000", "b__t_0001"];
    eventually("both are listed", async || {
        tools(&gate.modern("/mcp")).await == expected
    })
    .await;
    let address = a.address();
    drop(a);
    // Also after a restart, when it was never there.
    let gate = gate.restart(&configuration).await;
    for client in both(&gate, "/mcp").await {
        assert_eq!(tools(&client).await, expected);
        let answer = client.call("a__t_0000", "{}").await;
        assert_eq!(answer.outcome(), (200, Some(-32603)), "{}", answer.text());
        assert_eq!(answer.json()["error"]["data"]["server"], "a");
        assert_eq!(
            client.call("b__t_0000", r#"{"x":1}"#).await.tool_text(),
            r#"{"x":1}"#
        );
    }
    // It comes back, and is used again without anybody's help.
    let handle = gatepost_testkit::odd::Handle::new(Odd::modern().plain("t", 2), None);
    let _back = OddServer::start_at(address, handle).await.unwrap();
    let client = gate.modern("/mcp");
    eventually("it is back", async || {
        client.call("a__t_0000", "{}").await.outcome() == (200, None)
    })
    .await;
}

#[tokio::test]
async fn a_change_is_fetched() {
    for odd in [Odd::modern(), Odd::legacy()] {
        let server = OddServer::start(odd.plain("t", 1)).await.unwrap();
        let gate = gate_before(&[("s", &server)]).await;
        assert_eq!(tools(&gate.modern("/mcp")).await, ["s__t_0000"]);
        eventually("it is watched", async || server.listeners() > 0).await;
        server.grow();
        server.announce("notifications/tools/list_changed").await;
        for (path, grown) in [("/mcp", "s__grown_1"), ("/mcp/s", "grown_1")] {
            for client in both(&gate, path).await {
                eventually("the new tool", async || {
                    tools(&client).await.contains(&grown.to_owned())
                })
                .await;
                assert_eq!(client.call(grown, r#"{"x":1}"#).await.tool_text(), r#"{"x":1}"#);
            }
        }
    }
}

#[tokio::test]
async fn views_select_rename_and_forbid() {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    let servers = json!({ "s": { "url": server.url(), "effects": { "echo": "read", "pid": "write" } } });
    let views = json!({
        "few": { "include": ["s__e*", "s__p*"], "exclude": ["*exit*"], "rename": { "s__echo": "say" } },
        "reading": { "access": "read" },
    });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}\nviews: {views}")).await;
    for client in both(&gate, "/mcp/few").await {
        assert_eq!(
            tools(&client).await,
            [
                "s__escapes",
                "s__empty_content",
                "say",
                "s__pid",
                "s__endless_line",
                "s__endless_events",
                "s__progress"
            ]
        );
        assert_eq!(client.call("say", "{}").await.tool_text(), "{}");
        for hidden in ["s__echo", "echo", "s__exit", "s__slow"] {
            assert_eq!(
                client.call(hidden, "{}").await.outcome().1,
                Some(-32602),
                "{hidden}"
            );
        }
    }
    for client in both(&gate, "/mcp/reading").await {
        assert_eq!(
            tools(&client).await,
            ["s__echo"],
            "what is not named counts as destructive"
        );
        assert_eq!(client.call("s__echo", "{}").await.tool_text(), "{}");
        let (write, nobody) = (
            client.call("s__pid", "{}").await,
            client.call("s__nobody", "{}").await,
        );
        assert_eq!(
            write.outcome(),
            nobody.outcome(),
            "an unknown and a forbidden name look alike"
        );
        assert_eq!(write.outcome().1, Some(-32602));
    }
    assert!(
        server
            .all("tools/call")
            .iter()
            .all(|call| call.json()["params"]["name"] == "echo")
    );
}

/// Names are looked up, never cut up: a server's own may hold the separator.
#[tokio::test]
async fn names_that_hold_the_separator_reach_their_server() {
    let a = OddServer::start(Odd::modern().plain("b__c", 1)).await.unwrap();
    let b = OddServer::start(Odd::modern().plain("a__b", 1)).await.unwrap();
    let gate = gate_before(&[("a", &a), ("b", &b)]).await;
    let client = gate.modern("/mcp");
    eventually("both are listed", async || {
        tools(&client).await == ["a__b__c_0000", "b__a__b_0000"]
    })
    .await;
    assert_eq!(
        client.call("a__b__c_0000", r#"{"x":1}"#).await.tool_text(),
        r#"{"x":1}"#
    );
    assert_eq!(
        a.last("tools/call").unwrap().json()["params"]["name"],
        "b__c_0000"
    );
    assert_eq!(b.all("tools/call").len(), 0);
}

/// A resource goes to the server that lists it, whatever its address looks like, unchanged.
#[tokio::test]
async fn resources_keep_their_addresses() {
    let server = OddServer::start(Odd::modern()).await.unwrap();
    let other = OddServer::start(Odd::modern().plain("t", 1)).await.unwrap();
    let gate = gate_before(&[("a", &server), ("b", &other)]).await;
    let uri = "odd://host/Path%20with%2Fescapes?q=1#f";
    for client in both(&gate, "/mcp").await {
        for uri in [uri, "odd:made/of/a template"] {
            let answer = client
                .ask("resources/read", &json!({ "uri": uri }).to_string())
                .await;
            assert_eq!(answer.outcome(), (200, None), "{uri}: {}", answer.text());
            assert_eq!(
                server.last("resources/read").unwrap().json()["params"]["uri"],
                uri
            );
        }
    }
    assert_eq!(other.all("resources/read").len(), 0);
}
