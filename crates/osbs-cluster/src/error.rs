//! What can go wrong between a caller and a cluster.

use osbs_types::{BuildName, BuildState, ErrorKind, Failure, Nvr};
use std::path::Path;

/// Where an error came from below a cluster: SQLite, a file, a server.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A cluster could not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No such build.
    #[error("there is no build {build} in namespace {namespace}")]
    BuildNotFound {
        /// The namespace asked.
        namespace: String,
        /// The name asked for.
        build: BuildName,
    },
    /// The build was there, and somebody removed it from the cluster before it was finished.
    #[error("build {build} was deleted from the cluster")]
    Deleted {
        /// The build.
        build: BuildName,
    },
    /// No such object of another kind.
    #[error("there is no {kind} {name} in namespace {namespace}")]
    NotFound {
        /// `BuildConfig`, `ConfigMap`, `Secret`.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The namespace asked.
        namespace: String,
    },
    /// An object of that name is there already.
    #[error("a {kind} {name} exists already in namespace {namespace}")]
    NameTaken {
        /// `Build`, `ConfigMap`, ...
        kind: &'static str,
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// The NVR was given to another build before.
    #[error("{nvr} belongs to build {by} already")]
    NvrTaken {
        /// The NVR.
        nvr: Nvr,
        /// Its owner.
        by: BuildName,
    },
    /// A BuildConfig is about another repository or branch (`client-and-koji.md` 2.6, step 3).
    #[error("BuildConfig {name} has label {label}={existing}, the request says {wanted}")]
    BuildConfigDiffers {
        /// The BuildConfig.
        name: String,
        /// The label.
        label: String,
        /// Its value in the cluster.
        existing: String,
        /// Its value in the request.
        wanted: String,
    },
    /// The build has ended, so it cannot be changed in that way.
    #[error("build {build} is {state} already")]
    Finished {
        /// The build.
        build: BuildName,
        /// Its final state.
        state: BuildState,
    },
    /// A name or value the cluster cannot take.
    #[error("{what} {value:?} cannot be used: {reason}")]
    Invalid {
        /// What it is: `ConfigMap name`, `environment variable`, ...
        what: &'static str,
        /// The offending text, shortened.
        value: String,
        /// The rule it breaks.
        reason: String,
    },
    /// A build asked for a secret that its request does not name.
    #[error("secret {secret} is not one of this build's: osbs.conf or config.yaml must name it for this kind of build")]
    Withheld {
        /// The secret.
        secret: String,
    },
    /// The cluster's own storage failed: disk full, no permission, a damaged file.
    #[error("cannot {action} ({place})")]
    Storage {
        /// `record the build`, `read the event log`, ...
        action: &'static str,
        /// The file or folder.
        place: String,
        /// Why.
        source: Cause,
    },
    /// The storage was written by a newer version of this program.
    #[error("{place} was written by a newer version (schema {found}, this version knows {known})")]
    NewerSchema {
        /// The file.
        place: String,
        /// Its schema version.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// The build's process could not be started.
    #[error("cannot start {program}")]
    Launch {
        /// The program.
        program: String,
        /// Why.
        source: Cause,
    },
    /// The cluster did not answer.
    #[error("cluster at {url} does not answer")]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        source: Cause,
    },
    /// The way to the cluster is not as configured: a file of credentials, a certificate, a token, a permission.
    #[error("cluster at {url}: {problem}")]
    Access {
        /// Its address.
        url: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: String,
        /// Whose fault it is.
        kind: ErrorKind,
        /// What the part below said.
        source: Option<Cause>,
    },
    /// The cluster does not know who asks.
    #[error(
        "the cluster at {url} does not accept the login: the token or certificate is wrong, expired or revoked; get a new one"
    )]
    LoginRefused {
        /// Its address.
        url: String,
        /// Its words.
        source: Cause,
    },
    /// The cluster knows who asks, and does not let them.
    #[error(
        "the cluster at {url} does not allow to {verb} {resource} in namespace {namespace}: its administrator must grant that to the account in use"
    )]
    Forbidden {
        /// Its address.
        url: String,
        /// The verb as RBAC has it: `create`, `watch`, ...
        verb: &'static str,
        /// The resource as RBAC has it: `jobs.batch`, `pods/log`, ...
        resource: &'static str,
        /// The namespace.
        namespace: String,
        /// Its words: of a quota or an admission rule they tell more.
        source: Cause,
    },
    /// The cluster answered with another error.
    #[error("the cluster at {url} could not {verb} {resource}{}", name.as_ref().map_or_else(String::new, |name| format!(" {name}")))]
    Answer {
        /// Its address.
        url: String,
        /// The verb as RBAC has it.
        verb: &'static str,
        /// The resource as RBAC has it.
        resource: &'static str,
        /// The object asked for.
        name: Option<String>,
        /// Its words.
        source: Cause,
    },
    /// Something in the cluster is not as this program wrote it.
    #[error("{what} in {place} makes no sense")]
    Corrupt {
        /// What.
        what: &'static str,
        /// Where.
        place: String,
        /// Why.
        source: Cause,
    },
    /// A broken promise inside this program.
    #[error("{0}")]
    Internal(String),
}

impl ClusterError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BuildNotFound { .. }
            | Self::NotFound { .. }
            | Self::NameTaken { .. }
            | Self::NvrTaken { .. }
            | Self::BuildConfigDiffers { .. }
            | Self::Finished { .. }
            | Self::Invalid { .. } => ErrorKind::User,
            Self::Withheld { .. } | Self::LoginRefused { .. } | Self::Forbidden { .. } => ErrorKind::Policy,
            Self::Storage { .. } | Self::NewerSchema { .. } | Self::Launch { .. } | Self::Deleted { .. } => {
                ErrorKind::Resource
            }
            Self::Unreachable { .. } | Self::Answer { .. } => ErrorKind::Remote,
            Self::Access { kind, .. } => *kind,
            Self::Corrupt { .. } | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Access { hint, .. } => Some(hint.clone()),
            Self::LoginRefused { .. } => Some(
                "put a new token into token_file or the Secret that holds it (it is read again by itself), or log in: osbs login, \
                 kubectl, oc"
                    .to_owned(),
            ),
            Self::Forbidden { .. } => Some(
                "osbs deploy check tells all that lacks; the cluster's administrator grants it (deploy/bases), or raises a quota"
                    .to_owned(),
            ),
            Self::Unreachable { .. } => {
                Some("check openshift_url and the network; kubectl cluster-info tells whether it is up".to_owned())
            }
            _ => None,
        }
    }

    /// As it is shown on one screen.
    pub fn to_failure(&self) -> Failure {
        let failure = Failure::new(self.kind(), self);
        match self.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// Makes a storage error out of an I/O error.
pub fn storage(action: &'static str, place: &Path) -> impl FnOnce(std::io::Error) -> ClusterError {
    move |source| ClusterError::Storage { action, place: place.display().to_string(), source: source.into() }
}
