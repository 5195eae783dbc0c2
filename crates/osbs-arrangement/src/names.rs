//! Names and tags the client makes (`client-and-koji.md` 2.5, `reactor.md` 2.6): pure functions of their arguments.

use osbs_types::{BuildType, Platform, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Kubernetes object names.
const LONGEST_BUILD_CONFIG_NAME: usize = 53;
const LONGEST_ISOLATED_NAME: usize = 64;

/// The two parts that make names unique: five digits, the first not 0, and a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniqueName {
    random: u32,
    time: Timestamp,
}

/// The digits are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a number of five digits, the first not 0")]
pub struct NameError(pub u32);

impl UniqueName {
    /// From random digits (10000 to 99999) and the time of the request.
    ///
    /// # Errors
    /// When `random` has not five digits.
    pub fn new(random: u32, time: Timestamp) -> Result<Self, NameError> {
        if (10_000..100_000).contains(&random) { Ok(Self { random, time }) } else { Err(NameError(random)) }
    }

    /// `YYYYMMDDhhmmss` in UTC.
    pub fn timestamp(&self) -> String {
        self.time.strftime("%Y%m%d%H%M%S").to_string()
    }

    /// `USER/COMPONENT:TARGET-RANDOM-TIMESTAMP[-PLATFORM]`; the platform only from arrangement 4 on.
    pub fn image_tag(
        &self,
        user: &str,
        component: &str,
        target: Option<&str>,
        platform: Option<&Platform>,
        arrangement_version: u32,
    ) -> String {
        let target = target.filter(|target| !target.is_empty()).unwrap_or("none");
        let platform = platform.filter(|_| arrangement_version >= 4);
        let suffix = platform.map_or_else(String::new, |platform| format!("-{platform}"));
        format!("{user}/{component}:{target}-{self}{suffix}")
    }
}

/// `RANDOM-TIMESTAMP`
impl fmt::Display for UniqueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.random, self.timestamp())
    }
}

/// The last part of a repository's URI, as git names a clone.
pub fn humanish(uri: &str) -> &str {
    let uri = uri.trim_end_matches('/');
    let uri = uri.strip_suffix("/.git").or_else(|| uri.strip_suffix(".git")).unwrap_or(uri);
    uri.rsplit(['/', ':']).next().unwrap_or(uri)
}

/// The path of a repository's URI without leading slashes, `host:path` included.
fn repository_path(uri: &str) -> &str {
    let path = match uri.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => match uri.split_once(':') {
            Some((host, path)) if !host.contains('/') => path,
            _ => uri,
        },
    };
    path.trim_start_matches('/')
}

fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    format!("{:02x}{:02x}{:01x}", digest[0], digest[1], digest[2] >> 4)
}

/// `REPO-BRANCH-HASH`, at most 53 characters. The hash is over the path of the URI, so that forks on one server do not share a
/// BuildConfig. A missing branch counts as `unknown`.
pub fn build_config_name(git_uri: &str, git_branch: Option<&str>) -> String {
    let branch = git_branch.filter(|branch| !branch.is_empty()).unwrap_or("unknown");
    let hash = short_hash(&format!("{}{branch}", repository_path(git_uri)));
    joined(humanish(git_uri), branch, &hash, LONGEST_BUILD_CONFIG_NAME)
}

fn joined(repo: &str, branch: &str, hash: &str, limit: usize) -> String {
    let keep =
        |text: &str| -> Vec<char> { text.chars().filter(|c| matches!(c, '-' | 'a'..='z' | '0'..='9')).collect() };
    let (repo, branch) = (keep(repo), keep(branch));
    // Two dashes and the hash stay whole; of the parts, the longer one gives way, so that both can be recognised.
    let room = limit.saturating_sub(hash.len() + 2);
    let (mut of_repo, mut of_branch) = (repo.len(), branch.len());
    while of_repo + of_branch > room {
        if of_repo >= of_branch { of_repo -= 1 } else { of_branch -= 1 }
    }
    let beginning = |part: &[char], keep: usize| -> String {
        let text: String = part[..keep].iter().collect();
        text.trim_matches('-').to_owned()
    };
    let parts = [beginning(&repo, of_repo), beginning(&branch, of_branch), hash.to_owned()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// `scratch-RANDOM-TIMESTAMP`
pub fn scratch_build_name(unique: &UniqueName) -> String {
    format!("scratch-{unique}")
}

/// `isolated-REPO-BRANCH-HASH-TIMESTAMP`, at most 64 characters.
pub fn isolated_build_name(unique: &UniqueName, git_uri: &str, git_branch: Option<&str>) -> String {
    let timestamp = unique.timestamp();
    let name = build_config_name(git_uri, git_branch);
    let room = LONGEST_ISOLATED_NAME - "isolated-".len() - timestamp.len() - 1;
    // The hash at the end tells repositories apart: cut in front of it.
    let cut = name.len().saturating_sub(room);
    format!("isolated-{}-{timestamp}", name[cut..].trim_start_matches('-'))
}

/// Label values: characters other than `-`, `.`, `a`-`z`, `0`-`9` are dropped, 63 at most.
fn label_value(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '-' | '.' | 'a'..='z' | '0'..='9')).take(63).collect()
}

/// The labels by which a repository's builds are found.
pub fn git_labels(git_uri: &str, git_branch: Option<&str>) -> Vec<(&'static str, String)> {
    vec![
        ("git-repo-name", label_value(humanish(git_uri))),
        ("git-branch", label_value(git_branch.unwrap_or("unknown"))),
        ("git-full-repo", label_value(git_uri)),
    ]
}

/// `a.b/c/d` -> `c-d:latest`: the image stream tag of a FROM value.
pub fn image_stream_tag(image: &str) -> String {
    let path = match image.split_once('/') {
        Some((first, rest)) if rest.contains('/') || first.contains(['.', ':']) => rest,
        _ => image,
    };
    let flat = path.replace('/', "-");
    if flat.contains(':') { flat } else { format!("{flat}:latest") }
}

/// Whether a release label is acceptable: `^\d+([._]?[a-zA-Z0-9]+)*$`.
pub fn release_label(release: &str) -> bool {
    let bytes = release.as_bytes();
    let separator = |b: u8| matches!(b, b'.' | b'_');
    bytes.first().is_some_and(u8::is_ascii_digit)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || separator(*b))
        && !bytes.windows(2).any(|pair| separator(pair[0]) && separator(pair[1]))
}

/// Whether a release can be an isolated build's: `^\d+\.\d+(\..+)?$`.
pub fn isolated_release(release: &str) -> bool {
    let mut parts = release.splitn(3, '.');
    let number = |part: Option<&str>| part.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    number(parts.next()) && number(parts.next()) && parts.next() != Some("") && !release.contains('\n')
}

/// `tag_suffixes` of a build (`reactor.md` 2.6): `unique`, `primary` and `floating`.
pub fn tag_suffixes(
    build_type: BuildType,
    unique_tag: &str,
    kind: (bool, bool),
    tags_from_yaml: bool,
    additional_tags: &[String],
) -> Value {
    let (scratch, isolated) = kind;
    let (primary, floating): (Vec<&str>, Vec<&str>) = match build_type {
        BuildType::Worker => return json!({"unique": [unique_tag], "primary": [], "floating": []}),
        BuildType::Orchestrator if scratch => (vec![], vec![]),
        BuildType::Orchestrator if isolated => (vec!["{version}-{release}"], vec![]),
        BuildType::Orchestrator => {
            let own = if tags_from_yaml { vec![] } else { vec!["latest", "{version}"] };
            let added = additional_tags.iter().map(String::as_str);
            (vec!["{version}-{release}"], own.into_iter().chain(added).collect())
        }
    };
    json!({"unique": [unique_tag], "primary": primary, "floating": floating})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unique() -> UniqueName {
        UniqueName::new(12345, "2017-06-01T12:30:45Z".parse().unwrap()).unwrap()
    }

    #[test]
    fn image_tags() {
        let platform = "x86_64".parse().unwrap();
        let tag = |target, version| unique().image_tag("me", "comp", target, Some(&platform), version);
        assert_eq!(tag(None, 1), "me/comp:none-12345-20170601123045");
        assert_eq!(tag(Some("t"), 4), "me/comp:t-12345-20170601123045-x86_64");
        assert!(UniqueName::new(9999, Timestamp::UNIX_EPOCH).is_err());
    }

    #[test]
    fn build_config_names() {
        let name = build_config_name("https://src.example.com/containers/rsyslog-container.git", Some("f26-docker"));
        assert_eq!(name, "rsyslog-container-f26-docker-86d0b");
        let long = build_config_name(
            "git://x/A_Very.Long-Repository-Name-With-Many-Characters-In-It-Indeed",
            Some("Feature/Some-Really-Long_Branch.Name-Here-To-Test"),
        );
        assert!(long.starts_with("eryong-epository-ame-it-eatureome-eally-ongranc-") && long.len() == 53, "{long}");
        assert!(build_config_name("/srv/git/é", None).starts_with("unknown-"));
    }

    #[test]
    fn other_build_names() {
        assert_eq!(scratch_build_name(&unique()), "scratch-12345-20170601123045");
        let name =
            isolated_build_name(&unique(), "https://h/a-very-long-repository-name-here.git", Some("some-branch"));
        assert!(name.len() <= 64 && name.starts_with("isolated-") && name.ends_with("-20170601123045"), "{name}");
    }

    #[test]
    fn small_names() {
        for (uri, expected) in [
            ("https://h/a/b.git", "b"),
            ("https://h/a/b/", "b"),
            ("/srv/x/.git", "x"),
            ("git@h:b.git", "b"),
            ("b", "b"),
        ] {
            assert_eq!(humanish(uri), expected, "{uri}");
        }
        for (image, expected) in [
            ("a.b/c/d", "c-d:latest"),
            ("fedora/httpd:1", "fedora-httpd:1"),
            ("h:5000/x", "x:latest"),
            ("x", "x:latest"),
        ] {
            assert_eq!(image_stream_tag(image), expected, "{image}");
        }
    }

    #[test]
    fn releases() {
        for (text, label, isolated) in [
            ("1", true, false),
            ("1.2", true, true),
            ("1.fc26_a", true, false),
            ("1.2.x", true, true),
            ("a1", false, false),
            ("1..2", false, false),
            ("1.", false, false),
            ("", false, false),
            ("1-2", false, false),
            ("1.2.", false, false),
        ] {
            assert_eq!((release_label(text), isolated_release(text)), (label, isolated), "{text:?}");
        }
    }

    #[test]
    fn suffixes() {
        let of = |build_type, kind, yaml| tag_suffixes(build_type, "u", kind, yaml, &["x".to_owned()]).to_string();
        let (o, w) = (BuildType::Orchestrator, BuildType::Worker);
        for (got, expected) in [
            (of(w, (false, false), false), r#"{"unique":["u"],"primary":[],"floating":[]}"#),
            (of(o, (true, false), false), r#"{"unique":["u"],"primary":[],"floating":[]}"#),
            (of(o, (false, true), false), r#"{"unique":["u"],"primary":["{version}-{release}"],"floating":[]}"#),
            (of(o, (false, false), true), r#"{"unique":["u"],"primary":["{version}-{release}"],"floating":["x"]}"#),
            (
                of(o, (false, false), false),
                r#"{"unique":["u"],"primary":["{version}-{release}"],"floating":["latest","{version}","x"]}"#,
            ),
        ] {
            assert_eq!(got, expected);
        }
    }
}
