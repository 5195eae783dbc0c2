//! `osbs gc`: gives disk space back; at a Kubernetes cluster, closes dead builds, starts those whose turn it is, and removes
//! old ones.

mod kubernetes;

use crate::args::OutputArg;
use crate::session::Session;
use crate::site::reservations;
use crate::terminal::size;
use clap::Args;
use osbs_cluster::{BuildFilter, Cluster};
use osbs_image::{RefRecord, Store};
use osbs_types::{BuildName, BuildType, Failure};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// Remove images and layers that nothing refers to, and what dead builds left
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,

    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,

    /// Parents of earlier image builds too, which are kept to make the next one faster
    #[arg(long)]
    parents: bool,
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: GcArgs) -> Result<u8, Failure> {
    if let Some(cluster) = session.site()?.kubernetes() {
        return kubernetes::run(session, cluster, args.dry_run).await;
    }
    let home = session.site()?.home().to_owned();
    let recovered = osbs_cluster_local::recover(&home).map_err(|e| Failure::new(e.kind(), &e))?;
    let store = Store::open(&home.join("store")).map_err(|e| Failure::new(e.kind(), &e))?;
    let failed = |e: osbs_image::StoreError| Failure::new(e.kind(), &e);
    let mut unrecorded = Vec::new();
    if !args.dry_run {
        remove_fragments(session).await?;
        give_back(session, &session.cluster()?).await?;
        unrecorded = osbs_cluster_local::remove_unrecorded(&home).map_err(|e| Failure::new(e.kind(), &e))?;
    }
    let ended = ended_references(&home, &store, args.parents)?;
    let report = tokio::task::spawn_blocking(move || store.gc_without(&|record| ended.contains(record), args.dry_run))
        .await
        .map_err(|e| Failure::new(osbs_types::ErrorKind::Internal, &e))?
        .map_err(failed)?;
    if session.wants_json() {
        session.print_json(&json!({
            "dry_run": args.dry_run,
            "closed_builds": recovered.iter().map(|build| build.name.as_str()).collect::<Vec<_>>(),
            "unrecorded_builds": unrecorded,
            "blobs": report.blobs,
            "layers": report.layers,
            "bytes": report.bytes,
        }));
        return Ok(0);
    }
    for build in &recovered {
        session.print(&format!("{} is {}: {}\n", build.name, build.state, build.reason));
    }
    for name in &unrecorded {
        session.print(&format!("{name} was never made: its folder is removed\n"));
    }
    let verb = if args.dry_run { "would remove" } else { "removed" };
    session.print(&format!(
        "{verb} {} blobs and {} unpacked layers, {}\n",
        report.blobs,
        report.layers,
        size(report.bytes)
    ));
    Ok(0)
}

/// Reservations in Koji that dead builds have left, with a word on each.
async fn give_back(session: &Session, cluster: &Arc<dyn Cluster>) -> Result<(), Failure> {
    let found = reservations::give_back(cluster).await.map_err(|e| e.to_failure())?;
    for left in found {
        session.note(&match left.outcome {
            Ok(()) => format!("{}: its reservation of {} in Koji is given back", left.build, left.nvr),
            Err(why) => format!("{}: its reservation of {} in Koji stays: {why}", left.build, left.nvr),
        });
    }
    Ok(())
}

/// A build that was killed could not give up the names that kept its images. And parents, if they are asked for.
fn ended_references(home: &Path, store: &Store, parents: bool) -> Result<Vec<RefRecord>, Failure> {
    // In this order: a build that begins after the list was made has no name in it.
    let mut records = store.list_refs().map_err(|e| Failure::new(e.kind(), &e))?;
    let unfinished = osbs_cluster_local::unfinished_builds(home).map_err(|e| Failure::new(e.kind(), &e))?;
    records.retain(|record| {
        // Other owners are commands, with spaces in their names.
        let of_build = record.owner.parse::<BuildName>();
        let ended = of_build.is_ok_and(|owner| !unfinished.iter().any(|(_, build)| *build == owner));
        ended || (parents && record.name.starts_with("parent/"))
    });
    Ok(records)
}

/// Nor could a killed orchestrator remove the ConfigMaps of its workers, and a worker without one has nobody to do it. A
/// worker that was killed may not have said which it is: then it has the name that every worker gives it.
async fn remove_fragments(session: &Session) -> Result<(), Failure> {
    let cluster = session.cluster()?;
    let failed = |e: osbs_cluster::ClusterError| Failure::new(e.kind(), &e);
    let builds = cluster.list_builds(&BuildFilter::default()).await.map_err(failed)?;
    let unfinished = |name: &BuildName| builds.iter().any(|build| build.name == *name && !build.is_finished());
    let present = cluster.list_config_maps().await.map_err(failed)?;
    for worker in builds.iter().filter(|build| build.is_finished() && !build.parent.as_ref().is_some_and(unfinished)) {
        let said = worker.annotations.get("metadata_fragment").and_then(|name| name.strip_prefix("configmap/"));
        let unsaid = (worker.build_type == BuildType::Worker).then(|| format!("{}-md", worker.name));
        let fragment = said.map(str::to_owned).or(unsaid);
        if let Some(name) = fragment.filter(|name| present.contains(name)) {
            cluster.delete_config_map(&name).await.map_err(failed)?;
        }
    }
    Ok(())
}
