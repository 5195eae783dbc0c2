//! Builds as callers see them: made, listed, waited for, changed, cancelled.

use crate::KubernetesCluster;
use crate::client::{Pauses, asked, code};
use crate::closing::close_if_dead;
use crate::job::{self, JobFacts, facts, to_text};
use crate::names::{self, FINISHED, STATE, check_keys, label_value};
use crate::{pod_reason, turns};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams, PostParams};
use osbs_cluster::{Build, BuildFilter, BuildPatch, ClusterError, NameRule, NewBuild, WaitFor};
use osbs_types::{BuildName, BuildState, BuildType, Timestamp};
use serde_json::json;

/// Reason of a build that somebody cancels.
const CANCELLED: &str = "cancelled on request";

/// Records a build and makes a pass. In a task of its own: a caller who goes away leaves a whole build or none.
pub(crate) async fn create(cluster: &KubernetesCluster, new: NewBuild) -> Result<Build, ClusterError> {
    let cluster = cluster.clone();
    let task = tokio::spawn(async move {
        let build = record(&cluster, new).await?;
        // The build is there now: that others cannot be started at this moment is no failure of it. Who waits for it makes
        // passes too, and so does whoever ends a build.
        let _ = cluster.pass().await;
        Ok(build)
    });
    task.await.map_err(|error| ClusterError::Internal(format!("the making of a build was lost: {error}")))?
}

async fn record(cluster: &KubernetesCluster, new: NewBuild) -> Result<Build, ClusterError> {
    let owner = match &new.parent {
        Some(parent) => parent_here(cluster, parent).await?,
        None => None,
    };
    loop {
        let (name, number) = match &new.name {
            NameRule::Exact(name) => (name.clone(), None),
            NameRule::Config { build_config } => {
                let number = cluster.count_up(build_config).await?;
                let name = format!("{build_config}-{number}").parse().map_err(|reason| ClusterError::Invalid {
                    what: "BuildConfig name",
                    value: build_config.clone(),
                    reason,
                })?;
                (name, Some(number))
            }
        };
        let build = Build::from_new(cluster.namespace_name(), name, number, new.clone(), Timestamp::now());
        job::check(&build)?;
        match make_job(cluster, &build, owner.clone()).await {
            // Builds of an earlier BuildConfig of that name are still there.
            Err(ClusterError::NameTaken { .. }) if number.is_some() => {}
            made => return made.map(|()| build),
        }
    }
}

/// The orchestrator, if it runs in this namespace: its workers go when it goes. Another cluster's may have the name of one
/// that ended here long ago.
async fn parent_here(cluster: &KubernetesCluster, parent: &BuildName) -> Result<Option<OwnerReference>, ClusterError> {
    if names::check_build(parent.as_str()).is_err() {
        return Ok(None);
    }
    match cluster.facts_of(parent).await {
        Ok(facts) if !facts.build.is_finished() && facts.build.build_type == BuildType::Orchestrator => {
            Ok(Some(job::owner(parent, &facts.uid)))
        }
        Ok(_) | Err(ClusterError::BuildNotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn make_job(
    cluster: &KubernetesCluster,
    build: &Build,
    owner: Option<OwnerReference>,
) -> Result<(), ClusterError> {
    let name = build.name.as_str();
    let wanted = job::job(build, cluster.options(), owner)?;
    let params = PostParams::default();
    let api = cluster.api::<Job>();
    let made = match cluster.send(|| api.create(&params, &wanted)).await {
        Ok(job) => job,
        Err(error) if code(&error) == Some(409) => {
            let record = |job: &Job| job.metadata.annotations.as_ref().and_then(|all| all.get(names::RECORD).cloned());
            let there = cluster.send(|| api.get(name)).await;
            // One whose answer was lost is ours to the nanosecond of its making.
            let there = there.map_err(|error| cluster.job_failed("get", &build.name, error))?;
            if record(&there) != record(&wanted) {
                let namespace = build.namespace.clone();
                return Err(ClusterError::NameTaken { kind: "Build", name: name.to_owned(), namespace });
            }
            there
        }
        Err(error) => return Err(cluster.failed(asked("create", "jobs.batch"), Some(name))(error)),
    };
    let uid = made.metadata.uid.unwrap_or_default();
    let secret = job::env_secret(build, &uid);
    let api = cluster.api::<Secret>();
    match cluster.send(|| api.create(&params, &secret)).await {
        Ok(_) => Ok(()),
        // Ours, from an earlier attempt: another build's would belong to a Job of this name.
        Err(error) if code(&error) == Some(409) => Ok(()),
        Err(error) => {
            let error = cluster.failed(asked("create", "secrets"), secret.metadata.name.as_deref())(error);
            // Without its environment it can never run.
            let params = kube::api::DeleteParams::background();
            let _ = cluster.send(|| async { cluster.api::<Job>().delete(name, &params).await.map(drop) }).await;
            Err(error)
        }
    }
}

/// Builds that match, oldest first.
pub(crate) async fn list(cluster: &KubernetesCluster, filter: &BuildFilter) -> Result<Vec<Build>, ClusterError> {
    let Some(selector) = selector(filter) else { return Ok(Vec::new()) };
    let jobs: Vec<Job> = cluster.list_all("jobs.batch", &selector).await?;
    let mut found = jobs.iter().map(facts).collect::<Result<Vec<_>, _>>()?;
    found.sort_by(|a, b| a.age().cmp(&b.age()));
    let has_pods = found.iter().any(|facts| facts.granted && !facts.build.is_finished());
    let pods: Vec<Pod> = if has_pods { cluster.list_all("pods", names::BUILD).await? } else { Vec::new() };
    let mut builds: Vec<_> = found.iter().map(|facts| pod_reason::shown(facts, &of_build(&pods, facts))).collect();
    if found.iter().any(|facts| !facts.granted && !facts.build.is_finished()) {
        turns::show_reasons(&mut builds, &cluster.queue().await?);
    }
    builds.retain(|build| filter.matches(build));
    if let Some(limit) = filter.limit {
        builds.drain(..builds.len().saturating_sub(limit));
    }
    Ok(builds)
}

fn of_build(pods: &[Pod], facts: &JobFacts) -> Vec<Pod> {
    let label = |pod: &&Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(names::BUILD)).map(String::as_str) == Some(facts.build.name.as_str())
    };
    pods.iter().filter(label).cloned().collect()
}

/// What the server can select by; `None`: nothing can match. The rest is done here.
fn selector(filter: &BuildFilter) -> Option<String> {
    let mut parts = vec![names::BUILD.to_owned()];
    for (key, value) in &filter.labels {
        if key.starts_with(names::PREFIX) || label_value(value).as_ref() != Some(value) {
            return None;
        }
        parts.push(format!("{key}={value}"));
    }
    // A dead build is shown as Error or Cancelled before somebody has closed it: only these two say what is recorded.
    let recorded = |state: &BuildState| matches!(state, BuildState::Complete | BuildState::Failed);
    if filter.unfinished || (!filter.states.is_empty() && filter.states.iter().all(|state| !state.is_finished())) {
        parts.push(format!("{FINISHED}=false"));
    } else if !filter.states.is_empty() && filter.states.iter().all(recorded) {
        parts.push(format!("{FINISHED}=true"));
    }
    let build_type = filter.build_type.map(|build_type| build_type.as_str().to_owned());
    let parent = filter.parent.as_ref().map(ToString::to_string);
    let values =
        [(names::TYPE, build_type), (names::PARENT, parent), (names::BUILD_CONFIG, filter.build_config.clone())];
    for (key, value) in values {
        // A value that is no label was not made one either.
        if let Some(value) = value.as_deref().and_then(label_value) {
            parts.push(format!("{key}={value}"));
        }
    }
    Some(parts.join(","))
}

/// How many builds are not finished.
pub(crate) async fn active(cluster: &KubernetesCluster, group: Option<&str>) -> Result<usize, ClusterError> {
    let mut selector = turns::SELECTOR.to_owned();
    if let Some(label) = group.and_then(label_value) {
        selector.push_str(&format!(",{}={label}", names::SLOTS));
    }
    let jobs: Vec<Job> = cluster.list_all("jobs.batch", &selector).await?;
    let found = jobs.iter().map(facts).collect::<Result<Vec<_>, _>>()?;
    let in_group = |facts: &&JobFacts| {
        group.is_none_or(|group| facts.build.slots.as_ref().is_some_and(|slots| slots.group == group))
    };
    Ok(found.iter().filter(in_group).count())
}

/// Merges labels and annotations: one request, merged by the server.
pub(crate) async fn update(
    cluster: &KubernetesCluster,
    name: &BuildName,
    patch: &BuildPatch,
) -> Result<Build, ClusterError> {
    check_keys("annotation", patch.annotations.keys())?;
    check_keys("label", patch.labels.keys())?;
    names::check_labels(patch.labels.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))))?;
    let changes = Patch::Merge(json!({"metadata": {"labels": patch.labels, "annotations": patch.annotations}}));
    let (api, params) = (cluster.api::<Job>(), PatchParams::default());
    let mut pauses = Pauses::short();
    loop {
        match cluster.send(|| api.patch(name.as_str(), &params, &changes)).await {
            Ok(job) => return Ok(facts(&job)?.build),
            // Too many at once: the server itself has tried five times.
            Err(error) if code(&error) == Some(409) => pauses.wait().await,
            Err(error) => return Err(cluster.job_failed("patch", name, error)),
        }
    }
}

/// Notes the wish and takes the pod away, in one request; closes a build that has none.
pub(crate) async fn cancel(cluster: &KubernetesCluster, name: &BuildName) -> Result<Build, ClusterError> {
    cancel_because(cluster, name, CANCELLED).await
}

/// The same, for a reason of one's own.
pub(crate) async fn cancel_because(
    cluster: &KubernetesCluster,
    name: &BuildName,
    reason: &str,
) -> Result<Build, ClusterError> {
    let facts = cluster
        .change_job(name, |facts| {
            if facts.build.is_finished() || facts.build.cancel_requested {
                return Ok(None);
            }
            let mut state = facts.state.clone();
            state.cancel_requested = true;
            state.reason = Some(reason.to_owned());
            Ok(Some(json!({
                "metadata": {"annotations": {STATE: to_text(&state)?}},
                "spec": {"parallelism": 0},
            })))
        })
        .await?;
    if facts.build.is_finished() {
        return Ok(facts.build);
    }
    let Some(closed) = close_if_dead(cluster, &facts).await? else { return Ok(facts.build) };
    // As in `create`: the wish is carried out.
    let _ = cluster.pass().await;
    Ok(closed.build)
}

/// Waits by the watch; looks after a build that nothing is heard of.
pub(crate) async fn wait(cluster: &KubernetesCluster, name: &BuildName, until: WaitFor) -> Result<Build, ClusterError> {
    let mut changes = None;
    let mut look = true;
    loop {
        let seen = changes.as_ref().and_then(crate::watch::Changes::latest);
        let facts = match seen {
            Some(facts) => (*facts).clone(),
            None => cluster.facts_of(name).await?,
        };
        if until.is_reached(facts.build.state) {
            return Ok(facts.build);
        }
        if ((look && facts.granted) || facts.looks_dead())
            && let Some(closed) = close_if_dead(cluster, &facts).await?
        {
            let _ = cluster.pass().await;
            return Ok(closed.build);
        }
        // A look around, and not news, ends the wait.
        look = !changes.get_or_insert_with(|| cluster.changes_of(name)).changed_or_late().await?;
    }
}
