//! Layers: tree to tar. [`write_layer`] is the way in; `plan` walks, `source` reads, `pipeline` hashes and compresses.

mod deflate;
mod error;
pub(crate) mod header;
pub(crate) mod pipeline;
mod plan;
pub(crate) mod source;
mod write;

pub(crate) use deflate::{BlockCompressor, GZIP_HEADER, gzip_trailer};
pub use error::LayerError;
pub(crate) use error::LimitMet;
pub(crate) use plan::{is_layer_xattr, is_opaque, is_whiteout};
pub use write::{BlobSink, Compression, LayerRequest, LayerTap, WrittenLayer, write_layer};
