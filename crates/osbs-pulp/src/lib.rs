//! Pulp 3 client: container repositories that are synchronised from a registry, their tags and distributions, and image
//! archives as files.
//!
//! Rank 2: knows no plugin and no build. What is asked (`request.rs`) and what an answer means (`response.rs`) are pure
//! functions beside a thin sender ([`Pulp`]). Every byte of an answer is hostile: sizes are bounded, and a reference to an
//! object is used only if it lies below the API that was asked. Start at [`Pulp`]; what takes a task takes a [`Wait`].

mod client;
mod container;
mod error;
mod file;
mod request;
mod response;
mod server;
mod task;

pub use client::Pulp;
pub use container::{Distribution, Remote, Repository};
pub use error::PulpError;
pub use file::{StoredFile, Upload};
pub use response::{Href, TaskProgress, TaskState};
pub use server::{Login, LoginError, Server, ServerUrlError};
pub use task::Wait;
