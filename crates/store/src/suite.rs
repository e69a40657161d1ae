//! What every store must do: one suite, run on each.

use std::sync::Arc;

use gatepost_policy::Principal;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::{Added, KeySettings, Revoked, Slot, Store, StoreError, Token, Used, create_key};

/// Runs each check as a test on each store.
macro_rules! suite {
    ($($check:ident)*) => {
        mod memory {
            $(#[test] fn $check() { super::$check(&super::Store::in_memory()); })*
        }
        mod sqlite {
            $(#[test] fn $check() {
                let (_folder, store) = super::in_folder();
                super::$check(&store);
            })*
        }
    };
}

suite! {
    a_key_is_kept_as_it_was_made
    an_id_is_given_once
    a_key_is_revoked_once_and_for_good
    using_a_key_is_no_change_and_never_goes_back
    tokens_are_kept_apart
    a_token_is_replaced_and_removed
    counters_add_up
    a_batch_says_what_each_counter_is
    old_days_are_forgotten
    a_counter_stops_at_the_most_it_can_hold
}

fn in_folder() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data"), &[]).unwrap();
    (folder, store)
}

fn settings() -> KeySettings {
    KeySettings {
        roles: vec!["analyst".into(), "a \"quoted\", odd role".into()],
        tenant: Some("acme".into()),
        name: Some("nightly job ☕".into()),
        expires: Some(2_000),
    }
}

fn a_key_is_kept_as_it_was_made(store: &Store) {
    let keys = &store.keys;
    let (bare, second) = create_key(&**keys, KeySettings::default(), 1_001).unwrap();
    let (key, first) = create_key(&**keys, settings(), 1_000).unwrap();
    for stored in [
        &first,
        &keys.find(&first.record.id).unwrap().unwrap(),
        &keys.list().unwrap()[0],
    ] {
        assert_eq!(&*stored.record.id, key.presented().id());
        assert_eq!(stored.record.roles, settings().roles);
        assert_eq!(stored.record.tenant, settings().tenant);
        assert_eq!(stored.record.name, settings().name);
        assert_eq!(stored.record.expires, Some(2_000));
        assert!(stored.hash.matches(&key.presented().hash()));
        assert!(!stored.hash.matches(&bare.presented().hash()));
        assert_eq!(
            (stored.created, stored.revoked, stored.last_used),
            (1_000, None, None)
        );
        assert!(stored.is_live(1_999) && !stored.is_live(2_000));
    }
    let second = keys.find(&second.record.id).unwrap().unwrap();
    assert_eq!(
        second.record.principal(),
        Principal::new("gatepost:key", second.record.id.clone())
    );
    assert_eq!(first.record.principal().tenant(), Some("acme"));
    assert!(second.record.roles.is_empty() && second.record.tenant.is_none() && second.is_live(u64::MAX));
    let listed: Vec<_> = keys.list().unwrap().into_iter().map(|key| key.record).collect();
    assert_eq!(listed, [first.record, second.record]);
    assert!(keys.find("nobody").unwrap().is_none());
}

fn an_id_is_given_once(store: &Store) {
    let keys = &store.keys;
    let (_, stored) = create_key(&**keys, settings(), 1).unwrap();
    let version = keys.version().unwrap();
    let error = keys.insert(&stored).unwrap_err();
    assert!(matches!(error, StoreError::Taken { .. }), "{error}");
    assert_eq!(
        (keys.list().unwrap().len(), keys.version().unwrap()),
        (1, version)
    );
}

fn a_key_is_revoked_once_and_for_good(store: &Store) {
    let keys = &store.keys;
    let made = keys.version().unwrap();
    let (_, stored) = create_key(&**keys, settings(), 1).unwrap();
    let id = &stored.record.id;
    let there = keys.version().unwrap();
    assert_ne!(made, there);
    assert_eq!(keys.revoke("nobody", 5).unwrap(), Revoked::Unknown);
    assert_eq!(keys.version().unwrap(), there);
    assert_eq!(keys.revoke(id, 5).unwrap(), Revoked::Now);
    let gone = keys.version().unwrap();
    assert_ne!(there, gone);
    assert_eq!(keys.revoke(id, 9).unwrap(), Revoked::Before(5));
    assert_eq!(keys.version().unwrap(), gone);
    let kept = keys.find(id).unwrap().unwrap();
    assert_eq!(kept.revoked, Some(5));
    assert!(!kept.is_live(1));
}

fn using_a_key_is_no_change_and_never_goes_back(store: &Store) {
    let keys = &store.keys;
    let (_, one) = create_key(&**keys, settings(), 1).unwrap();
    let (_, two) = create_key(&**keys, settings(), 2).unwrap();
    let version = keys.version().unwrap();
    keys.used(&[
        (one.record.id.clone(), 50),
        (Arc::from("nobody"), 60),
        (two.record.id.clone(), 40),
    ])
    .unwrap();
    keys.used(&[(one.record.id.clone(), 45), (two.record.id.clone(), 41)])
        .unwrap();
    keys.used(&[]).unwrap();
    let used: Vec<_> = keys.list().unwrap().iter().map(|key| key.last_used).collect();
    assert_eq!(used, [Some(50), Some(41)]);
    assert_eq!(keys.version().unwrap(), version);
}

fn token(text: &str) -> Token {
    Token::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn tokens_are_kept_apart(store: &Store) {
    let tokens = &store.credentials;
    let ann = Principal::new("https://id", "ann");
    let principals = [
        ann.clone(),
        ann.clone().with_tenant("acme"),
        ann.clone().with_tenant("globex"),
        ann.clone().with_tenant(""),
        Principal::new("https://other", "ann"),
        Principal::new("https://id", "Ann"),
    ];
    let places: Vec<Slot<'_>> = principals
        .iter()
        .flat_map(|principal| {
            [("crm", "pat"), ("crm", "other"), ("wiki", "pat")].map(|(server, name)| Slot {
                server,
                principal,
                name,
            })
        })
        .collect();
    for (at, slot) in places.iter().enumerate() {
        assert!(tokens.get(*slot).unwrap().is_none());
        assert!(
            !tokens
                .set(*slot, &token(&format!("token-{at}")), at as u64)
                .unwrap()
        );
    }
    for (at, slot) in places.iter().enumerate() {
        assert_eq!(
            tokens.get(*slot).unwrap().unwrap().expose(),
            format!("token-{at}")
        );
    }
    let listed = tokens.list().unwrap();
    assert_eq!(listed.len(), places.len());
    assert!(listed.iter().all(|kept| kept.opens));
    for (at, slot) in places.iter().enumerate() {
        let found: Vec<_> = listed
            .iter()
            .filter(|kept| {
                (kept.server.as_str(), &kept.principal, kept.name.as_str())
                    == (slot.server, slot.principal, slot.name)
            })
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].set, at as u64);
    }
    let order: Vec<_> = listed
        .iter()
        .map(|kept| (&kept.server, &kept.principal, &kept.name))
        .collect();
    assert!(order.is_sorted(), "{order:?}");
}

fn a_token_is_replaced_and_removed(store: &Store) {
    let tokens = &store.credentials;
    let ann = Principal::new("https://id", "ann");
    let slot = Slot {
        server: "crm",
        principal: &ann,
        name: Slot::DEFAULT_NAME,
    };
    let mut versions = vec![tokens.version().unwrap()];
    assert!(!tokens.remove(slot).unwrap());
    assert_eq!(tokens.version().unwrap(), versions[0]);
    assert!(!tokens.set(slot, &token("one"), 1).unwrap());
    versions.push(tokens.version().unwrap());
    assert!(tokens.set(slot, &token("two"), 2).unwrap());
    versions.push(tokens.version().unwrap());
    assert_eq!(tokens.get(slot).unwrap().unwrap().expose(), "two");
    assert_eq!(tokens.list().unwrap().len(), 1);
    assert!(tokens.remove(slot).unwrap());
    versions.push(tokens.version().unwrap());
    assert!(tokens.get(slot).unwrap().is_none());
    versions.dedup();
    assert_eq!(versions.len(), 4);
}

fn added(quota: &str, key: &[u8], day: u32, calls: u64, bytes: u64) -> Added {
    Added {
        quota: quota.to_owned(),
        key: key.to_owned(),
        day,
        used: Used { calls, bytes },
    }
}

fn counters_add_up(store: &Store) {
    let counters = &store.counters;
    for _ in 0..3 {
        counters
            .add(&[
                added("q", b"ann\0", 7, 1, 10),
                added("q", b"ann", 7, 2, 0),
                added("q", b"ann", 8, 4, 0),
                added("r", b"ann", 7, 0, 5),
            ])
            .unwrap();
    }
    let read = |quota, key: &[u8], day| {
        let Used { calls, bytes } = counters.read(quota, key, day).unwrap();
        (calls, bytes)
    };
    assert_eq!(read("q", b"ann\0", 7), (3, 30));
    assert_eq!(read("q", b"ann", 7), (6, 0));
    assert_eq!(read("q", b"ann", 8), (12, 0));
    assert_eq!(read("r", b"ann", 7), (0, 15));
    assert_eq!(read("r", b"bob", 7), (0, 0));
    assert_eq!(
        counters.read_day(7).unwrap(),
        [
            added("q", b"ann", 7, 6, 0),
            added("q", b"ann\0", 7, 3, 30),
            added("r", b"ann", 7, 0, 15)
        ]
    );
    assert_eq!(counters.read_day(9).unwrap(), []);
}

fn a_batch_says_what_each_counter_is(store: &Store) {
    let counters = &store.counters;
    counters.add(&[added("q", b"a", 1, 5, 50)]).unwrap();
    let totals = counters
        .add(&[
            added("q", b"b", 1, 1, 2),
            added("q", b"a", 1, 1, 2),
            added("q", b"b", 1, 1, 2),
        ])
        .unwrap();
    let totals: Vec<_> = totals.iter().map(|used| (used.calls, used.bytes)).collect();
    assert_eq!(totals, [(1, 2), (6, 52), (2, 4)]);
    assert_eq!(counters.add(&[]).unwrap(), []);
}

fn old_days_are_forgotten(store: &Store) {
    let counters = &store.counters;
    let batch: Vec<_> = (1..=5).map(|day| added("q", b"a", day, 1, 1)).collect();
    counters.add(&batch).unwrap();
    assert_eq!(counters.forget_before(4).unwrap(), 3);
    assert_eq!(counters.forget_before(4).unwrap(), 0);
    let left: Vec<bool> = (1..=5)
        .map(|day| !counters.read_day(day).unwrap().is_empty())
        .collect();
    assert_eq!(left, [false, false, false, true, true]);
}

fn a_counter_stops_at_the_most_it_can_hold(store: &Store) {
    let counters = &store.counters;
    let most = i64::MAX as u64;
    counters.add(&[added("q", b"a", 1, most - 1, u64::MAX)]).unwrap();
    counters.add(&[added("q", b"a", 1, 5, 5)]).unwrap();
    let used = counters.read("q", b"a", 1).unwrap();
    assert_eq!((used.calls, used.bytes), (most, most));
}
