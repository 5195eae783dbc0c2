//! Substitutions into a build JSON (`reactor.md` 1.3.2).

use super::InputError;
use serde_json::{Map, Value};

/// Applies all, in order; gives notes for the log.
pub(super) fn apply(
    document: &mut Map<String, Value>,
    substitutions: &[(String, String)],
) -> Result<Vec<String>, InputError> {
    let mut notes = Vec::new();
    for (key, value) in substitutions {
        let parts: Vec<_> = key.split('.').collect();
        if parts[0].ends_with("_plugins") {
            let [phase, plugin, argument] = parts[..] else {
                let problem = "a plugin's argument is named PHASE.PLUGIN.ARGUMENT";
                return Err(InputError::Substitution { key: key.clone(), problem });
            };
            notes.extend(argument_of_plugin(document, key, (phase, plugin, argument), value)?);
        } else {
            set(document, &parts, value);
        }
    }
    Ok(notes)
}

/// Replaces an argument that is there; anything else is only worth a note.
fn argument_of_plugin(
    document: &mut Map<String, Value>,
    key: &str,
    (phase, plugin, argument): (&str, &str, &str),
    value: &str,
) -> Result<Option<String>, InputError> {
    let ignored = |what: &str| Ok(Some(format!("substitution {key:?} ignored: no such {what}")));
    let Some(list) = document.get_mut(phase).and_then(Value::as_array_mut) else { return ignored("phase") };
    let mut named = list.iter_mut().filter(|entry| entry["name"] == plugin);
    let Some(entry) = named.next() else { return ignored("plugin") };
    if named.next().is_some() {
        let problem = "the plugin is listed several times in this phase";
        return Err(InputError::Substitution { key: key.to_owned(), problem });
    }
    match entry.get_mut("args").and_then(|args| args.get_mut(argument)) {
        Some(old) => {
            *old = Value::from(value);
            Ok(None)
        }
        None => ignored("argument"),
    }
}

/// Sets a dotted key of the document, making objects on the way.
fn set(document: &mut Map<String, Value>, parts: &[&str], value: &str) {
    let (last, path) = parts.split_last().expect("splitting gives at least one part");
    let mut at = document;
    for part in path {
        let next = at.entry((*part).to_owned()).or_insert(Value::Null);
        if !next.is_object() {
            *next = Value::Object(Map::new());
        }
        at = next.as_object_mut().expect("made an object above");
    }
    let value = match value.to_ascii_lowercase().as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "none" => Value::Null,
        _ => Value::from(value),
    };
    at.insert((*last).to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TWO: &str = r#"{"image": "a", "exit_plugins": [{"name": "x", "args": {"n": 1}}, {"name": "y"}, {"name": "z"}, {"name": "z"}]}"#;

    #[track_caller]
    fn check(key: &str, value: &str, expected: Result<(&str, Value), ()>, notes: usize) {
        let mut document: Map<String, Value> = serde_json::from_str(TWO).unwrap();
        let told = apply(&mut document, &[(key.to_owned(), value.to_owned())]);
        match expected {
            Ok((pointer, wanted)) => {
                assert_eq!(Value::Object(document).pointer(pointer), Some(&wanted), "{key}");
                assert_eq!(told.unwrap().len(), notes, "{key}");
            }
            Err(()) => assert!(told.is_err(), "{key}"),
        }
    }

    #[test]
    fn keys() {
        check("image", "b", Ok(("/image", json!("b"))), 0);
        check("source.uri", "u", Ok(("/source/uri", json!("u"))), 0);
        check("image.deep", "TRUE", Ok(("/image/deep", json!(true))), 0);
        check("a.b.c", "None", Ok(("/a/b/c", json!(null))), 0);
        check("exit_plugins.x.n", "true", Ok(("/exit_plugins/0/args/n", json!("true"))), 0);
        check("exit_plugins.x.m", "2", Ok(("/exit_plugins/0/args", json!({"n": 1}))), 1);
        check("exit_plugins.y.n", "2", Ok(("/exit_plugins/1", json!({"name": "y"}))), 1);
        check("exit_plugins.q.n", "2", Ok(("/image", json!("a"))), 1);
        check("prebuild_plugins.x.n", "2", Ok(("/image", json!("a"))), 1);
        check("exit_plugins.z.n", "2", Err(()), 0);
        check("exit_plugins.x", "2", Err(()), 0);
        check("exit_plugins.x.n.m", "2", Err(()), 0);
    }
}
