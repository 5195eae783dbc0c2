//! From a finished stage to an image: the layer, the config, the manifest.

use crate::error::BuildError;
use crate::executor::threads;
use crate::history::{self, Note};
use crate::request::{BuildObserver, BuildRequest};
use crate::stage::Stage;
use osbs_image::{
    ArchiveDigest, ArchiveError, BlobSink, ImageConfig, ImageFormat, LayerRequest, LayerTap, StoredImage, WrittenLayer,
    write_layer,
};
use osbs_types::{Architecture, Timestamp};
use serde_json::Map;
use tokio_util::sync::CancellationToken;

/// Streams the stage's changes into one layer.
pub(crate) fn layer(
    request: &BuildRequest<'_>,
    stage: &Stage,
    taps: Vec<Box<dyn LayerTap + Sync>>,
    sink: Option<Box<dyn BlobSink + Sync>>,
    observer: &dyn BuildObserver,
    cancel: &CancellationToken,
) -> Result<WrittenLayer, BuildError> {
    let mut taps: Vec<Box<dyn LayerTap>> = taps.into_iter().map(|tap| tap as _).collect();
    if request.prepare_archive {
        let tap = ArchiveDigest::begin(request.store, stage.image.as_ref(), cancel).map_err(|error| match error {
            ArchiveError::Store(source) => BuildError::Store(source),
            ArchiveError::Layer(source) => BuildError::layer("read the parent's layers", source, request.store),
            ArchiveError::Cancelled => BuildError::Cancelled,
            ArchiveError::Output { .. } => BuildError::Internal("the archive's checksum cannot be begun"),
        })?;
        taps.push(Box::new(tap));
    }
    let uppers = stage.uppers();
    let layer = LayerRequest {
        uppers: &uppers,
        compression: request.compression,
        clamp_mtime: request.clamp_mtime,
        threads: threads(request.threads),
        taps,
        sink: sink.map(|sink| sink as _),
    };
    let progress = |done: u64, total: u64| observer.progress("layer", done, total);
    write_layer(request.store, layer, cancel, &progress)
        .map_err(|source| BuildError::layer("write the layer", source, request.store))
}

/// Config and manifest over the layer.
pub(crate) fn image(
    request: &BuildRequest<'_>,
    stage: &Stage,
    layer: &WrittenLayer,
    wanted: &Architecture,
) -> Result<StoredImage, BuildError> {
    let created = match request.clamp_mtime {
        Some(seconds) => Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH),
        None => Timestamp::now(),
    }
    .to_string();
    let mut config = stage.config.image.clone();
    config.config.labels.extend(request.labels.iter().cloned());
    let base = stage.image.as_ref();
    let config = finished(config, base.map(|image| image.diff_ids.len()), &stage.history, layer, wanted, &created);
    let mut layers = base.map(|image| image.layers.clone()).unwrap_or_default();
    layers.push(layer.descriptor.clone());
    let annotations =
        (request.format == ImageFormat::Oci && !request.annotations.is_empty()).then(|| request.annotations.clone());
    StoredImage::create(request.store, request.format, &config, &layers, annotations).map_err(BuildError::Store)
}

fn finished(
    mut config: ImageConfig,
    parent_layers: Option<usize>,
    notes: &[Note],
    layer: &WrittenLayer,
    wanted: &Architecture,
    created: &str,
) -> ImageConfig {
    config.created = Some(created.to_owned());
    if config.architecture.is_empty() {
        config.architecture.clone_from(&wanted.name);
    }
    if config.variant.is_none() && config.architecture == wanted.name {
        config.variant.clone_from(&wanted.variant);
    }
    if config.os.is_empty() {
        "linux".clone_into(&mut config.os);
    }
    // How the parent was made (container_config, docker_version, BuildKit's notes) says nothing about this image.
    config.other = Map::new();
    config.config.other = Map::new();
    config.config.on_build = config.config.on_build.filter(|triggers| !triggers.is_empty());
    "layers".clone_into(&mut config.rootfs.kind);
    config.rootfs.diff_ids.push(layer.diff_id.clone());
    history::balance(&mut config.history, parent_layers.unwrap_or(0));
    config.history.extend(history::own(notes, created));
    config
}
