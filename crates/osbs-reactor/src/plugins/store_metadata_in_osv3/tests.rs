//! Every annotation and label of `reactor.md` 3.5.7, for builds that ended in every way.

use super::*;
use crate::BuildResult;
use crate::build_json::PluginLists;
use crate::testing::{run_with, run_without_source};
use osbs_cluster::Cluster;
use osbs_types::{Digest, ErrorKind, Failure};

fn json_of(build: &osbs_cluster::Build, name: &str) -> Value {
    serde_json::from_str(&build.annotations[name]).unwrap()
}

#[tokio::test]
async fn a_build_that_got_nowhere_is_stored_too() {
    let mut test = run_without_source(PluginLists::default()).await;
    test.run.records.errors.insert("source".to_owned(), "no such branch".into());
    test.plugin(&plugin(), json!({})).await.unwrap();
    let build = test.cluster.get_build(&test.run.build.name).await.unwrap();
    assert_eq!(build.annotations["dockerfile"], "");
    assert_eq!(build.annotations["commit_id"], "");
    assert_eq!(json_of(&build, "plugins-metadata")["errors"]["source"], "no such branch");
    assert_eq!(json_of(&build, "repositories"), json!({"primary": [], "unique": [], "floating": []}));
    assert!(build.labels.is_empty());
}

#[tokio::test]
async fn names_digests_and_the_builders_annotations() {
    let mut test = run_with("FROM fedora\nFROM scratch\n", &[], PluginLists::default()).await;
    let run = &mut test.run;
    let digest = Digest::from_sha256(&[1; 32]);
    run.tags.add(TagClass::Unique, "ns/web:u".parse().unwrap());
    run.tags.add(TagClass::Primary, "ns/web:1-1".parse().unwrap());
    let record = run.pushed_registry("r.io");
    record.digests.entry("ns/web:u".to_owned()).or_default().insert("oci".to_owned(), digest.clone());
    let mut result = BuildResult::failed(Failure::message(ErrorKind::User, "no"));
    result.annotations.insert("worker-builds".to_owned(), json!({"x86_64": {}}));
    result.annotations.insert("repositories".to_owned(), json!({"unique": ["theirs"]}));
    result.labels.insert("koji-build-id".to_owned(), "12".to_owned());
    run.build_result = Some(result);
    test.plugin(&plugin(), json!({})).await.unwrap();
    let build = test.cluster.get_build(&test.run.build.name).await.unwrap();
    assert_eq!(json_of(&build, "repositories"), json!({"unique": ["theirs"]}));
    assert_eq!(json_of(&build, "worker-builds"), json!({"x86_64": {}}));
    let entry = json!({"registry": "r.io", "repository": "ns/web", "tag": "u", "digest": digest, "version": "oci"});
    assert_eq!(json_of(&build, "digests"), json!([entry]));
    assert_eq!(json_of(&build, "parent_images"), json!({"fedora:latest": null, "scratch": "scratch"}));
    assert_eq!(build.annotations["base-image-name"], "");
    assert_eq!(build.labels["koji-build-id"], "12");

    test.run.records.results.entry(Phase::Postbuild).or_default().insert("group_manifests".to_owned(), Ok(json!({})));
    test.plugin(&plugin(), json!({})).await.unwrap();
    let build = test.cluster.get_build(&test.run.build.name).await.unwrap();
    // Only what was really pushed.
    let own = json!({"primary": [], "unique": ["r.io/ns/web:u"], "floating": []});
    assert_eq!(json_of(&build, "repositories"), own, "M12: the orchestrator's own names");
}

type Prepare = fn(&mut Run);

/// What leads to one annotation or label, its name, and its value as text or JSON.
struct Case {
    what: &'static str,
    prepare: Prepare,
    name: &'static str,
    expected: Option<Value>,
}

fn result(run: &mut Run, phase: Phase, plugin: &str, value: Value) {
    run.records.results.entry(phase).or_default().insert(plugin.to_owned(), Ok(value));
}

fn tolerated(run: &mut Run, phase: Phase, plugin: &str) {
    let failure = Failure::message(ErrorKind::Remote, "gone wrong");
    run.records.results.entry(phase).or_default().insert(plugin.to_owned(), Err(failure));
}

fn digest(number: u8) -> Digest {
    Digest::from_sha256(&[number; 32])
}

/// Pushed as `v2` and `oci` to one registry, under one name of each class; `latest` not yet.
fn pushed(run: &mut Run) {
    for (class, name) in [
        (TagClass::Unique, "ns/web:u"),
        (TagClass::Primary, "ns/web:1-1"),
        (TagClass::Floating, "ns/web:1"),
        (TagClass::Floating, "ns/web:latest"),
    ] {
        run.tags.add(class, name.parse().unwrap());
    }
    let record = run.pushed_registry("r.io");
    for name in ["ns/web:u", "ns/web:1-1", "ns/web:1"] {
        let versions = record.digests.entry(name.to_owned()).or_default();
        versions.extend([("v2".to_owned(), digest(2)), ("oci".to_owned(), digest(3))]);
    }
}

fn exported(run: &mut Run) {
    run.exported_images.push(crate::run::ExportedImage {
        path: "/work/x.y/compressed.tar.gz".into(),
        image_type: crate::run::ExportType::DockerArchive,
        size: Some(12),
        md5sum: Some("aa".to_owned()),
        sha256sum: Some("bb".to_owned()),
        uncompressed_size: None,
        uncompressed_sha256sum: None,
        ref_name: None,
    });
}

fn built_with(run: &mut Run, name: &str, value: Value, label: Option<&str>) {
    let mut result = BuildResult::remote();
    result.annotations.insert(name.to_owned(), value);
    result.labels.extend(label.map(|id| ("koji-build-id".to_owned(), id.to_owned())));
    run.build_result = Some(result);
}

const NO_NAMES: [(&str, [&str; 0]); 3] = [("primary", []), ("unique", []), ("floating", [])];

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let case = |what, prepare: Prepare, name, expected: Value| Case { what, prepare, name, expected: Some(expected) };
    let absent = |what, prepare: Prepare, name| Case { what, prepare, name, expected: None };
    let none = || Value::Object(NO_NAMES.iter().map(|(class, names)| ((*class).to_owned(), json!(names))).collect());
    vec![
        case("as edited", |_| {}, "dockerfile", json!("FROM r.io/p:1 AS b\nFROM scratch\nADD https://***@h/x /\n")),
        case("no source", |run| run.source_tree = None, "dockerfile", json!("")),
        case("nothing pushed", |_| {}, "repositories", none()),
        case("only what was pushed", pushed, "repositories",
            json!({"primary": ["r.io/ns/web:1-1"], "unique": ["r.io/ns/web:u"], "floating": ["r.io/ns/web:1"]})),
        case("workers' names replace", |run| { pushed(run); built_with(run, "repositories", json!({"unique": ["w"]}), None); },
            "repositories", json!({"unique": ["w"]})),
        case("final names of the orchestrator stay", |run| {
                pushed(run);
                built_with(run, "repositories", json!({"unique": ["w"]}), None);
                result(run, Phase::Postbuild, "group_manifests", json!({}));
            }, "repositories",
            json!({"primary": ["r.io/ns/web:1-1"], "unique": ["r.io/ns/web:u"], "floating": ["r.io/ns/web:1"]})),
        case("no git", |_| {}, "commit_id", json!("")),
        case("not inspected", |_| {}, "base-image-id", json!("")),
        case("inspected", |run| run.parents.base_inspect =
                Some(crate::run::ParentInspect { image_id: Some(digest(5)), ..crate::run::ParentInspect::default() }),
            "base-image-id", json!(digest(5))),
        case("scratch", |_| {}, "base-image-name", json!("")),
        case("as in the Dockerfile", |run| run.parents.original_base_image = Some("p:1".to_owned()),
            "base-image-name", json!("p:1")),
        case("not built", |_| {}, "image-id", json!("")),
        case("built here", |run| run.build_result = Some(BuildResult::local(digest(6))), "image-id", json!(digest(6))),
        case("built elsewhere", |run| run.build_result = Some(BuildResult::remote()), "image-id", json!("")),
        case("nothing pushed", |_| {}, "digests", json!([])),
        case("one a name and version", |run| {
                run.pushed_registry("r.io").digests.entry("ns/web:u".to_owned()).or_default()
                    .extend([("v2".to_owned(), digest(2)), ("oci".to_owned(), digest(3))]);
            }, "digests", json!([
                {"registry": "r.io", "repository": "ns/web", "tag": "u", "digest": digest(3), "version": "oci"},
                {"registry": "r.io", "repository": "ns/web", "tag": "u", "digest": digest(2), "version": "v2"}])),
        case("with scratch", |run| { run.parents.images.insert("r.io/p:1".to_owned(), Some("r.io/p@x".to_owned())); },
            "parent_images", json!({"r.io/p:1": "r.io/p@x", "scratch": "scratch"})),
        case("nothing yet", |_| {}, "plugins-metadata", json!({"errors": {}, "timestamps": {}, "durations": {}})),
        case("what failed", |run| {
                run.records.errors.insert("squash".to_owned(), "gone".into());
                run.records.timestamps.insert("squash".to_owned(), "2024-01-02T03:04:05Z".into());
                run.records.durations.insert("squash".to_owned(), json!(0.5));
            }, "plugins-metadata",
            json!({"errors": {"squash": "gone"}, "timestamps": {"squash": "2024-01-02T03:04:05Z"}, "durations": {"squash": 0.5}})),
        absent("add_help did not run", |_| {}, "help_file"),
        absent("add_help failed and was tolerated", |run| tolerated(run, Phase::Prebuild, "add_help"), "help_file"),
        case("no help page", |run| result(run, Phase::Prebuild, "add_help", json!({"help_file": null, "status": 1})),
            "help_file", Value::Null),
        case("a help page", |run| result(run, Phase::Prebuild, "add_help", json!({"help_file": "help.md", "status": 2})),
            "help_file", json!("help.md")),
        absent("nobody looked", |_| {}, "media-types"),
        absent("nothing found", |run| result(run, Phase::Exit, "verify_media", json!([])), "media-types"),
        absent("looking was tolerated to fail", |run| tolerated(run, Phase::Exit, "pulp_pull"), "media-types"),
        case("sorted, each once", |run| result(run, Phase::Exit, "verify_media", json!(["b", "a", "b"])), "media-types", json!(["a", "b"])),
        case("pulp_pull first", |run| {
                result(run, Phase::Exit, "verify_media", json!(["a"]));
                result(run, Phase::Exit, "pulp_pull", json!(["p"]));
            }, "media-types", json!(["p"])),
        case("that of postbuild before", |run| {
                result(run, Phase::Exit, "pulp_pull", json!(["p"]));
                result(run, Phase::Postbuild, "pulp_pull", json!(["q"]));
            }, "media-types", json!(["q"])),
        absent("no archive", |_| {}, "tar_metadata"),
        absent("not all is known", |run| { exported(run); run.exported_images[0].md5sum = None; }, "tar_metadata"),
        case("an archive", exported, "tar_metadata",
            json!({"size": 12, "md5sum": "aa", "sha256sum": "bb", "filename": "compressed.tar.gz"})),
        absent("no fragment", |_| {}, "metadata_fragment"),
        case("a fragment", |run| result(run, Phase::Postbuild, "koji_upload", json!({"metadata_fragment": "configmap/x", "metadata_fragment_key": "k"})),
            "metadata_fragment", json!("configmap/x")),
        case("its key", |run| result(run, Phase::Postbuild, "koji_upload", json!({"metadata_fragment": "configmap/x", "metadata_fragment_key": "k"})),
            "metadata_fragment_key", json!("k")),
        case("workers", |run| built_with(run, "worker-builds", json!({"x86_64": {}}), None), "worker-builds", json!({"x86_64": {}})),
        absent("not imported", |_| {}, "label koji-build-id"),
        case("imported", |run| result(run, Phase::Exit, "koji_import", json!(12)), "label koji-build-id", json!("12")),
        case("promoted", |run| result(run, Phase::Exit, "koji_promote", json!("13")), "label koji-build-id", json!("13")),
        absent("a scratch build's import", |run| result(run, Phase::Exit, "koji_import", Value::Null), "label koji-build-id"),
        case("the builder's label wins", |run| {
                result(run, Phase::Exit, "koji_import", json!(12));
                built_with(run, "x", json!(1), Some("14"));
            }, "label koji-build-id", json!("14")),
        absent("no task", |run| result(run, Phase::Prebuild, "add_filesystem", json!({"filesystem-koji-task-id": null})), "label filesystem-koji-task-id"),
        case("a task", |run| result(run, Phase::Prebuild, "add_filesystem", json!({"filesystem-koji-task-id": 99})), "label filesystem-koji-task-id", json!("99")),
    ]
}

#[tokio::test]
async fn every_annotation_and_label() {
    for case in cases() {
        let what = format!("{}: {}", case.name, case.what);
        let text = "FROM r.io/p:1 AS b\nFROM scratch\nADD https://u:p@h/x /\n";
        let mut test = run_with(text, &[], PluginLists::default()).await;
        test.run.parents.images.clear();
        (case.prepare)(&mut test.run);
        let patch = BuildPatch::default().annotation("theirs", "1").label("theirs", "1");
        test.cluster.update_build(&test.run.build.name, patch).await.unwrap();
        let output = test.plugin(&plugin(), json!({})).await.unwrap();
        let build = test.cluster.get_build(&test.run.build.name).await.unwrap();
        assert_eq!((&*build.annotations["theirs"], &*build.labels["theirs"]), ("1", "1"), "{what}: merged");
        let stored = match case.name.strip_prefix("label ") {
            Some(label) => build.labels.get(label).cloned(),
            None => build.annotations.get(case.name).cloned(),
        };
        let expected = case.expected.map(|value| match (&value, stored.as_deref()) {
            // A text is stored as it is, everything else, and what is JSON by its form, as JSON.
            (Value::String(text), Some(stored)) if !stored.starts_with('"') => text.clone(),
            _ => value.to_string(),
        });
        match (&stored, &expected) {
            (Some(stored), Some(expected)) if stored.starts_with(['{', '[']) => {
                let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
                assert_eq!(parse(stored), parse(expected), "{what}");
            }
            _ => assert_eq!(stored, expected, "{what}"),
        }
        let Done::Value(output) = output else { panic!("{what}: {output:?}") };
        for (name, value) in output["annotations"].as_object().unwrap() {
            assert_eq!(build.annotations.get(name).map(String::as_str), value.as_str(), "{what}: the output");
        }
        let filesystem: Value =
            build.annotations.get("filesystem").map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        assert!(filesystem.is_null() || filesystem["mb_total"].is_number(), "{what}: {filesystem}");
    }
}

#[tokio::test]
async fn no_object_is_too_large_to_be_stored() {
    let long = "RUN echo 1234567890 grüße\n".repeat(10_000);
    let mut test = run_with(&format!("FROM scratch\n{long}"), &[], PluginLists::default()).await;
    test.run.records.errors.insert("squash".to_owned(), "x".repeat(1 << 20).into());
    let reasons = json!({"x86_64": {"docker_api": "y".repeat(1 << 20)}});
    test.run.records.errors.insert("orchestrate_build".to_owned(), reasons.to_string().into());
    test.plugin(&plugin(), json!({})).await.unwrap();
    let build = test.cluster.get_build(&test.run.build.name).await.unwrap();
    let size: usize = build.annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(size <= MOST_BYTES, "{size}");
    assert!(build.annotations["dockerfile"].starts_with("FROM scratch\nRUN echo"), "most of it is there");
    assert!(build.annotations["dockerfile"].ends_with(" more bytes"));
    let errors = json_of(&build, "plugins-metadata")["errors"].clone();
    assert!(errors["squash"].as_str().unwrap().ends_with(" more bytes"));
    let by_platform: Value = serde_json::from_str(errors["orchestrate_build"].as_str().unwrap()).unwrap();
    assert!(by_platform["x86_64"]["docker_api"].as_str().unwrap().starts_with("yyy"));

    // What readers need last goes first.
    let mut annotations = std::collections::BTreeMap::new();
    annotations.insert("worker-builds".to_owned(), json!(vec!["z"; 100_000]));
    test.run.build_result = Some(BuildResult { annotations, ..BuildResult::remote() });
    test.plugin(&plugin(), json!({})).await.unwrap();
    let build = test.cluster.get_build(&test.run.build.name).await.unwrap();
    assert_eq!((&*build.annotations["dockerfile"], &*build.annotations["worker-builds"]), ("", "{}"));
    assert_eq!(json_of(&build, "digests"), json!([]));
    assert!(test.log_texts().iter().any(|text| text.contains("annotation worker-builds is left empty")));
}
