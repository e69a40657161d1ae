use gatepost_policy::{Access, Effect, Pattern};

use super::*;
use crate::catalog::{
    Plan,
    fake::{Fake, all, plan, selection, single, started},
};

async fn view_of(plans: Vec<Plan<Fake>>, rules: Rules) -> Arc<View<Fake>> {
    let name = rules.name.clone();
    started(plans, vec![rules]).await.view(&name).unwrap()
}

fn names(view: &View<Fake>, kind: ListKind) -> Vec<String> {
    view.entries(kind)
        .map(|entry| entry.public.unwrap_or(&entry.item.key).to_owned())
        .collect()
}

/// `server/original` of a public tool name.
fn tool(view: &View<Fake>, public: &str) -> Option<String> {
    view.tool(public)
        .map(|tool| format!("{}/{}", tool.server.name(), tool.original))
}

fn reader(view: &View<Fake>, uri: &str) -> Option<String> {
    view.resource(uri).map(|server| server.name().to_string())
}

fn remarks(view: &View<Fake>) -> Vec<String> {
    view.remarks().iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn names_are_prefixed_in_the_order_of_the_configuration() {
    let b = Arc::new(
        Fake::new("b")
            .tools(&["z", "a"])
            .items(ListKind::Prompts, &[r#"{"name":"p"}"#]),
    );
    let a = Arc::new(Fake::new("a").tools(&["z"]));
    let view = view_of(vec![plan(&b), plan(&a)], all()).await;
    assert_eq!(names(&view, ListKind::Tools), ["b__z", "b__a", "a__z"]);
    assert_eq!(tool(&view, "a__z").unwrap(), "a/z");
    assert_eq!(tool(&view, "z"), None);
    assert_eq!(&*view.prompt("b__p").unwrap().original, "p");
    assert!(view.only_server().is_none());
    assert_eq!(view.servers().count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_of_one_server_has_its_own_names() {
    let a = Arc::new(Fake::new("a").tools(&["z", "a__z"]));
    let b = Arc::new(Fake::new("b").tools(&["y"]));
    let view = view_of(vec![plan(&a), plan(&b)], single("a")).await;
    assert_eq!(names(&view, ListKind::Tools), ["z", "a__z"]);
    assert_eq!(tool(&view, "a__z").unwrap(), "a/a__z");
    assert_eq!(tool(&view, "y"), None);
    assert_eq!(view.only_server().unwrap().name(), a.name());
    // It may serve what it does not list.
    assert_eq!(reader(&view, "any://thing").unwrap(), "a");
    let (server, original) = view.completion(Completion::Prompt("unlisted")).unwrap();
    assert_eq!((&**server.name(), original.as_deref()), ("a", Some("unlisted")));
}

#[tokio::test(start_paused = true)]
async fn a_name_with_the_separator_in_it_finds_its_own_server() {
    let short = Arc::new(Fake::new("a").tools(&["b__c", "__", "c"]));
    let long = Arc::new(Fake::new("a__b").tools(&["d", "c"]));
    let view = view_of(vec![plan(&short), plan(&long)], all()).await;
    assert_eq!(tool(&view, "a__b__c").unwrap(), "a/b__c");
    assert_eq!(tool(&view, "a____").unwrap(), "a/__");
    assert_eq!(tool(&view, "a__b__d").unwrap(), "a__b/d");
    assert_eq!(
        names(&view, ListKind::Tools),
        ["a__b__c", "a____", "a__c", "a__b__d"]
    );
    assert_eq!(
        remarks(&view),
        ["the tool `a__b__c` of server `a__b` is hidden by one of server `a`"]
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_name_is_spliced() {
    let item = r#"{ "title" : "name", "name"  :  "q\u0075\"x" , "name2":"a", "big":123456789012345678901234567890 }"#;
    let server = Arc::new(Fake::new("s").items(ListKind::Tools, &[item]));
    let merged = view_of(vec![plan(&server)], all()).await;
    let entry = merged.entries(ListKind::Tools).next().unwrap();
    let expected = item.replace(r#""q\u0075\"x""#, r#""s__qu\"x""#);
    assert_eq!(std::str::from_utf8(&entry.raw()).unwrap(), expected);
    let alone = view_of(vec![plan(&server)], single("s")).await;
    assert_eq!(
        std::str::from_utf8(&alone.entries(ListKind::Tools).next().unwrap().raw()).unwrap(),
        item
    );
}

#[tokio::test(start_paused = true)]
async fn a_view_selects_renames_and_reports_clashes() {
    let crm = Arc::new(Fake::new("crm").tools(&["get", "put", "delete_all", "find"]));
    let files = Arc::new(Fake::new("files").tools(&["read_a", "write"]));
    let rules = selection(
        "support",
        &["crm__*", "files__read_*"],
        &["*delete*"],
        Access::Destructive,
        &[
            ("crm__get", "ticket"),
            ("crm__find", "crm__put"),
            ("crm__gone", "x"),
            ("files__write", "w"),
        ],
    );
    let view = view_of(vec![plan(&crm), plan(&files)], rules).await;
    assert_eq!(
        names(&view, ListKind::Tools),
        ["ticket", "crm__put", "files__read_a"]
    );
    assert_eq!(tool(&view, "ticket").unwrap(), "crm/get");
    assert_eq!(tool(&view, "crm__get"), None);
    assert_eq!(tool(&view, "crm__put").unwrap(), "crm/put");
    assert_eq!(
        remarks(&view),
        [
            "the tool `crm__put` of server `crm` is hidden by one of server `crm`",
            "`rename` names `crm__gone`, which the view does not have",
            "`rename` names `files__write`, which the view does not have",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_ceiling_counts_effects_and_trusts_nobody_by_default() {
    let items = [
        r#"{"name":"get_a"}"#,
        r#"{"name":"claims","annotations":{"readOnlyHint":true}}"#,
        r#"{"name":"other"}"#,
    ];
    let server = Arc::new(
        Fake::new("s")
            .items(ListKind::Tools, &items)
            .items(ListKind::Prompts, &[items[2]]),
    );
    let effects = |trust_annotations| EffectRules {
        declared: vec![(Pattern::new("get_*").unwrap(), Effect::Read)],
        trust_annotations,
    };
    for (trust, shown) in [(false, &["s__get_a"][..]), (true, &["s__get_a", "s__claims"])] {
        let plan = Plan {
            effects: effects(trust),
            ..plan(&server)
        };
        let view = view_of(vec![plan], selection("v", &["*"], &[], Access::Read, &[])).await;
        assert_eq!(names(&view, ListKind::Tools), shown);
        assert_eq!(names(&view, ListKind::Prompts), ["s__other"]);
        assert_eq!(view.tool("s__get_a").unwrap().effect.effect, Effect::Read);
        assert!(view.tool("s__other").is_none());
    }
}

/// What may be done twice: by the operator's word, or by the server's where that is believed.
#[tokio::test(start_paused = true)]
async fn a_tool_is_repeatable_if_it_reads_or_is_idempotent() {
    let items = [
        r#"{"name":"get_a"}"#,
        r#"{"name":"reads","annotations":{"readOnlyHint":true}}"#,
        r#"{"name":"sets","annotations":{"readOnlyHint":false,"idempotentHint":true}}"#,
        r#"{"name":"adds","annotations":{"readOnlyHint":false,"idempotentHint":false}}"#,
        r#"{"name":"odd","annotations":{"idempotentHint":"true"}}"#,
        r#"{"name":"silent"}"#,
    ];
    let server = Arc::new(Fake::new("s").items(ListKind::Tools, &items));
    for (trust_annotations, expected) in [(false, &["get_a"][..]), (true, &["get_a", "reads", "sets"])] {
        let plan = Plan {
            effects: EffectRules {
                declared: vec![(Pattern::new("get_*").unwrap(), Effect::Read)],
                trust_annotations,
            },
            ..plan(&server)
        };
        let view = view_of(vec![plan], single("s")).await;
        let names = names(&view, ListKind::Tools);
        let repeatable: Vec<_> = names
            .iter()
            .filter(|name| view.tool(name).unwrap().repeatable)
            .collect();
        assert_eq!(repeatable, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_goes_to_who_lists_the_uri_then_to_the_first_template() {
    let first = Arc::new(
        Fake::new("first")
            .items(ListKind::Resources, &[r#"{"uri":"note://both","name":"1"}"#])
            .items(
                ListKind::Templates,
                &[r#"{"uriTemplate":"note://{id}"}"#, r#"{"uriTemplate":"bad{"}"#],
            ),
    );
    let second = Arc::new(
        Fake::new("second")
            .items(
                ListKind::Resources,
                &[
                    r#"{"uri":"note://both"}"#,
                    r#"{"uri":"note://mine"}"#,
                    r#"{"uri":"note://a/exact"}"#,
                ],
            )
            .items(
                ListKind::Templates,
                &[
                    r#"{"uriTemplate":"note://{id}"}"#,
                    r#"{"uriTemplate":"note://{id}/{part}"}"#,
                ],
            ),
    );
    let view = view_of(vec![plan(&first), plan(&second)], all()).await;
    for (uri, server) in [
        ("note://both", Some("first")),
        ("note://mine", Some("second")),
        ("note://any", Some("first")),
        ("note://a/b", Some("second")),
        // Only a generous reading matches, and then the order counts again.
        ("note://a/b/c", Some("first")),
        ("note://a/exact", Some("second")),
        ("other://x", None),
    ] {
        assert_eq!(reader(&view, uri).as_deref(), server, "{uri}");
    }
    assert_eq!(
        names(&view, ListKind::Resources),
        ["note://both", "note://mine", "note://a/exact"]
    );
    assert_eq!(
        names(&view, ListKind::Templates),
        ["note://{id}", "bad{", "note://{id}/{part}"]
    );
    assert_eq!(
        remarks(&view),
        [
            "the resource `note://both` of server `second` is hidden by one of server `first`",
            "the resource template `bad{` matches nothing: its braces do not pair",
            "the resource template `note://{id}` of server `second` is hidden by one of server `first`",
        ]
    );
    let completes = |reference| {
        view.completion(reference)
            .map(|(server, _)| server.name().to_string())
    };
    assert_eq!(
        completes(Completion::Resource("note://{id}/{part}")).as_deref(),
        Some("second")
    );
    assert_eq!(
        completes(Completion::Resource("note://any")).as_deref(),
        Some("first")
    );
    assert_eq!(completes(Completion::Resource("x://{y}")), None);
    assert_eq!(completes(Completion::Prompt("first__p")), None);
}

#[tokio::test(start_paused = true)]
async fn a_view_decides_about_the_uri_and_not_about_the_template() {
    let files =
        Arc::new(Fake::new("files").items(ListKind::Templates, &[r#"{"uriTemplate":"file:///{+path}"}"#]));
    let rules = selection("v", &["files__file:///public/*"], &[], Access::Read, &[]);
    let view = view_of(vec![plan(&files)], rules).await;
    assert_eq!(names(&view, ListKind::Templates), [""; 0]);
    assert_eq!(reader(&view, "file:///public/a").as_deref(), Some("files"));
    assert_eq!(reader(&view, "file:///private/a"), None);
}
