//! The Cluster trait, its contract, its conformance tests, and an in-memory one.
//!
//! A cluster is where builds run and are remembered. This crate knows neither SQL nor Kubernetes; it says what every
//! cluster must do ([`Cluster`]) and checks it ([`conformance`]).

mod build;
mod capture;
mod cluster;
pub mod conformance;
mod ending;
mod error;
mod event_log;
mod event_reader;
mod file_watch;
mod inside_command;
mod memory;
mod object;
pub mod queue;
mod release;
mod secret_data;

pub use build::{
    Build, BuildConfig, BuildFilter, BuildPatch, GitSource, Limits, NameRule, NewBuild, Reservation, SecretMount,
    Slots, StoredEvent, TextMap, WaitFor,
};
pub use capture::{Capture, CapturedCluster};
pub use cluster::{Cluster, EventStream};
pub use ending::{CONSOLE_LOGGER, Conclusion, Ending, Verdict, conclude, console_events, judge};
pub use error::{Cause, ClusterError, storage};
pub use event_log::EventLog;
pub use event_reader::{EventParser, EventReader, LineReader, Lines, STRAY_LOGGER};
pub use file_watch::FileWatch;
pub use inside_command::InsideCommand;
pub use memory::{MemoryCluster, Script};
pub use release::{is_object_name, merge_build_config, next_release};
pub use secret_data::SecretData;
