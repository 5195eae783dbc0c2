//! Prefixes and patterns of names, as SQLite's GLOB takes them.

use crate::call_error::{CallError, refused};

/// No name is longer.
const LONGEST: usize = 256;
/// Each multiplies the work.
const MOST_STARS: usize = 6;

/// The pattern of texts that begin with `prefix`, whatever characters it has.
pub(crate) fn starts_with(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    // One character more than any name has matches none, as it should.
    for character in prefix.chars().take(LONGEST + 1) {
        match character {
            // A set of one character stands for itself.
            '*' | '?' | '[' => pattern.extend(['[', character, ']']),
            _ => pattern.push(character),
        }
    }
    pattern.push('*');
    pattern
}

/// A pattern of a caller, with `*`, `?` and `[...]`.
///
/// # Errors
/// 1000: it is longer than a name, or would take for ever.
pub(crate) fn checked(pattern: &str) -> Result<String, CallError> {
    if pattern.len() > LONGEST || pattern.matches('*').count() > MOST_STARS {
        return Err(refused(format!("a pattern has at most {LONGEST} characters and {MOST_STARS} stars")));
    }
    Ok(pattern.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_taken_literally() {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        for (prefix, text, matches) in [
            ("a", "ab", true),
            ("a", "ba", false),
            ("*", "ab", false),
            ("[a", "[ab", true),
            ("?", "a", false),
            ("", "x", true),
        ] {
            let found: bool =
                database.query_row("SELECT ? GLOB ?", [text, &starts_with(prefix)], |row| row.get(0)).unwrap();
            assert_eq!(found, matches, "{prefix} {text}");
        }
    }
}
