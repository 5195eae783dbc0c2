//! Go's `filepath.Match`, which COPY and ADD sources are matched with.

use crate::ignore::PatternError;

/// Whether the name matches the pattern as a whole: `*` and `?` (not `/`), `[a-z]`, `[^a-z]`, `\c`. Bytes that are not
/// UTF-8 count as one character each.
///
/// # Errors
/// A pattern of bad form.
pub fn go_match(pattern: &str, name: &[u8]) -> Result<bool, PatternError> {
    let _ = (pattern, name);
    todo!()
}
