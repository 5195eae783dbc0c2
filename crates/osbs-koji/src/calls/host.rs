//! What a builder calls (client-and-koji 5.5). The hub refuses them to everybody who is no host (1002), and calls about a
//! task that is not open on this host (1004).

use super::positional;
use crate::objects::{Host, HostTask, QueuedTask, Task};
use crate::{Arguments, Fault, MethodCall, Struct, Value, ValueError, xmlrpc};

/// `host.getID`.
pub fn get_id() -> MethodCall<i64> {
    MethodCall::new("host.getID", Arguments::none(), Value::into_int)
}

/// `host.getHost`: this one.
pub fn get_host() -> MethodCall<Host> {
    MethodCall::new("host.getHost", Arguments::none(), Host::read)
}

/// `host.getHostTasks`: tasks that are open here.
pub fn get_host_tasks() -> MethodCall<Vec<HostTask>> {
    MethodCall::new("host.getHostTasks", Arguments::none(), |answer| answer.into_list(HostTask::read))
}

/// `host.getTasks`: tasks that the hub has assigned to this host. Hubs from 1.34 on.
pub fn get_tasks() -> MethodCall<Vec<QueuedTask>> {
    MethodCall::new("host.getTasks", Arguments::none(), |answer| answer.into_list(QueuedTask::read))
}

/// `host.getLoadData`: hosts, and tasks that are free or assigned. Hubs before 1.34, where builders chose for themselves.
pub fn get_load_data() -> MethodCall<(Vec<Value>, Vec<QueuedTask>)> {
    MethodCall::new("host.getLoadData", Arguments::none(), |answer| match answer {
        Value::Array(parts) if parts.len() == 2 => {
            let [hosts, tasks]: [Value; 2] = parts.try_into().unwrap_or_default();
            Ok((hosts.into_list(Ok)?, tasks.into_list(QueuedTask::read)?))
        }
        other => Err(other.is_not("two arrays")),
    })
}

/// `host.updateHost`: the sign of life. `data` holds the methods that are taken and how many tasks at most; hubs before 1.34
/// do not know it.
pub fn update_host(task_load: f64, ready: bool, data: Option<Struct>) -> MethodCall<()> {
    MethodCall::order("host.updateHost", positional([task_load.into(), ready.into()])).maybe("data", data)
}

/// `host.updateHost` as goodbye.
pub fn leave() -> MethodCall<()> {
    MethodCall::order("host.updateHost", Arguments::none()).named("task_load", 0.0).named("ready", false)
}

/// `host.openTask`: the task with its arguments; nothing if somebody else has it, or it was canceled. If the answer is
/// lost, [`get_host_tasks`] tells.
pub fn open_task(task: i64) -> MethodCall<Option<Task>> {
    MethodCall::new("host.openTask", positional([task.into()]), |answer| answer.into_option(Task::read))
}

/// `host.setTaskWeight`.
pub fn set_task_weight(task: i64, weight: f64) -> MethodCall<()> {
    MethodCall::order("host.setTaskWeight", positional([task.into(), weight.into()]))
}

/// `host.freeTasks`: given back for others. Those of other hosts are left alone.
pub fn free_tasks(tasks: &[i64]) -> MethodCall<()> {
    let tasks = Value::Array(tasks.iter().map(|&task| task.into()).collect());
    MethodCall::order("host.freeTasks", positional([tasks]))
}

/// `host.refuseTask`: this host will not do it.
pub fn refuse_task(task: i64, message: &str) -> MethodCall<()> {
    MethodCall::order("host.refuseTask", positional([task.into()])).named("soft", false).named("msg", message)
}

/// `host.closeTask` with the task's result.
pub fn close_task(task: i64, result: &Value) -> MethodCall<()> {
    MethodCall::order("host.closeTask", positional([task.into(), xmlrpc::encode_response(result).into()]))
}

/// `host.failTask` with the task's fault.
pub fn fail_task(task: i64, fault: &Fault) -> MethodCall<()> {
    MethodCall::order("host.failTask", positional([task.into(), xmlrpc::encode_fault(fault).into()]))
}

/// `host.tagBuild`, within a task `tagBuild`.
pub fn tag_build(task: i64, tag: i64, build: i64, force: bool, fromtag: Option<i64>) -> MethodCall<()> {
    MethodCall::order("host.tagBuild", positional([task.into(), tag.into(), build.into()]))
        .named("force", force)
        .named("fromtag", fromtag)
}

/// `host.tagNotification`.
pub fn tag_notification(
    is_successful: bool,
    tag: Option<i64>,
    from: Option<i64>,
    build: i64,
    user: i64,
    ignore_success: bool,
) -> MethodCall<()> {
    let ids = [is_successful.into(), tag.into(), from.into(), build.into(), user.into(), ignore_success.into()];
    MethodCall::order("host.tagNotification", positional(ids))
}

/// `host.subtask`: the number of a task below another; the same label again gives the same one.
pub fn subtask(method: &str, arguments: Vec<Value>, parent: i64, label: Option<&str>) -> MethodCall<i64> {
    let call = positional([method.into(), Value::Array(arguments), parent.into()]);
    MethodCall::new("host.subtask", call, Value::into_int).maybe("label", label)
}

/// `host.taskSetWait`: the task waits for these, and weighs nothing meanwhile.
pub fn task_set_wait(task: i64, children: &[i64]) -> MethodCall<()> {
    let children = Value::Array(children.iter().map(|&child| child.into()).collect());
    MethodCall::order("host.taskSetWait", positional([task.into(), children]))
}

/// `host.taskWait`: those that have finished, and those that have not.
pub fn task_wait(task: i64) -> MethodCall<(Vec<i64>, Vec<i64>)> {
    MethodCall::new("host.taskWait", positional([task.into()]), |answer| {
        let lists = answer.into_list(|list| list.into_list(Value::into_int))?;
        let [finished, unfinished]: [Vec<i64>; 2] = lists.try_into().map_err(|_| not_two())?;
        Ok((finished, unfinished))
    })
}

fn not_two() -> ValueError {
    Value::Array(Vec::new()).is_not("two arrays")
}
