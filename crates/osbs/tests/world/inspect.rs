//! What a build did and what runs for it, as seen from outside: its event log, its processes.

use super::World;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// What belongs to a build while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// `run-build`: outside of everything.
    Runner,
    /// `inside-build`: process 1 of the build's pid namespace.
    Reactor,
}

/// The orchestrator build of a repository in its first run, and the worker build of a platform.
pub fn worker_of(build: &str, platform: &str) -> String {
    format!("{build}-{platform}")
}

impl World {
    /// Every event of the build so far. A line that is being written is left out.
    pub fn events(&self, build: &str) -> Vec<Value> {
        let text = super::read(&self.path("home/builds/default").join(build).join("events.jsonl"));
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// When, and for what reason, the build reached a state, by its event log.
    pub fn reached(&self, build: &str, state: &str) -> Option<(f64, Option<String>)> {
        let events = self.events(build);
        let event = events.iter().find(|event| event["event"] == "state" && event["state"] == state)?;
        Some((seconds(&event["time"]), event["reason"].as_str().map(str::to_owned)))
    }

    /// Plugins of a phase that began, in order, and those that ended.
    pub fn plugins(&self, build: &str, phase: &str) -> (Vec<String>, Vec<String>) {
        let events = self.events(build);
        let names = |kind: &str| {
            let of_kind = events.iter().filter(|event| event["event"] == kind && event["phase"] == phase);
            of_kind.map(|event| event["plugin"].as_str().expect("a name").to_owned()).collect()
        };
        (names("plugin_start"), names("plugin_end"))
    }

    /// Whether a plugin of the build has begun.
    pub fn has_begun(&self, build: &str, plugin: &str) -> bool {
        self.events(build).iter().any(|event| event["event"] == "plugin_start" && event["plugin"] == plugin)
    }

    /// Whether a line of the build's own log holds this text.
    pub fn has_said(&self, build: &str, text: &str) -> bool {
        self.events(build).iter().any(|event| event["message"].as_str().is_some_and(|line| line.contains(text)))
    }

    /// Names of all builds with a folder.
    pub fn build_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("home/builds/default")).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The newest orchestrator build of a repository, by its folder.
    pub fn newest(&self, repository: &str) -> Option<String> {
        let prefix = format!("{repository}-main-");
        let number = |name: &String| name.rsplit('-').next().and_then(|number| number.parse::<u32>().ok());
        let names = self.build_names();
        names.into_iter().filter(|name| name.starts_with(&prefix)).max_by_key(|name| number(name).unwrap_or(0))
    }

    /// A process of a build, as the machine numbers it.
    pub fn process(&self, build: &str, which: Process) -> Option<u32> {
        let home = self.path("home");
        let events = format!("OSBS_EVENTS={}", home.join("builds/default").join(build).join("events.jsonl").display());
        super::processes_with(&home.display().to_string()).into_iter().find(|pid| {
            let strings = |file: &str| -> BTreeSet<String> {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
            };
            let (words, env) = (strings("cmdline"), strings("environ"));
            match which {
                Process::Runner => words.contains("run-build") && words.contains(build),
                Process::Reactor => words.contains("inside-build") && env.contains(&events),
            }
        })
    }
}

/// SIGKILL, without asking whether there is anybody.
pub fn kill_9(pid: u32) {
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(std::process::Stdio::null()).status();
}

/// SIGINT to a process group, as a terminal sends it.
pub fn interrupt(group: u32) {
    let sent = Command::new("kill").args(["-INT", "--", &format!("-{group}")]).status();
    assert!(sent.is_ok_and(|status| status.success()), "process group {group} cannot be interrupted");
}

/// Now, in seconds since the epoch.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// An event's time, in seconds since the epoch.
pub fn seconds(time: &Value) -> f64 {
    let time: jiff::Timestamp = time.as_str().expect("a text").parse().expect("a time");
    time.as_microsecond() as f64 / 1e6
}

/// Mounts that this machine shows now, and entries of the folders where programs leave things.
pub fn surroundings() -> BTreeSet<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // Without the numbers, which change when nothing else does.
    let mounts = mounts.lines().map(|line| format!("mount {}", line.splitn(5, ' ').nth(4).unwrap_or(line)));
    let mut all: BTreeSet<_> = mounts.collect();
    for folder in ["/tmp", "/var/tmp", "/run", "/dev/shm"] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        all.extend(entries.map(|entry| entry.path().display().to_string()).filter(|path| is_ours(Path::new(path))));
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let groups = fs::read_dir(hierarchy.path()).into_iter().flatten().flatten();
        // Those of builds are looked at with the builds; these are of containers that belong to none.
        let of_containers =
            |path: &String| path.rsplit("/osbs-").next().is_some_and(|rest| rest.as_bytes()[0].is_ascii_digit());
        all.extend(groups.map(|entry| entry.path().display().to_string()).filter(of_containers));
    }
    all
}

/// Other programs and other tests live on this machine too: only what a build could have made.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let of_tests = name.starts_with("osbs-test-") || name.starts_with("osbs-pulp-");
    name.contains("osbs") && !of_tests || name.contains("runc") || name.contains("source-")
}

/// A small random sequence: the same for the same seed, which a test prints.
pub struct Dice(u64);

impl Dice {
    /// From OSBS_TEST_SEED, else from the clock.
    pub fn new(test: &str) -> Self {
        let given = std::env::var("OSBS_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| (now() * 1e6) as u64);
        println!("{test}: OSBS_TEST_SEED={seed}");
        Self(seed | 1)
    }

    /// Between 0 and 1.
    pub fn next(&mut self) -> f64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
