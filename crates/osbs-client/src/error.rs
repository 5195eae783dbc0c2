//! What can go wrong between a user's wish and a build.

use crate::git::GitError;
use osbs_arrangement::ArrangementError;
use osbs_cluster::ClusterError;
use osbs_config::ConfigError;
use osbs_dockerfile::DockerfileError;
use osbs_types::{BuildName, ErrorKind, Failure, Position};

/// A request was not fulfilled. No build was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// `can_orchestrate` is not true: `OsbsOrchestratorNotEnabled`.
    #[error("instance {instance:?} may not create orchestrator builds: can_orchestrate is not true")]
    OrchestratorNotEnabled {
        /// The instance.
        instance: String,
        /// Its configuration file.
        conf: Option<String>,
    },
    /// Parameters that this kind of build needs.
    #[error("{build} needs: {}", parameters.join(", "))]
    Missing {
        /// `an orchestrator build`.
        build: &'static str,
        /// Their names, sorted.
        parameters: Vec<&'static str>,
    },
    /// A parameter that this kind of build does not take.
    #[error("{build} takes no {parameter}")]
    Unwanted {
        /// `an orchestrator build`.
        build: &'static str,
        /// Its name.
        parameter: &'static str,
    },
    /// Two parameters that exclude each other.
    #[error("{first} and {second} exclude each other")]
    Exclusive {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A value that cannot be used.
    #[error("{parameter} {value:?} cannot be used: expected {expected}")]
    Invalid {
        /// The parameter or label.
        parameter: String,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// The repository could not be cloned.
    #[error(transparent)]
    Git(#[from] GitError),
    /// No Dockerfile.
    #[error("there is no Dockerfile in the top folder of {uri} at {git_ref}")]
    NoDockerfile {
        /// The repository.
        uri: String,
        /// The ref.
        git_ref: String,
        /// There is a container.yaml, so somebody thought of us.
        has_container_yaml: bool,
    },
    /// The Dockerfile is none.
    #[error(transparent)]
    Dockerfile(#[from] DockerfileError),
    /// Labels that every build needs.
    #[error("the Dockerfile lacks the label{} {}", if labels.len() == 1 { "" } else { "s" }, labels.join(", "))]
    MissingLabels {
        /// Their names.
        labels: Vec<String>,
    },
    /// A label's value.
    #[error("label {label}={value:?} cannot be used: expected {expected}")]
    BadLabel {
        /// Its name.
        label: String,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// The repository asks for autorebuilds and sets its release.
    #[error("the Dockerfile sets the label release, which a repository with autorebuild enabled must not")]
    ReleaseWithAutorebuild,
    /// A configuration file of the repository or the site.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of the repository that cannot be read.
    #[error("cannot read {file} of the repository")]
    RepositoryFile {
        /// The file.
        file: String,
        /// Why.
        source: osbs_sandbox::rooted::RootedError,
    },
    /// A file of the repository that is no text.
    #[error("{file} of the repository is not UTF-8")]
    NotText {
        /// The file.
        file: String,
    },
    /// Plugin lists could not be made.
    #[error(transparent)]
    Arrangement(#[from] ArrangementError),
    /// The site's file for its changes to the plugin lists.
    #[error("cannot read {path}")]
    Customization {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The cluster refused or failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A secret that the configuration names.
    #[error("secret {secret:?}, named by {wanted_by}, is not in the cluster")]
    NoSecret {
        /// Its name.
        secret: String,
        /// The key that names it.
        wanted_by: String,
    },
    /// The server-side configuration is not where the instance says.
    #[error("{place} has no key config.yaml")]
    NoReactorConfig {
        /// `secret reactorconf`.
        place: String,
    },
    /// An isolated build of the same repository, branch and release runs.
    #[error("isolated build {build} of this repository and branch is not finished yet")]
    IsolatedRunning {
        /// It.
        build: BuildName,
    },
    /// Several builds belong to one Koji task.
    #[error("Koji task {task} has several builds: {}", builds.join(", "))]
    SeveralBuilds {
        /// The task.
        task: u64,
        /// Their names.
        builds: Vec<String>,
    },
    /// `openshift_url` names no cluster.
    #[error("openshift_url {url} cannot be used: it names neither a Kubernetes API nor a folder of this machine")]
    NoSuchCluster {
        /// The URL.
        url: String,
    },
    /// A service account without token.
    #[error("service account {account} has no token: there is no secret {account}-token... with a key token")]
    NoToken {
        /// The account.
        account: String,
    },
    /// A folder for the clone could not be made.
    #[error("cannot make a folder in {place}")]
    NoFolder {
        /// Where.
        place: String,
        /// Why.
        source: std::io::Error,
    },
}

impl ClientError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OrchestratorNotEnabled { .. }
            | Self::NoSecret { .. }
            | Self::NoReactorConfig { .. }
            | Self::Customization { .. }
            | Self::NoSuchCluster { .. } => ErrorKind::Policy,
            Self::Missing { .. }
            | Self::Unwanted { .. }
            | Self::Exclusive { .. }
            | Self::Invalid { .. }
            | Self::NoDockerfile { .. }
            | Self::MissingLabels { .. }
            | Self::BadLabel { .. }
            | Self::ReleaseWithAutorebuild
            | Self::RepositoryFile { .. }
            | Self::NotText { .. }
            | Self::IsolatedRunning { .. }
            | Self::NoToken { .. }
            | Self::SeveralBuilds { .. } => ErrorKind::User,
            Self::NoFolder { .. } => ErrorKind::Resource,
            Self::Git(error) => error.kind(),
            Self::Dockerfile(error) => error.kind(),
            Self::Config(error) => error.kind(),
            Self::Arrangement(error) => error.kind(),
            Self::Cluster(error) => error.kind(),
        }
    }

    /// As it is shown on one screen.
    pub fn to_failure(&self) -> Failure {
        let failure = match self {
            Self::Config(error) => error.to_failure(),
            Self::Dockerfile(error) => error.to_failure(),
            Self::Arrangement(error) => error.to_failure(),
            Self::NoDockerfile { .. }
            | Self::MissingLabels { .. }
            | Self::BadLabel { .. }
            | Self::ReleaseWithAutorebuild => {
                let at = Position { file: "Dockerfile".to_owned(), line: 1, column: None };
                let failure = Failure::new(self.kind(), self);
                if matches!(self, Self::NoDockerfile { .. }) { failure } else { failure.at(at) }
            }
            _ => Failure::new(self.kind(), self),
        };
        match self.hint() {
            Some(hint) if failure.hint.is_none() => failure.with_hint(hint),
            _ => failure,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::OrchestratorNotEnabled { instance, conf } => {
                let file = conf.as_deref().unwrap_or("/etc/osbs.conf");
                format!("set can_orchestrate = true in section [{instance}] of {file}, if its administrator agrees")
            }
            Self::NoDockerfile { has_container_yaml: true, .. } => {
                "a container.yaml alone makes no image, unless it has the key flatpak: add a Dockerfile".to_owned()
            }
            Self::NoDockerfile { .. } => "put a Dockerfile into the top folder, commit and push it".to_owned(),
            Self::MissingLabels { labels } => {
                let label = labels.first().map_or("name", String::as_str);
                format!("add a line such as: LABEL {label}=\"...\"")
            }
            Self::ReleaseWithAutorebuild => {
                "remove the label release, or disable autorebuild in .osbs-repo-config".to_owned()
            }
            Self::IsolatedRunning { build } => format!("wait for it (osbs watch-build {build}) or cancel it"),
            Self::NoSuchCluster { .. } => {
                "write https://HOST[:PORT] or local:///DIR, or leave openshift_url out: kubeconfig, else this machine"
                    .to_owned()
            }
            Self::Cluster(error) => return error.hint(),
            Self::NoSecret { secret, .. } => format!("put secret {secret} into the cluster, or remove the key"),
            Self::Git(error) => return error.hint(),
            _ => return None,
        })
    }
}
