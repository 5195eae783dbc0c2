//! Against a real registry (Debian's docker-registry), with skopeo reading the results.
//!
//! Needs: docker-registry, skopeo, openssl. `OSBS_TEST_SKIP_REAL=1` skips.

use osbs_http::{Bytes, RetryPolicy, Transport, TransportConfig};
use osbs_image::media_type::{
    DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST,
};
use osbs_image::{BlobSink, Descriptor, ImageConfig, Manifest, Store, StoredImage, canonical_json};
use osbs_registry::{
    Credentials, IndexMember, Progress, Registry, RegistryConfig, RegistryError, build_index, copy_image,
    copy_manifest, inspect, pull, push, put_index, resolve,
};
use osbs_types::{Architecture, Digest, ErrorKind, Failure, PullSpec, Reference};
use sha2::Digest as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[expect(clippy::print_stdout, reason = "whoever reads the test log must see it")]
fn skipped() -> bool {
    let skip = std::env::var_os("OSBS_TEST_SKIP_REAL").is_some();
    if skip {
        println!("skipped: OSBS_TEST_SKIP_REAL is set");
    }
    skip
}

#[track_caller]
fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: apt-get install {program}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A running docker-registry with its own folder and port.
struct Server {
    folder: tempfile::TempDir,
    host: String,
    child: Option<Child>,
}

impl Server {
    fn prepare(more_http: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let host = format!("127.0.0.1:{port}");
        let at = folder.path().display().to_string();
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {at}/data}}\n  delete: {{enabled: true}}\nhttp:\n  addr: {host}\n{more_http}\n{more}\n"
        )
        .replace('@', &at);
        fs::write(folder.path().join("config.yml"), config).expect("written");
        Self { folder, host, child: None }
    }

    fn start(&mut self) {
        let log = fs::File::create(self.path("log")).expect("a log");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(self.path("config.yml"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry: {error}: apt-get install docker-registry"));
        self.child = Some(child);
        let start = Instant::now();
        while TcpStream::connect(&self.host).is_err() {
            let log = || fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(10), "docker-registry does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn plain() -> Self {
        let mut server = Self::prepare("", "");
        server.start();
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn skopeo_raw(&self, image: &str) -> Vec<u8> {
        run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{}/{image}", self.host)])
    }

    fn client(&self) -> Registry {
        Registry::new(transport(), RegistryConfig::new(&self.host, false).expect("a registry"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn transport() -> Transport {
    let retry = RetryPolicy { retries: 3, base_delay: Duration::from_millis(200), max_delay: Duration::from_secs(2) };
    Transport::new(TransportConfig { retry, ..TransportConfig::default() })
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&sha2::Sha256::digest(bytes).into())
}

/// A tar with one file, so that programs that look inside find an honest layer.
fn layer(name: &str, seed: u32, size: usize) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = header.to_vec();
    let mut state = seed | 1;
    tar.extend((0..size).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

struct Bench {
    _folder: tempfile::TempDir,
    store: Store,
    cancel: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store")).expect("a store");
        Self { _folder: folder, store, cancel: CancellationToken::new() }
    }

    fn image(&self, architecture: &str, docker: bool, layers: &[Vec<u8>]) -> StoredImage {
        let (manifest_type, config_type, layer_type) =
            if docker { (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER) } else { (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER) };
        let put = |kind: &str, bytes: &[u8]| {
            Descriptor::new(kind, self.store.put_small(bytes).expect("stored"), bytes.len() as u64)
        };
        let mut config = ImageConfig::scratch(&Architecture::new(architecture));
        config.rootfs.diff_ids = layers.iter().map(|layer| digest(layer)).collect();
        let manifest = Manifest {
            schema_version: 2,
            media_type: manifest_type.into(),
            config: put(config_type, &canonical_json(&config)),
            layers: layers.iter().map(|layer| put(layer_type, layer)).collect(),
            annotations: None,
            other: serde_json::Map::new(),
        };
        StoredImage::load(&self.store, &put(manifest_type, &canonical_json(&manifest))).expect("an image")
    }

    async fn push(
        &self,
        registry: &Registry,
        image: &StoredImage,
        repository: &str,
        tag: &str,
    ) -> Result<Descriptor, RegistryError> {
        let tag = Reference::Tag(tag.into());
        push(registry, &self.store, image, repository, &tag, &["base".to_owned()], &self.cancel, Progress::none()).await
    }
}

fn spec(text: &str) -> PullSpec {
    text.parse().expect("a name")
}

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
