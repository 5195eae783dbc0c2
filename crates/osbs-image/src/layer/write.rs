//! Makes a layer of upper folders, in one pass.

use crate::layer::LayerError;
use crate::manifest::Descriptor;
use crate::store::Store;
use osbs_types::Digest;
use std::io;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// One gzip member, level 0 to 9.
    Gzip {
        /// zlib's level.
        level: u32,
    },
    /// zstd, level 1 to 22.
    Zstd {
        /// zstd's level.
        level: i32,
    },
    /// Not at all.
    None,
}

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip { level: 3 }
    }
}

/// Sees the uncompressed tar while the layer is being made.
pub trait LayerTap: Send {
    /// Called once, before the first byte.
    fn size(&mut self, total: u64);
    /// The next bytes, in order.
    fn write(&mut self, bytes: &[u8]);
    /// Called once, after the last byte, when the layer is in the store.
    fn finish(&mut self, _store: &Store, _layer: &WrittenLayer) {}
}

/// Sees the compressed bytes while the layer is being made: an upload, for example.
pub trait BlobSink: Send {
    /// The next bytes, in order.
    ///
    /// # Errors
    /// Ends the layer with [`LayerError::Sink`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// All bytes were written; this is their digest and number.
    ///
    /// # Errors
    /// Ends the layer with [`LayerError::Sink`].
    fn finish(&mut self, digest: &Digest, size: u64) -> io::Result<()>;
}

/// What to make a layer of.
pub struct LayerRequest<'a> {
    /// Upper folders in overlayfs format, bottom first.
    pub uppers: &'a [PathBuf],
    /// How to compress.
    pub compression: Compression,
    /// Later modification times become this one (seconds since 1970).
    pub clamp_mtime: Option<i64>,
    /// Compressor threads, at least 1. The bytes do not depend on it.
    pub threads: usize,
    /// Who else sees the uncompressed bytes.
    pub taps: Vec<Box<dyn LayerTap>>,
    /// Who else sees the compressed bytes.
    pub sink: Option<Box<dyn BlobSink>>,
}

/// A layer in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenLayer {
    /// The blob, with an OCI media type.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Size of the uncompressed tar.
    pub uncompressed_size: u64,
    /// CRC-32 of the uncompressed tar.
    pub crc32: u32,
    /// Number of entries.
    pub files: u64,
    /// No entry at all.
    pub empty: bool,
}

/// Streams the tree of `request.uppers` into one layer blob. `progress` is told the number of uncompressed bytes done and
/// the total.
///
/// # Errors
/// A file cannot be read, the store or the sink fails, or `cancel` was asked for; nothing is left behind then.
pub fn write_layer(
    _store: &Store,
    _request: LayerRequest<'_>,
    _cancel: &CancellationToken,
    _progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<WrittenLayer, LayerError> {
    todo!()
}
