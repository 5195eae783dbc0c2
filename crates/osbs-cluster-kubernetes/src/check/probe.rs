//! Whether the builder image can be pulled and started: a Job that only says its version.

use super::{Finding, Standing};
use crate::KubernetesCluster;
use crate::client::{asked, code};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use osbs_cluster::ClusterError;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// How often the pod is looked at.
const PAUSE: Duration = Duration::from_secs(1);

impl KubernetesCluster {
    /// Starts the image once and removes what was made for it.
    pub(super) async fn start_once(&self, image: &str, patience: Duration) -> Result<Finding, ClusterError> {
        let name = format!("osbs-check-{:08x}", rand::random::<u32>());
        let (api, job, params) = (self.api::<Job>(), self.probe(&name, image)?, PostParams::default());
        match self.send(|| api.create(&params, &job)).await {
            Ok(_) => {}
            Err(error) if code(&error) == Some(403) => {
                let detail = "this login may not create jobs.batch";
                return Ok(Finding::new("image", image, Standing::Unknown, detail));
            }
            Err(error) => return Err(self.failed(asked("create", "jobs.batch"), Some(&name))(error)),
        }
        let outcome = self.outcome(&name, patience).await;
        // It goes by itself after a while, where the login may not remove it.
        let _ = api.delete(&name, &DeleteParams::background()).await;
        let (standing, detail) = outcome?;
        Ok(Finding::new("image", image, standing, detail))
    }

    fn probe(&self, name: &str, image: &str) -> Result<Job, ClusterError> {
        let options = self.options();
        let pull_secrets: Vec<_> = options.image_pull_secrets.iter().map(|name| json!({"name": name})).collect();
        let mut container = json!({"name": "check", "image": image, "command": ["osbs", "--version"]});
        if let Some(policy) = &options.image_pull_policy {
            container["imagePullPolicy"] = policy.as_str().into();
        }
        let mut spec = json!({
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "containers": [container],
            "imagePullSecrets": pull_secrets,
        });
        if let Some(account) = &options.service_account {
            spec["serviceAccountName"] = account.as_str().into();
        }
        let job = json!({
            "metadata": {"name": name, "labels": {"osbs/kind": "check"}},
            "spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": 60, "template": {"spec": spec}},
        });
        serde_json::from_value(job).map_err(|error| ClusterError::Internal(format!("what was made is no Job: {error}")))
    }

    async fn outcome(&self, name: &str, patience: Duration) -> Result<(Standing, String), ClusterError> {
        let pods = self.api::<Pod>();
        let params = ListParams::default().labels(&format!("job-name={name}"));
        let (begun, mut last) = (Instant::now(), "no pod was made".to_owned());
        loop {
            let found = match self.send(|| pods.list(&params)).await {
                Ok(found) => found,
                Err(error) if code(&error) == Some(403) => {
                    return Ok((Standing::Unknown, "this login may not list pods".to_owned()));
                }
                Err(error) => return Err(self.failed(asked("list", "pods"), None)(error)),
            };
            match found.items.first().map(state) {
                Some(Ok(detail)) => return Ok((Standing::Has, detail)),
                Some(Err(Waiting { reason, hopeless: true })) => return Ok((Standing::Lacks, reason)),
                Some(Err(Waiting { reason, .. })) => last = reason,
                None => {}
            }
            if begun.elapsed() >= patience {
                return Ok((Standing::Lacks, format!("not started within {} s: {last}", patience.as_secs())));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

struct Waiting {
    reason: String,
    hopeless: bool,
}

fn state(pod: &Pod) -> Result<String, Waiting> {
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.unwrap_or_default().into_iter().next();
    let waiting = |reason: String, hopeless| Err(Waiting { reason, hopeless });
    match container.and_then(|one| one.state) {
        Some(ContainerState { terminated: Some(end), .. }) if end.exit_code == 0 => Ok("pulled and started".to_owned()),
        Some(ContainerState { terminated: Some(end), .. }) => {
            let why = end.message.or(end.reason).unwrap_or_default();
            waiting(format!("it ended with {}: {why}", end.exit_code), true)
        }
        Some(ContainerState { waiting: Some(state), .. }) => {
            let (reason, message) = (state.reason.unwrap_or_default(), state.message.unwrap_or_default());
            let hopeless = ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerError"];
            let hopeless = hopeless.contains(&reason.as_str());
            waiting(format!("{reason}: {message}"), hopeless)
        }
        _ => {
            let conditions = status.conditions.unwrap_or_default();
            let unscheduled = conditions.into_iter().find(|one| one.type_ == "PodScheduled" && one.status == "False");
            waiting(
                unscheduled.and_then(|one| one.message).unwrap_or_else(|| "its pod has not started".to_owned()),
                false,
            )
        }
    }
}
