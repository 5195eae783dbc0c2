//! Process 1 of the pid namespace that a container is started in: it starts the runtime and waits for the container.
//!
//! The runtime leaves the container alone once it runs (`run --detach`). Only so the program has our pipes themselves: a
//! runtime that stays copies what it reads from two pipes of its own, and the order of lines is lost. The container, which
//! has lost its parent then, is the child of process 1, which ends as the container does.
//!
//! Must not touch memory that a lock guards: it is a copy of a process with threads, and never becomes another program.
#![allow(unsafe_code)]

use rustix::fs::{Mode, OFlags};
use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

/// What it needs to know.
pub(crate) struct Reaper {
    /// Where the runtime writes the number of the container's first process.
    pid_file: CString,
}

impl Reaper {
    pub(crate) fn new(pid_file: &Path) -> io::Result<Self> {
        Ok(Self { pid_file: CString::new(pid_file.as_os_str().as_encoded_bytes())? })
    }

    /// Returns in a new process, which is to become the runtime; the one that calls this waits for the container and ends.
    /// To be called between fork and exec: only system calls, on what exists already.
    pub(crate) fn split(&self) -> io::Result<()> {
        let before = block_signals();
        // SAFETY: as fork(2) does, in a process with one thread; both sides only make system calls on what exists already.
        let runtime = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        match runtime {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: a mask that the kernel has given.
                unsafe { libc::sigprocmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
                Ok(())
            }
            runtime => wait(runtime as libc::pid_t, &self.pid_file),
        }
    }
}

/// The signals that are waited for; gives the mask as it was.
fn block_signals() -> MaybeUninit<libc::sigset_t> {
    let mut before = MaybeUninit::uninit();
    let wanted = wanted_signals();
    // SAFETY: two masks of this function's own.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, wanted.as_ptr(), before.as_mut_ptr()) };
    before
}

fn wanted_signals() -> MaybeUninit<libc::sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: a mask of this function's own.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
    }
    set
}

/// Ends with the runtime's exit code if that is not 0, else with the container's.
fn wait(runtime: libc::pid_t, pid_file: &CStr) -> ! {
    close_everything();
    let signals = wanted_signals();
    let mut waited_for = runtime;
    loop {
        while let Some(code) = ended(waited_for) {
            if waited_for != runtime || code != 0 {
                leave(code);
            }
            // A container that has no number never was.
            waited_for = number_in(pid_file).unwrap_or_else(|| leave(code));
        }
        // SAFETY: a mask of this function's own; what else is told of the signal is not asked for.
        if unsafe { libc::sigwaitinfo(signals.as_ptr(), std::ptr::null_mut()) } == libc::SIGTERM {
            // SAFETY: a child of this process that nobody else waits for, so that the number is still its own.
            unsafe { libc::kill(waited_for, libc::SIGTERM) };
        }
    }
}

/// Pipes above all: somebody waits for their end.
fn close_everything() {
    // SAFETY: nothing in this process uses a descriptor from here on.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) != 0 {
            // Before Linux 5.9.
            let most = libc::sysconf(libc::_SC_OPEN_MAX).clamp(1024, 1 << 20);
            for fd in 0..most {
                libc::close(fd as libc::c_int);
            }
        }
    }
}

/// The exit code of a child that has ended, 128 + signal when a signal ended it.
fn ended(child: libc::pid_t) -> Option<libc::c_int> {
    let mut status = 0;
    // SAFETY: a number of this function's own.
    match unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } {
        0 => None,
        // No child of ours: nothing will ever be told of it.
        -1 => Some(libc::EXIT_FAILURE),
        _ if libc::WIFSIGNALED(status) => Some(128 + libc::WTERMSIG(status)),
        _ => Some(libc::WEXITSTATUS(status)),
    }
}

fn number_in(file: &CStr) -> Option<libc::pid_t> {
    let file = rustix::fs::open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut digits = [0; 16];
    let length = rustix::io::read(&file, &mut digits).ok()?;
    let mut number: libc::pid_t = 0;
    for digit in digits.get(..length)?.iter().take_while(|digit| digit.is_ascii_digit()) {
        number = number.checked_mul(10)?.checked_add(libc::pid_t::from(digit - b'0'))?;
    }
    (number > 1).then_some(number)
}

fn leave(code: libc::c_int) -> ! {
    // SAFETY: ends this process, and as its namespace's first one whatever is left in that.
    unsafe { libc::_exit(code) }
}
