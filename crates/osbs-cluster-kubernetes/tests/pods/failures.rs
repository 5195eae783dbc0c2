//! Every end that a pod can come to: a result, or an error with Kubernetes' reason in it; nothing is left behind.

use crate::log::runner_of;
use crate::reading::{check_whole, events, finished, number_of, running, told, within};
use crate::world::{World, options};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use osbs_cluster::{Build, Cluster, ClusterError, NameRule, NewBuild, SecretMount};
use osbs_cluster_kubernetes::{KubernetesCluster, PodOptions};
use osbs_types::{BuildName, BuildState, ErrorKind, EventKind, Level};
use std::time::{Duration, Instant};

/// What is done to a build, and what must come of it.
struct Fate {
    request: NewBuild,
    options: PodOptions,
    /// What happens to it once it runs.
    harm: fn(&Place, &BuildName),
    /// It never runs.
    never_runs: bool,
    state: BuildState,
    kind: Option<ErrorKind>,
    /// Parts of the reason.
    reason: &'static [&'static str],
}

/// Where it happens.
struct Place<'a> {
    world: &'a World,
    namespace: String,
}

impl Place<'_> {
    fn kubectl(&self, arguments: &[&str]) -> String {
        self.world.server.kubectl(&[&["--namespace", &self.namespace][..], arguments].concat())
    }

    fn pod(&self, build: &BuildName) -> String {
        let selector = format!("--selector=osbs/build={build}");
        let told = self.kubectl(&["get", "pods", &selector, "--output=jsonpath={.items[0].metadata.name}"]);
        told.trim().to_owned()
    }
}

fn fate(name: &str, params: &str, reason: &'static [&'static str]) -> Fate {
    Fate {
        request: told(name, params),
        options: options(),
        harm: |_, _| {},
        never_runs: false,
        state: BuildState::Error,
        kind: Some(ErrorKind::Resource),
        reason,
    }
}

fn fates() -> Vec<Fate> {
    let mut all = Vec::new();

    let mut one = fate("eats", "eat", &["ran out of memory", "64Mi", "OOMKilled"]);
    one.request.limits.memory = Some("64Mi".into());
    all.push(one);

    let mut one = fate("evicted", r#"{"conformance":"hold"}"#, &["its pod was deleted", "drained"]);
    one.harm = |place, build| {
        let pod = place.pod(build);
        let eviction = format!(
            r#"{{"apiVersion":"policy/v1beta1","kind":"Eviction","metadata":{{"name":"{pod}","namespace":"{}"}}}}"#,
            place.namespace
        );
        let file = place.world.server.folder().join(format!("eviction-{pod}.json"));
        std::fs::write(&file, eviction).unwrap();
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", place.namespace);
        place.kubectl(&["create", "--raw", &path, "--filename", file.to_str().unwrap()]);
    };
    all.push(one);

    let mut one = fate("pod-deleted", r#"{"conformance":"hold"}"#, &["its pod was deleted"]);
    one.harm = |place, build| drop(place.kubectl(&["delete", "pod", &place.pod(build), "--wait=false"]));
    all.push(one);

    let mut one = fate("pod-forced", r#"{"conformance":"hold"}"#, &["its pod was deleted"]);
    one.harm = |place, build| {
        place.kubectl(&["delete", "pod", &place.pod(build), "--wait=false", "--grace-period=0", "--force"]);
    };
    all.push(one);

    let mut one = fate("runner-killed", r#"{"conformance":"hold"}"#, &["its runner was killed by signal 9"]);
    one.harm = |_, build| {
        let pid = runner_of(build).unwrap();
        assert!(std::process::Command::new("kill").arg("-9").arg(pid.to_string()).status().unwrap().success());
    };
    all.push(one);

    let mut one = fate("too-long", r#"{"conformance":"hold"}"#, &["deadline of 3 s", "DeadlineExceeded"]);
    one.options.deadline = Some(Duration::from_secs(3));
    all.push(one);

    let mut one = fate("no-image", "", &["cannot be pulled", "localhost:1/none:1", "ImagePull"]);
    one.options.image = Some("localhost:1/none:1".into());
    one.options.image_pull_policy = Some("Always".into());
    one.options.start_patience = Duration::from_secs(2);
    (one.never_runs, one.kind) = (true, Some(ErrorKind::Remote));
    all.push(one);

    let mut one =
        fate("no-secret", "", &["there is no Secret pulp-login", "/var/run/secrets/atomic-reactor/pulp-login"]);
    let mount_path = "/var/run/secrets/atomic-reactor/pulp-login".to_owned();
    one.request.secrets = vec![SecretMount { secret: "pulp-login".into(), mount_path }];
    one.options.start_patience = Duration::from_secs(2);
    (one.never_runs, one.kind) = (true, Some(ErrorKind::Policy));
    all.push(one);

    let mut one = fate("no-program", "", &["cannot be started", "ContainerCannotRun"]);
    one.options.command = vec!["/nonexistent".into()];
    one.never_runs = true;
    all.push(one);

    let mut one = fate("last-words", "panic", &["the build ended with exit code"]);
    (one.state, one.kind) = (BuildState::Failed, Some(ErrorKind::Internal));
    all.push(one);

    let mut one = fate("cancelled", r#"{"conformance":"hold"}"#, &["cancelled on request"]);
    one.harm = |place, build| {
        let cluster = place.world.cluster(&place.namespace);
        tokio::runtime::Handle::current().block_on(cluster.cancel_build(build)).unwrap();
    };
    (one.state, one.kind) = (BuildState::Cancelled, None);
    all.push(one);

    let mut one = fate("unwanted", r#"{"conformance":"hold"}"#, &["nobody has said in time that it is still wanted"]);
    one.harm = |place, build| {
        let cluster = place.world.cluster(&place.namespace);
        let say = async {
            // The second one takes it on, else it would be over before it is heard of.
            cluster.still_wanted(build, Duration::from_mins(1)).await.unwrap();
            cluster.still_wanted(build, Duration::from_secs(3)).await.unwrap();
        };
        tokio::runtime::Handle::current().block_on(say);
    };
    (one.state, one.kind) = (BuildState::Cancelled, None);
    all.push(one);

    all
}

/// All fates at once, for most of each is waiting.
pub fn every_end_has_its_reason(world: &World) {
    let namespace = world.namespace();
    world.runtime.block_on(async {
        let client = world.cluster(&namespace).client().clone();
        let place = Place { world, namespace: namespace.clone() };
        let cluster = |options| KubernetesCluster::new(client.clone(), &namespace, "https://here", options);
        let only = std::env::var("OSBS_TEST_FATE").ok();
        let fates = fates().into_iter().filter(|fate| only.as_ref().is_none_or(|only| is_named(&fate.request, only)));
        let mut tests: Vec<BoxFuture<()>> =
            fates.map(|fate| Box::pin(suffer(&place, cluster(fate.options.clone()), fate)) as _).collect();
        tests.push(Box::pin(a_job_that_is_deleted(&place, cluster(options()))));
        tests.push(Box::pin(a_build_that_no_node_takes(&place, cluster(options()))));
        futures_util::future::join_all(tests).await;
        nothing_is_left(&place).await;
    });
}

fn is_named(request: &NewBuild, name: &str) -> bool {
    matches!(&request.name, NameRule::Exact(exact) if exact.as_str() == name)
}

async fn suffer(place: &Place<'_>, cluster: KubernetesCluster, fate: Fate) {
    let name = cluster.create_build(fate.request.clone()).await.unwrap().name;
    if !fate.never_runs {
        running(&cluster, &name).await;
        // What is inside has begun.
        tokio::time::sleep(Duration::from_millis(500)).await;
        tokio::task::block_in_place(|| (fate.harm)(place, &name));
    }
    let build = closed(&cluster, &name).await;
    let reason = build.reason.clone().unwrap_or_default();
    println!("  {name}: {} ({reason})", build.state);
    assert_eq!(
        (build.state, build.failure.as_ref().map(|failure| failure.kind)),
        (fate.state, fate.kind),
        "{name}: {reason}"
    );
    for part in fate.reason {
        assert!(reason.contains(part), "{name}: {reason:?} lacks {part:?}");
    }
    let all = events(&cluster, &name).await;
    let lines = all.iter().filter_map(number_of).count() as u64;
    check_whole(&all, lines, fate.state);
    let failures = all.iter().filter(|stored| matches!(stored.event.kind, EventKind::Failure(_))).count();
    assert_eq!(failures, usize::from(fate.kind.is_some()), "{name}: {all:?}");
    if name.as_str() == "last-words" {
        let is_it = |kind: &EventKind| matches!(kind, EventKind::Log(line) if line.level == Level::Error && line.text() == "last words");
        assert!(all.iter().any(|stored| is_it(&stored.event.kind)), "{all:?}");
    }
}

/// Its end; somebody looks more often than the half minute that waits look by themselves.
async fn closed(cluster: &KubernetesCluster, name: &BuildName) -> Build {
    let look = async {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            cluster.gc(None).await.unwrap();
        }
    };
    tokio::select! {
        build = finished(cluster, name) => build,
        () = look => unreachable!("it never ends"),
    }
}

/// Its followers are told; nothing of it stays.
async fn a_job_that_is_deleted(place: &Place<'_>, cluster: KubernetesCluster) {
    let name = cluster.create_build(told("job-deleted", r#"{"conformance":"hold"}"#)).await.unwrap().name;
    running(&cluster, &name).await;
    let mut stream = cluster.events(&name, 0, true).await.unwrap();
    let first = within("the first event", stream.next()).await.unwrap();
    assert!(first.is_ok());
    tokio::task::block_in_place(|| place.kubectl(&["delete", "job", name.as_str(), "--wait=false"]));
    let told = async {
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    };
    let error = within("the end of the log", told).await.unwrap().unwrap_err();
    assert!(matches!(error, ClusterError::Deleted { .. }), "{error:?}");
    assert_eq!(
        (error.to_string().as_str(), error.kind()),
        ("build job-deleted was deleted from the cluster", ErrorKind::Resource)
    );
    println!("  {name}: {error}");
}

/// It waits, and says for what.
async fn a_build_that_no_node_takes(place: &Place<'_>, cluster: KubernetesCluster) {
    let mut new = told("no-node", "");
    new.node_selector.insert("beta.kubernetes.io/arch".into(), "s390x".into());
    let name = cluster.create_build(new).await.unwrap().name;
    let shown = async {
        loop {
            let build = cluster.get_build(&name).await.unwrap();
            let reason = build.reason.clone().unwrap_or_default();
            if reason.contains("Unschedulable") {
                return (build.state, reason);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let (state, reason) = within("the scheduler's words", shown).await;
    println!("  {name}: {state} ({reason})");
    assert_eq!(state, BuildState::Pending);
    cluster.cancel_build(&name).await.unwrap();
    let build = closed(&cluster, &name).await;
    assert_eq!((build.state, build.started), (BuildState::Cancelled, None), "{:?}", build.reason);
    check_whole(&events(&cluster, &name).await, 0, BuildState::Cancelled);
    let _ = place;
}

/// No pod runs or waits, no environment is kept, no build is open.
async fn nothing_is_left(place: &Place<'_>) {
    let begun = Instant::now();
    let mut last = String::new();
    let gone = async {
        loop {
            let left = tokio::task::block_in_place(|| {
                let alive = "--field-selector=status.phase!=Succeeded,status.phase!=Failed";
                // The kubelet takes its time with those that never started.
                let not_going = "--output=go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}";
                let pods = place.kubectl(&["get", "pods", alive, not_going]);
                let secrets = place.kubectl(&["get", "secrets", "--selector=osbs/build", "--output=name"]);
                let jobs = place.kubectl(&["get", "jobs", "--selector=osbs/finished=false", "--output=name"]);
                format!("{pods}{secrets}{jobs}")
            });
            if left.is_empty() {
                return;
            }
            last = left.split_whitespace().collect::<Vec<_>>().join(", ");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    within("pods and environments of ended builds go", gone).await;
    println!("  all is gone after {:.1} s more; the last were {last}", begun.elapsed().as_secs_f32());
}
