//! Parameters of worker builds (`reactor.md` 3.3.2, 3.3.3).

use crate::koji::upload::upload_directory;
use crate::plugin::PluginError;
use crate::run::Run;
use osbs_dockerfile::find_label;
use osbs_types::{Phase, Platform};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What holds for all workers, computed once.
pub(super) struct Common {
    pub(super) release: String,
    pub(super) arrangement_version: u32,
    parameters: Map<String, Value>,
    reactor_config: Option<Value>,
    overrides: BTreeMap<Option<Platform>, Map<String, Value>>,
}

impl Common {
    /// Gathers it from the run; decides the Koji upload folder.
    pub(super) fn gather(
        run: &mut Run,
        build_kwargs: &Map<String, Value>,
        platforms: &BTreeSet<Platform>,
    ) -> Result<Self, PluginError> {
        let labels = run.dockerfile_labels()?;
        let release = find_label(&labels, "release").map(|(_, value)| value.to_owned()).filter(|text| !text.is_empty());
        let release = release.ok_or_else(|| {
            PluginError::user("the release label is missing, so no worker build can be made")
                .with_hint("set the label `release` in the Dockerfile or pass a release")
        })?;
        let mut parameters = build_kwargs.clone();
        parameters.shift_remove("architecture");
        let upload_dir = upload_directory(run, None);
        parameters.insert("koji_upload_dir".to_owned(), upload_dir.into());
        parameters.insert("release".to_owned(), release.clone().into());
        let is_auto = run.result(Phase::Prebuild, "check_and_set_rebuild").is_some_and(|value| *value == json!(true));
        parameters.insert("is_auto".to_owned(), is_auto.into());
        if let Some(task) = filesystem_task(run)? {
            parameters.insert("filesystem_koji_task_id".to_owned(), task.into());
        }
        if !run.parents.digests.is_empty() {
            parameters.insert("parent_images_digests".to_owned(), json!(run.parents.digests));
        }
        if let Some(platform) = extracts_manifests(platforms) {
            parameters.insert("operator_manifests_extract_platform".to_owned(), platform.as_str().into());
        }
        let arrangement_version = arrangement_version(run, build_kwargs)?;
        parameters.insert("arrangement_version".to_owned(), arrangement_version.into());
        Ok(Self {
            release,
            arrangement_version,
            parameters,
            reactor_config: reactor_config(run)?,
            overrides: run.build_kwarg_overrides.clone(),
        })
    }

    /// The parameters of one worker on a cluster whose `openshift` section is this.
    pub(super) fn of_worker(&self, platform: &Platform, openshift: Value) -> Map<String, Value> {
        let mut parameters = self.parameters.clone();
        parameters.insert("platform".to_owned(), platform.as_str().into());
        if let Some(config) = &self.reactor_config {
            let mut config = config.clone();
            config["openshift"] = openshift;
            parameters.insert("reactor_config_override".to_owned(), config);
        }
        for key in [None, Some(platform.clone())] {
            let changes = self.overrides.get(&key).cloned().unwrap_or_default();
            parameters.extend(changes);
        }
        parameters
    }
}

/// The Koji task that makes the file systems, when `add_filesystem` started one.
fn filesystem_task(run: &Run) -> Result<Option<i64>, PluginError> {
    const KEY: &str = "filesystem-koji-task-id";
    match run.result(Phase::Prebuild, "add_filesystem") {
        None | Some(Value::Null) => Ok(None),
        Some(result) => match result.get(KEY) {
            Some(Value::Null) => Ok(None),
            Some(id) if id.is_i64() => Ok(id.as_i64()),
            other => Err(PluginError::internal(format!("add_filesystem gave no number as {KEY}: {other:?}"))),
        },
    }
}

/// One platform, always the same: this machine's, else the first (M20).
fn extracts_manifests(platforms: &BTreeSet<Platform>) -> Option<&Platform> {
    platforms.get(&Platform::native()).or_else(|| platforms.first())
}

fn arrangement_version(run: &Run, build_kwargs: &Map<String, Value>) -> Result<u32, PluginError> {
    if let Some(version) = run.config.arrangement_version {
        return Ok(version);
    }
    let version = build_kwargs.get("arrangement_version").and_then(Value::as_u64);
    version
        .and_then(|version| u32::try_from(version).ok())
        .or(run.user_params.arrangement_version)
        .ok_or_else(|| PluginError::internal("no arrangement_version: neither in the configuration nor in the request"))
}

/// The orchestrator's configuration as workers get it.
fn reactor_config(run: &Run) -> Result<Option<Value>, PluginError> {
    if !run.config_loaded {
        return Ok(None);
    }
    let mut config = run.config.raw().clone();
    let Some(object) = config.as_object_mut() else { return Ok(None) };
    object.shift_remove("worker_token_secrets");
    if let Some(versions) = object.get_mut("content_versions") {
        let kept: Vec<_> =
            versions.as_array().into_iter().flatten().filter(|version| *version == "v2").cloned().collect();
        if kept.is_empty() {
            return Err(PluginError::policy(
                "content_versions in config.yaml leaves nothing to produce: only v2 is known",
            ));
        }
        *versions = Value::Array(kept);
    }
    Ok(Some(config))
}
