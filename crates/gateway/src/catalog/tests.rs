use std::time::Duration;

use gatepost_policy::Access;
use gatepost_protocol::version::Version;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::{
    catalog::{
        fake::{Fake, all, named, plan, sealer, selection, single, started},
        source::Answer,
    },
    upstream::Change,
};

fn tools(catalog: &Catalog<Fake>, name: &EndpointName) -> String {
    let page = catalog
        .view(name)
        .unwrap()
        .page(ListKind::Tools, Version::LATEST_LEGACY, None)
        .unwrap();
    String::from_utf8(page.result.to_vec()).unwrap()
}

const ALL: EndpointName = EndpointName::All;

/// Long enough for anything that is going to happen by itself soon; time is paused.
async fn a_while() {
    sleep(Duration::from_secs(2)).await;
}

fn nothing(changes: &mut broadcast::Receiver<ViewChange>) -> bool {
    matches!(changes.try_recv(), Err(broadcast::error::TryRecvError::Empty))
}

#[tokio::test(start_paused = true)]
async fn a_change_is_announced_after_it_can_be_seen_and_only_where_it_shows() {
    let a = Arc::new(Fake::new("a").tools(&["x"]));
    let b = Arc::new(Fake::new("b").tools(&["y"]));
    let rules = vec![
        all(),
        single("a"),
        single("b"),
        selection("v", &["a__x"], &[], Access::Destructive, &[]),
    ];
    let catalog = started(vec![plan(&a), plan(&b)], rules).await;
    let mut all = catalog.changes(&ALL);
    let mut others = [catalog.changes(&named("b")), catalog.changes(&named("v"))];
    let (b_before, v_before) = (
        catalog.view(&named("b")).unwrap(),
        catalog.view(&named("v")).unwrap(),
    );
    a.set_tools(&["x", "new"]);
    a.announce(Change::Tools);
    assert_eq!(all.recv().await, Ok(ViewChange::Tools));
    assert_eq!(
        tools(&catalog, &ALL),
        r#"{"tools":[{"name":"a__x"},{"name":"a__new"},{"name":"b__y"}]}"#
    );
    a_while().await;
    assert!(others.iter_mut().all(nothing) && nothing(&mut all));
    assert!(Arc::ptr_eq(&b_before, &catalog.view(&named("b")).unwrap()));
    assert!(!Arc::ptr_eq(&v_before, &catalog.view(&named("v")).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn what_another_hides_from_most_is_announced_too() {
    let item = |name: &str| format!(r#"{{"uri":"x:y","name":"{name}"}}"#);
    let a = Arc::new(Fake::new("a").items(ListKind::Resources, &[&item("a")]));
    let b = Arc::new(Fake::new("b").items(ListKind::Resources, &[&item("b")]));
    let catalog = started(vec![plan(&a), plan(&b)], vec![all()]).await;
    let mut changes = catalog.changes(&ALL);
    // Who may see nothing of `a` sees this.
    b.set_items(ListKind::Resources, &[&item("another")]);
    b.announce(Change::Resources);
    a_while().await;
    assert_eq!(changes.try_recv(), Ok(ViewChange::Resources));
}

/// More tenants than there is room for, who come in turns.
#[tokio::test(start_paused = true)]
async fn views_for_others_are_bounded_and_most_of_them_stay() {
    let names: Vec<String> = (0..1024).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let a = Arc::new(Fake::new("a").tools(&names));
    let catalog = started(vec![plan(&a)], vec![all()]).await;
    let rules = gatepost_policy::Rules::open();
    let callers: Vec<Arc<Caller>> = (0..300)
        .map(|number| {
            let principal = gatepost_policy::Principal::new("i", "ann").with_tenant(format!("{number}"));
            let facts = gatepost_policy::Facts::of(principal, gatepost_policy::Method::Jwt);
            Arc::new(rules.caller(facts))
        })
        .collect();
    let view = |caller| catalog.view_for(&ALL, Asker::plain(caller)).unwrap();
    let before: Vec<_> = callers.iter().map(view).collect();
    let kept = |at: usize| Arc::ptr_eq(&before[at], &view(&callers[at]));
    let kept = (0..callers.len()).filter(|at| kept(*at)).count();
    assert!((128..=256).contains(&kept), "{kept}");
    let endpoint = catalog.endpoint(&ALL).unwrap();
    assert_eq!(endpoint.views.load().others.len(), 256);
}

#[tokio::test(start_paused = true)]
async fn only_what_was_announced_is_asked_for_and_the_same_list_is_no_change() {
    let a = Arc::new(Fake::new("a").tools(&["x"]));
    let catalog = started(vec![plan(&a)], vec![all()]).await;
    let mut changes = catalog.changes(&ALL);
    let before = catalog.view(&ALL).unwrap();
    for change in [Change::Tools, Change::Resources, Change::Reconnected] {
        a.announce(change);
        a_while().await;
    }
    assert_eq!(ListKind::ALL.map(|kind| a.asked(kind)), [3, 2, 3, 3]);
    assert!(nothing(&mut changes));
    assert!(Arc::ptr_eq(&before, &catalog.view(&ALL).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn what_is_announced_during_a_refresh_leads_to_one_more() {
    let a = Arc::new(Fake::new("a").tools(&["one"]));
    let catalog = started(vec![plan(&a)], vec![all()]).await;
    a_while().await;
    let asked = a.asked(ListKind::Tools);
    a.set_delay(Duration::from_secs(5));
    a.set_tools(&["two"]);
    a.announce(Change::Tools);
    // The question has been read and is being answered when the list changes again, many times.
    sleep(Duration::from_secs(6)).await;
    a.set_tools(&["three"]);
    for _ in 0..10 {
        a.announce(Change::Tools);
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(a.asked(ListKind::Tools) - asked, 2);
    assert_eq!(tools(&catalog, &ALL), r#"{"tools":[{"name":"a__three"}]}"#);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_announces_without_end_costs_four_refreshes_a_second() {
    let a = Arc::new(Fake::new("a").tools(&["x"]));
    let _catalog = started(vec![plan(&a)], vec![all()]).await;
    let before = a.asked(ListKind::Tools);
    for _ in 0..1_000 {
        a.announce(Change::Tools);
        sleep(Duration::from_millis(10)).await;
    }
    let asked = a.asked(ListKind::Tools) - before;
    assert!((30..=41).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_down_keeps_its_list_and_harms_nobody() {
    let a = Arc::new(Fake::new("a").tools(&["x"]));
    let b = Arc::new(Fake::new("b").tools(&["y"]));
    let catalog = started(vec![plan(&a), plan(&b)], vec![all()]).await;
    a.set_down(true);
    a.announce(Change::Reconnected);
    b.set_tools(&["z"]);
    b.announce(Change::Tools);
    a_while().await;
    assert_eq!(
        tools(&catalog, &ALL),
        r#"{"tools":[{"name":"a__x"},{"name":"b__z"}]}"#
    );
    let report = catalog.report();
    assert!(
        report.servers[0]
            .failure
            .as_ref()
            .unwrap()
            .starts_with("server `a` cannot be reached")
    );
    assert_eq!(
        (report.servers[0].known, report.servers[0].items),
        (true, [1, 0, 0, 0])
    );
    assert_eq!(report.servers[1].failure, None);
    // It is asked again by itself, ever more rarely.
    let greeted = a.greeted();
    sleep(Duration::from_secs(3600)).await;
    let retries = a.greeted() - greeted;
    assert!((60..=90).contains(&retries), "{retries}");
    a.set_down(false);
    a.set_tools(&["back"]);
    let mut changes = catalog.changes(&ALL);
    assert_eq!(
        timeout(Duration::from_secs(61), changes.recv()).await,
        Ok(Ok(ViewChange::Tools))
    );
    assert_eq!(catalog.report().servers[0].failure, None);
}

#[tokio::test(start_paused = true)]
async fn one_list_that_fails_keeps_its_old_items_and_is_asked_for_again_alone() {
    let a = Arc::new(
        Fake::new("a")
            .tools(&["x"])
            .items(ListKind::Prompts, &[r#"{"name":"p"}"#]),
    );
    let catalog = started(vec![plan(&a)], vec![all()]).await;
    a.answer(
        ListKind::Prompts,
        None,
        Answer::Error {
            code: -32603,
            message: "oh".into(),
        },
    );
    a.set_tools(&["y"]);
    a.announce(Change::Reconnected);
    a_while().await;
    let view = catalog.view(&ALL).unwrap();
    assert!(view.tool("a__y").is_some() && view.prompt("a__p").is_some());
    let failure = catalog.report().servers[0].failure.clone().unwrap();
    assert_eq!(
        failure,
        "server `a` answered `prompts/list` with error -32603: oh"
    );
    let asked = ListKind::ALL.map(|kind| a.asked(kind));
    sleep(Duration::from_secs(10)).await;
    let later = ListKind::ALL.map(|kind| a.asked(kind));
    assert!(later[1] > asked[1] && later[0] == asked[0], "{asked:?} {later:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_not_declared_delays_nothing_for_long() {
    let a = Arc::new(Fake::new("a").capabilities(r#"{"tools":{"listChanged":true}}"#));
    a.set_delay(Duration::from_secs(1));
    a.set_tools(&["x"]);
    let started_at = Instant::now();
    let catalog = started(vec![plan(&a)], vec![all()]).await;
    assert!(started_at.elapsed() <= Duration::from_secs(2));
    a_while().await;
    assert_eq!(tools(&catalog, &ALL), r#"{"tools":[{"name":"a__x"}]}"#);
    // No answer at all to what was not promised: no list, but no failure either.
    a.set_silent(ListKind::Prompts);
    a.set_tools(&["y"]);
    a.announce(Change::Reconnected);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(tools(&catalog, &ALL), r#"{"tools":[{"name":"a__y"}]}"#);
    assert_eq!(catalog.report().servers[0].failure, None);
}

#[tokio::test(start_paused = true)]
async fn a_list_waits_two_seconds_for_a_new_server_and_only_once() {
    let slow = Arc::new(Fake::new("slow").tools(&["x"]));
    slow.set_delay(Duration::from_secs(10));
    let slower = Arc::new(Fake::new("slower"));
    slower.set_delay(Duration::from_secs(600));
    let catalog = Catalog::build(vec![plan(&slower), plan(&slow)], vec![all()], None, sealer());
    catalog.start();
    let mut changes = catalog.changes(&ALL);
    let began = Instant::now();
    catalog.settled(&ALL, Asker::plain(&Caller::local())).await;
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    catalog.settled(&ALL, Asker::plain(&Caller::local())).await;
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    assert_eq!(tools(&catalog, &ALL), r#"{"tools":[]}"#);
    assert_eq!(changes.recv().await, Ok(ViewChange::Tools));
    assert_eq!(tools(&catalog, &ALL), r#"{"tools":[{"name":"slow__x"}]}"#);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_reached_is_not_waited_for() {
    let down = Arc::new(Fake::new("down"));
    down.set_down(true);
    let catalog = Catalog::build(vec![plan(&down)], vec![all(), single("down")], None, sealer());
    catalog.start();
    let began = Instant::now();
    catalog.settled(&ALL, Asker::plain(&Caller::local())).await;
    catalog
        .settled(&named("down"), Asker::plain(&Caller::local()))
        .await;
    catalog
        .settled(&named("nobody"), Asker::plain(&Caller::local()))
        .await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn updates_of_resources_pass_at_once_even_during_a_refresh() {
    let a = Arc::new(Fake::new("a").tools(&["x"]));
    let b = Arc::new(Fake::new("b"));
    let catalog = started(vec![plan(&a), plan(&b)], vec![all(), single("a"), single("b")]).await;
    let mut heard = [catalog.changes(&ALL), catalog.changes(&named("a"))];
    let mut elsewhere = catalog.changes(&named("b"));
    a.set_delay(Duration::from_secs(30));
    a.announce(Change::Tools);
    a.announce(Change::updated("note://1".into()));
    let began = Instant::now();
    for heard in &mut heard {
        let updated = ViewChange::Updated {
            server: "a".into(),
            uri: "note://1".into(),
            of: None,
        };
        assert_eq!(heard.recv().await, Ok(updated));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(nothing(&mut elsewhere));
}

/// How often tools were asked for within an hour, while somebody lists them every second or never.
async fn asked_in_an_hour(fake: Fake, listed: bool) -> usize {
    let fake = Arc::new(fake);
    let catalog = started(vec![plan(&fake)], vec![all()]).await;
    let before = fake.asked(ListKind::Tools);
    for _ in 0..3_600 {
        sleep(Duration::from_secs(1)).await;
        if listed {
            tools(&catalog, &ALL);
        }
    }
    fake.asked(ListKind::Tools) - before
}

#[tokio::test(start_paused = true)]
async fn stale_lists_are_asked_for_when_somebody_wants_them() {
    const SILENT: &str = r#"{"tools":{}}"#;
    let timed =
        |fake: Fake, ttl: u64| fake.page(ListKind::Tools, None, &format!(r#"{{"tools":[],"ttlMs":{ttl}}}"#));
    let remote = || Fake::new("s").remote().tools(&["x"]);
    let local = || Fake::new("s").tools(&["x"]);
    for (name, fake, listed, expected) in [
        ("remote, announces", remote(), true, 0..=0),
        (
            "remote, silent, unwanted",
            remote().capabilities(SILENT),
            false,
            0..=0,
        ),
        (
            "remote, silent, wanted",
            remote().capabilities(SILENT),
            true,
            55..=60,
        ),
        (
            "remote, silent, ttl 0",
            timed(remote().capabilities(SILENT), 0),
            true,
            300..=360,
        ),
        (
            "remote, silent, ttl 0, unwanted",
            timed(remote().capabilities(SILENT), 0),
            false,
            0..=0,
        ),
        (
            "remote, ttl of 10 min, unwanted",
            timed(remote(), 600_000),
            false,
            5..=6,
        ),
        ("remote, ttl of a day", timed(remote(), 86_400_000), false, 0..=1),
        // A process is not woken for nothing.
        ("local, announces", local(), true, 0..=0),
        ("local, silent", local().capabilities(SILENT), true, 0..=0),
        (
            "local, silent, ttl",
            timed(local().capabilities(SILENT), 60_000),
            true,
            55..=60,
        ),
        (
            "local, silent, ttl, unwanted",
            timed(local().capabilities(SILENT), 60_000),
            false,
            0..=0,
        ),
    ] {
        let asked = asked_in_an_hour(fake, listed).await;
        assert!(expected.contains(&asked), "{name}: {asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tools_come_in_one_answer_without_asking_any_server() {
    let fakes: Vec<Arc<Fake>> = (0..20)
        .map(|server| {
            let names: Vec<String> = (0..50).map(|tool| format!("tool_{tool}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Arc::new(Fake::new(&format!("server{server}")).tools(&names))
        })
        .collect();
    let catalog = started(fakes.iter().map(plan).collect(), vec![all()]).await;
    let asked: Vec<usize> = fakes.iter().map(|fake| fake.asked(ListKind::Tools)).collect();
    for fake in &fakes {
        fake.set_down(true);
    }
    let list: serde_json::Value = serde_json::from_str(&tools(&catalog, &ALL)).unwrap();
    assert_eq!(list["tools"].as_array().unwrap().len(), 1_000);
    assert_eq!(list["tools"][999]["name"], "server19__tool_49");
    assert_eq!(list.get("nextCursor"), None);
    assert_eq!(
        asked,
        fakes
            .iter()
            .map(|fake| fake.asked(ListKind::Tools))
            .collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn the_report_says_what_is_odd() {
    let a = Arc::new(Fake::new("a").items(ListKind::Resources, &[r#"{"uri":"x://1"}"#, "7"]));
    let b = Arc::new(Fake::new("b").items(ListKind::Resources, &[r#"{"uri":"x://1"}"#]));
    let down = Arc::new(Fake::new("down"));
    down.set_down(true);
    let catalog = started(vec![plan(&a), plan(&b), plan(&down)], vec![all(), single("a")]).await;
    assert_eq!(
        catalog.report().to_string(),
        "server `a`: item 1 of `resources/list` is left out: it is not an object\n\
         server `down`: the latest refresh failed: server `down` cannot be reached: connection refused\n\
         /mcp: the resource `x://1` of server `b` is hidden by one of server `a`\n"
    );
    let json = serde_json::to_value(catalog.report()).unwrap();
    assert_eq!(json["servers"][2]["known"], false);
    assert_eq!(json["endpoints"][0]["endpoint"], "/mcp");
}
