use gatepost_config::Config;

use super::*;
use crate::upstream::change::Announcer;

fn launcher(script: &str) -> Launcher {
    let yaml = format!(
        "servers: {{ s: {{ command: /bin/sh, args: [-c, {}] }} }}",
        serde_json::to_string(script).unwrap()
    );
    let config: Config = yaml.parse().unwrap();
    let context = Waiting {
        server: "s".into(),
        silence: Duration::from_secs(5),
        limit: 1 << 20,
    };
    Launcher::new(
        &config.servers[0].kind,
        &Supervisor::none(),
        context,
        Announcer::new(),
    )
    .unwrap()
}

const ECHO: &str =
    r#"echo hello >&2; while read -r line; do echo '{"jsonrpc":"2.0","id":1,"result":{}}'; done"#;

fn request(id: u64) -> bytes::Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x"}}"#).into()
}

#[tokio::test]
async fn a_program_answers_and_is_ended_by_its_input() {
    let launcher = launcher(ECHO);
    let (pipe, ender) = launcher.launch().unwrap();
    pipe.call(true, request).await.unwrap().response().await.unwrap();
    ender(Duration::from_secs(5)).await;
    assert!(!pipe.alive());
    assert_eq!(launcher.crashes().failures(), 0, "it was asked to");
}

#[tokio::test]
async fn a_crash_is_told_with_code_and_last_words_and_slows_the_next_start() {
    let launcher = launcher("echo first >&2; echo 'no such key' >&2; exit 3");
    for round in 1..=2 {
        let (pipe, _ender) = launcher.launch().unwrap();
        pipe.closed().await;
        let why = pipe.ended().unwrap();
        assert!(
            why.contains("exited with code 3") && why.contains("no such key"),
            "{why}"
        );
        assert_eq!(launcher.crashes().failures(), round);
    }
    // From the second crash in a row on, the next start has to wait, and says why at once.
    let refused = launcher.launch().err().unwrap();
    assert!(refused.to_string().contains("exited with code 3"), "{refused}");
    assert!(refused.retry_safe);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let yaml = "servers: { s: { command: /no/such/program } }";
    let config: Config = yaml.parse().unwrap();
    let context = Waiting {
        server: "s".into(),
        silence: Duration::from_secs(5),
        limit: 1 << 20,
    };
    let launcher = Launcher::new(
        &config.servers[0].kind,
        &Supervisor::none(),
        context,
        Announcer::new(),
    )
    .unwrap();
    let error = launcher.launch().err().unwrap();
    assert!(
        matches!(&error.cause, Cause::NotStarted(why) if why.contains("/no/such/program")),
        "{error}"
    );
}

#[tokio::test]
async fn long_lines_on_stderr_are_cut() {
    let words = Arc::new(Mutex::new(String::new()));
    let text = [vec![b'x'; 20_000], b"\nlast line\n\n".to_vec()].concat();
    log_stderr(&text[..], "s".into(), Arc::clone(&words)).await;
    assert_eq!(*words.lock().unwrap(), "last line");
}

#[test]
fn a_process_that_lived_is_no_crash_loop() {
    let crashes = Crashes::new();
    let error = CallError {
        server: "s".into(),
        cause: Cause::Ended("x".into()),
        retry_safe: true,
    };
    crashes.note(error.clone(), Duration::ZERO);
    crashes.note(error.clone(), Duration::ZERO);
    assert!(crashes.check().is_err());
    crashes.note(error, SETTLED);
    assert_eq!(crashes.failures(), 1);
    assert!(crashes.check().is_ok());
}
