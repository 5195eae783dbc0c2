//! A real Pulp for a test, as scripts/pulp.sh starts it. It ends with the test, however that ends: it watches a pipe.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time for Pulp to come up; the first time on a machine its programs are installed, too.
const PATIENCE: Duration = Duration::from_mins(15);

/// A running Pulp.
pub struct RealPulp {
    folder: tempfile::TempDir,
    script: Child,
    address: BTreeMap<String, String>,
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether the test can run here; a machine that lacks something fails it, unless OSBS_TEST_SKIP_REAL says that this is
/// known.
#[allow(dead_code, reason = "each test program uses its part")]
pub fn can_run() -> bool {
    std::env::var_os("OSBS_TEST_SKIP_REAL").is_none()
}

impl RealPulp {
    /// Starts it, which takes some seconds; on a fresh machine a minute longer.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("osbs-pulp-").tempdir().expect("a temporary folder");
        let log = fs::File::create(folder.path().join("script.log")).expect("written");
        let script = Command::new(project().join("scripts/pulp.sh"))
            .arg("run")
            .arg(folder.path().join("pulp"))
            .arg(cache())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("scripts/pulp.sh starts");
        let mut pulp = Self { folder, script, address: BTreeMap::new() };
        let end = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(pulp.file("address")).unwrap_or_default();
            pulp.address = text
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect();
            if pulp.address.contains_key("password") {
                return pulp;
            }
            let ended = pulp.script.try_wait().expect("asked");
            let log = || fs::read_to_string(pulp.folder.path().join("script.log")).unwrap_or_default();
            assert!(ended.is_none(), "Pulp did not start (or set OSBS_TEST_SKIP_REAL=1):\n{}", log());
            assert!(Instant::now() < end, "Pulp did not come up:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("pulp").join(name)
    }

    /// `api`, `content`, `username` or `password`.
    pub fn address(&self, key: &str) -> &str {
        &self.address[key]
    }

    /// Kills a part at once: `api`, `content` or `worker`.
    #[allow(dead_code, reason = "each test program uses its part")]
    pub fn kill(&self, part: &str) {
        let pid = fs::read_to_string(self.file(&format!("{part}.pid"))).expect("it was started");
        let group = format!("-{}", pid.trim());
        let killed = Command::new("kill").args(["-9", "--", &group]).status().expect("kill starts");
        assert!(killed.success(), "{part} was not running");
    }
}

impl RealPulp {
    /// Starts a part again that was killed, and waits until it is there.
    #[allow(dead_code, reason = "each test program uses its part")]
    pub fn start_again(&self, part: &str) {
        let folder = self.folder.path().join("pulp");
        let mut script = Command::new(project().join("scripts/pulp.sh"));
        let script = script.arg("again").arg(folder).arg(cache()).arg(part).stdin(Stdio::null()).stdout(Stdio::null());
        assert!(script.status().expect("scripts/pulp.sh starts").success(), "{part} does not start again");
    }
}

fn cache() -> PathBuf {
    std::env::var_os("OSBS_TEST_CACHE").map_or_else(|| project().join(".cache"), PathBuf::from)
}

impl Drop for RealPulp {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
