//! Tokens of a real issuer: npm's oidc-provider, whose keys turn, which dies and comes back.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use gatepost_config::Config;
use gatepost_identity::{Clock, Identity, Refusal, Resource, Verified};
use gatepost_policy::Facts;
use gatepost_testkit::{gate::eventually, issuer::Issuer};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

const GATE: &str = "https://gate.example.com";

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    headers.insert(header::AUTHORIZATION, value);
    headers
}

/// A gate that believes `issuer`; `yaml` are more settings of it.
fn believing(issuer: &str, yaml: &str) -> Identity<Facts> {
    let text = format!(
        "{{ data_dir: state, http: {{ public_url: '{GATE}' }}, audit: {{}}, identity: {{ jwt: [{{ issuer: '{issuer}', {yaml} }}] }} }}"
    );
    let config = Config::parse_in(&std::env::temp_dir(), &text, &|_| None).unwrap();
    Identity::new(&config.identity.unwrap(), None, Clock::system(), |facts| facts).unwrap()
}

fn clients() -> Value {
    json!({
        "ann": { "groups": ["analysts", "people"], "org": "acme" },
        "eve": { "groups": [], "org": "initech" },
    })
}

async fn check(identity: &Identity<Facts>, token: &str) -> Result<Arc<Verified<Facts>>, Refusal> {
    let resource = Resource::new(Some(&GATE.parse().unwrap()), "/mcp", Vec::new(), Vec::new());
    identity.verify(&bearer(token), &resource).await
}

#[tokio::test]
async fn a_token_says_who_its_bearer_is() {
    let issuer = Issuer::start(clients()).await.unwrap();
    let tenants = "tenant: { claim: org, allow: [acme, globex] }";
    let identity = believing(issuer.url(), tenants);
    let token = issuer.token("ann", &format!("{GATE}/mcp"), "orders:read").await;
    let verified = check(&identity, &token).await.unwrap();
    let facts = verified.bearer();
    assert_eq!(facts.principal.as_key(), (issuer.url(), "ann", Some("acme")));
    assert_eq!(facts.groups, ["analysts".into(), "people".into()]);
    assert!(facts.holds("orders:read") && !facts.holds("orders:write"));
    assert_eq!(*verified.audiences()[0], *format!("{GATE}/mcp"));

    // Another tenant, another endpoint, and the issuer's own keys for somebody else's token.
    let initech = issuer.token("eve", &format!("{GATE}/mcp"), "").await;
    assert!(
        check(&identity, &initech)
            .await
            .unwrap_err()
            .reason()
            .contains("initech")
    );
    let elsewhere = issuer.token("ann", "https://other.example.com/mcp", "").await;
    assert!(
        check(&identity, &elsewhere)
            .await
            .unwrap_err()
            .reason()
            .contains("`aud`")
    );
    let other = Issuer::start(clients()).await.unwrap();
    let foreign = other.token("ann", &format!("{GATE}/mcp"), "").await;
    assert!(
        check(&identity, &foreign)
            .await
            .unwrap_err()
            .reason()
            .contains("not configured")
    );
    assert_eq!(other.counts().await["keys"], 0);
    // All of that took one look at the metadata and one at the keys.
    let counts = issuer.counts().await;
    assert_eq!(
        (&counts["metadata"], &counts["keys"]),
        (&json!(1), &json!(1)),
        "{counts}"
    );
}

#[tokio::test]
async fn every_kind_of_key_and_an_issuer_under_a_path() {
    for algorithm in ["PS256", "ES256", "ES384", "EdDSA"] {
        let options = json!({ "clients": clients(), "algorithm": algorithm, "path": "/realms/acme" });
        let issuer = Issuer::with(options).await.unwrap();
        assert!(issuer.url().ends_with("/realms/acme"));
        let token = issuer.token("ann", &format!("{GATE}/mcp"), "").await;
        for yaml in [
            "",
            &format!("algorithms: [{algorithm}]"),
            &format!("jwks_url: '{}/jwks'", issuer.url()),
        ] {
            let verified = check(&believing(issuer.url(), yaml), &token).await;
            assert!(verified.is_ok(), "{algorithm} {yaml}: {verified:?}");
        }
        let refusal = check(&believing(issuer.url(), "algorithms: [RS256]"), &token)
            .await
            .unwrap_err();
        assert!(refusal.reason().contains("none of the algorithms"), "{refusal:?}");
    }
}

#[tokio::test]
async fn keys_turn_without_anybody_noticing() {
    let issuer = Issuer::start(clients()).await.unwrap();
    let identity = believing(issuer.url(), "");
    let resource = format!("{GATE}/mcp");
    let first = issuer.token("ann", &resource, "").await;
    assert!(check(&identity, &first).await.is_ok());
    issuer.rotate(true).await;
    let second = issuer.token("ann", &resource, "").await;
    assert!(check(&identity, &second).await.is_ok());
    // The old key is still there, for those who have a token of it.
    let eve = believing(issuer.url(), "");
    assert!(check(&eve, &first).await.is_ok() && check(&eve, &second).await.is_ok());
    // A key that is gone is gone, for a gate that hears of it.
    issuer.rotate(false).await;
    let late = believing(issuer.url(), "");
    let refusal = check(&late, &first).await.unwrap_err();
    assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED, "{refusal:?}");
    assert!(refusal.reason().contains("is none of"), "{refusal:?}");
}

#[tokio::test]
async fn made_up_keys_do_not_reach_the_issuer() {
    let issuer = Issuer::start(clients()).await.unwrap();
    let identity = Arc::new(believing(issuer.url(), ""));
    let resource = format!("{GATE}/mcp");
    let good = issuer.token("ann", &resource, "").await;
    assert!(check(&identity, &good).await.is_ok());
    // Tokens of keys that were there for a moment: a rotation each, which the gate cannot tell from made-up names.
    let mut strangers = Vec::new();
    for _ in 0..5 {
        issuer.rotate(false).await;
        strangers.push(issuer.token("ann", &resource, "").await);
    }
    issuer.rotate(false).await;
    let mut storm = tokio::task::JoinSet::new();
    for round in 0..200 {
        let (identity, token) = (Arc::clone(&identity), strangers[round % 5].clone());
        storm.spawn(async move { check(&identity, &token).await.unwrap_err().status() });
    }
    while let Some(status) = storm.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(issuer.counts().await["keys"], 2);
}

#[tokio::test]
async fn an_issuer_may_die_and_come_back() {
    let mut issuer = Issuer::start(clients()).await.unwrap();
    let identity = believing(issuer.url(), "");
    let resource = format!("{GATE}/mcp");
    let (one, other) = (
        issuer.token("ann", &resource, "").await,
        issuer.token("eve", &resource, "").await,
    );
    assert!(check(&identity, &one).await.is_ok());
    issuer.kill().await;
    // Its keys are still there: one that is remembered, and one that has never been seen.
    assert!(check(&identity, &one).await.is_ok());
    assert!(check(&identity, &other).await.is_ok());

    // A gate that starts now starts, and says that it cannot tell.
    let late = believing(issuer.url(), "");
    late.begin();
    let refusal = check(&late, &one).await.unwrap_err();
    assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE, "{refusal:?}");
    assert!(refusal.reason().contains("cannot be reached"), "{refusal:?}");
    assert!(refusal.retry_after().unwrap() <= Duration::from_secs(60));

    issuer.revive().await;
    let token = issuer.token("ann", &resource, "").await;
    eventually("the issuer is believed again", async || {
        check(&late, &token).await.is_ok()
    })
    .await;
    // It has other keys now.
    assert_eq!(
        check(&late, &one).await.unwrap_err().status(),
        StatusCode::UNAUTHORIZED
    );
}
