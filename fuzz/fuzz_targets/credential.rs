//! Any credential, any claims that a trusted issuer signed, any set of keys: nothing panics, nothing that nobody signed
//! passes, and what passes is within bounds.
#![no_main]

use std::{path::PathBuf, sync::LazyLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatepost_config::Config;
use gatepost_identity::{Clock, Identity, Resource};
use gatepost_policy::{Facts, UnixMillis};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

const ISSUER: &str = "https://id.example.com";

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("gatepost-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A gate that believes one issuer with the set of keys `keys`.
fn believing(name: &str, keys: &[u8]) -> Option<Identity<Facts>> {
    std::fs::write(folder().join(name), keys).expect("a file");
    let text = format!(
        "{{ data_dir: state, http: {{ public_url: 'https://gate' }}, audit: {{}}, identity: {{ jwt: [{{ issuer: '{ISSUER}', \
         jwks_file: {name}, tenant: {{ claim: org, allow: [acme] }} }}] }} }}"
    );
    let settings = Config::parse_in(&folder(), &text, &|_| None)
        .expect("a configuration")
        .identity?;
    let clock = Clock::new(|| UnixMillis(1_790_000_000_000));
    Identity::new(&settings, None, clock, |facts| facts).ok()
}

static PAIR: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[1; 32]).expect("a key"));

static GATE: LazyLock<Identity<Facts>> = LazyLock::new(|| {
    let x = URL_SAFE_NO_PAD.encode(PAIR.public_key());
    let keys = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}]}}"#);
    believing("good.json", keys.as_bytes()).expect("a gate")
});

fn ask(headers: &HeaderMap) -> bool {
    let url = "https://gate".parse().expect("a URL");
    let resource = Resource::new(Some(&url), "/mcp", Vec::new(), Vec::new());
    // Keys in a file are there, so that it can always be said at once.
    match GATE.recall(headers, &resource).expect("an answer") {
        Ok(verified) => {
            let facts = verified.bearer();
            assert_eq!(facts.principal.issuer(), ISSUER);
            assert_eq!(facts.principal.tenant(), Some("acme"));
            assert!(!facts.principal.subject().is_empty());
            assert!(facts.groups.len() <= 1000 && facts.groups.iter().all(|group| group.len() <= 256));
            assert!(
                verified
                    .audiences()
                    .iter()
                    .any(|one| one.to_ascii_lowercase().starts_with("https://gate"))
            );
            true
        }
        Err(refusal) => {
            assert!(refusal.status().is_client_error() || refusal.retry_after().is_some());
            assert!(!refusal.reason().contains(['\n', '\r']), "{refusal:?}");
            let _ = resource.challenge(&refusal);
            false
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    let mut headers = HeaderMap::new();
    match kind % 4 {
        0 => {
            for (field, name) in
                data.split(|&byte| byte == 0)
                    .zip(["authorization", "x-api-key", "authorization"])
            {
                if let Ok(value) = HeaderValue::from_bytes(field) {
                    headers.append(name, value);
                }
            }
            assert!(!ask(&headers), "nobody signed that");
        }
        1 | 2 => {
            let mut parts = data.splitn(2, |&byte| byte == 0);
            let (Some(header), Some(claims)) = (parts.next(), parts.next()) else {
                return;
            };
            let header = if kind % 4 == 1 {
                header
            } else {
                &br#"{"alg":"EdDSA"}"#[..]
            };
            let signed = format!(
                "{}.{}",
                URL_SAFE_NO_PAD.encode(header),
                URL_SAFE_NO_PAD.encode(claims)
            );
            let signature = URL_SAFE_NO_PAD.encode(PAIR.sign(signed.as_bytes()));
            let value = format!("Bearer {signed}.{signature}");
            headers.insert("authorization", value.parse().expect("a token"));
            ask(&headers);
        }
        _ => {
            let _ = believing("any.json", data);
        }
    }
});
