//! Registry client (distribution-spec 1.1 and Docker's v2): pull into a store, push out of it, inspect, index, delete.
//!
//! Rank 2: knows no plugin and no build. What is asked (`request.rs`) and what an answer means (`response.rs`) are pure
//! functions beside a thin sender ([`Registry`]). Bytes are believed only after their digest was computed here. Start at
//! [`Registry`], then [`pull`] and [`push`].

mod auth;
mod blob;
mod client;
mod config;
mod copy;
mod credentials;
mod error;
mod index;
mod inspect;
mod progress;
mod pull;
mod push;
mod request;
mod response;
mod upload;

pub use client::{Fetched, Registry};
pub use config::{RegistryConfig, RegistryUriError};
pub use copy::{copy_image, copy_manifest};
pub use credentials::{Credentials, CredentialsError, Login};
pub use error::RegistryError;
pub use index::{BuiltIndex, IndexMember, build_index, put_index};
pub use inspect::{Inspected, inspect, resolve};
pub use progress::Progress;
pub use pull::{Pulled, pull};
pub use push::push;
pub use upload::{Upload, UploadOutcome, UploadSink};
