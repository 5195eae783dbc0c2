//! Names of processes that outlive pid reuse and reboots.
use osbs_types::ErrorKind;
use serde::{Deserialize, Serialize};

/// A process operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The kernel refused.
    #[error("cannot {operation} {subject}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// On what.
        subject: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl ProcessError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Resource
    }
}

/// One process of this machine, now and forever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id, as seen from where it was read.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

impl ProcessId {
    /// The calling process.
    pub fn current() -> Result<Self, ProcessError> {
        todo!()
    }

    /// The process that now has `pid`.
    pub fn of(_pid: u32) -> Result<Self, ProcessError> {
        todo!()
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_alive(&self) -> bool {
        todo!()
    }

    /// Sends a signal (`libc::SIGTERM`). `Ok(false)`: it is not there any more.
    pub fn signal(&self, _signal: i32) -> Result<bool, ProcessError> {
        todo!()
    }

    /// Sends a signal to the whole process group it leads. `Ok(false)`: it is not there any more.
    pub fn kill_group(&self, _signal: i32) -> Result<bool, ProcessError> {
        todo!()
    }
}
