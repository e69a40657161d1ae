use gatepost_policy::Access;
use gatepost_protocol::version::SUPPORTED_LEGACY;

use super::*;
use crate::catalog::{
    Catalog,
    fake::{Fake, all, named, plan, selection, single, started},
    view::EndpointName,
};
use crate::upstream::Change;

const MODERN: Version = Version::LATEST;
const LEGACY: Version = Version::LATEST_LEGACY;

fn first(view: &View<Fake>, kind: ListKind, version: Version) -> String {
    String::from_utf8(view.page(kind, version, None).unwrap().result.to_vec()).unwrap()
}

fn member(page: &Page, name: &str) -> Option<serde_json::Value> {
    serde_json::from_slice::<serde_json::Value>(&page.result)
        .unwrap()
        .get(name)
        .cloned()
}

fn keys(page: &Page, kind: ListKind) -> Vec<String> {
    let items = member(page, kind.member()).unwrap();
    items
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item[kind.key()].as_str().unwrap().to_owned())
        .collect()
}

fn cursor(page: &Page) -> Option<String> {
    member(page, "nextCursor").map(|cursor| cursor.as_str().unwrap().to_owned())
}

async fn catalog_of(fake: &Arc<Fake>) -> Arc<Catalog<Fake>> {
    started(vec![plan(fake)], vec![all(), single(fake.name())]).await
}

#[tokio::test(start_paused = true)]
async fn modern_results_carry_what_legacy_ones_must_not() {
    let fake = Arc::new(Fake::new("s").tools(&["a"]));
    let view = catalog_of(&fake).await.view(&EndpointName::All).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        first(&view, ListKind::Tools, MODERN),
        format!(
            r#"{{"tools":[{{"name":"s__a"}}],"resultType":"complete","ttlMs":60000,"cacheScope":"public","_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"gatepost","version":"{version}"}}}}}}"#
        )
    );
    for version in SUPPORTED_LEGACY {
        assert_eq!(
            first(&view, ListKind::Tools, *version),
            r#"{"tools":[{"name":"s__a"}]}"#
        );
    }
    assert_eq!(
        first(&view, ListKind::Templates, LEGACY),
        r#"{"resourceTemplates":[]}"#
    );
}

#[tokio::test(start_paused = true)]
async fn pages_are_serialised_once_and_shared() {
    let fake = Arc::new(Fake::new("s").tools(&["a"]));
    let view = catalog_of(&fake).await.view(&EndpointName::All).unwrap();
    let page = |version| view.page(ListKind::Tools, version, None).unwrap().result;
    assert_eq!(page(MODERN).as_ptr(), page(MODERN).as_ptr());
    // Nothing in this list is unknown to an old client, so all legacy versions share one text.
    assert_eq!(page(Version::V2024_11_05).as_ptr(), page(LEGACY).as_ptr());
}

/// `eras.md` §7 and §10.
#[tokio::test(start_paused = true)]
async fn what_a_version_does_not_know_is_taken_out_of_its_list_only() {
    let odd = r#"{"name":"odd","outputSchema":{"type":"array"},"execution":{}}"#;
    let plain = r#"{"name":"plain","x":1.0}"#;
    let list = |version| {
        let fake = Fake::new("s")
            .about(|about| about.version = version)
            .items(ListKind::Tools, &[odd, plain]);
        async move {
            let catalog = started(vec![plan(&Arc::new(fake))], vec![single("s")]).await;
            catalog.view(&named("s")).unwrap()
        }
    };
    let (without_schema, without_execution) = (
        odd.replace(r#""outputSchema":{"type":"array"},"#, ""),
        odd.replace(r#","execution":{}"#, ""),
    );
    let modern = list(Version::LATEST).await;
    assert_eq!(
        first(&modern, ListKind::Tools, LEGACY),
        format!(r#"{{"tools":[{without_schema},{plain}]}}"#)
    );
    assert!(first(&modern, ListKind::Tools, MODERN).starts_with(&format!(r#"{{"tools":[{odd},{plain}],"#)));
    assert!(modern.tool("odd").unwrap().drops_structured(LEGACY));
    assert!(!modern.tool("odd").unwrap().drops_structured(MODERN));
    assert!(!modern.tool("plain").unwrap().drops_structured(LEGACY));
    let legacy = list(LEGACY).await;
    assert!(!legacy.tool("odd").unwrap().drops_structured(LEGACY));
    assert_eq!(
        first(&legacy, ListKind::Tools, LEGACY),
        format!(r#"{{"tools":[{odd},{plain}]}}"#)
    );
    assert!(
        first(&legacy, ListKind::Tools, MODERN)
            .starts_with(&format!(r#"{{"tools":[{without_execution},{plain}],"#))
    );
}

#[tokio::test(start_paused = true)]
async fn one_servers_own_words_are_kept_on_its_own_endpoint_only() {
    let result = r#"{"tools":[],"vendor":{"x": 1.0},"ttlMs":5,"cacheScope":"private",
        "_meta":{"v":1,"io.modelcontextprotocol/serverInfo":{"name":"mine","version":"9"}}}"#;
    let fake = Arc::new(Fake::new("s").page(ListKind::Tools, None, result));
    let catalog = catalog_of(&fake).await;
    let view = catalog.view(&named("s")).unwrap();
    assert_eq!(
        first(&view, ListKind::Tools, MODERN),
        r#"{"tools":[],"vendor":{"x": 1.0},"resultType":"complete","ttlMs":5,"cacheScope":"private","_meta":{"v":1,"io.modelcontextprotocol/serverInfo":{"name":"mine","version":"9"}}}"#
    );
    assert_eq!(
        first(&view, ListKind::Tools, LEGACY),
        r#"{"tools":[],"vendor":{"x": 1.0},"_meta":{"v":1}}"#
    );
    let merged = first(
        &catalog.view(&EndpointName::All).unwrap(),
        ListKind::Tools,
        MODERN,
    );
    assert!(
        merged
            .starts_with(r#"{"tools":[],"resultType":"complete","ttlMs":5,"cacheScope":"private","_meta":"#),
        "{merged}"
    );
    assert!(merged.contains("gatepost"), "{merged}");
}

/// `eras.md` §7.
#[tokio::test(start_paused = true)]
async fn freshness_is_that_of_the_least_fresh_server() {
    let announcing = || Fake::new("announcing").tools(&["a"]);
    let silent = || Fake::new("silent").capabilities(r#"{"tools":{}}"#).tools(&["b"]);
    let timed =
        |ttl| Fake::new("timed").page(ListKind::Tools, None, &format!(r#"{{"tools":[],"ttlMs":{ttl}}}"#));
    let without = || Fake::new("without").capabilities("{}");
    for (fakes, expected) in [
        (vec![announcing()], 60_000),
        (vec![announcing(), silent()], 0),
        (vec![announcing(), without()], 60_000),
        (vec![announcing(), timed("7000")], 7_000),
        (vec![announcing(), timed("90000")], 60_000),
        (vec![timed("-1")], 60_000),
        (vec![without()], 0),
    ] {
        let plans = fakes.into_iter().map(|fake| plan(&Arc::new(fake))).collect();
        let view = started(plans, vec![all()])
            .await
            .view(&EndpointName::All)
            .unwrap();
        let page = view.page(ListKind::Tools, MODERN, None).unwrap();
        assert_eq!(member(&page, "ttlMs").unwrap(), expected);
    }
}

/// Tools of some 1.5 MiB each, so that two fit on a page.
fn large(names: &[&str]) -> Vec<String> {
    let filling = "x".repeat(3 * PAGE_BYTES / 8);
    names
        .iter()
        .map(|name| format!(r#"{{"name":"{name}","description":"{filling}"}}"#))
        .collect()
}

fn set_large(fake: &Fake, names: &[&str]) {
    let items = large(names);
    fake.set_items(
        ListKind::Tools,
        &items.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_list_comes_in_pages() {
    let fake = Arc::new(Fake::new("s"));
    set_large(&fake, &["a", "b", "c", "d", "e"]);
    let view = catalog_of(&fake).await.view(&named("s")).unwrap();
    for version in [MODERN, LEGACY] {
        let mut page = view.page(ListKind::Tools, version, None).unwrap();
        let mut found = vec![keys(&page, ListKind::Tools)];
        while let Some(next) = cursor(&page) {
            page = view.page(ListKind::Tools, version, Some(&next)).unwrap();
            found.push(keys(&page, ListKind::Tools));
        }
        assert_eq!(found, [&["a", "b"][..], &["c", "d"], &["e"]]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_larger_than_a_page_has_one_of_its_own() {
    let fake = Arc::new(Fake::new("s"));
    let huge = format!(
        r#"{{"name":"huge","description":"{}"}}"#,
        "x".repeat(PAGE_BYTES + 1)
    );
    fake.set_items(ListKind::Tools, &[r#"{"name":"a"}"#, &huge, r#"{"name":"z"}"#]);
    let view = catalog_of(&fake).await.view(&named("s")).unwrap();
    let one = view.page(ListKind::Tools, LEGACY, None).unwrap();
    let two = view
        .page(ListKind::Tools, LEGACY, cursor(&one).as_deref())
        .unwrap();
    let three = view
        .page(ListKind::Tools, LEGACY, cursor(&two).as_deref())
        .unwrap();
    let found = [one, two, three].map(|page| keys(&page, ListKind::Tools));
    assert_eq!(found, [["a"], ["huge"], ["z"]]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_is_for_one_endpoint_and_one_list() {
    let fake = Arc::new(Fake::new("s"));
    set_large(&fake, &["a", "b", "c"]);
    let items = large(&["a", "b", "c"]);
    fake.set_items(
        ListKind::Prompts,
        &items.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let rules = vec![
        all(),
        single("s"),
        selection("v", &["*"], &[], Access::Destructive, &[]),
    ];
    let catalog = started(vec![plan(&fake)], rules).await;
    let view = |name| catalog.view(&name).unwrap();
    let all = view(EndpointName::All);
    let good = cursor(&all.page(ListKind::Tools, MODERN, None).unwrap()).unwrap();
    assert!(all.page(ListKind::Tools, MODERN, Some(&good)).is_ok());
    // Versions are one list, so that a cursor survives a client that speaks both.
    assert!(all.page(ListKind::Tools, LEGACY, Some(&good)).is_ok());
    assert_eq!(all.page(ListKind::Prompts, MODERN, Some(&good)), Err(BadCursor));
    assert_eq!(
        view(named("s")).page(ListKind::Tools, MODERN, Some(&good)),
        Err(BadCursor)
    );
    assert_eq!(
        view(named("v")).page(ListKind::Tools, MODERN, Some(&good)),
        Err(BadCursor)
    );
    for bad in ["", "1", "null", &good[1..], &format!("{good}A")] {
        assert_eq!(
            all.page(ListKind::Tools, MODERN, Some(bad)),
            Err(BadCursor),
            "{bad}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_cursor_goes_on_behind_the_same_thing() {
    let fake = Arc::new(Fake::new("s"));
    set_large(&fake, &["a", "b", "c", "d"]);
    let catalog = catalog_of(&fake).await;
    let page = |cursor: Option<&str>| {
        catalog
            .view(&named("s"))
            .unwrap()
            .page(ListKind::Tools, LEGACY, cursor)
    };
    let after_b = cursor(&page(None).unwrap()).unwrap();
    assert_eq!(keys(&page(Some(&after_b)).unwrap(), ListKind::Tools), ["c", "d"]);
    let mut changes = catalog.changes(&named("s"));
    let mut change = async |names: &[&str]| {
        set_large(&fake, names);
        fake.announce(Change::Tools);
        changes.recv().await.unwrap();
    };
    // Something came before it: pages begin elsewhere now.
    change(&["0", "a", "b", "c", "d", "e"]).await;
    let next = page(Some(&after_b)).unwrap();
    assert_eq!(keys(&next, ListKind::Tools), ["c", "d"]);
    assert_eq!(
        keys(&page(cursor(&next).as_deref()).unwrap(), ListKind::Tools),
        ["e"]
    );
    // It is the last thing: an empty page, and the end.
    change(&["a", "b"]).await;
    let next = page(Some(&after_b)).unwrap();
    assert_eq!((keys(&next, ListKind::Tools).len(), cursor(&next)), (0, None));
    // It is gone.
    change(&["a", "c"]).await;
    assert_eq!(page(Some(&after_b)), Err(BadCursor));
}
