//! Which OCI runtime works on this machine.
use osbs_types::ErrorKind;
use std::path::PathBuf;

/// The runtimes we know how to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// runc.
    Runc,
    /// crun.
    Crun,
    /// youki.
    Youki,
}

/// A runtime that has been seen working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Which one.
    pub kind: RuntimeKind,
    /// Where it is.
    pub program: PathBuf,
    /// First line of `--version`.
    pub version: String,
}

/// A container could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// Somebody asked to stop.
    #[error("the container was stopped because the build was cancelled")]
    Cancelled,
}

impl RuntimeError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Cancelled
    }
}

/// Finds a runtime that really runs a container here. `preferred`: a name (`crun`) or absolute path to use and no other.
pub fn probe_runtime(_preferred: Option<&str>) -> Result<Runtime, RuntimeError> {
    todo!()
}
