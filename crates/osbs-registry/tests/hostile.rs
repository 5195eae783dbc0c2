//! Registries that mean harm: one test for each line of what has happened to others, and for each limit.

#[path = "../../osbs-http/tests/fake/mod.rs"]
mod fake;

use fake::{Asked, Fake, Reply};
use osbs_http::{RetryPolicy, Transport, TransportConfig};
use osbs_image::media_type::{DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use osbs_image::{ImageConfig, Store, StoredImage, canonical_json};
use osbs_registry::{Credentials, Progress, Registry, RegistryConfig, RegistryError, pull, push};
use osbs_types::{Architecture, Digest, ErrorKind, Failure, PullSpec, Reference};
use serde_json::{Value, json};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&sha2::Sha256::digest(bytes).into())
}

fn transport() -> Transport {
    let retry = RetryPolicy { retries: 2, base_delay: Duration::from_millis(2), max_delay: Duration::from_millis(20) };
    Transport::new(TransportConfig { retry, ..TransportConfig::default() })
}

fn registry(host: &str, credentials: Credentials) -> Registry {
    let config = RegistryConfig::new(&format!("http://{host}"), false).expect("a registry");
    Registry::new(transport(), config.with_credentials(credentials))
}

fn anonymous(host: &str) -> Registry {
    registry(host, Credentials::default())
}

/// Blobs and the document under every tag of `a/b`.
#[derive(Clone)]
struct Image {
    blobs: BTreeMap<String, Vec<u8>>,
    document: Value,
    media_type: &'static str,
}

impl Image {
    fn new() -> Self {
        let layer = vec![7; 5_000];
        let mut config = ImageConfig::scratch(&Architecture::new("amd64"));
        config.rootfs.diff_ids = vec![digest(&layer)];
        let config = canonical_json(&config);
        let describe =
            |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let document = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": describe(OCI_CONFIG, &config),
            "layers": [describe(OCI_LAYER, &layer)],
        });
        let blobs = [layer, config].into_iter().map(|blob| (digest(&blob).to_string(), blob)).collect();
        Self { blobs, document, media_type: OCI_MANIFEST }
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.document).expect("JSON")
    }

    fn reply(&self, asked: &Asked) -> Reply {
        let path = asked.target.split('?').next().unwrap_or_default();
        if path == "/v2/" {
            return Reply::ok("{}");
        }
        if path.starts_with("/v2/a/b/manifests/") {
            return Reply::ok(self.bytes()).header("Content-Type", self.media_type);
        }
        let blob = path.strip_prefix("/v2/a/b/blobs/").and_then(|name| self.blobs.get(name));
        blob.map_or_else(|| Reply::new(404), |blob| Reply::ranged(asked, blob))
    }

    fn serve(&self) -> Fake {
        let image = self.clone();
        Fake::start(move |asked, _| image.reply(asked))
    }
}

struct Bench {
    folder: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store")).expect("a store");
        Self { folder, store }
    }

    async fn pull(&self, from: &Registry) -> Result<StoredImage, RegistryError> {
        let spec: PullSpec = "a/b:1".parse().expect("a name");
        let (amd, cancel) = (Architecture::new("amd64"), CancellationToken::new());
        pull(from, &spec, &amd, &self.store, &cancel, Progress::none()).await.map(|pulled| pulled.image)
    }

    async fn push(&self, to: &Registry, image: &StoredImage) -> Result<(), RegistryError> {
        let (tag, cancel) = (Reference::Tag("1".into()), CancellationToken::new());
        push(to, &self.store, image, "a/b", &tag, &[], &cancel, Progress::none()).await.map(drop)
    }

    fn blobs(&self) -> usize {
        fs::read_dir(self.store.root().join("blobs/sha256")).into_iter().flatten().count()
    }
}

fn story(error: &RegistryError) -> String {
    Failure::new(error.kind(), error).to_string()
}

/// OSBS 2017, "credentials for the right registry": two registries, two passwords, and a third that wants one.
#[tokio::test]
async fn each_registry_sees_its_own_password_only() {
    let image = Image::new();
    let guarded = |password: &'static str, writable: bool| {
        let image = image.clone();
        Fake::start(move |asked, _| match asked.header("authorization") {
            Some(sent) if sent == password => match asked.method.as_str() {
                "HEAD" if writable => Reply::new(404),
                "GET" | "HEAD" => image.reply(asked),
                "POST" => Reply::new(202).header("Location", "/v2/a/b/blobs/uploads/1"),
                _ => Reply::new(201),
            },
            _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"any\""),
        })
    };
    // "one:first", "two:second"
    let (one, two) = (guarded("Basic b25lOmZpcnN0", false), guarded("Basic dHdvOnNlY29uZA==", true));
    let third = guarded("Basic bm90aGluZw==", false);
    let file = json!({"auths": {
        one.host(): {"auth": "b25lOmZpcnN0"},
        two.host(): {"auth": "dHdvOnNlY29uZA=="},
    }});
    let credentials = Credentials::parse(file.to_string().as_bytes(), Path::new("auth.json")).expect("credentials");
    let bench = Bench::new();
    let pulled = bench.pull(&registry(&one.host(), credentials.clone())).await.expect("pulled");
    bench.push(&registry(&two.host(), credentials.clone()), &pulled).await.expect("pushed");
    let error = bench.pull(&registry(&third.host(), credentials)).await.expect_err("no login for it");
    assert!(story(&error).contains("no login"), "{}", story(&error));
    let sent = |fake: &Fake| {
        let mut sent: Vec<_> =
            fake.log().iter().filter_map(|asked| asked.header("authorization").map(str::to_owned)).collect();
        sent.sort();
        sent.dedup();
        sent
    };
    assert_eq!(sent(&one), ["Basic b25lOmZpcnN0"]);
    assert_eq!(sent(&two), ["Basic dHdvOnNlY29uZA=="]);
    assert_eq!(sent(&third), [""; 0]);
}

/// CVE-2024-3727: a digest that is none is refused in every field, before anything is asked or written by its name.
#[tokio::test]
async fn digests_are_validated_wherever_they_stand() {
    let good = "ab".repeat(32);
    let bad = [
        String::new(),
        "sha256".to_owned(),
        "sha256:".to_owned(),
        "sha256:../../../../etc/passwd".to_owned(),
        format!("sha256:{}", &good[1..]),
        format!("sha256:{good}0"),
        format!("sha256:{}", good.to_uppercase()),
        format!("sha256:{}/x", &good[2..]),
        format!("md5:{}", "ab".repeat(16)),
        format!("SHA256:{good}"),
        format!("../sha256:{good}"),
        format!("sha256:{good}\n"),
        format!("sha256:{good}?x"),
    ];
    for digest in &bad {
        for place in ["/config/digest", "/layers/0/digest"] {
            let mut image = Image::new();
            *image.document.pointer_mut(place).expect("there") = json!(digest);
            let (fake, bench) = (image.serve(), Bench::new());
            bench.pull(&anonymous(&fake.host())).await.expect_err(place);
            let lines = fake.lines();
            assert!(lines.iter().all(|line| !line.contains("/blobs/")), "{digest:?} in {place}: {lines:?}");
            assert_eq!(bench.blobs(), 0);
        }
        let mut index = Image::new();
        index.media_type = OCI_INDEX;
        index.document = json!({"schemaVersion": 2, "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": digest, "size": 5, "platform": {"architecture": "amd64", "os": "linux"}},
        ]});
        let (fake, bench) = (index.serve(), Bench::new());
        bench.pull(&anonymous(&fake.host())).await.expect_err("an index");
        assert_eq!(fake.lines().len(), 2, "{digest:?}: {:?}", fake.lines());
        // In the answer's head: a word that cannot be believed is no word.
        if digest.ends_with('\n') {
            continue;
        }
        let (image, told) = (Image::new(), digest.clone());
        let fake = Fake::start(move |asked, _| image.reply(asked).header("Docker-Content-Digest", told.clone()));
        let bench = Bench::new();
        bench.pull(&anonymous(&fake.host())).await.expect("nothing was told");
        assert!(fs::read_dir(bench.folder.path()).expect("list").count() == 1);
    }
}

/// CVE-2021-41190: the same bytes read as an image here and as an index there.
#[tokio::test]
async fn bytes_have_one_meaning() {
    let both = |media_type: Option<&str>| {
        let mut image = Image::new();
        let document = image.document.as_object_mut().expect("an object");
        document.insert("manifests".into(), json!([]));
        document.remove("mediaType");
        if let Some(media_type) = media_type {
            document.insert("mediaType".into(), json!(media_type));
        }
        image
    };
    for header in [OCI_MANIFEST, OCI_INDEX, "application/json"] {
        for named in [None, Some(OCI_MANIFEST), Some(OCI_INDEX)] {
            let image = Image { media_type: header, ..both(named) };
            let fake = image.serve();
            let error = Bench::new().pull(&anonymous(&fake.host())).await.expect_err("two meanings");
            assert!(story(&error).contains("both image and index"), "{}", story(&error));
        }
    }
    // The header says one thing, the document another.
    let image = Image { media_type: DOCKER_MANIFEST, ..Image::new() };
    let error = Bench::new().pull(&anonymous(&image.serve().host())).await.expect_err("two types");
    assert!(story(&error).contains("makes no sense"), "{}", story(&error));
    // An index promises another type than is sent.
    let inner = Image::new();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{
        "mediaType": DOCKER_MANIFEST, "digest": digest(&inner.bytes()), "size": inner.bytes().len(),
        "platform": {"architecture": "amd64", "os": "linux"},
    }]});
    let fake = Fake::start(move |asked, _| match asked.target.as_str() {
        "/v2/a/b/manifests/1" => Reply::ok(index.to_string()).header("Content-Type", OCI_INDEX),
        _ => inner.reply(asked),
    });
    let error = Bench::new().pull(&anonymous(&fake.host())).await.expect_err("another type");
    assert!(matches!(error, RegistryError::MediaType { .. }), "{}", story(&error));
}

/// CVE-2020-15157: the URL of a foreign layer is asked by nobody, with or without a password.
#[tokio::test]
async fn urls_of_foreign_layers_are_never_asked() {
    let thief = Fake::start(|_, _| Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\""));
    let mut image = Image::new();
    let layer = &mut image.document["layers"][0];
    layer["mediaType"] = json!(FOREIGN);
    layer["urls"] = json!([thief.url("/layer"), "http://169.254.169.254/layer"]);
    let name = layer["digest"].as_str().expect("a digest").to_owned();
    let fake = image.serve();
    // The registry has the bytes: taken from it. It has not: an error, and nobody else is asked.
    Bench::new().pull(&anonymous(&fake.host())).await.expect("pulled");
    image.blobs.remove(&name);
    let fake = image.serve();
    let login = Credentials::single(&fake.host(), "me", osbs_types::Secret::new("pw"));
    let error = Bench::new().pull(&registry(&fake.host(), login)).await.expect_err("not there");
    assert!(matches!(error, RegistryError::NotFound { .. }), "{}", story(&error));
    assert_eq!(thief.lines(), [""; 0]);
}

#[track_caller]
fn check_limit(expected: &str, handler: impl Fn(&Image, &Asked, Reply) -> Reply + Send + Sync + 'static) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let image = Image::new();
    let fake = Fake::start(move |asked, _| handler(&image, asked, image.reply(asked)));
    let start = Instant::now();
    let bench = Bench::new();
    let error = runtime.block_on(bench.pull(&anonymous(&fake.host()))).expect_err(expected);
    assert!(story(&error).contains(expected), "{expected:?} is not in {}", story(&error));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(fake.log().len() <= 40, "{} requests", fake.log().len());
}

#[test]
fn limits_are_told() {
    let is_manifest = |asked: &Asked| asked.target.contains("/manifests/");
    let is_blob = |asked: &Asked| asked.target.contains("/blobs/");
    // Manifest: announced, and in pieces.
    check_limit("longer than 4194304 bytes", move |_, asked, reply| {
        if is_manifest(asked) { Reply::ok(vec![b' '; 4 << 20 | 1]) } else { reply }
    });
    // Config: by its descriptor, and by what comes.
    check_limit("too many for a config", move |image, asked, reply| {
        let mut image = image.clone();
        image.document["config"]["size"] = json!(9 << 20);
        if is_manifest(asked) { image.reply(asked) } else { reply }
    });
    check_limit(
        "longer than 8388608 bytes",
        move |_, asked, reply| {
            if is_blob(asked) { Reply::ok(vec![b' '; 8 << 20 | 1]) } else { reply }
        },
    );
    check_limit("redirected more than 10 times", move |_, asked, reply| {
        let next = format!("{}x", asked.target);
        if is_blob(asked) { Reply::new(307).header("Location", next) } else { reply }
    });
    // Heads: one line too long, and lines without end.
    check_limit(
        "cannot read",
        move |_, asked, reply| {
            if is_manifest(asked) { reply.header("X-Long", "a".repeat(2 << 20)) } else { reply }
        },
    );
    check_limit("cannot read", move |_, asked, reply| {
        let many = |reply: Reply| (0..5_000).fold(reply, |reply, n| reply.header(&format!("X-{n}"), "a"));
        if is_manifest(asked) { many(reply) } else { reply }
    });
    // An error page is not read to its end.
    check_limit(
        "500",
        move |_, asked, reply| {
            if is_manifest(asked) { Reply::new(500).body(vec![b'a'; 5 << 20]) } else { reply }
        },
    );
    // A manifest nested without end.
    check_limit("not a JSON manifest", move |_, asked, reply| {
        let nested = format!("{}{}", "{\"a\":".repeat(100_000), "1");
        if is_manifest(asked) { Reply::ok(nested) } else { reply }
    });
}

#[tokio::test]
async fn tokens_and_tags_have_an_end() {
    let guarded = |answer: String| {
        Fake::start(move |asked, _| match asked.header("authorization") {
            Some(_) => Reply::ok("{}"),
            None if asked.target.starts_with("/token") => Reply::ok(answer.clone()),
            None => {
                let host = asked.header("host").unwrap_or_default();
                Reply::new(401).header("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\""))
            }
        })
    };
    for (answer, expected) in [
        (json!({"token": "a".repeat(40_000)}).to_string(), "a token of 40000 bytes"),
        (json!({"token": "a\r\nX-Evil: 1"}).to_string(), "characters that no token has"),
        (" ".repeat(2 << 20), "longer than 1048576 bytes"),
        ("<html>".to_owned(), "not the JSON expected"),
    ] {
        let fake = guarded(answer);
        let error = anonymous(&fake.host()).tags("a/b").await.expect_err(expected);
        assert!(story(&error).contains(expected), "{expected:?} is not in {}", story(&error));
    }
    // A life that overflows every clock.
    let fake = guarded(format!(r#"{{"token":"t","expires_in":{}}}"#, u64::MAX));
    anonymous(&fake.host()).tags("a/b").await.expect("no tags");

    let endless = Fake::start(|asked, before| {
        if asked.target == "/v2/" {
            return Reply::ok("{}");
        }
        let tags: Vec<String> = (0..20_000).map(|n| format!("t{before}-{n}")).collect();
        let next = format!("</v2/a/b/tags/list?last=t{before}>; rel=\"next\"");
        Reply::ok(json!({"tags": tags}).to_string()).header("Link", next)
    });
    let error = anonymous(&endless.host()).tags("a/b").await.expect_err("without end");
    assert!(story(&error).contains("pages of tags without end"), "{}", story(&error));
    assert!(endless.log().len() <= 13, "{}", endless.log().len());
    let empty = Fake::start(|asked, _| {
        let next = "</v2/a/b/tags/list?last=x>; rel=\"next\"";
        if asked.target == "/v2/" { Reply::ok("{}") } else { Reply::ok(r#"{"tags":[]}"#).header("Link", next) }
    });
    let error = anonymous(&empty.host()).tags("a/b").await.expect_err("without end");
    assert!(story(&error).contains("pages of tags without end"), "{}", story(&error));
}

/// A registry, also a configured one, sends nobody to the metadata service of a cloud, nor to another scheme.
#[tokio::test]
async fn nobody_is_sent_to_a_metadata_service() {
    let targets = ["http://169.254.169.254/latest/", "http://[::ffff:169.254.169.254]/", "http://[fe80::1]/"];
    for target in targets {
        let image = Image::new();
        let served = image.clone();
        let blobs = Fake::start(move |asked, _| {
            let is_blob = asked.target.contains("/blobs/");
            if is_blob { Reply::new(307).header("Location", target) } else { served.reply(asked) }
        });
        let error = Bench::new().pull(&anonymous(&blobs.host())).await.expect_err(target);
        assert!(error.kind() == ErrorKind::Policy && story(&error).contains("may not reach"), "{}", story(&error));

        let tokens = Fake::start(move |_, _| {
            Reply::new(401).header("WWW-Authenticate", format!("Bearer realm=\"{target}token\""))
        });
        let login = Credentials::single(&tokens.host(), "me", osbs_types::Secret::new("pw"));
        let error = Bench::new().pull(&registry(&tokens.host(), login)).await.expect_err(target);
        assert!(error.kind() == ErrorKind::Policy && story(&error).contains("may not reach"), "{}", story(&error));

        let (source, bench) = (image.serve(), Bench::new());
        let pulled = bench.pull(&anonymous(&source.host())).await.expect("pulled");
        let uploads = Fake::start(move |asked, _| match asked.method.as_str() {
            "HEAD" => Reply::new(404),
            "POST" => Reply::new(202).header("Location", target),
            _ => Reply::ok("{}"),
        });
        let error = bench.push(&anonymous(&uploads.host()), &pulled).await.expect_err(target);
        assert!(error.kind() == ErrorKind::Policy && story(&error).contains("may not reach"), "{}", story(&error));
    }
    let pages = Fake::start(|asked, _| {
        let next = "<http://169.254.169.254/v2/a/b/tags/list>; rel=\"next\"";
        if asked.target == "/v2/" { Reply::ok("{}") } else { Reply::ok(r#"{"tags":["a"]}"#).header("Link", next) }
    });
    assert_eq!(anonymous(&pages.host()).tags("a/b").await.expect("this page"), ["a"]);
}
