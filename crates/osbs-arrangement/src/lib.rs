//! The arrangements as data files, and the rules that render and prune them.
//!
//! Rank 2. An arrangement says which plugins run in the orchestrator and which in the worker (`reactor.md` section 2).
//! [`template`] gives its plugin lists; for the arrangements 1 to 5 the client calls [`render`] and sends the lists, for
//! arrangement 6 the reactor calls [`render_user_params`] and then [`prune_by_environment`]. Every plugin that is taken
//! away comes back as a [`Removal`] with its reason, for the log. No clock, no randomness: callers pass both.

mod customize;
mod environment;
mod error;
mod lists;
mod names;
mod render;
mod render_v6;
mod secrets;
mod site_program;
mod templates;
mod worker_request;

pub use customize::Customization;
pub use environment::prune_by_environment;
pub use error::ArrangementError;
pub use lists::{PluginEntry, PluginLists, Removal};
pub use names::{
    NameError, UniqueName, build_config_name, git_labels, humanish, image_stream_tag, isolated_build_name,
    isolated_release, release_label, scratch_build_name, tag_suffixes,
};
pub use render::{RenderInput, Rendered, render};
pub use render_v6::render_user_params;
pub use secrets::{SECRETS_ROOT, SecretMount, default_mount_point};
pub use site_program::{ImageForm, SiteProgram};
pub use templates::{LATEST, inner_template_name, template, template_from_dir};
pub use worker_request::{build_kwargs, config_kwargs};

/// Whether the parent is a base image made on the way: `koji/image-build[:CONF]`.
pub fn is_custom_base_image(name: &str) -> bool {
    name == "koji/image-build" || name.starts_with("koji/image-build:")
}
