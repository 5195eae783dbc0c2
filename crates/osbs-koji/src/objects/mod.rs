//! What hubs answer, as types (client-and-koji 5.6): what is needed of it, and the whole beside it where more may be.
//!
//! Members that are not known are ignored, members that are missing are `None`: hubs add some with every release.

mod archive;
mod build;
mod host;
mod tag;
mod task;

pub use archive::{Archive, BuildLog, Buildroot, CheckedUpload, Rpm, UploadedBlock};
pub use build::{Build, BuildInfo, BuildState, Reservation, TaggedBuild};
pub use host::{Host, HostTask, QueuedTask, SessionInfo, User};
pub use tag::{BuildConfig, Event, PackageConfig, Repo, Tag, Target};
pub(crate) use task::value_or_fault;
pub use task::{OutputFile, Task, TaskState, UnknownKojiState};
