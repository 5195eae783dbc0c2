//! What can go wrong while a layer is written or unpacked.

use crate::error::StoreError;
use osbs_types::{Digest, ErrorKind};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// A layer could not be written, or an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The store failed.
    #[error("the image store failed")]
    Store(#[from] StoreError),
    /// A file of the tree.
    #[error("cannot {action} {}", path.display())]
    File {
        /// A verb.
        action: &'static str,
        /// Path within the tree.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The compressed stream cannot be read.
    #[error("{what} cannot be read")]
    Read {
        /// Layer digest or archive name.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The tar cannot be understood.
    #[error("{what} is not a valid tar archive")]
    Tar {
        /// Layer digest or archive name.
        what: String,
        /// Why.
        #[source]
        source: tar_core::parse::ParseError,
    },
    /// An entry of the archive is refused.
    #[error("{what}: entry {}: {reason}", entry.display())]
    Entry {
        /// Layer digest or archive name.
        what: String,
        /// Name of the entry.
        entry: PathBuf,
        /// Why.
        reason: String,
    },
    /// The uncompressed bytes are not what the config promises.
    #[error("layer {layer} unpacks to {actual}, but the config promises {expected}")]
    WrongDiffId {
        /// Digest of the blob.
        layer: Digest,
        /// From the config.
        expected: Digest,
        /// From the bytes.
        actual: Digest,
    },
    /// A limit was passed.
    #[error("{what} is refused: more than {limit} {unit}{}", how_to_raise(option))]
    Limit {
        /// Layer digest or archive name.
        what: String,
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
        /// Field of [`crate::Limits`]; empty for one that the caller set.
        option: &'static str,
    },
    /// The user namespace of this process has no such id.
    #[error("{what}: {} belongs to user {uid} and group {gid}, which the user namespace of this build does not have: give the user more ids (usermod --add-subuids, --add-subgids) and choose a new --home", path.display())]
    NoSuchId {
        /// Layer digest or archive name.
        what: String,
        /// Path within the tree.
        path: PathBuf,
        /// Of the file.
        uid: u32,
        /// Of the file.
        gid: u32,
    },
    /// The tree changed while it was read.
    #[error("{} changed while it was being read", path.display())]
    Changed {
        /// Path within the tree.
        path: PathBuf,
    },
    /// The receiver of the compressed bytes failed.
    #[error("the layer could not be handed on while it was being made")]
    Sink {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The compressor refused to work.
    #[error("the compressor failed: {reason}")]
    Compressor {
        /// Why.
        reason: String,
    },
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl LayerError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(e) => e.kind(),
            Self::File { .. } | Self::NoSuchId { .. } => ErrorKind::Resource,
            Self::Read { source, .. } => match source.get_ref().and_then(|e| e.downcast_ref::<StoreError>()) {
                Some(e) => e.kind(),
                None => ErrorKind::User,
            },
            Self::Tar { .. } | Self::Entry { .. } | Self::WrongDiffId { .. } | Self::Changed { .. } => ErrorKind::User,
            Self::Limit { .. } => ErrorKind::Policy,
            Self::Sink { .. } => ErrorKind::Remote,
            Self::Compressor { .. } => ErrorKind::Internal,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// A stream could not be read. A limit that was met on the way is told as such.
    pub(crate) fn read(what: &str, source: io::Error) -> Self {
        if let Some(met) = source.get_ref().and_then(|inner| inner.downcast_ref::<LimitMet>()) {
            let LimitMet { limit, unit, option } = *met;
            return Self::Limit { what: what.to_owned(), limit, unit, option };
        }
        Self::Read { what: what.to_owned(), source }
    }

    pub(crate) fn file(action: &'static str, path: impl AsRef<OsStr>) -> impl FnOnce(io::Error) -> Self {
        let path = Path::new(path.as_ref()).to_owned();
        move |source| Self::File { action, path, source }
    }
}

fn how_to_raise(option: &str) -> String {
    if option.is_empty() {
        return String::new();
    }
    format!(" (an administrator can raise {option:?} in limits.json in the store's folder)")
}

/// A limit, told through a [`Read`](io::Read).
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("more than {limit} {unit}")]
pub(crate) struct LimitMet {
    pub limit: u64,
    pub unit: &'static str,
    pub option: &'static str,
}
