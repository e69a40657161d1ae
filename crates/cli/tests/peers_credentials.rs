//! Tokens that the gate gets from a real issuer, npm's `oidc-provider`, for itself and with its callers' own.
//!
//! It is installed by `make install-peers`. Where it is missing these tests say so and pass, but for CI, where they fail.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use std::io::Write as _;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gatepost_testkit::gate::{Gate, eventually};
use gatepost_testkit::issuer::Issuer;
use gatepost_testkit::odd::{Odd, OddServer};
use serde_json::{Value, json};

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");

/// An issuer with these clients, or nothing where the test may be skipped.
async fn issuer(options: Value) -> Option<Issuer> {
    match Issuer::with(options).await {
        Ok(issuer) => Some(issuer),
        Err(missing) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{missing}"),
        Err(missing) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
            None
        }
    }
}

/// What the token says that a server was sent last.
fn presented(server: &OddServer) -> Value {
    let call = server.last("tools/call").unwrap();
    let token = call
        .header("authorization")
        .unwrap()
        .strip_prefix("Bearer ")
        .unwrap()
        .to_owned();
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test]
async fn the_gate_gets_a_token_that_is_for_the_server() {
    // oidc-provider gives tokens for two minutes here.
    let options = json!({ "clients": { "gate": {} }, "ttl": 120 });
    let Some(mut issuer) = issuer(options).await else {
        return;
    };
    let servers = [
        OddServer::start(Odd::modern().plain("t", 1)).await.unwrap(),
        OddServer::start(Odd::legacy().plain("t", 1)).await.unwrap(),
        OddServer::start(Odd::modern().plain("t", 1)).await.unwrap(),
    ];
    let granted = |server: &OddServer, secret: &str| {
        let origin = server.url().trim_end_matches("/mcp").to_owned();
        json!({ "url": server.url(), "credentials": [{ "client_credentials": { "token_url": issuer.token_url(),
            "client_id": "gate", "client_secret": secret, "scopes": ["orders:read"], "resource": origin } }] })
    };
    let configured = json!({
        "modern": granted(&servers[0], "secret-of-gate"),
        "old": granted(&servers[1], "secret-of-gate"),
        "wrong": granted(&servers[2], "wrong-canary"),
    });
    let gate = Gate::start(GATEPOST, &format!("servers: {configured}")).await;
    for (name, server) in [("modern", &servers[0]), ("old", &servers[1])] {
        let calls = (0..16).map(|_| {
            let client = gate.modern(&format!("/mcp/{name}"));
            async move { client.call("t_0000", r#"{"a":1}"#).await.text() }
        });
        for text in futures_util::future::join_all(calls).await {
            assert!(text.contains(r#"\"a\":1"#), "{text}");
        }
        let claims = presented(server);
        let origin = server.url().trim_end_matches("/mcp").to_owned();
        assert_eq!(
            (
                claims["iss"].as_str().unwrap(),
                &claims["aud"],
                &claims["client_id"],
                &claims["scope"]
            ),
            (
                issuer.url(),
                &json!(origin),
                &json!("gate"),
                &json!("orders:read")
            )
        );
    }
    // One for each server that takes one, however many calls there were.
    assert_eq!(issuer.counts().await["tokens"], 3, "and one refusal");
    let refused = gate.modern("/mcp/wrong").call("t_0000", "{}").await.text();
    assert!(
        refused.contains("`wrong` was not asked") && refused.contains("`invalid_client`"),
        "{refused}"
    );
    assert!(
        refused.contains(&issuer.token_url()) && !refused.contains("canary"),
        "{refused}"
    );
    assert_eq!(servers[2].received().len(), 0);
    assert!(!gate.log().contains("canary") && !gate.health().await.to_string().contains("canary"));

    // A dead issuer is no reason to stop while there is a token.
    issuer.kill().await;
    let text = gate
        .modern("/mcp/modern")
        .call("t_0000", r#"{"a":2}"#)
        .await
        .text();
    assert!(text.contains(r#"\"a\":2"#), "{text}");
}

#[tokio::test]
async fn a_callers_token_is_passed_on_to_the_server_that_it_names() {
    let Some(issuer) = issuer(json!({ "clients": { "ann": { "groups": ["staff"] } } })).await else {
        return;
    };
    let server = OddServer::start(Odd::modern().plain("t", 1)).await.unwrap();
    let origin = server.url().trim_end_matches("/mcp").to_owned();
    // The issuer gives tokens for one resource each: the gate takes those of its server.
    let identity = json!({ "jwt": [{ "issuer": issuer.url(), "audience": [origin] }] });
    let servers =
        json!({ "s": { "url": server.url(), "credentials": [{ "pass_through": { "audience": origin } }] } });
    let configuration = format!(
        "identity: {identity}\nservers: {servers}\nroles: {{ all: {{ allow: ['*'], access: destructive }} }}\n\
         bindings: [{{ role: all, groups: [staff] }}]"
    );
    let gate = Gate::start(GATEPOST, &configuration).await;
    let token = issuer.token("ann", &origin, "orders:read").await;
    let client = gate.modern("/mcp").bearing(&token);
    eventually("the call passes", async || {
        client
            .call("s__t_0000", r#"{"a":1}"#)
            .await
            .text()
            .contains(r#"\"a\":1"#)
    })
    .await;
    assert!(
        server
            .received()
            .iter()
            .all(|received| received.header("authorization") == Some(&format!("Bearer {token}"))),
        "nothing was asked without it"
    );
    assert_eq!(presented(&server)["aud"], json!(origin));
}
