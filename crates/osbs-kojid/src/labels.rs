//! What a Dockerfile must say before a task may build it (client-and-koji 4.4, steps 6 and 7).

use crate::TaskError;
use osbs_client::RequiredLabels;

/// The label with a build's release.
pub const RELEASE_LABEL: &str = "release";

/// A registry takes no longer tags.
const LONGEST_TAG: usize = 128;

/// Component and version must have values here, for Koji is asked with them.
///
/// # Errors
/// [`TaskError::MissingLabels`], with the old name of each.
pub fn check_labels(labels: &RequiredLabels) -> Result<(), TaskError> {
    let all = [
        (labels.component.as_str(), "com.redhat.component (or BZComponent)"),
        (labels.version.as_str(), "version (or Version)"),
    ];
    let missing: Vec<String> =
        all.iter().filter(|(value, _)| value.is_empty()).map(|(_, name)| (*name).to_owned()).collect();
    if missing.is_empty() { Ok(()) } else { Err(TaskError::MissingLabels { labels: missing }) }
}

/// The longest of the tags that the build will have; one made of a variable cannot be judged.
///
/// # Errors
/// It is too long for a registry.
pub fn check_tag_length(version: &str, release: Option<&str>, additional: &[String]) -> Result<(), TaskError> {
    let own = format!("{version}-{}", release.unwrap_or("1"));
    let tags = additional.iter().filter(|tag| !tag.contains('-')).chain(std::iter::once(&own));
    match tags.max_by_key(|tag| tag.len()) {
        Some(tag) if tag.len() > LONGEST_TAG => Err(TaskError::TagTooLong { tag: tag.clone() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let good = RequiredLabels {
            name: "web".into(),
            component: "web-container".into(),
            version: "1.0".into(),
            release: None,
        };
        assert!(check_labels(&good).is_ok());
        let bad = RequiredLabels { version: String::new(), ..good };
        let error = check_labels(&bad).unwrap_err().to_string();
        assert!(error.contains("version (or Version)") && !error.contains("component"), "{error}");
    }

    #[test]
    fn tags() {
        let long = "x".repeat(129);
        assert!(check_tag_length("1.0", Some("1"), &["latest".into()]).is_ok());
        assert!(check_tag_length("1.0", None, std::slice::from_ref(&long)).is_err());
        assert!(check_tag_length("1.0", None, &[format!("-{long}")]).is_ok(), "not a tag that is used");
        assert!(check_tag_length(&long[3..], Some("12"), &[]).is_err());
    }
}
