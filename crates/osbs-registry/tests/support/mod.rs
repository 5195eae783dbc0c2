//! A real registry (Debian's docker-registry), images to send to it, and what stands between it and a client.
#![allow(dead_code, reason = "each test binary uses its part")]

#[path = "../../../osbs-http/tests/fake/mod.rs"]
pub mod fake;
pub mod front;
pub mod proxy;

use osbs_http::{RetryPolicy, Transport, TransportConfig};
use osbs_image::media_type::{DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use osbs_image::{Descriptor, ImageConfig, Manifest, Store, StoredImage, canonical_json};
use osbs_registry::{Progress, Registry, RegistryConfig, RegistryError, push};
use osbs_types::{Architecture, Digest, PullSpec, Reference};
use sha2::Digest as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[expect(clippy::print_stdout, reason = "whoever reads the test log must see it")]
pub fn skipped() -> bool {
    let skip = std::env::var_os("OSBS_TEST_SKIP_REAL").is_some();
    if skip {
        println!("skipped: OSBS_TEST_SKIP_REAL is set");
    }
    skip
}

#[track_caller]
pub fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: apt-get install {program}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A running docker-registry with its own folder and port.
pub struct Server {
    pub folder: tempfile::TempDir,
    pub host: String,
    pub child: Option<Child>,
}

impl Server {
    pub fn prepare(more_http: &str, more: &str) -> Self {
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

    pub fn start(&mut self) {
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

    pub fn plain() -> Self {
        let mut server = Self::prepare("", "");
        server.start();
        server
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn skopeo_raw(&self, image: &str) -> Vec<u8> {
        run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{}/{image}", self.host)])
    }

    pub fn client(&self) -> Registry {
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

pub fn transport() -> Transport {
    let retry = RetryPolicy { retries: 3, base_delay: Duration::from_millis(200), max_delay: Duration::from_secs(2) };
    Transport::new(TransportConfig { retry, ..TransportConfig::default() })
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&sha2::Sha256::digest(bytes).into())
}

/// A tar with one file, so that programs that look inside find an honest layer.
pub fn layer(name: &str, seed: u32, size: usize) -> Vec<u8> {
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

pub struct Bench {
    pub _folder: tempfile::TempDir,
    pub store: Store,
    pub cancel: CancellationToken,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store")).expect("a store");
        Self { _folder: folder, store, cancel: CancellationToken::new() }
    }

    pub fn image(&self, architecture: &str, docker: bool, layers: &[Vec<u8>]) -> StoredImage {
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

    pub async fn push(
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

pub fn spec(text: &str) -> PullSpec {
    text.parse().expect("a name")
}
