//! Programs of other architectures, by qemu-user and binfmt_misc.
use osbs_types::{Architecture, ErrorKind};

/// Why programs of an architecture do not run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// Nobody registered an interpreter for it.
    #[error("this machine cannot run {architecture} programs: {need}")]
    CannotRun {
        /// The architecture.
        architecture: Architecture,
        /// Package and command that make it able.
        need: String,
    },
}

impl ForeignError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Resource
    }
}

/// Whether a program of `architecture` runs in a container here, found out by running one.
pub fn can_run(_architecture: &Architecture) -> Result<(), ForeignError> {
    todo!()
}

/// Makes the machine able to run `architecture`, if it is not yet: mounts binfmt_misc and registers qemu-user.
/// Needs root. The registration lasts as long as binfmt_misc stays mounted.
pub fn register_binfmt(_architecture: &Architecture) -> Result<(), ForeignError> {
    todo!()
}
