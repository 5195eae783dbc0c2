//! `change_from_in_dockerfile`: builds against exactly the parents that were pulled (`reactor.md` 3.1.13).
//!
//! Its failure is fatal (6.2, M2): a build must not silently use whatever the tag names by then.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::{Digest, Phase};
use serde_json::json;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("change_from_in_dockerfile", &[Phase::Prebuild], |_| Ok(Box::new(ChangeFrom)))
        .accepts(&["base_image"])
}

struct ChangeFrom;

/// The image id for each parent of the Dockerfile, `scratch` as it is.
fn ids(run: &Run, parents: &[String]) -> Result<Vec<String>, PluginError> {
    parents
        .iter()
        .map(|parent| {
            if parent == "scratch" {
                return Ok(parent.clone());
            }
            let usable = run
                .parents
                .images
                .get(parent)
                .ok_or_else(|| PluginError::internal(format!("the parent {parent} was lost on the way")))?
                .as_ref()
                .ok_or_else(|| PluginError::internal(format!("the parent {parent} was never pulled")))?;
            let id: Option<Digest> = run.parents.local_ids.get(usable).cloned().or_else(|| usable.parse().ok());
            id.map(|id| id.to_string())
                .ok_or_else(|| PluginError::internal(format!("the parent {usable} has no image id on this machine")))
        })
        .collect()
}

#[async_trait]
impl Plugin for ChangeFrom {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let source = run.source()?;
        let mut dockerfile = source.dockerfile()?;
        let original = dockerfile.text().to_owned();
        let parents = dockerfile.parents_ordered()?;
        let ids = ids(run, &parents)?;
        dockerfile.set_parents(&ids)?;
        source.write_dockerfile(&dockerfile)?;
        run.original_dockerfile.get_or_insert(original);
        for (parent, id) in parents.iter().zip(&ids).filter(|(parent, _)| *parent != "scratch") {
            run.log().info(format!("FROM {parent} is {id}"));
            run.parents.images.insert(parent.clone(), Some(id.clone()));
        }
        run.parents.base_image = ids.last().filter(|id| *id != "scratch").cloned();
        Ok(Done::Value(json!(ids)))
    }
}
