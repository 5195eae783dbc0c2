//! What the hub plugin of koji-containerbuild adds (client-and-koji 4.2): it makes tasks and checks nothing of them.

use super::{Answer, Method, tasks, write};
use crate::call::{Call, Id};
use crate::call_error::{CallError, fault};
use crate::parameters::{Default, Parameter, optional, or, required};
use crate::role::{Role, has_permission};
use crate::tasks::{DEFAULT_PRIORITY, NewTask, create};
use osbs_koji::{FaultCode, Struct, Value};

/// The channel unless the caller names one.
const CHANNEL: Default = Default::Text("container");

const PARAMETERS: &[Parameter] =
    &[required("src"), required("target"), optional("opts"), optional("priority"), or("channel", CHANNEL)];

pub(crate) const METHODS: &[Method] = &[
    write("buildContainer", Role::TaskOwner, PARAMETERS, |call| submit(call, "buildContainer")),
    write("createContainer", Role::TaskOwner, PARAMETERS, |call| submit(call, "createContainer")),
];

/// The priority that a caller asks for, relative to the usual one.
///
/// # Errors
/// 1004: only an administrator's tasks go before the others.
pub(super) fn priority(call: &Call<'_>) -> Result<i64, CallError> {
    let extra = call.int_or_nil("priority")?.unwrap_or(0);
    if extra < 0 && !has_permission(call.tx, call.user()?.user_id, "admin")? {
        return Err(fault(FaultCode::ActionNotAllowed, "only admins may create high-priority tasks"));
    }
    Ok(DEFAULT_PRIORITY.saturating_add(extra))
}

fn submit(call: &mut Call<'_>, method: &str) -> Answer {
    let (owner, priority) = (call.user()?.user_id, priority(call)?);
    let opts = match call.value("opts") {
        Value::Nil => Value::Struct(Struct::new()),
        opts => opts.clone(),
    };
    let channel = call.id_or_nil("channel")?.unwrap_or_else(|| Id::Name("container".to_owned()));
    let task = NewTask {
        method,
        request: &[call.value("src").clone(), call.value("target").clone(), opts],
        owner,
        channel_id: tasks::channel(call.tx, &channel)?,
        arch: "noarch",
        priority,
        parent: None,
        label: None,
    };
    create(call.tx, call.now, &task).map(Value::Int)
}
