//! `osbs.conf`: the client's configuration (`client-and-koji.md` section 1).
//!
//! [`OsbsConf`] is a checked file, [`Settings`] layers arguments and options over one of its instances and remembers
//! where each value came from, [`InstanceConfig`] has the values with their types.

mod file;
mod instance;
mod keys;
mod pods;
mod settings;
mod values;

pub use file::{OsbsConf, PlatformSection};
pub use instance::{GeneralConfig, InstanceConfig};
pub use keys::{KeyInfo, KeyKind, known_keys};
pub use pods::{HomeVolume, PodConfig, PodSecurity};
pub use settings::{Effective, Origin, Setting, Settings};
pub use values::{BuildFrom, TokenSecret};

#[cfg(test)]
mod tests;
