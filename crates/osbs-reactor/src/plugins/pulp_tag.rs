//! `pulp_tag`: gives the image archives that workers have uploaded to Pulp the final names (`reactor.md` 3.4.6; O1).
//!
//! Names of images in Pulp come with `pulp_sync`. Clients see nothing before `pulp_publish`.

use super::pulp_push::{ANNOTATION, Brought};
use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::pulp::PulpArgs;
use crate::run::Run;
use async_trait::async_trait;
use osbs_pulp::Href;
use osbs_types::Phase;
use serde::Deserialize;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("pulp_tag", &[Phase::Postbuild], |args| Ok(Box::new(PulpTag(args.parse()?))))
        .purpose("Puts the image archives that workers uploaded under the image's names in Pulp's file repository.")
        .argument("pulp_registry_name", "URL of Pulp 3, without `pulp` in config.yaml")
        .argument("pulp_secret_path", "folder with pulp.cer and pulp.key, or with username and password")
        .argument("username", "name to log in to Pulp with, preferred to the folder")
        .argument("password", "its password")
        .argument("pulp_repo_prefix", "put before the names of Pulp's repositories; nothing by default")
        .accepts(&["dockpulp_loglevel"])
        .reads(&["`pulp` of config.yaml", "the annotation pulp-archive of worker builds", "all names of the image"])
        .writes(&[
            "file repositories in Pulp, named in the annotation pulp-repositories",
            "what pulp_publish publishes",
            "names that push_floating_tags moves at the end",
        ])
}

struct PulpTag(PulpArgs);

/// What `pulp_push` leaves.
#[derive(Deserialize)]
struct Uploaded {
    href: Href,
}

#[async_trait]
impl Plugin for PulpTag {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let uploaded = uploaded(run)?;
        if uploaded.is_empty() {
            return Ok(Done::Skipped("no worker has uploaded an image archive to Pulp".to_owned()));
        }
        let site = run.pulp(&self.0).await?;
        let mut brought = Brought::default();
        for (platform, href) in uploaded {
            let stored = site.client.file(&href).await?;
            brought.add(run, &site, &stored, &platform).await?;
        }
        Ok(Done::Value(brought.leave(run, &site)))
    }

    fn ends_itself_when_cancelled(&self) -> bool {
        true
    }
}

/// Platform and reference of every archive that a worker tells of.
fn uploaded(run: &Run) -> Result<Vec<(String, Href)>, PluginError> {
    let mut found = Vec::new();
    for (platform, worker) in &run.workers {
        let Some(text) = worker.build.annotations.get(ANNOTATION) else { continue };
        let one: Uploaded = serde_json::from_str(text).map_err(|error| {
            PluginError::internal(format!("{ANNOTATION} of the worker build for {platform} cannot be read: {error}"))
        })?;
        found.push((platform.clone(), one.href));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::run::WorkerBuild;
    use crate::testing::run_without_source;
    use serde_json::json;
    use std::sync::Arc;

    #[tokio::test]
    async fn what_workers_tell() {
        let mut test = run_without_source(PluginLists::default()).await;
        let done = test.plugin(&plugin(), json!({})).await.unwrap();
        assert_eq!(done, Done::Skipped("no worker has uploaded an image archive to Pulp".to_owned()));
        let mut build = test.run.build.clone();
        build.annotations.insert(ANNOTATION.to_owned(), r#"{"href": "/pulp/../etc/"}"#.to_owned());
        let cluster = Arc::new(test.cluster.clone());
        test.run.workers.insert("x86_64".to_owned(), WorkerBuild { cluster_name: "w".to_owned(), cluster, build });
        let error = test.plugin(&plugin(), json!({})).await.unwrap_err();
        assert!(error.to_string().contains("worker build for x86_64"), "{error}");
    }
}
