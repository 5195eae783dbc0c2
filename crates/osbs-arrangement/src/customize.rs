//! A site's changes to the plugin lists: `orchestrator_customize.json`, `worker_customize.json` (`reactor.md` 2.4).

use crate::error::ArrangementError;
use crate::lists::{PluginEntry, PluginLists, Removal};
use osbs_types::{BuildType, Phase};
use serde_json::{Map, Value};

/// Read with [`Customization::parse`]; entries that lack a key are left out, as upstream does, but told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Customization {
    disable: Vec<(Phase, String)>,
    enable: Vec<(Phase, String, Map<String, Value>)>,
    /// What was left out, for the log.
    pub skipped: Vec<String>,
}

impl Customization {
    /// The usual file name.
    pub fn file_name(build_type: BuildType) -> String {
        format!("{build_type}_customize.json")
    }

    /// Reads `disable_plugins` and `enable_plugins`.
    ///
    /// # Errors
    /// What is not a JSON object, and lists that are none.
    pub fn parse(text: &str, file: &str) -> Result<Self, ArrangementError> {
        let not_lists = |path: &str, problem: &str| ArrangementError::NotPluginLists {
            file: file.to_owned(),
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let json: Value =
            serde_json::from_str(text).map_err(|source| ArrangementError::NotJson { file: file.to_owned(), source })?;
        let object = json.as_object().ok_or_else(|| not_lists("(top)", "expected an object"))?;
        let list = |key: &str| match object.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items.clone()),
            Some(_) => Err(not_lists(key, "expected a list")),
        };
        let mut read = Self::default();
        for (index, item) in list("disable_plugins")?.iter().enumerate() {
            match named(item) {
                Some(found) => read.disable.push(found),
                None => read.skipped.push(format!("disable_plugins[{index}]")),
            }
        }
        for (index, item) in list("enable_plugins")?.iter().enumerate() {
            match (named(item), item.get("plugin_args")) {
                (Some((phase, name)), Some(Value::Object(args))) => read.enable.push((phase, name, args.clone())),
                _ => read.skipped.push(format!("enable_plugins[{index}]")),
            }
        }
        Ok(read)
    }

    /// Applies it: first what is disabled, then what is enabled. An enabled plugin that is there keeps its place and gets
    /// its arguments replaced, a new one comes last in its phase.
    pub fn apply(&self, lists: &mut PluginLists) -> Vec<Removal> {
        let mut removed = Vec::new();
        for (phase, name) in &self.disable {
            lists.remove_from(*phase, name, "disabled by the site's customisation", &mut removed);
        }
        for (phase, name, args) in &self.enable {
            let list = lists.phase_mut(*phase);
            match list.iter_mut().find(|entry| entry.name == *name) {
                Some(entry) => entry.args.clone_from(args),
                None => list.push(PluginEntry { args: args.clone(), ..PluginEntry::new(name) }),
            }
        }
        removed
    }
}

fn named(item: &Value) -> Option<(Phase, String)> {
    let key = item.get("plugin_type")?.as_str()?;
    let phase = Phase::ALL.into_iter().find(|phase| phase.key() == key)?;
    Some((phase, item.get("plugin_name")?.as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disables_then_enables() {
        let text = r#"{"disable_plugins": [{"plugin_type": "exit_plugins", "plugin_name": "sendmail"}, {"plugin_name": "x"}],
            "enable_plugins": [
              {"plugin_type": "prebuild_plugins", "plugin_name": "koji", "plugin_args": {"hub": "h"}},
              {"plugin_type": "exit_plugins", "plugin_name": "mine", "plugin_args": {}}]}"#;
        let custom = Customization::parse(text, "c").unwrap();
        assert_eq!(custom.skipped, ["disable_plugins[1]"]);
        let mut lists = crate::template(BuildType::Worker, 1).unwrap();
        let before = lists.prebuild.iter().position(|entry| entry.name == "koji");
        let removed = custom.apply(&mut lists);
        assert_eq!(removed.len(), 1);
        assert_eq!(lists.prebuild.iter().position(|entry| entry.name == "koji"), before);
        assert_eq!(lists.find("koji").unwrap().args["hub"], "h");
        assert_eq!(lists.exit.last().unwrap().name, "mine");
        assert!(!lists.contains("sendmail"));
        assert!(Customization::parse("[]", "c").is_err());
        assert!(Customization::parse(r#"{"enable_plugins": 1}"#, "c").is_err());
    }
}
