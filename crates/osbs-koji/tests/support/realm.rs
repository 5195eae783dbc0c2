//! A realm of Kerberos: MIT's KDC, and before a hub a web server that lets in who shows a ticket. All of it dies with the
//! test.
#![allow(dead_code, clippy::unwrap_used, reason = "each test program uses its part")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Polls; a machine may be slow, but not for ever.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(90), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub struct Dies(Child);

impl Drop for Dies {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A realm with its KDC, and the gate of a hub.
pub struct Realm {
    pub folder: tempfile::TempDir,
    /// The gate's port: `https://localhost:PORT/kojihub`.
    pub gate: u16,
    running: Vec<Dies>,
}

pub fn command(folder: &Path, line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).current_dir(folder).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let of = |name: &str| folder.join(name);
    command.env("KRB5_CONFIG", of("krb5.conf")).env("KRB5_KDC_PROFILE", of("kdc.conf"));
    command.env("KRB5_KTNAME", of("gate.keytab"));
    command
}

pub fn done(folder: &Path, line: &str) {
    let done =
        command(folder, line).output().expect("krb5-kdc, krb5-admin-server, krb5-user and openssl are installed");
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Realm {
    /// A realm whose gate answers for itself.
    pub fn new() -> Self {
        Self::before("")
    }

    /// A realm whose gate lets its visitors on to the hub at this URL, where each has this password.
    pub fn before_hub(url: &str, password: &str) -> Self {
        // An argument is one word.
        Self::before(&format!(" {url} {}", password.replace(' ', "+")))
    }

    fn before(arguments: &str) -> Self {
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
        for (name, keytab) in
            [("HTTP/localhost", "gate"), ("other", "client"), ("builder", "client"), ("reactor", "client")]
        {
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
        let gate = concat!(env!("CARGO_MANIFEST_DIR"), "/../osbs-koji/tests/kerberos/gate.py");
        let out = realm.start(&format!("/usr/bin/python3 {gate}{arguments}"));
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
}
