//! `osbs get-build`: one build, whole.

use crate::args::OutputArg;
use crate::session::Session;
use crate::{failure_screen, record};
use clap::Args;
use osbs_types::Failure;

/// Show one build: state, images, commit, times, and why it failed
#[derive(Debug, Args)]
pub(crate) struct GetBuildArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,

    /// Name of the build, as list-builds shows it
    build: String,
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: GetBuildArgs) -> Result<u8, Failure> {
    let build = session.find_build(&args.build).await?;
    if session.wants_json() {
        session.print_json(&record::build_record(&build));
        return Ok(0);
    }
    session.print(&record::build_text(&build, session.paint()));
    if let Some(failure) = &build.failure {
        session.print(&format!("\n{}", failure_screen::render(failure, session.paint())));
    }
    Ok(0)
}
