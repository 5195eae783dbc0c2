//! A fetcher that may reach the test's own servers, names that lead where a test wants, and git over HTTP.
#![allow(dead_code, reason = "each test binary uses its part")]

#[path = "../../../osbs-http/tests/fake/mod.rs"]
pub mod fake;
pub mod repositories;

use futures_util::future::BoxFuture;
use osbs_builder::GitSource;
use osbs_fetch::{FetchLimits, GitProgram, WebFetcher};
use osbs_http::{AddressLists, Resolver, RetryPolicy, Timeouts, Transport, TransportConfig};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[allow(unused_imports, reason = "each test binary uses its part")]
pub use repositories::{backend, git, make_repository};

/// Where honest servers of a test listen; the rest of loopback is denied, as everything inside.
pub const ALLOWED: &str = "127.0.0.2";
/// Where the canaries listen: nothing may ever ask them.
pub const INSIDE: &str = "127.0.0.1";

/// Names of a test, each with what is answered, one answer a question; the last stays.
#[derive(Debug, Default, Clone)]
pub struct Names(Arc<Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>>);

impl Names {
    pub fn add(&self, name: &str, answers: &[&[&str]]) {
        let address = |text: &&str| text.parse().expect("an address");
        let answers = answers.iter().map(|one| one.iter().map(address).collect()).collect();
        self.0.lock().expect("names").insert(name.to_owned(), answers);
    }
}

impl Resolver for Names {
    fn lookup(&self, host: &str) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let mut names = self.0.lock().expect("names");
        let answer =
            names.get_mut(host).map(|answers| if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() });
        let answer = answer.ok_or_else(|| std::io::Error::other(format!("no name {host}")));
        Box::pin(async move { answer })
    }
}

pub struct Bench {
    pub runtime: tokio::runtime::Runtime,
    pub folder: tempfile::TempDir,
    pub names: Option<Names>,
    pub limits: FetchLimits,
    pub allow: Vec<String>,
    pub cancel: CancellationToken,
    pub extra_roots: Vec<Vec<u8>>,
    pub retries: u32,
}

impl Bench {
    pub fn new() -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime"),
            folder: tempfile::tempdir().expect("a folder"),
            names: None,
            limits: FetchLimits { time: Duration::from_mins(1), ..FetchLimits::default() },
            allow: vec![ALLOWED.to_owned()],
            cancel: CancellationToken::new(),
            extra_roots: Vec::new(),
            retries: 3,
        }
    }

    pub fn fetcher(&self) -> WebFetcher {
        let config = TransportConfig {
            retry: RetryPolicy {
                retries: self.retries,
                base_delay: Duration::from_millis(5),
                max_delay: Duration::from_secs(1),
            },
            timeouts: Timeouts { idle: Duration::from_secs(2), ..Timeouts::default() },
            addresses: Arc::new(AddressLists::new(&self.allow, &[]).expect("lists")),
            resolver: self.names.clone().map(|names| Arc::new(names) as Arc<dyn Resolver>),
            extra_roots: self.extra_roots.clone(),
            ..TransportConfig::default()
        };
        let path = std::env::var_os("PATH").expect("PATH");
        let git = GitProgram { program: "git".into(), path };
        WebFetcher::new(Transport::new(config), self.runtime.handle().clone(), git, self.cancel.clone())
            .limits(self.limits)
            .how_to_allow("ask the administrator")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

pub fn source(url: &str) -> GitSource {
    GitSource { url: url.to_owned(), reference: None, subdir: None, keep_git: false, submodules: None }
}

/// TLS around a test server's connections.
pub mod tls {
    use super::fake::Stream;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use std::net::TcpStream;
    use std::sync::Arc;

    pub fn config(certificate: &[u8], key: &[u8]) -> Arc<ServerConfig> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = vec![CertificateDer::from_pem_slice(certificate).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(key).expect("a key");
        Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("TLS"))
    }

    pub fn wrap(config: &Arc<ServerConfig>, stream: TcpStream) -> Box<dyn Stream> {
        let connection = ServerConnection::new(Arc::clone(config)).expect("TLS");
        Box::new(StreamOwned::new(connection, stream))
    }
}
