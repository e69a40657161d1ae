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
    let (limits, _) = small(rated(Per::Ip, 100, 86_400, LimitAlgorithm::TokenBucket));
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
