//! An image from the store into a registry.

use crate::inspect::shown;
use crate::progress::Counter;
use crate::pull::PARALLEL;
use crate::upload::body_from_store;
use crate::{Progress, Registry, RegistryError};
use futures_util::{StreamExt, TryStreamExt};
use osbs_image::{Descriptor, Store, StoreError, StoredImage};
use osbs_types::{PullSpec, Reference};
use tokio_util::sync::CancellationToken;

/// Largest manifest pushed: registries need not take more.
const MAX_MANIFEST: u64 = 4 << 20;

/// Pushes an image to `target` (tag or digest; the registry of it is not looked at, `registry` is asked): only blobs that
/// are not there, mounted out of the repositories `mount_from` (the parent's) where the registry does that, four at a
/// time, each sent again when it fails; the manifest last, so that the tag never names half an image.
///
/// # Errors
/// Refused, no answer after retries, another digest than ours, the store failed, or `cancel` was asked for.
pub async fn push(
    registry: &Registry,
    store: &Store,
    image: &StoredImage,
    target: &PullSpec,
    mount_from: &[String],
    cancel: &CancellationToken,
    progress: Progress,
) -> Result<Descriptor, RegistryError> {
    let whole = push_all(registry, store, image, target, mount_from, progress);
    match cancel.run_until_cancelled(whole).await {
        Some(pushed) => pushed,
        None => Err(RegistryError::Cancelled { action: format!("push {}", shown(registry, target)) }),
    }
}

async fn push_all(
    registry: &Registry,
    store: &Store,
    image: &StoredImage,
    target: &PullSpec,
    mount_from: &[String],
    progress: Progress,
) -> Result<Descriptor, RegistryError> {
    let repository = target.repository();
    let mut blobs: Vec<&Descriptor> = Vec::with_capacity(image.layers.len() + 1);
    for blob in image.layers.iter().chain([&image.config]) {
        if !blobs.iter().any(|seen| seen.digest == blob.digest) {
            blobs.push(blob);
        }
    }
    let counter = Counter::new(progress, blobs.iter().map(|blob| blob.size).sum());
    let uploads = blobs.into_iter().map(|blob| {
        let body = body_from_store(store, blob, &counter);
        // The config is new in every build: asking for it elsewhere is a round trip for nothing.
        let mount_from = if blob.digest == image.config.digest { &[] } else { mount_from };
        async move { registry.put_blob(repository, &blob.digest, mount_from, body).await }
    });
    futures_util::stream::iter(uploads).buffer_unordered(PARALLEL).try_collect::<()>().await?;

    let failed =
        |source: StoreError| RegistryError::Store { action: format!("push of {}", shown(registry, target)), source };
    let bytes = store.read_small(&image.manifest, MAX_MANIFEST).map_err(failed)?;
    let reference: Reference = target.reference();
    registry.put_manifest(repository, &reference, &image.manifest.media_type, &bytes).await?;
    counter.complete();
    Ok(image.manifest.clone())
}
