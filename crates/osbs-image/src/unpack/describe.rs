//! Owner, mode, xattrs and times of what an archive brings.

use crate::layer::{LayerError, is_layer_xattr};
use crate::rooted;
use crate::tar::{EntryKind, TarEntry};
use crate::unpack::tree::{Tree, display};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

impl Tree {
    /// Owner, mode and xattrs of something open, in this order: a change of owner clears setuid bits and capabilities.
    ///
    /// A default ACL is left for the end ([`Tree::finish`]): what is made in the folder from then on would inherit it.
    pub(super) fn describe(&mut self, fd: &OwnedFd, entry: &TarEntry, path: &[u8]) -> Result<(), LayerError> {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(|e| self.no_owner(e, entry, path))?;
        rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))
            .map_err(|e| self.file("set mode of", path)(e.into()))?;
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_layer_xattr(name)) {
            if name == DEFAULT_ACL && entry.kind == EntryKind::Folder {
                self.remember_acl(path, value)?;
                continue;
            }
            let result = rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
            self.xattr_result(result, name, path)?;
        }
        Ok(())
    }

    pub(super) fn set_default_acl(&self, fd: &OwnedFd, value: &[u8], path: &[u8]) -> Result<(), LayerError> {
        let result = rustix::fs::fsetxattr(fd, DEFAULT_ACL, value, XattrFlags::empty());
        self.xattr_result(result, DEFAULT_ACL, path)
    }

    /// A user namespace has no room for ids that its map does not name.
    fn no_owner(&self, error: Errno, entry: &TarEntry, path: &[u8]) -> LayerError {
        if error == Errno::INVAL {
            let (what, path) = (self.what().to_owned(), display(path));
            return LayerError::NoSuchId { what, path, uid: entry.uid, gid: entry.gid };
        }
        self.file("set owner of", path)(error.into())
    }

    /// The same, and times, of a link or device, by name.
    pub(super) fn describe_name(
        &self,
        folder: &OwnedFd,
        name: &[u8],
        entry: &TarEntry,
        path: &[u8],
    ) -> Result<(), LayerError> {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| self.no_owner(e, entry, path))?;
        if entry.kind != EntryKind::Symlink {
            // fchmodat follows links, but what stands here was just made and is none.
            rustix::fs::chmodat(folder, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .map_err(|e| self.file("set mode of", path)(e.into()))?;
        }
        let place = rooted::proc_path(folder.as_fd(), name);
        for (key, value) in entry.xattrs.iter().filter(|(key, _)| is_layer_xattr(key)) {
            let result = rustix::fs::lsetxattr(&place, key.as_slice(), value, XattrFlags::empty());
            self.xattr_result(result, key, path)?;
        }
        let times = timestamps(entry.mtime);
        rustix::fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| self.file("set time of", path)(e.into()))
    }

    /// A file system without xattrs, or one that keeps some to itself, loses what nobody needs; a lost capability would break
    /// a program, and is told.
    fn xattr_result(&self, result: Result<(), Errno>, name: &[u8], path: &[u8]) -> Result<(), LayerError> {
        match result {
            Err(Errno::NOTSUP | Errno::PERM) if name != b"security.capability" => Ok(()),
            other => other.map_err(|e| self.not_made("set attributes of", path, e)),
        }
    }

    pub(super) fn set_times(&self, fd: &OwnedFd, mtime: (i64, u32), path: &[u8]) -> Result<(), LayerError> {
        rustix::fs::futimens(fd, &timestamps(mtime)).map_err(|e| self.file("set time of", path)(e.into()))
    }
}

pub(crate) fn timestamps((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
