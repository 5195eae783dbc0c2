//! OCI image layout folders (image-spec 1.1, image-layout.md): export to one and import from one.
//!
//! A layout somebody else made is hostile: only its `blobs/sha256/HEX` files are opened, by digest, and verified.

use crate::error::StoreError;
use crate::manifest::{Descriptor, ImagePlatform, Index, Manifest, canonical_json};
use crate::media_type::{MAX_INDEXES, OCI_INDEX, is_index, is_manifest};
use crate::store::Store;
use crate::stored_image::StoredImage;
use osbs_types::Architecture;
use rustix::fs::{Mode, OFlags};
use serde_json::Map;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Annotation that names an image in a layout's index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Writes or extends the layout in `dir`: blobs share their bytes with the store where the file system can (reflink), `index.json` gets an entry named `ref_name`
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
        copy_blob(store, part, &target)?;
    }
    replace(&dir.join("oci-layout"), |file| io::Write::write_all(file, LAYOUT.as_bytes()))?;
    let index_path = dir.join("index.json");
    let mut index = match fs::read(&index_path) {
        Ok(bytes) => {
            let name = index_path.display().to_string();
            Index::parse(&bytes, "", &name, &store.options().limits)?
        }
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

/// No hard links: the layout is the user's, who may change it, and the store's blobs are read by others. Verified either
/// way: a layout goes to other machines.
fn copy_blob(store: &Store, part: &Descriptor, target: &Path) -> Result<(), StoreError> {
    let mut from = store.open_blob(part)?;
    replace(target, |file| {
        if rustix::fs::ioctl_ficlone(&*file, from.file()).is_ok() {
            return from.finish();
        }
        io::copy(&mut from, file).map(drop)
    })
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
    let file = open_regular(&index_path)?;
    let limits = store.options().limits;
    file.take(limits.document.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(StoreError::io("read", &index_path))?;
    let index = Index::parse(&bytes, "", &name, &limits)?;
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
    let bytes = store.read_small(&manifest, limits.document)?;
    let parsed = Manifest::parse(&bytes, &manifest.media_type, manifest.digest.as_str(), &limits)?;
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

/// Follows indexes to the manifest for the architecture.
fn resolve(
    store: &Store,
    dir: &Path,
    entry: &Descriptor,
    architecture: &Architecture,
) -> Result<Descriptor, Unresolved> {
    let limits = store.options().limits;
    let mut manifest = entry.clone();
    let mut depth = 0;
    while is_index(&manifest.media_type) {
        depth += 1;
        if depth > MAX_INDEXES {
            let reason = format!("more than {MAX_INDEXES} indexes inside each other");
            let name = entry.digest.to_string();
            return Err(StoreError::Inconsistent { what: "index", name, reason }.into());
        }
        import(store, dir, &manifest)?;
        let bytes = store.read_small(&manifest, limits.document)?;
        let inner = Index::parse(&bytes, &manifest.media_type, manifest.digest.as_str(), &limits)?;
        // An index in an index often says nothing of platforms: those are inside.
        let only = match inner.manifests.as_slice() {
            [only] if only.platform.is_none() => Some(only),
            _ => None,
        };
        manifest = inner.select(architecture).or(only).ok_or(Unresolved::NoArchitecture)?.clone();
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

/// Somebody else's file: opening a fifo must not wait for its writer.
fn open_regular(path: &Path) -> Result<File, StoreError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map(File::from);
    let file = file.map_err(|e| StoreError::io("open", path)(e.into()))?;
    if file.metadata().map_err(StoreError::io("inspect", path))?.is_file() {
        return Ok(file);
    }
    Err(StoreError::io("read", path)(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")))
}

fn import(store: &Store, dir: &Path, part: &Descriptor) -> Result<(), StoreError> {
    if store.blob_size(&part.digest) == Some(part.size) {
        return Ok(());
    }
    let path = dir.join("blobs/sha256").join(part.digest.hex());
    let mut file = open_regular(&path)?.take(part.size.saturating_add(1));
    let mut writer = store.blob_writer()?;
    io::copy(&mut file, &mut writer).map_err(StoreError::io("copy", &path))?;
    writer.commit(Some(&part.digest), Some(part.size)).map(drop)
}
