//! Mounts, overlayfs, namespaces, the OCI runtime, supervised processes: the only crate with unsafe code.
//!
//! Rank 1: it knows [`osbs_types`] and nothing else of ours. Everything here is synchronous, reads no environment variable
//! and prints nothing. Start reading at [`run`](run()), which is one RUN instruction; [`Overlay`] is what it runs in and
//! [`spawn_isolated`] is how it (and a whole build) is kept killable as one.
//!
//! Two rules hold in every module. Paths that a repository, an image or an archive chose are only touched through
//! [`rooted`]. And what this crate starts dies with the thread that started it, also by `kill -9`.

mod cgroup;
mod container;
mod container_config;
mod foreign;
mod mount_points;
mod mounts;
mod output;
mod overlay;
mod probe_program;
mod process;
pub mod rooted;
mod runtime;
mod runtime_memory;
mod supervise;

pub use cgroup::remove_cgroups;
pub use container::{BindMount, Network, RunOutcome, RunSpec, StreamId, Tmpfs, User, default_capabilities, run};
pub use foreign::{ForeignError, can_run, register_binfmt};
pub use mounts::{MountError, enter_private_mounts, mounts_below, unmount_below};
pub use overlay::{Overlay, OverlayOptions};
pub use process::{ProcessError, ProcessId};
pub use runtime::{Refusal, Runtime, RuntimeError, RuntimeKind, probe_runtime};
pub use runtime_memory::known_runtime;
pub use supervise::{Isolation, spawn_isolated};
