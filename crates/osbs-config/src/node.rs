//! YAML and JSON as a tree in which every value knows its line and column.
//!
//! serde's derived structs stop at the first mistake; a tree lets [`crate::fields`] report all of them.

use crate::problem::{ConfigError, Problem, ProblemKind, Severity};
use osbs_types::Position;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use std::fmt;

/// Configuration is small: more events than this is an attack (an alias bomb) or not a configuration.
const MOST_EVENTS: usize = 200_000;

/// Reading recurses, and the file may be an attacker's: the stack must outlast it.
const DEEPEST: usize = 64;

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Line and column from 1; `None` for values made from JSON.
    pub at: Option<(usize, usize)>,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(Key, Node)>),
}

/// A key with its place.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub name: String,
    pub at: Option<(usize, usize)>,
}

impl Node {
    /// Reads one YAML document; an empty one is null.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        refuse_deep_blocks(text, file)?;
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_events: MOST_EVENTS, max_aliases: 1000, max_depth: DEEPEST },
            legacy_octal_numbers: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options::<Option<Spanned<RawNode>>>(text, options)
            .map(|node| node.map_or(Self { at: None, value: Value::Null }, Self::from_spanned))
            .map_err(|error| {
                let (line, column) = error.location().and_then(|at| place(&at)).unwrap_or((1, 1));
                let detail = format!("cannot read this as YAML: {}", first_line(&error.without_snippet().to_string()));
                let position = Position { file: file.to_owned(), line, column: Some(column) };
                ConfigError::single(position, "", ProblemKind::Syntax { detail }, None)
            })
    }

    fn from_spanned(spanned: Spanned<RawNode>) -> Self {
        Self { at: place(&spanned.referenced), value: spanned.value.0 }
    }

    /// From JSON, where places are not known.
    pub fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or(f64::INFINITY)), Value::Int),
            Json::String(s) => Value::Text(s.clone()),
            Json::Array(items) => Value::List(items.iter().map(Self::from_json).collect()),
            Json::Object(map) => Value::Object(
                map.iter()
                    .map(|(name, value)| (Key { name: name.clone(), at: None }, Self::from_json(value)))
                    .collect(),
            ),
        };
        Self { at: None, value }
    }

    /// As JSON, for what keeps the configuration as it is.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(i) => Json::from(*i),
            Value::Float(x) => Json::from(*x),
            Value::Text(s) => Json::String(s.clone()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Object(entries) => {
                Json::Object(entries.iter().map(|(key, node)| (key.name.clone(), node.to_json())).collect())
            }
        }
    }

    /// For messages: the type, and the value where it is short.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(b) => format!("the boolean {b}"),
            Value::Int(i) => format!("the number {i}"),
            Value::Float(x) => format!("the number {x}"),
            // The value itself may be a password that slipped into the wrong place.
            Value::Text(_) => "a text".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        }
    }
}

/// Tells of a syntax error in JSON at its place.
pub(crate) fn parse_json(text: &str, file: &str) -> Result<serde_json::Value, ConfigError> {
    serde_json::from_str(text).map_err(|error| {
        let position =
            Position { file: file.to_owned(), line: error.line().max(1), column: Some(error.column().max(1)) };
        let kind = ProblemKind::Syntax { detail: format!("cannot read this as JSON: {error}") };
        ConfigError::new(vec![Problem {
            position,
            path: String::new(),
            kind,
            allowed: None,
            severity: Severity::Error,
        }])
    })
}

/// The parser recurses over nested block collections before it counts their depth against the budget, so their depth is
/// bounded here: steps of indentation, and `- - - ...` within a line.
fn refuse_deep_blocks(text: &str, file: &str) -> Result<(), ConfigError> {
    let mut indents: Vec<usize> = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        while indents.last().is_some_and(|last| *last >= indent) {
            indents.pop();
        }
        indents.push(indent);
        let words = line.split_ascii_whitespace();
        let indicators =
            words.take_while(|word| matches!(*word, "-" | "?" | ":") || word.starts_with(['&', '!'])).count();
        if indents.len() + indicators > DEEPEST {
            let detail = format!("cannot read this as YAML: nested deeper than {DEEPEST}");
            let position = Position { file: file.to_owned(), line: index + 1, column: Some(1) };
            return Err(ConfigError::single(position, "", ProblemKind::Syntax { detail }, None));
        }
    }
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn place(location: &Location) -> Option<(usize, usize)> {
    let (line, column) = (location.line() as usize, location.column() as usize);
    (line > 0).then_some((line, column.max(1)))
}

/// The value alone, as the deserializer hands it out inside a `Spanned`.
struct RawNode(Value);

impl<'de> Deserialize<'de> for RawNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Self)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E>(self, i: i64) -> Result<Value, E> {
        Ok(Value::Int(i))
    }

    fn visit_u64<E>(self, u: u64) -> Result<Value, E> {
        Ok(i64::try_from(u).map_or(Value::Float(u as f64), Value::Int))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Value, E> {
        Ok(Value::Float(x))
    }

    fn visit_str<E>(self, s: &str) -> Result<Value, E> {
        Ok(Value::Text(s.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<RawNode>>()? {
            list.push(Node::from_spanned(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Vec::new();
        while let Some((key, node)) = entries.next_entry::<Spanned<String>, Spanned<RawNode>>()? {
            object.push((Key { at: place(&key.referenced), name: key.value }, Node::from_spanned(node)));
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn places_are_kept() {
        let text = "a: 1\nb:\n  - x\n  - {c: yes, d: \"yes\"}\n";
        let node = Node::parse(text, "f").unwrap();
        let Value::Object(entries) = &node.value else { panic!("{node:?}") };
        assert_eq!(entries[1].0.at, Some((2, 1)));
        let Value::List(items) = &entries[1].1.value else { panic!("{node:?}") };
        assert_eq!(items[1].at, Some((4, 5)));
        assert_eq!(node.to_json().to_string(), r#"{"a":1,"b":["x",{"c":true,"d":"yes"}]}"#);
    }

    #[test]
    fn what_is_not_yaml() {
        for (text, at) in [("a: [1, 2\nb: c\n", 2), ("a: 1\na: 2\n", 2), ("a: *x\n", 1)] {
            let error = Node::parse(text, "f").unwrap_err();
            assert_eq!(error.problems()[0].position.line, at, "{text:?}: {error}");
        }
        assert!(matches!(Node::parse("", "f").unwrap().value, Value::Null));
        assert!(matches!(Node::parse("# only\n", "f").unwrap().value, Value::Null));
    }

    #[test]
    fn an_alias_bomb_stops_early() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let alias = format!("*a{}", i - 1);
            let _ = writeln!(text, "a{i}: &a{i} [{}]", [alias.as_str(); 10].join(","));
        }
        assert!(Node::parse(&text, "f").is_err());
    }

    #[test]
    #[allow(clippy::format_collect, reason = "a test text")]
    fn hostile_nesting_is_an_error_not_a_crash() {
        let stairs: String = (0..2000).map(|depth| format!("{}-\n", " ".repeat(depth))).collect();
        let tabbed = "-\t".repeat(50_000);
        let anchored: String = (0..50_000).map(|n| format!("- &a{n} ")).collect();
        for text in [
            "[".repeat(200_000),
            "{a: ".repeat(100_000),
            "- ".repeat(100_000),
            "? ".repeat(50_000),
            tabbed,
            anchored,
            stairs,
        ] {
            assert!(Node::parse(&text, "f").is_err());
        }
    }

    #[test]
    fn keys_that_are_no_texts_read_as_written() {
        let node = Node::parse("1: a\ntrue: b\n", "f").unwrap();
        assert_eq!(node.to_json().to_string(), r#"{"1":"a","true":"b"}"#);
    }
}
