//! The in-memory cluster is held to the same promises as the real ones.

use osbs_cluster::conformance::{self, Behaviour};
use osbs_cluster::{Build, CapturedCluster, MemoryCluster, Script};
use std::sync::{Arc, Mutex};

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

/// What is shown on the way changes nothing, and holds no secret.
#[tokio::test]
async fn a_captured_one_conforms() {
    let answers = Arc::new(Mutex::new(Vec::new()));
    conformance::all(|| {
        let kept = Arc::clone(&answers);
        let capture = move |operation: &'static str, answer: &serde_json::Value| {
            kept.lock().expect("nobody panicked").push(format!("{operation} {answer}"));
        };
        CapturedCluster::new(Arc::new(MemoryCluster::new("osbs", script)), Arc::new(capture))
    })
    .await;
    let answers = answers.lock().expect("nobody panicked");
    for operation in ["create_build", "get_build", "list_builds", "wait_build", "get_secret", "next_release"] {
        assert!(answers.iter().any(|answer| answer.starts_with(operation)), "{operation}");
    }
    let text = answers.join("\n");
    assert!(text.contains(r#""env":{"USER_PARAMS":"***"}"#), "environments keep their names only");
    assert!(!text.contains("hunter2"));
}
