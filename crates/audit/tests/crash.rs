//! `kill -9` at random points: every record that was acknowledged is in the log, the chain is whole, and the sink has every record
//! at least once, with what it has twice marked.
//!
//! A round is a process that writes until it is killed; it is this very test binary, started again. `GATEPOST_CRASH_ROUNDS` says how
//! many there are (`make crash`), `GATEPOST_CRASH_SEED` when they are killed.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gatepost_audit::{
    Effect, End, Filter, Intent, Known, Log, Outcome, Settings, Sinks, What, export, verify,
};
use gatepost_config::Config;

const FOLDER: &str = "GATEPOST_CRASH_FOLDER";
const SINK: &str = "GATEPOST_CRASH_SINK";
const SYNC: &str = "GATEPOST_CRASH_SYNC";

// === the process that is killed ===

/// Does nothing unless it was started by the other test.
#[test]
fn writer() {
    let (Ok(folder), Ok(sink)) = (std::env::var(FOLDER), std::env::var(SINK)) else {
        return;
    };
    let durability = if std::env::var_os(SYNC).is_some() {
        "sync"
    } else {
        "batch"
    };
    let yaml = format!(
        "audit:\n  durability: {durability}\n  segment: 1MiB\n  sinks: [{{ http: {{ url: \"{sink}\", every: 1s, batch: 100 }} }}]\n"
    );
    let config = Config::parse_in(Path::new("/srv"), &yaml, &|_| Some("/home/ann".into())).unwrap();
    let settings = Settings {
        segment_bytes: 100_000,
        checkpoint_records: 100,
        flush: Duration::from_millis(3),
        ..Settings::new(Path::new(&folder), &config.audit.unwrap())
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let log = Log::open(settings).unwrap();
        let _sinks = Sinks::start(&log).unwrap();
        println!("\nready");
        let callers: Vec<_> = (0..8).map(|at| tokio::spawn(caller(log.clone(), at))).collect();
        for caller in callers {
            caller.await.unwrap();
        }
    });
}

async fn caller(log: Log, at: u32) {
    for round in 0_u32.. {
        let arguments = format!("{{\"caller\":{at},\"round\":{round}}}");
        let destructive = (round % 50 == 0).then_some(Effect::Destructive);
        let call = log
            .intent(&Intent {
                what: What {
                    method: Some("tools/call"),
                    name: Some("t"),
                    effect: destructive,
                    ..What::default()
                },
                arguments: arguments.as_bytes(),
                ..Intent::default()
            })
            .unwrap();
        call.durable().await.unwrap();
        let id = call.id().unwrap();
        say(&format!("intent {id}\n"));
        call.outcome(Outcome::new(End::Ok)).unwrap();
        say(&format!("outcome {id}\n"));
        tokio::task::yield_now().await;
    }
}

/// The acknowledgement: a line in a single write, so that it is there as a whole or not at all.
fn say(line: &str) {
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

// === the sink ===

#[derive(Default)]
struct Received {
    /// How often each record came.
    counts: HashMap<String, u64>,
    /// What came twice without being marked.
    unmarked: Vec<String>,
    batches: u64,
}

fn serve(stream: TcpStream, received: &Mutex<Received>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut again) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        again |= line == "gatepost-audit-redelivery: true";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut received = received.lock().unwrap();
    received.batches += 1;
    // Now and then it has the batch and says that it has not.
    let fails = received.batches.is_multiple_of(7);
    for line in body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let record: serde_json::Value = serde_json::from_slice(line).unwrap();
        let id = record["id"].as_str().unwrap().to_owned();
        let count = received.counts.entry(id.clone()).or_insert(0);
        *count += 1;
        if *count > 1 && !again {
            received.unmarked.push(id);
        }
    }
    drop(received);
    let status = if fails {
        "500 Internal Server Error"
    } else {
        "200 OK"
    };
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

// === the test ===

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = std::env::var("GATEPOST_CRASH_ROUNDS").map_or(8, |rounds| rounds.parse().unwrap());
    let mut seed = std::env::var("GATEPOST_CRASH_SEED").map_or_else(
        |_| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64,
        |seed| seed.parse().unwrap(),
    );
    eprintln!("GATEPOST_CRASH_SEED={seed} GATEPOST_CRASH_ROUNDS={rounds}");
    let folder = tempfile::tempdir().unwrap();
    let received = Arc::new(Mutex::new(Received::default()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sink = format!("http://{}/events", listener.local_addr().unwrap());
    let there = Arc::clone(&received);
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A killed process breaks its connections.
            let _ = serve(stream.unwrap(), &there);
        }
    });

    let mut intents = HashSet::new();
    let mut outcomes = HashSet::new();
    // On a slow machine the lives may be too short for a single call; then there are more of them.
    let mut round = 0;
    while round < rounds || outcomes.is_empty() {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let life = Duration::from_micros(seed >> 33 & 0x3_ffff);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "writer", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .env(SINK, &sink)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        if round % 2 == 1 {
            command.env(SYNC, "1");
        }
        round += 1;
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while line != "ready\n" {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "the writer did not start");
        }
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            said.read_to_end(&mut all).unwrap();
            all
        });
        thread::sleep(life);
        child.kill().unwrap();
        child.wait().unwrap();
        let said = String::from_utf8(reader.join().unwrap()).unwrap();
        for line in said.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            match line.trim_end().split_once(' ') {
                Some(("intent", id)) => drop(intents.insert(id.to_owned())),
                Some(("outcome", id)) => drop(outcomes.insert(id.to_owned())),
                _ => {}
            }
        }
    }

    // One that is not killed: it takes up what the others left, and the sink gets the rest.
    let settings = Settings::plain(folder.path());
    let place = settings.folder.clone();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let yaml = format!("audit:\n  sinks: [{{ http: {{ url: \"{sink}\", every: 1s }} }}]\n");
        let config = Config::parse_in(Path::new("/srv"), &yaml, &|_| Some("/home/ann".into())).unwrap();
        let log = Log::open(Settings::new(folder.path(), &config.audit.unwrap())).unwrap();
        let sinks = Sinks::start(&log).unwrap();
        log.close();
        // It is at its end only when it has everything: a receiver that fails now is asked again.
        let last = log.health().written;
        while sinks.health()[0].delivered < last {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sinks.stop(Duration::from_secs(20)).await;
    });

    let report = verify(&place, &Known::default()).unwrap();
    assert_eq!(report.fault, None, "{report:?}");
    let (mut ids, mut there, mut ended) = (Vec::new(), HashSet::new(), HashMap::new());
    export(&place, &Filter::default(), |line| {
        let record: serde_json::Value = serde_json::from_slice(line).unwrap();
        let id = record["id"].as_str().unwrap().to_owned();
        ids.push(id.clone());
        if record["kind"] == "intent" {
            there.insert(id);
        } else if let Some(of) = record["of"].as_str() {
            let twice = ended.insert(of.to_owned(), record["outcome"].as_str().unwrap().to_owned());
            assert_eq!(twice, None, "{of} ended twice");
        }
        Ok(())
    })
    .unwrap();
    for id in &intents {
        assert!(
            there.contains(id),
            "the intent {id} was acknowledged and is not there"
        );
    }
    for id in &outcomes {
        assert_eq!(ended.get(id).map(String::as_str), Some("ok"), "of {id}");
    }
    for id in &there {
        assert!(ended.contains_key(id), "{id} has no outcome");
    }
    let received = received.lock().unwrap();
    for id in &ids {
        assert!(received.counts.contains_key(id), "{id} never reached the sink");
    }
    assert_eq!(received.unmarked, Vec::<String>::new());
    let twice = received.counts.values().filter(|count| **count > 1).count();
    eprintln!(
        "{} records, {} calls acknowledged, {twice} delivered more than once",
        ids.len(),
        outcomes.len()
    );
}
