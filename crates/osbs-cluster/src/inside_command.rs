//! What a runner starts inside a build.

use crate::Build;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
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

    /// The whole environment: what OpenShift gives a build, where its events go, and what stands here.
    pub fn environment(&self, build: &Build, events: &Path) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(OsString, OsString)> = build.env.iter().map(|(k, v)| (k.into(), v.into())).collect();
        let ours: [(&str, OsString); 6] = [
            ("BUILD", build.to_build_object().to_string().into()),
            ("SOURCE_URI", build.source.uri.clone().into()),
            ("SOURCE_REF", build.source.git_ref.clone().into()),
            ("OUTPUT_IMAGE", build.output_image.clone().into()),
            ("LC_ALL", "C.UTF-8".into()),
            ("OSBS_EVENTS", events.into()),
        ];
        env.extend(ours.into_iter().map(|(k, v)| (k.into(), v)));
        env.extend(self.env.iter().cloned());
        env
    }
}
