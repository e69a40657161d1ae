use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use gatepost_config::{Durability, OnFailure};
use serde_json::Value;

use super::*;
use crate::{
    By, FaultKind, Known, Moment, What, Who,
    disk::{RealDisk, Segment},
    segment, verify,
};

// === what tests need ===

pub(crate) fn intent(arguments: &'static [u8]) -> Intent<'static> {
    Intent {
        who: Who {
            issuer: Some("https://id.example.com"),
            subject: Some("ann@example.com"),
            tenant: Some("acme"),
            client: Some("desk"),
            version: Some("1.2"),
            address: Some("10.1.2.3"),
        },
        what: What {
            endpoint: Some("/mcp"),
            method: Some("tools/call"),
            server: Some("crm"),
            name: Some("crm__get"),
            original: Some("get"),
            effect: Some(Effect::Read),
        },
        arguments,
        by: By {
            role: Some("analyst"),
            rule: Some("crm__*"),
        },
        request: b"17",
        trace: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
    }
}

pub(crate) fn call(log: &Log) {
    let call = log.intent(&intent(br#"{"id":1}"#)).unwrap();
    call.outcome(Outcome::new(End::Ok)).unwrap();
}

/// A call of a gate that is never faster than the disk, so that segments are no longer than they should be.
pub(crate) fn call_and_sync(log: &Log) {
    call(log);
    wait_until("it is on the disk", || {
        let health = log.health();
        health.durable == health.written
    });
}

pub(crate) fn lines(folder: &Path) -> Vec<Value> {
    let files = segment::list(folder).unwrap();
    let text = |file: &segment::File| std::fs::read_to_string(&file.path).unwrap();
    let all: Vec<String> = files.iter().map(text).collect();
    all.iter()
        .flat_map(|text| text.lines())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

pub(crate) fn kinds(folder: &Path) -> Vec<String> {
    lines(folder)
        .iter()
        .map(|line| line["kind"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
pub(crate) fn assert_whole(folder: &Path) -> crate::Report {
    let report = verify(folder, &Known::default()).unwrap();
    assert_eq!(report.fault, None);
    report
}

/// A disk with faults to be switched on.
#[derive(Clone, Default)]
pub(crate) struct Faulty(pub(crate) Arc<Faults>);

#[derive(Default)]
pub(crate) struct Faults {
    /// How many bytes may be written before there is no room; `usize::MAX`… see `limited`.
    room: AtomicUsize,
    limited: AtomicBool,
    fails_to_sync: AtomicBool,
    syncs: AtomicUsize,
    /// How often something was written, or begun to be.
    pub(crate) writes: AtomicUsize,
    /// Whether it stands still.
    pub(crate) stands: AtomicBool,
}

struct FaultySegment(Box<dyn Segment>, Arc<Faults>);

impl Disk for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(FaultySegment(
            RealDisk.create(path)?,
            Arc::clone(&self.0),
        )))
    }

    fn extend(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(FaultySegment(
            RealDisk.extend(path)?,
            Arc::clone(&self.0),
        )))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.sync_folder(folder)
    }
}

impl Segment for FaultySegment {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.1.writes.fetch_add(1, SeqCst);
        while self.1.stands.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !self.1.limited.load(SeqCst) {
            return self.0.append(bytes);
        }
        let room = self.1.room.load(SeqCst);
        let fits = room.min(bytes.len());
        self.0.append(&bytes[..fits])?;
        self.1.room.store(room - fits, SeqCst);
        if fits < bytes.len() {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.1.syncs.fetch_add(1, SeqCst);
        if self.1.fails_to_sync.load(SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.0.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }
}

impl Faulty {
    fn has_room_for(&self, bytes: usize) {
        self.0.room.store(bytes, SeqCst);
        self.0.limited.store(true, SeqCst);
    }

    fn has_room(&self) {
        self.0.limited.store(false, SeqCst);
    }
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(120), "still not: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

// === records ===

#[test]
fn a_call_leaves_an_intent_and_an_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        results: Kept::Masked,
        ..Settings::plain(folder.path())
    };
    let log = Log::open(settings.clone()).unwrap();
    let call = log
        .intent(&intent(
            br#"{"query":"x","password":"hunter2","mail":"ann@example.com"}"#,
        ))
        .unwrap();
    let id = call.id().unwrap();
    call.outcome(Outcome {
        bytes_in: 5,
        bytes_out: 7,
        result: Some(br#"{"token":"s3cret"}"#),
        ..Outcome::new(End::Error { code: -32000 })
    })
    .unwrap();
    log.close();
    assert_whole(&settings.folder);
    let text = std::fs::read_to_string(segment::path(&settings.folder, 1)).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("s3cret"), "{text}");
    let lines = lines(&settings.folder);
    let intent = lines.iter().find(|line| line["kind"] == "intent").unwrap();
    assert_eq!(intent["id"], id.as_str());
    assert_eq!(intent["who"]["subject"], "ann@example.com");
    assert_eq!(intent["what"]["server"], "crm");
    assert_eq!(intent["what"]["effect"], "read");
    assert_eq!(intent["decision"]["role"], "analyst");
    assert_eq!(intent["request"], 17);
    assert_eq!(intent["arguments"]["masked"]["password"], "[masked]");
    assert_eq!(intent["arguments"]["masked"]["mail"], "[masked]");
    assert_eq!(intent["arguments"]["hmac"].as_str().unwrap().len(), 64);
    let outcome = lines.iter().find(|line| line["kind"] == "outcome").unwrap();
    assert_eq!(outcome["of"], id.as_str());
    assert_eq!(outcome["outcome"], "error");
    assert_eq!(outcome["code"], -32000);
    assert_eq!((&outcome["in"], &outcome["out"]), (&5.into(), &7.into()));
    assert_eq!(outcome["result"]["masked"]["token"], "[masked]");
}

#[test]
fn what_a_client_writes_anywhere_is_masked_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::plain(folder.path());
    let log = Log::open(settings.clone()).unwrap();
    let long = "x ".repeat(5000);
    let canary = "ghp_canary0123456789canary0123456789";
    log.denial(&Denial {
        who: Who {
            client: Some(canary),
            version: Some(&long),
            ..Who::default()
        },
        what: What {
            name: Some(canary),
            endpoint: Some("/mcp/\"\n"),
            ..What::default()
        },
        status: 404,
        reason: &format!("no tool {canary}"),
        hidden: true,
        request: br#""ghp_canary0123456789canary0123456789""#,
        ..Denial::default()
    })
    .unwrap();
    log.close();
    assert_whole(&settings.folder);
    let text = std::fs::read_to_string(segment::path(&settings.folder, 1)).unwrap();
    assert!(!text.contains("canary"), "{text}");
    let lines = lines(&settings.folder);
    let denial = lines.iter().find(|line| line["kind"] == "denial").unwrap();
    assert!(denial["who"]["version"].as_str().unwrap().len() < 600);
    assert_eq!(denial["decision"]["allow"], false);
    assert_eq!(denial["decision"]["hidden"], true);
    assert_eq!(denial["what"]["endpoint"], "/mcp/\"\n");
}

#[test]
fn equal_arguments_have_equal_digests_and_whole_and_parts_too() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        results: Kept::Digest,
        arguments: Kept::Digest,
        ..Settings::plain(folder.path())
    };
    let log = Log::open(settings.clone()).unwrap();
    let whole = log.intent(&intent(b"{}")).unwrap();
    let parts = log.intent(&intent(b"{}")).unwrap();
    let _ = whole.outcome(Outcome {
        result: Some(b"[1,2]"),
        ..Outcome::new(End::Ok)
    });
    let mut digest = log.digest().unwrap();
    digest.update(b"[1,");
    digest.update(b"2]");
    let _ = parts.outcome(Outcome {
        digest: Some(digest),
        ..Outcome::new(End::Ok)
    });
    log.close();
    let lines = lines(&settings.folder);
    let of = |kind: &str| {
        lines
            .iter()
            .filter(|line| line["kind"] == kind)
            .cloned()
            .collect::<Vec<_>>()
    };
    let (intents, outcomes) = (of("intent"), of("outcome"));
    assert_eq!(intents[0]["arguments"]["hmac"], intents[1]["arguments"]["hmac"]);
    assert_eq!(intents[0]["arguments"].get("masked"), None);
    assert_eq!(outcomes[0]["result"], outcomes[1]["result"]);
    assert_eq!(outcomes[0]["result"]["bytes"], 5);
}

#[test]
fn a_call_that_is_forgotten_counts_as_abandoned() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::plain(folder.path());
    let log = Log::open(settings.clone()).unwrap();
    drop(log.intent(&intent(b"{}")).unwrap());
    assert_eq!(log.health().open, 0);
    log.close();
    assert_eq!(lines(&settings.folder)[3]["outcome"], "abandoned");
}

#[test]
fn a_call_that_is_open_at_the_end_says_so_and_nothing_comes_after_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::plain(folder.path());
    let log = Log::open(settings.clone()).unwrap();
    let call = log.intent(&intent(b"{}")).unwrap();
    log.close();
    assert!(call.outcome(Outcome::new(End::Ok)).is_err());
    assert!(log.intent(&intent(b"{}")).is_err());
    assert_eq!(
        kinds(&settings.folder),
        ["segment", "opened", "intent", "outcome", "stopped"]
    );
    assert_eq!(lines(&settings.folder)[3]["outcome"], "unknown");
    assert_whole(&settings.folder);
}

#[test]
fn two_gates_cannot_write_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::plain(folder.path());
    let log = Log::open(settings.clone()).unwrap();
    assert!(matches!(
        Log::open(settings.clone()),
        Err(OpenError::Taken { .. })
    ));
    log.close();
    Log::open(settings).unwrap();
}

#[test]
#[cfg(unix)]
fn nobody_else_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::plain(folder.path());
    call(&Log::open(settings.clone()).unwrap());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&settings.folder), 0o700);
    assert_eq!(mode(&settings.key), 0o600);
    for entry in settings.folder.read_dir().unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

// === groups ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_make_one_chain() {
    for durability in [Durability::Batch, Durability::Sync] {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            durability,
            segment_bytes: 50_000,
            checkpoint_records: 50,
            flush: Duration::from_millis(1),
            ..Settings::plain(folder.path())
        };
        let log = Log::open(settings.clone()).unwrap();
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let log = log.clone();
                tokio::spawn(async move {
                    for _ in 0..20 {
                        let call = log.intent(&intent(b"{}")).unwrap();
                        call.durable().await.unwrap();
                        if durability == Durability::Sync {
                            assert!(log.health().durable >= call.intent.seq);
                        }
                        call.outcome(Outcome::new(End::Ok)).unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        // In `batch` nobody waits for the disk, so all may be said before the keeper has begun the next segment.
        wait_until("there is another segment", || {
            segment::list(&settings.folder).unwrap().len() > 1
        });
        log.close();
        let report = assert_whole(&settings.folder);
        let kinds = kinds(&settings.folder);
        let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
        assert_eq!((count("intent"), count("outcome")), (640, 640));
        assert!(count("checkpoint") > 0 && report.segments > 1, "{report:?}");
        let ids: HashSet<_> = lines(&settings.folder)
            .iter()
            .map(|line| line["id"].to_string())
            .collect();
        assert_eq!(ids.len(), kinds.len());
    }
}

// === trouble ===

#[test]
fn with_a_full_disk_calls_are_refused_and_nothing_is_half_there() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        retry: Duration::ZERO,
        ..Settings::plain(folder.path())
    };
    let disk = Faulty::default();
    let log = Log::open_on(settings.clone(), Box::new(disk.clone())).unwrap();
    let under_way = log.intent(&intent(b"{}")).unwrap();
    disk.has_room_for(100);
    let refused = log.intent(&intent(b"{}")).unwrap_err();
    assert!(
        refused.to_string().contains("audit log cannot be written"),
        "{refused}"
    );
    assert!(log.health().refuses && !log.health().is_final);
    assert!(under_way.outcome(Outcome::new(End::Ok)).is_err());
    assert!(log.denial(&Denial::default()).is_err());
    let whole = std::fs::read(segment::path(&settings.folder, 1)).unwrap();
    assert_eq!(whole.last(), Some(&b'\n'));
    disk.has_room();
    wait_until("it goes on", || !log.health().refuses);
    call(&log);
    log.close();
    assert_whole(&settings.folder);
    let lines = lines(&settings.folder);
    let resumed = lines.iter().find(|line| line["kind"] == "resumed").unwrap();
    assert!(resumed["unwritten"].as_u64().unwrap() >= 3, "{resumed}");
    assert!(
        resumed["reason"].as_str().unwrap().contains("writing it failed"),
        "{resumed}"
    );
}

#[test]
fn with_a_full_disk_calls_go_on_where_that_is_allowed_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        on_failure: OnFailure::Allow,
        retry: Duration::from_millis(50),
        ..Settings::plain(folder.path())
    };
    let disk = Faulty::default();
    let log = Log::open_on(settings.clone(), Box::new(disk.clone())).unwrap();
    disk.has_room_for(0);
    for _ in 0..3 {
        let call = log.intent(&intent(b"{}")).unwrap();
        assert_eq!(call.id(), None);
        call.outcome(Outcome::new(End::Ok)).unwrap();
    }
    assert!(log.health().failed.is_some() && !log.health().refuses);
    assert!(log.health().unwritten >= 6);
    disk.has_room();
    wait_until("it goes on", || log.health().failed.is_none());
    call(&log);
    log.close();
    assert_whole(&settings.folder);
    assert!(kinds(&settings.folder).contains(&"resumed".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_is_final() {
    for durability in [Durability::Batch, Durability::Sync] {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            durability,
            retry: Duration::ZERO,
            flush: Duration::from_millis(1),
            ..Settings::plain(folder.path())
        };
        let disk = Faulty::default();
        let log = Log::open_on(settings.clone(), Box::new(disk.clone())).unwrap();
        disk.0.fails_to_sync.store(true, SeqCst);
        let under_way = log.intent(&intent(b"{}")).unwrap();
        if durability == Durability::Sync {
            assert!(under_way.durable().await.is_err());
        }
        wait_until("it is noticed", || log.health().is_final);
        assert!(under_way.outcome(Outcome::new(End::Ok)).is_err());
        let syncs = disk.0.syncs.load(SeqCst);
        // The disk would say yes now; nobody may believe it.
        disk.0.fails_to_sync.store(false, SeqCst);
        assert!(log.intent(&intent(b"{}")).is_err());
        log.close();
        assert!(log.health().is_final);
        assert_eq!(disk.0.syncs.load(SeqCst), syncs, "the file was asked again");
        // The next start takes up what there is, and writes it once more.
        let log = Log::open(settings.clone()).unwrap();
        call(&log);
        log.close();
        assert_whole(&settings.folder);
    }
}

#[test]
fn after_a_failed_fsync_another_file_is_begun_where_loss_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        on_failure: OnFailure::Allow,
        flush: Duration::from_millis(1),
        retry: Duration::from_millis(1),
        ..Settings::plain(folder.path())
    };
    let disk = Faulty::default();
    let log = Log::open_on(settings.clone(), Box::new(disk.clone())).unwrap();
    disk.0.fails_to_sync.store(true, SeqCst);
    call(&log);
    wait_until("it is noticed", || log.health().failed.is_some());
    call(&log);
    disk.0.fails_to_sync.store(false, SeqCst);
    wait_until("it goes on", || log.health().failed.is_none());
    call(&log);
    log.close();
    let report = assert_whole(&settings.folder);
    assert!(report.segments >= 2, "{report:?}");
    assert!(kinds(&settings.folder).contains(&"resumed".to_owned()));
}

/// Not a seam but a disk: `/dev/full` says that it is.
#[test]
#[cfg(target_os = "linux")]
fn a_really_full_disk_says_so() {
    struct Full;
    impl Disk for Full {
        fn create(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
            drop(RealDisk.create(path)?);
            RealDisk.extend("/dev/full".as_ref())
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
    let folder = tempfile::tempdir().unwrap();
    let error = Log::open_on(Settings::plain(folder.path()), Box::new(Full)).unwrap_err();
    assert!(error.to_string().contains("No space left on device"), "{error}");
}

// === rotation and retention ===

#[test]
fn segments_rotate_and_the_oldest_go_with_a_record_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        segment_bytes: 4_000,
        max_bytes: Some(60_000),
        flush: Duration::from_millis(1),
        ..Settings::plain(folder.path())
    };
    let log = Log::open(settings.clone()).unwrap();
    let removed = || {
        let files = segment::list(&settings.folder).unwrap();
        files[0].first > 1 && files.len() > 2
    };
    wait_until("the oldest is gone", || {
        call_and_sync(&log);
        removed()
    });
    log.close();
    let report = assert_whole(&settings.folder);
    assert!(report.first.unwrap().seq > 1);
    assert!(kinds(&settings.folder).contains(&"removed".to_owned()));
    // One more than the gate removed, and nobody says so.
    let files = segment::list(&settings.folder).unwrap();
    std::fs::remove_file(&files[0].path).unwrap();
    let fault = verify(&settings.folder, &Known::default())
        .unwrap()
        .fault
        .unwrap();
    assert_eq!(fault.seq, 1);
    assert!(matches!(fault.kind, FaultKind::Removed { .. }), "{fault:?}");
}

/// 2026-07-28T12:00:00Z
const NOON: Moment = Moment(1_785_240_000_000_000);

/// Hours pass in milliseconds.
#[test]
fn what_is_too_old_goes_however_slowly_a_segment_grows() {
    fn hours() -> Moment {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        let millis = BEGAN.get_or_init(Instant::now).elapsed().as_millis();
        Moment(NOON.0 + i64::try_from(millis).unwrap() * 3_600_000_000)
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        keep: Some(Duration::from_secs(24 * 3_600)),
        flush: Duration::from_millis(1),
        clock: hours,
        ..Settings::plain(folder.path())
    };
    let log = Log::open(settings.clone()).unwrap();
    wait_until("the oldest is gone", || {
        call(&log);
        segment::list(&settings.folder).unwrap()[0].first > 1
    });
    log.close();
    assert_whole(&settings.folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_disk_what_is_in_the_file_still_gets_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        durability: Durability::Sync,
        retry: Duration::from_secs(3600),
        ..Settings::plain(folder.path())
    };
    let disk = Faulty::default();
    let log = Log::open_on(settings, Box::new(disk.clone())).unwrap();
    let there = log.intent(&intent(b"{}")).unwrap();
    disk.has_room_for(10);
    assert!(log.intent(&intent(b"{}")).is_err());
    there.durable().await.unwrap();
    assert!(log.health().refuses);
}

#[test]
fn records_of_other_runs_and_their_times_stay() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::plain(folder.path());
    for _ in 0..3 {
        let log = Log::open(settings.clone()).unwrap();
        call(&log);
        log.close();
    }
    let lines = lines(&settings.folder);
    let runs: HashSet<_> = lines
        .iter()
        .map(|line| line["id"].as_str().unwrap()[..12].to_owned())
        .collect();
    assert_eq!(runs.len(), 3);
    assert_whole(&settings.folder);
}
