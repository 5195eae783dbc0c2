//! File operations that cannot leave a root folder, whatever links are in it.
//!
//! Every path is resolved by the kernel (openat2(2) with RESOLVE_IN_ROOT, Linux 5.6): absolute paths and absolute links
//! start at the root, `..` stops there, and nobody who changes the tree meanwhile can lead us out. Must not judge
//! whether an operation is wanted: only where it happens.

mod change;
mod remove;
#[cfg(test)]
mod tests;
mod walk;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// A folder that is the root for every path given to it. Absolute paths start there, `..` stops there.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
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

impl Node {
    fn from_stat(stat: &Stat) -> Self {
        Self {
            kind: NodeKind::from_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            owner: Owner { uid: stat.st_uid, gid: stat.st_gid },
            size: stat.st_size as u64,
            modified: FileTime { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            rdev: stat.st_rdev,
            dev: stat.st_dev,
            ino: stat.st_ino,
            links: stat.st_nlink,
        }
    }

    /// Whether it is a folder.
    pub fn is_dir(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == NodeKind::File
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind == NodeKind::Symlink
    }
}

impl NodeKind {
    fn from_mode(mode: u32) -> Self {
        match FileType::from_raw_mode(mode) {
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            _ => Self::File,
        }
    }

    /// The word for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "a regular file",
            Self::Directory => "a folder",
            Self::Symlink => "a symbolic link",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::CharDevice => "a character device",
            Self::BlockDevice => "a block device",
        }
    }
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
    /// Whose fault it is: resource for a full disk and the like, else user (the tree is theirs).
    pub fn kind(&self) -> osbs_types::ErrorKind {
        match self.source.raw_os_error() {
            Some(
                libc::ENOSPC
                | libc::EDQUOT
                | libc::EIO
                | libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM
                | libc::EROFS
                | libc::EPERM
                | libc::ENOSYS,
            ) => osbs_types::ErrorKind::Resource,
            _ => osbs_types::ErrorKind::User,
        }
    }

    /// Whether the reason is that something is not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

type Done<T> = Result<T, RootedError>;

/// Adds the operation and the path to an error.
trait Context<T> {
    fn while_trying(self, operation: &'static str, path: &Path) -> Done<T>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn while_trying(self, operation: &'static str, path: &Path) -> Done<T> {
        self.map_err(|error| RootedError { operation, path: path.to_owned(), source: error.into() })
    }
}

/// A name in an open folder.
struct Place {
    dir: OwnedFd,
    name: OsString,
}

impl Root {
    /// Opens the folder. Links in this path, which is the caller's own, are followed.
    ///
    /// # Errors
    /// It is missing or no folder.
    pub fn open(path: &Path) -> Done<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).while_trying("open the folder", path)?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The path it was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another root below this one, following links inside this root.
    ///
    /// # Errors
    /// It is missing or no folder.
    pub fn subroot(&self, path: &Path) -> Done<Self> {
        let fd = self.open_in(path, OFlags::PATH | OFlags::DIRECTORY).while_trying("open the folder", path)?;
        Ok(Self { fd, path: self.path.join(path.strip_prefix("/").unwrap_or(path)) })
    }

    /// Opens a regular file for reading, following links inside the root. A FIFO or device is refused, untouched.
    ///
    /// # Errors
    /// It is missing, not a regular file, or not readable.
    pub fn open_file(&self, path: &Path) -> Done<File> {
        let found = self.open_in(path, OFlags::PATH).while_trying("read", path)?;
        open_regular(&found).while_trying("read", path)
    }

    /// What is at `path`, without following a link there. `None`: nothing.
    ///
    /// # Errors
    /// A loop of links, or the kernel's refusal.
    pub fn lstat(&self, path: &Path) -> Done<Option<Node>> {
        let stat = self.place(path).and_then(|place| place.stat());
        absent_as_none(stat).while_trying("look at", path)
    }

    /// What is at `path`, following links inside the root. `None`: nothing, a dangling link too.
    ///
    /// # Errors
    /// A loop of links, or the kernel's refusal.
    pub fn stat(&self, path: &Path) -> Done<Option<Node>> {
        let stat = self.open_in(path, OFlags::PATH).and_then(rustix::fs::fstat);
        absent_as_none(stat.map(|stat| Node::from_stat(&stat))).while_trying("look at", path)
    }

    /// Where the link points, as written in it.
    ///
    /// # Errors
    /// It is missing or no link.
    pub fn read_link(&self, path: &Path) -> Done<PathBuf> {
        self.place(path).and_then(|place| place.read_link()).while_trying("read the link", path)
    }

    /// The names in a folder, sorted by bytes, following links inside the root.
    ///
    /// # Errors
    /// It is missing or no folder.
    pub fn list(&self, path: &Path) -> Done<Vec<OsString>> {
        let names = self.open_in(path, OFlags::RDONLY | OFlags::DIRECTORY).and_then(|dir| names_in(&dir));
        names.while_trying("list", path)
    }

    /// A whole small regular file, following links inside the root.
    ///
    /// # Errors
    /// As [`Root::open_file`]; more than `limit` bytes.
    pub fn read_small(&self, path: &Path, limit: u64) -> Done<Vec<u8>> {
        let mut content = Vec::new();
        let mut file = self.open_file(path)?.take(limit.saturating_add(1));
        file.read_to_end(&mut content).while_trying("read", path)?;
        if content.len() as u64 > limit {
            let reason = io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes"));
            return Err(reason).while_trying("read", path);
        }
        Ok(content)
    }

    /// The extended attributes, sorted by name; none for links.
    ///
    /// # Errors
    /// It is missing, or the kernel's refusal.
    pub fn xattrs(&self, path: &Path) -> Done<Vec<(OsString, Vec<u8>)>> {
        let Some(name) =
            self.place(path).and_then(|place| place.not_a_link()).while_trying("read attributes of", path)?
        else {
            return Ok(Vec::new());
        };
        read_xattrs(&name.proc_name()).while_trying("read attributes of", path)
    }

    /// Opens with the root as `/`. NO_MAGICLINKS: a link in a mounted /proc must not lead out.
    fn open_in(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_at(self.fd.as_fd(), path, flags, ResolveFlags::empty())
    }

    /// The folder that `path` is in, links on the way followed, and its last name. For the root itself, or after `..`,
    /// the name is `.`.
    fn place(&self, path: &Path) -> Result<Place, Errno> {
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => (parent, name),
            _ => (path, OsStr::new(".")),
        };
        Ok(Place { dir: self.open_in(parent, OFlags::PATH | OFlags::DIRECTORY)?, name: name.to_owned() })
    }
}

impl Place {
    fn stat(&self) -> Result<Node, Errno> {
        let stat = rustix::fs::statat(&self.dir, self.name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Node::from_stat(&stat))
    }

    fn read_link(&self) -> Result<PathBuf, Errno> {
        let target = rustix::fs::readlinkat(&self.dir, self.name.as_os_str(), Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// A handle on what is there, or `None` when that is a link.
    fn not_a_link(&self) -> Result<Option<Handle>, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, self.name.as_os_str(), flags, Mode::empty())?;
        let kind = NodeKind::from_mode(rustix::fs::fstat(&fd)?.st_mode);
        Ok((kind != NodeKind::Symlink).then_some(Handle(fd)))
    }
}

/// An O_PATH descriptor; calls that want a path get its name in /proc, which leads to exactly this object.
struct Handle(OwnedFd);

impl Handle {
    fn proc_name(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// openat2 below `dir`, which is the root for it.
fn open_at(dir: BorrowedFd<'_>, path: &Path, flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    // EAGAIN: somebody renamed something while `..` was looked at, so the kernel could not vouch for the result.
    for _ in 0..128 {
        match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens what an O_PATH descriptor stands for, after a look at what it is: opening a FIFO blocks, and opening a device
/// may do anything.
fn open_regular(found: &OwnedFd) -> io::Result<File> {
    let kind = NodeKind::from_mode(rustix::fs::fstat(found)?.st_mode);
    if kind != NodeKind::File {
        let reason = format!("it is {}, not a regular file", kind.as_str());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

fn names_in(dir: impl AsFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn read_xattrs(path: &Path) -> Result<Vec<(OsString, Vec<u8>)>, Errno> {
    let list = match read_growing(|buffer| rustix::fs::listxattr(path, buffer)) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = OsStr::from_bytes(name);
        match read_growing(|buffer| rustix::fs::getxattr(path, name, buffer)) {
            // Removed between the two calls.
            Err(Errno::NODATA) => {}
            value => found.push((name.to_owned(), value?)),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Attribute calls answer ERANGE when the buffer is too small. The kernel's own limit is 64 KiB.
fn read_growing(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }
}

fn absent_as_none(found: Result<Node, Errno>) -> Result<Option<Node>, Errno> {
    match found {
        Ok(node) => Ok(Some(node)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}
