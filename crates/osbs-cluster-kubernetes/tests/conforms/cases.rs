//! The promises of a cluster, and what only a real API server does.

use crate::world::{PATIENCE, World};
use futures_util::future::{join_all, try_join_all};
use osbs_cluster::conformance::{self, Behaviour, request};
use osbs_cluster::{
    BuildConfig, BuildFilter, BuildPatch, Cluster, ClusterError, GitSource, NameRule, NewBuild, WaitFor,
};
use osbs_types::{BuildName, BuildState, Nvr};
use std::time::Duration;

/// A build without BuildConfig.
pub fn exact(name: &str, behaviour: Behaviour) -> NewBuild {
    request(NameRule::Exact(name.parse().unwrap()), behaviour)
}

/// The result, or a panic after a while.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: nothing happened for a long time"))
}

/// Every promise.
pub fn conforms(world: &World) {
    let fresh = || {
        let namespace = tokio::task::block_in_place(|| world.namespace());
        world.cluster(&namespace)
    };
    // On a thread of the runtime, where blocking is allowed.
    world.runtime.block_on(conformance::all(fresh));
}

/// Sixteen at once, each with its own connection: no number, label or NVR is lost or given twice.
pub fn many_writers(world: &World) {
    const MANY: usize = 16;
    let namespace = world.namespace();
    let clusters: Vec<_> = (0..MANY).map(|_| world.cluster(&namespace)).collect();
    world.runtime.block_on(async {
        let source = GitSource { uri: "https://git.example.com/web.git".into(), git_ref: "main".into() };
        let config = BuildConfig { name: "web".into(), labels: [].into(), source, last_version: 0 };
        try_join_all(clusters.iter().map(|cluster| cluster.ensure_build_config(config.clone()))).await.unwrap();

        let new = || request(NameRule::Config { build_config: "web".into() }, Behaviour::Hold);
        let made = within("builds", try_join_all(clusters.iter().map(|cluster| cluster.create_build(new())))).await;
        let mut numbers: Vec<_> = made.unwrap().into_iter().map(|build| build.number.unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=MANY as u64).collect::<Vec<_>>());

        let name: BuildName = "web-16".parse().unwrap();
        let patch = |n: usize| BuildPatch::default().annotation(format!("n{n}"), "x").label(format!("l{n}"), "x");
        let patches = clusters.iter().enumerate().map(|(n, cluster)| cluster.update_build(&name, patch(n)));
        within("patches", try_join_all(patches)).await.unwrap();
        let build = clusters[0].get_build(&name).await.unwrap();
        assert_eq!((build.annotations.len(), build.labels.len()), (MANY, MANY));

        let nvr: Nvr = "web-1-1".parse().unwrap();
        let owners: Vec<BuildName> = (1..=MANY).map(|n| format!("web-{n}").parse().unwrap()).collect();
        let taken = clusters.iter().zip(&owners).map(|(cluster, owner)| cluster.reserve_nvr(&nvr, owner));
        let taken = within("reservations", join_all(taken)).await;
        assert_eq!(taken.iter().filter(|result| result.is_ok()).count(), 1);
        let refused = taken.iter().filter(|result| matches!(result, Err(ClusterError::NvrTaken { .. })));
        assert_eq!(refused.count(), MANY - 1);

        // All of them cancelled by all: the one that runs and those that wait, each once.
        let builds: Vec<BuildName> = (1..=MANY).map(|n| format!("web-{n}").parse().unwrap()).collect();
        let cancels = builds.iter().flat_map(|name| clusters[..2].iter().map(|cluster| cluster.cancel_build(name)));
        within("cancellations", try_join_all(cancels)).await.unwrap();
        for name in &builds {
            let build = within("the end", clusters[0].wait_build(name, WaitFor::Finished)).await.unwrap();
            assert_eq!(build.state, BuildState::Cancelled, "{name}: {:?}", build.reason);
        }
        assert_eq!(clusters[0].active_builds(None).await.unwrap(), 0);
    });
}

/// `gc` takes what is old with all that belongs to it, and nothing else.
pub fn what_is_old_is_removed(world: &World) {
    let namespace = world.namespace();
    let cluster = world.cluster(&namespace);
    world.runtime.block_on(async {
        let old = cluster.create_build(exact("old", Behaviour::Complete)).await.unwrap();
        within("the end", cluster.wait_build(&old.name, WaitFor::Finished)).await.unwrap();
        let kept = cluster.create_build(exact("kept", Behaviour::Hold)).await.unwrap();
        let hour = Some(Duration::from_hours(1));
        assert_eq!(cluster.gc(hour).await.unwrap().removed, []);
        let cleared = cluster.gc(Some(Duration::ZERO)).await.unwrap();
        assert_eq!(cleared.removed, std::slice::from_ref(&old.name));
        assert_eq!(cleared.closed, []);
        let error = cluster.get_build(&old.name).await.unwrap_err();
        assert!(matches!(error, ClusterError::BuildNotFound { .. }), "{error}");
        let left = async {
            loop {
                let kinds = "jobs,pods,secrets,configmaps";
                let of_build =
                    world.server.kubectl(&["-n", &namespace, "get", kinds, "-o=name", "-l", "osbs/build=old"]);
                let log = world.server.kubectl(&["-n", &namespace, "get", kinds, "-o=name", "-l", "osbs/log=old"]);
                if of_build.is_empty() && log.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        within("pods, Secrets and log chunks of a removed build go", left).await;
        cluster.cancel_build(&kept.name).await.unwrap();
        let ended = within("the end", cluster.wait_build(&kept.name, WaitFor::Finished)).await.unwrap();
        assert_eq!((ended.state, ended.reason.as_deref()), (BuildState::Cancelled, Some("cancelled on request")));
        let left = world.server.kubectl(&["-n", &namespace, "get", "secrets", "-o=name", "-l", "osbs/build"]);
        assert_eq!(left, "", "environments go with the end");
    });
}

/// The server is killed; what changed while it was away is not in the history that watches go on from ("too old resource
/// version"): whoever waits is told all the same.
pub fn the_api_server_is_restarted_while_somebody_waits(world: &World) {
    let namespace = world.namespace();
    let (cluster, other) = (world.cluster(&namespace), world.cluster(&namespace));
    world.runtime.block_on(async {
        let name = cluster.create_build(exact("a", Behaviour::Hold)).await.unwrap().name;
        within("its start", cluster.wait_build(&name, WaitFor::Scheduled)).await.unwrap();
        for round in 0..2 {
            let marked = async {
                let patch = BuildPatch::default().annotation("round", round.to_string());
                let waiting = cluster.wait_build(&name, WaitFor::Finished);
                tokio::pin!(waiting);
                // The watch stands before the server goes.
                tokio::select! {
                    ended = &mut waiting => panic!("{ended:?}"),
                    () = tokio::time::sleep(Duration::from_secs(2)) => {}
                }
                let seen = tokio::task::block_in_place(|| {
                    let version = "--output=jsonpath={.metadata.resourceVersion}";
                    let seen = world.server.kubectl(&["-n", &namespace, "get", "job", name.as_str(), version]);
                    world.server.component("apiserver", "kill");
                    compact(world);
                    world.server.component("apiserver", "start");
                    seen
                });
                let cancelled = async {
                    other.update_build(&name, patch).await.unwrap();
                    tokio::task::block_in_place(|| check_too_old(world, &namespace, &seen));
                    if round == 1 {
                        other.cancel_build(&name).await.unwrap();
                    } else {
                        tokio::time::sleep(Duration::from_secs(5)).await;
                    }
                };
                tokio::select! {
                    ended = &mut waiting => panic!("it was not cancelled yet: {ended:?}"),
                    () = cancelled => {}
                }
                if round == 1 {
                    let build = waiting.await.unwrap();
                    assert_eq!(build.state, BuildState::Cancelled, "{:?}", build.reason);
                }
            };
            within("a round", marked).await;
        }
        let builds = other.list_builds(&BuildFilter { unfinished: true, ..BuildFilter::default() }).await.unwrap();
        assert_eq!(builds, []);
    });
}

/// A watch that goes on from what was seen last is told 410.
#[track_caller]
fn check_too_old(world: &World, namespace: &str, seen: &str) {
    let path = format!(
        "/apis/batch/v1/namespaces/{namespace}/jobs?watch=true&timeoutSeconds=5&resourceVersion={}",
        seen.trim()
    );
    let told = world.server.kubectl(&["get", "--raw", &path]);
    assert!(told.contains("\"code\":410") && told.contains("too old resource version"), "{told}");
}

/// Throws the history of etcd away.
fn compact(world: &World) {
    let post = |path: &str, body: &str| {
        let url = format!("{}{path}", world.server.fact("etcd_server"));
        let told =
            std::process::Command::new("curl").args(["-sS", "-m", "30", "-X", "POST", "-d", body, &url]).output();
        serde_json::from_slice::<serde_json::Value>(&told.unwrap().stdout).unwrap()
    };
    let revision = post("/v3/kv/range", r#"{"key": "Lw==", "count_only": true}"#)["header"]["revision"].clone();
    post("/v3/kv/compaction", &format!(r#"{{"revision": {revision}, "physical": true}}"#));
}

/// No request is lost while etcd stands still for half a minute, and a waiting build starts and ends after it.
pub fn etcd_stands_still(world: &World) {
    let namespace = world.namespace();
    let cluster = world.cluster(&namespace);
    world.runtime.block_on(async {
        let name = cluster.create_build(exact("a", Behaviour::Hold)).await.unwrap().name;
        within("its start", cluster.wait_build(&name, WaitFor::Scheduled)).await.unwrap();
        tokio::task::block_in_place(|| world.server.component("etcd", "pause"));
        let resumed = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            tokio::task::block_in_place(|| world.server.component("etcd", "resume"));
        };
        let requests = async {
            cluster.create_build(exact("b", Behaviour::Complete)).await.unwrap();
            cluster.cancel_build(&name).await.unwrap();
        };
        within("requests", futures_util::future::join(resumed, requests)).await;
        for (build, state) in [("a", BuildState::Cancelled), ("b", BuildState::Complete)] {
            let ended =
                within("the end", cluster.wait_build(&build.parse().unwrap(), WaitFor::Finished)).await.unwrap();
            assert_eq!(ended.state, state, "{build}: {:?}", ended.reason);
        }
    });
}
