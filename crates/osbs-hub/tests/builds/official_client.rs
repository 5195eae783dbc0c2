//! The official command line, version 1.36, as the judge of builds, tasks and logs.

use crate::fixture::*;
use crate::harness::{PASSWORD, PATIENCE, TestHub};
use osbs_koji::Value;
use osbs_koji::xmlrpc::{encode_fault, encode_response};
use osbs_koji::{Arguments, Fault};
use serde_json::Value as Json;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// The program, in a folder of its own. `None`: real tests are not wanted.
struct Koji {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Koji {
    fn new(hub: &TestHub) -> Option<Self> {
        if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some_and(|value| value == "1") {
            return None;
        }
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let cache = std::env::var_os("OSBS_TEST_CACHE").map_or_else(|| project.join(".cache"), PathBuf::from);
        let found = Command::new(project.join("scripts/koji.sh")).arg("bin").arg(cache).output().unwrap();
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        let program = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim()).join("koji");
        let folder = tempfile::tempdir().unwrap();
        let address = hub.address;
        let conf = format!(
            "[koji]\nserver = http://{address}/kojihub\nweburl = http://{address}/koji\n\
             topurl = http://{address}/kojifiles\nauthtype = password\npoll_interval = 1\n"
        );
        fs::write(folder.path().join("config"), conf).unwrap();
        Some(Self { program, folder })
    }

    fn command(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("PYTHONUNBUFFERED", "1");
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.arg("-c").arg(self.folder.path().join("config"));
        command.args(["--user", user, "--password", PASSWORD]).args(arguments);
        command
    }

    /// Runs it, within bounds.
    fn run(&self, user: &str, arguments: &[&str]) -> Output {
        let child = self.command(user, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        finish(child, &arguments.join(" "))
    }

    /// The same; it must go well and say all of `expected`.
    fn says(&self, user: &str, arguments: &[&str], expected: &[&str]) -> String {
        let output = self.run(user, arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
        for expected in expected {
            assert!(out.contains(expected), "{arguments:?} does not say {expected:?}:\n{out}{err}");
        }
        out
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn finish(mut child: Child, what: &str) -> Output {
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let errors = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("koji {what} does not end:\n{}{}", text(&reading.join().unwrap()), text(&errors.join().unwrap()));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    Output { status, stdout: reading.join().unwrap(), stderr: errors.join().unwrap() }
}

#[test]
fn a_build_is_imported_tagged_and_downloaded() {
    let hub = hub(false);
    let Some(koji) = Koji::new(&hub) else { return };
    let nvr = format!("{PACKAGE}-2.4-1");
    for (name, bytes) in [(IMAGE, IMAGE_BYTES), (LOG, LOG_BYTES)] {
        fs::write(koji.folder.path().join(name), bytes).unwrap();
    }
    fs::write(koji.folder.path().join("metadata"), metadata("1").to_string()).unwrap();
    koji.says("reactor", &["import-cg", "--noprogress", "metadata", "."], &[]);
    let info = ["State: COMPLETE", "Built by: mwells", &format!("packages/{PACKAGE}/2.4/1/images/{IMAGE}")];
    koji.says("mwells", &["buildinfo", &nvr], &info);
    koji.says("mwells", &["list-builds", "--package", PACKAGE], &[&nvr, "mwells", "COMPLETE"]);
    koji.says("reactor", &["tag-build", "--wait", TAG, &nvr], &["Created task", "completed successfully"]);
    koji.says("mwells", &["list-tagged", TAG], &[&nvr, TAG, "mwells"]);
    koji.says("mwells", &["latest-build", TAG, PACKAGE], &[&nvr]);
    koji.says("mwells", &["buildinfo", &nvr], &[&format!("Tags: {TAG}")]);
    let archives = koji.says("mwells", &["call", "--json-output", "listArchives", "1"], &[]);
    let archives: Json = serde_json::from_str(&archives).unwrap();
    assert_eq!(archives[0]["checksum"], md5_of(IMAGE_BYTES));
    fs::remove_file(koji.folder.path().join(IMAGE)).unwrap();
    koji.says("mwells", &["download-build", "--noprogress", "--type", "image", &nvr], &[]);
    assert_eq!(koji.read(IMAGE), IMAGE_BYTES);
    koji.says(
        "mwells",
        &["list-history", "--tag", TAG],
        &[&format!("{nvr} tagged into {TAG} by reactor [still active]")],
    );
    koji.says("reactor", &["untag-build", TAG, &nvr], &[]);
    assert!(!koji.says("mwells", &["list-tagged", TAG], &[]).contains(&nvr));
    let refused = koji.run("reactor", &["import-cg", "--noprogress", "metadata", "."]);
    assert!(!refused.status.success());
    let why = text(&refused.stderr) + &text(&refused.stdout);
    assert!(why.contains("already exists") || why.contains("No such file"), "{why}");
}

#[test]
fn tasks_and_their_logs_are_watched() {
    let hub = hub(true);
    let Some(koji) = Koji::new(&hub) else { return };
    let (mwells, builder) = (hub.login("mwells"), builder(&hub));
    let submit = || {
        let opts = Value::members([("git_branch", "f43".into())]);
        mwells.ok("buildContainer", ["git://example.com/x#1".into(), TAG.into(), opts]).as_int().unwrap()
    };
    let task = submit();
    let id = task.to_string();
    koji.says("mwells", &["list-tasks", "--mine"], &[&id, "buildContainer", "FREE"]);
    builder.ok("host.updateHost", [0.0.into(), true.into()]);
    builder.ok("host.openTask", [task.into()]);
    koji.says("mwells", &["taskinfo", "-v", "-r", &id], &["State: open", "Owner: mwells", "Host: builder"]);
    let folder = format!("filepath=tasks%2F{task}%2F{task}&overwrite=1");
    let line = |number: usize| format!("{number} x86_64 - - RUN step, a line\n");
    raw_upload(&builder, &format!("{folder}&filename=x86_64.log&offset=0"), line(1).as_bytes()).unwrap();
    let mut command = koji.command("mwells", &["watch-logs", &id]);
    let watcher = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut command = koji.command("mwells", &["watch-task", &id]);
    let waiter = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let offset = line(1).len();
    raw_upload(&builder, &format!("{folder}&filename=x86_64.log&offset={offset}"), line(2).as_bytes()).unwrap();
    let result = Value::members([("koji_builds", Value::Array(vec!["1".into()]))]);
    builder.ok("host.closeTask", [task.into(), encode_response(&result).into()]);
    let watched = finish(watcher, "watch-logs");
    assert!(watched.status.success(), "{}", text(&watched.stderr));
    assert!(text(&watched.stdout).contains(&(line(1) + &line(2))), "{}", text(&watched.stdout));
    let waited = finish(waiter, "watch-task");
    assert!(waited.status.success());
    assert!(text(&waited.stdout).contains("completed successfully"), "{}", text(&waited.stdout));
    koji.says("mwells", &["taskinfo", "-r", &id], &["State: closed"]);
    koji.says("mwells", &["download-logs", &id], &["x86_64.log"]);
    koji.says("mwells", &["download-task", "--noprogress", "--log", &id], &[]);
    let log = fs::read_dir(koji.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(log.into_iter().any(|name| name.starts_with("x86_64") && name.contains(".log")));
    check_unhappy(&koji, &hub, submit(), submit());
}

fn check_unhappy(koji: &Koji, hub: &TestHub, failing: i64, unwanted: i64) {
    koji.says("mwells", &["cancel", &unwanted.to_string()], &[]);
    let watched = koji.run("mwells", &["watch-task", &unwanted.to_string()]);
    assert!(!watched.status.success());
    assert!(text(&watched.stdout).contains("was canceled"), "{}", text(&watched.stdout));
    // As a builder would end it.
    let fault = encode_fault(&Fault { code: 1005, text: "the image build failed".to_owned() });
    let sql = "UPDATE task SET state = 5, result = ?, completion_time = create_time WHERE id = ?";
    hub.database().execute(sql, rusqlite::params![fault, failing]).unwrap();
    let watched = koji.run("mwells", &["watch-task", &failing.to_string()]);
    assert!(!watched.status.success());
    assert!(text(&watched.stdout).contains("FAILED: BuildError: the image build failed"), "{}", text(&watched.stdout));
    let info = hub.call("getTaskInfo", Arguments::of([failing.into()])).unwrap();
    assert_eq!(info.get("state"), &Value::Int(5));
    koji.says("mwells", &["list-tasks", "--mine", "--all", "--after", "2020-01-01"], &["CLOSED"]);
}
