//! The runner in a build's pod: process 1.

use crate::KubernetesCluster;
use osbs_cluster::{ClusterError, InsideCommand};
use osbs_types::BuildName;

/// Runs the build of this pod to its end and records it. The exit code is the pod's.
///
/// # Errors
/// The cluster cannot be used.
pub async fn run_pod(
    _cluster: KubernetesCluster,
    _name: &BuildName,
    _inside: InsideCommand,
) -> Result<u8, ClusterError> {
    Err(ClusterError::Internal("not written yet".to_owned()))
}
