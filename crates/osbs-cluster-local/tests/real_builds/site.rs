//! A home folder of a test's own, and ways to look at what a build left on the machine.

use futures_util::TryStreamExt;
use osbs_cluster::conformance::{Behaviour, request};
use osbs_cluster::{Build, Cluster, NameRule, NewBuild, StoredEvent, WaitFor};
use osbs_cluster_local::{LocalCluster, RunnerCommand};
use osbs_types::{BuildName, BuildState, EventKind};
use std::path::Path;
use std::time::{Duration, Instant};

pub struct Site {
    pub folder: tempfile::TempDir,
    pub cluster: LocalCluster,
}

pub fn runner() -> RunnerCommand {
    RunnerCommand {
        program: std::env::current_exe().unwrap(),
        args: vec!["run-build".into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
    }
}

impl Site {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("stub.sh"), include_str!("stub.sh")).unwrap();
        let cluster = LocalCluster::open(folder.path(), "osbs", runner()).unwrap();
        Self { folder, cluster }
    }

    pub fn home(&self) -> &Path {
        self.folder.path()
    }

    pub fn with_grace(self, milliseconds: u32) -> Self {
        std::fs::write(self.home().join("grace"), milliseconds.to_string()).unwrap();
        self
    }

    pub async fn create(&self, new: NewBuild) -> BuildName {
        self.cluster.create_build(new).await.unwrap().name
    }

    pub async fn running(&self, name: &BuildName) -> Build {
        let build = self.wait(name, WaitFor::Scheduled).await;
        assert_eq!(build.state, BuildState::Running, "{:?}", build.reason);
        build
    }

    pub async fn finished(&self, name: &BuildName) -> Build {
        self.wait(name, WaitFor::Finished).await
    }

    async fn wait(&self, name: &BuildName, until: WaitFor) -> Build {
        let wait = self.cluster.wait_build(name, until);
        if let Ok(build) = tokio::time::timeout(Duration::from_secs(30), wait).await {
            return build.unwrap();
        }
        panic!("{name} is {:?} after 30 s", self.cluster.get_build(name).await.unwrap().state);
    }

    /// Waits until a log line holds that text.
    pub async fn line(&self, name: &BuildName, text: &str) {
        let start = Instant::now();
        while !self.lines(name).await.iter().any(|line| line.contains(text)) {
            assert!(start.elapsed() < Duration::from_secs(30), "no line {text:?} in the log of {name}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn events(&self, name: &BuildName) -> Vec<StoredEvent> {
        self.cluster.events(name, 0, false).await.unwrap().try_collect().await.unwrap()
    }

    pub async fn lines(&self, name: &BuildName) -> Vec<String> {
        let line = |stored: StoredEvent| match stored.event.kind {
            EventKind::Log(line) => Some(line.text().into_owned()),
            _ => None,
        };
        self.events(name).await.into_iter().filter_map(line).collect()
    }

    /// Process id of the build's runner, while it is not finished.
    pub fn runner_pid(&self, name: &BuildName) -> Option<i32> {
        let database = rusqlite::Connection::open(self.home().join("cluster.db")).unwrap();
        let text: Option<String> =
            database.query_row("SELECT runner FROM builds WHERE name = ?1", [name.as_str()], |row| row.get(0)).unwrap();
        let mark: serde_json::Value = serde_json::from_str(&text?).unwrap();
        mark["runner"].as_i64().and_then(|pid| i32::try_from(pid).ok())
    }

    /// Ids of all processes whose command line or environment names this home.
    pub fn processes(&self) -> Vec<i32> {
        let needle = self.home().as_os_str().as_encoded_bytes();
        let names_us = |path: std::path::PathBuf| {
            std::fs::read(path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            if names_us(entry.path().join("cmdline")) || names_us(entry.path().join("environ")) {
                found.push(pid);
            }
        }
        found
    }

    /// No process, no mount, no scratch folder, no cgroup is left of any build.
    pub fn assert_nothing_left(&self) {
        let start = Instant::now();
        while !self.processes().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(3), "processes left: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours: Vec<_> = mounts.lines().filter(|line| line.contains(&*self.home().to_string_lossy())).collect();
        assert!(ours.is_empty(), "mounts left: {ours:?}");
        let builds = self.home().join("builds/osbs");
        for build in std::fs::read_dir(&builds).into_iter().flatten().flatten() {
            assert!(!build.path().join("work").exists(), "{} has its work folder still", build.path().display());
        }
    }
}

pub fn exact(name: &str, behaviour: Behaviour) -> NewBuild {
    request(NameRule::Exact(name.parse().unwrap()), behaviour)
}

pub fn script(name: &str, script: &str) -> NewBuild {
    let mut new = exact(name, Behaviour::Complete);
    new.env.insert("SCRIPT".into(), script.into());
    new
}

pub fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}
