//! One container from start to end: its output, cancellation, and nothing left of it.
//!
//! The runtime is started as pid 1 of a pid namespace of its own. So killing that one process kills the container and all
//! that ever ran in it, in whatever state the runtime is, and the kernel does just that when the calling thread dies.

use crate::container_config::config;
pub use crate::container_config::default_capabilities;
use crate::mount_points::MountPoints;
use crate::output::LineSplitter;
use crate::{Isolation, ProcessError, Runtime, RuntimeError, remove_cgroups, spawn_isolated};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often a quiet container is asked about cancellation.
const POLL: Duration = Duration::from_millis(50);

/// What a program gets between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(300);

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamId {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Which network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The one of the machine, with its resolv.conf and hosts.
    #[default]
    Host,
    /// Nothing but a loopback device.
    None,
}

/// Numeric ids, as found in the image's /etc/passwd and /etc/group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Further groups.
    pub additional_gids: Vec<u32>,
}

/// A file or folder of the machine that the container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// Absolute path on the machine.
    pub source: PathBuf,
    /// Absolute path in the container; links in it resolve inside the container's root.
    pub target: PathBuf,
    /// Whether writing fails.
    pub readonly: bool,
}

/// An empty memory file system in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Absolute path in the container.
    pub target: PathBuf,
    /// Limit in bytes; the kernel's default is half of the memory.
    pub size: Option<u64>,
    /// Permissions of its root, for example 0o1777.
    pub mode: u32,
}

/// What to run. Begin with [`RunSpec::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct RunSpec<'a> {
    /// The root file system, mounted and writable.
    pub root: &'a Path,
    /// A folder of the caller's for config.json and the runtime's state; must exist and not be inside `root`. One
    /// container at a time.
    pub bundle_dir: &'a Path,
    /// Program and arguments.
    pub args: Vec<String>,
    /// The whole environment, `NAME=value`.
    pub env: Vec<String>,
    /// Absolute working folder.
    pub cwd: String,
    /// Who runs it.
    pub user: User,
    /// Host name inside.
    pub hostname: String,
    /// Network.
    pub network: Network,
    /// Extra bind mounts, in order.
    pub mounts: Vec<BindMount>,
    /// Extra memory file systems, in order, before `mounts`.
    pub tmpfs: Vec<Tmpfs>,
    /// Capabilities, `CAP_...`; [`default_capabilities`] to begin with.
    pub capabilities: Vec<String>,
    /// Absolute path of the cgroup that holds the container's own, for example `/osbs/BUILD`; it is left to the caller
    /// ([`remove_cgroups`]). Without it the container's own is at the top. Nothing is left of that one.
    pub cgroup_path: Option<String>,
}

impl<'a> RunSpec<'a> {
    /// User 0, folder `/`, host network, Docker's capabilities, no environment.
    pub fn new(root: &'a Path, bundle_dir: &'a Path, args: Vec<String>) -> Self {
        Self {
            root,
            bundle_dir,
            args,
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: User::default(),
            hostname: "localhost".to_owned(),
            network: Network::Host,
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            capabilities: default_capabilities(),
            cgroup_path: None,
        }
    }
}

/// How a container ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOutcome {
    /// Exit code of the program; 128 + signal when a signal ended it (or, in a shell, its last child).
    pub exit_code: i32,
    /// The signal that `exit_code` speaks of, if it does.
    pub signal: Option<i32>,
}

impl RunOutcome {
    fn from_code(exit_code: i32) -> Self {
        let signal = (129..=128 + 64).contains(&exit_code).then(|| exit_code - 128);
        Self { exit_code, signal }
    }
}

/// Runs one container to its end and hands every output line, without its newline, to `on_line`; lines of more than 16
/// MiB come in pieces. A trivial one takes about 40 ms.
///
/// # Errors
/// [`RuntimeError::Cancelled`] within a second of `cancel`, with the container and all its processes gone;
/// [`RuntimeError::Start`] when the program could not be started. A program that fails is not an error.
pub fn run(
    runtime: &Runtime,
    spec: &RunSpec<'_>,
    on_line: &mut dyn FnMut(StreamId, &[u8]),
    cancel: &CancellationToken,
) -> Result<RunOutcome, RuntimeError> {
    if cancel.is_cancelled() {
        return Err(RuntimeError::Cancelled);
    }
    let files = BundleFiles::new(spec.bundle_dir);
    files.clear()?;
    let (points, binds) = MountPoints::prepare(spec, network_files(spec)).map_err(RuntimeError::MountPoint)?;
    let name = container_name();
    let cgroup = format!("{}/{name}", spec.cgroup_path.as_deref().unwrap_or_default().trim_end_matches('/'));
    files.write_config(&config(spec, &binds, &cgroup))?;
    let ended = start(runtime, spec, &files, &name).and_then(|child| Running::new(child)?.follow(on_line, cancel));
    // The runtime removes these itself, unless it was killed.
    let removed = remove_cgroups(&cgroup).map_err(RuntimeError::Process);
    drop(points);
    let (status, cancelled) = ended?;
    let outcome = if cancelled { Err(RuntimeError::Cancelled) } else { judge(runtime, spec, &files, status) };
    files.clear()?;
    removed.and(outcome)
}

/// Not twice at a time on one machine: a build is process 1 of its own pid namespace, as every other build is, so the
/// namespace belongs to the name.
fn container_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let namespace = std::fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino());
    format!("osbs-{}-{namespace}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// With the machine's network comes the machine's way to find names.
fn network_files(spec: &RunSpec<'_>) -> Vec<BindMount> {
    let files: &[&str] = if spec.network == Network::Host { &["/etc/resolv.conf", "/etc/hosts"] } else { &[] };
    let present = files.iter().map(Path::new).filter(|file| file.is_file());
    present.map(|file| BindMount { source: file.into(), target: file.into(), readonly: true }).collect()
}

/// Our files in the bundle folder.
struct BundleFiles {
    config: PathBuf,
    state: PathBuf,
    log: PathBuf,
}

impl BundleFiles {
    fn new(bundle: &Path) -> Self {
        Self { config: bundle.join("config.json"), state: bundle.join("state"), log: bundle.join("runtime.log") }
    }

    fn write_config(&self, config: &serde_json::Value) -> Result<(), RuntimeError> {
        std::fs::write(&self.config, config.to_string()).map_err(|error| RuntimeError::io("write", &self.config, error))
    }

    fn clear(&self) -> Result<(), RuntimeError> {
        for (path, removed) in [
            (&self.state, std::fs::remove_dir_all(&self.state)),
            (&self.config, std::fs::remove_file(&self.config)),
            (&self.log, std::fs::remove_file(&self.log)),
        ] {
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(RuntimeError::io("remove", path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The runtime's last complaint. Of a program that started and failed it has none.
    fn complaint(&self) -> Option<String> {
        let log = std::fs::read_to_string(&self.log).ok()?;
        let mut records = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let bad = |record: &serde_json::Value| matches!(record["level"].as_str(), Some("error" | "fatal"));
        let last = records.rfind(bad)?;
        Some(last["msg"].as_str().unwrap_or_default().to_owned())
    }
}

fn start(runtime: &Runtime, spec: &RunSpec<'_>, files: &BundleFiles, name: &str) -> Result<Child, RuntimeError> {
    let mut command = Command::new(&runtime.program);
    command.arg("--root").arg(&files.state).arg("--log").arg(&files.log).args(["--log-format", "json"]);
    command.arg("run").arg("--bundle").arg(spec.bundle_dir).arg(name);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(spec.bundle_dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn_isolated(command, Isolation::FULL).map_err(RuntimeError::Process)
}

fn judge(
    runtime: &Runtime,
    spec: &RunSpec<'_>,
    files: &BundleFiles,
    status: ExitStatus,
) -> Result<RunOutcome, RuntimeError> {
    use std::os::unix::process::ExitStatusExt as _;
    let Some(code) = status.code() else {
        return Err(RuntimeError::Killed { runtime: runtime.kind.as_str(), signal: status.signal().unwrap_or(0) });
    };
    match files.complaint().filter(|_| code != 0) {
        None => Ok(RunOutcome::from_code(code)),
        Some(reason) if is_about_the_program(&reason) => {
            Err(RuntimeError::Start { program: spec.args.first().cloned().unwrap_or_default(), reason })
        }
        Some(reason) => Err(RuntimeError::Setup { runtime: runtime.kind.as_str(), reason }),
    }
}

/// Messages of runc, crun and youki for a program or working folder that the image lacks.
fn is_about_the_program(reason: &str) -> bool {
    ["exec: \"", "executable file", "chdir to cwd", "container init: mkdir", "executable '"]
        .iter()
        .any(|part| reason.contains(part))
}

/// A started runtime and its output.
struct Running {
    child: Child,
    handle: OwnedFd,
    streams: [Option<Stream>; 2],
}

struct Stream {
    pipe: Pipe,
    lines: LineSplitter,
}

impl Running {
    fn new(mut child: Child) -> Result<Self, RuntimeError> {
        let streams = [
            child.stdout.take().map(|pipe| Stream::new(Pipe::Stdout(pipe), StreamId::Stdout)),
            child.stderr.take().map(|pipe| Stream::new(Pipe::Stderr(pipe), StreamId::Stderr)),
        ];
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

    /// Until the runtime has ended and both streams are read to their end, which comes then at the latest: nobody of
    /// its pid namespace outlives it. Also tells whether it was stopped for `cancel`.
    fn follow(
        mut self,
        on_line: &mut dyn FnMut(StreamId, &[u8]),
        cancel: &CancellationToken,
    ) -> Result<(ExitStatus, bool), RuntimeError> {
        let mut buffer = vec![0; 1 << 16];
        let mut ended = false;
        let mut stopping: Option<Instant> = None;
        while !ended || self.streams.iter().any(Option::is_some) {
            stopping = self.stop_if(cancel, stopping)?;
            let ready = self.wait_for_news(ended)?;
            for (index, ready) in [ready.0, ready.1].into_iter().enumerate() {
                if ready {
                    self.read(index, &mut buffer, on_line)?;
                }
            }
            ended |= ready.2;
        }
        let status = self.child.wait().map_err(|error| self.wrap("wait for", error))?;
        Ok((status, stopping.is_some()))
    }

    /// First a SIGTERM, which the runtime passes on; after [`GRACE`] the kernel kills the whole namespace.
    fn stop_if(&self, cancel: &CancellationToken, since: Option<Instant>) -> Result<Option<Instant>, RuntimeError> {
        let signal = match since {
            None if !cancel.is_cancelled() => return Ok(None),
            None => Signal::TERM,
            Some(since) if since.elapsed() < GRACE => return Ok(Some(since)),
            Some(_) => Signal::KILL,
        };
        match rustix::process::pidfd_send_signal(&self.handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(since.or_else(|| Some(Instant::now()))),
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
        match stream.pipe.read(buffer) {
            Ok(0) => {
                stream.lines.finish(on_line);
                self.streams[index] = None;
            }
            Ok(length) => stream.lines.feed(&buffer[..length], on_line),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(self.wrap("read the output of", error)),
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
    fn new(pipe: Pipe, id: StreamId) -> Self {
        // Room for a burst, so that the program seldom waits for us; more than the limit is refused, harmlessly.
        let _ = rustix::pipe::fcntl_setpipe_size(pipe.as_fd(), 1 << 20);
        Self { pipe, lines: LineSplitter::new(id) }
    }
}

enum Pipe {
    Stdout(std::process::ChildStdout),
    Stderr(std::process::ChildStderr),
}

impl Pipe {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Stdout(pipe) => pipe.as_fd(),
            Self::Stderr(pipe) => pipe.as_fd(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(pipe) => pipe.read(buffer),
            Self::Stderr(pipe) => pipe.read(buffer),
        }
    }
}
