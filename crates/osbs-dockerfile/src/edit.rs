//! Edits. Each keeps all bytes it does not have to change, and ends with a file that was parsed again.
//!
//! Lines go in only at the borders of whole instructions, and only if they are whole instructions themselves: no edit
//! can split a continued line or be swallowed by one.

use crate::dockerfile::Dockerfile;
use crate::error::DockerfileError;
use crate::instruction::{Instruction, InstructionKind, Pair};
use crate::lines::LineReader;
use crate::parse;
use crate::words;
use osbs_types::ErrorKind;
use std::ops::Range;

/// An edit is not possible. The Dockerfile is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The file itself, before or after the edit.
    #[error("the Dockerfile cannot be read")]
    Dockerfile(#[source] Box<DockerfileError>),
    /// A label that the file format cannot hold.
    #[error("label {key:?} cannot be written into a Dockerfile: {reason}")]
    Label {
        /// Its name.
        key: String,
        /// Why.
        reason: &'static str,
    },
    /// Lines to insert that are not whole instructions.
    #[error("the lines to insert are not whole instructions: {text:?}")]
    NotInstructions {
        /// The lines.
        text: String,
    },
    /// A parent that cannot stand in a FROM.
    #[error("{image:?} cannot stand in a FROM")]
    Image {
        /// The image.
        image: String,
    },
    /// As many parents as [`Dockerfile::parents_ordered`] gives are needed.
    #[error("{given} parent images given, the Dockerfile has {expected}")]
    ParentCount {
        /// Given.
        given: usize,
        /// Needed.
        expected: usize,
    },
}

impl EditError {
    /// Whose fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Dockerfile(_) | Self::Label { .. } => ErrorKind::User,
            Self::NotInstructions { .. } | Self::ParentCount { .. } | Self::Image { .. } => ErrorKind::Internal,
        }
    }
}

impl From<DockerfileError> for EditError {
    fn from(error: DockerfileError) -> Self {
        Self::Dockerfile(Box::new(error))
    }
}

/// A piece of text to put in the place of another.
type Change = (Range<usize>, String);

impl Dockerfile {
    /// Sets a label of the final stage: in place if it is there (the instruction becomes one line), else in a new line
    /// at the end. `parent_env` is used to read what is there.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn set_label(&mut self, key: &str, value: &str, parent_env: &[(String, String)]) -> Result<(), EditError> {
        let new_word = label_word(key, value, self.escape())?;
        let mut found: Option<(Range<usize>, usize, String)> = None;
        self.visit_labels(parent_env, &mut |instruction, index, found_key, found_value| {
            if found_key == key {
                found = Some((instruction.span.clone(), index, found_value));
            }
        })?;
        let Some((span, index, old_value)) = found else {
            return self.append_lines(&[format!("LABEL {new_word}")]);
        };
        if old_value == value {
            return Ok(());
        }
        let instruction = self.instructions().iter().find(|i| i.span == span);
        let Some(InstructionKind::Label(pairs)) = instruction.map(|i| &i.kind) else {
            unreachable!("the label was found in a LABEL instruction")
        };
        let words = pairs.iter().enumerate().map(|(at, pair)| if at == index { new_word.clone() } else { word(pair) });
        let line = format!("LABEL {}", words.collect::<Vec<_>>().join(" "));
        self.apply(vec![self.replacement(span, &line)])
    }

    /// Appends one line `LABEL "k1"="v1" "k2"="v2"`, and gives it; nothing and `None` for no labels.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn append_labels<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<String>, EditError> {
        let escape = self.escape();
        let words = labels.into_iter().map(|(key, value)| label_word(key, value, escape));
        let words = words.collect::<Result<Vec<_>, _>>()?;
        if words.is_empty() {
            return Ok(None);
        }
        let line = format!("LABEL {}", words.join(" "));
        self.append_lines(std::slice::from_ref(&line))?;
        Ok(Some(line))
    }

    /// Rewrites the FROM lines, each to the image of [`Dockerfile::parents_ordered`]'s place; those that do not change
    /// keep their bytes, the others become one line with their `--platform` and `AS name`.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn set_parents(&mut self, parents: &[String]) -> Result<(), EditError> {
        let current = self.parents()?;
        let expected = current.iter().filter(|parent| parent.image().is_some()).count();
        if parents.len() != expected {
            return Err(EditError::ParentCount { given: parents.len(), expected });
        }
        let mut changes = Vec::new();
        let own = self.stages().into_iter().zip(&current).filter_map(|(stage, parent)| Some((stage, parent.image()?)));
        for ((stage, old), new) in own.zip(parents) {
            if old == new || stage.image == new {
                continue;
            }
            // Nothing that would split the line or be expanded.
            if new.is_empty() || new.contains(|c: char| c.is_whitespace() || c.is_control() || "$'\"\\`".contains(c)) {
                return Err(EditError::Image { image: new.clone() });
            }
            let platform = stage.platform.map(|platform| format!("--platform={platform} ")).unwrap_or_default();
            let name = match words::blank_separated(&stage.from.logical).as_slice() {
                [.., name] if stage.name.is_some() => format!(" AS {name}"),
                _ => String::new(),
            };
            changes.push(self.replacement(stage.from.span.clone(), &format!("FROM {platform}{new}{name}")));
        }
        self.apply(changes)
    }

    /// Inserts lines after the FROM of every stage for which `wanted` says so (it sees the stage's index).
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert_after_from(&mut self, lines: &[String], wanted: &dyn Fn(usize) -> bool) -> Result<(), EditError> {
        let text = self.checked(lines)?;
        let mut file = self.ended()?;
        let stages = file.stages();
        let ends = stages.iter().filter(|stage| wanted(stage.index)).map(|stage| stage.from.span.end);
        let changes = ends.map(|at| file.insertion(at, &text)).collect();
        file.apply(changes)?;
        *self = file;
        Ok(())
    }

    /// Inserts lines at the end of a stage: after its last instruction, for the final stage at the end of the file.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert_at_stage_end(&mut self, stage: usize, lines: &[String]) -> Result<(), EditError> {
        let stages = self.stages();
        if stage + 1 >= stages.len() {
            return self.append_lines(lines);
        }
        let text = self.checked(lines)?;
        let at = stages[stage].instructions.last().unwrap_or(stages[stage].from).span.end;
        self.apply(vec![self.insertion(at, &text)])
    }

    /// Inserts lines before the last instruction of the final stage (M27: never inside a multi-line one); after the
    /// FROM when it is the only one.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert_before_last_instruction(&mut self, lines: &[String]) -> Result<(), EditError> {
        let text = self.checked(lines)?;
        let Some(at) = self.final_stage().instructions.last().map(|instruction| instruction.span.start) else {
            return self.append_lines(lines);
        };
        self.apply(vec![self.insertion(at, &text)])
    }

    /// Appends lines at the end of the file.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn append_lines(&mut self, lines: &[String]) -> Result<(), EditError> {
        let text = self.checked(lines)?;
        let mut file = self.ended()?;
        let change = file.insertion(file.text().len(), &text);
        file.apply(vec![change])?;
        *self = file;
        Ok(())
    }

    /// The lines as text with the file's line ends, if they are whole instructions.
    fn checked(&self, lines: &[String]) -> Result<String, EditError> {
        let line_end = self.line_end();
        let ended = lines.iter().flat_map(|line| [line.replace('\n', line_end), line_end.to_owned()]);
        let text: String = ended.collect();
        let error = || EditError::NotInstructions { text: text.clone() };
        let mut reader = LineReader::fragment(&text, self.escape());
        while let Some(line) = reader.logical() {
            if line.dangling.is_some() || parse::instruction(&text, &line, &mut reader).is_err() {
                return Err(error());
            }
        }
        Ok(text)
    }

    /// That of the first line.
    fn line_end(&self) -> &'static str {
        let first = self.text().find('\n').unwrap_or(0);
        if self.text()[..first].ends_with('\r') { "\r\n" } else { "\n" }
    }

    /// The same file, where the last instruction is not continued into nothing: else what is appended would become part
    /// of it. The continuation characters go; if that does not do, the instruction becomes one line.
    fn ended(&self) -> Result<Self, EditError> {
        let mut file = self.clone();
        let continuation = [' ', '\t', self.escape()];
        if let Some(at) = self.dangling() {
            let kept = self.text()[..at].trim_end_matches(continuation).len();
            file.apply(vec![(kept..at + self.escape().len_utf8(), String::new())])?;
        }
        if let (Some(_), Some(last)) = (file.dangling(), file.instructions().last()) {
            let line = last.logical.trim_end_matches(continuation).to_owned();
            let change = file.replacement(last.span.clone(), &line);
            file.apply(vec![change])?;
        }
        Ok(file)
    }

    fn insertion(&self, at: usize, text: &str) -> Change {
        let missing = if at > 0 && !self.text()[..at].ends_with('\n') { self.line_end() } else { "" };
        (at..at, format!("{missing}{text}"))
    }

    /// Another text for whole lines, with the line end they had.
    fn replacement(&self, span: Range<usize>, line: &str) -> Change {
        let old = &self.text()[span.clone()];
        let line_end = &old[old.trim_end_matches(['\r', '\n']).len()..];
        let line_end = if line_end.is_empty() { "" } else { self.line_end() };
        (span, format!("{line}{line_end}"))
    }

    /// Makes the changes, which are in order and do not overlap, and parses the result.
    fn apply(&mut self, changes: Vec<Change>) -> Result<(), EditError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut text = String::with_capacity(self.text().len() + 256);
        let mut done = 0;
        for (range, new) in changes {
            text.push_str(&self.text()[done..range.start]);
            text.push_str(&new);
            done = range.end;
        }
        text.push_str(&self.text()[done..]);
        *self = Self::parse(&text, self.file_name())?;
        Ok(())
    }
}

/// A pair as it stood in the file; the old form is turned into the new one, with the same meaning.
fn word(pair: &Pair) -> String {
    if !pair.legacy {
        return format!("{}={}", pair.key, pair.value);
    }
    // Outside quotes white space ends a word; inside those that are there it does not.
    let mut value = String::new();
    let mut quote = None;
    let mut chars = pair.value.chars();
    while let Some(c) = chars.next() {
        match quote {
            Some(open) if open == c => quote = None,
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None if c.is_whitespace() => {
                value.extend(['"', c, '"']);
                continue;
            }
            _ => {}
        }
        value.push(c);
        // The escape character's partner is no quote.
        if matches!(c, '\\' | '`') && quote != Some('\'') {
            value.extend(chars.next());
        }
    }
    format!("{}={value}", pair.key)
}

/// `"key"="value"`, protected against substitution (M25).
fn label_word(key: &str, value: &str, escape: char) -> Result<String, EditError> {
    let error = |reason| EditError::Label { key: key.to_owned(), reason };
    if key.is_empty() {
        return Err(error("its name is empty"));
    }
    if key.contains('=') {
        return Err(error("its name holds '='"));
    }
    if key.contains(['\n', '\r']) || value.contains(['\n', '\r']) {
        return Err(error("a Dockerfile cannot hold line breaks in labels"));
    }
    let quoted = |text: &str| {
        let mut quoted = String::from('"');
        for c in text.chars() {
            if matches!(c, '"' | '$') || c == escape {
                quoted.push(escape);
            }
            quoted.push(c);
        }
        quoted + "\""
    };
    Ok(format!("{}={}", quoted(key), quoted(value)))
}

impl Instruction {
    /// Whether the FROM names `scratch`, with or without `AS NAME` (M29).
    pub fn is_from_scratch(&self) -> bool {
        matches!(&self.kind, InstructionKind::From { image, .. } if image == "scratch")
    }
}
