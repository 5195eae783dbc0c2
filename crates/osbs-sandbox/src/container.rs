//! One container: config.json, mount points, output, cancellation.
use crate::{Runtime, RuntimeError};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

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

/// What to run. Build it with [`RunSpec::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct RunSpec<'a> {
    /// The root file system, mounted and writable.
    pub root: &'a Path,
    /// A folder of the caller's for config.json and the runtime's state; must exist and not be inside `root`.
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
    /// Absolute cgroup path, for example `/osbs/BUILD/run`; without it a name of its own.
    pub cgroup_path: Option<String>,
}

impl<'a> RunSpec<'a> {
    /// Root's shell-less defaults: user 0, `/`, host network, Docker's capabilities, no environment.
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

/// The capabilities Docker gives a container.
pub fn default_capabilities() -> Vec<String> {
    todo!()
}

/// How a container ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOutcome {
    /// Exit code of the program; 128 + signal when a signal ended it (or its last child, in a shell).
    pub exit_code: i32,
    /// The signal that `exit_code` speaks of, if it does.
    pub signal: Option<i32>,
}

/// Runs one container to its end and hands every output line, without its newline, to `on_line`.
///
/// # Errors
/// [`RuntimeError::Cancelled`] within a second of `cancel`, with the container and all its processes gone;
/// [`RuntimeError::Start`] when the program could not be started. A program that fails is not an error.
pub fn run(
    _runtime: &Runtime,
    _spec: &RunSpec<'_>,
    _on_line: &mut dyn FnMut(StreamId, &[u8]),
    _cancel: &CancellationToken,
) -> Result<RunOutcome, RuntimeError> {
    todo!()
}
