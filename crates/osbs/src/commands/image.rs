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
use clap::{Args, Parser, Subcommand};
use osbs_types::{ErrorKind, Failure};
use std::ffi::OsString;

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

/// `osbs image build` with these words, for commands that make an image on the way.
pub(crate) async fn build_from(session: &Session, words: Vec<OsString>) -> Result<u8, Failure> {
    #[derive(Parser)]
    #[command(name = "osbs image build", no_binary_name = true)]
    struct Words {
        #[command(flatten)]
        args: ImageBuildArgs,
    }
    let parsed = Words::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        Failure::message(ErrorKind::User, text.trim_start_matches("error: ").trim_end().to_owned())
    })?;
    build::run(session, parsed.args).await
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: ImageArgs) -> Result<u8, Failure> {
    match args.command {
        ImageCommand::Build(args) => build::run(session, *args).await,
    }
}
