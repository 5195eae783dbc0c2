//! A fetcher that may reach the test's own servers, names that lead where a test wants, and git over HTTP.
#![allow(dead_code, reason = "each test binary uses its part")]

#[path = "../../../osbs-http/tests/fake/mod.rs"]
pub mod fake;

use fake::{Asked, Reply};
use futures_util::future::BoxFuture;
use osbs_builder::GitSource;
use osbs_fetch::{FetchLimits, GitProgram, WebFetcher};
use osbs_http::{AddressLists, Resolver, RetryPolicy, Timeouts, Transport, TransportConfig};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

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
            limits: FetchLimits { time: Duration::from_secs(60), ..FetchLimits::default() },
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

/// Git without anybody's configuration; what it says, trimmed.
#[track_caller]
pub fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("PATH"))
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_DATE"), "1000000000 +0000")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "me")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "me@example.com")))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("git: {error}: apt-get install git"));
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Answers as `git http-backend` does, for the repositories below `root`.
pub fn backend(root: &Path, asked: &Asked) -> Reply {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &asked.method)
        .env("CONTENT_TYPE", asked.header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", asked.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", asked.header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", asked.header("git-protocol").unwrap_or_default())
        .env("GIT_CONFIG_GLOBAL", root.join("backend-config"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git http-backend");
    let mut stdin = child.stdin.take().expect("a pipe");
    let body = asked.body.clone();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&body);
    });
    let output = child.wait_with_output().expect("git http-backend");
    writer.join().expect("written");
    let end = output.stdout.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or(output.stdout.len());
    let head = String::from_utf8_lossy(&output.stdout[..end]).into_owned();
    let mut reply = Reply::ok(output.stdout.get(end + 4..).unwrap_or_default());
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "Status" => reply.status = value.split(' ').next().and_then(|code| code.parse().ok()).expect("a status"),
            _ => reply = reply.header(name, value),
        }
    }
    reply
}

/// A repository `web.git` below `root`: two commits on main, a branch, a tag, an annotated tag.
pub fn make_repository(root: &Path) -> PathBuf {
    let work = root.join("work");
    std::fs::create_dir_all(work.join("sub/deep")).expect("folders");
    let write = |name: &str, text: &str| std::fs::write(work.join(name), text).expect("written");
    git(&work, &["init", "--quiet", "--initial-branch=main"]);
    write("first", "1\n");
    git(&work, &["add", "."]);
    git(&work, &["commit", "--quiet", "-m", "one"]);
    git(&work, &["tag", "v1"]);
    write("script", "#!/bin/sh\n");
    std::fs::set_permissions(work.join("script"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    write("sub/deep/file", "deep\n");
    write("notes.secret", "not for an archive, but for a checkout\n");
    write("version", "$Format:%H$ $Id$\n");
    write(".gitattributes", "*.secret export-ignore\nversion export-subst\nfirst filter=evil\n");
    std::os::unix::fs::symlink("/etc", work.join("sub/etc")).expect("a link");
    git(&work, &["add", "."]);
    git(&work, &["commit", "--quiet", "-m", "two"]);
    git(&work, &["tag", "-a", "v2", "-m", "two"]);
    git(&work, &["checkout", "--quiet", "-b", "v1-branch", "v1"]);
    write("branch", "b\n");
    git(&work, &["add", "."]);
    git(&work, &["commit", "--quiet", "-m", "branch"]);
    git(&work, &["checkout", "--quiet", "main"]);
    git(root, &["clone", "--quiet", "--bare", "work", "web.git"]);
    work
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
