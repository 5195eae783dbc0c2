//! The command line of OSBS: the only place that meets terminal, environment and home folder.
//!
//! Start reading at `args.rs` (what a user types), then the command in `commands/` (one file each).
#![expect(clippy::print_stderr, reason = "this crate is the terminal's")]

mod args;
mod commands;
mod failure_screen;
mod follow;
mod namespaces;
mod record;
mod session;
mod site;
mod summary;
mod terminal;

use args::{Cli, Command, OutputFormat};
use clap::Parser;
use osbs_types::{ErrorKind, Failure};
use session::Session;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = cli.command.output().or(cli.output).unwrap_or(OutputFormat::Text);
    let session = Session::new(cli.global, output, cli.command.settings());
    match run(&session, cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            session.report(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

fn run(session: &Session, command: Command) -> Result<u8, Failure> {
    namespaces::enter(session, &command)?;
    // The runner of a build makes a PID namespace for its child, after which it cannot start threads: no runtime there.
    match command {
        Command::RunBuild(args) => return commands::run_build::run(session.global(), &args),
        Command::RunPod(args) => return commands::run_pod::run(&args),
        Command::Completion(args) => {
            commands::completion::run(&args);
            return Ok(0);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::new(ErrorKind::Resource, &e))?;
    runtime.block_on(async {
        match command {
            Command::Build(args) => commands::build::run(session, args).await,
            Command::ListBuilds(args) => commands::list_builds::run(session, args).await,
            Command::GetBuild(args) => commands::get_build::run(session, args).await,
            Command::WatchBuild(args) => commands::watch_build::run(session, args).await,
            Command::WatchBuilds(args) => commands::watch_builds::run(session, args).await,
            Command::GetBuildImageId(args) => commands::get_build_image_id::run(session, args).await,
            Command::Login(args) => commands::login::run(session, args),
            Command::GetToken(args) => commands::get_token::run(session, args),
            Command::GetServiceaccountToken(args) => commands::get_serviceaccount_token::run(session, args).await,
            Command::PrintTokenUrl(args) => commands::print_token_url::run(session, &args),
            Command::GetUser(args) => commands::get_user::run(session, args),
            Command::BuildLogs(args) => commands::build_logs::run(session, args).await,
            Command::KojiBuild(args) => commands::koji_build::run(session, args).await,
            Command::CancelBuild(args) => commands::cancel_build::run(session, args).await,
            Command::BuildJson(args) => commands::build_json::run(session, args).await,
            Command::Kojid(args) => commands::kojid::run(session, args).await,
            Command::Hub(args) => commands::hub::run(session, args).await,
            Command::Plugins(args) => commands::plugins::run(session, &args),
            Command::CreateBuildImage(args) => commands::create_build_image::run(session, args).await,
            Command::Image(args) => commands::image::run(session, args).await,
            Command::Config(args) => commands::config::run(session, args).await,
            Command::Gc(args) => commands::gc::run(session, args).await,
            Command::Deploy(args) => commands::deploy::run(session, args).await,
            Command::Reactor(args) => commands::reactor::run(session, args).await,
            Command::RunBuild(_) | Command::RunPod(_) | Command::Completion(_) => Ok(0),
        }
    })
}
