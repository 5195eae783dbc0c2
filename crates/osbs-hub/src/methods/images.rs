//! Tasks that make root file systems, as Koji's `image-build` starts them: for `FROM koji/image-build`.
//!
//! The hub makes the task and checks nothing of it: its builder does, which is none of ours. Where there is no such builder
//! the call is not offered, and whoever would ask for it makes the file system in another way.

use super::containers::priority;
use super::{Answer, Method, tasks, write};
use crate::call::{Call, Id};
use crate::call_error::CallError;
use crate::parameters::{optional, required};
use crate::role::Role;
use crate::tasks::{NewTask, create};
use osbs_koji::Value;
use rusqlite::Transaction;

/// The one call here.
const BUILD: &str = "buildImageOz";
/// The channel of its tasks.
const CHANNEL: &str = "image";

pub(crate) const METHODS: &[Method] = &[write(
    BUILD,
    Role::Permission("image"),
    &[
        required("name"),
        required("version"),
        required("arches"),
        required("target"),
        required("inst_tree"),
        optional("opts"),
        optional("priority"),
    ],
    build,
)];

/// Whether `system.listMethods` shows a method: this one only where a host takes its tasks.
///
/// # Errors
/// The database failed.
pub(crate) fn is_offered(tx: &Transaction<'_>, method: &str) -> Result<bool, CallError> {
    if method != BUILD {
        return Ok(true);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM host_channels
                   JOIN channels ON channels.id = host_channels.channel_id
                   JOIN host_config ON host_config.host_id = host_channels.host_id AND host_config.revoke_event IS NULL
               WHERE host_channels.revoke_event IS NULL AND channels.name = ? AND host_config.enabled)";
    Ok(tx.prepare_cached(sql)?.query_row([CHANNEL], |row| row.get(0))?)
}

fn build(call: &mut Call<'_>) -> Answer {
    let texts = [call.str("name")?, call.str("version")?, call.str("inst_tree")?].map(Value::from);
    let [name, version, tree] = texts;
    let (owner, priority) = (call.user()?.user_id, priority(call)?);
    let task = NewTask {
        method: "image",
        request: &[
            name,
            version,
            call.value("arches").clone(),
            call.value("target").clone(),
            tree,
            call.value("opts").clone(),
        ],
        owner,
        channel_id: tasks::channel(call.tx, &Id::Name(CHANNEL.to_owned()))?,
        arch: "noarch",
        priority,
        parent: None,
        label: None,
    };
    create(call.tx, call.now, &task).map(Value::Int)
}
