//! `osbs image`: images without a build service around them.

mod args;
mod build;
mod deliver;
mod fetching;
mod inputs;
mod parents;
mod shown;
mod values;
mod work_folder;

use crate::session::Session;
use args::ImageBuildArgs;
use clap::{Args, Subcommand};
use osbs_types::Failure;

/// Images without a build service around them
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    Build(Box<ImageBuildArgs>),
}

impl ImageArgs {
    /// `--output json` behind the command's name.
    pub(crate) fn wants_json(&self) -> bool {
        let ImageCommand::Build(args) = &self.command;
        args.result.output.contains(&args::Output::Json)
    }
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: ImageArgs) -> Result<u8, Failure> {
    match args.command {
        ImageCommand::Build(args) => build::run(session, *args).await,
    }
}
