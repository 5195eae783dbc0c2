//! Why a task fails, and the fault that its submitter reads.
//!
//! Must not hold secrets: the fault is public on the hub.

use osbs_client::ClientError;
use osbs_cluster::ClusterError;
use osbs_koji::{Fault, FaultCode};
use osbs_types::Failure;

/// Why a task ends without an image (client-and-koji 4.4).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The request's arguments are not those of `buildContainer`.
    #[error("{problem}")]
    Request {
        /// What is wrong, and with which argument.
        problem: String,
    },
    /// No such target.
    #[error("Target not found: {target}")]
    NoTarget {
        /// Its name.
        target: String,
    },
    /// The target's build tag names no arches.
    #[error("No arches for tag {tag}: an administrator of Koji sets them")]
    NoArches {
        /// The build tag.
        tag: String,
    },
    /// Arches chosen, and none of them is the tag's.
    #[error("No matching arches: asked for {asked}, and tag {tag} has {arches}")]
    NoMatchingArches {
        /// What was asked for, as it was written.
        asked: String,
        /// The build tag.
        tag: String,
        /// Its arches.
        arches: String,
    },
    /// Arches were chosen for a build that is kept.
    #[error("arch_override is only for scratch and isolated builds")]
    ArchOverride,
    /// The source is not the URL of a repository.
    #[error("{url:?} is not SCHEME://[USER@]HOST/PATH[?SUBDIR]#REVISION with a scheme of git: {problem}")]
    ScmUrl {
        /// As it was given.
        url: String,
        /// What is missing.
        problem: &'static str,
    },
    /// The site allows other repositories only.
    #[error("{host}:{path} is not in the list of allowed SCMs")]
    ScmNotAllowed {
        /// Its host.
        host: String,
        /// Its path.
        path: String,
    },
    /// Labels that every build needs.
    #[error("Required LABEL items are missing or empty in the Dockerfile: {}", labels.join(", "))]
    MissingLabels {
        /// `name (or old name)`.
        labels: Vec<String>,
    },
    /// A tag is longer than a registry takes.
    #[error("The tag {tag:?} has {} characters; at most 128 are allowed", tag.len())]
    TagTooLong {
        /// The tag.
        tag: String,
    },
    /// The package may not be built for the destination.
    #[error("package {package} is not in the list for tag {tag}: koji add-pkg --owner OWNER {tag} {package}")]
    PackageNotListed {
        /// Its name.
        package: String,
        /// The destination tag.
        tag: String,
    },
    /// The package is blocked for the destination.
    #[error("package {package} is blocked for tag {tag}")]
    PackageBlocked {
        /// Its name.
        package: String,
        /// The destination tag.
        tag: String,
    },
    /// The NVR is taken.
    #[error("Build {nvr} already exists, id {id}: raise the release")]
    BuildExists {
        /// The NVR.
        nvr: String,
        /// The build that has it.
        id: i64,
    },
    /// The hub refused a call.
    #[error("{}", .0.text)]
    Hub(Fault),
    /// The hub was not reached, or what it said was no answer.
    #[error("{problem}")]
    HubCall {
        /// One line.
        problem: String,
    },
    /// The instance refused the build, or the cluster failed.
    #[error("{0}")]
    Submit(Failure),
    /// The cluster is not reached, or no longer accepts the login: nothing is known of the build, and nothing is decided.
    #[error("{0}")]
    ClusterAway(Failure),
    /// The build failed.
    #[error("Image build failed. {message}OSBS build id: {build}")]
    BuildFailed {
        /// Why: empty, or a sentence and a space.
        message: String,
        /// Its name.
        build: String,
    },
    /// Somebody cancelled the build, or the task.
    #[error("Image build was cancelled by user.")]
    Cancelled,
}

impl TaskError {
    /// What the hub stores. Faults of a hub keep their class; 2001 and 2002 are the container plugin's own.
    pub fn to_fault(&self) -> Fault {
        let code = match self {
            Self::Hub(fault) => return fault.clone(),
            Self::HubCall { .. } => FaultCode::GenericError,
            Self::Submit(_) | Self::ClusterAway(_) | Self::BuildFailed { .. } => FaultCode::ContainerError,
            Self::Cancelled => FaultCode::ContainerCancelled,
            _ => FaultCode::BuildError,
        };
        Fault::new(code, self.to_string())
    }
}

/// What the client could not do.
pub(crate) fn of_client(error: ClientError) -> TaskError {
    match &error {
        ClientError::Cluster(ClusterError::Unreachable { .. } | ClusterError::LoginRefused { .. }) => {
            TaskError::ClusterAway(error.to_failure())
        }
        _ => TaskError::Submit(error.to_failure()),
    }
}

/// A call that did not end well.
pub(crate) fn of_koji(error: osbs_koji::KojiError) -> TaskError {
    match error.fault() {
        Some(fault) => TaskError::Hub(fault.clone()),
        None => TaskError::HubCall { problem: Failure::new(error.kind(), &error).to_string() },
    }
}
