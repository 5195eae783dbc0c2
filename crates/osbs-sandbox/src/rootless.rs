//! Building as an ordinary user: this process goes into a user namespace whose root the user is.
//!
//! The user becomes 0 inside, and the subordinate ids of subuid(5) and subgid(5) become 1 and up, as podman and buildah have
//! it. A child makes the namespace, tries in it what a build needs, and is gone when this process has entered: so whatever
//! the machine lacks, the process is as it was before, and nothing is left. Must not decide which commands need this.
#![allow(unsafe_code)]

mod container;
mod error;
mod probe;
mod subids;

pub(crate) use container::without_privileges;
pub use error::RootlessError;

use crate::mounts::{enter_private_mounts, refuse_threads};
use crate::process::ProcessError;
use probe::{Answer, NamespaceProbe, Step};
use rustix::thread::LinkNameSpaceType;
use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use subids::SubIds;

/// The programs that write id maps: set-uid root, or with capabilities of their own.
const MAPPERS: [(&str, IdKind); 2] = [("newuidmap", IdKind::User), ("newgidmap", IdKind::Group)];

/// Which ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdKind {
    User,
    Group,
}

impl IdKind {
    /// Where an administrator gives them out.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::User => "/etc/subuid",
            Self::Group => "/etc/subgid",
        }
    }
}

/// Makes this process root of a user namespace and of a mount namespace in it. `path` is `PATH`, for newuidmap and
/// newgidmap. Takes about 10 ms. Before there are threads; root has no need of it.
///
/// # Errors
/// What this machine lacks, in this order: the programs, subordinate ids, user namespaces, a kernel that lets overlayfs be
/// mounted in one. Nothing has changed then.
pub fn enter_user_namespace(path: &OsStr) -> Result<(), RootlessError> {
    refuse_threads()?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut programs = Vec::new();
    for (name, kind) in MAPPERS {
        let program = find(path, name).ok_or(RootlessError::NoProgram { program: name })?;
        programs.push((name, program, kind));
    }
    let sub_ids = SubIds::of_user(uid, path)?;
    let mut probe = NamespaceProbe::start()?;
    ask(&mut probe, Step::UserNamespace)?;
    for (name, program, kind) in &programs {
        let own = if *kind == IdKind::User { uid } else { gid };
        write_map(name, program, probe.pid(), &sub_ids.map(*kind, own))?;
    }
    probe.go_on()?;
    for step in [Step::MountNamespace, Step::Overlay] {
        ask(&mut probe, step)?;
    }
    let namespace = probe.namespace()?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
        .map_err(|error| ProcessError::refused("enter", "the user namespace", error))?;
    drop(probe);
    Ok(enter_private_mounts()?)
}

fn ask(probe: &mut NamespaceProbe, step: Step) -> Result<(), RootlessError> {
    match probe.answer(step)? {
        Answer::Fine => Ok(()),
        Answer::Refused(source) => Err(match step {
            Step::UserNamespace | Step::MountNamespace => RootlessError::forbidden(source),
            Step::Overlay => RootlessError::Overlay { release: kernel_release(), source },
        }),
    }
}

/// Runs newuidmap or newgidmap.
fn write_map(name: &'static str, program: &Path, pid: u32, map: &[String]) -> Result<(), RootlessError> {
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(map)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| ProcessError::refused("start", program.display(), error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(RootlessError::Mapping { program: name, said, no_new_privileges: no_new_privileges() })
}

/// The first file of that name in a search path.
fn find(path: &OsStr, name: &str) -> Option<PathBuf> {
    let may_run = |file: &PathBuf| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file();
    std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(may_run)
}

fn no_new_privileges() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|text| text.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"])))
}

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Whether this process is root, of the machine or of a user namespace.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this process is in a user namespace of which somebody else is the master: what needs root of the machine (cgroups,
/// device nodes, file systems of devices) is refused there.
pub fn in_user_namespace() -> bool {
    // A kernel without user namespaces has no such file.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && !map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_absolute_folders_only() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("newuidmap"), "").expect("written");
        let path = format!("bin:{}:/bin", dir.path().display());
        assert_eq!(find(dir.path().as_os_str(), "newuidmap"), None, "it cannot be executed");
        assert_eq!(find(OsStr::new(&path), "sh"), Some("/bin/sh".into()));
        assert_eq!(find(OsStr::new(""), "sh"), None);
    }

    #[test]
    fn threads_come_too_early() {
        // The test harness has some.
        let error = enter_user_namespace(OsStr::new("/usr/bin")).expect_err("refused");
        assert!(matches!(error, RootlessError::Mount(_)), "{error}");
    }
}
