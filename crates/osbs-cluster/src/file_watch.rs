//! Waiting for files to change without asking again and again: inotify, or a slow look where the kernel has no more
//! watches to give.

use rustix::fs::inotify;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// How often to look where there is no inotify.
const FALLBACK: Duration = Duration::from_millis(50);

/// Some files that are watched. Add files first, then look at their state, then wait: no change is missed.
#[derive(Debug)]
pub struct FileWatch {
    inotify: Option<AsyncFd<OwnedFd>>,
}

impl FileWatch {
    /// Watches the files that exist.
    pub fn new(paths: &[&Path]) -> Self {
        Self { inotify: Self::set_up(paths) }
    }

    fn set_up(paths: &[&Path]) -> Option<AsyncFd<OwnedFd>> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).ok()?;
        for path in paths {
            inotify::add_watch(&fd, *path, inotify::WatchFlags::MODIFY).ok()?;
        }
        // The fault of `new` is that a type may change its descriptor under it; an `OwnedFd` cannot. Its successor is unsafe.
        #[expect(deprecated, reason = "sound for OwnedFd, and the other one needs unsafe code")]
        AsyncFd::new(fd).ok()
    }

    /// Returns when a file has changed, at the latest after `at_most`.
    pub async fn changed(&self, at_most: Duration) {
        match &self.inotify {
            Some(fd) => {
                let _ = tokio::time::timeout(at_most, drain(fd)).await;
            }
            None => tokio::time::sleep(FALLBACK.min(at_most)).await,
        }
    }
}

/// Waits until the descriptor is readable and reads all there is.
async fn drain(fd: &AsyncFd<OwnedFd>) {
    let Ok(mut ready) = fd.readable().await else { return };
    let mut notes = [0_u8; 4096];
    while rustix::io::read(fd.get_ref(), &mut notes).is_ok_and(|count| count > 0) {}
    ready.clear_ready();
}
