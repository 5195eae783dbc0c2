//! Against a real Pulp 3 with its container plugin, and a real registry (Debian's docker-registry).
//!
//! Needs: what scripts/pulp.sh needs, docker-registry, skopeo. `OSBS_TEST_SKIP_REAL=1` skips.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, which tell how long what takes")]

mod support;

use osbs_http::{Transport, TransportConfig};
use osbs_pulp::{Login, Pulp, PulpError, Remote, Server, TaskProgress, Wait};
use osbs_types::{Digest, ErrorKind, Secret};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::RealPulp;
use tokio_util::sync::CancellationToken;

struct Registry {
    server: Child,
    host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn registry(folder: &Path) -> Registry {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = free.local_addr().unwrap().to_string();
    drop(free);
    let config = folder.join("registry.yml");
    let data = folder.join("registry");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {host}}}\n",
        data.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("docker-registry");
    let server = command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = server.expect("docker-registry starts: apt-get install docker-registry");
    let end = Instant::now() + Duration::from_mins(1);
    while std::net::TcpStream::connect(&host).is_err() {
        assert!(Instant::now() < end, "the registry listens");
        std::thread::sleep(Duration::from_millis(20));
    }
    Registry { server, host }
}

fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let done = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(bytes).into())
}

/// An image of one small file, pushed under these tags; its digest.
fn push_image(folder: &Path, host: &str, name: &str, content: &str, tags: &[&str]) -> Digest {
    let layout = folder.join(format!("oci-{content}"));
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = sha256(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        digest
    };
    fs::write(folder.join("file"), content).unwrap();
    let layer = run("tar", &["-C", folder.to_str().unwrap(), "-cf", "-", "file"]);
    let layer_digest = blob(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{layer_digest}"]}}}}"#
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer_digest}","size":{}}}]}}"#,
        blob(config.as_bytes()),
        config.len(),
        layer.len()
    );
    let digest = blob(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"x"}}}}]}}"#,
        manifest.len()
    );
    fs::write(layout.join("index.json"), index).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    for tag in tags {
        let from = format!("oci:{}:x", layout.display());
        let to = format!("docker://{host}/{name}:{tag}");
        run("skopeo", &["copy", "--preserve-digests", "--insecure-policy", "--dest-tls-verify=false", &from, &to]);
    }
    digest
}

fn client(pulp: &RealPulp, password: &str) -> Pulp {
    let login = Login::Password { username: pulp.address("username").to_owned(), password: Secret::new(password) };
    let transport = Transport::new(TransportConfig::default());
    Pulp::new(transport, Server::new(pulp.address("api"), false).unwrap(), Some(&login)).unwrap()
}

fn remote(host: &str, upstream: &str, tags: &[&str]) -> Remote {
    Remote {
        name: "ns-web".to_owned(),
        url: format!("http://{host}"),
        upstream_name: upstream.to_owned(),
        include_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        tls_validation: false,
        ca_cert: None,
        login: None,
    }
}

/// The manifest that clients get. By curl: skopeo speaks TLS first, which makes Pulp's server wait for the end of a line.
fn served(pulp: &RealPulp, name: &str) -> Vec<u8> {
    let (repository, tag) = name.split_once(':').unwrap();
    let url = format!("{}/v2/{repository}/manifests/{tag}", pulp.address("api"));
    run("curl", &["-fsS", "-H", "Accept: application/vnd.oci.image.manifest.v1+json", &url])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_and_files_in_and_out() {
    if !support::can_run() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(folder.path());
    let first = push_image(folder.path(), &registry.host, "ns/web", "one", &["1-1", "latest", "other"]);
    let real = RealPulp::start();
    let pulp = client(&real, real.address("password"));
    let (token, told) = (CancellationToken::new(), Mutex::new(Vec::new()));
    let progress = |action: &str, progress: &TaskProgress| told.lock().unwrap().push(format!("{action}: {progress:?}"));
    let wait = Wait { limit: Duration::from_mins(5), cancel: &token, progress: &progress };
    let begun = Instant::now();
    let step = |what: &str| println!("{what}: {:.1} s", begun.elapsed().as_secs_f32());
    let (workers, content_servers) = pulp.alive().await.unwrap();
    assert!(workers >= 1 && content_servers == 1, "{workers} {content_servers}");

    let (repository, again) = (pulp.repository("ns-web").await.unwrap(), pulp.repository("ns-web").await.unwrap());
    assert_eq!(repository, again, "made once");
    let href = pulp.put_remote(&remote(&registry.host, "ns/web", &["nothing"]), &wait).await.unwrap();
    let source = remote(&registry.host, "ns/web", &["1-1", "latest"]);
    assert_eq!(pulp.put_remote(&source, &wait).await.unwrap(), href, "brought up to date");
    let version = pulp.sync(&repository, &href, &wait).await.unwrap();
    assert_eq!(version.version_number(), Some(1));
    let names = ["1-1", "latest", "other"].map(str::to_owned);
    let tags = pulp.tags(&version, &names).await.unwrap();
    let expected = [("1-1".to_owned(), first.clone()), ("latest".to_owned(), first.clone())].into();
    assert_eq!(tags, expected, "the tags that were asked for, no other");
    assert_eq!(pulp.sync(&repository, &href, &wait).await.unwrap(), version, "nothing new");
    assert!(!told.lock().unwrap().is_empty(), "progress is told");

    step("synchronised");
    assert_eq!(pulp.distribution("ns/web").await.unwrap(), None);
    let shown = pulp.publish("ns-web", "ns/web", &version, &wait).await.unwrap();
    assert_eq!(shown.shows.as_ref(), Some(&version));
    assert!(shown.address.as_ref().unwrap().ends_with("/ns/web"), "{shown:?}");
    assert_eq!(sha256(&served(&real, "ns/web:1-1")), first);

    step("published");
    // Another image; clients go on to see the first until it is published.
    let second = push_image(folder.path(), &registry.host, "ns/web", "two", &["1-2", "latest"]);
    pulp.put_remote(&remote(&registry.host, "ns/web", &["1-2", "latest"]), &wait).await.unwrap();
    let next = pulp.sync(&repository, &href, &wait).await.unwrap();
    assert_eq!(sha256(&served(&real, "ns/web:latest")), first);
    let retagged = pulp.tag(&repository, "stable", &second, &wait).await.unwrap();
    let untagged = pulp.untag(&repository, "1-2", &wait).await.unwrap();
    let names = ["stable", "1-1", "1-2", "latest"].map(str::to_owned);
    let found = pulp.tags(&untagged, &names).await.unwrap();
    assert_eq!((found.get("stable"), found.get("1-1"), found.get("1-2")), (Some(&second), Some(&first), None));
    assert!(next.version_number() < retagged.version_number(), "{next} {retagged}");
    let error = pulp.untag(&repository, "1-2", &wait).await.unwrap_err();
    assert_eq!(error.status(), Some(400), "{error}");
    pulp.delete_version(&untagged, &wait).await.unwrap();
    pulp.publish("ns-web", "ns/web", &retagged, &wait).await.unwrap();
    assert_eq!(sha256(&served(&real, "ns/web:stable")), second);
    assert_eq!(sha256(&served(&real, "ns/web:1-1")), first, "earlier names stay");

    step("tagged, untagged, published anew");
    files(&real, &pulp, folder.path(), &wait).await;
    step("25 MB in pieces, and again");
    failures(&real, &pulp, &registry.host, &wait).await;
    step("failures");
}

/// An archive of several pieces.
async fn files(real: &RealPulp, pulp: &Pulp, folder: &Path, wait: &Wait<'_>) {
    let archive = folder.join("archive");
    let content: Vec<u8> = (0..25_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&archive, &content).unwrap();
    let sent = Mutex::new(Vec::new());
    let progress = |done: u64, total: u64| sent.lock().unwrap().push((done, total));
    let begun = pulp.begin_upload(&archive, "u-1/x86_64.tar.gz").await.unwrap();
    let stored = pulp.upload(&begun, wait, &progress).await.unwrap();
    assert_eq!((stored.relative_path.as_str(), &stored.digest), ("u-1/x86_64.tar.gz", &sha256(&content)));
    assert_eq!(
        sent.lock().unwrap()[..],
        [(10_485_760, 25_000_000), (20_971_520, 25_000_000), (25_000_000, 25_000_000)]
    );
    let begun = pulp.begin_upload(&archive, "u-1/x86_64.tar.gz").await.unwrap();
    let again = pulp.upload(&begun, wait, &progress).await.unwrap();
    assert_eq!(again, stored, "the same file again");
    let repository = pulp.file_repository("ns-web-archives").await.unwrap();
    let artifact = stored.artifact.clone().unwrap();
    let version = pulp.add_file(&repository, &artifact, "1-1/x86_64.tar.gz", wait).await.unwrap();
    let shown = pulp.publish_files("ns-web-archives", "image-archives/ns/web", &version, wait).await.unwrap();
    let url = format!("{}/pulp/content/image-archives/ns/web/1-1/x86_64.tar.gz", real.address("content"));
    assert!(url.starts_with(shown.address.as_deref().unwrap()), "{shown:?}");
    assert_eq!(sha256(&run("curl", &["-fsS", &url])), stored.digest);
}

async fn failures(real: &RealPulp, pulp: &Pulp, host: &str, wait: &Wait<'_>) {
    let error = client(real, "wrong").repository("ns-web").await.unwrap_err();
    assert!(matches!(error, PulpError::Denied { status: 401, .. }), "{error}");
    let repository = pulp.repository("ns-none").await.unwrap();
    let none = Remote { name: "ns-none".to_owned(), ..remote(host, "ns/none", &["1"]) };
    let href = pulp.put_remote(&none, wait).await.unwrap();
    let error = pulp.sync(&repository, &href, wait).await.unwrap_err();
    assert!(matches!(error, PulpError::TaskFailed { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Remote);
    // Nobody works any more.
    real.kill("worker");
    let short = Wait { limit: Duration::from_secs(3), ..*wait };
    let error = pulp.sync(&repository, &href, &short).await.unwrap_err();
    assert!(matches!(error, PulpError::Deadline { state: "waiting", .. }), "{error}");
    real.kill("api");
    let error = pulp.repository("ns-web").await.unwrap_err();
    assert!(error.to_string().contains("cannot find or make the repository ns-web at Pulp"), "{error}");
}
