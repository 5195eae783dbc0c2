//! `osbs completion`: what a shell needs to complete our commands.

use crate::args::Cli;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print a completion script, for example: osbs completion bash > /etc/bash_completion.d/osbs
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &CompletionArgs) {
    clap_complete::generate(args.shell, &mut Cli::command(), "osbs", &mut std::io::stdout());
}
