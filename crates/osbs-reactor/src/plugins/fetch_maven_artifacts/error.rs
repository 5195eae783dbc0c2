//! How artifacts fail: whose fault, where in the repository, what next. No text holds a login or a query.

use crate::plugin::Classified;
use osbs_fetch::{BadAllowedUrl, FetchError};
use osbs_http::HttpError;
use osbs_types::{ErrorKind, Failure, Position};

/// An artifact cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArtifactError {
    /// The repository wants files out of Koji, and there is none.
    #[error("fetch-artifacts-koji.yaml names builds of Koji ({builds}), and this site has no Koji")]
    NoKoji {
        /// Their names.
        builds: String,
        /// The first entry.
        position: Position,
    },
    /// The site's list is not one.
    #[error("artifacts_allowed_domains is wrong")]
    AllowedDomains {
        /// The entry.
        #[source]
        source: BadAllowedUrl,
    },
    /// URLs that may not, or cannot, be fetched.
    #[error("{}", urls(refused))]
    Urls {
        /// Where, and what of each.
        refused: Vec<(Position, String)>,
        /// What the site allows.
        allowed: String,
    },
    /// Something else has the place of the folder.
    #[error("artifacts in the repository is {found}, and artifacts are put into a folder of that name")]
    Folder {
        /// What it is.
        found: &'static str,
    },
    /// A download failed.
    #[error("artifact {target} cannot be downloaded")]
    Fetch {
        /// Its name.
        target: String,
        /// Its entry.
        position: Position,
        /// What the site allows.
        allowed: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// It is another file.
    #[error("artifact {target} has {algorithm} {found}, not {expected} ({bytes} bytes from {url})")]
    Checksum {
        /// Its name.
        target: String,
        /// Without login and query.
        url: String,
        /// Its entry.
        position: Position,
        /// `md5`, `sha1`, `sha256`.
        algorithm: &'static str,
        /// As the repository, or Koji, says.
        expected: String,
        /// As it is.
        found: String,
        /// Its size.
        bytes: u64,
    },
    /// It is not there any more.
    #[error("artifact {target} cannot be read again")]
    Read {
        /// Its name.
        target: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn urls(refused: &[(Position, String)]) -> String {
    match refused {
        [(_, only)] => only.clone(),
        many => format!("{} URLs of fetch-artifacts-url.yaml cannot be fetched", many.len()),
    }
}

impl Classified for ArtifactError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoKoji { .. } | Self::AllowedDomains { .. } => ErrorKind::Policy,
            Self::Urls { refused, .. } if refused.iter().all(|(_, text)| text.ends_with("allow it")) => {
                ErrorKind::Policy
            }
            // The checksum is Koji's, and so is the file.
            Self::Checksum { position, .. } if position.file == super::KOJI_FILE => ErrorKind::Remote,
            Self::Urls { .. } | Self::Folder { .. } | Self::Checksum { .. } => ErrorKind::User,
            Self::Fetch { source, .. } => source.kind(),
            Self::Read { .. } => ErrorKind::Resource,
        }
    }

    fn position(&self) -> Option<Position> {
        match self {
            Self::NoKoji { position, .. } | Self::Fetch { position, .. } | Self::Checksum { position, .. } => {
                Some(position.clone())
            }
            Self::Urls { refused, .. } => refused.first().map(|(position, _)| position.clone()),
            Self::AllowedDomains { .. } | Self::Folder { .. } | Self::Read { .. } => None,
        }
    }

    fn hint(&self) -> Option<String> {
        let allows = |list: &str| Some(format!("artifacts_allowed_domains of this site has: {list}"));
        match self {
            Self::NoKoji { .. } => Some("name the files in fetch-artifacts-url.yaml, by URL and checksum".to_owned()),
            Self::AllowedDomains { .. } => {
                Some("write host, host:port or host/path, without https://, in config.yaml".to_owned())
            }
            Self::Urls { allowed, .. } if !allowed.is_empty() && self.kind() == ErrorKind::Policy => allows(allowed),
            Self::Folder { .. } => Some("remove it from the repository, or make it a folder".to_owned()),
            Self::Checksum { position, .. } if position.file == super::KOJI_FILE => {
                Some("the file that Koji serves is not the one that was imported: ask its administrators".to_owned())
            }
            Self::Checksum { .. } => {
                Some("if the file was meant to change, correct its checksum in fetch-artifacts-url.yaml".to_owned())
            }
            Self::Fetch { source, allowed, .. } => match source {
                FetchError::Http(HttpError::UrlNotAllowed { .. }) => allows(allowed),
                FetchError::Http(HttpError::AddressDenied { .. }) => Some(
                    "the administrator can allow its host (artifacts_allowed_domains) or its address (fetch.allow)"
                        .to_owned(),
                ),
                FetchError::TooLarge { .. } | FetchError::TooSlow { .. } => {
                    Some("the limits are the site's: fetch.max_size and fetch.timeout in config.yaml".to_owned())
                }
                FetchError::Status { status: 401 | 403, .. } => {
                    Some("its server wants a login: name a place where it can be had without one".to_owned())
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn failure(&self) -> Failure {
        let mut failure = Failure::new(self.kind(), self);
        (failure.position, failure.hint) = (self.position(), self.hint());
        if let Self::Urls { refused, .. } = self
            && refused.len() > 1
        {
            failure.causes = refused.iter().map(|(position, text)| format!("{position}: {text}")).collect();
        }
        failure
    }
}
