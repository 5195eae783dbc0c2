//! Cluster choice, log relay, cancellation and results, on in-memory clusters (`reactor.md` 6.5 items 3 and 6).

use super::*;
use crate::build_json::{PluginEntry, PluginLists};
use crate::plugin::{BuildResult, BuiltImageId};
use crate::testing::{MemoryWorkers, TestRun, run_with};
use osbs_cluster::{Build, BuildFilter, BuildPatch, Cluster, MemoryCluster, Script};
use osbs_config::ReactorConfig;
use osbs_types::{BuildState, ErrorKind, EventKind, Failure, Level, LogLine, Position};
use serde_json::json;
use std::time::Instant;

const DOCKERFILE: &str = "FROM scratch\nLABEL name=web version=1 release=3\n";

fn ends_well(name: &str) -> MemoryCluster {
    MemoryCluster::new(name, |_| Script::ends(BuildState::Complete))
}

/// A run for these clusters of the configuration, `PLATFORM: [NAME, ...]`, each for two builds at once.
async fn test_run(clusters: &[(&str, &[&str])], workers: MemoryWorkers) -> (TestRun, Arc<MemoryWorkers>) {
    let lists =
        PluginLists { buildstep_plugins: vec![PluginEntry::new("orchestrate_build")], ..PluginLists::default() };
    let mut test = run_with(DOCKERFILE, &[], lists).await;
    let table: Map<_, _> = clusters
        .iter()
        .map(|(platform, names)| {
            let list: Vec<_> = names
                .iter()
                .map(|name| match name.strip_prefix('-') {
                    Some(name) => json!({"name": name, "max_concurrent_builds": 2, "enabled": false}),
                    None => json!({"name": name, "max_concurrent_builds": 2}),
                })
                .collect();
            ((*platform).to_owned(), json!(list))
        })
        .collect();
    let config =
        json!({"version": 1, "clusters": table, "worker_token_secrets": ["t"], "content_versions": ["v1", "v2"]});
    test.run.config = Arc::new(ReactorConfig::from_json(&config, "config.yaml").unwrap().value);
    test.run.config_loaded = true;
    test.run.platforms = Some(clusters.iter().map(|(platform, _)| platform.parse().unwrap()).collect());
    let workers = Arc::new(workers);
    test.run.services.workers = Arc::clone(&workers) as _;
    (test, workers)
}

/// Quick constants, and what every request has.
fn args() -> Value {
    json!({
        "find_cluster_retry_delay": 0.02,
        "failure_retry_delay": 0.01,
        "build_kwargs": {"git_uri": "u", "arrangement_version": 6, "architecture": "x", "user": "alice"},
    })
}

async fn orchestrate(test: &mut TestRun) -> Result<BuildResult, PluginError> {
    match test.plugin(&plugin(), args()).await? {
        Done::Built(result) => Ok(result),
        other => panic!("{other:?} is no build result"),
    }
}

fn reasons(result: &BuildResult) -> Value {
    serde_json::from_str(&result.image.as_ref().unwrap_err().fail_reason).unwrap()
}

async fn builds_on(cluster: &MemoryCluster) -> Vec<Build> {
    cluster.list_builds(&BuildFilter::default()).await.unwrap()
}

#[tokio::test]
async fn every_platform_gets_its_build_with_its_parameters() {
    let a = ends_well("a");
    let (mut test, workers) =
        test_run(&[("x86_64", &["a"]), ("aarch64", &["a"])], MemoryWorkers::new([("a", a.clone())])).await;
    let digest = osbs_types::Digest::from_sha256(&[5; 32]);
    test.run.parents.digests.insert("r/p:1".to_owned(), [("application/x".to_owned(), digest.clone())].into());
    let all = [("yum_repourls".to_owned(), json!(["http://all"])), ("git_ref".to_owned(), json!("c0ffee"))];
    test.run.build_kwarg_overrides.insert(None, all.into_iter().collect());
    let one = [("yum_repourls".to_owned(), json!(["http://arm"]))].into_iter().collect();
    test.run.build_kwarg_overrides.insert(Some("aarch64".parse().unwrap()), one);
    let result = orchestrate(&mut test).await.unwrap();
    assert_eq!(result.image, Ok(BuiltImageId::Remote));
    let worker_builds = &result.annotations["worker-builds"];
    assert_eq!(worker_builds["x86_64"]["build"]["build-name"], test.run.workers["x86_64"].build.name.as_str());
    assert_eq!(worker_builds["aarch64"]["digests"], json!([]));
    assert_eq!(test.run.workers.len(), 2);
    let requests = workers.requests.lock().unwrap().clone();
    let of = |name: &str| requests.iter().find(|request| request.platform.as_str() == name).unwrap();
    let (x86, arm) = (of("x86_64"), of("aarch64"));
    assert_eq!((x86.release.as_str(), x86.arrangement_version), ("3", 6));
    assert_eq!(x86.parameters["yum_repourls"], json!(["http://all"]));
    assert_eq!(arm.parameters["yum_repourls"], json!(["http://arm"]));
    assert_eq!(x86.parameters["git_ref"], "c0ffee");
    assert_eq!(x86.parameters["parent_images_digests"]["r/p:1"]["application/x"], digest.as_str());
    assert_eq!(x86.parameters["koji_upload_dir"], arm.parameters["koji_upload_dir"]);
    assert_eq!(x86.parameters["koji_upload_dir"].as_str(), test.run.koji_upload_dir.as_deref());
    assert!(!x86.parameters.contains_key("architecture"));
    let native = x86.parameters["operator_manifests_extract_platform"].as_str().unwrap();
    assert_eq!(native, Platform::native().as_str(), "M20");
    let config = &x86.parameters["reactor_config_override"];
    assert_eq!(config["openshift"]["url"], "memory:a");
    assert_eq!(config["content_versions"], json!(["v2"]));
    assert!(config.get("worker_token_secrets").is_none());
    assert_eq!((x86.slots.group.as_str(), x86.slots.max), ("worker:a", 2));
}

/// Where a build went: first case column is the configuration, then what is wrong with the clusters.
async fn check_choice(clusters: &[&str], prepare: impl Fn(&MemoryWorkers), expected: Result<&str, &str>) {
    let (a, b) = (ends_well("a"), ends_well("b"));
    let workers = MemoryWorkers::new([("a", a.clone()), ("b", b.clone())]);
    prepare(&workers);
    let (mut test, _) = test_run(&[("x86_64", clusters)], workers).await;
    let ended = orchestrate(&mut test).await;
    let on = |cluster: &'static str| if cluster == "a" { &a } else { &b };
    match (ended, expected) {
        (Ok(result), Ok(name)) => {
            assert!(result.image.is_ok(), "{:?}", result.image);
            assert_eq!(test.run.workers["x86_64"].cluster_name, name);
            assert_eq!(builds_on(on(if name == "a" { "a" } else { "b" })).await.len(), 1);
        }
        (Ok(result), Err(part)) => {
            let text = reasons(&result).to_string();
            assert!(text.contains(part), "{text}");
        }
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
        (Err(error), Ok(_)) => panic!("{error}"),
    }
}

fn refusal(kind: ErrorKind) -> Failure {
    Failure::message(kind, "no")
}

#[tokio::test]
async fn cluster_choice() {
    // Equal loads: configuration order.
    check_choice(&["a", "b"], |_| {}, Ok("a")).await;
    check_choice(&["b", "a"], |_| {}, Ok("b")).await;
    check_choice(&["-a", "b"], |_| {}, Ok("b")).await;
    check_choice(&["-a", "-b"], |_| {}, Err("no enabled cluster")).await;
    check_choice(&[], |_| {}, Err("no enabled cluster")).await;
    // One unreachable: the other; all unreachable for a while: waits.
    let unreachable = |name: &'static str, times| {
        move |workers: &MemoryWorkers| {
            workers.unreachable.lock().unwrap().insert(name.to_owned(), times);
        }
    };
    check_choice(&["a", "b"], unreachable("a", 1), Ok("b")).await;
    check_choice(&["a"], unreachable("a", 3), Ok("a")).await;
    // Dead after 20 failures.
    check_choice(&["a"], unreachable("a", 19), Ok("a")).await;
    check_choice(&["a"], unreachable("a", 20), Err("could not find an appropriate cluster")).await;
    check_choice(&["a", "nowhere"], unreachable("a", 20), Err("does not answer")).await;
    // Creation refused: the next by load, later again; other errors end the platform.
    let refuses = |name: &'static str, kind: ErrorKind, times: usize| {
        move |workers: &MemoryWorkers| workers.refuse(name, move |n| (n < times).then(|| refusal(kind)))
    };
    check_choice(&["a", "b"], refuses("a", ErrorKind::Remote, 9), Ok("b")).await;
    check_choice(&["a"], refuses("a", ErrorKind::Resource, 3), Ok("a")).await;
    check_choice(&["a"], refuses("a", ErrorKind::Remote, 20), Err("could not find an appropriate cluster")).await;
    check_choice(&["a", "b"], refuses("a", ErrorKind::User, 1), Err("build not started")).await;
}

#[tokio::test]
async fn the_least_load_wins_and_waiting_time_is_kept() {
    let a = MemoryCluster::new("a", |_| Script::holds());
    let b = ends_well("b");
    let workers = MemoryWorkers::new([("a", a.clone()), ("b", b.clone())]);
    let (mut test, workers) = test_run(&[("x86_64", &["a", "b"])], workers).await;
    let mut busy = osbs_cluster::NewBuild::new(
        osbs_cluster::NameRule::Exact("busy".parse().unwrap()),
        osbs_types::BuildType::Worker,
        osbs_cluster::GitSource { uri: "u".to_owned(), git_ref: "r".to_owned() },
        "i:1",
    );
    busy.slots = Some(osbs_cluster::Slots { group: "worker:a".to_owned(), max: 2 });
    a.create_build(busy).await.unwrap();
    orchestrate(&mut test).await.unwrap();
    assert_eq!(test.run.workers["x86_64"].cluster_name, "b");
    assert_eq!(*workers.asked.lock().unwrap(), ["a", "b"]);

    // 3 failures with 20 ms in between.
    workers.unreachable.lock().unwrap().extend([("a".to_owned(), 3), ("b".to_owned(), 3)]);
    let begun = Instant::now();
    orchestrate(&mut test).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(60), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_cluster_without_capacity_takes_nothing() {
    let (mut test, _) = test_run(&[("x86_64", &["a"])], MemoryWorkers::new([("a", ends_well("a"))])).await;
    let config = json!({"version": 1, "clusters": {"x86_64": [{"name": "a", "max_concurrent_builds": 0}]}});
    test.run.config = Arc::new(ReactorConfig::from_json(&config, "c").unwrap().value);
    let error = orchestrate(&mut test).await.unwrap_err();
    assert_eq!(error.into_failure().kind, ErrorKind::Policy);
}

#[tokio::test]
async fn one_platform_without_cluster_stops_all_before_the_start() {
    let a = ends_well("a");
    let (mut test, _) = test_run(&[("x86_64", &["a"]), ("s390x", &[])], MemoryWorkers::new([("a", a.clone())])).await;
    let error = orchestrate(&mut test).await.unwrap_err().to_string();
    assert!(error.contains("s390x") && !error.contains("x86_64"), "{error}");
    assert!(builds_on(&a).await.is_empty(), "M21");
}

#[tokio::test]
async fn a_failed_worker_does_not_stop_the_others() {
    let position = Position { file: "Dockerfile".to_owned(), line: 2, column: None };
    let failure = Failure::message(ErrorKind::User, "RUN make: exit code 2").at(position.clone());
    let cluster = MemoryCluster::new("a", move |build| {
        if build.platform.as_ref().is_some_and(|platform| platform.as_str() == "aarch64") {
            let errors = json!({"errors": {"docker_api": "RUN make: exit code 2"}}).to_string();
            let repositories = json!({"unique": ["r/web:b"], "primary": [], "floating": ["r/web:f"]}).to_string();
            let patch = BuildPatch::default()
                .annotation("plugins-metadata", errors)
                .annotation("repositories", repositories)
                .annotation("metadata_fragment", "configmap/x")
                .annotation("metadata_fragment_key", "metadata.json");
            Script { failure: Some(failure.clone()), ..Script::ends(BuildState::Failed).with_patch(patch) }
        } else {
            let repositories = json!({"unique": ["r/web:a"]}).to_string();
            Script::ends(BuildState::Complete)
                .with_patch(BuildPatch::default().annotation("repositories", repositories))
        }
    });
    let workers = MemoryWorkers::new([("a", cluster)]);
    let (mut test, _) = test_run(&[("x86_64", &["a"]), ("aarch64", &["a"])], workers).await;
    let result = orchestrate(&mut test).await.unwrap();
    assert_eq!(reasons(&result), json!({"aarch64": {"docker_api": "RUN make: exit code 2"}}));
    let told = &result.image.as_ref().unwrap_err().failure;
    assert_eq!((told.kind, told.message.as_str()), (ErrorKind::User, "RUN make: exit code 2"));
    assert!(told.step.as_deref().is_some_and(|step| step.ends_with(" on aarch64")), "{:?}", told.step);
    assert_eq!(told.position, Some(position));
    assert_eq!(test.run.workers["x86_64"].build.state, BuildState::Complete);
    let repositories = json!({"unique": ["r/web:a", "r/web:b"], "primary": [], "floating": ["r/web:f"]});
    assert_eq!(result.annotations["repositories"], repositories, "M40");
    assert_eq!(result.annotations["worker-builds"]["aarch64"]["metadata_fragment"], "configmap/x");
    assert!(result.annotations["worker-builds"]["x86_64"].get("metadata_fragment").is_none());
}

#[tokio::test]
async fn a_worker_that_left_no_errors_is_told_by_its_reason() {
    let cluster = MemoryCluster::new("a", |_| Script {
        failure: Some(Failure::message(ErrorKind::Resource, "killed by signal 9")),
        ..Script::ends(BuildState::Error)
    });
    let workers = MemoryWorkers::new([("a", cluster)]);
    let (mut test, _) = test_run(&[("x86_64", &["a"]), ("aarch64", &["a"])], workers).await;
    let result = orchestrate(&mut test).await.unwrap();
    assert_eq!(reasons(&result)["x86_64"], json!({"pod": {"reason": "killed by signal 9"}}));
    let told = &result.image.as_ref().unwrap_err().failure;
    assert_eq!(told.message, "2 of 2 worker builds failed");
    assert!(told.causes[0].starts_with("aarch64: "), "{:?}", told.causes);
    assert_eq!(told.kind, ErrorKind::Resource);
}

fn log(text: &[u8]) -> EventKind {
    EventKind::Log(LogLine::new("atomic_reactor.core", Level::Debug, text))
}

#[tokio::test]
async fn logs_are_relayed_as_they_are() {
    let cluster = MemoryCluster::new("a", |_| {
        Script::ends(BuildState::Complete).with_events([
            log("grüß Gott  ".as_bytes()),
            log(b"one\ntwo platform:x - - "),
            log(b"\xff\xfe"),
            EventKind::PluginStart { phase: Phase::Prebuild, plugin: "squash".to_owned() },
            EventKind::Progress { platform: None, what: "pull".to_owned(), done: 1, total: Some(2) },
            EventKind::Result { platform: None, facts: json!({"rpm_count": 3}) },
            EventKind::Failure(Failure::message(ErrorKind::User, "stays with the worker")),
        ])
    });
    let (mut test, _) = test_run(&[("x86_64", &["a"])], MemoryWorkers::new([("a", cluster)])).await;
    orchestrate(&mut test).await.unwrap();
    let lines: Vec<_> =
        test.log_lines().into_iter().filter(|line| line.message.windows(9).any(|part| part == b"platform:")).collect();
    let ends: [&[u8]; 4] = [
        " platform:- - atomic_reactor.core - DEBUG - grüß Gott".as_bytes(),
        b" platform:- - atomic_reactor.core - DEBUG - one",
        b" platform:- - atomic_reactor.core - DEBUG - two platform:x - -",
        b" platform:- - atomic_reactor.core - DEBUG - \xff\xfe",
    ];
    assert_eq!(lines.len(), ends.len());
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.message.ends_with(end), "{}", line.text());
        assert_eq!((line.platform.as_deref(), line.level), (Some("x86_64"), Level::Info));
    }
    let kinds: Vec<_> = test.sink.events().into_iter().map(|event| event.kind).collect();
    let of = Some("x86_64".to_owned());
    let wanted = [
        EventKind::WorkerStart { platform: "x86_64".into(), cluster: "a".into(), build: "worker-x86-64-0".into() },
        EventKind::Progress { platform: of.clone(), what: "squash".into(), done: 0, total: None },
        EventKind::Progress { platform: of.clone(), what: "pull".into(), done: 1, total: Some(2) },
        EventKind::Result { platform: of, facts: json!({"rpm_count": 3}) },
        EventKind::WorkerEnd {
            platform: "x86_64".into(),
            build: "worker-x86-64-0".into(),
            state: BuildState::Complete,
        },
    ];
    for kind in wanted {
        assert!(kinds.contains(&kind), "{kind:?} is missing");
    }
    assert!(!kinds.iter().any(|kind| matches!(kind, EventKind::Failure(_))), "one failure a stream");
}

/// Runs until `when` is seen to hold, then cancels; gives how long the end took.
async fn cancelled_when(
    test: &mut TestRun,
    when: impl Fn() -> bool + Send + 'static,
) -> (Result<BuildResult, PluginError>, Duration) {
    let cancel = test.cancel.clone();
    let canceller = tokio::spawn(async move {
        let started = Instant::now();
        while !when() {
            assert!(started.elapsed() < Duration::from_secs(20), "what was waited for never came");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        cancel.cancel();
        Instant::now()
    });
    let ended = orchestrate(test).await;
    (ended, canceller.await.unwrap().elapsed())
}

#[tokio::test]
async fn cancelled_while_following() {
    let cluster = MemoryCluster::new("a", |_| Script::holds());
    let workers = MemoryWorkers::new([("a", cluster.clone())]);
    let (mut test, workers) = test_run(&[("x86_64", &["a"]), ("aarch64", &["a"])], workers).await;
    let requests = Arc::clone(&workers.requests);
    let (ended, took) = cancelled_when(&mut test, move || requests.lock().unwrap().len() == 2).await;
    assert_eq!(ended.unwrap_err(), PluginError::Cancelled);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let builds = builds_on(&cluster).await;
    assert!(builds.iter().all(|build| build.state == BuildState::Cancelled), "{builds:?}");
    assert_eq!(test.run.workers.len(), 2, "exit plugins must know what to clean up");
}

#[tokio::test]
async fn cancelled_while_waiting_for_a_cluster() {
    let (mut test, workers) = test_run(&[("x86_64", &["nowhere"])], MemoryWorkers::default()).await;
    let (ended, took) = cancelled_when(&mut test, move || workers.asked.lock().unwrap().len() > 2).await;
    assert_eq!(ended.unwrap_err(), PluginError::Cancelled);
    assert!(took < Duration::from_secs(1), "{took:?}");
}
