//! Tokens, signed with whatever a test wants, and the keys that an issuer would publish for them.
//!
//! A header and claims are what the test writes, to the byte: what no honest issuer would ever sign, too.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::gate::fail;

/// A key that signs, in one way.
#[derive(Debug)]
pub enum Signer {
    /// RSA, 2048 bit.
    Rsa(Box<RsaKeyPair>),
    /// ECDSA on P-256.
    P256(Box<EcdsaKeyPair>),
    /// Ed25519.
    Ed25519(Box<Ed25519KeyPair>),
}

/// How a signature is made of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As the key's own kind is meant: RS256, ES256, EdDSA.
    Own,
    /// RSA with SHA-384.
    Rs384,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// ECDSA in the ASN.1 form, which is none of JWT's.
    Asn1,
}

impl Signer {
    /// A new key for RS256.
    pub fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap_or_else(|_| broken());
        Self::Rsa(Box::new(pair))
    }

    /// A new key for ES256.
    pub fn p256() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap_or_else(|_| broken());
        Self::P256(Box::new(pair))
    }

    /// A new key for EdDSA.
    pub fn ed25519() -> Self {
        Self::Ed25519(Box::new(Ed25519KeyPair::generate().unwrap_or_else(|_| broken())))
    }

    /// Its public key as an issuer publishes it, called `kid`.
    pub fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                // SEQUENCE { INTEGER n, INTEGER e } of a key of 2048 bits.
                let n = pair.public_key().as_ref().get(9..9 + 256).unwrap_or_default();
                json!({ "kty": "RSA", "kid": kid, "use": "sig", "n": base64url(n), "e": "AQAB" })
            }
            Self::P256(pair) => {
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "kid": kid, "use": "sig", "crv": "P-256", "x": base64url(x), "y": base64url(y) })
            }
            Self::Ed25519(pair) => {
                let x = base64url(pair.public_key().as_ref());
                json!({ "kty": "OKP", "kid": kid, "use": "sig", "crv": "Ed25519", "x": x })
            }
        }
    }

    /// Its public key in every form that somebody may have taken for the secret of an HMAC.
    pub fn public_texts(&self, kid: &str) -> Vec<Vec<u8>> {
        let mut texts = vec![
            self.jwk(kid).to_string().into_bytes(),
            json!({ "keys": [self.jwk(kid)] }).to_string().into_bytes(),
        ];
        if let Self::Rsa(pair) = self {
            texts.push(pair.public_key().as_ref().to_vec());
            let der: Option<PublicKeyX509Der<'_>> = pair.public_key().as_der().ok();
            let der = der.map(|der| der.as_ref().to_vec()).unwrap_or_default();
            let pem = BASE64_STANDARD.encode(&der);
            let lines: Vec<_> = pem.as_bytes().chunks(64).collect();
            let body = lines.join(&b'\n');
            let pem = [
                &b"-----BEGIN PUBLIC KEY-----\n"[..],
                &body,
                b"\n-----END PUBLIC KEY-----\n",
            ]
            .concat();
            texts.extend([pem.trim_ascii().to_vec(), pem, der]);
        }
        if let Self::P256(pair) = self {
            texts.push(pair.public_key().as_ref().to_vec());
        }
        texts
    }

    /// A token with this header and these claims, byte for byte.
    pub fn token_of(&self, header: &str, claims: &str) -> String {
        self.token_in(Way::Own, header, claims)
    }

    /// A token with this header and these claims.
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string())
    }

    /// As [`Signer::token_of`], with the signature made another way.
    pub fn token_in(&self, way: Way, header: &str, claims: &str) -> String {
        sealed(header, claims, |message| self.sign(way, message))
    }

    fn sign(&self, way: Way, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match way {
                    Way::Rs384 => &RSA_PKCS1_SHA384,
                    Way::Ps256 => &RSA_PSS_SHA256,
                    Way::Own | Way::Asn1 => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .unwrap_or_else(|_| broken());
                signature
            }
            Self::P256(pair) => {
                let signed = match way {
                    Way::Asn1 => pair
                        .to_pkcs8v1()
                        .map_err(drop)
                        .and_then(|document| {
                            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref())
                                .map_err(drop)
                        })
                        .and_then(|pair| pair.sign(&random, message).map_err(drop)),
                    _ => pair.sign(&random, message).map_err(drop),
                };
                signed.unwrap_or_else(|()| broken()).as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// A token whose signature is the HMAC-SHA-256 of `secret`, whatever its header says.
pub fn hmac_token(secret: &[u8], header: &str, claims: &str) -> String {
    sealed(header, claims, |message| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::sign(&key, message).as_ref().to_vec()
    })
}

/// A token with exactly these bytes as its signature.
pub fn token_with(signature: &[u8], header: &str, claims: &str) -> String {
    sealed(header, claims, |_| signature.to_vec())
}

/// Base64 as tokens have it.
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The time, in seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// `base` with some members changed; `null` takes one away.
#[must_use]
pub fn with(mut base: Value, changes: Value) -> Value {
    let (Value::Object(members), Value::Object(changes)) = (&mut base, changes) else {
        fail(format_args!("both must be objects"))
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

fn sealed(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", base64url(signature))
}

fn broken() -> ! {
    fail(format_args!("the cryptographic library refused to work"))
}
