//! The small files of a repository: `additional-tags`, `.osbs-repo-config`, `content_sets.yml`, `image-build.conf`.

use crate::fields::Checker;
use crate::ini::Ini;
use crate::node::{Node, Value};
use crate::problem::{ConfigError, Parsed, Problem, ProblemKind, Severity};
use osbs_types::Position;
use std::collections::BTreeMap;

/// Whether a text can be an additional tag: word characters and dots, at most 127 (`reactor.md` 2.6). Of the tags that
/// pattern admits, registries refuse the empty one and those that begin with a dot; both are refused here.
fn is_additional_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    bytes.first().is_some_and(|b| word(*b)) && bytes.len() <= 127 && bytes.iter().all(|b| word(*b) || *b == b'.')
}

/// Reads `additional-tags`: one tag a line. Lines that are none are left out with a warning; empty ones silently.
pub fn parse_additional_tags(text: &str, file: &str) -> Parsed<Vec<String>> {
    let mut parsed = Parsed { value: Vec::new(), warnings: Vec::new() };
    for (index, line) in text.lines().enumerate() {
        let tag = line.trim();
        if is_additional_tag(tag) {
            parsed.value.push(tag.to_owned());
        } else if !tag.is_empty() {
            let expected = "a tag, so it is ignored: letters, digits, '_' and '.', at most 127".to_owned();
            parsed.warnings.push(Problem {
                position: Position { file: file.to_owned(), line: index + 1, column: None },
                path: String::new(),
                kind: ProblemKind::BadValue { value: tag.to_owned(), expected },
                allowed: None,
                severity: Severity::Warning,
            });
        }
    }
    parsed
}

/// `.osbs-repo-config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepoConfig {
    /// `[autorebuild] enabled`.
    pub autorebuild_enabled: bool,
}

/// Reads `.osbs-repo-config`. Sections and keys besides are other programs' business.
///
/// # Errors
/// What is not INI, and an `enabled` that is not a boolean as Python's configparser has them.
pub fn parse_repo_config(text: &str, file: &str) -> Result<RepoConfig, ConfigError> {
    let ini = Ini::parse(text, file)?;
    let Some(entry) = ini.entry("autorebuild", "enabled") else { return Ok(RepoConfig::default()) };
    let autorebuild_enabled = match entry.value.to_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => true,
        "0" | "no" | "false" | "off" => false,
        _ => {
            let kind = ProblemKind::BadValue { value: entry.value.clone(), expected: "true or false".to_owned() };
            return Err(ConfigError::single(ini.position(entry.value_at), "[autorebuild] enabled", kind, None));
        }
    };
    Ok(RepoConfig { autorebuild_enabled })
}

/// `content_sets.yml`: architecture to names of Pulp content sets.
pub type ContentSets = BTreeMap<String, Vec<String>>;

/// Reads `content_sets.yml`; an empty file has none, and so has an architecture with nothing behind it.
///
/// # Errors
/// All problems of the file.
pub fn parse_content_sets(text: &str, file: &str) -> Result<ContentSets, ConfigError> {
    let node = Node::parse(text, file)?;
    if matches!(node.value, Value::Null) {
        return Ok(ContentSets::new());
    }
    let checker = Checker::new(file);
    let mut sets = ContentSets::new();
    for (key, value) in checker.entries(&node, "") {
        let names = if matches!(value.value, Value::Null) { Vec::new() } else { checker.texts(value, &key.name) };
        sets.insert(key.name.clone(), names);
    }
    Parsed::from_problems(Some(sets), checker.into_problems()).map(|parsed| parsed.value)
}

/// `image-build.conf` (`reactor.md` 3.1.6): options by lower-case names, values raw: `%` means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageBuildConf {
    /// `[image-build]`.
    pub image_build: BTreeMap<String, String>,
    /// `[factory-parameters]`.
    pub factory_parameters: BTreeMap<String, String>,
    /// `[ova-options]`.
    pub ova_options: BTreeMap<String, String>,
}

/// Reads `image-build.conf`, or the file that the tag in FROM names.
///
/// # Errors
/// What is not INI, and a file without `[image-build]`.
pub fn parse_image_build_conf(text: &str, file: &str) -> Result<ImageBuildConf, ConfigError> {
    let ini = Ini::parse(text, file)?;
    if ini.section("image-build").is_none() {
        let position = Position { file: file.to_owned(), line: 1, column: None };
        let key = "[image-build]".to_owned();
        return Err(ConfigError::single(position, "", ProblemKind::Missing { key }, None));
    }
    let options = |section: &str| {
        let inherited = ini.section(crate::ini::DEFAULT_SECTION).filter(|_| ini.section(section).is_some());
        let sections = inherited.into_iter().chain(ini.section(section));
        let entries = sections.flat_map(|section| &section.entries);
        entries.map(|entry| (entry.name.clone(), entry.value.clone())).collect()
    };
    Ok(ImageBuildConf {
        image_build: options("image-build"),
        factory_parameters: options("factory-parameters"),
        ova_options: options("ova-options"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additional_tags() {
        let parsed = parse_additional_tags("spam\n\n  1.2 \nno-dash\n.dot\nü\n", "additional-tags");
        assert_eq!(parsed.value, ["spam", "1.2"]);
        let lines: Vec<usize> = parsed.warnings.iter().map(|warning| warning.position.line).collect();
        assert_eq!(lines, [4, 5, 6]);
    }

    #[test]
    fn repo_config() {
        for (text, expected) in [
            ("[autorebuild]\nenabled = yes\n", Some(true)),
            ("[autorebuild]\nenabled=False\n", Some(false)),
            ("[other]\nx=1\n", Some(false)),
            ("[autorebuild]\nenabled=perhaps\n", None),
            ("enabled=1\n", None),
        ] {
            assert_eq!(parse_repo_config(text, "f").ok().map(|c| c.autorebuild_enabled), expected, "{text:?}");
        }
    }

    #[test]
    fn content_sets() {
        let sets = parse_content_sets("x86_64:\n- a\n- b\nppc64le:\n", "f").unwrap();
        assert_eq!(sets["x86_64"], ["a", "b"]);
        assert_eq!(sets["ppc64le"], [""; 0]);
        assert_eq!(parse_content_sets("x86_64: a\n", "f").unwrap_err().problems()[0].position.column, Some(9));
    }

    #[test]
    fn image_build_conf() {
        let text =
            "[image-build]\nName = base\nksurl = git://x?#%h\n[factory-parameters]\ncreate_docker_metadata=False\n";
        let conf = parse_image_build_conf(text, "image-build.conf").unwrap();
        assert_eq!(conf.image_build["name"], "base");
        assert_eq!(conf.image_build["ksurl"], "git://x?#%h");
        assert_eq!(conf.factory_parameters["create_docker_metadata"], "False");
        assert!(parse_image_build_conf("[x]\n", "f").is_err());
    }
}
