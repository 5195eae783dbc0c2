//! The plugins, one file each, named as in plugin lists.
//!
//! # Writing a plugin
//!
//! ```ignore
//! pub fn plugin() -> PluginType {
//!     PluginType::new("tag_by_labels", &[Phase::Postbuild], |args| Ok(Box::new(args.parse::<TagByLabels>()?)))
//!         .accepts(&["unique_tag_only"])
//! }
//!
//! #[derive(Deserialize, Default)]
//! #[serde(default)]
//! struct TagByLabels { unique_tag_only: bool }
//!
//! #[async_trait]
//! impl Plugin for TagByLabels {
//!     async fn run(&mut self, run: &mut Run) -> PluginResult {
//!         run.log().info("...");                                   // atomic_reactor.plugins.tag_by_labels
//!         let id = run.blocking(|cancel| slow_and_sync(cancel)).await?;   // the engine waits for this before exit plugins
//!         run.tags.add(TagClass::Unique, name);                    // state for other plugins: typed fields of Run
//!         Ok(Done::Value(json!([...])))                            // result; Done::Skipped("why"); builders: Done::Built(..)
//!     }
//! }
//! ```
//!
//! * Configuration is `run.config`, arguments are only the fallback for it. The outside world is `run.services`.
//! * Errors: an enum of the plugin that implements [`crate::Classified`], or `PluginError::user("...")` and its siblings for
//!   a one-off. `?` works on both and on the errors of the other crates.
//! * Cancellation: the future is dropped at its next `await`; blocking work gets a token and must look at it. Never catch
//!   a cancellation.
//! * Files of the repository are hostile: open them beneath `source.root()` only (`osbs_sandbox::rooted`).
//! * Builders are named by build method: the native build step registers as `docker_api` and `imagebuilder`, the default
//!   when a list names no builder comes from container.yaml and the configuration.
//! * Registries: [`Run::output_registries`], [`Run::source_registry`]; secrets: [`Run::secret_path`].
//! * What the summary shall show goes into `run.facts`.
//! * Add `mod NAME;` and `NAME::plugin()` below.

mod add_dockerfile;
mod add_filesystem;
mod add_help;
mod add_labels_in_dockerfile;
mod add_yum_repo_by_url;
mod all_rpm_packages;
mod bump_release;
mod change_from_in_dockerfile;
mod check_and_set_platforms;
mod check_and_set_rebuild;
mod compare_components;
mod compress;
mod delete_from_registry;
mod distgit_fetch_artefacts;
mod distribution_scope;
mod export_operator_manifests;
mod fetch_maven_artifacts;
mod fetch_worker_metadata;
mod group_manifests;
mod hide_files;
mod inject_parent_image;
mod inject_yum_repo;
mod koji;
mod koji_import;
mod koji_parent;
mod koji_promote;
mod koji_tag_build;
mod koji_upload;
mod native;
mod orchestrate_build;
mod pull_base_image;
pub(crate) mod pulp_publish;
mod pulp_pull;
mod pulp_push;
pub(crate) mod pulp_sync;
mod pulp_tag;
pub(crate) mod push_floating_tags;
mod reactor_config;
mod remove_built_image;
mod remove_worker_metadata;
mod sendmail;
mod squash;
mod store_metadata_in_osv3;
mod tag_and_push;
mod tag_by_labels;
mod tag_from_config;
mod verify_media;

pub(crate) use fetch_maven_artifacts::hex;

#[allow(unused_imports, reason = "for the links above")]
use crate::Run;
use crate::plugin::{PluginType, PluginTypes};

/// Every plugin there is.
pub fn all() -> PluginTypes {
    let mut types: Vec<PluginType> = vec![
        add_dockerfile::plugin(),
        add_filesystem::plugin(),
        add_help::plugin(),
        add_labels_in_dockerfile::plugin(),
        add_yum_repo_by_url::plugin(),
        all_rpm_packages::plugin(),
        bump_release::plugin(),
        change_from_in_dockerfile::plugin(),
        check_and_set_platforms::plugin(),
        check_and_set_rebuild::plugin(),
        compare_components::plugin(),
        compress::plugin(),
        delete_from_registry::plugin(),
        distgit_fetch_artefacts::plugin(),
        distribution_scope::plugin(),
        export_operator_manifests::plugin(),
        fetch_maven_artifacts::plugin(),
        fetch_worker_metadata::plugin(),
        group_manifests::plugin(),
        hide_files::plugin(),
        inject_parent_image::plugin(),
        inject_yum_repo::plugin(),
        koji::plugin(),
        koji_import::plugin(),
        koji_parent::plugin(),
        koji_promote::plugin(),
        koji_tag_build::plugin(),
        koji_upload::plugin(),
        orchestrate_build::plugin(),
        pull_base_image::plugin(),
        pulp_publish::plugin(),
        pulp_pull::plugin(),
        pulp_push::plugin(),
        pulp_sync::plugin(),
        pulp_tag::plugin(),
        push_floating_tags::plugin(),
        reactor_config::plugin(),
        remove_built_image::plugin(),
        remove_worker_metadata::plugin(),
        sendmail::plugin(),
        squash::plugin(),
        store_metadata_in_osv3::plugin(),
        tag_and_push::plugin(),
        tag_by_labels::plugin(),
        tag_from_config::plugin(),
        verify_media::plugin(),
    ];
    types.extend(native::plugins());
    PluginTypes::new(types)
}
