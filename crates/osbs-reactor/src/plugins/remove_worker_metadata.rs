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
