//! RPM packages that this hub knows: only as components of what was imported.

use super::{Answer, Method, read};
use crate::builds;
use crate::call::{Call, wrong_type};
use crate::call_error::{CallError, refused};
use crate::parameters::{flag, optional, required};
use crate::rows::{Bound, Column, Kind, Query, QueryOpts, column};
use osbs_koji::Value;

pub(crate) const METHODS: &[Method] = &[
    read(
        "listRPMs",
        &[
            optional("buildID"),
            optional("buildrootID"),
            optional("imageID"),
            optional("componentBuildrootID"),
            optional("hostID"),
            optional("arches"),
            optional("queryOpts"),
            optional("draft"),
        ],
        list,
    ),
    read("listBuildRPMs", &[required("build")], of_build),
    read("getRPM", &[required("rpminfo"), flag("strict"), flag("multi")], get),
];

const RPM: &[Column] = &[
    column("id", "r.id", Kind::Int),
    column("name", "r.name", Kind::Text),
    column("version", "r.version", Kind::Text),
    column("release", "r.release", Kind::Text),
    column("nvr", "r.name || '-' || r.version || '-' || r.release", Kind::Text),
    column("arch", "r.arch", Kind::Text),
    column("epoch", "r.epoch", Kind::Int),
    column("draft", "0", Kind::Bool),
    column("payloadhash", "r.payloadhash", Kind::Text),
    column("size", "r.size", Kind::Int),
    column("buildtime", "r.buildtime", Kind::Int),
    column("build_id", "r.build_id", Kind::Int),
    column("buildroot_id", "r.buildroot_id", Kind::Int),
    column("external_repo_id", "0", Kind::Int),
    column("external_repo_name", "'INTERNAL'", Kind::Text),
    column("metadata_only", "0", Kind::Bool),
    column("extra", "r.extra", Kind::Json),
];

fn list(call: &mut Call<'_>) -> Answer {
    let mut query = Query::new(RPM, "rpminfo r")
        .bind_some("r.build_id = ?", call.int_or_nil("buildID")?)
        .bind_some("r.buildroot_id = ?", call.int_or_nil("buildrootID")?)
        .bind_some("0 = ?", call.flag_or_nil("draft"))
        .order("r.id");
    if let Some(id) = call.int_or_nil("componentBuildrootID")? {
        query = query
            .join("JOIN buildroot_listing ON buildroot_listing.rpm_id = r.id")
            .bind("buildroot_listing.buildroot_id = ?", id)
            .column(column("component_buildroot_id", "buildroot_listing.buildroot_id", Kind::Int))
            .column(column("is_update", "buildroot_listing.is_update", Kind::Bool));
    }
    if let Some(id) = call.int_or_nil("imageID")? {
        query = query
            .join("JOIN archive_rpm_components ON archive_rpm_components.rpm_id = r.id")
            .bind("archive_rpm_components.archive_id = ?", id);
    }
    if !call.value("hostID").is_nil() {
        // None was built by Koji itself.
        query = query.filter("0");
    }
    let one = |value: &Value| -> Result<Bound, CallError> {
        match value.as_str() {
            Some(arch) => Ok(Box::new(arch.to_owned())),
            None => Err(wrong_type("arches", "a string or a list of them", value)),
        }
    };
    query = match call.value("arches") {
        Value::Nil => query,
        Value::Array(arches) => query.bind_all("r.arch", true, arches.iter().map(one).collect::<Result<_, _>>()?),
        arch => query.bind_all("r.arch", true, vec![one(arch)?]),
    };
    query.answer(call.tx, &QueryOpts::read(call.value("queryOpts"))?)
}

fn of_build(call: &mut Call<'_>) -> Answer {
    let id = builds::get_id(call.tx, call.value("build"))?;
    let query = Query::new(RPM, "rpminfo r").bind("r.build_id = ?", id).order("r.id");
    query.answer(call.tx, &QueryOpts::default())
}

fn get(call: &mut Call<'_>) -> Answer {
    let query = Query::new(RPM, "rpminfo r");
    let asked = call.value("rpminfo");
    let query = match asked {
        Value::Int(id) => query.bind("r.id = ?", *id),
        Value::String(nvra) => {
            let nvra = nvra.strip_suffix(".rpm").unwrap_or(nvra);
            query.bind("r.name || '-' || r.version || '-' || r.release || '.' || r.arch = ?", nvra.to_owned())
        }
        Value::Struct(_) => query
            .bind("r.name = ?", asked.str_of("name")?.to_owned())
            .bind("r.version = ?", asked.str_of("version")?.to_owned())
            .bind("r.release = ?", asked.str_of("release")?.to_owned())
            .bind("r.arch = ?", asked.str_of("arch")?.to_owned()),
        other => return Err(wrong_type("rpminfo", "an id, a name, or a struct", other)),
    };
    let found = query.first(call.tx)?;
    match found {
        None if call.flag("strict") => Err(refused(format!("No such rpm: {}", asked.to_json()))),
        found if call.flag("multi") => Ok(Value::Array(found.into_iter().map(Value::Struct).collect())),
        found => Ok(found.map_or(Value::Nil, Value::Struct)),
    }
}
