//! `host.*`: what a builder calls (client-and-koji 5.5). Every call needs a host's exclusive session, or a child of it.

use super::{Answer, Method, tasks as task_methods};
use crate::call::{Call, Id};
use crate::call_error::{CallError, fault};
use crate::database::Access;
use crate::parameters::{Default, Parameter, flag, optional, or, required};
use crate::role::Role;
use crate::rows::{Kind, Query, column};
use crate::states::TaskState;
use crate::tasks::{self, Task};
use crate::{scheduler, sessions, tagging};
use osbs_koji::{FaultCode, Struct, Value};
use rusqlite::{OptionalExtension as _, params};

/// A host's method.
const fn host(
    name: &'static str,
    access: Access,
    parameters: &'static [Parameter],
    call: fn(&mut Call<'_>) -> Answer,
) -> Method {
    Method { name, parameters, role: Role::Host, access, call }
}

const TASK: &[Parameter] = &[required("task_id")];
const PARENT: &[Parameter] = &[required("parent")];

pub(crate) const METHODS: &[Method] = &[
    host("host.getID", Access::Read, &[], |call| Ok(host_id(call)?.into())),
    host("host.getHost", Access::Read, &[], get_host),
    host("host.getHostTasks", Access::Read, &[], get_host_tasks),
    host("host.getTasks", Access::Write, &[], get_tasks),
    host("host.getLoadData", Access::Write, &[], get_load_data),
    host("host.updateHost", Access::Write, &[required("task_load"), required("ready"), optional("data")], update),
    host("host.setHostData", Access::Write, &[required("hostdata")], set_data),
    host("host.openTask", Access::Write, TASK, open),
    host("host.setTaskWeight", Access::Write, &[required("task_id"), required("weight")], set_weight),
    host("host.closeTask", Access::Write, &[required("task_id"), required("response")], |call| {
        end(call, TaskState::Closed)
    }),
    host("host.failTask", Access::Write, &[required("task_id"), required("response")], |call| {
        end(call, TaskState::Failed)
    }),
    host("host.freeTasks", Access::Write, &[required("tasks")], free),
    host(
        "host.refuseTask",
        Access::Write,
        &[required("task_id"), or("soft", Default::Bool(true)), or("msg", Default::Text(""))],
        refuse,
    ),
    host(
        "host.subtask",
        Access::Write,
        &[required("method"), required("arglist"), required("parent"), or("opts", Default::NamedRest)],
        subtask,
    ),
    host("host.taskSetWait", Access::Write, &[required("parent"), required("tasks")], set_wait),
    host("host.taskWait", Access::Write, PARENT, wait),
    host("host.taskUnwait", Access::Write, PARENT, |call| unwait(call).map(|()| Value::Nil)),
    host(
        "host.taskWaitResults",
        Access::Write,
        &[required("parent"), required("tasks"), optional("canfail")],
        wait_results,
    ),
    host(
        "host.tagBuild",
        Access::Write,
        &[required("task_id"), required("tag"), required("build"), flag("force"), optional("fromtag")],
        tag_build,
    ),
    host(
        "host.tagNotification",
        Access::Read,
        &[
            required("is_successful"),
            required("tag_id"),
            required("from_id"),
            required("build_id"),
            required("user_id"),
            flag("ignore_success"),
            or("failure_msg", Default::Text("")),
        ],
        // Nobody is told by mail.
        |call| host_id(call).map(|_| Value::Nil),
    ),
];

/// The host that calls.
///
/// # Errors
/// 1002: it is none, or neither its session nor the one above is exclusive.
fn host_id(call: &Call<'_>) -> Result<i64, CallError> {
    let session = call.user()?;
    let none = || fault(FaultCode::AuthError, format!("User {} is not a host", session.user_id));
    let host = session.host_id.ok_or_else(none)?;
    let exclusive = sessions::exclusive_session(call.tx, session.user_id)?;
    if exclusive.is_some_and(|id| id == session.id || Some(id) == session.master) {
        return Ok(host);
    }
    Err(fault(FaultCode::AuthError, "This method requires an exclusive session"))
}

/// A task that the host has open.
///
/// # Errors
/// 1000: no such task; 1004: it has not.
fn own_task(call: &Call<'_>, name: &str) -> Result<(i64, Task), CallError> {
    let (host, id) = (host_id(call)?, call.int(name)?);
    let task = tasks::get(call.tx, id)?;
    if tasks::is_open_on(&task, host) {
        return Ok((host, task));
    }
    Err(fault(FaultCode::ActionNotAllowed, format!("host {host} does not own task {id}")))
}

fn get_host(call: &mut Call<'_>) -> Answer {
    let host = super::hosts::find(call.tx, &Id::Number(host_id(call)?), None)?;
    Ok(host.map_or(Value::Nil, Value::Struct))
}

fn get_host_tasks(call: &mut Call<'_>) -> Answer {
    let columns = [
        column("id", "task.id", Kind::Int),
        column("waiting", "task.waiting", Kind::Bool),
        column("weight", "task.weight", Kind::Double),
    ];
    let query = Query::new(&columns, "task").bind("host_id = ?", host_id(call)?).filter("state = 1").order("task.id");
    let mut open = query.rows(call.tx)?;
    for task in &mut open {
        let id = task.get("id").and_then(Value::as_int).unwrap_or_default();
        if task.get("waiting").is_some_and(Value::is_true) && !awaited(call, id)?.0.is_empty() {
            task.insert("alert".to_owned(), true.into());
        }
    }
    Ok(Value::Array(open.into_iter().map(Value::Struct).collect()))
}

/// Tasks that are assigned to a host.
fn assigned(call: &Call<'_>, host: i64) -> Result<Vec<Struct>, CallError> {
    let columns = [
        column("id", "task.id", Kind::Int),
        column("state", "task.state", Kind::Int),
        column("channel_id", "task.channel_id", Kind::Int),
        column("host_id", "task.host_id", Kind::Int),
        column("arch", "task.arch", Kind::Text),
        column("method", "task.method", Kind::Text),
        column("priority", "task.priority", Kind::Int),
        column("create_ts", "task.create_time", Kind::Seconds),
    ];
    let query = Query::new(&columns, "task").bind("host_id = ?", host).filter("state = 4");
    query.order("task.priority, task.create_time, task.id").rows(call.tx)
}

fn get_tasks(call: &mut Call<'_>) -> Answer {
    let host = host_id(call)?;
    let mut found = assigned(call, host)?;
    if found.is_empty() {
        scheduler::turn(call.tx, call.now)?;
        found = assigned(call, host)?;
    }
    Ok(Value::Array(found.into_iter().map(Value::Struct).collect()))
}

fn get_load_data(call: &mut Call<'_>) -> Answer {
    let tasks = get_tasks(call)?;
    Ok(Value::Array(vec![Value::Array(vec![get_host(call)?]), tasks]))
}

fn update(call: &mut Call<'_>) -> Answer {
    let host = host_id(call)?;
    let (load, ready) = (call.double("task_load")?, call.flag("ready"));
    call.tx
        .prepare_cached("UPDATE host SET task_load = ?, ready = ?, update_time = ? WHERE id = ?")?
        .execute(params![load, ready, call.now, host])?;
    if let Some(data) = call.members_or_nil("data")? {
        store_data(call, host, &Value::Struct(data.clone()))?;
    }
    scheduler::turn(call.tx, call.now)?;
    Ok(Value::Nil)
}

fn store_data(call: &Call<'_>, host: i64, data: &Value) -> Result<(), CallError> {
    let text = data.to_json().to_string();
    call.tx.prepare_cached("UPDATE host SET data = ? WHERE id = ?")?.execute(params![text, host])?;
    Ok(())
}

fn set_data(call: &mut Call<'_>) -> Answer {
    let host = host_id(call)?;
    let data = match call.value("hostdata") {
        Value::String(text) => crate::rows::json_value(text),
        data => data.clone(),
    };
    if data.as_struct().is_none() {
        return Err(crate::call_error::wrong_parameter("Host data should be a dictionary"));
    }
    store_data(call, host, &data)?;
    Ok(Value::Nil)
}

fn open(call: &mut Call<'_>) -> Answer {
    let (host, id) = (host_id(call)?, call.int("task_id")?);
    if !tasks::open(call.tx, call.now, id, host)? {
        return Ok(Value::Nil);
    }
    // The request stays a document here.
    let task = Query::new(tasks::COLUMNS, "task").column(tasks::REQUEST).bind("task.id = ?", id).first(call.tx)?;
    Ok(task.map_or(Value::Nil, Value::Struct))
}

fn set_weight(call: &mut Call<'_>) -> Answer {
    let (_, task) = own_task(call, "task_id")?;
    call.tx
        .prepare_cached("UPDATE task SET weight = ? WHERE id = ?")?
        .execute(params![call.double("weight")?, task.id])?;
    Ok(Value::Nil)
}

fn end(call: &mut Call<'_>, state: TaskState) -> Answer {
    let (_, task) = own_task(call, "task_id")?;
    tasks::end(call.tx, call.now, task.id, state, call.str("response")?)?;
    Ok(Value::Nil)
}

fn free(call: &mut Call<'_>) -> Answer {
    let host = host_id(call)?;
    for id in call.array("tasks")? {
        let id = id.as_int().ok_or_else(|| crate::call::wrong_type("tasks", "ids", id))?;
        // One that was freed, or given to another meanwhile, is no error.
        if tasks::find(call.tx, id)?.is_some_and(|task| tasks::is_open_on(&task, host)) {
            tasks::free(call.tx, id)?;
        }
    }
    Ok(Value::Nil)
}

fn refuse(call: &mut Call<'_>) -> Answer {
    let (host, id) = (host_id(call)?, call.int("task_id")?);
    if tasks::get(call.tx, id)?.host_id != Some(host) {
        return Ok(Value::Nil);
    }
    call.tx
        .prepare_cached(
            "INSERT OR REPLACE INTO task_refusals (task_id, host_id, soft, msg, at) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![id, host, call.flag("soft"), call.str("msg")?, call.now])?;
    tasks::free(call.tx, id)?;
    Ok(Value::Nil)
}

fn subtask(call: &mut Call<'_>) -> Answer {
    let (_, parent) = own_task(call, "parent")?;
    let mut opts = call.members_or_nil("opts")?.cloned().unwrap_or_default();
    if opts.contains_key("owner") {
        return Err(fault(FaultCode::ActionNotAllowed, "The owner option is not allowed here"));
    }
    if let Some(label) = opts.get("label").and_then(Value::as_str) {
        let sql = "SELECT id FROM task WHERE parent = ? AND label = ?";
        let known = call.tx.prepare_cached(sql)?.query_row(params![parent.id, label], |row| row.get(0)).optional()?;
        if let Some(id) = known {
            return Ok(Value::Int(id));
        }
    }
    let mut arguments = call.array("arglist")?.to_vec();
    if let Some(Value::Struct(mut named)) = opts.shift_remove("kwargs") {
        named.insert("__starstar".to_owned(), true.into());
        arguments.push(Value::Struct(named));
    }
    task_methods::make(call, call.str("method")?, &arguments, &opts, parent.owner, Some(&parent)).map(Value::Int)
}

fn ids(call: &Call<'_>, name: &str) -> Result<Option<Vec<i64>>, CallError> {
    let Some(values) = call.array_or_nil(name)? else { return Ok(None) };
    let id = |value: &Value| value.as_int().ok_or_else(|| crate::call::wrong_type(name, "ids", value));
    values.iter().map(id).collect::<Result<_, _>>().map(Some)
}

fn set_wait(call: &mut Call<'_>) -> Answer {
    let (_, parent) = own_task(call, "parent")?;
    call.tx.prepare_cached("UPDATE task SET waiting = 1 WHERE id = ?")?.execute([parent.id])?;
    match ids(call, "tasks")? {
        None => {
            call.tx.prepare_cached("UPDATE task SET awaited = 1 WHERE parent = ?")?.execute([parent.id])?;
        }
        Some(ids) if ids.is_empty() => {}
        Some(ids) => {
            call.tx
                .prepare_cached("UPDATE task SET awaited = 0 WHERE parent = ? AND awaited = 1")?
                .execute([parent.id])?;
            for id in ids {
                call.tx
                    .prepare_cached("UPDATE task SET awaited = 1 WHERE parent = ? AND id = ?")?
                    .execute([parent.id, id])?;
            }
        }
    }
    Ok(Value::Nil)
}

/// Awaited children of a task: those that have ended, and the others.
fn awaited(call: &Call<'_>, parent: i64) -> Result<(Vec<i64>, Vec<i64>), CallError> {
    let sql = "SELECT id, state FROM task WHERE parent = ? AND awaited = 1 ORDER BY id";
    let mut statement = call.tx.prepare_cached(sql)?;
    let rows = statement.query_map([parent], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, TaskState>(1)?)))?;
    let (mut finished, mut unfinished) = (Vec::new(), Vec::new());
    for row in rows {
        let (id, state) = row?;
        if state.is_final() { finished.push(id) } else { unfinished.push(id) }
    }
    Ok((finished, unfinished))
}

fn wait(call: &mut Call<'_>) -> Answer {
    let (_, parent) = own_task(call, "parent")?;
    let (finished, unfinished) = awaited(call, parent.id)?;
    for id in &finished {
        call.tx.prepare_cached("UPDATE task SET awaited = 0 WHERE id = ?")?.execute([id])?;
    }
    let list = |ids: Vec<i64>| Value::Array(ids.into_iter().map(Value::Int).collect());
    Ok(Value::Array(vec![list(finished), list(unfinished)]))
}

fn unwait(call: &Call<'_>) -> Result<(), CallError> {
    let (_, parent) = own_task(call, "parent")?;
    call.tx.prepare_cached("UPDATE task SET waiting = 0 WHERE id = ?")?.execute([parent.id])?;
    call.tx.prepare_cached("UPDATE task SET awaited = 0 WHERE parent = ?")?.execute([parent.id])?;
    Ok(())
}

fn wait_results(call: &mut Call<'_>) -> Answer {
    let (_, parent) = own_task(call, "parent")?;
    unwait(call)?;
    let can_fail = ids(call, "canfail")?.unwrap_or_default();
    let wanted = if let Some(ids) = ids(call, "tasks")? {
        ids
    } else {
        let sql = "SELECT id FROM task WHERE parent = ? AND state IN (2, 3, 5) ORDER BY id";
        let mut statement = call.tx.prepare_cached(sql)?;
        statement.query_map([parent.id], |row| row.get(0))?.collect::<Result<_, _>>()?
    };
    let mut results = Vec::new();
    for id in wanted {
        let value = match tasks::result(call.tx, id) {
            Ok(Ok(value)) => value,
            Ok(Err(fault)) if can_fail.contains(&id) => tasks::fault_members(&fault),
            Ok(Err(fault)) => return Err(fault.into()),
            Err(error) if can_fail.contains(&id) && tasks::get(call.tx, id)?.state == TaskState::Canceled => {
                tasks::fault_members(&error.into_fault())
            }
            Err(error) => return Err(error),
        };
        results.push(Value::Array(vec![id.into(), value]));
    }
    Ok(Value::Array(results))
}

fn tag_build(call: &mut Call<'_>) -> Answer {
    let (_, task) = own_task(call, "task_id")?;
    let tag = super::tags::id_of_tag(call.tx, &call.id("tag")?)?;
    let build = crate::builds::get_id(call.tx, call.value("build"))?;
    let from = call.id_or_nil("fromtag")?.map(|from| super::tags::id_of_tag(call.tx, &from)).transpose()?;
    // As the owner of the task, not as the host.
    let change = tagging::Change { user_id: task.owner, event: call.event()? };
    tagging::tag_for_task(call.tx, change, (tag, build), call.flag("force"), from)?;
    Ok(Value::Nil)
}
