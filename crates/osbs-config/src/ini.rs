//! INI as Python's configparser reads it, with line numbers.
//!
//! Own code because no INI crate of `docs/dependencies.md` tells where a value stood, which every error here must say.
//! Differences from Python, both on purpose: an inline comment (white space, then `#` or `;`) ends every value
//! (`client-and-koji.md` 1.1 allows it), and a broken interpolation is told as such, for callers to warn of.

use crate::problem::{ConfigError, Problem, ProblemKind, Severity};
use osbs_types::Position;

/// The section all others inherit from.
pub(crate) const DEFAULT_SECTION: &str = "DEFAULT";

/// `%(a)s` may lead to `%(b)s`, this deep (the depth of Python's configparser).
const DEEPEST_INTERPOLATION: usize = 10;

/// Interpolation multiplies text: more than this is an attack, not a setting.
const LONGEST_VALUE: usize = 64 * 1024;

/// `key = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IniEntry {
    /// Folded to lower case.
    pub name: String,
    /// Raw: nothing interpolated. Continuation lines are joined by `\n`, white space at both ends is stripped.
    pub value: String,
    /// Line and column of the key, from 1.
    pub key_at: (usize, usize),
    /// Line and column of the value's first character, or of the key when the value is empty.
    pub value_at: (usize, usize),
}

/// `[name]` and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IniSection {
    /// Case-sensitive.
    pub name: String,
    /// Line of the header, from 1.
    pub line: usize,
    /// In the order of the file.
    pub entries: Vec<IniEntry>,
}

impl IniSection {
    /// The entry of this section alone, nothing inherited.
    pub fn entry(&self, name: &str) -> Option<&IniEntry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

/// `%` stands where it means nothing, names a key that is not there, or leads in a circle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenInterpolation {
    /// `%x`, or `%(name` without `)s`.
    #[error("a % that is neither %% nor %(name)s")]
    Syntax,
    /// `%(name)s` of an unknown name.
    #[error("%({name})s names a key that is not there")]
    NoSuchKey {
        /// The name.
        name: String,
    },
    /// Too deep, a circle, or too long.
    #[error("%(name)s nested too deep, in a circle, or made the value longer than {LONGEST_VALUE} bytes")]
    Endless,
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ini {
    file: String,
    sections: Vec<IniSection>,
}

impl Ini {
    /// Reads a file; `file` is its name for positions.
    ///
    /// # Errors
    /// All syntax errors together: a key before any section, a line that is neither section nor key, duplicates.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let mut reader = Reader { file, sections: Vec::new(), problems: Vec::new(), indent: None };
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            reader.line(index + 1, line);
        }
        if !reader.problems.is_empty() {
            return Err(ConfigError::new(reader.problems));
        }
        for entry in reader.sections.iter_mut().flat_map(|section| &mut section.entries) {
            entry.value.truncate(entry.value.trim_end().len());
        }
        Ok(Self { file: file.to_owned(), sections: reader.sections })
    }

    /// The name positions carry.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// All sections in the order of the file, `[DEFAULT]` too.
    pub fn sections(&self) -> &[IniSection] {
        &self.sections
    }

    /// One section.
    pub fn section(&self, name: &str) -> Option<&IniSection> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The entry of a section, or the one it inherits from `[DEFAULT]`. Nothing when the section is not there.
    pub fn entry(&self, section: &str, name: &str) -> Option<&IniEntry> {
        let own = self.section(section)?.entry(name);
        own.or_else(|| self.section(DEFAULT_SECTION)?.entry(name))
    }

    /// The value of an entry with `%%` and `%(name)s` resolved as seen from `section`.
    ///
    /// # Errors
    /// When the interpolation is broken.
    pub fn interpolate(&self, section: &str, entry: &IniEntry) -> Result<String, BrokenInterpolation> {
        let mut out = String::new();
        self.expand(section, &entry.value, 1, &mut out)?;
        Ok(out)
    }

    fn expand(&self, section: &str, raw: &str, depth: usize, out: &mut String) -> Result<(), BrokenInterpolation> {
        if depth > DEEPEST_INTERPOLATION {
            return Err(BrokenInterpolation::Endless);
        }
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            if let Some(tail) = after.strip_prefix('%') {
                out.push('%');
                rest = tail;
            } else {
                let (name, tail) = after
                    .strip_prefix('(')
                    .and_then(|name| name.split_once(")s"))
                    .ok_or(BrokenInterpolation::Syntax)?;
                let name = name.to_lowercase();
                let entry = self.entry(section, &name).ok_or(BrokenInterpolation::NoSuchKey { name })?;
                self.expand(section, &entry.value, depth + 1, out)?;
                rest = tail;
            }
            if out.len() > LONGEST_VALUE {
                return Err(BrokenInterpolation::Endless);
            }
        }
        out.push_str(rest);
        Ok(())
    }

    /// The names used by `%(name)s` anywhere: such keys are helpers, not misspelt settings.
    pub(crate) fn helper_names(&self) -> Vec<String> {
        let entries = self.sections.iter().flat_map(|section| &section.entries);
        let names = entries.flat_map(|entry| {
            let parts = entry.value.split("%(").skip(1);
            parts.filter_map(|part| part.split_once(")s").map(|(name, _)| name.to_lowercase()))
        });
        names.collect()
    }

    /// A position in this file.
    pub(crate) fn position(&self, at: (usize, usize)) -> Position {
        Position { file: self.file.clone(), line: at.0, column: Some(at.1) }
    }
}

struct Reader<'a> {
    file: &'a str,
    sections: Vec<IniSection>,
    problems: Vec<Problem>,
    /// How far the key that may still be continued is indented.
    indent: Option<usize>,
}

impl Reader<'_> {
    fn line(&mut self, number: usize, line: &str) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            return;
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let text = without_comment(trimmed);
        if self.indent.is_some_and(|of_key| indent > of_key) {
            self.continue_value(number, indent + 1, text);
        } else if let Some(name) = text.strip_prefix('[') {
            self.indent = None;
            self.header(number, indent + 1, name);
        } else {
            self.key(number, indent, text);
        }
    }

    fn continue_value(&mut self, number: usize, column: usize, text: &str) {
        let entry = self
            .sections
            .last_mut()
            .and_then(|section| section.entries.last_mut())
            .expect("an indentation is remembered only with an entry");
        if entry.value.is_empty() {
            entry.value_at = (number, column);
        } else {
            entry.value.push('\n');
        }
        entry.value.push_str(text);
    }

    fn header(&mut self, number: usize, column: usize, text: &str) {
        let Some((name, _)) = text.rsplit_once(']') else {
            let detail = "a section header without its closing ]".to_owned();
            return self.problem((number, column), ProblemKind::Syntax { detail });
        };
        if let Some(first) = self.sections.iter().find(|section| section.name == name) {
            let kind = ProblemKind::Duplicate { what: "section", name: name.to_owned(), first: first.line };
            self.problem((number, column), kind);
        }
        self.sections.push(IniSection { name: name.to_owned(), line: number, entries: Vec::new() });
    }

    fn key(&mut self, number: usize, indent: usize, text: &str) {
        let at = (number, indent + 1);
        let Some(split) = text.find(['=', ':']).filter(|split| *split > 0) else {
            let detail = "neither [section] nor key = value".to_owned();
            self.indent = None;
            return self.problem(at, ProblemKind::Syntax { detail });
        };
        let name = text[..split].trim_end().to_lowercase();
        let value = without_comment(&text[split + 1..]).trim();
        let skipped =
            text[..=split].chars().count() + text[split + 1..].chars().take_while(|c| c.is_whitespace()).count();
        let value_at = if value.is_empty() { at } else { (number, indent + 1 + skipped) };
        let Some(section) = self.sections.last_mut() else {
            let detail = format!("the key {name:?} stands before any [section]");
            return self.problem(at, ProblemKind::Syntax { detail });
        };
        let first = section.entry(&name).map(|entry| entry.key_at.0);
        section.entries.push(IniEntry { name: name.clone(), value: value.to_owned(), key_at: at, value_at });
        self.indent = Some(indent);
        if let Some(first) = first {
            self.problem(at, ProblemKind::Duplicate { what: "key", name, first });
        }
    }

    fn problem(&mut self, at: (usize, usize), kind: ProblemKind) {
        let position = Position { file: self.file.to_owned(), line: at.0, column: Some(at.1) };
        let path = String::new();
        self.problems.push(Problem { position, path, kind, allowed: None, severity: Severity::Error });
    }
}

/// Cuts at the first `#` or `;` that follows white space.
fn without_comment(text: &str) -> &str {
    let mut after_space = false;
    for (index, c) in text.char_indices() {
        if after_space && matches!(c, '#' | ';') {
            return text[..index].trim_end();
        }
        after_space = c.is_whitespace();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const TEXT: &str = "\
# comment
[DEFAULT]
base = /srv
[default]
Namespace: osbs   ; why
tokens =
  a:/x   # one
  ; not a value
  b

path = %(base)s/%%h
bad = 50%
lost = %(nothing)s
me = %(me)s
url = http://x/;y#z
";

    #[test]
    fn reads_as_python_does() {
        let ini = Ini::parse(TEXT, "osbs.conf").unwrap();
        for (key, value, at) in [
            ("namespace", Ok("osbs"), (5, 12)),
            ("tokens", Ok("a:/x\nb"), (7, 3)),
            ("path", Ok("/srv/%h"), (11, 8)),
            ("bad", Err(BrokenInterpolation::Syntax), (12, 7)),
            ("lost", Err(BrokenInterpolation::NoSuchKey { name: "nothing".into() }), (13, 8)),
            ("me", Err(BrokenInterpolation::Endless), (14, 6)),
            ("base", Ok("/srv"), (3, 8)),
            ("url", Ok("http://x/;y#z"), (15, 7)),
        ] {
            let entry = ini.entry("default", key).unwrap_or_else(|| panic!("{key}"));
            let got = ini.interpolate("default", entry);
            assert_eq!((got, entry.value_at), (value.map(str::to_owned), at), "{key}");
        }
        assert!(ini.entry("other", "base").is_none(), "a missing section inherits nothing");
    }

    #[test]
    fn every_syntax_error_at_once() {
        let error = Ini::parse("early = 1\n[a\n[b]\nk = 1\nnonsense\nK = 2\n[b]\n", "f").unwrap_err();
        let lines: Vec<usize> = error.problems().iter().map(|problem| problem.position.line).collect();
        assert_eq!(lines, [1, 2, 5, 6, 7], "{error}");
    }

    #[test]
    fn doubling_values_stop() {
        let mut text = String::from("[s]\na0 = xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n");
        for i in 1..10 {
            let _ = writeln!(text, "a{i} = {}", format!("%(a{})s", i - 1).repeat(10));
        }
        let ini = Ini::parse(&text, "f").unwrap();
        let entry = ini.entry("s", "a9").unwrap();
        assert_eq!(ini.interpolate("s", entry), Err(BrokenInterpolation::Endless));
    }
}
