//! A child that makes the user namespace and tries in it what a build will do. It changes nothing of its parent, and ends
//! with it.
#![allow(unsafe_code)]

use crate::process::ProcessError;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountPropagationFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// What the child tries, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    UserNamespace,
    MountNamespace,
    Overlay,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Fine,
    Refused(io::Error),
}

/// The child; killed when dropped.
#[derive(Debug)]
pub(super) struct NamespaceProbe {
    child: Pid,
    go: Option<std::fs::File>,
    said: std::fs::File,
}

impl NamespaceProbe {
    /// Starts it. Only in a process with one thread: the child goes on with a copy of it.
    pub(super) fn start() -> Result<Self, ProcessError> {
        let refused = |error: Errno| ProcessError::refused("start", "a child for the user namespace", error);
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(refused);
        let ((go_read, go_write), (said_read, said_write)) = (pipe()?, pipe()?);
        // SAFETY: the caller has one thread, so the child's memory is whole; it leaves by _exit, which runs no handler
        // of the parent's.
        match unsafe { libc::fork() } {
            -1 => Err(ProcessError::refused("start", "a child for the user namespace", io::Error::last_os_error())),
            0 => {
                drop((go_write, said_read));
                let code = child(go_read, said_write);
                let code = i32::from(code != ExitCode::SUCCESS);
                // SAFETY: ends this process.
                unsafe { libc::_exit(code) }
            }
            pid => {
                let child = Pid::from_raw(pid).ok_or_else(|| refused(Errno::CHILD))?;
                Ok(Self { child, go: Some(go_write.into()), said: said_read.into() })
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.as_raw_nonzero().get().cast_unsigned()
    }

    /// Waits for the answer to the next step.
    pub(super) fn answer(&mut self, step: Step) -> Result<Answer, ProcessError> {
        let mut errno = [0; 4];
        self.said
            .read_exact(&mut errno)
            .map_err(|error| ProcessError::refused("try a namespace", format!("{step:?}"), error))?;
        Ok(match i32::from_ne_bytes(errno) {
            0 => Answer::Fine,
            errno => Answer::Refused(io::Error::from_raw_os_error(errno)),
        })
    }

    /// The ids are mapped: the child may try the rest.
    pub(super) fn go_on(&mut self) -> Result<(), ProcessError> {
        let written = self.go.as_mut().map_or(Ok(()), |go| go.write_all(b"."));
        written.map_err(|error| ProcessError::refused("talk to process", self.pid(), error))
    }

    /// The child's user namespace.
    pub(super) fn namespace(&self) -> Result<OwnedFd, ProcessError> {
        let path = format!("/proc/{}/ns/user", self.pid());
        rustix::fs::openat(CWD, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| ProcessError::refused("open", &path, error))
    }
}

impl Drop for NamespaceProbe {
    fn drop(&mut self) {
        self.go = None;
        let _ = rustix::process::kill_process(self.child, Signal::KILL);
        let _ = rustix::process::waitpid(Some(self.child), WaitOptions::empty());
    }
}

/// All that the child does.
fn child(go: OwnedFd, said: OwnedFd) -> ExitCode {
    let (mut go, mut said) = (std::fs::File::from(go), std::fs::File::from(said));
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let mut say = |result: rustix::io::Result<()>| {
        let errno = result.err().map_or(0, Errno::raw_os_error);
        said.write_all(&errno.to_ne_bytes()).is_ok() && errno == 0
    };
    // SAFETY: one thread; no table of file descriptors is unshared.
    let unshare = |flags| unsafe { rustix::thread::unshare_unsafe(flags) };
    if !say(unshare(UnshareFlags::NEWUSER)) {
        return ExitCode::FAILURE;
    }
    // Nothing comes when the parent could not map the ids.
    if go.read_exact(&mut [0]).is_err() {
        return ExitCode::FAILURE;
    }
    let private = || {
        unshare(UnshareFlags::NEWNS)?;
        rustix::mount::mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
    };
    if !say(private()) || !say(overlay()) {
        return ExitCode::FAILURE;
    }
    // Until the parent has entered.
    let _ = go.read(&mut [0]);
    ExitCode::SUCCESS
}

/// Whether overlayfs may be mounted here: asks for one without folders, which is refused for that or for want of rights.
fn overlay() -> rustix::io::Result<()> {
    let overlay = rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_flag(&overlay, c"userxattr")?;
    match rustix::mount::fsconfig_create(&overlay) {
        Err(error @ (Errno::PERM | Errno::NODEV | Errno::NOSYS)) => Err(error),
        _ => Ok(()),
    }
}
