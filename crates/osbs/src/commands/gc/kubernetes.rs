//! `osbs gc` at a Kubernetes cluster: what nobody else does while nobody waits for a build.

use super::{give_back, remove_fragments};
use crate::session::Session;
use crate::site::SECRETS_ROOT;
use osbs_cluster::{Build, BuildFilter, Cluster, SecretMount};
use osbs_cluster_kubernetes::KubernetesCluster;
use osbs_types::{BuildName, Failure, Timestamp};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Runs the command.
pub(super) async fn run(session: &Session, cluster: &KubernetesCluster, dry_run: bool) -> Result<u8, Failure> {
    let kept = cluster.options().ttl;
    let (closed, removed) = if dry_run {
        let builds = cluster.list_builds(&BuildFilter::default()).await.map_err(|e| e.to_failure())?;
        (Vec::new(), builds.into_iter().filter(|build| is_old(build, kept)).map(|build| build.name).collect())
    } else {
        remove_fragments(session).await?;
        let with_secrets: Arc<dyn Cluster> = Arc::new(cluster.clone().with_secret_mounts(mounted()));
        give_back(session, &with_secrets).await?;
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

/// The Secrets that this pod has where builds have theirs: the login of Koji, for example.
fn mounted() -> Vec<SecretMount> {
    let folders = std::fs::read_dir(SECRETS_ROOT).into_iter().flatten().flatten();
    let names = folders.filter_map(|folder| folder.file_name().into_string().ok());
    names.map(|secret| SecretMount { mount_path: format!("{SECRETS_ROOT}/{secret}"), secret }).collect()
}

/// Whether a build ended longer ago than such builds are kept.
fn is_old(build: &Build, kept: Option<Duration>) -> bool {
    let (Some(kept), Some(finished)) = (kept, build.finished) else { return false };
    Timestamp::now().duration_since(finished).unsigned_abs() >= kept
}
