//! `orchestrate_build`: one worker build a platform, on the cluster with the least load; their logs relayed, their
//! results joined (`reactor.md` 3.3, M19 to M22).
//!
//! Makes no image itself. Each platform runs to its end whatever becomes of the others.

mod cluster_choice;
mod follow;
mod outcome;
mod parameters;

use crate::events::Logger;
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use crate::workers::WorkerClusters;
use async_trait::async_trait;
use cluster_choice::{Patience, Search};
use follow::Followed;
use osbs_config::ClusterChoice;
use osbs_types::{BuildName, Phase, Platform};
use outcome::PlatformOutcome;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("orchestrate_build", &[Phase::Buildstep], |args| Ok(Box::new(args.parse::<OrchestrateBuild>()?)))
        .purpose("Builds the image for every platform by a worker build on the cluster with the least load.")
        .argument("platforms", "what to build for, where `check_and_set_platforms` does not decide")
        .argument("build_kwargs", "parameters of every worker build")
        .argument("config_kwargs", "keys that replace those of the workers' osbs.conf")
        .argument("osbs_client_config", "folder of the workers' osbs.conf, where config.yaml names none")
        .argument(
            "find_cluster_retry_delay",
            "seconds until clusters that cannot be reached are asked again; 15 unless said",
        )
        .argument("failure_retry_delay", "seconds until a cluster that refused a build is asked again; 10 unless said")
        .argument("max_cluster_fails", "failures after which a cluster is not asked again; 20 unless said")
        .accepts(&["goarch", "worker_build_image", "registries", "url", "use_auth", "verify_ssl"])
        .reads(&[
            "`clusters`, `clusters_client_config_dir` and `arrangement_version` of config.yaml",
            "the platforms by `check_and_set_platforms`, the parents' digests by `pull_base_image`, label release",
        ])
        .writes(&[
            "worker builds; their log lines in the orchestrator's log",
            "annotations worker-builds and repositories, label koji-build-id",
        ])
}

#[derive(Deserialize)]
#[serde(default)]
struct OrchestrateBuild {
    platforms: Vec<Platform>,
    build_kwargs: Map<String, Value>,
    config_kwargs: Option<Map<String, Value>>,
    osbs_client_config: Option<String>,
    /// Seconds.
    find_cluster_retry_delay: f64,
    /// Seconds.
    failure_retry_delay: f64,
    max_cluster_fails: u32,
}

impl Default for OrchestrateBuild {
    fn default() -> Self {
        Self {
            platforms: Vec::new(),
            build_kwargs: Map::new(),
            config_kwargs: None,
            osbs_client_config: None,
            find_cluster_retry_delay: 15.0,
            failure_retry_delay: 10.0,
            max_cluster_fails: 20,
        }
    }
}

/// What the tasks of all platforms share.
struct Shared {
    workers: Arc<dyn WorkerClusters>,
    config_dir: Option<PathBuf>,
    config_kwargs: Map<String, Value>,
    parameters: parameters::Common,
    orchestrator: BuildName,
    patience: Patience,
    log: Logger,
    cancel: CancellationToken,
}

#[async_trait]
impl Plugin for OrchestrateBuild {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let platforms = self.platforms(run)?;
        let clusters = clusters(run, &platforms)?;
        let config_dir = match run.config.clusters_client_config_dir.clone().or(self.osbs_client_config.clone()) {
            Some(path) => Some(run.secret_path(&path).await?),
            None => None,
        };
        super::bump_release::claim_given_release(run).await?;
        let common = parameters::Common::gather(run, &self.build_kwargs, &platforms)?;
        let shared = Arc::new(Shared {
            workers: Arc::clone(&run.services.workers),
            config_dir,
            config_kwargs: self.config_kwargs.clone().unwrap_or_default(),
            parameters: common,
            orchestrator: run.build.name.clone(),
            patience: Patience {
                unreachable: Duration::from_secs_f64(self.find_cluster_retry_delay.clamp(0.0, 86_400.0)),
                refused: Duration::from_secs_f64(self.failure_retry_delay.clamp(0.0, 86_400.0)),
                max_fails: self.max_cluster_fails,
            },
            log: run.log().clone(),
            cancel: run.cancel().clone(),
        });
        let outcomes = build_all(&shared, clusters).await;
        for outcome in &outcomes {
            if let Some(failure) = outcome.failure() {
                run.log().for_platform(outcome.platform.as_str()).error(format!("worker build failed: {failure}"));
            }
            if let Some(worker) = &outcome.worker {
                run.workers.insert(outcome.platform.to_string(), worker.clone());
            }
        }
        if run.cancel().is_cancelled() {
            return Err(PluginError::Cancelled);
        }
        Ok(Done::Built(outcome::combine(outcomes)))
    }

    fn ends_itself_when_cancelled(&self) -> bool {
        true
    }
}

impl OrchestrateBuild {
    /// The platforms to build: decided by `check_and_set_platforms`, or (arrangements 1 to 5) the argument, restricted by
    /// container.yaml.
    fn platforms(&self, run: &Run) -> Result<BTreeSet<Platform>, PluginError> {
        let platforms = match &run.platforms {
            Some(platforms) => platforms.clone(),
            None => run.container_yaml()?.restrict(&self.platforms).into_iter().collect(),
        };
        if platforms.is_empty() {
            return Err(PluginError::user("no enabled platform: there is nothing to build").with_hint(
                "compare `platforms` in container.yaml with `clusters` in config.yaml (osbs config check)",
            ));
        }
        Ok(platforms)
    }
}

/// Enabled clusters for every platform, before anything is started (M21).
fn clusters(run: &Run, platforms: &BTreeSet<Platform>) -> Result<BTreeMap<Platform, Vec<ClusterChoice>>, PluginError> {
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for platform in platforms {
        let usable: Vec<_> = run
            .config
            .enabled_clusters(platform)
            .into_iter()
            .filter(|cluster| cluster.max_concurrent_builds > 0)
            .collect();
        if usable.is_empty() {
            missing.push(platform.as_str());
        }
        found.insert(platform.clone(), usable);
    }
    if missing.is_empty() {
        return Ok(found);
    }
    Err(PluginError::policy(format!("no enabled cluster for platform {}", missing.join(", ")))
        .with_hint("add or enable a cluster under `clusters` in config.yaml"))
}

/// One task a platform; waits for all.
async fn build_all(shared: &Arc<Shared>, clusters: BTreeMap<Platform, Vec<ClusterChoice>>) -> Vec<PlatformOutcome> {
    let tasks: Vec<_> = clusters
        .into_iter()
        .map(|(platform, candidates)| {
            let shared = Arc::clone(shared);
            let name = platform.clone();
            (name, tokio::spawn(async move { build_platform(&shared, platform, candidates).await }))
        })
        .collect();
    let mut outcomes = Vec::new();
    for (platform, task) in tasks {
        outcomes.push(task.await.unwrap_or_else(|error| {
            PlatformOutcome::not_started(platform, PluginError::internal(format!("{error}")).into_failure())
        }));
    }
    outcomes
}

async fn build_platform(shared: &Shared, platform: Platform, candidates: Vec<ClusterChoice>) -> PlatformOutcome {
    let mut search = Search::new(candidates);
    // What is given up is told to stop as long as this platform is at work; dropping the set ends that.
    let mut abandoned = JoinSet::new();
    loop {
        let created = match search.create(shared, &platform).await {
            Ok(created) => created,
            Err(failure) => {
                shared.log.for_platform(platform.as_str()).error(format!("no worker build: {failure}"));
                return PlatformOutcome::not_started(platform, failure);
            }
        };
        match follow::to_the_end(shared, platform.clone(), created).await {
            Followed::Ended(outcome) => return *outcome,
            Followed::NeverStarted { cluster_name, failure, abandoned: build } => {
                search.lost(shared, &cluster_name, *failure);
                if let Some((cluster, name)) = build {
                    abandoned.spawn(follow::stop_when_it_is_back(cluster, name));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
