//! Koji's official command line against our hub. Needs `scripts/koji.sh`, which gets it from PyPI.

use crate::harness::{PASSWORD, PATIENCE, TestHub, add_user};
use std::cell::RefCell;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

/// Whether real tests are asked for.
pub fn can_run() -> bool {
    std::env::var_os("OSBS_TEST_SKIP_REAL").is_none()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of `koji` and its `python`.
pub fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let cache = std::env::var_os("OSBS_TEST_CACHE").map_or_else(|| root().join(".cache"), PathBuf::from);
        let output = Command::new(root().join("scripts/koji.sh")).arg("bin").arg(cache).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// What a program said, and whether it was content.
pub struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

/// Runs `koji` with a configuration of its own; it ends, or is ended.
pub fn koji(folder: &Path, conf: &str, arguments: &[&str]) -> Said {
    let file = folder.join("koji.conf");
    std::fs::write(&file, format!("[koji]\n{conf}")).unwrap();
    let mut child = Command::new(programs().join("koji"))
        .env_clear()
        .env("HOME", folder)
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .args(["-c", file.to_str().unwrap(), "-p", "koji"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reading = |stream: &mut dyn std::io::Read| {
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    };
    std::thread::scope(|scope| {
        let out = scope.spawn(move || reading(&mut out));
        let err = scope.spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                panic!("koji {arguments:?} does not end");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        Said { ok: status.success(), out: out.join().unwrap(), err: err.join().unwrap() }
    })
}

struct Desk {
    hub: TestHub,
    /// Told together at the end.
    problems: RefCell<Vec<String>>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let problems = self.problems.borrow();
        assert!(problems.is_empty() || std::thread::panicking(), "{}", problems.join("\n"));
    }
}

impl Desk {
    fn conf(&self) -> String {
        let address = self.hub.address;
        format!(
            "server = http://{address}/kojihub\nweburl = http://{address}/koji\ntopurl = http://{address}/kojifiles\n\
             authtype = password\nmax_retries = 2\nretry_interval = 1\n"
        )
    }

    fn run(&self, user: &str, arguments: &[&str]) -> Said {
        let mut all = vec!["--user", user, "--password", PASSWORD];
        all.extend(arguments);
        koji(self.hub.folder.path(), &self.conf(), &all)
    }

    /// A command that must go well; its output must have all of these.
    fn ok(&self, arguments: &[&str], parts: &[&str]) -> String {
        let said = self.run("kojiadmin", arguments);
        let problem = |text: String| {
            self.problems.borrow_mut().push(format!("koji {arguments:?}: {text}\n{}{}", said.out, said.err));
        };
        if !said.ok {
            problem("failed".to_owned());
        }
        for part in parts.iter().filter(|part| !said.out.contains(**part)) {
            problem(format!("{part:?} is missing"));
        }
        said.out
    }

    /// A command that must fail, with these words.
    fn refused(&self, user: &str, arguments: &[&str], part: &str) {
        let said = self.run(user, arguments);
        let all = format!("{}{}", said.out, said.err);
        if said.ok || !all.contains(part) || all.contains("Traceback") {
            self.problems.borrow_mut().push(format!("koji {arguments:?}: {all}"));
        }
    }
}

#[test]
fn the_official_client_sets_up_a_site_and_reads_it() {
    if !can_run() {
        return;
    }
    let hub = TestHub::start();
    add_user(&hub, "mwells");
    let desk = Desk { hub, problems: RefCell::default() };
    desk.ok(&["hello"], &["kojiadmin", "You are using the hub at http://"]);
    desk.ok(&["version"], &["Hub:    1.35.3"]);
    desk.ok(&["add-tag", "f43-container-candidate"], &[]);
    desk.ok(&["add-tag", "f43-container-build", "--arches", "x86_64 aarch64", "-x", "mock.new_chroot=true"], &[]);
    desk.ok(&["add-target", "f43-container-candidate", "f43-container-build", "f43-container-candidate"], &[]);
    desk.ok(&["list-targets"], &["f43-container-candidate", "f43-container-build"]);
    desk.ok(&["list-tags"], &["f43-container-build", "f43-container-candidate"]);
    desk.ok(
        &["taginfo", "f43-container-build"],
        &[
            "Tag: f43-container-build [2]",
            "Arches: x86_64 aarch64",
            "mock.new_chroot : 'true'",
            "Targets that build from this tag:\n  f43-container-candidate",
        ],
    );
    desk.ok(&["taginfo", "f43-container-candidate"], &["Targets that build into this tag:"]);
    desk.ok(&["add-tag-inheritance", "f43-container-build", "f43-container-candidate"], &[]);
    desk.ok(&["list-tag-inheritance", "f43-container-build"], &["f43-container-candidate"]);
    desk.ok(&["edit-tag", "f43-container-candidate", "--arches", "s390x", "--lock"], &[]);
    desk.ok(&["edit-tag", "f43-container-candidate", "--unlock"], &[]);
    desk.ok(
        &["call", "--json-output", "getTag", "f43-container-candidate"],
        &["\"arches\": \"s390x\"", "\"locked\": false"],
    );
    desk.ok(&["add-pkg", "--owner", "mwells", "f43-container-candidate", "caddy-container", "web"], &[]);
    desk.ok(&["list-pkgs", "--tag", "f43-container-candidate"], &["caddy-container", "mwells"]);
    desk.ok(&["list-pkgs", "--tag", "f43-container-build"], &["caddy-container"]);
    desk.ok(&["set-pkg-owner", "kojiadmin", "f43-container-candidate", "web"], &[]);
    desk.ok(&["block-pkg", "f43-container-candidate", "web"], &[]);
    desk.ok(&["list-pkgs", "--tag", "f43-container-candidate", "--show-blocked"], &["[BLOCKED]"]);
    desk.ok(&["unblock-pkg", "f43-container-candidate", "web"], &[]);
    desk.ok(&["remove-pkg", "f43-container-candidate", "web"], &[]);
    desk.ok(&["userinfo", "mwells"], &["User name: mwells", "Number of packages: 1"]);
    desk.ok(&["add-user", "reactor"], &["Added user reactor"]);
    desk.ok(&["list-users"], &["kojiadmin", "mwells", "reactor"]);
    desk.ok(&["grant-cg-access", "reactor", "atomic-reactor", "--new"], &[]);
    desk.ok(&["call", "listCGs"], &["atomic-reactor", "reactor"]);
    desk.ok(&["grant-permission", "tag", "mwells"], &[]);
    desk.ok(&["list-permissions", "--user", "mwells"], &["tag"]);
    desk.ok(&["revoke-permission", "tag", "mwells"], &[]);
    desk.ok(&["add-host", "kojibuilder03.example.com", "x86_64", "aarch64"], &["kojibuilder03.example.com added"]);
    desk.ok(&["add-host-to-channel", "kojibuilder03.example.com", "container-binary"], &[]);
    desk.ok(&["edit-host", "--capacity", "10", "kojibuilder03.example.com"], &["Edited kojibuilder03.example.com"]);
    desk.ok(&["list-hosts"], &["kojibuilder03.example.com", "0.0/10.0", "x86_64,aarch64"]);
    desk.ok(&["list-hosts", "--channel", "container-binary"], &["kojibuilder03.example.com"]);
    desk.ok(&["hostinfo", "kojibuilder03.example.com"], &["Arches: x86_64 aarch64", "container-binary"]);
    desk.ok(&["disable-host", "kojibuilder03.example.com"], &[]);
    desk.ok(&["list-hosts", "--disabled"], &["kojibuilder03.example.com"]);
    desk.ok(&["list-channels"], &["container-binary", "createrepo"]);
    desk.ok(&["call", "listBTypes"], &["image"]);
    desk.ok(&["list-api"], &["getTag(tagInfo, strict=False, event=None, blocked=False)"]);
    let history = desk.ok(
        &["list-history", "--all", "--utc"],
        &[
            "new tag: f43-container-build",
            "tag configuration for f43-container-candidate altered",
            "arches:  -> s390x",
            "new build target: f43-container-candidate",
            "package list entry created: caddy-container in f43-container-candidate",
            "package owner mwells set for caddy-container",
            "package owner changed for web in f43-container-candidate",
            "package list entry revoked: web in f43-container-candidate",
            "permission tag granted to mwells by kojiadmin",
            "permission tag revoked for mwells by kojiadmin",
            "user reactor added to content generator atomic-reactor",
            "new host: kojibuilder03.example.com",
            "host configuration for kojibuilder03.example.com altered",
            "inheritance line f43-container-build->f43-container-candidate added",
        ],
    );
    assert!(history.contains("2026") && history.contains("[still active]"), "{history}");
    desk.ok(&["list-history", "--tag", "f43-container-build"], &["new tag: f43-container-build"]);
    desk.ok(&["list-history", "--by", "kojiadmin", "--package", "web", "--before-event", "999"], &["web"]);
    desk.ok(&["remove-target", "f43-container-candidate"], &[]);
    desk.ok(&["remove-tag", "f43-container-build"], &[]);
    desk.refused("mwells", &["call", "createTag", "mine"], "tag permission required (logged in as mwells)");
    desk.refused("kojiadmin", &["add-tag", "f43-container-candidate"], "already exists");
    desk.refused("nobody", &["moshimoshi"], "invalid username or password");
}
