//! An image from a registry into a store.

use crate::inspect::{Chosen, choose, shown};
use crate::progress::Counter;
use crate::response::MAX_CONFIG;
use crate::{Progress, Registry, RegistryError};
use futures_util::{StreamExt, TryStreamExt};
use osbs_image::{Descriptor, ImageConfig, Limits, Store, StoreError, StoredImage};
use osbs_types::{Architecture, Digest, PullSpec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Blobs transferred at the same time.
pub(crate) const PARALLEL: usize = 4;

/// What [`pull`] brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    /// The image, all of it in the store.
    pub image: StoredImage,
    /// The index it was chosen from, when the name stood for one. It is in the store too.
    pub index: Option<Descriptor>,
    /// Digest of what the name stood for: the index's, else the manifest's.
    pub digest: Digest,
}

/// Pulls the image for `architecture`: four blobs at a time, each verified, gone on with after a cut, none that the store
/// has already. The registry of `spec` is not looked at, `registry` is asked. Hold a [`osbs_image::Lease`] meanwhile, until
/// a reference names the image.
///
/// # Errors
/// The image is not there or not for this architecture, its bytes cannot be believed, the registry or the store failed, or
/// `cancel` was asked for.
pub async fn pull(
    registry: &Registry,
    spec: &PullSpec,
    architecture: &Architecture,
    store: &Store,
    cancel: &CancellationToken,
    progress: Progress,
) -> Result<Pulled, RegistryError> {
    let whole = pull_all(registry, spec, architecture, store, progress);
    match cancel.run_until_cancelled(whole).await {
        Some(pulled) => pulled,
        None => Err(RegistryError::Cancelled { action: format!("pull {}", shown(registry, spec)) }),
    }
}

async fn pull_all(
    registry: &Registry,
    spec: &PullSpec,
    architecture: &Architecture,
    store: &Store,
    progress: Progress,
) -> Result<Pulled, RegistryError> {
    let Chosen { fetched, parsed, index } = choose(registry, spec, Some(architecture)).await?;
    let store_failed =
        |source: StoreError| RegistryError::Store { action: format!("pull of {}", shown(registry, spec)), source };

    // The config first and alone: it is small, and may say that the layers are of no use.
    let repository = registry.repository_of(spec);
    let config_bytes = match store.has_blob(&parsed.config.digest).then(|| store.read_small(&parsed.config, MAX_CONFIG))
    {
        Some(Ok(bytes)) => bytes,
        _ => registry.small_blob(&repository, &parsed.config).await?,
    };
    check_architecture(registry, spec, architecture, &config_bytes)?;
    store.put_small(&config_bytes).map_err(store_failed)?;

    let counter = Counter::new(progress, parsed.layers.iter().map(|layer| layer.size).sum());
    fetch_layers(registry, &repository, &parsed.layers, store, &counter).await?;

    store.put_small(&fetched.bytes).map_err(store_failed)?;
    if let Some(index) = &index {
        store.put_small(&index.bytes).map_err(store_failed)?;
    }
    let image = StoredImage::load(store, &fetched.descriptor).map_err(store_failed)?;
    let index = index.map(|index| index.descriptor);
    let digest = index.as_ref().map_or(&image.manifest.digest, |index| &index.digest).clone();
    Ok(Pulled { image, index, digest })
}

async fn fetch_layers(
    registry: &Registry,
    repository: &str,
    layers: &[Descriptor],
    store: &Store,
    counter: &Counter,
) -> Result<(), RegistryError> {
    let mut distinct: Vec<&Descriptor> = Vec::with_capacity(layers.len());
    for layer in layers {
        if distinct.iter().any(|seen| seen.digest == layer.digest) {
            counter.add(layer.size);
        } else {
            distinct.push(layer);
        }
    }
    // A task each: hashing four layers takes more than one core.
    let transfers: Vec<_> = distinct
        .into_iter()
        .map(|layer| {
            let (registry, store, counter) = (registry.clone(), store.clone(), counter.clone());
            let (repository, layer) = (repository.to_owned(), layer.clone());
            async move {
                let fetch = async move { registry.fetch_blob(&repository, &layer, "a layer", &store, &counter).await };
                let task = AbortOnDropHandle::new(tokio::spawn(fetch));
                task.await.map_err(|error| RegistryError::Task(error.to_string()))?
            }
        })
        .collect();
    futures_util::stream::iter(transfers).buffer_unordered(PARALLEL).try_collect::<()>().await
}

/// An index chose by platform; a plain manifest must be looked at.
fn check_architecture(
    registry: &Registry,
    spec: &PullSpec,
    wanted: &Architecture,
    config: &[u8],
) -> Result<(), RegistryError> {
    let image = || shown(registry, spec);
    let config = ImageConfig::parse(config, &image(), &Limits::default())
        .map_err(|source| RegistryError::Manifest { image: image(), source })?;
    let found = config.architecture();
    if found.name.is_empty() || wanted.accepts(&found) {
        return Ok(());
    }
    Err(RegistryError::NoSuchPlatform { image: image(), wanted: wanted.clone(), available: vec![found.to_string()] })
}
