use std::{
    future::poll_fn,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    task::Poll,
    time::Duration,
};

use super::*;
use crate::{
    End, Log, Outcome,
    log::tests::{Faulty, assert_whole, call, intent},
};

/// A log whose keeper writes nothing by itself while the test runs: there is something for the disk, and it is in no hurry.
fn log(folder: &Path) -> (Log, Faulty) {
    let disk = Faulty::default();
    let settings = Settings {
        flush: Duration::from_secs(3600),
        ..Settings::plain(folder)
    };
    let log = Log::open_on(settings, Box::new(disk.clone())).unwrap();
    call(&log);
    (log, disk)
}

#[tokio::test]
async fn the_records_of_all_who_are_ready_are_one_write() {
    let folder = tempfile::tempdir().unwrap();
    let (log, disk) = log(folder.path());
    let before = disk.0.writes.load(SeqCst);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let log = log.clone();
        calls.spawn(async move {
            let call = log.intent_among_others(&intent(b"{}")).unwrap();
            call.durable().await.unwrap();
            assert!(log.health().written >= call.intent_seq());
            let ended = call.outcome_among_others(Outcome::new(End::Ok)).unwrap();
            ended.durable().await.unwrap();
        });
    }
    calls.join_all().await;
    let writes = disk.0.writes.load(SeqCst) - before;
    assert!(writes <= 8, "{writes} writes for 128 records");
    log.close();
    assert_whole(&crate::folder(folder.path()));
}

#[tokio::test]
async fn whoever_was_to_write_and_is_gone_has_written() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = log(folder.path());
    let first = log.intent_among_others(&intent(b"{}")).unwrap();
    let second = log.intent_among_others(&intent(b"{}")).unwrap();
    {
        let mut leads = std::pin::pin!(first.durable());
        let mut joins = std::pin::pin!(second.durable());
        assert!(polled(leads.as_mut()).is_pending());
        assert!(polled(joins.as_mut()).is_pending());
        assert!(log.health().written < second.intent_seq());
    }
    // Both clients are gone; what the first had begun is done all the same.
    assert!(log.health().written >= second.intent_seq());
    drop((first, second));
    log.close();
    assert_whole(&crate::folder(folder.path()));
}

fn polled<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(Waker::noop()))
}

/// A slow disk costs time, and no work: nobody asks again and again whether it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_write_under_way_sleeps() {
    let folder = tempfile::tempdir().unwrap();
    let (log, disk) = log(folder.path());
    let writes = disk.0.writes.load(SeqCst);
    let calls = [(); 2].map(|()| log.intent_among_others(&intent(b"{}")).unwrap());
    let until = async |what: &dyn Fn() -> bool| {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    disk.0.stands.store(true, SeqCst);
    let [first, second] = calls;
    let writes_now = tokio::spawn(async move { first.durable().await.map(|()| first) });
    until(&|| disk.0.writes.load(SeqCst) > writes).await;
    let polls = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&polls);
    let waits = tokio::spawn(async move {
        let done = {
            let mut durable = std::pin::pin!(second.durable());
            poll_fn(|cx| {
                counted.fetch_add(1, SeqCst);
                durable.as_mut().poll(cx)
            })
            .await
        };
        done.map(|()| second)
    });
    until(&|| polls.load(SeqCst) > 0).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let polled = polls.load(SeqCst);
    disk.0.stands.store(false, SeqCst);
    let ended = [writes_now.await.unwrap(), waits.await.unwrap()];
    assert!(polled <= 2, "asked {polled} times while the disk stood still");
    assert_eq!(ended.map(|call| call.is_ok()), [true; 2]);
    log.close();
    assert_whole(&crate::folder(folder.path()));
}
