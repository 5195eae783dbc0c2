//! Archives to trees.

use crate::layer::LayerError;
use crate::store::Store;
use crate::stored_image::StoredImage;
use rustix::fd::BorrowedFd;
use std::io::{self, Read};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

impl Store {
    /// Unpacks every layer that is not unpacked yet, in parallel, at most once a machine, and verifies digests and diff
    /// ids. Returns the folders, bottom first. `progress` is told compressed bytes done, as increments.
    ///
    /// # Errors
    /// A layer is damaged or hostile, or the disk is full; a layer that failed leaves nothing behind.
    pub fn unpack(
        &self,
        _image: &StoredImage,
        _cancel: &CancellationToken,
        _progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<PathBuf>, LayerError> {
        todo!()
    }
}

/// A tar archive, decompressed while it is read.
pub struct ArchiveReader {
    _inner: Box<dyn Read + Send>,
}

impl Read for ArchiveReader {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        todo!()
    }
}

/// Finds out by its first bytes whether `reader` is a tar archive, plain or compressed by gzip, bzip2, xz or zstd.
/// `Ok(None)` means it is none: as ADD does, the file is then copied as it is (read it from its start again).
///
/// # Errors
/// The reader fails.
pub fn open_archive(_reader: Box<dyn Read + Send>) -> io::Result<Option<ArchiveReader>> {
    todo!()
}

/// How to unpack an archive that is no layer.
#[derive(Debug, Clone)]
pub struct ExtractOptions {
    /// Owner of everything, instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// Permission bits of everything but symbolic links, instead of the archive's.
    pub mode: Option<u32>,
    /// Most bytes to write.
    pub max_bytes: u64,
    /// Most entries to make.
    pub max_entries: u64,
    /// Name of the archive for messages.
    pub name: String,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extracted {
    /// Number of entries.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// Unpacks a tar below `root`, which it cannot leave: every path is resolved by openat2 with RESOLVE_IN_ROOT, so links of
/// the image are followed inside. Whiteout names have no meaning here.
///
/// # Errors
/// The archive is damaged, an entry is refused, a limit is passed, or the disk is full.
pub fn extract_tar(
    _reader: &mut dyn Read,
    _root: BorrowedFd<'_>,
    _options: &ExtractOptions,
    _cancel: &CancellationToken,
) -> Result<Extracted, LayerError> {
    todo!()
}
