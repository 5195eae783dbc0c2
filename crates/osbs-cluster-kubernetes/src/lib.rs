//! The cluster on Kubernetes: a build is a Job, its environment a Secret, its log ConfigMaps, its turn a Lease.
//!
//! [`KubernetesCluster`] is what callers see. There is no agent and no queue service: whoever creates, waits for, ends or
//! clears builds makes a *pass* (`turns.rs`) that starts those whose turn it is. Inside the pod [`run_pod`] is the runner.
//! Knows no plugins and no images. [`Reach`] makes the connection; environment and home folder are `osbs`'s to read.

mod build_configs;
mod builds;
mod check;
mod client;
mod closing;
mod cluster;
mod config_maps;
mod gc;
mod job;
mod log;
mod names;
mod nvrs;
mod pod_options;
mod pod_reason;
mod pods;
mod reach;
mod record;
mod run_pod;
mod secrets;
mod turns;
mod wanted;
mod watch;

pub use check::{Finding, Permission, Role, Standing, Wanted};
pub use cluster::KubernetesCluster;
pub use gc::Cleared;
pub use pod_options::{HomeVolume, PodOptions, PodSecurity};
pub use reach::{Reach, Reached, Server, Token};
pub use run_pod::run_pod;
