//! `osbs hub`: a hub is made, set up and run as its help says, and ends at a signal.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const OSBS: &str = env!("CARGO_BIN_EXE_osbs");
const PATIENCE: Duration = Duration::from_mins(2);

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(OSBS);
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").arg("hub").args(arguments).stdin(Stdio::null());
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    command(home, arguments).output().expect("osbs starts")
}

fn ok(home: &Path, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn check_refused(home: &Path, arguments: &[&str], code: i32, part: &str) {
    let output = run(home, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && said.contains(part), "{arguments:?}: {:?} {said}", output.status);
}

/// A hub that runs; it dies with this.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(home: &Path) -> Self {
        let mut child = command(home, &["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("osbs starts");
        let out = child.stdout.take().expect("piped");
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = receiver.recv_timeout(PATIENCE).expect("the hub says where it listens");
        let address = line.trim().strip_prefix("http://").and_then(|url| url.strip_suffix("/kojihub"));
        Self { address: address.unwrap_or_else(|| panic!("{line:?}")).to_owned(), child }
    }

    fn call(&self, document: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let length = document.len();
        write!(
            stream,
            "POST /kojihub HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{document}"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_hub_is_made_set_up_and_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path();
    check_refused(home, &["call", "listTags"], 1, "osbs hub init");
    ok(home, &["init"]);
    check_refused(home, &["init"], 1, "holds a hub already");
    let hub = home.join(".local/share/osbs/hub");
    for (name, mode) in [("", 0o700), ("kojiadmin.password", 0o600), ("hub.db", 0o600)] {
        let found = hub.join(name).metadata().expect(name).permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
    }
    assert_eq!(ok(home, &["add-target", "f43", "--arch", "x86_64", "--arch", "aarch64"]), "f43-candidate\n");
    assert_eq!(ok(home, &["add-user", "mwells"]).trim().len(), 24, "a password");
    ok(home, &["add-package", "f43-candidate", "web", "--owner", "mwells"]);
    assert_eq!(ok(home, &["add-host", "builder1", "--arch", "x86_64"]).trim().len(), 24, "a password");
    assert!(ok(home, &["call", "getTag", "f43-build"]).contains("\"arches\": \"x86_64 aarch64\""));
    assert!(ok(home, &["call", "listHosts", "channelID=container"]).contains("builder1"));
    check_refused(home, &["call", "getTag", "nothing", "strict=true"], 1, "No such tagInfo");
    check_refused(home, &["add-user", "a b"], 1, "cannot be the name of a user");
    check_refused(home, &["add-user", "b", "--permission", "everything"], 1, "there is no permission");

    let mut serving = Serving::start(home);
    let answer = serving.call("<methodCall><methodName>getKojiVersion</methodName></methodCall>");
    assert!(answer.contains("200 OK") && answer.contains("1.35"), "{answer}");
    // Beside a running hub.
    ok(home, &["add-user", "reactor", "--content-generator", "atomic-reactor"]);
    let answer = serving.call("<methodCall><methodName>listCGs</methodName></methodCall>");
    assert!(answer.contains("atomic-reactor") && answer.contains("reactor"), "{answer}");
    let pid = serving.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    assert!(serving.child.wait().expect("it ends").success());
}

#[test]
fn a_hub_is_prepared_and_prepared_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path();
    let scms = ["--allowed-scms", "a.test:/100%/*", "--allowed-scms", "!b.test:/*"];
    let args = [&["prepare", "f43", "--arch", "x86_64", "--package", "web"][..], &scms].concat();
    let first = ok(home, &args);
    let clients = home.join(".local/share/osbs/hub/clients");
    let files = ["builder1.password", "builds.password", "importer.password", "koji.conf", "koji.yaml", "kojid.conf"];
    let kept: Vec<String> = files.map(|name| std::fs::read_to_string(clients.join(name)).expect(name)).into();
    for name in files {
        assert_eq!(clients.join(name).metadata().expect(name).permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(clients.metadata().expect("there").permissions().mode() & 0o777, 0o700);
    assert!(kept[5].ends_with("allowed_scms = a.test:/100%%/* !b.test:/*\n"), "{}", kept[5]);

    // With another architecture and package: what was there stays, passwords too.
    let again = ok(home, &[&args[..], &["--arch", "aarch64", "--package", "other"]].concat());
    assert_eq!(first, again);
    assert_eq!(kept, files.map(|name| std::fs::read_to_string(clients.join(name)).expect(name)));
    let target = ok(home, &["call", "getBuildTarget", "f43-candidate"]);
    assert!(target.contains("\"build_tag_name\": \"f43-build\""), "{target}");
    assert!(ok(home, &["call", "getTag", "f43-build"]).contains("\"arches\": \"x86_64 aarch64\""));
    let packages = ok(home, &["call", "listPackagesSimple"]);
    assert!(packages.contains("\"web\"") && packages.contains("\"other\""), "{packages}");
    for channel in ["container", "container-binary"] {
        let hosts = ok(home, &["call", "listHosts", &format!("channelID={channel}")]);
        assert_eq!(hosts.matches("\"name\": \"builder1\"").count(), 1, "{hosts}");
    }
    assert!(ok(home, &["call", "listCGs"]).contains("\"importer\""));

    check_refused(home, &["prepare", "f43", "--arch", "x86_64", "--user", "builder1"], 1, "cannot be two accounts");
    check_refused(home, &["prepare", "f43", "--arch", "x86_64", "--user", "../you"], 1, "its password lies in a file");
    check_refused(home, &["prepare", "f43", "--arch", "x86_64", "--url", "http://h/"], 1, "does not end in /kojihub");
}

/// What cannot be prepared leaves no hub behind, and says what to do about it.
#[test]
fn a_mistake_makes_no_empty_hub() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path();
    for mistake in [
        &["prepare", "a^b", "--arch", "x86_64"][..],
        &["prepare", "f43", "--arch", "x^86"],
        &["prepare", "f43", "--arch", "x86_64", "--package", "a b"],
        &["prepare", "f43", "--arch", "x86_64", "--user", "a^b"],
        &["prepare", "f43", "--arch", "x86_64", "--url", "http://h/"],
        &["init", "--admin", "a^b"],
    ] {
        check_refused(home, mistake, 1, "next osbs hub COMMAND --help");
        assert!(!home.join(".local/share/osbs/hub").exists(), "{mistake:?}");
    }
}

#[test]
fn a_new_hub_is_made_by_serving_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let serving = Serving::start(folder.path());
    drop(serving);
    assert!(ok(folder.path(), &["call", "getLoggedInUser"]).contains("kojiadmin"));
}

#[test]
fn a_wrong_hub_conf_is_told_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("hub.conf"), "[hub]\nCheckClientIP = perhaps\n").expect("written");
    check_refused(folder.path(), &["--dir", folder.path().to_str().expect("text"), "init"], 1, "hub.conf:2");
}
