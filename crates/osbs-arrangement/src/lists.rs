//! Plugin lists: what a run does, phase by phase (`reactor.md` 1.2).

use crate::error::ArrangementError;
use crate::site_program::SiteProgram;
use osbs_types::Phase;
use serde_json::{Map, Value};

/// One plugin of a phase.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginEntry {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Map<String, Value>,
    /// Whether a reactor that does not know it refuses the build.
    pub required: bool,
    /// Overrides the plugin's own default.
    pub is_allowed_to_fail: Option<bool>,
    /// The site's own program that this plugin is; else it is one of ours.
    pub program: Option<SiteProgram>,
}

impl PluginEntry {
    /// Required, without arguments.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), args: Map::new(), required: true, is_allowed_to_fail: None, program: None }
    }

    fn to_json(&self) -> Value {
        let mut entry = Map::from_iter([("name".to_owned(), Value::from(self.name.as_str()))]);
        if !self.args.is_empty() {
            entry.insert("args".to_owned(), Value::Object(self.args.clone()));
        }
        if !self.required {
            entry.insert("required".to_owned(), Value::from(false));
        }
        if let Some(allowed) = self.is_allowed_to_fail {
            entry.insert("is_allowed_to_fail".to_owned(), Value::from(allowed));
        }
        if let Some(program) = &self.program {
            let program = serde_json::to_value(program).expect("made of texts and numbers");
            entry.insert("program".to_owned(), program);
        }
        Value::Object(entry)
    }
}

/// A plugin that was taken out of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Of which phase.
    pub phase: Phase,
    /// Which.
    pub plugin: String,
    /// Why, for the log: `no Koji hub is configured`.
    pub reason: String,
}

/// The lists of all phases, and what else the object held (`client_version`, `image`, ...).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PluginLists {
    /// `prebuild_plugins`
    pub prebuild: Vec<PluginEntry>,
    /// `buildstep_plugins`
    pub buildstep: Vec<PluginEntry>,
    /// `prepublish_plugins`
    pub prepublish: Vec<PluginEntry>,
    /// `postbuild_plugins`
    pub postbuild: Vec<PluginEntry>,
    /// `exit_plugins`
    pub exit: Vec<PluginEntry>,
    /// Every other top-level key.
    pub other: Map<String, Value>,
}

impl PluginLists {
    /// Reads and checks; `file` is the text's name in errors.
    ///
    /// # Errors
    /// What is not JSON, and what is JSON but not plugin lists, with the way to it.
    pub fn parse(text: &str, file: &str) -> Result<Self, ArrangementError> {
        let json =
            serde_json::from_str(text).map_err(|source| ArrangementError::NotJson { file: file.to_owned(), source })?;
        Self::from_json(json, file)
    }

    /// From JSON already read.
    ///
    /// # Errors
    /// As [`PluginLists::parse`].
    pub fn from_json(json: Value, file: &str) -> Result<Self, ArrangementError> {
        let fail = |path: &str, problem: String| ArrangementError::NotPluginLists {
            file: file.to_owned(),
            path: path.to_owned(),
            problem,
        };
        let Value::Object(mut object) = json else {
            return Err(fail("(top)", format!("expected an object, found {}", kind_of(&json))));
        };
        let mut lists = Self::default();
        for phase in Phase::ALL {
            // shift_remove keeps the order of what stays.
            let Some(list) = object.shift_remove(phase.key()) else { continue };
            let Value::Array(items) = list else {
                return Err(fail(phase.key(), format!("expected a list of plugins, found {}", kind_of(&list))));
            };
            for (index, item) in items.into_iter().enumerate() {
                let path = format!("{}[{index}]", phase.key());
                let read = entry(item, phase, &path).map_err(|(path, problem)| fail(&path, problem))?;
                lists.phase_mut(phase).push(read);
            }
        }
        lists.other = object;
        Ok(lists)
    }

    /// As `ATOMIC_REACTOR_PLUGINS` carries it.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        for phase in Phase::ALL {
            let list = self.phase(phase).iter().map(PluginEntry::to_json).collect();
            object.insert(phase.key().to_owned(), Value::Array(list));
        }
        object.extend(self.other.clone());
        Value::Object(object)
    }

    /// The list of a phase.
    pub fn phase(&self, phase: Phase) -> &[PluginEntry] {
        match phase {
            Phase::Prebuild => &self.prebuild,
            Phase::Buildstep => &self.buildstep,
            Phase::Prepublish => &self.prepublish,
            Phase::Postbuild => &self.postbuild,
            Phase::Exit => &self.exit,
        }
    }

    /// The same to change.
    pub fn phase_mut(&mut self, phase: Phase) -> &mut Vec<PluginEntry> {
        match phase {
            Phase::Prebuild => &mut self.prebuild,
            Phase::Buildstep => &mut self.buildstep,
            Phase::Prepublish => &mut self.prepublish,
            Phase::Postbuild => &mut self.postbuild,
            Phase::Exit => &mut self.exit,
        }
    }

    /// The first plugin of this name, in any phase.
    pub fn find(&self, name: &str) -> Option<&PluginEntry> {
        Phase::ALL.into_iter().find_map(|phase| self.phase(phase).iter().find(|entry| entry.name == name))
    }

    /// Whether a plugin of this name is in any list.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Takes the plugin out of every phase.
    pub(crate) fn remove(&mut self, name: &str, reason: &str, removed: &mut Vec<Removal>) {
        for phase in Phase::ALL {
            self.remove_from(phase, name, reason, removed);
        }
    }

    /// Takes the first plugin of this name out of one phase.
    pub(crate) fn remove_from(&mut self, phase: Phase, name: &str, reason: &str, removed: &mut Vec<Removal>) {
        let list = self.phase_mut(phase);
        if let Some(index) = list.iter().position(|entry| entry.name == name) {
            list.remove(index);
            removed.push(Removal { phase, plugin: name.to_owned(), reason: reason.to_owned() });
        }
    }

    /// Sets an argument of every plugin of this name.
    pub(crate) fn set(&mut self, name: &str, argument: &str, value: Value) {
        for phase in Phase::ALL {
            for entry in self.phase_mut(phase).iter_mut().filter(|entry| entry.name == name) {
                entry.args.insert(argument.to_owned(), value.clone());
            }
        }
    }

    /// Sets an argument when there is a value.
    pub(crate) fn set_some(&mut self, name: &str, argument: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, argument, value.into());
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The entry, or the path and the problem.
fn entry(item: Value, phase: Phase, path: &str) -> Result<PluginEntry, (String, String)> {
    let Value::Object(object) = item else {
        return Err((path.to_owned(), format!("expected an object, found {}", kind_of(&item))));
    };
    let mut entry = PluginEntry::new("");
    for (key, value) in object {
        let wrong =
            |expected: &str| Err((format!("{path}.{key}"), format!("expected {expected}, found {}", kind_of(&value))));
        match (key.as_str(), value.clone()) {
            ("name", Value::String(name)) if !name.is_empty() => entry.name = name,
            ("name", _) => return wrong("a text that is not empty"),
            ("args", Value::Object(args)) => entry.args = args,
            ("args", Value::Null) => {}
            ("args", _) => return wrong("an object"),
            ("required", Value::Bool(required)) => entry.required = required,
            ("is_allowed_to_fail", Value::Bool(allowed)) => entry.is_allowed_to_fail = Some(allowed),
            ("required" | "is_allowed_to_fail", _) => return wrong("true or false"),
            ("program", value) => entry.program = Some(program(value, phase, path)?),
            _ => {
                let allowed = "unknown key (allowed: name, args, required, is_allowed_to_fail, program)";
                return Err((format!("{path}.{key}"), allowed.to_owned()));
            }
        }
    }
    if entry.name.is_empty() {
        return Err((path.to_owned(), "the required key \"name\" is missing".to_owned()));
    }
    Ok(entry)
}

/// The program of the entry at `path`, or the path and the problem.
pub(crate) fn program(value: Value, phase: Phase, path: &str) -> Result<SiteProgram, (String, String)> {
    let fail = |problem: String| (format!("{path}.program"), problem);
    let program: SiteProgram = serde_json::from_value(value).map_err(|error| fail(error.to_string()))?;
    program.check(phase).map_err(fail)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let text = r#"{"client_version": "1", "prebuild_plugins": [{"name": "a", "args": {"x": [1]}, "required": false}],
            "exit_plugins": [{"name": "b", "is_allowed_to_fail": true, "program": {"command": ["/x"], "image": "oci"}}]}"#;
        let lists = PluginLists::parse(text, "t").unwrap();
        assert_eq!(lists.other["client_version"], "1");
        assert_eq!(PluginLists::from_json(lists.to_json(), "t").unwrap(), lists);
    }

    #[test]
    fn what_is_no_list() {
        for (text, part) in [
            ("[]", "t: (top): expected an object, found a list"),
            ("{", "t is not JSON"),
            (r#"{"exit_plugins": {}}"#, "t: exit_plugins: expected a list of plugins, found an object"),
            (r#"{"exit_plugins": [1]}"#, "t: exit_plugins[0]: expected an object, found a number"),
            (r#"{"exit_plugins": [{"args": {}}]}"#, "exit_plugins[0]: the required key \"name\""),
            (r#"{"exit_plugins": [{"name": ""}]}"#, "exit_plugins[0].name: expected a text"),
            (r#"{"exit_plugins": [{"name": "a", "argz": 1}]}"#, "exit_plugins[0].argz: unknown key"),
            (r#"{"exit_plugins": [{"name": "a", "required": 1}]}"#, "expected true or false, found a number"),
            (
                r#"{"exit_plugins": [{"name": "a", "program": {"command": ["x"]}}]}"#,
                "exit_plugins[0].program: command: ",
            ),
        ] {
            let error = PluginLists::parse(text, "t").unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
