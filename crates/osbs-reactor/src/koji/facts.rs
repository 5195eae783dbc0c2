//! What the metadata says of a whole build, gathered from the run and from the hub (`reactor.md` 3.6.2, 3.6.3).

use super::KojiSite;
use super::metadata::{BuildFacts, FinalNames, ImageFacts, IndexFacts, media_type};
use crate::floating::version;
use crate::plugin::PluginError;
use crate::run::{PushedRegistry, Run, TagClass};
use osbs_dockerfile::{LabelMap, find_label};
use osbs_image::media_type::is_index;
use osbs_types::{Phase, PullSpec, without_logins};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Everything but what files say of themselves.
pub(crate) async fn gather(run: &Run, koji: &KojiSite) -> Result<BuildFacts, PluginError> {
    let labels = run.dockerfile_labels()?;
    let task_id = run.koji_task_id();
    let owner = match task_id {
        Some(task) => koji.owner_of_task(task).await?,
        None => None,
    };
    Ok(BuildFacts {
        name: label(&labels, "com.redhat.component")?,
        version: label(&labels, "version")?,
        release: label(&labels, "release")?,
        source: source(run)?,
        start_time: run.started.as_second(),
        end_time: run.services.clock.now().as_second(),
        owner,
        build_id: run.koji_reservation.as_ref().map(|reservation| reservation.build_id),
        metadata_only: false,
        task_id,
        filesystem_task_id: filesystem_task(run),
        submitter: koji.user().await?,
        operator_manifests: operator_manifests(run),
        image: image(run)?,
    })
}

fn label(labels: &LabelMap, name: &str) -> Result<String, PluginError> {
    let found = find_label(labels, name).map(|(_, value)| value).filter(|value| !value.is_empty());
    found.map(str::to_owned).ok_or_else(|| {
        PluginError::user(format!("the Dockerfile lacks label {name}, without which there is no build in Koji"))
    })
}

/// `URL#COMMIT`.
fn source(run: &Run) -> Result<String, PluginError> {
    let source = run.source()?;
    let is_git = run.request.source.provider.eq_ignore_ascii_case("git");
    match source.commit_id().filter(|_| is_git) {
        Some(commit) => Ok(format!("{}#{commit}", without_logins(source.uri()))),
        None => Err(PluginError::user("only builds of a git repository can be in Koji")),
    }
}

fn filesystem_task(run: &Run) -> Option<i64> {
    run.result(Phase::Prebuild, "add_filesystem")?.get("filesystem-koji-task-id")?.as_i64()
}

/// Of this run, or of the worker that has some.
fn operator_manifests(run: &Run) -> Option<String> {
    let own = || run.operator_manifests.as_ref()?.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let fragments = run.result(Phase::Postbuild, "fetch_worker_metadata").and_then(Value::as_object);
    let outputs = fragments.into_iter().flatten().filter_map(|(_, fragment)| fragment["output"].as_array()).flatten();
    let found = outputs.filter(|output| output["type"] == super::metadata::OPERATOR_MANIFESTS);
    found.filter_map(|output| output["filename"].as_str()).map(str::to_owned).next().or_else(own)
}

fn image(run: &Run) -> Result<ImageFacts, PluginError> {
    let parents = run.result(Phase::Prebuild, "koji_parent");
    let of_parent = |key: &str| parents.and_then(|found| found.get(key));
    let base = of_parent("parent-image-koji-build").and_then(|build| build["id"].as_i64());
    let autorebuild = run.result(Phase::Prebuild, "check_and_set_rebuild") == Some(&Value::Bool(true));
    let urls = run.all_yum_repourls.as_ref().unwrap_or(&run.user_params.yum_repourls);
    Ok(ImageFacts {
        autorebuild: autorebuild || run.build.flag("is_autorebuild"),
        isolated: run.is_isolated(),
        parent_build_id: base,
        parent_image_builds: of_parent("parent-images-koji-builds").and_then(Value::as_object).cloned(),
        parent_images: run.parents.ordered.clone(),
        media_types: media_types(run),
        help: help(run),
        yum_repourls: urls.iter().map(|url| without_logins(url)).collect(),
        go: run.container_yaml()?.go,
        index: index(run)?,
    })
}

/// A worker's annotation, which is JSON.
fn annotation(annotations: &BTreeMap<String, String>, name: &str) -> Option<Value> {
    serde_json::from_str(annotations.get(name)?).ok()
}

/// Those of the first worker that has some, and those of this run.
fn media_types(run: &Run) -> BTreeSet<String> {
    let of_worker = run.workers.values().find_map(|worker| annotation(&worker.build.annotations, "media-types"));
    let own = [(Phase::Postbuild, "pulp_pull"), (Phase::Exit, "pulp_pull"), (Phase::Exit, "verify_media")];
    let own = own.into_iter().filter_map(|(phase, plugin)| run.result(phase, plugin).cloned());
    let all = of_worker.into_iter().chain(own).filter_map(|types| types.as_array().cloned()).flatten();
    all.filter_map(|media_type| media_type.as_str().map(str::to_owned)).collect()
}

/// The first file name that any worker, or this run, reports; null: all report that there is none.
fn help(run: &Run) -> Option<Value> {
    let of_workers = run.workers.values().filter_map(|worker| annotation(&worker.build.annotations, "help_file"));
    let own = run.result(Phase::Prebuild, "add_help").and_then(|result| result.get("help_file")).cloned();
    let reported: Vec<Value> = of_workers.chain(own).collect();
    if reported.is_empty() {
        return None;
    }
    Some(reported.into_iter().find(Value::is_string).unwrap_or_default())
}

fn tags(run: &Run, class: TagClass) -> Vec<String> {
    run.tags.class(class).iter().filter_map(PullSpec::tag).map(str::to_owned).collect()
}

/// What a scratch build's image is called by: all its names; of others the primary ones.
fn main_tags(run: &Run) -> Vec<String> {
    if run.is_scratch() {
        return run.tags.all().filter_map(PullSpec::tag).map(str::to_owned).collect();
    }
    tags(run, TagClass::Primary)
}

/// The name that pull specs are made of: the first primary one, of a scratch build the first of all.
fn main_name(run: &Run) -> Option<&PullSpec> {
    let primary = run.tags.class(TagClass::Primary).first();
    if run.is_scratch() { run.tags.all().next() } else { primary }
}

/// Pulp's registry if the image is there, else the first.
fn main_registry(published: &[PushedRegistry]) -> Option<&PushedRegistry> {
    published.iter().find(|registry| registry.server_side_sync).or_else(|| published.first())
}

/// Media type -> digest of what stands for that name in a registry.
fn digests_of(registry: &PushedRegistry, name: &PullSpec) -> BTreeMap<String, String> {
    let key = name.with_explicit_tag().with_registry(None).to_string();
    let found = registry.digests.get(&key).into_iter().flatten();
    found.map(|(version, digest)| (media_type(version).to_owned(), digest.to_string())).collect()
}

/// Of the index that `group_manifests` has made; `None`: it made none.
fn index(run: &Run) -> Result<Option<IndexFacts>, PluginError> {
    let made = run.result(Phase::Postbuild, "group_manifests").and_then(Value::as_object);
    if made.is_none_or(serde_json::Map::is_empty) {
        return Ok(None);
    }
    let published = run.published();
    let (Some(name), Some(registry)) = (main_name(run), main_registry(&published)) else {
        return Err(PluginError::internal("the image has no name to be pulled by, so the metadata cannot tell one"));
    };
    let digests: BTreeMap<_, _> =
        digests_of(registry, name).into_iter().filter(|(media_type, _)| is_index(media_type)).collect();
    let full = name.with_registry(Some(&registry.host));
    let by_digest = digests.values().next().and_then(|digest| Some(full.with_digest(digest.parse().ok()?)));
    Ok(Some(IndexFacts {
        tags: main_tags(run),
        floating_tags: tags(run, TagClass::Floating),
        unique_tags: tags(run, TagClass::Unique),
        pull: by_digest.map(|spec| spec.to_string()).into_iter().chain([full.to_string()]).collect(),
        digests,
    }))
}

/// The final names of the one image of a build without an index.
pub(crate) fn final_names(run: &Run) -> FinalNames {
    let published = run.published();
    let name = main_name(run);
    let digests = name.and_then(|name| Some(digests_of(main_registry(&published)?, name)));
    FinalNames {
        tags: main_tags(run),
        floating_tags: tags(run, TagClass::Floating),
        unique_tags: tags(run, TagClass::Unique),
        pull_tag: name.and_then(PullSpec::tag).map(str::to_owned),
        digests: digests.filter(|digests| !digests.is_empty()).unwrap_or_else(|| worker_digests(run)),
    }
}

/// What the worker says of its image, where the orchestrator has pushed nothing (arrangement 3).
fn worker_digests(run: &Run) -> BTreeMap<String, String> {
    let entries = run.workers.values().find_map(|worker| annotation(&worker.build.annotations, "digests"));
    let entries = entries.and_then(|entries| entries.as_array().cloned()).unwrap_or_default();
    let pair = |entry: &Value| {
        let kind = entry["version"].as_str().map(media_type)?;
        Some((kind.to_owned(), entry["digest"].as_str()?.to_owned()))
    };
    entries.iter().filter_map(pair).filter(|(kind, _)| version(kind) != "unknown").collect()
}
