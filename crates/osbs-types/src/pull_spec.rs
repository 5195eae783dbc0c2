//! Image names: `[registry/][namespace/]repo[:tag][@digest]`.
//!
//! Follows the reference grammar of the distribution project, where OSBS split at slashes (`reactor.md` 6.2, M37). What a
//! name means without a registry is not decided here: Docker's default of `docker.io` is for callers that want it.

use crate::{Digest, DigestError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A checked image name. The parts without a value were not written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PullSpec {
    registry: Option<String>,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What a registry is asked for: a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A tag.
    Tag(String),
    /// A digest; wins over a tag written beside it.
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// The text is not an image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullSpecError {
    /// The repository part.
    #[error(
        "{name:?} is not an image name: {part:?} must be lower-case letters and digits, joined by '.', '_', '-' or '/'"
    )]
    Repository {
        /// The whole text.
        name: String,
        /// The component that is wrong.
        part: String,
    },
    /// The tag.
    #[error("{name:?} is not an image name: the tag {tag:?} must match [A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}")]
    Tag {
        /// The whole text.
        name: String,
        /// The tag.
        tag: String,
    },
    /// The digest.
    #[error("{name:?} is not an image name")]
    Digest {
        /// The whole text.
        name: String,
        /// Why.
        #[source]
        source: DigestError,
    },
    /// More than 255 characters between registry and tag.
    #[error("{0:?} is not an image name: longer than 255 characters without registry and tag")]
    TooLong(String),
    /// The registry part.
    #[error("{name:?} is not an image name: {registry:?} is not HOST[:PORT]")]
    Registry {
        /// The whole text.
        name: String,
        /// The first component.
        registry: String,
    },
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    bytes.len() <= 128 && bytes.first().is_some_and(|b| word(*b)) && bytes.iter().all(|b| word(*b) || b".-".contains(b))
}

/// `[a-z0-9]+((.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let bytes = part.as_bytes();
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !bytes.first().is_some_and(|b| alnum(*b)) || !bytes.last().is_some_and(|b| alnum(*b)) {
        return false;
    }
    bytes.split(|b| alnum(*b)).all(|sep| matches!(sep, b"" | b"." | b"_" | b"__") || sep.iter().all(|b| *b == b'-'))
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port_ok = port.is_none_or(|p| !p.is_empty() && p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()));
    let host_ok = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.split('.').all(|label| {
                    !label.is_empty()
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                })
        }
    };
    port_ok && host_ok
}

/// Enough of a text for a message: it may come from anywhere and be of any length.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

impl FromStr for PullSpec {
    type Err = PullSpecError;

    fn from_str(text: &str) -> Result<Self, PullSpecError> {
        let name = || shortened(text);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|source| PullSpecError::Digest { name: name(), source })?))
            }
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(PullSpecError::Tag { name: name(), tag: shortened(tag) });
        }
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest))
                if first == "localhost"
                    || first.contains(['.', ':'])
                    || first.bytes().any(|b| b.is_ascii_uppercase()) =>
            {
                if !is_registry(first) {
                    return Err(PullSpecError::Registry { name: name(), registry: shortened(first) });
                }
                (Some(first.to_owned()), rest)
            }
            _ => (None, path),
        };
        // The registry does not count (distribution's `reference`), so that a name stays one when its registry changes.
        if repository.len() > 255 {
            return Err(PullSpecError::TooLong(name()));
        }
        if let Some(part) = repository.split('/').find(|part| !is_path_component(part)) {
            return Err(PullSpecError::Repository { name: name(), part: shortened(part) });
        }
        Ok(Self { registry, repository: repository.to_owned(), tag: tag.map(str::to_owned), digest })
    }
}

impl PullSpec {
    /// Host and port of the registry, if one was written.
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// `namespace/repo`, all that stands between registry and tag.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// All but the last component of the repository.
    pub fn namespace(&self) -> Option<&str> {
        self.repository.rsplit_once('/').map(|(namespace, _)| namespace)
    }

    /// The last component of the repository.
    pub fn repo(&self) -> &str {
        self.repository.rsplit_once('/').map_or(&self.repository, |(_, repo)| repo)
    }

    /// The tag, if one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Digest, else tag, else `latest`.
    pub fn reference(&self) -> Reference {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Reference::Digest(digest.clone()),
            (None, Some(tag)) => Reference::Tag(tag.clone()),
            (None, None) => Reference::Tag("latest".to_owned()),
        }
    }

    /// The same image in another registry (or none). The host is taken as it is, without a check: it comes from the
    /// configuration.
    #[must_use]
    pub fn with_registry(&self, registry: Option<&str>) -> Self {
        Self { registry: registry.map(str::to_owned), ..self.clone() }
    }

    /// The same repository with another tag and no digest.
    ///
    /// # Errors
    /// The text is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, PullSpecError> {
        if is_tag(tag) {
            Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
        } else {
            Err(PullSpecError::Tag { name: self.to_string(), tag: tag.to_owned() })
        }
    }

    /// The same repository by digest, without tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// With `:latest` written out where neither tag nor digest is.
    #[must_use]
    pub fn with_explicit_tag(&self) -> Self {
        let mut spec = self.clone();
        if spec.tag.is_none() && spec.digest.is_none() {
            spec.tag = Some("latest".to_owned());
        }
        spec
    }

    /// Moves the image into an organisation (`registries_organization`, `reactor.md` 1.11): `ns/repo` becomes
    /// `org/ns-repo`, and nothing changes when the namespace is that organisation already.
    #[must_use]
    pub fn enclose(&self, organization: &str) -> Self {
        if self.namespace() == Some(organization) {
            return self.clone();
        }
        Self { repository: format!("{organization}/{}", self.repository.replace('/', "-")), ..self.clone() }
    }
}

impl fmt::Display for PullSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl TryFrom<String> for PullSpec {
    type Error = PullSpecError;

    fn try_from(text: String) -> Result<Self, PullSpecError> {
        text.parse()
    }
}

impl From<PullSpec> for String {
    fn from(spec: PullSpec) -> Self {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_parse(text: &str, registry: Option<&str>, repository: &str, tag: Option<&str>) {
        let spec: PullSpec = text.parse().expect(text);
        assert_eq!((spec.registry(), spec.repository(), spec.tag()), (registry, repository, tag), "{text}");
        assert_eq!(spec.to_string(), text);
    }

    #[track_caller]
    fn check_refused(text: &str) {
        assert!(text.parse::<PullSpec>().is_err(), "{text:?} was accepted");
    }

    #[test]
    fn names() {
        check_parse("fedora", None, "fedora", None);
        check_parse("fedora:40", None, "fedora", Some("40"));
        check_parse("library/fedora:40", None, "library/fedora", Some("40"));
        check_parse("localhost/x", Some("localhost"), "x", None);
        check_parse("localhost:5000/x", Some("localhost:5000"), "x", None);
        check_parse("127.0.0.1:5000/a/b/c:1", Some("127.0.0.1:5000"), "a/b/c", Some("1"));
        check_parse("[::1]:5000/a:1", Some("[::1]:5000"), "a", Some("1"));
        check_parse("registry.example.com/a__b/c-d.e:v1.0", Some("registry.example.com"), "a__b/c-d.e", Some("v1.0"));
        check_parse("koji/image-build:my.conf", None, "koji/image-build", Some("my.conf"));
    }

    #[test]
    fn digests() {
        let text = format!("a.b/c:1@sha256:{}", "0".repeat(64));
        let spec: PullSpec = text.parse().expect("valid");
        assert_eq!(spec.to_string(), text);
        assert!(matches!(spec.reference(), Reference::Digest(_)));
        check_refused("a@sha256:12");
        check_refused("a@sha256:../../etc/passwd");
    }

    #[test]
    fn refused() {
        for bad in [
            "",
            ":1",
            "a//b",
            "a/",
            "/a",
            "Fedora",
            "a:",
            "a:-x",
            "a b",
            "../a",
            "a/../b",
            "a.b:x/c",
            "http://a/b",
            "-a",
            "a-",
        ] {
            check_refused(bad);
        }
        check_refused(&"a".repeat(256));
    }

    #[test]
    fn enclosing() {
        let enclose = |text: &str| text.parse::<PullSpec>().expect("valid").enclose("org").to_string();
        assert_eq!(enclose("r.io/ns/repo:1"), "r.io/org/ns-repo:1");
        assert_eq!(enclose("r.io/repo:1"), "r.io/org/repo:1");
        assert_eq!(enclose("r.io/org/repo:1"), "r.io/org/repo:1");
    }
}
