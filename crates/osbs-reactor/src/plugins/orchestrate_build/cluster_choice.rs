//! Which cluster gets the worker build of a platform (`reactor.md` 3.3.4).

use super::Shared;
use crate::workers::{WorkerCluster, WorkerRequest};
use osbs_cluster::{Build, Slots};
use osbs_config::ClusterChoice;
use osbs_types::{ErrorKind, Failure, Platform};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a build being made may go on after a cancellation, so that it can be told to stop instead of being lost.
const CREATION_GRACE: Duration = Duration::from_millis(1500);

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

/// Finds a cluster and makes the build there. Tries until every cluster is dead.
pub(super) async fn create(
    shared: &Shared,
    platform: &Platform,
    candidates: Vec<ClusterChoice>,
) -> Result<Created, Failure> {
    let now = Instant::now();
    let mut candidates: Vec<_> =
        candidates.into_iter().map(|choice| Candidate { choice, fails: 0, not_before: now, last: None }).collect();
    loop {
        let mut reached = Vec::new();
        while reached.is_empty() {
            wait_for_a_candidate(shared, &candidates).await?;
            reached = ask_all(shared, platform, &mut candidates).await?;
        }
        for cluster in reached {
            let candidate = &mut candidates[cluster.index];
            if let Some(build) = try_create(shared, platform, candidate, &cluster).await? {
                let cluster_name = candidate.choice.name.clone();
                return Ok(Created { cluster_name, worker: cluster.worker, build });
            }
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

/// Loads of all clusters that may be asked now, the least first, ties by configuration order.
async fn ask_all(shared: &Shared, platform: &Platform, candidates: &mut [Candidate]) -> Result<Vec<Reached>, Failure> {
    let mut reached = Vec::new();
    let now = Instant::now();
    for (index, candidate) in candidates.iter_mut().enumerate() {
        if candidate.fails >= shared.patience.max_fails || candidate.not_before > now {
            continue;
        }
        let asked = tokio::select! {
            () = shared.cancel.cancelled() => return Err(crate::plugin::cancelled()),
            asked = ask(shared, &candidate.choice) => asked,
        };
        match asked {
            Ok((load, worker)) => reached.push(Reached { index, load, worker }),
            Err(failure) => {
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
