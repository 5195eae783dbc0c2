//! The docker-archive: an image as one tar, compressed without compressing, or plain.
//!
//! # The tar
//!
//! `layer-0.tar`, `layer-1.tar`, ... (bottom first), `HEX.json` (the config, HEX its digest), `manifest.json`,
//! `repositories`, end marker. Layers come first, and under names that say nothing of their content, because the digest
//! of the tar can then be carried along while the newest layer is being made: its header needs only its size. Readers
//! find layers by `manifest.json` (docker load since 1.10, containers/image, umoci), not by name or order.
//!
//! # The compressed form
//!
//! ONE gzip member, because Python's tarfile in stream mode, `zlib.decompressobj` and Perl read only the first. The
//! deflate blocks of each layer are taken as they are in its blob; see `splice`.

mod content;
mod digest;
mod error;
mod output;
mod splice;
mod write;

pub use digest::ArchiveDigest;
pub use error::ArchiveError;
pub use output::{ArchiveChecksums, ArchiveInfo, Checksums};
#[cfg(test)]
pub(crate) use splice::Splicer;
pub use write::{write_archive, write_docker_archive_plain};
