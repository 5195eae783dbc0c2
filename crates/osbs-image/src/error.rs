//! What can go wrong with the store. Layers and archives have their own enums beside their code.

use osbs_types::{Digest, ErrorKind};
use std::io;
use std::path::{Path, PathBuf};

/// An operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// Verb and object, for example "write blob".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The folder was written by another version of this program.
    #[error("{} has store layout version {found:?}, this program knows version {known} only: use another folder or remove that one", path.display())]
    Version {
        /// The store.
        path: PathBuf,
        /// Content of its version file.
        found: String,
        /// Our version.
        known: u32,
    },
    /// Its files have the ids of another user namespace.
    #[error("the store {} was made by {made_by}, and this process is {now}: use another folder (--home DIR), or remove that one as who made it", path.display())]
    Ownership {
        /// The store.
        path: PathBuf,
        /// Who made it.
        made_by: String,
        /// Who wants to use it.
        now: String,
    },
    /// The bytes are not what the digest promises.
    #[error("wrong content: expected {expected} ({expected_size:?} bytes), got {actual} ({actual_size} bytes)")]
    WrongContent {
        /// What was promised.
        expected: Digest,
        /// The size that was promised, if any was.
        expected_size: Option<u64>,
        /// What came.
        actual: Digest,
        /// How much came.
        actual_size: u64,
    },
    /// The blob is not in the store.
    #[error("blob {digest} is not in the store")]
    Missing {
        /// Its digest.
        digest: Digest,
    },
    /// A limit was passed.
    #[error(
        "{what} is refused: more than {limit} {unit} (an administrator can raise {option:?} in limits.json in the store's folder)"
    )]
    Limit {
        /// The document.
        what: String,
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
        /// Field of [`crate::Limits`].
        option: &'static str,
    },
    /// A manifest, index, config or record cannot be understood.
    #[error("{what} {name} is not valid")]
    Document {
        /// For example "manifest".
        what: &'static str,
        /// Digest or file name.
        name: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest, index or config is well-formed but contradicts itself or is of an unknown kind.
    #[error("{what} {name}: {reason}")]
    Inconsistent {
        /// For example "manifest".
        what: &'static str,
        /// Digest or file name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Garbage collection met a lease.
    #[error("the store is in use by {}", owners.join(", "))]
    InUse {
        /// Owners of the leases.
        owners: Vec<String>,
    },
    /// No such reference.
    #[error("{name:?} is not in the store")]
    NoRef {
        /// The name.
        name: String,
    },
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl StoreError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::Version { .. } | Self::Ownership { .. } | Self::InUse { .. } => ErrorKind::Resource,
            Self::WrongContent { .. } => ErrorKind::Remote,
            Self::Missing { .. } => ErrorKind::Internal,
            Self::Limit { .. } => ErrorKind::Policy,
            Self::Document { .. } | Self::Inconsistent { .. } | Self::NoRef { .. } => ErrorKind::User,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
