//! OCI layout store and layers: verified blobs, references, locks, tar to tree to tar, reproducible parallel compression.
//!
//! Synchronous, no network, no environment, no output. Every byte of a blob or archive is hostile until proven otherwise:
//! blobs are read through [`BlobReader`], which verifies; paths in archives are resolved by openat2 within their root.
//! Start reading at [`Store`] and [`store_layout`]; then [`write_layer`] and [`write_archive`].

mod archive;
mod blob;
mod decompress;
mod document;
mod error;
mod gc;
mod gzip_reader;
mod image_config;
mod layer;
mod limits;
mod manifest;
pub mod media_type;
mod note;
mod oci_layout;
mod ownership;
mod refs;
mod rooted;
mod store;
pub mod store_layout;
mod stored_image;
mod tar;
mod unpack;
mod unpacked;

pub use archive::{
    ArchiveChecksums, ArchiveDigest, ArchiveError, ArchiveInfo, Checksums, write_archive, write_docker_archive_plain,
};
pub use blob::{BlobReader, BlobWriter};
pub use decompress::{ArchiveReader, open_archive};
pub use error::StoreError;
pub use gc::GcReport;
pub use image_config::{History, ImageConfig, RootFs, RunConfig};
pub use layer::{BlobSink, Compression, LayerError, LayerRequest, LayerTap, WrittenLayer, write_layer};
pub use limits::Limits;
pub use manifest::{Descriptor, ImagePlatform, Index, Manifest, canonical_json};
pub use media_type::ImageFormat;
pub use note::{LayerNote, LeftOut, Splice};
pub use oci_layout::{read_oci_layout, write_oci_layout};
pub use refs::{ImageRef, RefRecord};
pub use store::{Lease, Store, StoreOptions};
pub use stored_image::{StoredImage, chain_ids};
pub use tar::{ListedEntry, list_layer, list_tar};
pub use unpack::{ExtractOptions, Extracted, extract_tar};
