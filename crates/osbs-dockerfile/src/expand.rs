//! Shell-style substitution of variables in Dockerfile words.

/// A word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// `${` or a quote without its end.
    #[error("{word:?}: missing {missing}")]
    Unfinished {
        /// The word.
        word: String,
        /// What is missing.
        missing: char,
    },
}

/// One word: variables substituted, quotes and escapes removed. An undefined variable gives the empty text.
///
/// # Errors
/// Bad syntax, `${X:?message}` without a value, or a result beyond the limit.
pub fn expand(word: &str, env: &dyn Fn(&str) -> Option<String>, escape: char) -> Result<String, ExpandError> {
    let _ = (word, env, escape);
    todo!()
}

/// The same, split into words at white space outside quotes, also at that which variables bring in (EXPOSE).
///
/// # Errors
/// As [`expand`].
pub fn expand_words(word: &str, env: &dyn Fn(&str) -> Option<String>, escape: char) -> Result<Vec<String>, ExpandError> {
    let _ = (word, env, escape);
    todo!()
}

/// The content of a heredoc (COPY, ADD) whose delimiter is not quoted: variables substituted, quotes kept.
///
/// # Errors
/// As [`expand`].
pub fn expand_heredoc(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, ExpandError> {
    let _ = (text, env);
    todo!()
}
