//! Registries of a site: with TLS by an authority of its own, with logins, read-only, without deletion. And what stands
//! before a server and remembers every byte a client sent.

use super::{World, free_port, wait_for};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// Somebody who may log in.
#[derive(Debug, Clone, Copy)]
pub struct Login {
    pub user: &'static str,
    pub password: &'static str,
    hash: &'static str,
    /// Base64 of both, as HTTP Basic sends it.
    pub basic: &'static str,
}

pub const RED: Login = Login {
    user: "red",
    password: "red hush 1",
    hash: "$2b$05$abcdefghijklmnopqrstuuLvxxKT5SDAh3/Yf58zCwjwgJuR733xu",
    basic: "cmVkOnJlZCBodXNoIDE=",
};

pub const BLUE: Login = Login {
    user: "blue",
    password: "blue hush 2",
    hash: "$2b$05$abcdefghijklmnopqrstuuZk.UxYoQpE.qkypGbFIDNFOw1xTjGpK",
    basic: "Ymx1ZTpibHVlIGh1c2ggMg==",
};

#[track_caller]
fn openssl(args: &[&str]) {
    let done = Command::new("openssl").args(args).output().expect("openssl starts: apt-get install openssl");
    assert!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An authority that nobody but the site trusts.
pub struct Authority {
    folder: PathBuf,
}

/// A certificate's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Valid {
    Now,
    UntilLastYear,
}

impl Authority {
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("made");
        let authority = Self { folder: folder.to_owned() };
        let (certificate, key) = (authority.at("ca.crt"), authority.at("ca.key"));
        let fixed =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9"];
        openssl(
            &[&fixed[..], &["-subj", &format!("/CN=authority {}", free_port()), "-keyout", &key, "-out", &certificate]]
                .concat(),
        );
        fs::write(authority.at("index.txt"), "").expect("written");
        fs::write(authority.at("serial"), "01\n").expect("written");
        fs::write(authority.at("san"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").expect("written");
        let folder = authority.folder.display();
        let config = format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index.txt\nnew_certs_dir={folder}\nserial={folder}/serial\n\
             default_md=sha256\nunique_subject=no\npolicy=p\n[p]\ncommonName=supplied\n"
        );
        fs::write(authority.at("ca.conf"), config).expect("written");
        authority
    }

    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Its certificate, for `ca_file`.
    pub fn file(&self) -> String {
        self.at("ca.crt")
    }

    /// The part `tls` of a registry's configuration, with a new certificate of 127.0.0.1.
    pub fn tls(&self, name: &str, valid: Valid) -> String {
        let [key, request, certificate] = ["key", "csr", "pem"].map(|end| self.at(&format!("{name}.{end}")));
        let fixed = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        openssl(&[&fixed[..], &["-subj", "/CN=127.0.0.1", "-keyout", &key, "-out", &request]].concat());
        let (config, own, own_key) = (self.at("ca.conf"), self.at("ca.crt"), self.at("ca.key"));
        let (start, end) = match valid {
            Valid::Now => ("20200101000000Z", "20991231000000Z"),
            Valid::UntilLastYear => ("20200101000000Z", "20210101000000Z"),
        };
        let signed = ["ca", "-batch", "-notext", "-config", &config, "-cert", &own, "-keyfile", &own_key];
        let dates = ["-startdate", start, "-enddate", end, "-extfile", &self.at("san")];
        openssl(&[&signed[..], &dates, &["-in", &request, "-out", &certificate]].concat());
        format!("  tls: {{certificate: {certificate}, key: {key}}}\n")
    }
}

/// How a registry is set up.
#[derive(Default)]
pub struct Setup {
    /// Lines below `http:`, from [`Authority::tls`].
    pub tls: String,
    pub login: Option<Login>,
    /// Lines below `storage:`.
    pub storage: String,
    /// Other lines.
    pub more: String,
}

/// A running docker-registry.
pub struct RegistryServer {
    pub host: String,
    pub folder: PathBuf,
    child: Option<Child>,
}

impl RegistryServer {
    #[track_caller]
    pub fn start(world: &World, name: &str, setup: &Setup) -> Self {
        let folder = world.path(&format!("registry-{name}"));
        fs::create_dir_all(&folder).expect("made");
        let host = format!("127.0.0.1:{}", free_port());
        let auth = setup.login.map_or_else(String::new, |login| {
            let file = folder.join("htpasswd");
            fs::write(&file, format!("{}:{}\n", login.user, login.hash)).expect("written");
            format!("auth: {{htpasswd: {{realm: here, path: {}}}}}\n", file.display())
        });
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}/data}}\n{}\
             http:\n  addr: {host}\n{}{auth}{}",
            folder.display(),
            setup.storage,
            setup.tls,
            setup.more
        );
        fs::write(folder.join("config.yml"), config).expect("written");
        let mut server = Self { host, folder, child: None };
        server.go_on();
        server
    }

    /// Starts it, again if need be.
    #[track_caller]
    pub fn go_on(&mut self) {
        let log = fs::File::create(self.folder.join("log")).expect("a log");
        let mut child = Command::new("docker-registry");
        let child = child.arg("serve").arg(self.folder.join("config.yml")).env_clear();
        let child = child.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log).spawn();
        self.child = Some(child.expect("docker-registry starts: apt-get install docker-registry"));
        let (host, folder) = (self.host.clone(), self.folder.clone());
        wait_for(&format!("{} listens", folder.display()), 60, || TcpStream::connect(&host).is_ok());
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What skopeo prints of an image's manifest; `None` when it has none to print.
    pub fn skopeo(&self, name: &str, authority: Option<&Authority>, login: Option<Login>) -> Option<String> {
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--raw"]);
        match authority {
            Some(authority) => command.arg("--cert-dir").arg(certificates(authority)),
            None => command.arg("--tls-verify=false"),
        };
        if let Some(login) = login {
            command.arg("--creds").arg(format!("{}:{}", login.user, login.password));
        }
        let done = command.arg(format!("docker://{}/{name}", self.host)).output();
        let done = done.expect("skopeo starts: apt-get install skopeo");
        done.status.success().then(|| String::from_utf8(done.stdout).expect("UTF-8"))
    }
}

/// skopeo takes every *.crt of a folder for an authority, and every *.key for a client's.
fn certificates(authority: &Authority) -> PathBuf {
    let folder = authority.folder.join("for-skopeo");
    fs::create_dir_all(&folder).expect("made");
    fs::copy(authority.file(), folder.join("ca.crt")).expect("copied");
    folder
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl World {
    /// Keeps a login as a secret of the cluster, under this key of the secret.
    #[track_caller]
    pub fn put_login(&self, secret: &str, key: &str, content: &str) {
        self.put_secret(secret, &[(key, content)]);
    }

    /// Keeps a secret of the cluster.
    #[track_caller]
    pub fn put_secret(&self, secret: &str, files: &[(&str, &str)]) {
        let folder = self.path("put-secret");
        fs::create_dir_all(&folder).expect("made");
        let mut args = vec!["config".to_owned(), "set-secret".to_owned(), secret.to_owned()];
        for (key, content) in files {
            fs::write(folder.join(key), content).expect("written");
            args.push(folder.join(key).display().to_string());
        }
        self.ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
        fs::remove_dir_all(folder).expect("removed");
    }
}
/// Stands before a server and remembers what clients send.
pub struct Recorder {
    pub address: String,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    pub fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (target, kept) = (target.to_owned(), Arc::clone(&sent));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let clones = (client.try_clone(), server.try_clone());
                let (Ok(to_client), Ok(from_server)) = clones else { continue };
                std::thread::spawn(move || relay(from_server, to_client, None));
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || relay(client, server, Some(&kept)));
            }
        });
        Self { address, sent }
    }

    /// Everything so far, heads and bodies.
    pub fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, keep: Option<&Mutex<Vec<u8>>>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if let Some(kept) = keep {
            kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
