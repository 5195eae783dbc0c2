//! Files with several names: within one COPY they stay one file.

use crate::copied_folder::{Folder, lock};
use crate::open_folder::{OPEN_DIR, path_below};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, ResolveFlags, Stat, linkat, openat2, unlinkat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The copy of a file with several names.
struct FirstName {
    folder: LinkFolder,
    name: CString,
    /// Names of it that may still come.
    remaining: u64,
}

enum LinkFolder {
    Open(Arc<Folder>),
    /// While an overlay is about to be unmounted: below the image's root.
    Closed(PathBuf),
    Reopened(Arc<OwnedFd>),
}

/// Device and inode of each source with several names, to the first copy.
#[derive(Default)]
pub(crate) struct HardLinks(Mutex<HashMap<(u64, u64), FirstName>>);

impl HardLinks {
    /// Makes `name` a link to the copy of the same file's first name. `Ok(false)`: this is the first.
    pub(crate) fn link(
        &self,
        folder: &Arc<Folder>,
        name: &CStr,
        stat: &Stat,
        stopped: &AtomicBool,
    ) -> rustix::io::Result<bool> {
        let key = (stat.st_dev, stat.st_ino);
        let to = folder.made().expect("a file is being put there");
        loop {
            let mut links = lock(&self.0);
            let Some(first) = links.get_mut(&key) else {
                let remaining = u64::from(stat.st_nlink as u32).saturating_sub(1);
                let home = LinkFolder::Open(Arc::clone(folder));
                links.insert(key, FirstName { folder: home, name: name.to_owned(), remaining });
                return Ok(false);
            };
            let from = match &first.folder {
                LinkFolder::Open(folder) => folder.made().expect("a file was put there"),
                LinkFolder::Reopened(fd) => fd.as_fd(),
                LinkFolder::Closed(_) => return Ok(false),
            };
            let mut made = linkat(from, &first.name, to, name, AtFlags::empty());
            if made == Err(Errno::EXIST) {
                unlinkat(to, name, AtFlags::empty())?;
                made = linkat(from, &first.name, to, name, AtFlags::empty());
            }
            match made {
                Ok(()) => {
                    first.remaining = first.remaining.saturating_sub(1);
                    if first.remaining == 0 {
                        links.remove(&key);
                    }
                    return Ok(true);
                }
                // The thread that met the first name is about to make it.
                Err(Errno::NOENT) if !stopped.load(Ordering::Relaxed) => {
                    drop(links);
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(Errno::MLINK | Errno::XDEV | Errno::NOENT) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Lets go of all folders of the view mounted at `root`, so that it can be unmounted.
    pub(crate) fn close(&self, root: &Path) {
        lock(&self.0).retain(|_, first| {
            let LinkFolder::Open(folder) = &first.folder else { return true };
            let place = folder.made().and_then(|fd| path_below(root, fd));
            place.is_some_and(|path| {
                first.folder = LinkFolder::Closed(path);
                true
            })
        });
    }

    /// Finds the same folders in the upper folder.
    pub(crate) fn reopen(&self, upper: BorrowedFd<'_>) {
        lock(&self.0).retain(|_, first| {
            let LinkFolder::Closed(path) = &first.folder else { return true };
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            let fd = openat2(upper, path, OPEN_DIR, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS);
            fd.is_ok_and(|fd| {
                first.folder = LinkFolder::Reopened(Arc::new(fd));
                true
            })
        });
    }
}
