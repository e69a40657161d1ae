//! Servers that say far too much: what they write is cut, dropped and counted, and the log says so once.

use std::fmt;

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

use super::{recorder::Recorder, *};

/// What was logged on this thread, each record with its level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

impl Log {
    fn listen() -> (Self, DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(log.clone());
        (log, guard)
    }

    fn of(&self, level: Level) -> Vec<String> {
        let records = self.0.lock().unwrap();
        let those = records.iter().filter(|(of, _)| *of == level);
        those.map(|(_, text)| text.clone()).collect()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("gatepost")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push((*event.metadata().level(), text.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn lines_that_are_no_json_are_said_once_and_harm_no_call() {
    let (log, _guard) = Log::listen();
    let recorder = Recorder::new("{}");
    let server = recorder.server("");
    *recorder.before.lock().unwrap() = vec![format!("not JSON {}", "x".repeat(10_000)); 500];
    for _ in 0..3 {
        Caller::legacy("{}").text(&server).await.unwrap();
    }
    let said = log.of(Level::WARN);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("not JSON") && said[0].len() < 1_000);
}

#[tokio::test]
async fn notifications_for_nobody_are_dropped() {
    let (log, _guard) = Log::listen();
    let recorder = Recorder::new("{}");
    let server = recorder.server("");
    let progress = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    // Tokens that are no call's: never given out, another kind, none at all.
    let tokens = ["999999", "\"theirs\"", "null", "-1", "{}"];
    let flood = tokens.into_iter().cycle().take(1_000).map(progress).collect();
    *recorder.before.lock().unwrap() = flood;
    // Nothing reached the call, so its answer is whole.
    let incoming = Caller::legacy("{}").call(&server).await.unwrap();
    assert!(matches!(incoming, Incoming::Whole(_)));
    assert_eq!(log.of(Level::WARN), [""; 0]);
}

#[tokio::test]
async fn events_that_are_no_json_are_said_once_a_stream() {
    let (log, _guard) = Log::listen();
    let backend = Backend::start(|seen| {
        modern(seen, |seen| {
            let (feeder, answer) = events();
            for _ in 0..200 {
                feeder.send(event("{not JSON}")).unwrap();
            }
            let done = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, seen.id());
            feeder.send(event(&done)).unwrap();
            answer
        })
    })
    .await;
    let server = backend.server("");
    Caller::legacy("{}").text(&server).await.unwrap();
    let said = log.of(Level::WARN);
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test]
async fn a_flood_on_stderr_is_cut_into_records_and_harms_no_call() {
    let (log, _guard) = Log::listen();
    let script = r#"
head -c 3000000 /dev/zero | tr '\0' x >&2
read -r first
id=$(echo "$first" | sed 's/.*"id":\([0-9]*\).*/\1/')
echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{}}}"
read -r initialized; read -r call
id=$(echo "$call" | sed 's/.*"id":\([0-9]*\).*/\1/')
echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{}}"
read -r more
"#;
    let yaml = format!(
        "{{ command: /bin/sh, args: [-c, {}], era: legacy, timeout: 60s }}",
        serde_json::to_string(script).unwrap()
    );
    let server = server(&yaml, None);
    Caller::legacy("{}").text(&server).await.unwrap();
    server.stop(Duration::from_secs(5)).await;
    let records = log.of(Level::INFO);
    let longest = records.iter().map(String::len).max().unwrap();
    assert!((8_000..9_000).contains(&longest), "{longest}");
}
