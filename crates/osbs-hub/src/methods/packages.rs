//! Packages, and which of them a tag takes.

use super::{Answer, Method, read, write};
use super::{inheritance, tags, users};
use crate::call::{Call, Id, check_new_name};
use crate::call_error::{CallError, fault, refused};
use crate::parameters::{Default, Parameter, flag, optional, or, required};
use crate::patterns::starts_with;
use crate::role::Role;
use crate::rows::{Column, Kind, Query, QueryOpts, column};
use crate::versions::{held, insert, revoke};
use osbs_koji::{FaultCode, Struct, Value};
use regex::Regex;
use rusqlite::{OptionalExtension as _, Transaction};
use std::collections::HashSet;

const TAG: Role = Role::Permission("tag");

const ADD: &[Parameter] = &[
    required("taginfo"),
    required("pkginfo"),
    optional("owner"),
    optional("block"),
    optional("extra_arches"),
    flag("force"),
    flag("update"),
];

const LIST: &[Parameter] = &[
    optional("tagID"),
    optional("userID"),
    optional("pkgID"),
    optional("prefix"),
    flag("inherited"),
    flag("with_dups"),
    optional("event"),
    optional("queryOpts"),
    or("with_owners", Default::Bool(true)),
    or("with_blocked", Default::Bool(true)),
];

pub(crate) const METHODS: &[Method] = &[
    write("packageListAdd", TAG, ADD, list_add),
    write("packageListRemove", TAG, &[required("taginfo"), required("pkginfo"), flag("force")], list_remove),
    write("packageListBlock", TAG, &[required("taginfo"), required("pkginfo"), flag("force")], |call| {
        set_blocked(call, true)
    }),
    write("packageListUnblock", TAG, &[required("taginfo"), required("pkginfo"), flag("force")], |call| {
        set_blocked(call, false)
    }),
    write(
        "packageListSetOwner",
        TAG,
        &[required("taginfo"), required("pkginfo"), required("owner"), flag("force")],
        set_owner,
    ),
    write(
        "packageListSetArches",
        TAG,
        &[required("taginfo"), required("pkginfo"), required("arches"), flag("force")],
        set_arches,
    ),
    read("getPackage", &[required("info"), flag("strict"), flag("create")], get),
    read("getPackageID", &[required("name"), flag("strict")], get_id),
    read("getPackageConfig", &[required("tag"), required("pkg"), optional("event")], get_config),
    read("listPackages", LIST, list),
    read("listPackagesSimple", &[optional("prefix"), optional("queryOpts")], list_simple),
    read("checkTagPackage", &[required("tag"), required("pkg")], check),
];

const PACKAGE: &[Column] =
    &[column("package_id", "package.id", Kind::Int), column("package_name", "package.name", Kind::Text)];

const LISTED: &[Column] = &[
    column("package_id", "package.id", Kind::Int),
    column("package_name", "package.name", Kind::Text),
    column("tag_id", "tag.id", Kind::Int),
    column("tag_name", "tag.name", Kind::Text),
    column("extra_arches", "tag_packages.extra_arches", Kind::Text),
    column("blocked", "tag_packages.blocked", Kind::Bool),
];

/// A package's id.
///
/// # Errors
/// The database failed.
pub(crate) fn find(tx: &Transaction<'_>, id: &Id) -> Result<Option<i64>, CallError> {
    Ok(match id {
        Id::Number(id) => tx.prepare_cached("SELECT id FROM package WHERE id = ?")?.query_row([id], |row| row.get(0)),
        Id::Name(name) => {
            tx.prepare_cached("SELECT id FROM package WHERE name = ?")?.query_row([name], |row| row.get(0))
        }
    }
    .optional()?)
}

/// The id of a package that must exist.
///
/// # Errors
/// 1000: it does not.
pub(crate) fn id_of_package(tx: &Transaction<'_>, id: &Id) -> Result<i64, CallError> {
    find(tx, id)?.ok_or_else(|| refused(format!("No such package: {id}")))
}

/// A filter of packages' names: matched from the beginning of the name, as Koji does.
pub(crate) fn filter(pattern: &str) -> Option<Regex> {
    regex::RegexBuilder::new(&format!("^(?:{pattern})")).size_limit(1 << 20).build().ok()
}

/// The entry of a package in a tag's list, its own or an inherited one; `own` looks at the tag itself only.
///
/// # Errors
/// The database failed.
pub(crate) fn entry(
    tx: &Transaction<'_>,
    tag: i64,
    package: i64,
    event: Option<i64>,
    own: bool,
) -> Result<Option<Struct>, CallError> {
    let wish = Wish { package: Some(package), event, inherited: !own, owners: true, ..Wish::none() };
    Ok(read_lists(tx, Some(tag), &wish)?.into_iter().next())
}

/// What is asked of package lists.
struct Wish<'a> {
    package: Option<i64>,
    user: Option<i64>,
    prefix: Option<&'a str>,
    event: Option<i64>,
    inherited: bool,
    with_dups: bool,
    owners: bool,
    blocked: bool,
}

impl Wish<'_> {
    fn none() -> Self {
        Self {
            package: None,
            user: None,
            prefix: None,
            event: None,
            inherited: false,
            with_dups: false,
            owners: true,
            blocked: true,
        }
    }
}

fn query(tag: Option<i64>, wish: &Wish<'_>) -> Query {
    let event = wish.event;
    let mut query = Query::new(LISTED, "tag_packages")
        .join("JOIN package ON package.id = tag_packages.package_id JOIN tag ON tag.id = tag_packages.tag_id")
        .filter(&held("tag_packages", event))
        .bind_some("tag_packages.package_id = ?", wish.package)
        .bind_some("tag_packages.tag_id = ?", tag)
        .bind_some("package.name GLOB ?", wish.prefix.map(starts_with))
        .order("package.name, tag.id");
    if wish.owners {
        let of_tag = "o.tag_id = tag_packages.tag_id AND o.package_id = tag_packages.package_id";
        query = query
            .join(&format!("LEFT JOIN tag_package_owners o ON {of_tag} AND {}", held("o", event)))
            .join("LEFT JOIN users owner ON owner.id = o.owner")
            .column(column("owner_id", "owner.id", Kind::Int))
            .column(column("owner_name", "owner.name", Kind::Text))
            .bind_some("o.owner = ?", wish.user);
    }
    query
}

/// The lists of a tag and of what it inherits from, or of all tags. The nearest entry of a package counts.
fn read_lists(tx: &Transaction<'_>, tag: Option<i64>, wish: &Wish<'_>) -> Result<Vec<Struct>, CallError> {
    let mut found = query(tag, wish).rows(tx)?;
    if let (Some(tag), true) = (tag, wish.inherited) {
        let mut seen: HashSet<Option<i64>> = found.iter().map(|row| row["package_id"].as_int()).collect();
        for step in inheritance::walk(tx, tag, wish.event, false)? {
            let filters: Vec<Regex> = step.filters.iter().filter_map(|pattern| filter(pattern)).collect();
            for row in query(Some(step.parent()), wish).rows(tx)? {
                let name = row["package_name"].as_str().unwrap_or_default();
                let passes = filters.iter().all(|filter| filter.is_match(name));
                if passes && (seen.insert(row["package_id"].as_int()) || wish.with_dups) {
                    found.push(row);
                }
            }
        }
    }
    if !wish.blocked {
        found.retain(|row| !row["blocked"].is_true());
    }
    Ok(found)
}

/// The tag and the package that a call names.
fn named(call: &Call<'_>) -> Result<(i64, i64), CallError> {
    let tag = tags::id_of_tag(call.tx, &call.id("taginfo")?)?;
    Ok((tag, id_of_package(call.tx, &call.id("pkginfo")?)?))
}

/// Makes a package if it does not exist.
///
/// # Errors
/// The name is unfit for the folder that its builds will lie in.
pub(crate) fn find_or_create(tx: &Transaction<'_>, name: &str) -> Result<i64, CallError> {
    if let Some(id) = find(tx, &Id::Name(name.to_owned()))? {
        return Ok(id);
    }
    // Names with spaces come with imports.
    check_new_name("package", &name.replace(' ', "_"))?;
    if name.contains('/') || name.starts_with('.') {
        return Err(fault(FaultCode::NameValidationError, format!("{name:?} cannot be the name of a package")));
    }
    tx.prepare_cached("INSERT INTO package (name) VALUES (?)")?.execute([name])?;
    Ok(tx.last_insert_rowid())
}

fn list_add(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("taginfo")?;
    let tag = tags::find(call.tx, &wanted, None)?.ok_or_else(|| tags::no_such_tag(&wanted))?;
    let tag = tag["id"].as_int().unwrap_or_default();
    let named = call.id("pkginfo")?;
    let owner = match call.id_or_nil("owner")? {
        Some(owner) => Some(users::id_of(call.tx, &owner)?),
        None => None,
    };
    let package = match (find(call.tx, &named)?, &named) {
        (Some(package), _) => package,
        (None, Id::Name(name)) => find_or_create(call.tx, name)?,
        (None, Id::Number(_)) => return Err(refused(format!("No such package: {named}"))),
    };
    let arches = tags::arches_of("extra_arches", call.value("extra_arches"))?;
    let block = call.flag_or_nil("block");
    let Some(previous) = entry(call.tx, tag, package, None, true)? else {
        if call.flag("update") && !call.flag("force") {
            let text = format!("cannot update: tag {wanted} has no data for package {named}");
            return Err(fault(FaultCode::TagError, text));
        }
        let owner = owner.unwrap_or(call.user()?.user_id);
        let entry = Entry { blocked: block.unwrap_or(false), arches, owner };
        entry.store(call, tag, package)?;
        return Ok(Value::Nil);
    };
    let before = Entry::of(&previous);
    let after = Entry {
        blocked: block.unwrap_or(before.blocked),
        arches: arches.or_else(|| before.arches.clone()),
        owner: owner.unwrap_or(before.owner),
    };
    change(call, tag, package, &before, &after)?;
    Ok(Value::Nil)
}

/// What a tag says of a package.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    blocked: bool,
    arches: Option<String>,
    owner: i64,
}

impl Entry {
    fn of(row: &Struct) -> Self {
        Self {
            blocked: row["blocked"].is_true(),
            arches: row["extra_arches"].as_str().map(str::to_owned),
            owner: row["owner_id"].as_int().unwrap_or_default(),
        }
    }

    fn store(&self, call: &Call<'_>, tag: i64, package: i64) -> Result<(), CallError> {
        self.store_config(call, tag, package)?;
        self.store_owner(call, tag, package)
    }

    fn store_config(&self, call: &Call<'_>, tag: i64, package: i64) -> Result<(), CallError> {
        insert(
            call,
            "tag_packages",
            &[("package_id", &package), ("tag_id", &tag), ("blocked", &self.blocked), ("extra_arches", &self.arches)],
        )
    }

    fn store_owner(&self, call: &Call<'_>, tag: i64, package: i64) -> Result<(), CallError> {
        insert(call, "tag_package_owners", &[("package_id", &package), ("tag_id", &tag), ("owner", &self.owner)])
    }
}

fn change(call: &Call<'_>, tag: i64, package: i64, before: &Entry, after: &Entry) -> Result<(), CallError> {
    if (before.blocked, &before.arches) != (after.blocked, &after.arches) {
        revoke(call, "tag_packages", "tag_id = ? AND package_id = ?", &[&tag, &package])?;
        after.store_config(call, tag, package)?;
    }
    if before.owner != after.owner {
        revoke(call, "tag_package_owners", "tag_id = ? AND package_id = ?", &[&tag, &package])?;
        after.store_owner(call, tag, package)?;
    }
    Ok(())
}

fn list_remove(call: &mut Call<'_>) -> Answer {
    let (tag, package) = named(call)?;
    let in_use = call
        .tx
        .prepare_cached(
            "SELECT 1 FROM tag_listing JOIN build ON build.id = build_id
             WHERE tag_id = ? AND pkg_id = ? AND revoke_event IS NULL",
        )?
        .exists([tag, package])?;
    if in_use && !call.flag("force") {
        return Err(refused("the tag has builds of the package: untag them first"));
    }
    revoke(call, "tag_packages", "tag_id = ? AND package_id = ?", &[&tag, &package])?;
    revoke(call, "tag_package_owners", "tag_id = ? AND package_id = ?", &[&tag, &package])?;
    Ok(Value::Nil)
}

/// Changes what a tag says of a package; what it only inherits becomes its own with the change.
fn alter(call: &Call<'_>, change_entry: impl FnOnce(&mut Entry)) -> Answer {
    let (tag, package) = named(call)?;
    if let Some(row) = entry(call.tx, tag, package, None, true)? {
        let before = Entry::of(&row);
        let mut after = before.clone();
        change_entry(&mut after);
        change(call, tag, package, &before, &after)?;
    } else {
        let row = entry(call.tx, tag, package, None, false)?.ok_or_else(|| not_listed(call))?;
        let mut own = Entry::of(&row);
        change_entry(&mut own);
        own.store(call, tag, package)?;
    }
    Ok(Value::Nil)
}

fn not_listed(call: &Call<'_>) -> CallError {
    let text = |name| call.id(name).map_or_else(|_| String::new(), |id| id.to_string());
    fault(FaultCode::TagError, format!("Package {} not in list for {}", text("pkginfo"), text("taginfo")))
}

fn set_blocked(call: &mut Call<'_>, blocked: bool) -> Answer {
    alter(call, |entry| entry.blocked = blocked)
}

fn set_owner(call: &mut Call<'_>) -> Answer {
    let owner = users::id_of(call.tx, &call.id("owner")?)?;
    alter(call, |entry| entry.owner = owner)
}

fn set_arches(call: &mut Call<'_>) -> Answer {
    let arches = tags::arches_of("arches", call.value("arches"))?;
    alter(call, |entry| entry.arches = arches)
}

fn get(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("info")?;
    let columns = [column("id", "id", Kind::Int), column("name", "name", Kind::Text)];
    let query = Query::new(&columns, "package");
    let found = match &wanted {
        Id::Number(id) => query.bind("id = ?", *id),
        Id::Name(name) => query.bind("name = ?", name.clone()),
    }
    .first(call.tx)?;
    match found {
        Some(package) => Ok(Value::Struct(package)),
        None if call.flag("strict") => Err(refused(format!("No such package: {wanted}"))),
        None => Ok(Value::Nil),
    }
}

fn get_id(call: &mut Call<'_>) -> Answer {
    let wanted = call.id("name")?;
    match find(call.tx, &wanted)? {
        Some(id) => Ok(id.into()),
        None if call.flag("strict") => Err(refused(format!("No such package: {wanted}"))),
        None => Ok(Value::Nil),
    }
}

fn get_config(call: &mut Call<'_>) -> Answer {
    let event = call.int_or_nil("event")?;
    let wanted = call.id("tag")?;
    let tag = tags::find(call.tx, &wanted, event)?.ok_or_else(|| tags::no_such_tag(&wanted))?;
    let Some(package) = find(call.tx, &call.id("pkg")?)? else { return Ok(Value::Nil) };
    Ok(entry(call.tx, tag["id"].as_int().unwrap_or_default(), package, event, false)?.map_or(Value::Nil, Value::Struct))
}

fn list(call: &mut Call<'_>) -> Answer {
    let (tag, user, package) = (call.id_or_nil("tagID")?, call.id_or_nil("userID")?, call.id_or_nil("pkgID")?);
    let (prefix, event) = (call.str_or_nil("prefix")?, call.int_or_nil("event")?);
    let opts = QueryOpts::read(call.value("queryOpts"))?;
    if tag.is_none() && user.is_none() && package.is_none() {
        return Query::new(PACKAGE, "package")
            .bind_some("package.name GLOB ?", prefix.map(starts_with))
            .order("package.name")
            .answer(call.tx, &opts);
    }
    let tag = match tag {
        None => None,
        Some(wanted) => {
            let tag = tags::find(call.tx, &wanted, event)?.ok_or_else(|| tags::no_such_tag(&wanted))?;
            tag["id"].as_int()
        }
    };
    let user = user.map(|user| users::id_of(call.tx, &user)).transpose()?;
    // A package that nobody knows is in no list.
    let package = match package {
        None => None,
        Some(package) => Some(find(call.tx, &package)?.unwrap_or(-1)),
    };
    let wish = Wish {
        package,
        user,
        prefix,
        event,
        inherited: call.flag("inherited"),
        with_dups: call.flag("with_dups"),
        owners: call.flag("with_owners") || user.is_some(),
        blocked: call.flag("with_blocked"),
    };
    if tag.is_none() || !wish.inherited {
        let query = query(tag, &wish);
        let query = if wish.blocked { query } else { query.filter("tag_packages.blocked = 0") };
        return query.answer(call.tx, &opts);
    }
    let rows: Vec<Value> = read_lists(call.tx, tag, &wish)?.into_iter().map(Value::Struct).collect();
    Ok(opts.apply(rows))
}

fn list_simple(call: &mut Call<'_>) -> Answer {
    Query::new(PACKAGE, "package")
        .bind_some("package.name GLOB ?", call.str_or_nil("prefix")?.map(starts_with))
        .order("package.name")
        .answer(call.tx, &QueryOpts::read(call.value("queryOpts"))?)
}

fn check(call: &mut Call<'_>) -> Answer {
    let tag = tags::id_of_tag(call.tx, &call.id("tag")?)?;
    let Some(package) = find(call.tx, &call.id("pkg")?)? else { return Ok(false.into()) };
    let entry = entry(call.tx, tag, package, None, false)?;
    Ok(entry.is_some_and(|entry| !entry["blocked"].is_true()).into())
}
