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
mod id_map;
mod memory_files;
mod memory_folder;
mod mount_points;
mod mounts;
mod output;
mod overlay;
mod place;
mod probe_program;
mod process;
mod read_only;
mod reaper;
pub mod rooted;
mod rootless;
mod run_group;
mod run_spec;
mod running;
mod runtime;
mod runtime_memory;
mod seccomp;
mod supervise;

pub use cgroup::remove_cgroups;
pub use container::{RunOutcome, run};
pub use foreign::{ForeignError, can_run, register_binfmt};
pub use id_map::{IdMap, IdMapError};
pub use memory_files::{MemoryFiles, has_memory_files, unmount_memory_files};
pub use memory_folder::MemoryFolder;
pub use mounts::{MountError, enter_private_mounts, mounts_below, unmount_below};
pub use overlay::{Overlay, OverlayOptions};
pub use process::{ProcessError, ProcessId};
pub use read_only::spawn_writing_only;
pub use rootless::{RootlessError, enter_user_namespace, in_user_namespace, is_root};
pub use run_group::LimitHit;
pub use run_spec::{
    BindMount, ContainerLimits, Network, Output, RunSpec, Security, StreamId, Tmpfs, User, default_capabilities,
};
pub use runtime::{Refusal, Runtime, RuntimeError, RuntimeKind, probe_runtime};
pub use runtime_memory::known_runtime;
pub use supervise::{Isolation, spawn_isolated};
