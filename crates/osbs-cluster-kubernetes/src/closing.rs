//! Closing builds whose runner died without doing so.

use crate::KubernetesCluster;
use crate::job::JobFacts;
use osbs_cluster::ClusterError;

/// Closes the build if nothing runs it any more and nothing will: the new facts, or `None` if it lives, waits or is finished.
pub(crate) async fn close_if_dead(
    _cluster: &KubernetesCluster,
    _facts: &JobFacts,
) -> Result<Option<JobFacts>, ClusterError> {
    Err(ClusterError::Internal("not written yet".to_owned()))
}
