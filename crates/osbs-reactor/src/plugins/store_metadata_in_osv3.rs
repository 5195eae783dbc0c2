//! `store_metadata_in_osv3`: what happened, as annotations and labels of the Build object (`reactor.md` 3.5.7).
//!
//! Runs for failed builds too, so everything it reads may be missing.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{Run, TagClass};
use async_trait::async_trait;
use osbs_cluster::BuildPatch;
use osbs_types::{Phase, PullSpec, without_logins};
use serde_json::{Map, Value, json};

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("store_metadata_in_osv3", &[Phase::Exit], |_| Ok(Box::new(StoreMetadata)))
        .purpose("Records what happened as annotations and labels of the build; of a failed one too.")
        .accepts(&["url", "verify_ssl", "use_auth"])
        .reads(&[
            "the Dockerfile as it is now, the commit, base image and parents",
            "names of the image and what was pushed under them",
            "the builder's annotations and labels; results of `add_help`, `add_filesystem`, `koji_upload`, `koji_import`, \
             `koji_promote`, `pulp_pull`, `verify_media`",
            "errors, times and durations of all plugins so far; extremes of the file system",
        ])
        .writes(&[
            "annotations dockerfile, repositories, commit_id, base-image-id, base-image-name, image-id, digests, \
             parent_images, plugins-metadata, filesystem; where there is something to tell help_file, media-types, \
             tar_metadata, metadata_fragment, metadata_fragment_key, worker-builds",
            "labels koji-build-id, filesystem-koji-task-id",
        ])
}

/// Most bytes of all annotations together: Kubernetes takes no more of one object.
const MOST_BYTES: usize = 256 << 10;
/// Kept free for annotations that are there already.
const RESERVE: usize = 16 << 10;
/// Most bytes of the Dockerfile. It is in the repository and, whole, in the image.
const LONGEST_DOCKERFILE: usize = 64 << 10;
/// Most bytes of what one plugin failed of; the log has it whole.
const LONGEST_ERROR: usize = 4 << 10;

struct StoreMetadata;

#[async_trait]
impl Plugin for StoreMetadata {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let annotations = bounded(run, annotations(run));
        let labels = labels(run);
        let mut patch = BuildPatch::default();
        for (name, value) in &annotations {
            patch = patch.annotation(name, run.services.events.mask(value.as_str().unwrap_or_default()));
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
    let dockerfile = run.dockerfile().map(|file| without_logins(file.text())).unwrap_or_default();
    set("dockerfile", shortened(&dockerfile, LONGEST_DOCKERFILE));
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
    let errors: Map<_, _> =
        records.errors.iter().map(|(name, error)| (name.clone(), error_text(error).into())).collect();
    let metadata = json!({ "errors": errors, "timestamps": records.timestamps, "durations": records.durations });
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

/// An error as it is stored. That of `orchestrate_build` is JSON by platform, which must stay JSON.
fn error_text(error: &Value) -> String {
    let text = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
    match serde_json::from_str::<Value>(&text) {
        Ok(mut reasons @ Value::Object(_)) => {
            shorten_texts(&mut reasons);
            reasons.to_string()
        }
        _ => shortened(&text, LONGEST_ERROR),
    }
}

fn shorten_texts(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > LONGEST_ERROR => *text = shortened(text, LONGEST_ERROR),
        Value::Object(members) => members.values_mut().for_each(shorten_texts),
        Value::Array(items) => items.iter_mut().for_each(shorten_texts),
        _ => {}
    }
}

/// The first bytes of a long text, and how much more there was.
fn shortened(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest);
    format!("{}\n# ... {} more bytes", &text[..end], text.len() - end)
}

/// Lets go of what readers need least until the rest fits: an object that is too large would not be stored at all.
fn bounded(run: &Run, mut all: Map<String, Value>) -> Map<String, Value> {
    let size = |all: &Map<String, Value>| -> usize {
        all.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum()
    };
    for name in ["dockerfile", "parent_images", "plugins-metadata", "worker-builds"] {
        if size(&all) <= MOST_BYTES - RESERVE {
            break;
        }
        if let Some(value) = all.get_mut(name) {
            run.log().warning(format!("annotation {name} is left empty: all together would be too large to be stored"));
            *value = if name == "dockerfile" { "".into() } else { "{}".into() };
        }
    }
    all
}

/// The build result's annotations win, but `repositories` not once `group_manifests` has made the final names.
fn overridden_by_builder(run: &Run, all: &mut Map<String, Value>) {
    let grouped = run.result(Phase::Postbuild, "group_manifests").is_some();
    for (name, value) in run.build_result.iter().flat_map(|result| &result.annotations) {
        if !(grouped && name == "repositories") {
            let mut value = value.clone();
            shorten_texts(&mut value);
            all.insert(name.clone(), value.to_string().into());
        }
    }
}

/// What says which names stand where, for whoever has to correct it.
pub(super) fn annotations_of_pushes(run: &Run) -> [(&'static str, String); 2] {
    [("repositories", repositories(run).to_string()), ("digests", digests(run).to_string())]
}

/// Records the names that are about to be pushed to these registries. A build that is killed leaves no name of which
/// nobody knows; one that is not records in the end what really was pushed.
pub(super) async fn announce_pushes(run: &Run, hosts: &[&str]) -> Result<(), PluginError> {
    let of = |class| {
        let names = run.tags.class(class).iter().filter(|name| !run.moves_last(name));
        let full = |name: &PullSpec| -> Vec<String> {
            hosts.iter().map(|host| format!("{host}/{}", name.with_explicit_tag())).collect()
        };
        names.flat_map(full).collect::<Vec<_>>()
    };
    let announced = json!({
        "primary": of(TagClass::Primary),
        "unique": of(TagClass::Unique),
        "floating": of(TagClass::Floating),
    });
    let patch = BuildPatch::default().annotation("repositories", announced.to_string());
    run.services.cluster.update_build(&run.build.name, patch).await?;
    Ok(())
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
mod tests;
