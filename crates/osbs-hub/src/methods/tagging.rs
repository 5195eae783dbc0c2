//! Builds in tags: tagged by a task or at once, untagged, listed.

use super::{Answer, Method, read, tags, users, write};
use crate::builds;
use crate::call::{Call, Id};
use crate::call_error::CallError;
use crate::parameters::{Default, Parameter, flag, optional, or, required};
use crate::role::{Role, has_permission};
use crate::rows::QueryOpts;
use crate::scheduler;
use crate::states::BuildState;
use crate::tagging::{self, Change, Listing};
use crate::tasks::{self, NewTask};
use crate::versions::{insert, revoke};
use osbs_koji::{Struct, Value};

const TAG: Role = Role::Permission("tag");
const UNTAG: &[Parameter] = &[required("tag"), required("build"), or("strict", Default::Bool(true)), flag("force")];

pub(crate) const METHODS: &[Method] = &[
    write(
        "tagBuild",
        Role::LoggedIn,
        &[required("tag"), required("build"), flag("force"), optional("fromtag")],
        tag_by_task,
    ),
    write("tagBuildBypass", TAG, &[required("tag"), required("build"), flag("force"), flag("notify")], tag_at_once),
    write("untagBuild", Role::LoggedIn, UNTAG, untag),
    write(
        "untagBuildBypass",
        TAG,
        &[required("tag"), required("build"), or("strict", Default::Bool(true)), flag("force"), flag("notify")],
        untag,
    ),
    read(
        "listTagged",
        &[
            required("tag"),
            optional("event"),
            flag("inherit"),
            optional("prefix"),
            flag("latest"),
            optional("package"),
            optional("owner"),
            optional("type"),
            or("strict", Default::Bool(true)),
            flag("extra"),
            optional("draft"),
        ],
        list,
    ),
    read(
        "getLatestBuilds",
        &[required("tag"), optional("event"), optional("package"), optional("type"), optional("draft")],
        latest,
    ),
    read("untaggedBuilds", &[optional("name"), optional("queryOpts"), optional("draft")], untagged),
];

fn tag_and_build(call: &Call<'_>) -> Result<(i64, i64), CallError> {
    let build = builds::get_id(call.tx, call.value("build"))?;
    Ok((tags::id_of_tag(call.tx, &call.id("tag")?)?, build))
}

fn tag_by_task(call: &mut Call<'_>) -> Answer {
    let (tag_id, build_id) = tag_and_build(call)?;
    let from = call.id_or_nil("fromtag")?.map(|from| tags::id_of_tag(call.tx, &from)).transpose()?;
    let (user, force) = (call.user()?.user_id, call.flag("force"));
    let build = builds::get(call.tx, build_id)?;
    if build.state != BuildState::Complete {
        return Err(builds::not_complete(&build));
    }
    for tag in [Some(tag_id), from].into_iter().flatten() {
        tagging::check_access(call.tx, user, tag, force)?;
    }
    let name = tagging::tag_name(call.tx, tag_id)?;
    match tagging::check_package(call.tx, tag_id, &name, &build) {
        Err(_) if force && has_permission(call.tx, user, "admin")? => {
            list_package(call, tag_id, build.package_id)?;
        }
        checked => checked?,
    }
    let task = NewTask {
        method: tagging::METHOD,
        request: &[tag_id.into(), build_id.into(), force.into(), from.into()],
        owner: user,
        channel_id: super::tasks::channel(call.tx, &Id::Name("default".to_owned()))?,
        arch: "noarch",
        priority: tagging::PRIORITY,
        parent: None,
        label: None,
    };
    let id = tasks::create(call.tx, call.now, &task)?;
    if !scheduler::is_awaited(call.tx, call.now, id)? {
        // No builder is there that would do it.
        tagging::do_task(call.tx, call.now, id)?;
    }
    Ok(id.into())
}

/// An administrator's `force` puts a package into the tag's list, not blocked.
fn list_package(call: &Call<'_>, tag_id: i64, package_id: i64) -> Result<(), CallError> {
    let (event, user) = (call.event()?, call.user()?.user_id);
    revoke(call, "tag_packages", "tag_id = ? AND package_id = ?", &[&tag_id, &package_id])?;
    insert(call, "tag_packages", &[("tag_id", &tag_id), ("package_id", &package_id), ("blocked", &false)])?;
    let sql = "INSERT INTO tag_package_owners (tag_id, package_id, owner, create_event, creator_id)
               SELECT ?1, ?2, ?3, ?4, ?3 WHERE NOT EXISTS (
                   SELECT 1 FROM tag_package_owners WHERE tag_id = ?1 AND package_id = ?2 AND revoke_event IS NULL)";
    call.tx.execute(sql, [tag_id, package_id, user, event])?;
    Ok(())
}

fn change(call: &Call<'_>) -> Result<Change, CallError> {
    Ok(Change { user_id: call.user()?.user_id, event: call.event()? })
}

fn tag_at_once(call: &mut Call<'_>) -> Answer {
    let (tag_id, build_id) = tag_and_build(call)?;
    let force = call.flag("force");
    tagging::check_access(call.tx, call.user()?.user_id, tag_id, force)?;
    tagging::tag(call.tx, change(call)?, tag_id, build_id, force)?;
    Ok(Value::Nil)
}

fn untag(call: &mut Call<'_>) -> Answer {
    let (tag_id, build_id) = tag_and_build(call)?;
    tagging::check_access(call.tx, call.user()?.user_id, tag_id, call.flag("force"))?;
    tagging::untag(call.tx, change(call)?, tag_id, build_id, call.flag("strict"))?;
    Ok(Value::Nil)
}

fn structs(builds: Vec<Struct>) -> Value {
    Value::Array(builds.into_iter().map(Value::Struct).collect())
}

/// The name of what an argument names, as the real hub takes names here.
fn name(call: &Call<'_>, parameter: &str) -> Result<Option<String>, CallError> {
    Ok(match call.id_or_nil(parameter)? {
        None => None,
        Some(Id::Name(name)) => Some(name),
        Some(Id::Number(id)) if parameter == "owner" => {
            let user = users::find(call.tx, &Id::Number(id))?;
            user.and_then(|user| user.get("name").and_then(Value::as_str).map(str::to_owned)).or(Some(String::new()))
        }
        Some(Id::Number(id)) => Some(id.to_string()),
    })
}

fn list(call: &mut Call<'_>) -> Answer {
    let event = call.int_or_nil("event")?;
    let id = call.id("tag")?;
    let tag = tags::find(call.tx, &id, event)?.and_then(|tag| tag.get("id").and_then(Value::as_int));
    let Some(tag_id) = tag else {
        return if call.flag("strict") { Err(tags::no_such_tag(&id)) } else { Ok(Value::Array(Vec::new())) };
    };
    let (package, owner) = (name(call, "package")?, name(call, "owner")?);
    let latest = match call.value("latest") {
        Value::Int(number) if *number > 0 => Some(*number),
        latest => latest.is_true().then_some(1),
    };
    let listing = Listing {
        tag_id,
        event,
        inherit: call.flag("inherit"),
        latest,
        package: package.as_deref(),
        prefix: call.str_or_nil("prefix")?,
        owner: owner.as_deref(),
        btype: call.str_or_nil("type")?,
        with_extra: call.flag("extra"),
        draft: call.flag_or_nil("draft"),
    };
    Ok(structs(tagging::list(call.tx, &listing)?))
}

fn latest(call: &mut Call<'_>) -> Answer {
    let event = call.int_or_nil("event")?;
    let id = call.id("tag")?;
    let tag = tags::find(call.tx, &id, event)?.and_then(|tag| tag.get("id").and_then(Value::as_int));
    let package = name(call, "package")?;
    let listing = Listing {
        tag_id: tag.ok_or_else(|| tags::no_such_tag(&id))?,
        event,
        inherit: true,
        latest: Some(1),
        package: package.as_deref(),
        btype: call.str_or_nil("type")?,
        draft: call.flag_or_nil("draft"),
        ..Listing::default()
    };
    Ok(structs(tagging::list(call.tx, &listing)?))
}

fn untagged(call: &mut Call<'_>) -> Answer {
    use crate::rows::{Kind, Query, column};
    let columns = [
        column("id", "build.id", Kind::Int),
        column("name", "package.name", Kind::Text),
        column("version", "build.version", Kind::Text),
        column("release", "build.release", Kind::Text),
        column("draft", "build.draft", Kind::Bool),
    ];
    Query::new(&columns, "build JOIN package ON package.id = build.pkg_id")
        .filter("build.state = 1")
        .filter("NOT EXISTS (SELECT 1 FROM tag_listing WHERE build_id = build.id AND revoke_event IS NULL)")
        .bind_some("package.name = ?", call.str_or_nil("name")?.map(str::to_owned))
        .bind_some("build.draft = ?", call.flag_or_nil("draft"))
        .order("build.id")
        .answer(call.tx, &QueryOpts::read(call.value("queryOpts"))?)
}
