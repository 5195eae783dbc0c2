//! Overlay file systems, by the mount API of Linux 5.2 and, where that is too old, by mount(2).
//!
//! Must not decide what the layers are: it stacks the folders it is given.

use crate::MountError;
use crate::mounts::plain_option;
use osbs_types::OverlayXattrs;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags};
use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Switched off: each makes an upper folder that means something only together with its lower ones, and we turn upper
/// folders into layers.
const OFF: [(&str, &str); 4] = [("metacopy", "off"), ("redirect_dir", "off"), ("index", "off"), ("xino", "off")];
/// The kernel takes no other word for `redirect_dir` beside `userxattr`; there both mean the same.
const OFF_FOR_USERS: [(&str, &str); 4] =
    [("metacopy", "off"), ("redirect_dir", "nofollow"), ("index", "off"), ("xino", "off")];

/// The kernel takes at most 255 bytes in one fsconfig(2) string.
const OPTION_LIMIT: usize = 255;

/// How an overlay is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OverlayOptions {
    /// Skips every sync to disk: for what nobody reads again after a crash.
    pub volatile: bool,
    /// Names of the marks in lower and upper folders.
    pub xattrs: OverlayXattrs,
}

impl OverlayOptions {
    fn switched_off(self) -> [(&'static str, &'static str); 4] {
        match self.xattrs {
            OverlayXattrs::Trusted => OFF,
            OverlayXattrs::User => OFF_FOR_USERS,
        }
    }
}

/// A mounted overlay; unmounted on drop.
#[derive(Debug)]
pub struct Overlay {
    target: PathBuf,
    work: PathBuf,
    mounted: bool,
}

impl Overlay {
    /// Mounts `lowers` (bottom first) under `upper` on the existing folder `target`. `work` is a folder beside `upper`
    /// that nobody else uses.
    ///
    /// # Errors
    /// The kernel's refusal; nothing is mounted then.
    pub fn mount(
        lowers: &[PathBuf],
        upper: &Path,
        work: &Path,
        target: &Path,
        options: OverlayOptions,
    ) -> Result<Self, MountError> {
        if lowers.is_empty() {
            return Err(MountError::NoLower { target: target.to_owned() });
        }
        let parts = Parts { lowers, upper, work, target, options };
        match parts.by_new_api() {
            // Below Linux 6.7 there is no `lowerdir+`, below 5.2 no fsopen.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => parts.by_mount(),
            done => done,
        }
        .map_err(|error| MountError::refused("mount an overlay on", target, error))?;
        Ok(Self { target: target.to_owned(), work: work.to_owned(), mounted: true })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Unmounts now, and tells when that fails. What is still in use disappears from the folder at once and for good
    /// when its last user ends.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn unmount(mut self) -> Result<(), MountError> {
        self.release().map_err(|error| MountError::refused("unmount", &self.target, error))
    }

    fn release(&mut self) -> rustix::io::Result<()> {
        if !std::mem::replace(&mut self.mounted, false) {
            return Ok(());
        }
        match rustix::mount::unmount(&self.target, UnmountFlags::NOFOLLOW) {
            Err(rustix::io::Errno::BUSY) => {
                rustix::mount::unmount(&self.target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?;
            }
            done => done?,
        }
        // The mark of a volatile mount, there to make a mount after a crash fail. This was no crash, and the same
        // upper folder may be mounted again.
        let _ = std::fs::remove_dir_all(self.work.join("work/incompat"));
        Ok(())
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // Nobody to tell; `unmount` is for who wants to know.
        let _ = self.release();
    }
}

struct Parts<'a> {
    lowers: &'a [PathBuf],
    upper: &'a Path,
    work: &'a Path,
    target: &'a Path,
    options: OverlayOptions,
}

impl Parts<'_> {
    fn by_new_api(&self) -> rustix::io::Result<()> {
        use rustix::mount::{fsconfig_create, fsconfig_set_flag, fsconfig_set_string};
        let overlay = rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let mut names = ShortNames::default();
        for lower in self.lowers.iter().rev() {
            fsconfig_set_string(overlay.as_fd(), c"lowerdir+", names.name(lower, OPTION_LIMIT)?.as_path())?;
        }
        fsconfig_set_string(overlay.as_fd(), c"upperdir", names.name(self.upper, OPTION_LIMIT)?.as_path())?;
        fsconfig_set_string(overlay.as_fd(), c"workdir", names.name(self.work, OPTION_LIMIT)?.as_path())?;
        for (option, value) in self.options.switched_off() {
            fsconfig_set_string(overlay.as_fd(), option, value)?;
        }
        if self.options.xattrs == OverlayXattrs::User {
            fsconfig_set_flag(overlay.as_fd(), c"userxattr")?;
        }
        if self.options.volatile {
            // Linux 5.10; without it the result is the same, later.
            let _ = fsconfig_set_flag(overlay.as_fd(), c"volatile");
        }
        fsconfig_create(overlay.as_fd())?;
        let mount = rustix::mount::fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(mount.as_fd(), c"", CWD, self.target, flags)
    }

    fn by_mount(&self) -> rustix::io::Result<()> {
        self.mount_with(self.options.volatile).or_else(|error| match error {
            rustix::io::Errno::INVAL if self.options.volatile => self.mount_with(false),
            other => Err(other),
        })
    }

    fn mount_with(&self, volatile: bool) -> rustix::io::Result<()> {
        let mut names = ShortNames::default();
        // One page holds all options: with many layers only short names fit.
        let limit = if self.lowers.len() > 12 { 0 } else { OPTION_LIMIT };
        let mut options = b"lowerdir=".to_vec();
        for (index, lower) in self.lowers.iter().rev().enumerate() {
            if index > 0 {
                options.push(b':');
            }
            options.extend_from_slice(names.name(lower, limit)?.as_os_str().as_bytes());
        }
        for (key, path) in [(",upperdir=", self.upper), (",workdir=", self.work)] {
            options.extend_from_slice(key.as_bytes());
            options.extend_from_slice(names.name(path, limit)?.as_os_str().as_bytes());
        }
        for (option, value) in self.options.switched_off() {
            options.extend_from_slice(format!(",{option}={value}").as_bytes());
        }
        if self.options.xattrs == OverlayXattrs::User {
            options.extend_from_slice(b",userxattr");
        }
        if volatile {
            options.extend_from_slice(b",volatile");
        }
        let options = CString::new(options).map_err(|_| rustix::io::Errno::INVAL)?;
        rustix::mount::mount(c"overlay", self.target, c"overlay", MountFlags::empty(), options.as_c_str())
    }
}

/// Names for folders whose own name is too long for an option or has characters that mean something there: an open file
/// descriptor, by its name in /proc. They live until the mount is made.
#[derive(Default)]
struct ShortNames {
    open: Vec<OwnedFd>,
}

impl ShortNames {
    fn name(&mut self, path: &Path, limit: usize) -> rustix::io::Result<PathBuf> {
        if path.as_os_str().len() <= limit && plain_option(path) {
            return Ok(path.to_owned());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let name = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        self.open.push(fd);
        Ok(name)
    }
}
