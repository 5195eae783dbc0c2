//! What was learnt about a layer blob while it was made or read, so that it need not be read again.
//!
//! Notes are a cache: a missing or unreadable one is made again. They are trusted as far as the store's folder is.

use crate::error::StoreError;
use crate::layer::{Compression, WrittenLayer};
use crate::store::Store;
use crate::stored_image::StoredImage;
use osbs_types::Digest;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fs;

/// Facts about a layer blob, in `notes/HEX.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerNote {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Its size.
    pub uncompressed_size: u64,
    /// Its CRC-32.
    pub crc32: u32,
    /// How the blob's deflate blocks can be taken into an archive. Absent when it is not one gzip member.
    pub splice: Option<Splice>,
}

/// Where the blocks of a gzip member are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splice {
    /// Byte at which the deflate stream begins: the gzip header's length.
    pub start: u64,
    /// Bit, counted from the beginning of the blob, least significant first, at which the last block begins.
    pub last_block: u64,
    /// Length of `notes/HEX.tail`: deflate blocks, ending byte aligned, that hold what the last block holds. 0 means that the
    /// last block is empty and there is no such file.
    pub tail: u64,
}

impl LayerNote {
    /// Our own gzip layers end with an empty last block, 10 bytes before their end.
    pub(crate) fn of_own_layer(layer: &WrittenLayer, compression: Compression) -> Self {
        let splice = match compression {
            Compression::Gzip { .. } => {
                Some(Splice { start: 10, last_block: (layer.descriptor.size - 10) * 8, tail: 0 })
            }
            _ => None,
        };
        Self { diff_id: layer.diff_id.clone(), uncompressed_size: layer.uncompressed_size, crc32: layer.crc32, splice }
    }

    pub(crate) fn save(&self, store: &Store, blob: &Digest) -> Result<(), StoreError> {
        store.write_whole(&store.note_path(blob.hex(), "json"), &crate::manifest::canonical_json(self))
    }

    pub(crate) fn load(store: &Store, blob: &Digest) -> Option<Self> {
        serde_json::from_slice(&fs::read(store.note_path(blob.hex(), "json")).ok()?).ok()
    }
}

/// What an unpacked layer does without, in `notes/HEX.left-out`, by the layer's chain id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Number of device nodes, which only root of the machine can make.
    pub devices: u64,
    /// Paths of the first of them.
    pub first: Vec<String>,
}

impl LeftOut {
    /// So many are named.
    const NAMED: usize = 3;

    pub(crate) fn of<'a>(paths: impl ExactSizeIterator<Item = &'a [u8]>) -> Self {
        let devices = paths.len() as u64;
        let first = paths.take(Self::NAMED).map(|path| format!("/{}", String::from_utf8_lossy(path))).collect();
        Self { devices, first }
    }

    pub(crate) fn save(&self, store: &Store, chain_id: &Digest) -> Result<(), StoreError> {
        store.write_whole(&store.note_path(chain_id.hex(), "left-out"), &crate::manifest::canonical_json(self))
    }

    fn add(&mut self, other: Self) {
        self.devices += other.devices;
        let room = Self::NAMED.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }
}

impl Store {
    /// What the unpacked layers of an image do without.
    pub fn left_out(&self, image: &StoredImage) -> LeftOut {
        let mut all = LeftOut::default();
        for id in image.chain_ids() {
            let note = fs::read(self.note_path(id.hex(), "left-out")).ok();
            if let Some(note) = note.and_then(|bytes| serde_json::from_slice::<LeftOut>(&bytes).ok()) {
                all.add(note);
            }
        }
        all
    }
}

/// A SHA-256 over the uncompressed archive, stopped behind a layer; `notes/HEX.state`, by the layer's chain id.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveState {
    /// Bytes hashed.
    pub size: u64,
    pub hash: Sha256,
}

impl ArchiveState {
    pub(crate) fn save(&self, store: &Store, chain_id: &Digest) -> Result<(), StoreError> {
        let bytes = [self.size.to_le_bytes().as_slice(), &crate::blob::sha256_state(&self.hash)].concat();
        store.write_whole(&store.note_path(chain_id.hex(), "state"), &bytes)
    }

    pub(crate) fn load(store: &Store, chain_id: &Digest) -> Option<Self> {
        let bytes = fs::read(store.note_path(chain_id.hex(), "state")).ok()?;
        let (size, state) = bytes.split_first_chunk::<8>()?;
        Some(Self { size: u64::from_le_bytes(*size), hash: crate::blob::sha256_from_state(state)? })
    }
}
