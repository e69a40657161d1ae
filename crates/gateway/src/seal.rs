//! Sealed tokens: what the gate hands to a client and must believe when it comes back.
//!
//! A session id, a list cursor, a task's id and a `requestState` are AES-256-GCM ciphertexts in base64url:
//! `key id (4) · nonce (12) · ciphertext · tag (16)`.
//! Each purpose has a key of its own, derived by HKDF-SHA256 (RFC 5869), so a cursor can never pass as a session. The first
//! key seals, all keys open: keys rotate without ending anybody's session.

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, error, hkdf,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatepost_policy::Principal;
use gatepost_store::SealingError;
use serde::{Deserialize, Serialize};

const KEY_ID: usize = 4;
/// Tokens longer than this are not ours; refusing them early bounds what a hostile header costs.
const MAX_TOKEN: usize = 16 * 1024;
/// A state may hold a server's own, which may be of any size; it comes in a body, which has its bound.
const MAX_STATE: usize = 64 * 1024 * 1024;

/// What a token is for; each purpose has its own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A legacy `Mcp-Session-Id`.
    Session,
    /// A `nextCursor`.
    Cursor,
    /// A `taskId`.
    Task,
    /// A `requestState`.
    State,
}

impl Purpose {
    const ALL: [Self; 4] = [Self::Session, Self::Cursor, Self::Task, Self::State];

    fn info(self) -> &'static [u8] {
        match self {
            Self::Session => b"gatepost session v1",
            Self::Cursor => b"gatepost cursor v1",
            Self::Task => b"gatepost task v1",
            Self::State => b"gatepost request state v1",
        }
    }

    fn longest(self) -> usize {
        match self {
            Self::Session | Self::Cursor | Self::Task => MAX_TOKEN,
            Self::State => MAX_STATE,
        }
    }
}

/// Whose a token is, inside of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder<'a>(
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    Option<Cow<'a, str>>,
);

impl<'a> Holder<'a> {
    /// This principal's.
    pub(crate) fn of(principal: &'a Principal) -> Self {
        let (issuer, subject, tenant) = principal.as_key();
        Self(issuer.into(), subject.into(), tenant.map(Cow::Borrowed))
    }

    /// Whether it is this principal's.
    pub(crate) fn is(&self, principal: &Principal) -> bool {
        *self == Holder::of(principal)
    }
}

/// Why the sealing keys could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key in the data directory cannot be had.
    #[error(transparent)]
    Secrets(#[from] SealingError),
    /// The platform's random source or cipher failed.
    #[error("the cryptographic library refused to work")]
    Crypto,
}

impl From<error::Unspecified> for SealError {
    fn from(_: error::Unspecified) -> Self {
        Self::Crypto
    }
}

/// Seals and opens tokens.
pub(crate) struct Sealer {
    rings: Vec<Ring>,
}

struct Ring {
    id: [u8; KEY_ID],
    purposes: [LessSafeKey; Purpose::ALL.len()],
}

impl Sealer {
    /// Derives the keys from secrets, newest first; at least one is needed.
    pub(crate) fn new<S: AsRef<[u8]>>(secrets: &[S]) -> Result<Self, SealError> {
        let rings: Vec<Ring> = secrets
            .iter()
            .map(|secret| Ring::derive(secret.as_ref()))
            .collect::<Result<_, _>>()?;
        if rings.is_empty() {
            Err(SealError::Crypto)
        } else {
            Ok(Self { rings })
        }
    }

    /// Seals `plain` for one purpose into visible ASCII.
    pub(crate) fn seal(&self, purpose: Purpose, plain: &[u8]) -> String {
        let ring = &self.rings[0];
        let mut token = Vec::with_capacity(KEY_ID + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        token.extend_from_slice(&ring.id);
        let mut sealed = plain.to_vec();
        // A nonce comes from the library's own random source and the key is fit for the algorithm: there is nothing left
        // to fail but the platform itself, and then an empty token, which never opens, is the safe answer.
        let Ok(nonce) = random::<NONCE_LEN>() else {
            return String::new();
        };
        token.extend_from_slice(&nonce);
        let key = &ring.purposes[purpose as usize];
        if key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .is_err()
        {
            return String::new();
        }
        token.extend_from_slice(&sealed);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// What [`seal`](Self::seal) sealed for the same purpose, or nothing.
    pub(crate) fn open(&self, purpose: Purpose, token: &str) -> Option<Vec<u8>> {
        if token.len() > purpose.longest() {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (id, rest) = bytes.split_at_mut_checked(KEY_ID)?;
        let (nonce, sealed) = rest.split_at_mut_checked(NONCE_LEN)?;
        let ring = self.rings.iter().find(|ring| ring.id == *id)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = ring.purposes[purpose as usize]
            .open_in_place(nonce, Aad::empty(), sealed)
            .ok()?;
        Some(plain.to_vec())
    }
}

/// `N` random bytes from the platform.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    // The operating system's source: the library's own takes 50 ms to seed itself, most of a start.
    getrandom::fill(&mut bytes).map_err(|_| SealError::Crypto)?;
    Ok(bytes)
}

/// One value for equal bytes, which nobody finds other bytes for: SHA-256.
pub(crate) fn fingerprint(bytes: &[u8]) -> [u8; 32] {
    let mut whole = [0; 32];
    whole.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    whole
}

/// Seconds since 1970, as tokens count them.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Ring {
    fn derive(secret: &[u8]) -> Result<Self, SealError> {
        let digest = digest::digest(&digest::SHA256, secret);
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&digest.as_ref()[..KEY_ID]);
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"gatepost sealing").extract(secret);
        let derive = |purpose: Purpose| -> Result<LessSafeKey, SealError> {
            let info = [purpose.info()];
            let key: UnboundKey = extracted.expand(&info, &AES_256_GCM)?.into();
            Ok(LessSafeKey::new(key))
        };
        Ok(Self {
            id,
            purposes: [
                derive(Purpose::Session)?,
                derive(Purpose::Cursor)?,
                derive(Purpose::Task)?,
                derive(Purpose::State)?,
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(secrets: &[&str]) -> Sealer {
        Sealer::new(secrets).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_its_purpose_only() {
        let sealer = sealer(&["one"]);
        let token = sealer.seal(Purpose::Session, b"hello");
        assert!(token.bytes().all(|b| b.is_ascii_graphic()));
        assert_eq!(
            sealer.open(Purpose::Session, &token).as_deref(),
            Some(&b"hello"[..])
        );
        assert_eq!(sealer.open(Purpose::Cursor, &token), None);
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let before = sealer(&["old"]).seal(Purpose::Session, b"kept");
        let rotated = sealer(&["new", "old"]);
        assert_eq!(
            rotated.open(Purpose::Session, &before).as_deref(),
            Some(&b"kept"[..])
        );
        assert_eq!(
            sealer(&["old"]).open(Purpose::Session, &rotated.seal(Purpose::Session, b"x")),
            None
        );
    }

    #[test]
    fn every_flipped_character_is_noticed() {
        let sealer = sealer(&["one"]);
        let token = sealer.seal(Purpose::Cursor, b"position 12");
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(sealer.open(Purpose::Cursor, &forged), None, "at {at}");
        }
        for bad in ["", "A", "!!!!", &"A".repeat(MAX_TOKEN + 4)] {
            assert_eq!(sealer.open(Purpose::Cursor, bad), None);
        }
    }
}
