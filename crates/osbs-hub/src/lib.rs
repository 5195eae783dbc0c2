//! A small Koji hub on SQLite: what container builds need of one, for a site that has none.
//!
//! Speaks the XML-RPC of a real hub (client-and-koji 5 and 6), so that Koji's own programs can be pointed at it. Rank 4:
//! knows no reactor, no cluster, no terminal. Start reading at `dispatch.rs`, the way of a call, then `methods/mod.rs`,
//! the table of them.

mod administration;
mod builds;
mod call;
mod call_error;
mod checksum;
mod database;
mod dispatch;
mod endpoint;
mod files;
mod hub;
mod import;
mod methods;
mod parameters;
mod passwords;
mod paths;
mod patterns;
mod release;
mod role;
mod rows;
mod scheduler;
mod serve;
mod sessions;
mod states;
mod tagging;
mod tasks;
mod times;
mod tls;
mod uploads;
mod versions;

pub use administration::{check_arches, check_name};
pub use database::DatabaseError;
pub use hub::{Clock, Hub, HubConfig, HubError, Log, Settings};
pub use passwords::PasswordError;
pub use tls::{TlsError, TlsFiles};

/// The version that `getKojiVersion` and the header `Koji-Version` tell: the hub that we were compared with.
pub const KOJI_VERSION: &str = "1.35.3";
