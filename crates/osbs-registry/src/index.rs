//! skeleton
use crate::*;
use osbs_image::Descriptor;
use osbs_types::{Architecture, Digest};
/// One image of an index.
#[derive(Debug, Clone)]
pub struct IndexMember {
    /// Media type, digest and size of its manifest.
    pub manifest: Descriptor,
    /// Of its config.
    pub architecture: Architecture,
}
/// An index ready to be put.
#[derive(Debug, Clone)]
pub struct BuiltIndex {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// Canonical bytes.
    pub bytes: Vec<u8>,
}
/// Builds: OCI index, or a Docker list when every member is schema 2. Sorted by architecture.
#[allow(clippy::todo, unused_variables)]
pub fn build_index(members: &[IndexMember]) -> BuiltIndex { todo!() }
/// Puts it under a tag.
#[allow(clippy::unused_async, unused_variables, clippy::todo, clippy::missing_errors_doc)]
pub async fn put_index(registry: &Registry, repository: &str, tag: &str, index: &BuiltIndex) -> Result<Digest, RegistryError> { todo!() }
