//! Builds in tags: put in, taken out, listed. What inherits what is `inheritance`'s matter.
//!
//! Tagging is a task, for which a site without a Koji builder has nobody: it is done here then.

use crate::builds::{self, Build};
use crate::call::Id;
use crate::call_error::{CallError, fault, refused};
use crate::methods::{inheritance, packages, tags};
use crate::patterns::starts_with;
use crate::role::has_permission;
use crate::states::BuildState;
use crate::tasks;
use crate::versions::held;
use osbs_koji::{FaultCode, Struct, Value};
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The method of tasks that tag.
pub(crate) const METHOD: &str = "tagBuild";

/// Their priority: before builds.
pub(crate) const PRIORITY: i64 = 10;

fn tag_error(text: String) -> CallError {
    fault(FaultCode::TagError, text)
}

/// Refuses a user who may not change what is in the tag. An administrator's `force` overrules it.
///
/// # Errors
/// 1004.
pub(crate) fn check_access(tx: &Transaction<'_>, user_id: i64, tag_id: i64, force: bool) -> Result<(), CallError> {
    let sql = "SELECT locked, permissions.name FROM tag_config
               LEFT JOIN permissions ON permissions.id = perm_id WHERE tag_id = ? AND revoke_event IS NULL";
    let found: Option<(bool, Option<String>)> =
        tx.prepare_cached(sql)?.query_row([tag_id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (locked, permission) = found.ok_or_else(|| refused(format!("No such tag: {tag_id}")))?;
    let problem = match permission {
        _ if locked => "tag is locked".to_owned(),
        Some(name) if !has_permission(tx, user_id, &name)? => format!("tag requires permission {name}"),
        _ => return Ok(()),
    };
    if force && has_permission(tx, user_id, "admin")? {
        return Ok(());
    }
    Err(fault(FaultCode::ActionNotAllowed, problem))
}

/// Refuses a build whose package is not in the tag's list, or blocked there.
///
/// # Errors
/// 1003.
pub(crate) fn check_package(tx: &Transaction<'_>, tag_id: i64, tag: &str, build: &Build) -> Result<(), CallError> {
    let name = &build.nvr.name;
    match blocked(tx, tag_id, build.package_id, None)? {
        None => Err(tag_error(format!("Package {name} not in list for {tag}"))),
        Some(true) => Err(tag_error(format!("Package {name} blocked in {tag}"))),
        Some(false) => Ok(()),
    }
}

/// Whether a package is blocked in a tag, its own list or an inherited one; `None`: it is not listed.
fn blocked(tx: &Transaction<'_>, tag_id: i64, package_id: i64, event: Option<i64>) -> Result<Option<bool>, CallError> {
    let entry = packages::entry(tx, tag_id, package_id, event, false)?;
    Ok(entry.map(|entry| entry.get("blocked").is_some_and(Value::is_true)))
}

/// The name of a tag.
///
/// # Errors
/// 1000: there is none.
pub(crate) fn tag_name(tx: &Transaction<'_>, id: i64) -> Result<String, CallError> {
    let tag = tags::find(tx, &Id::Number(id), None)?;
    let name = tag.as_ref().and_then(|tag| tag.get("name")).and_then(Value::as_str).map(str::to_owned);
    name.ok_or_else(|| tags::no_such_tag(&Id::Number(id)))
}

/// Who changes a tag, and at which event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub user_id: i64,
    pub event: i64,
}

/// Puts a build into a tag. With `force` it becomes the latest again.
///
/// # Errors
/// 1003: it is not complete, or in the tag already; 1000: no such tag.
pub(crate) fn tag(
    tx: &Transaction<'_>,
    change: Change,
    tag_id: i64,
    build_id: i64,
    force: bool,
) -> Result<(), CallError> {
    let build = builds::get(tx, build_id)?;
    if build.state != BuildState::Complete {
        return Err(builds::not_complete(&build));
    }
    let name = tag_name(tx, tag_id)?;
    if is_tagged(tx, tag_id, build_id)? {
        if !force {
            return Err(tag_error(format!("build {} already tagged ({name})", build.nvr)));
        }
        revoke(tx, change, tag_id, build_id)?;
    }
    tx.prepare_cached("INSERT INTO tag_listing (build_id, tag_id, create_event, creator_id) VALUES (?, ?, ?, ?)")?
        .execute([build_id, tag_id, change.event, change.user_id])?;
    Ok(())
}

/// Takes a build out of a tag.
///
/// # Errors
/// 1003: it is not in it, and `strict` says that it must be.
pub(crate) fn untag(
    tx: &Transaction<'_>,
    change: Change,
    tag_id: i64,
    build_id: i64,
    strict: bool,
) -> Result<(), CallError> {
    let build = builds::get(tx, build_id)?;
    if revoke(tx, change, tag_id, build_id)? == 0 && strict {
        return Err(tag_error(format!("build {} not in tag {}", build.nvr, tag_name(tx, tag_id)?)));
    }
    Ok(())
}

fn revoke(tx: &Transaction<'_>, change: Change, tag_id: i64, build_id: i64) -> Result<usize, CallError> {
    let sql = "UPDATE tag_listing SET revoke_event = ?, revoker_id = ?
               WHERE tag_id = ? AND build_id = ? AND revoke_event IS NULL";
    Ok(tx.prepare_cached(sql)?.execute([change.event, change.user_id, tag_id, build_id])?)
}

/// Whether a build is in a tag.
pub(crate) fn is_tagged(tx: &Transaction<'_>, tag_id: i64, build_id: i64) -> Result<bool, CallError> {
    let sql = "SELECT 1 FROM tag_listing WHERE tag_id = ? AND build_id = ? AND revoke_event IS NULL";
    Ok(tx.prepare_cached(sql)?.query_row([tag_id, build_id], |_| Ok(())).optional()?.is_some())
}

/// What a tagging task's arguments say: `[tag_id, build_id, force, fromtag]`.
///
/// # Errors
/// 1003: as [`tag`] and [`untag`]; 1004: as [`check_access`].
pub(crate) fn tag_for_task(
    tx: &Transaction<'_>,
    change: Change,
    (tag_id, build_id): (i64, i64),
    force: bool,
    from: Option<i64>,
) -> Result<(), CallError> {
    check_access(tx, change.user_id, tag_id, force)?;
    check_package(tx, tag_id, &tag_name(tx, tag_id)?, &builds::get(tx, build_id)?)?;
    if let Some(from) = from {
        check_access(tx, change.user_id, from, force)?;
        untag(tx, change, from, build_id, true)?;
    }
    tag(tx, change, tag_id, build_id, force)
}

/// Does a tagging task here. It ends with what comes of it; only a failing database is an error.
///
/// # Errors
/// The database failed.
pub(crate) fn do_task(tx: &Transaction<'_>, now: i64, id: i64) -> Result<(), CallError> {
    tx.prepare_cached("UPDATE task SET state = 1, start_time = ? WHERE id = ?")?.execute(params![now, id])?;
    tx.execute_batch("SAVEPOINT tagging")?;
    match try_task(tx, now, id) {
        Ok(()) => {
            tx.execute_batch("RELEASE tagging")?;
            tasks::end_with(tx, now, id, Ok(&Value::Nil))
        }
        Err(error) => {
            tx.execute_batch("ROLLBACK TO tagging; RELEASE tagging")?;
            if error.is_ours() {
                return Err(error);
            }
            tasks::end_with(tx, now, id, Err(&error.into_fault()))
        }
    }
}

fn try_task(tx: &Transaction<'_>, now: i64, id: i64) -> Result<(), CallError> {
    let task = tasks::get(tx, id)?;
    let request = tasks::request(tx, id)?;
    let argument = |index: usize| request.get(index).unwrap_or(&Value::Nil);
    let (Some(tag_id), Some(build_id)) = (argument(0).as_int(), argument(1).as_int()) else {
        return Err(refused("A tagging task needs the ids of a tag and of a build"));
    };
    tx.prepare_cached("INSERT INTO events (at) VALUES (?)")?.execute([now])?;
    let change = Change { user_id: task.owner, event: tx.last_insert_rowid() };
    tag_for_task(tx, change, (tag_id, build_id), argument(2).is_true(), argument(3).as_int())
}

/// What of a tag is listed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Listing<'a> {
    pub tag_id: i64,
    /// As it was at an event.
    pub event: Option<i64>,
    pub inherit: bool,
    /// So many of each package, the latest; `None`: all.
    pub latest: Option<i64>,
    pub package: Option<&'a str>,
    /// Packages whose name begins so.
    pub prefix: Option<&'a str>,
    pub owner: Option<&'a str>,
    /// A type of builds.
    pub btype: Option<&'a str>,
    pub with_extra: bool,
    pub draft: Option<bool>,
}

/// Complete builds of a tag, the most recently tagged first, then those of the tags it inherits from. A package that is
/// not in the tag's list, or blocked, is left out.
///
/// # Errors
/// 1000: no such type of builds.
pub(crate) fn list(tx: &Transaction<'_>, listing: &Listing<'_>) -> Result<Vec<Struct>, CallError> {
    let mut tag_ids = vec![listing.tag_id];
    if listing.inherit {
        let steps = inheritance::walk(tx, listing.tag_id, listing.event, false)?;
        tag_ids.extend(steps.iter().map(inheritance::Step::parent));
    }
    // Of each package that has builds, whether the tag's list has it, and not blocked.
    let mut listed: HashMap<i64, bool> = HashMap::new();
    let mut seen: HashMap<i64, i64> = HashMap::new();
    let mut builds = Vec::new();
    for tag_id in tag_ids {
        for build in of_tag(tx, listing, tag_id)? {
            let package = build.get("package_id").and_then(Value::as_int).unwrap_or_default();
            let listed = match listed.entry(package) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(blocked(tx, listing.tag_id, package, listing.event)? == Some(false)),
            };
            if !listed {
                continue;
            }
            let count = seen.entry(package).or_default();
            if listing.latest.is_some_and(|most| *count >= most) {
                continue;
            }
            *count += 1;
            builds.push(build);
        }
    }
    Ok(builds)
}

fn of_tag(tx: &Transaction<'_>, listing: &Listing<'_>, tag_id: i64) -> Result<Vec<Struct>, CallError> {
    let mut query = builds::tagged_listing(listing.with_extra)
        .bind("tag_listing.tag_id = ?", tag_id)
        .filter("build.state = 1")
        .filter(&held("tag_listing", listing.event))
        .bind_some("package.name = ?", listing.package.map(str::to_owned))
        .bind_some("users.name = ?", listing.owner.map(str::to_owned))
        .bind_some("build.draft = ?", listing.draft)
        .order("tag_listing.create_event DESC, build.id DESC");
    if let Some(prefix) = listing.prefix {
        query = query.bind("package.name GLOB ?", starts_with(prefix));
    }
    if let Some(btype) = listing.btype {
        let id = btype_id(tx, btype)?.ok_or_else(|| refused(format!("unsupported build type: {btype}")))?;
        query = query.bind("build.id IN (SELECT build_id FROM build_types WHERE btype_id = ?)", id);
    }
    query.rows(tx)
}

/// The id of a type of builds.
pub(crate) fn btype_id(tx: &Transaction<'_>, name: &str) -> Result<Option<i64>, CallError> {
    Ok(tx.prepare_cached("SELECT id FROM btype WHERE name = ?")?.query_row([name], |row| row.get(0)).optional()?)
}
