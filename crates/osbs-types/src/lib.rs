//! Ids, names, states, events and error kinds that cross crate boundaries.
//!
//! Rank 0: everything else may use this crate, it uses none of ours and does no I/O: no files, no environment, no
//! clock. Start reading at [`Event`], which is what a build produces, and [`ErrorKind`], which decides what happens
//! after a failure.

mod build;
mod digest;
mod error_kind;
mod event;
mod log_format;
mod networks;
mod nvr;
mod overlay;
mod platform;
mod pull_spec;
pub mod quantity;
mod secret;

pub use build::{BuildName, BuildState, BuildType, UnknownState};
pub use digest::{Digest, DigestError};
pub use error_kind::{ErrorKind, Failure, Position, exit_code};
pub use event::{Event, EventKind, Level, LogLine, Outcome, Phase};
pub use jiff::Timestamp;
pub use log_format::{METADATA_PLATFORM, NO_PLATFORM, render_log_line};
pub use networks::{AddressListError, AddressLists, Network, canonical_address, is_link_local};
pub use nvr::{Nvr, NvrError};
pub use overlay::OverlayXattrs;
pub use platform::{Architecture, Platform, PlatformError};
pub use pull_spec::{PullSpec, PullSpecError, Reference};
pub use secret::{Secret, without_logins};
