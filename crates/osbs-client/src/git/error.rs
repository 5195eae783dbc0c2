//! What can go wrong with a repository.

use super::CheckoutRequest;
use osbs_types::ErrorKind;

/// Nothing was checked out. Texts hold no credentials: URLs with a password are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// The URL is none.
    #[error("{uri:?} is not the URL of a git repository")]
    BadUri {
        /// As given.
        uri: String,
    },
    /// A path, but none that everybody understands alike.
    #[error("{uri:?} is no URL, and as a path it must begin with /")]
    RelativePath {
        /// As given.
        uri: String,
    },
    /// The URL would put a password into logs and records.
    #[error("the URL of the git repository holds a password")]
    PasswordInUri,
    /// The ref or branch is none.
    #[error("{name:?} is not the name of a git ref")]
    BadRef {
        /// As given.
        name: String,
    },
    /// A transport that runs programs, or none that git knows.
    #[error("the transport of {uri} is not allowed: {message}")]
    BadTransport {
        /// The repository.
        uri: String,
        /// Git's words.
        message: String,
    },
    /// There is no repository.
    #[error("there is no git repository {uri}")]
    NoRepository {
        /// The repository.
        uri: String,
        /// Git's words.
        message: String,
    },
    /// The server wants to know who asks.
    #[error("no permission to read {uri}: {message}")]
    Denied {
        /// The repository.
        uri: String,
        /// Git's words.
        message: String,
    },
    /// The branch is not there.
    #[error("{uri} has no branch {branch:?}")]
    BranchNotFound {
        /// The repository.
        uri: String,
        /// The branch.
        branch: String,
    },
    /// The ref is not there.
    #[error("{} has no commit, tag or branch {:?}{}", request.uri, request.git_ref, on_branch(request))]
    RefNotFound {
        /// What was asked for.
        request: CheckoutRequest,
    },
    /// The objects do not pass git's own check.
    #[error("{uri} holds objects that git refuses: {message}")]
    Refused {
        /// The repository.
        uri: String,
        /// Git's words.
        message: String,
    },
    /// A server or the network failed.
    #[error("git cannot fetch {uri}: {message}")]
    Remote {
        /// The repository.
        uri: String,
        /// Git's words.
        message: String,
    },
    /// It took too long.
    #[error("git had not fetched {uri} after {seconds} s")]
    TooSlow {
        /// The repository.
        uri: String,
        /// The limit.
        seconds: u64,
    },
    /// This machine failed.
    #[error("git cannot write the checkout: {message}")]
    Local {
        /// Git's words.
        message: String,
    },
    /// Git is not there.
    #[error("cannot run {program}")]
    NotRun {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// No folder to check out into.
    #[error("cannot make {path}")]
    Folder {
        /// The folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody asked to stop.
    #[error("stopped while git was fetching {uri}")]
    Cancelled {
        /// The repository.
        uri: String,
    },
}

fn on_branch(request: &CheckoutRequest) -> String {
    request.branch.as_ref().map_or_else(String::new, |branch| format!(" on branch {branch:?}"))
}

impl GitError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadUri { .. }
            | Self::RelativePath { .. }
            | Self::PasswordInUri
            | Self::BadRef { .. }
            | Self::BadTransport { .. }
            | Self::NoRepository { .. }
            | Self::Denied { .. }
            | Self::BranchNotFound { .. }
            | Self::RefNotFound { .. }
            | Self::Refused { .. } => ErrorKind::User,
            Self::Remote { .. } | Self::TooSlow { .. } => ErrorKind::Remote,
            Self::Local { .. } | Self::NotRun { .. } | Self::Folder { .. } => ErrorKind::Resource,
            Self::Cancelled { .. } => ErrorKind::Cancelled,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::RelativePath { uri } => format!(
                "a folder on this machine: its whole path, as in /srv/git/{uri}; a repository elsewhere: https://HOST/PATH, \
                 ssh://USER@HOST/PATH or USER@HOST:PATH",
                uri = uri.trim_start_matches("./").trim_start_matches("../")
            ),
            Self::PasswordInUri => "use ssh, or a credential helper of the server's own".to_owned(),
            Self::BadTransport { .. } => "use https, http, ssh, git, file, or a path".to_owned(),
            Self::NoRepository { .. } => "check the URL; it must be readable without a password".to_owned(),
            Self::Denied { .. } => "check the URL and whether this machine's key may read it".to_owned(),
            Self::BranchNotFound { .. } => "check the spelling; was the branch pushed?".to_owned(),
            Self::RefNotFound { .. } => "check the spelling; was the commit pushed?".to_owned(),
            Self::NotRun { .. } => "install the package git".to_owned(),
            _ => return None,
        })
    }

    /// Whether another try makes sense.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Remote { .. })
    }

    /// Whether the server lacks the ref, or does not give it out by that name.
    pub(super) fn is_missing_ref(&self) -> bool {
        matches!(self, Self::RefNotFound { .. })
    }
}
