//! What tests of this crate need: issuers that sign whatever a test wants, and a gate that believes them.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicI64, Ordering::SeqCst},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatepost_config::{Config, Identity as Settings};
use gatepost_policy::{Facts, UnixMillis};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Clock, Identity, Refusal, Resource, Verified};

pub(crate) const ISSUER: &str = "https://id.example.com";
pub(crate) const GATE: &str = "https://gate.example.com";
/// When tests begin.
pub(crate) const NOW: i64 = 1_790_000_000;

/// A key that signs.
pub(crate) enum Signer {
    Rsa(Box<RsaKeyPair>, &'static dyn signature::RsaEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    /// The public key's text as the secret of an HMAC, which is what the confusion of algorithms comes down to.
    Hmac(Vec<u8>),
    Nobody,
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// RSA keys take a while to make: one for all tests of a process.
fn rsa() -> RsaKeyPair {
    static PAIR: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec()
    });
    RsaKeyPair::from_pkcs8(&PAIR).unwrap()
}

impl Signer {
    /// The issuer's own.
    pub(crate) fn own() -> Self {
        Self::Ed(Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap())
    }

    /// Somebody else's, of the same kind.
    pub(crate) fn other() -> Self {
        Self::Ed(Ed25519KeyPair::from_seed_unchecked(&[2; 32]).unwrap())
    }

    pub(crate) fn rsa() -> Self {
        Self::rsa_as(&signature::RSA_PKCS1_SHA256)
    }

    pub(crate) fn rsa_as(encoding: &'static dyn signature::RsaEncoding) -> Self {
        Self::Rsa(Box::new(rsa()), encoding)
    }

    pub(crate) fn p256() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn p384() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    /// Its public key, called `kid`.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair, _) => {
                // SEQUENCE { INTEGER n, INTEGER e } of a key of 2048 bits.
                let der = pair.public_key().as_ref();
                json!({ "kty": "RSA", "kid": kid, "n": b64(&der[9..9 + 256]), "e": "AQAB" })
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at((point.len() - 1) / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "kid": kid, "crv": curve, "x": b64(x), "y": b64(y) })
            }
            Self::Ed(pair) => {
                json!({ "kty": "OKP", "kid": kid, "crv": "Ed25519", "x": b64(pair.public_key()) })
            }
            Self::Hmac(_) | Self::Nobody => Value::Null,
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Hmac(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Self::Nobody => Vec::new(),
        }
    }

    /// A token with header and claims exactly as they are written.
    pub(crate) fn token_of(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }

    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string())
    }
}

/// A header that is good for [`Signer::own`].
pub(crate) fn header() -> Value {
    json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "one" })
}

/// Claims that are good.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "ann",
        "aud": format!("{GATE}/mcp"),
        "exp": NOW + 600,
        "iat": NOW,
        "scope": "orders:read orders:write",
        "groups": ["analysts", "people"],
    })
}

/// `base` with some members changed; `null` takes one away.
pub(crate) fn with(mut base: Value, changes: Value) -> Value {
    let (Value::Object(members), Value::Object(changes)) = (&mut base, changes) else {
        panic!("both are objects")
    };
    for (name, value) in changes {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    base
}

/// A clock that is set by hand.
#[derive(Clone)]
pub(crate) struct Hand(Arc<AtomicI64>);

impl Hand {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(NOW * 1000)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Clock::new(move || UnixMillis(time.load(SeqCst)))
    }

    pub(crate) fn set(&self, seconds: i64) {
        self.0.store(seconds * 1000, SeqCst);
    }
}

/// A gate that believes one issuer, whose keys are in a file.
pub(crate) struct Rig {
    pub(crate) identity: Identity<Facts>,
    pub(crate) hand: Hand,
    pub(crate) folder: TempDir,
}

/// The settings that `yaml` says of an issuer, besides its name and the file of its keys.
pub(crate) fn settings(folder: &TempDir, yaml: &str) -> Settings {
    let text = format!(
        "{{ data_dir: state, http: {{ public_url: '{GATE}' }}, audit: {{}}, identity: {{ api_keys: true, jwt: [{{ issuer: '{ISSUER}', jwks_file: keys.json, {yaml} }}] }} }}"
    );
    let config = Config::parse_in(folder.path(), &text, &|_| None).unwrap();
    config.identity.unwrap()
}

impl Rig {
    /// One whose issuer has these keys and settings.
    pub(crate) fn new(keys: &[Value], yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("keys.json"),
            json!({ "keys": keys }).to_string(),
        )
        .unwrap();
        let hand = Hand::new();
        let settings = settings(&folder, yaml);
        let identity = Identity::new(&settings, None, hand.clock(), |facts| facts).unwrap();
        Self {
            identity,
            hand,
            folder,
        }
    }

    /// One whose issuer has the key of [`Signer::own`].
    pub(crate) fn usual() -> Self {
        Self::new(&[Signer::own().jwk("one")], "")
    }

    pub(crate) fn check(&self, token: &str) -> Result<Arc<Verified<Facts>>, Refusal> {
        self.check_at(token, "/mcp")
    }

    pub(crate) fn check_at(&self, token: &str, path: &str) -> Result<Arc<Verified<Facts>>, Refusal> {
        let (headers, resource) = (bearer(token), resource(path));
        if tokio::runtime::Handle::try_current().is_ok() {
            let outcome = self.identity.recall(&headers, &resource);
            return outcome.expect("keys in a file are there");
        }
        // A key that is not in the file makes the gate look at the file again.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime
            .unwrap()
            .block_on(self.identity.verify(&headers, &resource))
    }

    /// Why the token is refused; it is told to nobody in the same words, and nobody is told of the token.
    #[track_caller]
    pub(crate) fn refused(&self, token: &str) -> String {
        let refusal = self.check(token).expect_err("the token is taken");
        assert_eq!(refusal.status(), 401, "{refusal:?}");
        let signature = token.rsplit('.').next().unwrap();
        for said in [refusal.reason(), refusal.message(), &format!("{refusal:?}")] {
            assert!(!said.contains(token), "{said}");
            assert!(signature.len() < 16 || !said.contains(signature), "{said}");
        }
        refusal.reason().to_owned()
    }
}

pub(crate) fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::AUTHORIZATION,
        HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
    );
    headers
}

pub(crate) fn resource(path: &str) -> Resource {
    Resource::new(
        Some(&GATE.parse().unwrap()),
        path,
        vec![ISSUER.into()],
        Vec::new(),
    )
}
