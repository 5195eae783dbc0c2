//! One run of the pipeline: phases, plugin trait, run state, event stream; plugins/ holds one file a plugin.
//!
//! Start reading at [`Reactor::run`]; [`plugins`] tells how a plugin is written. This crate reads no environment, prints
//! nothing and knows neither SQL nor Kubernetes: what it needs comes in by [`Services`].

#![allow(clippy::result_large_err, reason = "a failure is made once, at the end of a plugin or a run, never in a loop")]

pub mod build_json;
mod classified;
mod client_workers;
mod committed_lines;
pub mod disk;
mod engine;
pub mod events;
mod fetching;
mod floating;
mod host_program;
pub mod imaging;
pub mod input;
mod kickstart;
mod koji;
mod man_page;
pub mod masking;
mod plugin;
pub mod plugin_reference;
pub mod plugins;
mod pulp;
mod push_targets;
mod registries;
mod repo_file;
mod resolve;
mod run;
mod services;
mod site_plugin;
mod source;
mod stage_users;
pub mod testing;
mod workers;

pub use client_workers::ClientWorkers;
pub use engine::{Reactor, RunReport};
pub use floating::FloatingName;
pub use koji::{LeftReservation, give_back_left};
pub use plugin::{
    BuildFailure, BuildResult, BuiltImageId, Classified, Done, MakePlugin, Plugin, PluginArgs, PluginError,
    PluginResult, PluginType, PluginTypes,
};
pub use pulp::{PulpRepository, WaitingName};
pub use registries::{OutputRegistry, RegistryAccess, RegistryArg};
pub use run::{
    ExportType, ExportedImage, ParentInspect, Parents, PushedRegistry, Records, Run, TagClass, TagConf, WorkerBuild,
};
pub use services::Services;
pub use source::SourceTree;
pub use workers::{WorkerCluster, WorkerClusters, WorkerRequest};
