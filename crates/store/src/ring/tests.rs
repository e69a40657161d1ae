use std::{sync::atomic::AtomicBool, time::Instant};

use super::*;
use crate::{ApiKey, KeySettings, Memory, Revoked, create_key};

const NOW: UnixSeconds = 1_000_000;

fn ring() -> (Arc<Memory>, KeyRing) {
    let keys = Arc::new(Memory::default());
    let ring = KeyRing::load(keys.clone()).unwrap();
    (keys, ring)
}

fn made(keys: &dyn Keys, expires: Option<UnixSeconds>) -> ApiKey {
    let settings = KeySettings {
        roles: vec!["analyst".into()],
        tenant: Some("acme".into()),
        name: None,
        expires,
    };
    create_key(keys, settings, NOW).unwrap().0
}

#[test]
fn a_good_key_says_who_its_bearer_is() {
    let (keys, ring) = ring();
    let key = made(&*keys, None);
    assert_eq!(ring.verify(key.expose(), NOW), Err(KeyRefusal::Unknown));
    assert!(ring.refresh().unwrap());
    assert!(!ring.refresh().unwrap());
    let record = ring.verify(key.expose(), NOW).unwrap();
    assert_eq!(&*record.id, key.presented().id());
    assert_eq!(record.roles, ["analyst".into()]);
    assert_eq!(record.principal().tenant(), Some("acme"));
    // A new key takes nothing from those who are remembered.
    assert_eq!(ring.generation(), 0);
}

#[test]
fn who_wants_to_hears_of_each_key_that_comes_and_goes_once() {
    let (keys, ring) = ring();
    let before = made(&*keys, None);
    ring.refresh().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    ring.tell(move |change| {
        hearing.lock().unwrap().push(match change {
            KeyChange::Created(record) => format!("created {} {:?}", record.id, record.tenant),
            KeyChange::Revoked(id) => format!("revoked {id}"),
        });
    });
    let heard = || std::mem::take(&mut *heard.lock().unwrap());
    let id = |key: &ApiKey| key.presented().id().to_owned();

    let key = made(&*keys, None);
    ring.refresh().unwrap();
    assert_eq!(heard(), [format!("created {} Some(\"acme\")", id(&key))]);
    keys.revoke(&id(&before), NOW).unwrap();
    ring.refresh().unwrap();
    assert_eq!(heard(), [format!("revoked {}", id(&before))]);
    // Both between two looks.
    let short = made(&*keys, None);
    keys.revoke(&id(&short), NOW).unwrap();
    ring.refresh().unwrap();
    assert_eq!(
        heard(),
        [
            format!("created {} Some(\"acme\")", id(&short)),
            format!("revoked {}", id(&short))
        ]
    );
    keys.used(&[(id(&key).as_str().into(), NOW)]).unwrap();
    ring.refresh().unwrap();
    assert_eq!(heard(), Vec::<String>::new());
}

#[test]
fn what_is_no_key_is_refused_for_its_reason() {
    let (keys, ring) = ring();
    let (key, other) = (made(&*keys, None), made(&*keys, None));
    let never_made = ApiKey::generate().unwrap();
    ring.refresh().unwrap();
    let text = key.expose();
    // The id of one key with the secret of another, and with a right checksum: only the hash can tell.
    let mixed = ApiKey::forged(key.presented().id(), &other);
    for (presented, refusal) in [
        (never_made.expose(), KeyRefusal::Unknown),
        (mixed.expose(), KeyRefusal::Unknown),
        (
            &text[..text.len() - 1],
            KeyRefusal::Unreadable(Unreadable::Malformed),
        ),
        (
            &text.replace("gp_", "sk_"),
            KeyRefusal::Unreadable(Unreadable::Foreign),
        ),
        (
            "eyJhbGciOiJub25lIn0.e30.",
            KeyRefusal::Unreadable(Unreadable::Foreign),
        ),
        ("", KeyRefusal::Unreadable(Unreadable::Foreign)),
    ] {
        assert_eq!(ring.verify(presented, NOW), Err(refusal), "{presented}");
    }
    assert!(ring.verify(text, NOW).is_ok());
}

#[test]
fn a_key_is_good_until_its_end_and_no_second_longer() {
    let (keys, ring) = ring();
    let key = made(&*keys, Some(NOW + 60));
    ring.refresh().unwrap();
    assert!(ring.verify(key.expose(), NOW + 59).is_ok());
    assert_eq!(ring.verify(key.expose(), NOW + 60), Err(KeyRefusal::Expired));
    assert_eq!(ring.verify(key.expose(), u64::MAX), Err(KeyRefusal::Expired));
}

#[test]
fn a_revoked_key_ends_with_the_next_look_and_so_does_what_was_remembered() {
    let (keys, ring) = ring();
    let (key, other) = (made(&*keys, Some(NOW + 60)), made(&*keys, None));
    ring.refresh().unwrap();
    let remembered = ring.generation();
    assert_eq!(keys.revoke(key.presented().id(), NOW).unwrap(), Revoked::Now);
    assert!(ring.refresh().unwrap());
    assert_ne!(ring.generation(), remembered);
    assert_eq!(ring.verify(key.expose(), NOW), Err(KeyRefusal::Revoked));
    assert!(ring.verify(other.expose(), NOW).is_ok());
    // Who does not have the key does not learn what became of it.
    let guessed = ApiKey::forged(key.presented().id(), &other);
    assert_eq!(ring.verify(guessed.expose(), NOW), Err(KeyRefusal::Unknown));
}

#[test]
fn when_keys_were_used_is_written_once_and_outlives_a_reading() {
    let (keys, ring) = ring();
    let (key, idle) = (made(&*keys, None), made(&*keys, None));
    ring.refresh().unwrap();
    let last = |key: &ApiKey| keys.find(key.presented().id()).unwrap().unwrap().last_used;
    for now in [NOW + 5, NOW + 3] {
        ring.verify(key.expose(), now).unwrap();
    }
    assert_eq!(last(&key), None);
    // Another key comes, so all are read again before this was written.
    made(&*keys, None);
    ring.refresh().unwrap();
    ring.write_usage().unwrap();
    assert_eq!((last(&key), last(&idle)), (Some(NOW + 5), None));
    ring.touch(key.presented().id(), NOW + 9);
    ring.touch("nobody", NOW + 9);
    ring.write_usage().unwrap();
    assert_eq!(last(&key), Some(NOW + 9));
}

/// Keys whose database fails while told to.
struct Failing {
    keys: Memory,
    broken: AtomicBool,
    writes: AtomicU32,
}

impl Failing {
    fn check(&self) -> Result<(), StoreError> {
        if self.broken.load(SeqCst) {
            Err(StoreError::Crypto)
        } else {
            Ok(())
        }
    }
}

impl Keys for Failing {
    fn insert(&self, key: &StoredKey) -> Result<(), StoreError> {
        self.keys.insert(key)
    }

    fn list(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.check().and_then(|()| self.keys.list())
    }

    fn find(&self, id: &str) -> Result<Option<StoredKey>, StoreError> {
        self.keys.find(id)
    }

    fn revoke(&self, id: &str, now: UnixSeconds) -> Result<Revoked, StoreError> {
        self.keys.revoke(id, now)
    }

    fn used(&self, uses: &[(Arc<str>, UnixSeconds)]) -> Result<(), StoreError> {
        self.writes.fetch_add(1, SeqCst);
        self.check().and_then(|()| self.keys.used(uses))
    }

    fn version(&self) -> Result<u64, StoreError> {
        self.check().and_then(|()| Keys::version(&self.keys))
    }
}

fn failing() -> (Arc<Failing>, Arc<KeyRing>, ApiKey) {
    let keys = Arc::new(Failing {
        keys: Memory::default(),
        broken: AtomicBool::new(false),
        writes: AtomicU32::new(0),
    });
    let key = made(&*keys, None);
    let ring = Arc::new(KeyRing::load(keys.clone()).unwrap());
    (keys, ring, key)
}

#[test]
fn a_database_that_cannot_be_read_ends_all_keys_after_a_while() {
    let (keys, ring, key) = failing();
    keys.broken.store(true, SeqCst);
    for _ in 1..FAILURES_BORNE {
        ring.refresh().unwrap_err();
    }
    assert!(ring.verify(key.expose(), NOW).is_ok());
    assert_eq!(ring.generation(), 0);
    ring.refresh().unwrap_err();
    assert_eq!(ring.verify(key.expose(), NOW), Err(KeyRefusal::Unavailable));
    assert_eq!(ring.generation(), 1, "who is remembered must be looked at again");
    keys.broken.store(false, SeqCst);
    ring.refresh().unwrap();
    assert!(ring.verify(key.expose(), NOW).is_ok());
}

#[test]
fn use_that_could_not_be_written_is_written_later() {
    let (keys, ring, key) = failing();
    ring.verify(key.expose(), NOW).unwrap();
    keys.broken.store(true, SeqCst);
    ring.write_usage().unwrap_err();
    keys.broken.store(false, SeqCst);
    ring.write_usage().unwrap();
    ring.write_usage().unwrap();
    assert_eq!(keys.writes.load(SeqCst), 2);
    let stored = keys.find(key.presented().id()).unwrap().unwrap();
    assert_eq!(stored.last_used, Some(NOW));
}

#[test]
fn a_keeper_looks_by_itself_and_writes_when_it_is_closed() {
    let (keys, ring, key) = failing();
    let keeper = ring.keep_every(Duration::from_millis(1)).unwrap();
    ring.verify(key.expose(), NOW).unwrap();
    keys.revoke(key.presented().id(), NOW).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while ring.verify(key.expose(), NOW) != Err(KeyRefusal::Revoked) {
        assert!(Instant::now() < until, "nobody looks");
        std::thread::yield_now();
    }
    ring.touch(key.presented().id(), NOW + 7);
    keeper.close();
    let stored = keys.find(key.presented().id()).unwrap().unwrap();
    assert_eq!(stored.last_used, Some(NOW + 7));
    assert_eq!(Arc::strong_count(&ring), 1, "its thread is gone");
}
