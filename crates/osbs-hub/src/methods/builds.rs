//! Builds: looked at, listed, canceled, and their logs.

use super::{Answer, Method, packages, read, tasks as task_methods, users, write};
use crate::builds;
use crate::call::{Call, Id};
use crate::call_error::{CallError, fault};
use crate::parameters::{Default, Parameter, flag, optional, or, required};
use crate::paths::build_folder;
use crate::patterns::{checked, starts_with};
use crate::release::next_release;
use crate::role::{Role, has_permission};
use crate::rows::QueryOpts;
use crate::states::BuildState;
use crate::tasks;
use crate::uploads::files;
use osbs_koji::{FaultCode, Struct, Value};
use osbs_sandbox::rooted::Root;
use std::path::{Path, PathBuf};

const INFO: &[Parameter] = &[required("buildInfo"), flag("strict")];

pub(crate) const METHODS: &[Method] = &[
    read("getBuild", INFO, get),
    read("findBuildID", &[required("X"), flag("strict")], find),
    read("listBuilds", LIST, list),
    read("getNextRelease", &[required("build_info"), or("incr", Default::Int(1))], release),
    write("cancelBuild", Role::LoggedIn, &[required("buildID"), flag("strict")], cancel),
    read("getBuildLogs", &[required("build")], logs),
    read("getBuildType", INFO, types),
    // There are no such builds here.
    read("getMavenBuild", INFO, |_| Ok(Value::Nil)),
    read("getWinBuild", INFO, |_| Ok(Value::Nil)),
    read("getImageBuild", INFO, image),
    read(
        "getChangelogEntries",
        &[
            optional("buildID"),
            optional("taskID"),
            optional("filepath"),
            optional("author"),
            optional("before"),
            optional("after"),
            optional("queryOpts"),
            flag("strict"),
        ],
        |_| Ok(Value::Array(Vec::new())),
    ),
    read("getAverageBuildDuration", &[required("package"), optional("age")], |_| Ok(Value::Nil)),
    read("listVolumes", &[], |_| Ok(Value::Array(vec![volume()]))),
    read("getVolume", &[required("volume"), flag("strict")], get_volume),
];

const LIST: &[Parameter] = &[
    optional("packageID"),
    optional("userID"),
    optional("taskID"),
    optional("prefix"),
    optional("state"),
    optional("volumeID"),
    optional("source"),
    optional("createdBefore"),
    optional("createdAfter"),
    optional("completeBefore"),
    optional("completeAfter"),
    optional("type"),
    optional("typeInfo"),
    optional("queryOpts"),
    optional("pattern"),
    optional("cgID"),
    optional("draft"),
    optional("promotedBefore"),
    optional("promotedAfter"),
    optional("promoter"),
];

fn get(call: &mut Call<'_>) -> Answer {
    let asked = call.value("buildInfo");
    let build = match builds::find_id(call.tx, asked)? {
        Some(id) => builds::info(call.tx, id)?,
        None => None,
    };
    match build {
        None if call.flag("strict") => Err(builds::no_such_build(asked)),
        build => Ok(build.map_or(Value::Nil, Value::Struct)),
    }
}

fn find(call: &mut Call<'_>) -> Answer {
    let id = builds::find_id(call.tx, call.value("X"))?;
    if id.is_none() && call.flag("strict") { Err(builds::no_such_build(call.value("X"))) } else { Ok(id.into()) }
}

fn nothing() -> Value {
    Value::Array(Vec::new())
}

fn list(call: &mut Call<'_>) -> Answer {
    let mut query = builds::listing();
    if let Some(package) = call.id_or_nil("packageID")? {
        let Some(id) = packages::find(call.tx, &package)? else { return Ok(nothing()) };
        query = query.bind("package.id = ?", id);
    }
    if let Some(user) = call.id_or_nil("userID")? {
        let Some(id) = users::find(call.tx, &user)?.and_then(|user| user.get("id").and_then(Value::as_int)) else {
            return Ok(nothing());
        };
        query = query.bind("users.id = ?", id);
    }
    query = match call.int_or_nil("taskID")? {
        None => query,
        Some(-1) => query.filter("build.task_id IS NOT NULL"),
        Some(id) => query.bind("build.task_id = ?", id),
    };
    if let Some(generator) = call.id_or_nil("cgID")? {
        let Some(id) = super::content_generators::find(call.tx, &generator)? else { return Ok(nothing()) };
        query = query.bind("build.cg_id = ?", id);
    }
    if !call.value("promoter").is_nil() {
        return Ok(nothing());
    }
    for (name, sql) in [
        ("createdBefore", "events.at < ?"),
        ("createdAfter", "events.at > ?"),
        ("completeBefore", "build.completion_time < ?"),
        ("completeAfter", "build.completion_time > ?"),
        ("promotedBefore", "NULL < ?"),
        ("promotedAfter", "NULL > ?"),
    ] {
        if !call.value(name).is_nil() {
            query = query.bind(sql, task_methods::moment(name, call.value(name))?);
        }
    }
    if let Some(name) = call.str_or_nil("type")? {
        let id = crate::tagging::btype_id(call.tx, name)?
            .ok_or_else(|| crate::call_error::refused(format!("unsupported build type: {name}")))?;
        query = query.bind("build.id IN (SELECT build_id FROM build_types WHERE btype_id = ?)", id);
    }
    let lower = |text: &str| text.to_lowercase();
    let pattern = |name: &str| call.str_or_nil(name)?.map(|text| checked(&lower(text))).transpose();
    query
        .bind_some("0 = ?", call.int_or_nil("volumeID")?)
        .bind_some("build.state = ?", call.int_or_nil("state")?)
        .bind_some("build.draft = ?", call.flag_or_nil("draft"))
        .bind_some("lower(build.source) GLOB ?", pattern("source")?)
        .bind_some("lower(package.name) GLOB ?", call.str_or_nil("prefix")?.map(|text| starts_with(&lower(text))))
        .bind_some("lower(package.name || '-' || build.version || '-' || build.release) GLOB ?", pattern("pattern")?)
        .order("build.id")
        .answer(call.tx, &QueryOpts::read(call.value("queryOpts"))?)
}

fn release(call: &mut Call<'_>) -> Answer {
    let asked = call.value("build_info");
    let (name, version) = (asked.str_of("name")?, asked.str_of("version")?);
    let last = builds::last_release(call.tx, name, version)?;
    let next = next_release(last.as_deref(), call.int("incr")?);
    let cannot = || {
        let last = last.unwrap_or_default();
        fault(FaultCode::BuildError, format!("Unable to increment release value: {last}"))
    };
    next.map(Value::from).ok_or_else(cannot)
}

fn cancel(call: &mut Call<'_>) -> Answer {
    let asked = call.value("buildID");
    let Some(id) = builds::find_id(call.tx, asked)? else {
        return if call.flag("strict") { Err(builds::no_such_build(asked)) } else { Ok(false.into()) };
    };
    let (build, user) = (builds::get(call.tx, id)?, call.user()?.user_id);
    if build.owner != user && !has_permission(call.tx, user, "admin")? {
        let text = format!("Cannot cancel build {}, not owner", build.nvr);
        return if call.flag("strict") { Err(fault(FaultCode::ActionNotAllowed, text)) } else { Ok(false.into()) };
    }
    let canceled = builds::end(call.tx, call.now, id, BuildState::Canceled)?;
    if let (true, Some(task)) = (canceled, build.task_id) {
        tasks::cancel_full(call.tx, call.now, task, false)?;
    }
    Ok(canceled.into())
}

fn logs(call: &mut Call<'_>) -> Answer {
    let build = builds::get(call.tx, builds::get_id(call.tx, call.value("build"))?)?;
    let folder = build_folder(&build.nvr.name, &build.nvr.version, &build.nvr.release).join("data/logs");
    let top = Root::open(&call.hub.topdir).map_err(files)?;
    Ok(Value::Array(log_files(&top, &folder)?))
}

/// `{"name": "x86_64.log", "dir": ".", "path": "packages/.../data/logs/./x86_64.log"}` of each file below the folder.
fn log_files(top: &Root, folder: &Path) -> Result<Vec<Value>, CallError> {
    let mut logs = Vec::new();
    if top.lstat(folder).map_err(files)?.is_none() {
        return Ok(logs);
    }
    let mut waiting = vec![PathBuf::from(".")];
    while let Some(dir) = waiting.pop() {
        for name in top.list(&folder.join(&dir)).map_err(files)? {
            let Some(node) = top.lstat(&folder.join(&dir).join(&name)).map_err(files)? else { continue };
            if node.is_dir() {
                waiting.push(if dir == Path::new(".") { PathBuf::from(name) } else { dir.join(name) });
            } else if let (true, Some(name)) = (node.is_file(), name.to_str()) {
                let text = |path: &Path| Value::from(path.to_string_lossy().into_owned());
                // Not by `join`, which would take the dot away.
                let path = format!("{}/{}/{name}", folder.display(), dir.display());
                logs.push(Value::members([("name", name.into()), ("dir", text(&dir)), ("path", path.into())]));
            }
        }
    }
    Ok(logs)
}

fn types(call: &mut Call<'_>) -> Answer {
    let asked = call.value("buildInfo");
    let Some(id) = builds::find_id(call.tx, asked)? else {
        return if call.flag("strict") { Err(builds::no_such_build(asked)) } else { Ok(Value::Nil) };
    };
    let info = builds::info(call.tx, id)?.unwrap_or_default();
    let typeinfo = info.get("extra").map(|extra| extra.get("typeinfo").clone()).unwrap_or_default();
    let types = builds::types(call.tx, id)?.into_iter().map(|name| {
        let value = match name.as_str() {
            "image" => Value::members([("build_id", id.into())]),
            other => typeinfo.get(other).clone(),
        };
        (name, value)
    });
    Ok(Value::Struct(types.collect::<Struct>()))
}

fn image(call: &mut Call<'_>) -> Answer {
    let asked = call.value("buildInfo");
    let id = builds::find_id(call.tx, asked)?;
    match id {
        Some(id) if builds::types(call.tx, id)?.iter().any(|name| name == "image") => {
            Ok(Value::members([("build_id", id.into())]))
        }
        _ if call.flag("strict") => Err(crate::call_error::refused("no such image build")),
        _ => Ok(Value::Nil),
    }
}

fn volume() -> Value {
    Value::members([("id", 0.into()), ("name", "DEFAULT".into())])
}

fn get_volume(call: &mut Call<'_>) -> Answer {
    match call.id("volume")? {
        Id::Number(0) => Ok(volume()),
        Id::Name(name) if name == "DEFAULT" => Ok(volume()),
        other if call.flag("strict") => Err(crate::call_error::refused(format!("No such volume: {other}"))),
        _ => Ok(Value::Nil),
    }
}
