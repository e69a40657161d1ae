//! Attacks on record: who tried what, and why it was not done; and no more of it than a disk bears.

use std::path::Path;

use gatepost_testkit::gate::{Post, eventually};
use serde_json::{Value, json};

use crate::house::{House, address};

fn records(folder: &Path) -> Vec<Value> {
    let mut all: Vec<_> = std::fs::read_dir(folder.join("state/audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    all.sort();
    let text: String = all
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    // The last line may still be being written.
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn denials(folder: &Path) -> Vec<Value> {
    let all = records(folder);
    all.into_iter()
        .filter(|record| record["kind"] == "denial")
        .collect()
}

#[tokio::test]
async fn every_denial_is_on_record() {
    let limits = "audit: {}\nlimits: [{ per: principal, match: 'crm__is_error', rate: 1/h, burst: 1 }]";
    let house = House::with(json!({}), limits).await;
    let with = |path: &str, group: &str| house.modern(path, json!({ "groups": [group] }));
    let key = format!("gp_{}_{}", house.key.id, "A".repeat(49));
    let echo = |client: gatepost_testkit::gate::Client| client.calling("crm__echo", "{}");
    let staff = with("/mcp", "staff");
    assert_eq!(staff.call("crm__is_error", "{}").await.status, 200);
    let rows = [
        ("nobody", echo(house.gate.modern("/mcp")), ""),
        ("a wrong key", echo(house.gate.modern("/mcp").bearing(&key)), ""),
        ("two credentials", echo(staff).header("x-api-key", &key), ""),
        (
            "a wrong key for what is not there",
            echo(house.gate.modern("/mcp").bearing(&key)).at("/mcp/zzz"),
            "",
        ),
        (
            "a token for elsewhere",
            echo(house.modern("/mcp/old", json!({}))).at("/mcp"),
            "",
        ),
        (
            "a hidden endpoint",
            with("/mcp/staff", "readers").request("tools/list", "{}"),
            "ann",
        ),
        (
            "a hidden tool",
            with("/mcp", "readers").calling("crm__pid", "{}"),
            "ann",
        ),
        (
            "a hidden resource",
            with("/mcp", "readers").request("resources/read", r#"{"uri":"odd:resource"}"#),
            "ann",
        ),
        (
            "arguments",
            with("/mcp/crm", "careful").calling("echo", r#"{"env":"production"}"#),
            "ann",
        ),
        ("scopes", with("/mcp/crm", "scoped").calling("echo", "{}"), "ann"),
        (
            "a limit",
            with("/mcp", "staff").calling("crm__is_error", "{}"),
            "ann",
        ),
    ];
    for (number, (what, post, subject)) in rows.into_iter().enumerate() {
        let before = denials(house.gate.folder()).len();
        let from = address(number + 100);
        house.send(&post.from(from)).await;
        eventually(what, async || denials(house.gate.folder()).len() > before).await;
        let all = denials(house.gate.folder());
        assert_eq!(all.len(), before + 1, "{what}");
        let record = all.last().unwrap();
        assert_eq!(record["who"]["address"], from.to_string(), "{what}: {record}");
        assert!(
            !record["decision"]["reason"]
                .as_str()
                .unwrap_or_default()
                .is_empty(),
            "{what}: {record}"
        );
        if !subject.is_empty() {
            assert_eq!(record["who"]["subject"], subject, "{what}: {record}");
            assert_eq!(record["who"]["tenant"], "acme", "{what}: {record}");
        }
    }
    let verified = house.gate.command(&["audit", "verify"]).await;
    assert!(verified.contains("fine"), "{verified}");
}

/// Who may do nothing does not fill the disk, which would stop everybody.
#[tokio::test]
async fn a_stranger_does_not_fill_the_log() {
    let limits = "audit: {}\nlimits: [{ per: ip, rate: 1000/h, burst: 150 }]";
    let house = House::with(json!({}), limits).await;
    let wrong = house.token("/mcp/old", json!({}));
    let post = house.gate.modern("/mcp").request("tools/list", "{}");
    let ways: [(Post, u16); 3] = [
        (post.clone(), 401),
        (
            post.clone().header("authorization", format!("Bearer {wrong}")),
            401,
        ),
        (
            post.clone()
                .header("authorization", "Bearer x")
                .header("x-api-key", "x"),
            400,
        ),
    ];
    for (number, (post, status)) in ways.into_iter().enumerate() {
        let post = post.from(address(number + 1));
        assert_eq!(house.send(&post).await.status, status);
        for _ in 0..200 {
            house.send(&post).await;
        }
        // Well over the rate of the address by now.
        assert_eq!(house.send(&post).await.status, 429);
    }
    // Somebody else's denial is still on record, and whoever may call does.
    let reader = house.modern("/mcp", json!({ "groups": ["readers"] }));
    house
        .send(&reader.calling("crm__pid", "{}").from(address(9)))
        .await;
    let of = |number: usize| {
        let all = denials(house.gate.folder());
        all.iter()
            .filter(|record| record["who"]["address"] == address(number).to_string())
            .count()
    };
    eventually("the one record", async || of(9) == 1).await;
    // Twenty, and one more every three seconds that it took; not one for each.
    for number in 1..=3 {
        assert!(
            (15..=100).contains(&of(number)),
            "{} records of way {number}",
            of(number)
        );
    }
}
