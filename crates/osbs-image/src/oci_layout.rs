//! OCI image layout folders (image-spec 1.1, image-layout.md): export to one and import from one.
//!
//! A layout somebody else made is hostile: only its `blobs/sha256/HEX` files are opened, by digest, and verified.

use crate::error::StoreError;
use crate::manifest::{Descriptor, ImagePlatform, Index, Manifest, canonical_json};
use crate::media_type::{OCI_INDEX, is_index, is_manifest};
use crate::store::Store;
use crate::stored_image::{MAX_DOCUMENT, StoredImage};
use osbs_types::Architecture;
use serde_json::Map;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Annotation that names an image in a layout's index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Writes or extends the layout in `dir`: blobs are reflinked or copied, `index.json` gets an entry named `ref_name`
/// (annotation `org.opencontainers.image.ref.name`), which replaces an entry of that name.
///
/// # Errors
/// A blob is missing or a file cannot be written.
pub fn write_oci_layout(store: &Store, image: &StoredImage, dir: &Path, ref_name: &str) -> Result<(), StoreError> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(StoreError::io("create folder", &blobs))?;
    for part in image.layers.iter().chain([&image.config, &image.manifest]) {
        let target = blobs.join(part.digest.hex());
        if fs::metadata(&target).is_ok_and(|m| m.len() == part.size) {
            continue;
        }
        let mut from = store.open_blob(part)?;
        replace(&target, |file| io::copy(&mut from, file).map(drop))?;
    }
    replace(&dir.join("oci-layout"), |file| io::Write::write_all(file, LAYOUT.as_bytes()))?;
    let index_path = dir.join("index.json");
    let mut index = match fs::read(&index_path) {
        Ok(bytes) => parse_index(&index_path.display().to_string(), &bytes)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Index {
            schema_version: 2,
            media_type: OCI_INDEX.to_owned(),
            manifests: Vec::new(),
            annotations: None,
            other: Map::new(),
        },
        Err(e) => return Err(StoreError::io("read", &index_path)(e)),
    };
    let mut entry = image.manifest.clone();
    entry.platform = Some(ImagePlatform::linux(&image.image_config.architecture()));
    entry.annotations = Some(BTreeMap::from([(REF_NAME.to_owned(), ref_name.to_owned())]));
    index.manifests.retain(|other| name_of(other) != Some(ref_name));
    index.manifests.push(entry);
    replace(&index_path, |file| io::Write::write_all(file, &canonical_json(&index)))
}

fn name_of(entry: &Descriptor) -> Option<&str> {
    entry.annotations.as_ref()?.get(REF_NAME).map(String::as_str)
}

fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StoreError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let tmp = path.with_file_name(name);
    let result = File::create(&tmp).and_then(|mut file| write(&mut file)).and_then(|()| fs::rename(&tmp, path));
    result.map_err(|e| {
        let _ = fs::remove_file(&tmp);
        StoreError::io("write", path)(e)
    })
}

fn parse_index(name: &str, bytes: &[u8]) -> Result<Index, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Document {
        what: "index",
        name: name.to_owned(),
        source,
    })
}

/// Imports the image `ref_name` (or the only one, when `None`) for `architecture` from the layout in `dir`, verified.
///
/// # Errors
/// No such image, or something is missing or damaged.
pub fn read_oci_layout(
    store: &Store,
    dir: &Path,
    ref_name: Option<&str>,
    architecture: &Architecture,
) -> Result<StoredImage, StoreError> {
    let index_path = dir.join("index.json");
    let name = index_path.display().to_string();
    let refused = |reason: String| StoreError::Inconsistent { what: "OCI layout", name: name.clone(), reason };
    let mut bytes = Vec::new();
    let file = File::open(&index_path).map_err(StoreError::io("open", &index_path))?;
    file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(StoreError::io("read", &index_path))?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(refused(format!("index.json is larger than {MAX_DOCUMENT} bytes")));
    }
    let index = parse_index(&name, &bytes)?;
    let fits = |m: &&Descriptor| m.platform.as_ref().is_none_or(|p| architecture.accepts(&p.architecture()));
    let named: Vec<&Descriptor> =
        index.manifests.iter().filter(|m| ref_name.is_none_or(|name| name_of(m) == Some(name))).collect();
    let names = || index.manifests.iter().filter_map(name_of).collect::<Vec<_>>().join(", ");
    let entry = match (named.as_slice(), named.iter().copied().find(fits)) {
        ([], _) => return Err(refused(format!("no image {:?}; there are: {}", ref_name.unwrap_or(""), names()))),
        (_, None) => return Err(refused(format!("no image for {architecture}"))),
        ([_], Some(entry)) => entry,
        (_, Some(entry)) if ref_name.is_some() => entry,
        _ => return Err(refused(format!("several images, name one of: {}", names()))),
    };
    let manifest = resolve(store, dir, entry, architecture).map_err(|e| match e {
        Unresolved::NoArchitecture => refused(format!("no image for {architecture}")),
        Unresolved::Store(e) => e,
    })?;
    let bytes = store.read_small(&manifest, MAX_DOCUMENT)?;
    let parsed: Manifest = serde_json::from_slice(&bytes).map_err(|source| StoreError::Document {
        what: "manifest",
        name: manifest.digest.to_string(),
        source,
    })?;
    for part in parsed.layers.iter().chain([&parsed.config]) {
        import(store, dir, part)?;
    }
    let image = StoredImage::load(store, &manifest)?;
    if !architecture.accepts(&image.image_config.architecture()) {
        return Err(refused(format!("the image is for {}", image.image_config.architecture())));
    }
    Ok(image)
}

enum Unresolved {
    NoArchitecture,
    Store(StoreError),
}

impl From<StoreError> for Unresolved {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Follows an index to the manifest for the architecture. One level: nested indexes are allowed by the specification, but
/// nobody writes them.
fn resolve(
    store: &Store,
    dir: &Path,
    entry: &Descriptor,
    architecture: &Architecture,
) -> Result<Descriptor, Unresolved> {
    let mut manifest = entry.clone();
    if is_index(&entry.media_type) {
        import(store, dir, entry)?;
        let bytes = store.read_small(entry, MAX_DOCUMENT)?;
        let inner = parse_index(entry.digest.as_str(), &bytes)?;
        manifest = inner.select(architecture).ok_or(Unresolved::NoArchitecture)?.clone();
    }
    if !is_manifest(&manifest.media_type) {
        let reason = format!("media type {:?} is not that of an image", manifest.media_type);
        let name = manifest.digest.to_string();
        return Err(StoreError::Inconsistent { what: "manifest", name, reason }.into());
    }
    // Platform and name belong to the index entry, not to the image.
    manifest.platform = None;
    manifest.annotations = None;
    import(store, dir, &manifest)?;
    Ok(manifest)
}

fn import(store: &Store, dir: &Path, part: &Descriptor) -> Result<(), StoreError> {
    if store.blob_size(&part.digest) == Some(part.size) {
        return Ok(());
    }
    let path = dir.join("blobs/sha256").join(part.digest.hex());
    let mut file = File::open(&path).map_err(StoreError::io("open", &path))?.take(part.size.saturating_add(1));
    let mut writer = store.blob_writer()?;
    io::copy(&mut file, &mut writer).map_err(StoreError::io("copy", &path))?;
    writer.commit(Some(&part.digest), Some(part.size)).map(drop)
}
