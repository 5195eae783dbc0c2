//! Archives to trees: layers into the store, other tars into a root.

mod describe;
mod extract;
mod layer;
mod lower;
mod tree;

pub use extract::{ExtractOptions, Extracted, extract_tar};
pub(crate) use layer::{ChannelReader, spawn_inflater};
