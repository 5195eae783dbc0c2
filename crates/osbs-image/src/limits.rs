//! How much an image may ask of the machine. Who makes an image chooses every number in it.
//!
//! Beyond a limit the image is refused with [`crate::LayerError::Limit`] or [`crate::StoreError::Limit`], of kind *policy*,
//! which name the limit. An administrator raises it in `limits.json` in the store's folder, for example
//! `{"ratio": 2000}`; programs by [`crate::StoreOptions::limits`].

use crate::error::StoreError;
use serde::Deserialize;
use std::io;
use std::path::Path;

/// Limits for images and archives that are read. What this machine makes itself is not limited here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Entries of one layer. Every one costs an inode, of which a disk has a few million.
    pub entries: u64,
    /// Bytes of one unpacked layer.
    pub bytes: u64,
    /// Most times a layer may be larger unpacked than it is compressed, once it passed [`Limits::ratio_from`].
    ///
    /// Real layers stay below 20, logs and sources reach 50, a disk image that is mostly holes a few hundred. Deflate ends at
    /// 1032, which only one byte repeated comes near to; zstd has no end. So 500 lets honest zeros pass as long as one byte
    /// in a thousand or so is something else, and stops a bomb of 10 MB before it costs anything.
    pub ratio: u64,
    /// Unpacked bytes below which [`Limits::ratio`] is not asked: so much is no harm, whatever it came from.
    pub ratio_from: u64,
    /// Bytes of the path of an entry, and of what a link points to. Linux bounds a path in one call (4096), not in a tree.
    pub path: u64,
    /// Folders above an entry.
    pub depth: u64,
    /// Bytes of all extended attributes of one entry, names included.
    pub xattrs: u64,
    /// Bytes of a manifest, index or config. The distribution-spec asks registries for at least 4 MiB.
    pub document: u64,
    /// Layers of one image. Overlayfs mounts 500, Docker makes at most 127.
    pub layers: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            bytes: 256 << 30,
            ratio: 500,
            ratio_from: 128 << 20,
            path: 32 << 10,
            depth: 4096,
            xattrs: 256 << 10,
            document: 8 << 20,
            layers: 500,
        }
    }
}

impl Limits {
    /// Those of the file, if there is one: what it does not name keeps its default.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(StoreError::io("read", path)(e)),
        };
        let name = path.display().to_string();
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|source| StoreError::Document { what: "file of limits", name, source })
    }
}
