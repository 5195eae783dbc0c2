//! skeleton
use crate::*;
use osbs_image::{Descriptor, Store, StoredImage};
use osbs_types::Reference;
use tokio_util::sync::CancellationToken;
/// Pushes; tag last. `mount_from`: repositories of this registry that may have the layers already (the parent's).
#[allow(clippy::unused_async, unused_variables, clippy::todo, clippy::missing_errors_doc, clippy::too_many_arguments)]
pub async fn push(registry: &Registry, store: &Store, image: &StoredImage, repository: &str, reference: &Reference, mount_from: &[String], cancel: &CancellationToken, progress: Progress) -> Result<Descriptor, RegistryError> { todo!() }
