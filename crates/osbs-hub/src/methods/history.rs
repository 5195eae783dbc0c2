//! What was changed when and by whom: the versioned tables, as `koji list-history` shows them.

use super::{Answer, Method, read};
use super::{content_generators, hosts, packages, permissions, tags, users};
use crate::call::{Call, Id};
use crate::call_error::{CallError, refused, wrong_parameter};
use crate::parameters::{Default, optional, or};
use crate::rows::{Column, Kind, Query, column};
use crate::times::{micros_of, seconds};
use osbs_koji::{Struct, Value};
use rusqlite::OptionalExtension as _;

pub(crate) const METHODS: &[Method] =
    &[read("queryHistory", &[optional("tables"), or("criteria", Default::NamedRest)], query_history)];

/// A versioned table: its columns, and what they stand for.
struct Table {
    name: &'static str,
    join: &'static str,
    columns: &'static [Column],
}

const TABLES: &[Table] = &[
    Table {
        name: "user_perms",
        join: "JOIN users user ON user.id = t.user_id JOIN permissions permission ON permission.id = t.perm_id",
        columns: &[
            column("user_id", "t.user_id", Kind::Int),
            column("user.name", "user.name", Kind::Text),
            column("perm_id", "t.perm_id", Kind::Int),
            column("permission.name", "permission.name", Kind::Text),
        ],
    },
    Table {
        name: "cg_users",
        join: "JOIN users user ON user.id = t.user_id JOIN content_generator ON content_generator.id = t.cg_id",
        columns: &[
            column("user_id", "t.user_id", Kind::Int),
            column("user.name", "user.name", Kind::Text),
            column("cg_id", "t.cg_id", Kind::Int),
            column("content_generator.name", "content_generator.name", Kind::Text),
        ],
    },
    Table {
        name: "tag_inheritance",
        join: "JOIN tag ON tag.id = t.tag_id JOIN tag parent ON parent.id = t.parent_id",
        columns: &[
            column("tag_id", "t.tag_id", Kind::Int),
            column("tag.name", "tag.name", Kind::Text),
            column("parent_id", "t.parent_id", Kind::Int),
            column("parent.name", "parent.name", Kind::Text),
            column("priority", "t.priority", Kind::Int),
            column("maxdepth", "t.maxdepth", Kind::Int),
            column("intransitive", "t.intransitive", Kind::Bool),
            column("noconfig", "t.noconfig", Kind::Bool),
            column("pkg_filter", "t.pkg_filter", Kind::Text),
        ],
    },
    Table {
        name: "tag_config",
        join: "JOIN tag ON tag.id = t.tag_id LEFT JOIN permissions permission ON permission.id = t.perm_id",
        columns: &[
            column("tag_id", "t.tag_id", Kind::Int),
            column("tag.name", "tag.name", Kind::Text),
            column("arches", "t.arches", Kind::Text),
            column("perm_id", "t.perm_id", Kind::Int),
            column("permission.name", "permission.name", Kind::Text),
            column("locked", "t.locked", Kind::Bool),
            column("maven_support", "t.maven_support", Kind::Bool),
            column("maven_include_all", "t.maven_include_all", Kind::Bool),
        ],
    },
    Table {
        name: "tag_extra",
        join: "JOIN tag ON tag.id = t.tag_id",
        columns: &[
            column("tag_id", "t.tag_id", Kind::Int),
            column("tag.name", "tag.name", Kind::Text),
            column("key", "t.key", Kind::Text),
            column("value", "t.value", Kind::Text),
        ],
    },
    Table {
        name: "build_target_config",
        join: "JOIN build_target ON build_target.id = t.build_target_id
               JOIN tag build_tag ON build_tag.id = t.build_tag JOIN tag dest_tag ON dest_tag.id = t.dest_tag",
        columns: &[
            column("build_target_id", "t.build_target_id", Kind::Int),
            column("build_target.name", "build_target.name", Kind::Text),
            column("build_tag", "t.build_tag", Kind::Int),
            column("build_tag.name", "build_tag.name", Kind::Text),
            column("dest_tag", "t.dest_tag", Kind::Int),
            column("dest_tag.name", "dest_tag.name", Kind::Text),
        ],
    },
    Table {
        name: "host_config",
        join: "JOIN host ON host.id = t.host_id",
        columns: &[
            column("host_id", "t.host_id", Kind::Int),
            column("host.name", "host.name", Kind::Text),
            column("arches", "t.arches", Kind::Text),
            column("capacity", "t.capacity", Kind::Double),
            column("description", "t.description", Kind::Text),
            column("comment", "t.comment", Kind::Text),
            column("enabled", "t.enabled", Kind::Bool),
        ],
    },
    Table {
        name: "host_channels",
        join: "JOIN host ON host.id = t.host_id JOIN channels ON channels.id = t.channel_id",
        columns: &[
            column("host_id", "t.host_id", Kind::Int),
            column("host.name", "host.name", Kind::Text),
            column("channel_id", "t.channel_id", Kind::Int),
            column("channels.name", "channels.name", Kind::Text),
        ],
    },
    Table {
        name: "tag_packages",
        join: "JOIN package ON package.id = t.package_id JOIN tag ON tag.id = t.tag_id",
        columns: &[
            column("package_id", "t.package_id", Kind::Int),
            column("package.name", "package.name", Kind::Text),
            column("tag_id", "t.tag_id", Kind::Int),
            column("tag.name", "tag.name", Kind::Text),
            column("blocked", "t.blocked", Kind::Bool),
            column("extra_arches", "t.extra_arches", Kind::Text),
        ],
    },
    Table {
        name: "tag_package_owners",
        join: "JOIN package ON package.id = t.package_id JOIN tag ON tag.id = t.tag_id JOIN users owner ON owner.id = t.owner",
        columns: &[
            column("package_id", "t.package_id", Kind::Int),
            column("package.name", "package.name", Kind::Text),
            column("tag_id", "t.tag_id", Kind::Int),
            column("tag.name", "tag.name", Kind::Text),
            column("owner", "t.owner", Kind::Int),
            column("owner.name", "owner.name", Kind::Text),
        ],
    },
    Table {
        name: "tag_listing",
        join: "JOIN tag ON tag.id = t.tag_id JOIN build ON build.id = t.build_id JOIN package ON package.id = build.pkg_id",
        columns: &[
            column("build_id", "t.build_id", Kind::Int),
            column("name", "package.name", Kind::Text),
            column("version", "build.version", Kind::Text),
            column("release", "build.release", Kind::Text),
            column("epoch", "build.epoch", Kind::Int),
            column("build.state", "build.state", Kind::Int),
            column("tag_id", "t.tag_id", Kind::Int),
            column("tag.name", "tag.name", Kind::Text),
        ],
    },
];

const COMMON: &[Column] = &[
    column("create_event", "t.create_event", Kind::Int),
    column("create_ts", "created.at", Kind::Seconds),
    column("revoke_event", "t.revoke_event", Kind::Int),
    column("revoke_ts", "revoked.at", Kind::Seconds),
    column("creator_id", "t.creator_id", Kind::Int),
    column("creator_name", "creator.name", Kind::Text),
    column("revoker_id", "t.revoker_id", Kind::Int),
    column("revoker_name", "revoker.name", Kind::Text),
    column("active", "t.revoke_event IS NULL", Kind::Bool),
];

const COMMON_JOIN: &str = "JOIN events created ON created.id = t.create_event
     LEFT JOIN events revoked ON revoked.id = t.revoke_event
     LEFT JOIN users creator ON creator.id = t.creator_id LEFT JOIN users revoker ON revoker.id = t.revoker_id";

/// A criterion that is an object of the hub: a column of the tables that know it, and its id.
struct Is {
    column: &'static str,
    id: i64,
}

/// A criterion that a row meets by its creation or by its end; which of them is told in the row.
enum Mark {
    By(i64),
    BeforeEvent(i64),
    AfterEvent(i64),
    /// Microseconds since the epoch.
    Before(i64),
    After(i64),
}

/// What is looked for.
#[derive(std::default::Default)]
struct Search {
    is: Vec<Is>,
    key: Option<String>,
    marks: Vec<Mark>,
    active: Option<bool>,
}

impl Mark {
    /// The ending of the members `_created_...` and `_revoked_...`.
    fn name(&self) -> &'static str {
        match self {
            Self::By(_) => "by",
            Self::BeforeEvent(_) => "before_event",
            Self::AfterEvent(_) => "after_event",
            Self::Before(_) => "before",
            Self::After(_) => "after",
        }
    }

    /// SQL: the creation or the end of `t` meets it. Only integers go into it.
    fn condition(&self) -> String {
        match self {
            Self::By(user) => format!("t.creator_id = {user} OR t.revoker_id = {user}"),
            Self::BeforeEvent(event) => format!("t.create_event < {event} OR t.revoke_event < {event}"),
            Self::AfterEvent(event) => format!("t.create_event > {event} OR t.revoke_event > {event}"),
            Self::Before(at) => format!("created.at < {at} OR revoked.at < {at}"),
            Self::After(at) => format!("created.at > {at} OR revoked.at > {at}"),
        }
    }

    /// Whether the creation, and whether the end meets it.
    fn of(&self, row: &Struct) -> [bool; 2] {
        let events = ["create_event", "revoke_event"].map(|name| row[name].as_int());
        let times = ["create_ts", "revoke_ts"].map(|name| row[name].as_double());
        match self {
            Self::By(user) => ["creator_id", "revoker_id"].map(|name| row[name].as_int() == Some(*user)),
            Self::BeforeEvent(event) => events.map(|one| one.is_some_and(|one| one < *event)),
            Self::AfterEvent(event) => events.map(|one| one.is_some_and(|one| one > *event)),
            Self::Before(at) => times.map(|one| one.is_some_and(|one| one < seconds(*at))),
            Self::After(at) => times.map(|one| one.is_some_and(|one| one > seconds(*at))),
        }
    }
}

fn query_history(call: &mut Call<'_>) -> Answer {
    let wanted = wanted_tables(call)?;
    let search = Search::of(call)?;
    let mut found = Struct::new();
    for table in TABLES {
        let by_name = wanted.as_ref().is_none_or(|names| names.iter().any(|name| name == table.name));
        if by_name && search.concerns(table) {
            let mut rows = search.query(table).order("t.create_event").rows(call.tx)?;
            search.mark(&mut rows);
            // As a real hub does, a table without any is not mentioned.
            if !rows.is_empty() {
                found.insert(table.name.to_owned(), Value::Array(rows.into_iter().map(Value::Struct).collect()));
            }
        }
    }
    Ok(Value::Struct(found))
}

fn wanted_tables(call: &Call<'_>) -> Result<Option<Vec<String>>, CallError> {
    let Some(names) = call.array_or_nil("tables")? else { return Ok(None) };
    let mut wanted = Vec::new();
    for name in names {
        let name = name.as_str().ok_or_else(|| wrong_parameter("tables must be names"))?;
        if !TABLES.iter().any(|table| table.name == name) {
            return Err(refused(format!("Unknown history table: {name}")));
        }
        wanted.push(name.to_owned());
    }
    Ok(Some(wanted))
}

impl Search {
    fn of(call: &Call<'_>) -> Result<Self, CallError> {
        let mut search = Self::default();
        let criteria = call.value("criteria");
        for (name, value) in criteria.as_struct().into_iter().flatten() {
            if !value.is_nil() {
                search.add(call, name, value)?;
            }
        }
        Ok(search)
    }

    fn add(&mut self, call: &Call<'_>, name: &str, value: &Value) -> Result<(), CallError> {
        let tx = call.tx;
        let id = || crate::call::id_of(name, value);
        let mut is = |column, id| self.is.push(Is { column, id });
        match name {
            "tag" => is("tag_id", any_tag(call, &id()?)?),
            "package" => is("package_id", packages::id_of_package(tx, &id()?)?),
            "build" => is("build_id", crate::builds::get_id(tx, value)?),
            "user" => is("user_id", users::id_of(tx, &id()?)?),
            "permission" => {
                is("perm_id", permissions::find(tx, &id()?)?.ok_or_else(|| refused("No such permission"))?);
            }
            "cg" => {
                let found = content_generators::find(tx, &id()?)?;
                is("cg_id", found.ok_or_else(|| refused("No such content generator"))?);
            }
            "host" => is("host_id", hosts::must_find(tx, &id()?)?["id"].as_int().unwrap_or_default()),
            "channel" => {
                is("channel_id", super::channels::must_find(tx, &id()?)?["id"].as_int().unwrap_or_default());
            }
            "build_target" => is("build_target_id", any_target(call, &id()?)?),
            "xkey" => self.key = Some(text(name, value)?.to_owned()),
            "editor" => {
                self.marks.push(Mark::By(users::id_of(tx, &id()?)?));
            }
            "before" => self.marks.push(Mark::Before(time(name, value)?)),
            "after" => self.marks.push(Mark::After(time(name, value)?)),
            "beforeEvent" => self.marks.push(Mark::BeforeEvent(int(name, value)?)),
            "afterEvent" => self.marks.push(Mark::AfterEvent(int(name, value)?)),
            "active" => self.active = Some(value.is_true()),
            // Said by the stock client for itself; and `untag-build` names its package so, which the real hub overlooks.
            "utc" | "pkg" => {}
            "group" | "external_repo" => return Err(refused(format!("this hub keeps no {name}s"))),
            _ => return Err(wrong_parameter(format!("Invalid query option: {name}"))),
        }
        Ok(())
    }

    /// Tells of each row whether its creation or its end was meant.
    fn mark(&self, rows: &mut [Struct]) {
        for row in rows {
            for mark in &self.marks {
                let met = mark.of(row);
                for (what, met) in ["created", "revoked"].into_iter().zip(met) {
                    row.insert(format!("_{what}_{}", mark.name()), met.into());
                }
            }
        }
    }

    /// Whether a table has what is asked about.
    fn concerns(&self, table: &Table) -> bool {
        let has = |name: &str| table.columns.iter().any(|column| column.name == name);
        self.is.iter().all(|is| has(is.column) || (is.column == "user_id" && has("owner")))
            && (self.key.is_none() || has("key"))
    }

    fn query(&self, table: &Table) -> Query {
        let has = |name: &str| table.columns.iter().any(|column| column.name == name);
        let mut query = Query::new(table.columns, &format!("{} t {} {COMMON_JOIN}", table.name, table.join));
        for common in COMMON {
            query = query.column(*common);
        }
        for is in &self.is {
            let column = if has(is.column) { is.column } else { "owner" };
            query = query.bind(&format!("t.{column} = ?"), is.id);
        }
        if let Some(key) = &self.key {
            query = query.bind("t.key = ?", key.clone());
        }
        match self.active {
            Some(true) => query = query.filter("t.revoke_event IS NULL"),
            Some(false) => query = query.filter("t.revoke_event IS NOT NULL"),
            None => {}
        }
        for mark in &self.marks {
            query = query.filter(&mark.condition());
        }
        query
    }
}

fn text<'v>(name: &str, value: &'v Value) -> Result<&'v str, CallError> {
    value.as_str().ok_or_else(|| crate::call::wrong_type(name, "a string", value))
}

fn int(name: &str, value: &Value) -> Result<i64, CallError> {
    value.as_int().ok_or_else(|| crate::call::wrong_type(name, "an integer", value))
}

fn time(name: &str, value: &Value) -> Result<i64, CallError> {
    let micros = value.as_double().and_then(micros_of);
    micros.ok_or_else(|| wrong_parameter(format!("{name} must be seconds since the epoch")))
}

/// A tag's id, also if the tag was deleted: its history goes on.
fn any_tag(call: &Call<'_>, id: &Id) -> Result<i64, CallError> {
    let found: Option<i64> = match id {
        Id::Number(id) => call.tx.query_row("SELECT id FROM tag WHERE id = ?", [id], |row| row.get(0)),
        Id::Name(name) => call.tx.query_row("SELECT id FROM tag WHERE name = ?", [name], |row| row.get(0)),
    }
    .optional()?;
    found.ok_or_else(|| tags::no_such_tag(id))
}

fn any_target(call: &Call<'_>, id: &Id) -> Result<i64, CallError> {
    let found: Option<i64> = match id {
        Id::Number(id) => call.tx.query_row("SELECT id FROM build_target WHERE id = ?", [id], |row| row.get(0)),
        Id::Name(name) => call.tx.query_row("SELECT id FROM build_target WHERE name = ?", [name], |row| row.get(0)),
    }
    .optional()?;
    found.ok_or_else(|| super::targets::no_such_target(id))
}
