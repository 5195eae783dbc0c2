//! Pull and push against a registry that lies, breaks off and forgets.

#[path = "../../osbs-http/tests/fake/mod.rs"]
mod fake;

use fake::{Asked, Fake, Reply};
use osbs_http::{RetryPolicy, Transport, TransportConfig};
use osbs_image::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use osbs_image::{BlobSink, Descriptor, ImageConfig, Manifest, Store, StoredImage, canonical_json};
use osbs_registry::{
    Credentials, Progress, Pulled, Registry, RegistryConfig, RegistryError, copy_image, inspect, pull, push,
};
use osbs_types::{Architecture, Digest, ErrorKind, Failure, PullSpec, Reference, Secret};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&sha2::Sha256::digest(bytes).into())
}

fn transport() -> Transport {
    let retry = RetryPolicy { retries: 3, base_delay: Duration::from_millis(2), max_delay: Duration::from_secs(1) };
    Transport::new(TransportConfig { retry, ..TransportConfig::default() })
}

fn registry_at(host: &str) -> Registry {
    Registry::new(transport(), RegistryConfig::new(&format!("http://{host}"), false).expect("a registry"))
}

/// An image as bytes: two layers, a config, a manifest.
#[derive(Clone)]
struct Image {
    blobs: BTreeMap<String, Vec<u8>>,
    layer: Digest,
    manifest: Vec<u8>,
    config: Digest,
}

impl Image {
    fn new() -> Self {
        let layers: [Vec<u8>; 2] = [vec![1; 300_000], (0..3_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect()];
        let mut config = ImageConfig::scratch(&Architecture::new("amd64"));
        config.rootfs.diff_ids = layers.iter().map(|layer| digest(layer)).collect();
        let config = canonical_json(&config);
        let describe = |kind: &str, bytes: &[u8]| Descriptor::new(kind, digest(bytes), bytes.len() as u64);
        let manifest = canonical_json(&Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.into(),
            config: describe(OCI_CONFIG, &config),
            layers: layers.iter().map(|layer| describe(OCI_LAYER, layer)).collect(),
            annotations: None,
            other: serde_json::Map::new(),
        });
        let (layer, config_digest) = (digest(&layers[1]), digest(&config));
        let blobs = layers.into_iter().chain([config]).map(|blob| (digest(&blob).to_string(), blob)).collect();
        Self { blobs, layer, manifest, config: config_digest }
    }

    /// What an honest registry answers.
    fn reply(&self, asked: &Asked) -> Reply {
        let path = asked.target.split('?').next().unwrap_or_default();
        if path == "/v2/" {
            return Reply::ok("{}");
        }
        if path.starts_with("/v2/a/b/manifests/") {
            return Reply::ok(self.manifest.clone()).header("Content-Type", OCI_MANIFEST);
        }
        let blob = path.strip_prefix("/v2/a/b/blobs/").and_then(|name| self.blobs.get(name));
        blob.map_or_else(|| Reply::new(404), |blob| Reply::ranged(asked, blob))
    }

    fn is_layer(&self, asked: &Asked) -> bool {
        asked.method == "GET" && asked.target.ends_with(self.layer.as_str())
    }
}

struct Bench {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store")).expect("a store");
        Self { _folder: folder, store }
    }

    async fn pull(&self, registry: &Registry) -> Result<Pulled, RegistryError> {
        let spec: PullSpec = "a/b:1".parse().expect("a name");
        let amd = Architecture::new("amd64");
        pull(registry, &spec, &amd, &self.store, &CancellationToken::new(), Progress::none()).await
    }
}

/// The whole story as a user sees it.
fn story(error: &RegistryError) -> String {
    Failure::new(error.kind(), error).to_string()
}

#[tokio::test]
async fn a_cut_is_gone_on_with() {
    let image = Image::new();
    let (served, cuts) = (image.clone(), AtomicUsize::new(0));
    // Three cuts at 100,000 bytes each, then well.
    let fake = Fake::start(move |asked, _| {
        let reply = served.reply(asked);
        if served.is_layer(asked) && cuts.fetch_add(1, Ordering::SeqCst) < 3 { reply.cut_at(100_000) } else { reply }
    });
    let bench = Bench::new();
    let seen = Arc::new(AtomicU64::new(0));
    let observer = Arc::clone(&seen);
    let progress = Progress::new(move |done, total| {
        assert!(done <= total);
        observer.fetch_max(done, Ordering::SeqCst);
    });
    let spec: PullSpec = "a/b:1".parse().expect("a name");
    let (amd, cancel) = (Architecture::new("amd64"), CancellationToken::new());
    let pulled = pull(&registry_at(&fake.host()), &spec, &amd, &bench.store, &cancel, progress).await.expect("pulled");
    assert_eq!((pulled.digest, pulled.image.layers.len()), (digest(&image.manifest), 2));
    assert_eq!(seen.load(Ordering::SeqCst), 3_300_000);
    let starts: Vec<_> = fake.log().iter().filter(|asked| image.is_layer(asked)).map(Asked::range_start).collect();
    assert_eq!(starts, [None, Some(100_000), Some(200_000), Some(300_000)]);

    let before = fake.log().len();
    bench.pull(&registry_at(&fake.host())).await.expect("pulled again");
    let asked_again = fake.lines()[before..].iter().filter(|line| line.contains("/blobs/")).count();
    assert_eq!(asked_again, 0, "all of it was there");
}

#[tokio::test]
async fn a_server_without_ranges_starts_again() {
    let image = Image::new();
    let (served, cuts) = (image.clone(), AtomicUsize::new(0));
    let fake = Fake::start(move |asked, _| {
        if !served.is_layer(asked) {
            return served.reply(asked);
        }
        let whole = Reply::ok(served.blobs[served.layer.as_str()].clone());
        if cuts.fetch_add(1, Ordering::SeqCst) == 0 { whole.cut_at(50_000) } else { whole }
    });
    Bench::new().pull(&registry_at(&fake.host())).await.expect("pulled");
}

#[tokio::test]
async fn a_part_survives_the_process() {
    let image = Image::new();
    let (served, broken) = (image.clone(), AtomicUsize::new(0));
    // Dead after 1,500,000 bytes, for good; alive for the second pull.
    let fake = Fake::start(move |asked, _| match (served.is_layer(asked), broken.load(Ordering::SeqCst)) {
        (true, 0) => {
            broken.store(1, Ordering::SeqCst);
            served.reply(asked).cut_at(1_500_000)
        }
        (true, 1..=5) => {
            broken.fetch_add(1, Ordering::SeqCst);
            Reply::new(503)
        }
        _ => served.reply(asked),
    });
    let bench = Bench::new();
    let error = bench.pull(&registry_at(&fake.host())).await.expect_err("dead");
    assert_eq!((error.kind(), error.status()), (ErrorKind::Remote, Some(503)), "{error:?}");
    // Uses up what is left of the outage.
    let _ = bench.pull(&registry_at(&fake.host())).await;
    bench.pull(&registry_at(&fake.host())).await.expect("pulled");
    let last = fake.log().iter().rfind(|asked| image.is_layer(asked)).and_then(Asked::range_start);
    assert_eq!(last, Some(1_500_000));
}

#[track_caller]
fn check_lie(change: impl Fn(&Image, &Asked, Reply) -> Reply + Send + Sync + 'static, expected: &[&str]) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let image = Image::new();
    let fake = Fake::start(move |asked, _| change(&image, asked, image.reply(asked)));
    let bench = Bench::new();
    let error = runtime.block_on(bench.pull(&registry_at(&fake.host()))).expect_err("a lie");
    let story = story(&error);
    assert_eq!(error.kind(), ErrorKind::Remote, "{story}");
    for part in expected.iter().copied().chain([fake.host().as_str()]) {
        assert!(story.contains(part), "{part:?} is not in {story}");
    }
}

#[test]
fn lies_are_told_apart() {
    let layer = Image::new().layer.to_string();
    let at_layer = |change: fn(Reply) -> Reply| {
        move |image: &Image, asked: &Asked, reply: Reply| if image.is_layer(asked) { change(reply) } else { reply }
    };
    // Other bytes of the right length.
    check_lie(at_layer(|reply| Reply { body: vec![9; reply.body.len()], ..reply }), &["wrong bytes", "a/b", &layer]);
    check_lie(at_layer(|reply| reply.body("short")), &["5 bytes", "3000000", &layer]);
    check_lie(
        at_layer(|reply| Reply { body: [reply.body.as_slice(), b"more"].concat(), ..reply }),
        &["promises 3000000", &layer],
    );
    let is_manifest = |asked: &Asked| asked.target.contains("/manifests/");
    let other = digest(b"other");
    check_lie(
        move |_, asked, reply| {
            if is_manifest(asked) { reply.header("Docker-Content-Digest", digest(b"other").to_string()) } else { reply }
        },
        &["wrong bytes", "the manifest", other.as_str()],
    );
    check_lie(
        move |_, asked, reply| if is_manifest(asked) { Reply::ok(vec![b' '; 5 << 20]) } else { reply },
        &["longer than 4194304 bytes"],
    );
    check_lie(
        move |image, asked, reply| {
            let confused = Reply::ok(image.manifest.clone()).header("Content-Type", OCI_INDEX);
            if is_manifest(asked) { confused } else { reply }
        },
        &["makes no sense"],
    );
    check_lie(
        move |_, asked, reply| if is_manifest(asked) { Reply::ok("<html>") } else { reply },
        &["not a JSON manifest"],
    );
    check_lie(
        |image, asked, reply| if asked.target.ends_with(image.config.as_str()) { Reply::ok("{}") } else { reply },
        &["2 bytes"],
    );
}

#[tokio::test]
async fn by_digest_nothing_else_is_believed() {
    let image = Image::new();
    let fake = Fake::start(move |asked, _| image.reply(asked));
    let asked = Reference::Digest(digest(b"something else"));
    let error = registry_at(&fake.host()).manifest("a/b", &asked).await.expect_err("other bytes");
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_not_there_is_the_users_affair() {
    let image = Image::new();
    let fake = Fake::start(move |asked, _| match asked.target.as_str() {
        target if target.contains("gone") => Reply::new(404).body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
        target if target.contains("old") => Reply::ok(r#"{"schemaVersion":1,"fsLayers":[]}"#),
        _ => image.reply(asked),
    });
    let registry = registry_at(&fake.host());
    let spec = |text: &str| text.parse::<PullSpec>().expect("a name");
    let error = inspect(&registry, &spec("a/gone:1"), None).await.expect_err("gone");
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::User, format!("registry {} has no a/gone:1", fake.host()))
    );
    let error = inspect(&registry, &spec("a/old:1"), None).await.expect_err("schema 1");
    assert!(matches!(error, RegistryError::MediaType { .. }), "{error:?}");
    let bench = Bench::new();
    let (arm, cancel) = (Architecture::new("arm64"), CancellationToken::new());
    let error = pull(&registry, &spec("a/b:1"), &arm, &bench.store, &cancel, Progress::none()).await.expect_err("arm");
    assert!(matches!(error, RegistryError::NoSuchPlatform { .. }), "{error:?}");
    for bad in ["../x", "A/b", "a//b", "a/b?x", "a b", ""] {
        let error = registry.tags(bad).await.expect_err(bad);
        assert!(matches!(error, RegistryError::BadName { .. }), "{bad:?} {error:?}");
    }
    let error = registry.manifest("a/b", &Reference::Tag("../../x".into())).await.expect_err("a bad tag");
    assert!(matches!(error, RegistryError::BadName { .. }), "{error:?}");
}

/// A registry behind a token server that knows one login.
fn guarded(image: Image, realm_host: Arc<Mutex<String>>, lives: u64, refuse_first: bool) -> Fake {
    let refusals = AtomicUsize::new(usize::from(!refuse_first));
    Fake::start(move |asked, _| {
        if asked.target.starts_with("/token") {
            let scopes: Vec<_> = asked.target.split('&').filter(|part| part.contains("scope=")).collect();
            return match asked.header("authorization") {
                Some("Basic bWU6cHc=") => Reply::ok(format!(r#"{{"token":"T{}","expires_in":{lives}}}"#, scopes.len())),
                _ => Reply::new(401).body("who are you"),
            };
        }
        let realm = realm_host.lock().expect("realm").clone();
        let challenge = format!(r#"Bearer realm="http://{realm}/token",service="fake""#);
        let known = asked.header("authorization").is_some_and(|value| value.starts_with("Bearer T"));
        let expired = asked.target.contains("/blobs/") && refusals.fetch_add(1, Ordering::SeqCst) == 0;
        if !known || expired { Reply::new(401).header("WWW-Authenticate", challenge) } else { image.reply(asked) }
    })
}

fn with_login(host: &str, login_host: &str, password: &str) -> Registry {
    let config = RegistryConfig::new(&format!("http://{host}"), false).expect("a registry");
    Registry::new(transport(), config.with_credentials(Credentials::single(login_host, "me", Secret::new(password))))
}

#[tokio::test]
async fn tokens_are_fetched_kept_and_renewed() {
    let realm = Arc::new(Mutex::new(String::new()));
    let fake = guarded(Image::new(), Arc::clone(&realm), 300, true);
    *realm.lock().expect("realm") = fake.host();
    Bench::new().pull(&with_login(&fake.host(), &fake.host(), "pw")).await.expect("pulled");
    let tokens: Vec<_> = fake.lines().into_iter().filter(|line| line.contains("/token")).collect();
    assert_eq!(tokens.len(), 2, "one at first, one when it was refused: {tokens:?}");
    assert_eq!(tokens[0], "GET /token?service=fake&scope=repository%3Aa%2Fb%3Apull");
    let leaked = fake.log().into_iter().filter(|asked| !asked.target.starts_with("/token"));
    assert!(leaked.map(|asked| asked.headers).all(|headers| !headers.values().any(|value| value.starts_with("Basic"))));
}

#[tokio::test]
async fn a_wrong_password_is_told_and_never_shown() {
    let realm = Arc::new(Mutex::new(String::new()));
    let fake = guarded(Image::new(), Arc::clone(&realm), 300, false);
    *realm.lock().expect("realm") = fake.host();
    let error = Bench::new().pull(&with_login(&fake.host(), &fake.host(), "hunter2")).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Policy);
    let text = format!("{} {error:?}", story(&error));
    assert!(text.contains("is not accepted") && text.contains("who are you"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("bWU6"), "{text}");
    // The login of another registry is not tried at all.
    let error =
        Bench::new().pull(&with_login(&fake.host(), "other.example.com", "hunter2")).await.expect_err("refused");
    assert!(story(&error).contains("no login"), "{}", story(&error));
    let sent: Vec<_> = fake.log().iter().filter_map(|asked| asked.header("authorization").map(str::to_owned)).collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
}

#[tokio::test]
async fn a_redirect_target_gets_no_login_and_may_not_ask() {
    let image = Image::new();
    let thief = Fake::start(|_, _| Reply::new(401).header("WWW-Authenticate", r#"Basic realm="give me""#));
    let store = thief.url("/blob");
    let served = image.clone();
    let fake = Fake::start(move |asked, _| {
        if asked.header("authorization").is_none() {
            return Reply::new(401).header("WWW-Authenticate", r#"Basic realm="home""#);
        }
        if asked.target.contains("/blobs/") {
            Reply::new(307).header("Location", store.clone())
        } else {
            served.reply(asked)
        }
    });
    let error = Bench::new().pull(&with_login(&fake.host(), &fake.host(), "pw")).await.expect_err("refused");
    assert!(matches!(error, RegistryError::Denied { .. }), "{error:?}");
    assert!(!thief.log().is_empty());
    assert!(thief.log().iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test]
async fn blobs_may_live_elsewhere() {
    let image = Image::new();
    let (served, blobs) = (image.clone(), image.clone());
    let bucket = Fake::start(move |asked, _| {
        let name = asked.target.trim_start_matches('/').to_owned();
        blobs.blobs.get(&name).map_or_else(|| Reply::new(404), |blob| Reply::ranged(asked, blob))
    });
    let at = bucket.host();
    let fake = Fake::start(move |asked, _| match asked.target.strip_prefix("/v2/a/b/blobs/") {
        Some(name) => Reply::new(307).header("Location", format!("http://{at}/{name}")),
        None => served.reply(asked),
    });
    Bench::new().pull(&registry_at(&fake.host())).await.expect("pulled");
    assert_eq!(bucket.log().len(), 3);
}

/// An image in a store, ready to be pushed.
fn stored(bench: &Bench) -> StoredImage {
    let image = Image::new();
    for blob in image.blobs.values().chain([&image.manifest]) {
        bench.store.put_small(blob).expect("stored");
    }
    let manifest = Descriptor::new(OCI_MANIFEST, digest(&image.manifest), image.manifest.len() as u64);
    StoredImage::load(&bench.store, &manifest).expect("an image")
}

async fn push_to(registry: &Registry, bench: &Bench, image: &StoredImage) -> Result<Descriptor, RegistryError> {
    let (tag, cancel) = (Reference::Tag("1".into()), CancellationToken::new());
    push(registry, &bench.store, image, "a/b", &tag, &["parent".to_owned()], &cancel, Progress::none()).await
}

/// Takes blobs, and manifests only when their blobs are there.
#[derive(Default)]
struct Shelf {
    blobs: Mutex<BTreeMap<String, Vec<u8>>>,
    manifests: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Shelf {
    fn reply(&self, asked: &Asked) -> Reply {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        match (asked.method.as_str(), path) {
            ("POST", _) => Reply::new(202).header("Location", "/v2/a/b/blobs/uploads/7?state=x"),
            ("PATCH", _) => {
                self.blobs.lock().expect("blobs").insert("patched".into(), asked.body.clone());
                Reply::new(202).header("Location", "/v2/a/b/blobs/uploads/7?state=y")
            }
            ("PUT", path) if path.contains("/uploads/") => {
                let mut blobs = self.blobs.lock().expect("blobs");
                let body = blobs.remove("patched").filter(|_| asked.body.is_empty()).unwrap_or(asked.body.clone());
                let promised = query.split("digest=").nth(1).unwrap_or_default().replace("%3A", ":");
                let found = digest(&body).to_string();
                if promised != found {
                    return Reply::new(400).body(r#"{"errors":[{"code":"DIGEST_INVALID","message":"other bytes"}]}"#);
                }
                blobs.insert(found.clone(), body);
                Reply::new(201).header("Docker-Content-Digest", found)
            }
            ("PUT", path) => {
                self.manifests.lock().expect("manifests").insert(path.to_owned(), asked.body.clone());
                Reply::new(201).header("Docker-Content-Digest", digest(&asked.body).to_string())
            }
            ("HEAD", path) if path.contains("/blobs/") => {
                let name = path.rsplit('/').next().unwrap_or_default();
                Reply::new(if self.blobs.lock().expect("blobs").contains_key(name) { 200 } else { 404 })
            }
            _ => Reply::ok("{}"),
        }
    }
}

#[tokio::test]
async fn a_push_is_sent_again_from_the_start() {
    let bench = Bench::new();
    let image = stored(&bench);
    let shelf = Arc::new(Shelf::default());
    let (served, failures) = (Arc::clone(&shelf), AtomicUsize::new(0));
    let fake = Fake::start(move |asked, _| {
        let is_body = asked.method == "PUT" && asked.target.contains("/uploads/");
        match is_body.then(|| failures.fetch_add(1, Ordering::SeqCst)) {
            Some(0) => Reply::new(500),
            Some(1) => Reply::hang_up(),
            Some(2) => Reply::new(404).body(r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#),
            _ => served.reply(asked),
        }
    });
    let pushed = push_to(&registry_at(&fake.host()), &bench, &image).await.expect("pushed");
    assert_eq!(pushed, image.manifest);
    assert_eq!(shelf.blobs.lock().expect("blobs").len(), 3);
    let lines = fake.lines();
    assert_eq!(lines.last().map(String::as_str), Some("PUT /v2/a/b/manifests/1"));
    assert!(lines.iter().any(|line| line.contains("mount=sha256") && line.contains("from=parent")), "{lines:?}");

    push_to(&registry_at(&fake.host()), &bench, &image).await.expect("pushed again");
    let again = &fake.lines()[lines.len()..];
    assert!(again.iter().all(|line| !line.starts_with("POST")), "{again:?}");
}

#[tokio::test]
async fn a_registry_that_is_down_is_tried_and_told() {
    let bench = Bench::new();
    let image = stored(&bench);
    let gone = Fake::start(|_, _| Reply::ok(""));
    let host = gone.host();
    drop(gone);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = push_to(&registry_at(&host), &bench, &image).await.expect_err("down");
    let text = story(&error);
    assert_eq!(error.kind(), ErrorKind::Remote);
    for part in [host.as_str(), "4 attempts", "refused"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let sick = Fake::start(|asked, _| match (asked.method.as_str(), asked.target.as_str()) {
        (_, "/v2/") => Reply::ok(""),
        ("HEAD", _) => Reply::new(404),
        _ => Reply::new(503).body("tired"),
    });
    let error = push_to(&registry_at(&sick.host()), &bench, &image).await.expect_err("sick");
    let text = story(&error);
    assert!(text.contains("503 (4 attempts)") && text.contains("tired") && text.contains(&sick.host()), "{text}");
    // Only the answer to the body itself is bad.
    let full = Fake::start(|asked, _| match asked.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/v2/a/b/blobs/uploads/7"),
        "PUT" => Reply::new(507).body("disk full"),
        "HEAD" => Reply::new(404),
        _ => Reply::ok("{}"),
    });
    let error = push_to(&registry_at(&full.host()), &bench, &image).await.expect_err("full");
    let text = story(&error);
    assert!(text.contains("507 (1 attempts): disk full"), "{text}");
}

#[tokio::test]
async fn a_registry_that_computes_another_digest_is_not_believed() {
    let bench = Bench::new();
    let image = stored(&bench);
    let shelf = Shelf::default();
    let fake = Fake::start(move |asked, _| {
        let reply = shelf.reply(asked);
        if !asked.target.contains("/manifests/") {
            return reply;
        }
        Reply::new(201).header("Docker-Content-Digest", digest(b"changed").to_string())
    });
    let error = push_to(&registry_at(&fake.host()), &bench, &image).await.expect_err("another digest");
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_goes_up_while_it_is_made() {
    let shelf = Arc::new(Shelf::default());
    let served = Arc::clone(&shelf);
    let fake = Fake::start(move |asked, _| served.reply(asked));
    let layer: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    let expected = digest(&layer);
    let upload = registry_at(&fake.host()).start_upload("a/b").await.expect("started");
    let (mut sink, outcome) = upload.into_sink();
    let (bytes, name) = (layer.clone(), expected.clone());
    tokio::task::spawn_blocking(move || {
        for piece in bytes.chunks(7777) {
            sink.write(piece).expect("never fails");
        }
        sink.finish(&name, bytes.len() as u64).expect("never fails");
    })
    .await
    .expect("written");
    assert_eq!(outcome.wait().await.expect("sent"), Some(expected.clone()));
    assert_eq!(shelf.blobs.lock().expect("blobs").get(expected.as_str()), Some(&layer));

    // Dropped half-way: given up, and the registry is told.
    let upload = registry_at(&fake.host()).start_upload("a/b").await.expect("started");
    let (sink, outcome) = upload.into_sink();
    drop(sink);
    assert_eq!(outcome.wait().await.expect("given up"), None);
    assert!(fake.lines().iter().any(|line| line.starts_with("DELETE")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_upload_does_not_break_the_layer() {
    let fake = Fake::start(|asked, _| match asked.method.as_str() {
        "PATCH" => Reply::new(500),
        "POST" => Reply::new(202).header("Location", "/v2/a/b/blobs/uploads/7"),
        _ => Reply::ok("{}"),
    });
    let upload = registry_at(&fake.host()).start_upload("a/b").await.expect("started");
    let (mut sink, outcome) = upload.into_sink();
    tokio::task::spawn_blocking(move || {
        for _ in 0..100 {
            sink.write(&vec![5; 100_000]).expect("never fails");
        }
        sink.finish(&digest(b""), 10_000_000).expect("never fails");
    })
    .await
    .expect("written");
    let error = outcome.wait().await.expect_err("broken");
    assert_eq!(error.status(), Some(500), "{error:?}");
}

#[tokio::test]
async fn cancelling_ends_at_once() {
    let image = Image::new();
    let fake = Fake::start(move |asked, _| {
        let reply = image.reply(asked);
        if image.is_layer(asked) { reply.delay(Duration::from_secs(20)) } else { reply }
    });
    let cancel = CancellationToken::new();
    let bench = Bench::new();
    let spec: PullSpec = "a/b:1".parse().expect("a name");
    let (amd, registry) = (Architecture::new("amd64"), registry_at(&fake.host()));
    let later = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        later.cancel();
    });
    let start = std::time::Instant::now();
    let error = pull(&registry, &spec, &amd, &bench.store, &cancel, Progress::none()).await.expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn plain_http_is_found_out_and_gets_no_login() {
    let fake = Fake::start_at("0.0.0.0", |_, _| Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\""));
    let port = fake.host().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let connect = |uri: String, insecure: bool| {
        let config = RegistryConfig::new(&uri, insecure).expect("a registry");
        let login = Credentials::single(config.host(), "me", Secret::new("pw"));
        Registry::new(transport(), config.with_credentials(login))
    };
    // Loopback: falls back, login may go.
    let _ = connect(format!("127.0.0.1:{port}"), false).tags("x").await;
    assert_eq!(fake.log().iter().filter(|asked| asked.header("authorization").is_some()).count(), 1);
    // A name of this machine that is not loopback.
    let Some(address) = other_address() else { return };
    let config = RegistryConfig::new(&format!("{address}:{port}"), true).expect("a registry").or_plain_http();
    let login = Credentials::single(config.host(), "me", Secret::new("pw"));
    let asked_for = Registry::new(transport(), config.with_credentials(login));
    let error = asked_for.tags("x").await.expect_err("no login over plain HTTP");
    assert!(matches!(error, RegistryError::Denied { .. }), "{error:?}");
    assert_eq!(fake.log().iter().filter(|asked| asked.header("authorization").is_some()).count(), 1);
    // Insecure is not plain HTTP: not spoken to at all, whether certificates are verified or not.
    let before = fake.log().len();
    for insecure in [true, false] {
        let error = connect(format!("{address}:{port}"), insecure).tags("x").await.expect_err("no TLS");
        assert!(matches!(error, RegistryError::Transport { .. }), "{error:?}");
    }
    // The TLS greeting is not a request.
    assert!(fake.lines()[before..].iter().all(|line| !line.contains("/v2/")));
    // The site wrote http://.
    let _ = connect(format!("http://{address}:{port}"), false).tags("x").await;
    assert_eq!(fake.log().iter().filter(|asked| asked.header("authorization").is_some()).count(), 2);
}

/// An address of this machine that is not loopback; connecting a UDP socket sends nothing.
fn other_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test]
async fn a_registry_that_does_not_mount_gets_a_copy() {
    let image = Image::new();
    let shelf = Arc::new(Shelf::default());
    let (source, served, cuts) = (image.clone(), Arc::clone(&shelf), AtomicUsize::new(0));
    // Repository a/b is full; what is asked of others goes to the shelf, which answers every mount with an upload.
    let fake = Fake::start(move |asked, _| {
        let reading = asked.target.starts_with("/v2/a/b/") && asked.method == "GET";
        match reading {
            true if source.is_layer(asked) && cuts.fetch_add(1, Ordering::SeqCst) == 0 => {
                source.reply(asked).cut_at(1000)
            }
            true => source.reply(asked),
            false => served.reply(asked),
        }
    });
    let (registry, cancel) = (registry_at(&fake.host()), CancellationToken::new());
    let tag = Reference::Tag("final".into());
    let name = digest(&image.manifest);
    let copied = copy_image(&registry, "a/b", &name, "to", Some(&tag), &cancel).await.expect("copied");
    assert_eq!(copied.digest, name);
    assert_eq!(*shelf.blobs.lock().expect("blobs"), image.blobs);
    assert_eq!(shelf.manifests.lock().expect("manifests").get("/v2/to/manifests/final"), Some(&image.manifest));
}

#[tokio::test]
async fn a_refresh_token_is_exchanged() {
    let realm = Arc::new(Mutex::new(String::new()));
    let (image, host) = (Image::new(), Arc::clone(&realm));
    let fake = Fake::start(move |asked, _| match (asked.method.as_str(), asked.header("authorization")) {
        ("POST", _) => Reply::ok(r#"{"access_token":"T1"}"#),
        (_, Some("Bearer T1")) => image.reply(asked),
        _ => {
            let realm = host.lock().expect("realm");
            let challenge = format!(r#"Bearer realm="http://{realm}/token",service="fake""#);
            Reply::new(401).header("WWW-Authenticate", challenge)
        }
    });
    *realm.lock().expect("realm") = fake.host();
    let file = format!(r#"{{"auths":{{"{}":{{"auth":"","identitytoken":"refresh me"}}}}}}"#, fake.host());
    let credentials = Credentials::parse(file.as_bytes(), std::path::Path::new("auth.json")).expect("credentials");
    let config = RegistryConfig::new(&format!("http://{}", fake.host()), false).expect("a registry");
    let registry = Registry::new(transport(), config.with_credentials(credentials));
    Bench::new().pull(&registry).await.expect("pulled");
    let posts: Vec<_> = fake.log().into_iter().filter(|asked| asked.method == "POST").collect();
    let form = String::from_utf8_lossy(&posts[0].body).into_owned();
    assert_eq!(posts.len(), 1);
    assert!(form.contains("grant_type=refresh_token") && form.contains("refresh_token=refresh+me"), "{form}");
}
