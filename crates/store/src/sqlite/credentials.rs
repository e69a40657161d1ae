//! The tokens of principals in SQLite, sealed.

use gatepost_policy::Principal;
use rusqlite::{OptionalExtension, TransactionBehavior, params};

use super::database::{Database, column, seconds};
use crate::{Credentials, Kept, Slot, StoreError, Token, UnixSeconds};

/// `IS` compares no tenant with no tenant, where `=` would say that it does not know.
const PLACE: &str = "server = ?1 AND issuer = ?2 AND subject = ?3 AND tenant IS ?4 AND name = ?5";

impl Credentials for Database {
    fn set(&self, slot: Slot<'_>, token: &Token, now: UnixSeconds) -> Result<bool, StoreError> {
        let sealed = self.cipher()?.seal(slot, token.expose().as_bytes())?;
        let (issuer, subject, tenant) = slot.principal.as_key();
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let replaced = transaction
            .prepare_cached(&format!("DELETE FROM credentials WHERE {PLACE}"))?
            .execute(params![slot.server, issuer, subject, tenant, slot.name])?;
        transaction
            .prepare_cached("INSERT INTO credentials VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                slot.server,
                issuer,
                subject,
                tenant,
                slot.name,
                sealed,
                column(now)
            ])?;
        transaction.commit()?;
        Ok(replaced > 0)
    }

    fn get(&self, slot: Slot<'_>) -> Result<Option<Token>, StoreError> {
        let (issuer, subject, tenant) = slot.principal.as_key();
        let sealed: Option<Vec<u8>> = self
            .reader()
            .prepare_cached(&format!("SELECT sealed FROM credentials WHERE {PLACE}"))?
            .query_row(params![slot.server, issuer, subject, tenant, slot.name], |row| {
                row.get(0)
            })
            .optional()?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let token = self.cipher()?.open(slot, &sealed);
        match token.map(Token::new) {
            Some(Ok(token)) => Ok(Some(token)),
            _ => Err(StoreError::Sealed {
                server: slot.server.to_owned(),
                principal: slot.principal.to_string(),
                name: slot.name.to_owned(),
            }),
        }
    }

    fn list(&self) -> Result<Vec<Kept>, StoreError> {
        let rows: Vec<(Kept, Vec<u8>)> = self
            .reader()
            .prepare_cached(
                "SELECT server, issuer, subject, tenant, name, changed, sealed FROM credentials \
                 ORDER BY server, issuer, subject, tenant, name",
            )?
            .query_map([], |row| {
                let principal = Principal::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?);
                let kept = Kept {
                    server: row.get(0)?,
                    principal: match row.get::<_, Option<String>>(3)? {
                        Some(tenant) => principal.with_tenant(tenant),
                        None => principal,
                    },
                    name: row.get(4)?,
                    set: seconds(row.get(5)?),
                    opens: false,
                };
                Ok((kept, row.get(6)?))
            })?
            .collect::<Result<_, _>>()?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let cipher = self.cipher()?;
        Ok(rows
            .into_iter()
            .map(|(kept, sealed)| {
                let slot = Slot {
                    server: &kept.server,
                    principal: &kept.principal,
                    name: &kept.name,
                };
                let opens = cipher.open(slot, &sealed).is_some();
                Kept { opens, ..kept }
            })
            .collect())
    }

    fn remove(&self, slot: Slot<'_>) -> Result<bool, StoreError> {
        let (issuer, subject, tenant) = slot.principal.as_key();
        let removed = self
            .writer()
            .prepare_cached(&format!("DELETE FROM credentials WHERE {PLACE}"))?
            .execute(params![slot.server, issuer, subject, tenant, slot.name])?;
        Ok(removed > 0)
    }

    fn version(&self) -> Result<u64, StoreError> {
        self.changes("credentials")
    }
}
