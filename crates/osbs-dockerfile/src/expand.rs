//! Shell-style substitution of variables in Dockerfile words.
//!
//! Not a shell: no commands, no arithmetic, no globs. The result of every call is limited, because `ENV A=$A$A` repeated
//! forty times would otherwise need all memory there is.

use crate::error::{quoted, shown};
use crate::shell_pattern::{self, Side, Steps};

/// Longest result of one expansion, in bytes.
pub const MAX_EXPANSION: usize = 1 << 20;
/// Deepest nesting of `${A:-${B:-...}}`.
const MAX_DEPTH: usize = 64;

/// A word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// `${` or a quote without its end.
    #[error("the end of the text came before the closing {missing}")]
    Unfinished {
        /// What is missing.
        missing: char,
    },
    /// `${}`, `${{`, `${:`.
    #[error("${{...}} needs the name of a variable")]
    NoName,
    /// `${X^^}` and other forms of larger shells.
    #[error(
        "${{{}{}...}} is not supported; allowed after the name are :- - :+ + :? ? # ## % %% / and //",
        shown(name),
        shown(modifier)
    )]
    Modifier {
        /// The variable.
        name: String,
        /// What follows the name.
        modifier: String,
    },
    /// `${X:?message}` with no value.
    #[error("{}: {}", shown(name), shown(message))]
    Required {
        /// The variable.
        name: String,
        /// What its author says.
        message: String,
    },
    /// A pattern after `#`, `%` or `/`.
    #[error("{} is not a pattern: a backslash may stand only before * ? \\ / and }}", quoted(pattern))]
    Pattern {
        /// The pattern.
        pattern: String,
    },
    /// Long patterns on long values, or long values looked up too often.
    #[error("the patterns and the values they are tried on are too long together")]
    PatternWork,
    /// The result or a pattern is too long.
    #[error("the text grows beyond {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Nested too deep.
    #[error("${{...}} is nested more than {limit} levels deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
}

/// Gives the value of a variable, `None` when it is not set.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One word: variables substituted, quotes and escapes removed. An undefined variable gives the empty text.
///
/// # Errors
/// Bad syntax, `${X:?message}` without a value, or a result beyond [`MAX_EXPANSION`].
pub fn expand(word: &str, env: &dyn Fn(&str) -> Option<String>, escape: char) -> Result<String, ExpandError> {
    expand_within(word, env, escape, &mut Steps::new(Steps::WORD))
}

/// The same as one of many words, which together may match patterns only so long.
pub(crate) fn expand_within(word: &str, env: Env<'_>, escape: char, steps: &mut Steps) -> Result<String, ExpandError> {
    Lexer::new(word, env, escape, Mode::default(), steps).single(None)
}

/// The same, split into words at white space outside quotes, also at that which variables bring in (EXPOSE).
///
/// # Errors
/// As [`expand`].
pub fn expand_words(
    word: &str,
    env: &dyn Fn(&str) -> Option<String>,
    escape: char,
) -> Result<Vec<String>, ExpandError> {
    Lexer::new(word, env, escape, Mode::default(), &mut Steps::new(Steps::WORD)).words()
}

/// The content of a heredoc (COPY, ADD) whose delimiter is not quoted: variables substituted, quotes kept, a backslash
/// removed before any character.
///
/// # Errors
/// As [`expand`].
pub fn expand_heredoc(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, ExpandError> {
    let mode = Mode { plain_quotes: true, ..Mode::default() };
    Lexer::new(text, env, '\\', mode, &mut Steps::new(Steps::WORD)).single(None)
}

/// The words of a line with quotes, escapes and variables left as they are, to find heredocs in. `<< NAME` stays one word.
pub(crate) fn raw_words(line: &str) -> Result<Vec<String>, ExpandError> {
    let mode = Mode { keep_quotes: true, raw_escapes: true, keep_unset: true, heredocs: true, ..Mode::default() };
    Lexer::new(line, &|_| None, '\\', mode, &mut Steps::new(0)).words()
}

/// The words with unset variables left as they are, quotes kept or removed.
pub(crate) fn delimiter_words(text: &str, keep_quotes: bool) -> Result<Vec<String>, ExpandError> {
    let mode = Mode { keep_quotes, keep_unset: true, ..Mode::default() };
    Lexer::new(text, &|_| None, '\\', mode, &mut Steps::new(0)).words()
}

#[derive(Debug, Clone, Copy, Default)]
struct Mode {
    /// Quotes protect, but stay in the result.
    keep_quotes: bool,
    /// Quotes are ordinary characters.
    plain_quotes: bool,
    /// Escape characters protect, but stay in the result.
    raw_escapes: bool,
    /// Unset variables stay as written.
    keep_unset: bool,
    /// White space after `<<` does not end a word.
    heredocs: bool,
}

/// Where characters go: one text, or words.
#[derive(Default)]
struct Sink {
    split: bool,
    current: String,
    words: Vec<String>,
}

impl Sink {
    /// Characters that may separate words.
    fn open(&mut self, text: &str) {
        if !self.split {
            self.current.push_str(text);
            return;
        }
        for c in text.chars() {
            if c.is_whitespace() { self.end_word() } else { self.current.push(c) }
        }
    }

    /// Characters that were quoted or escaped.
    fn protected(&mut self, text: &str) {
        self.current.push_str(text);
    }

    fn end_word(&mut self) {
        if !self.current.is_empty() {
            self.words.push(std::mem::take(&mut self.current));
        }
    }
}

struct Lexer<'a> {
    chars: Vec<char>,
    at: usize,
    env: Env<'a>,
    escape: char,
    mode: Mode,
    depth: usize,
    /// Bytes that variables brought in.
    substituted: usize,
    steps: &'a mut Steps,
}

impl<'a> Lexer<'a> {
    fn new(text: &str, env: Env<'a>, escape: char, mode: Mode, steps: &'a mut Steps) -> Self {
        Self { chars: text.chars().collect(), at: 0, env, escape, mode, depth: 0, substituted: 0, steps }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn words(&mut self) -> Result<Vec<String>, ExpandError> {
        let mut sink = Sink { split: true, ..Sink::default() };
        self.run(None, &mut sink)?;
        sink.end_word();
        Ok(sink.words)
    }

    fn single(&mut self, stop: Option<char>) -> Result<String, ExpandError> {
        let mut sink = Sink::default();
        self.run(stop, &mut sink)?;
        Ok(sink.current)
    }

    /// Reads up to `stop`, which is taken, or to the end.
    fn run(&mut self, stop: Option<char>, sink: &mut Sink) -> Result<(), ExpandError> {
        while let Some(c) = self.next() {
            match c {
                _ if Some(c) == stop => return Ok(()),
                '\'' if !self.mode.plain_quotes => self.single_quotes(sink)?,
                '"' if !self.mode.plain_quotes => self.double_quotes(sink)?,
                '$' => {
                    let value = self.dollar()?;
                    sink.open(&value);
                }
                '<' if self.mode.heredocs && self.eat('<') => {
                    sink.protected("<<");
                    while let Some(space) = self.peek().filter(|c| matches!(c, ' ' | '\t')) {
                        sink.protected(space.encode_utf8(&mut [0; 4]));
                        self.at += 1;
                    }
                }
                _ if c == self.escape => {
                    if self.mode.raw_escapes {
                        sink.protected(c.encode_utf8(&mut [0; 4]));
                    }
                    // An escape at the very end protects nothing and vanishes.
                    if let Some(escaped) = self.next() {
                        sink.protected(escaped.encode_utf8(&mut [0; 4]));
                    }
                }
                _ => sink.open(c.encode_utf8(&mut [0; 4])),
            }
        }
        stop.map_or(Ok(()), |missing| Err(ExpandError::Unfinished { missing }))
    }

    fn single_quotes(&mut self, sink: &mut Sink) -> Result<(), ExpandError> {
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(ExpandError::Unfinished { missing: '\'' }),
                Some('\'') => break,
                Some(c) => text.push(c),
            }
        }
        if self.mode.keep_quotes {
            text = format!("'{text}'");
        }
        sink.protected(&text);
        Ok(())
    }

    fn double_quotes(&mut self, sink: &mut Sink) -> Result<(), ExpandError> {
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(ExpandError::Unfinished { missing: '"' }),
                Some('"') => break,
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) if c == self.escape => {
                    if self.mode.raw_escapes {
                        text.push(c);
                    }
                    match self.peek() {
                        None => {}
                        Some(next) if matches!(next, '"' | '$') || next == self.escape => {
                            self.at += 1;
                            text.push(next);
                        }
                        // Before anything else it stands for itself.
                        Some(_) => text.push(c),
                    }
                }
                Some(c) => text.push(c),
            }
        }
        if self.mode.keep_quotes {
            text = format!("\"{text}\"");
        }
        sink.protected(&text);
        Ok(())
    }

    /// After `$`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        if !self.eat('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            let value = self.look_up(&name)?;
            return match value {
                None if self.mode.keep_unset => Ok(format!("${name}")),
                value => self.limited(value.unwrap_or_default()),
            };
        }
        match self.peek() {
            None => return Err(ExpandError::Unfinished { missing: '}' }),
            Some('{' | '}' | ':') => return Err(ExpandError::NoName),
            Some(_) => {}
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ExpandError::TooDeep { limit: MAX_DEPTH });
        }
        let value = self.braces()?;
        self.depth -= 1;
        self.limited(value)
    }

    /// After `${`.
    fn braces(&mut self) -> Result<String, ExpandError> {
        let name = self.name();
        let value = self.look_up(&name)?;
        let start = self.at;
        let colon = self.eat(':');
        let Some(operator) = self.next() else { return Err(ExpandError::Unfinished { missing: '}' }) };
        let result = match operator {
            '}' if !colon => value.clone().unwrap_or_default(),
            '-' | '+' | '?' => {
                let word = self.argument('}', false)?;
                let set = value.as_ref().is_some_and(|value| !colon || !value.is_empty());
                match operator {
                    '-' | '?' if set => value.clone().unwrap_or_default(),
                    '+' if !set => String::new(),
                    '?' if !self.mode.keep_unset => return Err(required(name, word, value.is_some())),
                    _ => word,
                }
            }
            '#' | '%' if !colon => {
                let longest = self.eat(operator);
                let pattern = self.argument('}', true)?;
                let side = if operator == '#' { Side::Front } else { Side::Back };
                let value = value.as_deref().unwrap_or_default();
                shell_pattern::trim(&pattern, value, side, longest, self.escape, self.steps)?
            }
            '/' if !colon => {
                let all = self.eat('/');
                let pattern = self.argument('/', true)?;
                let replacement = self.argument('}', true)?;
                let value = value.as_deref().unwrap_or_default();
                shell_pattern::replace(&pattern, value, &replacement, all, self.escape, self.steps)?
            }
            _ => {
                let modifier = format!("{}{operator}", if colon { ":" } else { "" });
                return Err(ExpandError::Modifier { name, modifier });
            }
        };
        if value.is_none() && self.mode.keep_unset {
            let written: String = self.chars[start..self.at].iter().collect();
            return Ok(format!("${{{name}{written}"));
        }
        Ok(result)
    }

    /// The text after an operator, up to `stop`.
    fn argument(&mut self, stop: char, raw_escapes: bool) -> Result<String, ExpandError> {
        let before = std::mem::replace(&mut self.mode.raw_escapes, raw_escapes);
        let text = self.single(Some(stop));
        self.mode.raw_escapes = before;
        text
    }

    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                while self.peek().is_some_and(|c| c.is_ascii_digit()) {
                    self.at += 1;
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.at += 1,
            _ => {
                while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    self.at += 1;
                }
            }
        }
        self.chars[start..self.at].iter().collect()
    }

    fn look_up(&mut self, name: &str) -> Result<Option<String>, ExpandError> {
        let value = (self.env)(name);
        self.steps.take(0, value.as_deref().unwrap_or_default())?;
        Ok(value)
    }

    fn limited(&mut self, value: String) -> Result<String, ExpandError> {
        self.substituted = self.substituted.saturating_add(value.len());
        if self.substituted > MAX_EXPANSION {
            return Err(ExpandError::TooLong { limit: MAX_EXPANSION });
        }
        Ok(value)
    }
}

fn required(name: String, word: String, is_set: bool) -> ExpandError {
    let message = match word {
        word if !word.is_empty() => word,
        _ if is_set => "may not be empty".to_owned(),
        _ => "must be set".to_owned(),
    };
    ExpandError::Required { name, message }
}
