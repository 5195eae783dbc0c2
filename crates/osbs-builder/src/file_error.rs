//! A failed file operation, with what and where.
//!
//! Must not know which instruction wanted it.

use crate::error::{disk_full, is_full};
use osbs_types::ErrorKind;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// A file operation failed.
#[derive(Debug)]
pub struct FileError {
    /// The verb: `create`, `read`, `copy`.
    pub action: &'static str,
    /// The file: in the image when it starts with a slash, else in the context or the work folder.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
    /// The file system that is full, when that is why.
    pub full: Option<String>,
}

impl FileError {
    pub(crate) fn new(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self { action, path: path.into(), source: source.into(), full: None }
    }

    /// Names the file system if this is about space; `folder` is one that lies on it.
    pub(crate) fn located(mut self, folder: &Path) -> Self {
        if is_full(&self.source) {
            self.full = Some(crate::disk::describe(folder));
        }
        self
    }

    /// Whose fault.
    pub(crate) fn kind(&self) -> ErrorKind {
        use io::ErrorKind as K;
        match self.source.kind() {
            K::StorageFull | K::QuotaExceeded | K::OutOfMemory | K::ReadOnlyFilesystem => ErrorKind::Resource,
            K::PermissionDenied if self.path.is_absolute() => ErrorKind::Resource,
            _ => ErrorKind::User,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(full) = &self.full {
            f.write_str(&disk_full(Some(full)))?;
        }
        write!(f, "cannot {} {}", self.action, self.path.display())
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
