//! What can go wrong while something is fetched: what, whose fault, what next. No text holds a credential.

use crate::status_kind;
use osbs_http::HttpError;
use osbs_image::LayerError;
use osbs_types::ErrorKind;
use std::io;

/// A download or checkout failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Another transport than http and https.
    #[error("{url} cannot be fetched: only http and https are spoken")]
    Scheme {
        /// Without credentials.
        url: String,
    },
    /// The text is no URL.
    #[error("{url} is not a URL that can be fetched: {problem}")]
    Url {
        /// Without credentials.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No usable answer, or not allowed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An answer that means failure.
    #[error("{url} answers {status} ({attempts} attempts)")]
    Status {
        /// Without credentials, after redirects.
        url: String,
        /// HTTP status.
        status: u16,
        /// Attempts made.
        attempts: u32,
    },
    /// More than allowed.
    #[error("{url} is larger than the limit of {limit} {unit}")]
    TooLarge {
        /// Without credentials.
        url: String,
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// It takes too long.
    #[error("{url} was not fetched within {seconds} s")]
    TooSlow {
        /// Without credentials.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// The server sends ranges of something else than was asked for.
    #[error("{url} sends other bytes than those asked for")]
    Range {
        /// Without credentials.
        url: String,
    },
    /// The server does not speak git's own protocol.
    #[error("{url} is not a git repository")]
    NoRepository {
        /// Without credentials.
        url: String,
    },
    /// A branch, tag or commit that cannot be one.
    #[error("{name:?} is not the name of a branch, a tag or a whole commit id")]
    BadRef {
        /// As asked for.
        name: String,
    },
    /// A subfolder that cannot be one.
    #[error("{subdir:?} is not a path inside a repository")]
    BadSubdir {
        /// As asked for.
        subdir: String,
    },
    /// The repository has no such thing.
    #[error("{url} has no {what} {name:?}")]
    Missing {
        /// Without credentials.
        url: String,
        /// `branch, tag or commit`, `folder`.
        what: &'static str,
        /// As asked for.
        name: String,
    },
    /// The commit has submodules, which are never fetched.
    #[error("{url} has submodules, which are not fetched")]
    Submodules {
        /// Without credentials.
        url: String,
    },
    /// The objects do not pass git's own check.
    #[error("{url} holds objects that git refuses: {message}")]
    Refused {
        /// Without credentials.
        url: String,
        /// Git's words.
        message: String,
    },
    /// Git failed.
    #[error("git cannot fetch {url}: {message}")]
    Git {
        /// Without credentials.
        url: String,
        /// Git's words.
        message: String,
    },
    /// Git is missing or too old.
    #[error("git {needed} or newer is needed to fetch repositories, {found}")]
    GitVersion {
        /// `2.37`.
        needed: &'static str,
        /// What there is.
        found: String,
    },
    /// The files of a commit cannot be unpacked.
    #[error("the files of {url} cannot be unpacked")]
    Unpack {
        /// Without credentials.
        url: String,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// Something on this machine.
    #[error("cannot {action}")]
    Local {
        /// What was to be done.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl FetchError {
    /// For `map_err`.
    pub(crate) fn local(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Local { action, source }
    }

    /// Whose fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Http(error) => error.kind(),
            Self::Status { status, .. } => status_kind(*status),
            Self::TooLarge { .. } | Self::TooSlow { .. } => ErrorKind::Policy,
            Self::Range { .. } | Self::Git { .. } => ErrorKind::Remote,
            Self::Scheme { .. }
            | Self::Url { .. }
            | Self::NoRepository { .. }
            | Self::BadRef { .. }
            | Self::BadSubdir { .. }
            | Self::Missing { .. }
            | Self::Submodules { .. }
            | Self::Refused { .. } => ErrorKind::User,
            Self::Unpack { source, .. } => source.kind(),
            Self::GitVersion { .. } | Self::Local { .. } => ErrorKind::Resource,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// What to do next, where more is known than the kind's advice.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { what: "branch, tag or commit", .. } => Some("a commit must be written with all its digits"),
            Self::Submodules { .. } => {
                Some("write ?submodules=false behind the URL to take the repository without them, or ADD each of them")
            }
            Self::Status { status: 401 | 403, .. } => {
                Some("it wants a login: fetch it before the build and COPY it, or RUN with a secret")
            }
            Self::Scheme { .. } => Some("write its https URL, or fetch it before the build and COPY it"),
            Self::GitVersion { .. } => Some("install a newer git on the builder"),
            _ => None,
        }
    }

    /// Whether the same may do better later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Git { .. })
    }
}
