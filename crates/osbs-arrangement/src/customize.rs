//! A site's changes to the plugin lists: `orchestrator_customize.json`, `worker_customize.json` (`reactor.md` 2.4).
//!
//! `program`, `before`, `after`, `required` and `is_allowed_to_fail` of an enabled plugin are ours.

use crate::error::ArrangementError;
use crate::lists::{PluginEntry, PluginLists, Removal, program};
use osbs_types::{BuildType, Phase};
use serde_json::{Map, Value};

/// Read with [`Customization::parse`]; entries that lack a key are left out, as upstream does, but told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Customization {
    file: String,
    disable: Vec<(Phase, String)>,
    enable: Vec<Enabled>,
    /// What was left out, for the log.
    pub skipped: Vec<String>,
}

/// A plugin to be there, with these arguments.
#[derive(Debug, Clone, PartialEq)]
struct Enabled {
    /// Where the file says so.
    path: String,
    phase: Phase,
    entry: PluginEntry,
    place: Place,
}

/// Where a new plugin goes in its phase.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    Last,
    Before(String),
    After(String),
}

const ENABLE_KEYS: [&str; 8] =
    ["plugin_type", "plugin_name", "plugin_args", "program", "before", "after", "required", "is_allowed_to_fail"];

/// The path in the file, and what is wrong there.
type Wrong = (String, String);

impl Customization {
    /// The usual file name.
    pub fn file_name(build_type: BuildType) -> String {
        format!("{build_type}_customize.json")
    }

    /// Reads `disable_plugins` and `enable_plugins`.
    ///
    /// # Errors
    /// What is not a JSON object, lists that are none, a phase that is none, and a program that cannot be one.
    pub fn parse(text: &str, file: &str) -> Result<Self, ArrangementError> {
        let not_lists =
            |(path, problem): Wrong| ArrangementError::NotPluginLists { file: file.to_owned(), path, problem };
        let json: Value =
            serde_json::from_str(text).map_err(|source| ArrangementError::NotJson { file: file.to_owned(), source })?;
        let wrong = |path: &str, problem: &str| not_lists((path.to_owned(), problem.to_owned()));
        let object = json.as_object().ok_or_else(|| wrong("(top)", "expected an object"))?;
        let list = |key: &str| match object.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items.clone()),
            Some(_) => Err(wrong(key, "expected a list")),
        };
        let mut read = Self { file: file.to_owned(), ..Self::default() };
        for (index, item) in list("disable_plugins")?.iter().enumerate() {
            let path = format!("disable_plugins[{index}]");
            match named(item, &path).map_err(not_lists)? {
                Some(found) => read.disable.push(found),
                None => read.skipped.push(path),
            }
        }
        for (index, item) in list("enable_plugins")?.iter().enumerate() {
            let path = format!("enable_plugins[{index}]");
            match enabled(item, &path).map_err(not_lists)? {
                Some(found) => read.enable.push(found),
                None => read.skipped.push(path),
            }
        }
        Ok(read)
    }

    /// Applies it: first what is disabled, then what is enabled. An enabled plugin that is there keeps its place and gets
    /// its arguments replaced; a new one goes before or after another, or comes last in its phase.
    ///
    /// # Errors
    /// A plugin shall stand beside one that is not in that phase.
    pub fn apply(&self, lists: &mut PluginLists) -> Result<Vec<Removal>, ArrangementError> {
        let mut removed = Vec::new();
        for (phase, name) in &self.disable {
            lists.remove_from(*phase, name, "disabled by the site's customisation", &mut removed);
        }
        for enabled in &self.enable {
            self.enable(lists.phase_mut(enabled.phase), enabled)?;
        }
        Ok(removed)
    }

    fn enable(&self, list: &mut Vec<PluginEntry>, enabled: &Enabled) -> Result<(), ArrangementError> {
        let new = &enabled.entry;
        if let Some(entry) = list.iter_mut().find(|entry| entry.name == new.name) {
            entry.args.clone_from(&new.args);
            entry.program = new.program.clone().or(entry.program.take());
            entry.is_allowed_to_fail = new.is_allowed_to_fail.or(entry.is_allowed_to_fail);
            return Ok(());
        }
        let (key, neighbour, behind) = match &enabled.place {
            Place::Last => {
                list.push(new.clone());
                return Ok(());
            }
            Place::Before(name) => ("before", name, 0),
            Place::After(name) => ("after", name, 1),
        };
        match list.iter().position(|entry| entry.name == *neighbour) {
            Some(index) => {
                list.insert(index + behind, new.clone());
                Ok(())
            }
            None => Err(ArrangementError::NotPluginLists {
                file: self.file.clone(),
                path: format!("{}.{key}", enabled.path),
                problem: format!("{} of this arrangement has no {neighbour}", enabled.phase.key()),
            }),
        }
    }
}

/// Phase and name of an entry; `None` when a key is not there.
fn named(item: &Value, path: &str) -> Result<Option<(Phase, String)>, Wrong> {
    let (Some(key), Some(name)) = (item["plugin_type"].as_str(), item["plugin_name"].as_str()) else { return Ok(None) };
    let Some(phase) = Phase::ALL.into_iter().find(|phase| phase.key() == key) else {
        let allowed = Phase::ALL.map(Phase::key).join(", ");
        return Err((format!("{path}.plugin_type"), format!("{key:?} is no phase (allowed: {allowed})")));
    };
    Ok(Some((phase, name.to_owned())))
}

/// An entry of `enable_plugins`; `None` when a key is not there.
fn enabled(item: &Value, path: &str) -> Result<Option<Enabled>, Wrong> {
    let Some((phase, name)) = named(item, path)? else { return Ok(None) };
    let args = match (item.get("plugin_args"), item.get("program")) {
        (Some(Value::Object(args)), _) => args.clone(),
        (None, Some(_)) => Map::new(),
        _ => return Ok(None),
    };
    let wrong = |key: &str, problem: &str| (format!("{path}.{key}"), problem.to_owned());
    if let Some(key) = item.as_object().into_iter().flat_map(Map::keys).find(|key| !ENABLE_KEYS.contains(&key.as_str()))
    {
        return Err(wrong(key, &format!("unknown key (allowed: {})", ENABLE_KEYS.join(", "))));
    }
    let text = |key: &str| match item.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(key, "expected the name of a plugin")),
    };
    let flag = |key: &str| match item.get(key) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(wrong(key, "expected true or false")),
    };
    let place = match (text("before")?, text("after")?) {
        (None, None) => Place::Last,
        (Some(name), None) => Place::Before(name),
        (None, Some(name)) => Place::After(name),
        (Some(_), Some(_)) => return Err(wrong("after", "say before or after, not both")),
    };
    let entry = PluginEntry {
        args,
        required: flag("required")?.unwrap_or(true),
        is_allowed_to_fail: flag("is_allowed_to_fail")?,
        program: item.get("program").map(|value| program(value.clone(), phase, path)).transpose()?,
        ..PluginEntry::new(&name)
    };
    Ok(Some(Enabled { path: path.to_owned(), phase, entry, place }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disables_then_enables() {
        let text = r#"{"disable_plugins": [{"plugin_type": "exit_plugins", "plugin_name": "sendmail"}, {"plugin_name": "x"}],
            "enable_plugins": [
              {"plugin_type": "prebuild_plugins", "plugin_name": "koji", "plugin_args": {"hub": "h"}},
              {"plugin_type": "exit_plugins", "plugin_name": "mine", "plugin_args": {}},
              {"plugin_type": "exit_plugins", "plugin_name": "lost"}]}"#;
        let custom = Customization::parse(text, "c").unwrap();
        assert_eq!(custom.skipped, ["disable_plugins[1]", "enable_plugins[2]"]);
        let mut lists = crate::template(BuildType::Worker, 1).unwrap();
        let before = lists.prebuild.iter().position(|entry| entry.name == "koji");
        let removed = custom.apply(&mut lists).unwrap();
        assert_eq!(removed.len(), 1);
        assert_eq!(lists.prebuild.iter().position(|entry| entry.name == "koji"), before);
        assert_eq!(lists.find("koji").unwrap().args["hub"], "h");
        assert_eq!(lists.exit.last().unwrap().name, "mine");
        assert!(!lists.contains("sendmail"));
        assert!(Customization::parse("[]", "c").is_err());
        assert!(Customization::parse(r#"{"enable_plugins": 1}"#, "c").is_err());
    }

    /// One enabled postbuild plugin with this further text: the names of the phase, or a part of the error.
    #[track_caller]
    fn check_place(more: &str, expected: Result<&[&str], &str>) {
        let text = format!(
            r#"{{"enable_plugins": [{{"plugin_type": "postbuild_plugins", "plugin_name": "mine", "plugin_args": {{}}{more}}}]}}"#
        );
        let mut lists = PluginLists { postbuild: ["a", "b"].map(PluginEntry::new).into(), ..PluginLists::default() };
        let applied = Customization::parse(&text, "c").and_then(|custom| custom.apply(&mut lists));
        let names: Vec<_> = lists.postbuild.iter().map(|entry| entry.name.as_str()).collect();
        match (applied, expected) {
            (Ok(_), Ok(wanted)) => assert_eq!(names, wanted, "{more}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{more}: {error}"),
            (other, _) => panic!("{more}: {other:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_new_plugin_has_its_place() {
        check_place("", Ok(&["a", "b", "mine"]));
        check_place(r#", "before": "a""#, Ok(&["mine", "a", "b"]));
        check_place(r#", "after": "a", "program": {"command": ["/x"]}"#, Ok(&["a", "mine", "b"]));
        check_place(r#", "required": false, "is_allowed_to_fail": true"#, Ok(&["a", "b", "mine"]));
        check_place(
            r#", "after": "z""#,
            Err("enable_plugins[0].after: postbuild_plugins of this arrangement has no z"),
        );
        check_place(r#", "after": "a", "before": "b""#, Err("not both"));
        check_place(r#", "order": 1"#, Err("enable_plugins[0].order: unknown key (allowed: plugin_type, "));
        check_place(r#", "program": {"command": ["x"]}"#, Err("enable_plugins[0].program: command: \"x\" is not"));
        check_place(r#", "required": 1"#, Err("expected true or false"));
        let text = r#"{"disable_plugins": [{"plugin_type": "postbild_plugins", "plugin_name": "a"}]}"#;
        let error = Customization::parse(text, "c").unwrap_err().to_string();
        assert!(error.contains("\"postbild_plugins\" is no phase (allowed: prebuild_plugins, "), "{error}");
    }
}
