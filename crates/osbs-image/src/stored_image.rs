//! An image all of whose parts are in the store.

use crate::error::StoreError;
use crate::image_config::ImageConfig;
use crate::manifest::{Descriptor, Index, Manifest};
use crate::media_type::{ImageFormat, MAX_INDEXES, is_index, is_manifest};
use crate::store::Store;
use osbs_types::Digest;
use sha2::{Digest as _, Sha256};

/// An image in the store: manifest, config and layers were seen there when it was loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredImage {
    /// The manifest.
    pub manifest: Descriptor,
    /// The config.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// Digests of the uncompressed layers, as many as layers.
    pub diff_ids: Vec<Digest>,
    /// The config, parsed.
    pub image_config: ImageConfig,
}

impl StoredImage {
    /// Reads manifest and config, checks that they agree and that every layer is here.
    ///
    /// # Errors
    /// Something is missing, damaged, or contradicts something else.
    pub fn load(store: &Store, manifest: &Descriptor) -> Result<Self, StoreError> {
        let name = || manifest.digest.to_string();
        let inconsistent = |reason: String| StoreError::Inconsistent { what: "manifest", name: name(), reason };
        let limits = store.options().limits;
        let bytes = store.read_small(manifest, limits.document)?;
        let parsed = Manifest::parse(&bytes, &manifest.media_type, &name(), &limits)?;
        let mut manifest = manifest.clone();
        if manifest.media_type.is_empty() {
            manifest.media_type.clone_from(&parsed.media_type);
        }
        if manifest.media_type.is_empty() {
            return Err(inconsistent("nothing says that it is an image manifest".to_owned()));
        }
        let bytes = store.read_small(&parsed.config, limits.document)?;
        let image_config = ImageConfig::parse(&bytes, parsed.config.digest.as_str(), &limits)?;
        let diff_ids = image_config.rootfs.diff_ids.clone();
        if diff_ids.len() != parsed.layers.len() {
            let (layers, ids) = (parsed.layers.len(), diff_ids.len());
            return Err(inconsistent(format!("{layers} layers, but {ids} diff ids in the config")));
        }
        for layer in &parsed.layers {
            match store.blob_size(&layer.digest) {
                Some(size) if size == layer.size => {}
                Some(size) => {
                    let (digest, promised) = (&layer.digest, layer.size);
                    return Err(inconsistent(format!("layer {digest} has {size} bytes, not {promised}")));
                }
                None => return Err(StoreError::Missing { digest: layer.digest.clone() }),
            }
        }
        Ok(Self { manifest, config: parsed.config, layers: parsed.layers, diff_ids, image_config })
    }

    /// The image whose config has this digest, among those a reference names.
    ///
    /// # Errors
    /// A reference cannot be read, or what it names is damaged.
    pub fn by_id(store: &Store, id: &Digest) -> Result<Option<Self>, StoreError> {
        for record in store.list_refs()? {
            for manifest in store.manifests_of(&record.image.descriptor)? {
                let image = Self::load(store, &manifest)?;
                if image.image_id() == id {
                    return Ok(Some(image));
                }
            }
        }
        Ok(None)
    }

    /// Makes config and manifest of a new image, stores them, and returns the image. The layers must be in the store.
    ///
    /// # Errors
    /// Something cannot be written, or a layer is missing.
    pub fn create(
        store: &Store,
        format: ImageFormat,
        image_config: &ImageConfig,
        layers: &[Descriptor],
        annotations: Option<std::collections::BTreeMap<String, String>>,
    ) -> Result<Self, StoreError> {
        let bytes = crate::manifest::canonical_json(image_config);
        let config = Descriptor::new(format.config(), store.put_small(&bytes)?, bytes.len() as u64);
        let layers = layers
            .iter()
            .map(|layer| Descriptor { media_type: format.layer(&layer.media_type).to_owned(), ..layer.clone() })
            .collect();
        let manifest = Manifest {
            schema_version: 2,
            media_type: format.manifest().to_owned(),
            config,
            layers,
            annotations,
            other: serde_json::Map::new(),
        };
        let bytes = crate::manifest::canonical_json(&manifest);
        let descriptor = Descriptor::new(format.manifest(), store.put_small(&bytes)?, bytes.len() as u64);
        Self::load(store, &descriptor)
    }

    /// The image id: the digest of the config.
    pub fn image_id(&self) -> &Digest {
        &self.config.digest
    }

    /// The chain id of every layer, bottom first.
    pub fn chain_ids(&self) -> Vec<Digest> {
        chain_ids(&self.diff_ids)
    }
}

/// Chain ids (image-spec 1.1, config.md, "Layer ChainID"): they name a layer together with all below it.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::from_sha256(&Sha256::digest(format!("{below} {diff_id}")).into()),
        };
        chain.push(id);
    }
    chain
}

impl Store {
    /// The manifests a descriptor stands for: itself, or those of an index that are here.
    pub(crate) fn manifests_of(&self, descriptor: &Descriptor) -> Result<Vec<Descriptor>, StoreError> {
        let limits = self.options().limits;
        let mut found = Vec::new();
        let mut level = vec![descriptor.clone()];
        for _ in 0..=MAX_INDEXES {
            let mut next = Vec::new();
            for entry in level {
                if is_index(&entry.media_type) {
                    let bytes = self.read_small(&entry, limits.document)?;
                    let index = Index::parse(&bytes, &entry.media_type, entry.digest.as_str(), &limits)?;
                    next.extend(index.manifests.into_iter().filter(|inner| self.has_blob(&inner.digest)));
                } else if is_manifest(&entry.media_type) || entry == *descriptor {
                    found.push(entry);
                }
            }
            level = next;
        }
        Ok(found)
    }
}
