//! Which process runs a build, well enough to find what is left of it when its runner is gone.

use osbs_sandbox::ProcessId;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// SIGKILL.
const KILL: i32 = 9;
/// How long a killed process may take to go away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The processes of a build. Process ids mean something only in the pid namespace they were read in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessMark {
    /// The pid namespace, as `/proc/self/ns/pid` names it.
    pub namespace: String,
    /// Boot id of the machine.
    pub boot_id: String,
    /// The runner.
    pub runner: u32,
    /// The reactor, once it has started.
    pub inside: Option<ProcessId>,
}

fn pid_namespace() -> String {
    std::fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The boot id of this machine, or nothing where there is none.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

impl ProcessMark {
    /// The calling process as a runner.
    pub(crate) fn of_this_runner() -> Self {
        Self { namespace: pid_namespace(), boot_id: boot_id(), runner: std::process::id(), inside: None }
    }

    /// Kills what is left of the reactor and waits until it is gone. It was told to die with its runner, so there is
    /// seldom anything to do but wait.
    pub(crate) fn kill_rest(&self) {
        let Some(inside) = &self.inside else { return };
        if self.boot_id != boot_id() || self.namespace != pid_namespace() {
            return;
        }
        let start = Instant::now();
        while inside.is_alive() && start.elapsed() < PATIENCE {
            let _ = inside.signal(KILL);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
