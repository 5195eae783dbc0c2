//! A build as a Job and back. Pure.

use crate::names::{self, PREFIX};
use crate::record::{Record, StateRecord};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use osbs_cluster::{Build, ClusterError, TextMap};
use osbs_types::BuildName;

/// What a Job says of its build.
#[derive(Debug, Clone)]
pub(crate) struct JobFacts {
    /// The build as recorded; its `env` is empty. `pod_reason` knows what its pod adds.
    pub build: Build,
    /// As recorded.
    pub state: StateRecord,
    /// The Job's uid.
    pub uid: String,
    /// The Job's version.
    pub resource_version: String,
    /// Its turn has come: `parallelism` is not 0.
    pub granted: bool,
    /// The uid of the pod that runs it, or ran it.
    pub pod: Option<String>,
    /// Who wants it.
    pub user: Option<String>,
    /// What the Job controller says.
    pub status: JobStatus,
}

/// Reads a Job.
///
/// # Errors
/// It is not as this program wrote it.
pub(crate) fn facts(job: &Job) -> Result<JobFacts, ClusterError> {
    let metadata = &job.metadata;
    let (name, namespace) = (metadata.name.clone().unwrap_or_default(), metadata.namespace.clone().unwrap_or_default());
    let place = || format!("Job {namespace}/{name}");
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let record: Record = annotation(&annotations, names::RECORD, &place)?;
    let state: StateRecord = annotation(&annotations, names::STATE, &place)?;
    let build_name: BuildName = name.parse().map_err(|reason: String| ClusterError::Corrupt {
        what: "the name",
        place: place(),
        source: reason.into(),
    })?;
    let own = |map: TextMap| map.into_iter().filter(|(key, _)| !key.starts_with(PREFIX)).collect();
    let user = annotations.get(names::USER).cloned();
    let labels = metadata.labels.clone().unwrap_or_default();
    Ok(JobFacts {
        build: record.into_build(namespace, build_name, state.clone(), own(labels), own(annotations)),
        pod: state.pod.clone(),
        state,
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        granted: job.spec.as_ref().is_some_and(|spec| spec.parallelism != Some(0)),
        user,
        status: job.status.clone().unwrap_or_default(),
    })
}

fn annotation<T: serde::de::DeserializeOwned>(
    annotations: &TextMap,
    key: &'static str,
    place: &impl Fn() -> String,
) -> Result<T, ClusterError> {
    let text = annotations.get(key).map_or("", String::as_str);
    serde_json::from_str(text).map_err(|source| ClusterError::Corrupt {
        what: key,
        place: place(),
        source: source.into(),
    })
}
