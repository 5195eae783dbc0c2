//! SHA-256 of the uncompressed archive, carried along from layer to layer.
//!
//! The state behind each layer is kept in the store by chain id (`notes/HEX.state`), so that the bytes of a parent are
//! hashed once a machine, and those of the new layer while it is being made.

use crate::archive::content::{inflate, layer_header, layer_padding, note};
use crate::archive::error::ArchiveError;
use crate::layer::{LayerError, LayerTap, WrittenLayer};
use crate::note::ArchiveState;
use crate::store::Store;
use crate::stored_image::{StoredImage, chain_ids};
use osbs_types::Digest;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

/// The state behind all layers of an image. Layers without a kept state are inflated; the state is then kept.
pub(crate) fn state_behind(
    store: &Store,
    image: &StoredImage,
    cancel: &CancellationToken,
) -> Result<ArchiveState, ArchiveError> {
    let chain = image.chain_ids();
    let known = (0..chain.len()).rev().find_map(|n| Some((n + 1, ArchiveState::load(store, &chain[n])?)));
    let (done, mut state) = known.unwrap_or((0, ArchiveState { size: 0, hash: Sha256::new() }));
    for (number, chain_id) in chain.iter().enumerate().skip(done) {
        let layer = &image.layers[number];
        let size = note(store, layer, cancel)?.uncompressed_size;
        state.hash.update(layer_header(number, size));
        let hash = &mut state.hash;
        let note = inflate(store, layer, cancel, &mut |bytes| {
            hash.update(bytes);
            Ok(())
        })?;
        if note.diff_id != image.diff_ids[number] {
            let (layer, expected) = (layer.digest.clone(), image.diff_ids[number].clone());
            return Err(LayerError::WrongDiffId { layer, expected, actual: note.diff_id }.into());
        }
        state.hash.update(layer_padding(size));
        state.size += layer_header(number, size).len() as u64 + size + layer_padding(size).len() as u64;
        state.save(store, chain_id)?;
    }
    Ok(state)
}

/// Hashes the uncompressed archive while its new layer is being made, so that [`crate::write_archive`] need not inflate it.
/// A tap for [`crate::LayerRequest::taps`]; its result is kept in the store.
#[derive(Debug)]
pub struct ArchiveDigest {
    state: ArchiveState,
    parent_diff_ids: Vec<Digest>,
    total: u64,
}

impl ArchiveDigest {
    /// Starts behind the parent's layers. The state there is kept in the store; the first time on a machine the parent's
    /// layers are read for it, which is best done while something else keeps the build waiting.
    ///
    /// # Errors
    /// A parent's layer cannot be read.
    pub fn begin(
        store: &Store,
        parent: Option<&StoredImage>,
        cancel: &CancellationToken,
    ) -> Result<Self, ArchiveError> {
        let state = match parent {
            Some(parent) => state_behind(store, parent, cancel)?,
            None => ArchiveState { size: 0, hash: Sha256::new() },
        };
        let parent_diff_ids = parent.map(|p| p.diff_ids.clone()).unwrap_or_default();
        Ok(Self { state, parent_diff_ids, total: 0 })
    }
}

impl LayerTap for ArchiveDigest {
    fn size(&mut self, total: u64) {
        let header = layer_header(self.parent_diff_ids.len(), total);
        self.state.hash.update(&header);
        self.state.size += header.len() as u64;
        self.total = total;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.state.hash.update(bytes);
        self.state.size += bytes.len() as u64;
    }

    fn finish(&mut self, store: &Store, layer: &WrittenLayer) {
        let padding = layer_padding(self.total);
        self.state.hash.update(&padding);
        self.state.size += padding.len() as u64;
        self.parent_diff_ids.push(layer.diff_id.clone());
        let chain_id = chain_ids(&self.parent_diff_ids).pop().expect("one was just pushed");
        // Without the note the archive is only slower to make.
        let _ = self.state.save(store, &chain_id);
    }
}
