//! Folders of files in memory that can be read and not changed: how a build sees its secrets.
//!
//! All of it happens in the caller's mount namespace, which must be a private one ([`crate::enter_private_mounts`]): no
//! folder is made and nothing is mounted where the machine sees it. Must not know what a secret is.

use crate::MountError;
use crate::id_map::clone_tree;
use crate::mounts::mount_table;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags};
use std::ffi::{CStr, OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// The names of the mounts in `/proc/self/mountinfo`, by which they are found again.
const FILES: &str = "osbs-files";
const FILES_C: &CStr = c"osbs-files";
const MIRROR: &str = "osbs-mirror";

/// What a folder in memory holds. Paths are relative to it; folders on the way are made.
#[derive(Debug, Default)]
pub struct MemoryFiles<'a> {
    /// Empty folders.
    pub folders: Vec<PathBuf>,
    /// Files and their content.
    pub files: Vec<(PathBuf, &'a [u8])>,
}

impl MemoryFiles<'_> {
    /// Shows these at `point`, for root only and read-only. Where there is no such folder the namespace gets one: the
    /// nearest folder above it that is there is covered by a copy of itself which has one more entry.
    ///
    /// # Errors
    /// The kernel's refusal, or `point` lies below a file.
    pub fn mount(&self, point: &Path) -> Result<(), MountError> {
        let point = make_point(point)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount(FILES_C, &point, c"tmpfs", flags, Some(c"mode=0700,size=16m"))
            .map_err(|error| MountError::refused("mount a memory file system on", &point, error))?;
        let filled = self.fill(&point).and_then(|()| {
            // Of this one mount; there is no other of the same file system.
            rustix::mount::mount_remount(&point, flags | MountFlags::BIND | MountFlags::RDONLY, "")
                .map_err(|error| MountError::refused("make read-only", &point, error))
        });
        if filled.is_err() {
            let _ = rustix::mount::unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
        filled
    }

    fn fill(&self, point: &Path) -> Result<(), MountError> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let refused = |path: &Path, error| MountError::refused("write", path, error);
        let folder = |path: &Path| {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|error| refused(path, error))
        };
        for path in &self.folders {
            folder(&point.join(path))?;
        }
        for (path, bytes) in &self.files {
            let path = point.join(path);
            folder(path.parent().unwrap_or(point))?;
            let file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o400).open(&path);
            file.and_then(|mut file| file.write_all(bytes)).map_err(|error| refused(&path, error))?;
        }
        Ok(())
    }
}

/// Whether this namespace has folders of [`MemoryFiles`]: of this process, or inherited.
///
/// # Errors
/// /proc is not mounted.
pub fn has_memory_files() -> Result<bool, MountError> {
    Ok(mount_table()?.iter().any(|mount| mount.source == FILES))
}

/// Takes all folders of [`MemoryFiles`] away from this namespace. What they covered is seen again.
///
/// # Errors
/// The kernel's refusal.
pub fn unmount_memory_files() -> Result<(), MountError> {
    for mount in mount_table()?.iter().rev().filter(|mount| mount.source == FILES) {
        match rustix::mount::unmount(&mount.point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // It went with another one.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(MountError::refused("unmount", &mount.point, error)),
        }
    }
    Ok(())
}

/// The real path of `point`, which is a folder afterwards.
fn make_point(point: &Path) -> Result<PathBuf, MountError> {
    let refused = |error: io::Error| MountError::refused("make a mount point at", point, error);
    let (mut there, mut missing) = (point.to_owned(), Vec::<OsString>::new());
    let existing = loop {
        match there.canonicalize() {
            Ok(path) => break path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(error)),
        }
        let name = there.file_name().map(ToOwned::to_owned);
        missing.push(name.ok_or_else(|| refused(io::ErrorKind::InvalidInput.into()))?);
        there.pop();
    };
    if !existing.is_dir() {
        return Err(refused(io::ErrorKind::NotADirectory.into()));
    }
    if missing.is_empty() {
        return Ok(existing);
    }
    if !is_mirror(&existing)? {
        mirror(&existing)?;
    }
    let point = missing.iter().rev().fold(existing, |path, name| path.join(name));
    std::fs::create_dir_all(&point).map_err(|error| MountError::refused("make a mount point at", &point, error))?;
    Ok(point)
}

/// Whether new entries of `folder` are seen by this namespace alone already.
fn is_mirror(folder: &Path) -> Result<bool, MountError> {
    let table = mount_table()?;
    let longest = table.iter().filter(|mount| folder.starts_with(&mount.point)).map(|m| m.point.components().count());
    let longest = longest.max().unwrap_or(0);
    let covers =
        |mount: &&crate::mounts::Mount| folder.starts_with(&mount.point) && mount.point.components().count() == longest;
    Ok(table.iter().rev().find(covers).is_some_and(|mount| mount.source == MIRROR))
}

/// An entry of a folder, to be shown again.
enum Entry {
    Tree { tree: OwnedFd, is_folder: bool },
    Link(PathBuf),
}

/// Covers a folder by a copy of itself: the same entries, mounted one by one, in a file system in memory.
fn mirror(folder: &Path) -> Result<(), MountError> {
    let refused = |path: &Path, error: io::Error| MountError::refused("copy the entries of", path, error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| refused(folder, error))? {
        let entry = entry.map_err(|error| refused(folder, error))?;
        let (name, path) = (entry.file_name(), entry.path());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_symlink() {
            entries.extend(std::fs::read_link(&path).ok().map(|target| (name, Entry::Link(target))));
        } else if let Ok(tree) = clone_tree(&path, kind.is_dir()) {
            // What went meanwhile, or may not be mounted twice, is not shown.
            entries.push((name, Entry::Tree { tree, is_folder: kind.is_dir() }));
        }
    }
    let copy =
        mount_memory(folder).map_err(|error| MountError::refused("mount a memory file system on", folder, error))?;
    for (name, entry) in entries {
        show(&copy, &name, entry).map_err(|error| refused(&folder.join(&name), error))?;
    }
    if folder == Path::new("/") {
        // A process keeps the root it has, also when that is covered. As the topmost one it counts as the namespace's.
        let entered = rustix::process::fchdir(&copy).and_then(|()| rustix::process::chroot("."));
        entered.map_err(|error| MountError::refused("enter the copy of", folder, error))?;
    }
    Ok(())
}

/// An empty file system in memory on top of `folder`; it is told by the descriptor, for below `/` its name is not seen yet.
fn mount_memory(folder: &Path) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("source", MIRROR), ("mode", "0755"), ("size", "16m")] {
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    rustix::mount::move_mount(mount.as_fd(), "", CWD, folder, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(mount)
}

fn show(folder: &OwnedFd, name: &OsStr, entry: Entry) -> io::Result<()> {
    match entry {
        Entry::Link(target) => Ok(rustix::fs::symlinkat(target, folder, name)?),
        Entry::Tree { tree, is_folder } => {
            if is_folder {
                rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755))?;
            } else {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o644))?;
            }
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            Ok(rustix::mount::move_mount(tree.as_fd(), "", folder, name, flags)?)
        }
    }
}
