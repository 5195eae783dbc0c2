//! `osbs koji-build`: what `koji container-build` does, without Python (client-and-koji 4.1).
//!
//! Standard output is that of the stock program with its plugin; log lines of the build go to standard error.

mod profile;
mod result;
mod task_options;
mod watch;

use crate::args::OutputArg;
use crate::follow::Interrupts;
use crate::session::Session;
use clap::Args;
use osbs_http::{Transport, TransportConfig};
use osbs_koji::{Koji, KojiError, Login, Settings, Target, Value, calls};
use osbs_types::{ErrorKind, Failure, exit_code};
use profile::Profile;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use task_options::TaskOptionArgs;
use watch::{Watched, watch};

/// `--background`: as much later than other tasks, on Koji's scale.
const BACKGROUND_PRIORITY: i64 = 5;

/// Ask a Koji hub for a container build, and watch it: like koji container-build, without Python
///
/// The hub gives the build to a builder of its own, checks who you are, and keeps the result. The task can be watched
/// from anywhere: koji watch-logs TASK. Shows on standard output what koji container-build shows; the build's log goes
/// to standard error, each line with its platform.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    osbs koji-build --git-branch f40 f40-container-candidate \\\n    \
        git+https://src.example.com/containers/rsyslog#0b7e1f5d3c2a4968\n\n  \
    one platform, nothing kept:  ... --scratch --arch-override x86_64 TARGET URL#COMMIT\n  \
    only start it:               ... --nowait TARGET URL#COMMIT\n  \
    for programs:                ... --wait --output json TARGET URL#COMMIT 2>build.log\n\n\
    Exit codes: 0 the build ended well, or was only started; 1 it failed or was cancelled;\n\
    2 the command line, an unknown target or a locked tag; 3 the hub does not allow it;\n\
    4 the hub failed; 130 no longer watching (the build goes on).")]
pub(crate) struct KojiBuildArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,

    /// Build target: whose packages the build uses, and with which tag it ends (koji list-targets shows all)
    #[arg(value_name = "TARGET")]
    target: String,

    /// Repository and commit: git+https://HOST/PATH#COMMIT
    #[arg(value_name = "URL#COMMIT", value_parser = task_options::source)]
    source: String,

    #[command(flatten)]
    options: TaskOptionArgs,

    /// Channel of the task, instead of the hub's choice
    #[arg(long, value_name = "NAME")]
    channel_override: Option<String>,

    /// Let other tasks go first
    #[arg(long)]
    background: bool,

    /// Wait for the end, even without a terminal
    #[arg(long, overrides_with = "nowait")]
    wait: bool,

    /// Do not wait for the end [default: wait if standard input is a terminal]
    #[arg(long, overrides_with = "wait")]
    nowait: bool,

    /// Do not show the build's log while waiting
    #[arg(long)]
    no_logs: bool,

    /// Ignored: there is nothing to upload
    #[arg(long, hide = true)]
    noprogress: bool,

    #[command(flatten)]
    hub: HubArgs,
}

/// Which hub.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which Koji, instead of what ~/.koji/config or /etc/koji.conf says")]
struct HubArgs {
    /// Section of the configuration of koji
    #[arg(long, value_name = "NAME", default_value = "koji")]
    profile: String,

    /// Configuration of koji to read beside the system's, instead of ~/.koji/config
    #[arg(long, value_name = "FILE")]
    koji_config: Option<PathBuf>,

    /// URL of the hub
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    /// User name of a login with a password
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

impl KojiBuildArgs {
    /// Whether to wait: as asked, else if this runs in the foreground of a terminal.
    fn waits(&self) -> bool {
        self.wait || (!self.nowait && in_foreground())
    }
}

fn in_foreground() -> bool {
    let stdin = std::io::stdin();
    stdin.is_terminal() && rustix::termios::tcgetpgrp(&stdin).is_ok_and(|group| group == rustix::process::getpgrp())
}

fn failed(error: &KojiError) -> Failure {
    let failure = Failure::new(error.kind(), error);
    if error.kind() == ErrorKind::Cancelled { failure } else { failure.with_hint(error.hint()) }
}

/// What is wrong with the command line, though it could be read.
fn usage(session: &Session, problem: String, hint: &str) -> u8 {
    session.report(&Failure::message(ErrorKind::User, problem).with_hint(hint));
    exit_code::USAGE
}

/// Why a build for a target could not be tagged.
async fn target_problem(koji: &Koji, args: &KojiBuildArgs) -> Result<Option<String>, KojiError> {
    let found: Option<Target> = koji.call(calls::get_build_target(args.target.as_str())).await?;
    let Some(target) = found else { return Ok(Some(format!("Unknown build target: {}", args.target))) };
    let Some(tag) = koji.call(calls::get_tag(target.dest_tag)).await? else {
        return Ok(Some(format!("Unknown destination tag: {}", target.dest_tag_name)));
    };
    let locked = tag.locked && !args.options.is_scratch();
    Ok(locked.then(|| format!("Destination tag {} is locked", tag.name)))
}

/// Creates the task. What is wrong with the target is told as text.
async fn submit(
    koji: &Koji,
    args: &KojiBuildArgs,
    options: osbs_koji::Struct,
) -> Result<Result<i64, String>, KojiError> {
    koji.call(calls::get_api_version()).await?;
    if let Some(problem) = target_problem(koji, args).await? {
        return Ok(Err(problem));
    }
    let priority = args.background.then_some(BACKGROUND_PRIORITY);
    let call = calls::build_container(&args.source, &args.target, options, None, args.channel_override.as_deref());
    koji.call(call.named("priority", Value::from(priority))).await.map(Ok)
}

/// A client of the profile's hub, which tells when it has to wait.
fn client(session: &Session, profile: &Profile, login: Login) -> Result<Koji, Failure> {
    let mut settings = Settings::default();
    if !session.is_quiet() {
        settings.on_retry = Some(Arc::new(|retried: &osbs_koji::Retried| {
            if retried.delay.as_secs() > 0 {
                eprintln!("waiting for the Koji hub {}: {}", retried.hub, retried.reason);
            }
        }));
    }
    let transport = Transport::new(TransportConfig::default());
    Koji::new(&transport, profile.server.clone(), login, settings).map_err(|error| failed(&error))
}

/// Runs the command. An interrupt ends the watching, not the build.
pub(crate) async fn run(session: &Session, args: KojiBuildArgs) -> Result<u8, Failure> {
    let options = match args.options.task_options() {
        Ok(options) => options,
        Err(problem) => return Ok(usage(session, problem, "osbs koji-build --help explains the options")),
    };
    let hub = &args.hub;
    let profile = Profile::read(&hub.profile, hub.koji_config.as_deref(), hub.server.as_deref(), hub.user.as_deref())?;
    let mut interrupts = Interrupts::new()?;
    let koji = client(session, &profile, profile.login()?)?;
    let submitting = async {
        koji.log_in().await?;
        let submitted = submit(&koji, &args, options).await;
        // The session has done its work; what it did counts.
        let _ = koji.log_out().await;
        submitted
    };
    let submitted = tokio::select! {
        submitted = submitting => submitted.map_err(|error| failed(&error))?,
        () = interrupts.next() => return Err(Failure::message(ErrorKind::Cancelled, "interrupted before the hub told of a task")
            .with_hint("koji list-tasks --mine tells whether there is one")),
    };
    let task = match submitted {
        Ok(task) => task,
        Err(problem) => return Ok(usage(session, problem, "koji list-targets shows all targets")),
    };
    let page = profile.page("taskinfo", "taskID", &task.to_string());
    let text = !session.wants_json() && !session.is_quiet();
    if text {
        session.print(&format!("Created task: {task}\nTask info: {page}\n"));
    }
    if !args.waits() {
        if session.wants_json() {
            session.print_json(&result::record(task, &page, None, None));
        }
        return Ok(exit_code::SUCCESS);
    }
    let how = watch::How { text, logs: text_logs(session, &args), interval: profile.poll_interval };
    let watched = watch(session, &koji.anonymous(), task, how, interrupts).await?;
    show_end(session, &koji.anonymous(), &profile, task, &page, &watched).await
}

fn text_logs(session: &Session, args: &KojiBuildArgs) -> bool {
    !args.no_logs && !session.is_quiet()
}

/// Shows the result of a task that ended, and tells the exit code.
async fn show_end(
    session: &Session,
    koji: &Koji,
    profile: &Profile,
    task: i64,
    page: &str,
    watched: &Watched,
) -> Result<u8, Failure> {
    let value = if watched.is_closed() {
        Some(koji.call(calls::get_task_result(task)).await.map_err(|error| failed(&error))?)
    } else {
        None
    };
    let value = value.map(|value| result::with_links(value, |build| profile.page("buildinfo", "buildID", build)));
    if session.wants_json() {
        session.print_json(&result::record(task, page, Some(watched), value.as_ref()));
    } else if let Some(value) = &value {
        session.print(&format!("Task Result ({task}):\n{}", result::lines(value)));
    }
    Ok(if watched.is_closed() { exit_code::SUCCESS } else { exit_code::USER })
}
