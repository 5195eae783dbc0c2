//! A folder in memory, for what must never lie on a disk.
//!
//! Must not know what is put there.

use crate::MountError;
use rustix::mount::{MountFlags, UnmountFlags};
use std::path::{Path, PathBuf};

/// A small memory file system that only this process's user may look into; all in it is gone when this is dropped, and
/// when the mount namespace ends.
#[derive(Debug)]
pub struct MemoryFolder {
    path: PathBuf,
}

impl MemoryFolder {
    /// Mounts one of at most 16 MiB on the existing folder `path`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn mount(path: &Path) -> Result<Self, MountError> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount(c"tmpfs", path, c"tmpfs", flags, Some(c"mode=0700,size=16m"))
            .map_err(|error| MountError::refused("mount a memory file system on", path, error))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MemoryFolder {
    fn drop(&mut self) {
        // Nobody to tell; the folder's owner looks for mounts before removing anything.
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
}
