//! Starting runners: detached from whoever asked for the build, with the build's lock in hand.

use crate::layout::{BuildPaths, storage};
use osbs_cluster::{Build, ClusterError};
use osbs_sandbox::{Isolation, spawn_isolated};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program that runs a build's runner. `--home HOME --namespace NAMESPACE NAME` is appended.
#[derive(Debug, Clone)]
pub struct RunnerCommand {
    /// Usually this program itself.
    pub program: PathBuf,
    /// `run-build`.
    pub args: Vec<OsString>,
    /// Its whole environment (`PATH`).
    pub env: Vec<(OsString, OsString)>,
}

impl RunnerCommand {
    /// Starts a runner that outlives this process. `lock` is the build's lock: the runner's standard input.
    pub(crate) fn launch(
        &self,
        root: &Path,
        build: &Build,
        paths: &BuildPaths,
        lock: File,
    ) -> Result<(), ClusterError> {
        let console = paths.console();
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&console)
            .map_err(storage("open", &console))?;
        let errors = output.try_clone().map_err(storage("open", &console))?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).arg("--home").arg(root).arg("--namespace").arg(&build.namespace);
        command.arg(build.name.as_str()).current_dir("/").env_clear();
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command.stdin(lock).stdout(output).stderr(errors);
        let isolation = Isolation { session: true, ..Isolation::default() };
        let mut child = spawn_isolated(command, isolation).map_err(|source| ClusterError::Launch {
            program: self.program.display().to_string(),
            source: source.into(),
        })?;
        // Somebody must take note of its end, or it stays as a zombie as long as this process lives.
        let _ = std::thread::Builder::new().name("runner".to_owned()).stack_size(64 << 10).spawn(move || child.wait());
        Ok(())
    }
}
