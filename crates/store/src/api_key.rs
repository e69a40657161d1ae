//! What an API key looks like: `gp_<id>_<secret><checksum>`.
//!
//! The id says which key it is and is no secret. The secret is 43 random characters of 62, which is a little more than 256
//! bit, so a plain hash of it can be stored: nobody guesses it, however fast the hash is. The checksum lets a scanner of
//! published code tell keys from noise, and a mistyped key be refused without being looked up.

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::StoreError;

/// How every key begins.
pub const KEY_PREFIX: &str = "gp_";

/// Characters of an id.
const ID: usize = 12;
/// Characters of a secret: 62^43 is more than 2^256.
const SECRET: usize = 43;
/// Characters of a checksum: 62^6 is more than 2^32.
const CHECKSUM: usize = 6;
const LENGTH: usize = KEY_PREFIX.len() + ID + 1 + SECRET + CHECKSUM;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A whole key, as its bearer gets it: once. Does not print.
pub struct ApiKey(Zeroizing<String>);

/// A key that somebody presented, in its parts; nothing says yet that there is such a key.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    id: &'a str,
    secret: &'a str,
}

/// SHA-256 of a key's secret: what is stored of it.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// It does not begin like one, so it may be another kind of credential.
    #[error("it does not begin with `{KEY_PREFIX}`")]
    Foreign,
    /// It is too long or too short, or has characters that no key has, or its checksum is another's.
    #[error("it is not a whole API key: it was cut off or changed on the way")]
    Malformed,
}

// === impl ApiKey ===

impl ApiKey {
    /// A new key.
    ///
    /// # Errors
    /// When the platform has no random bytes.
    pub fn generate() -> Result<Self, StoreError> {
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(KEY_PREFIX);
        push_random(&mut text, ID)?;
        text.push('_');
        push_random(&mut text, SECRET)?;
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        Ok(Self(text))
    }

    /// A key with the id of one and the secret of another, as an attacker would make it.
    #[cfg(test)]
    pub(crate) fn forged(id: &str, other: &Self) -> Self {
        let mut text = format!("{KEY_PREFIX}{id}_{}", other.presented().secret);
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        Self(Zeroizing::new(text))
    }

    /// The key itself, for the one place that shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its parts.
    pub fn presented(&self) -> Presented<'_> {
        Presented::split(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.presented(), f)
    }
}

// === impl Presented ===

impl<'a> Presented<'a> {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// [`Unreadable`]: it is no key, whoever may ask.
    pub fn parse(text: &'a str) -> Result<Self, Unreadable> {
        if !text.starts_with(KEY_PREFIX) {
            return Err(Unreadable::Foreign);
        }
        let bytes = text.as_bytes();
        let joint = KEY_PREFIX.len() + ID;
        let whole = bytes.len() == LENGTH
            && bytes[joint] == b'_'
            && bytes[KEY_PREFIX.len()..joint]
                .iter()
                .all(u8::is_ascii_alphanumeric)
            && bytes[joint + 1..].iter().all(u8::is_ascii_alphanumeric)
            && bytes[LENGTH - CHECKSUM..] == checksum(&bytes[..LENGTH - CHECKSUM]);
        if whole {
            Ok(Self::split(text))
        } else {
            Err(Unreadable::Malformed)
        }
    }

    /// `text` has the length of a key and is ASCII.
    fn split(text: &'a str) -> Self {
        let joint = KEY_PREFIX.len() + ID;
        Self {
            id: &text[KEY_PREFIX.len()..joint],
            secret: &text[joint + 1..LENGTH - CHECKSUM],
        }
    }

    /// Which key it says it is. No secret.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// What would be stored of it.
    pub fn hash(&self) -> KeyHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, self.secret.as_bytes()).as_ref());
        KeyHash(hash)
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KEY_PREFIX}{}_[secret]", self.id)
    }
}

// === impl KeyHash ===

impl KeyHash {
    /// The hash that was stored.
    pub const fn stored(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same, in a time that says nothing of where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hash]")
    }
}

/// Appends random characters, each of the 62 as likely as the others.
fn push_random(text: &mut String, count: usize) -> Result<(), StoreError> {
    /// The largest multiple of 62 that a byte can count: what is above would make the first characters likelier.
    const FAIR: u8 = 248;
    let mut left = count;
    while left > 0 {
        let mut bytes = Zeroizing::new([0; 64]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| StoreError::Crypto)?;
        for byte in bytes.iter().filter(|byte| **byte < FAIR).take(left) {
            text.push(char::from(BASE62[usize::from(byte % 62)]));
            left -= 1;
        }
    }
    Ok(())
}

/// CRC-32 (IEEE 802.3) in base 62, most significant digit first.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            // Where the lowest bit is set, the polynomial; else nothing.
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let mut rest = !crc;
    let mut digits = [0; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_is_recognised_and_differs_from_every_other() {
        let mut seen = HashSet::new();
        for _ in 0..200 {
            let key = ApiKey::generate().unwrap();
            let text = key.expose();
            assert_eq!((text.len(), &text[..3]), (LENGTH, "gp_"), "{text}");
            let presented = Presented::parse(text).unwrap();
            assert!(presented.hash().matches(&key.presented().hash()));
            assert!(seen.insert(presented.id().to_owned()) && seen.insert(presented.secret.to_owned()));
        }
        let used: HashSet<char> = seen.iter().flat_map(|text| text.chars()).collect();
        assert_eq!(used.len(), 62);
    }

    #[test]
    fn whatever_is_changed_is_noticed_before_anything_is_looked_up() {
        let key = ApiKey::generate().unwrap();
        let text = key.expose();
        for at in KEY_PREFIX.len()..LENGTH {
            for other in ['0', 'z', '_', ' ', 'é'] {
                if text[at..].starts_with(other) {
                    continue;
                }
                let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                assert_eq!(
                    Presented::parse(&changed).unwrap_err(),
                    Unreadable::Malformed,
                    "{changed}"
                );
            }
            assert_eq!(Presented::parse(&text[..at]).unwrap_err(), Unreadable::Malformed);
        }
        for (wrong, why) in [
            (format!("{text}0"), Unreadable::Malformed),
            (format!("{text}\n"), Unreadable::Malformed),
            (text.replacen("gp_", "GP_", 1), Unreadable::Foreign),
            (text.replacen("gp_", "pg_", 1), Unreadable::Foreign),
            (format!(" {text}"), Unreadable::Foreign),
            (String::new(), Unreadable::Foreign),
            ("gp_".to_owned(), Unreadable::Malformed),
        ] {
            assert_eq!(Presented::parse(&wrong).unwrap_err(), why, "{wrong}");
        }
    }

    /// So that scanners which know the form go on to recognise the keys of later releases.
    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // CRC-32 of "123456789" is CBF43926, the check value in the catalogue of CRCs.
        let number = checksum(b"123456789").iter().fold(0_u64, |number, digit| {
            number * 62 + BASE62.iter().position(|one| one == digit).unwrap() as u64
        });
        assert_eq!(number, 0xCBF4_3926);
    }

    #[test]
    fn neither_a_key_nor_its_parts_print() {
        let key = ApiKey::generate().unwrap();
        let printed = format!("{key:?} {:?} {:?}", key.presented(), key.presented().hash());
        assert!(!printed.contains(key.presented().secret), "{printed}");
        assert!(printed.contains(key.presented().id()), "{printed}");
    }
}
