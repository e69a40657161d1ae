use std::{collections::HashMap, path::Path};

use super::*;
use crate::{
    Denial, Settings,
    log::tests::{assert_whole, call, call_and_sync, kinds, lines},
    segment,
    sink::target::Delivery,
};

/// A receiver that does as it is told, and notes what it gets.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    /// How the next attempts end; then all end well.
    answers: std::collections::VecDeque<Answer>,
    /// Until it lives again, every attempt fails.
    dead: bool,
    /// Batches that arrived, whatever was answered: the attempt, and the numbers.
    batches: Vec<(u64, Vec<u64>)>,
}

#[derive(Clone, Copy)]
enum Answer {
    Fails,
    /// It has the batch, but its answer is lost.
    TakesAndFails,
    TooLarge,
}

impl Target for Receiver {
    fn deliver<'a>(&'a self, batch: &'a Batch, attempt: u64) -> Delivery<'a> {
        Box::pin(async move {
            let mut received = self.0.lock().unwrap();
            let seqs = batch
                .lines
                .split(|&byte| byte == b'\n')
                .filter_map(crate::line::Head::of);
            let seqs: Vec<u64> = seqs.map(|head| head.seq).collect();
            assert_eq!(seqs.len() as u64, batch.records);
            let answer = if received.dead {
                Some(Answer::Fails)
            } else {
                received.answers.pop_front()
            };
            if matches!(answer, None | Some(Answer::TakesAndFails)) {
                received.batches.push((attempt, seqs));
            }
            match answer {
                None => Ok(()),
                Some(Answer::TooLarge) => Err(NotTaken::TooLarge),
                Some(_) => Err(NotTaken::Because("it answered 500".to_owned())),
            }
        })
    }
}

impl Receiver {
    fn answers(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.0.lock().unwrap().answers.extend(answers);
        self
    }

    fn start(&self, log: &Log, every: Duration, batch: u64, backlog: u64) -> Sinks {
        let terms = Terms {
            name: "http://127.0.0.1/events".to_owned(),
            key: "test".to_owned(),
            every,
            batch,
            backlog,
            pause: Duration::from_millis(20),
        };
        Sinks::start_with(log.engine(), vec![(terms, Box::new(self.clone()))]).unwrap()
    }

    fn batches(&self) -> Vec<(u64, Vec<u64>)> {
        self.0.lock().unwrap().batches.clone()
    }

    /// How often each record arrived, and every batch that held one for another time said so.
    fn counts(&self) -> HashMap<u64, u64> {
        let mut counts = HashMap::new();
        for (attempt, seqs) in self.batches() {
            let again = seqs.iter().any(|seq| counts.contains_key(seq));
            assert!(!again || attempt > 1, "{:?}", self.batches());
            for seq in seqs {
                *counts.entry(seq).or_insert(0) += 1;
            }
        }
        counts
    }

    #[track_caller]
    fn assert_has_all(&self, folder: &Path) {
        let counts = self.counts();
        for line in lines(folder) {
            assert!(
                counts.contains_key(&line["seq"].as_u64().unwrap()),
                "{line} is missing"
            );
        }
    }
}

const LONG: Duration = Duration::from_secs(60);
const ALL: u64 = u64::MAX;

fn log(folder: &Path) -> (Log, Settings) {
    let settings = Settings {
        flush: Duration::from_millis(1),
        ..Settings::plain(folder)
    };
    (Log::open(settings.clone()).unwrap(), settings)
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(120), "still not: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn everything_arrives_once_from_one_that_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, settings) = log(folder.path());
    let receiver = Receiver::default();
    let sinks = receiver.start(&log, LONG, 7, ALL);
    (0..20).for_each(|_| call(&log));
    log.close();
    sinks.stop(LONG).await;
    receiver.assert_has_all(&settings.folder);
    assert!(receiver.counts().values().all(|count| *count == 1));
    assert!(receiver.batches().iter().all(|(_, seqs)| seqs.len() <= 7));
}

#[tokio::test]
async fn a_denial_does_not_wait_and_a_call_does() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = log(folder.path());
    let receiver = Receiver::default();
    let sinks = receiver.start(&log, Duration::from_secs(3600), 500, ALL);
    call(&log);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(receiver.batches(), []);
    log.denial(&Denial::default()).unwrap();
    until("the denial is there", || !receiver.batches().is_empty()).await;
    assert_eq!(receiver.batches()[0].1.last(), Some(&5));
    log.close();
    sinks.stop(LONG).await;
}

#[tokio::test]
async fn what_fails_is_sent_again_and_marked() {
    let folder = tempfile::tempdir().unwrap();
    let (log, settings) = log(folder.path());
    let receiver = Receiver::default().answers([Answer::TakesAndFails, Answer::Fails]);
    let sinks = receiver.start(&log, Duration::ZERO, 500, ALL);
    call(&log);
    until("it is there twice", || receiver.batches().len() >= 2).await;
    log.close();
    sinks.stop(LONG).await;
    receiver.assert_has_all(&settings.folder);
    let batches = receiver.batches();
    assert_eq!((batches[0].0, batches[1].0), (1, 3), "{batches:?}");
    assert_eq!(
        batches[0].1, batches[1].1,
        "what was sent before is not mixed with what was not"
    );
}

#[tokio::test]
async fn what_is_too_large_is_sent_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let (log, settings) = log(folder.path());
    let receiver = Receiver::default().answers([Answer::TooLarge, Answer::TooLarge]);
    (0..20).for_each(|_| call(&log));
    let sinks = receiver.start(&log, LONG, 40, ALL);
    log.close();
    sinks.stop(LONG).await;
    receiver.assert_has_all(&settings.folder);
    assert!(receiver.batches()[0].1.len() <= 10, "{:?}", receiver.batches());
}

/// The sink is dead for a run of the gate, which ends without having delivered anything; and the next was killed between
/// sending and noting it.
#[tokio::test]
async fn restarts_lose_nothing_and_mark_what_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let (first, settings) = log(folder.path());
    let receiver = Receiver::default().answers([Answer::Fails]);
    let sinks = receiver.start(&first, Duration::ZERO, 500, ALL);
    (0..5).for_each(|_| call(&first));
    first.close();
    sinks.stop(Duration::ZERO).await;
    drop(first);
    assert_eq!(receiver.batches(), []);

    let (second, _) = log(folder.path());
    let cursor = settings.folder.join("sinks/test.json");
    let sinks = receiver.start(&second, Duration::ZERO, 500, ALL);
    until("something is there", || !receiver.batches().is_empty()).await;
    let before = std::fs::read_to_string(&cursor).unwrap();
    second.close();
    sinks.stop(LONG).await;
    drop(second);
    receiver.assert_has_all(&settings.folder);

    // As if killed after the last batch was received and before that was noted.
    let mut said: Cursor = serde_json::from_str(&before).unwrap();
    said.attempted = said.attempted.max(lines(&settings.folder).len() as u64);
    (said.seq, said.offset, said.segment) = (3, 0, 1);
    said.attempts = 1;
    std::fs::write(&cursor, serde_json::to_vec(&said).unwrap()).unwrap();
    let (third, _) = log(folder.path());
    let sinks = receiver.start(&third, Duration::ZERO, 500, ALL);
    third.close();
    sinks.stop(LONG).await;
    receiver.assert_has_all(&settings.folder);
    assert!(receiver.counts()[&4] > 1);
}

#[tokio::test]
async fn a_new_sink_begins_with_this_run() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = log(folder.path());
    call(&first);
    first.close();
    drop(first);
    let (second, _) = log(folder.path());
    let receiver = Receiver::default();
    let sinks = receiver.start(&second, Duration::ZERO, 500, ALL);
    call(&second);
    second.close();
    sinks.stop(LONG).await;
    assert_eq!(receiver.counts().keys().min(), Some(&6));
}

/// A sink that is dead for longer than there is room for: the disk stays bounded, and what it misses is said.
#[tokio::test]
async fn a_dead_sink_holds_no_more_than_its_backlog() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        flush: Duration::from_millis(1),
        segment_bytes: 3_000,
        max_bytes: Some(9_000),
        ..Settings::plain(folder.path())
    };
    let log = Log::open(settings.clone()).unwrap();
    let receiver = Receiver::default();
    receiver.0.lock().unwrap().dead = true;
    let sinks = receiver.start(&log, Duration::ZERO, 500, 20_000);
    until("the oldest is gone", || {
        call_and_sync(&log);
        segment::list(&settings.folder).unwrap()[0].first > 10
    })
    .await;
    receiver.0.lock().unwrap().dead = false;
    until("it is served", || {
        call_and_sync(&log);
        !receiver.batches().is_empty()
    })
    .await;
    let health = sinks.health();
    assert_eq!((health[0].failures, &health[0].error), (0, &None));
    log.close();
    sinks.stop(LONG).await;
    assert_whole(&settings.folder);
    let lines = lines(&settings.folder);
    let said: Vec<_> = lines.iter().filter(|line| line["kind"] == "sink").collect();
    let skipped = said
        .iter()
        .find(|line| line["state"] == "skipped")
        .unwrap_or_else(|| panic!("{:?}", kinds(&settings.folder)));
    assert!(skipped["records"].as_u64().unwrap() >= 10, "{skipped}");
    let total: u64 = segment::list(&settings.folder)
        .unwrap()
        .iter()
        .map(|file| file.length)
        .sum();
    assert!(total < 40_000, "{total}");
    receiver.assert_has_all(&settings.folder);
}
