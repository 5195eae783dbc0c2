//! An image from the store into a registry.

use crate::client::image_name;
use crate::progress::Counter;
use crate::pull::PARALLEL;
use crate::upload::body_from_store;
use crate::{Progress, Registry, RegistryError};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use osbs_image::{Descriptor, Store, StoreError, StoredImage};
use osbs_types::Reference;
use tokio_util::sync::CancellationToken;

/// Largest manifest pushed: registries need not take more.
const MAX_MANIFEST: u64 = 4 << 20;

/// Pushes an image to `repository` under `reference`: only blobs that are not there, mounted out of the repositories
/// `mount_from` (the parent's) where the registry does that, four at a time, each sent again when it fails; the manifest
/// last, so that a tag never names half an image.
///
/// # Errors
/// Refused, no answer after retries, another digest than ours, the store failed, or `cancel` was asked for.
#[expect(
    clippy::too_many_arguments,
    reason = "what, where from, where to, how to stop, whom to tell: none goes with another"
)]
pub async fn push(
    registry: &Registry,
    store: &Store,
    image: &StoredImage,
    repository: &str,
    reference: &Reference,
    mount_from: &[String],
    cancel: &CancellationToken,
    progress: Progress,
) -> Result<Descriptor, RegistryError> {
    let name = image_name(repository, reference);
    let blobs = push_blobs(registry, store, image, repository, mount_from, &progress);
    let whole = async {
        let counter = blobs.await?;
        let failed = |source: StoreError| RegistryError::Store { action: format!("push of {name}"), source };
        let bytes = store.read_small(&image.manifest, MAX_MANIFEST).map_err(failed)?;
        registry.put_manifest(repository, reference, &image.manifest.media_type, &bytes).await?;
        counter.complete();
        Ok(image.manifest.clone())
    };
    match cancel.run_until_cancelled(whole).await {
        Some(pushed) => pushed,
        None => Err(RegistryError::Cancelled { action: format!("push {name} to registry {}", registry.host()) }),
    }
}

async fn push_blobs(
    registry: &Registry,
    store: &Store,
    image: &StoredImage,
    repository: &str,
    mount_from: &[String],
    progress: &Progress,
) -> Result<Counter, RegistryError> {
    let mut blobs: Vec<&Descriptor> = Vec::with_capacity(image.layers.len() + 1);
    for blob in image.layers.iter().chain([&image.config]) {
        if !blobs.iter().any(|seen| seen.digest == blob.digest) {
            blobs.push(blob);
        }
    }
    let counter = Counter::new(progress.clone(), blobs.iter().map(|blob| blob.size).sum());
    // Boxed in a loop, not mapped: a closure over references would keep callers from being `Send`.
    let mut uploads = Vec::with_capacity(blobs.len());
    for blob in blobs {
        let body = body_from_store(store, blob, &counter);
        // The config is new in every build: asking for it elsewhere is a round trip for nothing.
        let mount_from = if blob.digest == image.config.digest { &[] } else { mount_from };
        uploads.push(registry.put_blob(repository, &blob.digest, mount_from, body).boxed());
    }
    futures_util::stream::iter(uploads).buffer_unordered(PARALLEL).try_collect::<()>().await?;
    Ok(counter)
}
