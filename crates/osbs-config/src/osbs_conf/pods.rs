//! How builds look as pods, for clusters that are Kubernetes. Keys of ours: Kubernetes' own words in the file's spelling.

use super::values::bad;
use crate::problem::ProblemKind;

/// What a worker build's pod may do (`pod_security`). Orchestrator builds mount and unpack nothing: theirs are always
/// restricted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PodSecurity {
    /// An ordinary user of the node who makes a user namespace of its own.
    #[default]
    Rootless,
    /// Root of the node, for nodes whose kernel allows no more than that.
    Privileged,
}

impl PodSecurity {
    /// Every spelling.
    pub const ALL: [Self; 2] = [Self::Rootless, Self::Privileged];

    /// As in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rootless => "rootless",
            Self::Privileged => "privileged",
        }
    }
}

/// Where a pod has its store of images (`home_volume`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HomeVolume {
    /// A folder that goes with the pod.
    #[default]
    EmptyDir,
    /// A folder of the node, which later builds on that node find again.
    HostPath(String),
}

/// The pods of an instance. Fields are named as their keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "named and documented as the keys of osbs.conf")]
pub struct PodConfig {
    pub service_account: Option<String>,
    pub pod_security: PodSecurity,
    pub home_volume: HomeVolume,
    pub image_pull_policy: Option<String>,
    pub image_pull_secrets: Vec<String>,
    pub priority_class_name: Option<String>,
    /// Scratch builds and those that a trigger started; `priority_class_name` when unset.
    pub low_priority_class_name: Option<String>,
    /// Seconds that a build may run; waiting for its turn or for a node does not count.
    pub active_deadline_seconds: Option<u32>,
    /// Seconds between the wish to end a build and its being killed.
    pub termination_grace_period_seconds: Option<u32>,
    /// Seconds that a finished build is kept.
    pub ttl_seconds_after_finished: Option<u32>,
}

pub(super) fn pod_security(text: &str) -> Result<PodSecurity, ProblemKind> {
    let found = PodSecurity::ALL.into_iter().find(|security| security.as_str() == text);
    found.ok_or_else(|| bad(text, "rootless or privileged"))
}

pub(super) fn home_volume(text: &str) -> Result<HomeVolume, ProblemKind> {
    match text.split_once(':') {
        None if text == "emptyDir" => Ok(HomeVolume::EmptyDir),
        Some(("hostPath", path)) if is_own_folder(path) => Ok(HomeVolume::HostPath(path.to_owned())),
        _ => Err(bad(text, "emptyDir, or hostPath:/DIR with a folder of the node that is there for this")),
    }
}

/// The root of the node, or something beside a way up, is never meant.
fn is_own_folder(path: &str) -> bool {
    path.starts_with('/')
        && !path.trim_matches('/').is_empty()
        && path.split('/').all(|part| part != ".." && part != ".")
}

pub(super) fn image_pull_policy(text: &str) -> Result<String, ProblemKind> {
    let known = ["Always", "IfNotPresent", "Never"].contains(&text);
    if known { Ok(text.to_owned()) } else { Err(bad(text, "Always, IfNotPresent or Never")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(pod_security("privileged"), Ok(PodSecurity::Privileged));
        assert!(pod_security("Privileged").is_err() && pod_security("").is_err());
        assert_eq!(home_volume("emptyDir"), Ok(HomeVolume::EmptyDir));
        assert_eq!(home_volume("hostPath:/var/cache/osbs"), Ok(HomeVolume::HostPath("/var/cache/osbs".into())));
        for text in ["hostPath:/", "hostPath:var", "hostPath:/a/../b", "pvc:x", "hostPath", ""] {
            assert!(home_volume(text).is_err(), "{text:?}");
        }
        assert!(image_pull_policy("Never").is_ok() && image_pull_policy("never").is_err());
    }
}
