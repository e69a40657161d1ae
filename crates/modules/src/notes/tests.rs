use std::{io::BufRead, path::Path};

use serde_json::json;

use super::*;
use crate::testing::{BOTH, Caller, Era};

fn open(folder: &Path) -> Arc<dyn Module> {
    let context = Context {
        data_dir: folder.to_owned(),
        folder: folder.to_owned(),
    };
    let none = serde_json::Map::new();
    Arc::new(module(&Options::new("notes", &none), &context).unwrap())
}

#[tokio::test]
async fn notes_are_kept_found_changed_and_deleted_in_both_eras() {
    for era in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let notes = open(folder.path());
        let mut caller = Caller::connect(&notes, era).await;
        let tools = caller
            .check_tools(&[
                "add_note",
                "delete_note",
                "get_note",
                "list_notes",
                "search_notes",
                "update_note",
            ])
            .await;
        for tool in tools.as_array().unwrap() {
            assert_eq!(tool["outputSchema"]["type"], "object", "{tool}");
        }
        let added = caller
            .value("add_note", json!({"title": " Café ☕ ", "body": "crème brûlée"}))
            .await;
        assert_eq!(added["title"], "Café ☕");
        assert_eq!(added["uri"], "note:///1");
        caller
            .value(
                "add_note",
                json!({"title": "会議", "body": "来週の予定について話す"}),
            )
            .await;
        assert_eq!(caller.value("get_note", json!({"id": 1})).await, added);
        for (query, ids) in [
            ("creme", vec![1]),
            ("BRULEE café", vec![1]),
            ("bru", vec![1]),
            ("予定", vec![2]),
            ("rûl", vec![1]),
            ("nothing", vec![]),
        ] {
            let found = caller.value("search_notes", json!({"query": query})).await;
            let found: Vec<i64> = found["notes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|note| note["id"].as_i64().unwrap())
                .collect();
            assert_eq!(found, ids, "{query}");
        }
        let changed = caller.value("update_note", json!({"id": 1, "body": "tea"})).await;
        assert_eq!(
            (&changed["title"], &changed["body"]),
            (&json!("Café ☕"), &json!("tea"))
        );
        assert_eq!(
            caller.value("search_notes", json!({"query": "creme"})).await["notes"],
            json!([])
        );
        assert_eq!(
            caller.value("delete_note", json!({"id": 1})).await,
            json!({"id": 1, "title": "Café ☕"})
        );
        let said = caller.failure("get_note", json!({"id": 1})).await;
        assert_eq!(
            said,
            "there is no note 1; list_notes or search_notes give the ids that exist"
        );
        let third = caller.value("add_note", json!({"title": "t", "body": ""})).await;
        assert_eq!(third["id"], 3, "ids are never used again");
    }
}

#[tokio::test]
async fn text_is_data_never_sql_and_never_a_search_operator() {
    let folder = tempfile::tempdir().unwrap();
    let mut caller = Caller::connect(&open(folder.path()), Era::Modern).await;
    let evil = "'); DROP TABLE notes; -- \" OR 1=1";
    let added = caller
        .value("add_note", json!({"title": evil, "body": evil}))
        .await;
    assert_eq!(added["body"], evil);
    caller
        .value("add_note", json!({"title": "plain", "body": "x"}))
        .await;
    for query in [
        evil,
        "drop",
        "\"",
        "a* OR b",
        "title:drop",
        "NEAR(a b)",
        "^x",
        "-",
        "{title} : x",
        "* AND *",
    ] {
        caller.value("search_notes", json!({"query": query})).await;
    }
    let found = caller.value("search_notes", json!({"query": "drop table"})).await;
    assert_eq!(found["notes"].as_array().unwrap().len(), 1);
    let said = caller.failure("get_note", json!({"id": "1 OR 1=1"})).await;
    assert!(said.contains("invalid type"), "{said}");
    assert_eq!(caller.value("list_notes", json!({})).await["total"], 2);
}

#[tokio::test]
async fn bounds_are_told_with_their_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let mut caller = Caller::connect(&open(folder.path()), Era::Legacy).await;
    caller
        .value(
            "add_note",
            json!({"title": "é".repeat(200), "body": "x".repeat(65_536)}),
        )
        .await;
    for (tool, arguments, expected) in [
        (
            "add_note",
            json!({"title": "é".repeat(201), "body": ""}),
            "the title has 201 characters and may have 200",
        ),
        (
            "add_note",
            json!({"title": "t", "body": "x".repeat(65_537)}),
            "the body has 65537 bytes and may have 65536",
        ),
        (
            "add_note",
            json!({"title": "  ", "body": ""}),
            "the title is empty",
        ),
        (
            "add_note",
            json!({"title": "a\nb", "body": ""}),
            "the title contains a line break",
        ),
        ("update_note", json!({"id": 1}), "nothing to change"),
        (
            "update_note",
            json!({"id": 9, "title": "t"}),
            "there is no note 9",
        ),
        ("delete_note", json!({"id": 9}), "there is no note 9"),
        ("search_notes", json!({"query": " "}), "the search is empty"),
        (
            "search_notes",
            json!({"query": "x".repeat(201)}),
            "the search has 201 characters",
        ),
    ] {
        let said = caller.failure(tool, arguments).await;
        assert!(said.starts_with(expected), "{said}");
    }
}

/// Set for the process that the next test starts and kills: the data directory it writes to.
const CHILD: &str = "GATEPOST_TEST_NOTES_CHILD";

#[test]
fn what_was_acknowledged_survives_kill() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let store = Store::open(&Path::new(&folder).join("notes.db")).unwrap();
        let note = store.add("kept", "body").unwrap();
        println!("acknowledged {}", note.id);
        // Killed here, with the database open.
        std::thread::park();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "notes::tests::what_was_acknowledged_survives_kill",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD, folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        said.any(|line| line.unwrap().contains("acknowledged 1")),
        "the child wrote nothing"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let store = Store::open(&folder.path().join("notes.db")).unwrap();
    assert_eq!(store.get(1).unwrap().title, "kept");
    assert_eq!(
        store.search("kep", 1).unwrap().len(),
        1,
        "the index was kept with it"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path().join("notes.db"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "notes are their owner's");
    }
}

#[tokio::test]
async fn pages_of_tools_and_resources_hold_every_note_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("notes.db")).unwrap();
    for number in 1..=450 {
        store.add(&format!("n{number}"), "body").unwrap();
    }
    drop(store);
    let mut caller = Caller::connect(&open(folder.path()), Era::Modern).await;
    let (mut uris, mut params) = (Vec::new(), json!({}));
    loop {
        let page = caller.result("resources/list", params).await;
        uris.extend(
            page["resources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|r| r["uri"].as_str().unwrap().to_owned()),
        );
        match page.get("nextCursor") {
            Some(cursor) => params = json!({"cursor": cursor}),
            None => break,
        }
    }
    let expected: Vec<String> = (1..=450).rev().map(uri).collect();
    assert_eq!(uris, expected);
    let page = caller.value("list_notes", json!({"limit": 2})).await;
    assert_eq!((&page["total"], &page["next_before"]), (&json!(450), &json!(449)));
    let page = caller.value("list_notes", json!({"before": 3, "limit": 5})).await;
    assert_eq!(
        (page["notes"].as_array().unwrap().len(), page.get("next_before")),
        (2, None)
    );
    let answer = caller.ask("resources/list", json!({"cursor": "x"})).await;
    assert_eq!(answer["error"]["code"], -32602);
}

#[tokio::test]
async fn resources_prompts_and_completion() {
    for (era, missing) in [(Era::Legacy, -32002), (Era::Modern, -32602)] {
        let folder = tempfile::tempdir().unwrap();
        let mut caller = Caller::connect(&open(folder.path()), era).await;
        for number in 1..=12 {
            caller
                .value(
                    "add_note",
                    json!({"title": format!("Plan {number}"), "body": "do it"}),
                )
                .await;
        }
        let read = caller.result("resources/read", json!({"uri": "note:///3"})).await;
        assert_eq!(read["contents"][0]["text"], "# Plan 3\n\ndo it");
        for uri in ["note:///99", "note:///03", "note:///x", "file:///etc/passwd"] {
            let answer = caller.ask("resources/read", json!({"uri": uri})).await;
            assert_eq!(answer["error"]["code"], missing, "{answer}");
        }
        let templates = caller.result("resources/templates/list", json!({})).await;
        assert_eq!(templates["resourceTemplates"][0]["uriTemplate"], "note:///{id}");
        let prompts = caller.result("prompts/list", json!({})).await;
        assert_eq!(prompts["prompts"][0]["name"], "summarize_notes");
        assert_eq!(prompts["prompts"][0]["arguments"][0]["name"], "about");
        for (arguments, expected) in [
            (json!({}), "## Note 12: Plan 12"),
            (json!({"about": "plan 7"}), "## Note 7: Plan 7"),
            (json!({"about": "nothing"}), "there are none"),
        ] {
            let prompt = caller
                .result(
                    "prompts/get",
                    json!({"name": "summarize_notes", "arguments": arguments}),
                )
                .await;
            let text = prompt["messages"][0]["content"]["text"].as_str().unwrap();
            assert!(text.contains(expected), "{text}");
        }
        let ids = caller
            .result(
                "completion/complete",
                json!({"ref": {"type": "ref/resource", "uri": "note:///{id}"},
                                                  "argument": {"name": "id", "value": "1"}}),
            )
            .await;
        assert_eq!(ids["completion"]["values"], json!(["12", "11", "10", "1"]));
        let titles = caller
            .result(
                "completion/complete",
                json!({"ref": {"type": "ref/prompt", "name": "summarize_notes"},
                                                  "argument": {"name": "about", "value": "plan 1"}}),
            )
            .await;
        assert_eq!(
            titles["completion"]["values"],
            json!(["Plan 12", "Plan 11", "Plan 10", "Plan 1"])
        );
    }
}

#[tokio::test]
async fn a_change_on_one_connection_is_heard_on_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let notes = open(folder.path());
    let mut writer = Caller::connect(&notes, Era::Modern).await;
    writer
        .value("add_note", json!({"title": "first", "body": ""}))
        .await;

    let mut legacy = Caller::connect(&notes, Era::Legacy).await;
    legacy
        .result("resources/subscribe", json!({"uri": "note:///1"}))
        .await;
    let mut modern = Caller::connect(&notes, Era::Modern).await;
    let filter = json!({"notifications": {"resourcesListChanged": true,
                                          "resourceSubscriptions": ["note:///1", "file:///x"]}});
    let id = modern.send("subscriptions/listen", filter).await;
    let acknowledged = modern.hear("notifications/subscriptions/acknowledged").await;
    assert_eq!(
        acknowledged["params"]["notifications"]["resourceSubscriptions"],
        json!(["note:///1"])
    );

    writer
        .value("update_note", json!({"id": 1, "body": "changed"}))
        .await;
    assert_eq!(
        legacy.hear("notifications/resources/updated").await["params"]["uri"],
        "note:///1"
    );
    let updated = modern.hear("notifications/resources/updated").await;
    assert_eq!(
        updated["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        json!(id)
    );
    writer
        .value("add_note", json!({"title": "second", "body": ""}))
        .await;
    legacy.hear("notifications/resources/list_changed").await;
    modern.hear("notifications/resources/list_changed").await;
}
