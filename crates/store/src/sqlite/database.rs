//! `gatepost.db`: its schema and its connections.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gatepost_config::Secret;
use rusqlite::Connection;

use super::{Schema, Survives, open};
use crate::{
    FILE, StoreError, UnixSeconds,
    sealing::{Cipher, sealing_secrets},
};

/// Triggers count the changes, so that no way of changing a row is missed. Being used is no change of a key.
const FIRST: &str = "
    CREATE TABLE changes (
        what TEXT PRIMARY KEY,
        count INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO changes VALUES ('keys', 0), ('credentials', 0);

    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        hash BLOB NOT NULL CHECK (length(hash) = 32), -- SHA-256 of the secret
        roles TEXT NOT NULL CHECK (json_valid(roles)), -- an array of names
        tenant TEXT,
        name TEXT,
        created INTEGER NOT NULL,                     -- times are seconds since 1970
        expires INTEGER,
        revoked INTEGER,
        last_used INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER keys_inserted AFTER INSERT ON keys BEGIN
        UPDATE changes SET count = count + 1 WHERE what = 'keys';
    END;
    CREATE TRIGGER keys_updated AFTER UPDATE OF id, hash, roles, tenant, name, expires, revoked ON keys BEGIN
        UPDATE changes SET count = count + 1 WHERE what = 'keys';
    END;
    CREATE TRIGGER keys_deleted AFTER DELETE ON keys BEGIN
        UPDATE changes SET count = count + 1 WHERE what = 'keys';
    END;

    CREATE TABLE credentials (
        server TEXT NOT NULL,
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        tenant TEXT,                                  -- NULL is no tenant, which is not the empty one
        name TEXT NOT NULL,
        sealed BLOB NOT NULL,
        changed INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX credentials_place ON credentials (server, issuer, subject, name, tenant IS NULL, coalesce(tenant, ''));
    CREATE TRIGGER credentials_inserted AFTER INSERT ON credentials BEGIN
        UPDATE changes SET count = count + 1 WHERE what = 'credentials';
    END;
    CREATE TRIGGER credentials_updated AFTER UPDATE ON credentials BEGIN
        UPDATE changes SET count = count + 1 WHERE what = 'credentials';
    END;
    CREATE TRIGGER credentials_deleted AFTER DELETE ON credentials BEGIN
        UPDATE changes SET count = count + 1 WHERE what = 'credentials';
    END;

    CREATE TABLE counters (
        day INTEGER NOT NULL,                         -- days since 1970, UTC
        quota TEXT NOT NULL,
        key BLOB NOT NULL,
        calls INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (day, quota, key)
    ) STRICT, WITHOUT ROWID;
";

/// A revocation that was acknowledged must not be undone by a power failure.
const SCHEMA: Schema = Schema {
    migrations: &[FIRST],
    survives: Survives::PowerLoss,
};

/// What is kept in a database file, which several processes may have open.
pub struct Database {
    /// Reading never waits for a write, which waits for the disk.
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
    data_dir: PathBuf,
    sealing_keys: Vec<Secret>,
    /// Made when it is first needed: who only deals with keys needs no sealing key.
    cipher: Mutex<Option<Arc<Cipher>>>,
}

impl Database {
    /// The database in `data_dir`; see [`crate::Store::open`]. Blocks.
    ///
    /// # Errors
    /// When the folder or the database cannot be made or opened.
    pub fn open(data_dir: &Path, sealing_keys: &[Secret]) -> Result<Self, StoreError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(data_dir).map_err(|source| StoreError::Folder {
            path: data_dir.to_owned(),
            source,
        })?;
        let path = data_dir.join(FILE);
        Ok(Self {
            writer: Mutex::new(open(&path, &SCHEMA)?),
            reader: Mutex::new(open(&path, &SCHEMA)?),
            data_dir: data_dir.to_owned(),
            sealing_keys: sealing_keys.to_vec(),
            cipher: Mutex::new(None),
        })
    }

    pub(super) fn reader(&self) -> MutexGuard<'_, Connection> {
        held(&self.reader)
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Connection> {
        held(&self.writer)
    }

    pub(super) fn cipher(&self) -> Result<Arc<Cipher>, StoreError> {
        let mut kept = held(&self.cipher);
        if let Some(cipher) = &*kept {
            return Ok(cipher.clone());
        }
        let secrets = sealing_secrets(&self.sealing_keys, &self.data_dir)?;
        let cipher = Arc::new(Cipher::new(&secrets)?);
        *kept = Some(cipher.clone());
        Ok(cipher)
    }

    /// How many changes there were of `what`.
    pub(super) fn changes(&self, what: &str) -> Result<u64, StoreError> {
        let count: i64 = self
            .reader()
            .prepare_cached("SELECT count FROM changes WHERE what = ?1")?
            .query_row([what], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database")
            .field(&self.data_dir.join(FILE))
            .finish()
    }
}

/// A panic while a lock was held left no transaction open: each is rolled back when it is dropped.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As SQLite has it.
pub(super) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// As everybody else has it.
pub(super) fn seconds(column: i64) -> UnixSeconds {
    u64::try_from(column).unwrap_or(0)
}
