//! The in-memory cluster is held to the same promises as the real ones.

use osbs_cluster::conformance::{self, Behaviour};
use osbs_cluster::{Build, MemoryCluster, Script};
use osbs_types::{BuildState, ErrorKind, EventKind, Failure, Level, LogLine};

fn script(build: &Build) -> Script {
    match Behaviour::of(build) {
        Behaviour::Complete => Script::ends(BuildState::Complete)
            .with_events((1..=3).map(|n| EventKind::Log(LogLine::new("test", Level::Info, format!("line {n}"))))),
        Behaviour::Fail => {
            let failure = Some(Failure::message(ErrorKind::User, "no FROM"));
            Script { failure, ..Script::ends(BuildState::Failed) }
        }
        Behaviour::Hold => Script::holds(),
    }
}

#[tokio::test]
async fn conforms() {
    conformance::all(|| MemoryCluster::new("osbs", script)).await;
}
