//! A started container until its end: its output, and the ways to stop it.
//!
//! Must not know what the container is: it watches one process and its pipes.

use crate::output::LineSplitter;
use crate::{ProcessError, RuntimeError, StreamId};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often a quiet container is asked about cancellation.
const POLL: Duration = Duration::from_millis(50);

/// What a program gets between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(300);

/// Why a container was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody asked.
    Cancelled,
    /// Its time was over.
    Time,
}

/// How it ended.
pub(crate) struct Ended {
    pub status: ExitStatus,
    pub stop: Option<Stop>,
}

/// Process 1 of the namespace that the container is in, and the container's output.
pub(crate) struct Running {
    child: Child,
    handle: OwnedFd,
    streams: [Option<Stream>; 2],
}

struct Stream {
    pipe: OwnedFd,
    lines: LineSplitter,
}

impl Running {
    /// `err` is `None` where all comes through `out`.
    pub(crate) fn new(mut child: Child, out: OwnedFd, err: Option<OwnedFd>) -> Result<Self, RuntimeError> {
        let streams = [Some(Stream::new(out, StreamId::Stdout)), err.map(|pipe| Stream::new(pipe, StreamId::Stderr))];
        let pid = Pid::from_child(&child);
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Ok(Self { child, handle, streams }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(RuntimeError::Process(ProcessError::refused("watch process", child.id(), error)))
            }
        }
    }

    /// Until process 1 has ended and the streams are read to their end, which comes then at the latest: nobody of its
    /// pid namespace outlives it. It is stopped when `cancel` says so, and when `limit` has passed.
    pub(crate) fn follow(
        mut self,
        on_line: &mut dyn FnMut(StreamId, &[u8]),
        cancel: &CancellationToken,
        limit: Option<Duration>,
    ) -> Result<Ended, RuntimeError> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut buffer = vec![0; 1 << 16];
        let mut ended = false;
        let mut stopping: Option<(Stop, Instant)> = None;
        while !ended || self.streams.iter().any(Option::is_some) {
            stopping = self.stop_if(cancel, deadline, stopping)?;
            let ready = self.wait_for_news(ended)?;
            for (index, ready) in [ready.0, ready.1].into_iter().enumerate() {
                if ready {
                    self.read(index, &mut buffer, on_line)?;
                }
            }
            ended |= ready.2;
        }
        let status = self.child.wait().map_err(|error| self.wrap("wait for", error))?;
        Ok(Ended { status, stop: stopping.map(|(stop, _)| stop) })
    }

    /// First a SIGTERM, which process 1 passes on; after [`GRACE`] the kernel kills the whole namespace.
    fn stop_if(
        &self,
        cancel: &CancellationToken,
        deadline: Option<Instant>,
        begun: Option<(Stop, Instant)>,
    ) -> Result<Option<(Stop, Instant)>, RuntimeError> {
        let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let (stop, signal) = match begun {
            None if cancel.is_cancelled() => ((Stop::Cancelled, Instant::now()), Signal::TERM),
            None if over => ((Stop::Time, Instant::now()), Signal::TERM),
            None => return Ok(None),
            Some((_, since)) if since.elapsed() < GRACE => return Ok(begun),
            Some(begun) => (begun, Signal::KILL),
        };
        match rustix::process::pidfd_send_signal(&self.handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(Some(stop)),
            Err(error) => Err(self.wrap("stop", error.into())),
        }
    }

    fn wait_for_news(&self, ended: bool) -> Result<(bool, bool, bool), RuntimeError> {
        let pipes = self.streams.each_ref().map(|stream| stream.as_ref().map(|stream| stream.pipe.as_fd()));
        let process = (!ended).then(|| self.handle.as_fd());
        let mut sources = Vec::with_capacity(3);
        for (index, fd) in [pipes[0], pipes[1], process].into_iter().enumerate() {
            if let Some(fd) = fd {
                sources.push((index, PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            }
        }
        let mut polls: Vec<PollFd<'_>> = sources.iter().map(|(_, poll)| poll.clone()).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(POLL.subsec_nanos()) };
        match rustix::event::poll(&mut polls, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok((false, false, false)),
            other => other.map_err(|error| self.wrap("watch", error.into()))?,
        };
        let mut news = [false; 3];
        for ((index, _), poll) in sources.iter().zip(&polls) {
            news[*index] = !poll.revents().is_empty();
        }
        Ok((news[0], news[1], news[2]))
    }

    fn read(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        on_line: &mut dyn FnMut(StreamId, &[u8]),
    ) -> Result<(), RuntimeError> {
        let Some(stream) = &mut self.streams[index] else { return Ok(()) };
        match rustix::io::read(&stream.pipe, &mut *buffer) {
            Ok(0) => {
                stream.lines.finish(on_line);
                self.streams[index] = None;
            }
            Ok(length) => stream.lines.feed(&buffer[..length], on_line),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(self.wrap("read the output of", error.into())),
        }
        Ok(())
    }

    fn wrap(&self, operation: &'static str, error: io::Error) -> RuntimeError {
        RuntimeError::Process(ProcessError::refused(operation, self.child.id(), error))
    }
}

/// Whatever went wrong on our side, or a panic in `on_line`: no container runs on unwatched.
impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Stream {
    fn new(pipe: OwnedFd, id: StreamId) -> Self {
        // Room for a burst, so that the program seldom waits for us; more than the limit is refused, harmlessly.
        let _ = rustix::pipe::fcntl_setpipe_size(pipe.as_fd(), 1 << 20);
        Self { pipe, lines: LineSplitter::new(id) }
    }
}
