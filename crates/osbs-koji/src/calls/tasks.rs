//! Tasks: started, looked at, cancelled, their output.

use super::{QueryOptions, positional};
use crate::objects::value_or_fault;
use crate::objects::{OutputFile, Task};
use crate::{Fault, MethodCall, Struct, Value, ValueError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// `buildContainer`: the task's number. Of the hub's plugin (4.2); `priority` is added to 20.
pub fn build_container(
    src: &str,
    target: &str,
    opts: Struct,
    priority: Option<i64>,
    channel: Option<&str>,
) -> MethodCall<i64> {
    let arguments = positional([src.into(), target.into(), opts.into()]);
    MethodCall::new("buildContainer", arguments, Value::into_int).maybe("priority", priority).maybe("channel", channel)
}

/// `buildImageOz`: the number of a task that makes root file systems (`reactor.md` 3.1.6).
pub fn build_image_oz(
    name: &str,
    version: &str,
    arches: &[String],
    target: &str,
    install_tree: &str,
    opts: Struct,
) -> MethodCall<i64> {
    let arches = Value::Array(arches.iter().map(Into::into).collect());
    let arguments = positional([name.into(), version.into(), arches, target.into(), install_tree.into()]);
    MethodCall::new("buildImageOz", arguments, Value::into_int).named("opts", opts)
}

/// `getTaskInfo`; with the task's arguments if `request`. Nothing if there is none.
pub fn get_task_info(task: i64, request: bool) -> MethodCall<Option<Task>> {
    let call = MethodCall::new("getTaskInfo", positional([task.into()]), |answer| answer.into_option(Task::read));
    if request { call.named("request", true) } else { call }
}

/// `getTaskRequest`: the task's arguments.
pub fn get_task_request(task: i64) -> MethodCall<Vec<Value>> {
    MethodCall::new("getTaskRequest", positional([task.into()]), |answer| answer.into_list(Ok))
}

/// `getTaskChildren`.
pub fn get_task_children(task: i64) -> MethodCall<Vec<Task>> {
    MethodCall::new("getTaskChildren", positional([task.into()]), |answer| answer.into_list(Task::read))
}

/// `getTaskDescendents`: children by the decimal number of their parent.
pub fn get_task_descendents(task: i64) -> MethodCall<Value> {
    MethodCall::new("getTaskDescendents", positional([task.into()]), Ok)
}

/// `listTasks`: `opts` as in 5.6.
pub fn list_tasks(opts: Struct, query: QueryOptions<'_>) -> MethodCall<Vec<Task>> {
    MethodCall::new("listTasks", positional([opts.into(), query.into()]), |answer| answer.into_list(Task::read))
}

/// `taskFinished`.
pub fn task_finished(task: i64) -> MethodCall<bool> {
    MethodCall::new("taskFinished", positional([task.into()]), Value::into_bool)
}

/// `getTaskResult`. The fault of a task that failed comes as the call's own, so that nobody can tell them apart;
/// [`get_task_outcome`] can.
pub fn get_task_result(task: i64) -> MethodCall<Value> {
    MethodCall::new("getTaskResult", positional([task.into()]), Ok)
}

/// `getTaskResult` with `raise_fault=false`: the result, or the fault of a task that failed. For a task that was cancelled or
/// has not finished the call is refused.
pub fn get_task_outcome(task: i64) -> MethodCall<Result<Value, Fault>> {
    MethodCall::new("getTaskResult", positional([task.into()]), |answer| Ok(value_or_fault(answer)))
        .named("raise_fault", false)
}

/// `cancelTask`. A task that has finished stays as it is.
pub fn cancel_task(task: i64) -> MethodCall<()> {
    MethodCall::order("cancelTask", positional([task.into()]))
}

/// `listTaskOutput` with the volumes of each file, in the hub's order.
pub fn list_task_output(task: i64) -> MethodCall<Vec<OutputFile>> {
    MethodCall::new("listTaskOutput", positional([task.into()]), OutputFile::read_list).named("all_volumes", true)
}

/// Which bytes of a task's file.
#[derive(Debug, Clone, Copy)]
pub struct OutputPart<'a> {
    /// Name of the file.
    pub name: &'a str,
    /// From here; negative: from the end.
    pub offset: i64,
    /// At most so many; -1: all.
    pub size: i64,
    /// On this volume; `None`: the default one.
    pub volume: Option<&'a str>,
}

/// `downloadTaskOutput`: at most `size` bytes; none at the end.
pub fn download_task_output(task: i64, part: OutputPart<'_>) -> MethodCall<Vec<u8>> {
    MethodCall::new("downloadTaskOutput", positional([task.into(), part.name.into()]), read_base64)
        .named("offset", part.offset)
        .named("size", part.size)
        .maybe("volume", part.volume)
}

fn read_base64(answer: Value) -> Result<Vec<u8>, ValueError> {
    let text = match answer {
        Value::Bytes(bytes) => return Ok(bytes),
        other => other.into_text()?,
    };
    let bare: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(bare).map_err(|_| Value::String(String::new()).is_not("base64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arguments;

    #[test]
    fn base64_in_lines() {
        assert_eq!(read_base64("aGVs\nbG8=\n".into()).unwrap(), b"hello");
        assert_eq!(read_base64("".into()).unwrap(), b"");
        assert!(read_base64("*".into()).is_err() && read_base64(Value::Nil).is_err());
    }

    #[test]
    fn priority_and_channel_are_sent_if_given() {
        let bare = build_container("s", "t", Struct::new(), None, None);
        assert_eq!(bare.params().len(), 3);
        let full = build_container("s", "t", Struct::new(), Some(5), Some("c"));
        let named = Arguments::from_params(full.params()).named;
        assert_eq!(named.keys().collect::<Vec<_>>(), ["priority", "channel"]);
    }
}
