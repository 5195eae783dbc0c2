//! Argument, option, file, default: which value is effective, and where it came from (`client-and-koji.md` 1.2).

use super::file::{GENERAL_SECTION, OsbsConf};
use super::instance::{GeneralConfig, InstanceConfig};
use super::keys::{GENERAL, INSTANCE, KeyInfo, KeyKind, NODE_SELECTOR_PREFIX};
use crate::problem::{ConfigError, Parsed, Problem, ProblemKind, Severity};
use osbs_types::Position;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The calling program, for example an orchestrator configuring its worker's client.
    Argument,
    /// A command line option, by the name of its key.
    Option(String),
    /// The file.
    File(Position),
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument => f.write_str("argument"),
            Self::Option(name) => write!(f, "option --{}", name.replace('_', "-")),
            Self::File(position) => position.fmt(f),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective<T> {
    /// The value.
    pub value: T,
    /// Its source.
    pub origin: Origin,
}

/// One line of `osbs config check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `general`, or the instance.
    pub section: String,
    /// The key.
    pub key: String,
    /// As written; `***` for passwords and tokens; `None` when unset.
    pub value: Option<String>,
    /// Its source.
    pub origin: Origin,
}

/// One instance as seen by one caller: its file section below options below arguments.
#[derive(Debug, Clone)]
pub struct Settings {
    conf: Option<OsbsConf>,
    instance: String,
    options: BTreeMap<String, String>,
    arguments: BTreeMap<String, String>,
}

impl Settings {
    /// Layers `arguments` over `options` over the section `instance` of `conf`. The maps go by key names and hold texts as
    /// the file would.
    pub fn new(
        conf: Option<OsbsConf>,
        instance: &str,
        options: BTreeMap<String, String>,
        arguments: BTreeMap<String, String>,
    ) -> Self {
        Self { conf, instance: instance.to_owned(), options, arguments }
    }

    /// The file, if one was read.
    pub fn conf(&self) -> Option<&OsbsConf> {
        self.conf.as_ref()
    }

    /// The name of the instance.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether the file was read but has no such section: worth a warning, and all keys are unset.
    pub fn lacks_instance(&self) -> bool {
        self.conf.as_ref().is_some_and(|conf| conf.ini().section(&self.instance).is_none())
    }

    /// The effective text of a key of the instance. An interpolation that is broken counts as unset.
    pub fn lookup(&self, key: &str) -> Option<Effective<String>> {
        self.lookup_in(&self.instance, key, INSTANCE)
    }

    /// The effective text of a key of `[general]`.
    pub fn lookup_general(&self, key: &str) -> Option<Effective<String>> {
        self.lookup_in(GENERAL_SECTION, key, GENERAL)
    }

    fn lookup_in(&self, section: &str, key: &str, keys: &[KeyInfo]) -> Option<Effective<String>> {
        let layered = self.layer(key, 0).or_else(|| self.layer(key, 1)).or_else(|| self.in_file(section, key));
        layered.or_else(|| {
            let default = keys.iter().find(|info| info.name == key)?.default?;
            Some(Effective { value: default.to_owned(), origin: Origin::Default })
        })
    }

    /// The value of one source alone: 0 = arguments, 1 = options, 2 = the instance's section.
    pub(super) fn layer(&self, key: &str, source: usize) -> Option<Effective<String>> {
        match source {
            0 => Some(Effective { value: self.arguments.get(key)?.clone(), origin: Origin::Argument }),
            1 => Some(Effective { value: self.options.get(key)?.clone(), origin: Origin::Option(key.to_owned()) }),
            _ => self.in_file(&self.instance, key),
        }
    }

    fn in_file(&self, section: &str, key: &str) -> Option<Effective<String>> {
        let ini = self.conf.as_ref()?.ini();
        let entry = ini.entry(section, key)?;
        let value = ini.interpolate(section, entry).ok()?;
        Some(Effective { value, origin: Origin::File(ini.position(entry.value_at)) })
    }

    /// Every key with its effective value, `[general]` first, then the instance in the order of the reference, then its
    /// node selectors by platform.
    pub fn effective(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for info in GENERAL {
            settings.push(setting(GENERAL_SECTION, info.name, info.kind, self.lookup_general(info.name)));
        }
        for info in INSTANCE {
            settings.push(setting(&self.instance, info.name, info.kind, self.lookup(info.name)));
        }
        for platform in self.selector_platforms() {
            let key = format!("{NODE_SELECTOR_PREFIX}{platform}");
            settings.push(setting(&self.instance, &key, KeyKind::NodeSelector, self.lookup(&key)));
        }
        settings
    }

    /// The platforms with a node selector of their own.
    pub(super) fn selector_platforms(&self) -> BTreeSet<String> {
        let layers = self.arguments.keys().chain(self.options.keys()).map(String::as_str);
        let section = |name| self.conf.as_ref().and_then(|conf| conf.ini().section(name));
        let own = section(&self.instance).filter(|_| !self.lacks_instance());
        let inherited = own.and_then(|_| section(crate::ini::DEFAULT_SECTION));
        let entries = own.into_iter().chain(inherited).flat_map(|section| &section.entries);
        let names = layers.chain(entries.map(|entry| entry.name.as_str()));
        names.filter_map(|name| name.strip_prefix(NODE_SELECTOR_PREFIX)).map(str::to_owned).collect()
    }

    /// All values with their types.
    ///
    /// # Errors
    /// Every value that is not what its key takes, and keys that exclude each other.
    pub fn resolve(&self) -> Result<Parsed<InstanceConfig>, ConfigError> {
        InstanceConfig::resolve(self)
    }

    /// The values of `[general]`.
    pub fn general(&self) -> GeneralConfig {
        GeneralConfig::resolve(self)
    }

    /// Values that count as unset because their interpolation is broken.
    pub(super) fn broken_values(&self) -> Vec<Problem> {
        let Some(ini) = self.conf.as_ref().map(OsbsConf::ini) else { return Vec::new() };
        let sections = [GENERAL_SECTION, self.instance.as_str()].into_iter().filter_map(|name| ini.section(name));
        let broken = sections.flat_map(|section| {
            section.entries.iter().filter_map(move |entry| {
                let error = ini.interpolate(&section.name, entry).err()?;
                Some(Problem {
                    position: ini.position(entry.value_at),
                    path: format!("[{}] {}", section.name, entry.name),
                    kind: ProblemKind::Syntax { detail: format!("{error}, so this key counts as unset") },
                    allowed: Some("%% for one %, or %(KEY)s".to_owned()),
                    severity: Severity::Warning,
                })
            })
        });
        broken.collect()
    }
}

fn setting(section: &str, key: &str, kind: KeyKind, effective: Option<Effective<String>>) -> Setting {
    let (value, origin) =
        effective.map_or((None, Origin::Default), |effective| (Some(effective.value), effective.origin));
    let value = value.map(|text| if kind == KeyKind::Secret { "***".to_owned() } else { text });
    Setting { section: section.to_owned(), key: key.to_owned(), value, origin }
}
