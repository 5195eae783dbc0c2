//! Arrangement 1 (one platform, the worker does everything) and 6 (the orchestrator gives the names), the names that
//! images get for each kind of build, and releases that are never given twice.

mod world;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::{Done, World, can_run, check_nothing_left};

/// The name of a build that was followed.
#[track_caller]
fn name(done: &Done) -> String {
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    done.err.split_once('(').and_then(|(_, rest)| rest.split_once(')')).expect("a name").0.to_owned()
}

/// The names of an image, but for the unique ones, whose form is checked here.
#[track_caller]
fn names(world: &World, repository: &str) -> (BTreeSet<String>, usize) {
    let (unique, plain): (Vec<_>, Vec<_>) =
        world.tags(repository).into_iter().partition(|tag| tag.matches('-').count() > 1);
    for tag in &unique {
        // TARGET-NUMBER-TIME, and -PLATFORM behind it for a worker's.
        let parts: Vec<_> = tag.splitn(4, '-').collect();
        let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
        assert!(parts[0] == "none" && digits(parts[1], 5) && digits(parts[2], 14), "{tag}");
        assert!(parts.get(3).is_none_or(|platform| *platform == "x86_64"), "{tag}");
    }
    (plain.into_iter().collect(), unique.len())
}

fn tags(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|&tag| tag.to_owned()).collect()
}

/// The annotation's pull specs without registry and unique part.
fn floating(record: &Value) -> BTreeSet<String> {
    let list = record["annotations"]["repositories"]["floating"].as_array().cloned().unwrap_or_default();
    list.iter().map(|spec| spec.as_str().expect("text").rsplit_once(':').expect("a tag").1.to_owned()).collect()
}

#[test]
fn arrangement_6_the_orchestrator_gives_the_names() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.write_conf("can_orchestrate = true\n", "group_manifests: true\n");
    let url = world.repository(
        "six",
        &[
            (
                "Dockerfile",
                "FROM base:1\nLABEL name=test/six com.redhat.component=six-container version=1.2\nRUN true\n",
            ),
            ("additional-tags", "stable\n"),
        ],
    );
    let first = name(&world.build(&url, &["--arrangement-version", "6"]));
    let (plain, unique) = names(&world, "test/six");
    assert_eq!(plain, tags(&["1.2", "1.2-1", "latest", "stable"]));
    assert_eq!(unique, 2, "the orchestrator's and the worker's");
    let record = world.record(&first);
    assert_eq!(floating(&record), tags(&["1.2", "latest", "stable"]));
    assert_eq!(record["type"], "orchestrator");
    let worker = world.record(&format!("{first}-x86_64"));
    assert_eq!((&worker["type"], &worker["parent"]), (&json!("worker"), &json!(first)));
    let (prebuild, _) = world.plugins(&first, "prebuild");
    assert!(prebuild.contains(&"bump_release".to_owned()), "{prebuild:?}");
    let (worker_prebuild, _) = world.plugins(&format!("{first}-x86_64"), "prebuild");
    assert!(!worker_prebuild.contains(&"bump_release".to_owned()), "{worker_prebuild:?}");
    check_shown(&world, &first);
    check_nothing_left(&world);
}

/// The build in lists and records.
#[track_caller]
fn check_shown(world: &World, build: &str) {
    let rows = world.ok(&["list-builds"]);
    let row: Vec<_> = rows.split_whitespace().collect();
    assert_eq!(row[..3], [build, "Complete", "test/six:1.2-1"], "{rows}");
    assert_eq!(world.ok(&["list-builds", "--workers", "--columns", "name,type"]).lines().count(), 2);
    assert_eq!(world.ok(&["list-builds", "test/six"]).lines().count(), 1);
    assert_eq!(world.ok(&["list-builds", "test/seven"]), "");
    assert_eq!(world.ok(&["list-builds", "--running"]), "");
    let list = world.json(&["list-builds", "--output", "json"]);
    assert_eq!((&list[0]["name"], &list[0]["status"], &list[1]), (&json!(build), &json!("Complete"), &Value::Null));
    let text = world.ok(&["get-build", build]);
    for part in ["STATUS: Complete", "REPOSITORIES", "DIGESTS", "WORKER BUILDS", "COMMIT", "sha256:", "FROM base:1"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn arrangement_1_the_worker_does_everything() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let registry = world.registry.clone();
    // Registries come from osbs.conf, as arrangement 1 has them.
    let instance = format!(
        "can_orchestrate = true\nregistry_uri = http://{registry}\nsource_registry_uri = http://{registry}\n\
         registry_api_versions = v2\n"
    );
    world.write_conf(&instance, "");
    let url = world.layered("one", "RUN true");
    let build = name(&world.build(&url, &["--arrangement-version", "1", "--platforms", "x86_64"]));
    let (plain, _) = names(&world, "test/one");
    assert_eq!(plain, tags(&["1", "1-1", "latest"]), "all names, without an index");
    let worker = format!("{build}-x86_64");
    let (prebuild, _) = world.plugins(&worker, "prebuild");
    assert!(prebuild.contains(&"add_labels_in_dockerfile".to_owned()), "{prebuild:?}");
    let (postbuild, _) = world.plugins(&worker, "postbuild");
    for plugin in ["tag_by_labels", "tag_and_push"] {
        assert!(postbuild.contains(&plugin.to_owned()), "{postbuild:?}");
    }
    let (code, manifest) = world.registry_get("/v2/test/one/manifests/latest");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!((code, manifest["layers"].as_array().map(Vec::len)), (200, Some(2)), "{manifest}");
    check_nothing_left(&world);
    // The next release, in the same arrangement.
    name(&world.build(&url, &["--arrangement-version", "1", "--platforms", "x86_64"]));
    assert!(world.tags("test/one").contains(&"1-2".to_owned()), "{:?}", world.tags("test/one"));
}

#[test]
fn arrangements_between_give_the_same_names() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let registry = world.registry.clone();
    let instance = format!(
        "can_orchestrate = true\nregistry_uri = http://{registry}\nsource_registry_uri = http://{registry}\n\
         registry_api_versions = v2\n"
    );
    for version in ["2", "3", "4", "5"] {
        world.write_conf(&instance, if version < "4" { "" } else { "group_manifests: true\n" });
        let url = world.layered(&format!("number{version}"), "RUN true");
        let done = world.build(&url, &["--arrangement-version", version, "--platforms", "x86_64"]);
        assert_eq!(done.code, 0, "arrangement {version}\n{}\n{}", done.out, done.err);
        let (plain, _) = names(&world, &format!("test/number{version}"));
        assert_eq!(plain, tags(&["1", "1-1", "latest"]), "arrangement {version}");
    }
    check_nothing_left(&world);
}

#[test]
fn registries_by_argument_without_any_configuration() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let registry = format!("http://{}", world.registry);
    let url = world.layered("plain", "RUN true");
    std::fs::remove_file(world.path("osbs.conf")).expect("removed");
    std::fs::remove_file(world.path("config.yaml")).expect("removed");
    let mut command = std::process::Command::new(world::OSBS);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("OSBS_HOME", world.path("home"));
    let args = ["--registry-uri", &registry, "--source-registry-uri", &registry, "build", "-g", &url, "-b", "main"];
    let output = command.args(args).args(["--platforms", "x86_64"]).stdin(std::process::Stdio::null()).output();
    let done = world::done(output.expect("osbs starts"));
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    assert!(world.tags("test/plain").contains(&"1-1".to_owned()), "{:?}", world.tags("test/plain"));
}

#[test]
fn two_builds_at_once_never_have_one_release() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.write_conf("can_orchestrate = true\n", "group_manifests: true\n");
    // Two repositories, so that neither waits for the other's BuildConfig, and one component.
    let dockerfile = "FROM base:1\nLABEL name=test/twin com.redhat.component=twin-container version=1\nRUN true\n";
    let urls: Vec<_> =
        ["left", "right", "third"].map(|name| world.repository(name, &[("Dockerfile", dockerfile)])).into();
    let children: Vec<_> = urls.iter().map(|url| world.start_build(url, &[])).collect();
    let mut releases = BTreeSet::new();
    for child in children {
        let done = world::done(child.wait_with_output().expect("osbs ends"));
        let record = world.record(&name(&done));
        let primary = record["annotations"]["repositories"]["primary"][0].as_str().expect("a pull spec").to_owned();
        assert!(releases.insert(primary.clone()), "{primary} was given twice");
    }
    let (plain, _) = names(&world, "test/twin");
    assert_eq!(plain, tags(&["1", "1-1", "1-2", "1-3", "latest"]));
    // A release that somebody asks for and has already been built is refused; one that is new is taken.
    let done = world.build(&urls[0], &["--release", "2"]);
    assert_eq!(done.code, 1, "{}\n{}", done.out, done.err);
    assert!(done.err.contains("twin-container-1-2 was built already"), "{}", done.err);
    name(&world.build(&urls[0], &["--release", "9"]));
    name(&world.build(&urls[0], &[]));
    let (plain, _) = names(&world, "test/twin");
    assert_eq!(plain, tags(&["1", "1-1", "1-10", "1-2", "1-3", "1-9", "latest"]));
}

#[test]
fn scratch_and_isolated_builds_move_no_floating_tags() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.write_conf("can_orchestrate = true\n", "group_manifests: true\n");
    let url = world.layered("kinds", "RUN true");
    let scratch = name(&world.build(&url, &["--scratch"]));
    let (plain, unique) = names(&world, "test/kinds");
    assert_eq!((plain, unique > 0), (tags(&[]), true), "a scratch build has unique names only");
    let record = world.record(&scratch);
    assert!(scratch.starts_with("scratch-"), "{scratch}");
    assert_eq!(record["labels"]["scratch"], "true");

    let isolated = name(&world.build(&url, &["--isolated", "--release", "1.1"]));
    let (plain, _) = names(&world, "test/kinds");
    assert_eq!(plain, tags(&["1-1.1"]), "an isolated build has its own name and moves none");
    assert_eq!(world.record(&isolated)["labels"]["isolated"], "true");

    name(&world.build(&url, &[]));
    let (plain, _) = names(&world, "test/kinds");
    assert!(plain.contains("latest") && plain.contains("1"), "{plain:?}");
    check_nothing_left(&world);
}
