//! The upper folder of a finished stage becomes the unpacked form of its layer in the store, which it is, but for the
//! times that were clamped.
//!
//! Only a saving: whatever does not work is left to whoever unpacks the layer when it is needed.

use crate::open_folder::OPEN_DIR;
use crate::stage::Stage;
use osbs_image::{Store, StoredImage};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, RawDir, StatxFlags, Timespec, Timestamps, UTIME_OMIT, openat, statx, utimensat,
};
use rustix::io::{Errno, Result};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;

/// Each open folder is a descriptor; nobody keeps trees that are deeper.
const DEEPEST: usize = 200;

/// Gives the upper folder to the store, if the image is one layer over its parent.
pub(crate) fn keep(stage: &Stage, image: &StoredImage, clamp_mtime: Option<i64>, store: &Store) {
    let uppers = stage.uppers();
    let ([upper], Some(chain)) = (uppers.as_slice(), image.chain_ids().last().cloned()) else { return };
    let clamped = clamp_mtime.map_or(Ok(()), |seconds| {
        let folder = openat(CWD, upper, OPEN_DIR, Mode::empty())?;
        clamp(folder.as_fd(), c".", seconds)?;
        clamp_below(folder.as_fd(), seconds, 0)
    });
    if clamped.is_ok() {
        // Never over a folder that is there, however empty: it may be mounted below another build's stage.
        let _ = store.keep_layer(&chain, upper);
    }
}

/// Everything in a folder, as the layer has it.
fn clamp_below(folder: BorrowedFd<'_>, seconds: i64, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    let mut space = [MaybeUninit::<u8>::uninit(); 8 << 10];
    let mut names: Vec<CString> = Vec::new();
    let listed = openat(folder, c".", OPEN_DIR, Mode::empty())?;
    let mut listing = RawDir::new(&listed, &mut space);
    while let Some(entry) = listing.next() {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        clamp(folder, entry.file_name(), seconds)?;
        if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
            names.push(entry.file_name().to_owned());
        }
    }
    drop(listed);
    for name in names {
        match openat(folder, &name, OPEN_DIR, Mode::empty()) {
            Ok(inner) => clamp_below(inner.as_fd(), seconds, depth + 1)?,
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn clamp(folder: BorrowedFd<'_>, name: &CStr, seconds: i64) -> Result<()> {
    let there = statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MTIME)?.stx_mtime;
    if (there.tv_sec, there.tv_nsec) <= (seconds, 0) {
        return Ok(());
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: 0 },
    };
    utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn later_times_are_clamped_and_earlier_ones_stay() {
        let dir = tempfile::tempdir().expect("temp folder");
        let outside = tempfile::NamedTempFile::new().expect("a file");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("folders");
        std::fs::write(dir.path().join("a/b/late"), "").expect("file");
        std::fs::write(dir.path().join("a/early"), "").expect("file");
        let early = std::time::UNIX_EPOCH + std::time::Duration::from_secs(500);
        std::fs::File::open(dir.path().join("a/early")).and_then(|it| it.set_modified(early)).expect("time");
        std::os::unix::fs::symlink(outside.path(), dir.path().join("a/link")).expect("link");
        let folder = std::fs::File::open(dir.path()).expect("open");
        clamp_below(folder.as_fd(), 1_000, 0).expect("clamped");
        for (path, time) in [("a", 1_000), ("a/b", 1_000), ("a/b/late", 1_000), ("a/early", 500), ("a/link", 1_000)] {
            let there = std::fs::symlink_metadata(dir.path().join(path)).expect(path);
            assert_eq!((there.mtime(), there.mtime_nsec()), (time, 0), "{path}");
        }
        assert!(outside.as_file().metadata().expect("there").mtime() > 1_000, "a link was followed");
    }
}
