use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use super::*;
use crate::{
    End, Log, Outcome,
    disk::RealDisk,
    log::tests::{assert_whole, call, intent},
};

/// A disk that counts how often something was written.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicUsize>);

struct CountedSegment(Box<dyn Segment>, Arc<AtomicUsize>);

impl Disk for Counted {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(CountedSegment(
            RealDisk.create(path)?,
            Arc::clone(&self.0),
        )))
    }

    fn extend(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        RealDisk.extend(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.sync_folder(folder)
    }
}

impl Segment for CountedSegment {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.1.fetch_add(1, SeqCst);
        self.0.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }
}

/// A log whose keeper writes nothing by itself while the test runs: there is something for the disk, and it is in no hurry.
fn log(folder: &Path) -> (Log, Counted) {
    let disk = Counted::default();
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
    let before = disk.0.load(SeqCst);
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
    let writes = disk.0.load(SeqCst) - before;
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
