//! ConfigMaps: those of callers, and the way in which ours are changed.

use crate::KubernetesCluster;
use crate::client::{Pauses, asked, code, is_conflict};
use crate::names::{KIND, check_config_map, check_object};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use osbs_cluster::{ClusterError, TextMap};

/// In RBAC's words.
pub(crate) const CONFIG_MAPS: &str = "configmaps";
/// Value of the label `osbs/kind`.
const CALLERS: &str = "config-map";

/// A ConfigMap of ours.
pub(crate) fn new_config_map(name: &str, kind: &str, data: TextMap) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(KIND.to_owned(), kind.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    }
}

impl KubernetesCluster {
    pub(crate) async fn put_config_map_whole(&self, name: &str, data: &TextMap) -> Result<(), ClusterError> {
        check_config_map(name)?;
        let (api, params) = (self.api::<ConfigMap>(), PostParams::default());
        let map = new_config_map(name, CALLERS, data.clone());
        loop {
            // Without a version: whatever is there is replaced.
            match self.send(|| api.replace(name, &params, &map)).await {
                Ok(_) => return Ok(()),
                Err(error) if code(&error) == Some(404) => {}
                Err(error) if is_conflict(&error) => continue,
                Err(error) => return Err(self.failed(asked("update", CONFIG_MAPS), Some(name))(error)),
            }
            match self.send(|| api.create(&params, &map)).await {
                Ok(_) => return Ok(()),
                Err(error) if code(&error) == Some(409) => {}
                Err(error) => return Err(self.failed(asked("create", CONFIG_MAPS), Some(name))(error)),
            }
        }
    }

    /// The ConfigMap, whoever made it.
    pub(crate) async fn read_config_map(&self, name: &str) -> Result<Option<ConfigMap>, ClusterError> {
        let api = self.api::<ConfigMap>();
        self.send(|| api.get_opt(name)).await.map_err(self.failed(asked("get", CONFIG_MAPS), Some(name)))
    }

    pub(crate) async fn config_map_data(&self, name: &str) -> Result<TextMap, ClusterError> {
        check_object("ConfigMap name", name)?;
        let map = self.read_config_map(name).await?.ok_or_else(|| self.not_found("ConfigMap", name))?;
        Ok(map.data.unwrap_or_default())
    }

    pub(crate) async fn config_map_names(&self) -> Result<Vec<String>, ClusterError> {
        let maps: Vec<ConfigMap> = self.list_all(CONFIG_MAPS, &format!("{KIND}={CALLERS}")).await?;
        let mut names: Vec<_> = maps.into_iter().filter_map(|map| map.metadata.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a ConfigMap; none there: no error.
    pub(crate) async fn remove_config_map(&self, name: &str) -> Result<(), ClusterError> {
        let (api, params) = (self.api::<ConfigMap>(), DeleteParams::background());
        match self.send(|| api.delete(name, &params)).await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some(404) => Ok(()),
            Err(error) => Err(self.failed(asked("delete", CONFIG_MAPS), Some(name))(error)),
        }
    }

    /// Reads a ConfigMap of ours, changes it, writes it under the version that was read, and all of it again when somebody
    /// was quicker. `change` gets what is there and says what shall be (`None`: nothing to write) and what to answer.
    pub(crate) async fn change_config_map<T>(
        &self,
        name: &str,
        change: impl Fn(Option<ConfigMap>) -> Result<(Option<ConfigMap>, T), ClusterError>,
    ) -> Result<T, ClusterError> {
        let (api, params) = (self.api::<ConfigMap>(), PostParams::default());
        let mut pauses = Pauses::short();
        loop {
            let before = self.read_config_map(name).await?;
            let is_new = before.is_none();
            let (after, answer) = change(before)?;
            let Some(after) = after else { return Ok(answer) };
            let (verb, result) = if is_new {
                ("create", self.send(|| api.create(&params, &after)).await)
            } else {
                ("update", self.send(|| api.replace(name, &params, &after)).await)
            };
            match result {
                Ok(_) => return Ok(answer),
                // Made, changed or removed meanwhile. A create that finds nothing lacks its namespace.
                Err(error) if code(&error) == Some(409) || (!is_new && code(&error) == Some(404)) => {}
                Err(error) => return Err(self.failed(asked(verb, CONFIG_MAPS), Some(name))(error)),
            }
            pauses.wait().await;
        }
    }
}
