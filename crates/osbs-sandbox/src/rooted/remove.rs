//! Removal of whole trees, of any depth, with a handful of open folders.

use super::{Context as _, Done, Place, Root, names_in, open_at};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// A folder that is being emptied, while we are in one below it.
struct Level {
    /// The name in the level above.
    name: OsString,
    /// Device and inode, to know it again on the way back up.
    identity: (u64, u64),
    /// Folders in it that still have to go.
    folders: Vec<OsString>,
}

impl Root {
    /// Removes a file, a link or a folder with everything in it; what is mounted there is not touched. `Ok(false)`:
    /// there was nothing.
    ///
    /// # Errors
    /// The root itself, a mount point in the tree, or the kernel's refusal.
    pub fn remove_tree(&self, path: &Path) -> Done<bool> {
        let place = match self.place(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            other => other.while_trying("remove", path)?,
        };
        place.remove_tree().while_trying("remove", path)
    }
}

impl Place {
    /// As [`Root::remove_tree`].
    pub(super) fn remove_tree(&self) -> Result<bool, Errno> {
        if self.name == "." {
            return Err(Errno::INVAL);
        }
        match rustix::fs::unlinkat(&self.dir, self.name.as_os_str(), AtFlags::empty()) {
            Ok(()) => return Ok(true),
            Err(Errno::NOENT) => return Ok(false),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
        match rustix::fs::unlinkat(&self.dir, self.name.as_os_str(), AtFlags::REMOVEDIR) {
            Ok(()) => return Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        self.empty_folder()?;
        rustix::fs::unlinkat(&self.dir, self.name.as_os_str(), AtFlags::REMOVEDIR)?;
        Ok(true)
    }

    /// Depth first, one open folder at a time: depth costs memory, not descriptors or stack.
    fn empty_folder(&self) -> Result<(), Errno> {
        let mut current = enter(&self.dir, &self.name)?;
        let mut levels =
            vec![Level { name: self.name.clone(), identity: identity(&current)?, folders: remove_files(&current)? }];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.folders.pop() {
                let below = enter(&current, &name)?;
                let folders = remove_files(&below)?;
                levels.push(Level { name, identity: identity(&below)?, folders });
                current = below;
                continue;
            }
            let Some(done) = levels.pop() else { break };
            let Some(above) = levels.last() else { break };
            current = go_up(&current, above.identity)?;
            rustix::fs::unlinkat(&current, done.name.as_os_str(), AtFlags::REMOVEDIR)?;
        }
        Ok(())
    }
}

/// NO_XDEV: never into something mounted.
fn enter(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    open_at(dir.as_fd(), Path::new(name), flags, ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS)
}

/// `..` leads elsewhere if somebody moved the folder meanwhile: then stop.
fn go_up(dir: &OwnedFd, expected: (u64, u64)) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let above = rustix::fs::openat(dir, c"..", flags, Mode::empty())?;
    if identity(&above)? == expected { Ok(above) } else { Err(Errno::STALE) }
}

fn identity(dir: &OwnedFd) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Removes what is not a folder, and empty folders; returns the others.
fn remove_files(dir: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut folders = Vec::new();
    for name in names_in(dir)? {
        match rustix::fs::unlinkat(dir, name.as_os_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => folders.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(folders)
}
