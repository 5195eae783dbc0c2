//! `image-build.conf` as far as it says how a root file system is made here, with its defaults (`reactor.md` 3.1.6).
//!
//! Values are taken as they are: a percent sign means nothing (6.2, M35). What is only Koji's is named in the log.

use crate::plugin::PluginError;
use osbs_config::parse_image_build_conf;
use osbs_dockerfile::{LabelMap, find_label};
use osbs_types::{ErrorKind, Failure, Platform, Position};
use std::collections::BTreeMap;

/// The name without any other.
const DEFAULT_NAME: &str = "default-name";
/// Options that are looked at here.
const KNOWN: [&str; 13] = [
    "name",
    "version",
    "arches",
    "format",
    "disk_size",
    "target",
    "install_tree",
    "repo",
    "ksurl",
    "kickstart",
    "distro",
    "ksversion",
    "gpgkey",
];

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageBuild {
    /// The file system's name.
    pub(super) name: String,
    /// `$releasever` of the repositories.
    pub(super) release: String,
    /// Platforms, for who has none given.
    pub(super) platforms: Vec<Platform>,
    /// Base URLs, the install tree's first.
    pub(super) repositories: Vec<String>,
    /// Where the kickstart file is, if not in the source of this build.
    pub(super) ksurl: Option<String>,
    /// Its name.
    pub(super) kickstart: String,
    /// A key that signatures are checked against; a key of ours.
    pub(super) gpg_key: Option<String>,
    /// What is not done, for the log.
    pub(super) notes: Vec<String>,
}

fn wrong(file: &str, text: impl Into<String>) -> PluginError {
    let position = Position { file: file.to_owned(), line: 1, column: None };
    Failure::message(ErrorKind::User, text).at(position).into()
}

/// Reads the file, with the labels of the Dockerfile as defaults.
pub(super) fn read(text: &str, file: &str, labels: &LabelMap) -> Result<ImageBuild, PluginError> {
    let conf = parse_image_build_conf(text, file)?;
    let options = &conf.image_build;
    let label = |name: &str| find_label(labels, name).map(|(_, value)| value.to_owned());
    let name = filled(options, "name").or_else(|| label("com.redhat.component"));
    let version = filled(options, "version").or_else(|| label("version"));
    let (Some(name), Some(version)) = (name.or_else(|| default_name(options)), version.filter(|v| !v.is_empty()))
    else {
        let empty = if options.get("name").is_some_and(String::is_empty) { "name" } else { "version" };
        return Err(wrong(file, format!("[image-build] {empty} cannot be empty"))
            .with_hint(&format!("write {empty} = ... into {file}, or label the Dockerfile")));
    };
    let mut notes = formats(options, file)?;
    check_numbers(options, file)?;
    if conf.factory_parameters.get("create_docker_metadata").is_some_and(|value| is_true(value)) {
        let text = "[factory-parameters] create_docker_metadata must be False: a root file system is made, no image";
        return Err(wrong(file, text));
    }
    if !conf.ova_options.is_empty() {
        notes.push("[ova-options] means nothing to a root file system".to_owned());
    }
    let unknown = options.keys().filter(|key| !KNOWN.contains(&key.as_str()));
    notes.extend(unknown.map(|key| format!("{file}: {key} means nothing here")));
    let platforms = list(options, "arches").map(|name| {
        name.parse::<Platform>().map_err(|_| wrong(file, format!("[image-build] arches: {name:?} is no platform")))
    });
    Ok(ImageBuild {
        name,
        release: release(filled(options, "distro").as_deref(), &version),
        platforms: platforms.collect::<Result<_, _>>()?,
        repositories: list(options, "install_tree").chain(list(options, "repo")).collect(),
        ksurl: filled(options, "ksurl"),
        kickstart: filled(options, "kickstart").unwrap_or_else(|| "kickstart.ks".to_owned()),
        gpg_key: filled(options, "gpgkey"),
        notes,
    })
}

fn filled(options: &BTreeMap<String, String>, key: &str) -> Option<String> {
    options.get(key).filter(|value| !value.is_empty()).cloned()
}

/// An empty name that was written down is a mistake.
fn default_name(options: &BTreeMap<String, String>) -> Option<String> {
    (!options.contains_key("name")).then(|| DEFAULT_NAME.to_owned())
}

/// Separated by commas or lines, empty ones left out.
fn list<'a>(options: &'a BTreeMap<String, String>, key: &str) -> impl Iterator<Item = String> + 'a {
    let text = options.get(key).map_or("", String::as_str);
    text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned)
}

/// A root file system is what `docker` asks for.
fn formats(options: &BTreeMap<String, String>, file: &str) -> Result<Vec<String>, PluginError> {
    let formats: Vec<String> = list(options, "format").collect();
    if formats.is_empty() || formats.iter().any(|format| format == "docker") {
        let others = formats.iter().filter(|format| *format != "docker");
        return Ok(others.map(|format| format!("{file}: format {format} is not made, only docker")).collect());
    }
    let text =
        format!("[image-build] format {}: only docker makes the root file system of an image", formats.join(","));
    Err(wrong(file, text))
}

fn check_numbers(options: &BTreeMap<String, String>, file: &str) -> Result<(), PluginError> {
    match filled(options, "disk_size") {
        Some(size) if size.parse::<u64>().is_err() => {
            Err(wrong(file, format!("[image-build] disk_size {size:?} is not a whole number of gigabytes")))
        }
        _ => Ok(()),
    }
}

fn is_true(value: &str) -> bool {
    ["true", "yes", "on", "1"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// `RHEL-7.2` has packages of release 7.2; without a distribution the version stands for it.
fn release(distro: Option<&str>, version: &str) -> String {
    let number = distro.and_then(|distro| distro.rsplit_once('-')).map(|(_, number)| number);
    number.filter(|number| number.starts_with(|c: char| c.is_ascii_digit())).unwrap_or(version).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> LabelMap {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn defaults_and_labels() {
        let read = |text: &str, given: &[(&str, &str)]| read(text, "image-build.conf", &labels(given)).unwrap();
        let given = [("com.redhat.component", "base-container"), ("version", "8")];
        let build = read("[image-build]\n", &given);
        assert_eq!((build.name.as_str(), build.release.as_str()), ("base-container", "8"));
        assert_eq!((build.kickstart.as_str(), build.ksurl, build.notes), ("kickstart.ks", None, vec![]));
        let text = "[image-build]\nname = a%b\nversion = 1\ndistro = RHEL-7.2\narches = x86_64, ppc64le\n\
                    repo = http://a/$arch,\n  http://b\ninstall_tree = http://tree\nformat = docker,qcow2\ndisk_size = 10\n\
                    target = t\nksversion = F22\nkickstart = my.ks\nfancy = 1\n[ova-options]\na = b\n";
        let build = read(text, &given);
        assert_eq!((build.name.as_str(), build.release.as_str()), ("a%b", "7.2"));
        assert_eq!(build.repositories, ["http://tree", "http://a/$arch", "http://b"]);
        assert_eq!(build.platforms.len(), 2);
        assert_eq!(build.notes.len(), 3, "{:?}", build.notes);
        assert_eq!(read("[image-build]\nversion = 3\ndistro = rawhide\n", &[]).name, "default-name");
    }

    #[test]
    fn refused() {
        for (text, part) in [
            ("[image-build]\n", "version cannot be empty"),
            ("[image-build]\nversion =\n", "version cannot be empty"),
            ("[image-build]\nname =\nversion = 1\n", "name cannot be empty"),
            ("[image-build]\nversion = 1\nformat = qcow2\n", "only docker"),
            ("[image-build]\nversion = 1\ndisk_size = ten\n", "not a whole number"),
            ("[image-build]\nversion = 1\narches = x86-64\n", "is no platform"),
            ("[image-build]\nversion = 1\n[factory-parameters]\ncreate_docker_metadata = True\n", "must be False"),
            ("[other]\n", "image-build"),
            ("name = x\n", "before any"),
        ] {
            let failure = read(text, "image-build.conf", &labels(&[])).expect_err(text).into_failure();
            assert!(failure.kind == ErrorKind::User && failure.to_string().contains(part), "{text:?}: {failure}");
            assert_eq!(failure.position.map(|position| position.file).as_deref(), Some("image-build.conf"));
        }
    }
}
