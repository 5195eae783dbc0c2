//! A cluster that shows every answer to somebody else as JSON: what `--capture-dir` of the command line keeps.
//!
//! What may hold passwords is not shown: secrets, and the values of environments.

use crate::{
    Build, BuildConfig, BuildFilter, BuildPatch, Cluster, ClusterError, EventStream, NewBuild, Reservation, SecretData,
    TextMap, WaitFor,
};
use async_trait::async_trait;
use osbs_types::{BuildName, Nvr};
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// Takes an answer: the name of the operation, and what came of it.
pub type Capture = Arc<dyn Fn(&'static str, &Value) + Send + Sync>;

/// Another cluster, and who is shown its answers.
pub struct CapturedCluster {
    inner: Arc<dyn Cluster>,
    capture: Capture,
}

impl CapturedCluster {
    /// Shows the answers of `inner` to `capture`.
    pub fn new(inner: Arc<dyn Cluster>, capture: Capture) -> Self {
        Self { inner, capture }
    }

    fn show<T: Serialize>(&self, operation: &'static str, answer: Result<T, ClusterError>) -> Result<T, ClusterError> {
        let value = match &answer {
            Ok(value) => serde_json::to_value(value).unwrap_or_default(),
            Err(error) => serde_json::json!({"error": error.to_string(), "kind": error.kind()}),
        };
        (self.capture)(operation, &without_environment(value));
        answer
    }
}

/// Environments hold the site's configuration.
fn without_environment(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| match value {
                Value::Object(env) if key == "env" => {
                    (key, env.into_iter().map(|(name, _)| (name, Value::from("***"))).collect())
                }
                value => (key, without_environment(value)),
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(without_environment).collect(),
        other => other,
    }
}

#[async_trait]
impl Cluster for CapturedCluster {
    fn namespace(&self) -> &str {
        self.inner.namespace()
    }

    fn url(&self) -> String {
        self.inner.url()
    }

    async fn create_build(&self, new: NewBuild) -> Result<Build, ClusterError> {
        self.show("create_build", self.inner.create_build(new).await)
    }

    async fn get_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        self.show("get_build", self.inner.get_build(name).await)
    }

    async fn list_builds(&self, filter: &BuildFilter) -> Result<Vec<Build>, ClusterError> {
        self.show("list_builds", self.inner.list_builds(filter).await)
    }

    async fn cancel_build(&self, name: &BuildName) -> Result<Build, ClusterError> {
        self.show("cancel_build", self.inner.cancel_build(name).await)
    }

    async fn wait_build(&self, name: &BuildName, until: WaitFor) -> Result<Build, ClusterError> {
        self.show("wait_build", self.inner.wait_build(name, until).await)
    }

    async fn update_build(&self, name: &BuildName, patch: BuildPatch) -> Result<Build, ClusterError> {
        self.show("update_build", self.inner.update_build(name, patch).await)
    }

    /// Not shown: a log is no answer.
    async fn events(&self, name: &BuildName, from: u64, follow: bool) -> Result<EventStream, ClusterError> {
        self.inner.events(name, from, follow).await
    }

    async fn active_builds(&self, group: Option<&str>) -> Result<usize, ClusterError> {
        self.show("active_builds", self.inner.active_builds(group).await)
    }

    async fn ensure_build_config(&self, config: BuildConfig) -> Result<BuildConfig, ClusterError> {
        self.show("ensure_build_config", self.inner.ensure_build_config(config).await)
    }

    async fn get_build_config(&self, name: &str) -> Result<Option<BuildConfig>, ClusterError> {
        self.show("get_build_config", self.inner.get_build_config(name).await)
    }

    async fn find_build_configs(&self, labels: &TextMap) -> Result<Vec<BuildConfig>, ClusterError> {
        self.show("find_build_configs", self.inner.find_build_configs(labels).await)
    }

    async fn delete_build_config(&self, name: &str) -> Result<(), ClusterError> {
        self.show("delete_build_config", self.inner.delete_build_config(name).await)
    }

    async fn put_config_map(&self, name: &str, data: &TextMap) -> Result<(), ClusterError> {
        self.show("put_config_map", self.inner.put_config_map(name, data).await)
    }

    /// Only its keys are shown: `config.yaml` may be one.
    async fn get_config_map(&self, name: &str) -> Result<TextMap, ClusterError> {
        let map = self.inner.get_config_map(name).await?;
        (self.capture)("get_config_map", &map.keys().map(String::as_str).collect());
        Ok(map)
    }

    async fn list_config_maps(&self) -> Result<Vec<String>, ClusterError> {
        self.show("list_config_maps", self.inner.list_config_maps().await)
    }

    async fn delete_config_map(&self, name: &str) -> Result<(), ClusterError> {
        self.show("delete_config_map", self.inner.delete_config_map(name).await)
    }

    async fn put_secret(&self, name: &str, data: &SecretData) -> Result<(), ClusterError> {
        self.show("put_secret", self.inner.put_secret(name, data).await)
    }

    /// Only its keys are shown.
    async fn get_secret(&self, name: &str) -> Result<SecretData, ClusterError> {
        let data = self.inner.get_secret(name).await?;
        (self.capture)("get_secret", &data.keys().collect());
        Ok(data)
    }

    async fn list_secrets(&self) -> Result<Vec<String>, ClusterError> {
        self.show("list_secrets", self.inner.list_secrets().await)
    }

    async fn delete_secret(&self, name: &str) -> Result<(), ClusterError> {
        self.show("delete_secret", self.inner.delete_secret(name).await)
    }

    async fn secret_dir(&self, name: &str) -> Result<PathBuf, ClusterError> {
        self.inner.secret_dir(name).await
    }

    async fn reserve_nvr(&self, nvr: &Nvr, by: &BuildName) -> Result<Reservation, ClusterError> {
        self.show("reserve_nvr", self.inner.reserve_nvr(nvr, by).await)
    }

    async fn nvr_owner(&self, nvr: &Nvr) -> Result<Option<BuildName>, ClusterError> {
        self.show("nvr_owner", self.inner.nvr_owner(nvr).await)
    }

    async fn next_release(&self, component: &str, version: &str) -> Result<String, ClusterError> {
        self.show("next_release", self.inner.next_release(component, version).await)
    }
}
