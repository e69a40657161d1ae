//! What changes while the gate runs: files of keys, and the configuration.

use super::*;

fn write(rig: &Rig, keys: &[Value]) {
    let text = json!({ "keys": keys }).to_string();
    std::fs::write(rig.folder.path().join("keys.json"), text).unwrap();
}

async fn verify(rig: &Rig, token: &str) -> Result<(), Refusal> {
    let outcome = rig.identity.verify(&bearer(token), &resource("/mcp")).await;
    outcome.map(|_| ())
}

#[tokio::test(start_paused = true)]
async fn a_file_of_keys_is_read_again_when_it_changes() {
    let rig = Rig::usual();
    let (old, new) = (
        Signer::own().token(&header(), &claims()),
        Signer::other().token(&with(header(), json!({ "kid": "two" })), &claims()),
    );
    assert!(verify(&rig, &old).await.is_ok());
    assert!(
        verify(&rig, &new)
            .await
            .unwrap_err()
            .reason()
            .contains("is none of")
    );
    write(&rig, &[Signer::own().jwk("one"), Signer::other().jwk("two")]);
    // A moment later the new key is known: a token names it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(verify(&rig, &new).await.is_ok());

    // What is no set of keys changes nothing.
    std::fs::write(rig.folder.path().join("keys.json"), "{").unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(verify(&rig, &old).await.is_ok() && verify(&rig, &new).await.is_ok());
    let health: Vec<_> = rig.identity.health().collect();
    assert_eq!((&*health[0].issuer, health[0].keys), (ISSUER, 2));
    assert!(
        health[0].failure.as_deref().unwrap().contains("keys.json"),
        "{health:?}"
    );

    // A key that is taken out takes its tokens with it, though they are remembered.
    write(&rig, &[Signer::other().jwk("two")]);
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert!(
        verify(&rig, &old)
            .await
            .unwrap_err()
            .reason()
            .contains("is none of")
    );
    assert!(verify(&rig, &new).await.is_ok());
}

#[tokio::test]
async fn what_is_known_is_known_without_looking_closer() {
    let (rig, keys, ring) = keyed();
    let (key, stored) = create_key(&*keys, KeySettings::default(), NOW as u64).unwrap();
    ring.refresh().unwrap();
    let token = Signer::own().token(&header(), &claims());
    let wrong = Signer::other().token(&header(), &claims());
    let knows = |text: &str| rig.identity.knows(&bearer(text));
    for good in [&token, key.expose()] {
        assert!(!knows(good));
        assert!(rig.check(good).is_ok());
        assert!(knows(good));
    }
    assert!(rig.check(&wrong).is_err());
    assert!(!knows(&wrong));
    let mut both = bearer(&token);
    both.insert("x-api-key", key.expose().parse().unwrap());
    assert!(!rig.identity.knows(&both));
    assert!(!rig.identity.knows(&HeaderMap::new()));
    keys.revoke(&stored.record.id, NOW as u64).unwrap();
    ring.refresh().unwrap();
    assert!(!knows(key.expose()));
    rig.hand.set(NOW + 600);
    assert!(!knows(&token));
}

/// A new configuration does not wait for an issuer that the old one has heard of, and remembers nobody.
#[tokio::test(start_paused = true)]
async fn a_new_configuration_takes_over_the_keys() {
    let configured = |issuer: &str, refresh: &str| {
        let text = format!(
            "{{ data_dir: state, http: {{ public_url: '{GATE}' }}, audit: {{}}, \
             identity: {{ jwt: [{{ issuer: '{issuer}', jwks_url: 'http://127.0.0.1:9/jwks', refresh: {refresh} }}] }} }}"
        );
        let config = gatepost_config::Config::parse_in(std::path::Path::new("/"), &text, &|_| None).unwrap();
        Identity::new(&config.identity.unwrap(), None, Clock::system(), |_| ()).unwrap()
    };
    let is_same =
        |one: &Identity<()>, other: &Identity<()>| Arc::ptr_eq(&one.issuers[0].keys, &other.issuers[0].keys);
    let old = configured(ISSUER, "10m");
    assert!(is_same(&configured(ISSUER, "10m").succeeding(&old), &old));
    assert!(!is_same(&configured(ISSUER, "20m").succeeding(&old), &old));
    assert!(!is_same(
        &configured("https://other.example.com", "10m").succeeding(&old),
        &old
    ));
    // Files have just been read.
    let rig = Rig::usual();
    let settings = settings(&rig.folder, "");
    let newer = Identity::new(&settings, None, Clock::system(), |facts| facts).unwrap();
    let newer = newer.succeeding(&rig.identity);
    assert!(!Arc::ptr_eq(
        &newer.issuers[0].keys,
        &rig.identity.issuers[0].keys
    ));
}

/// A URL that came from the environment is a secret, wherever the gate has trouble with it.
#[tokio::test]
async fn a_secret_url_is_not_told() {
    let text = format!(
        "{{ data_dir: state, http: {{ public_url: '{GATE}' }}, audit: {{}}, identity: {{ jwt: [{{ issuer: '{ISSUER}', jwks_url: '${{env:KEYS}}' }}] }} }}"
    );
    let environment = |name: &str| (name == "KEYS").then(|| "http://127.0.0.1:9/canary?code=canary".into());
    let config = gatepost_config::Config::parse_in(std::path::Path::new("/"), &text, &environment).unwrap();
    let identity = Identity::new(&config.identity.unwrap(), None, Hand::new().clock(), |facts| {
        facts
    })
    .unwrap();
    let token = Signer::own().token(&header(), &claims());
    let refusal = identity
        .verify(&bearer(&token), &resource("/mcp"))
        .await
        .unwrap_err();
    assert_eq!(refusal.status(), 503);
    assert!(refusal.reason().contains("jwks_url"), "{refusal:?}");
    let health: Vec<_> = identity.health().collect();
    for said in [
        format!("{refusal:?}"),
        format!("{identity:?}"),
        format!("{health:?}"),
    ] {
        assert!(!said.contains("canary"), "{said}");
    }
}
