//! Names of processes that survive the reuse of pids and reboots, and signals that reach only who was meant.
//!
//! Must not start processes: [`crate::spawn_isolated`] does.

use osbs_types::ErrorKind;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::AsFd as _;

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
        source: io::Error,
    },
    /// No such process.
    #[error("there is no process {pid}")]
    NotThere {
        /// The id.
        pid: u32,
    },
    /// `/proc` is missing or is that of another kernel.
    #[error("{path} does not hold what proc(5) says")]
    Proc {
        /// The file.
        path: String,
    },
    /// The signal number is none, or the cgroup path is not one below the root.
    #[error("{value:?} is not a {what}")]
    Argument {
        /// What it should have been.
        what: &'static str,
        /// What it was.
        value: String,
    },
}

impl ProcessError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } | Self::Proc { .. } | Self::NotThere { .. } => ErrorKind::Resource,
            Self::Argument { .. } => ErrorKind::Internal,
        }
    }

    /// Wraps the kernel's answer.
    pub(crate) fn refused(operation: &'static str, subject: impl ToString, source: impl Into<io::Error>) -> Self {
        Self::Refused { operation, subject: subject.to_string(), source: source.into() }
    }
}

/// One process of this machine: the three together are never used again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id, as seen in the pid namespace that /proc belongs to.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

impl ProcessId {
    /// The calling process.
    ///
    /// # Errors
    /// As [`ProcessId::of`].
    pub fn current() -> Result<Self, ProcessError> {
        Self::of(std::process::id())
    }

    /// The process that now has `pid`, a zombie too.
    ///
    /// # Errors
    /// [`ProcessError::NotThere`], or /proc is unusable.
    pub fn of(pid: u32) -> Result<Self, ProcessError> {
        let (start_ticks, _) = read_stat(pid)?;
        Ok(Self { pid, start_ticks, boot_id: boot_id()? })
    }

    /// Whether it still runs. A zombie does not, and nothing does of another boot.
    pub fn is_alive(&self) -> bool {
        read_stat(self.pid).is_ok_and(|(start, state)| start == self.start_ticks && !matches!(state, b'Z' | b'X'))
            && boot_id().is_ok_and(|boot| boot == self.boot_id)
    }

    /// Sends a signal (`libc::SIGTERM`). `Ok(false)`: it is not there any more.
    ///
    /// # Errors
    /// Not allowed, or no signal of that number.
    pub fn signal(&self, signal: i32) -> Result<bool, ProcessError> {
        let number = named_signal(signal)?;
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()) else { return Ok(false) };
        // The descriptor stands for whoever has the pid now; that it is the right one is checked after that.
        let handle = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            other => other.map_err(|error| ProcessError::refused("open process", self.pid, error))?,
        };
        if !self.is_alive() {
            return Ok(false);
        }
        match rustix::process::pidfd_send_signal(handle.as_fd(), number) {
            Err(rustix::io::Errno::SRCH) => Ok(false),
            other => other.map(|()| true).map_err(|error| ProcessError::refused("signal process", self.pid, error)),
        }
    }

    /// Sends a signal to the whole process group it leads. `Ok(false)`: it is not there any more.
    ///
    /// # Errors
    /// Not allowed, or no signal of that number.
    pub fn kill_group(&self, signal: i32) -> Result<bool, ProcessError> {
        let number = named_signal(signal)?;
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()) else { return Ok(false) };
        // A zombie leader will do: as long as it is not reaped, nobody else gets its id.
        if !self.same_process() {
            return Ok(false);
        }
        match rustix::process::kill_process_group(pid, number) {
            Err(rustix::io::Errno::SRCH) => Ok(false),
            other => {
                other.map(|()| true).map_err(|error| ProcessError::refused("signal process group", self.pid, error))
            }
        }
    }

    fn same_process(&self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == *self)
    }
}

fn named_signal(signal: i32) -> Result<Signal, ProcessError> {
    Signal::from_named_raw(signal)
        .ok_or_else(|| ProcessError::Argument { what: "signal number", value: signal.to_string() })
}

fn boot_id() -> Result<String, ProcessError> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(|error| ProcessError::refused("read", path, error))?;
    Ok(text.trim().to_owned())
}

/// Start time and state letter.
fn read_stat(pid: u32) -> Result<(u64, u8), ProcessError> {
    let path = format!("/proc/{pid}/stat");
    let stat = match std::fs::read(&path) {
        // ESRCH: it went between open and read.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {
            return Err(ProcessError::NotThere { pid });
        }
        other => other.map_err(|error| ProcessError::refused("read", &path, error))?,
    };
    parse_stat(&stat).ok_or(ProcessError::Proc { path })
}

/// The name in field 2 may hold anything, `)` too: fields are counted from its last one.
fn parse_stat(stat: &[u8]) -> Option<(u64, u8)> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 2;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    let state = *rest.as_bytes().first()?;
    let start = rest.split(' ').nth(19)?.parse().ok()?;
    Some((start, state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn hostile_process_names() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        for name in ["sh", "a b", ") R 1 2", "((", "x)"] {
            assert_eq!(parse_stat(format!("12 ({name}) {tail}").as_bytes()), Some((4711, b'S')), "{name}");
        }
        assert_eq!(parse_stat(b"12 (sh"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn alive_until_dead() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        assert!(id.is_alive());
        let other_start = ProcessId { start_ticks: id.start_ticks + 1, ..id.clone() };
        let other_boot = ProcessId { boot_id: "another".into(), ..id.clone() };
        for stranger in [&other_start, &other_boot] {
            assert!(!stranger.is_alive());
            assert!(!stranger.signal(libc::SIGKILL).unwrap(), "a reused pid is not touched");
            assert!(!stranger.kill_group(libc::SIGKILL).unwrap());
        }
        assert!(id.signal(libc::SIGTERM).unwrap());
        let status = child.wait().unwrap();
        assert!(!status.success());
        assert!(!id.is_alive());
        assert!(!id.signal(libc::SIGTERM).unwrap());
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = Command::new("true").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        while id.is_alive() {
            std::thread::yield_now();
        }
        assert!(ProcessId::of(child.id()).is_ok(), "not reaped yet");
        child.wait().unwrap();
    }

    #[test]
    fn round_trip() {
        let id = ProcessId::current().unwrap();
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<ProcessId>(&json).unwrap(), id);
        assert!(id.is_alive());
        assert!(id.signal(4000).is_err());
    }
}
