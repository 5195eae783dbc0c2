//! `osbs gc`: gives disk space back.

use crate::args::OutputArg;
use crate::session::Session;
use crate::terminal::size;
use clap::Args;
use osbs_image::Store;
use osbs_types::Failure;
use serde_json::json;

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
    let home = session.site()?.home().to_owned();
    let recovered = osbs_cluster_local::recover(&home).map_err(|e| Failure::new(e.kind(), &e))?;
    let store = Store::open(&home.join("store")).map_err(|e| Failure::new(e.kind(), &e))?;
    let failed = |e: osbs_image::StoreError| Failure::new(e.kind(), &e);
    if args.parents && !args.dry_run {
        for record in store.list_refs().map_err(failed)? {
            if record.name.starts_with("parent/") {
                store.remove_ref(&record.name).map_err(failed)?;
            }
        }
    }
    let report = tokio::task::spawn_blocking(move || store.gc(args.dry_run))
        .await
        .map_err(|e| Failure::new(osbs_types::ErrorKind::Internal, &e))?
        .map_err(failed)?;
    if session.wants_json() {
        session.print_json(&json!({
            "dry_run": args.dry_run,
            "closed_builds": recovered.iter().map(|build| build.name.as_str()).collect::<Vec<_>>(),
            "blobs": report.blobs,
            "layers": report.layers,
            "bytes": report.bytes,
        }));
        return Ok(0);
    }
    for build in &recovered {
        session.print(&format!("{} is {}: {}\n", build.name, build.state, build.reason));
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
