//! Child processes that can be killed as a whole, and that die with who started them.
//!
//! Must not wait for the child or read its output: it hands out an ordinary [`Child`].
#![allow(unsafe_code)]

use crate::ProcessError;
use crate::rootless::in_user_namespace;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
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
    /// SIGKILL for it when the **thread** that calls [`spawn_isolated`] ends, however it ends; in a user namespace, with a
    /// pid namespace, when the process ends.
    pub die_with_parent: bool,
}

impl Isolation {
    /// All of it: how a build's reactor runs.
    pub const FULL: Self = Self { pid_namespace: true, mount_namespace: true, session: true, die_with_parent: true };
}

/// Starts `command` so. The calling thread is the same afterwards: its later children are ordinary ones again.
///
/// As pid 1 of its namespace the child gets a SIGTERM only if it has a handler for it, and SIGKILL always.
///
/// # Errors
/// The program cannot be started, or a namespace is refused (root is needed for those).
pub fn spawn_isolated(command: Command, isolation: Isolation) -> Result<Child, ProcessError> {
    spawn_isolated_then(command, isolation, || Ok(()))
}

/// As [`spawn_isolated`]; the child does `then` after it was cut off and before the program starts, between fork and exec:
/// only system calls, on what exists already.
pub(crate) fn spawn_isolated_then(
    mut command: Command,
    isolation: Isolation,
    then: impl Fn() -> io::Result<()> + Send + Sync + 'static,
) -> Result<Child, ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let refused = |error: io::Error| ProcessError::refused("start", &program, error);
    // The child sees the reading end report a hang-up if we are gone before its death signal is armed.
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| refused(e.into()))?;
    let setup = ChildSetup { isolation, reader: reader.as_raw_fd(), writer: writer.as_raw_fd() };
    // SAFETY: `ChildSetup::apply`, and `then` by its contract, only make system calls on arguments that exist already; they
    // do not allocate and take no lock, as must be between fork and exec of a process with threads.
    unsafe {
        command.pre_exec(move || {
            setup.apply()?;
            then()
        })
    };
    let child = if isolation.pid_namespace { spawn_in_pid_namespace(command) } else { command.spawn() };
    drop((reader, writer));
    child.map_err(refused)
}

/// What the child does to itself before the program runs.
#[derive(Clone, Copy)]
struct ChildSetup {
    isolation: Isolation,
    reader: RawFd,
    writer: RawFd,
}

impl ChildSetup {
    fn apply(self) -> io::Result<()> {
        if self.isolation.session {
            rustix::process::setsid()?;
        }
        if self.isolation.mount_namespace || self.isolation.pid_namespace {
            // SAFETY: this process has one thread since the fork; no file descriptor table is unshared.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
            rustix::mount::mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        }
        if self.isolation.pid_namespace {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            rustix::mount::mount(c"proc", c"/proc", c"proc", flags, None)?;
        }
        if self.isolation.die_with_parent {
            self.arm_death_signal()?;
        }
        Ok(())
    }

    fn arm_death_signal(self) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // SAFETY: the descriptor is this process's own copy of the pipe's writing end, which nothing here uses later.
        unsafe { libc::close(self.writer) };
        let mut poll = libc::pollfd { fd: self.reader, events: 0, revents: 0 };
        // SAFETY: one valid pollfd, and a timeout of zero.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        if ready > 0 && poll.revents & libc::POLLHUP != 0 {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    }
}

/// A new pid namespace applies to the next children of this *thread*, and can be taken back.
fn spawn_in_pid_namespace(mut command: Command) -> io::Result<Child> {
    if in_user_namespace() {
        return spawn_by_a_thread(command);
    }
    let own = own_pid_namespace()?;
    // SAFETY: NEWPID changes nothing for the caller, only where its next child is born; no descriptors are unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }?;
    let child = command.spawn();
    let back = rustix::thread::move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID));
    match (child, back) {
        (Ok(mut child), Err(error)) => {
            // Without the way back the next child would be born into the dead namespace. Never seen.
            let _ = child.kill();
            let _ = child.wait();
            Err(error.into())
        }
        (child, _) => child,
    }
}

/// Root of a user namespace only may not go back into the machine's pid namespace: a thread goes into the new one, and ends
/// with the child.
fn spawn_by_a_thread(mut command: Command) -> io::Result<Child> {
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    let work = move || {
        // SAFETY: as above.
        let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) };
        let child = unshared.map_err(io::Error::from).and_then(|()| command.spawn());
        drop(command);
        let pid = child.as_ref().ok().map(rustix::process::Pid::from_child);
        let handle = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        let _ = send.send(child);
        // The child is told of this thread's death, and must not be told while it lives. It is left to who asked for it.
        if let Some(handle) = handle {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(handle.as_fd()), options));
        }
    };
    std::thread::Builder::new().name("pid namespace".to_owned()).spawn(work)?;
    receive.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

fn own_pid_namespace() -> io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open(c"/proc/self/ns/pid", flags, rustix::fs::Mode::empty())?)
}
