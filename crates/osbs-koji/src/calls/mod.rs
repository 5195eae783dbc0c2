//! The hub's methods: each function makes the [`MethodCall`] of the method of that name, to be sent by
//! [`crate::Koji::call`] or several at once by [`crate::Koji::multicall`].
//!
//! Pure functions. Arguments that are rarely given are added by name: `get_tag("f43-build").strict().named("event", 7)`.

mod admin;
mod builds;
pub mod host;
mod imports;
mod sessions;
mod tags;
mod tasks;

pub use admin::{
    add_archive_type, add_btype, add_channel, add_host, add_host_to_channel, create_build_target, create_tag,
    create_user, grant_cg_access, package_list_add,
};
pub use builds::{
    cancel_build, get_archive, get_build, get_build_logs, get_build_type, get_buildroot, get_latest_builds,
    get_next_release, list_archives, list_builds, list_rpms, list_tagged, list_tags, tag_build, tag_build_bypass,
    untag_build,
};
pub use imports::{cg_import, cg_init_build, cg_refund_build, check_upload, remove_uploads, upload_file};
pub use sessions::{
    exclusive_session, get_api_version, get_koji_version, get_logged_in_user, get_perms, get_session_info, login,
    logout, logout_child, renewing, ssl_login, subsession,
};
pub use tags::{
    get_build_config, get_build_target, get_host, get_last_event, get_package_config, get_package_id, get_repo,
    get_tag, get_user,
};
pub use tasks::{
    OutputPart, build_container, build_image_oz, cancel_task, download_task_output, get_task_children,
    get_task_descendents, get_task_info, get_task_outcome, get_task_request, get_task_result, list_task_output,
    list_tasks, task_finished,
};

use crate::objects::value_or_fault;
use crate::{Arguments, Effect, Fault, MethodCall, Struct, Value, ValueError};

fn positional<const N: usize>(values: [Value; N]) -> Arguments {
    Arguments::of(values)
}

/// Several calls in one: an answer for each.
pub fn multi_call<T>(items: &[MethodCall<T>]) -> MethodCall<Vec<Result<Value, Fault>>> {
    let one = |item: &MethodCall<T>| {
        Value::members([("methodName", item.method().into()), ("params", Value::Array(item.params()))])
    };
    let effect = items.iter().map(MethodCall::effect).max().unwrap_or(Effect::Reads);
    let call = MethodCall::new("multiCall", positional([Value::Array(items.iter().map(one).collect())]), read_multi);
    let secrets = items.iter().flat_map(MethodCall::secrets);
    secrets.fold(call.with_effect(effect), MethodCall::hiding)
}

fn read_multi(answer: Value) -> Result<Vec<Result<Value, Fault>>, ValueError> {
    answer.into_list(|item| match item {
        Value::Array(mut results) if results.len() == 1 => Ok(Ok(results.remove(0))),
        Value::Struct(_) => match value_or_fault(item) {
            Err(fault) => Ok(Err(fault)),
            Ok(other) => Err(other.is_not("a result or a fault")),
        },
        other => Err(other.is_not("a result or a fault")),
    })
}

/// How lists are ordered and cut: `queryOpts`.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueryOptions<'a> {
    /// Names of members, with a comma between; `-` before one: from large to small.
    pub order: Option<&'a str>,
    /// Most items.
    pub limit: Option<i64>,
    /// Items that are left out before.
    pub offset: Option<i64>,
}

impl From<QueryOptions<'_>> for Value {
    fn from(options: QueryOptions<'_>) -> Self {
        let mut members = Struct::new();
        let mut add = |name: &str, value: Option<Self>| value.and_then(|value| members.insert(name.to_owned(), value));
        add("order", options.order.map(Into::into));
        add("limit", options.limit.map(Into::into));
        add("offset", options.offset.map(Into::into));
        Self::Struct(members)
    }
}
