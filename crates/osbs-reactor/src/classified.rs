//! Errors of the crates below, made usable with `?` in plugins.

use crate::plugin::{Classified, PluginError, classify};
use osbs_dockerfile::label_rules::LabelRulesError;
use osbs_dockerfile::{DockerfileError, EditError};
use osbs_types::{ErrorKind, Failure, Position};

classify!(
    osbs_cluster::ClusterError,
    osbs_http::HttpError,
    osbs_image::ArchiveError,
    osbs_image::LayerError,
    osbs_image::StoreError,
    osbs_registry::CredentialsError,
    osbs_registry::RegistryError,
    osbs_sandbox::MountError,
    osbs_sandbox::ProcessError,
    osbs_sandbox::RuntimeError,
    osbs_sandbox::rooted::RootedError,
);

impl Classified for osbs_registry::RegistryUriError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Policy
    }
}

/// All problems of a configuration file at once, in the form that the file's crate gives them.
impl From<osbs_config::ConfigError> for PluginError {
    fn from(error: osbs_config::ConfigError) -> Self {
        error.to_failure().into()
    }
}

impl Classified for LabelRulesError {
    fn kind(&self) -> ErrorKind {
        LabelRulesError::kind(self)
    }
}

impl Classified for osbs_client::git::GitError {
    fn kind(&self) -> ErrorKind {
        osbs_client::git::GitError::kind(self)
    }

    fn hint(&self) -> Option<String> {
        osbs_client::git::GitError::hint(self)
    }
}

impl Classified for DockerfileError {
    fn kind(&self) -> ErrorKind {
        DockerfileError::kind(self)
    }

    fn failure(&self) -> Failure {
        self.to_failure()
    }
}

impl Classified for EditError {
    fn kind(&self) -> ErrorKind {
        EditError::kind(self)
    }

    fn position(&self) -> Option<Position> {
        match self {
            Self::Dockerfile(error) => Some(error.position.clone()),
            _ => None,
        }
    }
}
