//! A hub in a process of its own, which can be killed; and calls that may fail because it was.

use crate::harness::{PASSWORD, PATIENCE, Response};
use osbs_hub::{Hub, HubConfig};
use osbs_koji::xmlrpc::{decode_response, encode_call};
use osbs_koji::{Arguments, Fault, Value};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const FOLDER: &str = "OSBS_HUB_TEST_FOLDER";

/// The hub's process: this very program, which is told to be it.
#[test]
#[ignore = "the others start it"]
fn hub_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    // It ends with the test that started it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
    let hub = Hub::open(HubConfig::new(folder)).unwrap();
    if !hub.has_administrator().unwrap() {
        for (user, permissions) in [("mwells", &[][..]), ("reactor", &[]), ("kojiadmin", &["admin"])] {
            hub.set_user(user, Some(PASSWORD), permissions).unwrap();
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        eprintln!("serving {}", listener.local_addr().unwrap());
        hub.serve(listener, tokio_util::sync::CancellationToken::new()).await.unwrap();
    });
}

/// The process. It dies with this.
pub struct HubProcess {
    child: Child,
    pub address: SocketAddr,
}

impl HubProcess {
    pub fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::hub_process", "--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("serving ").map(|text| text.parse().unwrap()));
        Self { child, address: address.expect("the hub serves") }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A figure of its memory, in KiB.
    pub fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A session with such a hub. `None`: it did not answer.
pub struct Remote {
    pub address: SocketAddr,
    session: Vec<(String, String)>,
}

impl Remote {
    pub fn login(address: SocketAddr, user: &str) -> Option<Self> {
        let mut remote = Self { address, session: Vec::new() };
        let login = remote.call("login", Arguments::of([user.into(), PASSWORD.into()]))?.unwrap();
        remote.session = vec![
            ("Koji-Session-Id".to_owned(), login.int_of("session-id").unwrap().to_string()),
            ("Koji-Session-Key".to_owned(), login.str_of("session-key").unwrap().to_owned()),
        ];
        Some(remote)
    }

    pub fn call(&self, method: &str, arguments: Arguments) -> Option<Result<Value, Fault>> {
        self.post("/kojihub", "text/xml", encode_call(method, &arguments.into_params()).as_bytes())
    }

    pub fn upload(&self, folder: &str, name: &str, bytes: &[u8]) -> Option<Result<Value, Fault>> {
        let name = name.replace(':', "%3A");
        let path = format!("/kojihub?filename={name}&filepath={folder}&fileverify=adler32&offset=0&overwrite=1");
        self.post(&path, "application/octet-stream", bytes)
    }

    fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Option<Result<Value, Fault>> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n");
        head.push_str(&format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len()));
        for (name, value) in &self.session {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        decode_response(&Response::read(&mut stream).body).ok()
    }
}

/// The content generator and who may import as it.
pub fn prepare(address: SocketAddr) {
    let admin = Remote::login(address, "kojiadmin").unwrap();
    let grant = Arguments::of(["reactor".into(), "atomic-reactor".into(), true.into()]);
    admin.call("grantCGAccess", grant).unwrap().unwrap();
}
