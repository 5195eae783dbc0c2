//! The ids of a container's user namespace, and file systems seen through them.
//!
//! The container's ids 0 to 1,999,999,999 are the machine's from 2,000,000,000 on, where nobody is: who breaks out is no
//! user of the machine. On disk everything keeps the image's own ids, because layers and mounts are *seen* through the
//! map (idmapped mounts, Linux 5.12, under an overlay 5.19) and nothing is changed on them.
//!
//! Must not start containers or know what is mounted where and why.
#![allow(unsafe_code)]

use crate::{MountError, Overlay, OverlayOptions, User};
use osbs_types::ErrorKind;
use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The machine's id for the container's 0.
pub(crate) const FIRST: u32 = 2_000_000_000;
/// So many ids a container has.
pub(crate) const COUNT: u32 = 2_000_000_000;
/// On disk, the id of the machine's root. overlayfs makes folders of its own as who mounted it, so that one needs an id
/// too; no file of an image gets it.
const MOUNTER: u32 = 4_000_000_000;

/// No container with a user namespace here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdMapError {
    /// This process is root of a user namespace only, and a container in it is nobody's root outside already.
    #[error("this process runs in a user namespace itself")]
    Inside,
    /// The kernel refused.
    #[error("cannot {operation} {subject}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// On what.
        subject: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl IdMapError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Resource
    }

    fn refused(operation: &'static str, subject: impl ToString, source: impl Into<io::Error>) -> Self {
        Self::Refused { operation, subject: subject.to_string(), source: source.into() }
    }
}

/// The map: a user namespace that nobody is in.
#[derive(Debug)]
pub struct IdMap {
    namespace: OwnedFd,
}

impl IdMap {
    /// The one map of this process, made when it is first asked for (1 ms).
    ///
    /// # Errors
    /// The kernel makes no user namespaces, or this process is in one itself.
    pub fn get() -> Result<&'static Self, IdMapError> {
        static MAP: OnceLock<IdMap> = OnceLock::new();
        if let Some(map) = MAP.get() {
            return Ok(map);
        }
        let own = std::fs::read_to_string("/proc/self/uid_map")
            .map_err(|error| IdMapError::refused("read", "/proc/self/uid_map", error))?;
        if own.split_whitespace().ne(["0", "0", "4294967295"]) {
            return Err(IdMapError::Inside);
        }
        let namespace = new_namespace().map_err(|error| IdMapError::refused("make", "a user namespace", error))?;
        // Two threads may come here at once; either's will do.
        Ok(MAP.get_or_init(|| Self { namespace }))
    }

    /// Whether the container has ids for this user.
    pub fn covers(user: &User) -> bool {
        [user.uid, user.gid].iter().chain(&user.additional_gids).all(|id| *id < COUNT)
    }

    /// Whether what is in `folder` (and, `whole`, what is mounted below it) can be shown to a container: not every file
    /// system can. Nothing is left of the trial.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn check(&self, folder: &Path, whole: bool) -> Result<(), IdMapError> {
        match self.tree(folder, whole, 0) {
            Ok(_) => Ok(()),
            Err(error) => Err(IdMapError::refused("map the ids of the files in", folder.display(), error)),
        }
    }

    /// As [`Overlay::mount`], but seen through the map: what the machine's ids from 2,000,000,000 on own there has the
    /// container's ids on disk.
    ///
    /// # Errors
    /// The kernel's refusal; nothing is mounted then.
    pub fn mount_overlay(
        &self,
        lowers: &[PathBuf],
        upper: &Path,
        work: &Path,
        target: &Path,
        options: OverlayOptions,
    ) -> Result<Overlay, MountError> {
        // The overlay keeps what it needs of these; they need not outlive its mounting.
        let mut seen = SeenThrough { map: self, points: Vec::new(), beside: work };
        let lowers = lowers.iter().map(|lower| seen.path(lower)).collect::<Result<Vec<_>, _>>()?;
        let (upper, work) = (seen.path(upper)?, seen.path(work)?);
        Overlay::mount(&lowers, &upper, &work, target, options)
    }

    /// A mount of `path` that is nowhere yet, seen through the map, never giving privileges or devices. `whole`: with
    /// what is mounted below. `more`: further MOUNT_ATTR flags.
    pub(crate) fn tree(&self, path: &Path, whole: bool, more: u64) -> Result<OwnedFd, Errno> {
        let tree = clone_tree(path, whole)?;
        set_attributes(&tree, whole, libc::MOUNT_ATTR_IDMAP | more, Some(&self.namespace))?;
        Ok(tree)
    }
}

/// A copy of the mount of `path` that is nowhere yet, and gone when it is closed.
pub(crate) fn clone_tree(path: &Path, whole: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, whole);
    rustix::mount::open_tree(CWD, path, flags)
}

/// mount_setattr(2); `set` on, and noexec off.
pub(crate) fn set_attributes(tree: &OwnedFd, whole: bool, set: u64, namespace: Option<&OwnedFd>) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: libc::MOUNT_ATTR_NOEXEC,
        propagation: 0,
        userns_fd: namespace.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let recursive = if whole { libc::AT_RECURSIVE } else { 0 };
    let flags = AtFlags::EMPTY_PATH.bits() | recursive as u32;
    // SAFETY: an open descriptor, an empty string, and a structure of just the size that is said.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)) }
}

/// Folders seen through the map for a moment: one mount for each folder that they are in.
struct SeenThrough<'a> {
    map: &'a IdMap,
    /// The folder, and where it is seen.
    points: Vec<(PathBuf, PathBuf)>,
    /// A folder of ours; the mount points lie beside it.
    beside: &'a Path,
}

impl SeenThrough<'_> {
    fn path(&mut self, path: &Path) -> Result<PathBuf, MountError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(MountError::refused("map the ids of", path, Errno::INVAL));
        };
        if let Some((_, point)) = self.points.iter().find(|(folder, _)| folder == parent) {
            return Ok(point.join(name));
        }
        let point = self.beside.with_extension(format!("map{}", self.points.len()));
        self.mount(parent, &point)
            .map_err(|error| MountError::refused("map the ids of the files in", parent, error))?;
        self.points.push((parent.to_owned(), point.clone()));
        Ok(point.join(name))
    }

    fn mount(&self, folder: &Path, point: &Path) -> io::Result<()> {
        let tree = self.map.tree(folder, false, 0)?;
        std::fs::create_dir(point)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        Ok(rustix::mount::move_mount(tree.as_fd(), c"", CWD, point, flags)?)
    }
}

impl Drop for SeenThrough<'_> {
    fn drop(&mut self) {
        for (_, point) in self.points.drain(..).rev() {
            // Nobody to tell; the work folder's owner looks for mounts before removing anything.
            let _ = rustix::mount::unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            let _ = std::fs::remove_dir(&point);
        }
    }
}

/// A user namespace with the map, kept alive by the descriptor alone.
///
/// It is born with a child, which lives until it is killed. It does not wait for a pipe to be closed: children that are
/// made at one moment have copies of each other's pipes, and would wait for one another for ever.
fn new_namespace() -> io::Result<OwnedFd> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: as fork(2) does, with a copy of all memory; the child only makes system calls on what is on its stack.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        // SAFETY: plain system calls. If we are gone before the death signal is armed, the child has another parent.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            while libc::getppid() == own {
                libc::pause();
            }
            libc::_exit(0);
        }
    }
    let namespace = write_maps(pid);
    let mut status = 0;
    // SAFETY: our own child, whom nobody else waits for, so that the number is still its own.
    unsafe {
        libc::kill(pid as libc::pid_t, libc::SIGKILL);
        libc::waitpid(pid as libc::pid_t, &raw mut status, 0);
    }
    namespace
}

fn write_maps(pid: i64) -> io::Result<OwnedFd> {
    let map = format!("0 {FIRST} {COUNT}\n{MOUNTER} 0 1\n");
    for file in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{file}"), &map)?;
    }
    let file = std::fs::File::open(format!("/proc/{pid}/ns/user"))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_a_container_has() {
        let user = |uid: u32, more: &[u32]| User { uid, gid: 0, additional_gids: more.to_vec() };
        assert!(IdMap::covers(&user(0, &[])) && IdMap::covers(&user(1_999_999_999, &[65_534])));
        assert!(!IdMap::covers(&user(2_000_000_000, &[])) && !IdMap::covers(&user(1, &[u32::MAX - 1])));
    }

    /// Each child has a copy of all descriptors, the other's pipes too: none may wait for another to close them.
    #[test]
    fn namespaces_made_side_by_side() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root makes this map");
            return;
        }
        let together = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        together.wait();
                        new_namespace().expect("namespace");
                    }
                });
            }
        });
    }
}
