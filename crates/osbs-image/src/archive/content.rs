//! What the tar holds beside the layers, and the headers between.

use crate::error::StoreError;
use crate::layer::LayerError;
use crate::layer::header::{HeaderFields, padding, write_header};
use crate::manifest::Descriptor;
use crate::note::LayerNote;
use crate::store::Store;
use crate::stored_image::StoredImage;
use crate::unpack::spawn_inflater;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::thread;
use tokio_util::sync::CancellationToken;

/// Name of the layer with this number, counted from the bottom.
pub(crate) fn layer_name(number: usize) -> String {
    format!("layer-{number}.tar")
}

/// The header in front of a layer.
pub(crate) fn layer_header(number: usize, size: u64) -> Vec<u8> {
    let mut header = Vec::new();
    write_header(&mut header, &HeaderFields::plain_file(layer_name(number).as_bytes(), size));
    header
}

/// Zero bytes after a layer.
pub(crate) fn layer_padding(size: u64) -> Vec<u8> {
    vec![0; padding(size) as usize]
}

/// Everything behind the layers, end marker included.
pub(crate) fn rest(store: &Store, image: &StoredImage, names: &[String]) -> Result<Vec<u8>, StoreError> {
    let config = store.read_small(&image.config, store.options().limits.document)?;
    let config_name = format!("{}.json", image.config.digest.hex());
    let layers: Vec<String> = (0..image.layers.len()).map(layer_name).collect();
    let manifest = json!([{"Config": config_name, "RepoTags": names, "Layers": layers}]);
    let mut tar = Vec::new();
    let mut add = |name: &str, bytes: &[u8]| {
        write_header(&mut tar, &HeaderFields::plain_file(name.as_bytes(), bytes.len() as u64));
        tar.extend_from_slice(bytes);
        tar.resize(tar.len() + padding(bytes.len() as u64) as usize, 0);
    };
    add(&config_name, &config);
    add("manifest.json", manifest.to_string().as_bytes());
    add("repositories", repositories(image, names).to_string().as_bytes());
    tar.resize(tar.len() + 1024, 0);
    Ok(tar)
}

/// `{"REPOSITORY": {"TAG": "ID"}}`, what Docker before 1.10 read; some tools still look up names there. The id is that of
/// the image, as there are no folders of layers.
fn repositories(image: &StoredImage, names: &[String]) -> Value {
    let mut repositories: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for name in names {
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (name.as_str(), "latest"),
        };
        let id = Value::from(image.config.digest.hex());
        repositories.entry(repository).or_default().insert(tag.to_owned(), id);
    }
    json!(repositories)
}

/// The note of a layer, made now by reading the blob if there is none.
pub(crate) fn note(store: &Store, layer: &Descriptor, cancel: &CancellationToken) -> Result<LayerNote, LayerError> {
    match LayerNote::load(store, &layer.digest) {
        Some(note) => Ok(note),
        None => inflate(store, layer, cancel, &mut |_| Ok(())),
    }
}

/// Passes the uncompressed bytes of a layer to `each`, verified, and leaves a note.
pub(crate) fn inflate(
    store: &Store,
    layer: &Descriptor,
    cancel: &CancellationToken,
    each: &mut dyn FnMut(&[u8]) -> Result<(), LayerError>,
) -> Result<LayerNote, LayerError> {
    let failed = |source: io::Error| LayerError::read(&format!("layer {}", layer.digest), source);
    let blob = store.open_blob(layer)?;
    thread::scope(|scope| {
        let (mut reader, inflater) = spawn_inflater(scope, blob, store.options().limits, &|_| ());
        let mut buffer = vec![0; 256 << 10];
        loop {
            if cancel.is_cancelled() {
                return Err(LayerError::Cancelled);
            }
            match reader.read(&mut buffer).map_err(failed)? {
                0 => break,
                got => each(&buffer[..got])?,
            }
        }
        reader.close();
        let facts = crate::layer::pipeline::join(inflater).map_err(failed)?;
        let note = reader.note(facts.as_ref());
        store.save_note(&layer.digest, &note, facts)?;
        Ok(note)
    })
}
