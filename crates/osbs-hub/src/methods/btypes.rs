//! Types of builds and of archives.

use super::{Answer, Method, read, write};
use crate::call::{Call, check_new_name};
use crate::call_error::{CallError, refused, wrong_parameter};
use crate::parameters::{flag, optional, required};
use crate::role::Role;
use crate::rows::{Column, Kind, Query, QueryOpts, column};
use osbs_koji::{Struct, Value};
use rusqlite::{Transaction, params};

const ADMIN: Role = Role::Permission("admin");

pub(crate) const METHODS: &[Method] = &[
    read("listBTypes", &[optional("query"), optional("queryOpts")], list),
    write("addBType", ADMIN, &[required("name")], add),
    read("getArchiveTypes", &[], get_archive_types),
    read(
        "getArchiveType",
        &[optional("filename"), optional("type_name"), optional("type_id"), flag("strict")],
        get_archive_type,
    ),
    write(
        "addArchiveType",
        ADMIN,
        &[required("name"), required("description"), required("extensions"), optional("compression_type")],
        add_archive_type,
    ),
];

const ARCHIVE_TYPE: &[Column] = &[
    column("id", "id", Kind::Int),
    column("name", "name", Kind::Text),
    column("description", "description", Kind::Text),
    column("extensions", "extensions", Kind::Text),
    column("compression_type", "compression_type", Kind::Text),
];

fn list(call: &mut Call<'_>) -> Answer {
    let mut query =
        Query::new(&[column("id", "id", Kind::Int), column("name", "name", Kind::Text)], "btype").order("id");
    if let Some(members) = call.members_or_nil("query")? {
        for (name, value) in members {
            query = match (name.as_str(), value) {
                ("name", Value::String(name)) => query.bind("name = ?", name.clone()),
                ("id", Value::Int(id)) => query.bind("id = ?", *id),
                _ => return Err(refused(format!("Invalid query: {name}"))),
            };
        }
    }
    query.answer(call.tx, &QueryOpts::read(call.value("queryOpts"))?)
}

fn add(call: &mut Call<'_>) -> Answer {
    let name = call.new_name("name")?;
    if call.tx.prepare_cached("SELECT 1 FROM btype WHERE name = ?")?.exists([name])? {
        return Err(refused(format!("btype already exists: {name}")));
    }
    call.tx.execute("INSERT INTO btype (name) VALUES (?)", [name])?;
    Ok(Value::Nil)
}

fn get_archive_types(call: &mut Call<'_>) -> Answer {
    let rows = Query::new(ARCHIVE_TYPE, "archivetypes").order("id").rows(call.tx)?;
    Ok(Value::Array(rows.into_iter().map(Value::Struct).collect()))
}

/// The archive type that a file's name says: the shortest suffix that belongs to one (client-and-koji 6.2).
///
/// # Errors
/// The database failed.
pub(crate) fn archive_type_of(tx: &Transaction<'_>, filename: &str) -> Result<Option<Struct>, CallError> {
    let types = Query::new(ARCHIVE_TYPE, "archivetypes").order("id").rows(tx)?;
    let parts: Vec<&str> = filename.split('.').collect();
    for start in (1..parts.len()).rev() {
        let suffix = parts[start..].join(".").to_lowercase();
        let has = |one: &&Struct| {
            one["extensions"].as_str().is_some_and(|extensions| extensions.split(' ').any(|known| known == suffix))
        };
        if let Some(found) = types.iter().find(has) {
            return Ok(Some(found.clone()));
        }
    }
    Ok(None)
}

fn get_archive_type(call: &mut Call<'_>) -> Answer {
    let (filename, name, id) =
        (call.str_or_nil("filename")?, call.str_or_nil("type_name")?, call.int_or_nil("type_id")?);
    let query = Query::new(ARCHIVE_TYPE, "archivetypes");
    let found = match (filename, name, id) {
        (Some(filename), _, _) => archive_type_of(call.tx, filename)?,
        (_, Some(name), _) => query.bind("name = ?", name.to_owned()).first(call.tx)?,
        (_, _, Some(id)) => query.bind("id = ?", id).first(call.tx)?,
        _ => return Err(wrong_parameter("one of filename, type_name and type_id must be given")),
    };
    match found {
        Some(found) => Ok(Value::Struct(found)),
        None if call.flag("strict") => Err(refused("unsupported file extension or archive type")),
        None => Ok(Value::Nil),
    }
}

fn add_archive_type(call: &mut Call<'_>) -> Answer {
    let name = call.new_name("name")?;
    let description = call.str("description")?;
    let compression = call.str_or_nil("compression_type")?;
    if !matches!(compression, None | Some("zip" | "tar")) {
        return Err(refused("compression_type must be zip, tar or nothing"));
    }
    let extensions: Vec<String> = call.str("extensions")?.split_whitespace().map(str::to_lowercase).collect();
    if extensions.is_empty() {
        return Err(refused("an archive type needs extensions"));
    }
    for extension in &extensions {
        check_new_name("extension", extension)?;
    }
    if call.tx.prepare_cached("SELECT 1 FROM archivetypes WHERE name = ?")?.exists([name])? {
        return Err(refused(format!("archivetype {name} already exists")));
    }
    for known in Query::new(ARCHIVE_TYPE, "archivetypes").rows(call.tx)? {
        let theirs = known["extensions"].as_str().unwrap_or_default();
        if let Some(taken) = theirs.split(' ').find(|theirs| extensions.iter().any(|ours| ours == theirs)) {
            return Err(refused(format!("file extension {taken} already belongs to another archive type")));
        }
    }
    call.tx.execute(
        "INSERT INTO archivetypes (name, description, extensions, compression_type) VALUES (?, ?, ?, ?)",
        params![name, description, extensions.join(" "), compression],
    )?;
    Ok(Value::Nil)
}
