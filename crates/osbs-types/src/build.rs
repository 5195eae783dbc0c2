//! Names, types and states of builds, as OSBS and OpenShift spell them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The name of a build object, unique in its namespace: `BUILDCONFIG-NUMBER`, `scratch-RANDOM-TIMESTAMP`, ...
/// (`client-and-koji.md` 2.5). Always a valid Kubernetes object name and so safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BuildName(String);

impl BuildName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BuildName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        if bytes.len() <= 128 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| inner(*b)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is not a build name: letters, digits, '-', '_' and '.', at most 128"))
        }
    }
}

impl TryFrom<String> for BuildName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<BuildName> for String {
    fn from(name: BuildName) -> Self {
        name.0
    }
}

impl fmt::Display for BuildName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who a build works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildType {
    /// Creates and manages worker builds.
    Orchestrator,
    /// Creates the image of one platform.
    Worker,
}

impl BuildType {
    /// `orchestrator` or `worker`, as in template names and `USER_PARAMS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for BuildType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The states of an OpenShift build (`client-and-koji.md` 2.10). A build moves only forward in this order; the last four
/// are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BuildState {
    /// Recorded, not looked at.
    New,
    /// Waiting for its turn in its BuildConfig or for a free slot of its cluster.
    Pending,
    /// Its process runs.
    Running,
    /// Ended well.
    Complete,
    /// Ended by an error of its own.
    Failed,
    /// Ended from outside: its process is gone.
    Error,
    /// Ended because somebody asked.
    Cancelled,
}

/// The text names no build state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a build state: New, Pending, Running, Complete, Failed, Error, Cancelled")]
pub struct UnknownState(pub String);

impl BuildState {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::New, Self::Pending, Self::Running, Self::Complete, Self::Failed, Self::Error, Self::Cancelled];

    /// Failed, complete, error or cancelled.
    pub fn is_finished(self) -> bool {
        self >= Self::Complete
    }

    /// Complete.
    pub fn is_success(self) -> bool {
        self == Self::Complete
    }

    /// The word, as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "New",
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Complete => "Complete",
            Self::Failed => "Failed",
            Self::Error => "Error",
            Self::Cancelled => "Cancelled",
        }
    }
}

impl fmt::Display for BuildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BuildState {
    type Err = UnknownState;

    /// Letter case does not matter, as in osbs-client.
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_file_names() {
        assert!("web-f40-9ab12-7".parse::<BuildName>().is_ok());
        for bad in ["", "..", "a/b", "-a", "a-", ".a", "a b"] {
            assert!(bad.parse::<BuildName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn states() {
        let finished: Vec<_> =
            BuildState::ALL.into_iter().filter(|s| s.is_finished()).map(BuildState::as_str).collect();
        assert_eq!(finished, ["Complete", "Failed", "Error", "Cancelled"]);
        assert_eq!("complete".parse(), Ok(BuildState::Complete));
        assert!("done".parse::<BuildState>().is_err());
    }
}
