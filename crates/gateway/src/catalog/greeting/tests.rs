use std::sync::Arc;

use gatepost_policy::Access;
use serde_json::{Value, json};

use super::*;
use crate::catalog::{
    Catalog,
    fake::{Fake, all, named, plan, sealer, selection, single, started},
    view::EndpointName,
};

fn discover(view: &View<Fake>) -> Value {
    serde_json::from_slice(&view.discover()).unwrap()
}

fn initialize(view: &View<Fake>, version: Version) -> Value {
    serde_json::from_slice(&view.initialize(version)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_server_speaks_for_itself() {
    let capabilities = r#"{"tools":{"x": 1.0},"tasks":{"list":{}},"vendor/x":[1],"experimental":{"e":{}},"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{"a": 1}}}"#;
    let fake = Fake::new("s").capabilities(capabilities).about(|about| {
        about.info = Some(r#"{"name":"real","version":"2","icons":[]}"#.into());
        about.instructions = Some("Be \"kind\".".into());
        about.extra = vec![("odd".into(), "1.50".into())];
    });
    let view = started(vec![plan(&Arc::new(fake))], vec![single("s")])
        .await
        .view(&named("s"))
        .unwrap();
    let text = String::from_utf8(view.initialize(Version::V2024_11_05).to_vec()).unwrap();
    assert_eq!(
        text,
        r#"{"protocolVersion":"2024-11-05","capabilities":{"tools":{"x": 1.0},"vendor/x":[1],"experimental":{"e":{}},"extensions":{"io.modelcontextprotocol/ui":{"a": 1}}},"instructions":"Be \"kind\".","odd":1.50,"serverInfo":{"name":"real","version":"2","icons":[]}}"#
    );
    let discover = discover(&view);
    assert_eq!(discover["_meta"][META_SERVER_INFO]["name"], "real");
    assert_eq!(discover["capabilities"]["vendor/x"], json!([1]));
    assert_eq!(discover.get("serverInfo"), None);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_name_is_called_as_in_the_configuration() {
    let view = started(vec![plan(&Arc::new(Fake::new("s")))], vec![single("s")])
        .await
        .view(&named("s"))
        .unwrap();
    let result = initialize(&view, Version::LATEST_LEGACY);
    assert_eq!(result["serverInfo"], json!({"name": "s", "version": "0"}));
    assert_eq!(result.get("instructions"), None);
}

#[tokio::test(start_paused = true)]
async fn many_servers_can_do_what_any_of_them_can() {
    let a = Fake::new("a")
        .capabilities(r#"{"tools":{},"logging":{"x":1},"vendor":{},"extensions":{"e/x":{"of":"a"},"io.modelcontextprotocol/tasks":{}}}"#)
        .about(|about| about.instructions = Some("  Do this.\n".into()));
    let b = Fake::new("b")
        .capabilities(
            r#"{"resources":{"subscribe":true},"completions":{},"extensions":{"e/x":{"of":"b"},"e/y":{}}}"#,
        )
        .about(|about| about.instructions = Some("Do that.".into()));
    let c = Fake::new("c")
        .capabilities("{}")
        .about(|about| about.instructions = Some(" ".into()));
    let plans = vec![plan(&Arc::new(a)), plan(&Arc::new(b)), plan(&Arc::new(c))];
    let view = started(plans, vec![all()])
        .await
        .view(&EndpointName::All)
        .unwrap();
    let discover = discover(&view);
    assert_eq!(
        discover["capabilities"],
        json!({
            "tools": {"listChanged": true},
            "resources": {"listChanged": true, "subscribe": true},
            "logging": {},
            "completions": {},
            "extensions": {"e/x": {"of": "a"}, "e/y": {}},
        })
    );
    assert_eq!(discover["instructions"], "## a\n\nDo this.\n\n## b\n\nDo that.");
    assert_eq!(discover["resultType"], "complete");
    assert_eq!(discover["ttlMs"], 60_000);
    assert_eq!(discover["cacheScope"], "public");
    assert_eq!(
        discover["supportedVersions"],
        json!([
            "2026-07-28",
            "2025-11-25",
            "2025-06-18",
            "2025-03-26",
            "2024-11-05"
        ])
    );
    for version in SUPPORTED_LEGACY {
        let result = initialize(&view, *version);
        assert_eq!(result["protocolVersion"], version.as_str());
        assert_eq!(result["capabilities"], discover["capabilities"]);
        assert_eq!(result["serverInfo"]["name"], "gatepost");
        for modern in ["resultType", "ttlMs", "cacheScope", "_meta"] {
            assert_eq!(result.get(modern), None);
        }
    }
    // A version without a handshake is not echoed.
    assert_eq!(
        initialize(&view, Version::LATEST)["protocolVersion"],
        "2025-11-25"
    );
}

#[tokio::test(start_paused = true)]
async fn tasks_of_modern_servers_are_offered_to_modern_clients() {
    let server = |name: &str, version| {
        let capabilities = r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{"x":1}}}"#;
        let fake = Fake::new(name).capabilities(capabilities);
        plan(&Arc::new(fake.about(|about| about.version = version)))
    };
    for (version, offered) in [(Version::LATEST, true), (Version::LATEST_LEGACY, false)] {
        let view = started(vec![server("a", version)], vec![all()])
            .await
            .view(&EndpointName::All)
            .unwrap();
        let extension = |greeting: &Value| {
            greeting["capabilities"]["extensions"]
                .get("io.modelcontextprotocol/tasks")
                .cloned()
        };
        assert_eq!(extension(&discover(&view)), offered.then(|| json!({"x": 1})));
        assert_eq!(extension(&initialize(&view, Version::LATEST_LEGACY)), None);
        assert_eq!(view.offers_tasks(), offered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_was_not_declared_is_declared_when_it_is_there() {
    let fake = Fake::new("s").capabilities("{}").tools(&["a"]);
    let view = started(vec![plan(&Arc::new(fake))], vec![all()])
        .await
        .view(&EndpointName::All)
        .unwrap();
    assert_eq!(
        discover(&view)["capabilities"],
        json!({"tools": {"listChanged": true}})
    );
}

#[test]
fn before_a_server_is_known_its_lists_are_promised() {
    let catalog = Catalog::build(
        vec![plan(&Arc::new(Fake::new("s")))],
        vec![all(), single("s")],
        None,
        sealer(),
    );
    for name in [EndpointName::All, named("s")] {
        let discover = discover(&catalog.view(&name).unwrap());
        let changing = json!({"listChanged": true});
        assert_eq!(discover["capabilities"]["tools"], changing);
        assert_eq!(discover["capabilities"]["prompts"], changing);
        assert_eq!(discover["capabilities"]["resources"]["listChanged"], true);
        assert_eq!(discover["ttlMs"], 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_describes_itself_and_only_whom_it_shows() {
    let speaking = |name, text: &str| {
        let text = Arc::from(text);
        Arc::new(
            Fake::new(name)
                .tools(&["t"])
                .about(|about| about.instructions = Some(text)),
        )
    };
    let (shown, hidden) = (
        speaking("shown", &"é".repeat(INSTRUCTIONS)),
        speaking("hidden", "Never seen."),
    );
    let mut rules = selection("v", &["shown__*"], &[], Access::Destructive, &[]);
    rules.description = Some("For support.".into());
    let view = started(vec![plan(&shown), plan(&hidden)], vec![rules])
        .await
        .view(&named("v"))
        .unwrap();
    let cut = "é".repeat(INSTRUCTIONS / 2);
    assert_eq!(
        discover(&view)["instructions"],
        format!("For support.\n\n## shown\n\n{cut}…")
    );
}
