//! What a newcomer does first: `scripts/demo.sh`, which `make demo` runs, interrupted, run again and stopped. The build that
//! it ends with is looked at in its hub, on disk, and by the official client.

mod world;

use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use world::{can_run, done, processes_with, wait_for};

const OSBS: &str = env!("CARGO_BIN_EXE_osbs");
/// What the demo must end within.
const LIMIT: &str = "600";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// A demo with a cache folder of its own; what it has started is stopped when it is dropped.
struct Demo {
    folder: tempfile::TempDir,
}

impl Demo {
    /// The distribution is made once a machine.
    fn new() -> Self {
        let demo = Self { folder: tempfile::tempdir().expect("a folder") };
        let cache = root().join(".cache");
        fs::create_dir_all(&cache).expect("made");
        for name in ["distribution", "distribution-cache"] {
            fs::create_dir_all(cache.join(name)).expect("made");
            symlink(cache.join(name), demo.folder.path().join(name)).expect("linked");
        }
        demo
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("demo").join(name)
    }

    fn script(&self) -> Command {
        let mut command = Command::new("timeout");
        // In the foreground of a group of its own, as make runs it: an interrupt reaches all of it.
        command.args(["--foreground", "--kill-after=5", LIMIT, "scripts/demo.sh"]).arg(self.folder.path());
        command.env("OSBS", OSBS).env("HOME", self.folder.path()).env_remove("OSBS_HUB_DIR");
        command.current_dir(root()).stdin(Stdio::null()).process_group(0);
        command
    }

    /// Runs it to the end; what it shows.
    #[track_caller]
    fn run(&self) -> String {
        let done = done(self.script().output().expect("it starts"));
        assert_eq!(done.code, 0, "{}\n{}\n{}", done.out, done.err, world::read(&self.path("kojid.log")));
        assert!(done.err.contains(" aarch64 | ") && done.err.contains(" x86_64 | "), "the log streams: {}", done.err);
        done.out
    }

    /// Runs it until it shows a line that begins so, and interrupts it.
    fn interrupt_at(&self, beginning: &str) {
        let mut child = self.script().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with(beginning)), "it ends without {beginning}");
        let group = format!("-{}", child.id());
        assert!(Command::new("kill").args(["-INT", "--", &group]).status().expect("kill runs").success());
        assert!(!child.wait().expect("it ends").success());
    }

    fn stop(&self) {
        let demo = self.path("");
        let scripts = root().join("scripts");
        let _ = Command::new(scripts.join("demo-koji.sh")).arg("stop").arg(&demo).status();
        let _ = Command::new(scripts.join("registry.sh")).arg("stop").arg(demo.join("registry")).status();
    }

    /// What any call of the hub gives.
    #[track_caller]
    fn call(&self, args: &[&str]) -> Value {
        let mut command = Command::new(OSBS);
        let output = command.args(["--quiet", "hub", "--dir"]).arg(self.path("hub")).arg("call").args(args).output();
        let done = done(output.expect("osbs starts"));
        assert_eq!(done.code, 0, "{args:?}: {}", done.err);
        serde_json::from_str(&done.out).expect("JSON")
    }

    /// What the official client shows, without logging in.
    #[track_caller]
    fn koji(&self, args: &[&str]) -> String {
        let cache = std::env::var_os("OSBS_TEST_CACHE").map_or_else(|| root().join(".cache"), PathBuf::from);
        let bin =
            done(Command::new(root().join("scripts/koji.sh")).arg("bin").arg(cache).output().expect("bash starts"));
        assert_eq!(bin.code, 0, "{}", bin.err);
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "120"]).arg(Path::new(bin.out.trim()).join("koji"));
        command.arg("-c").arg(self.path("hub/clients/koji.conf")).args(args);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path()).env("LC_ALL", "C.UTF-8");
        let done = done(command.stdin(Stdio::null()).output().expect("it starts"));
        assert_eq!(done.code, 0, "koji {args:?}\n{}\n{}", done.out, done.err);
        done.out
    }

    /// Processes that the demo started.
    fn processes(&self) -> Vec<u32> {
        processes_with(&self.folder.path().display().to_string())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The value of a row of what the demo ends with.
#[track_caller]
fn row<'a>(shown: &'a str, label: &str) -> &'a str {
    let summary = shown.split_once("== what Koji has of it\n").unwrap_or_else(|| panic!("{shown}")).1;
    let of_row = |line: &'a str| line.trim_start().strip_prefix(label)?.strip_prefix("  ");
    summary.lines().find_map(of_row).unwrap_or_else(|| panic!("{label}: {shown}"))
}

#[test]
fn the_demo_ends_with_a_tagged_build_of_koji() {
    if !can_run() {
        return;
    }
    let demo = Demo::new();
    demo.interrupt_at("Created task: ");
    let hub = fs::read_to_string(demo.path("hub.pid")).expect("the hub goes on");
    let shown = demo.run();
    assert_eq!(hub, fs::read_to_string(demo.path("hub.pid")).expect("there"), "what runs is left running");

    let task = row(&shown, "task").split(',').next().expect("a number");
    let (nvr, _) = row(&shown, "build").split_once(", ").expect("NVR, number");
    assert!(nvr.starts_with("example-hello-container-1.0-"), "{nvr}");
    assert!(row(&shown, "build").ends_with("tagged demo-candidate"), "{shown}");
    assert!(row(&shown, "pull specs").contains("/example/hello:1.0-"), "{shown}");
    for next in ["koji-build --koji-config", "watch-logs", "make demo-stop"] {
        assert!(shown.rsplit_once("== what to try next").expect("an end").1.contains(next), "{next}: {shown}");
    }
    check_build(&demo, nvr, task);
    check_secrets(&demo);

    demo.stop();
    wait_for("everything has stopped", 60, || demo.processes().is_empty());
    demo.stop();
}

/// The hub's record, the files that it keeps, and what the official client makes of them.
#[track_caller]
fn check_build(demo: &Demo, nvr: &str, task: &str) {
    let build = demo.call(&["getBuild", nvr]);
    assert_eq!((&build["state"], build["task_id"].to_string().as_str()), (&Value::from(1), task), "COMPLETE: {build}");
    let result = demo.call(&["getTaskResult", task]);
    assert_eq!(result["koji_builds"], serde_json::json!([build["id"].to_string()]), "{result}");
    let base = demo.call(&["listTagged", "demo-candidate", "package=example-base-container"]);
    assert!(base.as_array().is_some_and(|builds| !builds.is_empty()), "the base is in the hub too: {base}");
    let text = |key: &str| build[key].as_str().expect(key);
    let folder = ["packages", text("package_name"), text("version"), text("release")].iter().collect::<PathBuf>();
    let folder = demo.path("hub").join(folder);
    let archives = demo.call(&["listArchives", &build["id"].to_string()]);
    let archives = archives.as_array().expect("a list");
    assert_eq!(archives.len(), 2, "one a platform: {archives:?}");
    for archive in archives {
        let name = archive["filename"].as_str().expect("a name");
        let file = fs::File::open(folder.join("images").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Some(file.metadata().expect("read").len()), archive["size"].as_u64(), "{name}");
        let sum = done(Command::new("md5sum").stdin(file).output().expect("md5sum starts")).out;
        assert_eq!(sum.split(' ').next(), archive["checksum"].as_str(), "{name}");
    }
    for name in ["x86_64.log", "aarch64.log", "orchestrator.log"] {
        let path = folder.join("data/logs").join(name);
        assert!(path.metadata().unwrap_or_else(|error| panic!("{name}: {error}")).len() > 0, "{name} is empty");
    }
    let info = demo.koji(&["buildinfo", nvr]);
    for said in ["State: COMPLETE", &format!("Task: {task} buildContainer"), "Tags: demo-candidate", "Image archives:"]
    {
        assert!(info.contains(said), "{said}: {info}");
    }
    let log = demo.koji(&["watch-logs", task]);
    let of_platform = |platform: &str| log.lines().filter(|line| line.contains(platform)).count();
    assert!(of_platform("platform:x86_64") > 10 && of_platform("platform:aarch64") > 10, "{log}");
}

/// Passwords are for their owner only, and in no configuration of builds.
#[track_caller]
fn check_secrets(demo: &Demo) {
    let clients = demo.path("hub/clients");
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&demo.path("hub")), mode(&clients)), (0o700, 0o700));
    for entry in fs::read_dir(&clients).expect("read").flatten() {
        assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
    }
    let reactor = world::read(&demo.path("config.yaml"));
    for account in ["demo", "builder1", "importer"] {
        let password = world::read(&clients.join(format!("{account}.password")));
        assert!(password.trim().len() >= 20 && !reactor.contains(password.trim()), "{account}");
    }
}
