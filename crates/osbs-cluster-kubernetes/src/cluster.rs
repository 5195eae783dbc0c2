//! [`KubernetesCluster`]: every call is a request or two to the API server.

use crate::client::{Pauses, asked, code, is_conflict};
use crate::job::{JobFacts, facts, to_text};
use crate::names::{FINISHED, STATE};
use crate::pods::pods_of;
use crate::record::StateRecord;
use crate::turns::Passes;
use crate::watch::WatchPlace;
use crate::{PodOptions, builds, log, pod_reason, turns, wanted};
use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Patch, PatchParams};
use osbs_cluster::{
    Build, BuildConfig, BuildFilter, BuildPatch, Cluster, ClusterError, EventStream, NewBuild, Reservation, SecretData,
    SecretMount, TextMap, WaitFor,
};
use osbs_types::{BuildName, Nvr};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How long a request is sent again while the server is away.
const PATIENCE: Duration = Duration::from_mins(1);

/// One namespace of a Kubernetes cluster. Clones share the connection and the watch.
#[derive(Clone)]
pub struct KubernetesCluster {
    shared: Arc<Shared>,
    patience: Duration,
    first_patience: Duration,
    mounts: Option<Arc<[SecretMount]>>,
}

struct Shared {
    client: kube::Client,
    namespace: String,
    url: String,
    options: PodOptions,
    passes: Passes,
    watch: WatchPlace,
    /// When the server last gave no answer.
    away: Mutex<Option<Instant>>,
    /// The server has given an answer.
    answered: AtomicBool,
}

impl KubernetesCluster {
    /// The namespace as `client` sees it. `url` is for people and records.
    pub fn new(
        client: kube::Client,
        namespace: impl Into<String>,
        url: impl Into<String>,
        options: PodOptions,
    ) -> Self {
        let shared = Shared {
            client,
            namespace: namespace.into(),
            url: url.into(),
            options,
            passes: Passes::default(),
            watch: WatchPlace::default(),
            away: Mutex::default(),
            answered: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), patience: PATIENCE, first_patience: PATIENCE, mounts: None }
    }

    /// The same, with requests sent again for so long while the server is away (a minute otherwise).
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The same, for somebody who sits before it: a server that has never answered may not be there at all, and this is how
    /// long it is tried.
    #[must_use]
    pub fn with_first_patience(mut self, patience: Duration) -> Self {
        self.first_patience = patience;
        self
    }

    /// The same, in a pod that has these secrets mounted: what [`Cluster::secret_dir`] tells, and no others.
    #[must_use]
    pub fn with_secret_mounts(mut self, mounts: impl IntoIterator<Item = SecretMount>) -> Self {
        self.mounts = Some(mounts.into_iter().collect());
        self
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

    pub(crate) fn patience(&self) -> Duration {
        if self.shared.answered.load(Ordering::Relaxed) {
            self.patience
        } else {
            self.patience.min(self.first_patience)
        }
    }

    /// From now on the server is known to be one.
    pub(crate) fn has_answered(&self) {
        self.shared.answered.store(true, Ordering::Relaxed);
    }

    pub(crate) fn secret_mounts(&self) -> Option<&[SecretMount]> {
        self.mounts.as_deref()
    }

    pub(crate) fn was_away(&self) -> &Mutex<Option<Instant>> {
        &self.shared.away
    }

    pub(crate) fn passes(&self) -> &Passes {
        &self.shared.passes
    }

    pub(crate) fn watch_place(&self) -> &WatchPlace {
        &self.shared.watch
    }

    pub(crate) fn not_found(&self, kind: &'static str, name: &str) -> ClusterError {
        ClusterError::NotFound { kind, name: name.to_owned(), namespace: self.shared.namespace.clone() }
    }

    /// What an error about a build's Job means.
    pub(crate) fn job_failed(&self, verb: &'static str, name: &BuildName, error: kube::Error) -> ClusterError {
        match code(&error) {
            Some(404) => ClusterError::BuildNotFound { namespace: self.shared.namespace.clone(), build: name.clone() },
            _ => self.failed(asked(verb, "jobs.batch"), Some(name.as_str()))(error),
        }
    }

    /// A build as recorded.
    pub(crate) async fn facts_of(&self, name: &BuildName) -> Result<JobFacts, ClusterError> {
        let api = self.api::<Job>();
        let job = self.send(|| api.get(name.as_str())).await.map_err(|error| self.job_failed("get", name, error))?;
        facts(&job)
    }

    /// Changes a Job: reads it, has the change made by `change`, a merge patch (`None`: there is nothing to change), sends
    /// it under the version that was read, and all of it again when somebody was quicker.
    pub(crate) async fn change_job(
        &self,
        name: &BuildName,
        change: impl Fn(&JobFacts) -> Result<Option<Value>, ClusterError> + Send + Sync,
    ) -> Result<JobFacts, ClusterError> {
        let (api, params) = (self.api::<Job>(), PatchParams::default());
        let mut pauses = Pauses::short();
        loop {
            let before = self.facts_of(name).await?;
            let Some(mut patch) = change(&before)? else { return Ok(before) };
            patch["metadata"]["resourceVersion"] = before.resource_version.clone().into();
            let patch = Patch::Merge(patch);
            match self.send(|| api.patch(name.as_str(), &params, &patch)).await {
                Ok(job) => return facts(&job),
                Err(error) if is_conflict(&error) => pauses.wait().await,
                Err(error) => return Err(self.job_failed("patch", name, error)),
            }
        }
    }

    /// Changes `osbs/state`. `change` says whether there is anything to write. A finished build gets its label too.
    pub(crate) async fn change_state(
        &self,
        name: &BuildName,
        change: impl Fn(&mut StateRecord) -> bool + Send + Sync,
    ) -> Result<JobFacts, ClusterError> {
        self.change_job(name, |facts| {
            let mut state = facts.state.clone();
            if !change(&mut state) {
                return Ok(None);
            }
            let mut patch = json!({"metadata": {"annotations": {STATE: to_text(&state)?}}});
            if state.state.is_finished() {
                patch["metadata"]["labels"] = json!({FINISHED: "true"});
            }
            Ok(Some(patch))
        })
        .await
    }

    /// The build as it is shown.
    async fn shown(&self, facts: &JobFacts) -> Result<Build, ClusterError> {
        if facts.build.is_finished() {
            return Ok(facts.build.clone());
        }
        if facts.granted {
            return Ok(pod_reason::shown(facts, &pods_of(self, &facts.build.name).await?));
        }
        let mut build = facts.build.clone();
        turns::show_reasons(std::slice::from_mut(&mut build), &self.queue().await?);
        Ok(build)
    }
}

#[async_trait]
impl Cluster for KubernetesCluster {
    fn namespace(&self) -> &str {
        &self.shared.namespace
    }

    fn url(&self) -> String {
        self.shared.url.clone()
    }

    async fn create_build(&self, new: NewBuild) -> Result<Build, ClusterError> {
        builds::create(self, new).await
    }

    async fn get_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        let facts = self.facts_of(name).await?;
        let mut build = self.shown(&facts).await?;
        if !build.is_finished() {
            build.env = match self.environment_of(name).await {
                // Who may see builds need not be allowed to see what they are given.
                Err(ClusterError::Forbidden { .. }) => TextMap::new(),
                env => env?,
            };
        }
        Ok(build)
    }

    async fn list_builds(&self, filter: &BuildFilter) -> Result<Vec<Build>, ClusterError> {
        builds::list(self, filter).await
    }

    async fn cancel_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        builds::cancel(self, name).await
    }

    async fn still_wanted(&self, name: &BuildName, how_long: Duration) -> Result<(), ClusterError> {
        wanted::say(self, name, how_long).await
    }

    async fn wait_build(&self, name: &BuildName, until: WaitFor) -> Result<Build, ClusterError> {
        builds::wait(self, name, until).await
    }

    async fn update_build(&self, name: &BuildName, patch: BuildPatch) -> Result<Build, ClusterError> {
        builds::update(self, name, &patch).await
    }

    async fn events(&self, name: &BuildName, from: u64, follow: bool) -> Result<EventStream, ClusterError> {
        log::events(self, name, from, follow).await
    }

    async fn active_builds(&self, group: Option<&str>) -> Result<usize, ClusterError> {
        builds::active(self, group).await
    }

    async fn ensure_build_config(&self, config: BuildConfig) -> Result<BuildConfig, ClusterError> {
        self.ensure_config(&config).await
    }

    async fn get_build_config(&self, name: &str) -> Result<Option<BuildConfig>, ClusterError> {
        self.read_config(name).await
    }

    async fn find_build_configs(&self, labels: &TextMap) -> Result<Vec<BuildConfig>, ClusterError> {
        self.configs_with(labels).await
    }

    async fn delete_build_config(&self, name: &str) -> Result<(), ClusterError> {
        self.remove_config(name).await
    }

    async fn put_config_map(&self, name: &str, data: &TextMap) -> Result<(), ClusterError> {
        self.put_config_map_whole(name, data).await
    }

    async fn get_config_map(&self, name: &str) -> Result<TextMap, ClusterError> {
        self.config_map_data(name).await
    }

    async fn list_config_maps(&self) -> Result<Vec<String>, ClusterError> {
        self.config_map_names().await
    }

    async fn delete_config_map(&self, name: &str) -> Result<(), ClusterError> {
        crate::names::check_config_map(name)?;
        self.remove_config_map(name).await
    }

    async fn put_secret(&self, name: &str, data: &SecretData) -> Result<(), ClusterError> {
        self.put_secret_whole(name, data).await
    }

    async fn get_secret(&self, name: &str) -> Result<SecretData, ClusterError> {
        self.secret_data(name).await
    }

    async fn list_secrets(&self) -> Result<Vec<String>, ClusterError> {
        self.secret_names().await
    }

    async fn delete_secret(&self, name: &str) -> Result<(), ClusterError> {
        self.remove_secret(name).await
    }

    async fn secret_dir(&self, name: &str) -> Result<PathBuf, ClusterError> {
        self.mounted_secret(name)
    }

    async fn reserve_nvr(&self, nvr: &Nvr, by: &BuildName) -> Result<Reservation, ClusterError> {
        self.reserve(nvr, by).await
    }

    async fn nvr_owner(&self, nvr: &Nvr) -> Result<Option<BuildName>, ClusterError> {
        self.owner_of(nvr).await
    }

    async fn next_release(&self, component: &str, version: &str) -> Result<String, ClusterError> {
        self.release_after(component, version).await
    }
}
