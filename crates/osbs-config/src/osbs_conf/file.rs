//! A checked `osbs.conf`: sections and keys are known ones; values are checked where an instance is used.

use super::keys::{GENERAL, INSTANCE, KeyInfo, NEVER_READ, NODE_SELECTOR_PREFIX, PLATFORM, instance_key};
use super::values::boolean;
use crate::ini::{DEFAULT_SECTION, Ini, IniEntry, IniSection};
use crate::nearest::nearest;
use crate::problem::{ConfigError, Parsed, Problem, ProblemKind, Severity};
use osbs_types::{Architecture, ErrorKind, Platform};
use std::collections::BTreeMap;

/// The section that is no instance.
pub(super) const GENERAL_SECTION: &str = "general";
const PLATFORM_PREFIX: &str = "platform:";

/// `[platform:NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformSection {
    /// GOARCH; the one of the platform's name when the section does not say.
    pub architecture: Architecture,
    /// Accepted, without effect: Docker v1 content is not made any more (`reactor.md` 6.1, O1).
    pub enable_v1: bool,
}

/// A whole file.
#[derive(Debug, Clone)]
pub struct OsbsConf {
    ini: Ini,
    platforms: BTreeMap<Platform, PlatformSection>,
}

impl OsbsConf {
    /// Reads and checks; `file` is the name that positions carry. Unknown keys are errors, since a misspelt
    /// `can_orchestrate` would otherwise just be off.
    ///
    /// # Errors
    /// All problems of the file; its administrator mends them, so the kind is [`ErrorKind::Policy`].
    pub fn parse(text: &str, file: &str) -> Result<Parsed<Self>, ConfigError> {
        let ini = Ini::parse(text, file).map_err(|error| error.with_kind(ErrorKind::Policy))?;
        let mut problems = Vec::new();
        let helpers = ini.helper_names();
        for section in ini.sections() {
            let unknown = section.entries.iter().filter(|entry| !helpers.contains(&entry.name));
            problems.extend(unknown.filter_map(|entry| unknown_key(&ini, section, entry)));
        }
        let platforms = platforms(&ini, &mut problems);
        Parsed::from_problems(Some(Self { ini, platforms }), problems)
            .map_err(|error| error.with_kind(ErrorKind::Policy))
    }

    /// The text as INI.
    pub fn ini(&self) -> &Ini {
        &self.ini
    }

    /// The names of all instances, in the order of the file.
    pub fn instances(&self) -> impl Iterator<Item = &str> {
        let names = self.ini.sections().iter().map(|section| section.name.as_str());
        names.filter(|name| is_instance(name))
    }

    /// The platform sections.
    pub fn platforms(&self) -> &BTreeMap<Platform, PlatformSection> {
        &self.platforms
    }
}

pub(super) fn is_instance(section: &str) -> bool {
    section != GENERAL_SECTION && section != DEFAULT_SECTION && !section.starts_with(PLATFORM_PREFIX)
}

fn keys_of(section: &str) -> Vec<&'static KeyInfo> {
    match section {
        GENERAL_SECTION => GENERAL.iter().collect(),
        DEFAULT_SECTION => GENERAL.iter().chain(PLATFORM).chain(INSTANCE).collect(),
        _ if section.starts_with(PLATFORM_PREFIX) => PLATFORM.iter().collect(),
        _ => INSTANCE.iter().collect(),
    }
}

fn unknown_key(ini: &Ini, section: &IniSection, entry: &IniEntry) -> Option<Problem> {
    let keys = keys_of(&section.name);
    let selects = is_instance(&section.name) || section.name == DEFAULT_SECTION;
    if keys.iter().any(|key| key.name == entry.name) || (selects && instance_key(&entry.name).is_some()) {
        return None;
    }
    let renamed = NEVER_READ.iter().find(|(wrong, _)| *wrong == entry.name && selects);
    let near = renamed
        .map(|(_, right)| (*right).to_owned())
        .or_else(|| nearest(&entry.name, keys.iter().map(|key| key.name)))
        .or_else(|| other_section(&entry.name));
    // A hundred names help nobody: the whole list only where it is short, or where nothing looks alike.
    let allowed = (near.is_none() || keys.len() < 10).then(|| {
        let mut names: Vec<&str> = keys.iter().map(|key| key.name).collect();
        if selects {
            names.push("node_selector.PLATFORM");
        }
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    });
    Some(Problem {
        position: ini.position(entry.key_at),
        path: format!("[{}]", section.name),
        kind: ProblemKind::UnknownKey { key: entry.name.clone(), nearest: near },
        allowed,
        severity: Severity::Error,
    })
}

/// A key of another kind of section, named with its section.
fn other_section(name: &str) -> Option<String> {
    let in_section = |keys: &[KeyInfo], section: &str| {
        keys.iter().any(|key| key.name == name).then(|| format!("{name} in [{section}]"))
    };
    in_section(GENERAL, GENERAL_SECTION)
        .or_else(|| in_section(PLATFORM, "platform:NAME"))
        .or_else(|| in_section(INSTANCE, "INSTANCE"))
        .or_else(|| name.starts_with(NODE_SELECTOR_PREFIX).then(|| format!("{name} in [INSTANCE]")))
}

fn platforms(ini: &Ini, problems: &mut Vec<Problem>) -> BTreeMap<Platform, PlatformSection> {
    let mut platforms = BTreeMap::new();
    let mut with_v1: Vec<&str> = Vec::new();
    for section in ini.sections() {
        let Some(name) = section.name.strip_prefix(PLATFORM_PREFIX) else { continue };
        let mut problem = |at, kind, severity| {
            let path = format!("[{}]", section.name);
            problems.push(Problem { position: ini.position(at), path, kind, allowed: None, severity });
        };
        let Ok(platform) = name.parse::<Platform>() else {
            let kind = ProblemKind::BadValue {
                value: name.to_owned(),
                expected: "a platform name: letters, digits and _ only".to_owned(),
            };
            problem((section.line, 1), kind, Severity::Error);
            continue;
        };
        let text = |key: &str| {
            let entry = ini.entry(&section.name, key)?;
            Some((ini.interpolate(&section.name, entry).ok()?, entry.value_at))
        };
        let enable_v1 = text("enable_v1").is_some_and(|(value, _)| boolean(&value).0);
        if let (true, Some((_, at))) = (enable_v1, text("enable_v1")) {
            with_v1.push(name);
            if with_v1.len() > 1 {
                let detail = format!("enable_v1 is true for more than one platform: {}", with_v1.join(", "));
                problem(at, ProblemKind::Conflict { detail }, Severity::Error);
            } else {
                let advice = "is accepted without effect: Docker v1 content is not made any more";
                problem(at, ProblemKind::Obsolete { key: "enable_v1".to_owned(), advice }, Severity::Warning);
            }
        }
        let architecture =
            text("architecture").map_or_else(|| platform.architecture(), |(name, _)| Architecture::new(&name));
        platforms.insert(platform, PlatformSection { architecture, enable_v1 });
    }
    platforms
}
