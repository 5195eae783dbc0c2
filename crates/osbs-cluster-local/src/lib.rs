//! The cluster on one machine: child processes, SQLite, an event log that survives `kill -9`.
//!
//! [`LocalCluster`] is what callers see. A build is a *runner* process (`runner.rs`) that waits for the build's turn and
//! runs the reactor as pid 1 of a pid namespace. Nothing here is a daemon: whoever finds a dead runner closes its build
//! ([`recover`], `ending.rs`). Knows no plugins and no images.

mod database;
mod ending;
mod launch;
mod layout;
mod local;
mod lock;
mod objects;
mod process_mark;
mod runner;
mod secret_files;
mod secret_mounts;
mod unrecorded;

pub use ending::{Recovered, build_cgroup, recover, unfinished_builds};
pub use launch::RunnerCommand;
pub use layout::{BuildPaths, Home};
pub use local::LocalCluster;
pub use runner::run_build;
pub use unrecorded::remove_unrecorded;
