//! Archives, their components, and the buildroots they were made in.

use super::{Answer, Method, read};
use crate::call::Call;
use crate::call_error::{CallError, refused};
use crate::parameters::{flag, optional, required};
use crate::rows::{Column, Kind, Query, QueryOpts, column};
use osbs_koji::{Struct, Value};
use rusqlite::{OptionalExtension as _, Transaction};

pub(crate) const METHODS: &[Method] = &[
    read(
        "listArchives",
        &[
            optional("buildID"),
            optional("buildrootID"),
            optional("componentBuildrootID"),
            optional("hostID"),
            optional("type"),
            optional("filename"),
            optional("size"),
            optional("checksum"),
            optional("checksum_type"),
            optional("typeInfo"),
            optional("queryOpts"),
            optional("imageID"),
            optional("archiveID"),
            flag("strict"),
        ],
        list,
    ),
    read("getArchive", &[required("archive_id"), flag("strict")], get),
    read("getImageArchive", &[required("archive_id"), flag("strict")], get_image),
    read("getMavenArchive", &[required("archive_id"), flag("strict")], |_| Ok(Value::Nil)),
    read("getWinArchive", &[required("archive_id"), flag("strict")], |_| Ok(Value::Nil)),
    // What is in an archive is not looked at.
    read("listArchiveFiles", &[required("archive_id"), optional("queryOpts"), flag("strict")], list_files),
    read("getArchiveFile", &[required("archive_id"), required("filename"), flag("strict")], |_| Ok(Value::Nil)),
    read("getBuildroot", &[required("buildrootID"), flag("strict")], get_buildroot),
    read(
        "listBuildroots",
        &[
            optional("hostID"),
            optional("tagID"),
            optional("state"),
            optional("rpmID"),
            optional("archiveID"),
            optional("taskID"),
            optional("buildrootID"),
            optional("repoID"),
            optional("queryOpts"),
        ],
        list_buildroots,
    ),
];

const ARCHIVE: &[Column] = &[
    column("id", "a.id", Kind::Int),
    column("type_id", "a.type_id", Kind::Int),
    column("btype_id", "a.btype_id", Kind::Int),
    column("btype", "btype.name", Kind::Text),
    column("build_id", "a.build_id", Kind::Int),
    column("buildroot_id", "a.buildroot_id", Kind::Int),
    column("filename", "a.filename", Kind::Text),
    column("size", "a.size", Kind::Int),
    column("checksum", "a.checksum", Kind::Text),
    column("checksum_type", "a.checksum_type", Kind::Int),
    column("metadata_only", "a.metadata_only", Kind::Bool),
    column("extra", "a.extra", Kind::Json),
    column("type_name", "t.name", Kind::Text),
    column("type_description", "t.description", Kind::Text),
    column("type_extensions", "t.extensions", Kind::Text),
    column("compression_type", "t.compression_type", Kind::Text),
];

const FROM: &str = "archiveinfo a JOIN archivetypes t ON t.id = a.type_id JOIN btype ON btype.id = a.btype_id";

fn list(call: &mut Call<'_>) -> Answer {
    let mut query = Query::new(ARCHIVE, FROM)
        .bind_some("a.build_id = ?", call.int_or_nil("buildID")?)
        .bind_some("a.buildroot_id = ?", call.int_or_nil("buildrootID")?)
        .bind_some("a.filename = ?", call.str_or_nil("filename")?.map(str::to_owned))
        .bind_some("a.size = ?", call.int_or_nil("size")?)
        .bind_some("a.checksum = ?", call.str_or_nil("checksum")?.map(str::to_owned))
        .bind_some("a.checksum_type = ?", call.int_or_nil("checksum_type")?)
        .bind_some("a.id = ?", call.int_or_nil("archiveID")?)
        .order("a.id");
    if let Some(id) = call.int_or_nil("componentBuildrootID")? {
        query = query
            .join("JOIN buildroot_archives ON buildroot_archives.archive_id = a.id")
            .bind("buildroot_archives.buildroot_id = ?", id)
            .column(column("component_buildroot_id", "buildroot_archives.buildroot_id", Kind::Int))
            .column(column("project", "buildroot_archives.project_dep", Kind::Bool));
    }
    if let Some(id) = call.int_or_nil("imageID")? {
        query = query
            .join("JOIN archive_components ON archive_components.component_id = a.id")
            .bind("archive_components.archive_id = ?", id);
    }
    if !call.value("hostID").is_nil() {
        // No archive of ours was built by Koji itself.
        query = query.filter("0");
    }
    if let Some(name) = call.str_or_nil("type")? {
        query = of_type(call, query, name)?;
    }
    let answer = query.answer(call.tx, &QueryOpts::read(call.value("queryOpts"))?)?;
    if call.flag("strict") && !answer.is_true() {
        return Err(refused("No archives found."));
    }
    Ok(answer)
}

fn of_type(call: &Call<'_>, query: Query, name: &str) -> Result<Query, CallError> {
    let id = crate::tagging::btype_id(call.tx, name)?;
    let id = id.ok_or_else(|| refused(format!("unsupported archive type: {name}")))?;
    let mut query = query.bind("a.btype_id = ?", id);
    let info = call.members_or_nil("typeInfo")?;
    if name == "image" {
        query = query.column(column("arch", "a.arch", Kind::Text));
        if let Some(arch) = info.and_then(|info| info.get("arch")).and_then(Value::as_str) {
            query = query.bind("a.arch = ?", arch.to_owned());
        }
    } else if info.is_some_and(|info| !info.is_empty()) {
        return Err(refused(format!("typeInfo queries not supported for type {name}")));
    }
    Ok(query)
}

fn find(tx: &Transaction<'_>, id: i64) -> Result<Option<Struct>, CallError> {
    Query::new(ARCHIVE, FROM).bind("a.id = ?", id).first(tx)
}

fn no_such_archive(id: i64) -> CallError {
    refused(format!("No such archive: {id}"))
}

/// What an image's archive has besides: its arch, and whether RPM packages in it are known.
fn image_members(tx: &Transaction<'_>, id: i64) -> Result<Struct, CallError> {
    let sql = "SELECT arch, EXISTS (SELECT 1 FROM archive_rpm_components WHERE archive_id = archiveinfo.id)
               FROM archiveinfo WHERE id = ? AND arch IS NOT NULL";
    let found: Option<(String, bool)> =
        tx.prepare_cached(sql)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let mut members = Struct::new();
    if let Some((arch, rootid)) = found {
        members.insert("arch".to_owned(), arch.into());
        members.insert("rootid".to_owned(), rootid.into());
    }
    Ok(members)
}

fn get(call: &mut Call<'_>) -> Answer {
    let id = call.int("archive_id")?;
    match find(call.tx, id)? {
        None if call.flag("strict") => Err(no_such_archive(id)),
        None => Ok(Value::Nil),
        Some(mut archive) => {
            archive.extend(image_members(call.tx, id)?);
            Ok(Value::Struct(archive))
        }
    }
}

fn get_image(call: &mut Call<'_>) -> Answer {
    let id = call.int("archive_id")?;
    let mut members = image_members(call.tx, id)?;
    if members.is_empty() {
        return if call.flag("strict") { Err(no_such_archive(id)) } else { Ok(Value::Nil) };
    }
    members.insert("archive_id".to_owned(), id.into());
    Ok(Value::Struct(members))
}

fn list_files(call: &mut Call<'_>) -> Answer {
    let id = call.int("archive_id")?;
    if call.flag("strict") && find(call.tx, id)?.is_none() {
        return Err(no_such_archive(id));
    }
    Ok(Value::Array(Vec::new()))
}

/// A buildroot of a content generator; what only Koji's own buildroots have is nil.
const BUILDROOT: &[Column] = &[
    column("id", "b.id", Kind::Int),
    column("br_type", "1", Kind::Int),
    column("cg_id", "b.cg_id", Kind::Int),
    column("cg_name", "content_generator.name", Kind::Text),
    column("cg_version", "b.cg_version", Kind::Text),
    column("container_arch", "b.container_arch", Kind::Text),
    column("container_type", "b.container_type", Kind::Text),
    column("host_os", "b.host_os", Kind::Text),
    column("host_arch", "b.host_arch", Kind::Text),
    column("extra", "b.extra", Kind::Json),
    column("arch", "b.container_arch", Kind::Text),
    column("host_id", "NULL", Kind::Int),
    column("host_name", "NULL", Kind::Text),
    column("tag_id", "NULL", Kind::Int),
    column("tag_name", "NULL", Kind::Text),
    column("repo_id", "NULL", Kind::Int),
    column("repo_state", "NULL", Kind::Int),
    column("task_id", "NULL", Kind::Int),
    column("state", "NULL", Kind::Int),
    column("create_event_id", "NULL", Kind::Int),
    column("create_event_time", "NULL", Kind::Time),
    column("create_ts", "NULL", Kind::Seconds),
    column("retire_event_id", "NULL", Kind::Int),
    column("retire_event_time", "NULL", Kind::Time),
    column("retire_ts", "NULL", Kind::Seconds),
    column("repo_create_event_id", "NULL", Kind::Int),
    column("repo_create_event_time", "NULL", Kind::Time),
];

fn buildroots() -> Query {
    Query::new(BUILDROOT, "buildroot b JOIN content_generator ON content_generator.id = b.cg_id").order("b.id")
}

fn get_buildroot(call: &mut Call<'_>) -> Answer {
    let id = call.int("buildrootID")?;
    match buildroots().bind("b.id = ?", id).first(call.tx)? {
        None if call.flag("strict") => Err(refused(format!("No such buildroot: {id}"))),
        buildroot => Ok(buildroot.map_or(Value::Nil, Value::Struct)),
    }
}

fn list_buildroots(call: &mut Call<'_>) -> Answer {
    let mut query = buildroots()
        .bind_some("b.id = ?", call.int_or_nil("buildrootID")?)
        .bind_some("b.id IN (SELECT buildroot_id FROM buildroot_listing WHERE rpm_id = ?)", call.int_or_nil("rpmID")?)
        .bind_some(
            "b.id IN (SELECT buildroot_id FROM buildroot_archives WHERE archive_id = ?)",
            call.int_or_nil("archiveID")?,
        );
    // Only Koji's own buildroots have these, and there are none.
    if ["hostID", "tagID", "state", "taskID", "repoID"].iter().any(|name| !call.value(name).is_nil()) {
        query = query.filter("0");
    }
    query.answer(call.tx, &QueryOpts::read(call.value("queryOpts"))?)
}
