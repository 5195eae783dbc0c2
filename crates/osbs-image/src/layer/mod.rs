//! Layers: tar to tree (`unpack`), tree to tar (`write`), and what lies between.

mod error;
mod write;

pub use error::LayerError;
pub use write::{BlobSink, Compression, LayerRequest, LayerTap, WrittenLayer, write_layer};
