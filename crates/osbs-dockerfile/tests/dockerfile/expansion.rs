//! Variables, quotes and escapes.

use osbs_dockerfile::{ExpandError, expand, expand_heredoc, expand_words};

fn env(name: &str) -> Option<String> {
    let value = match name {
        "HOME" => "/root",
        "EMPTY" => "",
        "VERSION" => "1.2.3",
        "FILE" => "dir/archive.tar.gz",
        "SPACED" => " a  b ",
        "ÄRGER" => "ja",
        "STAR" => "a*b",
        "BIG" => return Some("x".repeat(300_000)),
        _ => return None,
    };
    Some(value.to_owned())
}

#[track_caller]
fn check(word: &str, expected: &str) {
    assert_eq!(expand(word, &env, '\\').as_deref(), Ok(expected), "{word}");
}

#[track_caller]
fn check_error(word: &str) {
    let result = expand(word, &env, '\\');
    assert!(result.is_err(), "{word} gave {result:?}");
}

#[test]
fn quotes_and_escapes() {
    let cases = [
        ("plain", "plain"),
        ("", ""),
        ("a'b'c", "abc"),
        (r"a\'b", "a'b"),
        (r"\a\b", "ab"),
        (r#""a\b""#, r"a\b"),
        (r#""a\\b""#, r"a\b"),
        (r#""a\"b""#, r#"a"b"#),
        (r#""a\$HOME""#, "a$HOME"),
        (r"'a\b'", r"a\b"),
        ("'$HOME'", "$HOME"),
        ("\"'$HOME'\"", "'/root'"),
        (r"end\", "end"),
        (r"end\\", r"end\"),
        (r#""it's""#, "it's"),
        ("''", ""),
    ];
    for (word, expected) in cases {
        check(word, expected);
    }
    for word in ["'a", "\"a", r#""a\""#, "a'", r"\\'x"] {
        check_error(word);
    }
}

#[test]
fn variables() {
    let cases = [
        ("$HOME", "/root"),
        ("${HOME}", "/root"),
        ("${HOME}x", "/rootx"),
        ("$HOMEx", ""),
        ("$HOME/x", "/root/x"),
        ("$UNSET", ""),
        (r"\$HOME", "$HOME"),
        (r"\\$HOME", r"\/root"),
        (r"\${HOME}", "${HOME}"),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$1x", "x"),
        ("$12x", "x"),
        ("$ÄRGER", "ja"),
        ("$$HOME", "HOME"),
        ("$SPACED", " a  b "),
        ("${UNSET:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${UNSET-d}", "d"),
        ("${HOME:-d}", "/root"),
        ("${HOME:+d}", "d"),
        ("${EMPTY:+d}", ""),
        ("${EMPTY+d}", "d"),
        ("${UNSET+d}", ""),
        ("${UNSET:-${EMPTY:-$HOME}}", "/root"),
        ("${UNSET:-\"a b\"}", "a b"),
        ("${UNSET:-'}'}", "}"),
        (r"${UNSET:-\}}", "}"),
        ("${HOME:?m}", "/root"),
        ("${EMPTY?m}", ""),
        ("${FILE#*/}", "archive.tar.gz"),
        ("${FILE##*.}", "gz"),
        ("${FILE#*.}", "tar.gz"),
        ("${FILE%.*}", "dir/archive.tar"),
        ("${FILE%%.*}", "dir/archive"),
        ("${FILE%/*}", "dir"),
        ("${FILE#dir}", "/archive.tar.gz"),
        ("${FILE#x}", "dir/archive.tar.gz"),
        ("${FILE#???}", "/archive.tar.gz"),
        (r"${STAR#a\*}", "b"),
        ("${STAR%'*b'}", "a*"),
        ("${VERSION%.${VERSION##*.}}", "1.2"),
        ("${VERSION/./-}", "1-2.3"),
        ("${VERSION//./-}", "1-2-3"),
        ("${VERSION//./}", "123"),
        (r"${FILE/\//:}", "dir:archive.tar.gz"),
        ("${FILE//[ai]/x}", "dir/archive.tar.gz"),
        ("${VERSION/*/x}", "x"),
        ("${VERSION//*/x}", "x"),
        ("${VERSION//./$HOME}", "1/root2/root3"),
        ("${UNSET/a/b}", ""),
        ("${UNSET#a}", ""),
    ];
    for (word, expected) in cases {
        check(word, expected);
    }
}

#[test]
fn refused() {
    for word in [
        "${",
        "${}",
        "${{x}",
        "${:-x}",
        "${HOME",
        "${HOME:-x",
        "${HOME^^}",
        "${HOME:x}",
        "${HOME:#x}",
        "${.}",
        "${HOME/a",
        "${HOME/a/b",
        "${UNSET:?}",
        "${UNSET?}",
        "${EMPTY:?}",
        "${UNSET:?gone}",
        r"${HOME#\a}",
        "\"${HOME\"",
    ] {
        check_error(word);
    }
    let gone = ExpandError::Required { name: "UNSET".into(), message: "gone".into() };
    assert_eq!(expand("${UNSET:?gone}", &env, '\\'), Err(gone));
}

#[test]
fn hostile_sizes_end_early() {
    assert!(matches!(expand("$BIG$BIG$BIG$BIG", &env, '\\'), Err(ExpandError::TooLong { .. })));
    let deep = format!("{}x{}", "${A:-".repeat(100_000), "}".repeat(100_000));
    assert!(matches!(expand(&deep, &env, '\\'), Err(ExpandError::TooDeep { .. })));
    let started = std::time::Instant::now();
    for pattern in ["##{*a}y", "##{*?}y", "%{*?}y", "#{*x?}", "//{?}y/z", "//x*{?}y/z", "/{x*x}y/z"] {
        let (before, rest) = pattern.split_once('{').expect("a piece to repeat");
        let (piece, after) = rest.split_once('}').expect("its end");
        let word = format!("${{BIG{before}{}{after}}}", piece.repeat(1000));
        assert_eq!(expand(&word, &env, '\\'), Err(ExpandError::PatternWork), "{pattern}");
    }
    let long = format!("${{HOME##{}}}", "*".repeat(5000));
    assert!(matches!(expand(&long, &env, '\\'), Err(ExpandError::TooLong { .. })));
    // What people write is far from the limits.
    assert_eq!(expand("${BIG%%xxxxx*}", &env, '\\').as_deref(), Ok(""));
    let many = format!("${{BIG//x/{}}}", "y".repeat(1000));
    assert!(matches!(expand(&many, &env, '\\'), Err(ExpandError::TooLong { .. })));
    assert!(started.elapsed().as_secs() < 5, "took {:?}", started.elapsed());
}

#[test]
fn other_escape_character() {
    for (word, expected) in [("`$HOME", "$HOME"), (r"C:\x", r"C:\x"), ("\"`\"\"", "\""), ("``", "`"), ("\"\\\"", "\\")]
    {
        assert_eq!(expand(word, &env, '`').as_deref(), Ok(expected), "{word}");
    }
}

#[test]
fn words() {
    let cases: &[(&str, &[&str])] = &[
        ("a b", &["a", "b"]),
        ("  a   b  ", &["a", "b"]),
        ("a$SPACED", &["a", "a", "b"]),
        ("\"a$SPACED\"", &["a a  b "]),
        ("x${SPACED}y", &["x", "a", "b", "y"]),
        (r"a\ b", &["a b"]),
        ("'a b' c", &["a b", "c"]),
        ("$UNSET", &[]),
        ("\"\"", &[]),
        ("80${UNSET:-80}/tcp", &["8080/tcp"]),
    ];
    for (text, expected) in cases {
        assert_eq!(expand_words(text, &env, '\\').expect(text), *expected, "{text}");
    }
}

#[test]
fn heredoc_content_keeps_quotes() {
    for (text, expected) in [
        ("a='$HOME'\nb=\"$HOME\"\n", "a='/root'\nb=\"/root\"\n"),
        ("it's \\$HOME\n", "it's $HOME\n"),
        ("${UNSET:-x}", "x"),
    ] {
        assert_eq!(expand_heredoc(text, &env).as_deref(), Ok(expected), "{text}");
    }
}
