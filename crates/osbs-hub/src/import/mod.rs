//! Content-generator import: checks, one transaction, and the files (client-and-koji 6).
//!
//! Order: metadata, access, reservation, components, files; only then is anything changed. Checksums of large files are
//! computed before the transaction ([`measure`]), so that others need not wait for them.

mod components;
mod journal;
mod metadata;
mod records;
mod sums;

pub(crate) use sums::{Sums, measure};

use crate::builds::{self, NewBuild, Nvr};
use crate::call::Call;
use crate::call_error::{CallError, fault, refused, wrong_parameter};
use crate::hub::HubState;
use crate::paths::{WORK, below, build_folder};
use crate::states::BuildState;
use crate::tagging::btype_id;
use crate::uploads::files;
use components::{Matched, match_all};
use journal::{Journal, Move, Note};
use metadata::{BuildPart, Metadata, Output, OutputKind};
use osbs_koji::{FaultCode, Value};
use osbs_sandbox::rooted::{NodeKind, Root};
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Metadata that was uploaded is no longer than this.
const LONGEST_METADATA: u64 = 256 << 20;

/// The digest by which a token is remembered.
pub(crate) fn token_digest(token: &str) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(token.as_bytes()).to_vec()
}

/// 1000: the token is not the one of the build's reservation.
pub(crate) fn wrong_token(build_id: i64) -> CallError {
    refused(format!("Token doesn't match build ID {build_id}"))
}

/// Refuses who was not granted the content generator, which must be known.
///
/// # Errors
/// 1000, 1002.
pub(crate) fn check_access(call: &Call<'_>, name: &str) -> Result<i64, CallError> {
    let sql = "SELECT id FROM content_generator WHERE name = ?";
    let id = call.tx.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
    let id: i64 = id.ok_or_else(|| refused(format!("No such content generator: {name}")))?;
    let sql = "SELECT 1 FROM cg_users WHERE cg_id = ? AND user_id = ? AND revoke_event IS NULL";
    let granted = call.tx.prepare_cached(sql)?.query_row([id, call.user()?.user_id], |_| Ok(())).optional()?;
    let denied = || fault(FaultCode::AuthError, format!("Content generator access required ({name})"));
    granted.map(|()| id).ok_or_else(denied)
}

/// What `CGImport` was given as metadata, and the text of it that is kept: a struct, JSON text, or the name of an upload.
fn metadata_and_text(top: &Root, sent: &Value, directory: &Path) -> Result<(Value, String), CallError> {
    let text = match sent {
        Value::Struct(_) => {
            let text = serde_json::to_string_pretty(&sent.to_json()).map_err(|error| refused(error.to_string()))?;
            return Ok((sent.clone(), text));
        }
        Value::Nil => uploaded_metadata(top, directory, "metadata.json")?,
        Value::String(name) if Path::new(name).extension().is_some_and(|ending| ending == "json") => {
            uploaded_metadata(top, directory, name)?
        }
        Value::String(text) => text.clone(),
        other => return Err(wrong_parameter(format!("Invalid type for metadata: {}", other.type_name()))),
    };
    let json = serde_json::from_str(&text).map_err(|error| refused(format!("Cannot parse metadata JSON: {error}")))?;
    Ok((Value::from_json(&json), text))
}

fn uploaded_metadata(top: &Root, directory: &Path, name: &str) -> Result<String, CallError> {
    let path = Path::new(WORK).join(directory).join(below("metadata file", name)?);
    match top.read_small(&path, LONGEST_METADATA) {
        Err(error) if error.is_not_found() => Err(refused(format!("No such file: {name}"))),
        text => String::from_utf8(text.map_err(files)?).map_err(|_| refused(format!("{name} is no UTF-8"))),
    }
}

/// The directory of an import, below the work folder.
fn directory(value: &str) -> Result<PathBuf, CallError> {
    let directory = below("import directory", value)?;
    if directory.starts_with("tasks") {
        Err(refused(format!("Invalid import directory: {value}")))
    } else {
        Ok(directory)
    }
}

/// `CGImport`.
///
/// # Errors
/// Those of client-and-koji 6.3.
pub(crate) fn import(call: &Call<'_>) -> Result<Value, CallError> {
    let top = Root::open(&call.hub.topdir).map_err(files)?;
    let directory = directory(call.str("directory")?)?;
    let (sent, text) = metadata_and_text(&top, call.value("metadata"), &directory)?;
    let metadata = Metadata::read(&sent)?;
    let cg_id = check_access(call, &metadata.buildroots[0].cg_name)?;
    let token = call.str_or_nil("token")?;
    let plan = Plan::new(call, &metadata.build, cg_id, token)?;
    let mut log = Vec::new();
    let buildroots =
        all_components(call.tx, metadata.buildroots.iter().map(|buildroot| &*buildroot.components), &mut log)?;
    let checked = Files::check(&top, call.hub, &directory, &metadata.outputs)?;
    let outputs = all_components(call.tx, metadata.outputs.iter().map(|output| &*output.components), &mut log)?;
    let folder = build_folder(&plan.nvr.name, &plan.nvr.version, &plan.nvr.release);
    if top.lstat(&folder).map_err(files)?.is_some() {
        return Err(refused(format!("Destination directory already exists: {}", folder.display())));
    }
    let build_id = plan.record(call, &metadata.build, cg_id)?;
    record(call.tx, &metadata, (build_id, cg_id), &checked, (&buildroots, &outputs))?;
    place(call, top, build_id, folder, (&metadata.outputs, checked), (&text, &mut log))?;
    Ok(builds::info(call.tx, build_id)?.map_or(Value::Nil, Value::Struct))
}

fn all_components<'a>(
    tx: &Transaction<'_>,
    lists: impl Iterator<Item = &'a [metadata::Component]>,
    log: &mut Vec<String>,
) -> Result<Vec<Matched>, CallError> {
    lists.map(|list| match_all(tx, list, log)).collect()
}

/// What becomes of the build.
struct Plan {
    /// Of the build as it will be: a draft's release is longer than the metadata's.
    nvr: Nvr,
    reserved: Option<i64>,
    owner: i64,
}

impl Plan {
    fn new(call: &Call<'_>, build: &BuildPart, cg_id: i64, token: Option<&str>) -> Result<Self, CallError> {
        let nvr = match (build.build_id, token) {
            (Some(id), token) => check_reservation(call.tx, build, id, cg_id, token)?,
            (None, Some(_)) => return Err(refused("Reservation token given, but no build_id in metadata")),
            (None, None) => {
                check_new(call.tx, &build.nvr)?;
                build.nvr.clone()
            }
        };
        for name in &build.types {
            if btype_id(call.tx, name)?.is_none() {
                return Err(refused(format!("No such btype: {name}")));
            }
            if matches!(name.as_str(), "maven" | "win") {
                return Err(refused(format!("This hub imports no builds of type {name}")));
            }
        }
        let owner = match &build.owner {
            None => call.user()?.user_id,
            Some(name) => {
                let sql = "SELECT id FROM users WHERE name = ?";
                let id = call.tx.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
                id.ok_or_else(|| refused(format!("No such user: {name}")))?
            }
        };
        Ok(Self { nvr, reserved: build.build_id, owner })
    }

    /// Makes the build, or completes the reserved one.
    fn record(&self, call: &Call<'_>, build: &BuildPart, cg_id: i64) -> Result<i64, CallError> {
        let extra = build.extra.to_json().to_string();
        let (source, task_id) = (build.source.as_deref(), build.task_id);
        let id = if let Some(id) = self.reserved {
            let sql = "UPDATE build SET state = 1, extra = ?, owner = ?, source = ?, task_id = ?, completion_time = ?
                       WHERE id = ?";
            call.tx.prepare_cached(sql)?.execute(params![extra, self.owner, source, task_id, call.now, id])?;
            builds::clear_reservation(call.tx, id)?;
            id
        } else {
            let new = NewBuild {
                nvr: &build.nvr,
                epoch: build.epoch.as_ref().and_then(Value::as_int),
                draft: build.draft,
                state: BuildState::Complete,
                task_id,
                owner: self.owner,
                source,
                extra: Some(&extra),
                cg_id: Some(cg_id),
                event: call.event()?,
                start_time: build.start_time,
                completion_time: Some(build.end_time),
            };
            builds::create(call.tx, &new)?
        };
        for name in &build.types {
            let sql = "INSERT OR IGNORE INTO build_types (build_id, btype_id) SELECT ?, id FROM btype WHERE name = ?";
            call.tx.prepare_cached(sql)?.execute(params![id, name])?;
        }
        Ok(id)
    }
}

fn check_reservation(
    tx: &Transaction<'_>,
    build: &BuildPart,
    id: i64,
    cg_id: i64,
    token: Option<&str>,
) -> Result<Nvr, CallError> {
    let reserved = builds::get(tx, id)?;
    let digest = builds::reservation(tx, id)?;
    if digest.is_none() || digest != token.map(token_digest) {
        return Err(wrong_token(id));
    }
    if reserved.cg_id != Some(cg_id) {
        return Err(refused(format!("Build ID {id} is not reserved by this CG")));
    }
    if reserved.task_id.is_some() && reserved.task_id != build.task_id {
        return Err(refused(format!("Build {id} is owned by another task")));
    }
    if reserved.state != BuildState::Building {
        return Err(refused(format!("Build ID {id} is not in BUILDING state")));
    }
    if reserved.draft != build.draft {
        return Err(refused(format!("Draft field does not match reservation (build id = {id})")));
    }
    let mut expected = build.nvr.clone();
    if build.draft {
        expected.release = format!("{},draft_{id}", expected.release);
    }
    if reserved.nvr != expected {
        return Err(refused(format!("Build ({id}) NVR is different")));
    }
    if build.epoch.as_ref().is_some_and(|epoch| epoch.as_int() != reserved.epoch) {
        return Err(refused(format!("Build ({id}) epoch is different")));
    }
    Ok(reserved.nvr)
}

fn check_new(tx: &Transaction<'_>, nvr: &Nvr) -> Result<(), CallError> {
    let Some(id) = builds::find_nvr(tx, nvr)? else { return Ok(()) };
    match builds::get(tx, id)?.state {
        BuildState::Failed | BuildState::Canceled => Ok(()),
        _ => Err(refused(format!("Build already exists: {nvr} (id={id})"))),
    }
}

/// The uploads of an import, checked and kept from being written to.
struct Files {
    /// Below the hub's folder, in the order of the outputs, with their sizes.
    paths: Vec<(PathBuf, u64)>,
    locks: Vec<File>,
}

impl Files {
    fn check(top: &Root, hub: &HubState, directory: &Path, outputs: &[Output]) -> Result<Self, CallError> {
        let (mut paths, mut locks) = (Vec::new(), Vec::new());
        for output in outputs {
            let path = Path::new(WORK).join(directory).join(&output.path);
            let name = &output.filename;
            match top.lstat(&path).map_err(files)?.map(|node| node.kind) {
                None => {
                    let text = format!("<class 'FileNotFoundError'>: {}", output.path.display());
                    return Err(fault(FaultCode::Exception, text));
                }
                Some(NodeKind::File) => {}
                Some(_) => {
                    return Err(refused(format!("Error importing archive file, {name} is not a regular file")));
                }
            }
            let file = top.open_file(&path).map_err(files)?;
            file.try_lock().map_err(|_| fault(FaultCode::LockError, format!("an upload still writes {name}")))?;
            let size = file.metadata().map_err(crate::uploads::io_error)?.len();
            if output.filesize != Value::Int(size as i64) {
                let expected = output.filesize.to_json();
                return Err(refused(format!(
                    "File size {size} for {name} (expected {expected}) doesn't match. Corrupted upload?"
                )));
            }
            let actual = hub.sums.of(&file, output.checksum_type).map_err(crate::uploads::io_error)?;
            if actual != output.checksum {
                return Err(refused(format!("File checksum mismatch for {name}: {} != {actual}", output.checksum)));
            }
            paths.push((path, size));
            locks.push(file);
        }
        Ok(Self { paths, locks })
    }
}

fn record(
    tx: &Transaction<'_>,
    metadata: &Metadata,
    (build_id, cg_id): (i64, i64),
    files: &Files,
    (of_buildroots, of_outputs): (&[Matched], &[Matched]),
) -> Result<(), CallError> {
    if metadata.build.draft && metadata.outputs.iter().any(|output| output.kind != OutputKind::Log) {
        return Err(refused("Draft builds are not supported for archives"));
    }
    let mut ids = Vec::new();
    for (buildroot, components) in metadata.buildroots.iter().zip(of_buildroots) {
        ids.push((&buildroot.id, records::buildroot(tx, buildroot, cg_id, components)?));
    }
    for ((output, components), (_, size)) in metadata.outputs.iter().zip(of_outputs).zip(&files.paths) {
        let buildroot = ids.iter().find(|(id, _)| **id == output.buildroot_id).map(|(_, id)| *id);
        let buildroot = buildroot.ok_or_else(|| refused("Unable to map a buildroot"))?;
        records::archive(tx, output, *size, (build_id, buildroot), components)?;
    }
    Ok(())
}

fn place_in_build(output: &Output) -> Option<PathBuf> {
    if output.metadata_only {
        return None;
    }
    let folder = match &output.kind {
        OutputKind::Log => Path::new("data/logs").join(&output.subdir),
        OutputKind::Archive { btype, .. } if btype == "image" => PathBuf::from("images"),
        OutputKind::Archive { btype, .. } => Path::new("files").join(btype).join(&output.subdir),
    };
    Some(folder.join(&output.filename))
}

fn place(
    call: &Call<'_>,
    top: Root,
    build_id: i64,
    folder: PathBuf,
    (outputs, checked): (&[Output], Files),
    (text, log): (&str, &mut Vec<String>),
) -> Result<(), CallError> {
    let moves = outputs.iter().zip(&checked.paths);
    let moves = moves.filter_map(|(output, (from, _))| Some(Move { from: from.clone(), to: place_in_build(output)? }));
    let id = format!("{:032x}", rand::random::<u128>());
    let journal = Journal { id, build_folder: folder, moves: moves.collect() };
    let mut notes = vec![Note { to: "metadata.json", content: text }];
    if !log.is_empty() {
        log.push("the import was SUCCESSFUL".to_owned());
    }
    let lines = log.join("\n") + "\n";
    if !log.is_empty() {
        notes.push(Note { to: "data/logs/cg_import.log", content: &lines });
    }
    call.tx.execute("INSERT INTO imports (id, build_id) VALUES (?, ?)", params![journal.id, build_id])?;
    journal.prepare(&top, &notes)?;
    let (journal, top) = (std::rc::Rc::new(journal), std::rc::Rc::new(top));
    let undo = (journal.clone(), top.clone());
    call.on_failure(move || undo.0.take_back(&undo.1));
    journal.take_place(&top)?;
    call.on_success(move || {
        // What is left to do is done when the hub starts the next time: nothing is lost.
        let _ = journal.complete(&top);
        drop(checked.locks);
    });
    Ok(())
}

/// Brings imports to an end that an earlier process of the hub did not live to see.
///
/// # Errors
/// The database failed, or the file system's refusal.
pub(crate) fn recover(hub: &HubState) -> Result<usize, CallError> {
    let top = Root::open(&hub.topdir).map_err(files)?;
    hub.database.transaction(crate::database::Access::Read, |tx| {
        journal::recover(&top, |id| {
            let sql = "SELECT 1 FROM imports WHERE id = ?";
            Ok(tx.prepare_cached(sql)?.query_row([id], |_| Ok(())).optional()?.is_some())
        })
    })
}
