//! `.dockerignore`.

use osbs_dockerfile::IgnorePatterns;

#[track_caller]
fn check(file: &str, path: &str, ignored: bool) {
    let patterns = IgnorePatterns::parse(file.as_bytes()).expect(file);
    assert_eq!(patterns.is_ignored(path.as_bytes()), ignored, "{path:?} with {file:?}");
}

#[test]
fn patterns() {
    let cases = [
        ("a", "a", true),
        ("a", "a/b/c", true),
        ("a", "b/a", false),
        ("a", "ab", false),
        ("/a", "a", true),
        ("a/", "a/b", true),
        ("./a", "a", true),
        ("a//b/../c", "a/c", true),
        ("  a  ", "a", true),
        ("*", "a", true),
        ("*", "a/b", true),
        ("*.o", "x.o", true),
        ("*.o", "d/x.o", false),
        ("*/*.o", "d/x.o", true),
        ("a?c", "abc", true),
        ("a?c", "a/c", false),
        ("**", "a/b/c", true),
        ("**/x", "x", true),
        ("**/x", "a/b/x", true),
        ("**/x", "a/b/x/y", true),
        ("**/x", "ax", false),
        ("**x", "ax", true),
        ("a/**", "a/b/c", true),
        ("a/**", "a", false),
        ("a/**/z", "a/z", true),
        ("a/**/z", "a/b/c/z", true),
        ("a/**/z", "a/bz", false),
        ("**/*.go", "m/n.go", true),
        ("**/*.go", "n.go", true),
        ("**/*.go", "n.gox", false),
        ("a**b", "ab", true),
        ("[ab].c", "a.c", true),
        ("[^ab].c", "a.c", false),
        ("[a-c]x", "bx", true),
        ("[\\]]x", "]x", true),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        ("\\d", "d", true),
        ("\\d", "7", false),
        ("a.b", "axb", false),
        ("(a|b)+{2}$", "(a|b)+{2}$", true),
        ("[&&]", "&", true),
        ("日*", "日本", true),
        ("?", "日", true),
        ("# a\nb", "# a", false),
        ("a\n!a/b", "a/b", false),
        ("a\n!a/b", "a/b/c", false),
        ("a\n!a/b", "a/c", true),
        ("*\n!a", "a", false),
        ("*\n!a", "a/b", false),
        ("*\n!a\na/x", "a/x", true),
        ("!a\na", "a", true),
        ("*\n! a", "a", false),
        ("**/*.md\n!README.md", "README.md", false),
        ("**/*.md\n!README.md", "doc/README.md", true),
        ("\r\na\r\n", "a", true),
    ];
    for (file, path, ignored) in cases {
        check(file, path, ignored);
    }
    check("\u{feff}a", "a", true);
    let odd = IgnorePatterns::parse(b"a?b").expect("valid");
    assert!(odd.is_ignored(b"a\xffb") && !odd.is_ignored(b"a\xff\xfeb"));
}

#[test]
fn refused() {
    for file in ["a\n[", "a\n!", "a\n[a", "a\nb\\", "a\n[]a]", "a\n[z-a]"] {
        let error = IgnorePatterns::parse(file.as_bytes()).expect_err(file);
        assert_eq!(error.line, 2, "{error}");
    }
    assert!(IgnorePatterns::parse("*a\n".repeat(100_000).as_bytes()).is_err());
    let long = "x".repeat(10_000);
    assert!(IgnorePatterns::parse(long.as_bytes()).is_err());
}

#[test]
fn folders_that_need_not_be_read() {
    let cases = [
        ("a", "a", true),
        ("a\n!a/b/c", "a", false),
        ("a\n!a/b/c", "a/b", false),
        ("a\n!a/b/c", "a/x", true),
        ("a\n!b", "a", true),
        ("a\n!b/c", "a", true),
        ("a\n!*", "a", false),
        ("a\n!*/c", "a", false),
        ("*\n!**/keep", "a/b", false),
        ("*\n!src/**", "src/x", false),
        ("*\n!src/**", "doc", true),
        ("b", "a", false),
    ];
    for (file, folder, pruned) in cases {
        let patterns = IgnorePatterns::parse(file.as_bytes()).expect(file);
        assert_eq!(patterns.prunes(folder.as_bytes()), pruned, "{folder:?} with {file:?}");
    }
}

#[test]
fn exclude_patterns() {
    let patterns = IgnorePatterns::new(&["*.tmp", "!keep.tmp", ""]).expect("valid");
    assert!(patterns.is_ignored(b"a.tmp") && !patterns.is_ignored(b"keep.tmp") && patterns.has_exceptions());
    assert!(IgnorePatterns::new::<&str>(&[]).expect("valid").is_empty());
}

#[test]
fn hostile_patterns_end_early() {
    let started = std::time::Instant::now();
    let refused = [
        ("many patterns", "*a\n".repeat(5000)),
        ("many wildcards", "[^b]*[^b]*[^b]*[^b]*\n".repeat(3000)),
        ("stars", "*a".repeat(4000)),
        ("double stars", "**/a".repeat(2000)),
        ("classes", "[^b]*".repeat(1600)),
        ("a large file", "a\n".repeat(600_000)),
    ];
    for (what, file) in refused {
        assert!(IgnorePatterns::parse(file.as_bytes()).is_err(), "{what}");
    }
    let path = "a/".repeat(200) + "a";
    for piece in ["*a", "[!-~]", "**/a/", "a**", "?"] {
        let patterns = IgnorePatterns::parse(piece.repeat(200).as_bytes()).expect(piece);
        let _ = (patterns.is_ignored(path.as_bytes()), patterns.prunes(path.as_bytes()));
    }
    assert!(started.elapsed().as_secs() < 10, "took {:?}", started.elapsed());
}
