//! Checked reading of an object of a configuration tree: every mistake is noted, none stops the reading.

use crate::nearest::nearest;
use crate::node::{Key, Node, Value};
use crate::problem::{Problem, ProblemKind, Severity};
use crate::shape::{DESCRIBED, DESCRIBED_ITEMS, Fact, NameRule, Shape};
use osbs_types::Position;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Collects the problems of one file.
pub(crate) struct Checker {
    file: String,
    problems: RefCell<Vec<Problem>>,
    /// Readers describe themselves instead of reading.
    shape: Option<RefCell<Shape>>,
}

impl Checker {
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), problems: RefCell::new(Vec::new()), shape: None }
    }

    /// What `reader` asks for.
    pub fn describe<T>(reader: impl FnOnce(&Self, &Node) -> T) -> Shape {
        let checker = Self { shape: Some(RefCell::default()), ..Self::new("") };
        reader(&checker, &DESCRIBED);
        checker.shape.unwrap_or_default().into_inner()
    }

    /// Tells a rule to whoever wants a description. True: there is no value to read.
    pub fn tell(&self, path: &str, fact: Fact) -> bool {
        if let Some(shape) = &self.shape {
            shape.borrow_mut().note(path, fact);
        }
        self.shape.is_some()
    }

    /// Whether there is nothing to read.
    pub fn is_describing(&self) -> bool {
        self.shape.is_some()
    }

    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.position.line, problem.position.column));
        problems
    }

    pub fn position(&self, at: Option<(usize, usize)>) -> Position {
        let (line, column) = at.map_or((1, None), |(line, column)| (line, Some(column)));
        Position { file: self.file.clone(), line, column }
    }

    pub fn note(
        &self,
        at: Option<(usize, usize)>,
        path: &str,
        kind: ProblemKind,
        allowed: Option<String>,
        severity: Severity,
    ) {
        let position = self.position(at);
        self.problems.borrow_mut().push(Problem { position, path: path.to_owned(), kind, allowed, severity });
    }

    pub fn error(&self, at: Option<(usize, usize)>, path: &str, kind: ProblemKind) {
        self.note(at, path, kind, None, Severity::Error);
    }

    pub fn wrong_type(&self, node: &Node, path: &str, expected: &'static str) {
        let allowed = (expected == "a text" && matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_)))
            .then(|| "the same in quotes".to_owned());
        let kind = ProblemKind::WrongType { expected, found: node.describe() };
        self.note(node.at, path, kind, allowed, Severity::Error);
    }

    pub fn bad_value(&self, node: &Node, path: &str, value: &str, expected: impl Into<String>) {
        let kind = ProblemKind::BadValue { value: value.to_owned(), expected: expected.into() };
        self.note(node.at, path, kind, None, Severity::Error);
    }

    /// A text, or a noted error.
    pub fn text(&self, node: &Node, path: &str) -> Option<String> {
        if self.tell(path, Fact::Text) {
            return None;
        }
        if let Value::Text(text) = &node.value {
            return Some(text.clone());
        }
        self.wrong_type(node, path, "a text");
        None
    }

    /// The entries of an object, or a noted error.
    pub fn entries<'a>(&self, node: &'a Node, path: &str) -> &'a [(Key, Node)] {
        if self.tell(path, Fact::Object) {
            return &[];
        }
        if let Value::Object(entries) = &node.value {
            return entries;
        }
        self.wrong_type(node, path, "an object");
        &[]
    }

    /// The entries of an object whose keys are names. The caller checks them.
    pub fn named<'a>(&self, node: &'a Node, path: &str, rule: &'static NameRule) -> &'a [(Key, Node)] {
        if self.tell(path, Fact::Names(rule)) { rule.entries() } else { self.entries(node, path) }
    }

    /// The items of a list, or a noted error.
    pub fn items<'a>(&self, node: &'a Node, path: &str) -> &'a [Node] {
        if self.tell(path, Fact::List) {
            return &DESCRIBED_ITEMS;
        }
        if let Value::List(items) = &node.value {
            return items;
        }
        self.wrong_type(node, path, "a list");
        &[]
    }

    pub fn texts(&self, node: &Node, path: &str) -> Vec<String> {
        let items = self.items(node, path).iter().enumerate();
        items.filter_map(|(index, item)| self.text(item, &format!("{path}[{index}]"))).collect()
    }
}

/// One object being read. Which keys were asked for is remembered, so that [`Fields::finish`] knows the others.
pub(crate) struct Fields<'a> {
    pub checker: &'a Checker,
    pub path: String,
    pub node: &'a Node,
    entries: &'a [(Key, Node)],
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// Notes an error when `node` is not an object, and then reads it as an empty one.
    pub fn new(checker: &'a Checker, node: &'a Node, path: impl Into<String>) -> Self {
        let path = path.into();
        let entries = checker.entries(node, &path);
        Self { checker, path, node, entries, asked: RefCell::default() }
    }

    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// [`Checker::tell`] about a key.
    pub fn tell(&self, key: &str, fact: Fact) -> bool {
        self.checker.tell(&self.path_of(key), fact)
    }

    /// The value of a key; null is the same as nothing.
    pub fn get(&self, key: &'static str) -> Option<&'a Node> {
        self.get_or_null(key).filter(|node| !matches!(node.value, Value::Null))
    }

    /// The value of a key, also when it is null.
    pub fn get_or_null(&self, key: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().push(key);
        if self.tell(key, Fact::Read) {
            return Some(&DESCRIBED);
        }
        self.entries.iter().find(|(name, _)| name.name == key).map(|(_, node)| node)
    }

    pub fn require(&self, key: &'static str) -> Option<&'a Node> {
        self.tell(key, Fact::Required);
        let node = self.get(key);
        if node.is_none() && matches!(self.node.value, Value::Object(_)) {
            self.checker.error(self.node.at, &self.path, ProblemKind::Missing { key: key.to_owned() });
        }
        node
    }

    pub fn text(&self, key: &'static str) -> Option<String> {
        self.get(key).and_then(|node| self.checker.text(node, &self.path_of(key)))
    }

    pub fn required_text(&self, key: &'static str) -> Option<String> {
        self.require(key).and_then(|node| self.checker.text(node, &self.path_of(key)))
    }

    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let node = self.get(key)?;
        if self.tell(key, Fact::Boolean) {
            return None;
        }
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        self.checker.wrong_type(node, &self.path_of(key), "true or false");
        None
    }

    pub fn whole_number(&self, key: &'static str, least: i64) -> Option<i64> {
        let node = self.get(key)?;
        if self.tell(key, Fact::Whole(least, None)) {
            return None;
        }
        match node.value {
            Value::Int(value) if value >= least => Some(value),
            Value::Int(value) => {
                self.checker.bad_value(node, &self.path_of(key), &value.to_string(), format!("at least {least}"));
                None
            }
            _ => {
                self.checker.wrong_type(node, &self.path_of(key), "a whole number");
                None
            }
        }
    }

    /// A count or an identifier that fits 32 bits.
    pub fn small_number(&self, key: &'static str) -> Option<u32> {
        self.tell(key, Fact::Whole(0, Some(i64::from(u32::MAX))));
        let value = self.whole_number(key, 0)?;
        let small = u32::try_from(value).ok();
        if small.is_none() {
            let node = self.get(key)?;
            self.checker.bad_value(node, &self.path_of(key), &value.to_string(), "below 4294967296");
        }
        small
    }

    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        self.get(key).map(|node| self.checker.texts(node, &self.path_of(key)))
    }

    /// A text or a list of texts.
    pub fn text_or_texts(&self, key: &'static str) -> Option<Vec<String>> {
        let node = self.get(key)?;
        if self.tell(key, Fact::OneOrList) {
            self.checker.texts(node, &self.path_of(key));
            return None;
        }
        match &node.value {
            Value::Text(text) => Some(vec![text.clone()]),
            Value::List(_) => Some(self.checker.texts(node, &self.path_of(key))),
            _ => {
                self.checker.wrong_type(node, &self.path_of(key), "a text or a list of texts");
                None
            }
        }
    }

    /// An object of texts whose keys pass `is_key`, in the order of the file.
    pub fn text_map(
        &self,
        key: &'static str,
        is_key: fn(&str) -> bool,
        names: &'static NameRule,
        rule: &str,
    ) -> Option<BTreeMap<String, String>> {
        let node = self.get(key)?;
        let path = self.path_of(key);
        let mut map = BTreeMap::new();
        for (name, value) in self.checker.named(node, &path, names) {
            if !is_key(&name.name) {
                let kind = ProblemKind::BadValue { value: name.name.clone(), expected: format!("a key: {rule}") };
                self.checker.error(name.at, &path, kind);
            } else if let Some(text) = self.checker.text(value, &format!("{path}.{}", name.name)) {
                map.insert(name.name.clone(), text);
            }
        }
        Some(map)
    }

    pub fn object(&self, key: &'static str) -> Option<Fields<'a>> {
        self.get(key).map(|node| Fields::new(self.checker, node, self.path_of(key)))
    }

    pub fn required_object(&self, key: &'static str) -> Option<Fields<'a>> {
        self.require(key).map(|node| Fields::new(self.checker, node, self.path_of(key)))
    }

    /// Every item of a list as an object, with its path. `None` without the key.
    pub fn objects(&self, key: &'static str) -> Option<Vec<Fields<'a>>> {
        let node = self.get(key)?;
        let path = self.path_of(key);
        let items = self.checker.items(node, &path).iter().enumerate();
        Some(items.map(|(index, item)| Fields::new(self.checker, item, format!("{path}[{index}]"))).collect())
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let node = self.get(key)?;
        self.tell(key, Fact::Words(choices.iter().map(|(word, _)| (*word).to_owned()).collect()));
        let text = self.checker.text(node, &self.path_of(key))?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.checker.bad_value(node, &self.path_of(key), &text, format!("one of {}", words.join(", ")));
        }
        found
    }

    /// Whether a key has a value. While a reader is described nothing has.
    pub fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some() && !self.checker.is_describing()
    }

    /// With one of `keys` all of `needed` must be there.
    pub fn require_together(&self, keys: &[&'static str], needed: &[&'static str]) {
        if self.checker.tell(&self.path, Fact::Together(keys.to_vec(), needed.to_vec())) {
            return;
        }
        if keys.iter().any(|key| self.has(key)) {
            for key in needed {
                self.require(key);
            }
        }
    }

    /// Notes every key that was not asked for.
    pub fn finish(self, severity: Severity) {
        if severity == Severity::Error {
            self.checker.tell(&self.path, Fact::Closed);
        }
        let asked = self.asked.into_inner();
        for (key, _) in self.entries.iter().filter(|(key, _)| !asked.contains(&key.name.as_str())) {
            let near = nearest(&key.name, asked.iter().copied());
            let kind = ProblemKind::UnknownKey { key: key.name.clone(), nearest: near };
            let mut names = asked.clone();
            names.sort_unstable();
            names.dedup();
            self.checker.note(key.at, &self.path, kind, Some(names.join(", ")), severity);
        }
    }
}
