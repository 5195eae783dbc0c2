//! The metadata of an import: what was sent in, what must be known out (client-and-koji 6.2).
//!
//! What can be checked without database and files is checked here. A missing member is a `KeyError` (fault 1), as on the
//! real hub.

use crate::builds::Nvr;
use crate::call_error::{CallError, fault, refused, wrong_parameter};
use crate::checksum::Checksum;
use crate::paths::{below, file_name};
use osbs_koji::{FaultCode, Struct, Value, ValueError};
use std::collections::HashSet;
use std::path::PathBuf;

/// Types that may stand in `extra` itself, as they did before `typeinfo`.
const LEGACY_TYPES: [&str; 3] = ["maven", "win", "image"];

/// What is imported.
#[derive(Debug)]
pub(super) struct Metadata {
    pub build: BuildPart,
    pub buildroots: Vec<Buildroot>,
    pub outputs: Vec<Output>,
}

/// The build.
#[derive(Debug)]
pub(super) struct BuildPart {
    pub nvr: Nvr,
    /// The reservation.
    pub build_id: Option<i64>,
    pub draft: bool,
    /// `None`: not given; it may be nil.
    pub epoch: Option<Value>,
    pub source: Option<String>,
    /// Microseconds since the epoch.
    pub start_time: i64,
    pub end_time: i64,
    pub owner: Option<String>,
    pub task_id: Option<i64>,
    /// With old-style types copied into `typeinfo`.
    pub extra: Value,
    pub types: Vec<String>,
}

/// Where something was built.
#[derive(Debug)]
pub(super) struct Buildroot {
    /// As it was sent, int or text.
    pub id: Value,
    pub cg_name: String,
    pub cg_version: String,
    pub container_type: String,
    pub container_arch: String,
    pub host_os: String,
    pub host_arch: String,
    pub tools: Vec<(String, String)>,
    pub components: Vec<Component>,
    pub extra: Value,
}

/// What an output is.
#[derive(Debug, PartialEq)]
pub(super) enum OutputKind {
    Log,
    Archive {
        btype: String,
        /// Of images.
        arch: Option<String>,
    },
}

/// A file.
#[derive(Debug)]
pub(super) struct Output {
    pub kind: OutputKind,
    pub buildroot_id: Value,
    /// Below the directory of the import.
    pub path: PathBuf,
    pub filename: String,
    /// As it was sent: a text is never right.
    pub filesize: Value,
    pub checksum: String,
    pub checksum_type: Checksum,
    pub subdir: PathBuf,
    pub metadata_only: bool,
    pub components: Vec<Component>,
    /// `None`: not given.
    pub extra: Option<Value>,
}

/// What something was made of.
#[derive(Debug)]
pub(super) enum Component {
    Rpm { name: String, version: String, release: String, arch: String, sigmd5: Option<String> },
    File { filename: String, filesize: i64, checksum: String, checksum_type: String },
    KojiFile { archive_id: i64, given: Value },
}

impl Metadata {
    /// Reads what was sent.
    ///
    /// # Errors
    /// 1: a member is missing; 1000: something is not allowed; 1019: something is of another type.
    pub(super) fn read(sent: &Value) -> Result<Self, CallError> {
        let version = must(sent, "metadata_version")?;
        if version.as_int() != Some(0) {
            return Err(refused(format!("No such metadata version: {}", version.to_json())));
        }
        let build = BuildPart::read(must(sent, "build")?)?;
        let buildroots = all(sent, "buildroots", Buildroot::read)?;
        let outputs = all(sent, "output", |output| Output::read(output, &build.types))?;
        check_buildroots(&buildroots, &outputs)?;
        Ok(Self { build, buildroots, outputs })
    }
}

fn all<T>(value: &Value, name: &str, read: impl FnMut(&Value) -> Result<T, CallError>) -> Result<Vec<T>, CallError> {
    must(value, name)?;
    value.array_of(name)?.iter().map(read).collect()
}

/// A member that must be there, nil or not.
fn must<'v>(value: &'v Value, name: &str) -> Result<&'v Value, ValueError> {
    match value.as_struct().and_then(|members| members.get(name)) {
        Some(member) => Ok(member),
        None => Err(ValueError { path: name.to_owned(), expected: "a value", found: "missing" }),
    }
}

fn text(value: &Value, name: &str) -> Result<String, CallError> {
    Ok(value.str_of(name)?.to_owned())
}

fn check_buildroots(buildroots: &[Buildroot], outputs: &[Output]) -> Result<(), CallError> {
    if buildroots.is_empty() {
        return Err(wrong_parameter("The metadata has no buildroots"));
    }
    let key = |id: &Value| id.to_json().to_string();
    let used: HashSet<_> = outputs.iter().map(|output| key(&output.buildroot_id)).collect();
    let mut known = HashSet::new();
    for buildroot in buildroots {
        let id = key(&buildroot.id);
        if !used.contains(&id) {
            return Err(refused(format!("Buildroot id not used in output: {id}")));
        }
        if !known.insert(id.clone()) {
            return Err(refused(format!("Duplicate buildroot id in metadata: {id}")));
        }
    }
    if let Some(unknown) = outputs.iter().map(|output| key(&output.buildroot_id)).find(|id| !known.contains(id)) {
        return Err(refused(format!("Missing buildroot metadata for id {unknown}")));
    }
    let generator = &buildroots[0].cg_name;
    if buildroots.iter().any(|buildroot| buildroot.cg_name != *generator) {
        return Err(refused("Only one content generator is allowed in an import"));
    }
    Ok(())
}

impl BuildPart {
    fn read(build: &Value) -> Result<Self, CallError> {
        let nvr = Nvr::of_members(build)?;
        nvr.check()?;
        let owner = match build.get("owner") {
            owner if !owner.is_true() => None,
            Value::String(name) => Some(name.clone()),
            other => return Err(refused(format!("Invalid owner format (expected username): {}", other.to_json()))),
        };
        let extra = must(build, "extra")?;
        let mut extra = extra.as_struct().cloned().ok_or_else(|| wrong_parameter("build.extra is no struct"))?;
        let types = collect_types(&mut extra)?;
        let extra = Value::Struct(extra);
        let epoch = build.as_struct().and_then(|members| members.get("epoch"));
        Ok(Self {
            build_id: build.get("build_id").as_int().filter(|id| *id != 0),
            draft: build.get("draft").is_true(),
            epoch: epoch.cloned(),
            source: match must(build, "source")? {
                Value::Nil => None,
                _ => Some(text(build, "source")?),
            },
            start_time: micros(build, "start_time")?,
            end_time: micros(build, "end_time")?,
            owner,
            task_id: task_id(build)?,
            nvr,
            types,
            extra,
        })
    }
}

/// The types of a build: keys of `typeinfo`, and old-style ones, which are copied there.
fn collect_types(extra: &mut Struct) -> Result<Vec<String>, CallError> {
    let mut typeinfo = match extra.get("typeinfo") {
        None => Struct::new(),
        Some(Value::Struct(typeinfo)) => typeinfo.clone(),
        Some(other) => return Err(wrong_parameter(format!("build.extra.typeinfo is {}", other.type_name()))),
    };
    for legacy in LEGACY_TYPES {
        let Some(info) = extra.get(legacy) else { continue };
        if typeinfo.contains_key(legacy) {
            return Err(refused(format!("Duplicate typeinfo for '{legacy}'")));
        }
        typeinfo.insert(legacy.to_owned(), info.clone());
    }
    let types = typeinfo.keys().cloned().collect();
    extra.insert("typeinfo".to_owned(), Value::Struct(typeinfo));
    Ok(types)
}

/// Seconds, or a text of them.
fn micros(build: &Value, name: &str) -> Result<i64, CallError> {
    let value = must(build, name)?;
    let seconds = value.as_double().or_else(|| value.as_str()?.trim().parse().ok());
    let wrong = || fault(FaultCode::Exception, format!("<class 'ValueError'>: {name}: {}", value.to_json()));
    seconds.and_then(crate::times::micros_of).ok_or_else(wrong)
}

fn task_id(build: &Value) -> Result<Option<i64>, CallError> {
    let id = |value: &Value| match value {
        Value::Nil => Ok(None),
        Value::Int(id) => Ok(Some(*id)),
        other => Err(wrong_parameter(format!("Invalid type for a task id: {}", other.type_name()))),
    };
    let (plain, of_container) = (id(build.get("task_id"))?, build.get("extra").get("container_koji_task_id"));
    match (plain, id(of_container)?) {
        (Some(one), Some(other)) if one != other => {
            Err(refused(format!("CG provided non-matching task_id {one} and container_koji_task_id {other}")))
        }
        (plain, of_container) => Ok(of_container.or(plain)),
    }
}

impl Buildroot {
    fn read(buildroot: &Value) -> Result<Self, CallError> {
        let generator = must(buildroot, "content_generator")?;
        let (container, host) = (must(buildroot, "container")?, must(buildroot, "host")?);
        let id = must(buildroot, "id")?;
        if !matches!(id, Value::Int(_) | Value::String(_)) {
            return Err(wrong_parameter(format!("Invalid type for a buildroot id: {}", id.type_name())));
        }
        Ok(Self {
            id: id.clone(),
            cg_name: text(generator, "name")?,
            cg_version: text(generator, "version")?,
            container_type: text(container, "type")?,
            container_arch: text(container, "arch")?,
            host_os: text(host, "os")?,
            host_arch: text(host, "arch")?,
            tools: all(buildroot, "tools", |tool| Ok((text(tool, "name")?, text(tool, "version")?)))?,
            components: all(buildroot, "components", Component::read)?,
            extra: buildroot.get("extra").clone(),
        })
    }
}

impl Output {
    fn read(output: &Value, build_types: &[String]) -> Result<Self, CallError> {
        let filename = file_name("filename of an output", output.str_of("filename")?)?.to_owned();
        let relpath = output.get("relpath").as_str().unwrap_or_default();
        let extra = output.as_struct().and_then(|members| members.get("extra")).cloned();
        let checksum_type = output.str_of("checksum_type")?;
        let checksum_type = Checksum::named(checksum_type)
            .ok_or_else(|| refused(format!("Unsupported checksum type: {checksum_type}")))?;
        let subdir = below("subdir", output.get("subdir").as_str().unwrap_or_default())?;
        let kind = output_kind(output, &filename, build_types)?;
        let legacy = matches!(&kind, OutputKind::Archive { btype, .. } if LEGACY_TYPES.contains(&btype.as_str()));
        if legacy && !subdir.as_os_str().is_empty() {
            return Err(refused("subdir field not allowed for legacy btypes"));
        }
        let components =
            if output.get("components").is_nil() { Vec::new() } else { all(output, "components", Component::read)? };
        Ok(Self {
            kind,
            buildroot_id: must(output, "buildroot_id")?.clone(),
            path: below("relpath", relpath)?.join(&filename),
            filename,
            filesize: must(output, "filesize")?.clone(),
            checksum: text(output, "checksum")?,
            checksum_type,
            subdir,
            metadata_only: output.get("metadata_only").is_true(),
            components,
            extra,
        })
    }
}

fn output_kind(output: &Value, filename: &str, build_types: &[String]) -> Result<OutputKind, CallError> {
    match output.str_of("type")? {
        "log" => return Ok(OutputKind::Log),
        "rpm" => return Err(refused(format!("This hub imports no RPM packages: {filename}"))),
        // Any other word: the type is in `extra`.
        _ => {}
    }
    let extra = output.get("extra");
    let legacy = LEGACY_TYPES.iter().filter_map(|name| Some((*name, extra.as_struct()?.get(*name)?)));
    let new = extra.get("typeinfo").as_struct().into_iter().flatten().map(|(name, info)| (name.as_str(), info));
    let found: Vec<_> = legacy.chain(new).collect();
    let (btype, info) = match found[..] {
        [] => return Err(refused(format!("No typeinfo for: {filename}"))),
        [one] => one,
        _ => return Err(refused(format!("Output file has multiple types: {filename}"))),
    };
    if !build_types.iter().any(|name| name == btype) {
        return Err(refused(format!("Output type {btype} not listed in build types")));
    }
    if matches!(btype, "maven" | "win") {
        return Err(refused(format!("This hub imports no archives of type {btype}: {filename}")));
    }
    let arch = if btype == "image" { Some(text(info, "arch")?) } else { None };
    Ok(OutputKind::Archive { btype: btype.to_owned(), arch })
}

impl Component {
    fn read(component: &Value) -> Result<Self, CallError> {
        let has = |name: &str| component.as_struct().is_some_and(|members| members.contains_key(name));
        match component.str_of("type")? {
            "rpm" if has("location") => Err(refused("External rpms not allowed")),
            "rpm" if has("id") => Err(refused("Unexpected 'id' field in component")),
            "rpm" => Ok(Self::Rpm {
                name: text(component, "name")?,
                version: text(component, "version")?,
                release: text(component, "release")?,
                arch: text(component, "arch")?,
                sigmd5: component.get("sigmd5").as_str().map(str::to_owned),
            }),
            "file" => Ok(Self::File {
                filename: text(component, "filename")?,
                filesize: component.int_of("filesize")?,
                checksum: text(component, "checksum")?,
                checksum_type: text(component, "checksum_type")?,
            }),
            "kojifile" => Ok(Self::KojiFile { archive_id: component.int_of("archive_id")?, given: component.clone() }),
            other => Err(refused(format!("No such component type: {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    /// The least that makes an image build.
    fn least() -> Json {
        json!({
            "metadata_version": 0,
            "build": {"name": "caddy-container", "version": "2.4", "release": "1", "source": null,
                      "start_time": 1_505_902_500, "end_time": "1505902560.5", "extra": {"image": {}}},
            "buildroots": [{"id": 1, "host": {"os": "f", "arch": "x86_64"}, "container": {"type": "d", "arch": "x"},
                            "content_generator": {"name": "atomic-reactor", "version": "1"}, "tools": [],
                            "components": []}],
            "output": [{"buildroot_id": 1, "filename": "i.tar", "filesize": 3, "checksum_type": "md5", "checksum": "0",
                        "type": "docker-image", "extra": {"image": {"arch": "x86_64"}}}],
        })
    }

    fn read(json: &Json) -> Result<Metadata, i64> {
        Metadata::read(&Value::from_json(json)).map_err(|error| error.into_fault().code)
    }

    #[test]
    fn the_least_is_read() {
        let metadata = read(&least()).unwrap();
        assert_eq!(metadata.build.types, ["image"]);
        assert_eq!(metadata.build.end_time, 1_505_902_560_500_000);
        let extra = metadata.build.extra.to_json();
        assert_eq!(extra, json!({"image": {}, "typeinfo": {"image": {}}}));
        let arch = Some("x86_64".to_owned());
        assert_eq!(metadata.outputs[0].kind, OutputKind::Archive { btype: "image".into(), arch });
    }

    /// A JSON pointer is given another value, or taken away.
    fn check_mistake(pointer: &str, value: Option<Json>, code: i64) {
        let mut metadata = least();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match (metadata.pointer_mut(parent).unwrap(), value.clone()) {
            (Json::Object(members), Some(value)) => drop(members.insert(name.to_owned(), value)),
            (Json::Object(members), None) => drop(members.remove(name).unwrap()),
            (Json::Array(items), Some(value)) => items.push(value),
            other => panic!("{other:?}"),
        }
        assert_eq!(read(&metadata).map(|_| ()), Err(code), "{pointer} {value:?}");
    }

    #[test]
    fn what_is_missing_is_a_key_error() {
        for pointer in [
            "/metadata_version",
            "/build",
            "/build/source",
            "/build/start_time",
            "/build/end_time",
            "/build/extra",
            "/buildroots",
            "/buildroots/0/id",
            "/buildroots/0/host",
            "/buildroots/0/host/arch",
            "/buildroots/0/container",
            "/buildroots/0/content_generator/version",
            "/buildroots/0/tools",
            "/buildroots/0/components",
            "/output",
            "/output/0/buildroot_id",
            "/output/0/filename",
            "/output/0/filesize",
            "/output/0/checksum",
            "/output/0/checksum_type",
            "/output/0/type",
            "/output/0/extra/image/arch",
        ] {
            check_mistake(pointer, None, 1);
        }
    }

    #[test]
    fn what_is_not_allowed_is_refused() {
        for (pointer, value, code) in [
            ("/metadata_version", json!(1), 1000),
            ("/build/name", json!(null), 1000),
            ("/build/version", json!("2-4"), 1000),
            ("/build/release", json!("../../x"), 1000),
            ("/build/owner", json!(12), 1000),
            ("/build/start_time", json!("soon"), 1),
            ("/build/task_id", json!("26"), 1019),
            ("/build/extra", json!({"image": {}, "typeinfo": {"image": {}}}), 1000),
            ("/build/extra", json!({"image": {}, "container_koji_task_id": "26"}), 1019),
            ("/build/extra", json!({}), 1000),
            ("/buildroots", json!([]), 1019),
            ("/buildroots/0/id", json!("1"), 1000),
            ("/buildroots/-", least()["buildroots"][0].clone(), 1000),
            ("/output/0/buildroot_id", json!(2), 1000),
            ("/output/0/filename", json!("a/b.tar"), 1000),
            ("/output/0/relpath", json!("../x"), 1000),
            ("/output/0/subdir", json!("x"), 1000),
            ("/output/0/checksum_type", json!("sha1"), 1000),
            ("/output/0/type", json!("rpm"), 1000),
            ("/output/0/extra", json!({}), 1000),
            ("/output/0/extra", json!({"image": {"arch": "x"}, "typeinfo": {"operator-manifests": {}}}), 1000),
            ("/output/0/extra", json!({"typeinfo": {"operator-manifests": {}}}), 1000),
            ("/output/0/components", json!([{"type": "rpm", "location": "x"}]), 1000),
            ("/output/0/components", json!([{"type": "gem"}]), 1000),
            ("/output/0/components", json!([{}]), 1),
        ] {
            check_mistake(pointer, Some(value), code);
        }
    }

    #[test]
    fn task_ids_must_agree() {
        let mut metadata = least();
        metadata["build"]["extra"]["container_koji_task_id"] = json!(26);
        assert_eq!(read(&metadata).unwrap().build.task_id, Some(26));
        metadata["build"]["task_id"] = json!(26);
        assert_eq!(read(&metadata).unwrap().build.task_id, Some(26));
        metadata["build"]["task_id"] = json!(27);
        assert_eq!(read(&metadata).map(|_| ()), Err(1000));
    }
}
