//! For how long a build is wanted. An orchestrator build says it of its worker builds every now and then: when it was killed
//! it cannot cancel them, and nobody else reaches their cluster, so they end by themselves.

use crate::KubernetesCluster;
use crate::builds::cancel_because;
use crate::names::WANTED;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Patch, PatchParams};
use osbs_cluster::ClusterError;
use osbs_types::{BuildName, Timestamp};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// The reason of a build that nobody wants any more.
const REASON: &str = "whoever asked for it is gone: nobody has said in time that it is still wanted";
/// When it could not be found out, or the build not be cancelled, that is tried again after this time.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// Says that the build is wanted for that much longer.
pub(crate) async fn say(cluster: &KubernetesCluster, name: &BuildName, how_long: Duration) -> Result<(), ClusterError> {
    // The time makes each saying another one; it is for people: clocks of two clusters differ.
    let said = format!("{} s from {}", how_long.as_secs(), Timestamp::now());
    let patch = Patch::Merge(json!({"metadata": {"annotations": {WANTED: said}}}));
    let (api, params) = (cluster.api::<Job>(), PatchParams::default());
    let patched = cluster.send(|| api.patch(name.as_str(), &params, &patch)).await;
    patched.map(drop).map_err(|error| cluster.job_failed("patch", name, error))
}

/// What the runner of a build knows of it. Time counts from when it hears of it.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    said: Option<String>,
    until: Option<Instant>,
}

impl Wanted {
    /// Reads what the Job says now.
    pub(crate) fn see(&mut self, job: &Job) {
        let said = job.metadata.annotations.as_ref().and_then(|annotations| annotations.get(WANTED));
        if said == self.said.as_ref() {
            return;
        }
        self.said = said.cloned();
        let seconds = said.and_then(|said| said.split_once(' ')?.0.parse().ok());
        self.until = seconds.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    }

    /// Returns when the build is not wanted any more; never, if nobody has ever said for how long.
    pub(crate) async fn over(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }

    /// Cancels the build, if it is true that it is not wanted any more: the watch may have missed a word. Whether it did.
    pub(crate) async fn end(&mut self, cluster: &KubernetesCluster, name: &BuildName) -> bool {
        let job = cluster.api::<Job>().get(name.as_str()).await;
        if let Ok(job) = &job {
            self.see(job);
            if !self.is_over() {
                return false;
            }
        }
        let ended = job.is_ok() && cancel_because(cluster, name, REASON).await.is_ok();
        if !ended {
            self.until = Some(Instant::now() + LOOK_AGAIN);
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(said: Option<&str>) -> Job {
        let mut job = Job::default();
        job.metadata.annotations = said.map(|said| [(WANTED.to_owned(), said.to_owned())].into());
        job
    }

    #[tokio::test(start_paused = true)]
    async fn a_word_counts_from_when_it_is_heard() {
        let mut wanted = Wanted::default();
        let is_over_within = async |wanted: &Wanted, seconds| {
            tokio::time::timeout(Duration::from_secs(seconds), wanted.over()).await.is_ok()
        };
        wanted.see(&job(None));
        assert!(!is_over_within(&wanted, 100_000).await, "nobody ever said so");
        wanted.see(&job(Some("720 s from a")));
        assert!(!is_over_within(&wanted, 700).await);
        // The same word, heard again, is no new one.
        wanted.see(&job(Some("720 s from a")));
        assert!(!wanted.is_over() && is_over_within(&wanted, 21).await && wanted.is_over());
        wanted.see(&job(Some("720 s from b")));
        assert!(!wanted.is_over() && !is_over_within(&wanted, 700).await);
        for broken in ["", "720", "-1 s", "x s from y", "99999999999999999999 s"] {
            wanted.see(&job(Some(broken)));
            assert!(!is_over_within(&wanted, 100_000).await, "{broken:?} is no word");
        }
    }
}
