//! The disk watcher: extremes of a file system's use during a run (`reactor.md` 1.7).
//!
//! Only samples; who stores them is `store_metadata_in_osv3`.

use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

const MB: u64 = 1_000_000;
const EVERY: Duration = Duration::from_secs(1);

/// Maxima of what is used, minima of what is free; megabytes are 1,000,000 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DiskUse {
    /// Size.
    pub mb_total: u64,
    /// Used, at most.
    pub mb_used: u64,
    /// Free, at least.
    pub mb_free: u64,
    /// Inodes there are.
    pub inodes_total: u64,
    /// Inodes used, at most.
    pub inodes_used: u64,
    /// Inodes free, at least.
    pub inodes_free: u64,
}

/// Shared between the watcher and its readers.
#[derive(Debug, Default)]
pub struct DiskExtremes(Mutex<Option<DiskUse>>);

impl DiskExtremes {
    /// So far; `None` before the first sample.
    pub fn get(&self) -> Option<DiskUse> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sample(&self, path: &std::path::Path) {
        let Ok(stat) = rustix::fs::statvfs(path) else { return };
        let now = DiskUse {
            mb_total: stat.f_blocks * stat.f_frsize / MB,
            mb_used: (stat.f_blocks - stat.f_bfree) * stat.f_frsize / MB,
            mb_free: stat.f_bavail * stat.f_frsize / MB,
            inodes_total: stat.f_files,
            inodes_used: stat.f_files - stat.f_ffree,
            inodes_free: stat.f_favail,
        };
        let mut extremes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *extremes = Some(extremes.map_or(now, |old| DiskUse {
            mb_total: old.mb_total.max(now.mb_total),
            mb_used: old.mb_used.max(now.mb_used),
            mb_free: old.mb_free.min(now.mb_free),
            inodes_total: old.inodes_total.max(now.inodes_total),
            inodes_used: old.inodes_used.max(now.inodes_used),
            inodes_free: old.inodes_free.min(now.inodes_free),
        }));
    }
}

/// Samples until dropped: at once, then every second.
pub(crate) struct DiskWatcher(JoinHandle<()>);

impl DiskWatcher {
    pub(crate) fn start(path: PathBuf, into: Arc<DiskExtremes>) -> Self {
        into.sample(&path);
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                into.sample(&path);
            }
        }))
    }
}

impl Drop for DiskWatcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}
