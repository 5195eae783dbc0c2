//! A server for tests that misbehaves on purpose: raw TCP, one request a connection, every request remembered.
//! Also used by the tests of osbs-registry.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// First byte of `Range: bytes=N-`.
    pub fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What the server does.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Send only so many bytes of the body, then close.
    pub cut_at: Option<usize>,
    /// Close without any answer.
    pub hang_up: bool,
    /// Wait before the answer.
    pub delay: Duration,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        let (headers, body) = (Vec::new(), Vec::new());
        Self { status, headers, body, cut_at: None, hang_up: false, delay: Duration::ZERO }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new(200) }
    }

    pub fn hang_up() -> Self {
        Self { hang_up: true, ..Self::new(0) }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn cut_at(mut self, bytes: usize) -> Self {
        self.cut_at = Some(bytes);
        self
    }

    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// `body` from the request's range on, as a server that knows ranges.
    pub fn ranged(asked: &Asked, body: &[u8]) -> Self {
        match asked.range_start() {
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
                Self::new(206).header("Content-Range", range).body(&body[start..])
            }
            None => Self::ok(body),
        }
    }
}

type Handler = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

/// A connection as it is spoken on: TLS, if a test puts it there.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

type Wrap = dyn Fn(TcpStream) -> Box<dyn Stream> + Send + Sync;

/// A running server; gone when dropped.
pub struct Fake {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
}

impl Fake {
    /// `handler(request, number of requests before it)`.
    pub fn start(handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1", handler)
    }

    pub fn start_at(ip: &str, handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_wrapped(ip, |stream| Box::new(stream), handler)
    }

    /// With something between the socket and HTTP.
    pub fn start_wrapped(
        ip: &str,
        wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + Sync + 'static,
        handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let wrap: Arc<Wrap> = Arc::new(wrap);
        let listener = TcpListener::bind((ip, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (log, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let handler: Arc<Handler> = Arc::new(handler);
        let (shared, stopped) = (Arc::clone(&log), Arc::clone(&stop));
        thread::spawn(move || {
            for connection in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(connection) = connection else { return };
                let (log, handler, wrap) = (Arc::clone(&shared), Arc::clone(&handler), Arc::clone(&wrap));
                thread::spawn(move || serve(&mut wrap(connection), &log, &*handler));
            }
        });
        Self { address, log, stop }
    }

    /// `IP:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Every request so far.
    pub fn log(&self) -> Vec<Asked> {
        self.log.lock().expect("log").clone()
    }

    /// `METHOD target` of every request so far.
    pub fn lines(&self) -> Vec<String> {
        self.log().iter().map(|asked| format!("{} {}", asked.method, asked.target)).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(connection: &mut dyn Stream, log: &Mutex<Vec<Asked>>, handler: &Handler) {
    let Some(asked) = read_request(connection) else { return };
    let before = {
        let mut log = log.lock().expect("log");
        log.push(asked.clone());
        log.len() - 1
    };
    let reply = handler(&asked, before);
    thread::sleep(reply.delay);
    if reply.hang_up {
        return;
    }
    let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", reply.status);
    let told = |name: &str| reply.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    if !told("content-length") && reply.status != 204 {
        let _ = write!(head, "Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    let _ = connection.write_all(head.as_bytes());
    if asked.method != "HEAD" {
        let end = reply.cut_at.unwrap_or(reply.body.len()).min(reply.body.len());
        let _ = connection.write_all(&reply.body[..end]);
    }
    let _ = connection.flush();
}

fn read_request(connection: &mut dyn Stream) -> Option<Asked> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = headers.get("content-length").and_then(|value| value.parse().ok()) {
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
    }
    Some(Asked { method, target, headers, body })
}
