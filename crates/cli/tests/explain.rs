//! `gatepost explain`: what a terminal shows, and that a gate which runs answers the same.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says where"
)]

mod program;

use std::{fs, path::Path};

use program::{Done, Folder};
use serde_json::{Value, json};

const CONFIG: &str = r#"
data_dir: ./data
identity:
  api_keys: true
  jwt:
    - issuer: https://id.example.com
      audience: [gate]
      jwks_file: ./jwks.json
      tenant: { claim: org, allow: [acme, globex] }
roles:
  reader: { allow: ["notes__*"] }
  writer: { allow: ["notes__*"], access: write, scopes: ["notes:write"], when: 'args.title != "secret"' }
  counter: { allow: ["calculator__*", "notes__*"], deny: ["*__delete_*"], access: destructive }
bindings:
  - { role: reader, groups: [staff] }
  - { role: writer, users: [ann], tenant: acme }
  - { role: counter, tenant: globex }
limits:
  - { per: principal, rate: 100/min }
  - { per: tool, match: "notes__*", rate: 5/s }
views:
  desk: { include: ["notes__*"], roles: [writer], rename: { notes__add_note: jot } }
servers:
  notes: { module: notes }
  calculator: { module: calculator }
"#;

/// The key of RFC 7517, appendix A.1.
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","use":"sig",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("gatepost.yaml", CONFIG);
    folder.write("jwks.json", JWKS);
    folder
}

fn explain(folder: &Folder, args: &str) -> Done {
    let args: Vec<&str> = ["explain"].into_iter().chain(args.split(' ')).collect();
    folder.run(&args)
}

fn as_json(folder: &Folder, args: &str) -> Value {
    let done = explain(folder, &format!("{args} --json"));
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

/// Run with `UPDATE_GOLDEN=1` to accept changes.
#[track_caller]
fn golden(name: &str, folder: &Folder, args: &str, code: i32) {
    let done = explain(folder, args);
    assert_eq!((done.code, &*done.stderr), (code, ""), "{done:?}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("explain-{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &done.stdout).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(done.stdout, expected, "{} differs", file.display());
}

#[test]
fn a_terminal_shows_the_rule_that_decided() {
    let folder = folder();
    let writes = "--as ann --tenant acme --scope notes:write --call notes__add_note --args";
    golden("allowed", &folder, &format!(r#"{writes} {{"title":"x"}}"#), 0);
    golden("denied", &folder, &format!(r#"{writes} {{"title":"secret"}}"#), 6);
    let done = explain(
        &folder,
        "--as ann --tenant acme --scope notes:write --call notes__add_note",
    );
    assert!(
        done.code == 6
            && done
                .stdout
                .contains("args      none were given: `--args` says with which"),
        "{done:?}"
    );
    let lacks = r#"--as ann --tenant acme --group staff --view desk --call jot --args {"title":"x"}"#;
    golden("scopes", &folder, lacks, 6);
    golden(
        "hidden",
        &folder,
        "--as bob --tenant globex --call notes__delete_note",
        6,
    );
    golden(
        "view",
        &folder,
        "--as bob --tenant acme --view desk --call jot",
        6,
    );
    golden("unknown", &folder, "--as bob --tenant globex --call add_not", 6);
    golden(
        "nowhere",
        &folder,
        "--as bob --tenant globex --view dask --call x",
        6,
    );
    golden("local", &folder, "--as local --call calculator__calculate", 0);
    assert!(!folder.path().join("data").exists(), "it leaves nothing behind");
}

#[test]
fn json_says_the_same() {
    let folder = folder();
    let told = as_json(
        &folder,
        "--as bob --tenant globex --call notes__delete_note --at 2027-01-01",
    );
    assert_eq!(told["verdict"], "hidden");
    assert_eq!((&told["allowed"], &told["shown"]), (&json!(false), &json!(false)));
    assert_eq!(told["at"], "2027-01-01T00:00:00.000000Z");
    assert_eq!(told["caller"]["roles"], json!(["counter"]));
    let found = &told["found"][0];
    assert_eq!(
        (&found["server"], &found["name"]),
        (&json!("notes"), &json!("delete_note"))
    );
    assert_eq!(found["effect"], "destructive");
    let last = found["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["place"], &last["mark"]),
        (&json!("roles.counter.deny"), &json!("denies"))
    );

    let told = as_json(
        &folder,
        "--as ann --tenant acme --call notes__add_note --args {\"title\":1}",
    );
    assert_eq!(told["verdict"], "needs_scopes");
    assert_eq!(told["found"][0]["scopes"], json!(["notes:write"]));
    assert_eq!(
        told["limits"],
        json!(["100/min per principal", "5/s per tool on `notes__*`"])
    );
}

#[test]
fn a_key_is_who_it_was_made_for() {
    let folder = folder();
    let made = folder.run(&["keys", "create", "--json", "--role", "reader", "--tenant", "acme"]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let id = made["id"].as_str().unwrap();
    let told = as_json(&folder, &format!("--as key:{id} --call notes__list_notes"));
    assert_eq!(told["verdict"], "allowed");
    assert_eq!(told["caller"]["method"], "api_key");
    assert_eq!(told["caller"]["tenant"], "acme");
    assert_eq!(told["found"][0]["role"], "reader");

    assert_eq!(folder.run(&["keys", "revoke", id]).code, 0);
    let done = explain(&folder, &format!("--as key:{id} --call notes__list_notes"));
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("no longer good: it was revoked"), "{done:?}");
    let done = explain(&folder, "--as key:nobody --call notes__list_notes");
    assert!(done.stderr.contains("there is no API key nobody"), "{done:?}");
}

#[test]
fn a_gate_that_runs_answers_the_same() {
    let folder = folder();
    let made = folder.run(&[
        "keys", "create", "--json", "--role", "reader", "--tenant", "globex",
    ]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let serving = folder.serve(&[]);
    let headers = |name: &'static str| {
        [
            ("MCP-Protocol-Version", "2026-07-28".to_owned()),
            ("Mcp-Method", "tools/call".to_owned()),
            ("Mcp-Name", name.to_owned()),
            ("X-API-Key", key.to_owned()),
        ]
    };
    let call = |path: &str, name: &'static str, arguments: Value| {
        let headers = headers(name);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let params = json!({ "name": name, "arguments": arguments });
        serving.post(path, &headers, &program::modern(1, "tools/call", params))
    };
    for (path, name) in [
        ("/mcp", "notes__list_notes"),
        ("/mcp", "notes__delete_note"),
        ("/mcp", "nothing"),
        ("/mcp", "calculator__calculate"),
        ("/mcp/calculator", "calculate"),
        ("/mcp/desk", "jot"),
        ("/mcp/nowhere", "x"),
    ] {
        let view = path.strip_prefix("/mcp/").map(|name| format!(" --view {name}"));
        let args = format!("--as key:{id} --call {name}{}", view.unwrap_or_default());
        let told = as_json(&folder, &args);
        let answer = call(path, name, json!({}));
        let answered = match answer.status {
            404 => "none",
            200 if answer.message()["error"]["code"] == -32602 => "unknown",
            200 => "called",
            status => panic!("{status}: {answer:?}"),
        };
        let expected = match told["verdict"].as_str().unwrap() {
            "endpoint_hidden" | "no_endpoint" => "none",
            "hidden" | "unknown" => "unknown",
            "allowed" => "called",
            other => panic!("{other}: {told}"),
        };
        assert_eq!(answered, expected, "{path} {name}: {told}");
    }
    drop(serving);
}

#[test]
fn servers_that_cannot_be_reached_are_named() {
    let folder = Folder::new();
    let config = "data_dir: ./data\nservers:\n  far: { url: \"http://127.0.0.1:1/mcp\" }\n  near: { module: calculator }\n";
    folder.write("gatepost.yaml", config);
    let done = explain(&folder, "--call far__x");
    assert_eq!(done.code, 6);
    assert!(
        done.stdout
            .starts_with("unknown: no server behind /mcp whose lists are known has"),
        "{done:?}"
    );
    assert!(
        done.stderr.contains("what the server far has is not known: "),
        "{done:?}"
    );
    let done = explain(&folder, "--call near__calculate");
    assert_eq!((done.code, &*done.stderr), (0, ""), "{done:?}");
    let done = explain(&folder, "--as ann --call near__calculate");
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("no `identity`"), "{done:?}");
}

#[test]
fn what_makes_no_sense_is_said() {
    let folder = folder();
    for (args, code, said) in [
        ("--call x", 2, "`--as SUBJECT`"),
        ("--as ann --call x", 2, "--tenant: acme, globex"),
        (
            "--as ann --tenant other --call x",
            2,
            "there is no tenant `other`",
        ),
        (
            "--as ann --tenant acme --issuer https://x --call x",
            2,
            "there is no issuer",
        ),
        ("--as local --group staff --call x", 2, "`local` has no tenant"),
        ("--as local", 2, "--call"),
        ("--as local --call x --read y", 2, "cannot be used with"),
        ("--as local --call x --args [1]", 2, "no JSON object"),
        ("--as local --call x --at noon", 2, "2027-01-01T09:30:00Z"),
    ] {
        let done = explain(&folder, args);
        assert_eq!(done.code, code, "{args}: {done:?}");
        assert!(done.stderr.contains(said), "{args}: {done:?}");
    }
}
