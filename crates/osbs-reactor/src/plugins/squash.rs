//! `squash`: one layer over the base image. The native builder makes no other kind, so there is never anything to do.

use crate::plugin::{Done, Plugin, PluginError, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_image::StoredImage;
use osbs_types::Phase;

/// The plugin's type.
pub fn plugin() -> PluginType {
    PluginType::new("squash", &[Phase::Prepublish], |_| Ok(Box::new(Squash)))
        .purpose("Is there for lists that name it: the builder makes one new layer by itself.")
        .accepts(&["tag", "from_base", "from_layer", "dont_load", "save_archive"])
        .reads(&["whether the image has its one new layer"])
        .writes(&["nothing"])
}

struct Squash;

#[async_trait]
impl Plugin for Squash {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        let Some(facts) = &run.built else {
            return Ok(Done::Skipped("the image was not built here".to_owned()));
        };
        let image = StoredImage::load(&run.services.store, &facts.manifest)?;
        let parent = match &facts.parent_id {
            Some(id) => StoredImage::by_id(&run.services.store, id)?.map(|parent| parent.layers.len()),
            None => Some(0),
        };
        let new = parent.map(|parent| image.layers.len().saturating_sub(parent));
        match new {
            Some(1) | None => {
                Ok(Done::Skipped("the builder made a single layer over the base image: nothing to squash".to_owned()))
            }
            Some(new) => Err(PluginError::internal(format!("{new} layers lie over the base image instead of one"))),
        }
    }
}
