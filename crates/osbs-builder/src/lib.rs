//! Dockerfile to image: stages, instructions, one layer out.
//!
//! Synchronous; knows no registry, no Koji, no cluster and no terminal: images come through [`ParentImages`], output goes
//! to a [`BuildObserver`]. Start reading at [`build`]: the stages that the target needs are planned, each is carried out
//! in an overlay over its parent's unpacked layers, and what the target stage's chain changed is streamed into exactly
//! one new layer. Every path that a Dockerfile, a context or an image chose is resolved inside its root.

mod accounts;
mod agent_socket;
mod build;
mod commit;
mod config_change;
mod containment;
mod copied_folder;
mod copy_bytes;
mod disk;
mod error;
mod executor;
mod fetcher;
mod file_copy;
mod file_error;
mod file_mode;
mod hard_links;
mod history;
mod ignored_files;
mod kept_layer;
mod once;
mod open_folder;
mod plan;
mod plan_error;
mod put_off;
mod removal;
mod request;
mod run;
mod run_mounts;
mod signals;
mod source;
mod stage;
mod stage_root;
mod stage_run;
mod transfer;
mod tree_copy;
mod variables;
mod views;

pub use build::build;
pub use error::{BuildError, FileError, InstructionError};
pub use fetcher::{CheckedOut, Fetcher, GitSource};
pub use osbs_image::ImageFormat;
pub use plan_error::PlanError;
pub use request::{
    BuildObserver, BuildRequest, BuiltImage, Limits, ParentImages, RunLimits, RunNetwork, StageLabel, UserNamespace,
};
pub use variables::is_predefined;
