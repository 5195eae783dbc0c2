//! What a run needs from outside, handed in by whoever starts it.
//!
//! Everything is a trait object or a cheap clone, so that a test can put anything in its place. Nothing here reads the
//! environment or the home folder.

use crate::events::{Clock, EventSink};
use crate::workers::WorkerClusters;
use osbs_client::git::Git;
use osbs_cluster::Cluster;
use osbs_http::Transport;
use osbs_image::Store;
use std::path::PathBuf;
use std::sync::Arc;

/// The world outside a run. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// The cluster this build runs on.
    pub cluster: Arc<dyn Cluster>,
    /// How worker clusters are reached.
    pub workers: Arc<dyn WorkerClusters>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// A folder on a large disk; every run makes its source work folder in it and removes it.
    pub work_root: PathBuf,
    /// Images of this machine.
    pub store: Store,
    /// How images are made here.
    pub imaging: crate::imaging::Imaging,
    /// Sends every HTTP request.
    pub transport: Transport,
    /// `PATH` for programs a run starts; they get nothing else of the caller's environment.
    pub program_path: String,
    /// `KRB5_CONFIG` for a login with Kerberos at Koji; `None`: the machine's.
    pub kerberos_config: Option<String>,
    /// How git is run.
    pub git: Git,
    /// The file system that the disk watcher samples, `/` in OSBS.
    pub watched_disk: PathBuf,
}
