//! Files that a task has uploaded: listed, and read piece by piece while they grow.

use super::{Answer, Method, read};
use crate::call::Call;
use crate::call_error::{CallError, refused};
use crate::parameters::{Default, flag, optional, or, required};
use crate::paths::{WORK, below, task_folder};
use crate::tasks;
use crate::uploads::{check_volume, files, io_error};
use base64::Engine as _;
use osbs_koji::{Struct, Value};
use osbs_sandbox::rooted::{FileTime, Node, Root};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

pub(crate) const METHODS: &[Method] = &[
    read("listTaskOutput", &[required("taskID"), flag("stat"), flag("all_volumes"), flag("strict")], list),
    read(
        "downloadTaskOutput",
        &[
            required("taskID"),
            required("fileName"),
            or("offset", Default::Int(0)),
            or("size", Default::Int(-1)),
            optional("volume"),
        ],
        download,
    ),
];

/// The most that one answer holds: a caller asks for more by offset. It is in memory several times while it is made.
const MOST: u64 = 4 << 20;

/// Files of one task that are listed.
const MOST_FILES: usize = 100_000;

fn list(call: &mut Call<'_>) -> Answer {
    let id = call.int("taskID")?;
    if call.flag("strict") && tasks::find(call.tx, id)?.is_none() {
        return Err(refused("Task doesn't exist"));
    }
    let (stat, all_volumes) = (call.flag("stat"), call.flag("all_volumes"));
    let found = files_of(&call.hub.topdir, id)?;
    if !stat && !all_volumes {
        return Ok(Value::Array(found.into_iter().map(|(name, _)| name.into()).collect()));
    }
    let describe = |node: &Node| match (stat, all_volumes) {
        (true, true) => Value::members([("DEFAULT", stat_of(node))]),
        (true, false) => stat_of(node),
        _ => Value::Array(vec!["DEFAULT".into()]),
    };
    let members: Struct = found.iter().map(|(name, node)| (name.clone(), describe(node))).collect();
    Ok(Value::Struct(members))
}

/// Regular files below the task's folder, by name, links followed to what has been imported.
fn files_of(topdir: &Path, id: i64) -> Result<Vec<(String, Node)>, CallError> {
    let top = Root::open(topdir).map_err(files)?;
    let folder = Path::new(WORK).join(task_folder(id));
    let mut found = Vec::new();
    if !top.lstat(&folder).map_err(files)?.is_some_and(|node| node.is_dir()) {
        return Ok(found);
    }
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        for name in top.list(&folder.join(&below)).map_err(files)? {
            let path = below.join(name);
            let Some(node) = top.lstat(&folder.join(&path)).map_err(files)? else { continue };
            if node.is_dir() {
                waiting.push(path);
                continue;
            }
            let target = top.stat(&folder.join(&path)).map_err(files)?.filter(Node::is_file);
            if let (Some(node), Some(name), true) = (target, path.to_str(), found.len() < MOST_FILES) {
                found.push((name.to_owned(), node));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

fn stat_of(node: &Node) -> Value {
    let FileTime { seconds, nanoseconds } = node.modified;
    let time = seconds as f64 + f64::from(nanoseconds) / 1e9;
    Value::members([
        // Sizes may be beyond what XML-RPC calls an integer, so Koji sends a text.
        ("st_size", node.size.to_string().into()),
        ("st_mtime", time.into()),
        ("st_atime", time.into()),
        ("st_ctime", time.into()),
    ])
}

fn download(call: &mut Call<'_>) -> Answer {
    check_volume(call.str_or_nil("volume")?.unwrap_or_default())?;
    let name = call.str("fileName")?;
    let path = below("file name", name)?;
    let task = call.int("taskID")?;
    let missing = || refused(format!("no file \"{name}\" output by task {task}"));
    let top = Root::open(&call.hub.topdir).map_err(files)?;
    let path = Path::new(WORK).join(task_folder(task)).join(path);
    if !top.stat(&path).map_err(files)?.is_some_and(|node| node.is_file()) {
        return Err(missing());
    }
    let mut file = top.open_file(&path).map_err(files)?;
    let length = file.metadata().map_err(io_error)?.len();
    let (offset, size) = (call.int("offset")?, call.int("size")?);
    let from = if offset < 0 { length.saturating_sub(offset.unsigned_abs()) } else { offset.unsigned_abs() };
    let most = if size < 0 { MOST } else { size.unsigned_abs().min(MOST) };
    let mut bytes = Vec::new();
    if from < length {
        file.seek(SeekFrom::Start(from)).map_err(io_error)?;
        let most = most.min(length - from);
        bytes.reserve_exact(usize::try_from(most).unwrap_or_default());
        file.take(most).read_to_end(&mut bytes).map_err(io_error)?;
    }
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes).into())
}
