//! What a tag has from its parents.

use super::tags;
use super::{Answer, Method, read, write};
use crate::call::{Call, Id, id_of};
use crate::call_error::{CallError, refused, wrong_parameter};
use crate::parameters::{flag, optional, required};
use crate::role::Role;
use crate::versions::{held, insert, revoke};
use osbs_koji::{Struct, Value};
use rusqlite::Transaction;
use std::collections::HashMap;

/// Links that one walk follows at most: many tags may share parents, and none may go round.
const MOST_LINKS: usize = 10_000;

pub(crate) const METHODS: &[Method] = &[
    read("getInheritanceData", &[required("tag"), optional("event")], get_data),
    write("setInheritanceData", Role::Permission("tag"), &[required("tag"), required("data"), flag("clear")], set_data),
    read("getFullInheritance", &[required("tag"), optional("event"), flag("reverse")], get_full),
    read("getBuildConfig", &[required("tag"), optional("event")], get_build_config),
];

/// A parent of a tag.
#[derive(Debug, Clone)]
struct Link {
    child: i64,
    parent: i64,
    /// Of the tag at the far end of the walk.
    name: String,
    priority: i64,
    maxdepth: Option<i64>,
    intransitive: bool,
    noconfig: bool,
    pkg_filter: String,
}

/// A link as a walk comes to it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    link: Link,
    currdepth: i64,
    nextdepth: Option<i64>,
    /// Regular expressions that a package's name must match, of all links up to this one.
    pub filters: Vec<String>,
}

impl Step {
    /// The tag that is inherited from.
    pub(crate) fn parent(&self) -> i64 {
        self.link.parent
    }
}

impl Link {
    fn members(&self) -> Struct {
        let value = Value::members([
            ("parent_id", self.parent.into()),
            ("child_id", self.child.into()),
            ("name", self.name.as_str().into()),
            ("priority", self.priority.into()),
            ("maxdepth", self.maxdepth.into()),
            ("intransitive", self.intransitive.into()),
            ("noconfig", self.noconfig.into()),
            ("pkg_filter", self.pkg_filter.as_str().into()),
        ]);
        if let Value::Struct(members) = value { members } else { Struct::new() }
    }
}

fn links(tx: &Transaction<'_>, tag: i64, event: Option<i64>, reverse: bool) -> Result<Vec<Link>, CallError> {
    let (from, to) = if reverse { ("parent_id", "tag_id") } else { ("tag_id", "parent_id") };
    let sql = format!(
        "SELECT i.tag_id, i.parent_id, tag.name, i.priority, i.maxdepth, i.intransitive, i.noconfig, i.pkg_filter
         FROM tag_inheritance i JOIN tag ON tag.id = i.{to}
         WHERE i.{from} = ? AND {} ORDER BY i.priority, i.tag_id",
        held("i", event)
    );
    let mut statement = tx.prepare_cached(&sql)?;
    let links = statement.query_map([tag], |row| {
        Ok(Link {
            child: row.get(0)?,
            parent: row.get(1)?,
            name: row.get(2)?,
            priority: row.get(3)?,
            maxdepth: row.get(4)?,
            intransitive: row.get(5)?,
            noconfig: row.get(6)?,
            pkg_filter: row.get(7)?,
        })
    })?;
    Ok(links.collect::<Result<_, _>>()?)
}

/// All that a tag inherits from, nearest first, as Koji walks it: in depth first, each tag as often as it is met unless
/// it was met nearer before, which adds nothing.
///
/// # Errors
/// There is too much of it, or the database failed.
pub(crate) fn walk(tx: &Transaction<'_>, tag: i64, event: Option<i64>, reverse: bool) -> Result<Vec<Step>, CallError> {
    let mut walk = Walk { tx, event, reverse, steps: Vec::new(), seen: HashMap::new(), followed: 0 };
    walk.from(tag, &Reach { depth: 0, left: None, transitive: true, config: true, filters: Vec::new() })?;
    Ok(walk.steps)
}

struct Walk<'a> {
    tx: &'a Transaction<'a>,
    event: Option<i64>,
    reverse: bool,
    steps: Vec<Step>,
    /// How far each tag was met with, without filters.
    seen: HashMap<i64, Option<i64>>,
    followed: usize,
}

/// What is left of the way.
struct Reach {
    depth: i64,
    /// Generations that may still be followed; none: all.
    left: Option<i64>,
    /// Whether links that are intransitive are followed.
    transitive: bool,
    config: bool,
    filters: Vec<String>,
}

impl Walk<'_> {
    fn from(&mut self, tag: i64, reach: &Reach) -> Result<(), CallError> {
        for mut link in links(self.tx, tag, self.event, self.reverse)? {
            self.followed += 1;
            if self.followed > MOST_LINKS {
                return Err(refused(format!("the inheritance has more than {MOST_LINKS} links")));
            }
            if link.intransitive && !reach.transitive {
                continue;
            }
            let left = match (reach.left, link.maxdepth) {
                (Some(left), Some(most)) => Some(left.min(most)),
                (left, most) => left.or(most),
            };
            if left.is_some_and(|left| left < 1) {
                continue;
            }
            let next = if self.reverse { link.child } else { link.parent };
            let mut filters = reach.filters.clone();
            if !link.pkg_filter.is_empty() {
                filters.push(link.pkg_filter.clone());
            }
            let onwards = left.map(|left| left - 1);
            // Met before without a filter, and followed as far: it adds nothing.
            let farther = |known: &Option<i64>| match (known, onwards) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(known), Some(onwards)) => onwards > *known,
            };
            if self.seen.get(&next).is_some_and(|known| !farther(known)) {
                continue;
            }
            if filters.is_empty() {
                self.seen.insert(next, onwards);
            }
            link.noconfig |= !reach.config;
            let config = !link.noconfig;
            let depth = reach.depth + 1;
            let step = Step { link, currdepth: depth, nextdepth: onwards, filters: filters.clone() };
            self.steps.push(step);
            if onwards != Some(0) && depth < 100 {
                self.from(next, &Reach { depth, left: onwards, transitive: false, config, filters })?;
            }
        }
        Ok(())
    }
}

fn get_data(call: &mut Call<'_>) -> Answer {
    let (wanted, event) = (call.id("tag")?, call.int_or_nil("event")?);
    let tag = tag_at(call.tx, &wanted, event)?;
    let links = links(call.tx, tag, event, false)?;
    Ok(Value::Array(links.iter().map(|link| Value::Struct(link.members())).collect()))
}

fn tag_at(tx: &Transaction<'_>, id: &Id, event: Option<i64>) -> Result<i64, CallError> {
    tags::find(tx, id, event)?.and_then(|tag| tag["id"].as_int()).ok_or_else(|| tags::no_such_tag(id))
}

fn get_full(call: &mut Call<'_>) -> Answer {
    let (wanted, event) = (call.id("tag")?, call.int_or_nil("event")?);
    let tag = tag_at(call.tx, &wanted, event)?;
    let steps = walk(call.tx, tag, event, call.flag("reverse"))?;
    let describe = |step: &Step| {
        let mut members = step.link.members();
        members.insert("currdepth".to_owned(), step.currdepth.into());
        members.insert("nextdepth".to_owned(), step.nextdepth.into());
        let filters = step.filters.iter().map(Value::from).collect::<Vec<_>>();
        members.insert("filter".to_owned(), Value::Array(filters));
        Value::Struct(members)
    };
    Ok(Value::Array(steps.iter().map(describe).collect()))
}

/// Makes `parent` the first parent of a tag that has none.
///
/// # Errors
/// The database failed.
pub(crate) fn add_parent(call: &Call<'_>, tag: i64, parent: i64) -> Result<(), CallError> {
    let link =
        Wish { parent, priority: 0, maxdepth: None, flags: [false, false], filter: String::new(), delete: false };
    store(call, tag, &link)
}

/// A link as a caller wants it.
struct Wish {
    parent: i64,
    priority: i64,
    maxdepth: Option<i64>,
    /// intransitive, noconfig
    flags: [bool; 2],
    filter: String,
    delete: bool,
}

impl Wish {
    fn of(call: &Call<'_>, value: &Value) -> Result<Self, CallError> {
        let members = value.as_struct().ok_or_else(|| wrong_parameter("data must be a list of structs"))?;
        let parent = id_of("parent_id", members.get("parent_id").unwrap_or(&Value::Nil))?;
        let parent = tags::id_of_tag(call.tx, &parent)?;
        let delete = value.get("delete link").is_true();
        let maxdepth = match value.get("maxdepth") {
            Value::Nil => None,
            Value::Int(depth) => Some(*depth),
            _ => return Err(wrong_parameter("maxdepth must be an integer or nothing")),
        };
        let filter = match value.get("pkg_filter") {
            Value::Nil => String::new(),
            Value::String(filter) => filter.clone(),
            _ => return Err(wrong_parameter("pkg_filter must be a string")),
        };
        if !filter.is_empty() && super::packages::filter(&filter).is_none() {
            return Err(wrong_parameter(format!("pkg_filter is no regular expression: {filter:?}")));
        }
        let priority = if delete { 0 } else { value.int_of("priority")? };
        let flags = [value.get("intransitive").is_true(), value.get("noconfig").is_true()];
        Ok(Self { parent, priority, maxdepth, flags, filter, delete })
    }
}

fn store(call: &Call<'_>, tag: i64, wish: &Wish) -> Result<(), CallError> {
    let [intransitive, noconfig] = wish.flags;
    insert(
        call,
        "tag_inheritance",
        &[
            ("tag_id", &tag),
            ("parent_id", &wish.parent),
            ("priority", &wish.priority),
            ("maxdepth", &wish.maxdepth),
            ("intransitive", &intransitive),
            ("noconfig", &noconfig),
            ("pkg_filter", &wish.filter),
        ],
    )
}

fn set_data(call: &mut Call<'_>) -> Answer {
    let tag = tags::id_of_tag(call.tx, &call.id("tag")?)?;
    let data = match call.value("data") {
        Value::Array(items) => items.as_slice(),
        one @ Value::Struct(_) => std::slice::from_ref(one),
        other => return Err(crate::call::wrong_type("data", "a list of structs", other)),
    };
    let wishes = data.iter().map(|value| Wish::of(call, value)).collect::<Result<Vec<_>, _>>()?;
    if call.flag("clear") {
        revoke(call, "tag_inheritance", "tag_id = ?", &[&tag])?;
    }
    // All that change go before any comes back: they may change places.
    for wish in &wishes {
        revoke(call, "tag_inheritance", "tag_id = ? AND parent_id = ?", &[&tag, &wish.parent])?;
    }
    let mut taken: HashMap<i64, i64> = HashMap::new();
    for link in links(call.tx, tag, None, false)? {
        taken.insert(link.priority, link.parent);
    }
    for wish in wishes.iter().filter(|wish| !wish.delete) {
        if taken.insert(wish.priority, wish.parent).is_some() {
            return Err(refused(format!("Inheritance priorities must be unique (pri {})", wish.priority)));
        }
        if wish.parent == tag || walk(call.tx, wish.parent, None, false)?.iter().any(|step| step.parent() == tag) {
            return Err(refused(format!("the tag would inherit from itself through tag {}", wish.parent)));
        }
        store(call, tag, wish)?;
    }
    Ok(Value::Nil)
}

fn get_build_config(call: &mut Call<'_>) -> Answer {
    let (wanted, event) = (call.id("tag")?, call.int_or_nil("event")?);
    let tag = tags::find(call.tx, &wanted, event)?.ok_or_else(|| tags::no_such_tag(&wanted))?;
    let id = tag["id"].as_int().unwrap_or_default();
    let mut tag = tags::with_extra(call.tx, tag, event, true)?;
    let mut extra = match tag.shift_remove("extra") {
        Some(Value::Struct(extra)) => extra,
        _ => Struct::new(),
    };
    let (mut extra_from, mut arches_from) = (Struct::new(), Value::Nil);
    for step in walk(call.tx, id, event, false)?.iter().filter(|step| !step.link.noconfig) {
        let Some(ancestor) = tags::find(call.tx, &Id::Number(step.parent()), event)? else { continue };
        let ancestor = tags::with_extra(call.tx, ancestor, event, true)?;
        let origin = Value::members([("id", ancestor["id"].clone()), ("name", ancestor["name"].clone())]);
        if !tag["arches"].is_true() && ancestor["arches"].is_true() {
            tag.insert("arches".to_owned(), ancestor["arches"].clone());
            arches_from = origin.clone();
        }
        for (key, value) in ancestor["extra"].as_struct().into_iter().flatten() {
            if !extra.contains_key(key) {
                extra.insert(key.clone(), value.clone());
                extra_from.insert(key.clone(), origin.clone());
            }
        }
    }
    let mut open = Struct::new();
    for (key, value) in extra {
        match value.as_array() {
            Some([blocked, value]) if !blocked.is_true() => drop(open.insert(key, value.clone())),
            _ => drop(extra_from.shift_remove(&key)),
        }
    }
    tag.insert("extra".to_owned(), Value::Struct(open));
    let inheritance = Value::members([("extra", Value::Struct(extra_from)), ("arches", arches_from)]);
    tag.insert("config_inheritance".to_owned(), inheritance);
    if let Some(event) = event {
        tag.insert("query_event".to_owned(), event.into());
    }
    Ok(Value::Struct(tag))
}
