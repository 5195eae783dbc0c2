//! `osbs list-builds`: what was built, oldest first.

use crate::args::OutputArg;
use crate::session::Session;
use crate::terminal::{Table, duration};
use clap::Args;
use osbs_cluster::{Build, BuildFilter};
use osbs_types::{BuildType, Failure, Timestamp};
use std::time::Duration;

/// List builds, oldest first
///
/// The heading goes to standard error, so that a pipe sees only rows.
#[derive(Debug, Args)]
pub(crate) struct ListBuildsArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,

    /// Only builds whose image contains this text
    filter: Option<String>,

    /// Columns, comma separated
    #[arg(long, value_delimiter = ',', default_value = "name,status,image,time_created,duration", value_enum)]
    columns: Vec<Column>,

    /// Only builds that are not finished
    #[arg(long)]
    running: bool,

    /// Worker builds too
    #[arg(long)]
    workers: bool,

    /// Only the newest N
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<usize>,
}

/// Columns, named as in osbs-client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Column {
    BaseImage,
    BaseImageId,
    Commit,
    Image,
    UniqueImage,
    ImageId,
    KojiBuildId,
    Name,
    Status,
    TimeCreated,
    Type,
    Duration,
    Reason,
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::BaseImage => "BASE IMAGE NAME",
            Self::BaseImageId => "BASE IMAGE ID",
            Self::Commit => "COMMIT",
            Self::Image => "IMAGE NAME",
            Self::UniqueImage => "UNIQUE IMAGE NAME",
            Self::ImageId => "IMAGE ID",
            Self::KojiBuildId => "KOJI BUILD ID",
            Self::Name => "BUILD ID",
            Self::Status => "STATUS",
            Self::TimeCreated => "TIME CREATED",
            Self::Type => "TYPE",
            Self::Duration => "TIME",
            Self::Reason => "REASON",
        }
    }

    fn cell(self, build: &Build) -> String {
        let annotation = |key: &str| build.annotations.get(key).cloned().unwrap_or_default();
        match self {
            Self::BaseImage => annotation("base-image-name"),
            Self::BaseImageId => annotation("base-image-id"),
            Self::Commit => annotation("commit_id"),
            Self::Image => first_repository(build, "primary"),
            Self::UniqueImage => first_repository(build, "unique"),
            Self::ImageId => annotation("image-id"),
            Self::KojiBuildId => build.labels.get("koji-build-id").cloned().unwrap_or_default(),
            Self::Name => build.name.to_string(),
            Self::Status => build.state.to_string(),
            Self::TimeCreated => build.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            Self::Type => build.build_type.to_string(),
            Self::Duration => run_time(build).map(duration).unwrap_or_default(),
            Self::Reason => build.reason.clone().unwrap_or_default(),
        }
    }
}

/// How long the build ran, or has been running.
pub(crate) fn run_time(build: &Build) -> Option<Duration> {
    let end = build.finished.unwrap_or_else(Timestamp::now);
    Duration::try_from(end.duration_since(build.started?)).ok()
}

/// The first pull spec of a kind, without registry.
fn first_repository(build: &Build, kind: &str) -> String {
    let repositories: serde_json::Value =
        build.annotations.get("repositories").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let spec = repositories[kind][0].as_str().unwrap_or_default();
    spec.split_once('/').map_or(spec, |(_, rest)| rest).to_owned()
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: ListBuildsArgs) -> Result<u8, Failure> {
    let filter = BuildFilter {
        unfinished: args.running,
        build_type: (!args.workers).then_some(BuildType::Orchestrator),
        limit: args.limit,
        ..BuildFilter::default()
    };
    let mut builds = session.cluster()?.list_builds(&filter).await.map_err(|e| Failure::new(e.kind(), &e))?;
    if let Some(text) = &args.filter {
        builds.retain(|build| first_repository(build, "primary").contains(text) || build.name.as_str().contains(text));
    }
    if session.wants_json() {
        session.print_json(&builds.iter().map(crate::record::build_record).collect::<Vec<_>>());
        return Ok(0);
    }
    let mut table = Table::new(args.columns.iter().map(|column| column.heading()));
    for build in &builds {
        table.row(args.columns.iter().map(|column| column.cell(build)).collect());
    }
    session.print_table(&table);
    Ok(0)
}
