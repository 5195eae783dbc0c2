//! File operations below an open folder, which no name can leave.
//!
//! Only single components and openat2 with RESOLVE_BENEATH or RESOLVE_IN_ROOT are used; see openat2(2).

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::RDONLY);

/// Opens a folder of ours by its path.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())?)
}

/// Another open file description of the same folder, with a read position of its own.
pub(crate) fn reopen_dir(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(openat(fd, ".", FOLDER, Mode::empty())?)
}

/// Opens a folder by one name, never through a link.
pub(crate) fn open_child_dir(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    Ok(openat(fd, name, FOLDER, Mode::empty())?)
}

/// Opens the folder at a path of any length below `root`, no component of which may be a link. The path ends with a slash
/// or is empty.
pub(crate) fn open_folder_beneath(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let mut fd: Option<OwnedFd> = None;
    let mut rest = path.strip_suffix(b"/").unwrap_or(path);
    while !rest.is_empty() {
        // PATH_MAX bounds one call, not the depth of a tree.
        let cut = if rest.len() < 4000 {
            rest.len()
        } else {
            rest[..4000].iter().rposition(|b| *b == b'/').unwrap_or(rest.len())
        };
        let (now, later) = rest.split_at(cut);
        let at = fd.as_ref().map_or(root, AsFd::as_fd);
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        fd = Some(retry(|| openat2(at, now, FOLDER, Mode::empty(), flags))?);
        rest = later.strip_prefix(b"/").unwrap_or(later);
    }
    fd.map_or_else(|| reopen_dir(root), Ok)
}

/// Opens the folder at `path` as a process in a chroot at `root` would: links are followed inside.
pub(crate) fn open_folder_in_root(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    retry(|| openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS))
}

/// openat2 gives EAGAIN when a rename anywhere races with `..`, and asks to try again.
fn retry(open: impl Fn() -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<OwnedFd> {
    for _ in 0..64 {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    open()
}

/// A path to a name in an open folder, for calls that know no folder argument. The last component is not followed by the
/// `l...xattr` calls.
pub(crate) fn proc_path(fd: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    let mut path = format!("/proc/self/fd/{}/", fd.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    PathBuf::from(OsStr::from_bytes(&path))
}

/// All xattrs of an open file.
pub(crate) fn xattrs_of(fd: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    collect(|buffer| rustix::fs::flistxattr(fd, buffer), |name, buffer| rustix::fs::fgetxattr(fd, name, buffer))
}

/// All xattrs of a name in a folder, not following a link.
pub(crate) fn xattrs_at(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = proc_path(fd, name);
    collect(|buffer| rustix::fs::llistxattr(&path, buffer), |name, buffer| rustix::fs::lgetxattr(&path, name, buffer))
}

fn collect(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut small = [0; 512];
    let names = match list(&mut small) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(length) => small[..length].to_vec(),
        Err(Errno::RANGE) => {
            let mut large = vec![0; 65536];
            let length = list(&mut large)?;
            large.truncate(length);
            large
        }
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        match get(name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                value.shrink_to_fit();
                found.push((name.to_vec(), value));
            }
            Err(Errno::NODATA) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(found)
}

/// What stands under a name in a folder, not following a link.
pub(crate) fn stat<F: AsFd>(folder: &F, name: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Makes a folder.
pub(crate) fn make_dir(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755))?;
    Ok(())
}

/// Bytes on disk of a name in a folder, with all in it. Only one folder is open at a time, whatever the depth.
pub(crate) fn disk_usage(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<u64> {
    let found = stat(&folder, name)?;
    let mut total = found.st_blocks as u64 * 512;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Ok(total);
    }
    let mut todo = vec![name.to_vec()];
    while let Some(path) = todo.pop() {
        let fd = open_folder_beneath(folder, &path)?;
        for item in rustix::fs::Dir::read_from(&fd)? {
            let item = item?;
            let child = item.file_name().to_bytes();
            if matches!(child, b"." | b"..") {
                continue;
            }
            let found = stat(&fd, child)?;
            total += found.st_blocks as u64 * 512;
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                todo.push([path.as_slice(), b"/", child].concat());
            }
        }
    }
    Ok(total)
}

/// Folders that are open at once while a tree is removed.
const OPEN_FOLDERS: usize = 64;

/// Removes a folder and all in it, never following a link. The tree may be of any depth: what is too deep is moved up.
pub(crate) fn remove_tree(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let mut moved = Moved { top: open_child_dir(folder, name)?, number: 0, waiting: BTreeSet::new() };
    let top = reopen_dir(moved.top.as_fd())?;
    empty(&top, 1, &mut moved)?;
    while let Some(name) = moved.waiting.pop_last() {
        let child = open_child_dir(top.as_fd(), &name)?;
        empty(&child, 2, &mut moved)?;
        rustix::fs::unlinkat(&top, name.as_slice(), AtFlags::REMOVEDIR)?;
    }
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// Folders that were too deep to go down to, now in the top folder.
struct Moved {
    top: OwnedFd,
    number: u64,
    waiting: BTreeSet<Vec<u8>>,
}

impl Moved {
    fn up(&mut self, from: &OwnedFd, name: &[u8]) -> io::Result<()> {
        loop {
            self.number += 1;
            let fresh = format!("deep-{}", self.number).into_bytes();
            match rustix::fs::renameat_with(from, name, &self.top, &*fresh, rustix::fs::RenameFlags::NOREPLACE) {
                Ok(()) => {
                    self.waiting.insert(fresh);
                    return Ok(());
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

fn empty(fd: &OwnedFd, depth: usize, moved: &mut Moved) -> io::Result<()> {
    for item in rustix::fs::Dir::read_from(fd)? {
        let item = item?;
        let child = item.file_name().to_bytes();
        if matches!(child, b"." | b"..") {
            continue;
        }
        let found = match stat(fd, child) {
            // The list is older than what was moved since.
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            rustix::fs::unlinkat(fd, child, AtFlags::empty())?;
        } else if depth >= OPEN_FOLDERS {
            moved.up(fd, child)?;
        } else if !(depth == 1 && moved.waiting.contains(child)) {
            empty(&open_child_dir(fd.as_fd(), child)?, depth + 1, moved)?;
            rustix::fs::unlinkat(fd, child, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_trees_are_removed() {
        let dir = tempfile::tempdir().expect("temp folder");
        let root = open_root(dir.path()).expect("open");
        make_dir(root.as_fd(), b"t").expect("folder");
        let mut at = open_child_dir(root.as_fd(), b"t").expect("open");
        for depth in 0..300 {
            // A name that the moved ones would like to have, and something beside.
            let name = if depth == 0 { b"deep-1".as_slice() } else { b"d" };
            make_dir(at.as_fd(), name).expect("folder");
            make_dir(at.as_fd(), b"beside").expect("folder");
            at = open_child_dir(at.as_fd(), name).expect("open");
        }
        remove_tree(root.as_fd(), b"t").expect("removed");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
    }
}
