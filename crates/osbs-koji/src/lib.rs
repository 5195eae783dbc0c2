//! Koji client: XML-RPC with Koji's dialect, sessions, calls and uploads.
//!
//! Rank 2: knows no plugin and no build. What is asked and what an answer means are pure functions beside a thin sender.
//! The dialect ([`xmlrpc`], [`Value`], [`Fault`], [`Arguments`]) is also what a hub speaks.
//!
//! Start at [`Koji`]: `koji.call(calls::get_build("caddy-2.4-1")).await`.

mod arguments;
mod attempt;
pub mod calls;
mod client;
mod download;
mod error;
mod fault;
mod method_call;
mod objects;
mod server;
mod session;
mod settings;
mod upload;
mod value;
mod watch;
pub mod wire;
pub mod xmlrpc;

pub use arguments::Arguments;
pub use client::Koji;
pub use download::Sink;
pub use error::KojiError;
pub use fault::{Fault, FaultCode};
pub use method_call::{Effect, MethodCall};
pub use objects::{
    Archive, Build, BuildConfig, BuildInfo, BuildLog, BuildState, Buildroot, CheckedUpload, Event, Host, HostTask,
    OutputFile, PackageConfig, QueuedTask, Repo, Reservation, Rpm, SessionInfo, Tag, TaggedBuild, Target, Task,
    TaskState, UnknownKojiState, UploadedBlock, User,
};
pub use server::{Login, LoginError, Server, ServerUrlError};
pub use session::{SessionMark, SessionProof, SessionStyle};
pub use settings::{Retried, RetryObserver, Settings};
pub use upload::{ByteProgress, Place, Uploaded, task_directory};
pub use value::{Struct, Value, ValueError};
