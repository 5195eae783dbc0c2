//! Scopes of ARG and ENV, the predefined arguments, and expansion with them (Dockerfile reference, "ARG").

use crate::error::InstructionError;
use osbs_dockerfile::{ArgDeclaration, ExpandError, expand, expand_words};
use osbs_types::{Architecture, Platform};
use std::collections::BTreeMap;

/// Given as build arguments they reach every RUN without an ARG, and never the image.
pub(crate) const PROXY_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Known before the first FROM, and in a stage after an ARG of theirs.
const PLATFORM_ARGS: [&str; 10] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETSTAGE",
    "SOURCE_DATE_EPOCH",
];

/// Whether a build argument of this name means something without an ARG in the Dockerfile.
pub fn is_predefined(name: &str) -> bool {
    PROXY_ARGS.contains(&name) || PLATFORM_ARGS.contains(&name)
}

/// What an ARG can get its value from, the same for all stages.
#[derive(Debug)]
pub(crate) struct GlobalArgs {
    build_args: BTreeMap<String, String>,
    /// Platforms and the like: known before the first FROM, and in a stage after an ARG of theirs.
    predefined: Vec<(&'static str, String)>,
    /// ARGs before the first FROM.
    meta: Vec<(String, String)>,
    /// Escape character of the Dockerfile.
    pub escape: char,
}

impl GlobalArgs {
    /// `stage`: what `--target` says. `epoch`: SOURCE_DATE_EPOCH, if times are clamped.
    pub(crate) fn new(
        build_args: &BTreeMap<String, String>,
        target: &Architecture,
        stage: Option<&str>,
        epoch: Option<i64>,
        escape: char,
    ) -> Self {
        let mut predefined = Vec::new();
        platform_args(&mut predefined, ["TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT"], target);
        let here = Platform::native().architecture();
        platform_args(&mut predefined, ["BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT"], &here);
        predefined.push(("TARGETSTAGE", stage.unwrap_or("default").to_owned()));
        predefined.extend(epoch.map(|seconds| ("SOURCE_DATE_EPOCH", seconds.to_string())));
        Self { build_args: build_args.clone(), predefined, meta: Vec::new(), escape }
    }

    fn predefined(&self, name: &str) -> Option<String> {
        self.predefined.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone())
    }

    /// An ARG before the first FROM.
    pub(crate) fn declare(&mut self, declaration: &ArgDeclaration) -> Result<(), (String, ExpandError)> {
        let given = self.build_args.get(&declaration.name).cloned().or_else(|| self.predefined(&declaration.name));
        let value = match (given, &declaration.default) {
            (Some(value), _) => Some(value),
            (None, Some(word)) => Some(self.expand(word).map_err(|error| (word.clone(), error))?),
            (None, None) => None,
        };
        if let Some(value) = value {
            set(&mut self.meta, &declaration.name, value);
        }
        Ok(())
    }

    /// A word of FROM or of `--from`: the scope before the first FROM.
    pub(crate) fn expand(&self, word: &str) -> Result<String, ExpandError> {
        let lookup = |name: &str| get(&self.meta, name).or_else(|| self.given_or_predefined(name));
        expand(word, &lookup, self.escape)
    }

    fn given_or_predefined(&self, name: &str) -> Option<String> {
        let predefined = self.predefined(name)?;
        Some(self.build_args.get(name).cloned().unwrap_or(predefined))
    }

    /// Proxy arguments that were given, for RUN.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = (&str, &str)> {
        PROXY_ARGS.iter().filter_map(|name| self.build_args.get(*name).map(|value| (*name, value.as_str())))
    }
}

fn platform_args(into: &mut Vec<(&'static str, String)>, names: [&'static str; 4], architecture: &Architecture) {
    let variant = architecture.variant.clone().unwrap_or_default();
    let mut whole = format!("linux/{}", architecture.name);
    if !variant.is_empty() {
        whole = format!("{whole}/{variant}");
    }
    into.extend(names.into_iter().zip([whole, "linux".to_owned(), architecture.name.clone(), variant]));
}

fn get(pairs: &[(String, String)], name: &str) -> Option<String> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

fn set(pairs: &mut Vec<(String, String)>, name: &str, value: String) {
    match pairs.iter_mut().find(|(key, _)| key == name) {
        Some(pair) => pair.1 = value,
        None => pairs.push((name.to_owned(), value)),
    }
}

/// The arguments a stage has declared so far. A stage built on another starts with that one's.
#[derive(Debug, Clone, Default)]
pub(crate) struct StageArgs(Vec<(String, String)>);

impl StageArgs {
    /// An ARG in the stage; `env` is the image's environment.
    pub(crate) fn declare(
        &mut self,
        declaration: &ArgDeclaration,
        env: &[String],
        global: &GlobalArgs,
    ) -> Result<(), InstructionError> {
        let name = &declaration.name;
        let value = match (global.build_args.get(name), &declaration.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(word)) => Some(self.expand(word, env, global)?),
            (None, None) => get(&global.meta, name).or_else(|| global.predefined(name)),
        };
        if let Some(value) = value {
            set(&mut self.0, name, value);
        }
        Ok(())
    }

    /// ENV wins over ARG.
    pub(crate) fn lookup(&self, name: &str, env: &[String]) -> Option<String> {
        env_value(env, name).map(str::to_owned).or_else(|| get(&self.0, name))
    }

    /// One word of an instruction.
    pub(crate) fn expand(&self, word: &str, env: &[String], global: &GlobalArgs) -> Result<String, InstructionError> {
        expand(word, &|name| self.lookup(name, env), global.escape).map_err(|error| failed(word, error))
    }

    /// One word that may become several.
    pub(crate) fn expand_words(
        &self,
        word: &str,
        env: &[String],
        global: &GlobalArgs,
    ) -> Result<Vec<String>, InstructionError> {
        expand_words(word, &|name| self.lookup(name, env), global.escape).map_err(|error| failed(word, error))
    }

    /// The environment of a RUN: ENV, then ARGs that no ENV hides, then proxies.
    pub(crate) fn run_environment(&self, env: &[String], global: &GlobalArgs) -> Vec<String> {
        let mut all = env.to_vec();
        let extra = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(global.proxies());
        for (name, value) in extra {
            if env_value(&all, name).is_none() {
                all.push(format!("{name}={value}"));
            }
        }
        all
    }
}

fn failed(word: &str, error: ExpandError) -> InstructionError {
    InstructionError::Expansion { text: word.to_owned(), source: Box::new(error) }
}

/// The value of `name` in a list of `NAME=value`.
pub(crate) fn env_value<'e>(env: &'e [String], name: &str) -> Option<&'e str> {
    env.iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Sets `NAME=value` in place, or at the end.
pub(crate) fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let pair = format!("{name}={value}");
    match env.iter_mut().find(|old| old.split('=').next() == Some(name)) {
        Some(old) => *old = pair,
        None => env.push(pair),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declare(name: &str, default: Option<&str>) -> ArgDeclaration {
        ArgDeclaration { name: name.into(), default: default.map(str::to_owned) }
    }

    #[test]
    fn values_come_from_the_nearest_place() {
        let given = BTreeMap::from([("GIVEN".to_owned(), "g".to_owned()), ("HTTP_PROXY".to_owned(), "p".to_owned())]);
        let mut global = GlobalArgs::new(&given, &Architecture::new("arm64"), None, Some(5), '\\');
        global.declare(&declare("META", Some("m"))).expect("declare");
        let mut stage = StageArgs::default();
        let env = vec!["E=env".to_owned(), "BOTH=env".to_owned()];
        for declaration in [
            declare("GIVEN", Some("default")),
            declare("META", None),
            declare("TARGETARCH", None),
            declare("TARGETSTAGE", None),
            declare("SOURCE_DATE_EPOCH", None),
            declare("BOTH", Some("arg")),
            declare("ABSENT", None),
        ] {
            stage.declare(&declaration, &env, &global).expect("declare");
        }
        let check = |name: &str, expected: Option<&str>| assert_eq!(stage.lookup(name, &env).as_deref(), expected);
        check("GIVEN", Some("g"));
        check("META", Some("m"));
        check("TARGETARCH", Some("arm64"));
        check("TARGETSTAGE", Some("default"));
        check("SOURCE_DATE_EPOCH", Some("5"));
        // Known, but not asked for by an ARG.
        check("BUILDARCH", None);
        check("BOTH", Some("env"));
        check("E", Some("env"));
        check("ABSENT", None);
        check("HTTP_PROXY", None);
        let run = stage.run_environment(&env, &global);
        let platform = ["TARGETARCH=arm64", "TARGETSTAGE=default", "SOURCE_DATE_EPOCH=5"];
        assert_eq!(run[..4], ["E=env", "BOTH=env", "GIVEN=g", "META=m"]);
        assert_eq!(run[4..7], platform);
        assert_eq!(run[7..], ["HTTP_PROXY=p"]);
    }

    #[test]
    fn environment_keeps_its_order() {
        let mut env = vec!["A=1".to_owned(), "B=2".to_owned()];
        set_env(&mut env, "A", "3");
        set_env(&mut env, "C", "");
        assert_eq!(env, ["A=3", "B=2", "C="]);
    }
}
