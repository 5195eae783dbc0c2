//! JSON schemas (draft 7) of the files that people and programs write for us, made from the readers of those files.
//!
//! A schema refuses nothing that the parser takes. The parser refuses more: what needs more than one look, such as the
//! form of a registry's URL, or a name that must be one of another list. Null is the same as nothing, as in the files.

use crate::reactor_config::ReactorConfig;
use crate::shape::{Fact, NameRule, Shape};
use crate::{ContainerYaml, UserParams};
use serde_json::{Map, Value, json};

/// A file with a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaOf {
    /// `config.yaml`, the site's configuration of the reactor.
    ConfigYaml,
    /// `container.yaml` of a repository.
    ContainerYaml,
    /// `USER_PARAMS` of a build.
    UserParams,
}

/// `FILE PATH TEXT` a line.
const DESCRIPTIONS: &str = include_str!("schema/descriptions.txt");

impl SchemaOf {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ConfigYaml, Self::ContainerYaml, Self::UserParams];

    /// As it is asked for on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigYaml => "config.yaml",
            Self::ContainerYaml => "container.yaml",
            Self::UserParams => "user-params",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::ConfigYaml => "config.yaml: the site's configuration of builds",
            Self::ContainerYaml => "container.yaml: what a repository wishes for its builds",
            Self::UserParams => "USER_PARAMS: what one request asks for",
        }
    }

    /// The schema.
    pub fn json(self) -> Value {
        let shape = self.shape();
        let mut schema = json!({"$schema": "http://json-schema.org/draft-07/schema#", "title": self.title()});
        let mut writer = Writer { file: self.name(), schema: Map::new() };
        writer.shape(&shape, "", shape.facts.contains(&Fact::Nullable));
        if let Value::Object(members) = &mut schema {
            members.append(&mut writer.schema);
        }
        schema
    }

    fn shape(self) -> Shape {
        match self {
            Self::ConfigYaml => ReactorConfig::shape(),
            Self::ContainerYaml => ContainerYaml::shape(),
            Self::UserParams => UserParams::shape(),
        }
    }
}

fn description(file: &str, path: &str) -> Option<&'static str> {
    DESCRIPTIONS.lines().find_map(|line| {
        let (name, rest) = line.split_once(' ')?;
        let (key, text) = rest.split_once(' ')?;
        (name == file && key == path).then_some(text.trim())
    })
}

/// Writes the schema of one value.
struct Writer {
    file: &'static str,
    schema: Map<String, Value>,
}

impl Writer {
    fn put(&mut self, key: &str, value: Value) {
        self.schema.insert(key.to_owned(), value);
    }

    fn of(&self, shape: &Shape, path: &str, nullable: bool) -> Value {
        let mut inner = Self { file: self.file, schema: Map::new() };
        inner.shape(shape, path, nullable);
        Value::Object(inner.schema)
    }

    fn shape(&mut self, shape: &Shape, path: &str, nullable: bool) {
        if let Some(text) = description(self.file, path) {
            self.put("description", text.into());
        }
        if shape.facts.contains(&Fact::OneOrList) {
            let one = shape.item.as_deref().map(|item| self.of(item, &format!("{path}[]"), nullable));
            let list = Shape { facts: vec![Fact::List], ..Shape::default() };
            let mut list = self.of(&list, "", false);
            list["items"] = shape.item.as_deref().map_or(json!({}), |item| self.of(item, &format!("{path}[]"), false));
            self.put("anyOf", json!([one, list]));
            return;
        }
        self.types(&shape.facts, nullable);
        for fact in &shape.facts {
            self.fact(fact, shape, nullable);
        }
        if let Some(item) = &shape.item {
            let items = self.of(item, &format!("{path}[]"), false);
            self.put("items", items);
        }
        self.members(shape, path);
    }

    /// The type, if one was told. The narrowest fact counts: what is told first is the rule, what follows the reading.
    fn types(&mut self, facts: &[Fact], nullable: bool) {
        let name = facts.iter().find_map(|fact| match fact {
            Fact::Text | Fact::Pattern(_) | Fact::NotEmpty | Fact::Words(_) => Some("string"),
            Fact::Boolean => Some("boolean"),
            Fact::Whole(..) | Fact::Just(_) => Some("integer"),
            Fact::List => Some("array"),
            Fact::Object | Fact::Names(_) => Some("object"),
            _ => None,
        });
        match name {
            Some(name) if nullable => self.put("type", json!([name, "null"])),
            Some(name) => self.put("type", name.into()),
            None => {}
        }
    }

    fn fact(&mut self, fact: &Fact, shape: &Shape, nullable: bool) {
        match fact {
            Fact::Pattern(pattern) => self.put("pattern", (*pattern).into()),
            Fact::NotEmpty => self.put("minLength", 1.into()),
            Fact::Words(words) => {
                let mut words: Vec<Value> = words.iter().map(|word| word.as_str().into()).collect();
                words.extend(nullable.then_some(Value::Null));
                self.put("enum", words.into());
            }
            Fact::Just(number) => self.put("const", (*number).into()),
            // Several readings of one number: the narrowest bounds.
            Fact::Whole(least, most) if !self.schema.contains_key("const") => {
                let known = self.schema.get("minimum").and_then(Value::as_i64).unwrap_or(i64::MIN);
                if *least > known {
                    self.put("minimum", (*least).into());
                }
                let known = self.schema.get("maximum").and_then(Value::as_i64).unwrap_or(i64::MAX);
                if let Some(most) = most.filter(|most| *most < known) {
                    self.put("maximum", most.into());
                }
            }
            Fact::Distinct => {
                self.put("minItems", 1.into());
                self.put("uniqueItems", true.into());
            }
            Fact::Closed if !shape.facts.iter().any(|fact| matches!(fact, Fact::Names(_))) => {
                self.put("additionalProperties", false.into());
            }
            Fact::Either(groups) => {
                let all: Vec<&str> = groups.iter().flatten().copied().collect();
                let one = |group: &Vec<&str>| {
                    let (given, others): (Vec<&str>, Vec<&str>) = all.iter().partition(|key| group.contains(key));
                    let given = given.iter().map(|key| there(key));
                    let others = others.iter().map(|key| json!({"not": there(key)}));
                    json!({"allOf": given.chain(others).collect::<Vec<_>>()})
                };
                self.rule(json!({"oneOf": groups.iter().map(one).collect::<Vec<_>>()}));
            }
            Fact::Together(keys, needed) => {
                let then: Vec<Value> = needed.iter().map(|key| there(key)).collect();
                self.rule(json!({"if": any(keys), "then": {"allOf": then}}));
            }
            Fact::Apart(first, second) => self.rule(json!({"not": {"allOf": [any(first), any(second)]}})),
            _ => {}
        }
    }

    fn rule(&mut self, rule: Value) {
        let rules = self.schema.entry("allOf").or_insert_with(|| json!([]));
        if let Value::Array(rules) = rules {
            rules.push(rule);
        }
    }

    fn members(&mut self, shape: &Shape, path: &str) {
        let names = shape.facts.iter().find_map(|fact| match fact {
            Fact::Names(rule) => Some(*rule),
            _ => None,
        });
        if let Some(rule) = names {
            return self.named(rule, shape, path);
        }
        if shape.keys.is_empty() {
            return;
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (key, value) in &shape.keys {
            let is_required = value.facts.contains(&Fact::Required);
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            properties.insert(key.clone(), self.of(value, &below, !is_required));
            if is_required {
                required.push(Value::from(key.as_str()));
            }
        }
        self.put("properties", Value::Object(properties));
        if !required.is_empty() {
            self.put("required", required.into());
        }
    }

    fn named(&mut self, rule: &NameRule, shape: &Shape, path: &str) {
        let value = shape.keys.iter().find(|(key, _)| key == rule.sample);
        let value = value.map_or(json!({}), |(_, value)| self.of(value, &format!("{path}.*"), false));
        if rule.pattern.is_empty() {
            self.put("additionalProperties", value);
        } else {
            self.put("patternProperties", json!({rule.pattern: value}));
            self.put("additionalProperties", false.into());
        }
    }
}

/// A key that is there and not null.
fn there(key: &str) -> Value {
    json!({"type": "object", "required": [key], "properties": {key: {"not": {"type": "null"}}}})
}

fn any(keys: &[&str]) -> Value {
    json!({"anyOf": keys.iter().map(|key| there(key)).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths of all members, as they stand in the table of descriptions.
    fn paths(shape: &Shape, path: &str, out: &mut Vec<String>) {
        let names = shape.facts.iter().any(|fact| matches!(fact, Fact::Names(_)));
        for (key, value) in &shape.keys {
            let below = match (names, path) {
                (true, _) => format!("{path}.*"),
                (_, "") => key.clone(),
                _ => format!("{path}.{key}"),
            };
            if !names {
                out.push(below.clone());
            }
            paths(value, &below, out);
        }
        if let Some(item) = &shape.item {
            paths(item, &format!("{path}[]"), out);
        }
    }

    #[test]
    fn every_key_is_described_and_nothing_else() {
        let mut wanted = Vec::new();
        for file in SchemaOf::ALL {
            let mut keys = Vec::new();
            paths(&file.shape(), "", &mut keys);
            wanted.extend(keys.into_iter().map(|key| format!("{} {key}", file.name())));
        }
        let described: Vec<String> =
            DESCRIPTIONS.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
        let missing: Vec<_> = wanted.iter().filter(|key| !described.contains(key)).cloned().collect();
        let stale: Vec<_> = described.iter().filter(|key| !wanted.contains(key)).cloned().collect();
        assert!(
            missing.is_empty() && stale.is_empty(),
            "src/schema/descriptions.txt lacks lines for:\n{}\nand has lines for what no reader asks for:\n{}",
            missing.join("\n"),
            stale.join("\n")
        );
    }
}
