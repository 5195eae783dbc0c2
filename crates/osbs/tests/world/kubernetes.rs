//! A real Kubernetes for a test: `scripts/kubernetes.sh` started, and ended with the test however that ends. Included by
//! path in tests of other crates too: it uses no other module of the world.
//!
//! Needs: what scripts/kubernetes.sh needs; its programs come from the cache folder, OSBS_TEST_CACHE.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a test skips, and why a start failed")]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Until the node is ready: another test's cluster may have to end first, and the programs may have to be built.
const START: Duration = Duration::from_mins(14);

/// Whether a real Kubernetes can run here. On a machine that lacks something the test fails, unless
/// OSBS_TEST_SKIP_REAL says that this is known.
#[must_use]
pub fn can_run_kubernetes() -> bool {
    if std::env::var_os("OSBS_TEST_SKIP_REAL").is_some() {
        println!("skipped: OSBS_TEST_SKIP_REAL is set");
        return false;
    }
    for (program, package) in [("etcd", "etcd-server"), ("containerd", "containerd"), ("go", "golang-go"), ("jq", "jq")]
    {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output();
        let found = found.is_ok_and(|output| output.status.success());
        assert!(found, "{program} is missing: apt-get install {package} (or set OSBS_TEST_SKIP_REAL=1)");
    }
    true
}

/// etcd, two API servers over it, controller manager, scheduler, containerd and kubelet. One at a time on a machine: a
/// second one waits for the end of the first. `Drop` stops it and waits until nothing of it is left.
pub struct KubernetesServer {
    script: Child,
    folder: TempDir,
    /// What `ready.json` says: servers, credentials, paths.
    pub ready: Value,
}

impl KubernetesServer {
    /// Starts one and waits until its node is ready.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with variables that the script knows, such as `OSBS_K8S_LOG_MAX_SIZE`.
    #[track_caller]
    pub fn start_with(environment: &[(&str, &str)]) -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace");
        let cache = std::env::var_os("OSBS_TEST_CACHE").map_or_else(|| project.join(".cache"), PathBuf::from);
        // Not below TMPDIR, which may be long: there are sockets in it.
        let folder = tempfile::Builder::new().prefix("osbs-k8s-").tempdir_in("/tmp").expect("a folder");
        let said = fs::File::create(folder.path().join("said")).expect("created");
        // It ends when its standard input does: with us.
        let script = Command::new(project.join("scripts/kubernetes.sh"))
            .arg("start")
            .arg(cache)
            .arg(folder.path())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(said.try_clone().expect("a second handle"))
            .stderr(said)
            .spawn()
            .expect("scripts/kubernetes.sh starts");
        let mut server = Self { script, folder, ready: Value::Null };
        let deadline = Instant::now() + START;
        let ready = server.folder.path().join("ready.json");
        while !ready.exists() {
            let ended = server.script.try_wait().expect("asked");
            assert!(ended.is_none() && Instant::now() < deadline, "Kubernetes did not start: {}", server.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        let text = fs::read(ready).expect("read");
        server.ready = serde_json::from_slice(&text).expect("JSON");
        server
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap_or_default()
    }

    /// A fact of `ready.json`, such as `server`, `token` or `kubeconfig`.
    #[track_caller]
    pub fn fact(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_else(|| panic!("ready.json has no {name}: {}", self.ready))
    }

    /// The folder with logs, audit logs, certificates and arguments.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the script's `action` on this cluster and gives what it printed.
    #[track_caller]
    pub fn script(&self, action: &str, arguments: &[&str]) -> String {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "180"]).arg(project.join("scripts/kubernetes.sh")).arg(action);
        succeeded(command.arg(self.folder.path()).args(arguments))
    }

    /// `stop`, `kill`, `start`, `restart`, `pause` or `resume` of a component: etcd, apiserver, apiserver2,
    /// controller-manager, scheduler, containerd, kubelet; `pid` gives its process id.
    #[track_caller]
    pub fn component(&self, name: &str, action: &str) -> String {
        self.script("component", &[name, action])
    }

    /// An OCI or docker archive becomes the node's image `name`.
    #[track_caller]
    pub fn import(&self, archive: &Path, name: &str) {
        self.script("import", &[archive.to_str().expect("UTF-8"), name]);
    }

    /// A token of a service account that the API server refuses about so many seconds later (it remembers one that it
    /// took for up to ten seconds).
    #[track_caller]
    pub fn short_token(&self, namespace: &str, account: &str, seconds: u32) -> String {
        self.script("token", &[namespace, account, &seconds.to_string()]).trim().to_owned()
    }

    /// kubectl as the administrator; fails the test when it fails.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        succeeded(&mut self.kubectl_command(arguments))
    }

    /// kubectl that may fail.
    #[track_caller]
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        output(&mut self.kubectl_command(arguments))
    }

    fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "180", self.fact("kubectl"), "--kubeconfig", self.fact("kubeconfig")]);
        command.args(arguments);
        command
    }

    /// What kubectl makes of a manifest, YAML or JSON.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        let file = self.folder.path().join(format!("manifest-{:?}.yaml", std::thread::current().id()));
        fs::write(&file, manifest).expect("written");
        self.kubectl(&["apply", "--filename", file.to_str().expect("UTF-8")])
    }

    /// Stops it and waits until nothing of it is left on the machine; its logs are given back.
    #[track_caller]
    pub fn stop(mut self) -> String {
        let end = self.end();
        assert!(end, "Kubernetes did not stop: {}", self.said());
        self.said()
    }

    fn end(&mut self) -> bool {
        drop(self.script.stdin.take());
        let deadline = Instant::now() + Duration::from_mins(2);
        while Instant::now() < deadline {
            match self.script.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(50)),
                Ok(Some(status)) => return status.success(),
                Err(_) => break,
            }
        }
        let _ = self.script.kill();
        false
    }
}

impl Drop for KubernetesServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
        self.end();
    }
}

#[track_caller]
fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[track_caller]
fn succeeded(command: &mut Command) -> String {
    let done = output(command);
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}\n{out}\n{err}");
    out.into_owned()
}
