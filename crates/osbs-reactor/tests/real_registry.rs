//! Parents and final names against a real registry (Debian's docker-registry), with skopeo reading the result.
//!
//! Needs: docker-registry, skopeo. `OSBS_TEST_SKIP_REAL=1` skips.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is how a test fails")]

use osbs_cluster::{Cluster, MemoryCluster, Script};
use osbs_config::ReactorConfig;
use osbs_image::{Compression, Descriptor, ImageConfig, ImageFormat, Store, StoredImage};
use osbs_reactor::build_json::{PluginEntry, PluginLists};
use osbs_reactor::testing::{Scripted, TestRun, run_with};
use osbs_reactor::{
    BuildResult, Done, FloatingName, PluginError, PluginType, PluginTypes, Reactor, TagClass, WorkerBuild, plugins,
};
use osbs_registry::{IndexMember, Progress, Registry, RegistryConfig, build_index, push, put_index};
use osbs_types::{BuildState, Digest, ErrorKind, Phase, PullSpec};
use serde_json::{Value, json};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn skipped() -> bool {
    let skip = std::env::var_os("OSBS_TEST_SKIP_REAL").is_some();
    if skip {
        println!("skipped: OSBS_TEST_SKIP_REAL is set");
    }
    skip
}

struct Server {
    folder: tempfile::TempDir,
    host: String,
    child: Child,
}

impl Server {
    fn start() -> Self {
        Self::start_with("")
    }

    /// One that deletes what it is asked to.
    fn deleting() -> Self {
        Self::start_with("  delete: {enabled: true}\n")
    }

    fn start_with(storage: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let data = folder.path().join("data");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n{storage}http:\n  addr: {host}\n",
            data.display()
        );
        let path = folder.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry runs: apt-get install docker-registry");
        let begun = Instant::now();
        while TcpStream::connect(&host).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "docker-registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { folder, host, child }
    }

    fn client(&self) -> Registry {
        let transport = osbs_http::Transport::new(osbs_http::TransportConfig::default());
        Registry::new(transport, RegistryConfig::new(&self.host, false).unwrap())
    }

    fn raw(&self, name: &str) -> Value {
        let image = format!("docker://{}/{name}", self.host);
        let output = Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &image]).output();
        let output = output.expect("skopeo runs: apt-get install skopeo");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A one-layer image in a store of its own, pushed as `name`.
async fn pushed(server: &Server, name: &str, arch: &str, env: &str) -> Descriptor {
    let store = Store::open(&server.folder.path().join("source-store")).unwrap();
    let root = server.folder.path().join(format!("root-{arch}"));
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("hello"), format!("{arch} {env}")).unwrap();
    let uppers = [root];
    let request = osbs_image::LayerRequest {
        uppers: &uppers,
        compression: Compression::default(),
        clamp_mtime: None,
        threads: 1,
        taps: Vec::new(),
        sink: None,
    };
    let cancel = CancellationToken::new();
    let layer = osbs_image::write_layer(&store, request, &cancel, &|_, _| ()).unwrap();
    let config = json!({
        "architecture": arch, "os": "linux",
        "config": {"Env": [env], "Labels": {"version": "40", "release": "1"}},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
    });
    let config: ImageConfig = serde_json::from_value(config).unwrap();
    let image = StoredImage::create(&store, ImageFormat::Oci, &config, &[layer.descriptor], None).unwrap();
    let spec: PullSpec = format!("{}/{name}", server.host).parse().unwrap();
    let (repository, tag) = (spec.repository(), spec.reference());
    push(&server.client(), &store, &image, repository, &tag, &[], &cancel, Progress::none()).await.unwrap()
}

/// An index `name:tag` over both architectures; gives its digest.
async fn pushed_index(server: &Server, name: &str, tag: &str, env: &str) -> Digest {
    let mut members = Vec::new();
    for arch in ["amd64", "arm64"] {
        let manifest = Box::pin(pushed(server, &format!("{name}:{tag}-{arch}"), arch, env)).await;
        members.push(IndexMember { manifest, architecture: osbs_types::Architecture::new(arch) });
    }
    put_index(&server.client(), name, tag, &build_index(&members)).await.unwrap()
}

async fn run_for(dockerfile: &str, config: Value, orchestrator: bool) -> TestRun {
    let mut lists = PluginLists::default();
    if orchestrator {
        lists.buildstep_plugins.push(PluginEntry::new("orchestrate_build"));
    }
    let mut test = run_with(dockerfile, &[], lists).await;
    test.run.config = Arc::new(ReactorConfig::from_json(&config, "config.yaml").unwrap().value);
    test
}

async fn plugin(test: &mut TestRun, name: &str, phase: Phase, args: Value) -> Result<Done, PluginError> {
    let all = plugins::all();
    test.plugin(all.find(name, phase).unwrap(), args).await
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_are_checked_pinned_and_pulled() {
    if skipped() {
        return;
    }
    let server = Server::start();
    let index = pushed_index(&server, "base", "40", "WHO=old").await;
    let config = json!({"version": 1, "source_registry": {"url": server.host}});
    let mut orchestrator = run_for("FROM base:40\nLABEL release=$WHO\n", config.clone(), true).await;
    orchestrator.run.platforms = Some(["x86_64", "aarch64"].iter().map(|name| name.parse().unwrap()).collect());
    let args = json!({"check_platforms": true, "inspect_only": true});
    plugin(&mut orchestrator, "pull_base_image", Phase::Prebuild, args.clone()).await.unwrap();
    let run = &orchestrator.run;
    let key = format!("{}/base:40", server.host);
    assert_eq!(run.parents.digests[&key].values().collect::<Vec<_>>(), [&index]);
    assert_eq!(run.dockerfile_labels().unwrap()["release"], "old");
    assert!(!run.parents.pulled && run.parents.local_ids.is_empty());
    assert!(run.services.store.list_refs().unwrap().is_empty(), "an orchestrator pulls nothing");

    // The tag moves; the worker gets what the orchestrator saw (6.5 item 8).
    pushed_index(&server, "base", "40", "WHO=new").await;
    let mut worker = run_for("FROM base:40\n", config.clone(), false).await;
    worker.run.build.platform = Some("aarch64".parse().unwrap());
    let args = json!({"check_platforms": false, "parent_images_digests": run.parents.digests});
    plugin(&mut worker, "pull_base_image", Phase::Prebuild, args).await.unwrap();
    let run = &worker.run;
    let usable = run.parents.images["base:40"].clone().unwrap();
    assert_eq!(usable, format!("{}/base@{index}", server.host));
    let image = StoredImage::by_id(&run.services.store, &run.parents.local_ids[&usable]).unwrap().unwrap();
    assert_eq!(image.image_config.architecture, "arm64");
    assert_eq!(run.parents.base_inspect.as_ref().unwrap().env, [("WHO".to_owned(), "old".to_owned())]);
    assert_eq!(run.images_to_remove, ["test-1:0"]);

    // Named by digest of one platform's image: the list is found again by its labels' tag.
    pushed_index(&server, "base", "40-1", "WHO=old").await;
    let one = pushed(&server, "base:x", "amd64", "WHO=old").await.digest;
    let text = format!("FROM base@{one}\n");
    let mut pinned = run_for(&text, config.clone(), true).await;
    pinned.run.platforms = orchestrator.run.platforms.clone();
    let args = json!({"check_platforms": true, "inspect_only": true});
    plugin(&mut pinned, "pull_base_image", Phase::Prebuild, args).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_that_cannot_be_used() {
    if skipped() {
        return;
    }
    let server = Server::start();
    pushed_index(&server, "base", "40", "A=b").await;
    pushed(&server, "single:1", "amd64", "A=b").await;
    let config = json!({"version": 1, "source_registry": {"url": server.host}});
    let args = json!({"check_platforms": true, "inspect_only": true});
    for (from, platforms, kind, part) in [
        ("base:41", &["x86_64"][..], ErrorKind::User, "base:41"),
        ("other.example.com/base:40", &["x86_64"], ErrorKind::Policy, "must come from"),
        ("base:40", &["x86_64", "s390x"], ErrorKind::User, "no image for s390x"),
        ("single:1", &["x86_64", "aarch64"], ErrorKind::User, "image of one platform"),
    ] {
        let mut test = run_for(&format!("FROM {from}\n"), config.clone(), true).await;
        test.run.platforms = Some(platforms.iter().map(|name| name.parse().unwrap()).collect());
        let error = plugin(&mut test, "pull_base_image", Phase::Prebuild, args.clone()).await.unwrap_err();
        let failure = error.into_failure();
        assert_eq!(failure.kind, kind, "{from}: {failure}");
        assert!(failure.to_string().contains(part), "{from}: {failure}");
        assert!(failure.hint.is_some(), "{from}");
    }
    let mut test = run_for("FROM single:1\n", config, false).await;
    test.run.build.platform = Some("aarch64".parse().unwrap());
    let error = plugin(&mut test, "pull_base_image", Phase::Prebuild, json!({})).await.unwrap_err();
    assert_eq!(error.into_failure().kind, ErrorKind::User);
}

/// The end of a run in which all went well.
async fn float(test: &mut TestRun) -> Result<Done, PluginError> {
    test.run.build_result = Some(BuildResult::remote());
    plugin(test, "push_floating_tags", Phase::Exit, json!({})).await
}

/// Puts finished worker builds into the run, whose annotations name what they pushed.
fn with_workers(test: &mut TestRun, host: &str, images: &[(&str, &str, &Descriptor)]) {
    let cluster = MemoryCluster::new("w", |_| Script::ends(BuildState::Complete));
    for (platform, repository, manifest) in images {
        let mut build = test.run.build.clone();
        let digests = json!([{"registry": host, "repository": repository, "tag": "u", "digest": manifest.digest, "version": "oci"}]);
        build.annotations.insert("digests".to_owned(), digests.to_string());
        let cluster: Arc<dyn Cluster> = Arc::new(cluster.clone());
        let worker = WorkerBuild { cluster_name: "w".to_owned(), cluster, build };
        test.run.workers.insert((*platform).to_owned(), worker);
    }
    for (class, name) in
        [(TagClass::Unique, "ns/web:u"), (TagClass::Primary, "ns/web:1-1"), (TagClass::Floating, "other/web:latest")]
    {
        test.run.tags.add(class, name.parse().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn final_names_on_an_index() {
    if skipped() {
        return;
    }
    let server = Server::start();
    let amd = pushed(&server, "ns/web:u-x86_64", "amd64", "A=b").await;
    let arm = pushed(&server, "worker/web:u-aarch64", "arm64", "A=b").await;
    let config = json!({"version": 1, "registries": [{"url": server.host}]});
    let mut test = run_for("FROM scratch\n", config, true).await;
    with_workers(&mut test, &server.host, &[("x86_64", "ns/web", &amd), ("aarch64", "worker/web", &arm)]);
    let Done::Value(result) = plugin(&mut test, "group_manifests", Phase::Postbuild, json!({})).await.unwrap() else {
        panic!("a value")
    };
    assert_eq!(server.raw("other/web:latest"), Value::Null, "M16: not yet");
    let floats = float(&mut test).await.unwrap();
    assert_eq!(floats, Done::Value(json!([format!("{}/other/web:latest", server.host)])));
    let index = server.raw("ns/web:1-1");
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let arches: Vec<_> =
        index["manifests"].as_array().unwrap().iter().map(|m| &m["platform"]["architecture"]).collect();
    assert_eq!(arches, ["amd64", "arm64"]);
    assert_eq!(server.raw("ns/web:u"), index);
    assert_eq!(server.raw("other/web:latest"), index, "blobs were brought into the other repository");
    assert_eq!(
        server.raw(&format!("other/web@{}", arm.digest))["config"]["size"],
        server.raw(&format!("worker/web@{}", arm.digest))["config"]["size"]
    );
    let digest = result["ns/web"]["oci_index"].as_str().unwrap();
    assert_eq!(test.run.pushed[0].digests["ns/web:1-1"]["oci_index"].as_str(), digest, "M12");
    assert_eq!(test.run.facts["digest"], digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn final_names_without_an_index() {
    if skipped() {
        return;
    }
    let server = Server::start();
    let arm = pushed(&server, "worker/web:u-aarch64", "arm64", "A=b").await;
    let config = json!({"version": 1, "registries": [{"url": server.host}], "group_manifests": false});
    let mut test = run_for("FROM scratch\n", config.clone(), true).await;
    with_workers(&mut test, &server.host, &[("aarch64", "worker/web", &arm)]);
    let done = plugin(&mut test, "group_manifests", Phase::Postbuild, json!({})).await.unwrap();
    assert_eq!(done, Done::Value(json!({})));
    float(&mut test).await.unwrap();
    assert_eq!(server.raw("other/web:latest"), server.raw(&format!("worker/web@{}", arm.digest)));
    assert_eq!(test.run.pushed[0].digests["ns/web:u"]["oci"], arm.digest, "M13");

    // Two platforms cannot share a name without an index, and nothing has moved then.
    let mut test = run_for("FROM scratch\n", config, true).await;
    with_workers(&mut test, &server.host, &[("aarch64", "worker/web", &arm), ("x86_64", "worker/web", &arm)]);
    test.run.tags.add(TagClass::Primary, "ns/web:2-1".parse().unwrap());
    let error = plugin(&mut test, "group_manifests", Phase::Postbuild, json!({})).await.unwrap_err();
    assert_eq!(error.into_failure().kind, ErrorKind::Policy);
    assert_eq!(server.raw("ns/web:2-1"), Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_pushed_nothing_moves_no_name() {
    if skipped() {
        return;
    }
    let server = Server::start();
    let arm = pushed(&server, "worker/web:u-aarch64", "arm64", "A=b").await;
    let config = json!({"version": 1, "registries": [{"url": server.host}]});
    let mut test = run_for("FROM scratch\n", config, true).await;
    with_workers(&mut test, &server.host, &[("aarch64", "worker/web", &arm), ("x86_64", "worker/web", &arm)]);
    test.run.workers.get_mut("x86_64").unwrap().build.annotations.insert("digests".to_owned(), "[]".to_owned());
    let error = plugin(&mut test, "group_manifests", Phase::Postbuild, json!({})).await.unwrap_err().to_string();
    assert!(error.contains("x86_64") && error.contains("1 of 2"), "{error}");
    assert_eq!(server.raw("ns/web:1-1"), Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn floating_names_move_everywhere_or_nowhere() {
    if skipped() {
        return;
    }
    let (first, mut second) = (Server::start(), Server::start());
    let config = json!({"version": 1, "registries": [{"url": first.host}, {"url": second.host}]});
    let mut test = run_for("FROM scratch\n", config.clone(), true).await;
    let arm = pushed(&first, "ns/web:u-aarch64", "arm64", "A=b").await;
    // Made a moment later, so maybe not the same to the last byte.
    let there = pushed(&second, "ns/web:u-aarch64", "arm64", "A=b").await;
    with_workers(&mut test, &first.host, &[("aarch64", "ns/web", &arm)]);
    let entry = |host: &str, digest: &Digest| json!({"registry": host, "repository": "ns/web", "tag": "u", "digest": digest, "version": "oci"});
    let digests = json!([entry(&first.host, &arm.digest), entry(&second.host, &there.digest)]);
    set_digests(&mut test, "aarch64", &digests);
    plugin(&mut test, "group_manifests", Phase::Postbuild, json!({})).await.unwrap();
    assert_eq!(test.run.floating.len(), 2);
    // A failed build moves none.
    let waiting = test.run.floating.clone();
    test.run.records.errors.insert("compare_components".to_owned(), "differ".into());
    assert!(matches!(float(&mut test).await, Ok(Done::Skipped(why)) if why.contains("other/web:latest")));
    test.run.records.errors.clear();
    // The record was written when all was well; then one registry goes away.
    test.run.floating = waiting;
    test.run.build_result = Some(BuildResult::remote());
    let stored = plugin(&mut test, "store_metadata_in_osv3", Phase::Exit, json!({})).await.unwrap();
    let Done::Value(stored) = stored else { panic!("a value") };
    test.run.records.results.entry(Phase::Exit).or_default().insert("store_metadata_in_osv3".to_owned(), Ok(stored));
    let record = |test: &TestRun| {
        let (cluster, name) = (test.cluster.clone(), test.run.build.name.clone());
        async move { cluster.get_build(&name).await.unwrap().annotations["repositories"].clone() }
    };
    assert!(record(&test).await.contains("other/web:latest"), "told before they move");
    second.child.kill().unwrap();
    second.child.wait().unwrap();
    let failure = float(&mut test).await.unwrap_err().into_failure();
    assert_eq!(failure.kind, ErrorKind::Remote);
    assert!(
        failure.message.contains("no floating tag was moved") && failure.message.contains(&second.host),
        "{failure}"
    );
    assert_eq!(first.raw("other/web:latest"), Value::Null, "nowhere");
    let record = record(&test).await;
    assert!(record.contains("ns/web:1-1") && !record.contains("latest"), "{record}");
}

/// A run that has pushed `ns/web:u` and `ns/web:1-1`, an index over both images, of which Pulp has taken a copy.
async fn published(server: &Server) -> (TestRun, Vec<Digest>) {
    let mut lists = PluginLists::default();
    lists.buildstep_plugins.push(PluginEntry::new("orchestrate_build"));
    lists.postbuild_plugins.push(PluginEntry::new("pulp_sync"));
    let mut test = run_with("FROM scratch\n", &[], lists).await;
    let config = json!({"version": 1, "registries": [{"url": server.host}]});
    test.run.config = Arc::new(ReactorConfig::from_json(&config, "config.yaml").unwrap().value);
    test.run.build_result = Some(BuildResult::remote());
    test.run.records.results.entry(Phase::Postbuild).or_default().insert("pulp_sync".to_owned(), Ok(json!(["x"])));
    let amd = pushed(server, "ns/web:u-x86_64", "amd64", "A=mine").await;
    let arm = pushed(server, "ns/web:u-aarch64", "arm64", "A=mine").await;
    with_workers(&mut test, &server.host, &[("x86_64", "ns/web", &amd), ("aarch64", "ns/web", &arm)]);
    for (platform, tag) in [("x86_64", "u-x86_64"), ("aarch64", "u-aarch64")] {
        let annotations = &mut test.run.workers.get_mut(platform).unwrap().build.annotations;
        let text = annotations["digests"].replace("\"u\"", &format!("\"{tag}\""));
        annotations.insert("digests".to_owned(), text);
    }
    plugin(&mut test, "group_manifests", Phase::Postbuild, json!({})).await.unwrap();
    let index = test.run.pushed[0].digests["ns/web:1-1"]["oci_index"].clone();
    (test, vec![index, arm.digest, amd.digest])
}

fn deleted(done: &Done) -> Vec<Digest> {
    let Done::Value(value) = done else { panic!("{done:?}") };
    let mut digests: Vec<Digest> = serde_json::from_value(value.clone()).unwrap();
    digests.sort();
    digests
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_served_pulp_is_deleted() {
    if skipped() {
        return;
    }
    let server = Server::deleting();
    let (mut test, ours) = Box::pin(published(&server)).await;
    // Somebody else's: an older image, and one of ours under a tag that is not of this build.
    let old = pushed(&server, "ns/web:0-9", "amd64", "A=old").await;
    osbs_registry::copy_manifest(&server.client(), "ns/web", &ours[2], "keep").await.unwrap();
    let done = plugin(&mut test, "delete_from_registry", Phase::Exit, json!({})).await.unwrap();
    let mut expected = vec![ours[0].clone(), ours[1].clone()];
    // `other/web:latest` was put at once, because Pulp takes it from here.
    expected.sort();
    assert_eq!(deleted(&done), expected);
    for gone in [
        format!("ns/web@{}", ours[0]),
        format!("ns/web@{}", ours[1]),
        "ns/web:1-1".to_owned(),
        "other/web:latest".to_owned(),
    ] {
        assert_eq!(server.raw(&gone), Value::Null, "{gone}");
    }
    assert_ne!(server.raw(&format!("ns/web@{}", ours[2])), Value::Null, "the tag keep leads to it");
    assert_ne!(server.raw(&format!("ns/web@{}", old.digest)), Value::Null);
    assert!(test.run.pushed.is_empty(), "the record tells of Pulp only");

    // Again: all gone already, and that is no failure.
    let (mut again, ours) = Box::pin(published(&server)).await;
    for digest in &ours[1..] {
        let _ = server.client().delete_manifest("ns/web", digest).await;
    }
    let done = plugin(&mut again, "delete_from_registry", Phase::Exit, json!({})).await.unwrap();
    assert_eq!(deleted(&done), [ours[0].clone()]);
    assert!(again.log_texts().iter().any(|line| line.contains("was gone already")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_another_build_keeps_its_members() {
    if skipped() {
        return;
    }
    let server = Server::deleting();
    let (mut test, ours) = Box::pin(published(&server)).await;
    let arm = server.client().manifest("ns/web", &osbs_types::Reference::Digest(ours[1].clone())).await.unwrap();
    let member = IndexMember { manifest: arm.descriptor, architecture: osbs_types::Architecture::new("arm64") };
    put_index(&server.client(), "ns/web", "theirs", &build_index(&[member])).await.unwrap();
    // Another build has moved one of our names meanwhile.
    let newer = pushed(&server, "ns/web:1-1", "amd64", "A=newer").await;
    let done = plugin(&mut test, "delete_from_registry", Phase::Exit, json!({})).await.unwrap();
    let mut expected = vec![ours[0].clone(), ours[2].clone()];
    expected.sort();
    assert_eq!(deleted(&done), expected);
    assert_ne!(server.raw(&format!("ns/web@{}", ours[1])), Value::Null);
    assert_ne!(server.raw(&format!("ns/web@{}", newer.digest)), Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_does_not_delete() {
    if skipped() {
        return;
    }
    let server = Server::start();
    let (mut test, ours) = Box::pin(published(&server)).await;
    let done = plugin(&mut test, "delete_from_registry", Phase::Exit, json!({})).await.unwrap();
    assert_eq!(done, Done::Value(json!([])));
    assert!(test.log_texts().iter().any(|line| line.contains("does not delete")));
    assert_eq!(test.run.pushed.len(), 1, "what is still there stays on record");
    assert_ne!(server.raw(&format!("ns/web@{}", ours[0])), Value::Null);
}

/// A worker's annotation, for what its orchestrator refuses.
fn set_digests(test: &mut TestRun, platform: &str, annotation: &Value) {
    let annotations = &mut test.run.workers.get_mut(platform).unwrap().build.annotations;
    annotations.insert("digests".to_owned(), annotation.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_cannot_be_grouped() {
    if skipped() {
        return;
    }
    let server = Server::start();
    let arm = pushed(&server, "ns/web:u-aarch64", "arm64", "A=b").await;
    let gone = Digest::from_sha256(&[7; 32]);
    let entry = |registry: &str, digest: &Digest, version: &str| json!([{"registry": registry, "repository": "ns/web", "tag": "u", "digest": digest, "version": version}]);
    let config = json!({"version": 1, "registries": [{"url": server.host}]});
    for (annotation, kind, parts) in [
        (json!([]), ErrorKind::Policy, ["0 of 1 worker builds", "aarch64 (it pushed nothing)"]),
        (json!({}), ErrorKind::Policy, ["0 of 1 worker builds", "aarch64 (it pushed nothing)"]),
        (entry("other.io", &arm.digest, "oci"), ErrorKind::Policy, ["0 of 1", "aarch64 (oci at other.io)"]),
        (entry(&server.host, &arm.digest, "v1"), ErrorKind::Policy, ["0 of 1", "aarch64 (v1 at 127.0.0.1"]),
        (
            entry(&server.host, &gone, "oci"),
            ErrorKind::Remote,
            ["which the worker build for aarch64 pushed", "not there any more"],
        ),
    ] {
        let mut test = run_for("FROM scratch\n", config.clone(), true).await;
        with_workers(&mut test, &server.host, &[("aarch64", "ns/web", &arm)]);
        set_digests(&mut test, "aarch64", &annotation);
        let failure =
            plugin(&mut test, "group_manifests", Phase::Postbuild, json!({})).await.unwrap_err().into_failure();
        assert_eq!(failure.kind, kind, "{annotation}: {failure}");
        for part in parts {
            assert!(failure.message.contains(part), "{part:?} is not in {failure}");
        }
        assert!(failure.hint.is_some() && test.run.pushed.is_empty() && test.run.floating.is_empty(), "{failure}");
        assert_eq!(server.raw("ns/web:1-1"), Value::Null);
    }
    let mut test = run_for("FROM scratch\n", config.clone(), true).await;
    let failure = plugin(&mut test, "group_manifests", Phase::Postbuild, json!({})).await.unwrap_err().into_failure();
    let text = "the image has no names: tag_from_config gave none";
    assert_eq!((failure.kind, failure.message.as_str()), (ErrorKind::Internal, text));
    let mut test = run_for("FROM scratch\n", json!({"version": 1}), true).await;
    with_workers(&mut test, &server.host, &[("aarch64", "ns/web", &arm)]);
    let failure = plugin(&mut test, "group_manifests", Phase::Postbuild, json!({})).await.unwrap_err().into_failure();
    let text = "no registry is configured to push to";
    assert_eq!((failure.kind, failure.message.as_str()), (ErrorKind::Policy, text));
}

#[tokio::test(flavor = "multi_thread")]
async fn media_types_of_an_index_without_amd64() {
    if skipped() {
        return;
    }
    let server = Server::start();
    let (oci, index) = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json");
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let schema1 = "application/vnd.docker.distribution.manifest.v1+json";
    // Platform, what is expected, what is found or missing.
    for (platform, arch, expected, outcome) in [
        ("aarch64", "arm64", json!([docker]), Ok(json!([index]))),
        ("x86_64", "amd64", json!([oci, index, schema1, "application/json"]), Ok(json!([index, oci]))),
        ("x86_64", "amd64", json!([docker]), Err(format!("as {index}, {oci}, not as {docker}"))),
    ] {
        let config = json!({"version": 1, "registries": [{"url": server.host, "expected_media_types": expected}]});
        let mut test = run_for("FROM scratch\n", config, true).await;
        let image = pushed(&server, &format!("ns/web:u-{platform}"), arch, "A=b").await;
        with_workers(&mut test, &server.host, &[(platform, "ns/web", &image)]);
        let Done::Value(made) = plugin(&mut test, "group_manifests", Phase::Postbuild, json!({})).await.unwrap() else {
            panic!("a value")
        };
        test.run.records.results.entry(Phase::Postbuild).or_default().insert("group_manifests".to_owned(), Ok(made));
        test.run.build_result = Some(BuildResult::remote());
        match (plugin(&mut test, "verify_media", Phase::Exit, json!({})).await, outcome) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, Done::Value(wanted), "{expected}"),
            (Err(error), Err(part)) => {
                let failure = error.into_failure();
                assert_eq!(failure.kind, ErrorKind::Policy);
                assert!(failure.message.contains(&part) && failure.message.contains(&server.host), "{failure}");
            }
            (other, wanted) => panic!("{expected}: {other:?}, not {wanted:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_push_and_nowhere() {
    let mut test = run_for("FROM scratch\n", json!({"version": 1}), false).await;
    let failure = plugin(&mut test, "tag_and_push", Phase::Postbuild, json!({})).await.unwrap_err().into_failure();
    assert_eq!((failure.kind, failure.message.as_str()), (ErrorKind::Internal, "there is no built image to push"));
    let args = json!({"parent_registry": "ftp://x"});
    let mut test = run_for("FROM base:1\n", json!({"version": 1}), true).await;
    let failure = plugin(&mut test, "pull_base_image", Phase::Prebuild, args).await.unwrap_err().into_failure();
    assert!(
        failure.kind == ErrorKind::Policy && failure.message.starts_with("parent_registry: \"ftp://x\""),
        "{failure}"
    );
    // Nobody listens there.
    let mut test =
        run_for("FROM base:1\n", json!({"version": 1, "source_registry": {"url": "http://127.0.0.1:1"}}), true).await;
    let failure = plugin(&mut test, "pull_base_image", Phase::Prebuild, json!({})).await.unwrap_err().into_failure();
    assert!(
        failure.kind == ErrorKind::Remote && failure.hint.unwrap().contains("is 127.0.0.1:1 up"),
        "{}",
        failure.message
    );
}

/// A run of the engine whose postbuild step and last exit step end as told, with one name that waits.
async fn run_with_waiting(
    server: &Server,
    manifest: &osbs_registry::Fetched,
    tag: &str,
    exit: &[&str],
    fails: &'static [&'static str],
) -> TestRun {
    let listed = |names: &[&str]| names.iter().map(|name| PluginEntry::new(name)).collect::<Vec<_>>();
    let mut lists = PluginLists {
        buildstep_plugins: listed(&["builder"]),
        postbuild_plugins: listed(&["postbuild_step", "tolerated_step"]),
        exit_plugins: listed(exit),
        ..PluginLists::default()
    };
    lists.postbuild_plugins[1].is_allowed_to_fail = Some(true);
    let mut test = run_with("FROM scratch\n", &[], lists).await;
    let step = |name: &'static str, phases: &'static [Phase]| {
        PluginType::new(name, phases, move |_| {
            Ok(Box::new(Scripted(move |_: &mut _| match fails.contains(&name) {
                true => Err(PluginError::remote("gone wrong")),
                false if name == "builder" => Ok(Done::Built(BuildResult::local(Digest::from_sha256(&[7; 32])))),
                false => Ok(Done::nothing()),
            })))
        })
    };
    let mut types = vec![
        step("builder", &[Phase::Buildstep]),
        step("postbuild_step", &[Phase::Postbuild]),
        step("tolerated_step", &[Phase::Postbuild]),
        step("store_metadata_in_osv3", &[Phase::Exit]),
        step("last_step", &[Phase::Exit]),
    ];
    types.extend(plugins::all().find("push_floating_tags", Phase::Exit).cloned());
    test.run.floating.push(FloatingName {
        registry: server.client(),
        name: format!("ns/web:{tag}").parse().unwrap(),
        manifest: manifest.descriptor.clone(),
        bytes: manifest.bytes.clone().into(),
    });
    let _ = Reactor::new(PluginTypes::new(types)).run(&mut test.run).await;
    test
}

#[tokio::test(flavor = "multi_thread")]
async fn floating_names_and_every_way_a_run_can_end() {
    if skipped() {
        return;
    }
    let server = Server::start();
    let image = pushed(&server, "ns/web:u", "amd64", "A=b").await;
    let manifest = server.client().manifest("ns/web", &osbs_types::Reference::Digest(image.digest)).await.unwrap();
    let usual = &["store_metadata_in_osv3", "last_step"][..];
    for (tag, exit, fails, moves) in [
        ("well", usual, &[][..], true),
        ("tolerated", usual, &["tolerated_step"], true),
        ("postbuild", usual, &["postbuild_step"], false),
        ("built", usual, &["builder"], false),
        ("record", usual, &["store_metadata_in_osv3"], false),
        ("exit", usual, &["last_step"], false),
        // A list of the site's own has it before its last step, as later ones of arrangement 6.
        ("listed", &["store_metadata_in_osv3", "push_floating_tags", "last_step"], &["last_step"], true),
        ("listed-late", &["last_step", "push_floating_tags"], &["last_step"], false),
    ] {
        let test = Box::pin(run_with_waiting(&server, &manifest, tag, exit, fails)).await;
        assert_eq!(server.raw(&format!("ns/web:{tag}")) != Value::Null, moves, "{tag}");
        assert!(test.run.floating.is_empty(), "{tag}: nothing waits any more");
        let record = test.run.records.timestamps;
        let ran: Vec<_> = record.keys().map(String::as_str).filter(|name| *name == "push_floating_tags").collect();
        assert_eq!(ran.len(), 1, "{tag}: once");
    }
}
