//! What `osbs gc` does in a namespace: closes the dead, grants turns, removes finished builds by age.

use crate::KubernetesCluster;
use crate::client::{asked, code};
use crate::job::facts;
use crate::names::{BUILD, FINISHED};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, Preconditions};
use osbs_cluster::ClusterError;
use osbs_types::{BuildName, Timestamp};
use std::time::Duration;

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Builds whose runner had died, closed now.
    pub closed: Vec<BuildName>,
    /// Finished builds that were old enough: Job, pod, log and all.
    pub removed: Vec<BuildName>,
}

impl KubernetesCluster {
    /// Closes dead builds, makes a pass, and removes builds that ended longer than `older_than` ago, with their logs.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn gc(&self, older_than: Option<Duration>) -> Result<Cleared, ClusterError> {
        let mut cleared = Cleared::default();
        for facts in self.queue().await?.into_iter().filter(|facts| facts.granted || facts.looks_dead()) {
            if let Some(closed) = crate::closing::close_if_dead(self, &facts).await? {
                cleared.closed.push(closed.build.name);
            }
        }
        self.pass().await?;
        if let Some(older_than) = older_than {
            self.remove_older(older_than, &mut cleared.removed).await?;
        }
        Ok(cleared)
    }

    async fn remove_older(&self, older_than: Duration, removed: &mut Vec<BuildName>) -> Result<(), ClusterError> {
        let api = self.api::<Job>();
        let finished: Vec<Job> = self.list_all("jobs.batch", &format!("{BUILD},{FINISHED}=true")).await?;
        for facts in finished.iter().filter_map(|job| facts(job).ok()) {
            let Some(ended) = facts.build.finished else { continue };
            if Timestamp::now().duration_since(ended).unsigned_abs() < older_than {
                continue;
            }
            // A new build may have its name already.
            let same = Preconditions { uid: Some(facts.uid.clone()), resource_version: None };
            let params = DeleteParams::background().preconditions(same);
            let name = facts.build.name;
            match self.send(|| api.delete(name.as_str(), &params)).await {
                Ok(_) => removed.push(name),
                Err(error) if matches!(code(&error), Some(404 | 409)) => {}
                Err(error) => return Err(self.failed(asked("delete", "jobs.batch"), Some(name.as_str()))(error)),
            }
        }
        Ok(())
    }
}
