//! One instance: its configuration, its cluster, and the calls that need little more than the cluster.

use crate::error::ClientError;
use crate::git::Git;
use async_trait::async_trait;
use osbs_cluster::{Build, BuildFilter, Cluster, EventStream, TextMap, WaitFor};
use osbs_config::{GeneralConfig, InstanceConfig, OsbsConf, Problem, Settings};
use osbs_types::{Architecture, BuildName, Platform};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Where an instance's builds run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterAddress {
    /// Where the caller is: on this machine, in the home folder of whoever calls; in a build's pod, the pod's cluster.
    Home,
    /// On this machine, in that folder.
    Folder(PathBuf),
    /// On Kubernetes.
    Kubernetes(KubernetesServer),
}

/// How the API server of a Kubernetes cluster is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KubernetesServer {
    /// By its root URL, `https://HOST[:PORT]`.
    Url(String),
    /// By a context of a kubeconfig file, as kubectl does; the current one without a name.
    Kubeconfig {
        /// The file.
        path: String,
        /// The context.
        context: Option<String>,
    },
    /// The cluster in which the caller's pod runs, by its service account.
    InCluster,
}

/// `openshift_url` that stands for the cluster of the caller's pod.
const IN_CLUSTER: &str = "kubernetes://in-cluster";

/// The address behind `openshift_url`: `local:///DIR` = that folder, `https://HOST` = the Kubernetes API there,
/// `kubernetes://in-cluster` = that of the pod. Absent: by `kubeconfig`, else the home folder.
///
/// # Errors
/// Any other URL: there are no other clusters.
pub fn cluster_address(instance: &InstanceConfig) -> Result<ClusterAddress, ClientError> {
    let Some(url) = instance.openshift_url.as_deref().filter(|url| !url.is_empty()) else {
        let context = instance.kube_context.clone();
        let by_file =
            |path: &String| ClusterAddress::Kubernetes(KubernetesServer::Kubeconfig { path: path.clone(), context });
        return Ok(instance.kubeconfig.as_ref().map_or(ClusterAddress::Home, by_file));
    };
    if let Some(path) = url.strip_prefix("local://").filter(|path| path.starts_with('/')) {
        return Ok(ClusterAddress::Folder(PathBuf::from(path)));
    }
    if url == IN_CLUSTER {
        return Ok(ClusterAddress::Kubernetes(KubernetesServer::InCluster));
    }
    let is_http = ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme) && url.len() > scheme.len());
    if is_http {
        return Ok(ClusterAddress::Kubernetes(KubernetesServer::Url(url.to_owned())));
    }
    Err(ClientError::NoSuchCluster { url: url.to_owned() })
}

/// Opens clusters, for whoever knows how.
#[async_trait]
pub trait ClusterConnector: Send + Sync {
    /// The cluster of an instance: its values, and the layers they come from.
    async fn connect(&self, settings: &Settings, instance: &InstanceConfig) -> Result<Arc<dyn Cluster>, ClientError>;
}

/// A server-side configuration, used unless the instance names a secret or ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReactorConfigText {
    /// The YAML.
    pub text: String,
    /// Where it came from, for errors: a path.
    pub origin: String,
}

/// What an instance is made of.
#[derive(Clone)]
pub struct OsbsParts {
    /// The layers of configuration.
    pub settings: Settings,
    /// The instance's cluster.
    pub cluster: Arc<dyn Cluster>,
    /// The site's `config.yaml`.
    pub reactor_config: ReactorConfigText,
    /// How git is run.
    pub git: Git,
    /// Where repositories are cloned to, for a look at them.
    pub scratch_dir: PathBuf,
    /// How many orchestrator builds run at once where the instance says nothing (`max_concurrent_builds`).
    pub default_max_concurrent_builds: u32,
}

/// One instance of `osbs.conf`.
#[derive(Clone)]
pub struct Osbs {
    pub(crate) parts: OsbsParts,
    pub(crate) instance: InstanceConfig,
    pub(crate) general: GeneralConfig,
    pub(crate) warnings: Vec<Problem>,
}

impl Osbs {
    /// An instance with a cluster that is open already.
    ///
    /// # Errors
    /// Values of the configuration that are not what their keys take.
    pub fn new(parts: OsbsParts) -> Result<Self, ClientError> {
        let resolved = parts.settings.resolve()?;
        let general = parts.settings.general();
        Ok(Self { parts, instance: resolved.value, general, warnings: resolved.warnings })
    }

    /// The instance's values.
    pub fn instance(&self) -> &InstanceConfig {
        &self.instance
    }

    /// What is odd in its configuration.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Its cluster.
    pub fn cluster(&self) -> &Arc<dyn Cluster> {
        &self.parts.cluster
    }

    /// `can_orchestrate`.
    pub fn can_orchestrate(&self) -> bool {
        self.instance.can_orchestrate
    }

    /// The platform sections of the file.
    pub(crate) fn platforms(&self) -> BTreeMap<Platform, Architecture> {
        let conf = self.parts.settings.conf();
        let sections = conf.into_iter().flat_map(OsbsConf::platforms);
        sections.map(|(platform, section)| (platform.clone(), section.architecture.clone())).collect()
    }

    /// One build.
    ///
    /// # Errors
    /// There is none of that name, or the cluster failed.
    pub async fn get_build(&self, name: &BuildName) -> Result<Build, ClientError> {
        Ok(self.parts.cluster.get_build(name).await?)
    }

    /// Builds, oldest first. `running` means not finished, as in OSBS.
    ///
    /// # Errors
    /// The cluster failed.
    pub async fn list_builds(
        &self,
        running: bool,
        koji_task_id: Option<u64>,
        mut labels: TextMap,
    ) -> Result<Vec<Build>, ClientError> {
        labels.extend(koji_task_id.map(|id| ("koji-task-id".to_owned(), id.to_string())));
        let filter = BuildFilter { labels, unfinished: running, ..BuildFilter::default() };
        Ok(self.parts.cluster.list_builds(&filter).await?)
    }

    /// Builds that match a filter, oldest first.
    ///
    /// # Errors
    /// The cluster failed.
    pub async fn list_builds_by(&self, filter: &BuildFilter) -> Result<Vec<Build>, ClientError> {
        Ok(self.parts.cluster.list_builds(filter).await?)
    }

    /// Waits until the build runs or is finished.
    ///
    /// # Errors
    /// See [`Osbs::get_build`].
    pub async fn wait_for_build_to_get_scheduled(&self, name: &BuildName) -> Result<Build, ClientError> {
        Ok(self.parts.cluster.wait_build(name, WaitFor::Scheduled).await?)
    }

    /// Waits until the build is finished.
    ///
    /// # Errors
    /// See [`Osbs::get_build`].
    pub async fn wait_for_build_to_finish(&self, name: &BuildName) -> Result<Build, ClientError> {
        Ok(self.parts.cluster.wait_build(name, WaitFor::Finished).await?)
    }

    /// Asks a build to stop.
    ///
    /// # Errors
    /// See [`Osbs::get_build`].
    pub async fn cancel_build(&self, name: &BuildName) -> Result<Build, ClientError> {
        Ok(self.parts.cluster.cancel_build(name).await?)
    }

    /// The build's events behind `from`.
    ///
    /// # Errors
    /// See [`Osbs::get_build`].
    pub async fn events(&self, name: &BuildName, from: u64, follow: bool) -> Result<EventStream, ClientError> {
        Ok(self.parts.cluster.events(name, from, follow).await?)
    }
}
