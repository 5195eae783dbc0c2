//! Uploads: where they go, who may write there, and writing them (client-and-koji 5.4).
//!
//! Nothing is written through a symbolic link: where one lies, the file has been imported. Bytes go to disk as they come;
//! no more than one piece is held in memory.

pub(crate) mod removal;

use crate::call::Call;
use crate::call_error::{CallError, fault, refused};
use crate::checksum::{Checksum, Sum};
use crate::database::Access;
use crate::dispatch;
use crate::hub::HubState;
use crate::paths::{WORK, below, file_name, task_of_folder};
use crate::role::Role;
use crate::sessions::{Caller, Session};
use crate::tasks;
use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use osbs_koji::{Fault, FaultCode, Struct, Value};
use osbs_sandbox::rooted::{NodeKind, Owner, Root, RootedError};
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// What a raw upload's query says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawUpload {
    /// The folder, below the work folder.
    pub folder: PathBuf,
    pub name: String,
    /// `None`: at the end.
    offset: Option<u64>,
    /// The digest to answer with.
    verify: Option<Checksum>,
    /// The file ends where this piece begins, before it is written.
    overwrite: bool,
}

impl RawUpload {
    /// Reads the query.
    ///
    /// # Errors
    /// 1 or 1000: something is missing or not allowed.
    pub(crate) fn read<'q>(query: impl IntoIterator<Item = (&'q str, &'q str)>) -> Result<Self, CallError> {
        let (mut name, mut folder, mut offset, mut verify, mut overwrite) = (None, "", "0", "", false);
        for (key, value) in query {
            match key {
                "filename" => name = Some(value),
                "filepath" => folder = value,
                "offset" => offset = value,
                "fileverify" => verify = value,
                "overwrite" => overwrite = !value.is_empty(),
                "volume" => check_volume(value)?,
                _ => {}
            }
        }
        let name = name.ok_or_else(|| fault(FaultCode::Exception, "<class 'KeyError'>: 'filename'"))?;
        let (folder, name) = place(folder, name)?;
        Ok(Self { folder, name, offset: read_offset(offset)?, verify: read_checksum(verify)?, overwrite })
    }
}

fn read_offset(text: &str) -> Result<Option<u64>, CallError> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(offset) if offset >= 0 => Ok(Some(offset.unsigned_abs())),
        _ => Err(fault(FaultCode::Exception, format!("<class 'ValueError'>: offset {text}"))),
    }
}

fn read_checksum(name: &str) -> Result<Option<Checksum>, CallError> {
    if name.is_empty() {
        return Ok(None);
    }
    Checksum::named(name).map(Some).ok_or_else(|| refused(format!("Unsupported verify type: {name}")))
}

/// There is one volume.
///
/// # Errors
/// 1000: another is meant.
pub(crate) fn check_volume(name: &str) -> Result<(), CallError> {
    if matches!(name, "" | "DEFAULT") { Ok(()) } else { Err(refused(format!("No such volume: {name}"))) }
}

/// Folder and name that a caller gave.
///
/// # Errors
/// 1000.
pub(crate) fn place(folder: &str, name: &str) -> Result<(PathBuf, String), CallError> {
    let name = file_name("upload filename", name)?;
    Ok((upload_folder(folder)?, name.to_owned()))
}

/// The folder alone.
///
/// # Errors
/// 1000.
pub(crate) fn upload_folder(folder: &str) -> Result<PathBuf, CallError> {
    let folder = below("upload directory", folder)?;
    if folder.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b".")) {
        return Err(refused(format!("Invalid upload directory: {}", folder.display())));
    }
    Ok(folder)
}

/// Refuses who may not write to a folder; the first who does owns it.
///
/// # Errors
/// 1002, 1004, 1000.
pub(crate) fn claim(tx: &Transaction<'_>, session: &Session, folder: &Path) -> Result<(), CallError> {
    if let Some(task) = task_of_folder(folder) {
        return check_task(tx, session, task?);
    }
    let path = folder.to_str().ok_or_else(|| refused("Invalid upload directory"))?;
    let owner: Option<i64> = tx
        .prepare_cached("SELECT user_id FROM upload_folders WHERE path = ?")?
        .query_row([path], |row| row.get(0))
        .optional()?;
    match owner {
        Some(owner) if owner == session.user_id => Ok(()),
        Some(_) => Err(not_owner(session, path)),
        None => {
            tx.prepare_cached("INSERT INTO upload_folders (path, user_id) VALUES (?, ?)")?
                .execute(params![path, session.user_id])?;
            Ok(())
        }
    }
}

fn not_owner(session: &Session, path: &str) -> CallError {
    refused(format!("User {} is not owner of the upload directory: {path}", session.user_name))
}

/// Whether `claim` would write anything: if not, a reader is enough.
pub(crate) fn is_claimed(tx: &Transaction<'_>, folder: &Path) -> Result<bool, CallError> {
    if task_of_folder(folder).is_some() {
        return Ok(true);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM upload_folders WHERE path = ?)";
    Ok(tx.prepare_cached(sql)?.query_row([folder.to_string_lossy()], |row| row.get(0))?)
}

/// Claims the folder anew if it was removed after it had been claimed, and before anything was in it again.
///
/// # Errors
/// Somebody else was quicker.
pub(crate) fn keep_claim(hub: &HubState, session: &Session, folder: &Path) -> Result<(), CallError> {
    if hub.database.transaction(Access::Read, |tx| is_claimed(tx, folder))? {
        return Ok(());
    }
    hub.database.transaction(Access::Write, |tx| claim(tx, session, folder))
}

fn check_task(tx: &Transaction<'_>, session: &Session, id: i64) -> Result<(), CallError> {
    let Some(host) = session.host_id else {
        return Err(fault(FaultCode::AuthError, format!("User {} is not a host", session.user_id)));
    };
    if tasks::is_open_on(&tasks::get(tx, id)?, host) {
        return Ok(());
    }
    Err(fault(FaultCode::ActionNotAllowed, format!("host {host} does not own task {id}")))
}

/// A root for the folder of a path below the hub's, which is made if `make` says so. `None`: it is not there.
fn open_folder(hub: &HubState, folder: &Path, make: bool) -> Result<Option<Root>, CallError> {
    let root = Root::open(&hub.topdir.join(WORK)).map_err(files)?;
    if make {
        root.mkdir_all(folder, 0o755, ourselves()).map_err(files)?;
    }
    match root.subroot(folder) {
        Err(error) if error.is_not_found() => Ok(None),
        folder => Ok(Some(folder.map_err(files)?)),
    }
}

/// Who we run as.
pub(crate) fn ourselves() -> Owner {
    Owner { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() }
}

/// The fault for an error of the file system. A full disk is said so.
pub(crate) fn files(error: RootedError) -> CallError {
    io_error(error.source)
}

/// The same.
pub(crate) fn io_error(error: io::Error) -> CallError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            refused("The hub's disk is full: nothing of this was kept; ask the hub's administrator")
        }
        _ => error.into(),
    }
}

/// A raw upload that is being written.
#[derive(Debug)]
pub(crate) struct Writing {
    file: File,
    begin: u64,
    size: u64,
    verify: Option<(Checksum, Sum)>,
    overwrite: bool,
    durable: bool,
    name: String,
}

impl Writing {
    /// Opens the file. Whether the caller may is [`claim`]'s matter.
    ///
    /// # Errors
    /// 1000: a link or a folder is there, or a file that the piece would begin anew; 1001: another upload writes it.
    pub(crate) fn begin(hub: &HubState, upload: RawUpload) -> Result<Self, CallError> {
        let RawUpload { folder, name, offset, verify, overwrite } = upload;
        let mut file = open_locked(hub, &folder, &name, offset == Some(0) && !overwrite)?;
        let begin = match offset {
            None => file.seek(SeekFrom::End(0)).map_err(io_error)?,
            Some(offset) => {
                if overwrite {
                    file.set_len(offset).map_err(io_error)?;
                }
                file.seek(SeekFrom::Start(offset)).map_err(io_error)?
            }
        };
        // The output of a task is of use while the hub lives; what will be imported must survive the machine.
        let durable = !folder.starts_with("tasks");
        let verify = verify.map(|checksum| (checksum, checksum.begin()));
        Ok(Self { file, begin, size: 0, verify, overwrite, durable, name })
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// The disk's refusal.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CallError> {
        if let Err(error) = self.file.write_all(bytes) {
            // What cannot be whole does not take the last of the disk.
            let _ = self.file.set_len(self.begin);
            return Err(io_error(error));
        }
        if let Some((_, sum)) = &mut self.verify {
            sum.update(bytes);
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Ends the piece and says what was written.
    ///
    /// # Errors
    /// 1000: without `overwrite`, the file goes on behind the piece; the disk's refusal.
    pub(crate) fn finish(self) -> Result<Value, CallError> {
        let end = self.begin + self.size;
        let length = self.file.metadata().map_err(io_error)?.len();
        if !self.overwrite && length != end {
            let name = self.name;
            return Err(refused(format!("Incorrect upload length for {name} - Expected {end}, actual {length}")));
        }
        if self.durable {
            self.file.sync_data().map_err(io_error)?;
        }
        let mut answer = Struct::new();
        answer.insert("size".into(), Value::Int(self.size as i64));
        answer.insert("fileverify".into(), self.verify.as_ref().map_or("", |(checksum, _)| checksum.as_str()).into());
        answer.insert("offset".into(), Value::Int(self.begin as i64));
        if let Some((_, sum)) = self.verify {
            answer.insert("hexdigest".into(), sum.hex().into());
        }
        Ok(Value::Struct(answer))
    }
}

/// Opens a file of an upload, with its folder made, and locks it. `anew`: it must not be there.
fn open_locked(hub: &HubState, folder: &Path, name: &str, anew: bool) -> Result<File, CallError> {
    // What is open and locked keeps its folder from being removed; until then this does.
    let _held = hub.upload_places.lock().unwrap_or_else(PoisonError::into_inner);
    let root = open_folder(hub, folder, true)?.ok_or_else(|| refused("The upload directory is gone"))?;
    check_destination(&root, name, anew)?;
    let file = root.open_for_update(Path::new(name), 0o644).map_err(files)?;
    lock(&root, &file, name)?;
    Ok(file)
}

fn check_destination(root: &Root, name: &str, anew: bool) -> Result<(), CallError> {
    match root.lstat(Path::new(name)).map_err(files)?.map(|node| node.kind) {
        Some(NodeKind::Symlink) => Err(refused(format!("destination is a symlink: {name}"))),
        Some(NodeKind::File) if anew => Err(refused(format!("upload path exists: {name}"))),
        None | Some(NodeKind::File) => Ok(()),
        Some(_) => Err(refused(format!("destination not a file: {name}"))),
    }
}

/// Keeps others from writing the file, and makes sure that it is still the one of that name: it may have been imported
/// since it was opened.
fn lock(root: &Root, file: &File, name: &str) -> Result<(), CallError> {
    use std::os::unix::fs::MetadataExt as _;
    file.try_lock().map_err(|_| fault(FaultCode::LockError, format!("another upload writes {name}")))?;
    let opened = file.metadata().map_err(io_error)?;
    match root.lstat(Path::new(name)).map_err(files)? {
        Some(node) if (node.dev, node.ino) == (opened.dev(), opened.ino()) => Ok(()),
        _ => Err(refused(format!("the file has just been imported: {name}"))),
    }
}

/// A piece that came as `uploadFile`.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub folder: &'a Path,
    pub name: &'a str,
    /// `None`: the last call.
    pub offset: Option<u64>,
    pub size: Option<u64>,
    pub sum: Option<(Checksum, &'a str)>,
    pub data: &'a [u8],
}

/// Writes a piece. False: size or digest are not those that the caller gave.
///
/// # Errors
/// 1000: a link, a folder or a finished file is there; 1001: another upload writes it.
pub(crate) fn write_piece(hub: &HubState, piece: &Piece<'_>) -> Result<bool, CallError> {
    let Piece { folder, name, offset, size, sum, data } = piece;
    let length = data.len() as u64;
    if offset.is_some() {
        let right_sum = sum.as_ref().is_none_or(|(checksum, hex)| checksum.of(data) == *hex);
        if size.is_some_and(|size| size != length) || !right_sum {
            return Ok(false);
        }
    }
    let is_log = Path::new(name).extension().is_some_and(|extension| extension == "log");
    let mut file = open_locked(hub, folder, name, *offset == Some(0) && !is_log)?;
    if *offset == Some(0) || (offset.is_none() && *size == Some(length)) {
        file.set_len(0).map_err(io_error)?;
    }
    let seek = offset.map_or(SeekFrom::End(0), SeekFrom::Start);
    file.seek(seek).map_err(io_error)?;
    file.write_all(data).map_err(io_error)?;
    if offset.is_some() {
        return Ok(true);
    }
    if let Some(size) = size {
        file.set_len(*size).map_err(io_error)?;
    }
    let Some((checksum, hex)) = sum else { return Ok(true) };
    file.seek(SeekFrom::Start(0)).map_err(io_error)?;
    Ok(checksum.of_file(&mut file).map_err(io_error)? == *hex)
}

/// What lies at an upload's place: size, time, and the digest of its end if it is asked for. `None`: nothing.
///
/// # Errors
/// 1000: no regular file is there.
pub(crate) fn check(call: &Call<'_>, verify: Option<Checksum>, tail: Option<u64>) -> Result<Value, CallError> {
    let (folder, name) = place(call.str("path")?, call.str("name")?)?;
    let Some(root) = open_folder(call.hub, &folder, false)? else { return Ok(Value::Nil) };
    let name = Path::new(&name);
    // A link leads to what has been imported; it is looked at as Koji does.
    let top = Root::open(&call.hub.topdir).map_err(files)?;
    let path = Path::new(WORK).join(&folder).join(name);
    let Some(node) = top.stat(&path).map_err(files)? else { return Ok(Value::Nil) };
    if !node.is_file() {
        return Err(refused(format!("Not a regular file: {}", name.display())));
    }
    drop(root);
    let mut answer = Struct::new();
    answer.insert("size".into(), Value::Int(node.size as i64));
    let mtime = node.modified.seconds as f64 + f64::from(node.modified.nanoseconds) / 1e9;
    answer.insert("mtime".into(), Value::Double(mtime));
    if let Some(checksum) = verify {
        let mut file = top.open_file(&path).map_err(files)?;
        let begin = tail.map_or(0, |tail| node.size.saturating_sub(tail));
        file.seek(SeekFrom::Start(begin)).map_err(io_error)?;
        let digest = checksum.of_file(&mut file).map_err(io_error)?;
        answer.insert("sumlength".into(), Value::Int((node.size - begin) as i64));
        answer.insert("hexdigest".into(), digest.into());
    }
    Ok(Value::Struct(answer))
}

/// Takes a raw upload as its bytes come.
///
/// Uploads have call numbers that are compared and not remembered: a piece whose answer was lost is sent again.
///
/// # Errors
/// The fault that the caller gets.
pub(crate) async fn raw_upload(
    hub: Arc<HubState>,
    caller: Caller,
    query: Vec<(String, String)>,
    mut body: Body,
) -> Result<Value, Fault> {
    let result = receive(hub, caller, query, &mut body).await;
    if result.is_err() {
        // A client that is still sending does not see an answer before it is through.
        let mut left = MOST_REFUSED;
        while let Ok(Some(frame)) = next_frame(&mut body).await {
            left = left.saturating_sub(frame.len());
            if left == 0 {
                break;
            }
        }
    }
    result
}

async fn receive(
    hub: Arc<HubState>,
    caller: Caller,
    query: Vec<(String, String)>,
    body: &mut Body,
) -> Result<Value, Fault> {
    let admitted = dispatch::work(hub.clone(), caller, ("rawUpload", Access::Read, Role::LoggedIn), move |call| {
        let upload = RawUpload::read(query.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        let session = call.user()?.clone();
        let claimed = is_claimed(call.tx, &upload.folder)?;
        if claimed {
            claim(call.tx, &session, &upload.folder)?;
        }
        Ok((upload, session, claimed))
    });
    let (upload, session, claimed) = admitted.await?;
    let begun = blocking(move || {
        if !claimed {
            hub.database.transaction(Access::Write, |tx| claim(tx, &session, &upload.folder))?;
        }
        let folder = upload.folder.clone();
        let writing = Writing::begin(&hub, upload)?;
        keep_claim(&hub, &session, &folder)?;
        Ok(writing)
    });
    let mut writing = begun.await?;
    let mut waiting = Vec::new();
    while let Some(frame) = next_frame(body).await? {
        waiting.extend_from_slice(&frame);
        if waiting.len() >= PIECE {
            let bytes = std::mem::take(&mut waiting);
            writing = blocking(move || writing.write(&bytes).map(|()| writing)).await?;
        }
    }
    blocking(move || {
        writing.write(&waiting)?;
        writing.finish()
    })
    .await
}

/// Bytes of a refused upload that are read before it is cut off: more than the blocks of any known client.
const MOST_REFUSED: usize = 64 << 20;

/// Bytes that are written at a time.
const PIECE: usize = 256 * 1024;

/// Longer silence in the middle of an upload ends it: the client sends the piece again.
const SILENCE: Duration = Duration::from_mins(2);

async fn next_frame(body: &mut Body) -> Result<Option<Bytes>, Fault> {
    let cut_off = |why: String| Fault::new(FaultCode::GenericError, format!("the upload was cut off: {why}"));
    loop {
        match tokio::time::timeout(SILENCE, body.frame()).await {
            Err(_) => return Err(cut_off("nothing came for too long".to_owned())),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(cut_off(error.to_string())),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, CallError> + Send + 'static) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(CallError::into_fault),
        Err(_) => Err(Fault::new(FaultCode::Exception, "the hub has a fault of its own; its log says more")),
    }
}
