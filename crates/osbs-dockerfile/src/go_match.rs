//! Go's `filepath.Match`, which COPY and ADD sources are matched with.

use crate::ignore::PatternError;

/// Whether the name matches the pattern as a whole: `*` and `?` (not `/`), `[a-z]`, `[^a-z]`, `\c`. Bytes that are not
/// UTF-8 count as one character each.
///
/// # Errors
/// A pattern of bad form, whether or not the name gets as far.
pub fn go_match(pattern: &str, name: &[u8]) -> Result<bool, PatternError> {
    let tokens = parse(pattern)?;
    let name: Vec<char> = lossy(name).chars().collect();
    Ok(matches(&tokens, &name))
}

/// The text with each byte that is not UTF-8 as one replacement character, as Go's `range` sees it.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

enum Token {
    Literal(char),
    One,
    Many,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

fn parse(pattern: &str) -> Result<Vec<Token>, PatternError> {
    let error = |reason| PatternError { pattern: pattern.to_owned(), reason, line: 0 };
    let mut chars = pattern.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Many,
            '?' => Token::One,
            '\\' => Token::Literal(chars.next().ok_or_else(|| error("a backslash must stand before a character"))?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
                        break Token::Class { negated, ranges };
                    }
                    let low = class_char(&mut chars).ok_or_else(|| error(BAD_CLASS))?;
                    let high = match chars.next_if_eq(&'-') {
                        Some(_) => class_char(&mut chars).ok_or_else(|| error(BAD_CLASS))?,
                        None => low,
                    };
                    ranges.push((low, high));
                }
            }
            _ => Token::Literal(c),
        });
    }
    Ok(tokens)
}

const BAD_CLASS: &str = "a class is [abc], [a-z] or [^a-z], with a backslash before - and ]";

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

/// Goes back only to the latest star that it can still help, so it takes at most pattern times name steps.
fn matches(tokens: &[Token], name: &[char]) -> bool {
    let (mut t, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match tokens.get(t) {
            Some(Token::Many) => {
                star = Some((t, n));
                t += 1;
                continue;
            }
            Some(token) if name.get(n).is_some_and(|c| token.accepts(*c)) => {
                t += 1;
                n += 1;
                continue;
            }
            None if n == name.len() => return true,
            _ => {}
        }
        // No star can take a slash.
        let Some((star_at, taken)) = star.filter(|(_, taken)| name.get(*taken).is_some_and(|c| *c != '/')) else {
            return false;
        };
        star = Some((star_at, taken + 1));
        t = star_at + 1;
        n = taken + 1;
    }
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == c,
            Self::One => c != '/',
            Self::Many => false,
            // As in Go, a class may match a slash.
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_does() {
        // Pattern, name, result; `None` for a bad pattern.
        let cases: &[(&str, &str, Option<bool>)] = &[
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*", "abc", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*/b", "a/c/b", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("[a-ζ]*", "α", Some(true)),
            ("*[a-ζ]", "A", Some(false)),
            ("a?b", "a/b", Some(false)),
            ("a*b", "a/b", Some(false)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-x]", "-", Some(true)),
            ("[x\\-]", "z", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^", "a", None),
            ("[^bc", "a", None),
            ("a[", "a", None),
            ("a[", "ab", None),
            ("a\\", "a", None),
            ("*x", "xxx", Some(true)),
            ("", "", Some(true)),
            ("", "a", Some(false)),
            ("**", "ab", Some(true)),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(go_match(pattern, name.as_bytes()).ok(), *expected, "{pattern:?} on {name:?}");
        }
        assert_eq!(go_match("a?b", b"a\xffb").ok(), Some(true));
        assert_eq!(go_match("a?b", b"a\xff\xfeb").ok(), Some(false));
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "a*".repeat(2000) + "b";
        assert_eq!(go_match(&pattern, "a".repeat(5000).as_bytes()).ok(), Some(false));
    }
}
