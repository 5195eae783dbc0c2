//! `fetch_worker_metadata`: the metadata fragments that workers left in ConfigMaps (`reactor.md` 3.4.11, M18).

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::{Run, WorkerBuild};
use async_trait::async_trait;
use osbs_types::Phase;
use serde_json::{Map, Value};

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("fetch_worker_metadata", &[Phase::Postbuild], |_| Ok(Box::new(FetchWorkerMetadata)))
        .purpose("Fetches the parts of the metadata that the worker builds left.")
        .reads(&["annotations metadata_fragment and metadata_fragment_key of the workers, and their ConfigMaps"])
        .writes(&["platform to metadata, for `compare_components` and the import into Koji"])
}

struct FetchWorkerMetadata;

/// Name of the ConfigMap of a worker's fragment, if its annotation names one.
pub(super) fn config_map(worker: &WorkerBuild) -> Option<&str> {
    let name = worker.build.annotations.get("metadata_fragment")?.strip_prefix("configmap/")?;
    (!name.is_empty()).then_some(name)
}

#[async_trait]
impl Plugin for FetchWorkerMetadata {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let mut fragments = Map::new();
        for (platform, worker) in &run.workers {
            let broken = |what: &str| PluginError::internal(format!("metadata of the {platform} build {what}"));
            let name = config_map(worker).ok_or_else(|| {
                broken("cannot be found: annotation metadata_fragment is missing or is not configmap/NAME")
            })?;
            let key = worker.build.annotations.get("metadata_fragment_key").filter(|key| !key.is_empty());
            let key = key.ok_or_else(|| broken("cannot be found: annotation metadata_fragment_key is missing"))?;
            let data = worker.cluster.get_config_map(name).await?;
            let text = data.get(key).ok_or_else(|| broken(&format!("lacks {key} in ConfigMap {name}")))?;
            let fragment: Value = serde_json::from_str(text)
                .map_err(|error| broken(&format!("is no JSON in ConfigMap {name}: {error}")))?;
            fragments.insert(platform.clone(), fragment);
        }
        Ok(Done::Value(Value::Object(fragments)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::run_with;
    use osbs_cluster::Cluster;
    use serde_json::json;
    use std::sync::Arc;

    async fn check(annotations: &[(&str, &str)], data: Option<&str>, expected: Result<Value, &str>) {
        let mut test = run_with("FROM scratch\n", &[], PluginLists::default()).await;
        let mut build = test.run.build.clone();
        build.annotations.extend(annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        if let Some(text) = data {
            let data = [("metadata.json".to_owned(), text.to_owned())].into();
            test.cluster.put_config_map("w-md", &data).await.unwrap();
        }
        let cluster: Arc<dyn Cluster> = Arc::new(test.cluster.clone());
        let worker = WorkerBuild { cluster_name: "a".to_owned(), cluster, build };
        test.run.workers.insert("x86_64".to_owned(), worker);
        match (test.plugin(&plugin(), json!({})).await, &expected) {
            (Ok(Done::Value(got)), Ok(wanted)) => assert_eq!(got, *wanted),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (other, _) => panic!("{other:?}, expected {expected:?}"),
        }
    }

    #[tokio::test]
    async fn fragments_or_a_fatal_error() {
        let map = ("metadata_fragment", "configmap/w-md");
        let key = ("metadata_fragment_key", "metadata.json");
        check(&[map, key], Some(r#"{"output": []}"#), Ok(json!({"x86_64": {"output": []}}))).await;
        check(&[map, key], None, Err("no ConfigMap w-md")).await;
        check(&[map, key], Some("{"), Err("no JSON")).await;
        check(&[map], Some("{}"), Err("metadata_fragment_key")).await;
        check(&[key], Some("{}"), Err("metadata_fragment is missing")).await;
        check(&[("metadata_fragment", "secret/x"), key], Some("{}"), Err("configmap/NAME")).await;
        check(&[map, ("metadata_fragment_key", "other")], Some("{}"), Err("lacks other")).await;
    }
}
