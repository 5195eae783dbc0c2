//! A hub in this process, on a port of the kernel's choice, with a clock that tests move; and a client of few lines.

use osbs_hub::{Hub, HubConfig};
use osbs_koji::xmlrpc::{decode_response, encode_call};
use osbs_koji::{Arguments, Fault, Value};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Every wait ends.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// The password of every user here.
pub const PASSWORD: &str = "PASSWORD";

/// A running hub. It stops with this.
pub struct TestHub {
    pub hub: Hub,
    pub address: SocketAddr,
    /// Microseconds since the epoch.
    pub clock: Arc<AtomicI64>,
    pub folder: TempDir,
    stop: CancellationToken,
    server: Option<std::thread::JoinHandle<()>>,
}

impl TestHub {
    /// With `kojiadmin`, who is an administrator.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// The same, with another configuration.
    pub fn start_with(configure: impl FnOnce(&mut HubConfig)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), configure)
    }

    /// The same, in a folder that may hold a hub already.
    #[allow(clippy::print_stderr)]
    pub fn start_in(folder: TempDir, configure: impl FnOnce(&mut HubConfig)) -> Self {
        let mut config = HubConfig::new(folder.path().join("koji"));
        let clock = Arc::new(AtomicI64::new(1_795_405_271_555_333));
        let reading = clock.clone();
        config.clock = Arc::new(move || reading.fetch_add(1, Ordering::SeqCst));
        config.log = Arc::new(|line| eprintln!("hub: {line}"));
        configure(&mut config);
        let hub = Hub::open(config).unwrap();
        hub.set_user("kojiadmin", Some(PASSWORD), &["admin"]).unwrap();
        let stop = CancellationToken::new();
        let (sender, receiver) = std::sync::mpsc::channel();
        let (serving, stopping) = (hub.clone(), stop.clone());
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                serving.serve(listener, stopping).await.unwrap();
            });
        });
        let address = receiver.recv_timeout(PATIENCE).unwrap();
        Self { hub, address, clock, folder, stop, server: Some(server) }
    }

    /// Stops it, and gives its folder for another start.
    pub fn stop(mut self) -> TempDir {
        self.end();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
    }

    /// Moves the clock.
    pub fn wait(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// The database, from outside.
    pub fn database(&self) -> rusqlite::Connection {
        let database = rusqlite::Connection::open(self.folder.path().join("koji/hub.db")).unwrap();
        database.busy_timeout(PATIENCE).unwrap();
        database
    }

    /// A request, and its answer.
    pub fn request(&self, verb: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{verb} {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses by the head alone may have closed already.
        let _ = stream.write_all(body);
        Response::read(&mut stream)
    }

    /// An anonymous call.
    pub fn call(&self, method: &str, arguments: Arguments) -> Result<Value, Fault> {
        self.post("/kojihub", &[], method, arguments)
    }

    /// A call with headers.
    pub fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        method: &str,
        arguments: Arguments,
    ) -> Result<Value, Fault> {
        let document = encode_call(method, &arguments.into_params());
        let mut all = vec![("Content-Type", "text/xml")];
        all.extend(headers);
        let response = self.request("POST", path, &all, document.as_bytes());
        assert_eq!(response.status, 200, "{method}: {}", String::from_utf8_lossy(&response.body));
        decode_response(&response.body).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// A login by password.
    pub fn login(&self, user: &str) -> Client<'_> {
        Client::new(self, &self.call("login", Arguments::of([user.into(), PASSWORD.into()])).unwrap())
    }
}

impl Drop for TestHub {
    fn drop(&mut self) {
        self.end();
    }
}

/// An answer of the server.
pub struct Response {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn read(stream: &mut TcpStream) -> Self {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(all.len());
        let headers = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = headers.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, headers, body: all.get(end + 4..).unwrap_or_default().to_vec() }
    }
}

/// A session.
pub struct Client<'a> {
    pub hub: &'a TestHub,
    pub id: i64,
    pub key: String,
    pub number: std::cell::Cell<i64>,
}

impl<'a> Client<'a> {
    pub fn new(hub: &'a TestHub, login: &Value) -> Self {
        let (id, key) = (login.int_of("session-id").unwrap(), login.str_of("session-key").unwrap().to_owned());
        assert_eq!(login.get("header-auth"), &Value::Bool(true));
        Self { hub, id, key, number: std::cell::Cell::new(0) }
    }

    /// A call with the next number.
    pub fn call(&self, method: &str, arguments: Arguments) -> Result<Value, Fault> {
        let number = self.number.replace(self.number.get() + 1);
        self.call_numbered(number, method, arguments)
    }

    /// A call with this number.
    pub fn call_numbered(&self, number: i64, method: &str, arguments: Arguments) -> Result<Value, Fault> {
        let (id, number) = (self.id.to_string(), number.to_string());
        let headers = [
            ("Koji-Session-Id", id.as_str()),
            ("Koji-Session-Key", self.key.as_str()),
            ("Koji-Session-Callnum", number.as_str()),
        ];
        self.hub.post("/kojihub", &headers, method, arguments)
    }

    /// A call that must go well.
    pub fn ok<const N: usize>(&self, method: &str, arguments: [Value; N]) -> Value {
        self.call(method, Arguments::of(arguments)).unwrap_or_else(|fault| panic!("{method}: {fault}"))
    }

    /// The code of the fault that a call must end in.
    pub fn fault<const N: usize>(&self, method: &str, arguments: [Value; N]) -> i64 {
        match self.call(method, Arguments::of(arguments)) {
            Err(fault) => fault.code,
            Ok(value) => panic!("{method} gave {value:?}"),
        }
    }
}

/// A user who is nobody special.
pub fn add_user(hub: &TestHub, name: &str) {
    hub.hub.set_user(name, Some(PASSWORD), &[]).unwrap();
}

/// Where the recordings lie.
pub fn recordings() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../osbs-koji/tests/recorded")
}
