//! skeleton
use crate::*;
use osbs_image::{Descriptor, ImageConfig, Manifest};
use osbs_types::{Architecture, Digest, PullSpec};
/// An image as the registry describes it, without its layers.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// Of the one image.
    pub manifest: Descriptor,
    /// Parsed.
    pub parsed: Manifest,
    /// Parsed.
    pub config: ImageConfig,
    /// The config's own bytes.
    pub config_bytes: Vec<u8>,
    /// The index it was chosen from.
    pub index: Option<Descriptor>,
    /// Digest of what the name stood for.
    pub digest: Digest,
}
/// Config and manifest. Without architecture the first entry of an index.
#[allow(clippy::unused_async, unused_variables, clippy::todo, clippy::missing_errors_doc)]
pub async fn inspect(registry: &Registry, spec: &PullSpec, architecture: Option<&Architecture>) -> Result<Inspected, RegistryError> { todo!() }
/// What the name stands for now: descriptor of index or manifest.
#[allow(clippy::unused_async, unused_variables, clippy::todo, clippy::missing_errors_doc)]
pub async fn resolve(registry: &Registry, spec: &PullSpec) -> Result<Descriptor, RegistryError> { todo!() }
