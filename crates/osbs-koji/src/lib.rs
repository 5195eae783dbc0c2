//! Koji client: XML-RPC with Koji's dialect, sessions, calls and uploads.
//!
//! Rank 2: knows no plugin and no build. What is asked and what an answer means are pure functions beside a thin sender.
//! The dialect ([`xmlrpc`], [`Value`], [`Fault`], [`Arguments`]) is also what a hub speaks.
//!
//! Start at [`Koji`]: `koji.call(calls::get_build("caddy-2.4-1")).await`.

mod arguments;
#[cfg(feature = "client")]
mod attempt;
pub mod calls;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod download;
#[cfg(feature = "client")]
mod error;
mod fault;
#[cfg(feature = "client")]
mod gssapi;
#[cfg_attr(not(feature = "client"), expect(dead_code, reason = "for who sends"))]
mod method_call;
mod objects;
#[cfg(feature = "client")]
mod server;
#[cfg_attr(not(feature = "client"), expect(dead_code, reason = "for who sends"))]
mod session;
#[cfg(feature = "client")]
mod settings;
#[cfg(feature = "client")]
mod upload;
mod value;
#[cfg(feature = "client")]
mod watch;
#[cfg(feature = "client")]
pub mod wire;
pub mod xmlrpc;

pub use arguments::Arguments;
#[cfg(feature = "client")]
pub use client::Koji;
#[cfg(feature = "client")]
pub use download::Sink;
#[cfg(feature = "client")]
pub use error::KojiError;
pub use fault::{Fault, FaultCode};
#[cfg(feature = "client")]
pub use gssapi::Kerberos;
pub use method_call::{Effect, MethodCall};
pub use objects::{
    Archive, Build, BuildConfig, BuildInfo, BuildLog, BuildState, Buildroot, CheckedUpload, Event, Host, HostTask,
    OutputFile, PackageConfig, QueuedTask, Repo, Reservation, Rpm, SessionInfo, Tag, TaggedBuild, Target, Task,
    TaskState, UnknownKojiState, UploadedBlock, User,
};
#[cfg(feature = "client")]
pub use server::{Login, LoginError, Server, ServerUrlError};
pub use session::{SessionMark, SessionProof, SessionStyle};
#[cfg(feature = "client")]
pub use settings::{Retried, RetryObserver, Settings};
#[cfg(feature = "client")]
pub use upload::{ByteProgress, Place, Uploaded, task_directory};
pub use value::{Struct, Value, ValueError};
