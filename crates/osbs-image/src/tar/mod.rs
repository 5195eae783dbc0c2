//! Reading tar archives. `reader` walks, `strict` refuses what other programs would read in another way, `listing` tells
//! what is inside without making files.

mod listing;
mod reader;
mod strict;

pub use listing::{ListedEntry, list_layer, list_tar};
pub(crate) use reader::{EntryKind, TarEntry, TarReader};
