//! Cases of metadata.

use super::*;

/// Every key of 3.6.2 and 3.6.3.
#[test]
fn a_full_build() {
    let facts = BuildFacts {
        name: "web-container".into(),
        version: "7".into(),
        release: "3".into(),
        source: "https://git.example.com/web.git#4f2c1d0a".into(),
        start_time: 1_700_000_000,
        end_time: 1_700_000_900,
        owner: Some("alice".into()),
        build_id: Some(37),
        metadata_only: false,
        task_id: Some(81234),
        filesystem_task_id: Some(81235),
        submitter: Some("osbs".into()),
        operator_manifests: Some("operator_manifests.zip".into()),
        image: ImageFacts {
            autorebuild: true,
            isolated: false,
            parent_build_id: Some(4711),
            parent_image_builds: json!({"r.io/fedora:40": {"id": 4711, "nvr": "f-40-12"}}).as_object().cloned(),
            parent_images: vec!["r.io/fedora:40".into()],
            media_types: ["b".to_owned(), "a".to_owned()].into(),
            help: Some("help.md".into()),
            yum_repourls: vec!["https://r.io/a.repo".into()],
            go: Some(json!({"modules": [{"module": "example.com/m"}]})),
            index: Some(IndexFacts {
                tags: vec!["7-3".into()],
                floating_tags: vec!["latest".into(), "7".into()],
                unique_tags: vec!["u".into()],
                pull: vec!["r.io/web@sha256:1111".into(), "r.io/web:7-3".into()],
                digests: [("t".to_owned(), "sha256:1111".to_owned())].into(),
            }),
        },
    };
    let expected = json!({
        "name": "web-container", "version": "7", "release": "3", "owner": "alice", "build_id": 37,
        "source": "https://git.example.com/web.git#4f2c1d0a", "start_time": 1_700_000_000, "end_time": 1_700_000_900,
        "extra": {"container_koji_task_id": 81234, "filesystem_koji_task_id": 81235, "submitter": "osbs",
            "operator_manifests_archive": "operator_manifests.zip",
            "typeinfo": {"operator-manifests": {"archive": "operator_manifests.zip"}},
            "image": {"autorebuild": true, "isolated": false, "parent_build_id": 4711,
                "parent_image_builds": {"r.io/fedora:40": {"id": 4711, "nvr": "f-40-12"}},
                "parent_images": ["r.io/fedora:40"], "media_types": ["a", "b"], "help": "help.md",
                "yum_repourls": ["https://r.io/a.repo"], "go": {"modules": [{"module": "example.com/m"}]},
                "index": {"tags": ["7-3"], "floating_tags": ["latest", "7"], "unique_tags": ["u"],
                    "pull": ["r.io/web@sha256:1111", "r.io/web:7-3"], "digests": {"t": "sha256:1111"}}}},
    });
    assert_eq!(build(&facts), expected);
}

#[test]
fn what_is_not_known_is_left_out() {
    let least = build(&BuildFacts::default());
    let expected = json!({"autorebuild": false, "isolated": false, "parent_images": []});
    assert_eq!(least["extra"], json!({ "image": expected }));
    assert!(least["owner"].is_null() && least.get("build_id").is_none() && least.get("metadata_only").is_none());
    let no_help =
        BuildFacts { image: ImageFacts { help: Some(Value::Null), ..ImageFacts::default() }, ..BuildFacts::default() };
    assert_eq!(build(&no_help)["extra"]["image"].get("help"), Some(&Value::Null), "the step ran and found none");
    let only = BuildFacts { metadata_only: true, ..BuildFacts::default() };
    assert_eq!(build(&only)["metadata_only"], true);
}

fn fragment(file: &str) -> Value {
    json!({"metadata_version": 0, "buildroots": [{"id": 1, "host": {}}],
           "output": [{"type": "log", "buildroot_id": 1, "filename": format!("{file}.log")},
                      {"type": "docker-image", "buildroot_id": 1, "filename": file}]})
}

#[track_caller]
fn check_combined(platforms: &[&str], roots: &[&str], outputs: &[(&str, &str)]) {
    let fragments = platforms.iter().map(|name| ((*name).to_owned(), fragment(name))).collect();
    let log = FileFacts { filename: "orchestrator.log".into(), size: 9, md5: "ab".into() };
    let found = combined(&BuildFacts::default(), &fragments, &[log]);
    assert_eq!(found["metadata_version"], 0);
    let ids: Vec<_> = found["buildroots"].as_array().unwrap().iter().map(|root| root["id"].as_str().unwrap()).collect();
    assert_eq!(ids, roots);
    let files: Vec<_> = found["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["filename"].as_str().unwrap(), file["buildroot_id"].as_str().unwrap()))
        .collect();
    assert_eq!(files, outputs);
    let log = found["output"].as_array().unwrap().last().unwrap();
    let expected = json!({"type": "log", "arch": "noarch", "buildroot_id": roots[0], "filename": "orchestrator.log",
                          "filesize": 9, "checksum": "ab", "checksum_type": "md5"});
    assert_eq!(log, &expected);
    for id in ids {
        assert!(files.iter().any(|(_, root)| *root == id), "every buildroot is used");
    }
}

#[test]
fn fragments_are_joined() {
    let x = [("x86_64.log", "x86_64-1"), ("x86_64", "x86_64-1")];
    check_combined(&["x86_64"], &["x86_64-1"], &[x[0], x[1], ("orchestrator.log", "x86_64-1")]);
    let p = [("ppc64le.log", "ppc64le-1"), ("ppc64le", "ppc64le-1")];
    let all = [p[0], p[1], x[0], x[1], ("orchestrator.log", "ppc64le-1")];
    check_combined(&["x86_64", "ppc64le"], &["ppc64le-1", "x86_64-1"], &all);
}

#[test]
fn the_only_image_gets_the_final_names() {
    let image = json!({"type": "docker-image", "extra": {"docker": {"tags": ["u"], "digests": {"old": "1"},
        "repositories": ["r.io:5000/ns/web:u", "r.io:5000/ns/web@sha256:1"]}}});
    let mut found = json!({"output": [{"type": "log"}, image]});
    let names = FinalNames {
        tags: vec!["7-3".into()],
        floating_tags: vec!["latest".into()],
        unique_tags: vec!["u".into()],
        pull_tag: Some("7-3".into()),
        digests: [("t".to_owned(), "sha256:2".to_owned())].into(),
    };
    name_only_image(&mut found, &names);
    let expected = json!({"tags": ["7-3"], "floating_tags": ["latest"], "unique_tags": ["u"], "digests": {"t": "sha256:2"},
        "repositories": ["r.io:5000/ns/web:7-3", "r.io:5000/ns/web@sha256:1"]});
    assert_eq!(found["output"][1]["extra"]["docker"], expected);
    assert_eq!(found["output"][0], json!({"type": "log"}));
}

#[test]
fn tags_of_pull_specs() {
    for (spec, expected) in [
        ("r.io:5000/web:old", "r.io:5000/web:t"),
        ("r.io:5000/web", "r.io:5000/web:t"),
        ("web:old", "web:t"),
        ("a/b/c/d:1", "a/b/c/d:t"),
    ] {
        assert_eq!(with_tag(spec, "t"), expected);
    }
}

#[test]
fn packages_that_are_there_twice() {
    let package = |name: &str, arch: &str, sum: &str| json!({"type": "rpm", "name": name, "version": "1", "release": "2", "arch": arch, "sigmd5": sum});
    let all = vec![package("a", "x86_64", "1"), package("a", "i686", "2"), package("a", "x86_64", "3")];
    assert_eq!(each_once(all), [package("a", "x86_64", "1"), package("a", "i686", "2")]);
}
