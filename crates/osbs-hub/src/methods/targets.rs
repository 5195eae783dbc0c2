//! Build targets: with what a build is made, and where it goes.

use super::tags;
use super::{Answer, Method, read, write};
use crate::call::{Call, Id, check_new_name};
use crate::call_error::{CallError, refused};
use crate::parameters::{flag, optional, required};
use crate::role::Role;
use crate::rows::{Column, Kind, Query, QueryOpts, column};
use crate::versions::{held, insert, revoke};
use osbs_koji::{Struct, Value};
use rusqlite::{OptionalExtension as _, Transaction, params};

const TARGET: Role = Role::Permission("target");

pub(crate) const METHODS: &[Method] = &[
    write("createBuildTarget", TARGET, &[required("name"), required("build_tag"), required("dest_tag")], create),
    write(
        "editBuildTarget",
        TARGET,
        &[required("buildTargetInfo"), required("name"), required("build_tag"), required("dest_tag")],
        edit,
    ),
    write("deleteBuildTarget", TARGET, &[required("buildTargetInfo")], delete),
    read("getBuildTarget", &[required("info"), optional("event"), flag("strict")], get),
    read(
        "getBuildTargets",
        &[optional("info"), optional("event"), optional("buildTagID"), optional("destTagID"), optional("queryOpts")],
        list,
    ),
];

const COLUMNS: &[Column] = &[
    column("id", "build_target.id", Kind::Int),
    column("name", "build_target.name", Kind::Text),
    column("build_tag", "build_target_config.build_tag", Kind::Int),
    column("build_tag_name", "build.name", Kind::Text),
    column("dest_tag", "build_target_config.dest_tag", Kind::Int),
    column("dest_tag_name", "dest.name", Kind::Text),
];

const FROM: &str = "build_target JOIN build_target_config ON build_target_id = build_target.id
     JOIN tag build ON build.id = build_tag JOIN tag dest ON dest.id = dest_tag";

fn query(id: Option<&Id>, event: Option<i64>) -> Query {
    let query = Query::new(COLUMNS, FROM).filter(&held("build_target_config", event)).order("build_target.id");
    match id {
        None => query,
        Some(Id::Number(id)) => query.bind("build_target.id = ?", *id),
        Some(Id::Name(name)) => query.bind("build_target.name = ?", name.clone()),
    }
}

/// A target as `getBuildTarget` gives it.
///
/// # Errors
/// The database failed.
pub(crate) fn find(tx: &Transaction<'_>, id: &Id, event: Option<i64>) -> Result<Option<Struct>, CallError> {
    query(Some(id), event).first(tx)
}

/// 1000 for a target that does not exist.
pub(crate) fn no_such_target(id: &Id) -> CallError {
    refused(format!("No such build target: {id}"))
}

fn tag(call: &Call<'_>, name: &str, what: &str) -> Result<i64, CallError> {
    let wanted = call.id(name)?;
    let found = tags::find(call.tx, &wanted, None)?.and_then(|tag| tag["id"].as_int());
    found.ok_or_else(|| refused(format!("{what} tag '{wanted}' does not exist")))
}

fn create(call: &mut Call<'_>) -> Answer {
    let name = call.new_name("name")?;
    let (build, dest) = (tag(call, "build_tag", "build")?, tag(call, "dest_tag", "destination")?);
    if find(call.tx, &Id::Name(name.to_owned()), None)?.is_some() {
        return Err(refused(format!("A build target with the name '{name}' already exists")));
    }
    let known: Option<i64> =
        call.tx.query_row("SELECT id FROM build_target WHERE name = ?", [name], |row| row.get(0)).optional()?;
    let id = if let Some(id) = known {
        id
    } else {
        call.tx.execute("INSERT INTO build_target (name) VALUES (?)", [name])?;
        call.tx.last_insert_rowid()
    };
    insert(call, "build_target_config", &[("build_target_id", &id), ("build_tag", &build), ("dest_tag", &dest)])?;
    Ok(Value::Nil)
}

fn edit(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("buildTargetInfo")?;
    let target = find(call.tx, &wanted, None)?.ok_or_else(|| no_such_target(&wanted))?;
    let id = target["id"].as_int().unwrap_or_default();
    let name = call.str("name")?;
    let (build, dest) = (tag(call, "build_tag", "build")?, tag(call, "dest_tag", "destination")?);
    if target["name"].as_str() != Some(name) {
        check_new_name("build target", name)?;
        let taken = call.tx.prepare_cached("SELECT 1 FROM build_target WHERE name = ?")?.exists([name])?;
        if taken {
            return Err(refused(format!("name '{name}' is already taken by another build target")));
        }
        call.tx.execute("UPDATE build_target SET name = ? WHERE id = ?", params![name, id])?;
    }
    revoke(call, "build_target_config", "build_target_id = ?", &[&id])?;
    insert(call, "build_target_config", &[("build_target_id", &id), ("build_tag", &build), ("dest_tag", &dest)])?;
    Ok(Value::Nil)
}

fn delete(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("buildTargetInfo")?;
    let target = find(call.tx, &wanted, None)?.ok_or_else(|| no_such_target(&wanted))?;
    revoke(call, "build_target_config", "build_target_id = ?", &[&target["id"].as_int().unwrap_or_default()])?;
    Ok(Value::Nil)
}

fn get(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("info")?;
    match find(call.tx, &wanted, call.int_or_nil("event")?)? {
        Some(target) => Ok(Value::Struct(target)),
        None if call.flag("strict") => Err(no_such_target(&wanted)),
        None => Ok(Value::Nil),
    }
}

fn list(call: &mut Call<'_>) -> Answer {
    let id = call.id_or_nil("info")?;
    let mut query = query(id.as_ref(), call.int_or_nil("event")?);
    for (name, condition) in [("buildTagID", "build_tag = ?"), ("destTagID", "dest_tag = ?")] {
        match call.id_or_nil(name)? {
            None => {}
            Some(Id::Number(tag)) => query = query.bind(condition, tag),
            Some(wanted) => query = query.bind(condition, tags::id_of_tag(call.tx, &wanted)?),
        }
    }
    query.answer(call.tx, &QueryOpts::read(call.value("queryOpts"))?)
}
