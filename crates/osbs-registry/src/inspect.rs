//! What a name stands for, without the layers.

use crate::{Fetched, Registry, RegistryError};
use osbs_image::media_type::{is_index, is_manifest};
use osbs_image::{Descriptor, ImageConfig, Index, Limits, Manifest, StoreError};
use osbs_types::{Architecture, Digest, PullSpec, Reference};

/// An image as the registry describes it, without its layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// Manifest of the one image: media type, digest, size.
    pub manifest: Descriptor,
    /// The manifest's own bytes.
    pub manifest_bytes: Vec<u8>,
    /// The manifest, parsed.
    pub parsed: Manifest,
    /// The config, parsed.
    pub config: ImageConfig,
    /// The config's own bytes; their digest is the image id.
    pub config_bytes: Vec<u8>,
    /// The index it was chosen from, when the name stands for one.
    pub index: Option<Fetched>,
}

impl Inspected {
    /// Digest of what the name stands for: the index's, else the manifest's. A build that pins its parent pins this.
    pub fn digest(&self) -> &Digest {
        self.index.as_ref().map_or(&self.manifest.digest, |index| &index.descriptor.digest)
    }
}

/// The manifest of one image, and the index it was chosen from.
pub(crate) struct Chosen {
    pub fetched: Fetched,
    pub parsed: Manifest,
    pub index: Option<Fetched>,
}

/// Manifest and config of an image; out of an index the one for `architecture`, without one the first.
///
/// # Errors
/// Not there, not for this architecture, not an image, or bytes that cannot be believed.
pub async fn inspect(
    registry: &Registry,
    spec: &PullSpec,
    architecture: Option<&Architecture>,
) -> Result<Inspected, RegistryError> {
    let Chosen { fetched, parsed, index } = choose(registry, spec, architecture).await?;
    let config_bytes = registry.small_blob(&registry.repository_of(spec), &parsed.config).await?;
    let config = ImageConfig::parse(&config_bytes, parsed.config.digest.as_str(), &Limits::default())
        .map_err(|source| RegistryError::Manifest { image: shown(registry, spec), source })?;
    Ok(Inspected { manifest: fetched.descriptor, manifest_bytes: fetched.bytes, parsed, config, config_bytes, index })
}

/// What the name stands for now: the descriptor of its index or manifest, computed from the bytes.
///
/// # Errors
/// As [`Registry::manifest`].
pub async fn resolve(registry: &Registry, spec: &PullSpec) -> Result<Descriptor, RegistryError> {
    Ok(registry.manifest(&registry.repository_of(spec), &spec.reference()).await?.descriptor)
}

pub(crate) async fn choose(
    registry: &Registry,
    spec: &PullSpec,
    architecture: Option<&Architecture>,
) -> Result<Chosen, RegistryError> {
    let named = registry.manifest(&registry.repository_of(spec), &spec.reference()).await?;
    let image = || shown(registry, spec);
    let parse = |source| RegistryError::Manifest { image: image(), source };
    if is_manifest(&named.descriptor.media_type) {
        let parsed = manifest(&named).map_err(parse)?;
        return Ok(Chosen { fetched: named, parsed, index: None });
    }
    let wrong_type = |media_type: &str| RegistryError::MediaType { image: image(), media_type: media_type.to_owned() };
    if !is_index(&named.descriptor.media_type) {
        return Err(wrong_type(&named.descriptor.media_type));
    }
    let Descriptor { media_type, digest, .. } = &named.descriptor;
    let index = Index::parse(&named.bytes, media_type, digest.as_str(), &Limits::default()).map_err(parse)?;
    let entry = match architecture {
        Some(wanted) => index.select(wanted).ok_or_else(|| no_such_platform(image(), wanted, &index))?,
        None => index.manifests.first().ok_or_else(|| wrong_type("an empty index"))?,
    };
    let fetched = registry.manifest(&registry.repository_of(spec), &Reference::Digest(entry.digest.clone())).await?;
    registry.check_size(spec.repository(), entry, fetched.bytes.len() as u64)?;
    // An index in an index, or bytes of another type than the index promised, are nobody's honest image.
    if !is_manifest(&fetched.descriptor.media_type) || fetched.descriptor.media_type != entry.media_type {
        return Err(wrong_type(&fetched.descriptor.media_type));
    }
    let parsed = manifest(&fetched).map_err(parse)?;
    Ok(Chosen { fetched, parsed, index: Some(named) })
}

/// What was fetched as a manifest is one, and nothing else too.
pub(crate) fn manifest(fetched: &Fetched) -> Result<Manifest, StoreError> {
    let Descriptor { media_type, digest, .. } = &fetched.descriptor;
    Manifest::parse(&fetched.bytes, media_type, digest.as_str(), &Limits::default())
}

fn no_such_platform(image: String, wanted: &Architecture, index: &Index) -> RegistryError {
    let platforms = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
    let available = platforms.map(|platform| platform.architecture().to_string()).collect();
    RegistryError::NoSuchPlatform { image, wanted: wanted.clone(), available }
}

/// The name with the registry that was really asked.
pub(crate) fn shown(registry: &Registry, spec: &PullSpec) -> String {
    spec.with_registry(Some(registry.host())).to_string()
}
