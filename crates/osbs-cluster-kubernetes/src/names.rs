//! Names of what a build has in Kubernetes, and which names Kubernetes can take. Pure.

use osbs_cluster::ClusterError;
use osbs_types::BuildName;
use sha2::{Digest, Sha256};

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
/// Annotation: when the build's turn came.
pub(crate) const GRANTED: &str = "osbs/granted";
/// Annotation: for how long whoever asked for the build wants it, and since when.
pub(crate) const WANTED: &str = "osbs/wanted";
/// The Lease that is the ledger of turns; its annotation is `osbs/granted` too.
pub(crate) const QUEUE: &str = "osbs-queue";
/// Label of ConfigMaps and Secrets that are not a build's: `build-config`, `nvr`, `config-map`, `secret`.
pub(crate) const KIND: &str = "osbs/kind";

/// The Secret with a build's environment.
pub(crate) fn env_secret(build: &BuildName) -> String {
    format!("{build}-env")
}

/// Begins the names of ConfigMaps that hold a BuildConfig.
const BUILD_CONFIGS: &str = "buildconfig-";
/// Begins the names of ConfigMaps that hold the NVRs of a component.
const NVRS: &str = "nvr-";

/// The ConfigMap of a BuildConfig.
///
/// # Errors
/// Builds of it could not be named after it.
pub(crate) fn build_config(name: &str) -> Result<String, ClusterError> {
    // A number of at least one digit follows the name in those of its builds.
    if name.len() <= 61 && is_subdomain(name) && !name.contains('.') {
        return Ok(format!("{BUILD_CONFIGS}{name}"));
    }
    Err(invalid("BuildConfig name", name, "Kubernetes takes lower-case letters, digits and '-', at most 61"))
}

/// The ConfigMap of the NVRs of one component and version: both may hold what Kubernetes' names cannot.
pub(crate) fn nvrs(component: &str, version: &str) -> String {
    let digest = Sha256::digest(format!("{component}\n{version}"));
    let half = digest.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("{NVRS}{half:032x}")
}

/// Names of ConfigMaps that callers may write: not ours.
///
/// # Errors
/// It is no DNS subdomain, or one of ours.
pub(crate) fn check_config_map(name: &str) -> Result<(), ClusterError> {
    if name.starts_with(BUILD_CONFIGS) || name.starts_with(NVRS) {
        return Err(invalid("ConfigMap name", name, "names that begin with `buildconfig-` or `nvr-` are OSBS's own"));
    }
    check_object("ConfigMap name", name)
}

/// The text as a value of a label, if Kubernetes can take it. Groups are told with `:`, which it cannot: a `.` instead.
pub(crate) fn label_value(text: &str) -> Option<String> {
    let value = text.replace(':', ".");
    let edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    let fits = bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    fits.then_some(value)
}

/// Keys of labels and annotations that a caller may set.
///
/// # Errors
/// One of them is ours.
pub(crate) fn check_keys<'a>(
    what: &'static str,
    keys: impl IntoIterator<Item = &'a String>,
) -> Result<(), ClusterError> {
    match keys.into_iter().find(|key| key.starts_with(PREFIX)) {
        Some(key) => Err(invalid(what, key, "the prefix `osbs/` is OSBS's own")),
        None => Ok(()),
    }
}

/// Labels that a caller may set.
///
/// # Errors
/// A key is ours, or Kubernetes cannot take a value.
pub(crate) fn check_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<(), ClusterError> {
    for (key, value) in labels {
        check_keys("label", [key])?;
        if label_value(value).as_ref() != Some(value) {
            let reason =
                "Kubernetes takes letters, digits, '-', '_' and '.', a letter or digit at both ends, at most 63";
            return Err(invalid("label value", &format!("{key}={value}"), reason));
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kubernetes_takes() {
        let name = |length| "a".repeat(length);
        for good in ["a", "web-f40-9ab12-7", "scratch-12345-20240102030405", &name(63)] {
            assert!(check_build(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a.b", "a_b", "-a", "a-", "a/b", &name(64)] {
            assert!(check_build(bad).is_err(), "{bad}");
        }
        for good in ["a", "web-1-md", "a.b-c.d", &name(253)] {
            assert!(check_config_map(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a..b", "a/b", "../x", "A", "buildconfig-web", "nvr-1", &name(254)] {
            assert!(check_config_map(bad).is_err(), "{bad}");
        }
        assert!(build_config(&name(61)).is_ok() && build_config(&name(62)).is_err());
    }

    #[test]
    fn label_values() {
        assert_eq!(label_value("worker:x86-1").as_deref(), Some("worker.x86-1"));
        for bad in ["a/b", "-a", "a b", "ü", &"a".repeat(64)] {
            assert_eq!(label_value(bad), None, "{bad}");
        }
        let labels = |key: &str, value: &str| check_labels([(&key.to_owned(), &value.to_owned())]);
        assert!(labels("git-branch", "f40").is_ok() && labels("empty", "").is_ok());
        assert!(labels("git-branch", "a:b").is_err() && labels("osbs/build", "x").is_err());
    }

    #[test]
    fn nvrs_of_different_versions_have_different_places() {
        assert_ne!(nvrs("a", "1"), nvrs("a", "2"));
        assert_ne!(nvrs("a-1", "2"), nvrs("a", "1-2"));
        assert!(check_object("ConfigMap name", &nvrs("Web_Container", "1.0~rc1")).is_ok());
    }
}
