//! Two tenants of one issuer share nothing: no session of a server, no process, no list, no counter.

use std::collections::BTreeSet;

use gatepost_testkit::gate::{Client, Post};
use gatepost_testkit::odd::{Odd, program};
use serde_json::{Value, json};

use crate::house::{House, address};

/// Somebody of a tenant.
fn of(tenant: &str, subject: &str) -> Value {
    json!({ "org": tenant, "sub": subject })
}

#[tokio::test]
async fn tenants_share_no_session_and_no_process() {
    let program = program(&Odd::legacy()).unwrap();
    let own = json!({ "command": program.command, "args": program.args });
    let everybodys = json!({ "command": program.command, "args": program.args, "isolation": "shared" });
    let house = House::with(json!({ "own": own, "everybodys": everybodys }), "").await;
    let mut processes: Vec<(&str, String)> = Vec::new();
    for round in 0..2 {
        for (tenant, subject) in [
            ("acme", "ann"),
            ("globex", "ann"),
            ("acme", "ben"),
            ("globex", "cat"),
        ] {
            let clients: [Client; 2] = [
                house.modern("/mcp", of(tenant, subject)),
                house.legacy("/mcp", of(tenant, subject)).await,
            ];
            for client in &clients {
                house.old.forget_received();
                assert_eq!(client.call("old__echo", "{}").await.outcome(), (200, None));
                let session = house.old.last("tools/call").unwrap();
                let session = session.header("mcp-session-id").unwrap().to_owned();
                processes.push((tenant, format!("session {session}")));
                let pid = client.call("own__pid", "{}").await.tool_text();
                processes.push((tenant, format!("process {pid}")));
            }
            let shared = clients[0].call("everybodys__pid", "{}").await.tool_text();
            processes.push(("shared", shared));
        }
        assert!(round < 2);
    }
    let all = |who: &str| -> BTreeSet<&String> {
        processes
            .iter()
            .filter(|(tenant, _)| *tenant == who)
            .map(|(_, which)| which)
            .collect()
    };
    let (acme, globex) = (all("acme"), all("globex"));
    assert!(acme.is_disjoint(&globex), "{processes:?}");
    // Within a tenant they are shared: else this would show nothing.
    assert_eq!((acme.len(), globex.len()), (2, 2), "{processes:?}");
    assert_eq!(all("shared").len(), 1, "{processes:?}");
}

#[tokio::test]
async fn tenants_share_no_lists() {
    let house = House::open().await;
    let people = |tenant: &str| json!({ "org": tenant, "sub": "ann", "groups": ["people"] });
    let (acme, globex) = (["crm__echo", "old__echo"], ["crm__is_error", "old__echo"]);
    // The same subject in the same groups, in turn and at once, over both eras: the same token but for its tenant.
    for _ in 0..3 {
        let clients = [
            (house.modern("/mcp", people("acme")), acme),
            (house.modern("/mcp", people("globex")), globex),
            (house.legacy("/mcp", people("acme")).await, acme),
            (house.legacy("/mcp", people("globex")).await, globex),
        ];
        let lists = clients.iter().map(async |(client, expected)| {
            let listed = client.ask("tools/list", "{}").await;
            assert_eq!(listed.names("tools"), *expected);
            let scope = &listed.json()["result"]["cacheScope"];
            assert!(scope.is_null() || scope == "private", "{scope}");
        });
        futures_util::future::join_all(lists).await;
        for (client, own) in &clients {
            for tool in ["crm__echo", "crm__is_error", "old__echo"] {
                let answer = client.call(tool, "{}").await;
                assert_eq!(
                    answer.json().get("result").is_some(),
                    own.contains(&tool),
                    "{tool}: {}",
                    answer.text()
                );
            }
        }
    }
}

#[tokio::test]
async fn tenants_share_no_counters() {
    for (per, same_counter) in [("tenant", "ben"), ("principal", "ann")] {
        let limits = format!(
            "limits: [{{ per: {per}, rate: 3/h, burst: 3 }}, {{ per: {per}, match: 'old__*', rate: 1/h, burst: 1 }}]"
        );
        let house = House::with(json!({}), &limits).await;
        let ask = async |tenant: &str, subject: &str, number: usize| {
            let client = house.modern("/mcp", of(tenant, subject));
            let post: Post = client.calling("crm__echo", "{}").from(address(number));
            house.send(&post).await
        };
        for _ in 0..3 {
            assert_eq!(ask("acme", "ann", 1).await.status, 200);
        }
        let over = ask("acme", same_counter, 2).await;
        assert_eq!(over.status, 429, "{}", over.text());
        let seconds: u64 = over.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=1200).contains(&seconds), "{seconds}");
        // The same subject in the other tenant has a count of its own, and so has who has no tenant.
        for _ in 0..3 {
            assert_eq!(ask("globex", "ann", 1).await.status, 200);
        }
        assert_eq!(ask("globex", "ann", 1).await.status, 429);
        let other = house.gate.modern("/mcp").bearing(&house.other_token("ann"));
        assert_eq!(other.call("crm__echo", "{}").await.status, 200);
        assert_eq!(other.call("old__echo", "{}").await.status, 200);
        // Where only some tools are over, it is their result that says so.
        let tool = other.call("old__echo", "{}").await;
        assert_eq!(
            (tool.status, &tool.json()["result"]["isError"]),
            (200, &json!(true)),
            "{}",
            tool.text()
        );
    }
}
