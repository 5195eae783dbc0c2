//! This program in a build's pod: the runner, and what runs inside, which does what the conformance tests say.

use osbs_cluster::conformance::Behaviour;
use osbs_cluster::{EventLog, InsideCommand};
use osbs_cluster_kubernetes::{KubernetesCluster, PodOptions};
use osbs_types::{ErrorKind, EventKind, Failure, Level, LogLine, exit_code};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The command `run-pod NAME` of the pod.
pub fn run_pod(name: &str) -> ExitCode {
    let result = runtime().block_on(async {
        let variable = |name: &str| std::env::var(name).unwrap();
        let config = kube::Config::incluster().unwrap();
        let url = config.cluster_url.to_string();
        let client = kube::Client::try_from(config).unwrap();
        let options = PodOptions { image: Some("unused".into()), ..PodOptions::default() };
        // As `osbs run-pod`: what the request brought is in the pod's environment, and read from nowhere else.
        let cluster = KubernetesCluster::new(client, variable("OSBS_NAMESPACE"), url, options).with_secret_mounts([]);
        let mut inside = InsideCommand::new(std::env::current_exe().unwrap());
        inside.args = vec!["inside".into()];
        inside.env = std::env::vars_os().collect();
        inside.grace = Duration::from_secs(20);
        osbs_cluster_kubernetes::run_pod(cluster, &name.parse().unwrap(), inside).await
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("runner: {error:?}");
            ExitCode::from(exit_code::INTERNAL)
        }
    }
}

/// What runs inside.
pub fn inside() -> ExitCode {
    let events = std::env::var("OSBS_EVENTS").unwrap();
    let mut log = EventLog::open(Path::new(&events)).unwrap();
    let mut line = |text: String| log.append(EventKind::Log(LogLine::new("test", Level::Info, text))).unwrap();
    let params = std::env::var("USER_PARAMS").unwrap_or_default();
    if params == Behaviour::Fail.user_params() {
        log.append(EventKind::Failure(Failure::message(ErrorKind::User, "no FROM"))).unwrap();
        return ExitCode::from(exit_code::USER);
    }
    if params == Behaviour::Hold.user_params() {
        runtime().block_on(async {
            let mut terminate = signal(SignalKind::terminate()).unwrap();
            line("holding".to_owned());
            terminate.recv().await;
            line("told to stop".to_owned());
        });
        return ExitCode::from(exit_code::CANCELLED);
    }
    (1..=3).for_each(|n| line(format!("line {n}")));
    ExitCode::SUCCESS
}
