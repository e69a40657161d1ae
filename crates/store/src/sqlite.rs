//! Opens SQLite databases that several processes may open at the same moment.
//!
//! The journal is a write-ahead log. SQLite's busy handler, which makes one connection wait for another, is not asked
//! everywhere on the way there: switching a new database over, and finding it half switched or half recovered, answer
//! `SQLITE_BUSY` at once, since waiting inside could be waiting for each other. So opening is tried again from the start, with
//! nothing held in between, for as long as somebody may sensibly wait for a start.

mod counters;
mod credentials;
mod database;
#[cfg(test)]
mod kept;
mod keys;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, TransactionBehavior, config::DbConfig};
use thiserror::Error;

pub use self::database::Database;

/// How long another process may hold the database before a statement fails.
const BUSY: Duration = Duration::from_secs(5);
/// How long opening is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two tries: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(40));

/// What a database must look like.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The SQL of each version, applied in turn; `user_version` counts the steps that were taken.
    pub migrations: &'static [&'static str],
    /// What a commit survives.
    pub survives: Survives,
}

/// What a commit survives. `kill -9` in any case: it was handed to the operating system before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// A power failure may undo the last commits, and never the database's consistency (`synchronous = NORMAL`).
    Kill,
    /// A power failure undoes nothing: each commit waits for the disk, several milliseconds (`synchronous = FULL`).
    PowerLoss,
}

/// A database cannot be opened.
#[derive(Debug, Error)]
#[error("{} cannot be opened: {reason}", path.display())]
pub struct OpenError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub reason: Unopened,
}

/// Why a database cannot be opened, for those who say by themselves which.
#[derive(Debug, Error)]
pub enum Unopened {
    /// SQLite said no.
    #[error("{0}; check its permissions and the free space of its disk")]
    Database(#[from] rusqlite::Error),
    /// The file cannot be made.
    #[error("{0}; give the gate's user access to it and to its folder")]
    File(#[from] io::Error),
    /// Others held it all the time.
    #[error("another process has locked it for more than {} s; end the one that hangs", PATIENCE.as_secs())]
    Busy,
    /// A newer release has been here. What it wrote may mean something else.
    #[error(
        "a newer gatepost wrote it (its version is {found}, this one knows {known}); run that release, or use another \
         `data_dir`"
    )]
    Newer {
        /// The version that it has.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
}

/// Opens the database at `path`, readable by its owner only, making it or bringing it up to date as needed. Blocks.
///
/// # Errors
/// [`OpenError`]; nothing has been changed then.
pub fn open(path: &Path, schema: &Schema) -> Result<Connection, OpenError> {
    patiently(path, schema).map_err(|reason| OpenError {
        path: path.to_owned(),
        reason,
    })
}

fn patiently(path: &Path, schema: &Schema) -> Result<Connection, Unopened> {
    make_private(path)?;
    let until = Instant::now() + PATIENCE;
    let mut pause = PAUSES.0;
    loop {
        match attempt(path, schema) {
            Err(Unopened::Database(error)) if passes(&error) => {
                if Instant::now() >= until {
                    return Err(Unopened::Busy);
                }
                thread::sleep(pause);
                pause = (pause * 2).min(PAUSES.1);
            }
            done => return done,
        }
    }
}

fn attempt(path: &Path, schema: &Schema) -> Result<Connection, Unopened> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // A database file that somebody tampered with must not make SQLite call functions of its choosing.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match schema.survives {
        Survives::Kill => "NORMAL",
        Survives::PowerLoss => "FULL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // IMMEDIATE: of two processes that start at once, the second waits here and finds the work done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(schema.migrations.len()).unwrap_or(i64::MAX);
    let Some(missing) = usize::try_from(found)
        .ok()
        .and_then(|done| schema.migrations.get(done..))
    else {
        return Err(Unopened::Newer { found, known });
    };
    for step in missing {
        transaction.execute_batch(step)?;
    }
    if !missing.is_empty() {
        transaction.pragma_update(None, "user_version", known)?;
    }
    transaction.commit()?;
    Ok(connection)
}

/// Whether the cause is another connection, and goes away with it. `SQLITE_PROTOCOL` is what a reader gets that lost too many
/// races for a place in the write-ahead log.
fn passes(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed)
    )
}

/// Makes the file of the database for its owner only, before SQLite makes it for everybody. SQLite gives the files beside it
/// the same mode.
///
/// A file that is there is not touched. Closing any descriptor of it would give up all locks that this process has on it
/// (POSIX `fcntl`), and the next process to come would take itself for the only one and delete the journal under us. For the
/// same reason one thread at a time makes files: none has the database open before it came through here, so none loses a lock
/// when the maker closes its descriptor.
fn make_private(path: &Path) -> io::Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::*;

    const TWO: Schema = Schema {
        migrations: &[
            "CREATE TABLE one (a INTEGER) STRICT;",
            "CREATE TABLE two (a INTEGER) STRICT;",
        ],
        survives: Survives::Kill,
    };

    #[test]
    fn many_open_one_new_database_at_the_same_moment() {
        const OPENERS: i64 = 16;
        for round in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("new.db");
            let start = Barrier::new(16);
            thread::scope(|scope| {
                for at in 0..OPENERS {
                    let (path, start) = (&path, &start);
                    scope.spawn(move || {
                        start.wait();
                        let connection =
                            open(path, &TWO).unwrap_or_else(|error| panic!("round {round}: {error}"));
                        connection.execute("INSERT INTO two VALUES (?1)", [at]).unwrap();
                    });
                }
            });
            let count = "SELECT count(*) FROM two";
            let rows: i64 = open(&path, &TWO)
                .unwrap()
                .query_row(count, [], |row| row.get(0))
                .unwrap();
            assert_eq!(rows, OPENERS);
        }
    }

    #[test]
    fn an_older_database_is_brought_up_to_date_and_a_newer_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let first = Schema {
            migrations: &TWO.migrations[..1],
            ..TWO
        };
        open(&path, &first)
            .unwrap()
            .execute("INSERT INTO one VALUES (7)", [])
            .unwrap();
        let kept: i64 = open(&path, &TWO)
            .unwrap()
            .query_row("SELECT a FROM one LEFT JOIN two USING (a)", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, 7);
        let error = open(&path, &first).unwrap_err().to_string();
        assert!(
            error.contains("newer gatepost") && error.contains("version is 2"),
            "{error}"
        );
    }

    #[test]
    fn a_failed_step_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let broken = Schema {
            migrations: &["CREATE TABLE one (a INTEGER) STRICT;", "CREATE NONSENSE;"],
            ..TWO
        };
        open(&path, &broken).unwrap_err();
        open(&path, &TWO).unwrap();
    }

    #[test]
    fn what_is_no_database_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        fs::write(
            &path,
            "not a database at all, but long enough to look like one".repeat(9),
        )
        .unwrap();
        let error = open(&path, &TWO).unwrap_err().to_string();
        assert!(error.contains("not a database"), "{error}");
        let error = open(&folder.path().join("none/a.db"), &TWO).unwrap_err();
        assert!(matches!(error.reason, Unopened::File(_)), "{error}");
    }

    /// Without its lock a process is invisible to others, who may then remove the journal under it.
    #[test]
    #[cfg(target_os = "linux")]
    fn opening_it_once_more_gives_up_no_lock() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let locked = || {
            let file = format!(":{} ", fs::metadata(&path).unwrap().ino());
            let locks = fs::read_to_string("/proc/locks").unwrap();
            let own = format!(" {} ", std::process::id());
            locks
                .lines()
                .any(|line| line.contains(&file) && line.contains(&own))
        };
        let first = open(&path, &TWO).unwrap();
        assert!(locked(), "what is looked for is there");
        let second = open(&path, &TWO).unwrap();
        assert!(locked());
        drop((first, second));
        assert!(!locked());
    }

    #[test]
    #[cfg(unix)]
    fn nobody_else_may_read_it_or_the_files_beside_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let connection = open(&folder.path().join("a.db"), &TWO).unwrap();
        connection.execute("INSERT INTO one VALUES (1)", []).unwrap();
        let modes: Vec<u32> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777)
            .collect();
        assert_eq!(modes, [0o600; 3]);
    }
}
