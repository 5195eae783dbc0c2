//! ConfigMaps whose values are JSON texts (`client-and-koji.md` 2.14): how worker metadata reaches the orchestrator.

use crate::error::ClientError;
use crate::osbs::Osbs;
use osbs_cluster::TextMap;
use serde_json::{Map, Value};

/// A ConfigMap as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigMap {
    data: TextMap,
}

impl ConfigMap {
    /// All values, parsed. One that is no JSON stays a text, as `config.yaml` does.
    pub fn data(&self) -> Map<String, Value> {
        self.data.iter().map(|(key, text)| (key.clone(), parsed(text))).collect()
    }

    /// One value, parsed; an empty object where there is none.
    pub fn data_by_key(&self, key: &str) -> Value {
        self.data.get(key).map_or_else(|| Value::Object(Map::new()), |text| parsed(text))
    }

    /// One value as it is stored.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.data.get(key).map(String::as_str)
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

impl Osbs {
    /// Writes a ConfigMap, each value as JSON text.
    ///
    /// # Errors
    /// The cluster refused the name, or failed.
    pub async fn create_config_map(&self, name: &str, data: &Map<String, Value>) -> Result<(), ClientError> {
        let data = data.iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
        Ok(self.parts.cluster.put_config_map(name, &data).await?)
    }

    /// Reads a ConfigMap.
    ///
    /// # Errors
    /// There is none of that name, or the cluster failed.
    pub async fn get_config_map(&self, name: &str) -> Result<ConfigMap, ClientError> {
        Ok(ConfigMap { data: self.parts.cluster.get_config_map(name).await? })
    }

    /// Removes a ConfigMap. No such: no error.
    ///
    /// # Errors
    /// The cluster failed.
    pub async fn delete_config_map(&self, name: &str) -> Result<(), ClientError> {
        Ok(self.parts.cluster.delete_config_map(name).await?)
    }
}
