//! What a container is asked to be: the types that a caller of [`run`](crate::run()) fills in.
//!
//! Must not know how the runtime is told.

use crate::IdMap;
pub use crate::container_config::default_capabilities;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamId {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How what a program writes comes to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// Standard output and standard error by themselves. Which of two lines of different streams was first is not known.
    #[default]
    Apart,
    /// All lines as those of standard output, in the order in which they were written.
    Together,
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
    /// With [`RunSpec::id_map`]: the owners that `source` shows are those of the container already, as those of an
    /// overlay that [`IdMap::mount_overlay`] made. Else they are the image's, and are mapped for the container.
    pub mapped: bool,
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

/// What the container may do to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// As a container of Docker: a system call filter, parts of /proc and /sys masked or read-only.
    #[default]
    Sandbox,
    /// As a privileged one: every capability this process has, no filter, nothing masked, any device. It *is* root of
    /// the machine.
    Insecure,
}

/// Bounds on what a container takes. `None`: no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContainerLimits {
    /// Bytes of memory, swap included.
    pub memory: Option<u64>,
    /// Processes and threads at a time.
    pub pids: Option<u32>,
    /// Thousandths of a processor.
    pub milli_cpus: Option<u32>,
    /// From start to end.
    pub time: Option<Duration>,
}

impl ContainerLimits {
    /// Whether there is one that a cgroup must keep.
    pub(crate) fn need_cgroup(&self) -> bool {
        self.memory.is_some() || self.pids.is_some() || self.milli_cpus.is_some()
    }
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
    /// How its output comes.
    pub output: Output,
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
    /// ([`crate::remove_cgroups`]). Without it the container's own is at the top. Nothing is left of that one.
    pub cgroup_path: Option<String>,
    /// What it may take.
    pub limits: ContainerLimits,
    /// What it may do. `Insecure` takes no notice of `capabilities`, and goes with no `id_map`.
    pub security: Security,
    /// Set-id programs and file capabilities have no effect in it.
    pub no_new_privileges: bool,
    /// Gives it a user namespace with these ids. `root` must be an overlay that [`IdMap::mount_overlay`] mounted.
    pub id_map: Option<&'a IdMap>,
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
            output: Output::default(),
            hostname: "localhost".to_owned(),
            network: Network::Host,
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            capabilities: default_capabilities(),
            cgroup_path: None,
            limits: ContainerLimits::default(),
            security: Security::default(),
            no_new_privileges: false,
            id_map: None,
        }
    }
}
