//! Logins with a client certificate, over real TLS: rustls as the hub's web server, certificates by openssl.

#![allow(clippy::unwrap_used)]

mod support;

use osbs_http::HttpError;
use osbs_koji::xmlrpc::{decode_call, encode_fault, encode_response};
use osbs_koji::{Fault, FaultCode, Koji, KojiError, Login, Server, Value, calls};
use osbs_types::{ErrorKind, Failure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use support::quick;

fn can_run() -> bool {
    std::env::var_os("OSBS_TEST_SKIP_REAL").is_none()
}

fn openssl(folder: &Path, arguments: &str) {
    let done = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output();
    let done = done.expect("openssl starts: apt-get install openssl");
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// `NAME.pem`, `NAME.key` and, of both, the folder NAME with the file `cert`.
fn certificate(folder: &Path, authority: &str, name: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder, &format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
    let by = format!("-CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days 9");
    openssl(folder, &format!("x509 -req -in {name}.csr {by} -extfile san -out {name}.pem"));
    fs::create_dir(folder.join(name)).unwrap();
    let read = |end: &str| fs::read_to_string(folder.join(format!("{name}.{end}"))).unwrap();
    fs::write(folder.join(name).join("cert"), read("pem") + &read("key")).unwrap();
}

fn authority(folder: &Path, name: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder, &format!("req -x509 {key} -days 9 -subj /CN={name} -keyout {name}.key -out {name}.pem"));
}

struct TlsHub {
    folder: tempfile::TempDir,
    url: String,
    /// Path, and whether a certificate was shown.
    seen: Arc<Mutex<Vec<(String, bool)>>>,
}

fn config(folder: &Path) -> ServerConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
    let asks = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build().unwrap();
    let chain = vec![CertificateDer::from_pem_file(folder.join("127.0.0.1.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("127.0.0.1.key")).unwrap();
    ServerConfig::builder().with_client_cert_verifier(asks).with_single_cert(chain, key).unwrap()
}

fn answer(path: &str, method: &str, is_known: bool) -> String {
    let session = [("session-id", 61.into()), ("session-key", "1-key".into()), ("header-auth", true.into())];
    match (method, path, is_known) {
        ("sslLogin", "/kojihub/ssllogin", true) => encode_response(&Value::members(session)),
        ("sslLogin", _, _) => encode_fault(&Fault::new(FaultCode::AuthError, "could not verify client: None")),
        ("logout", _, _) => encode_response(&Value::Nil),
        _ => encode_response(&1.into()),
    }
}

impl TlsHub {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::write(at.join("san"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
        authority(at, "ca");
        authority(at, "other");
        certificate(at, "ca", "127.0.0.1");
        certificate(at, "ca", "mwells");
        certificate(at, "other", "mallory");
        fs::copy(at.join("ca.pem"), at.join("mwells/serverca")).unwrap();
        fs::copy(at.join("ca.pem"), at.join("mallory/serverca")).unwrap();
        let config = Arc::new(config(at));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/kojihub", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<(String, bool)>>>::default();
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut reader = BufReader::new(StreamOwned::new(connection, stream));
                let Some((path, headers)) = support::read_head(&mut reader) else { continue };
                let mut body = vec![0; headers["content-length"].parse().unwrap()];
                reader.read_exact(&mut body).unwrap();
                let mut stream = reader.into_inner();
                let is_known = stream.conn.peer_certificates().is_some();
                kept.lock().unwrap().push((path.clone(), is_known));
                let answer = answer(&path, &decode_call(&body).unwrap().method, is_known);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
                let _ = stream.write_all((head + &answer).as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { folder, url, seen }
    }

    fn login(&self, name: &str) -> (Login, Option<Vec<u8>>) {
        Login::read(&self.folder.path().join(name), None).unwrap()
    }

    fn client(&self, login: Login, ca: Option<Vec<u8>>) -> Koji {
        let server = Server::new(&self.url).unwrap();
        let server = if let Some(pem) = ca { server.trusting(pem) } else { server };
        Koji::new(&support::transport(), server, login, quick()).unwrap()
    }
}

#[tokio::test]
async fn certificates() {
    if !can_run() {
        return;
    }
    let hub = TlsHub::new();
    let (login, ca) = hub.login("mwells");
    let koji = hub.client(login, ca.clone());
    koji.log_in().await.unwrap();
    assert_eq!(koji.call(calls::get_api_version()).await.unwrap(), 1);
    koji.log_out().await.unwrap();
    assert_eq!(hub.seen.lock().unwrap()[0], ("/kojihub/ssllogin".to_owned(), true));

    // Nobody's authority, nobody's certificate: said at once, not tried for a quarter of an hour.
    let error = hub.client(Login::Anonymous, None).call(calls::get_api_version()).await.unwrap_err();
    assert!(matches!(error, KojiError::Transport { source: HttpError::Tls { .. }, .. }), "{error:?}");
    assert!(error.hint().contains("serverca"), "{}", error.hint());
    let (login, ca) = hub.login("mallory");
    let error = hub.client(login, ca.clone()).log_in().await.unwrap_err();
    assert!(matches!(error, KojiError::Transport { source: HttpError::Tls { .. }, .. }), "{error:?}");

    // What is no certificate is never shown.
    let pem = osbs_types::Secret::new("-----BEGIN hunter2");
    let server = Server::new(&hub.url).unwrap();
    let login = Login::Certificate { pem, proxyuser: None };
    let error = Koji::new(&support::transport(), server, login, quick()).unwrap_err();
    let text = format!("{} {error:?}", Failure::new(error.kind(), &error));
    assert!(error.kind() == ErrorKind::Policy && !text.contains("hunter2"), "{text}");
}
