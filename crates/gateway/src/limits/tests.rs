mod bounds;
mod quotas;
mod threads;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    num::NonZeroU64,
    sync::atomic::AtomicU64,
};

use gatepost_config::{Bound, ByteSize, LimitAlgorithm};
use gatepost_policy::{Classified, Kind, Pattern};

use super::*;

/// 2026-07-28T12:00:00Z, in milliseconds.
const NOON: u64 = 1_785_240_000_000;
const HOUR: u64 = 3_600_000;

/// A clock that moves when it is told.
#[derive(Default)]
struct Hand {
    millis: AtomicU64,
}

impl Hand {
    fn new() -> Arc<Self> {
        let hand = Self::default();
        hand.millis.store(NOON, Relaxed);
        Arc::new(hand)
    }

    fn pass(&self, millis: u64) {
        self.millis.fetch_add(millis, Relaxed);
    }
}

impl Clock for Hand {
    fn nanos(&self) -> u64 {
        self.millis.load(Relaxed) * 1_000_000
    }

    fn unix_millis(&self) -> u64 {
        self.millis.load(Relaxed)
    }
}

fn some(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// So many a minute, in a window that begins with the minute: the easiest to count.
fn a_minute(per: Per, amount: u32) -> Limit {
    rated(per, amount, 60, LimitAlgorithm::FixedWindow)
}

fn rated(per: Per, amount: u32, seconds: u64, algorithm: LimitAlgorithm) -> Limit {
    Limit {
        per,
        matching: None,
        bound: Bound::Rate {
            rate: gatepost_config::Rate {
                amount: some(amount),
                per: Duration::from_secs(seconds),
            },
            burst: None,
            algorithm,
        },
    }
}

fn at_once(per: Per, most: u32) -> Limit {
    Limit {
        per,
        matching: None,
        bound: Bound::Concurrency(some(most)),
    }
}

fn on(pattern: &str, mut limit: Limit) -> Limit {
    limit.matching = Some(Pattern::new(pattern).unwrap());
    limit
}

fn limits(limits: &[Limit]) -> (Arc<Limits>, Arc<Hand>) {
    let clock = Hand::new();
    (Arc::new(Limits::new(limits, &[], clock.clone())), clock)
}

fn ann() -> Principal {
    Principal::new("https://id.example.com", "ann")
}

fn bob() -> Principal {
    Principal::new("https://id.example.com", "bob")
}

fn tool<'a>(server: &'a str, name: &'a str) -> Action<'a> {
    Action {
        kind: Kind::Call,
        server,
        name,
        effect: Classified::BY_METHOD,
    }
}

const LIST: Action<'_> = Action {
    kind: Kind::Call,
    server: "orders",
    name: "list",
    effect: Classified::BY_METHOD,
};

fn v4(last: u8) -> Option<IpAddr> {
    Some(Ipv4Addr::new(192, 0, 2, last).into())
}

/// How many of `tries` succeed.
fn count<T>(tries: usize, mut one: impl FnMut() -> Result<T, Exceeded>) -> usize {
    (0..tries).filter(|_| one().is_ok()).count()
}

/// The scenarios of `gatepost_policy::limit`, at the gate: 4 calls a second, and at which millisecond how many of 9 pass.
#[tokio::test(start_paused = true)]
async fn each_algorithm_passes_its_own_scenario_and_no_other() {
    use LimitAlgorithm::{FixedWindow, LeakyBucket, SlidingWindow, TokenBucket};
    type Steps = &'static [(u64, usize)];
    let scenarios: [(LimitAlgorithm, Steps); 4] = [
        (TokenBucket, &[(0, 4), (249, 0), (250, 1), (500, 1), (5_000, 4)]),
        (FixedWindow, &[(900, 4), (1_000, 4), (1_999, 0), (2_000, 4)]),
        (
            SlidingWindow,
            &[(900, 4), (1_000, 0), (1_150, 0), (1_900, 0), (1_907, 4)],
        ),
        (LeakyBucket, &[(0, 1), (249, 0), (250, 1), (500, 1), (5_000, 1)]),
    ];
    for (of, steps) in scenarios {
        for (algorithm, _) in scenarios {
            let limits = Limits::new(
                &[rated(Per::Principal, 4, 1, algorithm)],
                &[],
                Arc::new(SystemClock::at_zero()),
            );
            let (mut now, mut passed) = (0, true);
            for (at, expected) in steps {
                tokio::time::advance(Duration::from_millis(at - now)).await;
                now = *at;
                passed &= count(9, || limits.enter(&ann())) == *expected;
            }
            assert_eq!(passed, algorithm == of, "{algorithm} in the scenario of the {of}");
        }
    }
}

#[test]
fn each_entry_is_asked_as_early_as_it_can_be() {
    for (limit, stage) in [
        (a_minute(Per::Ip, 1), Stage::Arrive),
        (a_minute(Per::Principal, 1), Stage::Enter),
        (a_minute(Per::Tenant, 1), Stage::Enter),
        (a_minute(Per::Global, 1), Stage::Enter),
        (a_minute(Per::Tool, 1), Stage::Call),
        (a_minute(Per::Server, 1), Stage::Call),
        (on("*", a_minute(Per::Ip, 1)), Stage::Call),
        (on("*", a_minute(Per::Principal, 1)), Stage::Call),
        (on("*", a_minute(Per::Global, 1)), Stage::Call),
        (at_once(Per::Principal, 1), Stage::Call),
        (at_once(Per::Ip, 1), Stage::Call),
    ] {
        let (limits, _) = limits(std::slice::from_ref(&limit));
        let _held = limits.call(&ann(), v4(1), &LIST).unwrap();
        let passes = [
            count(3, || limits.arrive(v4(1))),
            count(3, || limits.enter(&ann())),
            count(3, || limits.call(&ann(), v4(1), &LIST)),
        ];
        let expected = match stage {
            Stage::Arrive => [1, 3, 3],
            Stage::Enter => [3, 1, 3],
            Stage::Call => [3, 3, 0],
        };
        assert_eq!(passes, expected, "{limit:?}");
    }
}

#[test]
fn everybody_has_a_counter_of_their_own() {
    let (limits, clock) = limits(&[a_minute(Per::Principal, 2)]);
    assert_eq!(count(5, || limits.enter(&ann())), 2);
    assert_eq!(count(5, || limits.enter(&bob())), 2);
    assert_eq!(
        count(5, || limits
            .enter(&Principal::new("https://other.example.com", "ann"))),
        2
    );
    // The joint between two parts cannot be moved.
    assert_eq!(
        count(5, || limits
            .enter(&Principal::new("https://id.example.co", "mann"))),
        2
    );
    clock.pass(60_000);
    assert_eq!(count(5, || limits.enter(&ann())), 2);
}

#[test]
fn a_tenant_fills_nothing_of_another() {
    let acme = || ann().with_tenant("acme");
    let globex = || ann().with_tenant("globex");
    for per in [Per::Principal, Per::Tenant, Per::Tool, Per::Server] {
        let (limits, _) = limits(&[on("*", a_minute(per, 2))]);
        assert_eq!(count(5, || limits.call(&acme(), None, &LIST)), 2, "{per}");
        assert_eq!(count(5, || limits.call(&globex(), None, &LIST)), 2, "{per}");
        assert_eq!(count(5, || limits.call(&ann(), None, &LIST)), 2, "{per}");
        assert_eq!(
            limits.counting(&LIST).count(),
            1,
            "whoever has none is told so: {per}"
        );
        assert_eq!(
            count(5, || limits.call(&ann().with_tenant(""), None, &LIST)),
            2,
            "{per}"
        );
    }
    // But the whole gate is the whole gate.
    let (limits, _) = limits(&[a_minute(Per::Global, 3)]);
    assert_eq!(count(2, || limits.enter(&acme())), 2);
    assert_eq!(count(2, || limits.enter(&globex())), 1);
}

#[test]
fn a_tenant_shares_its_counter_among_its_principals_and_they_theirs_among_tools() {
    let (limits, _) = limits(&[a_minute(Per::Tenant, 3)]);
    assert_eq!(count(2, || limits.enter(&ann().with_tenant("acme"))), 2);
    assert_eq!(count(2, || limits.enter(&bob().with_tenant("acme"))), 1);
}

#[test]
fn tools_and_servers_are_told_apart() {
    let (tools, _) = limits(&[a_minute(Per::Tool, 2)]);
    assert_eq!(count(5, || tools.call(&ann(), None, &tool("orders", "list"))), 2);
    assert_eq!(count(5, || tools.call(&bob(), None, &tool("orders", "list"))), 0);
    assert_eq!(count(5, || tools.call(&ann(), None, &tool("orders", "get"))), 2);
    assert_eq!(count(5, || tools.call(&ann(), None, &tool("crm", "list"))), 2);
    // A resource is no tool, whatever its name.
    let read = Action {
        kind: Kind::Read,
        ..LIST
    };
    assert_eq!(count(5, || tools.call(&ann(), None, &read)), 5);

    let (servers, _) = limits(&[a_minute(Per::Server, 3)]);
    assert_eq!(
        count(2, || servers.call(&ann(), None, &tool("orders", "list"))),
        2
    );
    assert_eq!(count(2, || servers.call(&bob(), None, &read)), 1);
    assert_eq!(count(5, || servers.call(&ann(), None, &tool("crm", "list"))), 3);
}

#[test]
fn a_pattern_limits_what_it_names_with_its_prefix() {
    let (limits, _) = limits(&[on("orders__*", a_minute(Per::Principal, 2))]);
    assert_eq!(count(5, || limits.call(&ann(), None, &tool("crm", "list"))), 5);
    assert_eq!(count(1, || limits.call(&ann(), None, &tool("orders", "list"))), 1);
    assert_eq!(count(5, || limits.call(&ann(), None, &tool("orders", "get"))), 1);
    assert_eq!(count(5, || limits.call(&bob(), None, &tool("orders", "get"))), 2);
}

#[test]
fn an_address_is_what_one_subscriber_has() {
    let (limits, _) = limits(&[a_minute(Per::Ip, 2)]);
    let v6 = |text: &str| Some(IpAddr::V6(text.parse::<Ipv6Addr>().unwrap()));
    assert_eq!(count(5, || limits.arrive(v4(1))), 2);
    assert_eq!(count(5, || limits.arrive(v4(2))), 2);
    assert_eq!(count(5, || limits.arrive(v6("::ffff:192.0.2.1"))), 0);
    assert_eq!(count(5, || limits.arrive(v6("2001:db8:0:1::1"))), 2);
    assert_eq!(count(5, || limits.arrive(v6("2001:db8:0:1:ffff::2"))), 0);
    assert_eq!(count(5, || limits.arrive(v6("2001:db8:0:2::1"))), 2);
    assert_eq!(count(5, || limits.arrive(None)), 5);
}

#[test]
fn a_refused_call_is_charged_to_nothing() {
    // In both orders: what has room is not charged when what comes after it has none.
    for order in [[0, 1], [1, 0]] {
        let both = [a_minute(Per::Principal, 10), a_minute(Per::Global, 3)];
        let (limits, _) = limits(&order.map(|at| both[at].clone()));
        assert_eq!(count(9, || limits.enter(&ann())), 3);
        assert_eq!(count(9, || limits.enter(&bob())), 0);
        // Had the refused ones been charged, 10 − 9 would be left.
        let fullness: Vec<_> = limits.refusals().map(|(_, refused)| refused).collect();
        assert_eq!(fullness.iter().sum::<u64>(), 15);
    }
    let (limits, _) = limits(&[
        on("*", a_minute(Per::Principal, 4)),
        on("orders__*", a_minute(Per::Tool, 1)),
    ]);
    assert_eq!(count(9, || limits.call(&ann(), None, &LIST)), 1);
    assert_eq!(count(9, || limits.call(&ann(), None, &tool("crm", "get"))), 3);
}

#[test]
fn a_refusal_says_which_for_how_long_and_what_is_over() {
    let (limits, clock) = limits(&[
        on("*", rated(Per::Principal, 1, 3_600, LimitAlgorithm::FixedWindow)),
        on("orders__*", a_minute(Per::Tool, 1)),
        rated(Per::Server, 1, 1, LimitAlgorithm::LeakyBucket),
        a_minute(Per::Global, 1),
    ]);
    clock.pass(500);
    drop(limits.call(&ann(), None, &LIST).unwrap());
    // The one that takes longest speaks for all.
    let all = limits.call(&ann(), None, &LIST).unwrap_err();
    assert_eq!(all.index, Some(0));
    assert_eq!(&*all.words, "1/h per principal on `*`");
    assert_eq!(all.retry_after, Duration::from_millis(HOUR - 500));
    assert_eq!((all.seconds(), all.scope), (3_600, Scope::Target));
    assert_eq!(
        all.to_string(),
        "the limit of 1/h per principal on `*` is reached; try again in 1 h"
    );
    let tool = limits.call(&bob(), None, &LIST).unwrap_err();
    assert_eq!(
        (&*tool.words, tool.seconds()),
        ("1/min per tool on `orders__*`", 60)
    );
    clock.pass(59_999);
    let server = limits.call(&bob(), None, &LIST).unwrap();
    drop(server);
    let server = limits
        .call(&Principal::new("x", "y"), None, &tool_of_orders())
        .unwrap_err();
    assert_eq!(
        (&*server.words, server.seconds(), server.scope),
        ("1/s per server", 1, Scope::Target)
    );
    drop(limits.enter(&ann()));
    let global = limits.enter(&ann()).unwrap_err();
    assert_eq!(
        (&*global.words, global.scope),
        ("1/min for the whole gate", Scope::Caller)
    );
}

fn tool_of_orders() -> Action<'static> {
    tool("orders", "another")
}

#[test]
fn the_caller_is_over_when_anything_of_theirs_is() {
    let (limits, _) = limits(&[at_once(Per::Principal, 1), at_once(Per::Tool, 1)]);
    let held = limits.call(&ann(), None, &LIST).unwrap();
    let crm = tool("crm", "get");
    let scope = |limits: &Arc<Limits>, who: Principal, what: &Action<'_>| {
        let over = limits.call(&who, None, what).err();
        over.map(|over| over.scope)
    };
    assert_eq!(scope(&limits, ann(), &LIST), Some(Scope::Caller));
    assert_eq!(scope(&limits, ann(), &crm), Some(Scope::Caller));
    assert_eq!(scope(&limits, bob(), &LIST), Some(Scope::Target));
    assert_eq!(scope(&limits, bob(), &crm), None);
    drop(held);
    assert_eq!(scope(&limits, ann(), &LIST), None);
}

#[test]
fn a_permit_holds_its_place_until_it_is_dropped() {
    let (limits, _) = limits(&[at_once(Per::Principal, 2)]);
    let first = limits.call(&ann(), None, &LIST).unwrap();
    let second = limits.call(&ann(), None, &tool("crm", "get")).unwrap();
    let third = limits.call(&ann(), None, &LIST).map(drop).unwrap_err();
    assert_eq!((&*third.words, third.seconds()), ("2 at once per principal", 1));
    assert!(limits.call(&bob(), None, &LIST).is_ok());
    drop(first);
    let _third = limits.call(&ann(), None, &LIST).unwrap();
    assert!(limits.call(&ann(), None, &LIST).is_err());
    drop(second);
    assert!(limits.call(&ann(), None, &LIST).is_ok());
}

#[test]
fn who_guesses_credentials_is_stopped_and_who_has_good_ones_is_not() {
    let (limits, clock) = limits(&[]);
    for _ in 0..1_000 {
        // Good credentials are tried and never refused.
        assert_eq!(limits.may_try(v4(1)), Ok(()));
    }
    for _ in 0..20 {
        assert_eq!(limits.may_try(v4(1)), Ok(()));
        limits.refused(v4(1));
    }
    let over = limits.may_try(v4(1)).unwrap_err();
    assert_eq!((over.index, over.seconds(), over.scope), (None, 3, Scope::Caller));
    assert_eq!(&*over.words, "20/min refused credentials per address");
    assert_eq!(limits.may_try(v4(2)), Ok(()));
    assert_eq!(limits.may_try(None), Ok(()));
    // Those that were under way when it was reached make it no longer.
    limits.refused(v4(1));
    clock.pass(2_999);
    assert!(limits.may_try(v4(1)).is_err());
    clock.pass(1);
    assert_eq!(limits.may_try(v4(1)), Ok(()));
    // A minute of peace, and all of the burst is there again.
    clock.pass(60_001);
    assert_eq!(
        count(30, || limits.may_try(v4(1)).inspect(|()| limits.refused(v4(1)))),
        20
    );
    assert_eq!(
        limits.refusals().last(),
        Some(("20/min refused credentials per address", 12))
    );
}

#[test]
fn nothing_configured_refuses_nothing() {
    let (limits, _) = limits(&[]);
    assert_eq!(count(1_000, || limits.arrive(v4(1))), 1_000);
    assert_eq!(count(1_000, || limits.enter(&ann())), 1_000);
    let permit = limits.call(&ann(), None, &LIST).unwrap();
    permit.add_bytes(5);
    assert!(permit.0.is_none());
}

#[test]
fn refusals_are_counted_for_operators() {
    let (limits, _) = limits(&[a_minute(Per::Global, 1), on("a\\\"*", at_once(Per::Tool, 2))]);
    count(4, || limits.enter(&ann()));
    let mut out = String::new();
    limits.write(&mut out);
    assert!(
        out.contains("gatepost_limited_total{limit=\"1/min for the whole gate\"} 3\n"),
        "{out}"
    );
    assert!(out.contains(r#"{limit="2 at once per tool on `a"#), "{out}");
    assert!(
        out.contains("gatepost_limit_counters{of=\"caller\"} 1\n"),
        "{out}"
    );
    assert!(
        out.contains("gatepost_limit_counters_lost_total{of=\"address\",how=\"shared\"} 0\n"),
        "{out}"
    );
}
