use std::fs;

use crate::{
    FaultKind, Known, Log, Settings, head,
    log::tests::{assert_whole, call, intent, kinds, lines},
    segment, verify,
};

/// Where nothing waits for a disk, if there is such a place: this is about a thousand logs.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Every byte at which a crash can tear the end of the file: what is whole stays, what is torn is kept aside and said.
#[test]
fn a_torn_end_is_recovered_at_every_byte() {
    let folder = in_memory();
    let settings = Settings::plain(folder.path());
    let log = Log::open(settings.clone()).unwrap();
    call(&log);
    let place = {
        let state = log.engine().lock();
        state.place("x")
    };
    std::mem::forget(log.intent(&intent(b"{}")).unwrap());
    call(&log);
    let path = segment::path(&settings.folder, 1);
    let whole = fs::read(&path).unwrap();
    let known = usize::try_from(place.bytes).unwrap();
    drop(log);
    for length in known..whole.len() {
        let folder = in_memory();
        let settings = Settings::plain(folder.path());
        fs::create_dir_all(&settings.folder).unwrap();
        let path = segment::path(&settings.folder, 1);
        fs::write(&path, &whole[..length]).unwrap();
        let begun = crate::open::Begin::of(whole.split(|&byte| byte == b'\n').next().unwrap());
        let head = serde_json::to_vec(&head::Place {
            log: begun.log.unwrap(),
            ..place.clone()
        })
        .unwrap();
        fs::write(settings.folder.join(head::NAME), head).unwrap();
        let log = Log::open(settings.clone()).unwrap();
        call(&log);
        log.close();
        let report = assert_whole(&settings.folder);
        let kept = whole[..length].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
        assert!(fs::read(&path).unwrap().starts_with(&whole[..kept]), "{length}");
        let torn: Vec<_> = fs::read_dir(&settings.folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "torn"))
            .collect();
        if kept < length {
            assert_eq!(fs::read(&torn[0]).unwrap(), whole[kept..length], "{length}");
            assert!(
                report.notes[0].contains(&format!("\"torn_bytes\":{}", length - kept)),
                "{report:?}"
            );
        } else {
            assert!(torn.is_empty() && report.notes.is_empty(), "{length}: {report:?}");
        }
        // Every intent that is there has an outcome by now.
        let lines = lines(&settings.folder);
        for intent in lines.iter().filter(|line| line["kind"] == "intent") {
            let outcomes = lines.iter().filter(|line| line["of"] == intent["id"]).count();
            assert_eq!(outcomes, 1, "{length}: {intent}");
        }
    }
}

#[test]
fn calls_that_were_open_in_a_crash_are_said_to_be_unknown_even_from_an_earlier_segment() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        segment_bytes: 3_000,
        flush: std::time::Duration::from_millis(1),
        ..Settings::plain(folder.path())
    };
    let log = Log::open(settings.clone()).unwrap();
    let open = log.intent(&intent(b"{}")).unwrap();
    let id = open.id().unwrap();
    std::mem::forget(open);
    while segment::list(&settings.folder).unwrap().len() < 3 {
        call(&log);
    }
    crash(&settings, &log);
    // No segment is full any more, so nothing but their own beginnings and ends is in the next runs.
    let settings = Settings::plain(folder.path());
    let log = Log::open(settings.clone()).unwrap();
    log.close();
    assert_whole(&settings.folder);
    let lines = lines(&settings.folder);
    let outcomes: Vec<_> = lines.iter().filter(|line| line["of"] == id.as_str()).collect();
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0]["outcome"], "unknown");
    // And not once more.
    let before = lines.len();
    Log::open(settings.clone()).unwrap().close();
    assert_eq!(crate::log::tests::lines(&settings.folder).len(), before + 2);
}

/// As a killed process leaves it: nothing is said any more, and the lock is free.
fn crash(settings: &Settings, log: &Log) {
    let copy = settings.folder.with_extension("copy");
    fs::create_dir(&copy).unwrap();
    {
        // Nobody writes while the state is locked, so what is copied is of one moment.
        let _state = log.engine().quiet(log.engine().lock());
        for entry in fs::read_dir(&settings.folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    log.close();
    fs::remove_dir_all(&settings.folder).unwrap();
    fs::rename(copy, &settings.folder).unwrap();
}

#[test]
fn what_head_knows_of_and_the_log_does_not_have_stays_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::plain(folder.path());
    let log = Log::open(settings.clone()).unwrap();
    (0..5).for_each(|_| call(&log));
    log.close();
    let path = segment::path(&settings.folder, 1);
    let text = fs::read_to_string(&path).unwrap();
    let kept: Vec<_> = text.lines().take(6).collect();
    fs::write(&path, format!("{}\n", kept.join("\n"))).unwrap();
    let log = Log::open(settings.clone()).unwrap();
    call(&log);
    log.close();
    let fault = verify(&settings.folder, &Known::default())
        .unwrap()
        .fault
        .unwrap();
    assert_eq!((fault.seq, fault.kind), (7, FaultKind::Removed { through: 13 }));
    // Even if the whole folder's records are gone.
    fs::remove_file(&path).unwrap();
    Log::open(settings.clone()).unwrap().close();
    let fault = verify(&settings.folder, &Known::default())
        .unwrap()
        .fault
        .unwrap();
    assert_eq!(fault.seq, 1);
}

#[test]
fn a_changed_record_does_not_stop_the_gate_and_is_not_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::plain(folder.path());
    let log = Log::open(settings.clone()).unwrap();
    (0..5).for_each(|_| call(&log));
    crash(&settings, &log);
    let path = segment::path(&settings.folder, 1);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("desk", "deck", 1)).unwrap();
    Log::open(settings.clone()).unwrap().close();
    let fault = verify(&settings.folder, &Known::default())
        .unwrap()
        .fault
        .unwrap();
    assert_eq!((fault.kind, fault.seq), (FaultKind::Changed, 3));
}

#[test]
fn an_end_in_order_needs_no_reading_and_no_words() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::plain(folder.path());
    let log = Log::open(settings.clone()).unwrap();
    call(&log);
    log.close();
    assert!(head::read(&settings.folder).unwrap().closed);
    Log::open(settings.clone()).unwrap().close();
    let opened = lines(&settings.folder)
        .into_iter()
        .filter(|line| line["kind"] == "opened");
    assert!(opened.into_iter().all(|line| line["crashed"] == false));
    assert_eq!(
        kinds(&settings.folder),
        [
            "segment", "opened", "intent", "outcome", "stopped", "opened", "stopped"
        ]
    );
}
