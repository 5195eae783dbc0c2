//! Hosts: the machines that take tasks. What a host calls itself is in `host.*`, elsewhere.

use super::{Answer, Method, read, write};
use super::{tags, users};
use crate::call::{Call, Id};
use crate::call_error::{CallError, refused, wrong_parameter};
use crate::parameters::{Default, Parameter, flag, optional, or, required};
use crate::role::Role;
use crate::rows::{Column, Kind, Query, QueryOpts, column};
use crate::times::time_text;
use crate::versions::{held, insert, revoke};
use osbs_koji::{Struct, Value};
use rusqlite::{OptionalExtension as _, Transaction, params};

const HOST: Role = Role::Permission("host");

const LIST: &[Parameter] = &[
    optional("arches"),
    optional("channelID"),
    optional("ready"),
    optional("enabled"),
    optional("userID"),
    optional("queryOpts"),
];

const EDIT: &[Parameter] = &[
    required("hostInfo"),
    optional("arches"),
    optional("capacity"),
    optional("description"),
    optional("comment"),
    optional("enabled"),
];

pub(crate) const METHODS: &[Method] = &[
    write("addHost", HOST, &[required("hostname"), required("arches"), optional("krb_principal"), flag("force")], add),
    write("editHost", HOST, EDIT, edit),
    write("enableHost", HOST, &[required("hostname")], |call| enable(call, true)),
    write("disableHost", HOST, &[required("hostname")], |call| enable(call, false)),
    read("getHost", &[required("hostInfo"), flag("strict"), optional("event")], get),
    read("listHosts", LIST, list),
    read("getLastHostUpdate", &[required("hostID"), or("ts", Default::Bool(false))], last_update),
];

/// What `getHost` tells.
pub(crate) const COLUMNS: &[Column] = &[
    column("id", "host.id", Kind::Int),
    column("user_id", "host.user_id", Kind::Int),
    column("name", "host.name", Kind::Text),
    column("ready", "host.ready", Kind::Bool),
    column("task_load", "host.task_load", Kind::Double),
    column("arches", "host_config.arches", Kind::Text),
    column("capacity", "host_config.capacity", Kind::Double),
    column("description", "host_config.description", Kind::Text),
    column("comment", "host_config.comment", Kind::Text),
    column("enabled", "host_config.enabled", Kind::Bool),
];

const FROM: &str = "host JOIN host_config ON host_config.host_id = host.id";

fn query(event: Option<i64>) -> Query {
    Query::new(COLUMNS, FROM)
        .column(column("update_ts", "host.update_time", Kind::Seconds))
        .filter(&held("host_config", event))
        .order("host.id")
}

/// A host as `getHost` gives it.
///
/// # Errors
/// The database failed.
pub(crate) fn find(tx: &Transaction<'_>, id: &Id, event: Option<i64>) -> Result<Option<Struct>, CallError> {
    match id {
        Id::Number(id) => query(event).bind("host.id = ?", *id),
        Id::Name(name) => query(event).bind("host.name = ?", name.clone()),
    }
    .first(tx)
}

/// A host that must exist.
///
/// # Errors
/// 1000: it does not.
pub(crate) fn must_find(tx: &Transaction<'_>, id: &Id) -> Result<Struct, CallError> {
    find(tx, id, None)?.ok_or_else(|| refused(format!("Invalid hostInfo: {id}")))
}

fn add(call: &mut Call<'_>) -> Answer {
    let name = call.new_name("hostname")?.to_owned();
    let arches = tags::arches_of("arches", call.value("arches"))?.unwrap_or_default();
    if !call.value("krb_principal").is_nil() {
        return Err(refused("this hub knows no Kerberos"));
    }
    if call.tx.prepare_cached("SELECT 1 FROM host WHERE name = ?")?.exists([&name])? {
        return Err(refused(format!("host already exists: {name}")));
    }
    let user = match users::find(call.tx, &Id::Name(name.clone()))? {
        None => users::create(call, &name, 1)?,
        Some(user) if call.flag("force") => {
            let id = user["id"].as_int().unwrap_or_default();
            call.tx.execute("UPDATE users SET usertype = 1 WHERE id = ?", [id])?;
            id
        }
        Some(_) => return Err(refused(format!("user {name} already exists, use force to make it a host"))),
    };
    call.tx.execute("INSERT INTO host (user_id, name) VALUES (?, ?)", params![user, name])?;
    let id = call.tx.last_insert_rowid();
    let (capacity, enabled) = (2.0, true);
    insert(
        call,
        "host_config",
        &[("host_id", &id), ("arches", &arches), ("capacity", &capacity), ("enabled", &enabled)],
    )?;
    let default: i64 = call.tx.query_row("SELECT id FROM channels WHERE name = 'default'", [], |row| row.get(0))?;
    insert(call, "host_channels", &[("host_id", &id), ("channel_id", &default)])?;
    Ok(id.into())
}

/// The part of a host that is kept in versions.
#[derive(Debug, Clone, PartialEq)]
struct Config {
    arches: Option<String>,
    capacity: f64,
    description: Option<String>,
    comment: Option<String>,
    enabled: bool,
}

fn change(call: &Call<'_>, host: &Struct, alter: impl FnOnce(&mut Config)) -> Result<bool, CallError> {
    let text = |name: &str| host[name].as_str().map(str::to_owned);
    let before = Config {
        arches: text("arches"),
        capacity: host["capacity"].as_double().unwrap_or_default(),
        description: text("description"),
        comment: text("comment"),
        enabled: host["enabled"].is_true(),
    };
    let mut after = before.clone();
    alter(&mut after);
    if after == before {
        return Ok(false);
    }
    let id = host["id"].as_int().unwrap_or_default();
    revoke(call, "host_config", "host_id = ?", &[&id])?;
    let Config { arches, capacity, description, comment, enabled } = after;
    insert(
        call,
        "host_config",
        &[
            ("host_id", &id),
            ("arches", &arches),
            ("capacity", &capacity),
            ("description", &description),
            ("comment", &comment),
            ("enabled", &enabled),
        ],
    )?;
    Ok(true)
}

fn edit(call: &mut Call<'_>) -> Answer {
    let host = must_find(call.tx, &call.id("hostInfo")?)?;
    let arches = tags::arches_of("arches", call.value("arches"))?;
    let capacity = call.double_or_nil("capacity")?;
    if capacity.is_some_and(|capacity| capacity < 0.0) {
        return Err(wrong_parameter("capacity must not be negative"));
    }
    let own = |name| Ok::<_, CallError>(call.str_or_nil(name)?.map(str::to_owned));
    let (description, comment) = (own("description")?, own("comment")?);
    let changed = change(call, &host, |config| {
        if call.is_given("arches") {
            config.arches = arches;
        }
        config.capacity = capacity.unwrap_or(config.capacity);
        if call.is_given("description") {
            config.description = description;
        }
        if call.is_given("comment") {
            config.comment = comment;
        }
        config.enabled = call.flag_or_nil("enabled").unwrap_or(config.enabled);
    })?;
    Ok(changed.into())
}

fn enable(call: &mut Call<'_>, enabled: bool) -> Answer {
    let host = must_find(call.tx, &call.id("hostname")?)?;
    change(call, &host, |config| config.enabled = enabled)?;
    Ok(Value::Nil)
}

fn get(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("hostInfo")?;
    match find(call.tx, &wanted, call.int_or_nil("event")?)? {
        Some(host) => Ok(Value::Struct(host)),
        None if call.flag("strict") => Err(refused(format!("Invalid hostInfo: {wanted}"))),
        None => Ok(Value::Nil),
    }
}

fn list(call: &mut Call<'_>) -> Answer {
    let mut query = query(None);
    match call.value("arches") {
        Value::Nil => {}
        Value::Array(items) if items.is_empty() => query = query.filter("0"),
        value => {
            let arches = tags::arches_of("arches", value)?.unwrap_or_default();
            // Each is a word of letters, digits, `_` and `-`: nothing of it is special to GLOB.
            let patterns = arches.split(' ').map(|arch| format!("' ' || host_config.arches || ' ' GLOB '* {arch} *'"));
            query = query.filter(&patterns.collect::<Vec<_>>().join(" OR "));
        }
    }
    if let Some(wanted) = call.id_or_nil("channelID")? {
        let channel = super::channels::must_find(call.tx, &wanted)?["id"].as_int();
        query = query.bind(
            "host.id IN (SELECT host_id FROM host_channels WHERE channel_id = ? AND revoke_event IS NULL)",
            channel,
        );
    }
    if let Some(wanted) = call.id_or_nil("userID")? {
        query = query.bind("host.user_id = ?", users::id_of(call.tx, &wanted)?);
    }
    query = query
        .bind_some("host.ready = ?", call.flag_or_nil("ready"))
        .bind_some("host_config.enabled = ?", call.flag_or_nil("enabled"));
    query.answer(call.tx, &QueryOpts::read(call.value("queryOpts"))?)
}

fn last_update(call: &mut Call<'_>) -> Answer {
    let found: Option<Option<i64>> = call
        .tx
        .prepare_cached("SELECT update_time FROM host WHERE id = ?")?
        .query_row([call.int("hostID")?], |row| row.get(0))
        .optional()?;
    Ok(match found.flatten() {
        None => Value::Nil,
        Some(at) if call.flag("ts") => crate::times::seconds(at).into(),
        Some(at) => time_text(at).into(),
    })
}
