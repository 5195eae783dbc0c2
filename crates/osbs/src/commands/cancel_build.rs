//! `osbs cancel-build`: asks a build to stop.

use crate::session::Session;
use clap::Args;
use osbs_cluster::WaitFor;
use osbs_types::Failure;

/// Cancel a build: its workers stop, its exit plugins run, nothing is left behind
#[derive(Debug, Args)]
pub(crate) struct CancelBuildArgs {
    /// Name of the build (repeatable)
    #[arg(required = true)]
    builds: Vec<String>,

    /// Wait until it has ended
    #[arg(long, short)]
    wait: bool,
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: CancelBuildArgs) -> Result<u8, Failure> {
    let cluster = session.cluster()?;
    for name in &args.builds {
        let build = session.find_build(name).await?;
        if build.is_finished() {
            session.note(&format!("{} is {} already", build.name, build.state));
            continue;
        }
        cluster.cancel_build(&build.name).await.map_err(|e| Failure::new(e.kind(), &e))?;
        if args.wait {
            let build =
                cluster.wait_build(&build.name, WaitFor::Finished).await.map_err(|e| Failure::new(e.kind(), &e))?;
            session.note(&format!("{} is {}", build.name, build.state));
        }
    }
    Ok(0)
}
