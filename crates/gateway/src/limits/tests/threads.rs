//! Many threads at once: never more than a limit admits, and never less because of those who were refused.

use std::{sync::atomic::AtomicUsize, thread};

use super::*;

const THREADS: usize = 8;

/// Runs `one` a thousand times on each of eight threads and says how often it succeeded.
fn rush<T>(one: impl Fn(usize) -> Result<T, Exceeded> + Sync) -> usize {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let one = &one;
                    move || count(1_000, || one(thread))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

#[test]
fn exactly_as_many_as_the_limit_admits() {
    for algorithm in [
        LimitAlgorithm::TokenBucket,
        LimitAlgorithm::FixedWindow,
        LimitAlgorithm::SlidingWindow,
    ] {
        let (limits, _) = limits(&[rated(Per::Principal, 1_234, 3_600, algorithm)]);
        assert_eq!(rush(|_| limits.enter(&ann())), 1_234, "{algorithm}");
    }
}

#[test]
fn refusals_charge_nothing_when_they_race() {
    let (limits, _) = limits(&[
        on("*", a_minute(Per::Principal, 1_000)),
        on("*", a_minute(Per::Global, 3_000)),
        on("orders__*", a_minute(Per::Tool, 100)),
        on("orders__*", a_minute(Per::Server, 150)),
    ]);
    let who = |thread: usize| if thread.is_multiple_of(2) { ann() } else { bob() };
    // Two tools of 100 each, of a server of 150.
    let orders = rush(|thread| {
        let name = if thread.is_multiple_of(3) { "list" } else { "get" };
        limits.call(&who(thread), None, &tool("orders", name))
    });
    assert_eq!(orders, 150);
    // Ann and Bob have 2,000 together; what was refused has taken nothing of it.
    assert_eq!(
        rush(|thread| limits.call(&who(thread), None, &tool("crm", "get"))),
        2_000 - 150
    );
}

#[test]
fn never_more_at_once_than_places() {
    let (limits, _) = limits(&[at_once(Per::Principal, 3), at_once(Per::Server, 5)]);
    let (running, most, passed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    rush(|_| {
        let permit = limits.call(&ann(), None, &LIST)?;
        most.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
        thread::yield_now();
        running.fetch_sub(1, Relaxed);
        passed.fetch_add(1, Relaxed);
        drop(permit);
        Ok(())
    });
    assert!(most.load(Relaxed) <= 3);
    assert!(passed.load(Relaxed) > 0);
    // All places have come back.
    let held: Vec<_> = (0..3)
        .map(|_| limits.call(&ann(), None, &LIST).unwrap())
        .collect();
    assert!(limits.call(&ann(), None, &LIST).is_err());
    drop(held);
}

#[test]
fn new_keys_at_once_are_bounded_and_limited_too() {
    let clock = Hand::new();
    let limits = Limits::bounded(&[a_minute(Per::Ip, 1)], &[], clock, 64 * 4);
    let next = AtomicU64::new(0);
    let passed = rush(|_| {
        // A thousand addresses, each by several threads.
        let number = u32::try_from(next.fetch_add(1, Relaxed) % 1_000).unwrap();
        limits.arrive(Some(Ipv4Addr::from_bits(number).into()))
    });
    assert!(passed <= 64 * 4 + 64, "{passed}");
    assert!(limits.strangers.len() <= 64 * 4 + 64);
}
