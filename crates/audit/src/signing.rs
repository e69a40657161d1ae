//! Signatures of what must not be rewritten: Ed25519 (RFC 8032) by a key that is kept elsewhere.
//!
//! A signed record ends in `,"signature":"…"}`. What is signed is [`CONTEXT`] and the line up to there, so it covers the record's
//! number, its time and the hash of the line before, and by that every line before it.

use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use gatepost_config::SigningKey;

use crate::chain::{hex, sha256};

/// What precedes a line where it is signed, so that no signature for anything else can be taken for one of these.
const CONTEXT: &[u8] = b"gatepost audit v1\n";
/// What stands between a line and its signature.
const MARK: &[u8] = b",\"signature\":\"";

/// Signs records.
pub(crate) struct Signer {
    pair: Ed25519KeyPair,
    pub(crate) id: String,
}

impl Signer {
    /// `None` if the key is none, which a checked configuration rules out.
    pub(crate) fn new(key: &SigningKey) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(key.expose_seed()).ok()?;
        let id = key_id(pair.public_key().as_ref());
        Some(Self { pair, id })
    }

    /// Signs the record that begins at `start` and ends in `}`.
    pub(crate) fn sign(&self, out: &mut Vec<u8>, start: usize) {
        out.pop();
        let signature = self.pair.sign(&message(out.get(start..).unwrap_or_default()));
        out.extend_from_slice(MARK);
        out.extend_from_slice(STANDARD.encode(signature.as_ref()).as_bytes());
        out.extend_from_slice(b"\"}");
    }
}

fn message(line: &[u8]) -> Vec<u8> {
    [CONTEXT, line].concat()
}

/// The first 16 hexadecimal digits of the SHA-256 of the public key.
fn key_id(public: &[u8]) -> String {
    let mut id = hex(&sha256(public));
    id.truncate(16);
    id
}

/// A key that signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// Not a public key.
#[derive(Debug, thiserror::Error)]
#[error(
    "no Ed25519 public key: write the PEM file that `openssl pkey -in KEY -pubout` makes, or the 32 bytes in Base64"
)]
pub struct BadPublicKey;

/// What precedes the 32 bytes in a `SubjectPublicKeyInfo` (RFC 8410 §4).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

impl PublicKey {
    /// Reads a key: PEM, or 32 bytes in Base64.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, BadPublicKey> {
        let body: String = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let bytes = STANDARD.decode(body).map_err(|_| BadPublicKey)?;
        let key = bytes.strip_prefix(&SPKI[..]).unwrap_or(&bytes);
        key.try_into().map(Self).map_err(|_| BadPublicKey)
    }

    /// Reads a key from a file, or from the text itself if there is no such file.
    ///
    /// # Errors
    /// When neither is a key.
    pub fn load(text: &str) -> Result<Self, BadPublicKey> {
        match std::fs::read_to_string(Path::new(text)) {
            Ok(content) => Self::parse(&content),
            Err(_) => Self::parse(text),
        }
    }

    /// The public half of `key`.
    pub fn of(key: &SigningKey) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(key.expose_seed()).ok()?;
        pair.public_key().as_ref().try_into().map(Self).ok()
    }

    /// The key's name in records: 16 hexadecimal digits of its SHA-256.
    pub fn id(&self) -> String {
        key_id(&self.0)
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

/// What a line says of its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// It has none.
    No,
    /// It has one, by none of the keys.
    Wrong,
    /// It has one, by one of the keys.
    Right,
}

pub(crate) fn check(line: &[u8], keys: &[PublicKey]) -> Signed {
    // The end of the line is the gate's own words: no text in a record can end it so.
    let Some(encoded) = line.strip_suffix(b"\"}") else {
        return Signed::No;
    };
    // 64 bytes in Base64.
    let Some(at) = encoded.len().checked_sub(88 + MARK.len()) else {
        return Signed::No;
    };
    let (Some(body), Some(MARK), Some(encoded)) = (
        encoded.get(..at),
        encoded.get(at..at + MARK.len()),
        encoded.get(at + MARK.len()..),
    ) else {
        return Signed::No;
    };
    let Ok(signature) = STANDARD.decode(encoded) else {
        return Signed::Wrong;
    };
    let message = message(body);
    if keys.iter().any(|key| key.verifies(&message, &signature)) {
        Signed::Right
    } else {
        Signed::Wrong
    }
}
