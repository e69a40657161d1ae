mod life;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

struct Fake {
    number: usize,
    ended: AtomicBool,
}

impl Pooled for Fake {
    fn alive(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    fn end(self: Arc<Self>, _grace: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.ended.store(true, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}

#[derive(Clone, Default)]
struct Starter(Arc<AtomicUsize>);

impl Starter {
    fn start(&self) -> impl Fn() -> Starting<Fake> + use<> {
        let count = Arc::clone(&self.0);
        move || {
            let count = Arc::clone(&count);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let number = count.fetch_add(1, Ordering::Relaxed);
                Ok(Arc::new(Fake {
                    number,
                    ended: AtomicBool::new(false),
                }))
            })
        }
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn pool(max: usize) -> Arc<Pool<Fake>> {
    Pool::new("s".into(), max, Some(Duration::from_secs(300)))
}

fn asking(who: &str) -> Key {
    Key {
        capabilities: Bytes::from_static(b"{\"roots\":{}}"),
        info: None,
        principal: Some(Principal::new("i", who)),
        ..Key::default()
    }
}

#[tokio::test(start_paused = true)]
async fn many_callers_share_one_start() {
    let (pool, starter) = (pool(4), Starter::default());
    let key = Key::default();
    let leases =
        futures_util::future::join_all((0..20).map(|_| pool.lease(&key, Use::Shared, starter.start()))).await;
    assert!(
        leases
            .iter()
            .all(|lease| lease.as_ref().unwrap().session().number == 0)
    );
    assert_eq!(starter.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_undo_the_start() {
    let (pool, starter) = (pool(4), Starter::default());
    let key = Key::default();
    let hurried = pool.lease(&key, Use::Shared, starter.start());
    assert!(
        tokio::time::timeout(Duration::from_millis(10), hurried)
            .await
            .is_err()
    );
    pool.lease(&Key::default(), Use::Shared, starter.start())
        .await
        .unwrap();
    assert_eq!(starter.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn exclusive_users_wait_for_each_other_beyond_the_maximum() {
    let (pool, starter) = (pool(2), Starter::default());
    let key = asking("ann");
    let first = pool.lease(&key, Use::Exclusive, starter.start()).await.unwrap();
    let _second = pool.lease(&key, Use::Exclusive, starter.start()).await.unwrap();
    assert_eq!(starter.count(), 2);
    let third = pool.lease(&key, Use::Exclusive, starter.start());
    let mut third = std::pin::pin!(third);
    assert!(
        tokio::time::timeout(Duration::from_secs(60), third.as_mut())
            .await
            .is_err()
    );
    drop(first);
    assert_eq!(third.await.unwrap().session().number, 0);
    assert_eq!(starter.count(), 2);
    // Where sharing is possible, nobody waits.
    pool.lease(&key, Use::Preferred, starter.start()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_makes_room_for_another_principal() {
    let (pool, starter) = (pool(1), Starter::default());
    let ann = pool
        .lease(&asking("ann"), Use::Exclusive, starter.start())
        .await
        .unwrap();
    let session = Arc::clone(ann.session());
    drop(ann);
    let bob = pool
        .lease(&asking("bob"), Use::Exclusive, starter.start())
        .await
        .unwrap();
    assert_eq!(bob.session().number, 1);
    tokio::task::yield_now().await;
    assert!(!session.alive());
}

#[tokio::test(start_paused = true)]
async fn idle_sessions_end_and_used_ones_do_not() {
    let (pool, starter) = (pool(2), Starter::default());
    let used = pool
        .lease(&Key::default(), Use::Shared, starter.start())
        .await
        .unwrap();
    let idle = pool
        .lease(&asking("ann"), Use::Exclusive, starter.start())
        .await
        .unwrap();
    let session = Arc::clone(idle.session());
    drop(idle);
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert!(session.alive());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!session.alive() && used.session().alive());
    let session = Arc::clone(used.session());
    drop(used);
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert!(!session.alive());
    // And on demand it starts again.
    assert_eq!(
        pool.lease(&Key::default(), Use::Shared, starter.start())
            .await
            .unwrap()
            .session()
            .number,
        2
    );
}

#[tokio::test(start_paused = true)]
async fn everybody_who_waits_for_a_failing_start_hears_why() {
    let pool = pool(1);
    let fail = || -> Starting<Fake> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err(CallError {
                server: "s".into(),
                cause: Cause::NotStarted("no".into()),
                retry_safe: true,
            })
        })
    };
    let key = Key::default();
    let outcomes = futures_util::future::join_all((0..3).map(|_| pool.lease(&key, Use::Shared, fail))).await;
    assert!(outcomes.iter().all(|o| matches!(
        o,
        Err(CallError {
            cause: Cause::NotStarted(_),
            ..
        })
    )));
    pool.close(Duration::ZERO).await;
    let after = pool.lease(&key, Use::Shared, fail).await;
    assert!(matches!(
        after,
        Err(CallError {
            cause: Cause::Stopping,
            ..
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_replaced() {
    let (pool, starter) = (pool(1), Starter::default());
    let lease = pool
        .lease(&Key::default(), Use::Shared, starter.start())
        .await
        .unwrap();
    lease.session().ended.store(true, Ordering::Relaxed);
    let next = pool
        .lease(&Key::default(), Use::Shared, starter.start())
        .await
        .unwrap();
    assert_eq!(next.session().number, 1);
    next.discard();
    assert!(pool.peek(&Key::default()).is_none());
}

/// A parked call's session takes nobody's place; once it is over, there are no more sessions than there may be.
#[tokio::test(start_paused = true)]
async fn what_was_started_in_a_parked_calls_place_is_ended_again() {
    let (pool, starter) = (pool(1), Starter::default());
    let lease = async || {
        pool.lease(&asking("a"), Use::Exclusive, starter.start())
            .await
            .unwrap()
    };
    let mut parked = lease().await;
    parked.set_parked(true);
    let second = lease().await;
    assert_ne!(parked.session().number, second.session().number);
    drop(parked);
    assert_eq!(pool.sessions().len(), 1);
    drop(second);
    assert_eq!(pool.sessions().len(), 1, "it is kept for the next call");
    assert_eq!(lease().await.session().number, 1);
}

/// What only this client's session knew is gone with it; who shares a session has lost nothing.
#[tokio::test(start_paused = true)]
async fn the_loss_of_a_clients_own_session_is_told_once() {
    let (pool, starter) = (pool(1), Starter::default());
    let own = |conversation| Key {
        conversation: Some([conversation; 16]),
        ..asking("a")
    };
    let lose = async |key: &Key| {
        let lease = pool.lease(key, Use::Shared, starter.start()).await.unwrap();
        lease.session().ended.store(true, Ordering::Relaxed);
    };
    let cause = async |key: &Key| {
        let lease = pool.lease(key, Use::Shared, starter.start()).await;
        lease.err().map(|error| error.cause)
    };
    lose(&own(1)).await;
    // The place is free for others, who do not take the news away.
    lose(&own(2)).await;
    assert!(matches!(cause(&own(1)).await, Some(Cause::SessionGone)));
    assert!(cause(&own(1)).await.is_none(), "it begins anew");
    // Somebody has told the client already.
    pool.forget_lost(&own(2));
    lose(&own(1)).await;
    assert!(cause(&own(2)).await.is_none());
    // A client that does not come back is forgotten with its session's time.
    assert_eq!(pool.lock().list.len(), 2);
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert!(pool.lock().list.is_empty());
    lose(&asking("a")).await;
    assert!(cause(&asking("a")).await.is_none(), "healed quietly");
}
