//! One public key (RFC 7517, RFC 7518 §6, RFC 8037 §2), and the signatures it can have made.
//!
//! The key decides which algorithms it can be used with. What a token says of its algorithm is compared with that and is
//! never the reason for anything, so there is no way to have a public key taken for the secret of an HMAC.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatepost_config::SignatureAlgorithm as Algorithm;
use gatepost_policy::Printable;
use serde_json::{Map, Value};

/// RSA keys below it can be broken, above it they take too long.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The longest `kid`.
pub(crate) const LONGEST_KID: usize = 512;

/// A key that an issuer has published.
pub(crate) struct Key {
    pub(crate) kid: Option<Box<str>>,
    /// The only algorithm that it is for, if it says so.
    only: Option<Algorithm>,
    material: Material,
    /// Its issuer does not publish it any more. What it has signed counts for nothing from then on.
    withdrawn: AtomicBool,
}

enum Material {
    Rsa(RsaPublicKeyComponents<Box<[u8]>>),
    P256(ParsedPublicKey),
    P384(ParsedPublicKey),
    Ed25519(ParsedPublicKey),
}

/// Why a member of a set is not used. RFC 7517 §5 wants what is not understood to be passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it is no object")]
    NoObject,
    #[error("`{0}` is missing or not what it should be")]
    Member(&'static str),
    #[error("its type `{0}` is not for signatures that only its owner can make")]
    Type(String),
    #[error("it is not for signatures")]
    Purpose,
    #[error("its algorithm is not one of those that are ever allowed")]
    Algorithm,
    #[error("an RSA key of {0} bits: it must have from 2048 to 8192")]
    Size(usize),
    #[error("it is no valid key")]
    Invalid,
    #[error("it is a private key; whoever reads this set can sign")]
    Private,
}

impl Key {
    pub(crate) fn of(jwk: &Value) -> Result<Self, Unusable> {
        let jwk = jwk.as_object().ok_or(Unusable::NoObject)?;
        let text = |name: &'static str| match jwk.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Unusable::Member(name)),
        };
        let kty = text("kty")?.ok_or(Unusable::Member("kty"))?;
        if !matches!(kty, "RSA" | "EC" | "OKP") {
            return Err(Unusable::Type(Printable(kty).to_string()));
        }
        if jwk.contains_key("d") {
            return Err(Unusable::Private);
        }
        if text("use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(Unusable::Purpose);
        }
        if let Some(operations) = jwk.get("key_ops") {
            let operations = operations.as_array().ok_or(Unusable::Member("key_ops"))?;
            if !operations.iter().any(|operation| operation == "verify") {
                return Err(Unusable::Purpose);
            }
        }
        let kid = text("kid")?;
        if kid.is_some_and(|kid| kid.len() > LONGEST_KID) {
            return Err(Unusable::Member("kid"));
        }
        let only = match text("alg")? {
            None => None,
            Some(name) => Some(algorithm(name).ok_or(Unusable::Algorithm)?),
        };
        let key = Self {
            kid: kid.map(Into::into),
            only,
            material: Material::of(kty, jwk)?,
            withdrawn: AtomicBool::new(false),
        };
        // A key for an algorithm that cannot be its own is somebody's mistake, and whose, nobody knows.
        if only.is_some_and(|only| !key.material.fits(only)) {
            return Err(Unusable::Algorithm);
        }
        Ok(key)
    }

    /// Whether it makes signatures of `algorithm`.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.only.is_none_or(|only| only == algorithm) && self.material.fits(algorithm)
    }

    /// Whether it has made `signature` of `message`.
    pub(crate) fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        match &self.material {
            Material::Rsa(key) => {
                rsa(algorithm).is_some_and(|parameters| key.verify(parameters, message, signature).is_ok())
            }
            Material::P256(key) | Material::P384(key) | Material::Ed25519(key) => {
                key.verify_sig(message, signature).is_ok()
            }
        }
    }

    /// Whether it is the same key under the same name, for the same use.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = match (&self.material, &other.material) {
            (Material::Rsa(a), Material::Rsa(b)) => a.n == b.n && a.e == b.e,
            (Material::P256(a), Material::P256(b))
            | (Material::P384(a), Material::P384(b))
            | (Material::Ed25519(a), Material::Ed25519(b)) => a.as_ref() == b.as_ref(),
            _ => false,
        };
        same && self.kid == other.kid && self.only == other.only
    }

    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(true, Relaxed);
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Relaxed)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.material {
            Material::Rsa(_) => "RSA",
            Material::P256(_) => "P-256",
            Material::P384(_) => "P-384",
            Material::Ed25519(_) => "Ed25519",
        };
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("kind", &kind)
            .field("only", &self.only)
            .finish_non_exhaustive()
    }
}

// === impl Material ===

impl Material {
    fn of(kty: &str, jwk: &Map<String, Value>) -> Result<Self, Unusable> {
        let bytes = |name: &'static str| {
            jwk.get(name)
                .and_then(Value::as_str)
                .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
                .ok_or(Unusable::Member(name))
        };
        let curve = || {
            jwk.get("crv")
                .and_then(Value::as_str)
                .ok_or(Unusable::Member("crv"))
        };
        let parsed =
            |algorithm, bytes: &[u8]| ParsedPublicKey::new(algorithm, bytes).map_err(|_| Unusable::Invalid);
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            // RFC 7518 6.2.1.2: the full size of a coordinate, always.
            if x.len() != length || y.len() != length {
                return Err(Unusable::Invalid);
            }
            Ok([&[4], &x[..], &y[..]].concat())
        };
        match kty {
            "RSA" => {
                let (n, e) = (unsigned(&bytes("n")?), unsigned(&bytes("e")?));
                let bits = n
                    .first()
                    .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
                if !RSA_BITS.contains(&bits) {
                    return Err(Unusable::Size(bits));
                }
                // An exponent of one makes every message its own signature. Those above 2^32 only cost time.
                let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
                if !odd(&n) || !odd(&e) || *e == [1] || e.len() > 4 {
                    return Err(Unusable::Invalid);
                }
                Ok(Self::Rsa(RsaPublicKeyComponents { n, e }))
            }
            "EC" => match curve()? {
                "P-256" => Ok(Self::P256(parsed(
                    &signature::ECDSA_P256_SHA256_FIXED,
                    &point(32)?,
                )?)),
                "P-384" => Ok(Self::P384(parsed(
                    &signature::ECDSA_P384_SHA384_FIXED,
                    &point(48)?,
                )?)),
                other => Err(Unusable::Type(Printable(other).to_string())),
            },
            "OKP" => match curve()? {
                "Ed25519" => {
                    let x = bytes("x")?;
                    if x.len() != 32 {
                        return Err(Unusable::Invalid);
                    }
                    Ok(Self::Ed25519(parsed(&signature::ED25519, &x)?))
                }
                other => Err(Unusable::Type(Printable(other).to_string())),
            },
            other => Err(Unusable::Type(Printable(other).to_string())),
        }
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa(_) => rsa(algorithm).is_some(),
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::P384(_) => algorithm == Algorithm::Es384,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => None,
    }
}

/// The algorithm of that name, as RFC 7518 and RFC 8037 write it; names are case-sensitive. RFC 9864 has a name of its own
/// for what is the only kind of `EdDSA` here.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::Rs256,
        "RS384" => Algorithm::Rs384,
        "RS512" => Algorithm::Rs512,
        "PS256" => Algorithm::Ps256,
        "PS384" => Algorithm::Ps384,
        "PS512" => Algorithm::Ps512,
        "ES256" => Algorithm::Es256,
        "ES384" => Algorithm::Es384,
        "EdDSA" | "Ed25519" => Algorithm::EdDsa,
        _ => return None,
    })
}

/// A number without the zeros before it, which RFC 7518 §2 forbids and some issuers write all the same.
fn unsigned(number: &[u8]) -> Box<[u8]> {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number[start..].into()
}
