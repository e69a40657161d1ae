//! The audit log of a real gate, read and checked by the commands that people have.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says where"
)]

mod program;

use std::{fs, path::Path};

use gatepost_testkit::gate::Gate;
use program::{Done, Folder};
use serde_json::Value;

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");
/// The 32 bytes that are all 1, and the public key that belongs to them.
const SIGNING_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const PUBLIC_KEY: &str = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=";

/// A log with two calls that end well, one that does not, and one that is not allowed; its gate has ended.
async fn a_log() -> (tempfile::TempDir, String) {
    let yaml = format!(
        r#"
access: read
servers:
  calc: {{ module: calculator, effects: {{ "*": read }} }}
  guarded: {{ module: calculator, effects: {{ "*": write }} }}
audit: {{ signing_key: "{SIGNING_KEY}" }}
"#
    );
    let gate = Gate::start(GATEPOST, &yaml).await;
    let client = gate.modern("/mcp");
    for expression in ["1 + 1", "2 * 3", "1 / 0"] {
        let arguments = format!("{{\"expression\":\"{expression}\"}}");
        client.call("calc__calculate", &arguments).await;
    }
    client
        .call("guarded__calculate", r#"{"password":"hunter2"}"#)
        .await;
    let (status, folder) = gate.terminate().await;
    assert!(status.success(), "{status}");
    let audit = folder.path().join("state/audit").display().to_string();
    (folder, audit)
}

fn run(arguments: &[&str]) -> Done {
    Folder::new().run(arguments)
}

fn segment(audit: &str) -> std::path::PathBuf {
    Path::new(audit).join("00000000000000000001.jsonl")
}

#[tokio::test]
async fn a_log_can_be_asked_and_proven() {
    let (_folder, audit) = a_log().await;

    let done = run(&["audit", "verify", "--dir", &audit, "--public-key", PUBLIC_KEY]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.starts_with("fine: records 1 to "), "{done:?}");
    assert!(
        done.stdout
            .contains("cut off the end together with the file `head`"),
        "{done:?}"
    );

    let done = run(&["audit", "verify", "--dir", &audit, "--json"]);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let last = format!(
        "{}:{}",
        report["last"]["seq"],
        report["last"]["hash"].as_str().unwrap()
    );
    let done = run(&[
        "audit",
        "verify",
        "--dir",
        &audit,
        "--public-key",
        PUBLIC_KEY,
        "--expect-checkpoint",
        &last,
    ]);
    assert!(done.code == 0 && !done.stdout.contains("unproven"), "{done:?}");

    let done = run(&["audit", "query", "--dir", &audit]);
    let lines: Vec<&str> = done.stdout.lines().collect();
    let calls: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("calc__calculate"))
        .collect();
    assert_eq!(calls.len(), 3, "{done:?}");
    assert!(calls[0].contains("local") && calls[0].contains("ok"), "{done:?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("guarded__calculate") && line.contains("denied")),
        "{done:?}"
    );

    for (filter, value, count) in [
        ("--outcome", "ok", 2),
        ("--outcome", "tool_error", 1),
        ("--decision", "deny", 1),
        ("--tool", "*__calculate", 4),
        ("--tool", "other__*", 0),
        ("--principal", "nobody", 0),
        ("--server", "calc", 3),
        ("--tool", "calc__*", 3),
        ("--tool", "calc__*", 3),
        ("--since", "1h", 4),
        ("--until", "2020-01-01", 0),
        ("--limit", "1", 1),
    ] {
        let done = run(&["audit", "query", "--dir", &audit, "--json", filter, value]);
        let found: Vec<Value> = done
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(found.len(), count, "{filter} {value}: {done:?}");
    }

    let written = fs::read_to_string(segment(&audit)).unwrap();
    assert!(!written.contains("hunter2"), "{written}");
    assert_eq!(run(&["audit", "export", "--dir", &audit]).stdout, written);
    let done = run(&[
        "audit",
        "export",
        "--dir",
        &audit,
        "--outcome",
        "ok",
        "--tool",
        "calc__*",
    ]);
    assert!(
        done.stdout
            .lines()
            .all(|line| line.contains("calc__") || line.contains("\"outcome\"")),
        "{done:?}"
    );
    let done = run(&["audit", "tail", "--dir", &audit, "-n", "2", "--json"]);
    let tail: Vec<&str> = written.lines().rev().take(2).collect();
    assert_eq!(done.stdout.lines().rev().collect::<Vec<_>>(), tail);
    let done = run(&["audit", "tail", "--dir", &audit]);
    assert!(done.code == 0 && done.stdout.contains("stopped"), "{done:?}");
}

#[tokio::test]
async fn what_was_done_to_a_log_is_named() {
    let (_folder, audit) = a_log().await;
    let written = fs::read_to_string(segment(&audit)).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    let at = lines.iter().position(|line| line.contains("\"intent\"")).unwrap();
    let seq = at + 1;
    let put = |lines: &[&str]| fs::write(segment(&audit), format!("{}\n", lines.join("\n"))).unwrap();

    let changed = written.replacen("calc__calculate", "calc__calculatf", 1);
    fs::write(segment(&audit), changed).unwrap();
    let done = run(&["audit", "verify", "--dir", &audit]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stdout.starts_with(&format!("record {seq} was changed"))
            && done
                .stdout
                .contains(&format!("intact     records up to {}\n", seq - 1)),
        "{done:?}"
    );

    put(&[&lines[..at], &lines[at + 1..]].concat());
    let done = run(&["audit", "verify", "--dir", &audit]);
    assert!(
        done.stdout.starts_with(&format!("record {seq} was removed")),
        "{done:?}"
    );

    put(&lines[..lines.len() - 1]);
    let done = run(&["audit", "verify", "--dir", &audit]);
    assert!(
        done.stdout
            .starts_with(&format!("record {} was cut off the end", lines.len())),
        "{done:?}"
    );

    // Without `head` only a record kept elsewhere shows it.
    fs::remove_file(Path::new(&audit).join("head")).unwrap();
    let done = run(&["audit", "verify", "--dir", &audit]);
    assert!(
        done.code == 0 && done.stdout.contains("that nothing was cut off the end"),
        "{done:?}"
    );
    let kept = Path::new(&audit).join("kept.json");
    fs::write(&kept, lines[lines.len() - 1]).unwrap();
    let kept = kept.display().to_string();
    let done = run(&["audit", "verify", "--dir", &audit, "--expect-checkpoint", &kept]);
    assert!(
        done.code == 1 && done.stdout.contains("was cut off the end"),
        "{done:?}"
    );
}

#[test]
fn a_log_that_is_not_there_and_words_that_make_no_sense() {
    let done = run(&["audit", "verify", "--dir", "none"]);
    assert!(
        done.code == 1 && done.stderr.contains("there is no audit log in none"),
        "{done:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display().to_string();
    for arguments in [
        ["--since", "yesterday"].as_slice(),
        &["--tool", ""],
        &["--outcome", "fine"],
    ] {
        let done = run(&[&["audit", "query", "--dir", &folder], arguments].concat());
        assert_eq!(done.code, 2, "{done:?}");
    }
    for arguments in [["--public-key", "hello"], ["--expect-checkpoint", "7:abc"]] {
        let done = run(&[&["audit", "verify", "--dir", &folder][..], &arguments].concat());
        assert_eq!(done.code, 2, "{done:?}");
    }
    let done = run(&["audit", "verify", "--dir", &folder, "--public-key", "no/such.pub"]);
    assert!(done.stderr.contains("there is no such file"), "{done:?}");
    // Who removed the whole log would like to hear that all is well.
    for arguments in [[].as_slice(), &["--json"]] {
        let done = run(&[&["audit", "verify", "--dir", &folder], arguments].concat());
        assert!(
            done.code == 1 && done.stderr.contains("there is no record in") && done.stdout.is_empty(),
            "{done:?}"
        );
    }
}
