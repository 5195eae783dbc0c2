//! Cases of `sendmail` that need no server: a real one takes its mail in `crates/osbs/tests/mail.rs`.

use super::*;
use crate::build_json::PluginLists;
use crate::plugin::BuildResult;
use crate::run::TagClass;
use crate::testing::{TestRun, run_with};
use osbs_cluster::{BuildPatch, Cluster, GitSource, MemoryCluster, NameRule, NewBuild, Script};
use osbs_types::{BuildState, BuildType, Digest, ErrorKind, EventKind, Failure, Level, LogLine};
use std::sync::Arc;

const SERVER: &str = "127.0.0.1:9";

async fn built() -> TestRun {
    let mut test = run_with("FROM scratch\nLABEL name=ns/web\n", &[], PluginLists::default()).await;
    test.run.build_result = Some(BuildResult::local(Digest::from_sha256(&[7; 32])));
    test
}

async fn check_skipped(test: &mut TestRun, args: Value, part: &str) {
    match test.plugin(&plugin(), args.clone()).await {
        Ok(Done::Skipped(why)) => assert!(why.contains(part), "{args}: {why}"),
        other => panic!("{args}: {other:?}"),
    }
}

#[tokio::test]
async fn nothing_to_send() {
    let mut test = built().await;
    let server = json!({"smtp_host": SERVER, "from_address": "o@example.org"});
    check_skipped(&mut test, json!({}), "no mail server").await;
    check_skipped(&mut test, json!({"smtp_host": SERVER}), "no mail server").await;
    check_skipped(&mut test, json!({"send_on": ["manual_fail", "auto_success"]}), "nobody wants").await;
    check_skipped(&mut test, server.clone(), "nobody to be told").await;
    let mut nobody = server.clone();
    nobody["additional_addresses"] = json!(["a", "b@c"]);
    check_skipped(&mut test, nobody, "nobody to be told").await;
    let error = test.plugin(&plugin(), json!({"send_on": ["always"]})).await.unwrap_err();
    assert!(error.to_string().contains("\"always\" is none of"), "{error}");
}

#[tokio::test]
async fn a_wrong_sender_and_a_missing_password_are_told() {
    let mut test = built().await;
    let args = json!({"smtp_host": SERVER, "from_address": "osbs", "additional_addresses": ["al@example.org"]});
    let error = test.plugin(&plugin(), args).await.unwrap_err().to_string();
    assert!(error.contains("from_address \"osbs\" is no mail address"), "{error}");
    let config = "version: 1\nsmtp: {host: h, from_address: o@example.org, additional_addresses: [al@example.org], \
                  tls: starttls, auth: {username: u, password_path: /nowhere/at/all}}\n";
    test.run.config = Arc::new(osbs_config::ReactorConfig::parse(config, "c").unwrap().value);
    let error = test.plugin(&plugin(), json!({})).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/at/all"), "{error}");
}

#[tokio::test]
async fn what_is_known_when_nothing_was_stored() {
    let mut test = built().await;
    let run = &mut test.run;
    run.tags.add(TagClass::Unique, "ns/web:u".parse().unwrap());
    let digest = Digest::from_sha256(&[1; 32]);
    let record = run.pushed_registry("r.io");
    record.digests.entry("ns/web:u".to_owned()).or_default().insert("oci".to_owned(), digest);
    assert_eq!(repositories(run), ["r.io/ns/web:u"], "M34");
    let stored =
        json!({"unique": ["r.io/ns/other:u"], "primary": ["r.io/ns/other:1-1"], "floating": ["r.io/ns/other:l"]});
    let result = json!({"annotations": {"repositories": stored.to_string()}});
    run.records.results.entry(Phase::Exit).or_default().insert("store_metadata_in_osv3".to_owned(), Ok(result));
    let listed = repositories(run);
    assert_eq!(listed, ["r.io/ns/other:u", "r.io/ns/other:1-1", "r.io/ns/other:l"]);
    assert_eq!(image_name(run, &listed), "ns/other");
    assert_eq!(image_name(run, &[]), "ns/web", "label name");
    run.source_tree = None;
    assert_eq!(image_name(run, &[]), run.request.image, "all that is known");
    assert_eq!(logs(run, None), "osbs build-logs test-1");
    assert_eq!(logs(run, Some("https://l/{namespace}/{build}.txt")), "https://l/osbs/test-1.txt");
}

#[tokio::test]
async fn how_it_ended() {
    let mut test = built().await;
    let run = &mut test.run;
    assert_eq!(ended(run), Ended::default());
    run.records.results.entry(Phase::Prebuild).or_default().insert("check_and_set_rebuild".to_owned(), Ok(json!(true)));
    assert!(ended(run).autorebuild);
    // Cancelled between two plugins: no plugin's error is recorded.
    run.cancelled = true;
    run.records.failure = Some(Failure::message(ErrorKind::Cancelled, "the build was cancelled"));
    assert_eq!(ended(run), Ended { autorebuild: true, failed: true, cancelled: true });
}

#[tokio::test]
async fn logs_of_a_failed_autorebuild() {
    let line = |platform: Option<&str>, text: &str| {
        let mut line = LogLine::new("atomic_reactor.core", Level::Info, text);
        line.platform = platform.map(str::to_owned);
        EventKind::Log(line)
    };
    let worker = "2024-01-02 03:04:05,678 platform:- - atomic_reactor.core - INFO - grüß Gott";
    let events = [line(None, "own"), line(Some("x86_64"), worker), line(Some("x86_64"), "more")];
    let cluster = MemoryCluster::new("osbs", move |_| {
        Script::ends(BuildState::Failed).with_events(events.clone()).with_patch(BuildPatch::default())
    });
    let source = GitSource { uri: "u".to_owned(), git_ref: "r".to_owned() };
    let name = NameRule::Exact("test-1".parse().unwrap());
    let made = cluster.create_build(NewBuild::new(name, BuildType::Orchestrator, source, "i:1")).await.unwrap();
    cluster.wait_build(&made.name, osbs_cluster::WaitFor::Finished).await.unwrap();
    let mut test = built().await;
    test.run.services.cluster = Arc::new(cluster);
    let files = log_files(&test.run).await;
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["orchestrator.log", "x86_64.log"]);
    let text = |index: usize| String::from_utf8(files[index].content.clone()).unwrap();
    assert!(text(0).ends_with(" platform:- - atomic_reactor.core - INFO - own\n"), "{}", text(0));
    assert_eq!(text(1), "2024-01-02 03:04:05,678 - atomic_reactor.core - INFO - grüß Gott\nmore\n");
}
