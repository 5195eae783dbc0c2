//! Channels: which tasks go to which hosts.

use super::hosts;
use super::{Answer, Method, read, write};
use crate::call::{Call, Id, check_new_name};
use crate::call_error::{CallError, refused};
use crate::parameters::{flag, optional, required};
use crate::role::Role;
use crate::rows::{Column, Kind, Query, column};
use crate::versions::{held, insert, revoke};
use osbs_koji::{Struct, Value};
use rusqlite::{Transaction, params};

const HOST: Role = Role::Permission("host");

pub(crate) const METHODS: &[Method] = &[
    write("addChannel", HOST, &[required("channel_name"), optional("description")], add),
    write(
        "editChannel",
        HOST,
        &[required("channelInfo"), optional("name"), optional("description"), optional("comment")],
        edit,
    ),
    write("renameChannel", HOST, &[required("old"), required("new")], rename),
    write("removeChannel", HOST, &[required("channel_name"), flag("force")], remove),
    write("enableChannel", HOST, &[required("channelname"), optional("comment")], |call| enable(call, true)),
    write("disableChannel", HOST, &[required("channelname"), optional("comment")], |call| enable(call, false)),
    write(
        "addHostToChannel",
        HOST,
        &[required("hostname"), required("channel_name"), flag("create"), flag("force")],
        add_host,
    ),
    write("removeHostFromChannel", HOST, &[required("hostname"), required("channel_name")], remove_host),
    read("getChannel", &[required("channelInfo"), flag("strict")], get),
    read("listChannels", &[optional("hostID"), optional("event"), optional("enabled")], list),
];

const COLUMNS: &[Column] = &[
    column("id", "channels.id", Kind::Int),
    column("name", "channels.name", Kind::Text),
    column("description", "channels.description", Kind::Text),
    column("enabled", "channels.enabled", Kind::Bool),
    column("comment", "channels.comment", Kind::Text),
];

/// A channel as `getChannel` gives it.
///
/// # Errors
/// The database failed.
pub(crate) fn find(tx: &Transaction<'_>, id: &Id) -> Result<Option<Struct>, CallError> {
    let query = Query::new(COLUMNS, "channels");
    match id {
        Id::Number(id) => query.bind("channels.id = ?", *id),
        Id::Name(name) => query.bind("channels.name = ?", name.clone()),
    }
    .first(tx)
}

/// A channel that must exist.
///
/// # Errors
/// 1000: it does not.
pub(crate) fn must_find(tx: &Transaction<'_>, id: &Id) -> Result<Struct, CallError> {
    find(tx, id)?.ok_or_else(|| refused(format!("Invalid type for channelInfo: {id}")))
}

fn id_of(call: &Call<'_>, name: &str) -> Result<i64, CallError> {
    Ok(must_find(call.tx, &call.id(name)?)?["id"].as_int().unwrap_or_default())
}

fn make(call: &Call<'_>, name: &str, description: Option<&str>) -> Result<i64, CallError> {
    check_new_name("channel", name)?;
    if find(call.tx, &Id::Name(name.to_owned()))?.is_some() {
        return Err(refused(format!("channel {name} already exists")));
    }
    call.tx.execute("INSERT INTO channels (name, description) VALUES (?, ?)", params![name, description])?;
    Ok(call.tx.last_insert_rowid())
}

fn add(call: &mut Call<'_>) -> Answer {
    Ok(make(call, call.str("channel_name")?, call.str_or_nil("description")?)?.into())
}

fn edit(call: &mut Call<'_>) -> Answer {
    let id = id_of(call, "channelInfo")?;
    if let Some(name) = call.str_or_nil("name")? {
        set_name(call, id, name)?;
    }
    for (name, sql) in [
        ("description", "UPDATE channels SET description = ? WHERE id = ?"),
        ("comment", "UPDATE channels SET comment = ? WHERE id = ?"),
    ] {
        if call.is_given(name) {
            call.tx.execute(sql, params![call.str_or_nil(name)?, id])?;
        }
    }
    Ok(true.into())
}

fn set_name(call: &Call<'_>, id: i64, name: &str) -> Result<(), CallError> {
    check_new_name("channel", name)?;
    let holder = find(call.tx, &Id::Name(name.to_owned()))?;
    if holder.is_some_and(|channel| channel["id"].as_int() != Some(id)) {
        return Err(refused(format!("channel {name} already exists")));
    }
    call.tx.execute("UPDATE channels SET name = ? WHERE id = ?", params![name, id])?;
    Ok(())
}

fn rename(call: &mut Call<'_>) -> Answer {
    set_name(call, id_of(call, "old")?, call.str("new")?)?;
    Ok(Value::Nil)
}

fn remove(call: &mut Call<'_>) -> Answer {
    let id = id_of(call, "channel_name")?;
    let used = call.tx.prepare_cached("SELECT 1 FROM task WHERE channel_id = ?")?.exists([id])?
        || call.tx.prepare_cached("SELECT 1 FROM host_channels WHERE channel_id = ?")?.exists([id])?;
    if used {
        return Err(refused("channel has been used: disable it instead"));
    }
    call.tx.execute("DELETE FROM channels WHERE id = ?", [id])?;
    Ok(Value::Nil)
}

fn enable(call: &mut Call<'_>, enabled: bool) -> Answer {
    let (id, comment) = (id_of(call, "channelname")?, call.str_or_nil("comment")?);
    call.tx.execute(
        "UPDATE channels SET enabled = ?, comment = coalesce(?, comment) WHERE id = ?",
        params![enabled, comment, id],
    )?;
    Ok(Value::Nil)
}

fn add_host(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("hostname")?;
    let host = hosts::find(call.tx, &wanted, None)?.ok_or_else(|| refused(format!("host does not exist: {wanted}")))?;
    let host = host["id"].as_int().unwrap_or_default();
    let named = call.id("channel_name")?;
    let channel = match (find(call.tx, &named)?, &named) {
        (Some(channel), _) => channel["id"].as_int().unwrap_or_default(),
        (None, Id::Name(name)) if call.flag("create") => make(call, name, None)?,
        _ => return Err(refused(format!("channel does not exist: {named}"))),
    };
    let there = call
        .tx
        .prepare_cached("SELECT 1 FROM host_channels WHERE host_id = ? AND channel_id = ? AND revoke_event IS NULL")?
        .exists([host, channel])?;
    if there {
        return Err(refused(format!("host {wanted} is already subscribed to the {named} channel")));
    }
    insert(call, "host_channels", &[("host_id", &host), ("channel_id", &channel)])?;
    Ok(Value::Nil)
}

fn remove_host(call: &mut Call<'_>) -> Answer {
    let host = hosts::must_find(call.tx, &call.id("hostname")?)?["id"].as_int().unwrap_or_default();
    let channel = id_of(call, "channel_name")?;
    if revoke(call, "host_channels", "host_id = ? AND channel_id = ?", &[&host, &channel])? == 0 {
        return Err(refused("host is not subscribed to the channel"));
    }
    Ok(Value::Nil)
}

fn get(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("channelInfo")?;
    match find(call.tx, &wanted)? {
        Some(channel) => Ok(Value::Struct(channel)),
        None if call.flag("strict") => Err(refused(format!("Invalid type for channelInfo: {wanted}"))),
        None => Ok(Value::Nil),
    }
}

fn list(call: &mut Call<'_>) -> Answer {
    let event = call.int_or_nil("event")?;
    let mut query = Query::new(COLUMNS, "channels").order("channels.id");
    if let Some(wanted) = call.id_or_nil("hostID")? {
        let host = hosts::must_find(call.tx, &wanted)?["id"].as_int();
        query = query
            .join("JOIN host_channels ON host_channels.channel_id = channels.id")
            .filter(&held("host_channels", event))
            .bind("host_channels.host_id = ?", host);
    }
    query = query.bind_some("channels.enabled = ?", call.flag_or_nil("enabled"));
    let rows = query.rows(call.tx)?;
    Ok(Value::Array(rows.into_iter().map(Value::Struct).collect()))
}
