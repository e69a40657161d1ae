use std::collections::HashSet;

use aws_lc_rs::signature;
use gatepost_store::{KeySettings, Keys, Memory, create_key};
use serde_json::{Value, json};

use super::*;
use crate::rig::{
    GATE, Hand, ISSUER, NOW, Rig, Signer, b64, bearer, claims, header, resource, settings, with,
};

mod attacks;
mod reload;
mod said;

fn facts(rig: &Rig, token: &str) -> Facts {
    match rig.check(token) {
        Ok(verified) => verified.bearer().clone(),
        Err(refusal) => panic!("refused: {refusal:?}"),
    }
}

#[test]
fn every_allowed_algorithm_is_understood() {
    let signers = [
        ("RS256", Signer::rsa()),
        ("RS384", Signer::rsa_as(&signature::RSA_PKCS1_SHA384)),
        ("RS512", Signer::rsa_as(&signature::RSA_PKCS1_SHA512)),
        ("PS256", Signer::rsa_as(&signature::RSA_PSS_SHA256)),
        ("PS384", Signer::rsa_as(&signature::RSA_PSS_SHA384)),
        ("PS512", Signer::rsa_as(&signature::RSA_PSS_SHA512)),
        ("ES256", Signer::p256()),
        ("ES384", Signer::p384()),
        ("EdDSA", Signer::ed25519()),
        ("Ed25519", Signer::ed25519()),
    ];
    for (name, signer) in signers {
        let rig = Rig::new(&[signer.jwk("one")], "");
        let good = signer.token(&with(header(), json!({ "alg": name })), &claims());
        assert_eq!(facts(&rig, &good).principal.subject(), "ann", "{name}");
        // Under any other name it is none of this key's, whatever the key is.
        for other in ["RS256", "RS384", "PS256", "ES256", "ES384", "EdDSA"] {
            if other == name || (other, name) == ("EdDSA", "Ed25519") {
                continue;
            }
            let bad = signer.token(&with(header(), json!({ "alg": other })), &claims());
            let reason = rig.refused(&bad);
            assert!(
                reason.contains("is none of") || reason == "its signature is wrong",
                "{name} as {other}: {reason}"
            );
        }
        // What is not in the allow-list is refused though the key could do it.
        let only = if name == "RS256" { "ES256" } else { "RS256" };
        let strict = Rig::new(&[signer.jwk("one")], &format!("algorithms: [{only}]"));
        assert!(strict.refused(&good).contains("none of the algorithms"), "{name}");
    }
}

#[test]
fn a_token_is_for_the_endpoint_that_it_names() {
    let rig = Rig::usual();
    let signer = Signer::own();
    let token = |aud: Value| signer.token(&header(), &with(claims(), json!({ "aud": aud })));
    let crm = token(json!([format!("{GATE}/mcp/crm"), "https://other"]));
    assert!(rig.check_at(&crm, "/mcp/crm").is_ok());
    // Remembered or not, it is no good elsewhere; and having been no good elsewhere changes nothing here.
    for _ in 0..2 {
        let refusal = rig.check_at(&crm, "/mcp").unwrap_err();
        assert!(refusal.reason().contains("`aud`"), "{refusal:?}");
        assert!(
            refusal.message().contains("https://gate.example.com/mcp"),
            "{refusal}"
        );
        assert!(rig.check_at(&crm, "/mcp/crm").is_ok());
    }
    assert_eq!(rig.check_at(&crm, "/mcp/crm").unwrap().audiences().len(), 2);

    // With audiences in the configuration these are all that counts.
    let rig = Rig::new(&[signer.jwk("one")], "audience: ['api://gate', 'api://other']");
    assert!(rig.check_at(&token(json!("api://gate")), "/mcp/crm").is_ok());
    assert!(rig.check_at(&token(json!(["x", "api://other"])), "/mcp").is_ok());
    for aud in [
        json!(format!("{GATE}/mcp")),
        json!(["api://gat"]),
        json!("API://gate"),
        json!("api://gate/"),
    ] {
        assert!(rig.refused(&token(aud)).contains("`aud`"));
    }
    assert_eq!(
        rig.refused(&token(json!("elsewhere"))),
        "its `aud` is `elsewhere`, which is not accepted here"
    );
    assert_eq!(
        rig.refused(&token(json!(["a", "b", "c"]))),
        "its `aud` is `a` and 2 more, none of which is accepted here"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_verified_is_remembered_for_a_while_and_never_beyond_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let keys = json!({ "keys": [Signer::own().jwk("one")] });
    std::fs::write(folder.path().join("keys.json"), keys.to_string()).unwrap();
    let hand = Hand::new();
    let made = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let identity = Identity::new(&settings(&folder, ""), None, hand.clock(), move |facts| {
        count.fetch_add(1, Relaxed);
        facts
    })
    .unwrap();
    let check = |token: &str| identity.recall(&bearer(token), &resource("/mcp")).unwrap();
    let long = Signer::own().token(&header(), &with(claims(), json!({ "exp": NOW + 3600 })));
    for _ in 0..10 {
        assert!(check(&long).is_ok());
    }
    assert_eq!(made.load(Relaxed), 1);
    // The default: five minutes.
    tokio::time::advance(Duration::from_secs(301)).await;
    assert!(check(&long).is_ok());
    assert_eq!(made.load(Relaxed), 2);

    let short = Signer::own().token(&header(), &with(claims(), json!({ "exp": NOW + 10 })));
    assert!(check(&short).is_ok());
    hand.set(NOW + 9);
    assert!(check(&short).is_ok());
    assert_eq!(made.load(Relaxed), 3);
    // Its end has come: what the leeway still allows is looked at each time.
    hand.set(NOW + 10);
    assert!(check(&short).is_ok());
    assert!(check(&short).is_ok());
    assert_eq!(made.load(Relaxed), 5);
    hand.set(NOW + 40);
    assert!(check(&short).unwrap_err().reason().contains("expired"));
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_remembered_briefly() {
    let rig = Rig::usual();
    let early = Signer::own().token(&header(), &with(claims(), json!({ "nbf": NOW + 100 })));
    assert!(rig.refused(&early).contains("nbf"));
    rig.hand.set(NOW + 100);
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(rig.refused(&early).contains("nbf"));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(rig.check(&early).is_ok());
}

#[tokio::test(start_paused = true)]
async fn with_the_cache_off_everything_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let keys = json!({ "keys": [Signer::own().jwk("one")] });
    std::fs::write(folder.path().join("keys.json"), keys.to_string()).unwrap();
    let mut settings = settings(&folder, "");
    settings.cache = Duration::ZERO;
    let made = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let identity = Identity::new(&settings, None, Hand::new().clock(), move |_| {
        count.fetch_add(1, Relaxed);
    })
    .unwrap();
    let token = Signer::own().token(&header(), &claims());
    for _ in 0..3 {
        assert!(
            identity
                .recall(&bearer(&token), &resource("/mcp"))
                .unwrap()
                .is_ok()
        );
    }
    assert_eq!(made.load(Relaxed), 3);
}

/// A gate with API keys in memory.
fn keyed() -> (Rig, Arc<Memory>, Arc<KeyRing>) {
    let mut rig = Rig::usual();
    let keys = Arc::new(Memory::default());
    let ring = Arc::new(KeyRing::load(Arc::clone(&keys) as Arc<dyn Keys>).unwrap());
    let settings = settings(&rig.folder, "");
    rig.identity = Identity::new(&settings, Some(Arc::clone(&ring)), rig.hand.clock(), |facts| {
        facts
    })
    .unwrap();
    (rig, keys, ring)
}

#[test]
fn an_api_key_is_its_own_principal() {
    let (rig, keys, ring) = keyed();
    let given = KeySettings {
        roles: vec!["analyst".into()],
        tenant: Some("acme".into()),
        name: Some("nightly report".into()),
        expires: Some(NOW as u64 + 100),
    };
    let (key, stored) = create_key(&*keys, given, NOW as u64).unwrap();
    assert!(rig.refused(key.expose()).contains("no such API key"));
    ring.refresh().unwrap();
    for path in ["/mcp", "/mcp/crm"] {
        let verified = rig.check_at(key.expose(), path).unwrap();
        let facts = verified.bearer();
        assert_eq!(facts.principal, stored.record.principal());
        assert_eq!(facts.principal.tenant(), Some("acme"));
        assert_eq!(facts.roles, ["analyst".into()]);
        assert_eq!(facts.scopes, None);
        assert_eq!(
            facts.method,
            Method::ApiKey {
                id: stored.record.id.clone()
            }
        );
        assert_eq!(facts.name.as_deref(), Some("nightly report"));
        assert_eq!(verified.expires(), Some(UnixMillis((NOW + 100) * 1000)));
        assert!(!verified.is_token() && verified.audiences().is_empty());
    }
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", key.expose().parse().unwrap());
    assert!(rig.identity.recall(&headers, &resource("/mcp")).unwrap().is_ok());
    // Never beyond its end, though it is remembered.
    rig.hand.set(NOW + 100);
    assert!(rig.refused(key.expose()).contains("expired"));
}

#[test]
fn a_revoked_key_is_refused_at_once_though_it_is_remembered() {
    let (rig, keys, ring) = keyed();
    let (key, stored) = create_key(&*keys, KeySettings::default(), NOW as u64).unwrap();
    let (other, _) = create_key(&*keys, KeySettings::default(), NOW as u64).unwrap();
    ring.refresh().unwrap();
    assert!(rig.check(key.expose()).is_ok() && rig.check(other.expose()).is_ok());
    keys.revoke(&stored.record.id, NOW as u64).unwrap();
    ring.refresh().unwrap();
    assert!(rig.refused(key.expose()).contains("revoked"));
    assert!(rig.check(other.expose()).is_ok());
}

#[test]
fn clients_hear_the_same_of_every_key_that_is_not_taken() {
    let (rig, keys, ring) = keyed();
    let (revoked, stored) = create_key(&*keys, KeySettings::default(), NOW as u64).unwrap();
    keys.revoke(&stored.record.id, NOW as u64).unwrap();
    let over = KeySettings {
        expires: Some(NOW as u64 - 1),
        ..KeySettings::default()
    };
    let (over, _) = create_key(&*keys, over, NOW as u64 - 10).unwrap();
    let (good, _) = create_key(&*keys, KeySettings::default(), NOW as u64).unwrap();
    ring.refresh().unwrap();
    let (unknown, _) = create_key(&Memory::default(), KeySettings::default(), NOW as u64).unwrap();
    // The secret of one with the id of another, and one letter changed.
    let mixed = format!("{}{}", &good.expose()[..15], &unknown.expose()[15..]);
    let mut typo = good.expose().to_owned();
    typo.pop();
    typo.push('~');
    let messages: HashSet<String> = [
        revoked.expose(),
        over.expose(),
        unknown.expose(),
        &mixed,
        &typo,
        "gp_",
        "gp_a.b.c",
    ]
    .into_iter()
    .map(|key| {
        let refusal = rig.check(key).unwrap_err();
        assert_eq!(refusal.status(), 401);
        assert!(!refusal.reason().contains(key), "{refusal:?}");
        refusal.message().to_owned()
    })
    .collect();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(rig.check(good.expose()).is_ok());
}

#[test]
fn where_there_are_no_api_keys_one_is_no_token_either() {
    let rig = Rig::usual();
    // A good token whose text begins like a key cannot be made; what begins so is not even parsed.
    assert!(rig.refused("gp_x.y.z").contains("API keys"));
}

#[test]
fn a_file_of_keys_that_cannot_be_used_is_found_when_the_gate_starts() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let settings = settings(&folder, "");
        Identity::new(&settings, None, Clock::system(), |facts| facts)
            .map(|_| ())
            .map_err(|error| format!("{error}"))
    };
    assert!(start().unwrap_err().contains("keys.json"));
    for (text, expected) in [
        ("<html>", "no JSON Web Key Set"),
        (r#"{"keys":{}}"#, "no list"),
        (r#"{"keys":[]}"#, "no key that can be used"),
        (
            r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#,
            "`oct` is not for signatures",
        ),
        (r#"{"keys":[],"keys":[]}"#, "twice"),
    ] {
        std::fs::write(folder.path().join("keys.json"), text).unwrap();
        let error = start().unwrap_err();
        assert!(error.contains(expected) && error.contains(ISSUER), "{error}");
    }
    std::fs::write(folder.path().join("keys.json"), vec![b' '; 600 * 1024]).unwrap();
    assert!(start().unwrap_err().contains("longer than"));
}

#[test]
fn nothing_prints_a_credential() {
    let rig = Rig::usual();
    let token = Signer::own().token(&header(), &claims());
    let verified = rig.check(&token).unwrap();
    for text in [format!("{verified:?}"), format!("{:?}", rig.identity)] {
        assert!(!text.contains(&token[..40]), "{text}");
    }
    assert_eq!(b64("x").len(), 2);
}
