//! From an instance of `osbs.conf` to its cluster and client, on this machine.

use super::{KERBEROS_CONFIG, ReactorConfigSource, kerberos_config, kubernetes, program_path};
use async_trait::async_trait;
use osbs_client::git::Git;
use osbs_client::{
    ClientError, ClusterAddress, ClusterConnector, KubernetesServer, Osbs, OsbsParts, ReactorConfigText,
    cluster_address,
};
use osbs_cluster::{Cluster, ClusterError};
use osbs_cluster_kubernetes::KubernetesCluster;
use osbs_cluster_local::{LocalCluster, RunnerCommand};
use osbs_config::{InstanceConfig, Settings};
use osbs_types::{ErrorKind, Failure};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens clusters. Builds of the local one are run by this very program.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    default_home: PathBuf,
    conf_path: Option<PathBuf>,
    build_image: Option<String>,
}

/// A cluster of one of the two kinds.
pub(crate) enum Opened {
    /// On this machine.
    Local(LocalCluster),
    /// On Kubernetes.
    Kubernetes(KubernetesCluster),
}

impl Opened {
    /// Whichever it is.
    pub(crate) fn into_cluster(self) -> Arc<dyn Cluster> {
        match self {
            Self::Local(cluster) => Arc::new(cluster),
            Self::Kubernetes(cluster) => Arc::new(cluster),
        }
    }
}

impl Connector {
    /// `default_home` is the local cluster of instances that name no other; builds find `conf_path` in their environment.
    pub(crate) fn new(default_home: &Path, conf_path: Option<PathBuf>) -> Self {
        Self { default_home: default_home.to_owned(), conf_path, build_image: None }
    }

    /// The same; pods of builds whose instance names no builder image run in that one.
    pub(crate) fn with_build_image(mut self, image: Option<String>) -> Self {
        self.build_image = image;
        self
    }

    /// The folder of an instance's local cluster. With another cluster commands still need a place for clones and images.
    pub(crate) fn home_of(&self, instance: &InstanceConfig) -> Result<PathBuf, Failure> {
        match cluster_address(instance).map_err(|e| e.to_failure())? {
            ClusterAddress::Folder(folder) => Ok(folder),
            ClusterAddress::Home | ClusterAddress::Kubernetes(_) => Ok(self.default_home.clone()),
        }
    }

    /// An instance's cluster. Must be called where tokio runs.
    pub(crate) fn open_instance(&self, settings: &Settings, instance: &InstanceConfig) -> Result<Opened, ClientError> {
        let by = |server: &KubernetesServer| {
            let image = self.build_image.as_deref();
            kubernetes::open(settings, instance, server, image).map(Opened::Kubernetes)
        };
        let home = match cluster_address(instance)? {
            ClusterAddress::Kubernetes(server) => return by(&server),
            ClusterAddress::Home if kubernetes::in_pod() => return by(&KubernetesServer::InCluster),
            ClusterAddress::Home => self.default_home.clone(),
            ClusterAddress::Folder(folder) => folder,
        };
        Ok(Opened::Local(self.open(&home, &instance.namespace)?))
    }

    fn runner(&self) -> Result<RunnerCommand, ClusterError> {
        let program = std::env::current_exe()
            .map_err(|source| ClusterError::Launch { program: "osbs".to_owned(), source: source.into() })?;
        let mut env = vec![("PATH".into(), program_path())];
        if let Some(path) = self.conf_path.as_deref().and_then(|path| std::path::absolute(path).ok()) {
            env.push(("OSBS_CONF".into(), path.into_os_string()));
        }
        env.extend(kerberos_config().map(|path| (KERBEROS_CONFIG.into(), path.into())));
        Ok(RunnerCommand { program, args: vec!["run-build".into()], env })
    }

    /// A local cluster, with dead builds closed first.
    pub(crate) fn open(&self, home: &Path, namespace: &str) -> Result<LocalCluster, ClusterError> {
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        osbs_cluster_local::recover(home)?;
        LocalCluster::open(home, namespace, self.runner()?)
    }
}

#[async_trait]
impl ClusterConnector for Connector {
    async fn connect(&self, settings: &Settings, instance: &InstanceConfig) -> Result<Arc<dyn Cluster>, ClientError> {
        Ok(self.open_instance(settings, instance)?.into_cluster())
    }
}

/// Whether an instance's builds run on Kubernetes.
pub(crate) fn is_kubernetes(instance: &InstanceConfig) -> bool {
    match cluster_address(instance) {
        Ok(ClusterAddress::Kubernetes(_)) => true,
        Ok(ClusterAddress::Home) => kubernetes::in_pod(),
        _ => false,
    }
}

/// The client of an instance over an open cluster. Repositories are looked at below `home`.
pub(crate) fn client(
    home: &Path,
    cluster: Arc<dyn Cluster>,
    settings: &Settings,
    reactor_config: &ReactorConfigSource,
) -> Result<Osbs, Failure> {
    let scratch_dir = home.join("work");
    std::fs::create_dir_all(&scratch_dir).map_err(|e| Failure::new(ErrorKind::Resource, &e))?;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let parts = OsbsParts {
        settings: settings.clone(),
        cluster,
        reactor_config: ReactorConfigText { text: reactor_config.text.clone(), origin: reactor_config.name() },
        git: Git::new(program_path()),
        scratch_dir,
        default_max_concurrent_builds: 2 * cores as u32,
    };
    Osbs::new(parts).map_err(|e| e.to_failure())
}
