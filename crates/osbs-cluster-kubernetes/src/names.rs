//! Names of what a build has in Kubernetes, and which names Kubernetes can take. Pure.

use osbs_cluster::ClusterError;
use osbs_types::BuildName;

/// Prefix of our labels and annotations; whatever has it is not the build's own.
pub(crate) const PREFIX: &str = "osbs/";
/// Label of a Job and its pod: the build.
pub(crate) const BUILD: &str = "osbs/build";
/// Label: `orchestrator` or `worker`.
pub(crate) const TYPE: &str = "osbs/type";
/// Label: the BuildConfig.
pub(crate) const BUILD_CONFIG: &str = "osbs/build-config";
/// Label: the orchestrator build.
pub(crate) const PARENT: &str = "osbs/parent";
/// Label: the slot group, `:` as `.`.
pub(crate) const SLOTS: &str = "osbs/slots";
/// Label: `true` or `false`.
pub(crate) const FINISHED: &str = "osbs/finished";
/// Annotation: the facts that never change, JSON.
pub(crate) const RECORD: &str = "osbs/record";
/// Annotation: where the build stands, JSON.
pub(crate) const STATE: &str = "osbs/state";
/// Annotation: who wants the build; turns are fair between users.
pub(crate) const USER: &str = "osbs/user";
/// Label of ConfigMaps and Secrets that are not a build's: `build-config`, `nvr`, `config-map`, `secret`.
pub(crate) const KIND: &str = "osbs/kind";

/// The Secret with a build's environment.
pub(crate) fn env_secret(build: &BuildName) -> String {
    format!("{build}-env")
}

/// The ConfigMap of a BuildConfig.
pub(crate) fn build_config(name: &str) -> String {
    format!("buildconfig-{name}")
}

/// A Job's name becomes the label `job-name` of its pods: a DNS label.
///
/// # Errors
/// It is none.
pub(crate) fn check_build(name: &str) -> Result<(), ClusterError> {
    let fits = name.len() <= 63 && is_subdomain(name) && !name.contains('.');
    if fits {
        return Ok(());
    }
    Err(invalid("build name", name, "Kubernetes takes lower-case letters, digits and '-', at most 63"))
}

/// Names of ConfigMaps and Secrets.
///
/// # Errors
/// It is no DNS subdomain.
pub(crate) fn check_object(what: &'static str, name: &str) -> Result<(), ClusterError> {
    if is_subdomain(name) {
        return Ok(());
    }
    Err(invalid(what, name, "Kubernetes takes lower-case letters, digits, '-' and '.', at most 253"))
}

fn is_subdomain(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let label = |label: &str| {
        let bytes = label.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Kubernetes cannot take that value.
pub(crate) fn invalid(what: &'static str, value: &str, reason: &str) -> ClusterError {
    ClusterError::Invalid { what, value: value.chars().take(80).collect(), reason: reason.to_owned() }
}
