//! skeleton
use crate::*;
use osbs_image::{Descriptor, Store, StoredImage};
use osbs_types::{Architecture, Digest, PullSpec};
use tokio_util::sync::CancellationToken;
/// What [`pull`] brought.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image, all of it in the store.
    pub image: StoredImage,
    /// The index it was chosen from, when the name stood for one.
    pub index: Option<Descriptor>,
    /// Digest of what the name stood for: the index's, else the manifest's.
    pub digest: Digest,
}
/// Pulls.
#[allow(clippy::unused_async, unused_variables, clippy::todo, clippy::missing_errors_doc)]
pub async fn pull(registry: &Registry, spec: &PullSpec, architecture: &Architecture, store: &Store, cancel: &CancellationToken, progress: Progress) -> Result<Pulled, RegistryError> { todo!() }
