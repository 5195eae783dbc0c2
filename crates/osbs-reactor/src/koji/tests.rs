//! Koji plugins against a hub that answers as it likes.

use super::fake_hub::{Answer, FakeHub};
use super::metadata::FileFacts;
use super::{KojiArgs, fragment::BuildFile};
use crate::build_json::{PluginEntry, PluginLists};
use crate::plugin::{Done, PluginError};
use crate::testing::{TestRun, run_with};
use crate::{BuildResult, PluginArgs, plugins};
use osbs_cluster::Cluster;
use osbs_config::ReactorConfig;
use osbs_koji::FaultCode;
use osbs_types::{Digest, ErrorKind, Phase};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const DOCKERFILE: &str = "FROM fedora:40\nLABEL com.redhat.component=web version=7 name=web\n";

fn build(id: i64, state: i64, release: &str) -> Value {
    json!({"id": id, "name": "web", "version": "7", "release": release, "nvr": format!("web-7-{release}"),
           "state": state, "cg_name": "atomic-reactor", "start_ts": 17.5, "extra": {}})
}

/// A run of an orchestrator with this hub.
async fn run_at(hub: &FakeHub, dockerfile: &str) -> TestRun {
    let mut lists = PluginLists::default();
    lists.exit_plugins.push(PluginEntry::new("koji_import"));
    lists.prebuild_plugins.push(PluginEntry::new("bump_release"));
    let mut test = run_with(dockerfile, &[], lists).await;
    test.run.config = Arc::new(ReactorConfig::parse(&hub.config(), "config.yaml").unwrap().value);
    test
}

async fn plugin(test: &mut TestRun, name: &str, phase: Phase, args: Value) -> Result<Value, PluginError> {
    let kind = plugins::all().find(name, phase).unwrap().clone();
    let Value::Object(args) = args else { panic!("arguments are an object") };
    match (kind.make)(PluginArgs(args))?.run(&mut test.run).await? {
        Done::Value(value) => Ok(value),
        Done::Skipped(why) => Ok(json!({ "skipped": why })),
        Done::Built(_) => panic!("no builder"),
    }
}

async fn bump(test: &mut TestRun, args: Value) -> Result<Value, PluginError> {
    plugin(test, "bump_release", Phase::Prebuild, args).await
}

async fn records(test: &TestRun) -> Vec<String> {
    test.cluster.list_config_maps().await.unwrap()
}

/// Builds that a hub has, `(release, state)`; a reservation of any other release is given as build 37.
fn hub_with(builds: &'static [(&str, i64)], next: &'static str) -> FakeHub {
    FakeHub::start(move |method, arguments| match method {
        "getNextRelease" => Answer::Is(json!(next)),
        "getBuild" if arguments[0] == 37 => Answer::Is(build(37, 0, "r")),
        "getBuild" => {
            let release = arguments[0]["release"].as_str().unwrap();
            let found = builds.iter().find(|(known, _)| *known == release);
            Answer::Is(found.map_or(Value::Null, |(release, state)| build(1, *state, release)))
        }
        "CGInitBuild" => Answer::Is(json!({"build_id": 37, "token": "hunter2hunter2"})),
        "CGRefundBuild" => Answer::Is(Value::Null),
        other => panic!("{other} is not expected"),
    })
}

async fn check_release(
    labels: &str,
    append: bool,
    builds: &'static [(&str, i64)],
    next: &'static str,
    expected: Result<&str, &str>,
) {
    let hub = hub_with(builds, next);
    let mut test = run_at(&hub, &format!("{DOCKERFILE}LABEL {labels} x=y\n")).await;
    match (bump(&mut test, json!({ "append": append })).await, expected) {
        (Ok(found), Ok(release)) => {
            assert_eq!(found, release, "{labels}");
            let asked = hub.calls("CGInitBuild");
            assert_eq!(
                asked,
                [vec![json!("atomic-reactor"), json!({"name": "web", "version": "7", "release": release})]]
            );
            assert_eq!(test.run.koji_reservation.as_ref().map(|held| held.build_id), Some(37));
            assert_eq!(records(&test).await, ["test-1-koji-reservation"]);
        }
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
        (found, _) => panic!("{labels}: {found:?}, expected {expected:?}"),
    }
    assert!(!format!("{:?}", test.sink.events()).contains("hunter2"), "no token in the log");
}

#[tokio::test]
async fn releases_of_the_hub() {
    check_release("", false, &[], "1", Ok("1")).await;
    check_release("", false, &[], "3.2.el8", Ok("3.el8")).await;
    // Occupied by a failed build.
    check_release("", false, &[("4", 3)], "4", Ok("5")).await;
    check_release("", false, &[("a", 1)], "a", Err("cannot be counted up")).await;
    check_release("release=4", false, &[], "9", Ok("4")).await;
    check_release("release=4", false, &[("4", 1)], "9", Err("web-7-4 is in Koji already, as build 1 (COMPLETE)")).await;
    check_release("release=4", false, &[("4", 4)], "9", Ok("4")).await;
    check_release("", true, &[("1.1", 1)], "9", Ok("1.2")).await;
    check_release("release=4", true, &[("4.1", 1), ("4.2", 3)], "9", Ok("4.3")).await;
}

#[tokio::test]
async fn a_scratch_build_reserves_nothing() {
    let hub = FakeHub::start(|method, _| panic!("{method} is not expected"));
    let mut test = run_at(&hub, DOCKERFILE).await;
    test.run.build.labels.insert("scratch".to_owned(), "true".to_owned());
    assert_eq!(bump(&mut test, json!({})).await, Ok(json!("test-1")));
}

/// `conflicts`: how often another build is quicker.
async fn check_conflicts(conflicts: usize, labels: &str, ends_well: bool) {
    let count = AtomicUsize::new(0);
    let hub = FakeHub::start(move |method, arguments| match method {
        "getNextRelease" => Answer::Is(json!("1")),
        "getBuild" if arguments[0] == 37 => Answer::Is(build(37, 0, "1")),
        "getBuild" => Answer::Is(Value::Null),
        "CGInitBuild" if count.fetch_add(1, Ordering::SeqCst) < conflicts => {
            Answer::Refused(FaultCode::GenericError, "Build already reserved")
        }
        "CGInitBuild" => Answer::Is(json!({"build_id": 37, "token": "t"})),
        other => panic!("{other} is not expected"),
    });
    let mut test = run_at(&hub, &format!("{DOCKERFILE}LABEL {labels} x=y\n")).await;
    assert_eq!(bump(&mut test, json!({})).await.is_ok(), ends_well, "{conflicts} {labels}");
    assert_eq!(records(&test).await.len(), usize::from(ends_well), "nothing is left of a refusal");
}

#[tokio::test]
async fn another_build_is_quicker() {
    check_conflicts(1, "", true).await;
    check_conflicts(20, "", true).await;
    check_conflicts(21, "", false).await;
    check_conflicts(1, "release=4", false).await;
}

#[tokio::test]
async fn a_hub_that_does_not_know_us_or_reservations() {
    for (code, text, ends_well) in
        [(FaultCode::AuthError, "no CG access", false), (FaultCode::GenericError, "Invalid method: CGInitBuild", true)]
    {
        let hub = FakeHub::start(move |method, _| match method {
            "getNextRelease" => Answer::Is(json!("1")),
            "getBuild" | "getLoggedInUser" => Answer::Is(Value::Null),
            "CGInitBuild" => Answer::Refused(code, text),
            other => panic!("{other} is not expected"),
        });
        let mut test = run_at(&hub, DOCKERFILE).await;
        let ended = bump(&mut test, json!({})).await;
        assert_eq!(ended.is_ok(), ends_well, "{ended:?}");
        if let Err(error) = ended {
            let failure = error.into_failure();
            assert_eq!(failure.kind, ErrorKind::Policy);
            assert!(failure.hint.is_some_and(|hint| hint.contains("grant-cg-access")));
        }
        assert!(records(&test).await.is_empty() && test.run.koji_reservation.is_none());
    }
}

/// The answer to the first reservation gets lost after it was made.
#[tokio::test]
async fn a_reservation_without_an_answer_is_given_back_and_made_anew() {
    let count = AtomicUsize::new(0);
    let now = osbs_types::Timestamp::now().as_second() as f64;
    let hub = FakeHub::start(move |method, arguments| match method {
        "getNextRelease" => Answer::Is(json!("1")),
        "getBuild" if arguments[0] == 37 => Answer::Is(build(37, 0, "1")),
        // Nobody knew it when it was looked for; it is there after the lost answer.
        "getBuild" if count.load(Ordering::SeqCst) == 0 => Answer::Is(Value::Null),
        "getBuild" => {
            let mut found = build(36, 0, "1");
            found["start_ts"] = json!(now);
            Answer::Is(found)
        }
        "CGInitBuild" if count.fetch_add(1, Ordering::SeqCst) == 0 => Answer::Lost,
        "CGInitBuild" => Answer::Is(json!({"build_id": 37, "token": "t"})),
        "cancelBuild" | "osbs.removeUploads" => Answer::Is(json!(true)),
        other => panic!("{other} is not expected"),
    });
    let mut test = run_at(&hub, DOCKERFILE).await;
    assert_eq!(bump(&mut test, json!({})).await, Ok(json!("1")));
    assert_eq!(hub.calls("cancelBuild"), [vec![json!(36)]]);
    assert_eq!(test.run.koji_reservation.as_ref().map(|held| held.build_id), Some(37));
}

/// What a run gives back when it ends, by how it was cancelled.
async fn check_refund(cancelled: bool, refund: Answer, expected_state: i64, cancels: usize, left: usize) {
    let hub = FakeHub::start(move |method, arguments| match method {
        "getNextRelease" => Answer::Is(json!("1")),
        "getBuild" if arguments[0] == 37 => Answer::Is(build(37, 0, "1")),
        "getBuild" => Answer::Is(Value::Null),
        "CGInitBuild" => Answer::Is(json!({"build_id": 37, "token": "hunter2hunter2"})),
        "CGRefundBuild" => refund.clone(),
        "cancelBuild" | "osbs.removeUploads" => Answer::Is(json!(true)),
        other => panic!("{other} is not expected"),
    });
    let mut test = run_at(&hub, DOCKERFILE).await;
    bump(&mut test, json!({})).await.unwrap();
    test.run.cancelled = cancelled;
    super::reservation::give_back(&mut test.run).await;
    let asked = hub.calls("CGRefundBuild");
    let expected =
        vec![json!("atomic-reactor"), json!(37), json!("hunter2hunter2"), json!({ "state": expected_state })];
    assert_eq!(asked, [expected]);
    assert_eq!(hub.calls("cancelBuild").len(), cancels);
    let uploads = test.run.koji_upload_dir.clone().unwrap();
    assert_eq!(hub.calls("osbs.removeUploads"), [vec![json!(uploads)]]);
    assert_eq!(records(&test).await.len(), left);
    // Once is enough.
    super::reservation::give_back(&mut test.run).await;
    assert_eq!(hub.calls("CGRefundBuild").len(), 1);
}

#[tokio::test]
async fn what_was_reserved_is_given_back() {
    check_refund(false, Answer::Is(Value::Null), 3, 0, 0).await;
    check_refund(true, Answer::Is(Value::Null), 4, 0, 0).await;
    // A token that the hub does not know any more: the build itself is cancelled.
    check_refund(false, Answer::Refused(FaultCode::GenericError, "token does not match"), 3, 1, 0).await;
}

/// A build that was killed: its record is found by whoever comes next.
async fn check_left(start_ts: f64, state: i64, cancels: usize) {
    let hub = FakeHub::start(move |method, _| match method {
        "getBuild" => {
            let mut found = build(37, state, "1");
            found["start_ts"] = json!(start_ts);
            Answer::Is(found)
        }
        "cancelBuild" | "osbs.removeUploads" => Answer::Is(json!(true)),
        other => panic!("{other} is not expected"),
    });
    let test = run_at(&hub, DOCKERFILE).await;
    let section = test.run.config.raw()["koji"].clone();
    let record = json!({"name": "web", "version": "7", "release": "1", "asked": 17.0, "build_id": 37, "start_ts": 17.5,
                        "koji": section, "uploads": "koji-upload/1.x"});
    let data = [("reservation.json".to_owned(), record.to_string())].into();
    test.cluster.put_config_map("gone-1-koji-reservation", &data).await.unwrap();
    // That of a build that still runs is not touched.
    test.cluster.put_config_map("test-1-koji-reservation", &data).await.unwrap();
    let cluster: Arc<dyn Cluster> = Arc::new(test.cluster.clone());
    let transport = test.run.services.transport.clone();
    let found = super::give_back_left(&cluster, None, &transport, test.run.log()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].build.as_str(), found[0].nvr.as_str(), &found[0].outcome), ("gone-1", "web-7-1", &Ok(())));
    assert_eq!(hub.calls("cancelBuild").len(), cancels);
    assert_eq!(hub.calls("osbs.removeUploads"), [vec![json!("koji-upload/1.x")]]);
    assert_eq!(records(&test).await, ["test-1-koji-reservation"]);
}

#[tokio::test]
async fn what_a_killed_build_has_left() {
    check_left(17.5, 0, 1).await;
    // Reserved again by somebody else, or imported: not ours any more.
    check_left(99.5, 0, 0).await;
    check_left(17.5, 1, 0).await;
}

/// Metadata as it comes back: what `import` compares.
fn metadata() -> Value {
    json!({"metadata_version": 0, "build": {"name": "web", "version": "7", "release": "1", "source": "git://x#1"},
           "output": [{"type": "docker-image", "filename": "i.tar.gz", "checksum": "ab"}, {"type": "log"}]})
}

/// A hub whose first import ends as `first` says; the build is there from its `there`th look on, with this archive.
fn import_hub(first: Answer, there: usize, checksum: &'static str) -> FakeHub {
    let (imports, looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
    FakeHub::start(move |method, _| match method {
        "CGImport" if imports.fetch_add(1, Ordering::SeqCst) == 0 => first.clone(),
        "CGImport" => Answer::Is(build(38, 1, "1")),
        "getBuild" if looks.fetch_add(1, Ordering::SeqCst) < there => Answer::Is(Value::Null),
        "getBuild" => {
            let mut found = build(37, 1, "1");
            found["source"] = json!("git://x#1");
            Answer::Is(found)
        }
        "listArchives" => Answer::Is(json!([{"id": 1, "build_id": 37, "filename": "i.tar.gz", "checksum": checksum}])),
        other => panic!("{other} is not expected"),
    })
}

async fn check_import(hub: FakeHub, imports: usize, expected: Result<i64, (ErrorKind, &str)>) {
    let mut test = run_at(&hub, DOCKERFILE).await;
    let koji = test.run.needed_koji(&KojiArgs::default()).await.unwrap();
    let found = super::import::import(&mut test.run, &koji, "koji-upload/1.x", &metadata()).await;
    match (found, expected) {
        (Ok(id), Ok(expected)) => assert_eq!(id, expected),
        (Err(error), Err((kind, part))) => {
            let failure = error.into_failure();
            let text = format!("{failure} {:?}", failure.causes);
            assert!(failure.kind == kind && text.contains(part), "{kind} {text}");
        }
        (found, _) => panic!("{found:?}, expected {expected:?}"),
    }
    assert_eq!(hub.calls("CGImport").len(), imports);
    assert_eq!(hub.calls("CGImport")[0][..2], [json!("metadata.json"), json!("koji-upload/1.x")]);
    let sent: Value = serde_json::from_slice(&hub.files()["koji-upload/1.x/metadata.json"]).unwrap();
    assert_eq!(sent, metadata());
}

#[tokio::test]
async fn imports() {
    check_import(import_hub(Answer::Is(build(37, 1, "1")), 0, "ab"), 1, Ok(37)).await;
    // Old hubs answer nothing.
    check_import(import_hub(Answer::Is(Value::Null), 0, "ab"), 1, Ok(37)).await;
    // Done, and its answer lost: found, not done twice.
    check_import(import_hub(Answer::Lost, 0, "ab"), 1, Ok(37)).await;
    check_import(import_hub(Answer::Lost, 3, "ab"), 1, Ok(37)).await;
    // Not done: asked for again.
    check_import(import_hub(Answer::Lost, usize::MAX, "ab"), 2, Ok(38)).await;
    // Somebody else's build of that name.
    check_import(import_hub(Answer::Lost, 0, "cd"), 1, Err((ErrorKind::User, "that is not this one"))).await;
    let refused = Answer::Refused(FaultCode::GenericError, "checksum mismatch for i.tar.gz");
    check_import(import_hub(refused, 0, "ab"), 1, Err((ErrorKind::Remote, "checksum mismatch"))).await;
    let policy = Answer::Refused(FaultCode::ActionNotAllowed, "policy violation (cg_import)");
    check_import(import_hub(policy, 0, "ab"), 1, Err((ErrorKind::Policy, "policy violation"))).await;
}

#[tokio::test]
async fn files_that_are_there_are_not_sent_again() {
    let hub = FakeHub::start(|method, _| panic!("{method} is not expected"));
    let test = run_at(&hub, DOCKERFILE).await;
    let koji = test.run.needed_koji(&KojiArgs::default()).await.unwrap();
    let path = test.folder.path().join("archive");
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    let facts = FileFacts { filename: "a.tar.gz".into(), size: 100_000, md5: String::new() };
    let file = BuildFile { path: path.clone(), facts };
    super::upload::upload(&test.run, &koji, &file, "d/1").await.unwrap();
    assert_eq!(hub.files()["d/1/a.tar.gz"], vec![7; 100_000]);
    super::upload::upload(&test.run, &koji, &file, "d/1").await.unwrap();
    // A file that has changed since it was measured would make the metadata a lie.
    std::fs::write(&path, b"short").unwrap();
    let error = super::upload::upload(&test.run, &koji, &file, "d/2").await.unwrap_err().to_string();
    assert!(error.contains("had 100000 bytes and has 5"), "{error}");
}

/// Tagging: states of the task in the order of the looks.
async fn check_tag(states: &'static [i64], tag_build: Answer, expected: Result<&str, &str>) {
    let looks = AtomicUsize::new(0);
    let hub = FakeHub::start(move |method, arguments| match method {
        "getBuildTarget" if arguments[0] == "f40" => Answer::Is(json!({"id": 1, "name": "f40", "build_tag": 2,
            "build_tag_name": "f40-build", "dest_tag": 3, "dest_tag_name": "f40-dest"})),
        "getBuildTarget" => Answer::Is(Value::Null),
        "tagBuild" => tag_build.clone(),
        "getTaskInfo" => {
            let look = looks.fetch_add(1, Ordering::SeqCst).min(states.len() - 1);
            Answer::Is(json!({"id": 9, "method": "tagBuild", "state": states[look], "arch": "noarch"}))
        }
        "getTaskResult" => Answer::Is(json!({"faultCode": 1003, "faultString": "package not in list"})),
        "listTags" => Answer::Is(json!([{"id": 3, "name": "f40-dest"}])),
        other => panic!("{other} is not expected"),
    });
    let mut test = run_at(&hub, DOCKERFILE).await;
    test.run.build_result = Some(BuildResult::local(Digest::from_sha256(&[1; 32])));
    test.run.records.results.entry(Phase::Exit).or_default().insert("koji_import".into(), Ok(json!(37)));
    let args = json!({"target": "f40", "poll_interval": 0.01, "poll_timeout": 0.5});
    match (plugin(&mut test, "koji_tag_build", Phase::Exit, args).await, expected) {
        (Ok(found), Ok(tag)) => assert_eq!(found, tag),
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
        (found, _) => panic!("{found:?}, expected {expected:?}"),
    }
    assert_eq!(hub.calls("tagBuild"), [vec![json!("f40-dest"), json!(37)]]);
}

#[tokio::test]
async fn tagging() {
    let task = Answer::Is(json!(9));
    check_tag(&[0, 4, 1, 2], task.clone(), Ok("f40-dest")).await;
    check_tag(&[1, 5], task.clone(), Err("package not in list")).await;
    check_tag(&[3], task.clone(), Err("cancelled")).await;
    check_tag(&[1], task, Err("has not ended")).await;
    let refused = Answer::Refused(FaultCode::TagError, "package web not in list for f40-dest");
    check_tag(&[2], refused, Err("not in list")).await;
    check_tag(&[2], Answer::Lost, Ok("f40-dest")).await;
}

#[tokio::test]
async fn failed_builds_and_requests_without_a_target_are_not_tagged() {
    let hub = FakeHub::start(|method, _| panic!("{method} is not expected"));
    let mut test = run_at(&hub, DOCKERFILE).await;
    let skipped = |value: &Value| value.get("skipped").is_some();
    for name in ["koji_tag_build", "koji_import", "koji_promote"] {
        assert!(skipped(&plugin(&mut test, name, Phase::Exit, json!({"target": "f40"})).await.unwrap()), "{name}");
    }
    test.run.build_result = Some(BuildResult::local(Digest::from_sha256(&[1; 32])));
    test.run.records.results.entry(Phase::Exit).or_default().insert("koji_import".into(), Ok(json!(37)));
    assert!(skipped(&plugin(&mut test, "koji_tag_build", Phase::Exit, json!({})).await.unwrap()));
}

#[tokio::test]
async fn a_repository_of_the_build_tag() {
    for (repo, queued) in [(json!({"id": 7, "state": 1}), 1), (Value::Null, 0)] {
        let hub = FakeHub::start(move |method, _| match method {
            "getBuildTarget" => Answer::Is(json!({"id": 1, "name": "f40", "build_tag": 2,
                "build_tag_name": "f40-build", "dest_tag": 3, "dest_tag_name": "f40-dest"})),
            "getRepo" => Answer::Is(repo.clone()),
            other => panic!("{other} is not expected"),
        });
        let mut test = run_at(&hub, DOCKERFILE).await;
        plugin(&mut test, "koji", Phase::Prebuild, json!({"target": "f40"})).await.unwrap();
        assert_eq!(test.run.files.len(), queued);
        if let Some(text) = test.run.files.values().next() {
            assert!(text.contains(&format!("baseurl={}/kojifiles/repos/f40-build/7/$basearch\n", hub.url)), "{text}");
        }
    }
}

/// A hub that is not there, and configurations that cannot be used.
#[tokio::test]
async fn what_can_be_wrong_with_the_configuration() {
    let koji =
        |auth: &str| format!("version: 1\nkoji: {{hub_url: 'http://k.io', root_url: 'http://k.io', auth: {auth}}}\n");
    let empty = tempfile::tempdir().unwrap();
    let certs = format!("{{ssl_certs_dir: '{}'}}", empty.path().display());
    for (config, part) in [
        (koji(&certs), "no certificate"),
        (koji("{username: u, password_path: /nonexistent}"), "/nonexistent"),
        (koji("{krb_principal: p, krb_keytab_path: k}"), "Kerberos"),
        (koji("{}").replace("http://k.io", "ftp://k.io"), "no URL of Koji"),
    ] {
        let mut test = run_with(DOCKERFILE, &[], PluginLists::default()).await;
        test.run.config = Arc::new(ReactorConfig::parse(&config, "config.yaml").unwrap().value);
        let error = test.run.koji(&KojiArgs::default()).await.unwrap_err().into_failure();
        let text = format!("{error} {:?}", error.causes);
        assert!(error.kind == ErrorKind::Policy && text.contains(part), "{text}");
    }
    let test = run_with(DOCKERFILE, &[], PluginLists::default()).await;
    assert!(test.run.koji(&KojiArgs::default()).await.unwrap().is_none());
    let half = KojiArgs { hub: Some("http://k.io".into()), principal: Some("p".into()), ..KojiArgs::default() };
    assert!(test.run.koji(&half).await.unwrap_err().to_string().contains("go together"));
}

#[test]
fn arguments_of_all_arrangements() {
    for (args, hub) in [
        (json!({"koji_hub": "h", "koji_ssl_certs_dir": "c"}), Some("h")),
        (json!({"hub": "h", "koji_ssl_certs": "c"}), Some("h")),
        (json!({"kojihub": "h", "koji_ssl_certs_dir": "c"}), Some("h")),
        (json!({"koji_ssl_certs_dir": "c"}), None),
    ] {
        let read: KojiArgs = serde_json::from_value(args).unwrap();
        assert_eq!((read.hub.as_deref(), read.ssl_certs.as_deref()), (hub, Some("c")));
    }
}
