//! What a site says about the pods of its builds. Whoever makes the cluster reads it from `osbs.conf`.

use osbs_cluster::TextMap;
use std::time::Duration;

/// How a build's pod looks, where its request does not say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodOptions {
    /// The builder image of builds that name none.
    pub image: Option<String>,
    /// The program in it and its first arguments; the build's name follows.
    pub command: Vec<String>,
    /// `Always`, `IfNotPresent`, `Never`; Kubernetes' default otherwise.
    pub image_pull_policy: Option<String>,
    /// Secrets to pull it with.
    pub image_pull_secrets: Vec<String>,
    /// Runs the pod: must be allowed what the runner does. The namespace's default otherwise.
    pub service_account: Option<String>,
    /// What containers of worker builds may do.
    pub security: PodSecurity,
    /// How long a build may run; waiting does not count.
    pub deadline: Option<Duration>,
    /// How long a cancelled build may take for its exit plugins.
    pub grace: Duration,
    /// How long a pod may fail to start (image pull, missing Secret) before its build is closed.
    pub start_patience: Duration,
    /// How long a finished build stays. Servers before 1.21 leave that to `osbs gc`.
    pub ttl: Option<Duration>,
    /// Priority class of the pods.
    pub priority_class: Option<String>,
    /// Of scratch builds; as the others' without.
    pub low_priority_class: Option<String>,
    /// Where images are unpacked.
    pub home: HomeVolume,
    /// More environment of the pod's program: nothing secret.
    pub env: TextMap,
}

impl Default for PodOptions {
    fn default() -> Self {
        Self {
            image: None,
            command: vec!["osbs".to_owned(), "run-pod".to_owned()],
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            service_account: None,
            security: PodSecurity::UserNamespace,
            deadline: None,
            grace: Duration::from_mins(2),
            start_patience: Duration::from_mins(5),
            ttl: None,
            priority_class: None,
            low_priority_class: None,
            home: HomeVolume::EmptyDir { size_limit: None },
            env: TextMap::new(),
        }
    }
}

/// What a worker build's pod may do. Orchestrator builds mount and unpack nothing: theirs is always `Restricted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodSecurity {
    /// An ordinary user without any capability, on a root that is read-only, with the runtime's default seccomp profile.
    Restricted,
    /// An ordinary user who may make a user namespace: beyond `Restricted` the capabilities to map ids, no seccomp profile, a
    /// /proc that is not masked, and a root that can be written.
    UserNamespace,
    /// Everything, as root of the node.
    Privileged,
}

/// Where a worker build's store of images is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HomeVolume {
    /// Lives and dies with the pod.
    EmptyDir {
        /// For example `20Gi`.
        size_limit: Option<String>,
    },
    /// A folder of the node, shared by its builds: parents are kept.
    HostPath {
        /// Its absolute path.
        path: String,
    },
}
