//! Overlay file systems.
use crate::MountError;
use std::path::{Path, PathBuf};

/// A mounted overlay; unmounted on drop.
#[derive(Debug)]
pub struct Overlay {
    target: PathBuf,
}

impl Overlay {
    /// Mounts `lowers` (bottom first) under `upper` on the existing folder `target`. `work` is an empty folder beside
    /// `upper`. `volatile` skips every sync to disk: for what nobody reads again after a crash.
    pub fn mount(
        _lowers: &[PathBuf],
        _upper: &Path,
        _work: &Path,
        _target: &Path,
        _volatile: bool,
    ) -> Result<Self, MountError> {
        todo!()
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Unmounts now, and tells when that fails.
    pub fn unmount(self) -> Result<(), MountError> {
        todo!()
    }
}
