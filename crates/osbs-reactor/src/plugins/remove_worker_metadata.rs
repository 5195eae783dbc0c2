//! `remove_worker_metadata`: removes the ConfigMaps of all worker builds, failed ones too (`reactor.md` 3.5.11, M17).

use super::fetch_worker_metadata::config_map;
use super::koji_upload::config_map_of;
use crate::plugin::{Done, Plugin, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::Phase;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("remove_worker_metadata", &[Phase::Exit], |_| Ok(Box::new(RemoveWorkerMetadata)))
        .allowed_to_fail()
        .purpose("Removes the metadata that worker builds left for their orchestrator; of failed ones too.")
        .reads(&["annotation metadata_fragment of the workers, else the name that it would have"])
        .writes(&["the workers' ConfigMaps are gone"])
}

struct RemoveWorkerMetadata;

#[async_trait]
impl Plugin for RemoveWorkerMetadata {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        for (platform, worker) in &run.workers {
            // A worker that was killed may have written it and not said so.
            let name = config_map(worker).map_or_else(|| config_map_of(&worker.build.name), str::to_owned);
            let log = run.log().for_platform(platform);
            match worker.cluster.delete_config_map(&name).await {
                Ok(()) => log.debug(format!("ConfigMap {name} is removed")),
                Err(error) => log.warning(format!("ConfigMap {name} stays: {error}")),
            }
        }
        Ok(Done::nothing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::run::WorkerBuild;
    use crate::testing::run_without_source;
    use osbs_cluster::{Cluster, TextMap};
    use serde_json::json;
    use std::sync::Arc;

    /// What a worker build says of its ConfigMap, and which ones there are.
    async fn check(annotation: Option<&str>, there: &[&str], left: &[&str]) {
        let mut test = run_without_source(PluginLists::default()).await;
        for name in there {
            test.cluster.put_config_map(name, &TextMap::new()).await.unwrap();
        }
        let mut build = test.run.build.clone();
        build.annotations.extend(annotation.map(|value| ("metadata_fragment".to_owned(), value.to_owned())));
        let cluster: Arc<dyn Cluster> = Arc::new(test.cluster.clone());
        test.run.workers.insert("x86_64".to_owned(), WorkerBuild { cluster_name: "a".to_owned(), cluster, build });
        test.plugin(&plugin(), json!({})).await.unwrap();
        assert_eq!(test.cluster.list_config_maps().await.unwrap(), left, "{annotation:?}");
    }

    #[tokio::test]
    async fn of_every_worker_whether_it_said_so_or_not() {
        check(Some("configmap/named"), &["named", "other"], &["other"]).await;
        // Killed between writing and saying so (M17).
        check(None, &["test-1-md", "other"], &["other"]).await;
        check(Some("configmap/gone"), &["other"], &["other"]).await;
    }
}
