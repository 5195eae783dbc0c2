//! From text to logical lines: directives, comments, continuations, byte-order mark, CRLF.

use crate::error::Problem;
use std::ops::Range;

/// One logical line.
#[derive(Debug)]
pub(crate) struct LogicalLine {
    /// Continuations joined.
    pub text: String,
    /// Bytes from the first to the last physical line, last line end included.
    pub span: Range<usize>,
    /// From 1.
    pub start_line: usize,
    /// From 1.
    pub end_line: usize,
    /// The file ends inside a continuation: offset of its escape character.
    pub dangling: Option<usize>,
    /// Blank lines were inside.
    pub blank_continuation: bool,
}

/// Reads a text line by line.
#[derive(Debug)]
pub(crate) struct LineReader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    /// Escape character: by default a backslash.
    pub escape: char,
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// A physical line without its line end.
struct PhysicalLine<'a> {
    text: &'a str,
    start: usize,
}

impl<'a> LineReader<'a> {
    /// At the start of a file: reads the parser directives.
    ///
    /// # Errors
    /// A directive that is repeated or has a bad value, with its line.
    pub fn new(text: &'a str) -> Result<Self, (usize, Problem)> {
        let at = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        let mut reader = Self { text, at, line: 0, escape: '\\' };
        let mut seen: Vec<String> = Vec::new();
        loop {
            let (at, line) = (reader.at, reader.line);
            let directive = reader.physical().and_then(|line| directive(line.text.trim_start()));
            let Some((name, value)) = directive else {
                (reader.at, reader.line) = (at, line);
                return Ok(reader);
            };
            if seen.contains(&name) {
                return Err((reader.line, Problem::RepeatedDirective { name }));
            }
            if name == "escape" {
                reader.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => return Err((reader.line, Problem::EscapeDirective { value: value.to_owned() })),
                };
            }
            seen.push(name);
        }
    }

    /// Of a piece of a file: no directives.
    pub fn fragment(text: &'a str, escape: char) -> Self {
        Self { text, at: 0, line: 0, escape }
    }

    /// The line last read, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Bytes read.
    pub fn offset(&self) -> usize {
        self.at
    }

    fn physical(&mut self) -> Option<PhysicalLine<'a>> {
        let (raw, start) = self.raw()?;
        Some(PhysicalLine { text: raw.trim_end_matches(['\r', '\n']), start })
    }

    /// The next physical line with its line end, and where it starts.
    pub fn raw(&mut self) -> Option<(&'a str, usize)> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let start = self.at;
        let length = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        self.at += length;
        self.line += 1;
        Some((&rest[..length], start))
    }

    /// The next logical line; comments and blank lines between are passed over.
    pub fn logical(&mut self) -> Option<LogicalLine> {
        let (first, content) = loop {
            let line = self.physical()?;
            let content = line.text.trim_start();
            if !content.is_empty() && !content.starts_with('#') {
                break (line, content);
            }
        };
        let start_line = self.line;
        let mut logical = LogicalLine {
            text: String::new(),
            span: first.start..self.at,
            start_line,
            end_line: start_line,
            dangling: None,
            blank_continuation: false,
        };
        let content_start = first.start + (first.text.len() - content.len());
        self.take(&mut logical, content, content_start);
        while logical.dangling.is_some() {
            let Some(line) = self.physical() else { break };
            let trimmed = line.text.trim_start();
            if trimmed.is_empty() {
                logical.blank_continuation = true;
            } else if !trimmed.starts_with('#') {
                self.take(&mut logical, line.text, line.start);
            }
        }
        logical.span.end = self.at;
        logical.end_line = self.line;
        Some(logical)
    }

    fn take(&self, logical: &mut LogicalLine, content: &str, start: usize) {
        let continued = self.continued(content);
        logical.dangling = continued.map(|kept| start + kept.len());
        logical.text.push_str(continued.unwrap_or(content));
    }

    /// The line without its continuation character, if it has one: the escape character at the end, white space after
    /// it allowed, no second escape character before it.
    fn continued<'l>(&self, line: &'l str) -> Option<&'l str> {
        let kept = line.trim_end_matches([' ', '\t']).strip_suffix(self.escape)?;
        (!kept.ends_with(self.escape)).then_some(kept)
    }
}

/// `# name = value` with a known name.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let name = name.trim_end().to_ascii_lowercase();
    let value = value.trim();
    (matches!(name.as_str(), "escape" | "syntax" | "check") && !value.is_empty()).then_some((name, value))
}
