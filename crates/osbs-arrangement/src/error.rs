//! What can be wrong with an arrangement or with a request for one.

use osbs_types::{BuildType, ErrorKind, Failure};

/// See [`ArrangementError::kind`] for whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum ArrangementError {
    /// No such arrangement.
    #[error("arrangement_version {version} does not exist (allowed: 1 to 6)")]
    UnknownVersion {
        /// As asked for.
        version: u32,
    },
    /// The site's template cannot be read.
    #[error("cannot read the {build_type} template of arrangement {version}: {path}")]
    Unreadable {
        /// Whose.
        build_type: BuildType,
        /// Of which arrangement.
        version: u32,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not JSON.
    #[error("{file} is not JSON")]
    NotJson {
        /// The text's name.
        file: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// JSON, but not plugin lists.
    #[error("{file}: {path}: {problem}")]
    NotPluginLists {
        /// The text's name.
        file: String,
        /// The way to the value.
        path: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// Pulp is configured, but nothing says how to log in.
    #[error("pulp_registry_name is {name:?}, but neither pulp_secret nor a username for {plugin} is given")]
    PulpWithoutLogin {
        /// The registry.
        name: String,
        /// The plugin.
        plugin: String,
    },
    /// Only one kind of build at a time.
    #[error("a build cannot be {first} and {second} at once")]
    Exclusive {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// An isolated build without a good release.
    #[error("an isolated build needs a release of the form N.N[.suffix], not {release:?}")]
    IsolatedRelease {
        /// As given.
        release: Option<String>,
    },
}

impl ArrangementError {
    /// Templates are the site's, requests the user's.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownVersion { .. } | Self::Exclusive { .. } | Self::IsolatedRelease { .. } => ErrorKind::User,
            Self::Unreadable { .. }
            | Self::NotJson { .. }
            | Self::NotPluginLists { .. }
            | Self::PulpWithoutLogin { .. } => ErrorKind::Policy,
        }
    }

    /// As it is stored with a build.
    pub fn to_failure(&self) -> Failure {
        Failure::new(self.kind(), self)
    }
}
