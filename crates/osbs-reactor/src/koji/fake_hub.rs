//! A hub for tests: real HTTP, answers by a closure, and every way an answer can get lost.
//!
//! Knows just enough of uploads that a client believes it. What is tested against a real hub is in `crates/osbs/tests`.

use osbs_koji::xmlrpc::{decode_call, encode_fault, encode_response};
use osbs_koji::{Arguments, Fault, FaultCode, Value};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// A result.
    Is(Json),
    /// A fault.
    Refused(FaultCode, &'static str),
    /// The connection is closed without an answer.
    Lost,
}

/// Methods with their arguments, in order.
type Calls = Arc<Mutex<Vec<(String, Vec<Json>)>>>;
/// Folder and name to bytes.
type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;
type Answers = dyn Fn(&str, &[Json]) -> Answer + Send + Sync;

/// The hub. Its thread ends with the process.
pub(crate) struct FakeHub {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    calls: Calls,
    files: Files,
}

struct Shared {
    answers: Box<Answers>,
    calls: Calls,
    files: Files,
}

impl FakeHub {
    /// A hub whose answers the closure gives, by method and arguments; those by name are in an object at the end.
    pub(crate) fn start(answers: impl Fn(&str, &[Json]) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (calls, files) = (Calls::default(), Files::default());
        let shared =
            Arc::new(Shared { answers: Box::new(answers), calls: Arc::clone(&calls), files: Arc::clone(&files) });
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { url, calls, files }
    }

    /// The `koji` section of a site with this hub.
    pub(crate) fn config(&self) -> String {
        format!("version: 1\nkoji: {{hub_url: '{0}/kojihub', root_url: '{0}/kojifiles', auth: {{}}}}\n", self.url)
    }

    /// The arguments of all calls of a method, in order.
    pub(crate) fn calls(&self, method: &str) -> Vec<Vec<Json>> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(name, _)| name == method).map(|(_, arguments)| arguments.clone()).collect()
    }

    /// What was uploaded, by folder and name.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.files.lock().unwrap().clone()
    }
}

/// Requests of one connection, until it is closed or an answer gets lost.
fn serve(stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    while let Some((target, body)) = request(&mut reader) {
        let Some(answer) = answer(&target, &body, shared) else { return };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n", answer.len());
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(answer.as_bytes())).is_err() {
            return;
        }
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((target, body))
}

/// `None`: lost.
fn answer(target: &str, body: &[u8], shared: &Shared) -> Option<String> {
    let query: BTreeMap<_, _> = target
        .split_once('?')
        .map_or("", |(_, query)| query)
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key, value.replace("%2F", "/").replace("%3A", ":")))
        .collect();
    let value = |json: &Json| encode_response(&Value::from_json(json));
    if let (Some(folder), Some(name)) = (query.get("filepath"), query.get("filename")) {
        let offset: usize = query["offset"].parse().unwrap();
        let mut files = shared.files.lock().unwrap();
        let file = files.entry(format!("{folder}/{name}")).or_default();
        file.truncate(offset);
        file.extend_from_slice(body);
        let sum = format!("{:08x}", adler32(body));
        return Some(value(&json!({"size": body.len(), "fileverify": "adler32", "offset": offset, "hexdigest": sum})));
    }
    let call = decode_call(body).unwrap();
    let Arguments { positional, named } = Arguments::from_params(call.params);
    let mut arguments: Vec<Json> = positional.iter().map(Value::to_json).collect();
    if !named.is_empty() {
        arguments.push(Value::Struct(named).to_json());
    }
    shared.calls.lock().unwrap().push((call.method.clone(), arguments.clone()));
    if call.method == "checkUpload" {
        let key = format!("{}/{}", arguments[0].as_str().unwrap(), arguments[1].as_str().unwrap());
        let files = shared.files.lock().unwrap();
        let found = files.get(&key).map(|file| json!({"size": file.len(), "mtime": 0.0, "hexdigest": sha256(file)}));
        return Some(value(&found.unwrap_or_default()));
    }
    match (shared.answers)(&call.method, &arguments) {
        Answer::Is(json) => Some(value(&json)),
        Answer::Refused(code, text) => Some(encode_fault(&Fault::new(code, text))),
        Answer::Lost => None,
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    crate::plugins::hex(&sha2::Sha256::digest(bytes))
}

/// RFC 1950, 8.2.
fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}
