//! `.dockerignore` patterns, with the meaning of moby's pattern matcher.
//!
//! A pattern is cleaned like a path, then compared as a whole, as a prefix (`a/**`), as a suffix (`**/a`), or as a
//! regular expression. It also matches everything below what it matches. The last pattern that matches decides; `!`
//! re-includes. One deliberate difference: `\d` is the letter d, where moby makes it a class of digits.
//! Bytes that are not UTF-8 count as one unknown character each.

use crate::error::quoted;
use crate::go_match::{go_match, lossy};
use regex::{Regex, RegexBuilder};
use std::fmt::Write;

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a pattern: {reason}", quoted(pattern))]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// Why.
    pub reason: &'static str,
    /// Line in the file, from 1; 0 when it is not from a file.
    pub line: usize,
}

/// Largest file, in bytes.
const MAX_FILE_SIZE: usize = 1 << 20;
/// Memory for one compiled pattern, in bytes.
const MAX_COMPILED: usize = 1 << 20;
/// Memory for the states of one pattern while it matches, in bytes.
const MAX_STATES: usize = 1 << 18;
/// Most patterns.
const MAX_PATTERNS: usize = 4096;
/// Most wildcards of all patterns together: each costs memory (2 KB for a class) and time for every path.
const MAX_WILDCARDS: usize = 20_000;
/// Longest pattern, in bytes: twice PATH_MAX.
const MAX_PATTERN: usize = 8192;

/// An ordered list of patterns; the last that matches decides.
#[derive(Debug, Clone, Default)]
pub struct IgnorePatterns {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    exception: bool,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    Exact,
    /// Everything that starts so.
    Prefix(String),
    /// Everything that ends so; without the slash at its start also the whole.
    Suffix(String),
    Regex(Regex),
}

impl IgnorePatterns {
    /// From the bytes of a `.dockerignore` (comments, blank lines and a byte-order mark are dropped).
    ///
    /// # Errors
    /// A bad pattern.
    pub fn parse(text: &[u8]) -> Result<Self, PatternError> {
        if text.len() > MAX_FILE_SIZE {
            let error = PatternError { pattern: String::new(), reason: "the file is larger than 1 MiB", line: 1 };
            return Err(error);
        }
        let text = lossy(text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text));
        let mut patterns = Vec::new();
        let mut wildcards = 0;
        for (index, line) in text.split('\n').enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (mark, path) = match line.strip_prefix('!') {
                Some(path) => ("!", path.trim()),
                None => ("", line),
            };
            if line.is_empty() {
                continue;
            }
            // A leading slash means the root of the context, as no slash does.
            let path = if path.is_empty() { String::new() } else { clean(path) };
            let path = match path.strip_prefix('/') {
                Some(relative) if !relative.is_empty() => relative,
                _ => &path,
            };
            let at_line = |error: PatternError| PatternError { line: index + 1, ..error };
            let text = format!("{mark}{path}");
            wildcards += path.matches(['*', '?', '[']).count();
            if wildcards > MAX_WILDCARDS {
                let reason = "there are more than 20000 wildcards in the file";
                return Err(PatternError { pattern: text, reason, line: index + 1 });
            }
            patterns.extend(Pattern::new(&text).map_err(at_line)?);
            if patterns.len() > MAX_PATTERNS {
                return Err(PatternError {
                    pattern: text,
                    reason: "there are more than 4096 patterns",
                    line: index + 1,
                });
            }
        }
        Ok(Self { patterns })
    }

    /// From patterns, such as those of `--exclude`.
    ///
    /// # Errors
    /// A bad pattern.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PatternError> {
        let patterns = patterns.iter().filter_map(|pattern| Pattern::new(pattern.as_ref()).transpose());
        Ok(Self { patterns: patterns.collect::<Result<_, _>>()? })
    }

    /// No pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Some pattern starts with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }

    /// The path (relative, `/` between parts, any bytes) is left out.
    pub fn is_ignored(&self, path: &[u8]) -> bool {
        let path = lossy(path);
        let mut ignored = false;
        for pattern in &self.patterns {
            // Only a pattern that would change the result is worth the comparison.
            if pattern.exception == ignored && pattern.matches_or_parent(&path) {
                ignored = !pattern.exception;
            }
        }
        ignored
    }

    /// The folder is left out and nothing below it can be re-included: it need not be read.
    pub fn prunes(&self, folder: &[u8]) -> bool {
        let text = lossy(folder);
        !self.patterns.iter().any(|pattern| pattern.exception && pattern.may_match_below(&text))
            && self.is_ignored(folder)
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Option<Self>, PatternError> {
        let error = |reason| PatternError { pattern: text.chars().take(200).collect(), reason, line: 0 };
        if text.len() > MAX_PATTERN {
            return Err(error("longer than 8192 bytes"));
        }
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Ok(None);
        }
        let cleaned = clean(trimmed);
        let (exception, path) = cleaned.strip_prefix('!').map_or((false, cleaned.as_str()), |path| (true, path));
        if path.is_empty() {
            return Err(error("nothing follows the exclamation mark"));
        }
        go_match(path, b".").map_err(|bad| error(bad.reason))?;
        let matcher = compile(path).ok_or_else(|| error("it cannot be compiled"))?;
        Ok(Some(Self { text: path.to_owned(), exception, matcher }))
    }

    fn matches(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Exact => path == self.text,
            Matcher::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Matcher::Suffix(suffix) => path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path),
            Matcher::Regex(regex) => regex.is_match(path),
        }
    }

    fn matches_or_parent(&self, path: &str) -> bool {
        self.matches(path) || path.match_indices('/').any(|(at, _)| at > 0 && self.matches(&path[..at]))
    }

    /// Errs on the side of yes.
    fn may_match_below(&self, folder: &str) -> bool {
        if matches!(self.matcher, Matcher::Prefix(_) | Matcher::Suffix(_))
            || self.text.contains("**")
            || self.text.contains('[')
        {
            let literal = self.text.split(['*', '?', '[', '\\']).next().unwrap_or_default();
            return literal.starts_with(&format!("{folder}/")) || format!("{folder}/").starts_with(literal);
        }
        let mut own = self.text.split('/');
        let literal = |part: &str| !part.contains(['*', '?', '\\']);
        for part in folder.split('/') {
            match own.next() {
                Some(pattern) if !literal(pattern) || pattern == part => {}
                _ => return false,
            }
        }
        own.next().is_some()
    }
}

/// Go's `filepath.Clean`: no `.`, no doubled slashes, `..` resolved as far as it goes.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// `None` when the expression is too large.
fn compile(pattern: &str) -> Option<Matcher> {
    #[derive(PartialEq)]
    enum Shape {
        Exact,
        Prefix,
        Suffix,
        Regex,
    }
    let mut shape = Shape::Exact;
    let mut expression = String::from("^");
    let mut chars = pattern.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() {
                    shape = if shape == Shape::Exact { Shape::Prefix } else { Shape::Regex };
                    expression.push_str(".*");
                } else {
                    shape = Shape::Regex;
                    expression.push_str("(?:.*/)?");
                }
                if first {
                    shape = Shape::Suffix;
                }
            }
            '*' => {
                shape = Shape::Regex;
                expression.push_str("[^/]*");
            }
            '?' => {
                shape = Shape::Regex;
                expression.push_str("[^/]");
            }
            '[' => {
                shape = Shape::Regex;
                class(&mut chars, &mut expression)?;
            }
            '\\' => {
                shape = Shape::Regex;
                literal(chars.next()?, &mut expression);
            }
            _ => literal(c, &mut expression),
        }
        first = false;
    }
    expression.push('$');
    Some(match shape {
        Shape::Exact => Matcher::Exact,
        Shape::Prefix => Matcher::Prefix(pattern[..pattern.len() - 2].to_owned()),
        Shape::Suffix => Matcher::Suffix(pattern[2..].to_owned()),
        Shape::Regex => Matcher::Regex(
            RegexBuilder::new(&expression).size_limit(MAX_COMPILED).dfa_size_limit(MAX_STATES).build().ok()?,
        ),
    })
}

fn literal(c: char, expression: &mut String) {
    expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// A class whose form was checked already, written so that no character has another meaning.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, expression: &mut String) -> Option<()> {
    expression.push('[');
    if chars.next_if_eq(&'^').is_some() {
        expression.push('^');
    }
    let one = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next()? {
        '\\' => chars.next(),
        c => Some(c),
    };
    loop {
        let low = one(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { one(chars)? } else { low };
        // An empty range is refused by moby too, though only when it first compares.
        if low > high {
            return None;
        }
        write!(expression, "\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)).ok()?;
        if chars.next_if_eq(&']').is_some() {
            expression.push(']');
            return Some(());
        }
    }
}
