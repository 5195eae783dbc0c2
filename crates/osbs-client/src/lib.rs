//! `osbs.conf` instance to cluster: create, watch, demultiplex, cancel.
//!
//! [`Osbs`] is one instance. [`Osbs::create_orchestrator_build`] checks a request against the site and the repository and
//! hands a build to the cluster; the orchestrator build uses [`Osbs::create_worker_build`] of its worker clusters. Knows no
//! terminal, no environment, no home folder.

mod config_maps;
mod demultiplex;
mod direct;
mod error;
pub mod git;
mod logs;
mod orchestrator;
mod osbs;
mod render;
mod repository;
mod request;
mod submit;
mod tokens;
mod worker;

pub use config_maps::ConfigMap;
pub use demultiplex::{LogEntry, demultiplex_line, entries_of, strip_relayed_platform};
pub use error::ClientError;
pub use logs::LogStream;
pub use orchestrator::PreparedBuild;
pub use osbs::{
    ClusterAddress, ClusterConnector, KubernetesServer, Osbs, OsbsParts, ReactorConfigText, cluster_address,
};
pub use repository::{RepositoryInfo, RequiredLabels};
pub use request::{BuildRequest, Submitted, WorkerBuildRequest};
pub use tokens::TokenSource;
