//! A sealed world for tests of the whole program: a home of its own, a real registry on a free loopback port, git
//! repositories made on the spot, and a parent image with a real shell in it. Everything goes when it is dropped.
#![allow(dead_code, clippy::print_stdout, reason = "each test program uses its part; they tell what they do")]

pub mod canaries;
pub mod distribution;
pub mod gate;
pub mod hub;
pub mod hub_proxy;
pub mod image_builder;
pub mod inspect;
pub mod lines;
pub mod registries;

use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The program under test.
pub const OSBS: &str = env!("CARGO_BIN_EXE_osbs");

/// What a command printed and how it ended.
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The world.
pub struct World {
    pub folder: TempDir,
    pub registry: String,
    server: Option<Child>,
}

/// Whether real tests can run here. On a machine that lacks something they fail and say what to install, unless
/// OSBS_TEST_SKIP_REAL says that this is known.
#[must_use]
pub fn can_run() -> bool {
    if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some() {
        println!("skipped: OSBS_TEST_SKIP_REAL is set");
        return false;
    }
    for (program, package) in
        [("git", "git"), ("runc", "runc"), ("docker-registry", "docker-registry"), ("busybox", "busybox-static")]
    {
        let found =
            Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().is_ok_and(|o| o.status.success());
        assert!(found, "{program} is missing: apt-get install {package} (or set OSBS_TEST_SKIP_REAL=1)");
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    assert!(root, "these tests mount and start containers: run them as root (or set OSBS_TEST_SKIP_REAL=1)");
    true
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// Waits until `check` holds, at most `seconds`.
#[track_caller]
pub fn wait_for(what: &str, seconds: u64, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !check() {
        assert!(Instant::now() < end, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl World {
    /// A world with a running registry and the parent image `base:1` in it.
    pub fn new() -> Self {
        let mut world = Self::bare();
        world.push_base();
        world
    }

    /// A world with a running, empty registry.
    pub fn bare() -> Self {
        let folder = tempfile::Builder::new().prefix("osbs-test-").tempdir().expect("a temporary folder");
        let registry = format!("127.0.0.1:{}", free_port());
        let mut world = Self { folder, registry, server: None };
        world.start_registry();
        world.write_conf("can_orchestrate = true\n", "");
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn start_registry(&mut self) {
        let config = self.path("registry.yml");
        let data = self.path("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n\
             http: {{addr: {}}}\n",
            data.display(),
            self.registry
        );
        fs::write(&config, text).expect("written");
        let mut server = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry starts");
        let address = self.registry.clone();
        wait_for("the registry listens", 10, || {
            // Somebody else may have come to that address before it.
            let ended = server.try_wait().expect("it is our child");
            assert!(ended.is_none(), "docker-registry ended: {ended:?}");
            std::net::TcpStream::connect(&address).is_ok()
        });
        self.server = Some(server);
    }

    pub fn stop_registry(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Writes `osbs.conf` and `config.yaml`; `instance` and `reactor` are added to them.
    pub fn write_conf(&self, instance: &str, reactor: &str) {
        let home = self.path("home");
        let conf = format!("[default]\nopenshift_url = local://{}\n{instance}", home.display());
        fs::write(self.path("osbs.conf"), conf).expect("written");
        let registry = &self.registry;
        let clusters = if reactor.contains("clusters:") {
            String::new()
        } else {
            "clusters:\n  x86_64: [{name: local, max_concurrent_builds: 4}]\n".to_owned()
        };
        let text = format!(
            "version: 1\n{clusters}registries: [{{url: 'http://{registry}'}}]\n\
             source_registry: {{url: 'http://{registry}', insecure: true}}\n{reactor}"
        );
        fs::write(self.path("config.yaml"), text).expect("written");
    }

    /// The program with this world's configuration and a clean environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(OSBS);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.folder.path());
        command.env("OSBS_HOME", self.path("home")).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.arg("--config").arg(self.path("osbs.conf")).args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        done(self.command(args).output().expect("osbs starts"))
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, 0, "osbs {args:?}\n{}\n{}", done.out, done.err);
        done.out
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(args);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?} gave no JSON: {error}\n{out}"))
    }

    /// A git repository with these files; its URL.
    pub fn repository(&self, name: &str, files: &[(&str, &str)]) -> String {
        let folder = self.path("git").join(name);
        fs::create_dir_all(&folder).expect("made");
        for (file, content) in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().expect("has one")).expect("made");
            fs::write(path, content).expect("written");
        }
        let script = "git -c init.defaultBranch=main init -q . && git add -A && \
                      git -c user.name=t -c user.email=t@localhost commit -q --allow-empty -m x";
        let made = Command::new("sh").args(["-c", script]).current_dir(&folder).output().expect("git starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!("file://{}", folder.display())
    }

    /// A layered repository on `base:1` with these further lines.
    pub fn layered(&self, name: &str, lines: &str) -> String {
        let dockerfile =
            format!("FROM base:1\nLABEL name=test/{name} com.redhat.component={name}-container version=1\n{lines}\n");
        self.repository(name, &[("Dockerfile", &dockerfile), ("file.txt", "content\n")])
    }

    /// Starts `osbs build`, as the leader of a process group like in a shell, and returns at once.
    pub fn start_build(&self, url: &str, more: &[&str]) -> Child {
        let mut command = self.command(&["build", "--git-url", url, "--git-branch", "main", "--user", "test"]);
        command.args(more).process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("osbs starts")
    }

    /// `osbs build`, followed to its end.
    pub fn build(&self, url: &str, more: &[&str]) -> Done {
        done(self.start_build(url, more).wait_with_output().expect("osbs ends"))
    }

    /// Submits a build and returns its name.
    #[track_caller]
    pub fn submit(&self, url: &str, more: &[&str]) -> String {
        let done = self.build(url, &[more, &["--no-logs"]].concat());
        assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
        done.out.trim().to_owned()
    }

    pub fn record(&self, name: &str) -> Value {
        self.json(&["get-build", name, "--output", "json"])
    }

    pub fn status(&self, name: &str) -> String {
        self.record(name)["status"].as_str().expect("a status").to_owned()
    }

    pub fn builds(&self) -> Vec<Value> {
        let list = self.json(&["list-builds", "--workers", "--output", "json"]);
        list.as_array().expect("a list").clone()
    }

    /// GET from the registry: status and body. A tag that is not there gives 404.
    pub fn registry_get(&self, path: &str) -> (u16, String) {
        let accept = "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
        let url = format!("http://{}{path}", self.registry);
        let got = Command::new("curl")
            .args(["-s", "-H", accept, "-w", "\n%{http_code}", &url])
            .output()
            .expect("curl starts");
        let text = String::from_utf8_lossy(&got.stdout).into_owned();
        let (body, code) = text.rsplit_once('\n').expect("a code");
        (code.parse().expect("a number"), body.to_owned())
    }

    pub fn tags(&self, repository: &str) -> Vec<String> {
        let (code, body) = self.registry_get(&format!("/v2/{repository}/tags/list"));
        if code != 200 {
            return Vec::new();
        }
        let body: Value = serde_json::from_str(&body).expect("JSON");
        body["tags"].as_array().into_iter().flatten().map(|tag| tag.as_str().expect("text").to_owned()).collect()
    }

    /// `base:1`: busybox as every program it knows, and a file system around it.
    pub fn push_base(&mut self) {
        let context = self.path("base");
        for folder in ["root/bin", "root/etc", "root/tmp"] {
            fs::create_dir_all(context.join(folder)).expect("made");
        }
        let busybox = Command::new("sh").args(["-c", "command -v busybox"]).output().expect("sh starts");
        let busybox = String::from_utf8_lossy(&busybox.stdout).trim().to_owned();
        fs::copy(&busybox, context.join("root/bin/busybox")).expect("busybox is there");
        for program in [
            "sh", "cat", "echo", "ls", "sleep", "mkdir", "rm", "dd", "seq", "head", "uname", "true", "false", "env",
            "id", "touch", "kill", "printf", "yes", "trap",
        ] {
            let _ = std::os::unix::fs::symlink("busybox", context.join("root/bin").join(program));
        }
        fs::write(context.join("root/etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("written");
        fs::write(context.join("root/etc/group"), "root:x:0:\n").expect("written");
        fs::write(
            context.join("Dockerfile"),
            "FROM scratch\nCOPY root /\nENV PATH=/bin BASE_RELEASE=7\nLABEL name=base version=1 release=1 vendor=Base\n",
        )
        .expect("written");
        let tag = format!("{}/base:1", self.registry);
        self.ok(&["image", "build", &context.display().to_string(), "--tag", &tag, "--output", "push", "--quiet"]);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_registry();
        // What a failed test left running must not outlive it.
        let home = self.path("home").display().to_string();
        for process in processes_with(&home) {
            let _ = Command::new("kill").args(["-9", &process.to_string()]).status();
        }
    }
}

pub fn done(output: Output) -> Done {
    Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Processes whose command line or environment names `text`, this one excepted.
pub fn processes_with(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let names = |file: &str| {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(text)
        };
        if pid != std::process::id() && (names("cmdline") || names("environ")) {
            found.push(pid);
        }
    }
    found
}

/// What a build may leave nothing of: mounts below the folder, processes that name it, work folders, cgroups.
pub fn leftovers(world: &World) -> Vec<String> {
    let home = world.path("home");
    let home_text = home.display().to_string();
    let mut left: Vec<String> = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(mounts.lines().filter(|line| line.contains(&home_text)).map(|line| format!("mount {line}")));
    left.extend(processes_with(&home_text).into_iter().map(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("process {pid} {}", String::from_utf8_lossy(&command).replace('\0', " "))
    }));
    for build in fs::read_dir(home.join("builds/default")).into_iter().flatten().flatten() {
        if build.path().join("work").exists() {
            left.push(format!("folder {}", build.path().join("work").display()));
        }
        let name = build.file_name().to_string_lossy().into_owned();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let cgroup = hierarchy.path().join(format!("osbs-default-{name}"));
            if cgroup.exists() {
                left.push(format!("cgroup {}", cgroup.display()));
            }
        }
    }
    left
}

/// Waits a moment for ends that take one, then says what is left.
#[track_caller]
pub fn check_nothing_left(world: &World) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let left = leftovers(world);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "left behind:\n{}", left.join("\n"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits a moment until mounts and temporary folders are those of before.
#[track_caller]
pub fn wait_until_clean(before: &std::collections::BTreeSet<String>) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let now = inspect::surroundings();
        let new: Vec<_> = now.difference(before).cloned().collect();
        if new.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "left on the machine:\n{}", new.join("\n"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The text of a file below a folder, or nothing.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
