//! Copies one file, link or device with its attributes, given open folders.

use crate::copy_bytes::CopyBytes;
use crate::file_mode::ModeChange;
use crate::tree_copy::{Place, TreeCopy};
use osbs_sandbox::rooted::Owner;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fsetxattr, fstat, futimens, mknodat, openat, readlinkat, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;
use std::ffi::CStr;

/// `action` and the kernel's answer.
pub(crate) type Failed = (&'static str, std::io::Error);

/// What a copy gets beside its content.
#[derive(Clone)]
pub(crate) struct Attributes {
    pub owner: Option<Owner>,
    pub mode: Option<ModeChange>,
}

impl Attributes {
    fn owner(&self, stat: &Stat) -> Owner {
        self.owner.unwrap_or(Owner { uid: stat.st_uid, gid: stat.st_gid })
    }

    fn mode(&self, stat: &Stat) -> u32 {
        let old = stat.st_mode & 0o7777;
        let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        self.mode.as_ref().map_or(old, |change| change.apply(old, folder))
    }

    /// Sets all on an open file or folder. Owner first: changing it clears the setuid bit.
    pub(crate) fn apply(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
        let owner = self.owner(stat);
        fchown(to, Some(uid(owner)), Some(gid(owner)))?;
        fchmod(to, Mode::from_raw_mode(self.mode(stat)))?;
        copy_xattrs(from, to)?;
        futimens(to, &times(stat))
    }
}

fn uid(owner: Owner) -> Uid {
    Uid::from_raw_unchecked(owner.uid)
}

fn gid(owner: Owner) -> Gid {
    Gid::from_raw_unchecked(owner.gid)
}

#[allow(clippy::unnecessary_cast)] // field types differ between architectures
fn times(stat: &Stat) -> Timestamps {
    let modified = Timespec { tv_sec: stat.st_mtime as i64, tv_nsec: stat.st_mtime_nsec as _ };
    Timestamps { last_access: modified, last_modification: modified }
}

/// The kind of an entry whose folder listing does not say.
pub(crate) fn open_file_kind(folder: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<FileType> {
    Ok(FileType::from_raw_mode(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode))
}

pub(crate) fn set_time(to: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
    futimens(to, &times(stat))
}

/// Copies what is not a folder. `first` is asked about every regular file before it is copied: whether another name of
/// the same file has been copied, and linked to.
pub(crate) fn copy_node(
    engine: &TreeCopy<'_>,
    place: &Place<'_>,
    buffer: &mut Vec<u8>,
    first: &dyn Fn(&Stat) -> rustix::io::Result<bool>,
) -> Result<(), Failed> {
    let attributes = Attributes { owner: engine.rules.owner, mode: engine.rules.mode.clone() };
    match place.kind {
        FileType::RegularFile => copy_file(engine, &attributes, place, buffer, first),
        FileType::Symlink => copy_link(&attributes, place),
        // A socket is nothing without the program that listens.
        FileType::Socket => Ok(()),
        _ => copy_device(&attributes, place),
    }
}

/// Runs `make`; when something is in the way it is removed and `make` runs again.
fn replacing<T>(place: &Place<'_>, mut make: impl FnMut() -> rustix::io::Result<T>) -> Result<T, Failed> {
    match make() {
        Err(Errno::EXIST) if !place.blank => {
            unlinkat(place.target, place.to, AtFlags::empty())
                .map_err(|error| ("replace what is in the place of", error.into()))?;
            make().map_err(|error| ("create", error.into()))
        }
        made => made.map_err(|error| ("create", error.into())),
    }
}

fn copy_file(
    engine: &TreeCopy<'_>,
    attributes: &Attributes,
    place: &Place<'_>,
    buffer: &mut Vec<u8>,
    first: &dyn Fn(&Stat) -> rustix::io::Result<bool>,
) -> Result<(), Failed> {
    let read = |error: Errno| ("read", error.into());
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = openat(place.source, place.from, flags, Mode::empty()).map_err(read)?;
    let stat = fstat(&source).map_err(read)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(("copy", std::io::Error::other("it changed while it was read")));
    }
    if first(&stat).map_err(|error| ("link", error.into()))? {
        return Ok(());
    }
    let created_with = Mode::from_raw_mode(attributes.mode(&stat) & 0o777);
    let target = replacing(place, || {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(place.target, place.to, flags, created_with)
    })?;
    let Some((source, target)) = engine.put_off(place, source, target, &stat) else { return Ok(()) };
    fill(engine, &source, &target, &stat, buffer)
}

/// Content and attributes of a new file.
pub(crate) fn fill(
    engine: &TreeCopy<'_>,
    source: &OwnedFd,
    target: &OwnedFd,
    stat: &Stat,
    buffer: &mut Vec<u8>,
) -> Result<(), Failed> {
    let attributes = Attributes { owner: engine.rules.owner, mode: engine.rules.mode.clone() };
    let bytes = CopyBytes { source, target, cancel: engine.cancel };
    bytes.copy(stat, buffer).map_err(|error| ("write", error.into()))?;
    let mode = attributes.mode(stat);
    let owner = attributes.owner(stat);
    // A new file is ours already, unless its folder hands down a group; that is told by no cheaper call than this one.
    if owner.uid != 0 || owner.gid != 0 || !rustix::process::geteuid().is_root() {
        fchown(target, Some(uid(owner)), Some(gid(owner))).map_err(|error| ("set the owner of", error.into()))?;
    } else if fstat(target).is_ok_and(|made| made.st_gid != 0) {
        fchown(target, None, Some(Gid::ROOT)).map_err(|error| ("set the owner of", error.into()))?;
    }
    if mode & engine.umask != 0 || mode & 0o7000 != 0 {
        fchmod(target, Mode::from_raw_mode(mode)).map_err(|error| ("set the mode of", error.into()))?;
    }
    copy_xattrs(source.as_fd(), target.as_fd()).map_err(|error| ("set the extended attributes of", error.into()))?;
    futimens(target, &times(stat)).map_err(|error| ("set the time of", error.into()))
}

fn copy_link(attributes: &Attributes, place: &Place<'_>) -> Result<(), Failed> {
    let read = |error: Errno| ("read", error.into());
    let text = readlinkat(place.source, place.from, Vec::new()).map_err(read)?;
    let stat = statat(place.source, place.from, AtFlags::SYMLINK_NOFOLLOW).map_err(read)?;
    replacing(place, || symlinkat(&text, place.target, place.to))?;
    finish_by_name(attributes, place, &stat)
}

fn copy_device(attributes: &Attributes, place: &Place<'_>) -> Result<(), Failed> {
    let stat = statat(place.source, place.from, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| ("read", e.into()))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
        // Device 0:0 means "removed" to overlayfs: it would not be a copy.
        return Err(("copy", std::io::Error::other("character device 0:0 marks a removed file")));
    }
    let mode = Mode::from_raw_mode(attributes.mode(&stat));
    replacing(place, || mknodat(place.target, place.to, kind, mode, stat.st_rdev))?;
    finish_by_name(attributes, place, &stat)?;
    // O_PATH cannot change modes and opening a device has effects: by name, in a folder that only we write to.
    rustix::fs::chmodat(place.target, place.to, mode, AtFlags::empty()).map_err(|e| ("set the mode of", e.into()))
}

fn finish_by_name(attributes: &Attributes, place: &Place<'_>, stat: &Stat) -> Result<(), Failed> {
    let owner = attributes.owner(stat);
    chownat(place.target, place.to, Some(uid(owner)), Some(gid(owner)), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| ("set the owner of", e.into()))?;
    utimensat(place.target, place.to, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| ("set the time of", e.into()))
}

/// Capabilities, ACLs and the user's attributes. `trusted.` is overlayfs' own language, `security.selinux` the machine's.
fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut names = [0_u8; 4096];
    let length = match flistxattr(from, names.as_mut_slice()) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        Ok(length) => length,
        Err(error) => return Err(error),
    };
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let kept = name.starts_with(b"user.")
            || name.starts_with(b"system.posix_acl_")
            || name == b"security.capability\0".as_slice();
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if !kept {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        match fgetxattr(from, name, value.as_mut_slice()) {
            Ok(size) => match fsetxattr(to, name, &value[..size], XattrFlags::empty()) {
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error),
            },
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
