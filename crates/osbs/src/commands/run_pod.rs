//! `osbs run-pod`: the runner of one build on Kubernetes, process 1 of its pod. Started by the build's Job, never by people.

use crate::site::{Connector, Opened, program_path, reservations};
use clap::Args;
use osbs_cluster::{Cluster, InsideCommand};
use osbs_cluster_kubernetes::KubernetesCluster;
use osbs_config::Settings;
use osbs_types::{BuildName, BuildType, ErrorKind, Failure};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the pod has to end, in seconds.
pub(crate) const GRACE: &str = "OSBS_GRACE_SECONDS";
/// What of it is the runner's own, for the last lines of the log and the record.
const OWN_GRACE: Duration = Duration::from_secs(20);

/// Run one build of a Kubernetes cluster, in its pod (started by the cluster)
#[derive(Debug, Args)]
pub(crate) struct RunPodArgs {
    /// Name of the build
    build: BuildName,
}

/// Runs the build to its end. The exit code is the build's. In a runtime of one thread: the pod's memory is the build's.
pub(crate) fn run(args: &RunPodArgs) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Failure::new(ErrorKind::Resource, &e))?.block_on(run_here(args))
}

async fn run_here(args: &RunPodArgs) -> Result<u8, Failure> {
    let cluster = open()?;
    let program = std::env::current_exe().map_err(|e| Failure::new(ErrorKind::Resource, &e))?;
    let mut inside = InsideCommand::new(program);
    inside.args = ["reactor", "inside-build", "--input", "osv3"].map(OsString::from).to_vec();
    // What the pod has is the build's: its Job and its Secret say all of it.
    inside.env = std::env::vars_os().collect();
    inside.env.extend([("PATH".into(), program_path()), ("LC_ALL".into(), "C.UTF-8".into())]);
    if let Some(seconds) = std::env::var(GRACE).ok().and_then(|text| text.parse().ok()) {
        let grace = Duration::from_secs(seconds);
        inside.grace = grace.saturating_sub(OWN_GRACE.min(grace / 3));
    }
    let code = osbs_cluster_kubernetes::run_pod(cluster.clone(), &args.build, inside).await;
    give_back(cluster, &args.build).await;
    code.map_err(|e| e.to_failure())
}

/// Reservations in Koji that builds of this cluster have left whose pods were killed, maybe this one: this pod has the login,
/// if its build got it. The build is closed, so nobody waits for it.
async fn give_back(cluster: KubernetesCluster, name: &BuildName) {
    let Ok(build) = cluster.get_build(name).await else { return };
    if build.build_type == BuildType::Orchestrator && !build.secrets.is_empty() {
        let cluster: Arc<dyn Cluster> = Arc::new(cluster.with_secret_mounts(build.secrets));
        // What stays, stays recorded, and the next one who looks tries again.
        let _ = reservations::give_back(&cluster).await;
    }
}

/// The cluster of this pod, whose secrets are not told yet.
pub(crate) fn open() -> Result<KubernetesCluster, Failure> {
    let connector = Connector::new(Path::new("/var/lib/osbs"), None);
    let options = std::env::var("OSBS_NAMESPACE").ok().map(|namespace| ("namespace".to_owned(), namespace));
    let settings = Settings::new(None, "default", options.into_iter().collect(), BTreeMap::new());
    let instance = settings.resolve().map_err(|e| e.to_failure())?.value;
    match connector.open_instance(&settings, &instance).map_err(|e| e.to_failure())? {
        Opened::Kubernetes(cluster) => Ok(cluster.with_secret_mounts([])),
        Opened::Local(_) => {
            Err(Failure::message(ErrorKind::User, "run-pod runs in a pod: OSBS_CLUSTER is not kubernetes"))
        }
    }
}
