//! Words of a Dockerfile: expansion ends, is bounded, and quoting protects any text.

use crate::check_message;
use osbs_dockerfile::{MAX_EXPANSION, expand, expand_heredoc, expand_words};

/// The first line is the value of every variable whose name has an even number of bytes; the rest is the word.
pub fn expansion(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (value, word) = text.split_once('\n').unwrap_or(("", &text));
    let env = |name: &str| name.len().is_multiple_of(2).then(|| value.to_owned());
    for escape in ['\\', '`'] {
        match expand(word, &env, escape) {
            Ok(expanded) => assert!(expanded.len() <= word.len() + MAX_EXPANSION),
            Err(error) => check_message(&error.to_string()),
        }
        if let Ok(words) = expand_words(word, &env, escape) {
            assert!(words.iter().all(|word| !word.is_empty()));
            assert!(words.iter().map(String::len).sum::<usize>() <= word.len() + MAX_EXPANSION);
        }
        check_quoting(word, escape);
    }
    if let Ok(expanded) = expand_heredoc(word, &env) {
        assert!(expanded.len() <= word.len() + MAX_EXPANSION);
    }
    if !word.contains(['$', '\'', '"', '\\', '`']) {
        assert_eq!(expand(word, &env, '\\').as_deref(), Ok(word));
    }
}

/// Text in double quotes with each special character escaped stands for itself, as one word.
fn check_quoting(text: &str, escape: char) {
    let mut quoted = String::from('"');
    for c in text.chars() {
        if matches!(c, '"' | '$') || c == escape {
            quoted.push(escape);
        }
        quoted.push(c);
    }
    quoted.push('"');
    let env = |_: &str| Some("wrong".to_owned());
    assert_eq!(expand(&quoted, &env, escape).as_deref(), Ok(text), "{quoted:?}");
    let words = expand_words(&quoted, &env, escape).expect("quoted");
    assert_eq!(words.concat(), text, "{quoted:?}");
    assert!(words.len() <= 1, "{quoted:?}");
}
