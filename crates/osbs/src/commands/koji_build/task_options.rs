//! Options of a container task, and which of them go together. An option that was not given is not sent at all.

use clap::Args;
use osbs_koji::{Struct, Value};

/// What is built, and how.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct TaskOptionArgs {
    /// Branch that the commit is on
    #[arg(long, value_name = "NAME", required = true)]
    git_branch: String,

    /// Build an image that is thrown away: nothing is imported
    #[arg(long, conflicts_with = "isolated")]
    scratch: bool,

    /// Build a patch release that moves no floating tags
    #[arg(long)]
    isolated: bool,

    /// Release, instead of the next free one
    #[arg(long, value_name = "TEXT")]
    release: Option<String>,

    /// Only these arches of the target's, separated by commas or spaces; with --scratch or --isolated
    #[arg(long, value_name = "ARCHES", value_parser = arches)]
    arch_override: Option<String>,

    /// Build to take the parent image from: NAME-VERSION-RELEASE
    #[arg(long, value_name = "NVR")]
    koji_parent_build: Option<String>,

    /// URL of a file with package repositories for the build (repeatable)
    #[arg(long = "repo-url", value_name = "URL")]
    yum_repourls: Vec<String>,

    /// Signing intent of the composes
    #[arg(long, value_name = "NAME", conflicts_with = "compose_ids")]
    signing_intent: Option<String>,

    /// Compose to take packages from (repeatable)
    #[arg(long = "compose-id", value_name = "N")]
    compose_ids: Vec<i64>,

    /// Epoch of the build; the builder must be an administrator
    #[arg(long, value_name = "N")]
    epoch: Option<i64>,

    /// Build a flatpak of a module; with --module
    #[arg(long, requires = "module", conflicts_with = "isolated")]
    flatpak: bool,

    /// Module of a flatpak
    #[arg(long, short = 'm', value_name = "NAME:STREAM[:VERSION]", requires = "flatpak")]
    module: Option<String>,

    /// Take another version of a dependency (repeatable; needs a builder of 2020 or later)
    #[arg(long = "replace-dependency", value_name = "MANAGER:NAME:VERSION[:NEW_NAME]")]
    dependency_replacements: Vec<String>,

    /// Data of your own for the build's record, a JSON object (needs a builder of 2020 or later)
    #[arg(long, value_name = "JSON", value_parser = object)]
    userdata: Option<serde_json::Value>,

    /// Only change how automatic rebuilds are set up (needs a builder of 2020)
    #[arg(long)]
    skip_build: bool,

    /// File of changes to an operator's manifest (needs a builder of 2020 or later)
    #[arg(long, value_name = "URL")]
    operator_csv_modifications_url: Option<String>,
}

/// A source: a URL that names a commit.
pub(super) fn source(text: &str) -> Result<String, String> {
    if !text.contains("://") {
        return Err("no URL of a source: it has no ://".to_owned());
    }
    if !text.contains('#') {
        return Err("it names no commit: write URL#COMMIT".to_owned());
    }
    Ok(text.to_owned())
}

/// Arches separated by one space.
fn arches(text: &str) -> Result<String, String> {
    let names: Vec<&str> = text.split([',', ' ']).filter(|name| !name.is_empty()).collect();
    let good = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match names.iter().find(|name| !good(name)) {
        Some(bad) => Err(format!("{bad} is no name of an arch")),
        None => Ok(names.join(" ")),
    }
}

fn object(text: &str) -> Result<serde_json::Value, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    if value.is_object() { Ok(value) } else { Err("no JSON object".to_owned()) }
}

impl TaskOptionArgs {
    /// Whether nothing is to be kept.
    pub(super) fn is_scratch(&self) -> bool {
        self.scratch
    }

    /// The options as they are sent.
    ///
    /// # Errors
    /// What does not go together, in words.
    pub(super) fn task_options(&self) -> Result<Struct, String> {
        if self.arch_override.is_some() && !(self.scratch || self.isolated) {
            return Err("--arch-override is only allowed for scratch and isolated builds".to_owned());
        }
        let flag = |given: bool| given.then_some(Value::Bool(true));
        let text = |given: &Option<String>| given.as_ref().map(Value::from);
        let list = |values: Vec<Value>| (!values.is_empty()).then_some(Value::Array(values));
        let texts = |given: &[String]| list(given.iter().map(Value::from).collect());
        let options = [
            ("scratch", flag(self.scratch)),
            ("isolated", flag(self.isolated)),
            ("epoch", self.epoch.map(Value::from)),
            ("yum_repourls", texts(&self.yum_repourls)),
            ("git_branch", Some(Value::from(&self.git_branch))),
            ("release", text(&self.release)),
            ("koji_parent_build", text(&self.koji_parent_build)),
            ("module", text(&self.module)),
            ("signing_intent", text(&self.signing_intent)),
            ("compose_ids", list(self.compose_ids.iter().copied().map(Value::from).collect())),
            ("dependency_replacements", texts(&self.dependency_replacements)),
            ("skip_build", flag(self.skip_build)),
            ("operator_csv_modifications_url", text(&self.operator_csv_modifications_url)),
            ("arch_override", text(&self.arch_override)),
            ("flatpak", flag(self.flatpak)),
            ("userdata", self.userdata.as_ref().map(Value::from_json)),
        ];
        Ok(options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_arches_and_data() {
        assert!(source("git://a/b#c").is_ok());
        assert!(source("a/b#c").is_err() && source("git://a/b").is_err());
        for (text, expected) in
            [("a,b", Some("a b")), ("a  b, c", Some("a b c")), ("x86_64", Some("x86_64")), ("a;b", None)]
        {
            assert_eq!(arches(text).ok().as_deref(), expected, "{text}");
        }
        assert!(object("{}").is_ok() && object("[]").is_err() && object("{").is_err());
    }
}
