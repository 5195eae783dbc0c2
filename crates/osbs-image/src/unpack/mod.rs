//! Archives to trees: layers into the store, other tars into a root.

mod describe;
mod extract;
mod folders;
mod inflate;
mod layer;
mod lower;
mod make;
mod tree;

pub use extract::{ExtractOptions, Extracted, extract_tar};
pub(crate) use inflate::{ChannelReader, spawn_inflater};
