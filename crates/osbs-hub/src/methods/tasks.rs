//! Tasks: made, listed, looked at, canceled.

use super::{Answer, Method, read, write};
use crate::call::{Call, Id, wrong_type};
use crate::call_error::{CallError, fault, refused};
use crate::parameters::{Default, Parameter, flag, optional, or, required};
use crate::role::{Role, has_permission};
use crate::rows::{Bound, Kind, Query, QueryOpts, column};
use crate::states::TaskState;
use crate::tasks::{self, NewTask};
use crate::times::micros_of;
use jiff::civil::DateTime;
use osbs_koji::{FaultCode, Struct, Value};
use rusqlite::{OptionalExtension as _, Transaction};

const ADMIN: Role = Role::Permission("admin");
const TASK: &[Parameter] = &[required("task_id")];
const BY_ID: &[Parameter] = &[required("taskId")];

pub(crate) const METHODS: &[Method] = &[
    read("getTaskInfo", &[required("task_id"), flag("request"), flag("strict")], info),
    read("getTaskRequest", BY_ID, |call| Ok(Value::Array(tasks::request(call.tx, call.int("taskId")?)?))),
    read("getTaskResult", &[required("taskId"), or("raise_fault", Default::Bool(true))], result),
    read("taskFinished", BY_ID, |call| Ok(tasks::get(call.tx, call.int("taskId")?)?.state.is_final().into())),
    read("getTaskChildren", &[required("task_id"), flag("request"), flag("strict")], children),
    read("getTaskDescendents", &[required("task_id"), flag("request")], descendents),
    read("listTasks", &[optional("opts"), optional("queryOpts")], list),
    write("makeTask", ADMIN, &[required("method"), required("arglist"), or("opts", Default::NamedRest)], make_any),
    write("cancelTask", Role::Session, &[required("task_id"), or("recurse", Default::Bool(true))], cancel),
    write("cancelTaskFull", ADMIN, &[required("task_id"), or("strict", Default::Bool(true))], cancel_full),
    write("cancelTaskChildren", Role::Session, TASK, cancel_children),
    write("freeTask", ADMIN, TASK, |call| tasks::free(call.tx, call.int("task_id")?).map(|()| true.into())),
    write(
        "setTaskPriority",
        ADMIN,
        &[required("task_id"), required("priority"), or("recurse", Default::Bool(true))],
        set_priority,
    ),
    write("resubmitTask", Role::LoggedIn, &[required("taskID")], resubmit),
];

/// The id of an enabled channel.
///
/// # Errors
/// 1000: there is none, or it is disabled.
pub(crate) fn channel(tx: &Transaction<'_>, id: &Id) -> Result<i64, CallError> {
    let (number, name) = match id {
        Id::Number(number) => (Some(*number), None),
        Id::Name(name) => (None, Some(name)),
    };
    let found: Option<(i64, bool)> = tx
        .prepare_cached("SELECT id, enabled FROM channels WHERE id = ?1 OR name = ?2")?
        .query_row(rusqlite::params![number, name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        None => Err(refused(format!("No such channel: {id}"))),
        Some((_, false)) => Err(refused(format!("Channel {id} is disabled."))),
        Some((channel, true)) => Ok(channel),
    }
}

fn info(call: &mut Call<'_>) -> Answer {
    let (with_request, strict) = (call.flag("request"), call.flag("strict"));
    let one = |id: &Value| {
        let id = id.as_int().ok_or_else(|| wrong_type("task_id", "an integer", id))?;
        match tasks::info(call.tx, id, with_request)? {
            None if strict => Err(tasks::no_such_task(id)),
            task => Ok(task.map_or(Value::Nil, Value::Struct)),
        }
    };
    match call.value("task_id") {
        Value::Array(ids) => Ok(Value::Array(ids.iter().map(one).collect::<Result<_, _>>()?)),
        id => one(id),
    }
}

fn result(call: &mut Call<'_>) -> Answer {
    match tasks::result(call.tx, call.int("taskId")?)? {
        Ok(value) => Ok(value),
        Err(fault) if call.flag("raise_fault") => Err(fault.into()),
        Err(fault) => Ok(tasks::fault_members(&fault)),
    }
}

fn children(call: &mut Call<'_>) -> Answer {
    let id = call.int("task_id")?;
    if call.flag("strict") {
        tasks::get(call.tx, id)?;
    }
    let children = tasks::infos_of_children(call.tx, id, call.flag("request"))?;
    Ok(Value::Array(children.into_iter().map(Value::Struct).collect()))
}

fn descendents(call: &mut Call<'_>) -> Answer {
    Ok(Value::Struct(tasks::descendents(call.tx, call.int("task_id")?, call.flag("request"))?))
}

/// Options that are compared with a column, with one value, a list or nil; with `not_` before them, what is not so.
const COMPARED: [(&str, &str); 6] = [
    ("arch", "task.arch"),
    ("state", "task.state"),
    ("owner", "task.owner"),
    ("host_id", "task.host_id"),
    ("channel_id", "task.channel_id"),
    ("parent", "task.parent"),
];

const TIMES: [(&str, &str); 8] = [
    ("createdBefore", "task.create_time < ?"),
    ("createdAfter", "task.create_time > ?"),
    ("startedBefore", "task.start_time < ?"),
    ("startedAfter", "task.start_time > ?"),
    ("completeBefore", "task.completion_time < ?"),
    ("completeAfter", "task.completion_time > ?"),
    ("completedBefore", "task.completion_time < ?"),
    ("completedAfter", "task.completion_time > ?"),
];

fn list(call: &mut Call<'_>) -> Answer {
    let opts = call.members_or_nil("opts")?.cloned().unwrap_or_default();
    let query_opts = QueryOpts::read(call.value("queryOpts"))?;
    let mut query = Query::new(tasks::COLUMNS, "task JOIN users ON users.id = task.owner")
        .column(tasks::REQUEST)
        .column(tasks::RESULT)
        .column(column("owner_name", "users.name", Kind::Text))
        .column(column("owner_type", "users.usertype", Kind::Int))
        .order("task.id");
    for (name, sql) in COMPARED {
        for (within, name) in [(true, name.to_owned()), (false, format!("not_{name}"))] {
            if let Some(value) = opts.get(&name) {
                query = compare(query, sql, within, &name, value)?;
            }
        }
    }
    if let Some(method) = opts.get("method") {
        query = query.bind("task.method = ?", method.as_str().unwrap_or_default().to_owned());
    }
    for (name, sql) in TIMES {
        if let Some(value) = opts.get(name).filter(|value| !value.is_nil()) {
            query = query.bind(sql, moment(name, value)?);
        }
    }
    let mut answer = query.answer(call.tx, &query_opts)?;
    if opts.get("decode").is_some_and(Value::is_true)
        && let Value::Array(tasks) = &mut answer
    {
        tasks.iter_mut().for_each(decode);
    }
    Ok(answer)
}

fn compare(query: Query, sql: &str, within: bool, name: &str, value: &Value) -> Result<Query, CallError> {
    let one = |value: &Value| -> Result<Bound, CallError> {
        match value {
            Value::Int(number) => Ok(Box::new(*number)),
            Value::String(text) => Ok(Box::new(text.clone())),
            other => Err(wrong_type(name, "an id or a list of them", other)),
        }
    };
    Ok(match value {
        Value::Nil => query.filter(&format!("{sql} IS {}NULL", if within { "" } else { "NOT " })),
        Value::Array(values) => query.bind_all(sql, within, values.iter().map(one).collect::<Result<_, _>>()?),
        value => query.bind_all(sql, within, vec![one(value)?]),
    })
}

/// A time that a caller gave: seconds since the epoch, or text as ISO 8601 has it; without an offset it is UTC.
///
/// # Errors
/// 1019.
pub(crate) fn moment(name: &str, value: &Value) -> Result<i64, CallError> {
    let of_text = |text: &str| {
        let text = text.trim();
        let exact = text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_microsecond);
        let civil = || text.parse::<DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
        exact.ok().or_else(|| Some(civil()?.timestamp().as_microsecond()))
    };
    let micros = value.as_double().and_then(micros_of).or_else(|| of_text(value.as_str()?));
    micros.ok_or_else(|| wrong_type(name, "seconds or a date", value))
}

fn decode(task: &mut Value) {
    let Value::Struct(task) = task else { return };
    tasks::decode_request(task);
    if let Some(result) = task.get_mut("result")
        && let Some(document) = result.as_str()
    {
        *result = tasks::decoded_result(document);
    }
}

fn make_any(call: &mut Call<'_>) -> Answer {
    let opts = call.members_or_nil("opts")?.cloned().unwrap_or_default();
    if opts.contains_key("owner") {
        return Err(fault(FaultCode::ActionNotAllowed, "The owner option is not allowed here"));
    }
    let owner = call.user()?.user_id;
    make(call, call.str("method")?, call.array("arglist")?, &opts, owner, None).map(Value::Int)
}

/// Makes a task with options as Koji has them: `channel`, `arch`, `priority`, `label`. What is not given comes from the
/// parent, if there is one.
///
/// # Errors
/// 1000: an unknown channel; 1019: an option of another type.
pub(crate) fn make(
    call: &Call<'_>,
    method: &str,
    request: &[Value],
    opts: &Struct,
    owner: i64,
    parent: Option<&tasks::Task>,
) -> Result<i64, CallError> {
    let given = |name: &str| opts.get(name).filter(|value| !value.is_nil());
    let text = |name: &str| given(name).map(|value| value.as_str().ok_or_else(|| wrong_type(name, "a string", value)));
    let channel_id = match (given("channel"), parent) {
        (Some(channel_id), _) => channel(call.tx, &crate::call::id_of("channel", channel_id)?)?,
        (None, Some(parent)) => parent.channel_id,
        (None, None) => channel(call.tx, &Id::Name("default".to_owned()))?,
    };
    let number = |value: &Value| value.as_int().ok_or_else(|| wrong_type("priority", "an integer", value));
    let priority = given("priority").map(number).transpose()?;
    let by_default = parent.map_or(tasks::DEFAULT_PRIORITY, |parent| parent.priority - 1);
    let task = NewTask {
        method,
        request,
        owner,
        channel_id,
        arch: text("arch").transpose()?.unwrap_or(parent.map_or("noarch", |parent| &parent.arch)),
        priority: priority.unwrap_or(by_default),
        parent: parent.map(|parent| parent.id),
        label: if parent.is_some() { text("label").transpose()? } else { None },
    };
    tasks::create(call.tx, call.now, &task)
}

/// Refuses who is neither the owner, nor an administrator, nor the host that runs the task.
fn check_control(call: &Call<'_>, task: &tasks::Task) -> Result<(), CallError> {
    let session = call.user()?;
    let runs_it = session.host_id.is_some_and(|host| tasks::is_open_on(task, host));
    if task.owner == session.user_id || runs_it || has_permission(call.tx, session.user_id, "admin")? {
        return Ok(());
    }
    Err(fault(FaultCode::ActionNotAllowed, "Cannot cancel task, not owner"))
}

fn cancel(call: &mut Call<'_>) -> Answer {
    let task = tasks::get(call.tx, call.int("task_id")?)?;
    check_control(call, &task)?;
    tasks::cancel(call.tx, call.now, task.id, call.flag("recurse"))?;
    Ok(Value::Nil)
}

fn cancel_full(call: &mut Call<'_>) -> Answer {
    tasks::cancel_full(call.tx, call.now, call.int("task_id")?, call.flag("strict"))?;
    Ok(Value::Nil)
}

fn cancel_children(call: &mut Call<'_>) -> Answer {
    let task = tasks::get(call.tx, call.int("task_id")?)?;
    check_control(call, &task)?;
    for child in tasks::infos_of_children(call.tx, task.id, false)? {
        if let Some(id) = child.get("id").and_then(Value::as_int) {
            tasks::cancel(call.tx, call.now, id, true)?;
        }
    }
    Ok(Value::Nil)
}

fn set_priority(call: &mut Call<'_>) -> Answer {
    tasks::set_priority(call.tx, call.int("task_id")?, call.int("priority")?, call.flag("recurse"))?;
    Ok(Value::Nil)
}

fn resubmit(call: &mut Call<'_>) -> Answer {
    let task = tasks::get(call.tx, call.int("taskID")?)?;
    if !matches!(task.state, TaskState::Canceled | TaskState::Failed) {
        return Err(refused("only canceled or failed tasks may be resubmitted"));
    }
    if task.parent.is_some() {
        return Err(refused("only top-level tasks may be resubmitted"));
    }
    let session = call.user()?;
    if task.owner != session.user_id && !has_permission(call.tx, session.user_id, "admin")? {
        return Err(refused("only the task owner or an admin may resubmit a task"));
    }
    let request = tasks::request(call.tx, task.id)?;
    let new = NewTask {
        method: &task.method,
        request: &request,
        owner: session.user_id,
        channel_id: channel(call.tx, &Id::Number(task.channel_id))?,
        arch: &task.arch,
        priority: task.priority,
        parent: None,
        label: None,
    };
    tasks::create(call.tx, call.now, &new).map(Value::Int)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_every_form() {
        for (value, expected) in [
            (Value::Int(1_795_405_271), Some(1_795_405_271_000_000)),
            (Value::Double(1.5), Some(1_500_000)),
            ("2026-11-23 03:41:11.555333+00:00".into(), Some(1_795_405_271_555_333)),
            ("2026-11-23 03:41:11".into(), Some(1_795_405_271_000_000)),
            ("2026-11-23".into(), Some(1_795_392_000_000_000)),
            ("soon".into(), None),
            (Value::Nil, None),
        ] {
            assert_eq!(moment("createdAfter", &value).ok(), expected, "{value:?}");
        }
    }
}
