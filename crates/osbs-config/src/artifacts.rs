//! `fetch-artifacts-koji.yaml` and `fetch-artifacts-url.yaml` (`reactor.md` 3.1.18).

use crate::fields::{Checker, Fields};
use crate::node::{Node, Value};
use crate::problem::{ConfigError, Parsed, Problem, ProblemKind, Severity};
use osbs_types::Position;
use std::collections::BTreeMap;

/// `archives[]`: an archive matches when it matches every given key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArchivePattern {
    /// Shell-style glob on the file name.
    pub filename: Option<String>,
    /// Exact Maven group id.
    pub group_id: Option<String>,
}

/// Maven archives of one Koji build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KojiArtifacts {
    /// The build.
    pub nvr: String,
    /// Empty: all Maven archives of the build.
    pub archives: Vec<ArchivePattern>,
    /// Where the entry stands.
    pub position: Position,
}

/// Lower-case hexadecimal checksums; at least one is there, and all given ones are verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the algorithms' names")]
pub struct Checksums {
    pub md5: Option<String>,
    pub sha1: Option<String>,
    pub sha256: Option<String>,
}

/// One file to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlArtifact {
    /// From where.
    pub url: String,
    /// Path below the folder for artifacts; never absolute, never with `..` (`reactor.md` 6.3, X3).
    pub target: String,
    /// What it must be.
    pub checksums: Checksums,
    /// Where the entry stands.
    pub position: Position,
}

/// Reads `fetch-artifacts-koji.yaml`; null and an empty file are an empty list.
///
/// # Errors
/// All problems of the file.
pub fn parse_koji_artifacts(text: &str, file: &str) -> Result<Vec<KojiArtifacts>, ConfigError> {
    entries(text, file, |fields| {
        let nvr = fields.required_text("nvr");
        let archives = fields.objects("archives").unwrap_or_default();
        let archives = archives.into_iter().map(|archive| {
            let pattern = ArchivePattern { filename: archive.text("filename"), group_id: archive.text("group_id") };
            archive.finish(Severity::Error);
            pattern
        });
        let archives = archives.collect();
        let position = fields.checker.position(fields.node.at);
        fields.finish(Severity::Error);
        Some(KojiArtifacts { nvr: nvr?, archives, position })
    })
}

/// Reads `fetch-artifacts-url.yaml`; null and an empty file are an empty list.
///
/// # Errors
/// All problems of the file; once it is well-formed, all targets that are in each other's way.
pub fn parse_url_artifacts(text: &str, file: &str) -> Result<Vec<UrlArtifact>, ConfigError> {
    let found = entries(text, file, url_artifact)?;
    let problems = colliding(&found);
    if problems.is_empty() { Ok(found) } else { Err(ConfigError::new(problems)) }
}

fn url_artifact(fields: Fields<'_>) -> Option<UrlArtifact> {
    let url = fields.required_text("url");
    let checksums = Checksums {
        md5: checksum(&fields, "md5", 32),
        sha1: checksum(&fields, "sha1", 40),
        sha256: checksum(&fields, "sha256", 64),
    };
    if ["md5", "sha1", "sha256"].iter().all(|key| fields.get(key).is_none()) {
        let detail = "one of md5, sha1 and sha256 is required".to_owned();
        fields.checker.error(fields.node.at, &fields.path, ProblemKind::Conflict { detail });
    }
    let position = fields.checker.position(fields.node.at);
    let target = target(&fields, url.as_deref());
    fields.finish(Severity::Error);
    Some(UrlArtifact { url: url?, target: target?, checksums, position })
}

/// Two files of one name, or one that another's target has as a folder.
fn colliding(artifacts: &[UrlArtifact]) -> Vec<Problem> {
    let mut files: BTreeMap<&str, &UrlArtifact> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut tell = |later: &UrlArtifact, kind: ProblemKind| {
        let (position, severity) = (later.position.clone(), Severity::Error);
        problems.push(Problem { position, path: "target".to_owned(), kind, allowed: None, severity });
    };
    for artifact in artifacts {
        match files.entry(&artifact.target) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(artifact);
            }
            std::collections::btree_map::Entry::Occupied(first) => {
                let (name, first) = (artifact.target.clone(), first.get().position.line);
                tell(artifact, ProblemKind::Duplicate { what: "file", name, first });
            }
        }
    }
    for artifact in artifacts {
        let mut folders = artifact.target.match_indices('/').map(|(end, _)| &artifact.target[..end]);
        if let Some(file) = folders.find_map(|folder| files.get(folder)) {
            let detail = format!("{:?} is a file already, of line {}", file.target, file.position.line);
            tell(artifact, ProblemKind::Conflict { detail });
        }
    }
    problems
}

fn entries<T>(text: &str, file: &str, read: fn(Fields<'_>) -> Option<T>) -> Result<Vec<T>, ConfigError> {
    let node = Node::parse(text, file)?;
    if matches!(node.value, Value::Null) {
        return Ok(Vec::new());
    }
    let checker = Checker::new(file);
    let items = checker.items(&node, "").iter().enumerate();
    let values = items.filter_map(|(index, item)| read(Fields::new(&checker, item, format!("[{index}]")))).collect();
    Parsed::from_problems(Some(values), checker.into_problems()).map(|parsed| parsed.value)
}

fn checksum(fields: &Fields<'_>, key: &'static str, digits: usize) -> Option<String> {
    let node = fields.get(key)?;
    let text = fields.checker.text(node, &fields.path_of(key))?;
    if text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Some(text);
    }
    fields.checker.bad_value(node, &fields.path_of(key), &text, format!("{digits} lower-case hexadecimal digits"));
    None
}

/// As given, else the last part of the URL's path: host, user, query and fragment are no names of files.
fn target(fields: &Fields<'_>, url: Option<&str>) -> Option<String> {
    let given = fields.text("target");
    let target = match &given {
        Some(target) => target.as_str(),
        None if fields.get("target").is_some() => return None,
        None => last_of_path(url?),
    };
    let inside = !target.starts_with('/') && target.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if inside && !target.contains(char::is_control) {
        return Some(target.to_owned());
    }
    let (key, node) = if given.is_some() { ("target", fields.get("target")) } else { ("url", fields.get("url")) };
    let expected = "a relative file path that stays below the folder for artifacts";
    fields.checker.bad_value(node.unwrap_or(fields.node), &fields.path_of(key), target, expected);
    None
}

fn last_of_path(url: &str) -> &str {
    let url = &url[..url.find(['?', '#']).unwrap_or(url.len())];
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.split_once('/').map_or("", |(_, path)| path.rsplit('/').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn koji_entries() {
        let text = "- nvr: a-1-2\n- nvr: b-1-2\n  archives:\n  - {filename: '*.jar', group_id: org.x}\n";
        let entries = parse_koji_artifacts(text, "f").unwrap();
        assert_eq!(entries[0].archives, []);
        assert_eq!(entries[1].archives[0].group_id.as_deref(), Some("org.x"));
        assert_eq!(entries[1].position.line, 2);
        assert_eq!(parse_koji_artifacts("", "f").unwrap(), []);
    }

    #[test]
    fn url_entries() {
        let sum = "a".repeat(64);
        let entries = parse_url_artifacts(&format!("- url: http://x/y/z.jar\n  sha256: {sum}\n"), "f").unwrap();
        assert_eq!(entries[0].target, "z.jar");
        let entries = parse_url_artifacts(&format!("- url: http://x/y/a%20b.jar?token=a/b#c\n  sha256: {sum}\n"), "f");
        assert_eq!(entries.unwrap()[0].target, "a%20b.jar");
        for (text, line, part) in [
            ("- url: http://x/y\n", 1, "one of md5, sha1 and sha256"),
            ("- {url: http://x/y, md5: XYZ}\n", 1, "32 lower-case"),
            (
                "- url: http://x/y\n  md5: 0123456789abcdef0123456789abcdef\n  target: ../../etc/passwd\n",
                3,
                "stays below",
            ),
            ("- url: http://x/y\n  md5: 0123456789abcdef0123456789abcdef\n  target: /etc/passwd\n", 3, "stays below"),
            ("- url: http://x/\n  sha1: 0123456789abcdef0123456789abcdef01234567\n", 1, "stays below"),
            ("- url: http://x/y\n  sha: 1\n  sha512: a\n", 1, "unknown key \"sha\""),
            ("url: x\n", 1, "expected a list, found an object"),
            ("- url: https://me:hunter2@example.com\n  md5: 0123456789abcdef0123456789abcdef\n", 1, "\"\" is not"),
            (
                "- {url: http://x/yy, md5: 0123456789abcdef0123456789abcdef}\n\
                 - {url: http://x/z, md5: 0123456789abcdef0123456789abcdef, target: yy}\n",
                2,
                "file \"yy\" is given twice, first in line 1",
            ),
            (
                "- {url: http://x/y, md5: 0123456789abcdef0123456789abcdef, target: a/b/c}\n\
                 - {url: http://x/z, md5: 0123456789abcdef0123456789abcdef, target: a/b}\n",
                1,
                "\"a/b\" is a file already, of line 2",
            ),
            ("- {url: http://x/y, md5: 0123456789abcdef0123456789abcdef, target: \"a\\nb\"}\n", 1, "stays below"),
            ("- {url: http://x/y, md5: 0123456789abcdef0123456789abcdef, target: []}\n", 1, "expected"),
        ] {
            let error = parse_url_artifacts(text, "f").unwrap_err();
            assert!(error.to_string().contains(part), "{text:?}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(error.problems().iter().find(|p| p.to_string().contains(part)).unwrap().position.line, {
                if part.contains("unknown") { 2 } else { line }
            });
        }
    }
}
