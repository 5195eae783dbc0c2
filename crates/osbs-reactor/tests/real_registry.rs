//! Parents and final names against a real registry (Debian's docker-registry), with skopeo reading the result.
//!
//! Needs: docker-registry, skopeo. `OSBS_TEST_SKIP_REAL=1` skips.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is how a test fails")]

use osbs_cluster::{Cluster, MemoryCluster, Script};
use osbs_config::ReactorConfig;
use osbs_image::{Compression, Descriptor, ImageConfig, ImageFormat, Store, StoredImage};
use osbs_reactor::build_json::{PluginEntry, PluginLists};
use osbs_reactor::testing::{TestRun, run_with};
use osbs_reactor::{Done, PluginError, TagClass, WorkerBuild, plugins};
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
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let data = folder.path().join("data");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {host}\n",
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
