//! Whole builds that end in Koji: a real hub of ours, a real registry, real workers. What is in the hub, on its disk and in
//! the registry is compared with what the build has made.
#![allow(clippy::print_stdout, reason = "tells what was compared")]

mod mail_server;
#[path = "../../osbs-koji/tests/support/realm.rs"]
mod realm;
mod world;

use mail_server::MailServer;
use osbs_koji::{Arguments, Build, BuildState, MethodCall, TaskState, calls};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use world::distribution::packages_with_dnf;
use world::hub::{HOST, IMPORTER, PASSWORD, TARGET, TestHub, USER, is_not_for_a_real_hub, while_away};
use world::hub_proxy::{self, Fate};
use world::inspect::{Process, kill_9, worker_of};
use world::{Done, World, can_run, check_nothing_left, wait_for};

const TWO_PLATFORMS: &str = "clusters:\n  x86_64: [{name: local, max_concurrent_builds: 4}]\n  \
    second: [{name: local, max_concurrent_builds: 4}]\n\
    platform_descriptors: [{platform: second, architecture: amd64}]\n";

/// A site with a hub; `reactor` is added to config.yaml.
fn site(world: &World, packages: &[&str], reactor: &str) -> TestHub {
    let hub = TestHub::start(world.folder.path(), packages);
    configure(world, &hub.url(), IMPORTER, "", reactor);
    hub
}

/// Writes the configuration of a site that talks to this hub as this user; `more` is added to `koji`.
fn configure(world: &World, hub: &str, user: &str, more: &str, reactor: &str) {
    let password = world.path("koji-password");
    fs::write(&password, format!("{PASSWORD}\n")).expect("written");
    let root = hub.replace("/kojihub", "/kojifiles");
    let koji = format!(
        "koji:\n  hub_url: {hub}\n  root_url: {root}\n  auth: {{username: {user}, password_path: '{}'}}\n{more}",
        password.display()
    );
    // Arrangements 1 to 5 learn of hub and registries from osbs.conf; the login is that of config.yaml in all of them.
    let registry = &world.registry;
    let instance = format!(
        "can_orchestrate = true\nkoji_hub = {hub}\nkoji_root = {root}\nregistry_uri = http://{registry}\n\
         source_registry_uri = http://{registry}\nregistry_api_versions = v2\n"
    );
    world.write_conf(&instance, &format!("{koji}{reactor}"));
}

fn build(world: &World, url: &str) -> Done {
    world.build(url, &["--target", TARGET])
}

#[track_caller]
fn built(hub: &TestHub, nvr: &str) -> Build {
    find(hub, nvr).unwrap_or_else(|| panic!("Koji has no build {nvr}"))
}

fn find(hub: &TestHub, nvr: &str) -> Option<Build> {
    hub.call(&hub.anonymous(), calls::get_build(nvr))
}

/// For which platforms the target is, by its build tag.
fn set_arches(hub: &TestHub, arches: &str) {
    let edit = Arguments::of(["f43-build".into()]).named("arches", arches);
    hub.call(&hub.log_in("kojiadmin"), MethodCall::raw("editTag2", edit));
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn checksum(program: &str, file: &Path) -> String {
    let text = output(program, &[&file.display().to_string()]);
    text.split_whitespace().next().expect("a sum").trim_start_matches('\\').to_owned()
}

/// Makes `NAME:1` an index, as a build for several platforms wants its parent.
fn as_index(world: &World, name: &str) {
    let path = format!("/v2/{name}/manifests/1");
    let (code, manifest) = world.registry_get(&path);
    assert_eq!(code, 200, "{manifest}");
    let file = world.path("manifest.json");
    fs::write(&file, &manifest).expect("written");
    let media_type = serde_json::from_str::<Value>(&manifest).expect("JSON")["mediaType"].clone();
    let index = "application/vnd.oci.image.index.v1+json";
    let body = json!({"schemaVersion": 2, "mediaType": index, "manifests": [{
        "mediaType": media_type, "digest": format!("sha256:{}", checksum("sha256sum", &file)), "size": manifest.len(),
        "platform": {"os": "linux", "architecture": "amd64"}}]});
    let header = format!("Content-Type: {index}");
    let url = format!("http://{}{path}", world.registry);
    output("curl", &["-sf", "-X", "PUT", "-H", &header, "-d", &body.to_string(), &url]);
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

#[track_caller]
fn check_keys(value: &Value, expected: &[&str]) {
    assert_eq!(keys(value), expected.iter().copied().collect(), "{value}");
}

/// Every pull spec can be inspected, configuration and all.
#[track_caller]
fn check_pulls(specs: &Value) {
    let specs = specs.as_array().expect("a list");
    assert!(!specs.is_empty());
    for spec in specs {
        let name = format!("docker://{}", spec.as_str().expect("text"));
        output("skopeo", &["inspect", "--tls-verify=false", "--config", &name]);
    }
}

/// Nothing is left of any reservation: no record of ours, no build that is said to go on.
#[track_caller]
fn check_no_reservation(world: &World, hub: &TestHub) {
    let maps = world.run(&["config", "list"]).out;
    assert!(!maps.contains("koji-reservation"), "{maps}");
    let going_on = calls::list_builds().named("state", BuildState::Building as i64);
    let open = hub.call(&hub.anonymous(), going_on);
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn two_platforms_end_in_one_tagged_build() {
    if !can_run() {
        return;
    }
    let world = World::bare();
    let packages = packages_with_dnf();
    world.push_dnf_image("dnf:1", &packages, "");
    as_index(&world, "dnf");
    let more = format!("{TWO_PLATFORMS}skip_koji_check_for_base_image: true\n");
    let hub = site(&world, &["web-container", "child-container"], &more);
    set_arches(&hub, "x86_64 second");
    let query = "RUN rpm -qa --qf 'RPMQA %{NAME} %{VERSION} %{RELEASE} %{ARCH}\\n'";
    let dockerfile = format!("FROM dnf:1\nLABEL name=test/web com.redhat.component=web-container version=1\n{query}\n");
    let files = [("Dockerfile", dockerfile.as_str()), ("help.md", "% WEB(1)\n% Me\n# NAME\nweb - it\n")];
    let url = world.repository("web", &files);
    let done = build(&world, &url);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    assert!(!done.out.contains(PASSWORD), "no password in the log");

    let web = built(&hub, "web-container-1-1");
    assert_eq!(web.state, BuildState::Complete);
    let name = world.newest("web").expect("a build");
    assert_eq!(world.record(&name)["labels"]["koji-build-id"], web.id.to_string());
    let tagged = hub.call(&hub.anonymous(), calls::list_tagged(TARGET));
    assert_eq!(tagged.iter().map(|one| one.build.id).collect::<Vec<_>>(), [web.id]);
    check_no_reservation(&world, &hub);

    let folder = hub.topdir.join("packages/web-container/1/1");
    let metadata: Value = serde_json::from_str(&world::read(&folder.join("metadata.json"))).expect("JSON");
    check_metadata(&world, &metadata, &url, web.id);
    check_archives(&hub, &folder, &metadata, web.id);
    check_logs_and_packages(&hub, &folder, &metadata, web.id);
    check_child(&world, &hub, &web);

    // The platforms are those of the target's build tag, whatever has a cluster.
    set_arches(&hub, "second s390x");
    let done = build(&world, &url);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let again = built(&hub, "web-container-1-2");
    let archives = hub.call(&hub.anonymous(), calls::list_archives(again.id, Some("image")));
    assert!(archives.len() == 1 && archives[0].filename.ends_with(".second.tar.gz"), "{archives:?}");
    assert!(done.out.contains("no enabled cluster builds for this platform"), "{}", done.out);
    check_nothing_left(&world);
}

/// Key by key (`reactor.md` 3.6).
fn check_metadata(world: &World, metadata: &Value, url: &str, id: i64) {
    check_keys(metadata, &["metadata_version", "build", "buildroots", "output"]);
    assert_eq!(metadata["metadata_version"], 0);
    let build = &metadata["build"];
    check_keys(
        build,
        &["name", "version", "release", "source", "start_time", "end_time", "owner", "build_id", "extra"],
    );
    let commit = output("git", &["-C", url.trim_start_matches("file://"), "rev-parse", "HEAD"]);
    assert_eq!(build["source"], format!("{url}#{}", commit.trim()));
    assert_eq!((&build["build_id"], &build["owner"]), (&json!(id), &Value::Null));
    assert!(build["start_time"].as_i64() <= build["end_time"].as_i64());
    check_keys(&build["extra"], &["submitter", "image"]);
    assert_eq!(build["extra"]["submitter"], IMPORTER);
    let image = &build["extra"]["image"];
    check_keys(image, &["autorebuild", "isolated", "parent_images", "parent_image_builds", "help", "index"]);
    assert_eq!((&image["autorebuild"], &image["isolated"]), (&json!(false), &json!(false)));
    assert_eq!((&image["help"], &image["parent_images"]), (&json!("help.md"), &json!(["dnf:1"])));
    assert_eq!(image["parent_image_builds"], json!({ "dnf:1": null }));
    let index = &image["index"];
    check_keys(index, &["tags", "floating_tags", "unique_tags", "pull", "digests"]);
    assert_eq!((&index["tags"], &index["floating_tags"]), (&json!(["1-1"]), &json!(["latest", "1"])));
    assert_eq!(index["pull"][1], format!("{}/test/web:1-1", world.registry));
    let digest = index["digests"]["application/vnd.oci.image.index.v1+json"].as_str().expect("a digest");
    assert_eq!(index["pull"][0], format!("{}/test/web@{digest}", world.registry));
    check_pulls(&index["pull"]);

    let roots = metadata["buildroots"].as_array().expect("a list");
    assert_eq!(roots.iter().map(|root| &root["id"]).collect::<Vec<_>>(), ["second-1", "x86_64-1"]);
    for root in roots {
        check_keys(root, &["id", "host", "content_generator", "container", "tools", "components", "extra"]);
        check_keys(&root["host"], &["os", "arch"]);
        assert_eq!(root["content_generator"]["name"], "atomic-reactor");
        assert_eq!(root["container"]["type"], "docker");
        check_keys(&root["extra"]["osbs"], &["build_id", "builder_image_id", "koji"]);
    }
}

/// What the hub has, what is on its disk, and what the metadata says, are the same bytes.
fn check_archives(hub: &TestHub, folder: &Path, metadata: &Value, id: i64) {
    let archives = hub.call(&hub.anonymous(), calls::list_archives(id, Some("image")));
    assert_eq!(archives.len(), 2, "{archives:?}");
    let outputs = metadata["output"].as_array().expect("a list");
    for archive in archives {
        let file = folder.join("images").join(&archive.filename);
        assert_eq!(Some(checksum("md5sum", &file)), archive.checksum);
        assert_eq!(Some(fs::metadata(&file).expect("there").len() as i64), archive.size);
        let output = outputs.iter().find(|output| output["filename"] == archive.filename).expect("in the metadata");
        check_keys(
            output,
            &[
                "type",
                "arch",
                "buildroot_id",
                "components",
                "extra",
                "filename",
                "filesize",
                "checksum",
                "checksum_type",
            ],
        );
        let docker = &output["extra"]["docker"];
        let expected = ["id", "parent_id", "repositories", "layer_sizes", "tags", "config", "digests"];
        check_keys(docker, &expected);
        let platform = output["arch"].as_str().expect("text");
        assert_eq!(
            archive.filename,
            format!("docker-image-{}.{platform}.tar.gz", docker["id"].as_str().expect("text"))
        );
        assert_eq!(output["buildroot_id"], format!("{platform}-1"));
        check_pulls(&docker["repositories"]);
        // The archive is the image whose id it says.
        let manifest = self::output("tar", &["-xzOf", &file.display().to_string(), "manifest.json"]);
        let id = docker["id"].as_str().expect("text").trim_start_matches("sha256:");
        assert!(manifest.contains(id), "{manifest}");
    }
}

/// Every log is there; the packages that the import names are those that rpm in the image names.
fn check_logs_and_packages(hub: &TestHub, folder: &Path, metadata: &Value, id: i64) {
    let logs = hub.call(&hub.anonymous(), calls::get_build_logs(id));
    let names: BTreeSet<_> = logs.iter().map(|log| log.name.as_str()).filter(|name| *name != "cg_import.log").collect();
    let expected = ["orchestrator.log", "second-build.log", "second.log", "x86_64-build.log", "x86_64.log"];
    assert_eq!(names, expected.into_iter().collect());
    let outputs = metadata["output"].as_array().expect("a list");
    for platform in ["x86_64", "second"] {
        let log = world::read(&folder.join(format!("data/logs/{platform}-build.log")));
        let said: BTreeSet<String> = log
            .lines()
            .filter_map(|line| line.split_once("RPMQA ").filter(|(before, _)| !before.contains("rpm -qa")))
            .map(|(_, package)| package.trim().to_owned())
            .filter(|package| !package.starts_with("gpg-pubkey "))
            .collect();
        let image = outputs.iter().find(|one| one["type"] == "docker-image" && one["arch"] == platform);
        let components = image.expect("an image")["components"].as_array().expect("a list");
        let told: BTreeSet<String> = components
            .iter()
            .map(|one| ["name", "version", "release", "arch"].map(|key| one[key].as_str().expect("text")).join(" "))
            .collect();
        assert!(said.len() > 5, "{log}");
        assert_eq!(told, said, "{platform}");
        println!("{platform}: {} packages", told.len());
    }
}

/// A build on the first one: its parent is found in Koji, and compared.
fn check_child(world: &World, hub: &TestHub, parent: &Build) {
    let dockerfile = "FROM test/web:1-1\nLABEL name=test/child com.redhat.component=child-container version=2\n";
    let url = world.repository("child", &[("Dockerfile", dockerfile)]);
    let done = build(world, &url);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let child = built(hub, "child-container-2-1");
    let image = child.extra.to_json()["image"].clone();
    assert_eq!(image["parent_build_id"], parent.id);
    let expected = json!({"test/web:1-1": {"id": parent.id, "nvr": "web-container-1-1"}});
    assert_eq!(image["parent_image_builds"], expected);
    // Its release is the next one, by the hub's count.
    let done = build(world, &url);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    assert_eq!(built(hub, "child-container-2-2").state, BuildState::Complete);
}

/// Builds that end in no import give back what they have reserved: failed, killed, and killed with their runner.
#[test]
fn reservations_are_given_back() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let hub = site(&world, &["bad-container", "slow-container"], "skip_koji_check_for_base_image: true\n");
    let url = world.layered("bad", "RUN false");
    let done = build(&world, &url);
    assert_ne!(done.code, 0, "{}", done.out);
    assert_eq!(built(&hub, "bad-container-1-1").state, BuildState::Failed);
    check_no_reservation(&world, &hub);
    assert!(upload_folders(&hub).is_empty());

    for (number, runner_too) in [(1, false), (2, true)] {
        let url = world.layered("slow", &format!("RUN sleep 600 # {number}"));
        let name = world.submit(&url, &["--target", TARGET]);
        let nvr = format!("slow-container-1-{number}");
        wait_for("the build is reserved and works", 120, || {
            find(&hub, &nvr).is_some() && world.has_begun(&name, "orchestrate_build")
        });
        assert_eq!(built(&hub, &nvr).state, BuildState::Building);
        if runner_too {
            kill_9(world.process(&name, Process::Runner).expect("a runner"));
        } else {
            kill_9(world.process(&name, Process::Reactor).expect("a reactor"));
        }
        wait_for("the build is closed", 60, || world.record(&name)["finished"].is_string());
        if runner_too {
            world.ok(&["gc"]);
        }
        wait_for("its reservation is given back", 60, || built(&hub, &nvr).state == BuildState::Canceled);
        wait_for("and its record removed", 60, || !world.run(&["config", "list"]).out.contains("koji-reservation"));
    }
    check_no_reservation(&world, &hub);
}

/// The hub is gone while the image is built, and comes back.
#[test]
fn a_hub_that_comes_back() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let mut hub = site(&world, &["web-container", "bad-container"], "skip_koji_check_for_base_image: true\n");
    let url = world.layered("web", "RUN sleep 3");
    let name = world.submit(&url, &["--target", TARGET]);
    wait_for("the worker is at RUN", 120, || world.has_begun(&worker_of(&name, "x86_64"), "docker_api"));
    hub.pause();
    wait_for("the hub is missed", 120, || {
        let log = String::from_utf8_lossy(&world.log(&name, &[])).into_owned();
        log.contains("; again in")
    });
    while_away();
    hub.resume();
    wait_for("the build ends", 180, || world.record(&name)["finished"].is_string());
    assert_eq!(world.status(&name), "Complete", "{}", String::from_utf8_lossy(&world.log(&name, &[])));
    assert_eq!(built(&hub, "web-container-1-1").state, BuildState::Complete);
    check_no_reservation(&world, &hub);

    // Gone until after the end: the build does not wait for it, its runner does.
    let url = world.layered("bad", "RUN sleep 5 && false");
    let name = world.submit(&url, &["--target", TARGET]);
    wait_for("the worker is at RUN", 120, || world.has_begun(&worker_of(&name, "x86_64"), "docker_api"));
    hub.pause();
    wait_for("the build ends", 120, || world.record(&name)["finished"].is_string());
    assert_eq!(world.status(&name), "Failed");
    hub.resume();
    let gone = [BuildState::Failed, BuildState::Canceled];
    wait_for("its reservation is given back", 120, || gone.contains(&built(&hub, "bad-container-1-1").state));
    wait_for("and its record removed", 60, || !world.run(&["config", "list"]).out.contains("koji-reservation"));
    check_no_reservation(&world, &hub);
}

/// A build of that arrangement: who imports, and what the image's archive is called.
#[track_caller]
fn check_arrangement(world: &World, hub: &TestHub, version: u32, logs: &[&str]) {
    let name = format!("v{version}");
    let url = world.layered(&name, "RUN true");
    let done = world
        .build(&url, &["--target", TARGET, "--arrangement-version", &version.to_string(), "--platforms", "x86_64"]);
    assert_eq!(done.code, 0, "arrangement {version}\n{}\n{}", done.out, done.err);
    let build = built(hub, &format!("{name}-container-1-1"));
    assert_eq!(build.state, BuildState::Complete);
    let record = world.record(&world.newest(&name).expect("a build"));
    assert_eq!(record["labels"]["koji-build-id"], build.id.to_string(), "arrangement {version}");
    let tagged = hub.call(&hub.anonymous(), calls::list_tagged(TARGET));
    assert!(tagged.iter().any(|one| one.build.id == build.id), "arrangement {version}");
    let found = hub.call(&hub.anonymous(), calls::get_build_logs(build.id));
    let names: BTreeSet<_> =
        found.iter().map(|log| log.name.as_str()).filter(|name| *name != "cg_import.log").collect();
    assert_eq!(names, logs.iter().copied().collect(), "arrangement {version}");
    let archives = hub.call(&hub.anonymous(), calls::list_archives(build.id, Some("image")));
    assert_eq!(archives.len(), 1);
    let docker = archives[0].extra.to_json()["docker"].clone();
    assert!(docker["tags"].as_array().expect("a list").contains(&json!("1-1")), "arrangement {version}: {docker}");
    check_pulls(&docker["repositories"]);
}

#[test]
fn other_arrangements_end_in_koji_too() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let packages = ["v1-container", "v2-container", "v3-container", "v4-container", "v5-container"];
    let more = "skip_koji_check_for_base_image: true\ngroup_manifests: false\n";
    let hub = site(&world, &packages, more);
    let of_workers = ["orchestrator.log", "x86_64-build.log", "x86_64.log"];
    let of_one = ["openshift-final.log", "build.log"];
    for (version, logs) in [(1, &of_one[..]), (2, &of_one), (3, &of_workers), (4, &of_workers), (5, &of_workers)] {
        check_arrangement(&world, &hub, version, logs);
    }
    check_no_reservation(&world, &hub);
    check_nothing_left(&world);
}

/// Stands between builds and a hub, and loses the answer to the first import.
fn losing_the_first_import(hub: u16) -> u16 {
    let lost = AtomicBool::new(false);
    hub_proxy::before(
        hub,
        Arc::new(move |_, _, body| match body {
            Some(body) if hub_proxy::calls(body, "CGImport") && !lost.swap(true, Ordering::SeqCst) => Fate::AnswerLost,
            _ => Fate::Passed,
        }),
    )
}

/// The same, and keeps every import from the hub until the build that asks for it is gone.
fn keeping_imports(hub: u16, asked: Arc<AtomicBool>) -> u16 {
    hub_proxy::before(
        hub,
        Arc::new(move |_, _, body| match body {
            Some(body) if hub_proxy::calls(body, "CGImport") => {
                asked.store(true, Ordering::SeqCst);
                std::thread::sleep(Duration::from_mins(2));
                Fate::Answered(String::new())
            }
            _ => Fate::Passed,
        }),
    )
}

/// The upload folders that are there.
fn upload_folders(hub: &TestHub) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for kind in ["koji-upload", "koji-promote"] {
        for folder in fs::read_dir(hub.topdir.join("work").join(kind)).into_iter().flatten().flatten() {
            found.insert(format!("{kind}/{}", folder.file_name().display()));
        }
    }
    found
}

/// A build that is killed when everything is uploaded leaves no upload folder, nor its reservation.
#[test]
fn uploads_of_a_killed_build_are_removed() {
    if !can_run() || is_not_for_a_real_hub("a real hub removes no uploads") {
        return;
    }
    let world = World::new();
    let lenient = "skip_koji_check_for_base_image: true\n";
    let hub = site(&world, &["web-container"], lenient);
    let asked = Arc::new(AtomicBool::new(false));
    let proxy = keeping_imports(hub.port, Arc::clone(&asked));
    configure(&world, &format!("http://127.0.0.1:{proxy}/kojihub"), IMPORTER, "", lenient);
    let name = world.submit(&world.layered("web", "RUN true"), &["--target", TARGET]);
    wait_for("the build asks for its import", 180, || asked.load(Ordering::SeqCst));
    let folders = upload_folders(&hub);
    assert_eq!(folders.len(), 1, "{folders:?}");
    kill_9(world.process(&name, Process::Reactor).expect("a reactor"));
    wait_for("the build is closed", 60, || world.record(&name)["finished"].is_string());
    wait_for("the upload folder is removed", 60, || upload_folders(&hub).is_empty());
    wait_for("the reservation is given back", 60, || built(&hub, "web-container-1-1").state == BuildState::Canceled);
    wait_for("and its record removed", 60, || !world.run(&["config", "list"]).out.contains("koji-reservation"));
    check_no_reservation(&world, &hub);
}

/// An import that is done and whose answer is lost is found; one that is refused is one clear error, and moves no name.
#[test]
fn imports_that_go_wrong() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let lenient = "skip_koji_check_for_base_image: true\n";
    let hub = site(&world, &["lost-container", "refused-container"], lenient);
    let proxy = format!("http://127.0.0.1:{}/kojihub", losing_the_first_import(hub.port));
    configure(&world, &proxy, IMPORTER, "", lenient);
    let url = world.layered("lost", "RUN true");
    let done = build(&world, &url);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    assert!(done.out.contains("looking whether it is there"), "{}", done.out);
    assert!(!done.out.contains("the import is asked for again"), "{}", done.out);
    let found = built(&hub, "lost-container-1-1");
    assert_eq!(found.state, BuildState::Complete);
    let all = hub.call(&hub.anonymous(), calls::list_builds().named("state", BuildState::Complete as i64));
    assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [found.id], "it was not done twice");
    check_no_reservation(&world, &hub);

    // Somebody to whom the content generator was not granted: before anything is built, or in the end.
    let imported = upload_folders(&hub);
    let url = world.layered("refused", "RUN true");
    for (more, part) in
        [("", "refused CGInitBuild"), ("  reserve_build: false\n", "Koji refuses the import of refused-container-1-1")]
    {
        configure(&world, &hub.url(), USER, more, lenient);
        let done = build(&world, &url);
        assert_eq!(done.code, 3, "{}\n{}", done.out, done.err);
        assert!(done.err.contains(part) && done.err.contains("grant-cg-access"), "{}", done.err);
        if !is_not_for_a_real_hub("a real hub removes no uploads") {
            assert_eq!(upload_folders(&hub), imported, "what was refused leaves no uploads");
        }
    }
    let tags = world.tags("test/refused");
    assert!(!tags.iter().any(|tag| tag == "latest" || tag == "1"), "no name has moved: {tags:?}");
    assert!(find(&hub, "refused-container-1-1").is_none());
    check_no_reservation(&world, &hub);
}

/// Scratch builds are not in Koji, isolated ones are, under the release that the request gives; no release is given twice.
#[test]
fn scratch_and_isolated_builds() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let hub = site(&world, &["patch-container"], "skip_koji_check_for_base_image: true\ngroup_manifests: true\n");
    let url = world.layered("scratch", "RUN true");
    let done = world.build(&url, &["--scratch", "--target", TARGET]);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let line = done.out.lines().find(|line| line.contains("platform:_metadata_ ")).expect("a line of metadata");
    let path = line.rsplit(' ').next().expect("a path");
    let metadata: Value = serde_json::from_str(&world::read(&hub.topdir.join("work").join(path))).expect("JSON");
    assert_eq!(metadata["build"]["name"], "scratch-container");
    let all = hub.call(&hub.anonymous(), calls::list_builds());
    assert!(all.is_empty(), "{all:?}");

    let url = world.layered("patch", "RUN true");
    let request = ["--isolated", "--release", "2.1", "--target", TARGET];
    let done = world.build(&url, &request);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let image = built(&hub, "patch-container-1-2.1").extra.to_json()["image"].clone();
    assert_eq!((&image["isolated"], &image["index"]["tags"]), (&json!(true), &json!(["1-2.1"])));
    assert_eq!(image["index"]["floating_tags"], json!([]));
    assert!(!world.tags("test/patch").contains(&"latest".to_owned()));
    let done = world.build(&url, &request);
    assert!(done.code == 1 && done.err.contains("patch-container-1-2.1 is in Koji already"), "{}", done.err);
    check_no_reservation(&world, &hub);
    check_nothing_left(&world);
}

/// A build whose login at Koji is a Kerberos ticket: every one of its processes fetches its own, from a real KDC that only
/// `KRB5_CONFIG` tells of.
#[test]
fn a_build_logs_in_with_kerberos() {
    if !can_run() || is_not_for_a_real_hub("the web server before a real hub checks tickets") {
        return;
    }
    let world = World::new();
    let hub = TestHub::start(world.folder.path(), &["web-container", "bad-container"]);
    let realm = realm::Realm::before_hub(&hub.url(), PASSWORD);
    let at = |name: &str| realm.folder.path().join(name).display().to_string();
    let gate = format!("https://localhost:{}", realm.gate);
    let koji = format!(
        "koji:\n  hub_url: {gate}/kojihub\n  root_url: {gate}/kojifiles\n  ca_file: '{}'\n  \
         auth: {{krb_principal: {IMPORTER}@TEST.INVALID, krb_keytab_path: '{}'}}\nskip_koji_check_for_base_image: true\n",
        at("ca.pem"),
        at("client.keytab")
    );
    world.write_conf("can_orchestrate = true\n", &koji);
    let build = |url: &str| {
        let mut command = world.command(&["build", "--git-url", url, "--git-branch", "main", "--user", "test"]);
        command.args(["--target", TARGET]).env("KRB5_CONFIG", at("krb5.conf"));
        world::done(command.output().expect("osbs starts"))
    };
    let done = build(&world.layered("web", "RUN true"));
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let web = built(&hub, "web-container-1-1");
    assert_eq!(web.state, BuildState::Complete);
    let archives = hub.call(&hub.anonymous(), calls::list_archives(web.id, Some("image")));
    assert_eq!(archives.len(), 1, "the worker has uploaded it with a ticket of its own");
    assert_ne!(build(&world.layered("bad", "RUN false")).code, 0);
    assert_eq!(built(&hub, "bad-container-1-1").state, BuildState::Failed);
    check_no_reservation(&world, &hub);
}

/// A Koji builder; killed when dropped.
struct Builder(Child);

impl Builder {
    fn start(world: &World, hub: &TestHub) -> Self {
        let conf = format!(
            "[kojid]\nserver = {}\nuser = {HOST}\npassword = {PASSWORD}\nsleeptime = 1\nallowed_scms = *:{}/*\n",
            hub.url(),
            world.folder.path().display()
        );
        fs::write(world.path("kojid.conf"), conf).expect("written");
        let log = fs::File::create(world.path("kojid.log")).expect("a log");
        let mut command = world.command(&["kojid", "--kojid-config"]);
        let child = command.arg(world.path("kojid.conf")).stdout(Stdio::null()).stderr(log).spawn();
        Self(child.expect("osbs starts"))
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From a task that somebody asks for to the tagged build, which is the task's and its owner's, who gets a mail.
#[test]
fn a_task_ends_in_its_owners_build() {
    if !can_run() {
        return;
    }
    mail_server::check_needs();
    let world = World::new();
    let mail = MailServer::start(&world.path("mail"), "none", None, None);
    let smtp = format!(
        "skip_koji_check_for_base_image: true\nsmtp: {{host: '{}', from_address: osbs@example.org, domain: example.com, \
         send_to_submitter: true, send_to_pkg_owner: true}}\n",
        mail.address
    );
    let hub = site(&world, &["web-container"], &smtp);
    let builder = Builder::start(&world, &hub);
    let user = hub.log_in(USER);
    let source = format!("git+{}#main", world.layered("web", "RUN true"));
    let task = hub.build_container(&user, &source, &[("git_branch", "main".into())]);
    let ended = hub.wait_for(task, 180);
    let log = world::read(&world.path("kojid.log"));
    assert_eq!(ended.state, TaskState::Closed, "{log}\n{}", hub.output(task, "openshift-final.log"));
    let build = built(&hub, "web-container-1-1");
    assert_eq!((build.state, build.task_id), (BuildState::Complete, Some(task)));
    assert_eq!(build.owner_name.as_deref(), Some(USER));
    assert_eq!(build.extra.to_json()["container_koji_task_id"], task);
    let result = hub.call(&hub.anonymous(), calls::get_task_result(task)).to_json();
    assert_eq!(result["koji_builds"], json!([build.id.to_string()]), "{result}");
    let tagged = hub.call(&hub.anonymous(), calls::list_tagged(TARGET));
    assert_eq!(tagged.iter().map(|one| one.build.id).collect::<Vec<_>>(), [build.id]);
    drop(builder);
    check_no_reservation(&world, &hub);

    // Whom Koji knows: the submitter, who owns the package too.
    let mails = mail.mails();
    assert_eq!(mails.len(), 1, "{mails:#?}");
    assert_eq!(mails[0]["to"], json!([format!("{USER}@example.com")]));
    let body = mails[0]["body"].as_str().expect("text");
    let logs = format!("Logs: {}", hub.url().replace("/kojihub", &format!("/kojifiles/work/tasks/{task}/{task}")));
    for said in [&format!("Submitted by: {USER}@example.com"), &logs] {
        assert!(body.lines().any(|line| line == said), "{said}: {body}");
    }
}
