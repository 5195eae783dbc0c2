//! Push and pull with a real registry (Debian's docker-registry) behind a line that breaks, stalls and trickles at any
//! byte, and behind a front that answers wrongly. Whatever happens: all right in the end, or a clear error after the
//! retries; no tag on half an image; nothing in the store that is not what its name says.
//!
//! Needs: docker-registry, openssl. `OSBS_TEST_SKIP_REAL=1` skips.

mod support;

use osbs_http::{RetryPolicy, Timeouts, Transport, TransportConfig};
use osbs_image::media_type::{OCI_INDEX, OCI_MANIFEST};
use osbs_image::{BlobSink, Store, StoredImage};
use osbs_registry::{Credentials, Progress, Registry, RegistryConfig, RegistryError, pull, push};
use osbs_types::{Architecture, ErrorKind, Failure, Reference, Secret};
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::fake::{Asked, Fake, Reply};
use support::front::front;
use support::proxy::{Plan, Proxy};
use support::{Bench, Server, digest, layer, skipped, spec};
use tokio_util::sync::CancellationToken;

fn transport() -> Transport {
    let retry = RetryPolicy { retries: 3, base_delay: Duration::from_millis(2), max_delay: Duration::from_millis(50) };
    let timeouts =
        Timeouts { idle: Duration::from_millis(600), commit: Duration::from_millis(600), ..Timeouts::default() };
    Transport::new(TransportConfig { retry, timeouts, ..TransportConfig::default() })
}

fn client(host: &str) -> Registry {
    Registry::new(transport(), RegistryConfig::new(&format!("http://{host}"), false).expect("a registry"))
}

struct Site {
    server: Server,
    bench: Bench,
    image: StoredImage,
    direct: Registry,
    count: AtomicUsize,
}

impl Site {
    fn new() -> Self {
        Self::sized(120_000, 90_000)
    }

    fn sized(one: usize, two: usize) -> Self {
        let (server, bench) = (Server::plain(), Bench::new());
        let image = bench.image("amd64", false, &[layer("one", 1, one), layer("two", 2, two), layer("three", 3, 10)]);
        let direct = client(&server.host);
        Self { server, bench, image, direct, count: AtomicUsize::new(0) }
    }

    fn new_name(&self) -> String {
        format!("r{}", self.count.fetch_add(1, Ordering::SeqCst))
    }

    async fn push(&self, through: &str, name: &str) -> Result<(), RegistryError> {
        push_image(&client(through), &self.bench.store, &self.image, name).await
    }

    /// Into a new store, which is looked at whatever happens.
    async fn pull(&self, through: &str, name: &str) -> Result<(), RegistryError> {
        let bench = Bench::new();
        let pulled = pull_image(&client(through), &bench.store, name).await;
        check_store(&bench.store);
        assert!(pulled.as_ref().ok().is_none_or(|image| *image == self.image), "another image");
        pulled.map(drop)
    }

    /// The tag names the whole image.
    async fn assert_whole(&self, name: &str, what: &str) {
        let there = self.direct.head_manifest(name, &tag()).await.expect("asked");
        assert_eq!(there.map(|it| it.digest), Some(self.image.manifest.digest.clone()), "{what}");
    }

    /// No tag, or one on the whole image.
    async fn assert_no_partial(&self, name: &str, what: &str) {
        if self.direct.head_manifest(name, &tag()).await.expect("asked").is_some() {
            self.pull(&self.server.host, name).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
}

fn tag() -> Reference {
    Reference::Tag("1".into())
}

async fn push_image(to: &Registry, store: &Store, image: &StoredImage, name: &str) -> Result<(), RegistryError> {
    push(to, store, image, name, &tag(), &[], &CancellationToken::new(), Progress::none()).await.map(drop)
}

async fn pull_image(from: &Registry, store: &Store, name: &str) -> Result<StoredImage, RegistryError> {
    let amd = Architecture::new("amd64");
    let cancel = CancellationToken::new();
    pull(from, &spec(&format!("{name}:1")), &amd, store, &cancel, Progress::none()).await.map(|pulled| pulled.image)
}

/// Every blob has the digest of its name.
#[track_caller]
fn check_store(store: &Store) {
    for entry in fs::read_dir(store.root().join("blobs/sha256")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert_eq!(digest(&fs::read(entry.path()).expect("read")).hex(), name, "a half-written blob");
    }
}

fn story(error: &RegistryError) -> String {
    Failure::new(error.kind(), error).to_string()
}

/// Offsets to cut at: densely where heads and small answers are, then evenly, then densely at the end.
fn offsets(whole: u64) -> Vec<u64> {
    let dense = (0..2_500).step_by(113).chain((whole.saturating_sub(2_500)..whole).step_by(113));
    let even = (1..24).map(|part| whole * part / 24 + part * 7);
    dense.chain(even).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_survives_a_cut_at_any_byte() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let clean = Proxy::start(&site.server.host, Plan::default());
    site.push(&clean.host(), &site.new_name()).await.expect("pushed");
    let whole = clean.passed();
    let mut cut = 0;
    for at in offsets(whole) {
        let name = site.new_name();
        let proxy = Proxy::start(&site.server.host, Plan { cuts: vec![at], ..Plan::default() });
        site.push(&proxy.host(), &name)
            .await
            .unwrap_or_else(|error| panic!("cut at {at} of {whole}: {}", story(&error)));
        site.assert_whole(&name, &format!("cut at {at}")).await;
        cut += usize::from(proxy.left() == 0);
    }
    assert!(cut >= 60, "only {cut} cuts came to pass");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_survives_a_cut_at_any_byte() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let name = site.new_name();
    site.push(&site.server.host, &name).await.expect("pushed");
    let clean = Proxy::start(&site.server.host, Plan::default());
    site.pull(&clean.host(), &name).await.expect("pulled");
    let whole = clean.passed();
    let mut cut = 0;
    for at in offsets(whole) {
        let proxy = Proxy::start(&site.server.host, Plan { cuts: vec![at], ..Plan::default() });
        site.pull(&proxy.host(), &name)
            .await
            .unwrap_or_else(|error| panic!("cut at {at} of {whole}: {}", story(&error)));
        cut += usize::from(proxy.left() == 0);
    }
    assert!(cut >= 60, "only {cut} cuts came to pass");
}

/// A line that breaks again and again: a download gets on by what came through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_breaks_all_the_time() {
    if skipped() {
        return;
    }
    let site = Site::sized(9_000_000, 50_000);
    let name = site.new_name();
    site.push(&site.server.host, &name).await.expect("pushed");
    let cuts = (1..6).map(|n| n * 1_600_000).collect();
    let proxy = Proxy::start(&site.server.host, Plan { cuts, ..Plan::default() });
    site.pull(&proxy.host(), &name).await.unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(proxy.left(), 0);
    assert!(proxy.passed() < 14_000_000, "what had come was not asked for again: {}", proxy.passed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_trickles_and_falls_silent() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let pace = Some((4_000, Duration::from_millis(2)));
    let silence = Duration::from_secs(3);
    let start = Instant::now();
    for at in [90, 700, 60_000] {
        let name = site.new_name();
        let plan = Plan { stalls: vec![(at, silence)], pace, ..Plan::default() };
        let proxy = Proxy::start(&site.server.host, plan.clone());
        site.push(&proxy.host(), &name).await.unwrap_or_else(|error| panic!("{at}: {}", story(&error)));
        site.assert_whole(&name, "after a silence").await;
        let proxy = Proxy::start(&site.server.host, plan);
        site.pull(&proxy.host(), &name).await.unwrap_or_else(|error| panic!("{at}: {}", story(&error)));
    }
    assert!(start.elapsed() < Duration::from_secs(15), "nobody waits for the silent: {:?}", start.elapsed());
}

/// The kinds of requests a push and a pull are made of.
fn class(asked: &Asked) -> &'static str {
    match (asked.method.as_str(), asked.target.as_str()) {
        (_, "/v2/") => "ping",
        ("POST", _) => "start",
        ("PUT", target) if target.contains("/uploads/") => "blob",
        ("PUT", _) => "manifest",
        ("HEAD", _) => "look",
        ("GET", target) if target.contains("/manifests/") => "read manifest",
        ("GET", _) => "read blob",
        _ => "other",
    }
}

const ALL: [&str; 7] = ["ping", "start", "blob", "manifest", "look", "read manifest", "read blob"];

/// What the front does instead of answering honestly.
fn fault(kind: &str) -> Reply {
    match kind {
        "429" => Reply::new(429).header("Retry-After", "0").body(r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#),
        "hang up" => Reply::hang_up(),
        "late" => Reply::ok("").delay(Duration::from_millis(900)),
        code => Reply::new(code.parse().expect("a status")).body("<html>proxy error</html>"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_may_fail_once() {
    if skipped() {
        return;
    }
    let site = Site::new();
    for kind in ["429", "500", "502", "503", "504", "hang up", "late"] {
        let seen = Mutex::new(BTreeSet::new());
        let failures = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&failures);
        let fake = front(&site.server.host, move |asked, _, honest| {
            // Uploads have another URL each time: they fail once by digest.
            let key = match class(asked) {
                "blob" => asked.target.split("digest=").nth(1).unwrap_or_default().to_owned(),
                "start" => return honest(asked),
                _ => format!("{} {}", asked.method, asked.target),
            };
            if seen.lock().expect("seen").insert(key) {
                counted.fetch_add(1, Ordering::SeqCst);
                return fault(kind);
            }
            honest(asked)
        });
        let name = site.new_name();
        site.push(&fake.host(), &name).await.unwrap_or_else(|error| panic!("{kind}: {}", story(&error)));
        site.assert_whole(&name, kind).await;
        site.pull(&fake.host(), &name).await.unwrap_or_else(|error| panic!("{kind}: {}", story(&error)));
        assert!(failures.load(Ordering::SeqCst) >= 13, "{kind}: {}", failures.load(Ordering::SeqCst));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_always_fails_is_told_after_the_retries() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let good = site.new_name();
    site.push(&site.server.host, &good).await.expect("pushed");
    for broken in ALL {
        for kind in ["429", "503", "hang up"] {
            let fake = front(
                &site.server.host,
                move |asked, _, honest| {
                    if class(asked) == broken { fault(kind) } else { honest(asked) }
                },
            );
            let name = site.new_name();
            let what = format!("{broken}: {kind}");
            let reading = broken.starts_with("read");
            let result =
                if reading { site.pull(&fake.host(), &good).await } else { site.push(&fake.host(), &name).await };
            let error = result.expect_err(&what);
            let text = story(&error);
            assert_eq!(error.kind(), ErrorKind::Remote, "{what}: {text}");
            assert!(text.contains(&fake.host()), "{what}: {text}");
            assert!(kind == "hang up" || (text.contains(kind) && text.contains("4 attempts")), "{what}: {text}");
            // Four attempts a request; up to four requests go on side by side.
            let asked = fake.log().iter().filter(|asked| class(asked) == broken).count();
            assert!((4..=16).contains(&asked), "{what}: {asked}");
            site.assert_no_partial(&name, &what).await;
        }
    }
}

/// How an honest answer is changed.
type Change = Box<dyn Fn(Reply) -> Reply + Send + Sync>;

fn with(reply: Reply, name: &str, value: &str) -> Reply {
    let mut reply = reply;
    reply.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    reply.header(name, value)
}

/// One lie in every answer of a class; `expected`: what the error says, or none.
async fn check_lie(site: &Site, good: &str, broken: &'static str, what: &str, expected: Option<&str>, change: Change) {
    let fake = front(&site.server.host, move |asked, _, honest| {
        let reply = honest(asked);
        if class(asked) == broken && reply.status < 300 { change(reply) } else { reply }
    });
    let name = site.new_name();
    let reading = broken.starts_with("read");
    let result = if reading { site.pull(&fake.host(), good).await } else { site.push(&fake.host(), &name).await };
    match (result, expected) {
        (Ok(()), None) => {}
        (Err(error), Some(text)) => {
            assert_eq!(error.kind(), ErrorKind::Remote, "{broken}, {what}: {}", story(&error));
            assert!(story(&error).contains(text), "{broken}, {what}: {text:?} is not in {}", story(&error));
        }
        (result, _) => panic!("{broken}, {what}: {result:?}"),
    }
    site.assert_no_partial(&name, what).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_lengths_digests_and_types() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let good = site.new_name();
    site.push(&site.server.host, &good).await.expect("pushed");
    let other = digest(b"other").to_string();
    let wrong_digest = |other: &str| -> Change {
        let other = other.to_owned();
        Box::new(move |reply| with(reply, "Docker-Content-Digest", &other))
    };
    let flipped = || -> Change {
        Box::new(|mut reply| {
            let middle = reply.body.len() / 2;
            if let Some(byte) = reply.body.get_mut(middle) {
                *byte ^= 1;
            }
            reply
        })
    };
    let shorter = || -> Change {
        Box::new(|reply| {
            let end = reply.body.len() - 5;
            reply.clone().body(&reply.body[..end])
        })
    };
    let longer = || -> Change {
        Box::new(|reply| {
            let more = [&reply.body[..], b"     "].concat();
            reply.body(more)
        })
    };
    // Promised, and never sent.
    let promised = || -> Change {
        Box::new(|reply| {
            let length = (reply.body.len() + 7).to_string();
            with(reply, "Content-Length", &length)
        })
    };
    let kind = |value: &'static str| -> Change { Box::new(move |reply| with(reply, "Content-Type", value)) };

    let lie =
        async |broken, what: &str, expected, change| check_lie(&site, &good, broken, what, expected, change).await;
    lie("read manifest", "digest in the header", Some("wrong bytes for the manifest"), wrong_digest(&other)).await;
    lie("read manifest", "one bit", Some("wrong bytes for the manifest"), flipped()).await;
    lie("read manifest", "shorter", Some("wrong bytes for the manifest"), shorter()).await;
    lie("read manifest", "longer", Some("wrong bytes for the manifest"), longer()).await;
    lie("read manifest", "promised", Some("broke after"), promised()).await;
    lie("read manifest", "an index", Some("makes no sense"), kind(OCI_INDEX)).await;
    lie("read manifest", "not told", None, kind("application/json")).await;
    lie("read manifest", "with a charset", None, kind("application/vnd.oci.image.manifest.v1+json; charset=utf-8"))
        .await;
    assert_eq!(OCI_MANIFEST, "application/vnd.oci.image.manifest.v1+json");
    lie("read blob", "one bit", Some("wrong bytes"), flipped()).await;
    lie("read blob", "shorter", Some("bytes for"), shorter()).await;
    lie("read blob", "longer", Some("bytes for"), longer()).await;
    lie("read blob", "promised", Some("bytes"), promised()).await;
    lie("read blob", "type", None, kind("text/html")).await;
    lie("manifest", "digest in the header", Some("wrong bytes for the manifest we put"), wrong_digest(&other)).await;
    lie("blob", "digest in the header", Some("wrong bytes for the blob we put"), wrong_digest(&other)).await;
}

/// 202 where 201 belongs: believed only if what was sent is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_is_not_created() {
    if skipped() {
        return;
    }
    let site = Site::new();
    for broken in ["blob", "manifest"] {
        // Kept, but said in other words.
        let change: Change = Box::new(|reply| Reply { status: 202, ..reply });
        check_lie(&site, "", broken, "202, and kept", None, change).await;
        // Said, and not kept.
        let fake = front(
            &site.server.host,
            move |asked, _, honest| {
                if class(asked) == broken { Reply::new(202) } else { honest(asked) }
            },
        );
        let name = site.new_name();
        let error = site.push(&fake.host(), &name).await.expect_err("not kept");
        assert!(story(&error).contains("it took what was sent, but does not have it"), "{}", story(&error));
        site.assert_no_partial(&name, "202").await;
    }
    // Lost once: sent again.
    let lost = AtomicUsize::new(0);
    let fake = front(&site.server.host, move |asked, _, honest| {
        let first = class(asked) == "blob" && lost.fetch_add(1, Ordering::SeqCst) == 0;
        if first { Reply::new(202) } else { honest(asked) }
    });
    let name = site.new_name();
    site.push(&fake.host(), &name).await.expect("sent again");
    site.assert_whole(&name, "lost once").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_the_registry_forgot() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let forgotten = AtomicUsize::new(0);
    let fake = front(&site.server.host, move |asked, _, honest| {
        if class(asked) == "blob" && forgotten.fetch_add(1, Ordering::SeqCst) < 3 {
            // Really: the registry is told to forget it, and then asked.
            honest(&Asked { method: "DELETE".into(), body: Vec::new(), ..asked.clone() });
        }
        honest(asked)
    });
    let name = site.new_name();
    site.push(&fake.host(), &name).await.unwrap_or_else(|error| panic!("{}", story(&error)));
    site.assert_whole(&name, "forgotten").await;
    let fake = front(&site.server.host, |asked, _, honest| {
        if class(asked) == "blob" {
            honest(&Asked { method: "DELETE".into(), body: Vec::new(), ..asked.clone() });
        }
        honest(asked)
    });
    let name = site.new_name();
    let error = site.push(&fake.host(), &name).await.expect_err("always forgotten");
    assert!(story(&error).contains("BLOB_UPLOAD_UNKNOWN"), "{}", story(&error));
    site.assert_no_partial(&name, "always forgotten").await;
}

/// `Location` relative, absolute, and at another host, which gets no login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_go_where_the_registry_says() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let bucket = front(&site.server.host, |asked, _, honest| honest(asked));
    for place in ["relative", "absolute", "elsewhere"] {
        let away = bucket.host();
        let fake = front(&site.server.host, move |asked, _, honest| {
            if asked.header("authorization").is_none() {
                return Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\"");
            }
            let reply = honest(asked);
            let told = reply.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("location"));
            let Some((_, location)) = told.cloned().filter(|_| class(asked) == "start") else { return reply };
            let path = location.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| rest[at..].to_owned()));
            let path = path.unwrap_or(location);
            let host = asked.header("host").unwrap_or_default();
            match place {
                "relative" => with(reply, "Location", &path),
                "absolute" => with(reply, "Location", &format!("http://{host}{path}")),
                _ => with(reply, "Location", &format!("http://{away}{path}")),
            }
        });
        let config = RegistryConfig::new(&format!("http://{}", fake.host()), false).expect("a registry");
        let login = Credentials::single(&fake.host(), "me", Secret::new("pw"));
        let registry = Registry::new(transport(), config.with_credentials(login));
        let name = site.new_name();
        push_image(&registry, &site.bench.store, &site.image, &name)
            .await
            .unwrap_or_else(|e| panic!("{place}: {}", story(&e)));
        site.assert_whole(&name, place).await;
    }
    let log = bucket.log();
    assert_eq!(log.len(), 4, "three layers and the config");
    assert!(log.iter().all(|asked| asked.header("authorization").is_none()));
}

/// A blob kept elsewhere: the other host gets no login, and its question for one is not answered, whoever it names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_redirected_to_gets_no_login() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let good = site.new_name();
    site.push(&site.server.host, &good).await.expect("pushed");
    let thief = Fake::start(|_, _| Reply::ok(r#"{"token":"x"}"#));
    let realm = thief.url("/token");
    let challenges = [
        String::new(),
        "Basic realm=\"give me\"".to_owned(),
        format!("Bearer realm=\"{realm}\",service=\"x\",scope=\"repository:a:pull\""),
    ];
    for challenge in challenges {
        let honest_elsewhere = challenge.is_empty();
        let bucket = front(&site.server.host, move |asked, _, honest| {
            if challenge.is_empty() {
                honest(asked)
            } else {
                Reply::new(401).header("WWW-Authenticate", challenge.clone())
            }
        });
        let away = bucket.host();
        let fake = front(&site.server.host, move |asked, _, honest| match class(asked) {
            _ if asked.header("authorization").is_none() => {
                Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\"")
            }
            "read blob" => Reply::new(307).header("Location", format!("http://{away}{}", asked.target)),
            _ => honest(asked),
        });
        let config = RegistryConfig::new(&format!("http://{}", fake.host()), false).expect("a registry");
        let login = Credentials::single(&fake.host(), "me", Secret::new("pw"));
        let registry = Registry::new(transport(), config.with_credentials(login));
        let bench = Bench::new();
        let result = pull_image(&registry, &bench.store, &good).await;
        assert_eq!(result.is_ok(), honest_elsewhere, "{result:?}");
        check_store(&bench.store);
        assert!(!bucket.log().is_empty());
        assert!(bucket.log().iter().all(|asked| asked.header("authorization").is_none()));
    }
    assert_eq!(thief.lines(), [""; 0]);
}

/// A layer that goes up while it is made, over a line that breaks at any byte: the layer is whole in the store, and the
/// push sends what did not arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_is_made_good_by_the_push() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let bytes =
        fs::read(site.bench.store.root().join("blobs/sha256").join(site.image.layers[0].digest.hex())).expect("read");
    let mut broken = 0;
    for part in 0..24_u64 {
        let name = site.new_name();
        let at = if part < 12 { part * 131 } else { (part - 11) * 9_600 };
        let plan = Plan { cuts: vec![at], ..Plan::default() };
        let proxy = Proxy::start(&site.server.host, plan);
        let registry = client(&proxy.host());
        if let Ok(upload) = registry.start_upload(&name).await {
            let (mut sink, outcome) = upload.into_sink();
            let (bytes, digest) = (bytes.clone(), site.image.layers[0].digest.clone());
            let written = tokio::task::spawn_blocking(move || {
                for piece in bytes.chunks(5_000) {
                    sink.write(piece).expect("never fails");
                }
                sink.finish(&digest, bytes.len() as u64).expect("never fails");
            });
            written.await.expect("written");
            broken += usize::from(outcome.wait().await.is_err());
        }
        push_image(&registry, &site.bench.store, &site.image, &name)
            .await
            .unwrap_or_else(|error| panic!("cut at {at}: {}", story(&error)));
        site.assert_whole(&name, &format!("cut at {at}")).await;
    }
    assert!(broken >= 10, "{broken} streams broke");
}
