//! `osbs watch-build`: waits for a build to end.

use crate::args::OutputArg;
use crate::follow::{self, Follow, Interrupts};
use crate::record;
use crate::session::Session;
use clap::Args;
use osbs_types::Failure;

/// Watch a build until it has ended; the exit code tells how
#[derive(Debug, Args)]
pub(crate) struct WatchBuildArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,

    /// Name of the build
    build: String,

    /// Show its log too
    #[arg(long)]
    logs: bool,
}

/// Runs the command. An interrupt ends the watching, not the build.
pub(crate) async fn run(session: &Session, args: WatchBuildArgs) -> Result<u8, Failure> {
    let build = session.find_build(&args.build).await?;
    let build =
        follow::follow(session, &build, Follow { logs: args.logs, cancel_on_interrupt: false }, Interrupts::new()?)
            .await?;
    if session.wants_json() {
        session.print_json(&record::build_record(&build));
    } else if let Some(failure) = &build.failure {
        session.report(failure);
    }
    Ok(follow::exit_code(&build))
}
