//! Splitting of logical lines into keyword, flags and arguments.

use crate::instruction::Flag;
use std::iter::Peekable;
use std::str::CharIndices;

/// White space between keyword and arguments, and between the arguments of FROM, EXPOSE, COPY, ADD and VOLUME.
pub(crate) const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// The keyword as written, and the rest without surrounding white space.
pub(crate) fn keyword(line: &str) -> (&str, &str) {
    let line = line.trim();
    line.split_once(BLANKS).map_or((line, ""), |(keyword, rest)| (keyword, rest.trim()))
}

/// Words separated by blanks, quotes without meaning.
pub(crate) fn blank_separated(text: &str) -> Vec<String> {
    text.split(BLANKS).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Words separated by white space outside quotes; quotes and escapes stay in them.
pub(crate) fn quoted_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        if c == escape && quote != Some('\'') {
            // At the very end it protects nothing and is dropped.
            if let Some(escaped) = chars.next() {
                word.extend([c, escaped]);
            }
            continue;
        }
        match quote {
            Some(open) if open == c => quote = None,
            None if matches!(c, '\'' | '"') => quote = Some(c),
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The flags at the start of the arguments, quotes removed, and what follows them. A lone `--` ends them.
pub(crate) fn flags(text: &str, escape: char) -> (Vec<Flag>, &str) {
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let mut chars = rest.char_indices().peekable();
        let word = flag_word(&mut chars, escape);
        rest = chars.peek().map_or("", |(at, _)| &rest[*at..]);
        if word == "--" {
            return (flags, rest.trim_start());
        }
        let (name, value) = word.split_once('=').map_or((&word[..], None), |(name, value)| (name, Some(value)));
        flags.push(Flag { name: name.trim_start_matches("--").to_owned(), value: value.map(str::to_owned) });
    }
}

fn flag_word(chars: &mut Peekable<CharIndices<'_>>, escape: char) -> String {
    let mut word = String::new();
    let mut quote: Option<char> = None;
    while let Some((_, c)) = chars.next_if(|(_, c)| quote.is_some() || !c.is_whitespace()) {
        match quote {
            Some(open) if open == c => quote = None,
            None if matches!(c, '\'' | '"') => quote = Some(c),
            _ if c == escape => word.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => word.push(c),
        }
    }
    word
}

/// The allowed word that was probably meant: at most two slips away, letter case ignored.
pub fn nearest<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are no slips of the keyboard, and the comparison is quadratic.
    if word.len() > 40 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    allowed
        .into_iter()
        .map(|candidate| (edit_distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + differs);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
