//! Patterns of `${X#p}`, `${X%p}` and `${X/p/r}`: `*`, `?` and backslash, no brackets.
//!
//! They become regular expressions without back-tracking, so that no pattern can take more than linear time; how much
//! that is, characters of the pattern times bytes of the value, is limited.

use crate::expand::ExpandError;
use regex::{Regex, RegexBuilder};

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;

/// Steps that are left for matching: one is one element of a pattern against one byte of a value, some ten nanoseconds.
pub(crate) struct Steps(usize);

impl Steps {
    /// For one word.
    pub(crate) const WORD: usize = 4 << 20;
    /// For all words of a file.
    pub(crate) const FILE: usize = 64 << 20;

    pub(crate) fn new(steps: usize) -> Self {
        Self(steps)
    }

    /// A value was looked up, or is to be matched with a pattern of so many elements.
    pub(crate) fn take(&mut self, tokens: usize, value: &str) -> Result<(), ExpandError> {
        let needed = (tokens + 1).saturating_mul(value.len());
        self.0 = self.0.checked_sub(needed).ok_or(ExpandError::PatternWork)?;
        Ok(())
    }
}

/// What to trim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Front,
    Back,
}

enum Token {
    Literal(char),
    One,
    Many,
}

fn tokens(pattern: &str, escape: char) -> Result<Vec<Token>, ExpandError> {
    if pattern.len() > MAX_PATTERN {
        return Err(ExpandError::TooLong { limit: MAX_PATTERN });
    }
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => tokens.push(Token::Many),
            '?' => tokens.push(Token::One),
            _ if c == escape && matches!(chars.peek(), Some('}' | '/')) => {}
            '\\' => match chars.next() {
                Some(literal @ ('*' | '?' | '\\' | '}' | '/')) => tokens.push(Token::Literal(literal)),
                _ => return Err(ExpandError::Pattern { pattern: pattern.to_owned() }),
            },
            _ => tokens.push(Token::Literal(c)),
        }
    }
    Ok(tokens)
}

fn regex<'a>(
    tokens: impl Iterator<Item = &'a Token>,
    longest: bool,
    anchored: bool,
    pattern: &str,
) -> Result<Regex, ExpandError> {
    let mut text = String::from(if anchored { "^" } else { "" });
    for token in tokens {
        match token {
            Token::Literal(c) => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            Token::One => text.push('.'),
            Token::Many => text.push_str(if longest { ".*" } else { ".*?" }),
        }
    }
    RegexBuilder::new(&text).build().map_err(|_| ExpandError::Pattern { pattern: pattern.to_owned() })
}

/// Removes the shortest or longest match at one side.
pub(crate) fn trim(
    pattern: &str,
    value: &str,
    side: Side,
    longest: bool,
    escape: char,
    steps: &mut Steps,
) -> Result<String, ExpandError> {
    let tokens = tokens(pattern, escape)?;
    steps.take(tokens.len(), value)?;
    if side == Side::Front {
        let regex = regex(tokens.iter(), longest, true, pattern)?;
        let end = regex.find(value).map_or(0, |found| found.end());
        return Ok(value[end..].to_owned());
    }
    // The shortest match at the end is the shortest at the front of the reversed text.
    let regex = regex(tokens.iter().rev(), longest, true, pattern)?;
    let reversed: String = value.chars().rev().collect();
    let length = regex.find(&reversed).map_or(0, |found| found.end());
    Ok(value[..value.len() - length].to_owned())
}

/// Replaces the first match, or all; the longest at each place.
pub(crate) fn replace(
    pattern: &str,
    value: &str,
    replacement: &str,
    all: bool,
    escape: char,
    steps: &mut Steps,
) -> Result<String, ExpandError> {
    let tokens = tokens(pattern, escape)?;
    // Matches are counted first, then replaced.
    steps.take(2 * tokens.len(), value)?;
    let regex = regex(tokens.iter(), true, false, pattern)?;
    // Zero means all.
    let limit = usize::from(!all);
    let matches = if all { regex.find_iter(value).count() } else { 1 };
    if matches.saturating_mul(replacement.len()) > crate::expand::MAX_EXPANSION {
        return Err(ExpandError::TooLong { limit: crate::expand::MAX_EXPANSION });
    }
    Ok(regex.replacen(value, limit, regex::NoExpand(replacement)).into_owned())
}
