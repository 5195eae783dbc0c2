//! `remove_worker_metadata`: removes the ConfigMaps of all worker builds, failed ones too (`reactor.md` 3.5.11, M17).

use super::fetch_worker_metadata::config_map;
use crate::plugin::{Done, Plugin, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::Phase;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("remove_worker_metadata", &[Phase::Exit], |_| Ok(Box::new(RemoveWorkerMetadata))).allowed_to_fail()
}

struct RemoveWorkerMetadata;

#[async_trait]
impl Plugin for RemoveWorkerMetadata {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        for (platform, worker) in &run.workers {
            let Some(name) = config_map(worker) else { continue };
            let log = run.log().for_platform(platform);
            match worker.cluster.delete_config_map(name).await {
                Ok(()) => log.debug(format!("ConfigMap {name} is removed")),
                Err(error) => log.warning(format!("ConfigMap {name} stays: {error}")),
            }
        }
        Ok(Done::nothing())
    }
}
