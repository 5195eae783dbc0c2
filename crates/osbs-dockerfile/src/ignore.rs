//! `.dockerignore` patterns, with the meaning of moby's pattern matcher.

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is not a pattern: {reason}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// Why.
    pub reason: &'static str,
    /// Line in the file, from 1; 0 when it is not from a file.
    pub line: usize,
}

/// An ordered list of patterns; the last that matches decides.
#[derive(Debug, Clone, Default)]
pub struct IgnorePatterns {
    patterns: Vec<String>,
}

impl IgnorePatterns {
    /// From the bytes of a `.dockerignore` (comments, blank lines and a byte-order mark are dropped).
    ///
    /// # Errors
    /// A bad pattern.
    pub fn parse(text: &[u8]) -> Result<Self, PatternError> {
        let _ = text;
        todo!()
    }

    /// From patterns, such as those of `--exclude`.
    ///
    /// # Errors
    /// A bad pattern.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PatternError> {
        let _ = patterns;
        todo!()
    }

    /// No pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Some pattern starts with `!`.
    pub fn has_exceptions(&self) -> bool {
        todo!()
    }

    /// The path (relative, `/` between parts, any bytes) is left out.
    pub fn is_ignored(&self, path: &[u8]) -> bool {
        let _ = path;
        todo!()
    }

    /// The folder is left out and nothing below it can be re-included: it need not be read.
    pub fn prunes(&self, folder: &[u8]) -> bool {
        let _ = folder;
        todo!()
    }
}
