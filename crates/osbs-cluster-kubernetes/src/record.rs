//! What a Job's annotations hold of a build: `osbs/record`, which never changes, and `osbs/state`. Pure.

use osbs_cluster::{Build, GitSource, Limits, SecretMount, Slots, TextMap};
use osbs_types::{BuildName, BuildState, BuildType, Failure, Platform, Timestamp};
use serde::{Deserialize, Serialize};

/// Annotation `osbs/record`. No environment: that is a Secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub build_type: BuildType,
    pub created: Timestamp,
    pub output_image: String,
    pub source: GitSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_config: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<BuildName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Slots>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretMount>,
    #[serde(default, skip_serializing_if = "TextMap::is_empty")]
    pub node_selector: TextMap,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered_by: Option<serde_json::Value>,
}

/// Annotation `osbs/state`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    pub state: BuildState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default)]
    pub cancel_requested: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The uid of the pod that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

impl StateRecord {
    /// A build just recorded.
    pub fn new() -> Self {
        Self {
            state: BuildState::New,
            reason: None,
            cancel_requested: false,
            started: None,
            finished: None,
            failure: None,
            pod: None,
        }
    }

    /// Moves to `state`, if that is forward. Never out of an end.
    pub fn advance(&mut self, state: BuildState, reason: Option<String>) -> bool {
        if self.state.is_finished() || state < self.state {
            return false;
        }
        self.state = state;
        self.reason = reason;
        true
    }
}

impl Record {
    /// The facts of a new build.
    pub fn of(build: &Build) -> Self {
        Self {
            build_type: build.build_type,
            created: build.created,
            output_image: build.output_image.clone(),
            source: build.source.clone(),
            build_config: build.build_config.clone(),
            number: build.number,
            platform: build.platform.clone(),
            parent: build.parent.clone(),
            slots: build.slots.clone(),
            secrets: build.secrets.clone(),
            node_selector: build.node_selector.clone(),
            limits: build.limits.clone(),
            build_image: build.build_image.clone(),
            triggered_by: build.triggered_by.clone(),
        }
    }

    /// The build, with what the Job says beside the record.
    pub fn into_build(
        self,
        namespace: String,
        name: BuildName,
        state: StateRecord,
        labels: TextMap,
        annotations: TextMap,
    ) -> Build {
        Build {
            name,
            namespace,
            build_type: self.build_type,
            build_config: self.build_config,
            number: self.number,
            state: state.state,
            reason: state.reason,
            cancel_requested: state.cancel_requested,
            labels,
            annotations,
            env: TextMap::new(),
            created: self.created,
            started: state.started,
            finished: state.finished,
            platform: self.platform,
            parent: self.parent,
            slots: self.slots,
            output_image: self.output_image,
            source: self.source,
            secrets: self.secrets,
            node_selector: self.node_selector,
            limits: self.limits,
            build_image: self.build_image,
            triggered_by: self.triggered_by,
            failure: state.failure,
            pid: None,
        }
    }
}
