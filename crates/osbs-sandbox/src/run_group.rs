//! The cgroup of one container's limits, and what it tells of them afterwards.
//!
//! The container's own cgroup is the runtime's, which removes it when the container ends, with all it knew. So the
//! container's is made inside one of ours. In the old hierarchies (v1) a limit is told about only where it is set: ours.
//! In the one hierarchy (v2) it is set by the runtime, which knows how to pass controllers down, and told about upwards.

use crate::mounts::{Mount, mount_table};
use crate::run_spec::ContainerLimits;
use crate::{ProcessError, remove_cgroups};
use rustix::event::EventfdFlags;
use serde_json::{Map, Value, json};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// Microseconds over which processor time is counted.
const PERIOD: u64 = 100_000;

/// A limit that a container met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitHit {
    /// A process was killed for want of memory; the limit in bytes.
    Memory(u64),
    /// No further process could be started; the limit.
    Pids(u32),
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) if bytes % (1 << 20) == 0 => write!(f, "the memory limit of {} MiB", bytes >> 20),
            Self::Memory(bytes) => write!(f, "the memory limit of {bytes} bytes"),
            Self::Pids(number) => write!(f, "the limit of {number} processes"),
        }
    }
}

/// Ours, around the container's.
pub(crate) struct RunGroup {
    path: String,
    limits: ContainerLimits,
    /// Told by the kernel, in v1.
    out_of_memory: Option<OwnedFd>,
    /// Folders of this cgroup that tell about memory and about processes.
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    /// What the runtime is to set.
    resources: Map<String, Value>,
}

impl RunGroup {
    /// With `path` below the root of all hierarchies. Without limits nothing is made.
    pub(crate) fn make(path: &str, limits: ContainerLimits) -> Result<Self, ProcessError> {
        let mut group = Self {
            path: path.to_owned(),
            limits,
            out_of_memory: None,
            memory: None,
            pids: None,
            resources: Map::new(),
        };
        if !limits.need_cgroup() {
            return Ok(group);
        }
        let refused = |error| ProcessError::refused("list", "the cgroup mounts", io::Error::other(error));
        let mounts = mount_table().map_err(refused)?;
        group.limit(&mounts)?;
        Ok(group)
    }

    fn limit(&mut self, mounts: &[Mount]) -> Result<(), ProcessError> {
        if let Some(bytes) = self.limits.memory {
            match self.folder(mounts, "memory")? {
                (folder, Hierarchy::Own) => {
                    write(&folder, "memory.limit_in_bytes", bytes)?;
                    if folder.join("memory.memsw.limit_in_bytes").exists() {
                        write(&folder, "memory.memsw.limit_in_bytes", bytes)?;
                    }
                    self.out_of_memory = Some(out_of_memory_events(&folder)?);
                }
                (folder, Hierarchy::Unified) => {
                    self.resources.insert("memory".into(), json!({"limit": bytes, "swap": bytes}));
                    self.memory = Some(folder);
                }
            }
        }
        if let Some(number) = self.limits.pids {
            let (folder, hierarchy) = self.folder(mounts, "pids")?;
            match hierarchy {
                Hierarchy::Own => write(&folder, "pids.max", u64::from(number))?,
                Hierarchy::Unified => {
                    self.resources.insert("pids".into(), json!({"limit": number}));
                }
            }
            self.pids = Some(folder);
        }
        if let Some(thousandths) = self.limits.milli_cpus {
            let quota = u64::from(thousandths.max(10)) * PERIOD / 1000;
            match self.folder(mounts, "cpu")? {
                (folder, Hierarchy::Own) => {
                    write(&folder, "cpu.cfs_period_us", PERIOD)?;
                    write(&folder, "cpu.cfs_quota_us", quota)?;
                }
                (_, Hierarchy::Unified) => {
                    self.resources.insert("cpu".into(), json!({"quota": quota, "period": PERIOD}));
                }
            }
        }
        Ok(())
    }

    /// Our cgroup in the hierarchy that has the controller; made, if that is one of the old ones.
    fn folder(&self, mounts: &[Mount], controller: &'static str) -> Result<(PathBuf, Hierarchy), ProcessError> {
        let inside = self.path.trim_start_matches('/');
        let old =
            mounts.iter().find(|mount| mount.kind == "cgroup" && mount.options.split(',').any(|it| it == controller));
        if let Some(mount) = old {
            let folder = mount.point.join(inside);
            let made = fs::create_dir_all(&folder);
            made.map_err(|error| ProcessError::refused("make the cgroup", folder.display(), error))?;
            return Ok((folder, Hierarchy::Own));
        }
        // Beside old hierarchies the runtimes take no notice of the unified one.
        let alone = mounts.iter().all(|mount| mount.kind != "cgroup");
        let unified = mounts.iter().find(|mount| mount.kind == "cgroup2" && alone);
        let has = |mount: &Mount| {
            let list = fs::read_to_string(mount.point.join("cgroup.controllers")).unwrap_or_default();
            list.split_whitespace().any(|it| it == controller)
        };
        if let Some(mount) = unified.filter(|mount| has(mount)) {
            return Ok((mount.point.join(inside), Hierarchy::Unified));
        }
        let missing = io::Error::new(io::ErrorKind::Unsupported, "no such cgroup controller on this machine");
        Err(ProcessError::refused("limit a container by", controller, missing))
    }

    /// The path of the container's own cgroup.
    pub(crate) fn container(&self) -> String {
        if self.limits == (ContainerLimits { time: self.limits.time, ..ContainerLimits::default() }) {
            self.path.clone()
        } else {
            format!("{}/run", self.path)
        }
    }

    /// What the runtime is to limit: `linux.resources`.
    pub(crate) fn resources(&self) -> &Map<String, Value> {
        &self.resources
    }

    /// The limit that was met, if one was. Memory first: it ends more.
    pub(crate) fn hit(&self) -> Option<LimitHit> {
        if let Some(bytes) = self.limits.memory {
            let told = self.out_of_memory.as_ref().is_some_and(|events| rustix::io::read(events, &mut [0; 8]) == Ok(8));
            let counted = self.memory.as_ref().is_some_and(|folder| count(folder, "memory.events", "oom_kill") > 0);
            if told || counted {
                return Some(LimitHit::Memory(bytes));
            }
        }
        let (number, folder) = self.limits.pids.zip(self.pids.as_ref())?;
        // Who is refused is not told upwards by every kernel; that as many as may be were there is.
        let peak = fs::read_to_string(folder.join("pids.peak")).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let met = count(folder, "pids.events", "max") > 0 || peak.is_some_and(|peak| peak >= u64::from(number));
        met.then_some(LimitHit::Pids(number))
    }

    /// Takes it away, with what is still in it.
    pub(crate) fn remove(mut self) -> Result<(), ProcessError> {
        remove_cgroups(&std::mem::take(&mut self.path))
    }
}

impl Drop for RunGroup {
    fn drop(&mut self) {
        if !self.path.is_empty() {
            // Nobody to tell: something else has failed already.
            let _ = remove_cgroups(&self.path);
        }
    }
}

/// Where a controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hierarchy {
    Own,
    Unified,
}

fn write(folder: &Path, file: &str, value: u64) -> Result<(), ProcessError> {
    let path = folder.join(file);
    fs::write(&path, value.to_string()).map_err(|error| ProcessError::refused("set", path.display(), error))
}

/// The number after a word, of a file with one such pair a line.
fn count(folder: &Path, file: &str, word: &str) -> u64 {
    let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
    let value = |line: &str| line.strip_prefix(word)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

/// Readable once the kernel has looked for somebody to kill in this cgroup (the kernel's cgroup-v1/memory.rst, 10).
fn out_of_memory_events(folder: &Path) -> Result<OwnedFd, ProcessError> {
    let refused = |error: io::Error| ProcessError::refused("watch the memory of", folder.display(), error);
    let events = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| refused(error.into()))?;
    let control = File::open(folder.join("memory.oom_control")).map_err(refused)?;
    let line = format!("{} {}", events.as_raw_fd(), control.as_raw_fd());
    fs::write(folder.join("cgroup.event_control"), line).map_err(refused)?;
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named() {
        assert_eq!(LimitHit::Memory(64 << 20).to_string(), "the memory limit of 64 MiB");
        assert_eq!(LimitHit::Memory(1000).to_string(), "the memory limit of 1000 bytes");
        assert_eq!(LimitHit::Pids(12).to_string(), "the limit of 12 processes");
    }

    #[test]
    fn without_limits_nothing_is_made() {
        let group = RunGroup::make("/osbs/x", ContainerLimits::default()).expect("nothing to do");
        assert_eq!((group.container().as_str(), group.hit(), group.resources().len()), ("/osbs/x", None, 0));
    }

    /// As on a machine with the one hierarchy: the runtime sets the limits, and ours tells what became of them.
    #[test]
    fn the_unified_hierarchy() {
        let dir = tempfile::tempdir().expect("temporary folder");
        fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").expect("written");
        let mount = |kind: &str| Mount {
            point: dir.path().to_owned(),
            kind: kind.to_owned(),
            source: "cgroup".to_owned(),
            options: "rw".to_owned(),
        };
        let limits = ContainerLimits { memory: Some(64 << 20), pids: Some(9), milli_cpus: Some(1500), time: None };
        let mut group = RunGroup::make("/osbs/x", ContainerLimits::default()).expect("no limits yet");
        group.limits = limits;
        group.limit(&[mount("cgroup2")]).expect("limited");
        assert_eq!(
            Value::Object(group.resources().clone()),
            json!({
                "memory": {"limit": 64 << 20, "swap": 64 << 20},
                "pids": {"limit": 9},
                "cpu": {"quota": 150_000, "period": 100_000},
            })
        );
        assert_eq!((group.container().as_str(), group.hit()), ("/osbs/x/run", None));
        let own = dir.path().join("osbs/x");
        fs::create_dir_all(&own).expect("made by the runtime");
        fs::write(own.join("pids.events"), "max 3\n").expect("written");
        assert_eq!(group.hit(), Some(LimitHit::Pids(9)));
        fs::write(own.join("memory.events"), "oom 1\noom_kill 1\n").expect("written");
        assert_eq!(group.hit(), Some(LimitHit::Memory(64 << 20)));
        let old = Mount { options: "rw,freezer".to_owned(), ..mount("cgroup") };
        group.limit(&[old, mount("cgroup2")]).expect_err("beside old hierarchies nobody uses it");
    }

    #[test]
    fn counters_of_a_cgroup() {
        let dir = tempfile::tempdir().expect("temporary folder");
        fs::write(dir.path().join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 1\n").expect("written");
        assert_eq!(count(dir.path(), "memory.events", "oom_kill"), 2);
        assert_eq!(count(dir.path(), "memory.events", "max"), 0);
        assert_eq!(count(dir.path(), "pids.events", "max"), 0);
    }
}
