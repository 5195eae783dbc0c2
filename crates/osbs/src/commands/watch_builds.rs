//! `osbs watch-builds`: the builds that are not finished, as they change.

use crate::args::OutputArg;
use crate::follow::Interrupts;
use crate::session::Session;
use crate::terminal::Table;
use clap::Args;
use osbs_cluster::{Build, BuildFilter};
use osbs_types::{BuildName, BuildType, Failure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often to look.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Watch the builds that are not finished, until it is interrupted
///
/// After every change the whole table is shown again; a build leaves it after its last change. With --output json every
/// change is one object on a line of its own.
#[derive(Debug, Args)]
pub(crate) struct WatchBuildsArgs {
    #[command(flatten)]
    pub(crate) output: OutputArg,

    /// Columns, comma separated
    #[arg(long, value_delimiter = ',', default_value = "changetype,status,created,name", value_enum)]
    columns: Vec<Column>,

    /// Worker builds too
    #[arg(long)]
    workers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Column {
    Changetype,
    Status,
    Created,
    Name,
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::Changetype => "CHANGE",
            Self::Status => "STATUS",
            Self::Created => "CREATED",
            Self::Name => "BUILD ID",
        }
    }

    fn cell(self, change: &Change) -> String {
        match self {
            Self::Changetype => change.kind.to_owned(),
            Self::Status => change.build.state.to_string(),
            Self::Created => change.build.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            Self::Name => change.build.name.to_string(),
        }
    }
}

/// A build and what happened to it last.
#[derive(Debug, Clone)]
struct Change {
    kind: &'static str,
    build: Build,
}

/// The builds on show.
#[derive(Debug, Default)]
struct Watched {
    shown: BTreeMap<BuildName, Change>,
    /// Those whose end was told, and those that had ended before the first look; `None` before it.
    ended: Option<BTreeSet<BuildName>>,
}

impl Watched {
    /// Takes note of all builds as they are now; gives those that have changed. What is finished goes with the next look.
    /// A build that began and ended between two looks is told too.
    fn look(&mut self, builds: Vec<Build>) -> Vec<Change> {
        let finished = |builds: &[Build]| builds.iter().filter(|b| b.is_finished()).map(|b| b.name.clone()).collect();
        let ended = self.ended.get_or_insert_with(|| finished(&builds));
        ended.extend(self.shown.extract_if(.., |_, change| change.build.is_finished()).map(|(name, _)| name));
        let mut changes = Vec::new();
        for build in builds {
            let known = self.shown.get(&build.name).map(|change| (change.build.state, change.build.cancel_requested));
            let kind = match known {
                None if ended.contains(&build.name) => continue,
                None => "added",
                Some(known) if known == (build.state, build.cancel_requested) => continue,
                Some(_) => "modified",
            };
            let change = Change { kind, build };
            self.shown.insert(change.build.name.clone(), change.clone());
            changes.push(change);
        }
        changes
    }

    fn table(&self, columns: &[Column]) -> Table {
        let mut table = Table::new(columns.iter().map(|column| column.heading()));
        for change in self.shown.values() {
            table.row(columns.iter().map(|column| column.cell(change)).collect());
        }
        table
    }
}

fn object(change: &Change) -> Value {
    json!({"changetype": change.kind, "status": change.build.state, "created": change.build.created,
           "name": change.build.name})
}

/// Runs the command. An interrupt is how it ends.
pub(crate) async fn run(session: &Session, args: WatchBuildsArgs) -> Result<u8, Failure> {
    let cluster = session.cluster()?;
    let build_type = (!args.workers).then_some(BuildType::Orchestrator);
    let mut interrupts = Interrupts::new()?;
    let mut watched = Watched::default();
    loop {
        // Finished ones too: the last change of a build is its end.
        let filter = BuildFilter { build_type, ..BuildFilter::default() };
        let builds = cluster.list_builds(&filter).await.map_err(|e| Failure::new(e.kind(), &e))?;
        let changes = watched.look(builds);
        if session.wants_json() {
            for change in &changes {
                session.print(&format!("{}\n", object(change)));
            }
        } else if !changes.is_empty() {
            session.print_table(&watched.table(&args.columns));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = interrupts.next() => return Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osbs_cluster::{GitSource, NameRule, NewBuild};
    use osbs_types::BuildState;

    fn build(name: &str, state: BuildState) -> Build {
        let source = GitSource { uri: "https://h/r.git".to_owned(), git_ref: "main".to_owned() };
        let name: BuildName = name.parse().expect("a name");
        let new = NewBuild::new(NameRule::Exact(name.clone()), BuildType::Orchestrator, source, "i");
        let created = "2026-01-02T03:04:05Z".parse().expect("a time");
        Build { state, ..Build::from_new("default", name, None, new, created) }
    }

    #[test]
    fn changes_are_told_once() {
        use BuildState::{Complete, Pending, Running};
        let mut watched = Watched::default();
        let mut look = |builds: &[(&str, BuildState)]| {
            let builds = builds.iter().map(|(name, state)| build(name, *state)).collect();
            let changes: Vec<_> =
                watched.look(builds).iter().map(|c| format!("{} {} {}", c.kind, c.build.name, c.build.state)).collect();
            let (_, rows) = watched.table(&[Column::Name, Column::Status]).render();
            let rows = rows.iter().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "));
            (changes.join(", "), rows.collect::<Vec<_>>().join(", "))
        };
        let expect = |changes: &str, rows: &str| (changes.to_owned(), rows.to_owned());
        assert_eq!(look(&[("old", Complete), ("a", Pending)]), expect("added a Pending", "a Pending"));
        assert_eq!(look(&[("old", Complete), ("a", Pending)]), expect("", "a Pending"));
        assert_eq!(look(&[("a", Running), ("b", Pending)]).0, "modified a Running, added b Pending");
        assert_eq!(look(&[("a", Complete), ("b", Pending)]), expect("modified a Complete", "a Complete, b Pending"));
        assert_eq!(look(&[("a", Complete), ("b", Pending)]), expect("", "b Pending"));
        let quick = &[("a", Complete), ("b", Pending), ("quick", Complete)];
        assert_eq!(look(quick), expect("added quick Complete", "b Pending, quick Complete"));
        assert_eq!(look(quick), expect("", "b Pending"));
    }
}
