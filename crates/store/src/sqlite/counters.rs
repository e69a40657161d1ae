//! Counters of quotas in SQLite.

use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};

use super::database::{Database, column};
use crate::{Added, Counters, StoreError, Used};

impl Counters for Database {
    fn add(&self, additions: &[Added]) -> Result<Vec<Used>, StoreError> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let totals = {
            // A sum beyond 2^63 would become a floating-point number.
            let mut add = transaction.prepare_cached(
                "INSERT INTO counters (day, quota, key, calls, bytes) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT (day, quota, key) DO UPDATE SET \
                 calls = calls + min(excluded.calls, 9223372036854775807 - calls), \
                 bytes = bytes + min(excluded.bytes, 9223372036854775807 - bytes) \
                 RETURNING calls, bytes",
            )?;
            additions
                .iter()
                .map(|one| {
                    let (calls, bytes) = (column(one.used.calls), column(one.used.bytes));
                    add.query_row(params![one.day, one.quota, one.key, calls, bytes], |row| {
                        used(row, 0)
                    })
                })
                .collect::<Result<_, _>>()?
        };
        transaction.commit()?;
        Ok(totals)
    }

    fn read(&self, quota: &str, key: &[u8], day: u32) -> Result<Used, StoreError> {
        let found = self
            .reader()
            .prepare_cached("SELECT calls, bytes FROM counters WHERE day = ?1 AND quota = ?2 AND key = ?3")?
            .query_row(params![day, quota, key], |row| used(row, 0))
            .optional()?;
        Ok(found.unwrap_or_default())
    }

    fn read_day(&self, day: u32) -> Result<Vec<Added>, StoreError> {
        let counters = self
            .reader()
            .prepare_cached(
                "SELECT quota, key, calls, bytes FROM counters WHERE day = ?1 ORDER BY quota, key",
            )?
            .query_map([day], |row| {
                Ok(Added {
                    quota: row.get(0)?,
                    key: row.get(1)?,
                    day,
                    used: used(row, 2)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        Ok(counters)
    }

    fn forget_before(&self, day: u32) -> Result<usize, StoreError> {
        let forgotten = self
            .writer()
            .prepare_cached("DELETE FROM counters WHERE day < ?1")?
            .execute([day])?;
        Ok(forgotten)
    }
}

fn used(row: &Row<'_>, first: usize) -> rusqlite::Result<Used> {
    let number = |at| -> rusqlite::Result<u64> { Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0)) };
    Ok(Used {
        calls: number(first)?,
        bytes: number(first + 1)?,
    })
}
