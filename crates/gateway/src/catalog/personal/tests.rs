use gatepost_policy::{
    Access, BindingSettings, Caller, Facts, Method, Pattern, Principal, RoleSettings, RuleSettings,
};
use gatepost_protocol::version::Version;
use tokio::{sync::broadcast, time::sleep};

use super::*;
use crate::{
    catalog::{
        EndpointName,
        fake::{Fake, all, named, plan, sealer, single, started},
        source::AskedFor,
    },
    upstream::Change,
};

const ALL: EndpointName = EndpointName::All;

/// Callers of one gate, all of whom may do everything.
struct People(Arc<gatepost_policy::Rules>);

impl People {
    fn new() -> Self {
        let everything = RoleSettings {
            allow: vec![Pattern::new("*").unwrap()],
            access: Access::Destructive,
            ..RoleSettings::new("everything")
        };
        let binding = BindingSettings {
            roles: vec!["everything".into()],
            issuer: Some("https://id".into()),
            ..BindingSettings::default()
        };
        let rules = gatepost_policy::Rules::compile(RuleSettings {
            open: false,
            access: Access::Destructive,
            issuers: vec!["https://id".into()],
            roles: vec![everything],
            bindings: vec![binding],
        });
        Self(Arc::new(rules.unwrap()))
    }

    fn named(&self, subject: &str) -> Arc<Caller> {
        let facts = Facts::of(Principal::new("https://id", subject), Method::Jwt);
        Arc::new(self.0.caller(facts))
    }
}

/// What the caller is shown when it asks for the tools.
async fn tools(catalog: &Catalog<Fake>, endpoint: &EndpointName, caller: &Arc<Caller>) -> Vec<String> {
    catalog.settled(endpoint, Asker::plain(caller)).await;
    shown(catalog, endpoint, caller)
}

fn shown(catalog: &Catalog<Fake>, endpoint: &EndpointName, caller: &Arc<Caller>) -> Vec<String> {
    let view = catalog.view_for(endpoint, Asker::plain(caller)).unwrap();
    let entries = view.entries(ListKind::Tools);
    entries
        .map(|entry| entry.public.unwrap_or(&entry.item.key).to_owned())
        .collect()
}

fn mixed(asked_for: AskedFor) -> Arc<Fake> {
    let fake = Fake::new("s").remote().tools(&["common"]).asked_for(asked_for);
    fake.set_own_tool("ann", "anns", "");
    fake.set_own_tool("bob", "bobs", "");
    Arc::new(fake)
}

#[tokio::test(start_paused = true)]
async fn what_one_caller_is_told_nobody_else_is_shown() {
    let people = People::new();
    let (ann, bob, nobody) = (people.named("ann"), people.named("bob"), people.named("nobody"));
    for (asked_for, common) in [
        (AskedFor::Some, vec!["s__common".to_owned()]),
        (AskedFor::Owners, Vec::new()),
    ] {
        let (s, other) = (mixed(asked_for), Arc::new(Fake::new("o").tools(&["x"])));
        let catalog = started(vec![plan(&s), plan(&other)], vec![all(), single("s")]).await;
        let with = |tool: Vec<String>| [tool, vec!["o__x".to_owned()]].concat();
        // Nobody's are shown before they were asked for.
        assert_eq!(shown(&catalog, &ALL, &ann), ["o__x"]);
        for _ in 0..2 {
            assert_eq!(
                tools(&catalog, &ALL, &ann).await,
                with(vec!["s__anns".to_owned()])
            );
            assert_eq!(
                tools(&catalog, &ALL, &bob).await,
                with(vec!["s__bobs".to_owned()])
            );
            assert_eq!(tools(&catalog, &ALL, &nobody).await, with(common.clone()));
            assert_eq!(tools(&catalog, &named("s"), &ann).await, ["anns"]);
        }
        let everybodys = catalog.view(&ALL).unwrap();
        assert_eq!(everybodys.entries(ListKind::Tools).len(), common.len() + 1);
        // A tool of another's is an unknown one.
        let anns = catalog.view_for(&ALL, Asker::plain(&ann)).unwrap();
        assert!(anns.tool("s__anns").is_some() && anns.tool("s__bobs").is_none());
        assert!(anns.tool("s__common").is_none());
        // Nor may anybody on the way keep it for others, or the instructions that went with it.
        let page = anns.page(ListKind::Tools, Version::LATEST, None).unwrap().result;
        let page = String::from_utf8_lossy(&page).into_owned();
        assert!(page.contains(r#""cacheScope":"private""#), "{page}");
        for (caller, expected) in [(&ann, true), (&bob, false), (&nobody, false)] {
            let view = catalog.view_for(&named("s"), Asker::plain(caller)).unwrap();
            let said = String::from_utf8_lossy(&view.discover()).into_owned();
            assert_eq!(said.contains("for ann"), expected, "{said}");
        }
        let report = serde_json::to_string(&catalog.report()).unwrap();
        assert!(!report.contains("anns") && !report.contains("bobs"));
        let asked = if asked_for == AskedFor::Owners { 2 } else { 3 };
        assert_eq!(s.asked(ListKind::Tools), asked, "once for each of them");
    }
}

#[tokio::test(start_paused = true)]
async fn another_token_is_another_context() {
    let (people, s) = (People::new(), mixed(AskedFor::Owners));
    let ann = people.named("ann");
    let catalog = started(vec![plan(&s)], vec![all()]).await;
    assert_eq!(tools(&catalog, &ALL, &ann).await, ["s__anns"]);
    s.set_token("ann", "a weaker one");
    s.set_own_tool("ann", "less", "");
    assert!(shown(&catalog, &ALL, &ann).is_empty());
    assert_eq!(tools(&catalog, &ALL, &ann).await, ["s__less"]);
}

#[tokio::test(start_paused = true)]
async fn own_lists_grow_stale_and_whose_changed_hears_of_it() {
    let (people, s) = (People::new(), mixed(AskedFor::Owners));
    s.set_own_tool("ann", "anns", r#","ttlMs":20000"#);
    let (ann, bob) = (people.named("ann"), people.named("bob"));
    let catalog = started(vec![plan(&s)], vec![all()]).await;
    tools(&catalog, &ALL, &bob).await;
    tools(&catalog, &ALL, &ann).await;
    let mut changes = catalog.changes(&ALL);
    s.set_own_tool("ann", "new", r#","ttlMs":20000"#);
    s.set_own_tool("bob", "new", "");
    sleep(Duration::from_secs(19)).await;
    assert_eq!(tools(&catalog, &ALL, &ann).await, ["s__anns"]);
    sleep(Duration::from_secs(2)).await;
    // What there is comes at once; what is new is announced.
    assert_eq!(tools(&catalog, &ALL, &ann).await, ["s__anns"]);
    assert_eq!(changes.recv().await, Ok(ViewChange::Tools));
    assert_eq!(shown(&catalog, &ALL, &ann), ["s__new"]);
    // The other's are fresh for a minute, as its server does not say.
    assert_eq!(tools(&catalog, &ALL, &bob).await, ["s__bobs"]);
    assert!(matches!(
        changes.try_recv(),
        Err(broadcast::error::TryRecvError::Empty)
    ));
    sleep(Duration::from_secs(60)).await;
    tools(&catalog, &ALL, &bob).await;
    assert_eq!(changes.recv().await, Ok(ViewChange::Tools));
    assert_eq!(tools(&catalog, &ALL, &bob).await, ["s__new"]);
}

#[tokio::test(start_paused = true)]
async fn own_lists_are_asked_for_again_when_the_server_speaks_of_a_change() {
    let (people, s) = (People::new(), mixed(AskedFor::Owners));
    let ann = people.named("ann");
    let catalog = started(vec![plan(&s)], vec![all()]).await;
    tools(&catalog, &ALL, &ann).await;
    s.set_own_tool("ann", "new", "");
    tools(&catalog, &ALL, &ann).await;
    assert_eq!(s.asked(ListKind::Tools), 1);
    s.announce(Change::Tools);
    sleep(Duration::from_millis(1)).await;
    tools(&catalog, &ALL, &ann).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(shown(&catalog, &ALL, &ann), ["s__new"]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_its_own_lists_waits_two_seconds_at_most() {
    let (people, s) = (People::new(), mixed(AskedFor::Owners));
    let ann = people.named("ann");
    let catalog = started(vec![plan(&s)], vec![all()]).await;
    s.set_delay(Duration::from_secs(3));
    let began = Instant::now();
    let mut changes = catalog.changes(&ALL);
    assert!(tools(&catalog, &ALL, &ann).await.is_empty());
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    assert!(tools(&catalog, &ALL, &ann).await.is_empty());
    assert_eq!(began.elapsed(), Duration::from_secs(2), "and not once more");
    assert_eq!(changes.recv().await, Ok(ViewChange::Tools));
    assert_eq!(shown(&catalog, &ALL, &ann), ["s__anns"]);
    assert_eq!(s.greeted(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_repeated_at_once_and_keeps_what_there_was() {
    let (people, s) = (People::new(), mixed(AskedFor::Owners));
    let ann = people.named("ann");
    let catalog = started(vec![plan(&s)], vec![all()]).await;
    s.set_down(true);
    for _ in 0..5 {
        assert!(tools(&catalog, &ALL, &ann).await.is_empty());
    }
    assert_eq!(s.greeted(), 1);
    let view = catalog.view_for(&ALL, Asker::plain(&ann)).unwrap();
    assert_eq!(view.unseen().count(), 1);
    s.set_down(false);
    sleep(Duration::from_secs(2)).await;
    tools(&catalog, &ALL, &ann).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(shown(&catalog, &ALL, &ann), ["s__anns"]);
    s.set_down(true);
    sleep(Duration::from_secs(70)).await;
    tools(&catalog, &ALL, &ann).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(shown(&catalog, &ALL, &ann), ["s__anns"]);
}

#[tokio::test(start_paused = true)]
async fn own_lists_are_forgotten_and_bounded() {
    let (people, s) = (People::new(), mixed(AskedFor::Owners));
    let ann = people.named("ann");
    let catalog = started(vec![plan(&s)], vec![all()]).await;
    tools(&catalog, &ALL, &ann).await;
    sleep(IDLE - Duration::from_secs(1)).await;
    tools(&catalog, &ALL, &ann).await;
    sleep(IDLE - Duration::from_secs(1)).await;
    assert_eq!(shown(&catalog, &ALL, &ann), ["s__anns"]);
    sleep(Duration::from_secs(2)).await;
    assert!(shown(&catalog, &ALL, &ann).is_empty());
    assert!(catalog.slots[0].shelf.all().is_empty());
    for number in 0..MOST + 10 {
        tools(&catalog, &ALL, &people.named(&number.to_string())).await;
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(catalog.slots[0].shelf.all().len(), MOST);
}

#[tokio::test]
async fn nothing_that_is_one_callers_own_is_written_or_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let build = |s: &Arc<Fake>| {
        let folder = Some(folder.path().to_owned());
        Catalog::build(vec![plan(s)], vec![all()], folder, sealer())
    };
    // Kept while the server was everybody's.
    let everybodys = mixed(AskedFor::Everybody);
    let catalog = build(&everybodys);
    catalog.start();
    catalog.settled(&ALL, Asker::plain(&Caller::local())).await;
    let file = folder.path().join("s.json");
    while !file.exists() {
        sleep(Duration::from_millis(5)).await;
    }
    catalog.stop();
    let written = std::fs::read(&file).unwrap();
    let people = People::new();
    let (ann, nobody) = (people.named("ann"), people.named("nobody"));
    let catalog = build(&mixed(AskedFor::Owners));
    catalog.start();
    assert!(tools(&catalog, &ALL, &nobody).await.is_empty());
    assert_eq!(tools(&catalog, &ALL, &ann).await, ["s__anns"]);
    catalog.stop();
    assert_eq!(std::fs::read(&file).unwrap(), written);
}
