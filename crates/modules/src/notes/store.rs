//! Where notes are kept: one SQLite database, one connection, full text beside the rows.
//!
//! Durability: the journal is a write-ahead log and `synchronous` is NORMAL. A commit has been handed to the operating system
//! with `write` before it is acknowledged, so it survives `kill -9` of this process; only a power failure may lose the last
//! commits, and never the database's consistency. FULL would add an fsync of several milliseconds to each note for that.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use gatepost_store::sqlite::{self, Schema, Survives, Unopened};
use rusqlite::{Connection, OptionalExtension, Row, params};
use thiserror::Error;
use tokio::sync::broadcast;

use crate::timestamp;

/// The longest title, in characters.
pub(super) const MAX_TITLE: usize = 200;
/// The longest body, in bytes of UTF-8.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// How many notes there may be.
const MAX_NOTES: i64 = 100_000;
/// The longest search, in characters.
const MAX_QUERY: usize = 200;
/// How much of a body a summary shows, in characters.
const EXCERPT: i64 = 160;

const SCHEMA: Schema = Schema {
    migrations: &[NOTES],
    survives: Survives::Kill,
};

const NOTES: &str = "
    CREATE TABLE notes (
        id INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, so a stale id cannot name another note
        title TEXT NOT NULL,
        body TEXT NOT NULL,
        created INTEGER NOT NULL,             -- seconds since 1970
        updated INTEGER NOT NULL
    ) STRICT;
    CREATE VIRTUAL TABLE notes_text USING fts5 (
        title, body, content = 'notes', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
    );
    CREATE TRIGGER notes_added AFTER INSERT ON notes BEGIN
        INSERT INTO notes_text (rowid, title, body) VALUES (new.id, new.title, new.body);
    END;
    CREATE TRIGGER notes_deleted AFTER DELETE ON notes BEGIN
        INSERT INTO notes_text (notes_text, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
    END;
    CREATE TRIGGER notes_updated AFTER UPDATE ON notes BEGIN
        INSERT INTO notes_text (notes_text, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
        INSERT INTO notes_text (rowid, title, body) VALUES (new.id, new.title, new.body);
    END;
";

/// A whole note. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) id: i64,
    pub(super) title: String,
    pub(super) body: String,
    pub(super) created: i64,
    pub(super) updated: i64,
}

/// A note in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) id: i64,
    pub(super) title: String,
    pub(super) excerpt: String,
    pub(super) updated: i64,
}

/// What happened to the notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// The note it happened to.
    pub(super) id: i64,
    /// Whether the list of notes is another now; a title is part of the list.
    pub(super) listed: bool,
}

/// Why a note cannot be had or kept.
#[derive(Debug, Error)]
pub(super) enum NoteError {
    #[error("there is no note {0}; list_notes or search_notes give the ids that exist")]
    Missing(i64),
    #[error("the title is empty; give a few words that say what the note is about")]
    EmptyTitle,
    #[error("the title has {0} characters and may have {MAX_TITLE}; move the rest into the body")]
    LongTitle(usize),
    #[error("the title contains a line break or another control character; write it on one line")]
    ControlInTitle,
    #[error("the body has {0} bytes and may have {MAX_BODY}; split it into several notes")]
    LongBody(usize),
    #[error("nothing to change: give a title, a body, or both")]
    NoChange,
    #[error("there are {MAX_NOTES} notes, which is the most; delete some with delete_note")]
    Full,
    #[error("the search is empty; give words that the note contains")]
    EmptyQuery,
    #[error("the search has {0} characters and may have {MAX_QUERY}; search for fewer words")]
    LongQuery(usize),
    #[error(
        "the notes database failed: {0}; if it goes on, see the gate's log and the free space of its disk"
    )]
    Database(#[from] rusqlite::Error),
}

/// The notes database. Its calls block.
pub(super) struct Store {
    connection: Mutex<Connection>,
    changes: broadcast::Sender<Change>,
}

// === impl Store ===

impl Store {
    /// Opens the database at `path`, making or bringing it up to date as needed.
    pub(super) fn open(path: &Path) -> Result<Self, Unopened> {
        let connection = sqlite::open(path, &SCHEMA).map_err(|error| error.reason)?;
        let (changes, _) = broadcast::channel(64);
        Ok(Self {
            connection: Mutex::new(connection),
            changes,
        })
    }

    /// Changes from now on. Who is slow is told that it missed some.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    pub(super) fn add(&self, title: &str, body: &str) -> Result<Note, NoteError> {
        let (title, body) = (checked_title(title)?, checked_body(body)?);
        let now = timestamp::now();
        let connection = self.connection();
        if connection.query_row("SELECT count(*) FROM notes", [], |row| row.get::<_, i64>(0))? >= MAX_NOTES {
            return Err(NoteError::Full);
        }
        let note = connection
            .prepare_cached(
                "INSERT INTO notes (title, body, created, updated) VALUES (?1, ?2, ?3, ?3) RETURNING *",
            )?
            .query_row(params![title, body, now], note)?;
        drop(connection);
        self.tell(note.id, true);
        Ok(note)
    }

    pub(super) fn get(&self, id: i64) -> Result<Note, NoteError> {
        self.connection()
            .prepare_cached("SELECT * FROM notes WHERE id = ?1")?
            .query_row([id], note)
            .optional()?
            .ok_or(NoteError::Missing(id))
    }

    /// Changes what is given and leaves the rest.
    pub(super) fn update(&self, id: i64, title: Option<&str>, body: Option<&str>) -> Result<Note, NoteError> {
        if title.is_none() && body.is_none() {
            return Err(NoteError::NoChange);
        }
        let title = title.map(checked_title).transpose()?;
        let body = body.map(checked_body).transpose()?;
        let note = self
            .connection()
            .prepare_cached(
                "UPDATE notes SET title = coalesce(?2, title), body = coalesce(?3, body), updated = ?4 \
                 WHERE id = ?1 RETURNING *",
            )?
            .query_row(params![id, title, body, timestamp::now()], note)
            .optional()?
            .ok_or(NoteError::Missing(id))?;
        self.tell(id, title.is_some());
        Ok(note)
    }

    pub(super) fn delete(&self, id: i64) -> Result<Note, NoteError> {
        let note = self
            .connection()
            .prepare_cached("DELETE FROM notes WHERE id = ?1 RETURNING *")?
            .query_row([id], note)
            .optional()?
            .ok_or(NoteError::Missing(id))?;
        self.tell(id, true);
        Ok(note)
    }

    /// At most `limit` notes, newest first, of those whose id is below `before`; and how many notes there are.
    pub(super) fn list(&self, before: Option<i64>, limit: u32) -> Result<(Vec<Summary>, i64), NoteError> {
        let connection = self.connection();
        let total = connection.query_row("SELECT count(*) FROM notes", [], |row| row.get(0))?;
        let notes = connection
            .prepare_cached(
                "SELECT id, title, substr(body, 1, ?3), updated FROM notes WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            )?
            .query_map(params![before.unwrap_or(i64::MAX), limit, EXCERPT], summary)?
            .collect::<Result<_, _>>()?;
        Ok((notes, total))
    }

    /// At most `limit` notes that contain every word of `query`, or words that begin so, best first. Where no word begins
    /// so, notes that contain `query` as it stands: scripts without spaces, and the middle of words.
    pub(super) fn search(&self, query: &str, limit: u32) -> Result<Vec<Summary>, NoteError> {
        let query = query.trim();
        if query.is_empty() {
            return Err(NoteError::EmptyQuery);
        }
        let length = query.chars().count();
        if length > MAX_QUERY {
            return Err(NoteError::LongQuery(length));
        }
        let connection = self.connection();
        if let Some(words) = match_expression(query) {
            let found: Vec<Summary> = connection
                .prepare_cached(
                    "SELECT n.id, n.title, snippet(notes_text, 1, '', '', '…', 24), n.updated \
                     FROM notes_text JOIN notes n ON n.id = notes_text.rowid \
                     WHERE notes_text MATCH ?1 ORDER BY bm25(notes_text, 4.0, 1.0), n.id DESC LIMIT ?2",
                )?
                .query_map(params![words, limit], summary)?
                .collect::<Result<_, _>>()?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let found = connection
            .prepare_cached(
                "SELECT id, title, substr(body, max(1, instr(body, ?1) - 40), ?3), updated FROM notes \
                 WHERE instr(title, ?1) > 0 OR instr(body, ?1) > 0 ORDER BY id DESC LIMIT ?2",
            )?
            .query_map(params![query, limit, EXCERPT], summary)?
            .collect::<Result<_, _>>()?;
        Ok(found)
    }

    /// Ids that begin with the digits `prefix`, newest first.
    pub(super) fn ids(&self, prefix: &str, limit: u32) -> Result<Vec<String>, NoteError> {
        let ids = self
            .connection()
            .prepare_cached("SELECT CAST(id AS TEXT) AS text FROM notes WHERE substr(text, 1, length(?1)) = ?1 ORDER BY id DESC LIMIT ?2")?
            .query_map(params![prefix, limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(ids)
    }

    /// Titles that begin with `prefix`, newest first.
    pub(super) fn titles(&self, prefix: &str, limit: u32) -> Result<Vec<String>, NoteError> {
        let titles = self
            .connection()
            .prepare_cached(
                "SELECT title FROM notes WHERE substr(lower(title), 1, length(?1)) = lower(?1) \
                 GROUP BY title ORDER BY max(id) DESC LIMIT ?2",
            )?
            .query_map(params![prefix, limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(titles)
    }

    /// A panic while the lock was held left no transaction open, so the connection is as good as before.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, id: i64, listed: bool) {
        // An error says that nobody listens.
        let _ = self.changes.send(Change { id, listed });
    }
}

fn note(row: &Row<'_>) -> rusqlite::Result<Note> {
    Ok(Note {
        id: row.get("id")?,
        title: row.get("title")?,
        body: row.get("body")?,
        created: row.get("created")?,
        updated: row.get("updated")?,
    })
}

fn summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
    Ok(Summary {
        id: row.get(0)?,
        title: row.get(1)?,
        excerpt: row.get(2)?,
        updated: row.get(3)?,
    })
}

/// A full-text query of quoted prefixes, so that nothing in `query` is read as an operator; `None` if it has no words.
fn match_expression(query: &str) -> Option<String> {
    let words: Vec<String> = query
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| format!("\"{word}\"*"))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn checked_title(title: &str) -> Result<&str, NoteError> {
    let title = title.trim();
    let length = title.chars().count();
    if title.is_empty() {
        Err(NoteError::EmptyTitle)
    } else if length > MAX_TITLE {
        Err(NoteError::LongTitle(length))
    } else if title.contains(char::is_control) {
        Err(NoteError::ControlInTitle)
    } else {
        Ok(title)
    }
}

fn checked_body(body: &str) -> Result<&str, NoteError> {
    if body.len() > MAX_BODY {
        Err(NoteError::LongBody(body.len()))
    } else {
        Ok(body)
    }
}
