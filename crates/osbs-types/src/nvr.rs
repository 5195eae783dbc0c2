//! Koji's name-version-release.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Name, version and release of one build. Version and release hold no `-` (Koji refuses them in `CGImport`), so the
/// text form can be taken apart again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nvr {
    name: String,
    version: String,
    release: String,
}

/// The parts do not make an NVR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NvrError {
    /// A part is empty.
    #[error("the {0} of an NVR is empty")]
    Empty(&'static str),
    /// Version or release holds a dash.
    #[error("the {part} {value:?} of an NVR holds a dash")]
    Dash {
        /// `version` or `release`.
        part: &'static str,
        /// What was given.
        value: String,
    },
    /// The text has fewer than two dashes.
    #[error("{0:?} is not NAME-VERSION-RELEASE")]
    Shape(String),
}

impl Nvr {
    /// Checks and joins the three parts.
    ///
    /// # Errors
    /// An empty part, or a dash in version or release.
    pub fn new(name: &str, version: &str, release: &str) -> Result<Self, NvrError> {
        for (part, value) in [("name", name), ("version", version), ("release", release)] {
            if value.is_empty() {
                return Err(NvrError::Empty(part));
            }
            if part != "name" && value.contains('-') {
                return Err(NvrError::Dash { part, value: value.to_owned() });
            }
        }
        Ok(Self { name: name.to_owned(), version: version.to_owned(), release: release.to_owned() })
    }

    /// The component: label `com.redhat.component`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Label `version`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Label `release`.
    pub fn release(&self) -> &str {
        &self.release
    }
}

impl fmt::Display for Nvr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.name, self.version, self.release)
    }
}

impl FromStr for Nvr {
    type Err = NvrError;

    fn from_str(text: &str) -> Result<Self, NvrError> {
        let mut parts = text.rsplitn(3, '-');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(release), Some(version), Some(name)) => Self::new(name, version, release),
            _ => Err(NvrError::Shape(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_parts_agree() {
        let nvr: Nvr = "rsyslog-container-7-3.1".parse().expect("valid");
        assert_eq!((nvr.name(), nvr.version(), nvr.release()), ("rsyslog-container", "7", "3.1"));
        assert_eq!(nvr.to_string(), "rsyslog-container-7-3.1");
        assert_eq!(Nvr::new("a", "1-2", "3"), Err(NvrError::Dash { part: "version", value: "1-2".into() }));
        assert_eq!(Nvr::new("a", "1", ""), Err(NvrError::Empty("release")));
        assert!("a-1".parse::<Nvr>().is_err());
    }
}
