//! The hub's SQLite database: schema versions, one writer, readers beside it. Must not know what the tables mean.
//!
//! WAL, and what is committed is on disk (`synchronous=FULL`): a hub that is killed has lost no call that it answered.

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Schema versions, oldest first: `user_version` says how many have been applied. Never change one that was released.
const MIGRATIONS: &[&str] =
    &[include_str!("schema/001-accounts-and-tags.sql"), include_str!("schema/002-tasks-and-builds.sql")];

/// How long to wait for another process that has the database open, such as a copy being made.
const BUSY: Duration = Duration::from_secs(15);

/// Readers that are kept for the next call.
const IDLE_READERS: usize = 8;

/// What prevents the database from being opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite says no.
    #[error("cannot {action} the database {place}")]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// The file.
        place: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// It was written by a newer version of this program.
    #[error(
        "the database {place} has schema version {found}, this program knows {known}: install the newer version again"
    )]
    NewerSchema {
        /// The file.
        place: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
}

/// Whether a call changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    /// It only reads: beside others, and SQLite refuses a change.
    Read,
    /// One at a time.
    Write,
}

/// The database of one hub.
#[derive(Debug)]
pub(crate) struct Database {
    place: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A connection whose holder panicked has rolled back: it is as good as any.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    /// Opens the file, makes it or brings its schema up to date.
    pub(crate) fn open(place: &Path) -> Result<Self, DatabaseError> {
        let wrong = |action| move |source| DatabaseError::Sqlite { action, place: place.to_owned(), source };
        make_private(place);
        let mut writer = Connection::open(place).map_err(wrong("open"))?;
        set_up(&writer).map_err(wrong("open"))?;
        writer.pragma_update(None, "journal_mode", "WAL").map_err(wrong("open"))?;
        writer.pragma_update(None, "synchronous", "FULL").map_err(wrong("open"))?;
        // What is removed is overwritten: it may be a hash of a password.
        writer.pragma_update(None, "secure_delete", "ON").map_err(wrong("open"))?;
        let known = MIGRATIONS.len() as i64;
        let found = migrate(&mut writer).map_err(wrong("bring up to date"))?;
        if found > known {
            return Err(DatabaseError::NewerSchema { place: place.to_owned(), found, known });
        }
        Ok(Self { place: place.to_owned(), writer: Mutex::new(writer), readers: Mutex::default() })
    }

    /// Runs `work` in one transaction; it is committed if `work` says so by `Ok`, else rolled back.
    ///
    /// Waits for the writer before it, so call it where waiting is allowed.
    pub(crate) fn transaction<T, E: From<rusqlite::Error>>(
        &self,
        access: Access,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        match access {
            Access::Write => run(&mut lock(&self.writer), TransactionBehavior::Immediate, work),
            Access::Read => {
                let idle = lock(&self.readers).pop();
                let mut reader = idle.map_or_else(|| self.reader(), Ok)?;
                let result = run(&mut reader, TransactionBehavior::Deferred, work);
                let mut readers = lock(&self.readers);
                if readers.len() < IDLE_READERS {
                    readers.push(reader);
                }
                result
            }
        }
    }

    fn reader(&self) -> rusqlite::Result<Connection> {
        let reader = Connection::open_with_flags(&self.place, OpenFlags::default() & !OpenFlags::SQLITE_OPEN_CREATE)?;
        set_up(&reader)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(reader)
    }
}

/// Hashes of passwords are for nobody's eyes, wherever the folder lies. If it cannot be made, SQLite says why.
fn make_private(place: &Path) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(place);
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.pragma_update(None, "foreign_keys", true)
}

fn migrate(writer: &mut Connection) -> rusqlite::Result<i64> {
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    if found < MIGRATIONS.len() as i64 {
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    }
    transaction.commit()?;
    Ok(found)
}

fn run<T, E: From<rusqlite::Error>>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let transaction = connection.transaction_with_behavior(behavior)?;
    // Dropped without a commit it rolls back.
    let result = work(&transaction)?;
    transaction.commit()?;
    Ok(result)
}
