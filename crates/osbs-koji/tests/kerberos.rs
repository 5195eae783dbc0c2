//! Logins with Kerberos for real: MIT's KDC, curl, and a web server that verifies the ticket with GSS-API.

#![allow(clippy::unwrap_used)]

mod support;

use osbs_koji::{Kerberos, Koji, KojiError, Login, Server, calls};
use osbs_types::ErrorKind;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::quick;
use tokio_util::sync::CancellationToken;

const BUILDER: &str = "builder@TEST.INVALID";

fn can_run() -> bool {
    std::env::var_os("OSBS_TEST_SKIP_REAL").is_none()
}

/// Polls; a machine may be slow, but not for ever.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(90), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Dies(Child);

impl Drop for Dies {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A realm with its KDC, and the gate of a hub.
struct Realm {
    folder: tempfile::TempDir,
    gate: u16,
    running: Vec<Dies>,
}

fn command(folder: &Path, line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).current_dir(folder).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let of = |name: &str| folder.join(name);
    command.env("KRB5_CONFIG", of("krb5.conf")).env("KRB5_KDC_PROFILE", of("kdc.conf"));
    command.env("KRB5_KTNAME", of("gate.keytab"));
    command
}

fn done(folder: &Path, line: &str) {
    let done =
        command(folder, line).output().expect("krb5-kdc, krb5-admin-server, krb5-user and openssl are installed");
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Realm {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let krb5 = format!(
            "[libdefaults]\ndefault_realm = TEST.INVALID\ndns_lookup_kdc = false\ndns_canonicalize_hostname = false\n\
             rdns = false\n[realms]\nTEST.INVALID = {{\nkdc = 127.0.0.1:{port}\n}}\n[domain_realm]\nlocalhost = TEST.INVALID\n"
        );
        fs::write(at.join("krb5.conf"), krb5).unwrap();
        let kdc = format!(
            "[kdcdefaults]\nkdc_listen = 127.0.0.1:{port}\nkdc_tcp_listen = 127.0.0.1:{port}\n[realms]\nTEST.INVALID = {{\n\
             database_name = {0}/principal\nkey_stash_file = {0}/stash\nacl_file = {0}/acl\n}}\n",
            at.display()
        );
        fs::write(at.join("kdc.conf"), kdc).unwrap();
        fs::write(at.join("san"), "subjectAltName=DNS:localhost").unwrap();
        done(at, "kdb5_util create -s -P master -r TEST.INVALID");
        for (name, keytab) in [("HTTP/localhost", "gate"), ("other", "client"), ("builder", "client")] {
            done(at, &format!("kadmin.local addprinc -randkey {name}"));
            done(at, &format!("kadmin.local ktadd -k {keytab}.keytab {name}"));
        }
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        done(at, &format!("openssl req -x509 {key} -subj /CN=authority -keyout ca.key -out ca.pem"));
        done(at, &format!("openssl req {key} -subj /CN=localhost -keyout hub.key -out hub.csr"));
        done(
            at,
            "openssl x509 -req -in hub.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -extfile san -out hub.pem",
        );
        let mut realm = Self { gate: 0, running: Vec::new(), folder };
        realm.start("krb5kdc -n -P kdc.pid");
        until("the KDC listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let gate = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kerberos/gate.py");
        let out = realm.start(&format!("/usr/bin/python3 {gate}"));
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).unwrap();
        realm.gate = line.trim().parse().expect("the gate's port: python3-gssapi is installed");
        realm
    }

    fn start(&mut self, line: &str) -> std::process::ChildStdout {
        let line = format!("setpriv --pdeathsig KILL {line}");
        let log = fs::File::create(self.folder.path().join(format!("log{}", self.running.len()))).unwrap();
        let mut command = command(self.folder.path(), &line);
        let mut child = command.stdout(Stdio::piped()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        self.running.push(Dies(child));
        out
    }

    fn client(&self, who: Option<&str>, cache: Option<&str>) -> Koji {
        let path = |name: &str| self.folder.path().join(name);
        let mut kerberos = Kerberos::new(who.map(str::to_owned), who.map(|_| path("client.keytab"))).unwrap();
        kerberos.config = Some(path("krb5.conf").to_string_lossy().into_owned());
        kerberos.cache = cache.map(|name| path(name).to_string_lossy().into_owned());
        let server = Server::new(&format!("https://localhost:{}/kojihub", self.gate)).unwrap();
        let server = server.trusting(fs::read(path("ca.pem")).unwrap());
        Koji::new(&support::transport(), server, Login::Kerberos(kerberos), quick()).unwrap()
    }

    async fn check_refused(&self, who: Option<&str>, cache: Option<&str>, part: &str) {
        let error = self.client(who, cache).log_in().await.unwrap_err();
        let text = error.to_string();
        assert!(error.kind() == ErrorKind::Policy && text.contains(part) && text.len() < 400, "{text}");
        assert!(matches!(error, KojiError::Kerberos { .. }) && error.hint().contains("klist"), "{text}");
    }
}

#[tokio::test]
async fn a_ticket_logs_in() {
    if !can_run() {
        return;
    }
    let realm = Realm::new();
    realm.check_refused(Some("nobody@TEST.INVALID"), None, "nobody@TEST.INVALID").await;
    realm.check_refused(None, Some("none"), "No credentials").await;
    done(realm.folder.path(), "kinit -k -t client.keytab -l 1s -c old other");
    until("the ticket expires", || !command(realm.folder.path(), "klist -s -c old").status().unwrap().success());
    // The libraries count whole seconds, and not all of them the same one.
    tokio::time::sleep(Duration::from_secs(2)).await;
    realm.check_refused(None, Some("old"), "expired").await;

    // The second of the keytab's principals; its session is renewed behind our back.
    let koji = realm.client(Some(BUILDER), None);
    koji.log_in().await.unwrap();
    let user = koji.call(calls::get_logged_in_user()).await.unwrap();
    assert_eq!(user.unwrap().name, BUILDER);
    // A ticket that is there.
    done(realm.folder.path(), "kinit -k -t client.keytab -c new other");
    let koji = realm.client(None, Some("new"));
    koji.log_in().await.unwrap();
    let user = koji.call(calls::get_logged_in_user()).await.unwrap();
    assert_eq!(user.unwrap().name, "other@TEST.INVALID");
}

/// A client whose curl is this script.
fn client_with(folder: &Path, script: &str) -> Koji {
    let mut kerberos = Kerberos::new(None, None).unwrap();
    kerberos.curl = folder.join("curl");
    // Written by another process: a file that is open for writing in ours, and in what it forks, cannot be started.
    fs::write(folder.join("text"), format!("#!/bin/sh\n{script}\n")).unwrap();
    done(folder, "install -m 755 text curl");
    let server = Server::new("http://127.0.0.1:9/kojihub").unwrap();
    Koji::new(&support::transport(), server, Login::Kerberos(kerberos), quick()).unwrap()
}

#[tokio::test]
async fn a_curl_without_gssapi() {
    let folder = tempfile::tempdir().unwrap();
    let error = client_with(folder.path(), "exit 2").log_in().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Policy && error.to_string().contains("install curl"), "{error}");
}

#[tokio::test]
async fn a_cancelled_login_kills_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", pid.display());
    let cancel = CancellationToken::new();
    let koji = client_with(folder.path(), &script).cancelled_by(&cancel);
    let login = tokio::spawn(async move { koji.log_in().await });
    let (there, token) = (pid.clone(), cancel.clone());
    tokio::task::spawn_blocking(move || until("curl starts", || there.exists())).await.unwrap();
    token.cancel();
    assert!(matches!(login.await.unwrap(), Err(KojiError::Cancelled)));
    let state = format!("/proc/{}/stat", fs::read_to_string(&pid).unwrap().trim());
    let gone = move || fs::read_to_string(&state).map_or(true, |stat| stat.contains(") Z "));
    tokio::task::spawn_blocking(move || until("curl is killed", gone)).await.unwrap();
}
