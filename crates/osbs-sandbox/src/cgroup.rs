//! Removal of the cgroups a container or a build left.
//!
//! Must not make or configure cgroups: the OCI runtime does.

use crate::ProcessError;
use crate::mounts::mount_table;
use rustix::process::{Pid, Signal};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the kernel may need until a killed process has left its cgroup.
const PATIENCE: Duration = Duration::from_secs(2);

/// Kills what still runs in the cgroup `path` (absolute, as in `RunSpec::cgroup_path`) and removes it with everything
/// below, in every v1 hierarchy and in v2. A path that does not exist is fine.
///
/// # Errors
/// The path is the root, not absolute or has `..` in it; or the kernel refuses for more than two seconds.
pub fn remove_cgroups(path: &str) -> Result<(), ProcessError> {
    let inside = Path::new(path).strip_prefix("/").ok().filter(|inside| {
        inside.components().next().is_some() && inside.components().all(|part| matches!(part, Component::Normal(_)))
    });
    let Some(inside) = inside else {
        return Err(ProcessError::Argument { what: "path of a cgroup below the root", value: path.to_owned() });
    };
    let mounts =
        mount_table().map_err(|error| ProcessError::refused("list", "the cgroup mounts", io::Error::other(error)))?;
    let mut first = None;
    for mount in mounts.iter().filter(|mount| matches!(mount.kind.as_str(), "cgroup" | "cgroup2")) {
        if let Err(error) = remove(&mount.point.join(inside)) {
            first.get_or_insert(error);
        }
    }
    first.map_or(Ok(()), Err)
}

fn remove(group: &Path) -> Result<(), ProcessError> {
    if !group.is_dir() {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        kill_members(group);
        match remove_bottom_up(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(ProcessError::refused("remove the cgroup", group.display(), error)),
        }
    }
}

/// The files in a cgroup go with it; only its folders are removed, and only if they are empty of processes.
fn remove_bottom_up(group: &Path) -> io::Result<()> {
    for child in subgroups(group)? {
        remove_bottom_up(&child)?;
    }
    std::fs::remove_dir(group)
}

fn subgroups(group: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn kill_members(group: &Path) {
    let members = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = std::process::id().cast_signed();
    // 0: a process of another pid namespace, which we cannot name.
    let others = members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0 && *pid != own);
    for pid in others.filter_map(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    for child in subgroups(group).unwrap_or_default() {
        kill_members(&child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_root() {
        for path in ["", "/", "osbs/x", "/osbs/../..", "..", "/./.", "//"] {
            assert!(matches!(remove_cgroups(path), Err(ProcessError::Argument { .. })), "{path:?}");
        }
        assert!(remove_cgroups("/osbs-there-is-no-such-group").is_ok());
    }
}
