//! `osbs build`: from a git URL to a pushed image.

use crate::args::OutputArg;
use crate::follow::{self, Follow, Interrupts};
use crate::session::Session;
use crate::{record, summary};
use clap::Args;
use osbs_client::{BuildRequest, Osbs, Submitted};
use osbs_types::{Failure, Platform, exit_code};
use tokio_util::sync::CancellationToken;

/// Build the image of a git repository, for every platform
///
/// Shows what goes on until it has ended. An interrupt cancels the build. The exit code tells how it ended.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,

    /// The repository
    #[arg(long, short = 'g', value_name = "URL")]
    git_url: String,

    /// Its branch
    #[arg(long, short = 'b', value_name = "NAME")]
    git_branch: String,

    /// Commit, tag or branch to build [default: the branch]
    #[arg(long, value_name = "REF")]
    git_commit: Option<String>,

    /// First component of the unique image name [default: as configured, else your login name]
    #[arg(long, short = 'u', value_name = "NAME")]
    user: Option<String>,

    /// Koji target
    #[arg(long, short = 't', value_name = "NAME")]
    target: Option<String>,

    /// Platform to build for, instead of all that the site has (repeatable, or comma separated)
    #[arg(long = "platforms", alias = "platform", value_name = "P", value_delimiter = ',')]
    platforms: Vec<Platform>,

    /// Release, instead of the next free one
    #[arg(long, value_name = "RELEASE")]
    release: Option<String>,

    /// A throw-away build: unique tags only, no record of its release
    #[arg(long)]
    scratch: bool,

    /// A patch build that moves no floating tags; needs --release
    #[arg(long, requires = "release", conflicts_with = "scratch")]
    isolated: bool,

    /// Which plugins run: 1 (one platform, the worker does it all) to 6 [default: as configured, else 6]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=6))]
    arrangement_version: Option<u32>,

    /// URL of a file with package repositories for the build (repeatable)
    #[arg(long = "add-yum-repo", value_name = "URL")]
    yum_repourls: Vec<String>,

    /// Only submit the build and print its name
    #[arg(long)]
    no_logs: bool,
}

impl BuildArgs {
    /// The request, by whoever runs this where neither option nor configuration names a user.
    pub(crate) fn request_for(&self, osbs: &Osbs) -> BuildRequest {
        let mut request = self.request();
        if request.user.is_none() && osbs.instance().user.is_none() {
            request.user = Some(login_name());
        }
        request
    }

    fn request(&self) -> BuildRequest {
        BuildRequest {
            git_uri: self.git_url.clone(),
            git_ref: self.git_commit.clone().unwrap_or_else(|| self.git_branch.clone()),
            git_branch: Some(self.git_branch.clone()),
            user: self.user.clone(),
            target: self.target.clone(),
            platforms: self.platforms.clone(),
            release: self.release.clone(),
            arrangement_version: self.arrangement_version,
            scratch: self.scratch,
            isolated: self.isolated,
            yum_repourls: self.yum_repourls.clone(),
            ..BuildRequest::default()
        }
    }
}

/// The name of whoever runs this, when neither option nor configuration tells one.
fn login_name() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default().to_lowercase();
    let name: String = name.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit()).collect();
    if name.is_empty() { "osbs".to_owned() } else { name }
}

/// Submits the build; also tells whether it was interrupted meanwhile. `None`: so early that there is no build.
async fn submit(
    osbs: &Osbs,
    request: &BuildRequest,
    interrupts: &mut Interrupts,
) -> Result<Option<(Submitted, bool)>, Failure> {
    let cancel = CancellationToken::new();
    let mut submitting = std::pin::pin!(osbs.create_orchestrator_build(request, &cancel));
    tokio::select! {
        submitted = &mut submitting => return submitted.map(|it| Some((it, false))).map_err(|e| e.to_failure()),
        () = interrupts.next() => cancel.cancel(),
    }
    // What is being recorded is recorded: it must be known to be cancelled.
    Ok(submitting.await.ok().map(|submitted| (submitted, true)))
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: BuildArgs) -> Result<u8, Failure> {
    let osbs = session.osbs()?;
    let request = args.request_for(osbs);
    let mut interrupts = Interrupts::new()?;
    let Some((submitted, interrupted)) = submit(osbs, &request, &mut interrupts).await? else {
        return Err(Failure::message(osbs_types::ErrorKind::Cancelled, "interrupted before anything was submitted"));
    };
    for warning in &submitted.warnings {
        session.note(&format!("{} {warning}", session.paint().yellow("warning")));
    }
    let build = submitted.build;
    if interrupted {
        session.note(&format!("cancelling {}, which was submitted just then", build.name));
        let cluster = session.cluster()?;
        cluster.cancel_build(&build.name).await.map_err(|e| Failure::new(e.kind(), &e))?;
    }
    if args.no_logs {
        if session.wants_json() {
            session.print_json(&record::build_record(&build));
        } else {
            session.print(&format!("{}\n", build.name));
        }
        return Ok(if interrupted { exit_code::CANCELLED } else { exit_code::SUCCESS });
    }
    session.note(&format!("Build submitted ({}), watching logs (interrupt to cancel it)", build.name));
    let build = follow::follow(session, &build, Follow { logs: true, cancel_on_interrupt: true }, interrupts).await?;
    if session.wants_json() {
        session.print_json(&record::build_record(&build));
    } else {
        let cluster = session.cluster()?;
        let summary = summary::gather(cluster.as_ref(), &build).await.map_err(|e| Failure::new(e.kind(), &e))?;
        session.print(&summary.render(session.paint()));
    }
    if let (Some(failure), false) = (&build.failure, session.wants_json()) {
        // Not a note: who asked for quiet wants to know too why it failed.
        session.note("");
        session.report(failure);
    }
    Ok(follow::exit_code(&build))
}
