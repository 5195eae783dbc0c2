//! `osbs gc` at a Kubernetes cluster: what nobody else does while nobody waits for a build.

use super::{give_back, remove_fragments};
use crate::session::Session;
use osbs_cluster::{Build, BuildFilter, Cluster};
use osbs_cluster_kubernetes::KubernetesCluster;
use osbs_types::{BuildName, Failure, Timestamp};
use serde_json::json;
use std::time::Duration;

/// Runs the command.
pub(super) async fn run(session: &Session, cluster: &KubernetesCluster, dry_run: bool) -> Result<u8, Failure> {
    let kept = cluster.options().ttl;
    let (closed, removed) = if dry_run {
        let builds = cluster.list_builds(&BuildFilter::default()).await.map_err(|e| e.to_failure())?;
        (Vec::new(), builds.into_iter().filter(|build| is_old(build, kept)).map(|build| build.name).collect())
    } else {
        remove_fragments(session).await?;
        give_back(session).await?;
        let cleared = cluster.gc(kept).await.map_err(|e| e.to_failure())?;
        (cleared.closed, cleared.removed)
    };
    if session.wants_json() {
        let names = |builds: &[BuildName]| builds.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (closed_builds, removed_builds) = (names(&closed), names(&removed));
        session
            .print_json(&json!({"dry_run": dry_run, "closed_builds": closed_builds, "removed_builds": removed_builds}));
        return Ok(0);
    }
    for name in &closed {
        session.print(&format!("{name} is closed: whatever ran it is gone\n"));
    }
    let verb = if dry_run { "would remove" } else { "removed" };
    session.print(&format!("{verb} {} finished builds\n", removed.len()));
    Ok(0)
}

/// Whether a build ended longer ago than such builds are kept.
fn is_old(build: &Build, kept: Option<Duration>) -> bool {
    let (Some(kept), Some(finished)) = (kept, build.finished) else { return false };
    Timestamp::now().duration_since(finished).unsigned_abs() >= kept
}
