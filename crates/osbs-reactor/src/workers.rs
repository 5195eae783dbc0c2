//! How an orchestrator gets at worker clusters and makes builds there.
//!
//! Traits only: the real ones go through osbs-client, tests through the in-memory cluster.

use async_trait::async_trait;
use osbs_cluster::{Build, Cluster, Slots};
use osbs_types::{BuildName, Failure, Platform};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// Opens worker clusters by the names of the site's configuration.
#[async_trait]
pub trait WorkerClusters: Send + Sync {
    /// The cluster called `name` (a section of the worker `osbs.conf`, found in `config_dir` if one is configured).
    /// `overrides` are client settings that win over that file (`config_kwargs`).
    async fn connect(
        &self,
        name: &str,
        config_dir: Option<&Path>,
        overrides: &Map<String, Value>,
    ) -> Result<Arc<dyn WorkerCluster>, Failure>;
}

/// A worker cluster.
#[async_trait]
pub trait WorkerCluster: Send + Sync {
    /// Where its builds run.
    fn cluster(&self) -> Arc<dyn Cluster>;

    /// What a worker's configuration says under `openshift`: `{url, build_json_dir, insecure, auth: {enable}}`.
    fn openshift(&self) -> Value;

    /// Makes a worker build. Not retried here: a failure of kind remote or resource counts against the cluster, any other
    /// against the platform.
    async fn create_worker_build(&self, request: WorkerRequest) -> Result<Build, Failure>;
}

/// A worker build to be.
#[derive(Debug, Clone)]
pub struct WorkerRequest {
    /// Its platform.
    pub platform: Platform,
    /// The value of its release label.
    pub release: String,
    /// Which plugins it runs.
    pub arrangement_version: u32,
    /// All parameters, the three above among them, under the names of `build_kwargs` (`reactor.md` 2.5, 3.3.3). May hold
    /// the site's configuration: not for logs.
    pub parameters: Map<String, Value>,
    /// The orchestrator build: the worker ends with it.
    pub parent: BuildName,
    /// Its share of the cluster.
    pub slots: Slots,
}
