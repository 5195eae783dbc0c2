//! One worker's part of the metadata: where it was built, and what came out (`reactor.md` 3.6.4, 3.6.5).
//!
//! Reads the run and this machine's package database; uploads nothing.

use super::metadata::{CONTENT_GENERATOR, FileFacts, OPERATOR_MANIFESTS, each_once, media_type};
use crate::plugin::PluginError;
use crate::run::{ExportType, Run, TagClass};
use osbs_rpm::{DATABASE_FOLDERS, Package, read_database};
use osbs_types::{Platform, PullSpec};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file of the build, and what the import says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuildFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    pub(crate) facts: FileFacts,
}

/// Which tags the image is said to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SaidTags {
    /// A fragment: all of them.
    All,
    /// `koji_promote`: the primary ones, floating and unique ones by themselves.
    ByClass,
}

/// `buildroots[]`: this machine. There is no builder image; the packages that took part are the machine's own.
pub(crate) async fn buildroot(run: &Run, platform: &Platform, id: i64) -> Result<Value, PluginError> {
    let components = run.blocking(|_| Ok::<_, PluginError>(machine_packages())).await?;
    let mut tools = vec![json!({"name": "osbs", "version": env!("CARGO_PKG_VERSION")})];
    if let Ok(runtime) = run.services.imaging.oci_runtime() {
        // `runc version 1.1.5`
        let version = runtime.version.rsplit(' ').next().unwrap_or_default();
        tools.push(json!({"name": runtime.kind.as_str(), "version": version}));
    }
    Ok(json!({
        "id": id,
        "host": {"os": machine_os(), "arch": Platform::native().as_str()},
        "content_generator": {"name": CONTENT_GENERATOR, "version": env!("CARGO_PKG_VERSION")},
        // The kind of container that OSBS has always had; readers know no other.
        "container": {"type": "docker", "arch": platform.as_str()},
        "tools": tools,
        "components": components,
        "extra": {"osbs": {
            "build_id": run.build.name,
            "builder_image_id": "",
            "koji": {"build_name": build_name(run), "builder_image_id": {}},
        }},
    }))
}

/// The system's own words for itself.
fn machine_os() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map_or_else(|| std::env::consts::OS.to_owned(), |name| name.trim_matches(['"', '\'']).to_owned())
}

/// RPM packages of this machine; none on a machine without them.
fn machine_packages() -> Vec<Value> {
    let databases = DATABASE_FOLDERS.iter().map(|folder| Path::new("/").join(folder).join("rpmdb.sqlite"));
    let mut packages: Vec<Package> =
        databases.filter(|path| path.is_file()).find_map(|path| read_database(&path).ok()).unwrap_or_default();
    packages.sort();
    each_once(packages.iter().map(Package::to_component).collect())
}

/// `ns/repo:tag` of the first name this build has pushed.
fn build_name(run: &Run) -> String {
    let first = run.pushed.iter().flat_map(|registry| registry.digests.keys()).next();
    first.cloned().unwrap_or_default()
}

/// The image in `output[]`. `machine` is the name in its file name: of the platform, or (arrangements 1 and 2) the machine.
pub(crate) fn image_output(
    run: &Run,
    platform: &Platform,
    file: Option<&FileFacts>,
    tags: SaidTags,
) -> Result<Value, PluginError> {
    let facts = run.built.as_ref().ok_or_else(|| PluginError::internal("there is no built image to describe"))?;
    let components = run.image_components.clone().unwrap_or_else(|| {
        run.log().info("the components of the image are not known");
        Vec::new()
    });
    let sizes: Vec<_> = facts.layer_sizes.iter().map(|(id, size)| json!({"diff_id": id, "size": size})).collect();
    let mut docker = json!({
        "id": facts.image_id,
        "repositories": repositories(run),
        "layer_sizes": sizes,
        "digests": digests(run),
    });
    let of = |class| texts(run.tags.class(class).iter());
    match tags {
        SaidTags::All => docker["tags"] = json!(texts(run.tags.all())),
        SaidTags::ByClass => {
            docker["tags"] = json!(of(TagClass::Primary));
            docker["floating_tags"] = json!(of(TagClass::Floating));
            docker["unique_tags"] = json!(of(TagClass::Unique));
        }
    }
    if let Some(parent) = &facts.parent_id {
        docker["parent_id"] = json!(parent);
    }
    if let Some(mut config) = run.pushed.first().and_then(|registry| registry.config.clone()) {
        if let Some(members) = config.as_object_mut() {
            members.shift_remove("container_config");
        }
        if config.as_object().is_some_and(|members| !members.is_empty()) {
            docker["config"] = config;
        }
    }
    let mut output = json!({
        "type": "docker-image",
        "arch": platform.as_str(),
        "buildroot_id": 1,
        "components": each_once(components),
        "extra": {"image": {"arch": platform.as_str()}, "docker": docker},
    });
    if let Some(file) = file {
        file.describe(&mut output);
    }
    Ok(output)
}

fn texts<'a>(names: impl Iterator<Item = &'a PullSpec>) -> Vec<&'a str> {
    names.filter_map(PullSpec::tag).collect()
}

/// The image's archive, if one was made, under its name in Koji.
pub(crate) fn archive(run: &Run, platform: &Platform) -> Option<BuildFile> {
    let (facts, archive) = (run.built.as_ref()?, run.exported_images.last()?);
    let name = archive.path.file_name()?.to_string_lossy();
    // Of the file's name only: folders may hold dots (reactor.md M36).
    let extension = name.split_once('.').map_or("", |(_, extension)| extension);
    let kind = match archive.image_type {
        ExportType::DockerArchive => "docker-image",
        ExportType::Oci | ExportType::OciTar => "oci-image",
    };
    let filename = format!("{kind}-{}.{platform}.{extension}", facts.image_id);
    let facts = FileFacts { filename, size: archive.size?, md5: archive.md5sum.clone()? };
    Some(BuildFile { path: archive.path.clone(), facts })
}

/// The operator's manifests, if they were taken out.
pub(crate) fn operator_manifests(run: &Run) -> Option<BuildFile> {
    let archive = run.operator_manifests.as_ref()?;
    let filename = archive.path.file_name()?.to_string_lossy().into_owned();
    let facts = FileFacts { filename, size: archive.size, md5: archive.md5sum.clone() };
    Some(BuildFile { path: archive.path.clone(), facts })
}

/// The operator's manifests in `output[]`.
pub(crate) fn manifests_output(file: &FileFacts) -> Value {
    let mut output = json!({
        "type": OPERATOR_MANIFESTS,
        "buildroot_id": 1,
        "extra": {"typeinfo": { OPERATOR_MANIFESTS: {} }},
    });
    file.describe(&mut output);
    output
}

/// The pull spec image by tag, then by each digest, for every registry.
fn repositories(run: &Run) -> Vec<String> {
    let primary = run.tags.class(TagClass::Primary).iter().find(|name| is_version_release(name));
    let Some(name) = primary.or_else(|| run.tags.class(TagClass::Unique).first()) else { return Vec::new() };
    let mut specs = Vec::new();
    for registry in &run.pushed {
        let full = name.with_registry(Some(&registry.host));
        specs.push(full.with_explicit_tag().to_string());
        let digests = registry.digests.get(&name.with_explicit_tag().to_string());
        specs.extend(
            digests.into_iter().flat_map(|d| d.values()).map(|digest| full.with_digest(digest.clone()).to_string()),
        );
    }
    specs
}

/// A dash at neither the first nor the last place.
fn is_version_release(name: &PullSpec) -> bool {
    name.tag().is_some_and(|tag| tag.trim_matches('-') == tag && tag.contains('-'))
}

/// Media type -> digest, of the first registry.
fn digests(run: &Run) -> BTreeMap<String, String> {
    let first = run.pushed.first().map(|registry| registry.digests.values().flatten());
    let pairs = first.into_iter().flatten();
    pairs.map(|(version, digest)| (media_type(version).to_owned(), digest.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_version_release(name: &str, expected: bool) {
        assert_eq!(is_version_release(&name.parse().unwrap()), expected, "{name}");
    }

    #[test]
    fn names_with_version_and_release() {
        check_version_release("web:7-3", true);
        check_version_release("web:latest", false);
        check_version_release("web:7-", false);
        check_version_release("web", false);
    }
}
