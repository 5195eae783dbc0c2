//! Edits keep what they need not change.

use osbs_dockerfile::{Dockerfile, EditError};

fn parse(text: &str) -> Dockerfile {
    Dockerfile::parse(text, "Dockerfile").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[track_caller]
fn check(before: &str, edit: impl FnOnce(&mut Dockerfile) -> Result<(), EditError>, after: &str) {
    let mut file = parse(before);
    edit(&mut file).unwrap_or_else(|error| panic!("{error}: {before}"));
    assert_eq!(file.text(), after, "from {before:?}");
}

#[test]
fn setting_labels() {
    let cases = [
        // before, name, value, after
        ("FROM a\n", "k", "v", "FROM a\nLABEL \"k\"=\"v\"\n"),
        ("FROM a", "k", "v", "FROM a\nLABEL \"k\"=\"v\"\n"),
        ("FROM a\r\nRUN x\r\n", "k", "v", "FROM a\r\nRUN x\r\nLABEL \"k\"=\"v\"\r\n"),
        ("FROM a\nLABEL k=1\nRUN x\n", "k", "2", "FROM a\nLABEL \"k\"=\"2\"\nRUN x\n"),
        ("FROM a\nLABEL k=1\n", "k", "1", "FROM a\nLABEL k=1\n"),
        (
            "FROM a\nLABEL a=\"x y\" \\\n  # c\n  k=1 \\\n  b='$z'\n#end\n",
            "k",
            "2",
            "FROM a\nLABEL a=\"x y\" \"k\"=\"2\" b='$z'\n#end\n",
        ),
        ("FROM a\nLABEL k one two", "k", "2", "FROM a\nLABEL \"k\"=\"2\""),
        ("FROM a\nLABEL k=1\nLABEL k=2\n", "k", "3", "FROM a\nLABEL k=1\nLABEL \"k\"=\"3\"\n"),
        ("FROM a\nLABEL k=1\nFROM b\n", "k", "1", "FROM a\nLABEL k=1\nFROM b\nLABEL \"k\"=\"1\"\n"),
        ("FROM a\nLABEL $K=1\n", "k", "2", "FROM a\nLABEL \"k\"=\"2\"\n"),
        ("# escape=`\nFROM a\n", "k", "a`b\\c$d\"", "# escape=`\nFROM a\nLABEL \"k\"=\"a``b\\c`$d`\"\"\n"),
        ("FROM a\nRUN x \\\n", "k", "v", "FROM a\nRUN x\nLABEL \"k\"=\"v\"\n"),
        ("FROM a\nRUN x \\ \\", "k", "v", "FROM a\nRUN x\nLABEL \"k\"=\"v\"\n"),
        ("FROM a\nRUN x \\\n# c\n\\\n", "k", "v", "FROM a\nRUN x\nLABEL \"k\"=\"v\"\n"),
        ("FROM a\nRUN <<E\nx \\\nE", "k", "v", "FROM a\nRUN <<E\nx \\\nE\nLABEL \"k\"=\"v\"\n"),
    ];
    for (before, key, value, after) in cases {
        let env = [("K".to_owned(), "k".to_owned())];
        check(before, |file| file.set_label(key, value, &env), after);
        assert_eq!(parse(after).labels(&env).expect(after).get(key).map(String::as_str), Some(value));
    }
}

#[test]
fn awkward_label_values_survive() {
    for value in [
        "", " ", "a b", "\"", "\\", "\\\\", "$HOME", "${X:-y}", "\\$X", "'", "`", "é ☺", "a\\", "x=y", "#", "<<EOF",
        "\t",
    ] {
        for text in ["FROM a\n", "# escape=`\nFROM a\n"] {
            let mut file = parse(text);
            file.append_labels(
                [("k", value), (value, "v")].into_iter().filter(|(k, _)| !k.is_empty() && !k.contains('=')),
            )
            .expect(value);
            let labels = file.labels(&[("HOME".into(), "no".into())]).expect(value);
            assert_eq!(labels.get("k").map(String::as_str), Some(value), "{}", file.text());
        }
    }
    for (key, value) in [("", "v"), ("a=b", "v"), ("k", "a\nb"), ("k\r", "v")] {
        let mut file = parse("FROM a\n");
        assert!(matches!(file.set_label(key, value, &[]), Err(EditError::Label { .. })), "{key:?} {value:?}");
        assert_eq!(file.text(), "FROM a\n");
    }
}

#[test]
fn appended_line() {
    let mut file = parse("FROM a");
    assert_eq!(file.append_labels([]), Ok(None));
    let line = file.append_labels([("a", "1"), ("b", "$x\"\\")]).expect("valid");
    assert_eq!(line.as_deref(), Some(r#"LABEL "a"="1" "b"="\$x\"\\""#));
    assert_eq!(file.text(), "FROM a\nLABEL \"a\"=\"1\" \"b\"=\"\\$x\\\"\\\\\"\n");
}

#[test]
fn parents() {
    let id = format!("sha256:{}", "a".repeat(64));
    let cases: &[(&str, &[&str], &str)] = &[
        ("FROM a\n", &["b:1"], "FROM b:1\n"),
        ("FROM a", &["b:1"], "FROM b:1"),
        ("from  a\n", &["a:latest"], "from  a\n"),
        ("from  a\n", &["a"], "from  a\n"),
        (
            "FROM --platform=x/y \\\n a \\\n# c\n as  Web\r\nRUN x\n",
            &["b:1"],
            "FROM --platform=x/y b:1 AS Web\nRUN x\n",
        ),
        ("FROM a AS b\nFROM b\nFROM c\n", &["x:1", "c:latest"], "FROM x:1 AS b\nFROM b\nFROM c\n"),
        ("FROM scratch AS s\nFROM c\n", &["scratch", "d:1"], "FROM scratch AS s\nFROM d:1\n"),
        ("ARG V=1\nFROM a:$V\n", &["a:1"], "ARG V=1\nFROM a:$V\n"),
        ("ARG V=1\nFROM a:$V\n", &["a:2"], "ARG V=1\nFROM a:2\n"),
        ("\u{feff}FROM a\n", &["b:1"], "\u{feff}FROM b:1\n"),
        ("FROM a\n", &[&id], &format!("FROM {id}\n")),
    ];
    for (before, parents, after) in cases {
        check(before, |file| file.set_parents(&lines(parents)), after);
    }
    let mut file = parse("FROM a\nFROM b\n");
    assert_eq!(file.set_parents(&lines(&["x:1"])), Err(EditError::ParentCount { given: 1, expected: 2 }));
    for bad in ["", "x y", "x\nRUN evil", "$X", "x\\"] {
        assert!(matches!(file.set_parents(&lines(&["a:latest", bad])), Err(EditError::Image { .. })), "{bad:?}");
    }
    assert_eq!(file.text(), "FROM a\nFROM b\n");
}

/// The example of `inject_yum_repo` (`reactor.md` 3.1.21).
#[test]
fn yum_repositories() {
    let mut file = parse("FROM x AS b\nRUN make\nFROM y\nCOPY --from=b /x /x\n");
    let add = lines(&["ADD atomic-reactor-repos/* '/etc/yum.repos.d/'"]);
    file.insert_after_from(&add, &|_| true).expect("valid");
    file.append_lines(&lines(&["USER root", "RUN rm -f '/etc/yum.repos.d/r-1a2b3.repo'", "USER 1001"])).expect("valid");
    let expected = "FROM x AS b\nADD atomic-reactor-repos/* '/etc/yum.repos.d/'\nRUN make\nFROM y\n\
                    ADD atomic-reactor-repos/* '/etc/yum.repos.d/'\nCOPY --from=b /x /x\nUSER root\n\
                    RUN rm -f '/etc/yum.repos.d/r-1a2b3.repo'\nUSER 1001\n";
    assert_eq!(file.text(), expected);
}

#[test]
fn scratch_stages_can_be_left_out() {
    let mut file = parse("FROM scratch AS x\nFROM \\\n a");
    let scratch: Vec<bool> = file.stages().iter().map(|stage| stage.from.is_from_scratch()).collect();
    assert_eq!(scratch, [true, false], "M29");
    file.insert_after_from(&lines(&["RUN y"]), &|index| !scratch[index]).expect("valid");
    assert_eq!(file.text(), "FROM scratch AS x\nFROM \\\n a\nRUN y\n");
    check("FROM a \\\n", |file| file.insert_after_from(&lines(&["RUN y"]), &|_| true), "FROM a\nRUN y\n");
}

/// M27.
#[test]
fn before_the_last_instruction() {
    let cases = [
        ("FROM a\nRUN x\nCMD y\n", "FROM a\nRUN x\nADD h /h\nCMD y\n"),
        ("FROM a\nRUN x\n# c\nCMD y \\\n  z\n\n\n", "FROM a\nRUN x\n# c\nADD h /h\nCMD y \\\n  z\n\n\n"),
        ("FROM a\nRUN <<E\nx\n\nE\n", "FROM a\nADD h /h\nRUN <<E\nx\n\nE\n"),
        ("FROM a\n", "FROM a\nADD h /h\n"),
        ("FROM a", "FROM a\nADD h /h\n"),
        ("FROM a\nRUN x\nFROM b\n", "FROM a\nRUN x\nFROM b\nADD h /h\n"),
        ("FROM a\r\nCMD y", "FROM a\r\nADD h /h\r\nCMD y"),
    ];
    for (before, after) in cases {
        check(before, |file| file.insert_before_last_instruction(&lines(&["ADD h /h"])), after);
    }
}

#[test]
fn stage_ends() {
    let text = "FROM a\nRUN x\n\n# about b\nFROM b\nUSER u";
    check(
        text,
        |file| file.insert_at_stage_end(0, &lines(&["RUN y", "RUN z"])),
        "FROM a\nRUN x\nRUN y\nRUN z\n\n# about b\nFROM b\nUSER u",
    );
    check(
        text,
        |file| file.insert_at_stage_end(1, &lines(&["RUN y"])),
        "FROM a\nRUN x\n\n# about b\nFROM b\nUSER u\nRUN y\n",
    );
    check("FROM a\nFROM b\n", |file| file.insert_at_stage_end(0, &lines(&["RUN y"])), "FROM a\nRUN y\nFROM b\n");
}

#[test]
fn only_whole_instructions_go_in() {
    for bad in ["RUN x \\", "NOT x", "RUN <<EOF", "COPY a"] {
        let mut file = parse("FROM a\nRUN x\n");
        let lines = lines(&[bad]);
        assert!(matches!(file.append_lines(&lines), Err(EditError::NotInstructions { .. })), "{bad}");
        assert!(
            file.insert_after_from(&lines, &|_| true).is_err() && file.insert_before_last_instruction(&lines).is_err()
        );
        assert_eq!(file.text(), "FROM a\nRUN x\n");
    }
    check(
        "FROM a\n",
        |file| file.append_lines(&lines(&["RUN <<E\nx\nE", "USER u"])),
        "FROM a\nRUN <<E\nx\nE\nUSER u\n",
    );
}
