//! What a reader of a configuration file asks for: keys, types and rules, noted while it reads nothing.
//!
//! [`crate::schema`] runs the very readers of the files over a [`Checker`](crate::fields::Checker) that describes. So a
//! published schema and its parser cannot drift apart: there is no second list of keys. Must not know any file.

use crate::node::{Key, Node, Value};
use std::sync::LazyLock;

/// What stands for any value while a reader is described.
pub(crate) static DESCRIBED: Node = Node { at: None, value: Value::Object(Vec::new()) };
/// A list of one such value.
pub(crate) static DESCRIBED_ITEMS: [Node; 1] = [Node { at: None, value: Value::Object(Vec::new()) }];

/// One thing that a reader has shown of itself, about the value at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A key that is read; its type is told by other facts.
    Read,
    /// It must be there, and not be null.
    Required,
    /// Null is as good as nothing, although it is the whole file.
    Nullable,
    Text,
    /// A text that matches this regular expression, which is the whole rule.
    Pattern(&'static str),
    /// A text that is not empty.
    NotEmpty,
    /// One of these texts.
    Words(Vec<String>),
    Boolean,
    /// A whole number within these bounds.
    Whole(i64, Option<i64>),
    /// Just this number.
    Just(i64),
    List,
    /// A list of at least one, all different.
    Distinct,
    /// The same as its items, as a value of its own: one text counts as a list of one.
    OneOrList,
    Object,
    /// An object with no other keys than those that were read.
    Closed,
    /// An object whose keys are names that match this; the shape of a value is that of this sample key.
    Names(&'static NameRule),
    /// Just one of these groups of keys is there, and whole.
    Either(Vec<Vec<&'static str>>),
    /// With one of the first keys go all of the second.
    Together(Vec<&'static str>, Vec<&'static str>),
    /// Keys of the first and of the second exclude each other.
    Apart(Vec<&'static str>, Vec<&'static str>),
}

/// How keys look that are names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NameRule {
    /// Every such name matches it.
    pub pattern: &'static str,
    /// One such name, without dots and brackets.
    pub sample: &'static str,
}

impl NameRule {
    /// The entries of an object that has the sample name.
    pub(crate) fn entries(&self) -> &'static [(Key, Node)] {
        static SAMPLES: LazyLock<Vec<(Key, Node)>> = LazyLock::new(|| {
            let entry = |rule: &NameRule| (Key { name: rule.sample.to_owned(), at: None }, DESCRIBED.clone());
            NAME_RULES.iter().map(|rule| entry(rule)).collect()
        });
        let at = SAMPLES.iter().position(|(key, _)| key.name == self.sample);
        at.map_or(&[], |at| &SAMPLES[at..=at])
    }
}

/// Letters, digits and `_`, as platforms have.
pub(crate) static PLATFORM_NAME: NameRule = NameRule { pattern: "^[A-Za-z0-9_]+$", sample: "x86_64" };
/// Names of labels.
pub(crate) static LABEL_NAME: NameRule = NameRule { pattern: "^[\\p{L}\\p{N}_.-]+$", sample: "label" };
/// Names that a site gives to build methods.
pub(crate) static METHOD_NAME: NameRule = NameRule { pattern: "^[\\p{L}\\p{N}_]+$", sample: "method" };
/// Pull specs: any text.
pub(crate) static PULL_SPEC: NameRule = NameRule { pattern: "", sample: "image:1" };
/// Media types of manifests.
pub(crate) static MEDIA_TYPE: NameRule = NameRule { pattern: "^application/.*json$", sample: "application/json" };

static NAME_RULES: [&NameRule; 5] = [&PLATFORM_NAME, &LABEL_NAME, &METHOD_NAME, &PULL_SPEC, &MEDIA_TYPE];

/// All facts about one value and what is in it, in the order they were told.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    pub facts: Vec<Fact>,
    pub keys: Vec<(String, Shape)>,
    pub item: Option<Box<Shape>>,
}

impl Shape {
    /// Adds a fact at a path such as `clusters.x86_64[0].name`.
    pub(crate) fn note(&mut self, path: &str, fact: Fact) {
        let shape = self.at(path);
        if !shape.facts.contains(&fact) {
            shape.facts.push(fact);
        }
    }

    fn at(&mut self, path: &str) -> &mut Self {
        if path.is_empty() {
            return self;
        }
        if let Some(rest) = path.strip_prefix("[0]") {
            return self.item.get_or_insert_default().at(rest.strip_prefix('.').unwrap_or(rest));
        }
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let (key, rest) = path.split_at(end);
        let index = self.keys.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
            self.keys.push((key.to_owned(), Self::default()));
            self.keys.len() - 1
        });
        self.keys[index].1.at(rest.strip_prefix('.').unwrap_or(rest))
    }
}
