//! Mount namespaces and the table of mounts.
//!
//! Must not mount anything itself: [`crate::Overlay`] does, and the OCI runtime.
#![allow(unsafe_code)]

use osbs_types::ErrorKind;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// A mount operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The kernel refused.
    #[error("cannot {operation} {}{}", path.display(), hint(source))]
    Refused {
        /// What was tried: `mount an overlay on`, `unmount`.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A new mount or user namespace was asked for when threads were running: they would stay in the old one.
    #[error("a namespace was asked for while {threads} threads run; it must come before the first one")]
    Threads {
        /// How many, the caller included.
        threads: usize,
    },
    /// An overlay of nothing.
    #[error("an overlay on {} needs at least one lower folder", target.display())]
    NoLower {
        /// Where it was to be mounted.
        target: PathBuf,
    },
}

/// What to do about the usual refusals.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => " (needs root with CAP_SYS_ADMIN)",
        Some(libc::ENODEV) => " (the kernel has no such file system: modprobe overlay)",
        _ => "",
    }
}

impl MountError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } => ErrorKind::Resource,
            Self::Threads { .. } | Self::NoLower { .. } => ErrorKind::Internal,
        }
    }

    /// Wraps the kernel's answer.
    pub(crate) fn refused(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Refused { operation, path: path.to_owned(), source: source.into() }
    }
}

/// Gives this process a mount namespace of its own, from which nothing reaches the machine's. Its mounts vanish when it
/// ends, however it ends.
///
/// # Errors
/// [`MountError::Threads`] when it is too late, [`MountError::Refused`] without CAP_SYS_ADMIN.
pub fn enter_private_mounts() -> Result<(), MountError> {
    refuse_threads()?;
    let root = Path::new("/");
    // SAFETY: NEWNS unshares the mount table and the current folder, not the table of file descriptors, and there is
    // no other thread that could hold a path resolved in the old one.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .map_err(|error| MountError::refused("make a private mount namespace at", root, error))?;
    rustix::mount::mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(|error| MountError::refused("make private the mounts below", root, error))
}

/// [`MountError::Threads`] unless this process has one thread.
pub(crate) fn refuse_threads() -> Result<(), MountError> {
    match std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count) {
        0 | 1 => Ok(()),
        threads => Err(MountError::Threads { threads }),
    }
}

/// The mount points at and below `dir` (links in it are not followed: the table holds real paths), in the order they
/// were mounted.
///
/// # Errors
/// /proc is not mounted.
pub fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>, MountError> {
    let mounts = mount_table()?;
    Ok(mounts.into_iter().map(|mount| mount.point).filter(|point| point.starts_with(dir)).collect())
}

/// Unmounts everything at and below `dir`, last mounted first, also what is in use. Returns how many there were.
///
/// # Errors
/// The first refusal, after all were tried.
pub fn unmount_below(dir: &Path) -> Result<usize, MountError> {
    let points = mounts_below(dir)?;
    let mut first = None;
    for point in points.iter().rev() {
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(point, flags) {
            // Somebody was quicker, or it went with the mount that covered it.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => {
                first.get_or_insert_with(|| MountError::refused("unmount", point, error));
            }
        }
    }
    first.map_or(Ok(points.len()), Err)
}

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where.
    pub point: PathBuf,
    /// `overlay`, `cgroup`, `cgroup2`.
    pub kind: String,
    /// What was mounted, or the name that was given instead.
    pub source: String,
    /// Of the file system: for `cgroup` the controllers are among them.
    pub options: String,
}

/// All mounts this process sees, in the order they were made.
pub(crate) fn mount_table() -> Result<Vec<Mount>, MountError> {
    let path = Path::new("/proc/self/mountinfo");
    let table = std::fs::read(path).map_err(|error| MountError::refused("read", path, error))?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(parse_mount).collect())
}

/// The fields of proc(5): five fixed ones, of which the fifth is the mount point, options, ` - `, the type, the source,
/// the file system's options.
fn parse_mount(line: &[u8]) -> Option<Mount> {
    let point = line.split(|byte| *byte == b' ').nth(4)?;
    let dash = line.windows(3).position(|bytes| bytes == b" - ")?;
    let mut rest =
        line[dash + 3..].split(|byte| *byte == b' ').map(|field| String::from_utf8_lossy(field).into_owned());
    let kind = rest.next()?;
    let (source, options) = (rest.next().unwrap_or_default(), rest.next().unwrap_or_default());
    Some(Mount { point: unescape(point).into(), kind, source, options })
}

/// `\040` is a space: the kernel escapes space, tab, newline and backslash as three octal digits.
fn unescape(text: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| tail.get(..3)).flatten();
        let value = octal.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        out.push(value.unwrap_or(byte));
        rest = if value.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(out)
}

/// Whether a path can stand in a comma separated option string as it is.
pub(crate) fn plain_option(path: &Path) -> bool {
    !path.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b'\\' | b':' | b',' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_mount(line: &str, point: &str, kind: &str) {
        let mount = parse_mount(line.as_bytes()).expect("a line of mountinfo");
        assert_eq!((mount.point.as_path(), mount.kind.as_str()), (Path::new(point), kind), "{line}");
    }

    #[test]
    fn mountinfo_lines() {
        check_mount("21 26 0:20 / /proc rw,nosuid shared:5 - proc proc rw", "/proc", "proc");
        check_mount("30 26 0:20 /a /mnt/a\\040b\\134c rw - overlay overlay rw,lowerdir=/x", "/mnt/a b\\c", "overlay");
        check_mount(
            "30 26 0:20 / /sys/fs/cgroup rw shared:1 master:2 - cgroup2 cgroup rw",
            "/sys/fs/cgroup",
            "cgroup2",
        );
        assert_eq!(parse_mount(b""), None);
        assert_eq!(parse_mount(b"1 2 3"), None);
    }

    #[test]
    fn a_lone_backslash_stays() {
        assert_eq!(unescape(b"a\\04"), OsString::from("a\\04"));
        assert_eq!(unescape(b"\\999"), OsString::from("\\999"));
    }

    #[test]
    fn below_is_by_component() {
        let all = mounts_below(Path::new("/")).unwrap();
        assert!(all.iter().any(|point| point == Path::new("/proc")));
        assert!(mounts_below(Path::new("/pro")).unwrap().is_empty());
    }
}
