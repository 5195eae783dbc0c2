//! Heredoc words in a logical line: `<<NAME`, `<<-NAME`, `<<"NAME"`, `3<<NAME`.

use crate::expand::{delimiter_words, raw_words};
use crate::instruction::Heredoc;

/// The heredocs that a logical line opens, without content, in order. A line with unbalanced quotes opens none: it is
/// then the shell's to complain.
pub(crate) fn in_line(line: &str) -> Vec<Heredoc> {
    if !line.contains("<<") {
        return Vec::new();
    }
    raw_words(line).unwrap_or_default().iter().filter_map(|word| parse_word(word)).collect()
}

/// The text consists of one heredoc word and nothing else.
pub(crate) fn is_lone(text: &str) -> bool {
    parse_word(text).is_some()
}

/// A heredoc word, without content.
pub(crate) fn parse_word(word: &str) -> Option<Heredoc> {
    let (number, rest) = word.split_once("<<")?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (strip_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let [name] = <[String; 1]>::try_from(delimiter_words(rest, false).ok()?).ok()?;
    let [written] = <[String; 1]>::try_from(delimiter_words(rest, true).ok()?).ok()?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = quotes(&name) == quotes(&written);
    Some(Heredoc { expand, name, strip_tabs, file_descriptor: number.parse().ok(), content: String::new() })
}
