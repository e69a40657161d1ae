//! `kill -9` of a whole gate under load: every call that was answered is on record with how it ended, the chain is whole, and
//! the sink gets every record. `GATEPOST_CRASH_ROUNDS` says how often (`make crash`).
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says where"
)]

use std::{
    collections::{HashMap, HashSet},
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use gatepost_testkit::gate::{Client, Gate, command_in, eventually};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");
const CALLERS: u64 = 8;

type Ids = Arc<Mutex<HashSet<String>>>;

/// A sink that takes everything, and remembers which records it has.
async fn sink() -> (String, Ids) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let has = Ids::default();
    let there = Arc::clone(&has);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let has = Arc::clone(&there);
            // A killed gate breaks its connections.
            tokio::spawn(async move {
                let _ = take(stream, &has).await;
            });
        }
    });
    (url, has)
}

async fn take(stream: TcpStream, has: &Ids) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        {
            let mut has = has.lock().unwrap();
            for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let record: Value = serde_json::from_slice(line).unwrap();
                has.insert(record["id"].as_str().unwrap().to_owned());
            }
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await?;
    }
}

/// Calls until the gate is gone. What was answered is kept.
async fn caller(client: Client, next: Arc<AtomicU64>, answered: Arc<Mutex<Vec<u64>>>) {
    let client = Arc::new(client);
    loop {
        let number = next.fetch_add(1, Relaxed);
        let (client, expected) = (Arc::clone(&client), number.to_string());
        // A gate that is killed in the middle of an answer ends this one call of the test, and no more.
        let call = tokio::spawn(async move {
            let arguments = format!("{{\"expression\":\"{number} + 0\"}}");
            client.call("calc__calculate", &arguments).await.json()
        });
        match call.await {
            Ok(answer) if answer["result"]["structuredContent"]["result"].as_str() == Some(&expected) => {
                answered.lock().unwrap().push(number);
            }
            _ => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_gate_has_answered_is_on_record() {
    let rounds: u64 = std::env::var("GATEPOST_CRASH_ROUNDS").map_or(4, |rounds| rounds.parse().unwrap());
    let (sink, delivered) = sink().await;
    let yaml = |round: u64| {
        let durability = if round.is_multiple_of(2) { "batch" } else { "sync" };
        format!(
            "servers: {{ calc: {{ module: calculator }} }}\n\
             audit: {{ durability: {durability}, sinks: [{{ http: {{ url: \"{sink}\", every: 1s }} }}] }}\n"
        )
    };
    let (next, answered) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<u64>>>::default());
    let mut folder = Gate::prepare(&yaml(0));
    for round in 0..rounds {
        let gate = Gate::start_in(GATEPOST, &yaml(round), folder).await;
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(caller(
                gate.modern("/mcp"),
                Arc::clone(&next),
                Arc::clone(&answered),
            ));
        }
        // Somewhere in the middle, and never at the same place.
        let before = answered.lock().unwrap().len();
        eventually("calls are answered", async || {
            answered.lock().unwrap().len() > before + 4
        })
        .await;
        tokio::time::sleep(Duration::from_millis(60 + round * 7_919 % 400)).await;
        folder = gate.kill().await;
        callers.join_all().await;
    }
    // One that is not killed takes up what the others left, and the sink gets the rest.
    let gate = Gate::start_in(GATEPOST, &yaml(0), folder).await;
    let audit = gate.folder().join("state/audit");
    let mut ids = HashSet::new();
    eventually("the sink has every record", async || {
        ids = records(&audit).map(|record| id_of(&record)).collect();
        ids.is_subset(&delivered.lock().unwrap())
    })
    .await;
    let (status, folder) = gate.terminate().await;
    assert!(status.success(), "{status}");

    let audit = folder.path().join("state/audit");
    let said = command_in(
        GATEPOST.as_ref(),
        folder.path(),
        &["audit", "verify", "--dir", audit.to_str().unwrap()],
    )
    .await;
    assert!(said.starts_with("fine: "), "{said}");
    let (mut intents, mut outcomes) = (HashMap::new(), HashMap::new());
    for record in records(&audit) {
        match record["kind"].as_str().unwrap() {
            "intent" => {
                let asked = record["arguments"]["masked"]["expression"].as_str().unwrap();
                let number: u64 = asked.strip_suffix(" + 0").unwrap().parse().unwrap();
                intents.insert(number, id_of(&record));
            }
            "outcome" => {
                let of = record["of"].as_str().unwrap().to_owned();
                let before = outcomes.insert(of, record["outcome"].as_str().unwrap().to_owned());
                assert_eq!(before, None, "{record} is a second outcome");
            }
            _ => {}
        }
    }
    let answered = answered.lock().unwrap();
    for number in answered.iter() {
        let intent = intents
            .get(number)
            .unwrap_or_else(|| panic!("call {number} was answered and is not on record"));
        assert_eq!(
            outcomes.get(intent).map(String::as_str),
            Some("ok"),
            "of call {number}"
        );
    }
    for intent in intents.values() {
        assert!(outcomes.contains_key(intent), "{intent} has no outcome");
    }
}

fn records(audit: &std::path::Path) -> impl Iterator<Item = Value> {
    let mut segments: Vec<_> = fs::read_dir(audit)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    segments.sort();
    let text: String = segments
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    text[..whole]
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect::<Vec<_>>()
        .into_iter()
}

fn id_of(record: &Value) -> String {
    record["id"].as_str().unwrap().to_owned()
}
