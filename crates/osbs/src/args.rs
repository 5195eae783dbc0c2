//! The command line as a user types it. What a command does is in `commands/`.

use crate::commands;
use crate::terminal::ColorChoice;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Builds container images from git repositories, for several platforms, and keeps every log line.
///
/// With no configuration at all it works on this machine, in ~/.local/share/osbs.
#[derive(Debug, Parser)]
#[command(
    name = "osbs",
    version,
    propagate_version = true,
    after_help = "First steps:\n  \
        osbs image build .  --tag localhost:5000/web:1 --output push   just an image of a Dockerfile\n  \
        osbs build --git-url URL --git-branch main                     a build with records, logs and all platforms\n  \
        osbs list-builds                                               what was built\n  \
        osbs build-logs NAME --platform x86_64                         the log of one worker\n\n\
        Exit codes: 0 well; 1 the request or repository is at fault; 2 the command line; 3 not allowed here;\n\
        4 another server failed; 5 this machine lacks something; 6 a mistake in osbs; 130 cancelled."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Form of what is shown; commands that show something take it too
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) output: Option<OutputFormat>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Configuration file [default: /etc/osbs.conf, where it exists]
    #[arg(long, value_name = "PATH", global = true, env = "OSBS_CONF")]
    pub(crate) config: Option<PathBuf>,

    /// Section of the configuration file that describes the cluster
    #[arg(long, short = 'i', value_name = "NAME", global = true, default_value = "default")]
    pub(crate) instance: String,

    /// Reactor configuration, when the instance names neither secret nor ConfigMap [default: config.yaml beside
    /// osbs.conf, or in the home folder]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) reactor_config: Option<PathBuf>,

    /// Folder of the local cluster [default: ~/.local/share/osbs]
    #[arg(long, value_name = "DIR", global = true, env = "OSBS_HOME")]
    pub(crate) home: Option<PathBuf>,

    /// Namespace [default: as configured, else "default"]
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) namespace: Option<String>,

    /// Registry to push to, instead of the configured ones: [http://]HOST[:PORT] (repeatable)
    #[arg(long, value_name = "URI", global = true)]
    pub(crate) registry_uri: Vec<String>,

    /// Registry that parent images come from: [http://]HOST[:PORT]
    #[arg(long, value_name = "URI", global = true)]
    pub(crate) source_registry_uri: Option<String>,

    /// The cluster, instead of the configured one: https://HOST[:PORT] (Kubernetes) or local:///DIR
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) openshift_uri: Option<String>,

    /// File with the token for the cluster; one on this machine asks for none
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) token_file: Option<String>,

    /// Keep every answer of the cluster as a JSON file in this folder
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) capture_dir: Option<PathBuf>,

    /// Colours
    #[arg(long, value_enum, value_name = "WHEN", global = true, default_value = "auto")]
    pub(crate) color: ColorChoice,

    /// Show debug lines too
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,

    /// Show warnings and errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// `--output` of a command that lists or shows.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct OutputArg {
    /// Form of what is shown
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) output: Option<OutputFormat>,
}

/// The forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Text,
    /// For programs: JSON, indented by two.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Build(commands::build::BuildCommandArgs),
    ListBuilds(commands::list_builds::ListBuildsArgs),
    GetBuild(commands::get_build::GetBuildArgs),
    WatchBuild(commands::watch_build::WatchBuildArgs),
    WatchBuilds(commands::watch_builds::WatchBuildsArgs),
    BuildLogs(commands::build_logs::BuildLogsArgs),
    GetBuildImageId(commands::get_build_image_id::GetBuildImageIdArgs),
    CancelBuild(commands::cancel_build::CancelBuildArgs),
    KojiBuild(commands::koji_build::KojiBuildArgs),
    BuildJson(commands::build_json::BuildJsonArgs),
    Image(commands::image::ImageArgs),
    CreateBuildImage(commands::create_build_image::CreateBuildImageArgs),
    Kojid(commands::kojid::KojidArgs),
    Hub(commands::hub::HubArgs),
    Plugins(commands::plugins::PluginsArgs),
    Config(commands::config::ConfigArgs),
    Gc(commands::gc::GcArgs),
    Deploy(commands::deploy::DeployArgs),
    Login(commands::login::LoginArgs),
    GetToken(commands::get_token::GetTokenArgs),
    GetServiceaccountToken(commands::get_serviceaccount_token::GetServiceaccountTokenArgs),
    PrintTokenUrl(commands::print_token_url::PrintTokenUrlArgs),
    GetUser(commands::get_user::GetUserArgs),
    Completion(commands::completion::CompletionArgs),
    #[command(hide = true)]
    RunBuild(commands::run_build::RunBuildArgs),
    #[command(hide = true)]
    RunPod(commands::run_pod::RunPodArgs),
    Reactor(commands::reactor::ReactorArgs),
}

impl Command {
    /// The form asked for behind the command's name.
    pub(crate) fn output(&self) -> Option<OutputFormat> {
        match self {
            Self::Build(args) => args.output.output,
            Self::ListBuilds(args) => args.output.output,
            Self::GetBuild(args) => args.output.output,
            Self::WatchBuild(args) => args.output.output,
            Self::WatchBuilds(args) => args.output.output,
            Self::BuildLogs(args) => args.output.output,
            Self::GetBuildImageId(args) => args.output.output,
            Self::GetUser(args) => args.output.output,
            Self::KojiBuild(args) => args.output.output,
            Self::Plugins(args) => args.output().output,
            Self::Config(args) => args.output,
            Self::Gc(args) => args.output.output,
            Self::Deploy(args) => args.output().output,
            Self::Image(args) if args.wants_json() => Some(OutputFormat::Json),
            _ => None,
        }
    }

    /// Options that stand for keys of osbs.conf, by the names of the keys.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Build(args) => args.build.settings().collect(),
            Self::BuildJson(args) => args.build.settings().collect(),
            _ => Vec::new(),
        }
    }
}
