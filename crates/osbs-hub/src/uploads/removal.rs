//! Uploads that nobody has imported, removed: by their owner, who has given up, or after some time by the hub itself.
//!
//! Files of a build are not touched: what was imported is a link here. Nor is a folder that is being written to: a file
//! that is open is locked, and between two pieces its time is new.

use super::{files, not_owner, open_folder, task_of_folder};
use crate::call_error::{CallError, fault, refused};
use crate::database::Access;
use crate::hub::HubState;
use crate::paths::WORK;
use crate::sessions::Session;
use osbs_koji::FaultCode;
use osbs_sandbox::rooted::{Node, NodeKind, Root};
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The folder itself.
const HERE: &str = ".";

/// Removes a folder of the caller's, with those of the caller below it. False: there is none.
///
/// # Errors
/// 1000: it is somebody else's, or a task's; 1001: it is being written to.
pub(crate) fn remove_own(
    tx: &Transaction<'_>,
    hub: &HubState,
    session: &Session,
    folder: &Path,
) -> Result<bool, CallError> {
    let path = folder.to_str().filter(|path| !path.is_empty() && task_of_folder(folder).is_none());
    let path = path.ok_or_else(|| refused(format!("Invalid upload directory: {}", folder.display())))?;
    let sql = "SELECT user_id FROM upload_folders WHERE path = ?";
    let owner: Option<i64> = tx.prepare_cached(sql)?.query_row([path], |row| row.get(0)).optional()?;
    if owner.is_some_and(|owner| owner != session.user_id) {
        return Err(not_owner(session, path));
    }
    // Those below come first.
    let sql = "SELECT path FROM upload_folders WHERE user_id = ?2
               AND (path = ?1 OR substr(path, 1, length(?1) + 1) = ?1 || '/') ORDER BY path DESC";
    let mut statement = tx.prepare_cached(sql)?;
    let own = statement.query_map(params![path, session.user_id], |row| row.get(0))?;
    let own = own.collect::<Result<Vec<String>, _>>()?;
    for path in &own {
        clear(hub, Path::new(path), None)?;
        forget(tx, path)?;
    }
    Ok(!own.is_empty())
}

fn forget(tx: &Transaction<'_>, path: &str) -> Result<(), CallError> {
    tx.prepare_cached("DELETE FROM upload_folders WHERE path = ?")?.execute([path])?;
    Ok(())
}

/// Goes on for as long as the hub: removes what lies too long, at the start and then so often that nothing lies much
/// longer than the settings say. Failures are logged.
pub(crate) async fn run(hub: Arc<HubState>) {
    let keep = hub.settings.keep_uploads;
    if keep.is_zero() {
        return;
    }
    let mut interval = tokio::time::interval((keep / 4).clamp(Duration::from_secs(1), Duration::from_hours(1)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let state = Arc::clone(&hub);
        // A panic ends no more than this turn.
        let _ = tokio::task::spawn_blocking(move || sweep(&state)).await;
    }
}

/// Removes the folders that nothing was written to for so long.
fn sweep(hub: &HubState) {
    let paths = hub.database.transaction(Access::Read, |tx| {
        let mut statement = tx.prepare_cached("SELECT path FROM upload_folders ORDER BY path DESC")?;
        let paths = statement.query_map([], |row| row.get(0))?;
        paths.collect::<Result<Vec<String>, _>>()
    });
    let keep = i64::try_from(hub.settings.keep_uploads.as_micros()).unwrap_or(i64::MAX);
    let before = hub.now().saturating_sub(keep);
    let mut removed = 0;
    for path in paths.unwrap_or_default() {
        match sweep_one(hub, &path, before) {
            Ok(gone) => removed += usize::from(gone),
            // It is being written to.
            Err(CallError::Fault(fault)) if fault.class() == FaultCode::LockError => {}
            Err(error) => hub.log(format_args!("the old uploads in {path:?} cannot be removed: {error}")),
        }
    }
    if removed > 0 {
        hub.log(format_args!("folders of old uploads removed: {removed}"));
    }
}

fn sweep_one(hub: &HubState, path: &str, before: i64) -> Result<bool, CallError> {
    let folder = Path::new(path);
    // Looked at before the writer is asked for: most are new.
    if open_folder(hub, folder, false)?.is_some_and(|root| last_write(&root).is_ok_and(|last| last > before)) {
        return Ok(false);
    }
    hub.database.transaction(Access::Write, |tx| {
        let gone = clear(hub, folder, Some(before))?;
        if gone {
            forget(tx, path)?;
        }
        Ok(gone)
    })
}

/// When anything was last written in a folder, in microseconds since the epoch.
fn last_write(root: &Root) -> Result<i64, CallError> {
    let of = |node: Node| node.modified.seconds * 1_000_000 + i64::from(node.modified.nanoseconds) / 1000;
    let mut last = root.stat(Path::new(HERE)).map_err(files)?.map_or(0, of);
    for (_, node) in entries(root)? {
        last = last.max(of(node));
    }
    Ok(last)
}

fn entries(root: &Root) -> Result<Vec<(OsString, Node)>, CallError> {
    let mut found = Vec::new();
    for name in root.list(Path::new(HERE)).map_err(files)? {
        if let Some(node) = root.lstat(Path::new(&name)).map_err(files)? {
            found.push((name, node));
        }
    }
    Ok(found)
}

/// Removes the files and links of a folder, and the folder unless there are folders in it. False: something was written
/// since `before`, and all is as it was.
///
/// The caller has the database's writer, so that no import is under way.
fn clear(hub: &HubState, folder: &Path, before: Option<i64>) -> Result<bool, CallError> {
    let _held = hub.upload_places.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(root) = open_folder(hub, folder, false)? else { return Ok(true) };
    if let Some(before) = before
        && last_write(&root)? > before
    {
        return Ok(false);
    }
    let mut names = Vec::new();
    for (name, node) in entries(&root)? {
        match node.kind {
            NodeKind::File => {
                let written = || fault(FaultCode::LockError, format!("an upload writes {}", name.display()));
                root.open_file(Path::new(&name)).map_err(files)?.try_lock().map_err(|_| written())?;
                names.push(name);
            }
            NodeKind::Symlink => names.push(name),
            _ => {}
        }
    }
    for name in names {
        root.remove_tree(Path::new(&name)).map_err(files)?;
    }
    remove_empty(hub, folder)?;
    Ok(true)
}

/// Removes a folder, and those that it lies in, as far as they are empty.
fn remove_empty(hub: &HubState, folder: &Path) -> Result<(), CallError> {
    let work = Root::open(&hub.topdir.join(WORK)).map_err(files)?;
    for folder in folder.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
        if !work.list(folder).map_err(files)?.is_empty() {
            break;
        }
        work.remove_tree(folder).map_err(files)?;
    }
    Ok(())
}
