//! From text to instructions.

use osbs_dockerfile::{
    CommandForm, Dockerfile, Healthcheck, Instruction, InstructionKind as Kind, Problem, RunNetwork, RunProgram,
    RunSecurity, Source, Transfer, parse_trigger,
};
use std::time::Duration;

fn parse(text: &str) -> Dockerfile {
    let file = Dockerfile::parse(text, "Dockerfile").unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(file.text(), text);
    file
}

/// The only instruction after a FROM.
fn one(text: &str) -> Instruction {
    let file = parse(&format!("FROM a\n{text}"));
    assert_eq!(file.instructions().len(), 2, "{text}");
    file.instructions()[1].clone()
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[track_caller]
fn check(text: &str, expected: Kind) {
    assert_eq!(one(text).kind, expected, "{text}");
}

#[track_caller]
fn check_error(text: &str, line: usize, message: &str) {
    let error = Dockerfile::parse(text, "Dockerfile").expect_err(text);
    assert_eq!(error.position.line, line, "{error}\n{text}");
    let whole = format!("{error} {}", error.hint().unwrap_or_default());
    assert!(whole.contains(message), "{whole:?} lacks {message:?}");
}

#[test]
fn from() {
    let cases: &[(&str, &str, Option<&str>, Option<&str>)] = &[
        ("FROM a", "a", None, None),
        ("from a:1 as B", "a:1", Some("b"), None),
        ("FROM --platform=linux/arm64 a AS b-1.c_d", "a", Some("b-1.c_d"), Some("linux/arm64")),
        ("FROM   a\t AS  b  ", "a", Some("b"), None),
        ("FROM scratch", "scratch", None, None),
        ("FROM \\\n  a \\\n # comment\n  AS b", "a", Some("b"), None),
        ("  FROM a", "a", None, None),
        ("ARG V=1\nFROM a:$V", "a:$V", None, None),
    ];
    for (text, image, name, platform) in cases {
        let file = parse(text);
        let stage = file.final_stage();
        assert_eq!((stage.image, stage.name, stage.platform), (*image, *name, *platform), "{text}");
    }
}

#[test]
fn stages() {
    let file = parse("ARG A=1\nFROM a AS one\nRUN x\nRUN y\nFROM one AS two\nFROM b AS ONE\nUSER u\n");
    let shape: Vec<_> = file.stages().iter().map(|s| (s.index, s.name, s.instructions.len())).collect();
    assert_eq!(shape, [(0, Some("one"), 2), (1, Some("two"), 0), (2, Some("one"), 1)]);
    assert_eq!(file.meta_args().len(), 1);
    assert_eq!(file.find_stage("One", 1), Some(0));
    assert_eq!(file.find_stage("one", 3), Some(2), "the latest of that name");
    assert_eq!(file.find_stage("one", 0), None);
    assert_eq!(file.find_stage_or_index("1", 2), Some(1));
    assert_eq!(file.find_stage_or_index("2", 2), None);
    assert_eq!(file.find_stage_or_index("+1", 2), None);
    assert_eq!(file.find_stage_or_index("", 2), None);
}

#[test]
fn commands() {
    let shell = |text: &str| CommandForm::Shell(text.to_owned());
    let exec = |words: &[&str]| CommandForm::Exec(strings(words));
    let cases = [
        ("CMD echo  a", shell("echo  a")),
        ("CMD [\"a\", \"b c\"]", exec(&["a", "b c"])),
        ("CMD [\"a\\u0041\\n\"]", exec(&["aA\n"])),
        ("CMD ['a']", shell("['a']")),
        ("CMD [ \"a\" ] ", exec(&["a"])),
        ("CMD [\"a\"] b", shell("[\"a\"] b")),
        ("CMD []", exec(&[])),
        ("CMD [\"a\",]", shell("[\"a\",]")),
        ("CMD [\"a\", \\\n  \"b\"]", exec(&["a", "b"])),
        ("CMD", shell("")),
        ("CMD a \\\n  b", shell("a   b")),
        ("CMD a\\\nb", shell("ab")),
        ("CMD a \\  \n b", shell("a  b")),
        ("CMD a \\\n# comment\n   # another\n b", shell("a  b")),
        ("CMD a \\\n\n\n b", shell("a  b")),
        ("CMD a \\\r\n b\r\n", shell("a  b")),
        ("CMD a \\\\", shell("a \\\\")),
        ("CMD a # b", shell("a # b")),
        ("CMD -- --x", shell("--x")),
    ];
    for (text, expected) in cases {
        check(text, Kind::Cmd(expected.clone()));
        check(&text.replacen("CMD", "ENTRYPOINT", 1), Kind::Entrypoint(expected));
    }
    check("SHELL [\"/bin/bash\", \"-c\"]", Kind::Shell(strings(&["/bin/bash", "-c"])));
}

#[test]
fn names_and_values() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("a=b", &[("a", "b")]),
        ("a=b c=d", &[("a", "b"), ("c", "d")]),
        ("a=\"b c\" d='e f'", &[("a", "\"b c\""), ("d", "'e f'")]),
        ("\"a b\"=c", &[("\"a b\"", "c")]),
        ("a=b\\ c d=e", &[("a", "b\\ c"), ("d", "e")]),
        ("a=\"b\\\" c\" d=e", &[("a", "\"b\\\" c\""), ("d", "e")]),
        ("a=b=c", &[("a", "b=c")]),
        ("a= b=", &[("a", ""), ("b", "")]),
        ("a=1 \\\n  b=2 \\\n  # no\n  c=3", &[("a", "1"), ("b", "2"), ("c", "3")]),
        ("a='b\\' c=d", &[("a", "'b\\'"), ("c", "d")]),
        ("a=\"open b=c", &[("a", "\"open b=c")]),
    ];
    for (text, expected) in cases {
        for keyword in ["ENV", "LABEL"] {
            let (Kind::Env(pairs) | Kind::Label(pairs)) = one(&format!("{keyword} {text}")).kind else {
                panic!("{text}")
            };
            let found: Vec<_> = pairs.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
            assert_eq!(found, *expected, "{text}");
            assert!(pairs.iter().all(|pair| !pair.legacy));
        }
    }
    let Kind::Env(pairs) = one("ENV a  b c=d \"e\"").kind else { panic!("no ENV") };
    assert_eq!((pairs[0].key.as_str(), pairs[0].value.as_str(), pairs[0].legacy), ("a", "b c=d \"e\"", true));
    let Kind::Arg(args) = one("ARG a b=1 c=\"x y\" d=").kind else { panic!("no ARG") };
    let found: Vec<_> = args.iter().map(|a| (a.name.as_str(), a.default.as_deref())).collect();
    assert_eq!(found, [("a", None), ("b", Some("1")), ("c", Some("\"x y\"")), ("d", Some(""))]);
}

#[test]
fn single_values() {
    check("WORKDIR /a b", Kind::Workdir("/a b".into()));
    check("USER a:b", Kind::User("a:b".into()));
    check("STOPSIGNAL SIGTERM", Kind::Stopsignal("SIGTERM".into()));
    check("MAINTAINER A <a@b.c>", Kind::Maintainer("A <a@b.c>".into()));
    check("VOLUME /a /b", Kind::Volume(strings(&["/a", "/b"])));
    check("VOLUME [\"/a b\"]", Kind::Volume(strings(&["/a b"])));
    check("EXPOSE 80 443/tcp $P", Kind::Expose(strings(&["80", "443/tcp", "$P"])));
}

fn paths(words: &[&str]) -> Vec<Source> {
    words.iter().map(|word| Source::Path((*word).to_owned())).collect()
}

#[test]
fn copy_and_add() {
    let to = |sources: &[&str], destination: &str| Transfer {
        sources: paths(sources),
        destination: destination.to_owned(),
        ..Transfer::default()
    };
    let cases = [
        ("a /b", to(&["a"], "/b")),
        ("a b /c/", to(&["a", "b"], "/c/")),
        ("[\"a b\", \"/c\"]", to(&["a b"], "/c")),
        ("\"a b\" /c", to(&["\"a", "b\""], "/c")),
        (
            "--chown=1:2 --chmod=u+x --link a /b",
            Transfer { chown: Some("1:2".into()), chmod: Some("u+x".into()), link: true, ..to(&["a"], "/b") },
        ),
        ("--exclude=*.o --exclude=x a /b", Transfer { exclude: strings(&["*.o", "x"]), ..to(&["a"], "/b") }),
        ("--chown='a b' a /b", Transfer { chown: Some("a b".into()), ..to(&["a"], "/b") }),
        ("--link=false a /b", to(&["a"], "/b")),
    ];
    for (text, expected) in cases {
        check(&format!("COPY {text}"), Kind::Copy(expected.clone()));
        check(&format!("ADD {text}"), Kind::Add(expected));
    }
    check(
        "COPY --from=b --parents a /b",
        Kind::Copy(Transfer { from: Some("b".into()), parents: true, ..to(&["a"], "/b") }),
    );
    check(
        "ADD --checksum=sha256:1 --keep-git-dir=true --unpack=false https://x/y /b",
        Kind::Add(Transfer {
            checksum: Some("sha256:1".into()),
            keep_git_dir: true,
            unpack: Some(false),
            ..to(&["https://x/y"], "/b")
        }),
    );
}

#[test]
fn run_flags() {
    let Kind::Run(run) =
        one("RUN --mount=type=cache,target=/c --mount=target=/x --network=none --security=insecure make").kind
    else {
        panic!("no RUN")
    };
    assert_eq!(run.command, CommandForm::Shell("make".into()));
    assert_eq!(
        run.mounts.iter().map(osbs_dockerfile::MountText::as_str).collect::<Vec<_>>(),
        ["type=cache,target=/c", "target=/x"]
    );
    assert_eq!((run.network, run.security), (Some(RunNetwork::None), Some(RunSecurity::Insecure)));
}

#[track_caller]
fn check_program(text: &str, expected: RunProgram) {
    let instruction = one(text);
    let Kind::Run(run) = &instruction.kind else { panic!("no RUN") };
    assert_eq!(run.program(&instruction.heredocs), expected, "{text}");
}

#[test]
fn run_heredocs() {
    let shell = |text: &str| RunProgram::Shell(text.to_owned());
    check_program("RUN make", shell("make"));
    check_program("RUN [\"make\"]", RunProgram::Exec(strings(&["make"])));
    check_program("RUN <<EOF\na\n  b\nEOF\n", shell("a\n  b\n"));
    check_program("RUN <<EOF\nFROM x\n# no comment\n\\\nEOF", shell("FROM x\n# no comment\n\\\n"));
    check_program("RUN <<-EOF\n\ta\n\t\tb\n\tEOF\n", shell("a\nb\n"));
    check_program("RUN << EOF\na\nEOF\n", shell("a\n"));
    check_program("RUN <<'E F'\na\nE F\n", shell("a\n"));
    check_program("RUN cat <<EOF >/x\na\nEOF\n", shell("cat <<EOF >/x\na\nEOF"));
    check_program("RUN cat <<A <<-'B' | x\n1\nA\n\t2\n\tB\n", shell("cat <<A <<-'B' | x\n1\nA\n\t2\nB"));
    check_program("RUN 3<<EOF cat\na\nEOF\n", shell("3<<EOF cat\na\nEOF"));
    check_program("RUN --network=none <<EOF\na\nEOF\n", shell("a\n"));
    let script = RunProgram::Script { name: "EOF".into(), content: "#!/bin/sh\nx\n".into() };
    check_program("RUN <<EOF\n#!/bin/sh\nx\nEOF\n", script);
    for plain in ["RUN cat <<<EOF", "RUN a < b", "RUN [ 1 << 2 ] 3<", "RUN echo '<<EOF'", "RUN echo $((1<<2))x<<"] {
        let heredocs =
            Dockerfile::parse(&format!("FROM a\n{plain}"), "D").map(|file| file.instructions()[1].heredocs.len());
        // `<< 2` opens a heredoc in BuildKit too.
        assert!(matches!(heredocs, Ok(0)) || plain.contains("<< 2"), "{plain}: {heredocs:?}");
    }
}

#[test]
fn copied_heredocs() {
    let instruction = one("COPY <<A b <<\"B\" /d/\n$X\nA\n$Y\nB\n");
    let Kind::Copy(transfer) = &instruction.kind else { panic!("no COPY") };
    let [Source::Heredoc(a), Source::Path(b), Source::Heredoc(c)] = transfer.sources.as_slice() else {
        panic!("{:?}", transfer.sources)
    };
    assert_eq!((a.name.as_str(), a.expand, a.content.as_str()), ("A", true, "$X\n"));
    assert_eq!((b.as_str(), transfer.destination.as_str()), ("b", "/d/"));
    assert_eq!((c.name.as_str(), c.expand, c.content.as_str()), ("B", false, "$Y\n"));
    assert_eq!((instruction.start_line, instruction.end_line), (2, 6));
    let add = one("ADD <<-x.txt /\n\t\ta\n\tx.txt\n");
    assert_eq!(add.heredocs[0].text(), "a\n");
}

#[test]
fn healthchecks() {
    check("HEALTHCHECK NONE", Kind::Healthcheck(Healthcheck::None));
    let seconds = |n| Some(Duration::from_secs(n));
    check(
        "HEALTHCHECK --interval=1m30s --timeout=1.5h --start-period=0s --start-interval=2s --retries=3 CMD [\"a\"]",
        Kind::Healthcheck(Healthcheck::Command {
            command: CommandForm::Exec(strings(&["a"])),
            interval: seconds(90),
            timeout: seconds(5400),
            start_period: None,
            start_interval: seconds(2),
            retries: Some(3),
        }),
    );
    check(
        "HEALTHCHECK cmd curl x || exit 1",
        Kind::Healthcheck(Healthcheck::Command {
            command: CommandForm::Shell("curl x || exit 1".into()),
            interval: None,
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: None,
        }),
    );
}

#[test]
fn onbuild() {
    let instruction = one("ONBUILD COPY --chown=1 <<E /x\nbody\nE\n");
    let Kind::Onbuild { trigger, text } = &instruction.kind else { panic!("no ONBUILD") };
    assert_eq!(text, "COPY --chown=1 <<E /x\nbody\nE");
    assert!(matches!(&trigger.kind, Kind::Copy(copy) if copy.chown.as_deref() == Some("1")));
    let again = parse_trigger(text, "image a").expect("valid");
    assert_eq!(again.kind, trigger.kind);
    for bad in ["FROM a", "ONBUILD RUN x", "RUN a\nRUN b", "", "MAINTAINER a", "NO x"] {
        assert!(parse_trigger(bad, "image a").is_err(), "{bad}");
    }
}

#[test]
fn places() {
    let text = "# c\n\nFROM a\n\nRUN a \\\n # c\n b\n  CMD x";
    let file = parse(text);
    let shape: Vec<_> = file.instructions().iter().map(|i| (i.start_line, i.end_line, i.original.as_str())).collect();
    assert_eq!(shape, [(3, 3, "FROM a"), (5, 7, "RUN a \\\n # c\n b"), (8, 8, "  CMD x")]);
    assert_eq!(file.instructions()[1].logical, "RUN a  b");
    assert_eq!(&text[file.instructions()[0].span.clone()], "FROM a\n");
}

#[test]
fn directives() {
    let escape = |text: &str| parse(text).escape();
    assert_eq!(escape("# escape=`\nFROM a"), '`');
    assert_eq!(escape("#ESCAPE = ` \r\nFROM a"), '`');
    assert_eq!(escape("\u{feff}# escape=`\nFROM a"), '`');
    assert_eq!(escape("# syntax=docker/dockerfile:1\n# check=skip=all\n# escape=`\nFROM a"), '`');
    assert_eq!(escape("# a comment\n# escape=`\nFROM a"), '\\');
    assert_eq!(escape("# unknown=x\n# escape=`\nFROM a"), '\\');
    assert_eq!(escape("\n# escape=`\nFROM a"), '\\');
    let file = parse("# escape=`\nFROM a\nRUN dir C:\\ `\n  x\nENV a=b` c d=e\n");
    assert!(
        matches!(&file.instructions()[1].kind, Kind::Run(run) if run.command == CommandForm::Shell("dir C:\\   x".into()))
    );
    assert!(matches!(&file.instructions()[2].kind, Kind::Env(pairs) if pairs.len() == 2));
    check_error("# escape=x\nFROM a", 1, "allowed are \\ and `");
    check_error("# escape=`\n# escape=\\\nFROM a", 2, "second time");
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("", 1, "there is no FROM"),
        ("# only\n", 1, "FROM IMAGE, or FROM scratch"),
        ("RUN a\nFROM b", 1, "only ARG is allowed"),
        ("FROM a\n\nFORM b", 3, "did you mean FROM?"),
        ("FROM a\nRUM x", 2, "did you mean RUN?"),
        ("FROM a\nENTRYPIONT x", 2, "did you mean ENTRYPOINT?"),
        ("FROM a\nRUN a\n  && b", 3, "backslash"),
        ("FROM a\nCOPY --form=b a /b", 2, "did you mean --from?"),
        ("FROM a\nCOPY --form=b a /b", 2, "--chown"),
        ("FROM a\nCMD --x", 2, "takes no flags"),
        ("FROM a\nADD --from=b a /b", 2, "ADD has no flag --from"),
        ("FROM a\nCOPY --chown=1 --chown=2 a /b", 2, "second time"),
        ("FROM a\nCOPY --chown a /b", 2, "followed by =VALUE"),
        ("FROM a\nCOPY --link=maybe a /b", 2, "true or false"),
        ("FROM a\nCOPY a", 2, "source and a destination"),
        ("FROM a\nCOPY a <<EOF\nEOF", 2, "cannot be the destination"),
        ("FROM a\nRUN", 2, "a command"),
        ("FROM a\nRUN []", 2, "a command"),
        ("FROM a\nRUN [\"a\", 1]", 2, "only strings"),
        ("FROM a\nRUN --network=all x", 2, "default, none or host"),
        ("FROM a\nRUN --mount=type=bnd,target=/x a", 2, "did you mean bind?"),
        ("FROM a\nRUN --mount=type=cache,traget=/x a", 2, "did you mean target?"),
        ("FROM a\nRUN <<EOF\nx\n", 2, "put EOF alone on a line"),
        ("FROM", 1, "IMAGE or IMAGE AS NAME"),
        ("FROM a b", 1, "IMAGE or IMAGE AS NAME"),
        ("FROM a AS 1b", 1, "no name for a stage"),
        ("FROM a\nENV a", 2, "NAME=VALUE"),
        ("FROM a\nENV", 2, "NAME=VALUE"),
        ("FROM a\nLABEL a=b c", 2, "\"c\" has no '='"),
        ("FROM a\nENV =b", 2, "empty name"),
        ("FROM a\nARG =b", 2, "empty name"),
        ("FROM a\nSHELL /bin/sh", 2, "JSON array"),
        ("FROM a\nVOLUME [\"\"]", 2, "none of them empty"),
        ("FROM a\nEXPOSE", 2, "PORT"),
        ("FROM a\nUSER", 2, "USER[:GROUP]"),
        ("FROM a\nHEALTHCHECK", 2, "NONE alone, or CMD"),
        ("FROM a\nHEALTHCHECK NONE x", 2, "NONE alone, or CMD"),
        ("FROM a\nHEALTHCHECK CMD", 2, "NONE alone, or CMD"),
        ("FROM a\nHEALTHCHECK --interval=5 CMD x", 2, "such as 30s"),
        ("FROM a\nHEALTHCHECK --interval=-5s CMD x", 2, "such as 30s"),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x", 2, "a number from 0"),
        ("FROM a\nONBUILD", 2, "an instruction"),
        ("FROM a\nONBUILD ONBUILD RUN x", 2, "not allowed after ONBUILD"),
        ("FROM a\nONBUILD FROM x", 2, "not allowed after ONBUILD"),
        ("FROM a\nONBUILD RUN --mount=type=x y", 2, "no type of mount"),
        ("FROM a\n\\\n", 2, "unknown instruction"),
    ];
    for (text, line, message) in cases {
        let result = Dockerfile::parse(text, "Dockerfile");
        let error = result.expect_err(text);
        let failure = error.to_failure();
        let whole = format!("{failure} {}", failure.hint.clone().unwrap_or_default());
        assert!(error.position.line == line && whole.contains(message), "{whole:?} is not {line}: {message:?}");
    }
}

#[test]
fn warnings_are_collected() {
    let file = parse("FROM a\nENV a b\nMAINTAINER x\nCMD ['a']\nRUN a \\\n\n b\n");
    assert_eq!(file.warnings().iter().map(|w| w.position.line).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[test]
fn hostile_files_end_early() {
    let started = std::time::Instant::now();
    let error = Dockerfile::parse(&"x".repeat(5 << 20), "D").expect_err("too large");
    assert!(matches!(*error.problem, Problem::TooLarge { .. }));
    let onbuild = format!("FROM a\n{}RUN x", "ONBUILD ".repeat(400_000));
    assert!(Dockerfile::parse(&onbuild, "D").is_err());
    let json = format!("FROM a\nCMD {}", "[".repeat(1 << 20));
    assert!(Dockerfile::parse(&json, "D").is_ok(), "not JSON, so a shell command");
    let flags = format!("FROM a\nCOPY {} a /b", "--exclude=x ".repeat(100_000));
    assert!(Dockerfile::parse(&flags, "D").is_ok());
    let flags = format!("FROM a\nRUN {} a", "--mount=target=/x ".repeat(50_000));
    assert!(Dockerfile::parse(&flags, "D").is_ok());
    let word = format!("FROM a\n{}", "R".repeat(3 << 20));
    assert!(Dockerfile::parse(&word, "D").is_err());
    let stages = |count: usize| {
        (0..count).map(|n| format!("FROM a AS s{n}\nCOPY --from=t{n} a /b\n")).collect::<Vec<_>>().concat()
    };
    assert!(Dockerfile::parse(&stages(1001), "D").is_err());
    let file = Dockerfile::parse(&stages(1000), "D").expect("valid");
    assert_eq!((file.parents_ordered().expect("valid").len(), file.check_copy_from().len()), (1000, 1000));
    assert!(Dockerfile::parse(&format!("FROM a\n{}", "RUN x\n".repeat(60_000)), "D").is_err());
    let doubling: String = std::iter::repeat_n("ENV A=$A$A\n", 40).collect();
    let file = Dockerfile::parse(&format!("FROM a\nENV A=aaaaaaaa\n{doubling}"), "D").expect("valid");
    assert!(file.labels(&[]).is_err());
    let words = format!("FROM a\nENV A={}\nLABEL {}", "x".repeat(500_000), "a=$A ".repeat(100_000));
    assert!(Dockerfile::parse(&words, "D").expect("valid").labels(&[]).is_err());
    // Each word alone is within its limits, all together are not.
    let value = format!("FROM a\nENV A={}\n", "x".repeat(100_000));
    for word in ["${A##*x?*y}", "${A//?*?y/z}", "${A:+}", "${A%%x*}"] {
        let file = format!("{value}LABEL {}", format!("a={word} ").repeat(20_000));
        assert!(Dockerfile::parse(&file, "D").expect("valid").labels(&[]).is_err(), "{word}");
    }
    let nested = format!("FROM a\nLABEL a={}x{}", "${B:-$A${A:-".repeat(30), "}}".repeat(30));
    assert!(Dockerfile::parse(&nested, "D").expect("valid").labels(&[]).is_ok());
    let heredocs = format!("FROM a\nRUN {}\n", "<<E ".repeat(100_000)) + &"E\n".repeat(100_000);
    assert!(Dockerfile::parse(&heredocs, "D").is_ok());
    assert!(started.elapsed().as_secs() < 30, "took {:?}", started.elapsed());
}
