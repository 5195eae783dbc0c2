//! A hub for tests, over real HTTP: sessions, call numbers, uploads, and a few methods that count how often they were done;
//! and what can go wrong on the way to it and back.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod recorded;

use base64::Engine as _;
use osbs_http::{RetryPolicy, Timeouts, Transport, TransportConfig, Url};
use osbs_koji::xmlrpc::{decode_call, encode_fault, encode_response};
use osbs_koji::{Arguments, Fault, FaultCode, Koji, Login, Server, Settings, Value};
use osbs_types::Secret;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const PASSWORD: &str = "hunter2-password";

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injury {
    /// The connection closes as soon as the head is read.
    CutBefore,
    /// The connection closes when half of the body is read.
    CutInRequest,
    /// The hub does it; the connection closes instead of an answer.
    CutAfter,
    /// The hub does it; half of its answer arrives.
    CutInAnswer,
    /// A proxy's 500 instead of the hub.
    Status500,
    /// The hub does it; a proxy's 502 is the answer.
    Status502After,
    /// The hub does it; the answer is a page.
    PageAfter,
    /// Fault 1014.
    Offline,
    /// The file is locked by another upload.
    Locked,
    /// The session is too old from now on.
    Expire,
    /// The session is closed from now on.
    Close,
    /// The answer takes a while.
    Slow,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Seen {
    /// The method, or `rawUpload`.
    pub fn method(&self) -> String {
        decode_call(&self.body).map_or_else(|_| "rawUpload".to_owned(), |call| call.method)
    }

    pub fn number(&self) -> Option<u64> {
        self.headers.get("koji-session-callnum").map(|number| number.parse().unwrap())
    }

    fn query(&self, name: &str) -> Option<String> {
        let url = Url::parse("http://h").unwrap().join(&self.path).unwrap();
        url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

#[derive(Debug, Clone, Default)]
pub struct FakeSession {
    key: String,
    last: Option<u64>,
    is_expired: bool,
    is_closed: bool,
}

/// What the hub knows.
#[derive(Debug, Default)]
pub struct State {
    pub sessions: BTreeMap<i64, FakeSession>,
    /// How often each method was done.
    pub done: BTreeMap<String, u32>,
    pub files: BTreeMap<String, Vec<u8>>,
    pub seen: Vec<Seen>,
    /// The checksum of the next so many blocks is told wrong.
    pub wrong_checksums: u32,
    /// A byte of the next so many files is turned when its size is asked for.
    pub rotten: u32,
}

pub struct FakeHub {
    pub address: String,
    pub state: Arc<Mutex<State>>,
}

type Plan = Box<dyn Fn(usize, &Seen) -> Option<Injury> + Send + Sync>;

impl FakeHub {
    /// A hub to whose requests, counted from 0, the plan does something.
    pub fn new(plan: impl Fn(usize, &Seen) -> Option<Injury> + Send + Sync + 'static) -> Self {
        Self::with_version(true, plan)
    }

    /// One that does not look at call numbers, as those from 1.31 to 1.34, if `counts` is false.
    pub fn with_version(counts: bool, plan: impl Fn(usize, &Seen) -> Option<Injury> + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), counts, plan)
    }

    /// One that listens there already.
    pub fn on(
        listener: TcpListener,
        counts: bool,
        plan: impl Fn(usize, &Seen) -> Option<Injury> + Send + Sync + 'static,
    ) -> Self {
        let plan: Arc<Plan> = Arc::new(Box::new(plan));
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::<Mutex<State>>::default();
        let (kept, requests) = (Arc::clone(&state), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, plan, requests) = (Arc::clone(&kept), Arc::clone(&plan), Arc::clone(&requests));
                std::thread::spawn(move || serve(&stream, counts, &kept, &plan, &requests));
            }
        });
        Self { address, state }
    }

    /// A client of it: fast, and patient enough for any machine.
    pub fn client(&self) -> Koji {
        self.client_with(quick())
    }

    pub fn client_with(&self, settings: Settings) -> Koji {
        client_of(&format!("http://{}/kojihub", self.address), settings)
    }

    pub fn done(&self, method: &str) -> u32 {
        self.state.lock().unwrap().done.get(method).copied().unwrap_or(0)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Methods of the requests, in order.
    pub fn methods(&self) -> Vec<String> {
        self.seen().iter().map(Seen::method).collect()
    }
}

pub fn quick() -> Settings {
    Settings {
        patience: Duration::from_mins(1),
        base_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(5),
        block: 1000,
        ..Settings::default()
    }
}

pub fn transport() -> Transport {
    let retry = RetryPolicy { retries: 0, base_delay: Duration::ZERO, max_delay: Duration::ZERO };
    Transport::new(TransportConfig { retry, timeouts: Timeouts::default(), ..TransportConfig::default() })
}

pub fn client_of(url: &str, settings: Settings) -> Koji {
    let login = Login::Password { user: "me".to_owned(), password: Secret::new(PASSWORD) };
    let top = url.replace("kojihub", "kojifiles");
    Koji::new(&transport(), Server::new(url).unwrap().with_top(&top).unwrap(), login, settings).unwrap()
}

fn serve(stream: &TcpStream, counts: bool, state: &Mutex<State>, plan: &Arc<Plan>, requests: &AtomicUsize) {
    let mut reader = BufReader::new(stream);
    let Some((path, headers)) = read_head(&mut reader) else { return };
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut seen = Seen { path, headers, body: Vec::new() };
    let number = requests.fetch_add(1, Ordering::SeqCst);
    let injury = plan(number, &seen);
    let close = |bytes: &[u8]| {
        let mut stream = stream;
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Both);
    };
    match injury {
        Some(Injury::CutBefore) => return close(b""),
        Some(Injury::CutInRequest) => {
            let mut half = vec![0; length / 2];
            let _ = reader.read_exact(&mut half);
            return close(b"");
        }
        _ => {}
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    seen.body = body;
    let version = if counts { "Koji-Version: 1.35.3\r\n" } else { "" };
    let http = |status: u16, body: &str| {
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\n{version}Content-Length: {}\r\n", body.len());
        format!("{head}Connection: close\r\n\r\n{body}").into_bytes()
    };
    let mut state = state.lock().unwrap();
    state.seen.push(seen.clone());
    if let Some(Injury::Status500) = injury {
        return close(&http(500, "<h1>Internal Server Error</h1>"));
    }
    if let Some(Injury::Locked) = injury {
        return close(&http(200, &encode_fault(&Fault::new(FaultCode::LockError, "another upload writes it"))));
    }
    if let Some(Injury::Offline) = injury {
        return close(&http(200, &encode_fault(&Fault::new(FaultCode::ServerOffline, "maintenance"))));
    }
    for session in state.sessions.values_mut() {
        session.is_expired |= injury == Some(Injury::Expire);
        session.is_closed |= injury == Some(Injury::Close);
    }
    let answer = match state.answer(&seen) {
        Ok(value) => encode_response(&value),
        Err(fault) => encode_fault(&fault),
    };
    drop(state);
    let whole = http(200, &answer);
    match injury {
        Some(Injury::CutAfter) => close(b""),
        Some(Injury::CutInAnswer) => close(&whole[..whole.len() - answer.len() / 2]),
        Some(Injury::Status502After) => close(&http(502, "<h1>Bad Gateway</h1>")),
        Some(Injury::PageAfter) => close(&http(200, "<!DOCTYPE html><h1>Welcome</h1>")),
        Some(Injury::Slow) => {
            std::thread::sleep(Duration::from_millis(300));
            close(&whole);
        }
        _ => close(&whole),
    }
}

/// Path and headers; none when the connection ended before.
pub fn read_head(reader: &mut impl BufRead) -> Option<(String, BTreeMap<String, String>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some((path, headers)) };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

impl State {
    fn answer(&mut self, seen: &Seen) -> Result<Value, Fault> {
        let upload = seen.headers.get("content-type").is_some_and(|kind| kind == "application/octet-stream");
        if upload {
            self.check_session(seen)?;
            return Ok(self.upload(seen));
        }
        let call = decode_call(&seen.body).map_err(|error| Fault::new(FaultCode::Exception, error.to_string()))?;
        let Arguments { positional, named } = Arguments::from_params(call.params);
        if call.method == "login" {
            return self.login(seen, &positional, named.get("renew").is_some_and(Value::is_true));
        }
        let number = self.check_session(seen)?;
        let text = |at: usize| positional.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let value = match call.method.as_str() {
            "getLoggedInUser" => match number {
                Some(_) => Value::members([("id", 1.into()), ("name", "me".into())]),
                None => Value::Nil,
            },
            "taskFinished" => true.into(),
            "checkUpload" => return Ok(self.check_upload(&format!("{}/{}", text(0), text(1)), named.get("verify"))),
            "CGInitBuild" => self.change(seen, &call.method, || {
                Value::members([("build_id", 37.into()), ("token", "f".repeat(64).into())])
            }),
            "CGImport" => self.change(seen, &call.method, || {
                let names: [(&str, Value); 3] =
                    [("name", "c".into()), ("version", "1".into()), ("release", "2".into())];
                let mut build = names.map(|(name, value)| (name.to_owned(), value)).to_vec();
                build.extend([("id".to_owned(), 37.into()), ("state".to_owned(), 1.into())]);
                Value::Struct(build.into_iter().collect())
            }),
            "tagBuild" => self.change(seen, &call.method, || 27.into()),
            "uploadFile" => self.upload_file(&positional),
            "subsession" => return Ok(self.new_session()),
            "multiCall" => self.change(seen, &call.method, || {
                let fault = [("faultCode", 1000.into()), ("faultString", "no".into())];
                Value::Array(vec![Value::Array(vec![true.into()]), Value::members(fault)])
            }),
            "forbidden" => return Err(Fault::new(FaultCode::AuthError, format!("no {PASSWORD} for you"))),
            _ => self.change(seen, &call.method, || Value::Nil),
        };
        Ok(value)
    }

    fn change(&mut self, seen: &Seen, method: &str, value: impl FnOnce() -> Value) -> Value {
        *self.done.entry(method.to_owned()).or_default() += 1;
        if let (Some(id), number) = (seen.headers.get("koji-session-id"), seen.number()) {
            self.sessions.get_mut(&id.parse().unwrap()).unwrap().last = number;
        }
        value()
    }

    fn new_session(&mut self) -> Value {
        let id = self.sessions.len() as i64 + 61;
        let session = FakeSession { key: format!("1-secretkey{id}"), ..FakeSession::default() };
        let answer = proof(id, &session.key);
        self.sessions.insert(id, session);
        answer
    }

    fn login(&mut self, seen: &Seen, positional: &[Value], renew: bool) -> Result<Value, Fault> {
        if positional.get(1).and_then(Value::as_str) != Some(PASSWORD) {
            return Err(Fault::new(FaultCode::AuthError, "invalid username or password"));
        }
        if !renew {
            return Ok(self.new_session());
        }
        let id: i64 = seen.headers["koji-session-id"].parse().unwrap();
        let session = self.sessions.get_mut(&id).unwrap();
        if session.is_closed || session.key != seen.headers["koji-session-key"] {
            return Err(Fault::new(FaultCode::AuthError, "Invalid session or bad credentials"));
        }
        session.is_expired = false;
        session.key.push('+');
        session.last = seen.number();
        Ok(proof(id, &session.key.clone()))
    }

    fn check_session(&self, seen: &Seen) -> Result<Option<u64>, Fault> {
        let Some(id) = seen.headers.get("koji-session-id") else { return Ok(None) };
        let session = self.sessions.get(&id.parse().unwrap());
        let proven = session.filter(|session| !session.is_closed && session.key == seen.headers["koji-session-key"]);
        let session = proven.ok_or_else(|| Fault::new(FaultCode::AuthError, "Invalid session or bad credentials"))?;
        let number = seen.number();
        if session.is_expired {
            return Err(Fault::new(FaultCode::AuthExpired, "session has expired"));
        }
        match (session.last, number) {
            (Some(last), Some(number)) if number < last => Err(Fault::new(FaultCode::SequenceError, "too low")),
            (Some(last), Some(number)) if number == last => Err(Fault::new(FaultCode::RetryError, "was done")),
            _ => Ok(number),
        }
    }

    fn write(&mut self, path: String, offset: usize, bytes: &[u8]) {
        let file = self.files.entry(path).or_default();
        file.resize(offset, 0);
        file.extend_from_slice(bytes);
    }

    fn upload(&mut self, seen: &Seen) -> Value {
        let query = |name: &str| seen.query(name).unwrap();
        let offset: usize = query("offset").parse().unwrap();
        assert_eq!(query("overwrite"), "1");
        self.write(format!("{}/{}", query("filepath"), query("filename")), offset, &seen.body);
        let wrong = self.wrong_checksums > 0;
        self.wrong_checksums = self.wrong_checksums.saturating_sub(1);
        let sum = adler2::adler32_slice(&seen.body) ^ u32::from(wrong);
        let size = seen.body.len() as i64;
        Value::members([("size", size.into()), ("hexdigest", format!("{sum:08x}").into())])
    }

    fn upload_file(&mut self, positional: &[Value]) -> Value {
        let text = |at: usize| positional[at].as_str().unwrap().to_owned();
        let (path, offset) = (format!("{}/{}", text(0), text(1)), positional[4].as_int().unwrap());
        let data = base64::engine::general_purpose::STANDARD.decode(text(5)).unwrap();
        let expected = positional[3].as_array().unwrap()[1].as_str().unwrap();
        if let Ok(offset) = usize::try_from(offset) {
            let same = sum_of(&data) == expected;
            if same {
                self.write(path, offset, &data);
            }
            return same.into();
        }
        (sum_of(&self.files[&path]) == expected).into()
    }

    fn check_upload(&mut self, path: &str, verify: Option<&Value>) -> Value {
        let Some(file) = self.files.get_mut(path) else { return Value::Nil };
        if self.rotten > 0 {
            self.rotten -= 1;
            file[0] ^= 1;
        }
        let size = file.len() as i64;
        match verify {
            None => Value::members([("size", size.into())]),
            Some(_) => Value::members([("size", size.into()), ("hexdigest", sum_of(file).into())]),
        }
    }
}

fn proof(id: i64, key: &str) -> Value {
    Value::members([("session-id", id.into()), ("session-key", key.into()), ("header-auth", true.into())])
}

fn sum_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |sum, byte| sum + &format!("{byte:02x}"))
}
