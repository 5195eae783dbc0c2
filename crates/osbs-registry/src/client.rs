//! skeleton
use crate::*;
use osbs_http::Transport;
use osbs_types::{Digest, Reference};
use osbs_image::Descriptor;
use std::sync::Arc;
/// A manifest or index, with the bytes it was believed for.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Media type, digest (computed here) and size.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
}
/// A client of one registry. Cheap to clone; clones share tokens and connections.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<(Transport, RegistryConfig)>,
}
#[allow(clippy::unused_async, unused_variables, missing_docs, clippy::todo, clippy::missing_errors_doc)]
impl Registry {
    pub fn new(transport: Transport, config: RegistryConfig) -> Self { Self { inner: Arc::new((transport, config)) } }
    pub fn host(&self) -> &str { self.inner.1.host() }
    /// Is it there and does it speak v2?
    pub async fn ping(&self) -> Result<(), RegistryError> { todo!() }
    /// GET with all known types accepted; digest computed from the bytes and compared.
    pub async fn manifest(&self, repository: &str, reference: &Reference) -> Result<Fetched, RegistryError> { todo!() }
    /// `None` when there is none.
    pub async fn head_manifest(&self, repository: &str, reference: &Reference) -> Result<Option<Option<Digest>>, RegistryError> { todo!() }
    pub async fn put_manifest(&self, repository: &str, reference: &Reference, media_type: &str, bytes: &[u8]) -> Result<Digest, RegistryError> { todo!() }
    pub async fn delete_manifest(&self, repository: &str, digest: &Digest) -> Result<(), RegistryError> { todo!() }
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>, RegistryError> { todo!() }
    pub async fn blob_exists(&self, repository: &str, digest: &Digest) -> Result<bool, RegistryError> { todo!() }
    /// A config or another small blob, verified.
    pub async fn small_blob(&self, repository: &str, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> { todo!() }
    pub async fn mount_blob(&self, from: &str, to: &str, digest: &Digest) -> Result<bool, RegistryError> { todo!() }
    pub async fn start_upload(&self, repository: &str) -> Result<Upload, RegistryError> { todo!() }
}
