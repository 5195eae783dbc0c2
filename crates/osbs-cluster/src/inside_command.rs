//! What a runner starts inside a build.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The program that runs inside a build, and what it may know of its surroundings.
#[derive(Debug, Clone)]
pub struct InsideCommand {
    /// Usually this program itself.
    pub program: PathBuf,
    /// `inside-build --input osv3`.
    pub args: Vec<OsString>,
    /// Beside what the cluster adds itself: `PATH`, `OSBS_HOME`. Nothing else is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// How long a cancelled build may take for its exit plugins before it is killed.
    pub grace: Duration,
}

impl InsideCommand {
    /// That program without arguments, 30 s of grace.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new(), grace: Duration::from_secs(30) }
    }
}
