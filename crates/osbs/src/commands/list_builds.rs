//! `osbs list-builds`: what was built, oldest first.

use crate::args::OutputArg;
use crate::session::Session;
use crate::site::unreadable;
use crate::terminal::{Table, duration};
use clap::Args;
use osbs_cluster::{Build, BuildFilter, TextMap};
use osbs_types::{BuildState, BuildType, ErrorKind, Failure, Timestamp};
use serde_json::Value;
use std::path::{Path, PathBuf};
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

    /// Only builds with this label, KEY=VALUE (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    /// Only builds of this Koji task
    #[arg(long, value_name = "ID")]
    koji_task_id: Option<u64>,

    /// Show what --output json printed to this file, instead of asking the cluster
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workers", "limit", "labels", "koji_task_id"])]
    from_json: Option<PathBuf>,
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

    /// Of a record, which may be one that was printed long ago.
    fn cell(self, record: &Value) -> String {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let annotation = |key: &str| text(&record["annotations"][key]);
        match self {
            Self::BaseImage => annotation("base-image-name"),
            Self::BaseImageId => annotation("base-image-id"),
            Self::Commit => annotation("commit_id"),
            Self::Image => first_repository(record, "primary"),
            Self::UniqueImage => first_repository(record, "unique"),
            Self::ImageId => annotation("image-id"),
            Self::KojiBuildId => text(&record["labels"]["koji-build-id"]),
            Self::Name => text(&record["name"]),
            Self::Status => text(&record["status"]),
            Self::TimeCreated => {
                let created = time(&record["created"]);
                created.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
            }
            Self::Type => text(&record["type"]),
            Self::Duration => recorded_time(record).map(duration).unwrap_or_default(),
            Self::Reason => text(&record["reason"]),
        }
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn recorded_time(record: &Value) -> Option<Duration> {
    let end = time(&record["finished"]).unwrap_or_else(Timestamp::now);
    Duration::try_from(end.duration_since(time(&record["started"])?)).ok()
}

/// How long the build ran, or has been running.
pub(crate) fn run_time(build: &Build) -> Option<Duration> {
    let end = build.finished.unwrap_or_else(Timestamp::now);
    Duration::try_from(end.duration_since(build.started?)).ok()
}

/// The first pull spec of a kind, without registry.
fn first_repository(record: &Value, kind: &str) -> String {
    let spec = record["annotations"]["repositories"][kind][0].as_str().unwrap_or_default();
    spec.split_once('/').map_or(spec, |(_, rest)| rest).to_owned()
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| "expected KEY=VALUE".to_owned())?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Records that `osbs list-builds --output json` has printed.
fn from_file(path: &Path) -> Result<Vec<Value>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, &e))?;
    serde_json::from_str(&text).map_err(|error| {
        let mut failure = Failure::message(ErrorKind::User, format!("{} is no list of builds", path.display()));
        failure.causes.push(error.to_string());
        failure.with_hint("osbs list-builds --output json > FILE makes one")
    })
}

fn is_finished(record: &Value) -> bool {
    let state = serde_json::from_value::<BuildState>(record["status"].clone());
    state.is_ok_and(BuildState::is_finished)
}

async fn from_cluster(session: &Session, args: &ListBuildsArgs) -> Result<Vec<Value>, Failure> {
    let mut labels: TextMap = args.labels.iter().cloned().collect();
    labels.extend(args.koji_task_id.map(|id| ("koji-task-id".to_owned(), id.to_string())));
    let filter = BuildFilter {
        labels,
        unfinished: args.running,
        build_type: (!args.workers).then_some(BuildType::Orchestrator),
        limit: args.limit,
        ..BuildFilter::default()
    };
    let builds = session.osbs()?.list_builds_by(&filter).await.map_err(|e| e.to_failure())?;
    Ok(builds.iter().map(crate::record::build_record).collect())
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: ListBuildsArgs) -> Result<u8, Failure> {
    let mut records = match &args.from_json {
        Some(path) => from_file(path)?,
        None => from_cluster(session, &args).await?,
    };
    if args.running {
        records.retain(|record| !is_finished(record));
    }
    if let Some(text) = &args.filter {
        let has = |cell: String| cell.contains(text);
        records.retain(|record| has(Column::Image.cell(record)) || has(Column::Name.cell(record)));
    }
    if session.wants_json() {
        session.print_json(&records);
        return Ok(0);
    }
    let mut table = Table::new(args.columns.iter().map(|column| column.heading()));
    for record in &records {
        table.row(args.columns.iter().map(|column| column.cell(record)).collect());
    }
    session.print_table(&table);
    Ok(0)
}
