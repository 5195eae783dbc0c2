//! What can go wrong while an archive is written.

use crate::error::StoreError;
use crate::layer::LayerError;
use osbs_types::ErrorKind;
use std::io;
use std::path::PathBuf;

/// An archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error("the image store failed")]
    Store(#[from] StoreError),
    /// A layer could not be read or compressed again.
    #[error("a layer of the image could not be used")]
    Layer(#[from] LayerError),
    /// The output.
    #[error("cannot write {}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl ArchiveError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(e) => e.kind(),
            Self::Layer(e) => e.kind(),
            Self::Output { .. } => ErrorKind::Resource,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }
}
