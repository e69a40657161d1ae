//! How tokens are sealed where they are kept: AES-256-GCM with a key of its own, bound to its place.
//!
//! `key id (4) · nonce (12) · ciphertext · tag (16)`. The key is derived by HKDF-SHA256 (RFC 5869) from a sealing key of the gate,
//! for this purpose alone. The first key seals, all keys open. What says whose token it is, and for which server, is the
//! additional data: a row that somebody moves to another principal or server does not open.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    thread,
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hkdf,
};
use gatepost_config::Secret;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{Slot, StoreError};

/// The file of the key that seals where none is configured, in the data directory.
const FILE: &str = "sealing.key";
/// The fewest bytes of a key in that file.
const SHORTEST: usize = 32;
const KEY_ID: usize = 4;
/// How often a key file that is too short is read again: another process may just be writing it.
const LOOKS: u32 = 20;

/// Why the keys that seal cannot be had.
#[derive(Debug, Error)]
#[error(
    "the sealing key {path} cannot be {action}: {source}; give the gate's user access to `data_dir`, or set `sealing.keys`"
)]
pub struct SealingError {
    path: String,
    action: &'static str,
    source: io::Error,
}

/// The secrets that sealing keys are derived from, newest first: those of the configuration, or else what is in
/// `data_dir/sealing.key`, which is made if it is not there, readable by its owner only. Several processes may ask at once.
///
/// # Errors
/// When the file cannot be read or made.
pub fn sealing_secrets(
    configured: &[Secret],
    data_dir: &Path,
) -> Result<Vec<Zeroizing<Vec<u8>>>, SealingError> {
    if configured.is_empty() {
        return Ok(vec![kept_secret(&data_dir.join(FILE))?]);
    }
    let secrets = configured.iter();
    Ok(secrets
        .map(|secret| Zeroizing::new(secret.expose().as_bytes().to_vec()))
        .collect())
}

fn kept_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    let failed = |action, source| SealingError {
        path: path.display().to_string(),
        action,
        source,
    };
    for _ in 0..LOOKS {
        match fs::read(path) {
            Ok(secret) if secret.len() >= SHORTEST => return Ok(Zeroizing::new(secret)),
            Ok(_) => thread::sleep(Duration::from_millis(10)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Then it is read, whoever made it.
                make_secret(path).map_err(|error| failed("made", error))?;
            }
            Err(error) => return Err(failed("read", error)),
        }
    }
    let short = io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it holds fewer than {SHORTEST} bytes"),
    );
    Err(failed("read", short))
}

/// Makes the file with a whole key in it at once, unless somebody else was faster.
fn make_secret(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut secret = Zeroizing::new([0; SHORTEST]);
    getrandom::fill(secret.as_mut_slice()).map_err(io::Error::other)?;
    let draft = path.with_extension(format!("{:016x}", getrandom::u64().map_err(io::Error::other)?));
    let made = write_private(&draft, secret.as_slice()).and_then(|()| match fs::hard_link(&draft, path) {
        // Not every file system has links; then who reads at the wrong moment finds too little and looks again.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => write_private(path, secret.as_slice()),
        linked => linked,
    });
    // A draft that cannot be removed is a key that seals nothing.
    let _ = fs::remove_file(&draft);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Seals and opens tokens.
pub(crate) struct Cipher {
    /// Newest first; never empty.
    keys: Vec<([u8; KEY_ID], LessSafeKey)>,
}

impl Cipher {
    /// Derives the keys from secrets, newest first; at least one is needed.
    pub(crate) fn new<S: AsRef<[u8]>>(secrets: &[S]) -> Result<Self, StoreError> {
        let keys: Vec<_> = secrets
            .iter()
            .map(|secret| derive(secret.as_ref()))
            .collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(StoreError::Crypto);
        }
        Ok(Self { keys })
    }

    /// Seals `plain` for one place.
    pub(crate) fn seal(&self, slot: Slot<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (id, key) = self.keys.first().ok_or(StoreError::Crypto)?;
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| StoreError::Crypto)?;
        // Room for the tag, so that no copy of the plain text is left behind by a buffer that grew.
        let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(plain);
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place(slot)),
            &mut *sealed,
        )?;
        Ok([&id[..], &nonce, &sealed].concat())
    }

    /// What was sealed for the same place with a key that is known; else nothing.
    pub(crate) fn open(&self, slot: Slot<'_>, sealed: &[u8]) -> Option<Zeroizing<String>> {
        let (id, rest) = sealed.split_at_checked(KEY_ID)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let (_, key) = self.keys.iter().find(|(own, _)| own == id)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let length = key
            .open_in_place(nonce, Aad::from(place(slot)), &mut plain)
            .ok()?
            .len();
        let text = str::from_utf8(&plain[..length]).ok()?;
        Some(Zeroizing::new(text.to_owned()))
    }
}

fn derive(secret: &[u8]) -> Result<([u8; KEY_ID], LessSafeKey), StoreError> {
    let mut id = [0; KEY_ID];
    id.copy_from_slice(&digest::digest(&digest::SHA256, secret).as_ref()[..KEY_ID]);
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"gatepost sealing").extract(secret);
    let purpose: [&[u8]; 1] = [b"gatepost credentials v1"];
    let key: UnboundKey = extracted.expand(&purpose, &AES_256_GCM)?.into();
    Ok((id, LessSafeKey::new(key)))
}

/// A place in bytes, so that two places never look alike: every part comes after its length, and no tenant is not an empty one.
fn place(slot: Slot<'_>) -> Vec<u8> {
    let (issuer, subject, tenant) = slot.principal.as_key();
    let mut place = Vec::with_capacity(64);
    for part in [
        Some(slot.server),
        Some(issuer),
        Some(subject),
        tenant,
        Some(slot.name),
    ] {
        match part {
            Some(part) => {
                place.push(1);
                place.extend_from_slice(&(part.len() as u64).to_be_bytes());
                place.extend_from_slice(part.as_bytes());
            }
            None => place.push(0),
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use gatepost_policy::Principal;

    use super::*;

    fn ann() -> Principal {
        Principal::new("https://id", "ann")
    }

    fn slot<'a>(server: &'a str, principal: &'a Principal, name: &'a str) -> Slot<'a> {
        Slot {
            server,
            principal,
            name,
        }
    }

    #[test]
    fn a_token_opens_in_its_own_place_only() {
        let cipher = Cipher::new(&["one"]).unwrap();
        let ann = ann();
        let own = slot("crm", &ann, "pat");
        let sealed = cipher.seal(own, b"token").unwrap();
        assert_eq!(cipher.open(own, &sealed).unwrap().as_str(), "token");
        let others = [
            Principal::new("https://id", "bob"),
            Principal::new("https://other", "ann"),
            ann.clone().with_tenant("acme"),
            ann.clone().with_tenant(""),
            // The same letters, cut elsewhere.
            Principal::new("https://ida", "nn"),
        ];
        for other in &others {
            assert!(
                cipher.open(slot("crm", other, "pat"), &sealed).is_none(),
                "{other}"
            );
        }
        for (server, name) in [("crn", "pat"), ("crm", "pat2"), ("", "crmpat")] {
            assert!(cipher.open(slot(server, &ann, name), &sealed).is_none());
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let cipher = Cipher::new(&["one"]).unwrap();
        let ann = ann();
        let own = slot("crm", &ann, "pat");
        let sealed = cipher.seal(own, b"token").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(cipher.open(own, &changed).is_none(), "at {at}");
            assert!(cipher.open(own, &sealed[..at]).is_none(), "at {at}");
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let ann = ann();
        let own = slot("crm", &ann, "pat");
        let before = Cipher::new(&["old"]).unwrap().seal(own, b"kept").unwrap();
        let rotated = Cipher::new(&["new", "old"]).unwrap();
        assert_eq!(rotated.open(own, &before).unwrap().as_str(), "kept");
        let after = rotated.seal(own, b"x").unwrap();
        assert!(Cipher::new(&["old"]).unwrap().open(own, &after).is_none());
        assert!(Cipher::new(&["new"]).unwrap().open(own, &after).is_some());
        assert!(Cipher::new::<&[u8]>(&[]).is_err());
    }

    #[test]
    fn many_processes_agree_on_one_kept_key() {
        let folder = tempfile::tempdir().unwrap();
        let start = Barrier::new(8);
        let secrets: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        sealing_secrets(&[], folder.path()).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, [FILE]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(folder.path().join(FILE))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(folder.path().join(FILE), b"short").unwrap();
        let error = sealing_secrets(&[], folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("fewer than 32 bytes") && error.contains("sealing.keys"),
            "{error}"
        );
    }
}
