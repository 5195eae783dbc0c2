//! Prefixes and patterns of names, as SQLite's GLOB takes them.

/// The pattern of texts that begin with `prefix`, whatever characters it has.
pub(crate) fn starts_with(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        match character {
            // A set of one character stands for itself.
            '*' | '?' | '[' => pattern.extend(['[', character, ']']),
            _ => pattern.push(character),
        }
    }
    pattern.push('*');
    pattern
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
