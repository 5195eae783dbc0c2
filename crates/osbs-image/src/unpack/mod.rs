//! Archives to trees: layers into the store, other tars into a root.

mod extract;
mod layer;
mod lower;
mod tree;

pub use extract::{ExtractOptions, Extracted, extract_tar};
pub(crate) use layer::{ChannelReader, spawn_inflater};
pub(crate) use tree::remove_tree;
