//! Builds as a cluster keeps them, and what a caller hands in to get one.

use osbs_types::{BuildName, BuildState, BuildType, Event, Failure, Nvr, Platform, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Labels, annotations, environments: ordered, so that what is written is the same every time.
pub type TextMap = BTreeMap<String, String>;

/// How a new build gets its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameRule {
    /// Started from this BuildConfig (which must exist): `BUILDCONFIG-NUMBER`, and one at a time in that order.
    Config {
        /// Name of the BuildConfig.
        build_config: String,
    },
    /// Started directly, under this name: scratch, isolated and worker builds. Starts as soon as a slot is free.
    Exact(BuildName),
}

/// The git repository of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitSource {
    /// URL as the user gave it, without credentials.
    pub uri: String,
    /// Commit, tag or branch.
    pub git_ref: String,
}

/// A secret that a build sees as a folder of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretMount {
    /// Its name in the cluster.
    pub secret: String,
    /// Where OSBS mounts it, by default `/var/run/secrets/atomic-reactor/SECRET`. A cluster that cannot mount there
    /// tells the real folder by [`crate::Cluster::secret_dir`].
    pub mount_path: String,
}

/// Resource limits, in Kubernetes' notation (`100m`, `1Gi`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
}

/// A limit on how many builds run at once. Builds that name the same group share it; a build without slots never waits
/// for one. Orchestrator and worker builds must not share a group: an orchestrator waits for its workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// For example `orchestrator` or `worker:CLUSTER`.
    pub group: String,
    /// How many of the group may run, at least 1.
    pub max: u32,
}

/// A request for a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewBuild {
    /// Its name.
    pub name: NameRule,
    /// Orchestrator or worker.
    pub build_type: BuildType,
    /// Labels (`client-and-koji.md` 2.6).
    #[serde(default)]
    pub labels: TextMap,
    /// Annotations.
    #[serde(default)]
    pub annotations: TextMap,
    /// Environment of the reactor beside what the cluster adds itself (`BUILD`, `SOURCE_URI`, `SOURCE_REF`,
    /// `OUTPUT_IMAGE`): `ATOMIC_REACTOR_PLUGINS`, or `USER_PARAMS` and `REACTOR_CONFIG`.
    #[serde(default)]
    pub env: TextMap,
    /// `spec.output.to.name`: the unique image name.
    pub output_image: String,
    /// What is built.
    pub source: GitSource,
    /// Secrets it may read.
    #[serde(default)]
    pub secrets: Vec<SecretMount>,
    /// Which nodes it may run on.
    #[serde(default)]
    pub node_selector: TextMap,
    /// Resource limits.
    #[serde(default)]
    pub limits: Limits,
    /// Its share of the cluster.
    #[serde(default)]
    pub slots: Option<Slots>,
    /// The orchestrator build it works for: ends with it.
    #[serde(default)]
    pub parent: Option<BuildName>,
    /// The platform of a worker build.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// `spec.strategy.customStrategy.from.name`: the builder image, where a cluster has such a thing.
    #[serde(default)]
    pub build_image: Option<String>,
    /// `spec.triggeredBy`, as OpenShift writes it; `None` = started by hand.
    #[serde(default)]
    pub triggered_by: Option<serde_json::Value>,
}

impl NewBuild {
    /// The smallest request: a build of that type and name, everything else empty.
    pub fn new(name: NameRule, build_type: BuildType, source: GitSource, output_image: impl Into<String>) -> Self {
        Self {
            name,
            build_type,
            labels: TextMap::new(),
            annotations: TextMap::new(),
            env: TextMap::new(),
            output_image: output_image.into(),
            source,
            secrets: Vec::new(),
            node_selector: TextMap::new(),
            limits: Limits::default(),
            slots: None,
            parent: None,
            platform: None,
            build_image: None,
            triggered_by: None,
        }
    }
}

/// A build and its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Its name.
    pub name: BuildName,
    /// Its namespace.
    pub namespace: String,
    /// Orchestrator or worker.
    pub build_type: BuildType,
    /// The BuildConfig it was started from.
    pub build_config: Option<String>,
    /// Its number within that BuildConfig.
    pub number: Option<u64>,
    /// Where it stands.
    pub state: BuildState,
    /// Why it stands there, for people: `waiting for build web-1`, `killed by signal 9`.
    pub reason: Option<String>,
    /// Somebody asked to cancel it.
    pub cancel_requested: bool,
    /// Labels.
    pub labels: TextMap,
    /// Annotations: where the reactor stores its results.
    pub annotations: TextMap,
    /// Environment as requested (may hold the site's configuration and passwords: not for logs). A cluster may forget it
    /// when the build has ended.
    #[serde(default)]
    pub env: TextMap,
    /// When it was recorded.
    pub created: Timestamp,
    /// When its process started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// The platform of a worker build.
    pub platform: Option<Platform>,
    /// The orchestrator build it works for.
    pub parent: Option<BuildName>,
    /// Its share of the cluster.
    pub slots: Option<Slots>,
    /// The unique image name.
    pub output_image: String,
    /// What is built.
    pub source: GitSource,
    /// Secrets it may read.
    #[serde(default)]
    pub secrets: Vec<SecretMount>,
    /// Which nodes it may run on.
    #[serde(default)]
    pub node_selector: TextMap,
    /// Resource limits.
    #[serde(default)]
    pub limits: Limits,
    /// The builder image.
    #[serde(default)]
    pub build_image: Option<String>,
    /// What started it.
    #[serde(default)]
    pub triggered_by: Option<serde_json::Value>,
    /// Why it failed: the one-screen error.
    pub failure: Option<Failure>,
    /// Process id on the machine it runs on, where that means anything.
    pub pid: Option<u32>,
}

impl Build {
    /// A build just recorded from `new`.
    pub fn from_new(namespace: &str, name: BuildName, number: Option<u64>, new: NewBuild, created: Timestamp) -> Self {
        let build_config = match &new.name {
            NameRule::Config { build_config } => Some(build_config.clone()),
            NameRule::Exact(_) => None,
        };
        Self {
            name,
            namespace: namespace.to_owned(),
            build_type: new.build_type,
            build_config,
            number,
            state: BuildState::New,
            reason: None,
            cancel_requested: false,
            labels: new.labels,
            annotations: new.annotations,
            env: new.env,
            created,
            started: None,
            finished: None,
            platform: new.platform,
            parent: new.parent,
            slots: new.slots,
            output_image: new.output_image,
            source: new.source,
            secrets: new.secrets,
            node_selector: new.node_selector,
            limits: new.limits,
            build_image: new.build_image,
            triggered_by: new.triggered_by,
            failure: None,
            pid: None,
        }
    }

    /// Failed, complete, error or cancelled.
    pub fn is_finished(&self) -> bool {
        self.state.is_finished()
    }

    /// The label's value, if it is `true` or `false` in any letter case (`reactor.md` 6.2, M5); other texts are false.
    pub fn flag(&self, label: &str) -> bool {
        self.labels.get(label).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

/// Which builds to list. The default matches every build of the namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildFilter {
    /// All of these labels with these values.
    pub labels: TextMap,
    /// Only builds that are not finished (what OSBS calls `running`).
    pub unfinished: bool,
    /// Only in one of these states; empty = any.
    pub states: Vec<BuildState>,
    /// Only of this type.
    pub build_type: Option<BuildType>,
    /// Only of this BuildConfig.
    pub build_config: Option<String>,
    /// Only workers of this orchestrator build.
    pub parent: Option<BuildName>,
    /// The newest that many; they are still listed oldest first.
    pub limit: Option<usize>,
}

impl BuildFilter {
    /// Whether `build` is meant (the limit aside).
    pub fn matches(&self, build: &Build) -> bool {
        self.labels.iter().all(|(key, value)| build.labels.get(key) == Some(value))
            && !(self.unfinished && build.is_finished())
            && (self.states.is_empty() || self.states.contains(&build.state))
            && self.build_type.is_none_or(|wanted| wanted == build.build_type)
            && self.build_config.as_ref().is_none_or(|wanted| build.build_config.as_ref() == Some(wanted))
            && self.parent.as_ref().is_none_or(|wanted| build.parent.as_ref() == Some(wanted))
    }
}

/// Changes of labels and annotations: a value replaces, `None` removes, everything else stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildPatch {
    /// Changes of labels.
    pub labels: BTreeMap<String, Option<String>>,
    /// Changes of annotations.
    pub annotations: BTreeMap<String, Option<String>>,
}

impl BuildPatch {
    /// With one more annotation.
    #[must_use]
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), Some(value.into()));
        self
    }

    /// With one more label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), Some(value.into()));
        self
    }

    /// Makes the changes.
    pub fn apply(&self, build: &mut Build) {
        for (changes, target) in [(&self.labels, &mut build.labels), (&self.annotations, &mut build.annotations)] {
            for (key, value) in changes {
                match value {
                    Some(value) => target.insert(key.clone(), value.clone()),
                    None => target.remove(key),
                };
            }
        }
    }
}

/// An event and the place behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Pass it as `from` to go on behind this event. Opaque: it grows, and 0 is the start.
    pub offset: u64,
    /// What happened.
    pub event: Event,
}

/// Until when to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// Until it is running, or finished already.
    Scheduled,
    /// Until it is finished.
    Finished,
}

impl WaitFor {
    /// Whether a build in `state` ends the wait.
    pub fn is_reached(self, state: BuildState) -> bool {
        match self {
            Self::Scheduled => state >= BuildState::Running,
            Self::Finished => state.is_finished(),
        }
    }
}

/// What builds of one repository and branch share: the queue they stand in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildConfig {
    /// Its name (`client-and-koji.md` 2.5).
    pub name: String,
    /// `git-repo-name`, `git-branch`, `git-full-repo`.
    pub labels: TextMap,
    /// What its next build is made from.
    pub source: GitSource,
    /// The number of its last build, 0 before the first. Kept by the cluster; ignored in requests.
    #[serde(default)]
    pub last_version: u64,
}

/// An NVR that is now this build's for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The NVR.
    pub nvr: Nvr,
    /// Its owner.
    pub by: BuildName,
    /// Since when.
    pub at: Timestamp,
}
