//! What `osbs gc` does in a namespace: closes the dead, grants turns, removes finished builds by age.

use crate::KubernetesCluster;
use osbs_cluster::ClusterError;
use osbs_types::BuildName;
use std::time::Duration;

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Builds whose runner had died, closed now.
    pub closed: Vec<BuildName>,
    /// Finished builds that were old enough.
    pub removed: Vec<BuildName>,
}

impl KubernetesCluster {
    /// Closes dead builds, makes a pass, and removes builds that ended longer than `older_than` ago, with their logs.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn gc(&self, _older_than: Option<Duration>) -> Result<Cleared, ClusterError> {
        Err(ClusterError::Internal("not written yet".to_owned()))
    }
}
