//! `create_worker_build`: what an orchestrator asks of a worker cluster (`client-and-koji.md` 2.3, 2.8, 2.9).

use crate::error::ClientError;
use crate::orchestrator::check_image;
use crate::osbs::Osbs;
use crate::render::Rendering;
use crate::request::WorkerBuildRequest;
use crate::submit::{labels_of, unique_name};
use osbs_arrangement::LATEST;
use osbs_cluster::{Build, GitSource, NameRule, NewBuild, TextMap};
use osbs_config::UserParams;
use osbs_types::BuildType;
use serde_json::{Map, Value};

const WORKER: &str = "a worker build";

impl Osbs {
    /// Creates a worker build. The repository is not looked at again; the request says all.
    ///
    /// # Errors
    /// A parameter is missing or has the wrong type, or the cluster failed.
    pub async fn create_worker_build(&self, request: &WorkerBuildRequest) -> Result<Build, ClientError> {
        let new = self.preview_worker_build(request).await?;
        let base = match &request.parent {
            Some(parent) => format!("{parent}-{}", request.platform),
            None => format!("worker-{}-{}", unique_name(), request.platform),
        };
        self.create_named(new, &base).await
    }

    /// What [`Osbs::create_worker_build`] would create. Creates nothing; its name is not decided.
    ///
    /// # Errors
    /// As there.
    pub async fn preview_worker_build(&self, request: &WorkerBuildRequest) -> Result<NewBuild, ClientError> {
        if request.parameters.get("platforms").is_some_and(|platforms| !is_empty(platforms)) {
            return Err(ClientError::Unwanted { build: WORKER, parameter: "platforms" });
        }
        if request.release.is_empty() {
            return Err(ClientError::Missing { build: WORKER, parameters: vec!["release"] });
        }
        let version = request.arrangement_version;
        if !(1..=LATEST).contains(&version) {
            return Err(ClientError::Invalid {
                parameter: "arrangement_version".to_owned(),
                value: version.to_string(),
                expected: format!("1 to {LATEST}"),
            });
        }
        let params = self.worker_params(request)?;
        let image = params.image_tag.clone().unwrap_or_default();
        let source = GitSource {
            uri: params.git_uri.clone(),
            git_ref: params.git_ref.clone().unwrap_or_else(|| "master".into()),
        };
        let is_auto = request.parameters.get("is_auto") == Some(&Value::Bool(true));
        let mut new = NewBuild::new(NameRule::Config { build_config: String::new() }, BuildType::Worker, source, image);
        new.labels = worker_labels(&params);
        new.platform = Some(request.platform.clone());
        new.parent.clone_from(&request.parent);
        new.slots.clone_from(&request.slots);
        new.limits = self.limits();
        new.build_image = self.build_image();
        new.node_selector = self.node_selector(&params, is_auto);
        let rendering = Rendering {
            build_type: BuildType::Worker,
            arrangement_version: version,
            params: &params,
            is_auto,
            autorebuild_enabled: false,
        };
        self.render_into(&mut new, &rendering).await?;
        Ok(new)
    }

    fn worker_params(&self, request: &WorkerBuildRequest) -> Result<UserParams, ClientError> {
        let mut object: Map<String, Value> = request
            .parameters
            .iter()
            .filter(|(_, value)| !is_empty(value))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        // The keyword argument and the user parameter have different names.
        if let Some(target) = object.shift_remove("target") {
            object.insert("koji_target".to_owned(), target);
        }
        object.shift_remove("is_auto");
        object.insert("platform".to_owned(), request.platform.as_str().into());
        object.insert("release".to_owned(), request.release.as_str().into());
        object.insert("arrangement_version".to_owned(), request.arrangement_version.into());
        object.insert("build_type".to_owned(), BuildType::Worker.as_str().into());
        let dir = self.instance.builder_build_json_dir.as_ref().or(self.general.build_json_dir.as_ref());
        if let Some(dir) = dir {
            object.entry("build_json_dir").or_insert_with(|| dir.as_str().into());
        }
        let mut params = UserParams::from_json(&Value::Object(object), "parameters of the worker build")?;
        let component = params.component.clone().unwrap_or_else(|| "unknown".to_owned());
        let tag = unique_name().image_tag(
            &params.user,
            &component,
            params.koji_target.as_deref(),
            Some(&request.platform),
            request.arrangement_version,
        );
        check_image(&tag, &params.user, &component)?;
        params.image_tag = Some(tag);
        Ok(params)
    }

    /// The selector of the kind of build, and the platform's over it.
    fn node_selector(&self, params: &UserParams, is_auto: bool) -> TextMap {
        let config = &self.instance;
        let mut selector = if is_auto {
            config.auto_build_node_selector.clone()
        } else if params.scratch {
            let old = &config.low_priority_node_selector;
            if config.scratch_build_node_selector.is_empty() { old } else { &config.scratch_build_node_selector }
                .clone()
        } else if params.isolated {
            config.isolated_build_node_selector.clone()
        } else {
            config.explicit_build_node_selector.clone()
        };
        let platform = params.platform.as_ref().and_then(|platform| config.node_selectors.get(platform.as_str()));
        selector.extend(platform.cloned().unwrap_or_default());
        selector
    }
}

fn worker_labels(params: &UserParams) -> TextMap {
    let mut labels = labels_of(params);
    if let Some(task) = params.koji_task_id {
        labels.insert("koji-task-id".to_owned(), task.to_string());
    }
    if params.scratch {
        labels.insert("scratch".to_owned(), "true".to_owned());
    }
    if params.isolated {
        labels.insert("isolated".to_owned(), "true".to_owned());
    }
    labels
}

/// Null and what Python takes for false: not transmitted.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
