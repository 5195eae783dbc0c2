//! Making and changing things in a root. Parents must exist ([`Root::mkdir_all`]); links on the way to them are
//! followed inside the root, a link at the last name never is.

use super::{Context as _, Done, FileTime, Handle, Node, NodeKind, Owner, Place, Root, open_regular};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

impl Root {
    /// Makes a new regular file for writing. An old file, link or empty folder of that name goes away.
    ///
    /// # Errors
    /// A folder that is not empty is there, no parent, or the kernel's refusal.
    pub fn create_file(&self, path: &Path, mode: u32) -> Done<File> {
        let create = || {
            let place = self.place(path)?;
            place.make_way()?;
            place.create(mode)
        };
        create().while_trying("write", path)
    }

    /// Opens a regular file for reading and writing and makes it if there is none. What is in it stays. A link, FIFO or
    /// device is refused, untouched.
    ///
    /// # Errors
    /// Something else is there, no parent, or the kernel's refusal.
    pub fn open_for_update(&self, path: &Path, mode: u32) -> Done<File> {
        let place = self.place(path).while_trying("write", path)?;
        place.open_or_create(mode).while_trying("write", path)
    }

    /// Waits until the names in a folder are on disk. What is in its files is their own matter.
    ///
    /// # Errors
    /// It is missing or no folder, or the disk's refusal.
    pub fn sync_folder(&self, path: &Path) -> Done<()> {
        let sync = || rustix::fs::fsync(self.open_in(path, OFlags::RDONLY | OFlags::DIRECTORY)?);
        sync().while_trying("sync the folder", path)
    }

    /// Makes `path` a symbolic link to `target`, which is not looked at.
    ///
    /// # Errors
    /// As [`Root::create_file`].
    pub fn symlink(&self, target: &Path, path: &Path) -> Done<()> {
        let link = || {
            let place = self.place(path)?;
            place.make_way()?;
            rustix::fs::symlinkat(target, &place.dir, place.name.as_os_str())
        };
        link().while_trying("make the link", path)
    }

    /// Makes `path` another name of `existing`; a link at `existing` is not followed.
    ///
    /// # Errors
    /// As [`Root::create_file`]; `existing` is missing or a folder.
    pub fn hard_link(&self, existing: &Path, path: &Path) -> Done<()> {
        let link = || {
            let (from, to) = (self.place(existing)?, self.place(path)?);
            let source = from.stat()?;
            match to.stat() {
                Ok(there) if (there.dev, there.ino) == (source.dev, source.ino) => return Ok(()),
                _ => to.make_way()?,
            }
            rustix::fs::linkat(&from.dir, from.name.as_os_str(), &to.dir, to.name.as_os_str(), AtFlags::empty())
        };
        link().while_trying("make the hard link", path)
    }

    /// Makes a FIFO, socket or device. `rdev` is for devices.
    ///
    /// # Errors
    /// As [`Root::create_file`]; the kind is none of those.
    pub fn make_node(&self, path: &Path, kind: NodeKind, mode: u32, rdev: u64) -> Done<()> {
        let make = || {
            let file_type = match kind {
                NodeKind::Fifo => FileType::Fifo,
                NodeKind::Socket => FileType::Socket,
                NodeKind::CharDevice => FileType::CharacterDevice,
                NodeKind::BlockDevice => FileType::BlockDevice,
                NodeKind::File | NodeKind::Directory | NodeKind::Symlink => return Err(Errno::INVAL),
            };
            let place = self.place(path)?;
            place.make_way()?;
            rustix::fs::mknodat(&place.dir, place.name.as_os_str(), file_type, Mode::from_raw_mode(mode), rdev)?;
            place.chmod(mode)
        };
        make().while_trying("make the node", path)
    }

    /// Renames inside the root, replacing what is at `to` if the kernel allows it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn rename(&self, from: &Path, to: &Path) -> Done<()> {
        let rename = || {
            let (from, to) = (self.place(from)?, self.place(to)?);
            rustix::fs::renameat(&from.dir, from.name.as_os_str(), &to.dir, to.name.as_os_str())
        };
        rename().while_trying("rename", from)
    }

    /// Owner, of a link itself too. The kernel takes set-id bits away: set the mode after it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_owner(&self, path: &Path, owner: Owner) -> Done<()> {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        let set = self.place(path).and_then(|place| {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&place.dir, place.name.as_os_str(), Some(uid), Some(gid), flags)
        });
        set.while_trying("set the owner of", path)
    }

    /// Permission bits; a link is refused.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_mode(&self, path: &Path, mode: u32) -> Done<()> {
        self.place(path).and_then(|place| place.chmod(mode)).while_trying("set the mode of", path)
    }

    /// Access and modification time, of a link itself too.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_times(&self, path: &Path, time: FileTime) -> Done<()> {
        let time = Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
        let times = Timestamps { last_access: time, last_modification: time };
        let set = self.place(path).and_then(|place| {
            rustix::fs::utimensat(&place.dir, place.name.as_os_str(), &times, AtFlags::SYMLINK_NOFOLLOW)
        });
        set.while_trying("set the times of", path)
    }

    /// Sets an extended attribute; a link is refused.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_xattr(&self, path: &Path, name: &OsStr, value: &[u8]) -> Done<()> {
        let set = self.place(path).and_then(|place| {
            let handle = place.not_a_link()?.ok_or(Errno::LOOP)?;
            rustix::fs::setxattr(handle.proc_name(), name, value, XattrFlags::empty())
        });
        set.while_trying("set an attribute of", path)
    }

    /// Copies a regular file of `from` (a link there is refused) to a new file here, sharing the bytes if the file
    /// system can. Owner, times and attributes are the caller's to set. Returns the size.
    ///
    /// # Errors
    /// The source is no regular file; as [`Root::create_file`]; the disk is full.
    pub fn copy_file(&self, from: &Self, source: &Path, target: &Path, mode: u32) -> Done<u64> {
        let opened = from.place(source).map_err(io::Error::from).and_then(|place| {
            let handle = place.not_a_link()?.ok_or_else(|| io::Error::from(Errno::LOOP))?;
            open_regular(&handle.0)
        });
        let mut reader = opened.while_trying("read", source)?;
        let mut writer = self.create_file(target, mode)?;
        copy_content(&mut reader, &mut writer).while_trying("write", target)
    }
}

/// By reference where both are on one file system that can, else in the kernel (`io::copy` uses copy_file_range).
fn copy_content(reader: &mut File, writer: &mut File) -> io::Result<u64> {
    if rustix::fs::ioctl_ficlone(writer.as_fd(), reader.as_fd()).is_ok() {
        return Ok(reader.metadata()?.len());
    }
    io::copy(reader, writer)
}

impl Place {
    /// Removes what is in the way of something new: anything but a folder with something in it.
    fn make_way(&self) -> Result<(), Errno> {
        let removed = match self.stat().map(|node| node.kind) {
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
            Ok(NodeKind::Directory) => rustix::fs::unlinkat(&self.dir, self.name.as_os_str(), AtFlags::REMOVEDIR),
            Ok(_) => rustix::fs::unlinkat(&self.dir, self.name.as_os_str(), AtFlags::empty()),
        };
        match removed {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    fn create(&self, mode: u32) -> Result<File, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, self.name.as_os_str(), flags, Mode::from_raw_mode(0o600))?;
        // Not by openat's mode, which the umask cuts.
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
        Ok(File::from(fd))
    }

    fn open_or_create(&self, mode: u32) -> io::Result<File> {
        loop {
            match self.not_a_link() {
                Ok(Some(found)) => return found.open_regular_for_update(),
                Ok(None) => return Err(Errno::LOOP.into()),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            match rustix::fs::openat(&self.dir, self.name.as_os_str(), flags, Mode::from_raw_mode(mode)) {
                // Somebody else has made it meanwhile.
                Err(Errno::EXIST) => {}
                made => return Ok(File::from(made?)),
            }
        }
    }

    fn chmod(&self, mode: u32) -> Result<(), Errno> {
        let handle = self.not_a_link()?.ok_or(Errno::LOOP)?;
        rustix::fs::chmod(handle.proc_name(), Mode::from_raw_mode(mode))
    }
}

impl Handle {
    /// After a look at what it is: opening a FIFO blocks, and opening a device may do anything.
    fn open_regular_for_update(&self) -> io::Result<File> {
        let kind = NodeKind::from_mode(rustix::fs::fstat(&self.0)?.st_mode);
        if kind != NodeKind::File {
            let reason = format!("it is {}, not a regular file", kind.as_str());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        Ok(File::from(rustix::fs::open(self.proc_name(), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?))
    }
}

impl Node {
    /// Whether `other` is the same object under another name.
    pub fn same_object(&self, other: &Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }
}
