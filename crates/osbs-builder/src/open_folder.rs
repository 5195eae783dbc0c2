//! What can be told of a folder that is open.

use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags, RawDir, openat};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

/// How folders are opened: never through a link.
pub(crate) const OPEN_DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Up to `enough` entries of a folder.
pub(crate) fn count_entries(folder: BorrowedFd<'_>, enough: u64) -> rustix::io::Result<u64> {
    let own = openat(folder, c".", OPEN_DIR, Mode::empty())?;
    let mut space = [MaybeUninit::<u8>::uninit(); 8 << 10];
    let mut listing = RawDir::new(&own, &mut space);
    let mut count = 0;
    while let Some(entry) = listing.next() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            count += 1;
            if count >= enough {
                break;
            }
        }
    }
    Ok(count)
}

/// The path of an open folder below `root`, without links; `None` when it is too long to be told.
pub(crate) fn path_below(root: &Path, folder: BorrowedFd<'_>) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    let own = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let real = std::fs::read_link(own).ok()?;
    let root = std::fs::canonicalize(root).ok()?;
    real.strip_prefix(&root).ok().map(Path::to_path_buf)
}
