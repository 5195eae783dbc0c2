//! Which cluster gets the worker build of a platform (`reactor.md` 3.3.4).
//!
//! Where all clusters are full, the build is made all the same, on the one with the least load, and waits there for its turn
//! in the cluster's own queue (`osbs_cluster::queue`): fair between users, and without a request while nothing happens.
//! Nothing here asks again for a build that waits.

use super::Shared;
use crate::workers::{WorkerCluster, WorkerRequest};
use futures_util::future::join_all;
use osbs_cluster::{Build, Slots};
use osbs_config::ClusterChoice;
use osbs_types::{ErrorKind, Failure, Platform};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a build being made may go on after a cancellation, so that it can be told to stop instead of being lost.
const CREATION_GRACE: Duration = Duration::from_millis(1500);

/// How long a cluster may take to tell its load. One that hangs must not keep the others waiting.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Retry constants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Before a cluster that did not answer is asked again.
    pub(super) unreachable: Duration,
    /// Before a cluster that made no build is asked again.
    pub(super) refused: Duration,
    /// A cluster that failed that often is dead for the platform.
    pub(super) max_fails: u32,
}

/// A worker build that exists.
pub(super) struct Created {
    pub(super) cluster_name: String,
    pub(super) worker: Arc<dyn WorkerCluster>,
    pub(super) build: Build,
}

/// What is known of a cluster for one platform.
struct Candidate {
    choice: ClusterChoice,
    fails: u32,
    not_before: Instant,
    last: Option<Failure>,
}

impl Candidate {
    fn fail(&mut self, failure: Failure, delay: Duration) {
        self.fails += 1;
        self.not_before = Instant::now() + delay;
        self.last = Some(failure);
    }
}

/// A cluster that answered.
struct Reached {
    index: usize,
    load: f64,
    worker: Arc<dyn WorkerCluster>,
}

/// The search of one platform. It remembers failures, so that a second search goes on where the first one ended.
pub(super) struct Search {
    candidates: Vec<Candidate>,
}

impl Search {
    /// Nothing has failed yet.
    pub(super) fn new(candidates: Vec<ClusterChoice>) -> Self {
        let not_before = Instant::now();
        let candidate = |choice| Candidate { choice, fails: 0, not_before, last: None };
        Self { candidates: candidates.into_iter().map(candidate).collect() }
    }

    /// Finds a cluster and makes the build there. Tries until every cluster is dead.
    pub(super) async fn create(&mut self, shared: &Shared, platform: &Platform) -> Result<Created, Failure> {
        loop {
            let mut reached = Vec::new();
            while reached.is_empty() {
                wait_for_a_candidate(shared, &self.candidates).await?;
                reached = ask_all(shared, platform, &mut self.candidates).await?;
            }
            for cluster in reached {
                let candidate = &mut self.candidates[cluster.index];
                if let Some(build) = try_create(shared, platform, candidate, &cluster).await? {
                    let cluster_name = candidate.choice.name.clone();
                    return Ok(Created { cluster_name, worker: cluster.worker, build });
                }
            }
        }
    }

    /// The cluster has failed after it made a build.
    pub(super) fn lost(&mut self, shared: &Shared, cluster_name: &str, failure: Failure) {
        if let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.choice.name == cluster_name) {
            candidate.fail(failure, shared.patience.unreachable);
        }
    }
}

/// Waits until the first cluster that is not dead may be asked.
async fn wait_for_a_candidate(shared: &Shared, candidates: &[Candidate]) -> Result<(), Failure> {
    let alive = candidates.iter().filter(|candidate| candidate.fails < shared.patience.max_fails);
    let Some(until) = alive.map(|candidate| candidate.not_before).min() else {
        let mut failure = Failure::message(ErrorKind::Remote, "could not find an appropriate cluster for this build");
        failure.causes = candidates
            .iter()
            .filter_map(|candidate| candidate.last.as_ref().map(|last| format!("{}: {last}", candidate.choice.name)))
            .collect();
        return Err(failure);
    };
    tokio::select! {
        () = shared.cancel.cancelled() => Err(crate::plugin::cancelled()),
        () = tokio::time::sleep_until(until) => Ok(()),
    }
}

/// Loads of all clusters that may be asked now, the least first, ties by configuration order. They are asked at once: the
/// quicker the answers, the fewer builds are made elsewhere meanwhile.
async fn ask_all(shared: &Shared, platform: &Platform, candidates: &mut [Candidate]) -> Result<Vec<Reached>, Failure> {
    let now = Instant::now();
    let may_be_asked =
        |candidate: &&Candidate| candidate.fails < shared.patience.max_fails && candidate.not_before <= now;
    let asking = candidates.iter().map(|candidate| async move {
        if may_be_asked(&candidate) { Some(ask(shared, &candidate.choice).await) } else { None }
    });
    let answers = tokio::select! {
        () = shared.cancel.cancelled() => return Err(crate::plugin::cancelled()),
        answers = join_all(asking) => answers,
    };
    let mut reached = Vec::new();
    for (index, (candidate, answer)) in candidates.iter_mut().zip(answers).enumerate() {
        match answer {
            None => {}
            Some(Ok((load, worker))) => reached.push(Reached { index, load, worker }),
            Some(Err(failure)) => {
                shared
                    .log
                    .for_platform(platform.as_str())
                    .warning(format!("cluster {} cannot be asked for its load: {failure}", candidate.choice.name));
                candidate.fail(failure, shared.patience.unreachable);
            }
        }
    }
    // A stable sort, so equal loads keep the order of the configuration.
    reached.sort_by(|a, b| a.load.total_cmp(&b.load));
    Ok(reached)
}

async fn ask(shared: &Shared, choice: &ClusterChoice) -> Result<(f64, Arc<dyn WorkerCluster>), Failure> {
    tokio::time::timeout(ANSWER_WITHIN, load_of(shared, choice)).await.unwrap_or_else(|_| {
        let text = format!("no answer within {} s", ANSWER_WITHIN.as_secs());
        Err(Failure::message(ErrorKind::Remote, text))
    })
}

async fn load_of(shared: &Shared, choice: &ClusterChoice) -> Result<(f64, Arc<dyn WorkerCluster>), Failure> {
    let worker = shared.workers.connect(&choice.name, shared.config_dir.as_deref(), &shared.config_kwargs).await?;
    let group = slot_group(&choice.name);
    let active =
        worker.cluster().active_builds(Some(&group)).await.map_err(|error| Failure::new(error.kind(), &error))?;
    Ok((active as f64 / f64::from(choice.max_concurrent_builds), worker))
}

fn slot_group(cluster: &str) -> String {
    format!("worker:{cluster}")
}

/// Makes the build. `None`: this cluster failed, try another. An error ends the platform.
async fn try_create(
    shared: &Shared,
    platform: &Platform,
    candidate: &mut Candidate,
    reached: &Reached,
) -> Result<Option<Build>, Failure> {
    if shared.cancel.is_cancelled() {
        return Err(crate::plugin::cancelled());
    }
    let common = &shared.parameters;
    let request = WorkerRequest {
        platform: platform.clone(),
        release: common.release.clone(),
        arrangement_version: common.arrangement_version,
        parameters: common.of_worker(platform, reached.worker.openshift()),
        parent: shared.orchestrator.clone(),
        slots: Slots { group: slot_group(&candidate.choice.name), max: candidate.choice.max_concurrent_builds },
    };
    let log = shared.log.for_platform(platform.as_str());
    match create_or_give_up(shared, reached, request).await {
        Ok(build) => Ok(Some(build)),
        Err(failure) if matches!(failure.kind, ErrorKind::Remote | ErrorKind::Resource) => {
            log.warning(format!("cluster {} made no build: {failure}", candidate.choice.name));
            candidate.fail(failure, shared.patience.refused);
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// A build being made is waited for a moment after a cancellation: then it can be cancelled by name. One that takes longer
/// ends with its orchestrator all the same, its cluster sees to that.
async fn create_or_give_up(shared: &Shared, reached: &Reached, request: WorkerRequest) -> Result<Build, Failure> {
    let mut making = std::pin::pin!(reached.worker.create_worker_build(request));
    tokio::select! {
        biased;
        made = &mut making => return made,
        () = shared.cancel.cancelled() => {}
    }
    match tokio::time::timeout(CREATION_GRACE, making).await {
        Ok(made) => made,
        Err(_) => Err(crate::plugin::cancelled()),
    }
}
