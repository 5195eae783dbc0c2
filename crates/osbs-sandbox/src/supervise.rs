//! Child processes that can be killed as a whole.
use crate::ProcessError;
use std::process::{Child, Command};

/// How far a child is cut off. All off by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Isolation {
    /// A pid namespace of its own, whose pid 1 it is, with a fresh /proc: when it dies, everything below dies. Implies
    /// `mount_namespace`.
    pub pid_namespace: bool,
    /// A mount namespace of its own: its mounts are seen by nobody else and vanish with it.
    pub mount_namespace: bool,
    /// A session and process group of its own.
    pub session: bool,
    /// SIGKILL for it when the **thread** that calls [`spawn_isolated`] ends.
    pub die_with_parent: bool,
}

/// Starts `command` so. The calling thread is the same afterwards.
pub fn spawn_isolated(_command: Command, _isolation: Isolation) -> Result<Child, ProcessError> {
    todo!()
}
