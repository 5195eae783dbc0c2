//! What the registry has is not sent again: layers of parents are mounted, blobs that are there are left alone, and what
//! was pulled is pushed byte by byte as it came. With the real registry (Debian's docker-registry) behind real tokens.
//!
//! Needs: docker-registry, openssl, skopeo. `OSBS_TEST_SKIP_REAL=1` skips.

mod support;

use osbs_http::{RetryPolicy, Transport, TransportConfig};
use osbs_image::media_type::OCI_MANIFEST;
use osbs_image::{Descriptor, StoredImage};
use osbs_registry::{Credentials, Progress, Registry, RegistryConfig, RegistryError, pull, push};
use osbs_types::{Architecture, ErrorKind, Failure, Reference, Secret};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use support::fake::{Asked, Fake, Reply};
use support::front::front;
use support::{Bench, Server, digest, layer, run, skipped, spec};

fn transport() -> Transport {
    let retry = RetryPolicy { retries: 3, base_delay: Duration::from_millis(2), max_delay: Duration::from_millis(50) };
    Transport::new(TransportConfig { retry, ..TransportConfig::default() })
}

fn base64(bytes: &[u8], url: bool) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let (plus, slash) = if url { ('-', '_') } else { ('+', '/') };
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let word = part.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for index in 0..=part.len() {
            let six = (word >> (18 - 6 * index) & 63) as usize;
            text.push(match six {
                62 => plus,
                63 => slash,
                six => alphabet[six] as char,
            });
        }
        if !url {
            text.extend(std::iter::repeat_n('=', 3 - part.len()));
        }
    }
    text
}

/// The key of the token server, and how long its tokens live.
#[derive(Clone)]
struct Signer {
    folder: PathBuf,
    certificate: String,
}

impl Signer {
    fn new(folder: &Path) -> Self {
        let (key, certificate) = (folder.join("key.pem"), folder.join("cert.pem"));
        let (key, certificate) = (key.display().to_string(), certificate.display().to_string());
        let args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens"];
        run("openssl", &[&args[..], &["-keyout", &key, "-out", &certificate]].concat());
        let der = run("openssl", &["x509", "-in", &certificate, "-outform", "DER"]);
        Self { folder: folder.to_owned(), certificate: base64(&der, false) }
    }

    /// `expires`: seconds from now. The registry gives a minute's grace.
    fn token(&self, scopes: &[String], expires: i64) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let access: Vec<String> = scopes
            .iter()
            .filter_map(|scope| {
                let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
                let actions: Vec<_> = actions.split(',').map(|action| format!("\"{action}\"")).collect();
                Some(format!(r#"{{"type":"repository","name":"{name}","actions":[{}]}}"#, actions.join(",")))
            })
            .collect();
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs() as i64;
        let head = format!(r#"{{"typ":"JWT","alg":"RS256","x5c":["{}"]}}"#, self.certificate);
        let claims = format!(
            r#"{{"iss":"tester","sub":"me","aud":"test","exp":{},"nbf":{},"iat":{now},"jti":"x","access":[{}]}}"#,
            now + expires,
            now - 1000,
            access.join(",")
        );
        let text = format!("{}.{}", base64(head.as_bytes(), true), base64(claims.as_bytes(), true));
        let file = self.folder.join(format!("claims{}", COUNT.fetch_add(1, Ordering::SeqCst)));
        fs::write(&file, &text).expect("written");
        let output = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(self.folder.join("key.pem"))
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .expect("openssl");
        assert!(output.status.success());
        format!("{text}.{}", base64(&output.stdout, true))
    }
}

fn decoded(text: &str) -> String {
    text.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",")
}

/// A real registry that wants tokens, the server that gives them, and a front that sees all requests.
struct Site {
    server: Server,
    tokens: Fake,
    bench: Bench,
    /// Of the first token; later ones live long.
    _folder: tempfile::TempDir,
}

const LONG: i64 = 600;

impl Site {
    /// `refused`: scopes that are not given. `first`: life of the first token in seconds.
    fn new(refused: &'static str, first: i64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let signer = Signer::new(folder.path());
        let tokens = Fake::start(move |asked, before| {
            if asked.header("authorization") != Some("Basic bWU6cHc=") {
                return Reply::new(401);
            }
            let scopes: Vec<String> =
                asked.target.split(['?', '&']).filter_map(|part| part.strip_prefix("scope=")).map(decoded).collect();
            let given: Vec<String> = scopes.into_iter().filter(|scope| scope != refused).collect();
            let token = signer.token(&given, if before == 0 { first } else { LONG });
            Reply::ok(format!(r#"{{"token":"{token}","expires_in":300}}"#))
        });
        let auth = format!(
            "auth: {{token: {{realm: '{}', service: test, issuer: tester, rootcertbundle: {}/cert.pem}}}}",
            tokens.url("/token"),
            folder.path().display()
        );
        let mut server = Server::prepare("", &auth);
        server.start();
        Self { server, tokens, bench: Bench::new(), _folder: folder }
    }

    /// A parent of two layers in `base`, and a child of it with one more, not pushed yet.
    async fn parent_and_child(&self) -> (StoredImage, StoredImage) {
        let layers = [layer("one", 1, 200_000), layer("two", 2, 100_000), layer("three", 3, 50_000)];
        let parent = self.bench.image("amd64", false, &layers[..2]);
        push_to(&client(&self.server.host), &self.bench, &parent, "base", &[]).await.expect("the parent");
        (parent, self.bench.image("amd64", false, &layers))
    }
}

fn client(host: &str) -> Registry {
    let config = RegistryConfig::new(&format!("http://{host}"), false).expect("a registry");
    Registry::new(transport(), config.with_credentials(Credentials::single(host, "me", Secret::new("pw"))))
}

async fn push_to(
    registry: &Registry,
    bench: &Bench,
    image: &StoredImage,
    name: &str,
    mount_from: &[&str],
) -> Result<Descriptor, RegistryError> {
    let mount_from: Vec<String> = mount_from.iter().map(|name| (*name).to_owned()).collect();
    let tag = Reference::Tag("1".into());
    push(registry, &bench.store, image, name, &tag, &mount_from, &bench.cancel, Progress::none()).await
}

fn story(error: &RegistryError) -> String {
    Failure::new(error.kind(), error).to_string()
}

/// Every request with its answer's status.
type Log = Arc<Mutex<Vec<(Asked, u16)>>>;

fn watched(
    site: &Site,
    change: impl Fn(&Asked, &dyn Fn(&Asked) -> Reply) -> Reply + Send + Sync + 'static,
) -> (Fake, Log) {
    let log = Log::default();
    let kept = Arc::clone(&log);
    let fake = front(&site.server.host, move |asked, _, honest| {
        let reply = change(asked, honest);
        kept.lock().expect("log").push((asked.clone(), reply.status));
        reply
    });
    (fake, log)
}

fn lines(log: &Log, method: &str, part: &str) -> Vec<u16> {
    let log = log.lock().expect("log");
    let found = log
        .iter()
        .filter(|(asked, status)| asked.method == method && decoded(&asked.target).contains(part) && *status != 401);
    found.map(|(_, status)| *status).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_of_the_parent_are_mounted_and_never_sent() {
    if skipped() {
        return;
    }
    let site = Site::new("", LONG);
    let (parent, child) = site.parent_and_child().await;
    let (fake, log) = watched(&site, |asked, honest| honest(asked));
    let registry = client(&fake.host());
    let before = site.tokens.log().len();
    push_to(&registry, &site.bench, &child, "app", &["base"]).await.unwrap_or_else(|e| panic!("{}", story(&e)));
    for layer in &parent.layers {
        assert_eq!(lines(&log, "POST", &format!("mount={}&from=base", layer.digest)), [201]);
        assert_eq!(lines(&log, "PUT", layer.digest.as_str()), [0; 0], "not sent");
    }
    // The new layer, the config, the manifest.
    assert_eq!(lines(&log, "PUT", ""), [201, 201, 201]);
    let sent: usize = log.lock().expect("log").iter().map(|(asked, _)| asked.body.len()).sum();
    assert!(sent < 60_000, "{sent} bytes for a layer of 50 kB");
    // One token for both repositories.
    let asked: Vec<String> = site.tokens.lines()[before..].iter().map(|line| decoded(line)).collect();
    let both = asked
        .iter()
        .filter(|line| line.contains("scope=repository:app:pull,push") && line.contains("scope=repository:base:pull"));
    assert_eq!(both.count(), 1, "{asked:?}");
    assert!(asked.len() <= 2, "one for the push, one for the mounts: {asked:?}");

    // The same again, under another client: looked for, and nothing sent but the manifest.
    log.lock().expect("log").clear();
    push_to(&client(&fake.host()), &site.bench, &child, "app", &["base"]).await.expect("pushed again");
    assert_eq!((lines(&log, "POST", ""), lines(&log, "PUT", "")), (vec![], vec![201]));
    assert_eq!(lines(&log, "HEAD", "/blobs/"), [200; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_answered_by_an_upload_is_used_as_one() {
    if skipped() {
        return;
    }
    let site = Site::new("", LONG);
    let (_, child) = site.parent_and_child().await;
    // A registry that does not mount: it opens an upload instead, which is a real one.
    let (fake, log) = watched(&site, |asked, honest| {
        let plain = asked.target.split('?').next().unwrap_or_default().to_owned();
        if asked.method == "POST" { honest(&Asked { target: plain, ..asked.clone() }) } else { honest(asked) }
    });
    push_to(&client(&fake.host()), &site.bench, &child, "app", &["base"]).await.expect("pushed");
    assert_eq!(lines(&log, "POST", "mount="), [202; 3]);
    assert_eq!(lines(&log, "POST", ""), [202; 4], "no second upload for what has one: only the config's");
    assert_eq!(lines(&log, "PUT", "/uploads/"), [201; 4]);
    assert_eq!(lines(&log, "DELETE", ""), [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_may_not_be_read_is_no_failure() {
    if skipped() {
        return;
    }
    let site = Site::new("", LONG);
    let (_, child) = site.parent_and_child().await;
    let strict = Site::new("repository:secret:pull", LONG);
    let (fake, log) = watched(&strict, |asked, honest| honest(asked));
    let pushed = push_to(&client(&fake.host()), &site.bench, &child, "app", &["secret", "nothing"]).await;
    pushed.unwrap_or_else(|error| panic!("{}", story(&error)));
    assert_eq!(lines(&log, "PUT", "/uploads/"), [201; 4]);
}

/// The registry refuses the token at each request in turn: a new one is fetched, and all ends well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_may_expire_at_any_request() {
    if skipped() {
        return;
    }
    let site = Site::new("", LONG);
    let (_, child) = site.parent_and_child().await;
    let mut at = 0;
    loop {
        let count = AtomicUsize::new(0);
        let (fake, log) = watched(&site, move |asked, honest| {
            let known = asked.header("authorization").is_some();
            if known && count.fetch_add(1, Ordering::SeqCst) == at {
                // Without it, the registry says itself what it wants.
                let mut asked = asked.clone();
                asked.headers.remove("authorization");
                return honest(&asked);
            }
            honest(asked)
        });
        let registry = client(&fake.host());
        let name = format!("app{at}");
        let pushed = push_to(&registry, &site.bench, &child, &name, &["base"]).await;
        pushed.unwrap_or_else(|error| panic!("push, at {at}: {}", story(&error)));
        let other = Bench::new();
        let amd = Architecture::new("amd64");
        let image = spec(&format!("{name}:1"));
        let pulled = pull(&registry, &image, &amd, &other.store, &other.cancel, Progress::none()).await;
        assert_eq!(pulled.unwrap_or_else(|error| panic!("pull, at {at}: {}", story(&error))).image, child);
        let whole =
            log.lock().expect("log").iter().filter(|(asked, _)| asked.header("authorization").is_some()).count();
        at += 1;
        if at >= whole {
            break;
        }
    }
    assert!(at >= 15, "{at} requests");
}

/// A real token that runs out while a blob is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_really_expires() {
    if skipped() {
        return;
    }
    // With the registry's grace of a minute: a second and a half is left.
    let site = Site::new("", -58);
    let image = site.bench.image("amd64", false, &[layer("one", 1, 100_000)]);
    let delayed = AtomicUsize::new(0);
    let (fake, log) = watched(&site, move |asked, honest| {
        if asked.method == "PUT" && delayed.fetch_add(1, Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(2_500));
        }
        honest(asked)
    });
    let pushed = push_to(&client(&fake.host()), &site.bench, &image, "app", &[]).await;
    pushed.unwrap_or_else(|error| panic!("{}", story(&error)));
    let refused =
        log.lock().expect("log").iter().filter(|(asked, status)| asked.method == "PUT" && *status == 401).count();
    assert!(refused >= 1, "the registry refused the old token");
    assert!(site.tokens.log().len() >= 2);
}

/// What was pulled goes out as it came, also a manifest that nobody would write like that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_pulled_is_not_serialised_anew() {
    if skipped() {
        return;
    }
    let (from, to, bench) = (Server::plain(), Server::plain(), Bench::new());
    let image = bench.image("amd64", false, &[layer("one", 1, 50_000)]);
    let source = from.client();
    push_to(&source, &bench, &image, "web", &[]).await.expect("pushed");
    let plain = bench.store.read_small(&image.manifest, 1 << 20).expect("read");
    let odd =
        String::from_utf8(plain).expect("JSON").replacen('{', "{ \n\t\"x-unknown\" : {\"z\":1,\"a\":[ ]},\r\n", 1);
    let tag = Reference::Tag("odd".into());
    let told = source.put_manifest("web", &tag, OCI_MANIFEST, odd.as_bytes()).await.expect("put");
    let other = Bench::new();
    let amd = Architecture::new("amd64");
    let pulled =
        pull(&source, &spec("web:odd"), &amd, &other.store, &other.cancel, Progress::none()).await.expect("pulled");
    assert_eq!(pulled.digest, told);
    let copied = push_to(&to.client(), &other, &pulled.image, "copy", &[]).await.expect("pushed");
    assert_eq!(copied.digest, told);
    assert_eq!(to.skopeo_raw("copy:1"), odd.as_bytes());
    assert_eq!(digest(odd.as_bytes()), told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_not_accepted_is_told() {
    if skipped() {
        return;
    }
    let site = Site::new("", LONG);
    let config = RegistryConfig::new(&format!("http://{}", site.server.host), false).expect("a registry");
    let login = Credentials::single(&site.server.host, "me", Secret::new("hunter2"));
    let registry = Registry::new(transport(), config.with_credentials(login));
    let image = site.bench.image("amd64", false, &[layer("one", 1, 100)]);
    let error = push_to(&registry, &site.bench, &image, "app", &[]).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Policy, "{}", story(&error));
    assert!(!format!("{error:?}").contains("hunter2"));
    // A token that does not allow it.
    let strict = Site::new("repository:app:pull,push", LONG);
    let error = push_to(&client(&strict.server.host), &site.bench, &image, "app", &[]).await.expect_err("denied");
    assert_eq!(error.kind(), ErrorKind::Policy, "{}", story(&error));
}
