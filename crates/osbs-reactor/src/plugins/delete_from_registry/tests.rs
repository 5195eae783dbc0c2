//! What is deleted and when, without a registry; the deleting itself is shown with a real one in `osbs/tests/registries.rs`.

use super::*;
use crate::BuildResult;
use crate::build_json::{PluginEntry, PluginLists};
use crate::testing::{TestRun, run_without_source};
use osbs_types::ErrorKind;

fn digest(byte: u8) -> Digest {
    Digest::from_sha256(&[byte; 32])
}

async fn run_in(postbuild: &[&str], exit: &[&str]) -> TestRun {
    let mut lists = PluginLists::default();
    lists.postbuild_plugins.extend(postbuild.iter().map(|name| PluginEntry::new(name)));
    lists.exit_plugins.extend(exit.iter().map(|name| PluginEntry::new(name)));
    let mut test = run_without_source(lists).await;
    test.run.build_result = Some(BuildResult::local(digest(9)));
    test
}

fn ended(test: &mut TestRun, phase: Phase, plugin: &str, result: Value) {
    test.run.records.results.entry(phase).or_default().insert(plugin.to_owned(), Ok(result));
}

#[tokio::test]
async fn nothing_goes_before_pulp_has_it() {
    let mut test = run_in(&["pulp_sync"], &["pulp_publish", "delete_from_registry"]).await;
    ended(&mut test, Phase::Postbuild, "pulp_sync", json!(["x"]));
    assert!(keep(&test.run).unwrap().contains("has not published"), "synced, but not published");
    ended(&mut test, Phase::Exit, "pulp_publish", json!(["x"]));
    assert_eq!(keep(&test.run), None);

    // Arrangements 1 to 3: the sync publishes.
    let mut test = run_in(&["pulp_sync"], &["delete_from_registry"]).await;
    assert!(keep(&test.run).is_some());
    ended(&mut test, Phase::Postbuild, "pulp_sync", Value::Null);
    assert!(keep(&test.run).is_some(), "skipped is not published");
    ended(&mut test, Phase::Postbuild, "pulp_sync", json!(["x"]));
    assert_eq!(keep(&test.run), None);

    // No Pulp: nobody else has the image.
    assert!(keep(&run_in(&[], &["delete_from_registry"]).await.run).is_some());
}

#[tokio::test]
async fn failed_builds_are_cleaned_up_unless_pulp_failed() {
    let mut test = run_in(&["pulp_sync"], &["pulp_publish", "delete_from_registry"]).await;
    test.run.records.errors.insert("compare_components".to_owned(), "differ".into());
    assert_eq!(keep(&test.run), None);
    test.run.records.errors.insert("pulp_sync".to_owned(), "task failed".into());
    assert!(keep(&test.run).unwrap().contains("pulp_sync failed"));
    let mut test = run_in(&[], &["delete_from_registry"]).await;
    test.run.build_result = None;
    assert_eq!(keep(&test.run), None);
}

#[test]
fn indexes_before_their_members() {
    let mut pushed = PushedRegistry { host: "r.io:5000".to_owned(), ..PushedRegistry::default() };
    let versions = |version: &str, byte| BTreeMap::from([(version.to_owned(), digest(byte))]);
    pushed.digests.insert("ns/web:a".to_owned(), versions("oci", 1));
    pushed
        .digests
        .insert("ns/web:b".to_owned(), [("oci".to_owned(), digest(2)), ("oci_index".to_owned(), digest(3))].into());
    let all = of_run(&pushed);
    assert_eq!(
        all.iter().map(|ours| (ours.tag.as_str(), ours.is_index)).collect::<Vec<_>>(),
        [("a", false), ("b", true)]
    );
    assert_eq!(all[1].digest, digest(3), "what a client gets");
}

#[track_caller]
fn check_of_worker(annotation: &Value, expected: usize) {
    let annotations = BTreeMap::from([("digests".to_owned(), annotation.to_string())]);
    assert_eq!(of_worker(&annotations, "r.io:5000").len(), expected, "{annotation}");
}

#[test]
fn what_workers_recorded() {
    let entry = |registry: &str| json!({"registry": registry, "repository": "ns/web", "tag": "u", "digest": digest(1), "version": "oci"});
    check_of_worker(&json!([entry("r.io:5000"), entry("r.io"), entry("https://r.io:5000/v2")]), 2);
    check_of_worker(&json!([{"registry": "r.io:5000"}, entry("r.io:5000")]), 1);
    check_of_worker(&json!({}), 0);
    assert!(of_worker(&BTreeMap::new(), "r.io").is_empty());
}

#[tokio::test]
async fn never_in_the_registry_of_the_parents() {
    let mut test = run_in(&[], &["delete_from_registry"]).await;
    test.run.build_result = None;
    let text = "version: 1\nregistries: [{url: r.io}, {url: other.io}]\nsource_registry: {url: r.io}\n";
    test.run.config = std::sync::Arc::new(osbs_config::ReactorConfig::parse(text, "config.yaml").unwrap().value);
    let done = test.plugin(&plugin(), json!({})).await;
    assert_eq!(done, Ok(Done::Value(json!([]))), "the first registry is Pulp's source, and the source of parents");
    let bad = test.plugin(&plugin(), json!({"registries": ["r.io"]})).await.unwrap_err().into_failure();
    assert_eq!(bad.kind, ErrorKind::User, "{bad}");
}
