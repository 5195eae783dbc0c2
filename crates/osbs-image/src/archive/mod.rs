//! The docker-archive, spliced into one gzip member.

use crate::error::StoreError;
use crate::layer::{LayerError, LayerTap, WrittenLayer};
use crate::manifest::Descriptor;
use crate::store::Store;
use crate::stored_image::StoredImage;
use osbs_types::{Digest, ErrorKind};
use std::io;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// An archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error("the image store failed")]
    Store(#[from] StoreError),
    /// A layer could not be read or compressed again.
    #[error("a layer of the image could not be used")]
    Layer(#[from] LayerError),
    /// The output.
    #[error("cannot write {}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl ArchiveError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(e) => e.kind(),
            Self::Layer(e) => e.kind(),
            Self::Output { .. } => ErrorKind::Resource,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }
}

/// Facts about a written archive, as Koji wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveInfo {
    /// Size of the compressed file.
    pub size: u64,
    /// MD5 of the compressed file, hex.
    pub md5: String,
    /// SHA-256 of the compressed file.
    pub sha256: Digest,
    /// Size of the tar inside.
    pub uncompressed_size: u64,
    /// SHA-256 of the tar inside.
    pub uncompressed_sha256: Digest,
}

/// Hashes the uncompressed archive while its new layer is being made, so that [`write_archive`] need not inflate it.
/// A tap for [`crate::LayerRequest::taps`].
pub struct ArchiveDigest {}

impl ArchiveDigest {
    /// Starts behind the parents' layers (bottom first, with their diff ids). The state there is kept in the store and
    /// computed only once for each parent.
    ///
    /// # Errors
    /// A parent's layer cannot be read.
    pub fn begin(
        _store: &Store,
        _parent: Option<&StoredImage>,
        _cancel: &CancellationToken,
    ) -> Result<Self, ArchiveError> {
        todo!()
    }
}

impl LayerTap for ArchiveDigest {
    fn size(&mut self, _total: u64) {
        todo!()
    }

    fn write(&mut self, _bytes: &[u8]) {
        todo!()
    }

    fn finish(&mut self, _store: &Store, _layer: &WrittenLayer) {
        todo!()
    }
}

/// Writes the image as a docker-archive, one gzip member, with `names` (`repository:tag`) as its tags. `progress` is told
/// the number of compressed bytes written.
///
/// # Errors
/// The output cannot be written or a layer is damaged; the output is removed then.
pub fn write_archive(
    _store: &Store,
    _image: &StoredImage,
    _names: &[String],
    _out: &Path,
    _cancel: &CancellationToken,
    _progress: &(dyn Fn(u64) + Sync),
) -> Result<ArchiveInfo, ArchiveError> {
    todo!()
}

/// The same tar, not compressed.
///
/// # Errors
/// As [`write_archive`].
pub fn write_docker_archive_plain(
    _store: &Store,
    _image: &StoredImage,
    _names: &[String],
    _out: &Path,
    _cancel: &CancellationToken,
) -> Result<ArchiveInfo, ArchiveError> {
    todo!()
}

const _: fn(&Descriptor) = |_| ();
