//! What a request must know of its repository: the Dockerfile's labels and parent, tags, container.yaml. The same checks
//! run again inside the build; here they spare a user the wait.

use crate::error::ClientError;
use crate::git::CheckoutRequest;
use osbs_arrangement::release_label;
use osbs_config::{ContainerYaml, Parsed, parse_additional_tags, parse_repo_config};
use osbs_dockerfile::{Dockerfile, LabelMap, find_label};
use osbs_sandbox::rooted::{Root, RootedError};
use std::path::Path;

/// Files larger than this are not what their name says.
const LARGEST: u64 = 4 << 20;

/// Labels that every build needs. A value may be empty here where it comes from the parent's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredLabels {
    /// Label `name`.
    pub name: String,
    /// Label `com.redhat.component`.
    pub component: String,
    /// Label `version`.
    pub version: String,
    /// Label `release`, if set.
    pub release: Option<String>,
}

/// A repository, looked at.
#[derive(Debug, Clone)]
pub struct RepositoryInfo {
    /// Its labels.
    pub labels: RequiredLabels,
    /// The FROM of the final stage, or the image it comes from.
    pub base_image: String,
    /// container.yaml.
    pub container_yaml: ContainerYaml,
    /// `tags` of container.yaml, or the lines of `additional-tags`.
    pub additional_tags: Vec<String>,
    /// They come from container.yaml.
    pub tags_from_yaml: bool,
    /// `.osbs-repo-config` enables autorebuilds.
    pub autorebuild_enabled: bool,
    /// What is odd.
    pub warnings: Vec<String>,
}

impl RepositoryInfo {
    /// Looks at the work tree at `root`, checked out for `request`.
    ///
    /// # Errors
    /// No Dockerfile or none that is one, missing or bad labels, a bad container.yaml.
    pub fn inspect(root: &Path, request: &CheckoutRequest) -> Result<Self, ClientError> {
        let files = Files(Root::open(root).map_err(|source| ClientError::RepositoryFile { file: ".".into(), source })?);
        let mut warnings = Vec::new();
        let container_yaml = match files.read("container.yaml")? {
            Some(text) => noting(ContainerYaml::parse(&text, "container.yaml")?, &mut warnings),
            None => ContainerYaml::default(),
        };
        let Some(text) = files.read("Dockerfile")? else {
            let has_container_yaml = files.read("container.yaml")?.is_some();
            let (uri, git_ref) = (request.uri.clone(), request.git_ref.clone());
            return Err(ClientError::NoDockerfile { uri, git_ref, has_container_yaml });
        };
        let dockerfile = Dockerfile::parse(&text, "Dockerfile")?;
        let labels = required_labels(&dockerfile.labels(&[])?)?;
        let base_image = dockerfile.base_image()?;
        let autorebuild_enabled = match files.read(".osbs-repo-config")? {
            Some(text) => parse_repo_config(&text, ".osbs-repo-config")?.autorebuild_enabled,
            None => false,
        };
        if autorebuild_enabled && labels.release.is_some() {
            return Err(ClientError::ReleaseWithAutorebuild);
        }
        let tags_file = files.read("additional-tags")?;
        let tags_from_yaml = container_yaml.tags.is_some();
        if tags_from_yaml && tags_file.is_some() {
            warnings.push("additional-tags is ignored: container.yaml has tags".to_owned());
        }
        let additional_tags = match (&container_yaml.tags, tags_file) {
            (Some(tags), _) => noting(parse_additional_tags(&tags.join("\n"), "container.yaml tags"), &mut warnings),
            (None, Some(text)) => noting(parse_additional_tags(&text, "additional-tags"), &mut warnings),
            (None, None) => Vec::new(),
        };
        Ok(Self { labels, base_image, container_yaml, additional_tags, tags_from_yaml, autorebuild_enabled, warnings })
    }
}

fn noting<T>(parsed: Parsed<T>, warnings: &mut Vec<String>) -> T {
    warnings.extend(parsed.warnings.iter().map(ToString::to_string));
    parsed.value
}

/// Files of the top folder. Links lead nowhere outside it.
struct Files(Root);

impl Files {
    fn read(&self, name: &str) -> Result<Option<String>, ClientError> {
        let failed = |source: RootedError| ClientError::RepositoryFile { file: name.to_owned(), source };
        match self.0.read_small(Path::new(name), LARGEST) {
            Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| ClientError::NotText { file: name.to_owned() }),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

fn required_labels(labels: &LabelMap) -> Result<RequiredLabels, ClientError> {
    let value = |name: &str| find_label(labels, name).map(|(_, value)| value.to_owned());
    let (name, component, version) = (value("name"), value("com.redhat.component"), value("version"));
    let (Some(name), Some(component), Some(version)) = (&name, &component, &version) else {
        let all = [("name", name), ("com.redhat.component", component), ("version", version)];
        let missing = all.into_iter().filter(|(_, value)| value.is_none()).map(|(label, _)| label.to_owned());
        return Err(ClientError::MissingLabels { labels: missing.collect() });
    };
    let bad = |label: &str, value: &str, expected: &str| ClientError::BadLabel {
        label: label.to_owned(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    };
    if component.is_empty() {
        return Err(bad(
            "com.redhat.component",
            component,
            "a value (variables of the parent image cannot be used here)",
        ));
    }
    if name.split('/').next().is_some_and(|first| first.contains('.')) {
        return Err(bad("name", name, "a name without registry: its first component has no dot"));
    }
    let release = value("release");
    if let Some(release) = release.as_deref().filter(|release| !release.is_empty() && !release_label(release)) {
        return Err(bad("release", release, "a number, then letters and digits, with '.' or '_' between (1.fc40)"));
    }
    Ok(RequiredLabels { name: name.clone(), component: component.clone(), version: version.clone(), release })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const GOOD: &str = "FROM fedora:40\nLABEL name=web com.redhat.component=web-container version=1.0\n";

    fn inspect(files: &[(&str, &str)]) -> Result<RepositoryInfo, ClientError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        inspect_folder(folder.path())
    }

    fn inspect_folder(folder: &Path) -> Result<RepositoryInfo, ClientError> {
        let request =
            CheckoutRequest { uri: "https://h/web".into(), branch: None, git_ref: "main".into(), depth: None };
        RepositoryInfo::inspect(folder, &request)
    }

    #[track_caller]
    fn check_refused(files: &[(&str, &str)], contains: &str) {
        let error = inspect(files).unwrap_err();
        let failure = error.to_failure();
        assert!(failure.to_string().contains(contains), "{failure}");
        assert_eq!(failure.kind, osbs_types::ErrorKind::User, "{failure}");
    }

    #[test]
    fn a_good_one() {
        let info = inspect(&[("Dockerfile", GOOD), ("additional-tags", "stable\nbad-tag\n\n")]).unwrap();
        assert_eq!(info.labels.component, "web-container");
        assert_eq!(
            (info.base_image.as_str(), info.additional_tags.as_slice()),
            ("fedora:40", &["stable".to_owned()][..])
        );
        assert_eq!(info.warnings.len(), 1);
        assert!(!info.tags_from_yaml);

        let yaml = "tags: [v1]\nplatforms:\n  only: x86_64\n";
        let info = inspect(&[("Dockerfile", GOOD), ("additional-tags", "x\n"), ("container.yaml", yaml)]).unwrap();
        assert!(info.tags_from_yaml && info.container_yaml.only.is_some());
        assert_eq!((info.additional_tags.as_slice(), info.warnings.len()), (&["v1".to_owned()][..], 1));

        let old = "FROM x\nLABEL Name=a BZComponent=b Version=2\n";
        assert_eq!(inspect(&[("Dockerfile", old)]).unwrap().labels.version, "2");
    }

    #[test]
    fn bad_ones() {
        check_refused(&[], "no Dockerfile");
        check_refused(&[("container.yaml", "platforms:\n  only: x86_64\n")], "no Dockerfile");
        check_refused(&[("Dockerfile", "RUN true\n")], "Dockerfile:1");
        check_refused(&[("Dockerfile", "")], "FROM");
        check_refused(&[("Dockerfile", "FROM x\nLABEL name=a\n")], "labels com.redhat.component, version");
        check_refused(&[("Dockerfile", &format!("{GOOD}LABEL release=beta\n"))], "release=\"beta\"");
        check_refused(&[("Dockerfile", &GOOD.replace("name=web", "name=reg.io/web"))], "without registry");
        check_refused(&[("Dockerfile", GOOD), ("container.yaml", "platform: x86_64\n")], "container.yaml:1");
        let auto = ("/.osbs-repo-config".trim_start_matches('/'), "[autorebuild]\nenabled = true\n");
        check_refused(&[("Dockerfile", &format!("{GOOD}LABEL release=1\n")), auto], "autorebuild");
        assert!(inspect(&[("Dockerfile", GOOD), auto]).unwrap().autorebuild_enabled);
    }

    #[test]
    fn links_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/etc/passwd", folder.path().join("Dockerfile")).unwrap();
        assert!(matches!(inspect_folder(folder.path()), Err(ClientError::NoDockerfile { .. })));
        std::fs::write(folder.path().join("real"), GOOD).unwrap();
        std::fs::remove_file(folder.path().join("Dockerfile")).unwrap();
        symlink("/real", folder.path().join("Dockerfile")).unwrap();
        assert!(inspect_folder(folder.path()).is_ok(), "a link to a file of the repository is fine");
    }
}
