//! `remove_built_image`: gives up the names that kept this build's images in the store (`reactor.md` 3.5.10).
//!
//! Layers stay until garbage collection, so that the next build finds its parent unpacked.

use crate::plugin::{Done, Plugin, PluginResult, PluginType};
use crate::run::Run;
use async_trait::async_trait;
use osbs_types::Phase;
use serde::Deserialize;

/// The plugin.
pub fn plugin() -> PluginType {
    PluginType::new("remove_built_image", &[Phase::Exit], |args| Ok(Box::new(args.parse::<RemoveBuiltImage>()?)))
        .allowed_to_fail()
        .purpose(
            "Gives up what kept this build's images in the store; garbage collection takes them when nobody uses them.",
        )
        .accepts(&["remove_pulled_base_image"])
        .reads(&["names that this build gave images in the store"])
        .writes(&["the store's names"])
}

#[derive(Deserialize)]
#[serde(default)]
struct RemoveBuiltImage {
    /// Accepted for old templates: a pulled parent costs nothing but space, and garbage collection sees to that.
    #[serde(rename = "remove_pulled_base_image")]
    _remove_pulled_base_image: bool,
}

impl Default for RemoveBuiltImage {
    fn default() -> Self {
        Self { _remove_pulled_base_image: true }
    }
}

#[async_trait]
impl Plugin for RemoveBuiltImage {
    async fn run(&mut self, run: &mut Run) -> PluginResult {
        for name in std::mem::take(&mut run.images_to_remove) {
            match run.services.store.remove_ref(&name) {
                Ok(true) => run.log().debug(format!("{name} is no longer kept")),
                Ok(false) => {}
                Err(error) => run.log().warning(format!("{name} is still kept in the image store: {error}")),
            }
        }
        Ok(Done::nothing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_json::PluginLists;
    use crate::testing::run_without_source;
    use osbs_image::{Descriptor, ImageRef};
    use osbs_types::Digest;
    use serde_json::json;

    #[tokio::test]
    async fn only_own_names_go() {
        let mut test = run_without_source(PluginLists::default()).await;
        let store = test.run.services.store.clone();
        let descriptor = Descriptor::new(osbs_image::media_type::OCI_MANIFEST, Digest::from_sha256(&[1; 32]), 1);
        for name in ["test-1:0", "other:0"] {
            store.set_ref(name, &ImageRef { descriptor: descriptor.clone() }, "x").unwrap();
        }
        test.run.images_to_remove = vec!["test-1:0".to_owned(), "never-there".to_owned()];
        test.plugin(&plugin(), json!({})).await.unwrap();
        let left: Vec<_> = store.list_refs().unwrap().into_iter().map(|record| record.name).collect();
        assert_eq!(left, ["other:0"]);
    }
}
