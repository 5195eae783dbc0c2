//! From the ends of all worker builds to one build result (`reactor.md` 3.3.6).

use crate::plugin::{BuildFailure, BuildResult, BuiltImageId};
use crate::run::WorkerBuild;
use osbs_cluster::Build;
use osbs_types::{ErrorKind, Failure, Platform};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How the build of one platform ended.
pub(super) struct PlatformOutcome {
    pub(super) platform: Platform,
    /// The worker build, if one was created.
    pub(super) worker: Option<WorkerBuild>,
    /// Why it could not be created or watched.
    pub(super) monitoring: Option<Failure>,
}

impl PlatformOutcome {
    pub(super) fn not_started(platform: Platform, failure: Failure) -> Self {
        Self { platform, worker: None, monitoring: Some(failure) }
    }

    fn succeeded(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.build.state.is_success())
    }

    /// Why the platform failed, for the log; `None`: it did not.
    pub(super) fn failure(&self) -> Option<Failure> {
        (!self.succeeded()).then(|| told(self))
    }
}

/// All platforms together.
pub(super) fn combine(outcomes: Vec<PlatformOutcome>) -> BuildResult {
    let builds: Vec<_> =
        outcomes.iter().filter_map(|outcome| Some((&outcome.platform, outcome.worker.as_ref()?))).collect();
    let worker_builds: Map<_, _> =
        builds.iter().map(|(platform, worker)| (platform.to_string(), worker_annotation(worker))).collect();
    let mut annotations = BTreeMap::from([("worker-builds".to_owned(), Value::Object(worker_builds))]);
    if let Some(repositories) = repositories(builds.iter().map(|(_, worker)| &worker.build)) {
        annotations.insert("repositories".to_owned(), repositories);
    }
    let koji_build = builds.iter().find_map(|(_, worker)| worker.build.labels.get("koji-build-id"));
    let labels = koji_build.map(|id| ("koji-build-id".to_owned(), id.clone())).into_iter().collect();
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.succeeded()).collect();
    let image = if failed.is_empty() { Ok(BuiltImageId::Remote) } else { Err(failure(&failed, outcomes.len())) };
    BuildResult { image, annotations, labels, skip_layer_squash: false }
}

/// An annotation's JSON, or the default when it is absent or no JSON.
fn annotation(build: &Build, name: &str, default: Value) -> Value {
    build.annotations.get(name).and_then(|text| serde_json::from_str(text).ok()).unwrap_or(default)
}

fn worker_annotation(worker: &WorkerBuild) -> Value {
    let build = &worker.build;
    let mut entry = json!({
        "build": {
            "cluster-url": worker.cluster.url(),
            "namespace": build.namespace,
            "build-name": build.name.as_str(),
        },
        "digests": annotation(build, "digests", json!([])),
        "plugins-metadata": annotation(build, "plugins-metadata", json!({})),
    });
    let fragment = ["metadata_fragment", "metadata_fragment_key"];
    if fragment.iter().all(|name| build.annotations.contains_key(*name)) {
        for name in fragment {
            entry[name] = build.annotations[name].as_str().into();
        }
    }
    entry
}

/// Sorted unions of the workers' repositories by class (M40: floating too).
fn repositories<'a>(builds: impl Iterator<Item = &'a Build>) -> Option<Value> {
    let mut classes: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for build in builds.filter(|build| build.annotations.contains_key("repositories")) {
        let repositories = annotation(build, "repositories", json!({}));
        for class in ["unique", "primary", "floating"] {
            let names = repositories[class].as_array().into_iter().flatten().filter_map(Value::as_str);
            classes.entry(class).or_default().extend(names.map(str::to_owned));
        }
    }
    (!classes.is_empty()).then(|| json!(classes))
}

/// The stored JSON by platform, and the same for people. Messages name no platform: they go into the orchestrator's own
/// lines of the log, and lines with a platform's name belong to that platform's worker.
fn failure(failed: &[&PlatformOutcome], total: usize) -> BuildFailure {
    let reasons: Map<_, _> =
        failed.iter().map(|outcome| (outcome.platform.to_string(), Value::Object(reason(outcome)))).collect();
    let told: Vec<_> = failed.iter().map(|outcome| told(outcome)).collect();
    let failure = match &told[..] {
        [only] => {
            let step = only.step.as_deref().unwrap_or("worker build");
            Failure { step: Some(format!("{step} on {}", failed[0].platform)), ..only.clone() }
        }
        several => {
            let names: Vec<_> = failed.iter().map(|outcome| outcome.platform.as_str()).collect();
            let text = format!("{} of {total} worker builds failed", names.len());
            let mut failure = Failure::message(kind(several), text);
            failure.causes = names.iter().zip(several).map(|(name, failure)| format!("{name}: {failure}")).collect();
            failure
        }
    };
    BuildFailure { fail_reason: Value::Object(reasons).to_string(), failure }
}

/// What one platform failed of.
fn reason(outcome: &PlatformOutcome) -> Map<String, Value> {
    let mut reason = Map::new();
    match (&outcome.monitoring, &outcome.worker) {
        (Some(failure), Some(_)) => {
            reason.insert("general".to_owned(), failure.to_string().into());
        }
        (Some(failure), None) => {
            reason.insert("general".to_owned(), format!("build not started: {failure}").into());
        }
        _ => {}
    }
    if let Some(worker) = &outcome.worker {
        let metadata = annotation(&worker.build, "plugins-metadata", json!({}));
        let errors = metadata["errors"].as_object().cloned().unwrap_or_default();
        if errors.is_empty() {
            let why = worker.build.reason.clone().unwrap_or_else(|| worker.build.state.to_string());
            reason.insert("pod".to_owned(), json!({ "reason": why }));
        }
        reason.extend(errors);
    }
    reason
}

/// The failure of one platform for people: the worker's own, if it left one.
fn told(outcome: &PlatformOutcome) -> Failure {
    let worker = outcome.worker.as_ref();
    if let Some(failure) = worker.and_then(|worker| worker.build.failure.clone()) {
        return failure;
    }
    match (&outcome.monitoring, worker) {
        (Some(failure), None) => {
            Failure { message: format!("build not started: {}", failure.message), ..failure.clone() }
        }
        (Some(failure), Some(_)) => failure.clone(),
        (None, Some(worker)) => {
            let build = &worker.build;
            let why = build.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            let kind = if build.cancel_requested { ErrorKind::User } else { ErrorKind::Internal };
            Failure::message(kind, format!("worker build {} ended {}{why}", build.name, build.state))
        }
        (None, None) => Failure::message(ErrorKind::Internal, "build not started"),
    }
}

/// The same kind if all agree, else the first that is somebody's turn.
fn kind(failures: &[Failure]) -> ErrorKind {
    let order = [ErrorKind::User, ErrorKind::Policy, ErrorKind::Resource, ErrorKind::Remote, ErrorKind::Internal];
    order.into_iter().find(|kind| failures.iter().any(|failure| failure.kind == *kind)).unwrap_or(ErrorKind::Internal)
}
