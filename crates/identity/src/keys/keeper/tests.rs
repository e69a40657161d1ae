use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use serde_json::{Value, json};

use super::*;
use crate::{
    keys::source::Loading,
    rig::{ISSUER, Signer},
};

const MINUTE: Duration = Duration::from_secs(60);

/// What an issuer answers, one after the other; the last again and again.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Option<Vec<Value>>>>>,
    asked: Arc<AtomicUsize>,
    /// How long an answer takes.
    takes: Duration,
}

impl Script {
    fn of(answers: &[Option<&[Value]>]) -> Self {
        let script = Self::default();
        answers.iter().for_each(|answer| script.then(*answer));
        script
    }

    /// And then it answers so.
    fn then(&self, answer: Option<&[Value]>) {
        self.answers
            .lock()
            .unwrap()
            .push_back(answer.map(<[Value]>::to_vec));
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    fn keeper(&self) -> Arc<Keeper> {
        Keeper::new(ISSUER.into(), 10 * MINUTE, Box::new(self.clone()))
    }
}

impl Load for Script {
    fn load<'a>(&'a mut self, issuer: &'a str) -> Loading<'a> {
        Box::pin(async move {
            self.asked.fetch_add(1, SeqCst);
            tokio::time::sleep(self.takes).await;
            let answer = {
                let mut answers = self.answers.lock().unwrap();
                let more = answers.len() > 1;
                let answer = if more {
                    answers.pop_front()
                } else {
                    answers.front().cloned()
                };
                answer.flatten()
            };
            match answer {
                Some(keys) => {
                    Ok(KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), issuer).unwrap())
                }
                None => Err(KeysError::TooSlow),
            }
        })
    }
}

fn key(kid: &str) -> Value {
    Signer::ed25519().jwk(kid)
}

/// Looks for a key, waiting for the issuer as often as that is worth while. `None`: it is unknown.
async fn find(keeper: &Arc<Keeper>, kid: &str) -> Result<Option<Arc<Key>>, Arc<str>> {
    loop {
        match keeper.find(Some(kid), Algorithm::EdDsa) {
            Found::Keys(keys) => return Ok(keys.into_iter().next()),
            Found::Unknown => return Ok(None),
            Found::Wait(running) => running.finished().await,
            Found::Unavailable { why, .. } => return Err(why),
        }
    }
}

async fn knows(keeper: &Arc<Keeper>, kid: &str) -> bool {
    find(keeper, kid).await.unwrap().is_some()
}

#[tokio::test(start_paused = true)]
async fn keys_are_asked_for_when_they_are_needed_and_then_kept_fresh() {
    let script = Script::of(&[Some(&[key("a")])]);
    let keeper = script.keeper();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(script.asked(), 0);
    for _ in 0..10 {
        assert!(knows(&keeper, "a").await);
    }
    assert_eq!(script.asked(), 1);
    // Nobody needs them, and they are fresh all the same.
    for round in 2..=10 {
        tokio::time::sleep(10 * MINUTE).await;
        tokio::task::yield_now().await;
        assert_eq!(script.asked(), round);
    }
    drop(keeper);
    tokio::time::sleep(100 * MINUTE).await;
    assert_eq!(script.asked(), 10);
}

#[tokio::test(start_paused = true)]
async fn they_are_asked_for_ahead_if_the_gate_wants() {
    let script = Script::of(&[Some(&[key("a")])]);
    let keeper = script.keeper();
    keeper.begin();
    keeper.begin();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(script.asked(), 1);
    assert!(matches!(keeper.find(Some("a"), Algorithm::EdDsa), Found::Keys(_)));
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_at_once() {
    let (old, new) = (key("old"), key("new"));
    let script = Script::of(&[Some(std::slice::from_ref(&old)), Some(&[old.clone(), new])]);
    let keeper = script.keeper();
    assert!(knows(&keeper, "old").await);
    assert!(knows(&keeper, "new").await);
    assert_eq!(script.asked(), 2);
}

/// Ten thousand callers with a key that does not exist, each with another one, for a minute.
#[tokio::test(start_paused = true)]
async fn a_storm_of_unknown_keys_asks_the_issuer_once_in_a_while() {
    let mut script = Script::of(&[Some(&[key("a")])]);
    script.takes = Duration::from_millis(300);
    let keeper = script.keeper();
    assert!(knows(&keeper, "a").await);
    let mut storm = tokio::task::JoinSet::new();
    for caller in 0..10_000u64 {
        let keeper = Arc::clone(&keeper);
        storm.spawn(async move {
            tokio::time::sleep(Duration::from_millis(caller * 6)).await;
            assert!(!knows(&keeper, &format!("made up {caller}")).await);
        });
    }
    while let Some(done) = storm.join_next().await {
        done.unwrap();
    }
    // The first, and those at 0 s and 30 s; at 60 s the storm is over.
    assert_eq!(script.asked(), 3);
    assert!(knows(&keeper, "a").await);
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_share_one_exchange_and_none_can_end_it() {
    let mut script = Script::of(&[Some(&[key("a")])]);
    script.takes = Duration::from_secs(2);
    let keeper = script.keeper();
    // Callers who give up, one after the other.
    for _ in 0..20 {
        let given_up = tokio::time::timeout(Duration::from_millis(50), knows(&keeper, "a")).await;
        assert!(given_up.is_err());
    }
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let keeper = Arc::clone(&keeper);
            tokio::spawn(async move { knows(&keeper, "a").await })
        })
        .collect();
    for waiting in waiting {
        assert!(waiting.await.unwrap());
    }
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_issuers_keys_are_used_for_a_day() {
    let script = Script::of(&[Some(&[key("a")]), None]);
    let keeper = script.keeper();
    let found = find(&keeper, "a").await.unwrap().unwrap();
    for _ in 0..23 {
        tokio::time::sleep(60 * MINUTE).await;
        assert!(knows(&keeper, "a").await);
    }
    // It is asked with patience: about once a minute.
    let asked = script.asked();
    assert!((23 * 60 - 30..23 * 60 + 30).contains(&asked), "{asked}");
    assert!(!found.is_withdrawn());
    tokio::time::sleep(62 * MINUTE).await;
    assert!(find(&keeper, "a").await.is_err());
    // What was verified before counts no more either.
    assert!(found.is_withdrawn());
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_comes_back_is_believed_again() {
    let a = key("a");
    let script = Script::of(&[None, None, Some(&[a])]);
    let keeper = script.keeper();
    let why = find(&keeper, "a").await.unwrap_err();
    assert!(why.contains("longer than"), "{why}");
    let health = keeper.health();
    assert_eq!((health.keys, health.age, health.failure), (0, None, Some(why)));
    // Whoever asks meanwhile is refused without an exchange, and told when to come again.
    for _ in 0..100 {
        let Found::Unavailable { retry_after, .. } = keeper.find(Some("a"), Algorithm::EdDsa) else {
            panic!("it is there")
        };
        assert!(retry_after > Duration::ZERO && retry_after <= MINUTE);
    }
    assert_eq!(script.asked(), 1);
    // Nobody has to ask for it to be found out.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(script.asked(), 3);
    assert!(matches!(keeper.find(Some("a"), Algorithm::EdDsa), Found::Keys(_)));
    let health = keeper.health();
    assert_eq!((health.keys, health.failure), (1, None));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_withdrawn_takes_what_it_signed_with_it() {
    let (a, b) = (key("a"), key("b"));
    let script = Script::of(&[
        Some(&[a.clone(), b.clone()]),
        Some(std::slice::from_ref(&b)),
        Some(&[a, key("b")]),
    ]);
    let keeper = script.keeper();
    let (first, second) = (
        find(&keeper, "a").await.unwrap().unwrap(),
        find(&keeper, "b").await.unwrap().unwrap(),
    );
    tokio::time::sleep(10 * MINUTE + Duration::from_secs(1)).await;
    assert!(first.is_withdrawn() && !second.is_withdrawn());
    assert!(Arc::ptr_eq(&second, &find(&keeper, "b").await.unwrap().unwrap()));
    tokio::time::sleep(10 * MINUTE).await;
    // Another key of the same name.
    assert!(second.is_withdrawn());
    // That it is published again does not bring back what was given up.
    assert!(first.is_withdrawn());
    assert!(!find(&keeper, "a").await.unwrap().unwrap().is_withdrawn());
}

#[tokio::test(start_paused = true)]
async fn a_known_key_for_another_use_is_no_reason_to_ask() {
    let script = Script::of(&[Some(&[key("a")])]);
    let keeper = script.keeper();
    assert!(knows(&keeper, "a").await);
    assert!(matches!(keeper.find(Some("a"), Algorithm::Rs256), Found::Unknown));
    assert!(matches!(keeper.find(None, Algorithm::Rs256), Found::Unknown));
    assert!(matches!(keeper.find(None, Algorithm::EdDsa), Found::Keys(_)));
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_some_keys_are_tried_on_a_token_that_names_none() {
    let many: Vec<_> = (0..100).map(|number| key(&number.to_string())).collect();
    let script = Script::of(&[Some(&many)]);
    let keeper = script.keeper();
    assert!(knows(&keeper, "99").await);
    let Found::Keys(tried) = keeper.find(None, Algorithm::EdDsa) else {
        panic!("there are keys")
    };
    assert_eq!(tried.len(), 8);
    let more: Vec<_> = (0..101).map(|_| key("x")).collect();
    let error = KeySet::parse(json!({ "keys": more }).to_string().as_bytes(), ISSUER).unwrap_err();
    assert!(error.to_string().contains("101 keys"), "{error}");
}

/// Outside a runtime nothing is asked, and nothing panics.
#[test]
fn without_a_runtime_there_are_no_keys() {
    let keeper = Script::of(&[Some(&[key("a")])]).keeper();
    assert!(matches!(
        keeper.find(Some("a"), Algorithm::EdDsa),
        Found::Unavailable { .. }
    ));
}
