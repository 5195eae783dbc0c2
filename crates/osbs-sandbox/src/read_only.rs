//! A child that may change nothing but a few folders: the machine's whole tree is read-only to it, those excepted.
//!
//! For programs of the machine that work on a stranger's files. Must not hide anything: what may be read stays readable.
#![allow(unsafe_code)]

use crate::{Isolation, ProcessError};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command};

/// Starts `command` so that it and all its descendants can write only below `writable` and die with it: a pid and a mount
/// namespace of its own. It begins in `folder`. On a kernel before 5.12 it is not kept from writing elsewhere.
///
/// # Errors
/// As [`crate::spawn_isolated`]; a folder is missing.
pub fn spawn_writing_only(command: Command, folder: &Path, writable: &[&Path]) -> Result<Child, ProcessError> {
    let name = |path: &Path| {
        CString::new(path.as_os_str().as_bytes())
            .map_err(|_| ProcessError::Argument { what: "path", value: path.display().to_string() })
    };
    let writable = writable.iter().map(|path| name(path)).collect::<Result<_, _>>()?;
    let view = View { folder: name(folder)?, writable };
    crate::supervise::spawn_isolated_then(command, Isolation::FULL, move || view.enter())
}

/// With these, root could undo the mounts, or reach disks, the kernel and other processes beside them.
const NEEDLESS: [CapabilitySet; 6] = [
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_PTRACE,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_BOOT,
    CapabilitySet::MKNOD,
];

struct View {
    folder: CString,
    writable: Vec<CString>,
}

impl View {
    /// In the child's own mount namespace. Only system calls, on what exists already: it is called between fork and exec.
    fn enter(&self) -> io::Result<()> {
        for path in &self.writable {
            rustix::mount::mount_bind_recursive(path.as_c_str(), path.as_c_str())?;
        }
        match set_read_only(c"/", true) {
            Err(Errno::NOSYS) => {}
            other => other?,
        }
        for path in &self.writable {
            match set_read_only(path, false) {
                Err(Errno::NOSYS) => {}
                other => other?,
            }
        }
        for capability in NEEDLESS {
            rustix::thread::remove_capability_from_bounding_set(capability)?;
        }
        // The folder it was started in is seen through the mount that is read-only now.
        Ok(rustix::process::chdir(self.folder.as_c_str())?)
    }
}

/// `mount_setattr(2)` on a whole tree of mounts.
fn set_read_only(path: &CStr, read_only: bool) -> Result<(), Errno> {
    let (attr_set, attr_clr) = if read_only { (libc::MOUNT_ATTR_RDONLY, 0) } else { (0, libc::MOUNT_ATTR_RDONLY) };
    let attributes = libc::mount_attr { attr_set, attr_clr, propagation: 0, userns_fd: 0 };
    // SAFETY: a path that ends in a zero byte, and a structure of the size that is told; both live through the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)) }
}
