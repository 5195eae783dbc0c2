//! Against a real registry (Debian's docker-registry), with skopeo reading the results.
//!
//! Needs: docker-registry, skopeo, openssl. `OSBS_TEST_SKIP_REAL=1` skips.

mod support;

use osbs_http::{Bytes, RetryPolicy, Transport, TransportConfig};
use osbs_image::BlobSink;
use osbs_image::media_type::OCI_INDEX;
use osbs_registry::{
    Credentials, IndexMember, Progress, Registry, RegistryConfig, RegistryError, build_index, copy_image,
    copy_manifest, inspect, pull, put_index, resolve,
};
use osbs_types::{Architecture, ErrorKind, Failure, Reference};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::{Bench, Server, digest, layer, run, skipped, spec};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_and_back() {
    if skipped() {
        return;
    }
    let (server, bench) = (Server::plain(), Bench::new());
    let registry = server.client();
    let layers = [layer("one", 1, 5_000_000), layer("two", 2, 300), layer("one", 1, 5_000_000)];
    for docker in [false, true] {
        let image = bench.image("amd64", docker, &layers);
        let name = if docker { "ns/docker" } else { "ns/oci" };
        let pushed = bench.push(&registry, &image, name, "1.0").await.expect("pushed");
        assert_eq!(digest(&server.skopeo_raw(&format!("{name}:1.0"))), pushed.digest);
        let target = format!("dir:{}", server.path(&format!("copy{docker}")).display());
        let source = format!("docker://{}/{name}:1.0", server.host);
        run("skopeo", &["copy", "--src-tls-verify=false", "--insecure-policy", &source, &target]);

        let other = Bench::new();
        let seen = Arc::new(AtomicU64::new(0));
        let observer = Arc::clone(&seen);
        let progress = Progress::new(move |done, _| {
            observer.fetch_max(done, Ordering::SeqCst);
        });
        let amd = Architecture::new("amd64");
        let pulled = pull(&registry, &spec(&format!("{name}:1.0")), &amd, &other.store, &other.cancel, progress).await;
        let pulled = pulled.expect("pulled");
        assert_eq!((pulled.image, &pulled.digest), (image.clone(), &image.manifest.digest));
        assert_eq!(seen.load(Ordering::SeqCst), layers.iter().map(|layer| layer.len() as u64).sum::<u64>());

        let inspected = inspect(&registry, &spec(&format!("{name}:1.0")), None).await.expect("inspected");
        assert_eq!(
            (&inspected.config, digest(&inspected.config_bytes)),
            (&image.image_config, image.image_id().clone())
        );
        assert_eq!(resolve(&registry, &spec(&format!("{name}:1.0"))).await.expect("resolved"), image.manifest);
    }
    assert_eq!(registry.tags("ns/oci").await.expect("tags"), ["1.0"]);
    assert_eq!(registry.tags("ns/nothing").await.expect("no tags"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_over_two_platforms_in_another_repository() {
    if skipped() {
        return;
    }
    let (server, bench) = (Server::plain(), Bench::new());
    let registry = server.client();
    let base = layer("base", 3, 100_000);
    let mut members = Vec::new();
    for name in ["arm64", "amd64"] {
        let image = bench.image(name, false, &[base.clone(), layer(name, 4, 2_000)]);
        let pushed = bench.push(&registry, &image, "worker/app", &format!("unique-{name}")).await.expect("pushed");
        copy_image(&registry, "worker/app", &pushed.digest, "app", None, &bench.cancel).await.expect("copied");
        members.push(IndexMember { manifest: pushed, architecture: image.image_config.architecture() });
    }
    let index = build_index(&members);
    let told = put_index(&registry, "app", "1.0", &index).await.expect("put");
    assert_eq!((server.skopeo_raw("app:1.0"), &told), (index.bytes.clone(), &index.descriptor.digest));
    let parsed: serde_json::Value = serde_json::from_slice(&index.bytes).expect("JSON");
    let found: Vec<_> = (0..2).map(|n| parsed["manifests"][n]["platform"]["architecture"].as_str()).collect();
    assert_eq!((parsed["mediaType"].as_str(), found), (Some(OCI_INDEX), vec![Some("amd64"), Some("arm64")]));

    let other = Bench::new();
    for (name, member) in ["arm64", "amd64"].into_iter().zip(&members) {
        let architecture = Architecture::new(name);
        let pulled =
            pull(&registry, &spec("app:1.0"), &architecture, &other.store, &other.cancel, Progress::none()).await;
        let pulled = pulled.expect("pulled");
        assert_eq!((&pulled.image.manifest, &pulled.digest), (&member.manifest, &told));
        assert_eq!(pulled.index.as_ref(), Some(&index.descriptor));
        let args = ["--override-arch", name, "inspect", "--config", "--raw", "--tls-verify=false"];
        let image = format!("docker://{}/app:1.0", server.host);
        let config = run("skopeo", &[args.as_slice(), &[&image]].concat());
        assert_eq!(&digest(&config), pulled.image.image_id());
    }
    let s390x = Architecture::new("s390x");
    let error = pull(&registry, &spec("app:1.0"), &s390x, &other.store, &other.cancel, Progress::none()).await;
    let error = error.expect_err("no such platform");
    assert!(error.to_string().ends_with("has no image for s390x, only for amd64, arm64"), "{error}");

    // Another tag on the same digest; then gone, with all its tags.
    copy_manifest(&registry, "app", &told, "latest").await.expect("tagged");
    assert_eq!(server.skopeo_raw("app:latest"), index.bytes);
    let latest = Reference::Tag("latest".into());
    let head = registry.head_manifest("app", &latest).await.expect("asked").expect("there");
    assert_eq!(head, index.descriptor);
    registry.delete_manifest("app", &told).await.expect("deleted");
    assert_eq!(registry.head_manifest("app", &latest).await.expect("asked"), None);
    let error = registry.delete_manifest("app", &told).await.expect_err("gone");
    assert_eq!(error.status(), Some(404));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_are_mounted_or_streamed_and_never_sent_twice() {
    if skipped() {
        return;
    }
    let (server, bench) = (Server::plain(), Bench::new());
    let registry = server.client();
    let (base, top) = (layer("base", 5, 1_000_000), layer("top", 6, 3_000_000));
    let parent = bench.image("amd64", false, std::slice::from_ref(&base));
    bench.push(&registry, &parent, "base", "1").await.expect("the parent");
    assert!(registry.mount_blob("base", "mounted", &digest(&base)).await.expect("asked"));
    assert!(registry.blob_exists("mounted", &digest(&base)).await.expect("asked"));
    assert!(!registry.mount_blob("base", "mounted", &digest(b"nothing")).await.expect("asked"));

    // The new layer goes up while it is made; the push then finds it there.
    let (mut sink, outcome) = registry.start_upload("app").await.expect("started").into_sink();
    let (bytes, name) = (top.clone(), digest(&top));
    tokio::task::spawn_blocking(move || {
        for piece in bytes.chunks(10_000) {
            sink.write(piece).expect("never fails");
        }
        sink.finish(&name, bytes.len() as u64).expect("never fails");
    })
    .await
    .expect("written");
    assert_eq!(outcome.wait().await.expect("sent"), Some(digest(&top)));
    assert!(registry.blob_exists("app", &digest(&top)).await.expect("asked"));
    let image = bench.image("amd64", false, &[base, top.clone()]);
    // The layer is no longer in the store: neither is read from it.
    fs::remove_file(bench.store.root().join("blobs/sha256").join(digest(&top).hex())).expect("removed");
    bench.push(&registry, &image, "app", "1").await.expect("pushed");
    assert_eq!(digest(&server.skopeo_raw("app:1")), image.manifest.digest);

    // A wrong digest at the end is refused by the registry and told.
    let mut upload = registry.start_upload("app").await.expect("started");
    upload.write(Bytes::from_static(b"abc")).await.expect("written");
    let error = upload.finish(&digest(b"other")).await.expect_err("other bytes");
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_comes_back_in_time() {
    if skipped() {
        return;
    }
    let bench = Bench::new();
    let mut server = Server::prepare("", "");
    let registry = server.client();
    let image = bench.image("amd64", false, &[layer("a", 7, 1000)]);
    let starting = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(300));
        server.start();
        server
    });
    let pushed = bench.push(&registry, &image, "late", "1").await;
    let server = starting.await.expect("started");
    assert_eq!(digest(&server.skopeo_raw("late:1")), pushed.expect("pushed").digest);
    drop(server);
    let error = bench.push(&registry, &image, "late", "2").await.expect_err("down");
    let text = Failure::new(error.kind(), &error).to_string();
    assert!(error.kind() == ErrorKind::Remote && text.contains("refused") && text.contains("late"), "{text}");
    println!("{text}");
}

/// An authority (`ca.pem`) and a certificate of 127.0.0.1 signed by it.
fn certificate(folder: &Path) {
    let at = |name: &str| folder.join(name).display().to_string();
    let (ca, ca_key, cert, key) = (at("ca.pem"), at("ca-key.pem"), at("cert.pem"), at("key.pem"));
    let fixed = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    run("openssl", &[&fixed[..], &["-subj", "/CN=ca", "-keyout", &ca_key, "-out", &ca]].concat());
    let leaf = ["-subj", "/CN=r", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
    let signed = ["-CA", &ca, "-CAkey", &ca_key, "-keyout", &key, "-out", &cert];
    run("openssl", &[&fixed[..], &leaf, &signed].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_basic() {
    if skipped() {
        return;
    }
    let tls = "  tls: {certificate: @/cert.pem, key: @/key.pem}";
    let mut server = Server::prepare(tls, "auth: {htpasswd: {realm: x, path: @/htpasswd}}");
    certificate(server.folder.path());
    // me / "pa ss:word"
    fs::write(server.path("htpasswd"), "me:$2b$05$abcdefghijklmnopqrstuusPBQwQlll2HYp4Xk4tS0QUu8aaMBluC\n")
        .expect("written");
    server.start();
    let auth = format!(r#"{{"auths": {{"{}": {{"auth": "bWU6cGEgc3M6d29yZA=="}}}}}}"#, server.host);
    fs::write(server.path("auth.json"), auth).expect("written");
    let credentials = Credentials::read(&server.path("auth.json")).expect("credentials");
    let (bench, https) = (Bench::new(), format!("https://{}", server.host));
    let image = bench.image("amd64", false, &[layer("a", 8, 1_000_000)]);
    let connect = |insecure: bool, login: bool, roots: Vec<Vec<u8>>| {
        let retry = RetryPolicy { base_delay: Duration::from_millis(5), ..RetryPolicy::default() };
        let transport = Transport::new(TransportConfig { retry, extra_roots: roots, ..TransportConfig::default() });
        let config = RegistryConfig::new(&https, insecure).expect("a registry");
        let login = if login { credentials.clone() } else { Credentials::default() };
        Registry::new(transport, config.with_credentials(login))
    };
    bench.push(&connect(true, true, Vec::new()), &image, "safe", "1").await.expect("pushed without verification");

    let root = fs::read(server.path("ca.pem")).expect("a certificate");
    let verified = connect(false, true, vec![root]);
    bench.push(&verified, &image, "safe", "2").await.expect("pushed with our own root");
    let other = Bench::new();
    let amd = Architecture::new("amd64");
    pull(&verified, &spec("safe:2"), &amd, &other.store, &other.cancel, Progress::none()).await.expect("pulled");
    let args = ["inspect", "--raw", "--tls-verify=false", "--creds", "me:pa ss:word"];
    let raw = run("skopeo", &[args.as_slice(), &[&format!("docker://{}/safe:2", server.host)]].concat());
    assert_eq!(digest(&raw), image.manifest.digest);

    let error = bench.push(&connect(false, true, Vec::new()), &image, "safe", "3").await.expect_err("not trusted");
    assert!(matches!(error, RegistryError::Transport { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Remote);
    let error = bench.push(&connect(true, false, Vec::new()), &image, "safe", "3").await.expect_err("no login");
    assert_eq!(error.kind(), ErrorKind::Policy);
    assert!(error.to_string().contains("has no login"), "{error}");
}
