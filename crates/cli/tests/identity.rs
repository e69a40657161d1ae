//! Who is believed, through the whole gate: a real issuer whose keys turn and which dies, keys in files, API keys.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use std::io::Write as _;

use gatepost_testkit::gate::{Gate, Post, command_in, eventually};
use gatepost_testkit::issuer::Issuer;
use gatepost_testkit::odd::{Odd, OddServer};
use gatepost_testkit::tokens::{Signer, now};
use serde_json::{Value, json};

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");
const GATE: &str = "https://gate.example.com";

/// What was found, or nothing where the test may be skipped.
fn or_skip<T, E: std::fmt::Display>(found: Result<T, E>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(missing) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{missing}"),
        Err(missing) => {
            // Loud on purpose: a skipped test must not look like a passed one.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
            None
        }
    }
}

/// From a challenge to an answer, as a client finds its way, and on while the issuer changes and is silent. That it may come
/// back with other keys takes half a minute to notice, which `gatepost-identity` tests with a clock of its own.
#[tokio::test]
async fn a_real_issuers_tokens_are_taken_while_its_keys_turn_and_while_it_is_dead() {
    let clients = json!({
        "ann": { "groups": ["analysts"], "org": "acme" },
        "ben": { "groups": ["analysts"], "org": "globex" },
        "cat": { "groups": [], "org": "acme" },
        "eve": { "groups": ["analysts"], "org": "initech" },
    });
    let Some(mut issuer) = or_skip(Issuer::start(clients).await) else {
        return;
    };
    let crm = OddServer::start(Odd::modern()).await.unwrap();
    let identity = json!({ "jwt": [{ "issuer": issuer.url(), "tenant": { "claim": "org", "allow": ["acme", "globex"] } }] });
    let configuration = format!(
        r#"
http: {{ public_url: '{GATE}' }}
identity: {identity}
roles:
  analyst: {{ allow: ["crm__*"], access: destructive }}
  writer: {{ allow: ["crm__pid"], access: destructive, scopes: ["orders:write"] }}
bindings: [{{ roles: [analyst], groups: [analysts] }}, {{ role: writer, tenant: acme }}]
servers: {{ crm: {{ url: "{}" }} }}
"#,
        crm.url()
    );
    let gate = Gate::start(GATEPOST, &configuration).await;
    let resource = format!("{GATE}/mcp");
    let call = async |token: &str, tool: &str| {
        let client = gate.modern("/mcp").bearing(token);
        client.call(tool, "{}").await
    };

    // The way there: nothing, a challenge, metadata, the issuer, a token.
    let refused = gate.modern("/mcp").ask("tools/list", "{}").await;
    assert_eq!(refused.status, 401);
    let challenge = refused.header("www-authenticate").unwrap();
    let metadata = challenge
        .split('"')
        .nth(1)
        .and_then(|url| url.strip_prefix(GATE))
        .expect("a URL at the gate");
    let metadata = Post::get(metadata)
        .send(gate.address())
        .await
        .whole()
        .await
        .json();
    assert_eq!(metadata["authorization_servers"], json!([issuer.url()]));
    assert_eq!(metadata["resource"], resource);
    let ann = issuer
        .token("ann", metadata["resource"].as_str().unwrap(), "")
        .await;
    let answer = call(&ann, "crm__echo").await;
    assert_eq!(answer.outcome(), (200, None), "{}", answer.text());
    // No server sees it.
    let seen = format!("{:?}", crm.received());
    assert!(
        !seen.contains("authorization") && !seen.contains(&ann[..40]),
        "{seen}"
    );

    let (ben, cat, eve) = (
        issuer.token("ben", &resource, "").await,
        issuer.token("cat", &resource, "orders:read").await,
        issuer.token("eve", &resource, "").await,
    );
    assert_eq!(call(&ben, "crm__echo").await.outcome(), (200, None));
    assert_eq!(call(&cat, "crm__echo").await.outcome(), (200, Some(-32602)));
    let short = call(&cat, "crm__pid").await;
    assert_eq!(short.status, 403);
    let needed = short.header("www-authenticate").unwrap().to_owned();
    assert!(needed.contains(r#"scope="orders:write""#), "{needed}");
    let more = issuer.token("cat", &resource, "orders:read orders:write").await;
    assert_eq!(call(&more, "crm__pid").await.outcome(), (200, None));
    assert_eq!(call(&eve, "crm__echo").await.status, 401);
    let elsewhere = issuer.token("ann", "https://elsewhere.example/mcp", "").await;
    assert_eq!(call(&elsewhere, "crm__echo").await.status, 401);

    // Its keys turn: the next token is good at once, those before as long as their key is published.
    issuer.rotate(true).await;
    let turned = issuer.token("ann", &resource, "").await;
    assert_eq!(call(&turned, "crm__echo").await.outcome(), (200, None));
    assert_eq!(call(&ann, "crm__echo").await.outcome(), (200, None));

    // It dies: whoever has a token goes on, also one that was not seen before; nobody else begins.
    let kept = issuer.token("ben", &resource, "orders:read").await;
    let counts = issuer.counts().await;
    issuer.kill().await;
    for token in [&turned, &kept] {
        assert_eq!(call(token, "crm__echo").await.outcome(), (200, None));
    }
    assert_eq!(gate.modern("/mcp").ask("tools/list", "{}").await.status, 401);
    assert!(counts["keys"].as_u64().unwrap() <= 3, "{counts}");
    assert_eq!(gate.health().await["status"], "healthy");
}

/// Both ways side by side, from files that change while the gate runs.
#[tokio::test]
async fn keys_in_files_and_api_keys_side_by_side() {
    let crm = OddServer::start(Odd::modern()).await.unwrap();
    let (first, second) = (Signer::p256(), Signer::ed25519());
    let configuration = format!(
        r#"
identity: {{ api_keys: true, jwt: [{{ issuer: "https://id.example.com", audience: [gate], jwks_file: keys.json }}] }}
roles:
  reader: {{ allow: ["crm__echo"], access: destructive }}
  operator: {{ allow: ["*"], access: destructive }}
bindings: [{{ role: reader, users: [ann] }}]
servers: {{ crm: {{ url: "{}" }} }}
"#,
        crm.url()
    );
    let folder = Gate::prepare(&configuration);
    let keys = folder.path().join("keys.json");
    std::fs::write(&keys, json!({ "keys": [first.jwk("one")] }).to_string()).unwrap();
    let made = command_in(
        GATEPOST.as_ref(),
        folder.path(),
        &[
            "keys", "create", "--json", "--role", "operator", "--tenant", "acme",
        ],
    )
    .await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let key = made["key"].as_str().unwrap();
    let gate = Gate::start_in(GATEPOST, &configuration, folder).await;
    let token = |signer: &Signer, algorithm: &str, kid: &str| {
        signer.token(
            &json!({ "alg": algorithm, "kid": kid }),
            &json!({ "iss": "https://id.example.com", "sub": "ann", "aud": ["x", "gate"], "exp": now() + 600 }),
        )
    };
    let (one, two) = (token(&first, "ES256", "one"), token(&second, "EdDSA", "two"));
    let tools = async |credential: &str| {
        let client = gate.modern("/mcp").bearing(credential);
        let answer = client.ask("tools/list", "{}").await;
        (answer.status == 200).then(|| answer.names("tools"))
    };
    // Without `http.public_url` nobody can be told where, but that something is missing.
    let refused = gate.modern("/mcp").ask("tools/list", "{}").await;
    assert_eq!(
        refused.header("www-authenticate"),
        Some(r#"Bearer realm="gatepost""#)
    );
    assert_eq!(tools(&one).await.unwrap(), ["crm__echo"]);
    assert!(tools(key).await.unwrap().len() > 20);
    assert_eq!(tools(&two).await, None);
    // The issuer's new key is put into the file, the old one taken out.
    std::fs::write(&keys, json!({ "keys": [second.jwk("two")] }).to_string()).unwrap();
    eventually("the new key counts", async || tools(&two).await.is_some()).await;
    eventually("the old one no longer", async || tools(&one).await.is_none()).await;
    assert!(tools(key).await.is_some());
}

/// What presents nothing where nobody asks is `local`; what presents something there is no more and no less.
#[tokio::test]
async fn without_identity_a_credential_changes_nothing() {
    let crm = OddServer::start(Odd::modern()).await.unwrap();
    let gate = Gate::start(
        GATEPOST,
        &format!("servers: {{ crm: {{ url: '{}' }} }}", crm.url()),
    )
    .await;
    for client in [gate.modern("/mcp"), gate.modern("/mcp").bearing("whatever")] {
        assert_eq!(client.call("crm__echo", "{}").await.outcome(), (200, None));
    }
    assert!(
        crm.all("tools/call")
            .iter()
            .all(|call| call.header("authorization").is_none())
    );
    let metadata = Post::get("/.well-known/oauth-protected-resource/mcp");
    assert_eq!(metadata.send(gate.address()).await.status, 404);
}
