//! Mount namespaces and the table of mounts.
use osbs_types::ErrorKind;
use std::path::{Path, PathBuf};

/// A mount operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The kernel refused.
    #[error("cannot {operation} {}", path.display())]
    Refused {
        /// What was tried: `mount an overlay on`, `unmount`.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl MountError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Resource
    }
}

/// Gives this process a mount namespace of its own. Call it before the first thread is started.
pub fn enter_private_mounts() -> Result<(), MountError> {
    todo!()
}

/// The mount points at and below `dir`, in the order they were mounted.
pub fn mounts_below(_dir: &Path) -> Result<Vec<PathBuf>, MountError> {
    todo!()
}

/// Unmounts everything at and below `dir`, last mounted first. Returns how many there were.
pub fn unmount_below(_dir: &Path) -> Result<usize, MountError> {
    todo!()
}
