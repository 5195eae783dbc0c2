//! `store_metadata_in_osv3`: what happened, as annotations and labels of the Build object (`reactor.md` 3.5.7).
//!
//! Runs for failed builds too, so everything it reads may be missing.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use osbs_cluster::BuildPatch;
use osbs_types::Phase;
use serde_json::{Map, Value, json};

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("store_metadata_in_osv3", &[Phase::Exit], |_| Ok(Box::new(StoreMetadata))).accepts(&[
        "url",
        "verify_ssl",
        "use_auth",
    ])
}

struct StoreMetadata;

#[async_trait]
impl Plugin for StoreMetadata {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let annotations = annotations(run);
        let labels = labels(run);
        let mut patch = BuildPatch::default();
        for (name, value) in &annotations {
            patch = patch.annotation(name, value.as_str().unwrap_or_default());
        }
        for (name, value) in &labels {
            patch = patch.label(name, value.as_str().unwrap_or_default());
        }
        run.services.cluster.update_build(&run.build.name, patch).await.map_err(|error| {
            run.log().debug(format!("annotations that could not be stored: {}", Value::Object(annotations.clone())));
            PluginError::from(error)
        })?;
        Ok(Done::Value(json!({ "annotations": annotations, "labels": labels })))
    }
}

/// All annotations; every value is a string.
pub(super) fn annotations(run: &Run) -> Map<String, Value> {
    let mut all = Map::new();
    let mut set = |name: &str, value: String| {
        all.insert(name.to_owned(), Value::from(value));
    };
    set("dockerfile", run.dockerfile().map(|file| file.text().to_owned()).unwrap_or_default());
    set("repositories", repositories(run).to_string());
    set("commit_id", run.source_tree.as_ref().and_then(|tree| tree.commit_id()).unwrap_or_default().to_owned());
    let parents = &run.parents;
    let base_id = parents.base_inspect.as_ref().and_then(|inspect| inspect.image_id.as_ref());
    set("base-image-id", base_id.map(ToString::to_string).unwrap_or_default());
    set("base-image-name", parents.original_base_image.clone().unwrap_or_default());
    set("image-id", run.image_id().map(ToString::to_string).unwrap_or_default());
    set("digests", digests(run).to_string());
    let mut images: Map<_, _> = parents.images.iter().map(|(name, usable)| (name.clone(), json!(usable))).collect();
    if parents.ordered.iter().any(|name| name == "scratch") {
        images.insert("scratch".to_owned(), "scratch".into());
    }
    set("parent_images", Value::Object(images).to_string());
    let records = &run.records;
    let metadata =
        json!({ "errors": records.errors, "timestamps": records.timestamps, "durations": records.durations });
    set("plugins-metadata", metadata.to_string());
    if let Some(disk) = run.disk.get() {
        set("filesystem", json!(disk).to_string());
    }
    if let Some(help) = run.result(Phase::Prebuild, "add_help").and_then(|result| result.get("help_file")) {
        set("help_file", help.to_string());
    }
    if let Some(media_types) = media_types(run) {
        set("media-types", media_types.to_string());
    }
    if let Some(tar) = tar_metadata(run) {
        set("tar_metadata", tar.to_string());
    }
    let fragment = run.result(Phase::Postbuild, "koji_upload");
    for name in ["metadata_fragment", "metadata_fragment_key"] {
        if let Some(value) = fragment.and_then(|fragment| fragment.get(name)).and_then(Value::as_str) {
            set(name, value.to_owned());
        }
    }
    overridden_by_builder(run, &mut all);
    all
}

/// The build result's annotations win, but `repositories` not once `group_manifests` has made the final names.
fn overridden_by_builder(run: &Run, all: &mut Map<String, Value>) {
    let grouped = run.result(Phase::Postbuild, "group_manifests").is_some();
    for (name, value) in run.build_result.iter().flat_map(|result| &result.annotations) {
        if !(grouped && name == "repositories") {
            all.insert(name.clone(), value.to_string().into());
        }
    }
}

/// What says which names stand where, for whoever has to correct it.
pub(super) fn annotations_of_pushes(run: &Run) -> [(&'static str, String); 2] {
    [("repositories", repositories(run).to_string()), ("digests", digests(run).to_string())]
}

/// Every name on every registry this build has pushed it to.
fn repositories(run: &Run) -> Value {
    let of = |class| {
        let mut names = Vec::new();
        for registry in &run.published() {
            for image in run.tags.class(class) {
                let key = format!("{}:{}", image.repository(), image.tag().unwrap_or("latest"));
                if registry.digests.contains_key(&key) {
                    names.push(format!("{}/{key}", registry.host));
                }
            }
        }
        names
    };
    json!({
        "primary": of(TagClass::Primary),
        "unique": of(TagClass::Unique),
        "floating": of(TagClass::Floating),
    })
}

fn digests(run: &Run) -> Value {
    let mut entries = Vec::new();
    for registry in &run.published() {
        for (name, versions) in &registry.digests {
            let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
            for (version, digest) in versions {
                entries.push(json!({
                    "registry": registry.host,
                    "repository": repository,
                    "tag": tag,
                    "digest": digest,
                    "version": version,
                }));
            }
        }
    }
    Value::Array(entries)
}

fn media_types(run: &Run) -> Option<Value> {
    let found = [(Phase::Postbuild, "pulp_pull"), (Phase::Exit, "pulp_pull"), (Phase::Exit, "verify_media")]
        .into_iter()
        .find_map(|(phase, plugin)| run.result(phase, plugin)?.as_array());
    let mut types: Vec<_> = found?.iter().filter_map(Value::as_str).collect();
    types.sort_unstable();
    types.dedup();
    (!types.is_empty()).then(|| json!(types))
}

/// Of the last exported image, when all four are known.
fn tar_metadata(run: &Run) -> Option<Value> {
    let last = run.exported_images.last()?;
    Some(json!({
        "size": last.size?,
        "md5sum": last.md5sum.as_ref()?,
        "sha256sum": last.sha256sum.as_ref()?,
        "filename": last.path.file_name()?.to_string_lossy(),
    }))
}

fn labels(run: &Run) -> Map<String, Value> {
    let mut labels = Map::new();
    let koji = [(Phase::Exit, "koji_import"), (Phase::Exit, "koji_promote")]
        .into_iter()
        .find_map(|(phase, plugin)| run.result(phase, plugin).filter(|value| !value.is_null()));
    if let Some(id) = koji {
        labels.insert("koji-build-id".to_owned(), text_of(id));
    }
    let filesystem = run.result(Phase::Prebuild, "add_filesystem");
    if let Some(task) = filesystem.and_then(|result| result.get("filesystem-koji-task-id")).filter(|id| !id.is_null()) {
        labels.insert("filesystem-koji-task-id".to_owned(), text_of(task));
    }
    for (name, value) in run.build_result.iter().flat_map(|result| &result.labels) {
        labels.insert(name.clone(), value.as_str().into());
    }
    labels
}

fn text_of(value: &Value) -> Value {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BuildResult;
    use crate::build_json::PluginLists;
    use crate::testing::{run_with, run_without_source};
    use osbs_cluster::Cluster;
    use osbs_types::{Digest, ErrorKind, Failure};

    fn json_of(build: &osbs_cluster::Build, name: &str) -> Value {
        serde_json::from_str(&build.annotations[name]).unwrap()
    }

    #[tokio::test]
    async fn a_build_that_got_nowhere_is_stored_too() {
        let mut test = run_without_source(PluginLists::default()).await;
        test.run.records.errors.insert("source".to_owned(), "no such branch".into());
        test.plugin(&plugin(), json!({})).await.unwrap();
        let build = test.cluster.get_build(&test.run.build.name).await.unwrap();
        assert_eq!(build.annotations["dockerfile"], "");
        assert_eq!(build.annotations["commit_id"], "");
        assert_eq!(json_of(&build, "plugins-metadata")["errors"]["source"], "no such branch");
        assert_eq!(json_of(&build, "repositories"), json!({"primary": [], "unique": [], "floating": []}));
        assert!(build.labels.is_empty());
    }

    #[tokio::test]
    async fn names_digests_and_the_builders_annotations() {
        let mut test = run_with("FROM fedora\nFROM scratch\n", &[], PluginLists::default()).await;
        let run = &mut test.run;
        let digest = Digest::from_sha256(&[1; 32]);
        run.tags.add(TagClass::Unique, "ns/web:u".parse().unwrap());
        run.tags.add(TagClass::Primary, "ns/web:1-1".parse().unwrap());
        let record = run.pushed_registry("r.io");
        record.digests.entry("ns/web:u".to_owned()).or_default().insert("oci".to_owned(), digest.clone());
        let mut result = BuildResult::failed(Failure::message(ErrorKind::User, "no"));
        result.annotations.insert("worker-builds".to_owned(), json!({"x86_64": {}}));
        result.annotations.insert("repositories".to_owned(), json!({"unique": ["theirs"]}));
        result.labels.insert("koji-build-id".to_owned(), "12".to_owned());
        run.build_result = Some(result);
        test.plugin(&plugin(), json!({})).await.unwrap();
        let build = test.cluster.get_build(&test.run.build.name).await.unwrap();
        assert_eq!(json_of(&build, "repositories"), json!({"unique": ["theirs"]}));
        assert_eq!(json_of(&build, "worker-builds"), json!({"x86_64": {}}));
        let entry = json!({"registry": "r.io", "repository": "ns/web", "tag": "u", "digest": digest, "version": "oci"});
        assert_eq!(json_of(&build, "digests"), json!([entry]));
        assert_eq!(json_of(&build, "parent_images"), json!({"fedora:latest": null, "scratch": "scratch"}));
        assert_eq!(build.annotations["base-image-name"], "");
        assert_eq!(build.labels["koji-build-id"], "12");

        test.run
            .records
            .results
            .entry(Phase::Postbuild)
            .or_default()
            .insert("group_manifests".to_owned(), Ok(json!({})));
        test.plugin(&plugin(), json!({})).await.unwrap();
        let build = test.cluster.get_build(&test.run.build.name).await.unwrap();
        // Only what was really pushed.
        let own = json!({"primary": [], "unique": ["r.io/ns/web:u"], "floating": []});
        assert_eq!(json_of(&build, "repositories"), own, "M12: the orchestrator's own names");
    }
}
