//! [`KubernetesCluster`]: every call is a request or two to the API server.

use crate::client::{asked, code};
use crate::job::{JobFacts, facts};
use crate::record::StateRecord;
use crate::{PodOptions, closing, log};
use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use osbs_cluster::{
    Build, BuildConfig, BuildFilter, BuildPatch, Cluster, ClusterError, EventStream, NewBuild, Reservation, SecretData,
    TextMap, WaitFor,
};
use osbs_types::{BuildName, Nvr};
use std::path::PathBuf;
use std::sync::Arc;

/// One namespace of a Kubernetes cluster. Clones share the connection and the watch.
#[derive(Clone)]
pub struct KubernetesCluster {
    shared: Arc<Shared>,
}

struct Shared {
    client: kube::Client,
    namespace: String,
    url: String,
    options: PodOptions,
}

impl KubernetesCluster {
    /// The namespace as `client` sees it. `url` is for people and records.
    pub fn new(
        client: kube::Client,
        namespace: impl Into<String>,
        url: impl Into<String>,
        options: PodOptions,
    ) -> Self {
        let shared = Shared { client, namespace: namespace.into(), url: url.into(), options };
        Self { shared: Arc::new(shared) }
    }

    /// The connection.
    pub fn client(&self) -> &kube::Client {
        &self.shared.client
    }

    /// How pods look.
    pub fn options(&self) -> &PodOptions {
        &self.shared.options
    }

    pub(crate) fn namespace_name(&self) -> &str {
        &self.shared.namespace
    }

    pub(crate) fn address(&self) -> &str {
        &self.shared.url
    }

    /// A build as recorded.
    pub(crate) async fn facts_of(&self, name: &BuildName) -> Result<JobFacts, ClusterError> {
        let job = self.api::<Job>().get(name.as_str()).await.map_err(|error| match code(&error) {
            Some(404) => ClusterError::BuildNotFound { namespace: self.shared.namespace.clone(), build: name.clone() },
            _ => self.failed(asked("get", "jobs.batch"), Some(name.as_str()))(error),
        })?;
        facts(&job)
    }

    /// Changes `osbs/state`: reads, changes, writes what was read, and again when somebody was quicker. `change` says
    /// whether there is anything to write. A finished build gets its label too.
    pub(crate) async fn change_state(
        &self,
        _name: &BuildName,
        _change: impl Fn(&mut StateRecord) -> bool + Send + Sync,
    ) -> Result<JobFacts, ClusterError> {
        Err(ClusterError::Internal("not written yet".to_owned()))
    }

    /// Removes a finished build's environment: it may hold passwords.
    pub(crate) async fn forget_env(&self, _name: &BuildName) -> Result<(), ClusterError> {
        Err(ClusterError::Internal("not written yet".to_owned()))
    }
}

fn to_come<T>() -> Result<T, ClusterError> {
    Err(ClusterError::Internal("not written yet".to_owned()))
}

#[async_trait]
impl Cluster for KubernetesCluster {
    fn namespace(&self) -> &str {
        &self.shared.namespace
    }

    fn url(&self) -> String {
        self.shared.url.clone()
    }

    async fn create_build(&self, _new: NewBuild) -> Result<Build, ClusterError> {
        to_come()
    }

    async fn get_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        let facts = self.facts_of(name).await?;
        Ok(crate::pod_reason::shown(&facts, &[]))
    }

    async fn list_builds(&self, _filter: &BuildFilter) -> Result<Vec<Build>, ClusterError> {
        to_come()
    }

    async fn cancel_build(&self, _name: &BuildName) -> Result<Build, ClusterError> {
        to_come()
    }

    async fn wait_build(&self, name: &BuildName, until: WaitFor) -> Result<Build, ClusterError> {
        let mut changes = self.changes_of(name);
        loop {
            let facts = self.facts_of(name).await?;
            let facts = closing::close_if_dead(self, &facts).await?.unwrap_or(facts);
            if until.is_reached(facts.build.state) {
                return Ok(facts.build);
            }
            changes.changed().await;
        }
    }

    async fn update_build(&self, _name: &BuildName, _patch: BuildPatch) -> Result<Build, ClusterError> {
        to_come()
    }

    async fn events(&self, name: &BuildName, from: u64, follow: bool) -> Result<EventStream, ClusterError> {
        log::events(self, name, from, follow).await
    }

    async fn active_builds(&self, _group: Option<&str>) -> Result<usize, ClusterError> {
        to_come()
    }

    async fn ensure_build_config(&self, _config: BuildConfig) -> Result<BuildConfig, ClusterError> {
        to_come()
    }

    async fn get_build_config(&self, _name: &str) -> Result<Option<BuildConfig>, ClusterError> {
        to_come()
    }

    async fn find_build_configs(&self, _labels: &TextMap) -> Result<Vec<BuildConfig>, ClusterError> {
        to_come()
    }

    async fn delete_build_config(&self, _name: &str) -> Result<(), ClusterError> {
        to_come()
    }

    async fn put_config_map(&self, _name: &str, _data: &TextMap) -> Result<(), ClusterError> {
        to_come()
    }

    async fn get_config_map(&self, _name: &str) -> Result<TextMap, ClusterError> {
        to_come()
    }

    async fn list_config_maps(&self) -> Result<Vec<String>, ClusterError> {
        to_come()
    }

    async fn delete_config_map(&self, _name: &str) -> Result<(), ClusterError> {
        to_come()
    }

    async fn put_secret(&self, _name: &str, _data: &SecretData) -> Result<(), ClusterError> {
        to_come()
    }

    async fn get_secret(&self, _name: &str) -> Result<SecretData, ClusterError> {
        to_come()
    }

    async fn list_secrets(&self) -> Result<Vec<String>, ClusterError> {
        to_come()
    }

    async fn delete_secret(&self, _name: &str) -> Result<(), ClusterError> {
        to_come()
    }

    async fn secret_dir(&self, _name: &str) -> Result<PathBuf, ClusterError> {
        to_come()
    }

    async fn reserve_nvr(&self, _nvr: &Nvr, _by: &BuildName) -> Result<Reservation, ClusterError> {
        to_come()
    }

    async fn nvr_owner(&self, _nvr: &Nvr) -> Result<Option<BuildName>, ClusterError> {
        to_come()
    }

    async fn next_release(&self, _component: &str, _version: &str) -> Result<String, ClusterError> {
        to_come()
    }
}
