//! Rules every cluster shares: names of objects, merging of BuildConfigs, the next release.

use crate::{BuildConfig, ClusterError};

/// Label whose old value is always dropped from a BuildConfig (`client-and-koji.md` 2.6, step 3).
const KOJI_TASK_ID: &str = "koji-task-id";

/// Whether a text can name an object. It is also a file name in some clusters, so: letters, digits, `-`, `_`, `.`, a
/// letter or digit at both ends, at most 253 (Kubernetes' limit for object names).
pub fn is_object_name(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 253
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// Brings `existing` up to date with `wanted`, as [`crate::Cluster::ensure_build_config`] promises.
///
/// # Errors
/// [`ClusterError::BuildConfigDiffers`]; `existing` is then unchanged.
pub fn merge_build_config(existing: &mut BuildConfig, wanted: &BuildConfig) -> Result<(), ClusterError> {
    for (label, value) in &wanted.labels {
        match existing.labels.get(label) {
            Some(old) if !old.is_empty() && old != value && label != KOJI_TASK_ID => {
                return Err(ClusterError::BuildConfigDiffers {
                    name: existing.name.clone(),
                    label: label.clone(),
                    existing: old.clone(),
                    wanted: value.clone(),
                });
            }
            _ => {}
        }
    }
    existing.labels.remove(KOJI_TASK_ID);
    existing.labels.extend(wanted.labels.clone());
    existing.source = wanted.source.clone();
    Ok(())
}

/// The number a release begins with; releases that begin with none count as 0.
fn leading_number(release: &str) -> u64 {
    release.split('.').next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// The release behind the highest of `taken` (`reactor.md` 3.1.9, "patch" and "increment"): `3.2.el8` -> `4.el8`.
pub fn next_release<'a>(taken: impl IntoIterator<Item = &'a str>) -> String {
    // Of several with the same number the one that sorts last decides the suffix, so that the answer does not depend on
    // the order of storage.
    let Some(highest) = taken.into_iter().max_by_key(|release| (leading_number(release), *release)) else {
        return "1".to_owned();
    };
    let mut parts = highest.splitn(3, '.').skip(1).collect::<Vec<_>>();
    if parts.first().is_some_and(|second| !second.is_empty() && second.bytes().all(|b| b.is_ascii_digit())) {
        parts.remove(0);
    }
    let mut next = leading_number(highest).saturating_add(1).to_string();
    for part in parts {
        next.push('.');
        next.push_str(part);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GitSource;

    #[test]
    fn releases_count_up() {
        let check = |taken: &[&str], expect: &str| assert_eq!(next_release(taken.iter().copied()), expect, "{taken:?}");
        check(&[], "1");
        check(&["1"], "2");
        check(&["9", "10"], "11");
        check(&["3.fc40"], "4.fc40");
        check(&["3.2.el8"], "4.el8");
        check(&["2", "beta"], "3");
        check(&["beta"], "1");
        check(&["18446744073709551615"], "18446744073709551615");
    }

    #[test]
    fn object_names() {
        for good in ["a", "web-f40-9ab12", "x.json", "A_b"] {
            assert!(is_object_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "-a", "a\0b", "a b", &"a".repeat(254)] {
            assert!(!is_object_name(bad), "{bad}");
        }
    }

    #[test]
    fn contradicting_labels_are_refused() {
        let config = |labels: &[(&str, &str)]| BuildConfig {
            name: "web".into(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            source: GitSource { uri: "u".into(), git_ref: "r".into() },
            last_version: 3,
        };
        let mut existing = config(&[("git-branch", "f40"), ("koji-task-id", "1"), ("empty", "")]);
        let before = existing.clone();
        assert!(merge_build_config(&mut existing, &config(&[("git-branch", "f41")])).is_err());
        assert_eq!(existing, before);
        merge_build_config(&mut existing, &config(&[("git-branch", "f40"), ("koji-task-id", "2"), ("empty", "x")]))
            .expect("no contradiction");
        assert_eq!(
            existing,
            BuildConfig { last_version: 3, ..config(&[("git-branch", "f40"), ("koji-task-id", "2"), ("empty", "x")]) }
        );
    }
}
