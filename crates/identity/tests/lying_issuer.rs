//! Issuers that lie, stall, drown the gate or answer with a page: each is refused with a reason that helps whoever runs the
//! gate, and harms nobody but those who have its tokens.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatepost_config::Config;
use gatepost_identity::{Clock, Identity, Refusal, Resource};
use gatepost_policy::Facts;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const GATE: &str = "https://gate.example.com";

/// An answer of status 200.
fn ok(media: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn json_of(body: &str) -> String {
    ok("application/json", body)
}

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// A server that answers each path as `answer` says, given its own URL; an empty answer is none for ever.
struct Liar {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Liar {
    async fn start(answer: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let (answer, count, own) = (Arc::new(answer), Arc::clone(&asked), url.clone());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, SeqCst);
                let (answer, own) = (Arc::clone(&answer), own.clone());
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    let request = String::from_utf8_lossy(&request[..length]).into_owned();
                    let path = request.split(' ').nth(1).unwrap_or_default();
                    let text = answer(&own, path);
                    let _ = stream.write_all(text.as_bytes()).await;
                    if text.is_empty() {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { url, asked }
    }

    /// One whose metadata is honest, and whose keys are `keys`.
    async fn with_keys(keys: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start(move |own, path| match path {
            "/.well-known/oauth-authorization-server" => {
                json_of(&json!({ "issuer": own, "jwks_uri": format!("{own}/jwks") }).to_string())
            }
            "/jwks" => keys(own),
            _ => NOT_FOUND.to_owned(),
        })
        .await
    }
}

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn good_keys() -> String {
    let x = URL_SAFE_NO_PAD.encode(signer().public_key());
    json_of(&json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x }] }).to_string())
}

fn token(issuer: &str) -> String {
    let b64 = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let now = Clock::system().now().0 / 1000;
    let signed = format!(
        "{}.{}",
        b64(json!({ "alg": "EdDSA", "kid": "k" })),
        b64(json!({ "iss": issuer, "sub": "ann", "aud": format!("{GATE}/mcp"), "exp": now + 60 }))
    );
    let signature = URL_SAFE_NO_PAD.encode(signer().sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn believing(issuers: &[&str]) -> Identity<Facts> {
    let jwt: Vec<_> = issuers.iter().map(|issuer| json!({ "issuer": issuer })).collect();
    let text = json!({
        "data_dir": "state", "http": { "public_url": GATE }, "audit": {}, "identity": { "jwt": jwt }
    });
    let config = Config::parse_in(&std::env::temp_dir(), &text.to_string(), &|_| None).unwrap();
    Identity::new(&config.identity.unwrap(), None, Clock::system(), |facts| facts).unwrap()
}

async fn check(identity: &Identity<Facts>, token: &str) -> Result<(), Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let resource = Resource::new(Some(&GATE.parse().unwrap()), "/mcp", Vec::new(), Vec::new());
    identity.verify(&headers, &resource).await.map(|_| ())
}

/// The issuer is refused as not to be had, for a reason that names `expected`, and is not asked again for that.
async fn refused(liar: &Liar, expected: &str) {
    let identity = believing(&[&liar.url]);
    let refusal = check(&identity, &token(&liar.url)).await.unwrap_err();
    assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE, "{refusal:?}");
    assert!(refusal.reason().contains(expected), "{refusal:?}");
    assert!(refusal.reason().contains(&liar.url), "{refusal:?}");
    // The client hears nothing of the gate's trouble with it.
    assert!(!refusal.message().contains(&liar.url), "{refusal}");
    let asked = liar.asked.load(SeqCst);
    for _ in 0..20 {
        assert!(check(&identity, &token(&liar.url)).await.is_err());
    }
    assert!(liar.asked.load(SeqCst) <= asked + 4, "asked again at once");
}

#[tokio::test]
async fn an_honest_one_is_believed() {
    let liar = Liar::with_keys(|_| good_keys()).await;
    assert!(check(&believing(&[&liar.url]), &token(&liar.url)).await.is_ok());
}

/// RFC 8414 3.3: metadata of somebody else MUST NOT be used, though the keys that it leads to would fit.
#[tokio::test]
async fn metadata_of_another_issuer() {
    let liar = Liar::start(|own, path| match path {
        "/jwks" => good_keys(),
        _ => json_of(
            &json!({ "issuer": "https://honest.example", "jwks_uri": format!("{own}/jwks") }).to_string(),
        ),
    })
    .await;
    refused(&liar, "is that of `https://honest.example`").await;
}

#[tokio::test]
async fn keys_in_a_place_where_anybody_could_have_put_them() {
    let liar = Liar::start(|own, _| {
        json_of(&json!({ "issuer": own, "jwks_uri": "http://keys.example.com/jwks" }).to_string())
    })
    .await;
    refused(&liar, "`http://keys.example.com/jwks`, which is not https").await;
}

#[tokio::test]
async fn a_page_instead_of_keys() {
    let liar = Liar::with_keys(|_| ok("text/html; charset=utf-8", "<html>Please sign in</html>")).await;
    refused(&liar, "it is text/html").await;
    let liar = Liar::start(|_, _| ok("text/html", "<html>Please sign in</html>")).await;
    refused(&liar, "did not answer with metadata").await;
}

#[tokio::test]
async fn too_much_of_everything() {
    let liar = Liar::with_keys(|_| json_of(&format!("{{\"keys\":[{}]}}", " ".repeat(600 * 1024)))).await;
    refused(&liar, "more than 524288 bytes").await;
    // Without saying so before, and without an end.
    let liar = Liar::with_keys(|_| format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(5_000_000))).await;
    refused(&liar, "more than 524288 bytes").await;
    let many = format!("{{\"keys\":[{}0]}}", "0,".repeat(1000));
    let liar = Liar::with_keys(move |_| json_of(&many)).await;
    refused(&liar, "1001 keys").await;
}

#[tokio::test]
async fn no_key_that_could_be_used() {
    let secret = json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "HS256" }] });
    let liar = Liar::with_keys(move |_| json_of(&secret.to_string())).await;
    refused(&liar, "no key that can be used").await;
}

#[tokio::test]
async fn errors_and_redirections() {
    let liar = Liar::start(|_, _| NOT_FOUND.to_owned()).await;
    refused(&liar, "404").await;
    let liar = Liar::with_keys(|own| {
        format!("HTTP/1.1 302 Found\r\nlocation: {own}/elsewhere?token=secret\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    refused(&liar, "/elsewhere, which is not followed").await;
}

#[tokio::test]
async fn one_that_says_nothing_holds_up_its_own_tokens_only() {
    let silent = Liar::start(|_, _| String::new()).await;
    let honest = Liar::with_keys(|_| good_keys()).await;
    let identity = believing(&[&silent.url, &honest.url]);
    let slow = token(&silent.url);
    let waiting = check(&identity, &slow);
    tokio::pin!(waiting);
    // While one waits for the silent issuer, the others pass.
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err());
    for _ in 0..10 {
        assert!(check(&identity, &token(&honest.url)).await.is_ok());
    }
    // Nothing is under way any more but its silence.
    tokio::time::pause();
    let refusal = waiting.await.unwrap_err();
    assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE, "{refusal:?}");
    assert!(
        refusal.reason().contains("has not answered within 5 s"),
        "{refusal:?}"
    );
}

/// A token of one issuer that says it is of another, whose keys have the same names.
#[tokio::test]
async fn one_issuer_cannot_speak_for_another() {
    let evil = Liar::with_keys(|_| good_keys()).await;
    let honest = Liar::with_keys(|_| {
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        let x = URL_SAFE_NO_PAD.encode(other.public_key());
        json_of(&json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x }] }).to_string())
    })
    .await;
    let identity = believing(&[&evil.url, &honest.url]);
    assert!(check(&identity, &token(&evil.url)).await.is_ok());
    let refusal = check(&identity, &token(&honest.url)).await.unwrap_err();
    assert_eq!(refusal.reason(), "its signature is wrong");
}
