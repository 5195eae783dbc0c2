//! What a COPY puts off until the overlay is not mounted: written straight into the upper folder, many files take half
//! the time, and the file system can share a large file's extents with the source, which it cannot through an overlay.

use crate::copied_folder::{Folder, Own, lock};
use crate::error::FileError;
use crate::file_copy::fill;
use crate::open_folder::{OPEN_DIR, count_entries, path_below};
use crate::tree_copy::{CopyStop, Place, SourceTree, TreeCopy, shown};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, Stat, openat, openat2};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// So many files go through the mounted overlay before the rest is put off.
const WORTH_POSTPONING: u64 = 256;

/// From here on a file's content is put off, in bytes.
const LARGE_FILE: u64 = 1 << 20;
/// So many at most: each holds two files open.
const OPEN_FILES: usize = 200;

/// A subtree that has not been copied yet because its destination is an empty folder of a mounted overlay.
pub(crate) struct Postponed {
    source: SourceTree,
    /// Where, from the root of the image, without links.
    pub destination: PathBuf,
    own: Own,
    depth: usize,
}

/// A large file that has been made, but not filled: through an overlay the file system cannot share extents with the
/// source. Its place in the upper folder is open, so that it is this file whatever comes to its name.
pub(crate) struct PostponedFile {
    source: OwnedFd,
    target: OwnedFd,
    stat: Stat,
    shown: PathBuf,
}

/// All that was put off.
#[derive(Default)]
pub(crate) struct PutOff {
    pub folders: Vec<Postponed>,
    files: Vec<PostponedFile>,
}

impl PutOff {
    pub(crate) fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.files.is_empty()
    }
}

impl TreeCopy<'_> {
    /// What is still to be done by [`TreeCopy::resume`], each in the upper folder.
    pub(crate) fn take_put_off(&self) -> PutOff {
        std::mem::take(&mut *lock(&self.put_off))
    }

    /// Copies what was put off into `upper`, the overlay's upper folder, which must not be mounted now.
    pub(crate) fn resume(&self, work: PutOff, upper: BorrowedFd<'_>) -> Result<(), CopyStop> {
        self.fill_all(&work.files)?;
        self.links.reopen(upper);
        let mut folders = Vec::with_capacity(work.folders.len());
        let failed: Arc<Mutex<Option<FileError>>> = Arc::default();
        for one in work.folders {
            let path = if one.destination.as_os_str().is_empty() { Path::new(".") } else { &one.destination };
            // A folder of the image's own making would be a link only if somebody else wrote here.
            let target =
                openat2(upper, path, OPEN_DIR, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
                    .map_err(|e| FileError::new("open", Path::new("/").join(path), e))?;
            let mut folder = Folder::top(one.source, target, one.own, true, Arc::clone(&failed));
            folder.depth = one.depth;
            folders.push(folder);
        }
        self.start(folders, failed)
    }

    /// The large files, several at a time.
    fn fill_all(&self, files: &[PostponedFile]) -> Result<(), CopyStop> {
        let next = AtomicUsize::new(0);
        let stop = Mutex::new(None);
        let work = || {
            let mut buffer = Vec::new();
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(failure) = fill(self, &file.source, &file.target, &file.stat, &mut buffer) {
                    lock(&stop).get_or_insert(self.failure(failure, &file.shown));
                    next.store(files.len(), Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.rules.threads.min(files.len()) {
                scope.spawn(work);
            }
            work();
        });
        stop.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Puts a folder off if that pays.
    pub(crate) fn postpone(&self, folder: &Folder) -> Result<bool, CopyStop> {
        if self.rules.upper.is_none() || !folder.blank.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let failed = |error: Errno| FileError::new("read", shown(&folder.rel), error);
        if self.files.load(Ordering::Relaxed) < WORTH_POSTPONING
            && count_entries(folder.source.as_fd(), WORTH_POSTPONING).map_err(failed)? < WORTH_POSTPONING
        {
            return Ok(false);
        }
        let target = folder.target.get().expect("a folder that may be put off has been made");
        let Some(destination) = path_below(self.root, target.as_fd()) else { return Ok(false) };
        let own = std::mem::take(&mut *lock(&folder.own));
        let again = openat(&folder.source, c".", OPEN_DIR, Mode::empty()).map_err(failed)?;
        let source = SourceTree { folder: again, rel: folder.rel.clone(), part: Arc::clone(&folder.part) };
        lock(&self.put_off).folders.push(Postponed { source, destination, own, depth: folder.depth });
        Ok(true)
    }

    /// Puts the content of a new file off if that pays; else gives both files back.
    #[allow(clippy::cast_sign_loss)] // the kernel tells no negative sizes
    pub(crate) fn put_off(
        &self,
        place: &Place<'_>,
        source: OwnedFd,
        target: OwnedFd,
        stat: &Stat,
    ) -> Option<(OwnedFd, OwnedFd)> {
        if (stat.st_size as u64) < LARGE_FILE || lock(&self.put_off).files.len() >= OPEN_FILES {
            return Some((source, target));
        }
        let Some(upper) = self.in_upper(place) else { return Some((source, target)) };
        let shown =
            path_below(self.root, place.target).unwrap_or_default().join(OsStr::from_bytes(place.to.to_bytes()));
        let file = PostponedFile { source, target: upper, stat: *stat, shown: Path::new("/").join(shown) };
        lock(&self.put_off).files.push(file);
        None
    }

    /// The upper folder's side of a file that was just made through the overlay.
    fn in_upper(&self, place: &Place<'_>) -> Option<OwnedFd> {
        let upper = openat(rustix::fs::CWD, self.rules.upper?, OPEN_DIR, Mode::empty()).ok()?;
        let path = path_below(self.root, place.target)?.join(OsStr::from_bytes(place.to.to_bytes()));
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(upper, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS).ok()
    }
}
