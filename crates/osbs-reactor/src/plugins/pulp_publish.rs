//! `pulp_publish`: clients see the new content of Pulp's repositories from now on, if the build succeeded (`reactor.md`
//! 3.5.1, O10).
//!
//! After a failure distributions are left alone, and what was brought for them is taken away again.

use crate::plugin::{Done, Plugin, PluginResult, PluginType};
use crate::pulp::PulpArgs;
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::Phase;
use serde_json::json;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("pulp_publish", &[Phase::Exit], |args| Ok(Box::new(PulpPublish(args.parse()?))))
        .purpose("Points Pulp's distributions at the new repository versions, once everything has succeeded.")
        .argument("pulp_registry_name", "URL of Pulp 3, without `pulp` in config.yaml")
        .argument("pulp_secret_path", "folder with pulp.cer and pulp.key, or with username and password")
        .argument("username", "name to log in to Pulp with, preferred to the folder")
        .argument("password", "its password")
        .accepts(&["pulp_repo_prefix", "dockpulp_loglevel"])
        .reads(&[
            "`pulp` of config.yaml",
            "what pulp_sync, pulp_tag and pulp_push have brought to Pulp",
            "whether the build failed",
        ])
        .writes(&[
            "distributions in Pulp",
            "the record of pushes: Pulp's registry",
            "after a failure: repository versions of this build, removed",
        ])
}

struct PulpPublish(PulpArgs);

#[async_trait]
impl Plugin for PulpPublish {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        if run.pulp.is_empty() {
            return Ok(Done::Skipped("this build has brought nothing to Pulp".to_owned()));
        }
        let site = run.pulp(&self.0).await?;
        if run.has_failed() {
            site.withdraw(run).await;
            return Ok(Done::Skipped("the build failed: clients of Pulp go on to see what they saw".to_owned()));
        }
        let names = site.publish(run).await?;
        for name in &names {
            run.log().info(format!("Pulp serves {name}"));
        }
        Ok(Done::Value(json!(names)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::run_without_source;

    #[tokio::test]
    async fn nothing_was_brought() {
        let mut test = run_without_source(PluginLists::default()).await;
        let done = test.plugin(&plugin(), json!({})).await.unwrap();
        assert_eq!(done, Done::Skipped("this build has brought nothing to Pulp".to_owned()));
    }
}
