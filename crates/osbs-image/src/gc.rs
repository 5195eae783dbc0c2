//! Garbage collection: what no reference reaches goes, when nobody holds a lease.

use crate::error::StoreError;
use crate::store::Store;

/// What garbage collection removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Number of blobs.
    pub blobs: u64,
    /// Number of unpacked layers.
    pub layers: u64,
    /// Number of temporary and partial files and folders.
    pub temporary: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Store {
    /// Removes blobs, notes and unpacked layers that no reference reaches, and everything in `tmp/` and `partial/`. With
    /// `dry_run` only counts.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a lease is held, or something cannot be read or removed.
    pub fn gc(&self, _dry_run: bool) -> Result<GcReport, StoreError> {
        todo!()
    }
}
