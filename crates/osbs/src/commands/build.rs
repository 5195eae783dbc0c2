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
pub(crate) struct BuildCommandArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,

    #[command(flatten)]
    pub(crate) build: BuildArgs,

    #[command(flatten)]
    kind: KindArgs,

    /// Only submit the build and print its name
    #[arg(long)]
    no_logs: bool,
}

/// Who builds.
#[derive(Debug, Args)]
struct KindArgs {
    /// An orchestrator build, which makes a worker build a platform (this is the default)
    #[arg(long, conflicts_with_all = ["worker", "prod"])]
    orchestrator: bool,

    /// One worker build alone; needs --platform, --release and --arrangement-version
    #[arg(long, requires_all = ["platform", "release", "arrangement_version"], conflicts_with_all = ["platforms", "prod"])]
    worker: bool,

    /// Everything in one build, for one platform: --arch, or that of this machine
    #[arg(long, conflicts_with_all = ["platforms", "platform", "release", "arrangement_version"])]
    prod: bool,

    /// Platform of a build with --worker
    #[arg(long, value_name = "P", requires = "worker")]
    platform: Option<Platform>,

    /// Platform of a build with --prod [default: as configured, else this machine's]
    #[arg(long, short = 'a', value_name = "P", requires = "prod")]
    arch: Option<String>,
}

/// What is built, and how.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The repository [default: as configured]
    #[arg(long, short = 'g', value_name = "URL")]
    git_url: Option<String>,

    /// Its branch [default: as configured]
    #[arg(long, short = 'b', value_name = "NAME")]
    git_branch: Option<String>,

    /// Commit, tag or branch to build [default: as configured, else the branch]
    #[arg(long, value_name = "REF")]
    git_commit: Option<String>,

    /// First component of the unique image name [default: as configured, else your login name]
    #[arg(long, short = 'u', value_name = "NAME")]
    user: Option<String>,

    /// Koji target
    #[arg(long, short = 't', value_name = "NAME")]
    target: Option<String>,

    /// Platform to build for, instead of all that the site has (repeatable, or comma separated)
    #[arg(long = "platforms", value_name = "P", value_delimiter = ',')]
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

    /// Koji build to take the parent image from: NAME-VERSION-RELEASE
    #[arg(long, value_name = "NVR")]
    koji_parent_build: Option<String>,

    /// Folder of the hub that workers upload to
    #[arg(long, value_name = "DIR")]
    koji_upload_dir: Option<String>,

    /// ODCS signing intent
    #[arg(long, value_name = "NAME")]
    signing_intent: Option<String>,

    /// ODCS compose to use (repeatable)
    #[arg(long = "compose-id", value_name = "N", conflicts_with = "signing_intent")]
    compose_ids: Vec<i64>,

    /// Build a Flatpak
    #[arg(long)]
    flatpak: bool,

    /// Ignored, as in osbs-client: the Dockerfile's label counts
    #[arg(long, short = 'c', value_name = "NAME", hide = true)]
    component: Option<String>,

    #[command(flatten)]
    settings: SettingArgs,
}

/// Keys of osbs.conf for this build alone.
#[derive(Debug, Args)]
#[command(next_help_heading = "Instead of what osbs.conf says")]
struct SettingArgs {
    /// Most processor time of one RUN: 500m, 2
    #[arg(long, value_name = "CPUS")]
    cpu_limit: Option<String>,

    /// Most memory of one RUN: 512Mi, 2Gi
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<String>,

    /// Most storage of the build
    #[arg(long, value_name = "SIZE")]
    storage_limit: Option<String>,

    /// Proxy that is written into files of package repositories
    #[arg(long, value_name = "URL")]
    yum_proxy: Option<String>,

    /// Folder with templates of builds
    #[arg(long, value_name = "DIR")]
    build_json_dir: Option<String>,

    /// Secret for Pulp, where the instance names none
    #[arg(long, value_name = "NAME")]
    source_secret: Option<String>,

    /// Image the build runs in, where the cluster has such a thing
    #[arg(long, value_name = "PULLSPEC", conflicts_with_all = ["build_imagestream", "build_from"])]
    build_image: Option<String>,

    /// Image stream tag the build runs in
    #[arg(long, value_name = "STREAM:TAG", conflicts_with = "build_from")]
    build_imagestream: Option<String>,

    /// image:PULLSPEC or imagestream:STREAM:TAG
    #[arg(long, value_name = "WHAT")]
    build_from: Option<String>,

    /// Tag, kept with the configuration
    #[arg(long, short = 'A', value_name = "TAG", hide = true)]
    tag: Option<String>,
}

impl BuildArgs {
    /// Options that stand for keys of osbs.conf, by the names of the keys.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        let args = &self.settings;
        let given = [
            ("cpu_limit", &args.cpu_limit),
            ("memory_limit", &args.memory_limit),
            ("storage_limit", &args.storage_limit),
            ("yum_proxy", &args.yum_proxy),
            ("build_json_dir", &args.build_json_dir),
            ("source_secret", &args.source_secret),
            ("build_image", &args.build_image),
            ("build_imagestream", &args.build_imagestream),
            ("build_from", &args.build_from),
            ("tag", &args.tag),
        ];
        given.map(|(key, value)| (key, value.clone())).into_iter().filter_map(|(key, value)| Some((key, value?)))
    }
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
            git_uri: self.git_url.clone().unwrap_or_default(),
            git_ref: self.git_commit.clone().unwrap_or_default(),
            git_branch: self.git_branch.clone(),
            user: self.user.clone(),
            target: self.target.clone(),
            platforms: self.platforms.clone(),
            release: self.release.clone(),
            arrangement_version: self.arrangement_version,
            scratch: self.scratch,
            isolated: self.isolated,
            yum_repourls: self.yum_repourls.clone(),
            koji_parent_build: self.koji_parent_build.clone(),
            koji_upload_dir: self.koji_upload_dir.clone(),
            signing_intent: self.signing_intent.clone(),
            compose_ids: self.compose_ids.clone(),
            flatpak: self.flatpak,
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
    kind: &KindArgs,
    request: &BuildRequest,
    interrupts: &mut Interrupts,
) -> Result<Option<(Submitted, bool)>, Failure> {
    let cancel = CancellationToken::new();
    let native = Platform::native();
    let create = async {
        match kind {
            KindArgs { worker: true, .. } => osbs.create_lone_worker_build(request, &cancel).await,
            KindArgs { prod: true, .. } => osbs.create_prod_build(request, &native, &cancel).await,
            _ => osbs.create_orchestrator_build(request, &cancel).await,
        }
    };
    let mut submitting = std::pin::pin!(create);
    tokio::select! {
        submitted = &mut submitting => return submitted.map(|it| Some((it, false))).map_err(|e| e.to_failure()),
        () = interrupts.next() => cancel.cancel(),
    }
    // What is being recorded is recorded: it must be known to be cancelled.
    Ok(submitting.await.ok().map(|submitted| (submitted, true)))
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: BuildCommandArgs) -> Result<u8, Failure> {
    let osbs = session.osbs()?;
    let mut request = args.build.request_for(osbs);
    request.platform.clone_from(&args.kind.platform);
    request.architecture.clone_from(&args.kind.arch);
    let mut interrupts = Interrupts::new()?;
    let Some((submitted, interrupted)) = submit(osbs, &args.kind, &request, &mut interrupts).await? else {
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
