//! The result of a container task, for people and for programs.
//!
//! Pure: what is asked of the hub is asked elsewhere.

use super::watch::Watched;
use crate::terminal::harmless;
use osbs_koji::Value;
use std::fmt::Write;

/// The result with addresses in place of the ids of builds, which come as numbers or as text.
pub(super) fn with_links(mut result: Value, link: impl Fn(&str) -> String) -> Value {
    if let Value::Struct(members) = &mut result
        && let Some(Value::Array(builds)) = members.get_mut("koji_builds")
    {
        for build in builds {
            *build = Value::String(link(&plain(build)));
        }
    }
    result
}

/// A result as lines: a level of a map or list is two spaces.
pub(super) fn lines(result: &Value) -> String {
    let mut out = String::new();
    add(&mut out, result, 0);
    out
}

fn add(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    // Writing to a string cannot fail.
    match value {
        Value::Struct(members) => {
            for (name, inner) in members {
                let _ = writeln!(out, "{indent}{}:", harmless(name));
                add(out, inner, depth + 1);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| add(out, item, depth + 1)),
        other => {
            let _ = writeln!(out, "{indent}{}", harmless(&plain(other)));
        }
    }
}

/// A value that holds no others, as Koji's program writes it.
fn plain(value: &Value) -> String {
    match value {
        Value::Nil => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) | Value::DateTime(text) => text.clone(),
        other => other.to_json().to_string(),
    }
}

/// What `--output json` shows.
pub(super) fn record(task: i64, page: &str, watched: Option<&Watched>, result: Option<&Value>) -> serde_json::Value {
    serde_json::json!({
        "task_id": task,
        "task_url": page,
        "state": watched.map(|it| it.state.as_str()),
        "result": result.map(Value::to_json),
        "failure": watched.and_then(|it| it.failure.as_deref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_indented_and_ids_are_linked() {
        let json = r#"{"koji_builds": ["15", 16], "repositories": ["a:1"], "x": {"y": null, "z": true}}"#;
        let value = Value::from_json(&serde_json::from_str(json).unwrap());
        let value = with_links(value, |build| format!("u/{build}"));
        assert_eq!(
            lines(&value),
            "koji_builds:\n    u/15\n    u/16\nrepositories:\n    a:1\nx:\n  y:\n    None\n  z:\n    True\n"
        );
        for odd in [Value::Nil, Value::from("x"), Value::members([("koji_builds", Value::from(1))])] {
            assert_eq!(with_links(odd.clone(), |_| String::new()), odd);
        }
    }
}
