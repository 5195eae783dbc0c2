//! Tags: what builds are for, and with which architectures.

use super::permissions;
use super::{Answer, Method, read, write};
use crate::call::{Call, Id, check_new_name, id_of};
use crate::call_error::{CallError, refused, wrong_parameter};
use crate::parameters::{Default, Parameter, flag, optional, or, required};
use crate::patterns::checked;
use crate::role::Role;
use crate::rows::{Column, Kind, Query, QueryOpts, column, json_value};
use crate::versions::{held, insert, revoke};
use osbs_koji::{Struct, Value};
use rusqlite::{OptionalExtension as _, Transaction, params};

/// Architectures of a tag or a host, and characters of each: more than anybody has.
const MOST_ARCHES: usize = 64;
const LONGEST_ARCH: usize = 64;

const TAG: Role = Role::Permission("tag");

const CREATE: &[Parameter] = &[
    required("name"),
    optional("parent"),
    optional("arches"),
    optional("perm"),
    flag("locked"),
    flag("maven_support"),
    flag("maven_include_all"),
    optional("extra"),
];

const EDIT: &[Parameter] = &[
    required("tagInfo"),
    optional("name"),
    optional("arches"),
    optional("locked"),
    optional("perm"),
    optional("perm_id"),
    optional("maven_support"),
    optional("maven_include_all"),
    optional("extra"),
    optional("remove_extra"),
    optional("block_extra"),
];

pub(crate) const METHODS: &[Method] = &[
    write("createTag", TAG, CREATE, create),
    write("editTag2", TAG, EDIT, edit),
    write("deleteTag", TAG, &[required("tagInfo")], delete),
    read("getTag", &[required("tagInfo"), flag("strict"), optional("event"), flag("blocked")], get),
    read("getTagID", &[required("info"), flag("strict"), flag("create")], get_id),
    read(
        "listTags",
        &[
            optional("build"),
            optional("package"),
            or("perms", Default::Bool(true)),
            optional("queryOpts"),
            optional("pattern"),
        ],
        list,
    ),
    // Neither are kept here.
    read("getTagGroups", &[required("tag"), optional("event"), or("options", Default::NamedRest)], |_| nothing()),
    read("getTagExternalRepos", &[optional("tag_info"), optional("repo_info"), optional("event")], |_| nothing()),
    read("getExternalRepoList", &[required("tag_info"), optional("event")], |_| nothing()),
    read(
        "getRepo",
        &[required("tag"), optional("state"), optional("event"), flag("dist"), optional("min_event")],
        |_| Ok(Value::Nil),
    ),
    read("mavenEnabled", &[], |_| Ok(false.into())),
    read("winEnabled", &[], |_| Ok(false.into())),
];

#[expect(clippy::unnecessary_wraps, reason = "what a handler gives")]
fn nothing() -> Answer {
    Ok(Value::Array(Vec::new()))
}

const COLUMNS: &[Column] = &[
    column("id", "tag.id", Kind::Int),
    column("name", "tag.name", Kind::Text),
    column("perm_id", "tag_config.perm_id", Kind::Int),
    column("perm", "permissions.name", Kind::Text),
    column("arches", "tag_config.arches", Kind::Text),
    column("locked", "tag_config.locked", Kind::Bool),
    column("maven_support", "tag_config.maven_support", Kind::Bool),
    column("maven_include_all", "tag_config.maven_include_all", Kind::Bool),
];

const FROM: &str =
    "tag JOIN tag_config ON tag_config.tag_id = tag.id LEFT JOIN permissions ON permissions.id = perm_id";

/// A tag as `getTag` gives it, without `extra`.
///
/// # Errors
/// The database failed.
pub(crate) fn find(tx: &Transaction<'_>, id: &Id, event: Option<i64>) -> Result<Option<Struct>, CallError> {
    let query = Query::new(COLUMNS, FROM).filter(&held("tag_config", event));
    match id {
        Id::Number(id) => query.bind("tag.id = ?", *id),
        Id::Name(name) => query.bind("tag.name = ?", name.clone()),
    }
    .first(tx)
}

/// The id of a tag that must exist now.
///
/// # Errors
/// 1000: it does not.
pub(crate) fn id_of_tag(tx: &Transaction<'_>, id: &Id) -> Result<i64, CallError> {
    let tag = find(tx, id, None)?.and_then(|tag| tag["id"].as_int());
    tag.ok_or_else(|| no_such_tag(id))
}

/// 1000 for a tag that does not exist.
pub(crate) fn no_such_tag(id: &Id) -> CallError {
    match id {
        Id::Number(id) => refused(format!("No such tagInfo: {id}")),
        Id::Name(name) => refused(format!("No such tagInfo: '{name}'")),
    }
}

/// A tag with its options; blocked ones are left out unless wanted, and then stand as `[true, null]`.
///
/// # Errors
/// The database failed.
pub(crate) fn with_extra(
    tx: &Transaction<'_>,
    mut tag: Struct,
    event: Option<i64>,
    blocked: bool,
) -> Result<Struct, CallError> {
    let id = tag["id"].as_int().unwrap_or_default();
    let sql =
        format!("SELECT key, value FROM tag_extra WHERE tag_id = ? AND {} ORDER BY key", held("tag_extra", event));
    let mut statement = tx.prepare_cached(&sql)?;
    let mut rows = statement.query([id])?;
    let mut extra = Struct::new();
    while let Some(row) = rows.next()? {
        let (key, value): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        let value = value.as_deref().map(json_value);
        match (value, blocked) {
            (Some(value), true) => drop(extra.insert(key, Value::Array(vec![false.into(), value]))),
            (Some(value), false) => drop(extra.insert(key, value)),
            (None, true) => drop(extra.insert(key, Value::Array(vec![true.into(), Value::Nil]))),
            (None, false) => {}
        }
    }
    tag.insert("extra".to_owned(), Value::Struct(extra));
    Ok(tag)
}

/// Architectures with one space between, as text; nil is none.
///
/// # Errors
/// 1000: one is no word of letters, digits, `_` and `-`.
pub(crate) fn arches_of(what: &str, value: &Value) -> Result<Option<String>, CallError> {
    let words: Vec<&str> = match value {
        Value::Nil => return Ok(None),
        Value::String(text) => text.split([' ', ',']).filter(|word| !word.is_empty()).collect(),
        Value::Array(items) => {
            let texts = items.iter().map(|item| item.as_str().ok_or_else(|| wrong_arches(what, item)));
            texts.collect::<Result<_, _>>()?
        }
        other => return Err(wrong_arches(what, other)),
    };
    if words.len() > MOST_ARCHES {
        return Err(refused(format!("at most {MOST_ARCHES} architectures")));
    }
    for word in &words {
        let fits = word.chars().all(|character| character.is_ascii_alphanumeric() || "_-".contains(character));
        if !fits || word.is_empty() || word.len() > LONGEST_ARCH {
            return Err(refused(format!("Architecture must contain only letters, digits, _ and -: {word:?}")));
        }
    }
    Ok(Some(words.join(" ")))
}

fn wrong_arches(what: &str, value: &Value) -> CallError {
    wrong_parameter(format!("Invalid type for argument {what}: {} where architectures must be", value.type_name()))
}

fn perm_id(call: &Call<'_>, value: &Value) -> Result<Option<i64>, CallError> {
    if value.is_nil() {
        return Ok(None);
    }
    let wanted = id_of("perm", value)?;
    let found = permissions::find(call.tx, &wanted)?;
    found.map(Some).ok_or_else(|| refused(format!("No such permission in system: {wanted}")))
}

fn create(call: &mut Call<'_>) -> Answer {
    let name = call.str("name")?.to_owned();
    check_new_name("tag", &name)?;
    if find(call.tx, &Id::Name(name.clone()), None)?.is_some() {
        return Err(refused(format!("tag already exists: {name}")));
    }
    let parent = match call.id_or_nil("parent")? {
        None => None,
        Some(parent) => Some(
            find(call.tx, &parent, None)?
                .and_then(|tag| tag["id"].as_int())
                .ok_or_else(|| refused(format!("Parent tag '{parent}' could not be found")))?,
        ),
    };
    let arches = arches_of("arches", call.value("arches"))?.unwrap_or_default();
    let perm = perm_id(call, call.value("perm"))?;
    // A tag that was deleted takes its history up again.
    let known: Option<i64> =
        call.tx.query_row("SELECT id FROM tag WHERE name = ?", [&name], |row| row.get(0)).optional()?;
    let id = if let Some(id) = known {
        id
    } else {
        call.tx.execute("INSERT INTO tag (name) VALUES (?)", [&name])?;
        call.tx.last_insert_rowid()
    };
    let (locked, maven, all) = (call.flag("locked"), call.flag("maven_support"), call.flag("maven_include_all"));
    insert(
        call,
        "tag_config",
        &[
            ("tag_id", &id),
            ("arches", &arches),
            ("perm_id", &perm),
            ("locked", &locked),
            ("maven_support", &maven),
            ("maven_include_all", &all),
        ],
    )?;
    if let Some(extra) = call.members_or_nil("extra")? {
        set_extra(call, id, extra)?;
    }
    if let Some(parent) = parent {
        super::inheritance::add_parent(call, id, parent)?;
    }
    Ok(id.into())
}

fn set_extra(call: &Call<'_>, tag: i64, extra: &Struct) -> Result<(), CallError> {
    for (key, value) in extra {
        if key.is_empty() || key.len() > 256 {
            return Err(refused("the key of a tag option must have 1 to 256 characters"));
        }
        let text = value.to_json().to_string();
        let same = call
            .tx
            .prepare_cached(
                "SELECT 1 FROM tag_extra WHERE tag_id = ? AND key = ? AND value = ? AND revoke_event IS NULL",
            )?
            .exists(params![tag, key, text])?;
        if !same {
            revoke(call, "tag_extra", "tag_id = ? AND key = ?", &[&tag, key])?;
            insert(call, "tag_extra", &[("tag_id", &tag), ("key", key), ("value", &text)])?;
        }
    }
    Ok(())
}

fn edit(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("tagInfo")?;
    let tag = find(call.tx, &wanted, None)?.ok_or_else(|| no_such_tag(&wanted))?;
    let id = tag["id"].as_int().unwrap_or_default();
    if let Some(name) = call.str_or_nil("name")?.filter(|name| tag["name"].as_str() != Some(name)) {
        check_new_name("tag", name)?;
        if find(call.tx, &Id::Name(name.to_owned()), None)?.is_some() {
            return Err(refused(format!("Name {name} already taken by another tag")));
        }
        call.tx.execute("UPDATE tag SET name = ? WHERE id = ?", params![name, id])?;
    }
    edit_config(call, id, &tag)?;
    for (option, blocks) in [("remove_extra", false), ("block_extra", true)] {
        for key in call.array_or_nil(option)?.unwrap_or_default() {
            let key = key.as_str().ok_or_else(|| wrong_parameter(format!("{option} must hold strings")))?;
            let there = revoke(call, "tag_extra", "tag_id = ? AND key = ?", &[&id, &key])? > 0;
            if blocks {
                insert(call, "tag_extra", &[("tag_id", &id), ("key", &key)])?;
            } else if !there {
                return Err(refused(format!("Tag {wanted} doesn't have extra option: {key}")));
            }
        }
    }
    if let Some(extra) = call.members_or_nil("extra")? {
        set_extra(call, id, extra)?;
    }
    Ok(Value::Nil)
}

fn edit_config(call: &Call<'_>, id: i64, tag: &Struct) -> Result<(), CallError> {
    let arches = if call.value("arches").is_nil() {
        tag["arches"].as_str().map(str::to_owned)
    } else {
        arches_of("arches", call.value("arches"))?
    };
    let perm = ["perm", "perm_id"].into_iter().find(|name| call.is_given(name));
    let perm = match perm {
        // The stock client says with an empty text that none is needed.
        Some(name) if call.value(name).as_str() == Some("") => None,
        Some(name) => perm_id(call, call.value(name))?,
        None => tag["perm_id"].as_int(),
    };
    let flag = |name: &str| call.flag_or_nil(name).unwrap_or_else(|| tag[name].is_true());
    let (locked, maven, all) = (flag("locked"), flag("maven_support"), flag("maven_include_all"));
    let same = arches.as_deref() == tag["arches"].as_str()
        && perm == tag["perm_id"].as_int()
        && [locked, maven, all] == ["locked", "maven_support", "maven_include_all"].map(|name| tag[name].is_true());
    if same {
        return Ok(());
    }
    revoke(call, "tag_config", "tag_id = ?", &[&id])?;
    insert(
        call,
        "tag_config",
        &[
            ("tag_id", &id),
            ("arches", &arches),
            ("perm_id", &perm),
            ("locked", &locked),
            ("maven_support", &maven),
            ("maven_include_all", &all),
        ],
    )
}

fn delete(call: &mut Call<'_>) -> Answer {
    let id = id_of_tag(call.tx, &call.id("tagInfo")?)?;
    for table in ["tag_config", "tag_extra", "tag_packages", "tag_package_owners"] {
        revoke(call, table, "tag_id = ?", &[&id])?;
    }
    revoke(call, "tag_inheritance", "tag_id = ?1 OR parent_id = ?1", &[&id])?;
    revoke(call, "build_target_config", "build_tag = ?1 OR dest_tag = ?1", &[&id])?;
    revoke(call, "tag_listing", "tag_id = ?", &[&id])?;
    Ok(Value::Nil)
}

fn get(call: &mut Call<'_>) -> Answer {
    let (wanted, mut event) = (call.id("tagInfo")?, None);
    match call.value("event") {
        Value::Nil => {}
        Value::Int(at) => event = Some(*at),
        // The last moment at which it existed.
        Value::String(text) if text == "auto" => event = last_event_of(call.tx, &wanted)?,
        other => return Err(crate::call::wrong_type("event", "an event", other)),
    }
    match find(call.tx, &wanted, event)? {
        Some(tag) => Ok(Value::Struct(with_extra(call.tx, tag, event, call.flag("blocked"))?)),
        None if call.flag("strict") => Err(no_such_tag(&wanted)),
        None => Ok(Value::Nil),
    }
}

fn last_event_of(tx: &Transaction<'_>, id: &Id) -> Result<Option<i64>, CallError> {
    if find(tx, id, None)?.is_some() {
        return Ok(None);
    }
    let condition = match id {
        Id::Number(_) => "tag.id = ?",
        Id::Name(_) => "tag.name = ?",
    };
    let sql = format!("SELECT max(revoke_event) - 1 FROM tag JOIN tag_config ON tag_id = tag.id WHERE {condition}");
    let mut statement = tx.prepare_cached(&sql)?;
    Ok(match id {
        Id::Number(id) => statement.query_row([id], |row| row.get(0))?,
        Id::Name(name) => statement.query_row([name], |row| row.get(0))?,
    })
}

fn get_id(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("info")?;
    match find(call.tx, &wanted, None)? {
        Some(tag) => Ok(tag["id"].clone()),
        None if call.flag("strict") => Err(no_such_tag(&wanted)),
        None => Ok(Value::Nil),
    }
}

fn list(call: &mut Call<'_>) -> Answer {
    let mut query = Query::new(COLUMNS, FROM).filter(&held("tag_config", None)).order("tag.id");
    if !call.value("build").is_nil() {
        let build = crate::builds::get_id(call.tx, call.value("build"))?;
        query =
            query.bind("tag.id IN (SELECT tag_id FROM tag_listing WHERE build_id = ? AND revoke_event IS NULL)", build);
    }
    if let Some(package) = call.id_or_nil("package")? {
        let package = super::packages::id_of_package(call.tx, &package)?;
        query = query
            .join(
                "JOIN tag_packages ON tag_packages.tag_id = tag.id AND tag_packages.revoke_event IS NULL
                 LEFT JOIN tag_package_owners ON tag_package_owners.tag_id = tag.id
                      AND tag_package_owners.package_id = tag_packages.package_id
                      AND tag_package_owners.revoke_event IS NULL
                 LEFT JOIN users ON users.id = tag_package_owners.owner",
            )
            .column(column("owner_id", "users.id", Kind::Int))
            .column(column("owner_name", "users.name", Kind::Text))
            .column(column("blocked", "tag_packages.blocked", Kind::Bool))
            .column(column("extra_arches", "tag_packages.extra_arches", Kind::Text))
            .bind("tag_packages.package_id = ?", package);
    }
    if let Some(pattern) = call.str_or_nil("pattern")? {
        query = query.bind("tag.name GLOB ?", checked(pattern)?);
    }
    query.answer(call.tx, &QueryOpts::read(call.value("queryOpts"))?)
}
