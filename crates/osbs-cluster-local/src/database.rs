//! The record of builds and what belongs to them, in SQLite. The only file that knows SQL's schema; nothing here waits for
//! anything but the database.
//!
//! WAL, one writer at a time (`BEGIN IMMEDIATE`), everything committed is on disk (`synchronous=FULL`).

use crate::layout::{Home, storage};
use osbs_cluster::{Build, ClusterError};
use osbs_types::{BuildName, BuildState};
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait for another writer.
const BUSY: Duration = Duration::from_secs(15);

/// Schema versions, oldest first: `user_version` says how many have been applied. Never change one that was released.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE builds (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        namespace    TEXT NOT NULL,
        name         TEXT NOT NULL,
        state        TEXT NOT NULL,
        build_type   TEXT NOT NULL,
        build_config TEXT,
        parent       TEXT,
        slot_group   TEXT,
        record       TEXT NOT NULL, -- osbs_cluster::Build as JSON, without env
        env          TEXT NOT NULL, -- JSON object
        runner       TEXT,          -- ProcessMark as JSON
        UNIQUE (namespace, name)
    ) STRICT;
    CREATE INDEX builds_unfinished ON builds (id) WHERE state IN ('New', 'Pending', 'Running');
    CREATE INDEX builds_config ON builds (namespace, build_config) WHERE build_config IS NOT NULL;
    CREATE INDEX builds_parent ON builds (namespace, parent) WHERE parent IS NOT NULL;

    CREATE TABLE build_configs (
        namespace    TEXT NOT NULL,
        name         TEXT NOT NULL,
        last_version INTEGER NOT NULL,
        record       TEXT NOT NULL, -- osbs_cluster::BuildConfig as JSON
        PRIMARY KEY (namespace, name)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE config_maps (
        namespace TEXT NOT NULL,
        name      TEXT NOT NULL,
        data      TEXT NOT NULL, -- JSON object of texts
        PRIMARY KEY (namespace, name)
    ) STRICT;

    CREATE TABLE nvrs (
        component   TEXT NOT NULL,
        version     TEXT NOT NULL,
        release     TEXT NOT NULL,
        namespace   TEXT NOT NULL,
        build       TEXT NOT NULL,
        reserved_at TEXT NOT NULL,
        PRIMARY KEY (component, version, release)
    ) STRICT, WITHOUT ROWID;
",
    // What only a running build needs, and what may hold passwords, goes with its end.
    "UPDATE builds SET env = '{}' WHERE state NOT IN ('New', 'Pending', 'Running');",
];

/// States of builds that are not finished, for SQL.
pub(crate) const UNFINISHED: &str = "state IN ('New', 'Pending', 'Running')";

/// One connection.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Connection,
    place: PathBuf,
}

/// A build as stored.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Grows with every build of the home: the order they were asked for in.
    pub id: i64,
    pub build: Build,
    /// The runner's mark (`process_mark.rs`), JSON.
    pub runner: Option<String>,
}

/// Makes a storage error out of SQLite's.
pub(crate) fn sql(action: &'static str, place: &Path) -> impl FnOnce(rusqlite::Error) -> ClusterError {
    move |source| ClusterError::Storage { action, place: place.display().to_string(), source: source.into() }
}

/// Makes a "this is not what we wrote" error.
pub(crate) fn corrupt(what: &'static str, place: &Path) -> impl FnOnce(serde_json::Error) -> ClusterError {
    move |source| ClusterError::Corrupt { what, place: place.display().to_string(), source: source.into() }
}

impl Database {
    /// Opens `cluster.db`, makes it or brings its schema up to date.
    pub(crate) fn open(home: &Home) -> Result<Self, ClusterError> {
        home.create()?;
        let place = home.database();
        make_private(&place)?;
        let connection = Connection::open_with_flags(&place, OpenFlags::default()).map_err(sql("open", &place))?;
        let mut database = Self { connection, place };
        database.set_up()?;
        Ok(database)
    }

    fn set_up(&mut self) -> Result<(), ClusterError> {
        let place = self.place.clone();
        self.connection.busy_timeout(BUSY).map_err(sql("open", &place))?;
        // Changing the journal mode does not wait for others, whatever the busy time-out says.
        let start = Instant::now();
        while let Err(error) = self.connection.pragma_update(None, "journal_mode", "WAL") {
            let busy = error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy);
            if !busy || start.elapsed() > BUSY {
                return Err(sql("open", &place)(error));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.connection.pragma_update(None, "synchronous", "FULL").map_err(sql("open", &place))?;
        // What is removed is overwritten: it may be the password of a build's request.
        self.connection.pragma_update(None, "secure_delete", "ON").map_err(sql("open", &place))?;
        if self.schema_version()? < MIGRATIONS.len() as i64 {
            self.migrate()?;
        }
        let found = self.schema_version()?;
        let known = MIGRATIONS.len() as i64;
        if found > known {
            return Err(ClusterError::NewerSchema { place: place.display().to_string(), found, known });
        }
        Ok(())
    }

    fn schema_version(&self) -> Result<i64, ClusterError> {
        self.connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sql("open", &self.place))
    }

    fn migrate(&mut self) -> Result<(), ClusterError> {
        self.write("bring the schema up to date", |transaction, place| {
            let done: i64 = transaction
                .pragma_query_value(None, "user_version", |row| row.get(0))
                .map_err(sql("read the schema version", place))?;
            for migration in MIGRATIONS.iter().skip(done as usize) {
                transaction.execute_batch(migration).map_err(sql("bring the schema up to date", place))?;
            }
            let version = (MIGRATIONS.len() as i64).max(done);
            transaction.pragma_update(None, "user_version", version).map_err(sql("bring the schema up to date", place))
        })
    }

    /// The file.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// For reading.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Does `work` as the only writer: all of it, or nothing where it returns an error.
    pub(crate) fn write<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>, &Path) -> Result<T, ClusterError>,
    ) -> Result<T, ClusterError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(sql(action, &self.place))?;
        let result = work(&transaction, &self.place)?;
        transaction.commit().map_err(sql(action, &self.place))?;
        Ok(result)
    }

    /// The build of that name.
    pub(crate) fn build(&self, namespace: &str, name: &BuildName) -> Result<Stored, ClusterError> {
        find(&self.connection, &self.place, namespace, name)
    }

    /// Changes a build's record atomically.
    pub(crate) fn change_build<T>(
        &mut self,
        action: &'static str,
        namespace: &str,
        name: &BuildName,
        change: impl FnOnce(&mut Stored) -> T,
    ) -> Result<(Build, T), ClusterError> {
        self.write(action, |transaction, place| {
            let mut stored = find(transaction, place, namespace, name)?;
            let result = change(&mut stored);
            save(transaction, place, &stored)?;
            Ok((stored.build, result))
        })
    }

    /// Changes a build's record for the last time: its environment, which may hold passwords, goes.
    pub(crate) fn end_build(
        &mut self,
        namespace: &str,
        name: &BuildName,
        change: impl FnOnce(&mut Stored),
    ) -> Result<Build, ClusterError> {
        let action = "record the end of the build";
        let build = self.write(action, |transaction, place| {
            let mut stored = find(transaction, place, namespace, name)?;
            change(&mut stored);
            save(transaction, place, &stored)?;
            let forget = transaction.execute("UPDATE builds SET env = '{}' WHERE id = ?1", [stored.id]);
            forget.map_err(sql(action, place))?;
            Ok(Build { env: osbs_cluster::TextMap::new(), ..stored.build })
        })?;
        self.fold_log();
        Ok(build)
    }

    /// Empties the write-ahead log, where what was overwritten still stands. While somebody else is at work in it, the
    /// next one does it: at the latest, the last to close the database.
    fn fold_log(&self) {
        let fold = |connection: &Connection| {
            connection.busy_timeout(Duration::ZERO)?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        };
        let _ = fold(&self.connection);
        let _ = self.connection.busy_timeout(BUSY);
    }

    /// Namespace and name of every unfinished build, oldest first.
    pub(crate) fn unfinished(&self) -> Result<Vec<(String, BuildName)>, ClusterError> {
        let query = format!("SELECT namespace, name FROM builds WHERE {UNFINISHED} ORDER BY id");
        names(&self.connection, &self.place, &query, &[])
    }

    /// Unfinished worker builds of an orchestrator build.
    pub(crate) fn unfinished_children(
        &self,
        namespace: &str,
        parent: &BuildName,
    ) -> Result<Vec<(String, BuildName)>, ClusterError> {
        let query = format!("SELECT namespace, name FROM builds WHERE namespace = ?1 AND parent = ?2 AND {UNFINISHED}");
        names(&self.connection, &self.place, &query, &[namespace, parent.as_str()])
    }
}

fn names(
    connection: &Connection,
    place: &Path,
    query: &str,
    arguments: &[&str],
) -> Result<Vec<(String, BuildName)>, ClusterError> {
    let mut statement = connection.prepare_cached(query).map_err(sql("list builds", place))?;
    let rows = statement
        .query_map(rusqlite::params_from_iter(arguments), |row| Ok((row.get(0)?, parsed::<BuildName>(row, 1)?)))
        .map_err(sql("list builds", place))?;
    rows.collect::<Result<_, _>>().map_err(sql("list builds", place))
}

/// A column's text as a checked value.
pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    text.parse()
        .map_err(|error: T::Err| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, error.to_string().into()))
}

/// A column's JSON.
pub(crate) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, error.into()))
}

const COLUMNS: &str = "id, record, env, runner";

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let mut build: Build = json(row, 1)?;
    build.env = json(row, 2)?;
    Ok(Stored { id: row.get(0)?, build, runner: row.get(3)? })
}

/// The build of that name, within a transaction or without.
pub(crate) fn find(
    connection: &Connection,
    place: &Path,
    namespace: &str,
    name: &BuildName,
) -> Result<Stored, ClusterError> {
    let query = format!("SELECT {COLUMNS} FROM builds WHERE namespace = ?1 AND name = ?2");
    connection
        .prepare_cached(&query)
        .and_then(|mut statement| statement.query_row(params![namespace, name.as_str()], stored).optional())
        .map_err(sql("read the build", place))?
        .ok_or_else(|| ClusterError::BuildNotFound { namespace: namespace.to_owned(), build: name.clone() })
}

/// Whether a build of that name is recorded, finished or not.
pub(crate) fn is_recorded(
    connection: &Connection,
    place: &Path,
    namespace: &str,
    name: &str,
) -> Result<bool, ClusterError> {
    connection
        .prepare_cached("SELECT 1 FROM builds WHERE namespace = ?1 AND name = ?2")
        .and_then(|mut statement| statement.exists(params![namespace, name]))
        .map_err(sql("look for the build", place))
}

/// Builds of a namespace, newest first, given to `take` until it returns false. Their environment is left out.
pub(crate) fn each_build(
    database: &Database,
    condition: &str,
    arguments: &[&str],
    mut take: impl FnMut(Build) -> bool,
) -> Result<(), ClusterError> {
    let place = &database.place;
    let query = format!("SELECT record FROM builds WHERE {condition} ORDER BY id DESC");
    let mut statement = database.connection.prepare_cached(&query).map_err(sql("list builds", place))?;
    let mut rows = statement.query(rusqlite::params_from_iter(arguments)).map_err(sql("list builds", place))?;
    while let Some(row) = rows.next().map_err(sql("list builds", place))? {
        if !take(json(row, 0).map_err(sql("list builds", place))?) {
            break;
        }
    }
    Ok(())
}

/// The record without the environment, which has a column of its own.
fn record(build: &Build, place: &Path) -> Result<String, ClusterError> {
    let slim = Build { env: osbs_cluster::TextMap::new(), ..build.clone() };
    serde_json::to_string(&slim).map_err(corrupt("a build", place))
}

/// Adds a build.
pub(crate) fn insert(transaction: &Transaction<'_>, place: &Path, build: &Build) -> Result<(), ClusterError> {
    let env = serde_json::to_string(&build.env).map_err(corrupt("an environment", place))?;
    let result = transaction.execute(
        "INSERT INTO builds (namespace, name, state, build_type, build_config, parent, slot_group, record, env)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            build.namespace,
            build.name.as_str(),
            build.state.as_str(),
            build.build_type.as_str(),
            build.build_config,
            build.parent.as_ref().map(BuildName::as_str),
            build.slots.as_ref().map(|slots| &slots.group),
            record(build, place)?,
            env,
        ],
    );
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
            Err(ClusterError::NameTaken {
                kind: "Build",
                name: build.name.to_string(),
                namespace: build.namespace.clone(),
            })
        }
        Err(error) => Err(sql("record the build", place)(error)),
    }
}

/// Writes a build back.
pub(crate) fn save(transaction: &Transaction<'_>, place: &Path, stored: &Stored) -> Result<(), ClusterError> {
    transaction
        .prepare_cached("UPDATE builds SET state = ?2, record = ?3, runner = ?4 WHERE id = ?1")
        .and_then(|mut statement| {
            statement.execute(params![
                stored.id,
                stored.build.state.as_str(),
                record(&stored.build, place).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?,
                stored.runner
            ])
        })
        .map(drop)
        .map_err(sql("record the build", place))
}

/// The database holds the environment of builds: for its owner only, from its first moment.
fn make_private(place: &Path) -> Result<(), ClusterError> {
    use std::os::unix::fs::OpenOptionsExt;
    // Never opened when it is there: closing any descriptor of the file would let go of the locks that other connections
    // of this process hold on it.
    match std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(place) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(storage("make", place)(error)),
        _ => Ok(()),
    }
}

/// Whether a build waits, and for what.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It may run now.
    Free,
    /// Somebody asked to cancel it, or it is finished already.
    Over,
    /// It has to wait; these builds are in its way.
    Wait { reason: String, blockers: Vec<(String, BuildName)> },
}

/// Whose turn it is: one build at a time for each BuildConfig in the order they were asked for, and no more of a slot
/// group than it has slots. A build that stands before this one in its group and could run takes its slot, so nobody
/// overtakes.
pub(crate) fn turn(connection: &Connection, place: &Path, stored: &Stored) -> Result<Turn, ClusterError> {
    let build = &stored.build;
    if build.cancel_requested || build.is_finished() {
        return Ok(Turn::Over);
    }
    let id = stored.id.to_string();
    if let Some(config) = &build.build_config {
        let query = format!(
            "SELECT namespace, name FROM builds
             WHERE namespace = ?1 AND build_config = ?2 AND id < CAST(?3 AS INTEGER) AND {UNFINISHED} ORDER BY id DESC"
        );
        let blockers = names(connection, place, &query, &[&build.namespace, config, &id])?;
        if let Some((_, last)) = blockers.first() {
            let reason = format!("waiting for build {last} of the same BuildConfig");
            return Ok(Turn::Wait { reason, blockers });
        }
    }
    let Some(slots) = &build.slots else { return Ok(Turn::Free) };
    let query = format!(
        "SELECT namespace, name FROM builds AS b
         WHERE slot_group = ?1 AND {UNFINISHED} AND id <> CAST(?2 AS INTEGER)
           AND (state = 'Running' OR (id < CAST(?2 AS INTEGER) AND NOT EXISTS (
               SELECT 1 FROM builds AS e
               WHERE e.namespace = b.namespace AND e.build_config = b.build_config AND e.id < b.id
                 AND e.state IN ('New', 'Pending', 'Running'))))
         ORDER BY id"
    );
    let blockers = names(connection, place, &query, &[&slots.group, &id])?;
    if blockers.len() < slots.max.max(1) as usize {
        return Ok(Turn::Free);
    }
    let reason = format!("waiting for one of {} slots of {}", slots.max.max(1), slots.group);
    Ok(Turn::Wait { reason, blockers })
}

/// Moves a build to `state`, if that is forward.
pub(crate) fn advance(build: &mut Build, state: BuildState, reason: Option<String>) -> bool {
    if build.is_finished() || state < build.state {
        return false;
    }
    build.state = state;
    build.reason = reason;
    true
}
