//! `osbs reactor`: the part of the program that runs inside a build.

use crate::commands::inside_build::{self, InsideBuildArgs};
use crate::session::Session;
use clap::{Args, Subcommand};
use osbs_types::Failure;

/// The pipeline itself, as it runs in a build
#[derive(Debug, Args)]
pub(crate) struct ReactorArgs {
    #[command(subcommand)]
    command: ReactorCommand,
}

#[derive(Debug, Subcommand)]
enum ReactorCommand {
    InsideBuild(InsideBuildArgs),
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: ReactorArgs) -> Result<u8, Failure> {
    match args.command {
        ReactorCommand::InsideBuild(args) => inside_build::run(session, args).await,
    }
}
