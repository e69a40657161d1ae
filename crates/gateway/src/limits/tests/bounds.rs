//! Memory is bounded, and whoever is limited stays limited.

use super::*;

fn address(number: u32) -> Option<IpAddr> {
    Some(Ipv4Addr::from_bits(number).into())
}

fn small(limit: Limit) -> (Limits, Arc<Hand>) {
    let clock = Hand::new();
    (Limits::bounded(&[limit], &[], clock.clone(), 64 * 8), clock)
}

#[test]
fn a_million_addresses_fit_and_none_of_them_frees_who_is_limited() {
    let (limits, _) = limits(&[rated(Per::Ip, 10, 86_400, LimitAlgorithm::FixedWindow)]);
    let hot: Vec<_> = (1..=100).map(address).collect();
    for caller in &hot {
        assert_eq!(count(11, || limits.arrive(*caller)), 10);
    }
    for number in 1_000..1_001_000 {
        limits.arrive(address(number)).unwrap();
    }
    assert!(limits.strangers.len() <= CAPACITY, "{}", limits.strangers.len());
    assert!(limits.strangers.evicted.load(Relaxed) > 700_000);
    assert!(hot.iter().all(|caller| limits.arrive(*caller).is_err()));
}

#[test]
fn newcomers_share_what_is_left_when_everybody_is_limited() {
    let (limits, clock) = small(rated(Per::Ip, 1, 86_400, LimitAlgorithm::TokenBucket));
    let passed = (0..100_000)
        .filter(|number| limits.arrive(address(*number)).is_ok())
        .count();
    // One for each counter there is: those of the bound, and one shared in each shard.
    assert_eq!(passed, 64 * 8 + 64);
    assert_eq!(limits.strangers.len(), 64 * 8 + 64);
    assert_eq!(limits.strangers.evicted.load(Relaxed), 0);
    // And a day later there is room again.
    clock.pass(24 * HOUR);
    assert_eq!(
        (200_000..200_100)
            .filter(|number| limits.arrive(address(*number)).is_ok())
            .count(),
        100
    );
}

#[test]
fn what_has_become_like_new_is_forgotten() {
    let clock = Hand::new();
    let limit = rated(Per::Ip, 1, 1, LimitAlgorithm::SlidingWindow);
    let limits = Limits::bounded(&[limit], &[], clock.clone(), 64 * 64);
    for number in 0..400 {
        limits.arrive(address(number)).unwrap();
    }
    assert_eq!(limits.strangers.len(), 400);
    clock.pass(2_000);
    for number in 1_000..1_400 {
        limits.arrive(address(number)).unwrap();
    }
    let left = limits.strangers.len();
    assert!(left < 500, "{left}");
    assert_eq!(limits.strangers.evicted.load(Relaxed), 0);
}

#[test]
fn who_has_used_least_is_forgotten_first() {
    let limit = rated(Per::Ip, 100, 86_400, LimitAlgorithm::TokenBucket);
    let limits = Limits::bounded(&[limit], &[], Hand::new(), 64 * 64);
    let busy: Vec<_> = (0..100).map(address).collect();
    for caller in &busy {
        assert_eq!(count(49, || limits.arrive(*caller)), 49);
    }
    for number in 1_000..21_000 {
        limits.arrive(address(number)).unwrap();
    }
    let forgotten = busy
        .iter()
        .filter(|caller| count(60, || limits.arrive(**caller)) > 51)
        .count();
    assert_eq!(forgotten, 0);
}

#[test]
fn calls_that_run_are_never_forgotten() {
    let clock = Hand::new();
    let limits = Arc::new(Limits::bounded(
        &[
            at_once(Per::Principal, 1),
            on(
                "*",
                rated(Per::Principal, 100, 86_400, LimitAlgorithm::TokenBucket),
            ),
        ],
        &[],
        clock,
        64 * 16,
    ));
    let principal = |number: u32| Principal::new("x", number.to_string());
    let held: Vec<_> = (0..100)
        .map(|number| limits.call(&principal(number), None, &LIST).unwrap())
        .collect();
    for number in 1_000..5_000 {
        drop(limits.call(&principal(number), None, &LIST));
    }
    assert!((0..100).all(|number| limits.call(&principal(number), None, &LIST).is_err()));
    drop(held);
    assert!((0..100).all(|number| limits.call(&principal(number), None, &LIST).is_ok()));
}

#[test]
fn what_one_call_charges_is_not_forgotten_for_the_sake_of_its_own() {
    // One place in each shard: now and then both counters of a call belong into the same.
    let both = [at_once(Per::Principal, 1), at_once(Per::Ip, 1)];
    let limits = Arc::new(Limits::bounded(&both, &[], Hand::new(), 64));
    for number in 0..2_000 {
        for _ in 0..2 {
            let principal = Principal::new("x", number.to_string());
            drop(limits.call(&principal, address(number), &LIST).unwrap());
        }
    }
}

fn busy_days(bytes: Option<u64>) -> (Arc<Limits>, Arc<Hand>) {
    let clock = Hand::new();
    let quota = Quota {
        per: Per::Principal,
        matching: None,
        calls: NonZeroU64::new(1_000),
        bytes: bytes.map(ByteSize),
    };
    (
        Arc::new(Limits::bounded(&[], &[quota], clock.clone(), 64 * 8)),
        clock,
    )
}

/// Enough callers that every old counter is looked at.
fn crowd(limits: &Arc<Limits>) {
    for number in 0..5_000 {
        drop(limits.call(&Principal::new("x", number.to_string()), None, &LIST));
    }
}

#[test]
fn a_day_that_is_over_is_kept_until_it_is_saved() {
    let (limits, clock) = busy_days(None);
    let (store, day) = (gatepost_store::Store::in_memory().counters, limits.today());
    drop(limits.call(&ann(), None, &LIST).unwrap());
    clock.pass(24 * HOUR);
    crowd(&limits);
    limits.save(&*store).unwrap();
    assert_eq!(store.read_day(day).unwrap().len(), 1);
    // And then it is not kept.
    clock.pass(24 * HOUR);
    crowd(&limits);
    assert!(limits.known.len() <= 64 * 8 + 64);
}

#[test]
fn a_day_that_is_over_is_kept_while_a_call_may_add_to_the_next() {
    let (limits, clock) = busy_days(Some(10));
    let running = limits.call(&ann(), None, &LIST).unwrap();
    limits
        .save(&*gatepost_store::Store::in_memory().counters)
        .unwrap();
    limits
        .save(&*gatepost_store::Store::in_memory().counters)
        .unwrap();
    clock.pass(24 * HOUR);
    crowd(&limits);
    running.add_bytes(10);
    assert!(limits.call(&ann(), None, &LIST).is_err());
}
