//! skeleton
use crate::*;
use osbs_types::{Digest, Reference};
use osbs_image::Descriptor;
use tokio_util::sync::CancellationToken;
/// Copies an image (manifest by digest) between repositories of one registry: blobs mounted, or copied where the registry does not mount.
#[allow(clippy::unused_async, unused_variables, clippy::todo, clippy::missing_errors_doc)]
pub async fn copy_image(registry: &Registry, from: &str, digest: &Digest, to: &str, reference: Option<&Reference>, cancel: &CancellationToken) -> Result<Descriptor, RegistryError> { todo!() }
/// The manifest alone under another tag of the same repository.
#[allow(clippy::unused_async, unused_variables, clippy::todo, clippy::missing_errors_doc)]
pub async fn copy_manifest(registry: &Registry, repository: &str, digest: &Digest, tag: &str) -> Result<Descriptor, RegistryError> { todo!() }
