//! ADD of an archive: a tar unpacked into a root, as `tar -x` in a chroot would.

use crate::layer::LayerError;
use crate::limits::Limits;
use crate::tar::TarReader;
use crate::unpack::tree::{Overrides, Reading, Tree};
use rustix::fd::BorrowedFd;
use std::io::Read;
use tokio_util::sync::CancellationToken;

/// How to unpack an archive that is no layer.
#[derive(Debug, Clone)]
pub struct ExtractOptions {
    /// Owner of everything, instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// Permission bits of everything but symbolic links, instead of the archive's.
    pub mode: Option<u32>,
    /// Most bytes to write.
    pub max_bytes: u64,
    /// Most entries to make.
    pub max_entries: u64,
    /// Name of the archive for messages.
    pub name: String,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extracted {
    /// Number of entries.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// Unpacks a tar below `root`, which it cannot leave: every path is resolved by openat2 with RESOLVE_IN_ROOT, so links of
/// the image are followed inside. Whiteout names have no meaning here.
///
/// # Errors
/// The archive is damaged, an entry is refused, a limit is passed, or the disk is full.
pub fn extract_tar(
    reader: &mut dyn Read,
    root: BorrowedFd<'_>,
    options: &ExtractOptions,
    cancel: &CancellationToken,
) -> Result<Extracted, LayerError> {
    let overrides = Overrides { owner: options.owner, mode: options.mode };
    let mut tree = Tree::new(root, Reading::Plain, overrides, &options.name).map_err(LayerError::file("open", "/"))?;
    let mut tar = TarReader::new(reader, options.name.clone(), &Limits::default());
    let limit = |limit, unit| LayerError::Limit { what: options.name.clone(), limit, unit, option: "" };
    while let Some(entry) = tar.next().map_err(of_caller)? {
        if cancel.is_cancelled() {
            return Err(LayerError::Cancelled);
        }
        if tree.bytes.saturating_add(entry.file_size()) > options.max_bytes {
            return Err(limit(options.max_bytes, "bytes"));
        }
        if tree.entries >= options.max_entries {
            return Err(limit(options.max_entries, "entries"));
        }
        tree.apply(&mut tar, entry)?;
    }
    tree.finish()?;
    Ok(Extracted { entries: tree.entries, bytes: tree.bytes })
}

/// The store's limits are not those of an archive of the context: how to raise them does not belong here.
fn of_caller(error: LayerError) -> LayerError {
    match error {
        LayerError::Limit { what, limit, unit, .. } => LayerError::Limit { what, limit, unit, option: "" },
        other => other,
    }
}
