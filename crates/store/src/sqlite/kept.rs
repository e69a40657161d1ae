//! What only a database in a file has to stand: another process, a restart, a thief.

use std::{fs, sync::Barrier, thread};

use gatepost_config::Secret;
use gatepost_policy::Principal;
use rusqlite::Connection;
use zeroize::Zeroizing;

use crate::{Added, FILE, KeySettings, Slot, Store, StoreError, Token, Used, create_key};

fn token(text: &str) -> Token {
    Token::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn slot<'a>(server: &'a str, principal: &'a Principal) -> Slot<'a> {
    Slot {
        server,
        principal,
        name: Slot::DEFAULT_NAME,
    }
}

/// Everything in the folder, as bytes.
fn contents(folder: &std::path::Path) -> Vec<u8> {
    let files = fs::read_dir(folder).unwrap();
    files
        .flat_map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

#[test]
fn everything_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ann = Principal::new("https://id", "ann");
    let store = Store::open(folder.path(), &[]).unwrap();
    let (key, _) = create_key(&*store.keys, KeySettings::default(), 1).unwrap();
    store
        .credentials
        .set(slot("crm", &ann), &token("kept"), 1)
        .unwrap();
    let one = Added {
        quota: "q".into(),
        key: b"a".to_vec(),
        day: 1,
        used: Used { calls: 3, bytes: 4 },
    };
    store.counters.add(std::slice::from_ref(&one)).unwrap();
    drop(store);
    let store = Store::open(folder.path(), &[]).unwrap();
    assert!(store.keys.find(key.presented().id()).unwrap().is_some());
    assert_eq!(
        store
            .credentials
            .get(slot("crm", &ann))
            .unwrap()
            .unwrap()
            .expose(),
        "kept"
    );
    assert_eq!(store.counters.read("q", b"a", 1).unwrap(), one.used);
}

#[test]
fn neither_keys_nor_tokens_are_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let ann = Principal::new("https://id", "ann-is-found");
    let store = Store::open(folder.path(), &[]).unwrap();
    let (key, _) = create_key(&*store.keys, KeySettings::default(), 1).unwrap();
    store
        .credentials
        .set(slot("crm", &ann), &token("canary-7d1e5c"), 1)
        .unwrap();
    for closed in [false, true] {
        let all = contents(folder.path());
        assert!(holds(&all, "ann-is-found") && holds(&all, key.presented().id()));
        let text = key.expose();
        for secret in [
            text,
            &text[16..59],
            &text[16..40],
            &text[40..59],
            "canary-7d1e5c",
            "7d1e5c",
        ] {
            assert!(!holds(&all, secret), "closed: {closed}");
        }
        if !closed {
            // What was in the journal is in the database then.
            Connection::open(folder.path().join(FILE))
                .unwrap()
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .unwrap();
        }
    }
}

#[test]
fn a_row_that_somebody_moved_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let (ann, mallory) = (
        Principal::new("https://id", "ann"),
        Principal::new("https://id", "mallory"),
    );
    let store = Store::open(folder.path(), &[]).unwrap();
    store
        .credentials
        .set(slot("crm", &ann), &token("anns"), 1)
        .unwrap();
    store
        .credentials
        .set(slot("crm", &mallory), &token("own"), 1)
        .unwrap();
    let meddler = Connection::open(folder.path().join(FILE)).unwrap();
    let meddle = |sql: &str| meddler.execute(sql, []).unwrap();
    for sql in [
        "UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE subject = 'ann') WHERE subject = 'mallory'",
        "DELETE FROM credentials WHERE subject = 'mallory'",
        "UPDATE credentials SET subject = 'mallory'",
    ] {
        meddle(sql);
    }
    let error = store.credentials.get(slot("crm", &mallory)).unwrap_err();
    assert!(matches!(error, StoreError::Sealed { .. }), "{error}");
    assert!(error.to_string().contains("mallory of https://id"), "{error}");
    assert!(!store.credentials.list().unwrap()[0].opens);
    meddle("UPDATE credentials SET subject = 'ann', tenant = 'acme'");
    let elsewhere = ann.clone().with_tenant("acme");
    assert!(store.credentials.get(slot("crm", &elsewhere)).is_err());
    meddle("UPDATE credentials SET tenant = NULL");
    assert!(store.credentials.get(slot("crm", &ann)).unwrap().is_some());
}

#[test]
fn configured_keys_seal_instead_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let ann = Principal::new("https://id", "ann");
    let key = |text: &str| Secret::new(text.to_owned());
    let open = |keys: &[Secret]| Store::open(folder.path(), keys).unwrap().credentials;
    open(&[key("old")])
        .set(slot("crm", &ann), &token("t"), 1)
        .unwrap();
    assert!(!folder.path().join("sealing.key").exists());
    let rotated = open(&[key("new"), key("old")]);
    assert!(rotated.get(slot("crm", &ann)).unwrap().is_some());
    let lost = open(&[key("new")]);
    let error = lost.get(slot("crm", &ann)).unwrap_err().to_string();
    assert!(error.contains("sealing.keys"), "{error}");
    assert!(!lost.list().unwrap()[0].opens);
    lost.set(slot("crm", &ann), &token("u"), 2).unwrap();
    assert!(lost.list().unwrap()[0].opens);
}

#[test]
fn two_stores_on_one_file_see_and_count_together() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (
        Store::open(folder.path(), &[]).unwrap(),
        Store::open(folder.path(), &[]).unwrap(),
    );
    let before = two.keys.version().unwrap();
    let (_, stored) = create_key(&*one.keys, KeySettings::default(), 1).unwrap();
    assert_ne!(two.keys.version().unwrap(), before);
    assert!(two.keys.find(&stored.record.id).unwrap().is_some());

    const ROUNDS: u64 = 40;
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for store in [&one, &two, &one, &two] {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                for _ in 0..ROUNDS {
                    let one = Added {
                        quota: "q".into(),
                        key: b"a".to_vec(),
                        day: 1,
                        used: Used { calls: 1, bytes: 2 },
                    };
                    store.counters.add(&[one]).unwrap();
                }
            });
        }
    });
    let used = one.counters.read("q", b"a", 1).unwrap();
    assert_eq!((used.calls, used.bytes), (4 * ROUNDS, 8 * ROUNDS));
}

#[test]
#[cfg(unix)]
fn nobody_else_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("a/data");
    let ann = Principal::new("https://id", "ann");
    let store = Store::open(&data_dir, &[]).unwrap();
    store.credentials.set(slot("crm", &ann), &token("t"), 1).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&data_dir).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(
        names,
        ["gatepost.db", "gatepost.db-shm", "gatepost.db-wal", "sealing.key"]
    );
}
