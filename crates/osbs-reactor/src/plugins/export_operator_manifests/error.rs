//! How the export of manifests fails. What an image holds is its author's affair.

use crate::plugin::Classified;
use osbs_types::ErrorKind;
use std::io;
use std::path::PathBuf;

/// The manifests cannot be exported.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestsError {
    /// The folder is not there.
    #[error("the image has no folder /manifests, and its label says that it is an operator")]
    Absent,
    /// Something else is.
    #[error("/manifests in the image is {found}, not a folder")]
    NoFolder {
        /// What it is.
        found: &'static str,
    },
    /// Nothing to export.
    #[error("/manifests in the image holds no files")]
    Empty,
    /// A link to something that is not exported, or to nothing.
    #[error("{} in the image is a link to {}, which is {why}", path.display(), target.display())]
    Link {
        /// Where.
        path: PathBuf,
        /// As written.
        target: PathBuf,
        /// `outside of /manifests`, `not there`, `a folder`.
        why: &'static str,
    },
    /// A device, a FIFO, a socket.
    #[error("{} in the image is {found}: only files and folders are exported", path.display())]
    Special {
        /// Where.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A zip archive has names as text.
    #[error("the name of {} in the image is not UTF-8 text, or has a backslash", path.display())]
    Name {
        /// Where.
        path: PathBuf,
    },
    /// More than manifests are.
    #[error("/manifests in the image holds more than {limit} {unit}")]
    TooMuch {
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The archive cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Classified for ManifestsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TooMuch { .. } => ErrorKind::Policy,
            Self::Write { .. } => ErrorKind::Resource,
            _ => ErrorKind::User,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Absent | Self::Empty | Self::NoFolder { .. } => {
                "COPY the manifests to /manifests, or remove the label com.redhat.delivery.appregistry"
            }
            Self::Link { .. } | Self::Special { .. } | Self::Name { .. } => {
                "put plain files with plain names into /manifests"
            }
            Self::TooMuch { .. } => "put nothing but the operator's manifests into /manifests",
            Self::Write { .. } => return None,
        };
        Some(text.to_owned())
    }
}
