//! What is used of a day.

use std::sync::atomic::AtomicBool;

use gatepost_store::{Added, Counters, Store, StoreError, Used};

use super::*;

fn quota(per: Per, calls: Option<u64>, bytes: Option<u64>) -> Quota {
    Quota {
        per,
        matching: None,
        calls: calls.and_then(NonZeroU64::new),
        bytes: bytes.map(ByteSize),
    }
}

fn with(quotas: &[Quota]) -> (Arc<Limits>, Arc<Hand>) {
    let clock = Hand::new();
    (Arc::new(Limits::new(&[], quotas, clock.clone())), clock)
}

fn calls(limits: &Arc<Limits>, tries: usize) -> usize {
    count(tries, || limits.call(&ann(), None, &LIST))
}

#[test]
fn a_day_has_so_many_calls_and_ends_at_midnight_utc() {
    let (limits, clock) = with(&[quota(Per::Principal, Some(3), None)]);
    assert_eq!(calls(&limits, 5), 3);
    assert_eq!(count(5, || limits.call(&bob(), None, &LIST)), 3);
    let over = limits.call(&ann(), None, &LIST).map(drop).unwrap_err();
    assert_eq!(over.retry_after, Duration::from_secs(12 * 3_600));
    assert_eq!(
        (&*over.words, over.scope),
        ("3 calls/day per principal", Scope::Caller)
    );
    clock.pass(12 * HOUR - 1);
    assert_eq!(
        limits.call(&ann(), None, &LIST).map(drop).unwrap_err().seconds(),
        1
    );
    clock.pass(1);
    assert_eq!(calls(&limits, 5), 3);
}

/// What is told of a task when its call has long been answered, or was made before a restart.
#[test]
fn bytes_count_that_belong_to_no_call_that_runs() {
    let (limits, clock) = with(&[
        quota(Per::Tool, None, Some(1_000)),
        quota(Per::Global, Some(2), None),
    ]);
    let spend = |tool: &Action<'_>, bytes| limits.spend(&ann(), None, tool, bytes);
    spend(&LIST, 999);
    assert_eq!(calls(&limits, 1), 1);
    spend(&LIST, 1);
    assert_eq!(calls(&limits, 1), 0);
    // Another tool's are its own, and bytes are no calls.
    assert_eq!(
        count(2, || limits.call(&ann(), None, &tool("orders", "other"))),
        1
    );
    clock.pass(12 * HOUR);
    assert_eq!(calls(&limits, 1), 1);
}

#[test]
fn bytes_count_when_they_have_passed() {
    let (limits, _) = with(&[quota(Per::Tenant, None, Some(1_000))]);
    let first = limits.call(&ann(), None, &LIST).unwrap();
    first.add_bytes(600);
    let second = limits.call(&ann(), None, &LIST).unwrap();
    second.add_bytes(399);
    // One byte is left, and the call that takes it may take more.
    let third = limits.call(&bob(), None, &LIST).unwrap();
    third.add_bytes(5_000);
    let over = limits.call(&bob(), None, &LIST).map(drop).unwrap_err();
    assert_eq!(&*over.words, "1000B/day per tenant");
    assert!(limits.call(&ann().with_tenant("acme"), None, &LIST).is_ok());
}

#[test]
fn a_refused_call_uses_nothing_of_a_quota() {
    let clock = Hand::new();
    let limits = Arc::new(Limits::new(
        &[on("orders__*", a_minute(Per::Tool, 1))],
        &[quota(Per::Principal, Some(3), None)],
        clock,
    ));
    assert_eq!(calls(&limits, 9), 1);
    assert_eq!(count(9, || limits.call(&ann(), None, &tool("crm", "get"))), 2);
}

#[test]
fn a_call_that_runs_over_midnight_counts_its_bytes_on_the_new_day() {
    let (limits, clock) = with(&[quota(Per::Principal, None, Some(10))]);
    let running = limits.call(&ann(), None, &LIST).unwrap();
    running.add_bytes(10);
    clock.pass(12 * HOUR);
    let next = limits.call(&ann(), None, &LIST).unwrap();
    running.add_bytes(10);
    assert!(limits.call(&ann(), None, &LIST).is_err());
    drop((running, next));
}

#[test]
fn a_clock_set_back_over_midnight_begins_no_second_day() {
    let (limits, clock) = with(&[quota(Per::Principal, Some(3), None)]);
    clock.pass(12 * HOUR);
    assert_eq!(calls(&limits, 5), 3);
    clock.millis.fetch_sub(HOUR, Relaxed);
    assert_eq!(calls(&limits, 5), 0);
    let over = limits.call(&ann(), None, &LIST).map(drop).unwrap_err();
    assert_eq!(over.retry_after, Duration::from_secs(25 * 3_600));
    // A clock that was wrong by more was wrong before.
    clock.millis.fetch_sub(3 * 24 * HOUR, Relaxed);
    assert_eq!(calls(&limits, 5), 3);
}

#[test]
fn a_restart_forgets_nothing_that_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let quotas = [
        quota(Per::Principal, Some(5), None),
        Quota {
            matching: Some(Pattern::new("orders__*").unwrap()),
            ..quota(Per::Tool, None, Some(100))
        },
        // The same thing counted twice is two counts, each of its own.
        quota(Per::Principal, Some(50), None),
    ];
    let clock = Hand::new();
    let gate = || {
        let store = Store::open(folder.path(), &[]).unwrap();
        let limits = Arc::new(Limits::new(&[], &quotas, clock.clone()));
        limits.load(&*store.counters).unwrap();
        (limits, store.counters)
    };

    let (limits, store) = gate();
    for _ in 0..2 {
        limits.call(&ann(), None, &LIST).unwrap().add_bytes(30);
    }
    limits.save(&*store).unwrap();
    limits.call(&ann(), None, &LIST).unwrap().add_bytes(30);
    limits.save(&*store).unwrap();
    // What is counted after the last save is what a `kill -9` loses.
    drop(limits.call(&ann(), None, &LIST).unwrap());
    drop((limits, store));

    let (limits, store) = gate();
    assert_eq!(count(9, || limits.call(&ann(), None, &tool("crm", "get"))), 2);
    limits.call(&bob(), None, &LIST).unwrap().add_bytes(10);
    let over = limits.call(&bob(), None, &LIST).map(drop).unwrap_err();
    assert_eq!(&*over.words, "100B/day per tool on `orders__*`");
    assert_eq!(over.scope, Scope::Target);
    limits.save(&*store).unwrap();
    drop((limits, store));

    // The amounts may change meanwhile, and the next day begins at nothing.
    clock.pass(12 * HOUR);
    let (limits, store) = gate();
    assert_eq!(calls(&limits, 9), 5);
    assert_eq!(
        store
            .read_day(u32::try_from(NOON / (24 * HOUR)).unwrap())
            .unwrap()
            .len(),
        5
    );
}

/// A store that fails when it is told to.
struct Moody {
    store: Store,
    fails: AtomicBool,
}

impl Moody {
    fn new() -> Self {
        Self {
            store: Store::in_memory(),
            fails: AtomicBool::new(false),
        }
    }

    fn mood(&self) -> Result<&dyn Counters, StoreError> {
        if self.fails.load(Relaxed) {
            Err(StoreError::Crypto)
        } else {
            Ok(&*self.store.counters)
        }
    }

    fn sum(&self, day: u32) -> Used {
        let all = self.store.counters.read_day(day).unwrap();
        all.iter().fold(Used::default(), |sum, one| sum.plus(one.used))
    }
}

impl Counters for Moody {
    fn add(&self, additions: &[Added]) -> Result<Vec<Used>, StoreError> {
        self.mood()?.add(additions)
    }

    fn read(&self, quota: &str, key: &[u8], day: u32) -> Result<Used, StoreError> {
        self.mood()?.read(quota, key, day)
    }

    fn read_day(&self, day: u32) -> Result<Vec<Added>, StoreError> {
        self.mood()?.read_day(day)
    }

    fn forget_before(&self, day: u32) -> Result<usize, StoreError> {
        self.mood()?.forget_before(day)
    }
}

#[test]
fn what_could_not_be_saved_is_saved_later_on_its_own_day() {
    let (limits, clock) = with(&[quota(Per::Principal, Some(10), None)]);
    let (store, day) = (Moody::new(), limits.today());
    assert_eq!(calls(&limits, 3), 3);
    store.fails.store(true, Relaxed);
    assert!(limits.save(&store).is_err());
    assert_eq!(calls(&limits, 2), 2);
    assert!(limits.save(&store).is_err());
    // It counts all the same.
    assert_eq!(calls(&limits, 9), 5);
    clock.pass(12 * HOUR);
    assert_eq!(calls(&limits, 4), 4);
    assert!(limits.save(&store).is_err());
    store.fails.store(false, Relaxed);
    limits.save(&store).unwrap();
    assert_eq!((store.sum(day).calls, store.sum(day + 1).calls), (10, 4));
    // Nothing is added twice.
    limits.save(&store).unwrap();
    assert_eq!((store.sum(day).calls, store.sum(day + 1).calls), (10, 4));
}

#[test]
fn gates_with_one_store_see_each_others_counts() {
    let store = Store::in_memory().counters;
    let quotas = [quota(Per::Global, Some(10), None)];
    let clock = Hand::new();
    let gates = [0, 1].map(|_| Arc::new(Limits::new(&[], &quotas, clock.clone())));
    assert_eq!(calls(&gates[0], 6), 6);
    gates[0].save(&*store).unwrap();
    assert_eq!(calls(&gates[1], 2), 2);
    gates[1].save(&*store).unwrap();
    assert_eq!(calls(&gates[1], 9), 2);
}

#[test]
fn saving_while_calls_go_on_loses_none() {
    let store = Moody::new();
    let (limits, _) = with(&[quota(Per::Principal, Some(1 << 40), None)]);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| calls(&limits, 2_000))).collect();
        while !callers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            store.fails.fetch_not(Relaxed);
            let _ = limits.save(&store);
        }
    });
    store.fails.store(false, Relaxed);
    limits.save(&store).unwrap();
    assert_eq!(store.sum(limits.today()).calls, 8_000);
}

#[tokio::test(start_paused = true)]
async fn counts_are_saved_each_second_and_at_the_end() {
    let (limits, _) = with(&[quota(Per::Principal, Some(100), None)]);
    let store = Arc::new(Moody::new());
    let day = limits.today();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let kept = tokio::spawn(Arc::clone(&limits).keep(store.clone(), async {
        let _ = stopped.await;
    }));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(calls(&limits, 3), 3);
    assert_eq!(store.sum(day).calls, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.sum(day).calls, 3);
    store.fails.store(true, Relaxed);
    assert_eq!(calls(&limits, 4), 4);
    tokio::time::sleep(Duration::from_secs(3)).await;
    store.fails.store(false, Relaxed);
    assert_eq!(store.sum(day).calls, 3);
    stop.send(()).unwrap();
    kept.await.unwrap();
    assert_eq!(store.sum(day).calls, 7);
}
