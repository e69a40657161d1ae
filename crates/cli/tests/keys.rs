//! API keys and principals' tokens, made by one process and used by another.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says where"
)]

mod program;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
    sync::Arc,
    thread,
};

use gatepost_policy::Principal;
use gatepost_store::{KeyRefusal, KeyRing, Slot, Store};
use program::{Done, Folder};
use serde_json::Value;

const CONFIG: &str = "\
data_dir: ./data
identity:
  api_keys: true
  jwt: [{ issuer: https://id.example.com, audience: [gate], jwks_file: ./jwks.json }]
roles:
  analyst: { allow: ['*'] }
  operator: { allow: ['*'], access: destructive }
servers:
  crm: { url: 'http://127.0.0.1:1/mcp', credentials: [{ principal: pat }] }
  plain: { url: 'http://127.0.0.1:1/mcp' }
";

/// The key of RFC 7517, appendix A.1.
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","use":"sig",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

/// Some moment at which a key without an end is good.
const NOW: u64 = 1_785_231_000;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("gatepost.yaml", CONFIG);
    folder.write("jwks.json", JWKS);
    folder
}

/// What a gate in another process would know.
fn ring(folder: &Folder) -> KeyRing {
    KeyRing::load(store(folder).keys).unwrap()
}

fn store(folder: &Folder) -> Store {
    Store::open(&folder.path().join("data"), &[]).unwrap()
}

fn create(folder: &Folder, more: &[&str]) -> Value {
    let mut args = vec!["keys", "create", "--json", "--role", "analyst"];
    args.extend(more);
    let done = folder.run(&args);
    assert_eq!(done.code, 0, "{done:?}");
    serde_json::from_str(&done.stdout).unwrap()
}

fn listed(folder: &Folder) -> Vec<Value> {
    let done = folder.run(&["keys", "list", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let list: Value = serde_json::from_str(&done.stdout).unwrap();
    list["keys"].as_array().unwrap().clone()
}

/// Gives a command its stdin.
fn feed(folder: &Folder, args: &[&str], stdin: &str) -> Done {
    let mut child = folder
        .command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments does not wait for it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let done = child.wait_with_output().unwrap();
    Done {
        code: done.status.code().unwrap_or(-1),
        stdout: String::from_utf8(done.stdout).unwrap(),
        stderr: String::from_utf8(done.stderr).unwrap(),
    }
}

/// Whether a text is anywhere in the data directory. Not to be asked while this process has it open: whoever closes any
/// descriptor of a file gives up all locks that the process has on it.
fn on_disk(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn a_key_is_made_listed_and_revoked_while_another_process_checks_it() {
    let folder = folder();
    let ring = ring(&folder);
    let made = create(
        &folder,
        &[
            "--tenant",
            "acme",
            "--name",
            "nightly",
            "--expires",
            "90d",
            "--role",
            "operator",
        ],
    );
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with(&format!("gp_{id}_")) && key.len() == 65, "{made}");

    assert_eq!(ring.verify(key, NOW), Err(KeyRefusal::Unknown));
    assert!(ring.refresh().unwrap());
    let record = ring.verify(key, NOW).unwrap();
    assert_eq!(record.roles, ["analyst".into(), "operator".into()]);
    assert_eq!(
        (record.tenant.as_deref(), record.name.as_deref()),
        (Some("acme"), Some("nightly"))
    );
    ring.write_usage().unwrap();

    let list = listed(&folder);
    assert_eq!(
        (list.len(), &list[0]["id"], &list[0]["state"]),
        (1, &made["id"], &"good".into())
    );
    assert_eq!(list[0]["last_used"], "2026-07-28T09:30:00Z");
    assert_eq!(
        (&list[0]["tenant"], &list[0]["expires"]),
        (&made["tenant"], &made["expires"])
    );

    let generation = ring.generation();
    let done = folder.run(&["keys", "revoke", id]);
    assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{done:?}");
    assert!(done.stderr.contains("is revoked"), "{done:?}");
    assert!(ring.refresh().unwrap());
    assert_eq!(ring.verify(key, NOW), Err(KeyRefusal::Revoked));
    assert_ne!(ring.generation(), generation);
    assert_eq!(listed(&folder)[0]["state"], "revoked");

    let again = folder.run(&["keys", "revoke", key]);
    assert!(again.code == 0 && again.stderr.contains("already"), "{again:?}");
    let unknown = folder.run(&["keys", "revoke", "nobody"]);
    assert!(
        unknown.code == 1 && unknown.stderr.contains("no API key nobody"),
        "{unknown:?}"
    );
    let mistyped = folder.run(&["keys", "revoke", &key[..60]]);
    assert!(
        mistyped.code == 2 && !mistyped.stderr.contains(&key[16..60]),
        "{mistyped:?}"
    );
}

#[test]
fn a_key_is_printed_once_and_kept_nowhere() {
    let folder = folder();
    let done = folder.run(&["keys", "create", "--role", "analyst", "--name", "canary"]);
    assert_eq!(done.code, 0, "{done:?}");
    let key = done.stdout.strip_suffix('\n').unwrap();
    assert_eq!(key.len(), 65);
    let secret = &key[16..];
    assert!(!done.stderr.contains(&secret[..20]), "{done:?}");
    assert!(
        done.stderr.contains("shown again") && done.stderr.contains("does not expire"),
        "{done:?}"
    );
    for args in [
        &["keys", "list"][..],
        &["keys", "list", "--json"],
        &["keys", "revoke", key],
    ] {
        let done = folder.run(args);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(
            !done.stdout.contains(&secret[..12]) && !done.stderr.contains(&secret[..12]),
            "{done:?}"
        );
    }
    let data = folder.path().join("data");
    assert!(
        on_disk(&data, &key[3..15]),
        "its id is looked for in the right place"
    );
    for part in [secret, &secret[..43], &secret[..16], &secret[20..36]] {
        assert!(!on_disk(&data, part));
    }
}

/// Who reads the key may cut the power at once.
#[test]
fn a_key_that_was_printed_outlives_its_maker() {
    let folder = folder();
    for _ in 0..5 {
        let mut child = folder
            .command(&["keys", "create", "--role", "analyst"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut key = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut key)
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ring(&folder).verify(key.trim_end(), NOW).is_ok(), "{key}");
    }
}

/// A key that nobody could read is no key.
#[test]
fn a_key_that_could_not_be_printed_is_revoked() {
    let folder = folder();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done = folder
        .command(&["keys", "create", "--role", "analyst"])
        .stdout(writer)
        .output()
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("was revoked"), "{said}");
    assert_eq!(listed(&folder)[0]["state"], "revoked");
}

#[test]
fn many_make_keys_at_the_same_moment_in_a_new_folder() {
    let folder = folder();
    let keys: Vec<String> = thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let done = folder.run(&["keys", "create", "--role", "analyst"]);
                    assert_eq!(done.code, 0, "{done:?}");
                    done.stdout.trim_end().to_owned()
                })
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    let ring = ring(&folder);
    for key in &keys {
        assert!(ring.verify(key, NOW).is_ok());
    }
    assert_eq!(listed(&folder).len(), 8);
}

#[test]
fn a_gate_that_runs_takes_a_new_key_and_no_revoked_one() {
    let folder = folder();
    let gate = folder.serve(&[]);
    let made = create(&folder, &[]);
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let answered = || {
        let headers = [
            ("Authorization", bearer.as_str()),
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "tools/list"),
        ];
        let list = program::modern(1, "tools/list", serde_json::json!({}));
        gate.post("/mcp", &headers, &list).status
    };
    program::eventually("the new key is taken", || answered() == 200);
    // Its bearer is remembered for minutes, unless the gate hears of this.
    let done = folder.run(&["keys", "revoke", made["id"].as_str().unwrap()]);
    assert_eq!(done.code, 0, "{done:?}");
    program::eventually("the revoked key is refused", || answered() == 401);
}

#[test]
fn what_cannot_be_made_says_why() {
    let folder = folder();
    for (args, said) in [
        (&["--role", "analist"][..], "did you mean `analyst`?"),
        (&["--role", "zzz"], "analyst, operator"),
        (&["--role", "analyst", "--expires", "2020-01-01"], "is over"),
        (&["--role", "analyst", "--expires", "soon"], "90d"),
        (&["--role", "analyst", "--tenant", " "], "empty"),
        (&[], "--role"),
    ] {
        let done = folder.run(&[&["keys", "create"], args].concat());
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{done:?}");
        assert!(done.stderr.contains(said), "{done:?}");
    }
    // Neither that nor looking makes anything.
    let done = folder.run(&["keys", "list"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "none\n"), "{done:?}");
    assert_eq!(folder.entries(), ["gatepost.yaml", "jwks.json"]);

    folder.write("off.yaml", &CONFIG.replace("api_keys: true", "api_keys: false"));
    let done = folder.run(&["keys", "create", "--role", "analyst", "-c", "off.yaml"]);
    assert!(
        done.code == 0 && done.stderr.contains("takes no API keys"),
        "{done:?}"
    );
}

#[test]
fn a_token_is_kept_listed_and_removed() {
    let folder = folder();
    let set = ["credentials", "set", "--server", "crm", "--principal", "ann"];
    let done = feed(&folder, &set, "ghp_canary-4f1b\r\n");
    assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{done:?}");
    assert!(
        done.stderr.contains("is kept") && !done.stderr.contains("warning"),
        "{done:?}"
    );
    assert!(!done.stderr.contains("canary-4f1b"), "{done:?}");

    let ann = Principal::new("https://id.example.com", "ann");
    let slot = Slot {
        server: "crm",
        principal: &ann,
        name: Slot::DEFAULT_NAME,
    };
    let data = folder.path().join("data");
    assert!(on_disk(&data, "ann") && !on_disk(&data, "canary-4f1b"));
    let other_process = store(&folder).credentials;
    assert_eq!(
        other_process.get(slot).unwrap().unwrap().expose(),
        "ghp_canary-4f1b"
    );
    let done = feed(&folder, &set, "second");
    assert!(done.stderr.contains("is replaced"), "{done:?}");
    assert_eq!(other_process.get(slot).unwrap().unwrap().expose(), "second");

    let done = feed(
        &folder,
        &["credentials", "set", "--server", "plain", "--principal", "ann"],
        "third",
    );
    assert!(
        done.code == 0 && done.stderr.contains("does not present it"),
        "{done:?}"
    );

    let list = folder.run(&["credentials", "list", "--json"]);
    assert!(!list.stdout.contains("second"), "{list:?}");
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(list["credentials"].as_array().unwrap().len(), 2);
    assert_eq!(list["credentials"][0]["issuer"], "https://id.example.com");

    let remove = ["credentials", "remove", "--server", "crm", "--principal", "ann"];
    assert_eq!(folder.run(&remove).code, 0);
    assert!(other_process.get(slot).unwrap().is_none());
    let done = folder.run(&remove);
    assert!(
        done.code == 1 && done.stderr.contains("no such token"),
        "{done:?}"
    );
}

#[test]
fn a_token_that_is_none_is_not_kept() {
    let folder = folder();
    for (server, stdin, said) in [
        ("crm", "", "it is empty"),
        ("crm", "Bearer abc", "without `Bearer`"),
        ("crm", "a\nb", "line break"),
        ("plan", "abc", "did you mean `plain`?"),
    ] {
        let args = ["credentials", "set", "--server", server, "--principal", "ann"];
        let done = feed(&folder, &args, stdin);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.contains(said), "{done:?}");
    }
    // Not as an argument, where `ps` and the shell's history show it.
    let done = folder.run(&[
        "credentials",
        "set",
        "--server",
        "crm",
        "--principal",
        "ann",
        "ghp_x",
    ]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(store(&folder).credentials.list().unwrap().is_empty());
}

#[test]
fn a_token_for_whoever_has_a_key() {
    let folder = folder();
    let made = create(&folder, &["--tenant", "acme"]);
    let who = format!("key:{}", made["id"].as_str().unwrap());
    let place = ["--server", "crm", "--principal", &who];
    let done = feed(&folder, &[&["credentials", "set"], &place[..]].concat(), "tok");
    assert_eq!(done.code, 0, "{done:?}");
    let ring = ring(&folder);
    let record = ring.verify(made["key"].as_str().unwrap(), NOW).unwrap();
    let slot = Slot {
        server: "crm",
        principal: &record.principal(),
        name: Slot::DEFAULT_NAME,
    };
    assert_eq!(
        store(&folder).credentials.get(slot).unwrap().unwrap().expose(),
        "tok"
    );
    // What is no longer good can be cleared away.
    folder.run(&["keys", "revoke", &record.id]);
    let done = folder.run(&[&["credentials", "remove"], &place[..]].concat());
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
#[cfg(unix)]
fn nobody_else_may_read_what_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    create(&folder, &[]);
    feed(
        &folder,
        &["credentials", "set", "--server", "crm", "--principal", "ann"],
        "tok",
    );
    let data = folder.path().join("data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
}

/// The keeper of a gate that runs sees a revocation without being asked.
#[test]
fn a_keeper_notices_what_another_process_revoked() {
    let folder = folder();
    let made = create(&folder, &[]);
    let key = made["key"].as_str().unwrap();
    let ring = Arc::new(ring(&folder));
    let keeper = ring.keep().unwrap();
    assert!(ring.verify(key, NOW).is_ok());
    assert_eq!(
        folder.run(&["keys", "revoke", made["id"].as_str().unwrap()]).code,
        0
    );
    program::eventually("the key is refused", || {
        ring.verify(key, NOW) == Err(KeyRefusal::Revoked)
    });
    keeper.close();
    assert_eq!(listed(&folder)[0]["last_used"], "2026-07-28T09:30:00Z");
}

#[test]
fn keys_that_come_and_go_while_a_gate_runs_are_on_record() {
    let folder = folder();
    folder.write("gatepost.yaml", &format!("{CONFIG}audit: {{}}\n"));
    let gate = folder.serve(&[]);
    let id = create(&folder, &["--tenant", "acme"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let recorded = |kind: &str| {
        let since = std::time::Instant::now();
        loop {
            let done = folder.run(&["audit", "export"]);
            let found = done
                .stdout
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|record| record["kind"] == kind);
            match found {
                Some(record) => return record,
                None => assert!(since.elapsed() < program::PATIENCE, "{kind}: {done:?}"),
            }
        }
    };
    let created = recorded("key_created");
    assert_eq!(created["key"], id, "{created}");
    assert_eq!(created["roles"], serde_json::json!(["analyst"]), "{created}");
    assert_eq!(created["tenant"], "acme", "{created}");
    let done = folder.run(&["keys", "revoke", &id]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(recorded("key_revoked")["key"], id);
    drop(gate);
}
