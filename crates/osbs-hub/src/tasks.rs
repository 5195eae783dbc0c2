//! Tasks: made, taken, ended. Who may do so is the methods' matter.
//!
//! Requests and results are XML-RPC documents, kept as they came.

use crate::builds;
use crate::call_error::{CallError, refused};
use crate::rows::{Column, Kind, Query, column};
use crate::states::TaskState;
use osbs_koji::xmlrpc::{decode_call, decode_response, encode_call, encode_fault, encode_response};
use osbs_koji::{Fault, Struct, Value};
use rusqlite::{OptionalExtension as _, Transaction, params};

/// Members of a task, without its request (client-and-koji 5.6).
pub(crate) const COLUMNS: &[Column] = &[
    column("id", "task.id", Kind::Int),
    column("state", "task.state", Kind::Int),
    column("create_time", "task.create_time", Kind::Time),
    column("create_ts", "task.create_time", Kind::Seconds),
    column("start_time", "task.start_time", Kind::Time),
    column("start_ts", "task.start_time", Kind::Seconds),
    column("completion_time", "task.completion_time", Kind::Time),
    column("completion_ts", "task.completion_time", Kind::Seconds),
    column("channel_id", "task.channel_id", Kind::Int),
    column("host_id", "task.host_id", Kind::Int),
    column("parent", "task.parent", Kind::Int),
    column("label", "task.label", Kind::Text),
    column("waiting", "task.waiting", Kind::Bool),
    column("awaited", "task.awaited", Kind::Bool),
    column("owner", "task.owner", Kind::Int),
    column("method", "task.method", Kind::Text),
    column("arch", "task.arch", Kind::Text),
    column("priority", "task.priority", Kind::Int),
    column("weight", "task.weight", Kind::Double),
];

/// The request, as the document that it is.
pub(crate) const REQUEST: Column = column("request", "task.request", Kind::Text);

/// The result, as the document that it is.
pub(crate) const RESULT: Column = column("result", "task.result", Kind::Text);

/// The priority of a task unless its maker says otherwise: lower is earlier.
pub(crate) const DEFAULT_PRIORITY: i64 = 20;

/// A task to be made.
#[derive(Debug)]
pub(crate) struct NewTask<'a> {
    pub method: &'a str,
    /// The arguments.
    pub request: &'a [Value],
    pub owner: i64,
    pub channel_id: i64,
    pub arch: &'a str,
    pub priority: i64,
    pub parent: Option<i64>,
    pub label: Option<&'a str>,
}

/// What must be known of a task before something is done to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Task {
    pub id: i64,
    pub state: TaskState,
    pub method: String,
    pub owner: i64,
    pub host_id: Option<i64>,
    pub parent: Option<i64>,
    pub channel_id: i64,
    pub arch: String,
    pub priority: i64,
}

/// 1000: there is no such task.
pub(crate) fn no_such_task(id: i64) -> CallError {
    refused(format!("No such task: {id}"))
}

/// Makes a task and returns its id.
pub(crate) fn create(tx: &Transaction<'_>, now: i64, task: &NewTask<'_>) -> Result<i64, CallError> {
    let NewTask { method, request, owner, channel_id, arch, priority, parent, label } = *task;
    tx.prepare_cached(
        "INSERT INTO task (state, method, request, owner, channel_id, arch, priority, parent, label, create_time)
         VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        method,
        encode_call(method, request),
        owner,
        channel_id,
        arch,
        priority,
        parent,
        label,
        now
    ])?;
    Ok(tx.last_insert_rowid())
}

/// A task, if there is one.
pub(crate) fn find(tx: &Transaction<'_>, id: i64) -> Result<Option<Task>, CallError> {
    let sql = "SELECT id, state, method, owner, host_id, parent, channel_id, arch, priority FROM task WHERE id = ?";
    let task = tx.prepare_cached(sql)?.query_row([id], |row| {
        Ok(Task {
            id: row.get(0)?,
            state: row.get(1)?,
            method: row.get(2)?,
            owner: row.get(3)?,
            host_id: row.get(4)?,
            parent: row.get(5)?,
            channel_id: row.get(6)?,
            arch: row.get(7)?,
            priority: row.get(8)?,
        })
    });
    Ok(task.optional()?)
}

/// A task that must be there.
///
/// # Errors
/// 1000.
pub(crate) fn get(tx: &Transaction<'_>, id: i64) -> Result<Task, CallError> {
    find(tx, id)?.ok_or_else(|| no_such_task(id))
}

/// As `getTaskInfo` shows it.
pub(crate) fn info(tx: &Transaction<'_>, id: i64, with_request: bool) -> Result<Option<Struct>, CallError> {
    let mut query = Query::new(COLUMNS, "task").bind("task.id = ?", id);
    if with_request {
        query = query.column(REQUEST);
    }
    let mut task = query.first(tx)?;
    if let Some(task) = &mut task {
        decode_request(task);
    }
    Ok(task)
}

/// The arguments instead of the document that holds them.
pub(crate) fn decode_request(task: &mut Struct) {
    if let Some(request) = task.get_mut("request") {
        *request = request.as_str().map_or(Value::Nil, arguments);
    }
}

fn arguments(document: &str) -> Value {
    decode_call(document.as_bytes()).map_or(Value::Nil, |call| Value::Array(call.params))
}

/// A task's arguments.
pub(crate) fn request(tx: &Transaction<'_>, id: i64) -> Result<Vec<Value>, CallError> {
    let document: Option<String> =
        tx.prepare_cached("SELECT request FROM task WHERE id = ?")?.query_row([id], |row| row.get(0)).optional()?;
    let document = document.ok_or_else(|| no_such_task(id))?;
    let call = decode_call(document.as_bytes());
    Ok(call.map_err(|_| refused(format!("The request of task {id} cannot be read")))?.params)
}

/// How a task ended: its value, or the fault that it failed with.
///
/// # Errors
/// 1000: it has not ended, was canceled, is not there, or its result is no document of XML-RPC.
pub(crate) fn result(tx: &Transaction<'_>, id: i64) -> Result<Result<Value, Fault>, CallError> {
    let found: Option<(TaskState, Option<String>)> = tx
        .prepare_cached("SELECT state, result FROM task WHERE id = ?")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found.ok_or_else(|| no_such_task(id))? {
        (TaskState::Canceled, _) => Err(refused(format!("Task {id} is canceled"))),
        (TaskState::Closed | TaskState::Failed, document) => {
            let document = document.unwrap_or_default();
            decode_response(document.as_bytes()).map_err(|_| refused(format!("The result of task {id} cannot be read")))
        }
        _ => Err(refused(format!("Task {id} is not finished"))),
    }
}

/// The document in `listTasks(decode=true)`: the list of its one value, or a fault's members.
pub(crate) fn decoded_result(document: &str) -> Value {
    match decode_response(document.as_bytes()) {
        Ok(Ok(value)) => Value::Array(vec![value]),
        Ok(Err(fault)) => fault_members(&fault),
        Err(_) => Value::Nil,
    }
}

/// A fault as data.
pub(crate) fn fault_members(fault: &Fault) -> Value {
    Value::members([("faultCode", fault.code.into()), ("faultString", fault.text.as_str().into())])
}

/// Whether the host has the task open.
pub(crate) fn is_open_on(task: &Task, host_id: i64) -> bool {
    task.state == TaskState::Open && task.host_id == Some(host_id)
}

/// A host takes a task. False: somebody else has it, or it was canceled.
pub(crate) fn open(tx: &Transaction<'_>, now: i64, id: i64, host_id: i64) -> Result<bool, CallError> {
    let task = get(tx, id)?;
    let free = task.state == TaskState::Free && task.host_id.is_none();
    if !free && (task.state != TaskState::Assigned || task.host_id != Some(host_id)) {
        return Ok(false);
    }
    tx.prepare_cached("UPDATE task SET state = ?, host_id = ?, start_time = ? WHERE id = ?")?.execute(params![
        TaskState::Open,
        host_id,
        now,
        id
    ])?;
    Ok(true)
}

/// A task ends with a document of its maker.
pub(crate) fn end(tx: &Transaction<'_>, now: i64, id: i64, state: TaskState, document: &str) -> Result<(), CallError> {
    tx.prepare_cached("UPDATE task SET state = ?, result = ?, completion_time = ? WHERE id = ?")?
        .execute(params![state, document, now, id])?;
    Ok(())
}

/// The same with a value or a fault of ours.
pub(crate) fn end_with(
    tx: &Transaction<'_>,
    now: i64,
    id: i64,
    outcome: Result<&Value, &Fault>,
) -> Result<(), CallError> {
    match outcome {
        Ok(value) => end(tx, now, id, TaskState::Closed, &encode_response(value)),
        Err(fault) => end(tx, now, id, TaskState::Failed, &encode_fault(fault)),
    }
}

/// Gives a task back to be taken by any host.
///
/// # Errors
/// 1000: it has ended.
pub(crate) fn free(tx: &Transaction<'_>, id: i64) -> Result<(), CallError> {
    let task = get(tx, id)?;
    if task.state.is_final() {
        return Err(refused(format!("Cannot free task {id}, state is {}", task.state.as_str())));
    }
    tx.prepare_cached("UPDATE task SET state = 0, host_id = NULL, assign_time = NULL WHERE id = ?")?.execute([id])?;
    Ok(())
}

fn children(tx: &Transaction<'_>, id: i64) -> Result<Vec<i64>, CallError> {
    let mut statement = tx.prepare_cached("SELECT id FROM task WHERE parent = ?")?;
    let ids = statement.query_map([id], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// A task, and with `children` all below it, are canceled, and their builds with them. One that has ended stays, and
/// what is below it too.
pub(crate) fn cancel(tx: &Transaction<'_>, now: i64, id: i64, with_children: bool) -> Result<(), CallError> {
    let mut waiting = vec![get(tx, id)?.id];
    while let Some(id) = waiting.pop() {
        let canceled = tx
            .prepare_cached("UPDATE task SET state = 3, completion_time = ? WHERE id = ? AND state IN (0, 1, 4)")?
            .execute(params![now, id])?;
        if canceled == 0 {
            continue;
        }
        builds::cancel_of_task(tx, now, id)?;
        if with_children {
            waiting.extend(children(tx, id)?);
        }
    }
    Ok(())
}

/// A task and every other of its group, ended ones passed over.
///
/// # Errors
/// 1000: it is not the top of its group, and `strict` says that it must be.
pub(crate) fn cancel_full(tx: &Transaction<'_>, now: i64, id: i64, strict: bool) -> Result<(), CallError> {
    let mut top = get(tx, id)?;
    if let (Some(parent), true) = (top.parent, strict) {
        return Err(refused(format!("Task {id} is not top-level (parent={parent})")));
    }
    while let Some(parent) = top.parent {
        // A parent has a lower id than its children: no loops.
        top = get(tx, parent)?;
    }
    let mut waiting = vec![top.id];
    while let Some(id) = waiting.pop() {
        cancel(tx, now, id, false)?;
        waiting.extend(children(tx, id)?);
    }
    Ok(())
}

/// Sets the priority of a task, and with `children` of all below it.
pub(crate) fn set_priority(tx: &Transaction<'_>, id: i64, priority: i64, with_children: bool) -> Result<(), CallError> {
    let mut waiting = vec![get(tx, id)?.id];
    while let Some(id) = waiting.pop() {
        tx.prepare_cached("UPDATE task SET priority = ? WHERE id = ?")?.execute(params![priority, id])?;
        if with_children {
            waiting.extend(children(tx, id)?);
        }
    }
    Ok(())
}

/// All below a task: `{"26": [CHILDREN], ...}`.
pub(crate) fn descendents(tx: &Transaction<'_>, id: i64, with_request: bool) -> Result<Struct, CallError> {
    let mut found = Struct::new();
    let mut waiting = vec![id];
    while let Some(id) = waiting.pop() {
        let below = infos_of_children(tx, id, with_request)?;
        waiting.extend(below.iter().filter_map(|task| task.get("id").and_then(Value::as_int)));
        found.insert(id.to_string(), Value::Array(below.into_iter().map(Value::Struct).collect()));
    }
    Ok(found)
}

/// The tasks right below a task.
pub(crate) fn infos_of_children(tx: &Transaction<'_>, id: i64, with_request: bool) -> Result<Vec<Struct>, CallError> {
    let mut query = Query::new(COLUMNS, "task").bind("task.parent = ?", id).order("task.id");
    if with_request {
        query = query.column(REQUEST);
    }
    let mut tasks = query.rows(tx)?;
    tasks.iter_mut().for_each(decode_request);
    Ok(tasks)
}
