//! Builds: found, made, reserved, canceled. Who may do so is the methods' matter.

use crate::call_error::{CallError, fault, refused};
use crate::rows::{Column, Kind, Query, column};
use crate::states::BuildState;
use osbs_koji::{FaultCode, Struct, Value};
use rusqlite::{OptionalExtension as _, Transaction, params};

/// Members that every listing of builds has.
const COMMON: [Column; 21] = [
    column("build_id", "build.id", Kind::Int),
    column("version", "build.version", Kind::Text),
    column("release", "build.release", Kind::Text),
    column("epoch", "build.epoch", Kind::Int),
    column("draft", "build.draft", Kind::Bool),
    column("state", "build.state", Kind::Int),
    column("task_id", "build.task_id", Kind::Int),
    column("owner_id", "build.owner", Kind::Int),
    column("owner_name", "users.name", Kind::Text),
    column("package_id", "package.id", Kind::Int),
    column("package_name", "package.name", Kind::Text),
    column("name", "package.name", Kind::Text),
    column("nvr", "package.name || '-' || build.version || '-' || build.release", Kind::Text),
    column("volume_id", "0", Kind::Int),
    column("volume_name", "'DEFAULT'", Kind::Text),
    column("creation_event_id", "build.create_event", Kind::Int),
    column("creation_time", "events.at", Kind::Time),
    column("start_time", "build.start_time", Kind::Time),
    column("completion_time", "build.completion_time", Kind::Time),
    // Drafts are never promoted here.
    column("promoter_id", "NULL", Kind::Int),
    column("promoter_name", "NULL", Kind::Text),
];

const PROMOTION_TIME: Column = column("promotion_time", "NULL", Kind::Time);

/// Members that a build itself has besides.
const WHOLE: [Column; 6] = [
    column("creation_ts", "events.at", Kind::Seconds),
    column("start_ts", "build.start_time", Kind::Seconds),
    column("completion_ts", "build.completion_time", Kind::Seconds),
    column("promotion_ts", "NULL", Kind::Seconds),
    column("source", "build.source", Kind::Text),
    column("extra", "build.extra", Kind::Json),
];

const ID: Column = column("id", "build.id", Kind::Int);

const JOINS: &str = "JOIN events ON events.id = build.create_event JOIN package ON package.id = build.pkg_id
     JOIN users ON users.id = build.owner";

/// What `listBuilds` shows.
pub(crate) fn listing() -> Query {
    let query = Query::new(&COMMON, &format!("build {JOINS}")).column(PROMOTION_TIME);
    WHOLE.into_iter().fold(query, Query::column)
}

/// What `listTagged` shows of a build.
pub(crate) fn tagged_listing(with_extra: bool) -> Query {
    let from = format!("tag_listing JOIN build ON build.id = tag_listing.build_id {JOINS}");
    let query = Query::new(&COMMON, &format!("{from} JOIN tag ON tag.id = tag_listing.tag_id"))
        .column(PROMOTION_TIME)
        .column(ID)
        .column(column("tag_id", "tag.id", Kind::Int))
        .column(column("tag_name", "tag.name", Kind::Text))
        .column(column("create_event", "tag_listing.create_event", Kind::Int));
    if with_extra { query.column(WHOLE[5]) } else { query }
}

/// As `getBuild` shows it.
pub(crate) fn info(tx: &Transaction<'_>, id: i64) -> Result<Option<Struct>, CallError> {
    listing()
        .column(ID)
        .column(column("cg_id", "build.cg_id", Kind::Int))
        .column(column("cg_name", "content_generator.name", Kind::Text))
        .join("LEFT JOIN content_generator ON content_generator.id = build.cg_id")
        .bind("build.id = ?", id)
        .first(tx)
}

/// Name, version, release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nvr {
    pub name: String,
    pub version: String,
    pub release: String,
}

impl std::fmt::Display for Nvr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.name, self.version, self.release)
    }
}

impl Nvr {
    /// Reads `NAME-VERSION-RELEASE`.
    ///
    /// # Errors
    /// 1000.
    pub(crate) fn parse(text: &str) -> Result<Self, CallError> {
        let mut parts = text.rsplitn(3, '-');
        let (release, version, name) = (parts.next(), parts.next(), parts.next());
        match (name, version, release) {
            (Some(name), Some(version), Some(release)) if ![name, version, release].contains(&"") => {
                Ok(Self { name: name.into(), version: version.into(), release: release.into() })
            }
            _ => Err(refused(format!("invalid format: {text}"))),
        }
    }

    /// Reads it out of a struct.
    ///
    /// # Errors
    /// 1000: a part is missing or no text.
    pub(crate) fn of_members(build: &Value) -> Result<Self, CallError> {
        let part = |name: &str| {
            let part = build.get(name).as_str().filter(|part| !part.is_empty());
            part.map(str::to_owned).ok_or_else(|| refused(format!("did not provide {name} of the build")))
        };
        Ok(Self { name: part("name")?, version: part("version")?, release: part("release")? })
    }

    /// Refuses what can be no NVR, and what can be no name of a folder.
    ///
    /// # Errors
    /// 1000.
    pub(crate) fn check(&self) -> Result<(), CallError> {
        let Self { name, version, release } = self;
        for (what, text) in [("version", version), ("release", release)] {
            if text.contains('-') {
                return Err(refused(format!("The \"-\" character not allowed in {what}: {text:?}")));
            }
        }
        for (what, text) in [("name", name), ("version", version), ("release", release)] {
            let wrong = text.contains('/') || text.chars().any(char::is_control) || text.len() > 255;
            if wrong || text.is_empty() || text == "." || text == ".." {
                return Err(refused(format!("Invalid {what}: {text:?}")));
            }
        }
        Ok(())
    }
}

/// The build that an argument names: id, NVR, or struct of its parts.
///
/// # Errors
/// 1000: the argument is none of these.
pub(crate) fn find_id(tx: &Transaction<'_>, build: &Value) -> Result<Option<i64>, CallError> {
    match build {
        Value::Int(id) => exists(tx, *id),
        Value::String(text) => find_nvr(tx, &Nvr::parse(text)?),
        Value::Struct(_) => find_nvr(tx, &Nvr::of_members(build)?),
        other => Err(refused(format!("Invalid type for argument: {}", other.type_name()))),
    }
}

fn exists(tx: &Transaction<'_>, id: i64) -> Result<Option<i64>, CallError> {
    Ok(tx.prepare_cached("SELECT id FROM build WHERE id = ?")?.query_row([id], |row| row.get(0)).optional()?)
}

/// The build of an NVR.
pub(crate) fn find_nvr(tx: &Transaction<'_>, nvr: &Nvr) -> Result<Option<i64>, CallError> {
    let sql = "SELECT build.id FROM build JOIN package ON package.id = pkg_id
               WHERE package.name = ? AND version = ? AND release = ?";
    let found = tx.prepare_cached(sql)?.query_row([&nvr.name, &nvr.version, &nvr.release], |row| row.get(0));
    Ok(found.optional()?)
}

/// The same, which must be there.
///
/// # Errors
/// 1000.
pub(crate) fn get_id(tx: &Transaction<'_>, build: &Value) -> Result<i64, CallError> {
    find_id(tx, build)?.ok_or_else(|| no_such_build(build))
}

/// 1000: there is no such build.
pub(crate) fn no_such_build(build: &Value) -> CallError {
    let name = match build {
        Value::String(text) => text.clone(),
        Value::Int(id) => id.to_string(),
        other => other.to_json().to_string(),
    };
    refused(format!("No such build: {name}"))
}

/// What must be known of a build before something is done to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Build {
    pub id: i64,
    pub nvr: Nvr,
    pub package_id: i64,
    pub epoch: Option<i64>,
    pub draft: bool,
    pub state: BuildState,
    pub task_id: Option<i64>,
    pub owner: i64,
    pub cg_id: Option<i64>,
}

/// A build that must be there.
///
/// # Errors
/// 1000.
pub(crate) fn get(tx: &Transaction<'_>, id: i64) -> Result<Build, CallError> {
    let sql = "SELECT package.name, version, release, pkg_id, epoch, draft, state, task_id, owner, cg_id
               FROM build JOIN package ON package.id = pkg_id WHERE build.id = ?";
    let found = tx.prepare_cached(sql)?.query_row([id], |row| {
        Ok(Build {
            id,
            nvr: Nvr { name: row.get(0)?, version: row.get(1)?, release: row.get(2)? },
            package_id: row.get(3)?,
            epoch: row.get(4)?,
            draft: row.get(5)?,
            state: row.get(6)?,
            task_id: row.get(7)?,
            owner: row.get(8)?,
            cg_id: row.get(9)?,
        })
    });
    found.optional()?.ok_or_else(|| no_such_build(&Value::Int(id)))
}

/// A build to be made.
#[derive(Debug)]
pub(crate) struct NewBuild<'a> {
    pub nvr: &'a Nvr,
    pub epoch: Option<i64>,
    pub draft: bool,
    pub state: BuildState,
    pub task_id: Option<i64>,
    pub owner: i64,
    pub source: Option<&'a str>,
    /// JSON.
    pub extra: Option<&'a str>,
    pub cg_id: Option<i64>,
    /// The event of the call that makes it.
    pub event: i64,
    pub start_time: i64,
    pub completion_time: Option<i64>,
}

/// Makes a build, and its package if that is new. One that failed or was canceled gives its id to a new attempt.
///
/// # Errors
/// 1000: there is such a build, or the old attempt has left something.
pub(crate) fn create(tx: &Transaction<'_>, build: &NewBuild<'_>) -> Result<i64, CallError> {
    let package_id = package(tx, &build.nvr.name)?;
    if let Some(id) = find_nvr(tx, build.nvr)? {
        if build.draft {
            return Err(refused(format!("Target build already exists: {} (id={id})", build.nvr)));
        }
        check_recyclable(tx, id)?;
        tx.execute("DELETE FROM build_types WHERE build_id = ?", [id])?;
        write(tx, build, package_id, Some(id))?;
        return Ok(id);
    }
    let id = write(tx, build, package_id, None)?;
    if build.draft {
        let release = format!("{},draft_{id}", build.nvr.release);
        tx.execute("UPDATE build SET release = ? WHERE id = ?", params![release, id])?;
    }
    Ok(id)
}

fn package(tx: &Transaction<'_>, name: &str) -> Result<i64, CallError> {
    tx.prepare_cached("INSERT INTO package (name) VALUES (?) ON CONFLICT DO NOTHING")?.execute([name])?;
    Ok(tx.prepare_cached("SELECT id FROM package WHERE name = ?")?.query_row([name], |row| row.get(0))?)
}

fn write(tx: &Transaction<'_>, build: &NewBuild<'_>, package_id: i64, id: Option<i64>) -> Result<i64, CallError> {
    let NewBuild { nvr, epoch, draft, state, task_id, owner, source, extra, cg_id, event, .. } = *build;
    tx.prepare_cached(
        "INSERT INTO build (id, pkg_id, version, release, epoch, draft, state, task_id, owner, source, extra, cg_id,
             create_event, start_time, completion_time)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT (id) DO UPDATE SET epoch = ?5, draft = ?6, state = ?7, task_id = ?8, owner = ?9, source = ?10,
             extra = ?11, cg_id = ?12, create_event = ?13, start_time = ?14, completion_time = ?15",
    )?
    .execute(params![
        id,
        package_id,
        nvr.version,
        nvr.release,
        epoch,
        draft,
        state,
        task_id,
        owner,
        source,
        extra,
        cg_id,
        event,
        build.start_time,
        build.completion_time
    ])?;
    Ok(id.unwrap_or_else(|| tx.last_insert_rowid()))
}

fn check_recyclable(tx: &Transaction<'_>, id: i64) -> Result<(), CallError> {
    let old = get(tx, id)?;
    if old.state == BuildState::Building {
        let reserved = reservation(tx, id)?.is_some();
        return Err(refused(if reserved {
            format!("Build is already reserved: {} (id={id})", old.nvr)
        } else {
            format!("Build already in progress: {} (id={id})", old.nvr)
        }));
    }
    if !matches!(old.state, BuildState::Failed | BuildState::Canceled) {
        return Err(refused(format!("Build already exists (id={id}, state={}): {}", old.state.as_str(), old.nvr)));
    }
    for (table, what) in [("tag_listing", "tag history"), ("rpminfo", "rpm data"), ("archiveinfo", "archive data")] {
        let sql = format!("SELECT 1 FROM {table} WHERE build_id = ?");
        if tx.query_row(&sql, [id], |_| Ok(())).optional()?.is_some() {
            return Err(refused(format!("Build already exists. Unable to recycle, has {what}: {} (id={id})", old.nvr)));
        }
    }
    Ok(())
}

/// The digest of the token by which a build is reserved.
pub(crate) fn reservation(tx: &Transaction<'_>, id: i64) -> Result<Option<Vec<u8>>, CallError> {
    let sql = "SELECT token_digest FROM build_reservations WHERE build_id = ?";
    Ok(tx.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?)
}

/// Ends a reservation.
pub(crate) fn clear_reservation(tx: &Transaction<'_>, id: i64) -> Result<(), CallError> {
    tx.prepare_cached("DELETE FROM build_reservations WHERE build_id = ?")?.execute([id])?;
    Ok(())
}

/// A build that is building ends without a result.
pub(crate) fn end(tx: &Transaction<'_>, now: i64, id: i64, state: BuildState) -> Result<bool, CallError> {
    let ended = tx
        .prepare_cached("UPDATE build SET state = ?, completion_time = ? WHERE id = ? AND state = 0")?
        .execute(params![state, now, id])?;
    clear_reservation(tx, id)?;
    Ok(ended > 0)
}

/// Builds of a task that is canceled are canceled.
pub(crate) fn cancel_of_task(tx: &Transaction<'_>, now: i64, task_id: i64) -> Result<(), CallError> {
    let mut statement = tx.prepare_cached("SELECT id FROM build WHERE task_id = ? AND state = 0")?;
    let ids: Vec<i64> = statement.query_map([task_id], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for id in ids {
        end(tx, now, id, BuildState::Canceled)?;
    }
    Ok(())
}

/// The release of the newest build of a name and version that counts: none that failed, was canceled, or is a draft.
pub(crate) fn last_release(tx: &Transaction<'_>, name: &str, version: &str) -> Result<Option<String>, CallError> {
    let sql = "SELECT release FROM build JOIN package ON package.id = pkg_id
               WHERE package.name = ? AND version = ? AND state IN (0, 1, 2) AND NOT draft
               ORDER BY build.id DESC LIMIT 1";
    Ok(tx.prepare_cached(sql)?.query_row([name, version], |row| row.get(0)).optional()?)
}

/// Ids of the types of builds, with the build's own: `{"image": {...}}` without their members.
pub(crate) fn types(tx: &Transaction<'_>, id: i64) -> Result<Vec<String>, CallError> {
    let sql =
        "SELECT btype.name FROM build_types JOIN btype ON btype.id = btype_id WHERE build_id = ? ORDER BY btype_id";
    let mut statement = tx.prepare_cached(sql)?;
    let names = statement.query_map([id], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// 1003: a build in another state than COMPLETE.
pub(crate) fn not_complete(build: &Build) -> CallError {
    fault(FaultCode::TagError, format!("build {} not complete: state {}", build.nvr, build.state.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_nvr(text: &str, expected: Option<[&str; 3]>) {
        let found = Nvr::parse(text).and_then(|nvr| nvr.check().map(|()| [nvr.name, nvr.version, nvr.release]));
        assert_eq!(found.ok(), expected.map(|parts| parts.map(str::to_owned)), "{text}");
    }

    #[test]
    fn nvrs_are_read() {
        check_nvr("caddy-container-2.4-1", Some(["caddy-container", "2.4", "1"]));
        check_nvr("a-1-b c", Some(["a", "1", "b c"]));
        check_nvr("a-1", None);
        check_nvr("-1-1", None);
        check_nvr("a--1", None);
        check_nvr("a-..-1", None);
        check_nvr("a/b-1-1", None);
    }
}
