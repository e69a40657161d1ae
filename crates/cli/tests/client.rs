//! `list`, `call`, `read` and `prompt`, against servers of both eras behind a URL, a program, and the configured gate.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says where"
)]

mod program;

use std::{fs, io::Write, process::Stdio};

use gatepost_testkit::conformance::{Era, Fixture, Transport};
use gatepost_testkit::gate::Nobody;
use program::{Done, Folder};
use serde_json::Value;

/// A server of each kind that is reached by URL.
async fn each(check: impl Fn(&Folder, &dyn Fn(&[&str]) -> Done)) {
    for (era, transport) in [
        (Era::Modern, Transport::Http),
        (Era::Legacy, Transport::Http),
        (Era::Legacy, Transport::Sse),
    ] {
        let server = Fixture::start(era, transport).await.unwrap();
        let folder = Folder::new();
        check(&folder, &|args| {
            let mut all = args.to_vec();
            all.extend(["--url", &server.url]);
            folder.run(&all)
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists() {
    each(|_, run| {
        let done = run(&["list"]);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(
            done.stdout
                .lines()
                .any(|line| line.starts_with("test_simple_text ")),
            "{done:?}"
        );
        let done = run(&["list", "all"]);
        assert!(
            done.stdout.contains("tools\n") && done.stdout.contains("\nprompts\n"),
            "{done:?}"
        );
        let done = run(&["list", "all", "--json"]);
        let lists: Value = serde_json::from_str(&done.stdout).unwrap();
        for list in ["tools", "resources", "resourceTemplates", "prompts"] {
            assert!(!lists[list].as_array().unwrap().is_empty(), "{list}: {lists}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls() {
    each(|folder, run| {
        let done = run(&["call", "test_simple_text"]);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (0, "This is a simple text response for testing.\n"),
            "{done:?}"
        );

        let done = run(&["call", "test_simple_text", "--json"]);
        let result: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(result["content"][0]["type"], "text");

        let done = run(&["call", "test_error_handling"]);
        assert_eq!((done.code, done.stdout.as_str()), (5, ""), "{done:?}");
        assert!(
            done.stderr.contains("This tool intentionally returns an error"),
            "{done:?}"
        );

        let done = run(&["call", "test_image_content"]);
        assert!(done.stdout.starts_with("[image image/png, "), "{done:?}");
        let done = run(&["call", "test_image_content", "-o", "picture.png"]);
        assert!(done.code == 0 && done.stdout.is_empty(), "{done:?}");
        let picture = fs::read(folder.path().join("picture.png")).unwrap();
        assert!(picture.starts_with(b"\x89PNG"), "{picture:?}");

        let done = run(&["call", "no_such_tool"]);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(
            done.stderr.contains("no_such_tool") && done.stderr.contains("gatepost list tools --url"),
            "{done:?}"
        );
        assert!(!done.stderr.contains("did you mean"), "{done:?}");
        let done = run(&["call", "test_simple_txt", "--json"]);
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
        assert!(
            done.stderr.contains("did you mean `test_simple_text`?")
                && done.stderr.contains("gatepost list tools --url"),
            "{done:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_meanwhile_is_shown() {
    each(|_, run| {
        let done = run(&["call", "test_tool_with_progress"]);
        assert!(
            done.code == 0 && done.stderr.contains("progress 50/100"),
            "{done:?}"
        );
        let done = run(&["call", "test_tool_with_logging"]);
        assert!(done.code == 0 && done.stderr.contains("info"), "{done:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_prompts() {
    each(|_, run| {
        let done = run(&["read", "test://static-text"]);
        assert!(
            done.code == 0 && done.stdout.contains("static text resource"),
            "{done:?}"
        );
        let done = run(&[
            "prompt",
            "test_prompt_with_arguments",
            "--arg",
            "arg1=one",
            "--arg",
            "arg2=2",
        ]);
        assert!(
            done.code == 0 && done.stdout.starts_with("user:\n") && done.stdout.contains("one"),
            "{done:?}"
        );
    })
    .await;
}

#[test]
fn a_program_is_driven_in_either_era() {
    let (folder, inner) = (Folder::new(), Folder::new());
    let gatepost = env!("CARGO_BIN_EXE_gatepost");
    let calculator = inner.path().join("inner.yaml");
    inner.write(
        "inner.yaml",
        "data_dir: ./state\nservers: { calculator: { module: calculator } }\n",
    );
    let calculator = calculator.to_str().unwrap();
    for era in ["auto", "modern", "legacy"] {
        let expression = "--arg=expression=1/3+1/6";
        let server = ["--era", era, "--", gatepost, "stdio", "-c", calculator];
        let done = folder.run(
            &[
                &["call", "calculator__calculate", expression, "--json"][..],
                &server[..],
            ]
            .concat(),
        );
        assert_eq!(done.code, 0, "{done:?}");
        let result: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(result["structuredContent"]["result"], "0.5", "{era}: {result}");
    }
    // It was started for us, in our folder, and left nothing there.
    assert!(folder.entries().is_empty());
}

#[test]
fn the_configured_gate_is_driven() {
    let folder = Folder::new();
    folder.write("hello.txt", "hello\n");
    let done = folder.run(&["list"]);
    assert!(
        done.stdout.contains("calculator__calculate expression"),
        "{done:?}"
    );
    let done = folder.run(&[
        "call",
        "calculate",
        "--view",
        "calculator",
        "--args",
        r#"{"expression":"6*7"}"#,
    ]);
    assert!(done.code == 0 && done.stdout.contains("42"), "{done:?}");
    let done = folder.run(&["call", "files__read_file", "--arg", "path=hello.txt"]);
    assert!(done.code == 0 && done.stdout.contains("hello"), "{done:?}");
    // While a gate serves the same folder, too.
    let _gate = folder.serve(&[]);
    let done = folder.run(&["call", "calculator__calculate", "--arg", "expression=1+1"]);
    assert!(done.code == 0 && done.stdout.contains('2'), "{done:?}");
}

#[test]
fn what_cannot_be_reached_has_a_code_of_its_own() {
    let folder = Folder::new();
    let nobody = Nobody::anywhere();
    let port = nobody.address().port();
    let done = folder.run(&["list", "--url", &format!("http://127.0.0.1:{port}/mcp")]);
    assert_eq!((done.code, done.stdout.as_str()), (4, ""), "{done:?}");
    assert!(
        done.stderr.contains(&port.to_string()) && done.stderr.contains("help:"),
        "{done:?}"
    );
    let done = folder.run(&["call", "x", "--", "/no/such/program"]);
    assert_eq!(done.code, 4, "{done:?}");
    assert!(
        done.stderr.contains("/no/such/program") || done.stderr.contains("program"),
        "{done:?}"
    );
    let done = folder.run(&[
        "list",
        "--timeout",
        "30s",
        "--",
        "sh",
        "-c",
        "echo oops >&2; exit 3",
    ]);
    assert_eq!(done.code, 4, "{done:?}");
    assert!(
        done.stderr.contains("oops") || done.stderr.contains("ended"),
        "{done:?}"
    );
}

#[test]
fn wrong_arguments_are_said_before_anything_is_called() {
    let folder = Folder::new();
    let done = folder.run(&["call", "calculator__calculate", "--args", "{"]);
    assert_eq!(done.code, 2, "{done:?}");
    let done = folder.run(&["call", "calculator__calculate", "--arg", "expression"]);
    assert_eq!(done.code, 2, "{done:?}");
}

#[test]
fn a_gate_with_views_only_wants_one_named() {
    let folder = Folder::new();
    folder.write(
        "gatepost.yaml",
        "data_dir: ./state\nendpoints: { all: false, servers: false }\nservers: { calculator: { module: calculator } }\n\
         views: { sums: { include: ['calculator__*'] } }\n",
    );
    let done = folder.run(&["list"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(
        done.stderr.contains("`endpoints.all` switches it off") && done.stderr.contains("--view"),
        "{done:?}"
    );
    assert_eq!(folder.run(&["list", "--view", "sums"]).code, 0);
}

/// An empty list would say that it has no tools.
#[test]
fn a_server_that_says_nothing_is_no_server_without_tools() {
    let folder = Folder::new();
    let done = folder.run(&["list", "--timeout", "1s", "--", "sleep", "600"]);
    assert_eq!((done.code, done.stdout.as_str()), (4, ""), "{done:?}");
    assert!(done.stderr.contains("it said nothing for 1 s"), "{done:?}");
}

/// What a gate answers says what is wrong with the credential, and what is wrong with two gates is their log.
#[test]
fn a_gate_that_asks_who_one_is_and_has_a_log_says_what_to_do() {
    let folder = Folder::new();
    folder.write(
        "gatepost.yaml",
        "data_dir: ./state\nidentity: { api_keys: true }\nroles: { all: { allow: ['*'] } }\naudit: {}\n\
         servers: { calculator: { module: calculator } }\n",
    );
    let gate = folder.serve(&[]);
    let url = format!("{}/mcp", gate.url);
    let done = folder.run(&["list", "--url", &url]);
    assert_eq!(done.code, 4, "{done:?}");
    assert!(
        done.stderr.contains("HTTP 401: no credential was presented") && done.stderr.contains("--header"),
        "{done:?}"
    );
    let done = folder.run(&["list", "--url", &url, "--header", "X-API-Key: gp_nonsense"]);
    assert!(
        done.stderr.contains("the API key is not accepted here"),
        "{done:?}"
    );

    let done = folder.run(&["list"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains(&format!("`--url {url}`")), "{done:?}");
}

#[test]
fn arguments_come_from_stdin_in_both_spellings() {
    let folder = Folder::new();
    for dash in ["-", "@-"] {
        let mut child = folder
            .command(&["call", "calculator__calculate", "--args", dash])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(br#"{"expression":"3*4"}"#).unwrap();
        drop(stdin);
        let done = child.wait_with_output().unwrap();
        assert!(
            done.status.success() && String::from_utf8_lossy(&done.stdout).contains("12"),
            "{done:?}"
        );
    }
}
