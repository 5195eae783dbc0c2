//! Worker clusters by way of osbs-client: the real [`WorkerClusters`].
//!
//! A cluster of the site's configuration is an instance (section) of the worker `osbs.conf`. Without such a file the one of
//! the request is read; without that section it is the cluster this build runs on.

use crate::workers::{WorkerCluster, WorkerClusters, WorkerRequest};
use async_trait::async_trait;
use osbs_client::git::Git;
use osbs_client::{ClientError, ClusterConnector, Osbs, OsbsParts, ReactorConfigText, WorkerBuildRequest};
use osbs_cluster::{Build, Cluster};
use osbs_config::{OsbsConf, Settings};
use osbs_types::{ErrorKind, Failure};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens worker clusters through osbs-client.
pub struct ClientWorkers {
    /// Opens the clusters that instances name.
    pub connector: Arc<dyn ClusterConnector>,
    /// The namespace where an instance names none: the orchestrator's own.
    pub namespace: String,
    /// The `osbs.conf` of whoever asked for the build, used where the site's configuration names no other.
    pub fallback_conf: Option<PathBuf>,
    /// How git is run.
    pub git: Git,
    /// For short-lived clones.
    pub scratch_dir: PathBuf,
}

fn conf(path: Option<&Path>) -> Result<Option<OsbsConf>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let text = format!("the configuration of worker clusters, {name}, cannot be read: {error}");
        Failure::message(ErrorKind::Policy, text)
            .with_hint("check clusters_client_config_dir in config.yaml, or client_config_secret in osbs.conf")
    })?;
    Ok(Some(OsbsConf::parse(&text, &name).map_err(|error| error.to_failure())?.value))
}

/// As texts, the way the file would hold them; nothing is not transmitted.
fn arguments(overrides: &Map<String, Value>) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    overrides.iter().filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect()
}

#[async_trait]
impl WorkerClusters for ClientWorkers {
    async fn connect(
        &self,
        name: &str,
        config_dir: Option<&Path>,
        overrides: &Map<String, Value>,
    ) -> Result<Arc<dyn WorkerCluster>, Failure> {
        let failed = |error: ClientError| error.to_failure();
        let conf =
            conf(config_dir.map(|folder| folder.join("osbs.conf")).as_deref().or(self.fallback_conf.as_deref()))?;
        let with_conf = |instance, options| Settings::new(conf.clone(), instance, options, arguments(overrides));
        let mut settings = with_conf(name, BTreeMap::new());
        if conf.is_none() || settings.lacks_instance() {
            // The cluster this build runs on, with what the file says for the usual instance.
            settings = with_conf("default", [("namespace".to_owned(), self.namespace.clone())].into());
        }
        let instance = settings.resolve().map_err(|error| error.to_failure())?.value;
        let cluster = self.connector.connect(&settings, &instance).await.map_err(failed)?;
        let build_json_dir = settings.general().build_json_dir;
        let parts = OsbsParts {
            settings,
            cluster,
            reactor_config: ReactorConfigText {
                text: "version: 1".to_owned(),
                origin: "built-in config.yaml".to_owned(),
            },
            git: self.git.clone(),
            scratch_dir: self.scratch_dir.clone(),
            default_max_concurrent_builds: 1,
        };
        let osbs = Osbs::new(parts).map_err(failed)?;
        Ok(Arc::new(ClientWorker { osbs, build_json_dir }))
    }
}

struct ClientWorker {
    osbs: Osbs,
    build_json_dir: Option<String>,
}

#[async_trait]
impl WorkerCluster for ClientWorker {
    fn cluster(&self) -> Arc<dyn Cluster> {
        Arc::clone(self.osbs.cluster())
    }

    fn openshift(&self) -> Value {
        let instance = self.osbs.instance();
        let mut section = json!({
            "url": self.osbs.cluster().url(),
            "insecure": !instance.verify_ssl,
            "auth": { "enable": instance.use_auth.unwrap_or(false) },
        });
        if let Some(folder) = &self.build_json_dir {
            section["build_json_dir"] = folder.as_str().into();
        }
        section
    }

    async fn create_worker_build(&self, request: WorkerRequest) -> Result<Build, Failure> {
        let request = WorkerBuildRequest {
            platform: request.platform,
            release: request.release,
            arrangement_version: request.arrangement_version,
            parameters: request.parameters,
            parent: Some(request.parent),
            slots: Some(request.slots),
        };
        self.osbs.create_worker_build(&request).await.map_err(|error| error.to_failure())
    }
}
