//! Images between repositories of one registry, without passing through this machine where the registry can mount.

use crate::inspect::manifest;
use crate::pull::PARALLEL;
use crate::{Registry, RegistryError};
use futures_util::{StreamExt, TryStreamExt};
use osbs_http::RequestBody;
use osbs_image::Descriptor;
use osbs_image::media_type::is_manifest;
use osbs_types::{Digest, Reference};
use tokio_util::sync::CancellationToken;

/// Copies the image with this manifest digest from repository `from` to `to`, and puts its manifest there under
/// `reference` (without one: under its digest). Blobs are mounted; where the registry does not mount they are streamed
/// through. Within one repository only the manifest is put.
///
/// # Errors
/// As [`crate::pull`] and [`crate::push`].
pub async fn copy_image(
    registry: &Registry,
    from: &str,
    digest: &Digest,
    to: &str,
    reference: Option<&Reference>,
    cancel: &CancellationToken,
) -> Result<Descriptor, RegistryError> {
    let whole = copy_all(registry, from, digest, to, reference);
    match cancel.run_until_cancelled(whole).await {
        Some(copied) => copied,
        None => Err(RegistryError::Cancelled { action: format!("copy {from}@{digest} to {to}") }),
    }
}

/// Puts the manifest or index with this digest under another tag of the same repository.
///
/// # Errors
/// As [`Registry::manifest`] and [`Registry::put_manifest`].
pub async fn copy_manifest(
    registry: &Registry,
    repository: &str,
    digest: &Digest,
    tag: &str,
) -> Result<Descriptor, RegistryError> {
    let fetched = registry.manifest(repository, &Reference::Digest(digest.clone())).await?;
    let reference = Reference::Tag(tag.to_owned());
    registry.put_manifest(repository, &reference, &fetched.descriptor.media_type, &fetched.bytes).await?;
    Ok(fetched.descriptor)
}

async fn copy_all(
    registry: &Registry,
    from: &str,
    digest: &Digest,
    to: &str,
    reference: Option<&Reference>,
) -> Result<Descriptor, RegistryError> {
    let fetched = registry.manifest(from, &Reference::Digest(digest.clone())).await?;
    let media_type = &fetched.descriptor.media_type;
    let image = format!("{}/{from}@{digest}", registry.host());
    if !is_manifest(media_type) {
        return Err(RegistryError::MediaType { image, media_type: media_type.clone() });
    }
    if from != to {
        let parsed = manifest(&fetched).map_err(|source| RegistryError::Manifest { image, source })?;
        let blobs = parsed.layers.iter().chain([&parsed.config]);
        // Collected: a lazy closure in the stream makes this future too special to be sent between threads by a caller.
        let copies: Vec<_> = blobs.map(|blob| copy_blob(registry, from, to, blob)).collect();
        futures_util::stream::iter(copies).buffer_unordered(PARALLEL).try_collect::<()>().await?;
    }
    let by_digest = Reference::Digest(digest.clone());
    registry.put_manifest(to, reference.unwrap_or(&by_digest), media_type, &fetched.bytes).await?;
    Ok(fetched.descriptor)
}

async fn copy_blob(registry: &Registry, from: &str, to: &str, blob: &Descriptor) -> Result<(), RegistryError> {
    if registry.blob_exists(to, &blob.digest).await? || registry.mount_blob(from, to, &blob.digest).await? {
        return Ok(());
    }
    let retries = registry.transport().config().retry.retries;
    let mut attempt = 1;
    loop {
        let (response, _) = registry.open_blob(from, &blob.digest, 0).await?;
        let pieces = futures_util::stream::try_unfold(response, |mut response| async move {
            let piece = response.chunk().await.map_err(std::io::Error::other)?;
            Ok(piece.map(|piece| (piece, response)))
        });
        let body = RequestBody::once(Some(blob.size), Box::pin(pieces));
        match registry.put_blob(to, &blob.digest, &[], body).await {
            Err(error) if attempt <= retries && may_pass(&error) => {
                let base = registry.base("copy a blob").await?;
                registry.transport().wait_before_retry(base, attempt, &error.to_string()).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// A body that broke while it was read is the source's connection, and may pass as well.
fn may_pass(error: &RegistryError) -> bool {
    let body = matches!(error, RegistryError::Transport { source: osbs_http::HttpError::RequestBody { .. }, .. });
    body || error.is_transient()
}
