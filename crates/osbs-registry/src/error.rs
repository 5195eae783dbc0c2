//! What can go wrong with a registry: which registry, which repository, what was tried, and whose fault it is.

use crate::{CredentialsError, RegistryUriError};
use osbs_http::HttpError;
use osbs_image::StoreError;
use osbs_types::{Architecture, Digest, ErrorKind};

/// An operation on a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No usable answer, also after retries.
    #[error("cannot {action} at registry {registry}")]
    Transport {
        /// Host and port.
        registry: String,
        /// What was to be done.
        action: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// An answer that means failure.
    #[error("registry {registry} refuses to {action}: {status} ({attempts} attempts){}", colon(detail))]
    Status {
        /// Host and port.
        registry: String,
        /// What was to be done.
        action: String,
        /// HTTP status.
        status: u16,
        /// Attempts made.
        attempts: u32,
        /// What the registry says about it.
        detail: String,
    },
    /// There is no such thing.
    #[error("registry {registry} has no {what}")]
    NotFound {
        /// Host and port.
        registry: String,
        /// `repo:tag`, or a blob of a repository.
        what: String,
    },
    /// Login missing or not good enough.
    #[error("registry {registry} does not let us {action}: {}{}", login_text(*with_login, helper.as_deref()), colon(detail))]
    Denied {
        /// Host and port.
        registry: String,
        /// What was to be done.
        action: String,
        /// Whether a login was known for this repository.
        with_login: bool,
        /// Credential helper named in the credentials file.
        helper: Option<String>,
        /// What the registry says about it.
        detail: String,
    },
    /// The bytes are not what their name says.
    #[error("registry {registry} sent wrong bytes for {what} of {repository}: expected {expected}, got {found}")]
    WrongDigest {
        /// Host and port.
        registry: String,
        /// Repository.
        repository: String,
        /// Manifest, config or layer.
        what: &'static str,
        /// Digest asked for or promised.
        expected: Digest,
        /// Digest of the bytes.
        found: Digest,
    },
    /// More or fewer bytes than promised.
    #[error("registry {registry} sent {found} bytes for {digest} of {repository}, its manifest promises {expected}")]
    WrongSize {
        /// Host and port.
        registry: String,
        /// Repository.
        repository: String,
        /// Which blob.
        digest: Digest,
        /// Bytes promised.
        expected: u64,
        /// Bytes sent (at least).
        found: u64,
    },
    /// An answer that makes no sense.
    #[error("registry {registry} gave an answer that makes no sense when asked to {action}: {problem}")]
    Protocol {
        /// Host and port.
        registry: String,
        /// What was to be done.
        action: String,
        /// What is wrong.
        problem: String,
    },
    /// A manifest, index or config that is not what its media type says, or could be read as something else too.
    #[error("the manifest of {image} cannot be understood")]
    Manifest {
        /// The image.
        image: String,
        /// What is wrong with it.
        #[source]
        source: StoreError,
    },
    /// A manifest of a kind that cannot be used here.
    #[error(
        "{image} is of media type {media_type:?}; only OCI and Docker schema 2 images and indexes of them can be used"
    )]
    MediaType {
        /// The image.
        image: String,
        /// Its media type.
        media_type: String,
    },
    /// The index has no entry for the platform.
    #[error("{image} has no image for {wanted}, only for {}", available.join(", "))]
    NoSuchPlatform {
        /// The image.
        image: String,
        /// The architecture asked for.
        wanted: Architecture,
        /// What it has.
        available: Vec<String>,
    },
    /// The local store failed.
    #[error("the image store failed during {action}")]
    Store {
        /// What was to be done.
        action: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A text that is neither repository nor image.
    #[error("{name:?} is not a name that registry {registry} can be asked for")]
    BadName {
        /// Host and port.
        registry: String,
        /// The text.
        name: String,
    },
    /// The registry's name in the configuration.
    #[error("the configuration names a bad registry")]
    Uri(#[from] RegistryUriError),
    /// The credentials file.
    #[error("registry credentials cannot be used")]
    Credentials(#[from] CredentialsError),
    /// Somebody asked to stop.
    #[error("cancelled while trying to {action}")]
    Cancelled {
        /// What was being done.
        action: String,
    },
    /// A task of ours died.
    #[error("a transfer task ended unexpectedly: {0}")]
    Task(String),
}

fn colon(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

fn login_text(with_login: bool, helper: Option<&str>) -> String {
    match (with_login, helper) {
        (true, _) => "the login in the credentials file is not accepted for it".to_owned(),
        (false, None) => "the credentials file has no login for it".to_owned(),
        (false, Some(helper)) => {
            format!(
                "the credentials file has no login for it, and helper program docker-credential-{helper} is not run"
            )
        }
    }
}

impl RegistryError {
    /// Whose fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            // 405: the registry does not do that at all; it is read-only, or deletion is switched off.
            Self::Denied { .. } | Self::Status { status: 405, .. } => ErrorKind::Policy,
            Self::Transport { source, .. } => source.kind(),
            Self::Status { .. }
            | Self::WrongDigest { .. }
            | Self::WrongSize { .. }
            | Self::Protocol { .. }
            | Self::Manifest { .. } => ErrorKind::Remote,
            Self::NotFound { .. }
            | Self::BadName { .. }
            | Self::MediaType { .. }
            | Self::NoSuchPlatform { .. }
            | Self::Uri(_) => ErrorKind::User,
            Self::Store { source, .. } => source.kind(),
            Self::Credentials(error) => error.kind(),
            Self::Cancelled { .. } => ErrorKind::Cancelled,
            Self::Task(_) => ErrorKind::Internal,
        }
    }

    /// HTTP status, where there was one: 405 on DELETE means that deletion is switched off.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::NotFound { .. } => Some(404),
            _ => None,
        }
    }

    /// With the number of attempts made by a loop around the request.
    pub(crate) fn with_attempts(mut self, count: u32) -> Self {
        match &mut self {
            Self::Status { attempts, .. }
            | Self::Transport {
                source: HttpError::Connect { attempts, .. } | HttpError::Timeout { attempts, .. },
                ..
            } => *attempts = count,
            _ => {}
        }
        self
    }

    /// Whether it may pass by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { source, .. } => source.is_transient(),
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}
