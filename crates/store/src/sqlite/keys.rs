//! API keys in SQLite.

use std::sync::Arc;

use rusqlite::{ErrorCode, OptionalExtension, Row, TransactionBehavior, params, types::Type};

use super::database::{Database, column, seconds};
use crate::{KeyHash, KeyRecord, Keys, Revoked, StoreError, StoredKey, UnixSeconds};

const COLUMNS: &str = "id, hash, roles, tenant, name, created, expires, revoked, last_used";

impl Keys for Database {
    fn insert(&self, key: &StoredKey) -> Result<(), StoreError> {
        let record = &key.record;
        let roles: Vec<&str> = record.roles.iter().map(|role| &**role).collect();
        let inserted = self
            .writer()
            .prepare_cached("INSERT INTO keys VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
            .execute(params![
                &*record.id,
                key.hash.as_bytes(),
                serde_json::json!(roles).to_string(),
                record.tenant.as_deref(),
                record.name.as_deref(),
                column(key.created),
                record.expires.map(column),
                key.revoked.map(column),
                key.last_used.map(column),
            ]);
        match inserted {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Err(StoreError::Taken {
                    id: record.id.to_string(),
                })
            }
            other => other.map(|_| ()).map_err(StoreError::from),
        }
    }

    fn list(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.reader()
            .prepare_cached(&format!("SELECT {COLUMNS} FROM keys ORDER BY created, id"))?
            .query_map([], stored)?
            .collect::<Result<_, _>>()
            .map_err(StoreError::from)
    }

    fn find(&self, id: &str) -> Result<Option<StoredKey>, StoreError> {
        self.reader()
            .prepare_cached(&format!("SELECT {COLUMNS} FROM keys WHERE id = ?1"))?
            .query_row([id], stored)
            .optional()
            .map_err(StoreError::from)
    }

    fn revoke(&self, id: &str, now: UnixSeconds) -> Result<Revoked, StoreError> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before: Option<Option<i64>> = transaction
            .prepare_cached("SELECT revoked FROM keys WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        match before {
            None => Ok(Revoked::Unknown),
            Some(Some(at)) => Ok(Revoked::Before(seconds(at))),
            Some(None) => {
                transaction
                    .prepare_cached("UPDATE keys SET revoked = ?2 WHERE id = ?1")?
                    .execute(params![id, column(now)])?;
                transaction.commit()?;
                Ok(Revoked::Now)
            }
        }
    }

    fn used(&self, uses: &[(Arc<str>, UnixSeconds)]) -> Result<(), StoreError> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut update = transaction.prepare_cached(
                "UPDATE keys SET last_used = max(coalesce(last_used, 0), ?2) WHERE id = ?1",
            )?;
            for (id, at) in uses {
                update.execute(params![&**id, column(*at)])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn version(&self) -> Result<u64, StoreError> {
        self.changes("keys")
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    let time = |at: usize| -> rusqlite::Result<Option<UnixSeconds>> {
        Ok(row.get::<_, Option<i64>>(at)?.map(seconds))
    };
    let roles: String = row.get(2)?;
    let roles: Vec<String> = serde_json::from_str(&roles)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, error.into()))?;
    Ok(StoredKey {
        record: Arc::new(KeyRecord {
            id: row.get::<_, String>(0)?.into(),
            roles: roles.into_iter().map(Arc::from).collect(),
            tenant: row.get::<_, Option<String>>(3)?.map(Arc::from),
            name: row.get::<_, Option<String>>(4)?.map(Arc::from),
            expires: time(6)?,
        }),
        hash: KeyHash::stored(row.get(1)?),
        created: seconds(row.get(5)?),
        revoked: time(7)?,
        last_used: time(8)?,
    })
}
