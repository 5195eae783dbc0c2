//! Where the runtime finds the root and the mounts of a container with a user namespace: by names that nobody of it
//! needs rights of the machine for, in a memory file system that only the runtime's own mount namespace has.
//!
//! The runtime's first process is in the new user namespace when it opens these, and so is nobody in the folders on the
//! way: a work folder below `/root` is closed to it. Must not outlive the start: nothing is mounted where others see it.

use crate::id_map::{clone_tree, set_attributes};
use crate::run_spec::{BindMount, Network, RunSpec};
use crate::{IdMap, RuntimeError};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// An empty folder of the machine's; outside the runtime's mount namespace it stays empty.
const FOLDER: &str = "/run/osbs-container";
const FOLDER_C: &std::ffi::CStr = c"/run/osbs-container";
const SYS_C: &std::ffi::CStr = c"/run/osbs-container/sys";

/// Where the container's root is.
pub(crate) fn root() -> PathBuf {
    Path::new(FOLDER).join("root")
}

/// Where a sysfs is that the container may see. It cannot mount one of its own beside the machine's network, and one of
/// its own network only where the machine shows a whole one.
pub(crate) fn sys() -> PathBuf {
    Path::new(FOLDER).join("sys")
}

/// Mounts that are nowhere yet, and where they will be.
pub(crate) struct Place {
    parts: Vec<Part>,
}

struct Part {
    tree: OwnedFd,
    point: CString,
    is_folder: bool,
}

impl Place {
    /// Takes hold of all that the container is to see; the bind mounts with their new names.
    pub(crate) fn prepare(
        map: &IdMap,
        spec: &RunSpec<'_>,
        binds: Vec<BindMount>,
    ) -> Result<(Self, Vec<BindMount>), RuntimeError> {
        std::fs::create_dir_all(FOLDER).map_err(|error| RuntimeError::io("create", Path::new(FOLDER), error))?;
        let mut place = Self { parts: Vec::with_capacity(binds.len() + 1) };
        let failed = |path: &Path, error: Errno| RuntimeError::io("bind for the container", path, error);
        let tree = clone_tree(spec.root, false).map_err(|error| failed(spec.root, error))?;
        place.add(&root(), tree, true)?;
        let mut moved = Vec::with_capacity(binds.len());
        for bind in binds {
            let tree = see(map, &bind).map_err(|error| failed(&bind.source, error))?;
            let point = Path::new(FOLDER).join(format!("bind{}", moved.len()));
            place.add(&point, tree, bind.source.is_dir())?;
            moved.push(BindMount { source: point, ..bind });
        }
        Ok((place, moved))
    }

    fn add(&mut self, point: &Path, tree: OwnedFd, is_folder: bool) -> Result<(), RuntimeError> {
        let name = CString::new(point.to_string_lossy().into_owned())
            .map_err(|_| RuntimeError::io("bind for the container", point, io::ErrorKind::InvalidInput))?;
        self.parts.push(Part { tree, point: name, is_folder });
        Ok(())
    }

    /// Mounts it all, in the runtime's mount namespace. Only system calls, on what exists already: it is called between
    /// fork and exec.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let closed = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount(c"tmpfs", FOLDER_C, c"tmpfs", closed, Some(c"mode=0755,size=1m"))?;
        rustix::fs::mkdir(SYS_C, Mode::from_raw_mode(0o755))?;
        let seen = closed | MountFlags::NOEXEC | MountFlags::RDONLY;
        rustix::mount::mount(c"sysfs", SYS_C, c"sysfs", seen, None)?;
        for part in &self.parts {
            let point = part.point.as_c_str();
            if part.is_folder {
                rustix::fs::mkdir(point, Mode::from_raw_mode(0o755))?;
            } else {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::open(point, flags, Mode::from_raw_mode(0o644))?;
            }
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(part.tree.as_fd(), c"", CWD, point, flags)?;
        }
        Ok(())
    }
}

/// What the container sees of a bind mount. A lone read-only file that cannot be mapped (the machine's `/etc/hosts`
/// may lie on any file system) is shown as it is: as nobody's.
fn see(map: &IdMap, bind: &BindMount) -> Result<OwnedFd, Errno> {
    let mut flags = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if bind.readonly {
        flags |= libc::MOUNT_ATTR_RDONLY;
    }
    if !bind.mapped {
        match map.tree(&bind.source, true, flags) {
            Err(Errno::INVAL | Errno::PERM) if bind.readonly && bind.source.is_file() => {}
            done => return done,
        }
    }
    let tree = clone_tree(&bind.source, true)?;
    set_attributes(&tree, true, flags, None)?;
    Ok(tree)
}

/// Whether the container sees the sysfs of [`sys`] or mounts its own.
pub(crate) fn binds_sys(spec: &RunSpec<'_>) -> bool {
    spec.id_map.is_some() && spec.network == Network::Host
}
