//! File operations that cannot leave a root folder, whatever links are in it.
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A folder that is the root for every path given to it. Absolute paths start there, `..` stops there.
#[derive(Debug)]
pub struct Root {
    _fd: OwnedFd,
    _path: PathBuf,
}

/// Numeric owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What something in a root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// Regular file.
    File,
    /// Folder.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

/// Time since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileTime {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanoseconds: u32,
}

/// What `lstat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Kind.
    pub kind: NodeKind,
    /// Permission bits, 0o7777.
    pub mode: u32,
    /// Owner.
    pub owner: Owner,
    /// Bytes.
    pub size: u64,
    /// Modification time.
    pub modified: FileTime,
    /// Device number, for devices.
    pub rdev: u64,
    /// Device it is on.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Hard links.
    pub links: u64,
}

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct RootedError {
    /// What was tried: `read`, `make the folder`.
    pub operation: &'static str,
    /// The path inside the root.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl RootedError {
    /// Whose fault it is: resource for a full disk and the like, else user (the content is theirs).
    pub fn kind(&self) -> osbs_types::ErrorKind {
        todo!()
    }
    /// Whether the reason is that something is not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

type Done<T> = Result<T, RootedError>;

impl Root {
    /// Opens the folder.
    pub fn open(_path: &Path) -> Done<Self> {
        todo!()
    }
    /// Opens a file for reading, following links inside the root. Never blocks on a FIFO; only regular files.
    pub fn open_file(&self, _path: &Path) -> Done<File> {
        todo!()
    }
    /// Another root below this one, following links inside the root.
    pub fn subroot(&self, _path: &Path) -> Done<Root> {
        todo!()
    }
    /// Makes a new file for writing (an old file, link or empty folder of that name goes away), parents must exist.
    pub fn create_file(&self, _path: &Path, _mode: u32) -> Done<File> {
        todo!()
    }
    /// Makes a folder and its missing parents, all with this mode and owner; what exists stays as it is. Links are
    /// followed inside the root. Returns how many were made.
    pub fn mkdir_all(&self, _path: &Path, _mode: u32, _owner: Owner) -> Done<usize> {
        todo!()
    }
    /// What is at `path`, without following a link there. `None`: nothing.
    pub fn lstat(&self, _path: &Path) -> Done<Option<Node>> {
        todo!()
    }
    /// What is at `path`, following links inside the root. `None`: nothing.
    pub fn stat(&self, _path: &Path) -> Done<Option<Node>> {
        todo!()
    }
    /// Where the link points.
    pub fn read_link(&self, _path: &Path) -> Done<PathBuf> {
        todo!()
    }
    /// The names in a folder, sorted by bytes.
    pub fn list(&self, _path: &Path) -> Done<Vec<OsString>> {
        todo!()
    }
    /// A whole small regular file; more than `limit` bytes is an error.
    pub fn read_small(&self, _path: &Path, _limit: u64) -> Done<Vec<u8>> {
        todo!()
    }
    /// The path without links, inside the root, beginning with `/`; the rest of it may be missing.
    pub fn resolve(&self, _path: &Path) -> Done<PathBuf> {
        todo!()
    }
    /// Makes `path` a symbolic link; something other than a folder in its place goes away.
    pub fn symlink(&self, _target: &Path, _path: &Path) -> Done<()> {
        todo!()
    }
    /// Makes `path` another name of `existing` (a link at `existing` is not followed).
    pub fn hard_link(&self, _existing: &Path, _path: &Path) -> Done<()> {
        todo!()
    }
    /// Makes a FIFO, socket or device.
    pub fn make_node(&self, _path: &Path, _kind: NodeKind, _mode: u32, _rdev: u64) -> Done<()> {
        todo!()
    }
    /// Renames inside the root; links at either end are not followed.
    pub fn rename(&self, _from: &Path, _to: &Path) -> Done<()> {
        todo!()
    }
    /// Removes a file, a link or a folder with everything in it. `Ok(false)`: there was nothing.
    pub fn remove_tree(&self, _path: &Path) -> Done<bool> {
        todo!()
    }
    /// Owner, of a link itself too.
    pub fn set_owner(&self, _path: &Path, _owner: Owner) -> Done<()> {
        todo!()
    }
    /// Permission bits; not for links.
    pub fn set_mode(&self, _path: &Path, _mode: u32) -> Done<()> {
        todo!()
    }
    /// Access and modification time, of a link itself too.
    pub fn set_times(&self, _path: &Path, _time: FileTime) -> Done<()> {
        todo!()
    }
    /// Sets an extended attribute; not for links.
    pub fn set_xattr(&self, _path: &Path, _name: &std::ffi::OsStr, _value: &[u8]) -> Done<()> {
        todo!()
    }
    /// The extended attributes; none for links.
    pub fn xattrs(&self, _path: &Path) -> Done<Vec<(OsString, Vec<u8>)>> {
        todo!()
    }
    /// Copies a regular file of `from` (links there not followed) to a new file here, sharing the bytes if the file
    /// system can. Mode, owner and times are the caller's to set. Returns the size.
    pub fn copy_file(&self, _from: &Root, _source: &Path, _target: &Path, _mode: u32) -> Done<u64> {
        todo!()
    }
}
