//! Builds of these tests, and reading their logs.

use crate::world::PATIENCE;
use futures_util::TryStreamExt;
use osbs_cluster::conformance::{Behaviour, request};
use osbs_cluster::{Build, Cluster, NameRule, NewBuild, StoredEvent, WaitFor};
use osbs_cluster_kubernetes::KubernetesCluster;
use osbs_types::{BuildName, BuildState, EventKind};

/// A build whose inside is told so.
pub fn told(name: &str, params: &str) -> NewBuild {
    let mut new = request(NameRule::Exact(name.parse().unwrap()), Behaviour::Complete);
    new.env.insert("USER_PARAMS".into(), params.into());
    new
}

/// The result, or a panic after a while.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: nothing happened for a long time"))
}

pub async fn finished(cluster: &KubernetesCluster, name: &BuildName) -> Build {
    within(&format!("the end of {name}"), cluster.wait_build(name, WaitFor::Finished)).await.unwrap()
}

pub async fn running(cluster: &KubernetesCluster, name: &BuildName) -> Build {
    within(&format!("the start of {name}"), cluster.wait_build(name, WaitFor::Scheduled)).await.unwrap()
}

/// All events there are now.
pub async fn events(cluster: &KubernetesCluster, name: &BuildName) -> Vec<StoredEvent> {
    let stream = cluster.events(name, 0, false).await.unwrap();
    within("the end of a log", stream.try_collect()).await.unwrap()
}

/// Numbers of the lines `line N of ...`, in the order of the log.
pub fn number_of(stored: &StoredEvent) -> Option<u64> {
    let EventKind::Log(line) = &stored.event.kind else { return None };
    line.text().strip_prefix("line ")?.split(' ').next()?.parse().ok()
}

/// Every line from the first to `last` once, in order; first state and last state.
#[track_caller]
pub fn check_whole(events: &[StoredEvent], last: u64, state: BuildState) {
    let numbers: Vec<_> = events.iter().filter_map(number_of).collect();
    let wrong = numbers.iter().zip(1..).position(|(number, expected)| *number != expected);
    assert_eq!(wrong, None, "line {} where {} belongs", numbers[wrong.unwrap_or(0)], wrong.unwrap_or(0) + 1);
    assert_eq!(numbers.len() as u64, last);
    assert!(events.windows(2).all(|pair| pair[0].offset < pair[1].offset), "offsets grow");
    let states: Vec<_> = events
        .iter()
        .filter_map(|stored| match &stored.event.kind {
            EventKind::State { state, .. } => Some(*state),
            _ => None,
        })
        .collect();
    assert_eq!((states.first(), states.last()), (Some(&BuildState::New), Some(&state)), "{states:?}");
}
