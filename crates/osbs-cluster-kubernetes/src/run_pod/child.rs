//! The reactor as a child of process 1, and the orphans that become its children.

use osbs_cluster::{Build, ClusterError, InsideCommand, storage};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// The reactor is killed for its memory before the runner, which is to tell of it.
const OOM_SCORE: &str = "1000";

/// The reactor.
pub(super) struct Child {
    pid: Pid,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts it, in a folder `work` beside the event file.
    pub(super) fn start(
        inside: &InsideCommand,
        build: &Build,
        events: &Path,
        console: &Path,
    ) -> Result<Self, ClusterError> {
        let folder = events.parent().unwrap_or(Path::new("/"));
        let work = folder.join("work");
        for dir in [&work, &folder.join("results")] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(storage("make a folder", dir))?;
        }
        let failed = || storage("open", console);
        let output = OpenOptions::new().create(true).append(true).mode(0o600).open(console).map_err(failed())?;
        let errors = output.try_clone().map_err(failed())?;
        let mut command = Command::new(&inside.program);
        command.args(&inside.args).current_dir(&work).env_clear().envs(inside.environment(build, events));
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let child = command.spawn().map_err(|source| ClusterError::Launch {
            program: inside.program.display().to_string(),
            source: source.into(),
        })?;
        // Where it is not allowed the kernel chooses by size, which comes to the same.
        let _ = std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), OOM_SCORE);
        Ok(Self { pid: Pid::from_child(&child), ended: None })
    }

    /// Takes note of everything that has ended; the reactor's status, once it has.
    pub(super) fn reap(&mut self) -> Option<ExitStatus> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.pid {
                self.ended = Some(ExitStatus::from_raw(status.as_raw()));
            }
        }
        self.ended
    }

    /// Tells it to stop.
    pub(super) fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Ends it.
    pub(super) fn kill(&self) {
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        if self.ended.is_none() {
            // Gone already: its end will be seen.
            let _ = kill_process(self.pid, signal);
        }
    }
}
