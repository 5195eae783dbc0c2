//! The source of a build: checked out into a work folder of its own, the build file found, first checks done
//! (`reactor.md` 1.2).
//!
//! The only place that fetches. Removes what it made.

use crate::plugin::PluginError;
use crate::run::{Parents, Run};
use std::io;
use std::path::{Path, PathBuf};

/// A checked-out source.
#[derive(Debug)]
pub struct SourceTree {
    workdir: PathBuf,
    root: PathBuf,
    build_file: PathBuf,
    uri: String,
    commit_id: Option<String>,
}

impl SourceTree {
    /// Fetches what the run's build JSON names.
    ///
    /// # Errors
    /// The repository, the ref or the build file is not there.
    pub async fn fetch(_run: &Run) -> Result<Self, PluginError> {
        todo!()
    }

    /// The temporary folder of the run, for anything large.
    pub fn workdir(&self) -> &Path {
        &self.workdir
    }

    /// The clone.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The Dockerfile (or container.yaml of a Flatpak).
    pub fn build_file(&self) -> &Path {
        &self.build_file
    }

    /// The folder the build file is in: the build context.
    pub fn dockerfile_dir(&self) -> &Path {
        self.build_file.parent().unwrap_or(&self.root)
    }

    /// Where it came from.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The commit, for git sources.
    pub fn commit_id(&self) -> Option<&str> {
        self.commit_id.as_deref()
    }

    /// Parents of the Dockerfile as it is now.
    ///
    /// # Errors
    /// It cannot be read or breaks a rule of 1.2.
    pub fn parents(&self) -> Result<Parents, PluginError> {
        todo!()
    }

    /// Removes the work folder.
    ///
    /// # Errors
    /// Something in it cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.workdir)
    }
}
