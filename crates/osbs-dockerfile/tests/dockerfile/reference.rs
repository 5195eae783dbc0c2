//! The Dockerfile reference of BuildKit's frontend, item by item: what each instruction and form means, and what is
//! refused with which words. The forms that are tried elsewhere too (`parsing`, `expansion`, `mounts`, `ignoring`) are
//! here once more only where an edge was missing.

use osbs_dockerfile::{
    CommandForm, Dockerfile, Healthcheck, Instruction, InstructionKind as Kind, Mount, Parent, Sharing, Source,
};

fn parse(text: &str) -> Dockerfile {
    Dockerfile::parse(text, "Dockerfile").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn one(text: &str) -> Instruction {
    let file = parse(&format!("FROM a\n{text}"));
    assert_eq!(file.instructions().len(), 2, "{text}");
    file.instructions()[1].clone()
}

fn shell(text: &str) -> CommandForm {
    CommandForm::Shell(text.to_owned())
}

/// The file is refused in this line; message and hint together say all of this.
#[track_caller]
fn check_refused(text: &str, line: usize, says: &[&str]) {
    let error = Dockerfile::parse(text, "the/Dockerfile").expect_err(text);
    let failure = error.to_failure();
    let mut whole = format!("{error} {}", failure.hint.clone().unwrap_or_default());
    whole.extend(failure.causes.iter().map(|cause| format!(" {cause}")));
    assert!(whole.starts_with(&format!("the/Dockerfile:{line}: ")), "{whole}\n{text}");
    for words in says {
        assert!(whole.contains(words), "{whole:?} lacks {words:?}");
    }
}

/// What the second line means, shown as text.
#[track_caller]
fn check_same(texts: &[&str]) {
    let kinds: Vec<_> = texts.iter().map(|text| (*text, one(text).kind)).collect();
    for (text, kind) in &kinds[1..] {
        assert_eq!(kind, &kinds[0].1, "{text:?} is not {:?}", kinds[0].0);
    }
}

#[test]
fn from() {
    let parents = |text: &str| parse(text).parents().expect(text);
    let image = |text: &str| Parent::Image(text.to_owned());
    assert_eq!(parents("FROM a"), [image("a:latest")]);
    assert_eq!(parents("FROM a AS b\nFROM B\nFROM b"), [image("a:latest"), Parent::Stage(0), Parent::Stage(0)]);
    assert_eq!(parents("FROM a\nFROM 0"), [image("a:latest"), image("0:latest")], "FROM knows stages by name only");
    assert_eq!(parents("FROM scratch AS x\nFROM x"), [Parent::Scratch, Parent::Stage(0)]);
    assert_eq!(parents("FROM a AS scratch\nFROM scratch"), [image("a:latest"), Parent::Stage(0)]);
    assert_eq!(parents("ARG V=1\nARG I=x:$V\nFROM ${I}\nFROM ${N:-y}"), [image("x:1"), image("y:latest")]);
    assert_eq!(parents("ARG V=1\nFROM a\nARG V=2\nFROM b:$V"), [image("a:latest"), image("b:1")]);
    let file = parse("FROM --platform=$TARGETPLATFORM a");
    assert_eq!(file.final_stage().platform, Some("$TARGETPLATFORM"));
    assert_eq!(parse("FROM --platform= a").final_stage().platform, None);
    check_refused("FROM a AS", 1, &["IMAGE or IMAGE AS NAME"]);
    check_refused("FROM a IS b", 1, &["IMAGE or IMAGE AS NAME"]);
    check_refused("FROM a AS b c", 1, &["IMAGE or IMAGE AS NAME"]);
    check_refused("FROM a AS ä", 1, &["no name for a stage", "a letter"]);
    check_refused("FROM a AS $X", 1, &["no name for a stage"]);
    check_refused("FROM --plattform=x a", 1, &["did you mean --platform?"]);
    check_refused("FROM --platform=a --platform=b c", 1, &["second time"]);
    check_refused("FROM --platform a", 1, &["followed by =VALUE"]);
    assert!(parse("FROM $NOTHING").parents().is_err(), "an empty name");
}

#[test]
fn directives() {
    for accepted in ["# syntax=docker/dockerfile:1", "#syntax = x", "# check=skip=all;error=true", "# Escape=\\"] {
        let file = parse(&format!("{accepted}\nFROM a"));
        assert_eq!((file.escape(), file.instructions().len()), ('\\', 1), "{accepted}");
    }
    // Only at the top, and only in their own form; anything else is a comment.
    for comment in ["# escape", "# escape:`", "# escape=", "## escape=`", "#\n# escape=`", "\t\n# escape=`"] {
        assert_eq!(parse(&format!("{comment}\nFROM a")).escape(), '\\', "{comment}");
    }
    assert_eq!(parse("FROM a\n# escape=`\nRUN x").escape(), '\\');
    check_refused("# escape=``\nFROM a", 1, &["allowed are \\ and `"]);
    check_refused("# syntax=a\n# syntax=b\nFROM a", 2, &["syntax", "second time"]);
}

#[test]
fn comments_and_continuations() {
    let joined = [
        "RUN a b",
        "RUN a \\\nb",
        "RUN a \\\r\nb\r\n",
        "RUN a \\   \nb",
        "RUN a \\\t\nb",
        "RUN a \\\n# c\nb",
        "RUN a \\\n    # c \\\nb",
        "RUN a \\\n\n\nb",
        "RUN a \\\n# c\n\n# d\nb",
        "RUN a \\\n\\\nb",
        "  run a \\\nb",
        "RUN \\\na \\\nb",
        "R\\\nUN a b",
    ];
    check_same(&joined);
    check_same(&["RUN a # b", "RUN a \\\n# c\n# b"].map(|_| "RUN a # b"));
    let file = parse("FROM a\nRUN a \\\\\nCMD b");
    assert_eq!(file.instructions()[1].kind, Kind::Run(run("a \\\\")), "an escaped escape continues nothing");
    let file = parse("FROM a\n# c \\\nRUN b");
    assert_eq!(file.instructions().len(), 2, "a comment is not continued");
    assert_eq!(one("RUN a\\\n  b").logical, "RUN a  b", "blanks of the next line stay");
}

fn run(text: &str) -> osbs_dockerfile::Run {
    osbs_dockerfile::Run { command: shell(text), mounts: vec![], network: None, security: None }
}

#[test]
fn line_ends_and_byte_order_mark() {
    let text = "\u{feff}# escape=`\nFROM a `\n  AS b\n\nRUN <<E\nx\nE\nENV A=\"b c\"\nCMD [\"x\"]\n";
    let unix = parse(text);
    let windows = parse(&text.replace('\n', "\r\n"));
    assert_eq!(unix.escape(), '`');
    let logical = |file: &Dockerfile| file.instructions().iter().map(|i| i.logical.clone()).collect::<Vec<_>>();
    assert_eq!(logical(&unix), logical(&windows));
    assert_eq!(windows.instructions()[1].heredocs[0].content, "x\r\n", "a heredoc keeps its bytes");
    assert_eq!(windows.instructions()[3].kind, unix.instructions()[3].kind);
}

#[test]
fn heredocs() {
    let contents = |text: &str| {
        let heredocs = one(text).heredocs;
        heredocs.iter().map(|h| (h.name.clone(), h.expand, h.text())).collect::<Vec<_>>()
    };
    let all = |cases: &[(&str, bool, &str)]| {
        cases.iter().map(|(name, expand, text)| ((*name).to_owned(), *expand, (*text).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(contents("RUN <<A cat && <<B cat\n1\nA\n2\nB\n"), all(&[("A", true, "1\n"), ("B", true, "2\n")]));
    assert_eq!(contents("RUN <<-A\n\t\t1\n\t 2\n\tA\n"), all(&[("A", true, "1\n 2\n")]));
    assert_eq!(contents("RUN <<'A'\n$X\nA\n"), all(&[("A", false, "$X\n")]));
    assert_eq!(contents("RUN <<\"A\"\nA \nA\n"), all(&[("A", false, "A \n")]), "the end is alone on its line");
    assert_eq!(contents("RUN <<A\nA\n"), all(&[("A", true, "")]));
    assert_eq!(contents("COPY <<a.txt <<'b' /d/\n1\na.txt\n2\nb\n").len(), 2);
    assert_eq!(contents("ADD <<a.txt /d\n\n\na.txt\n"), all(&[("a.txt", true, "\n\n")]));
    assert_eq!(contents("RUN cat \\\n  <<A\n1\nA\n"), all(&[("A", true, "1\n")]));
    for none in ["RUN echo \\<\\<A", "RUN echo '<<A'", "RUN cat <<<A", "CMD <<A", "ENV A=<<A", "RUN [\"<<A\"]"] {
        assert!(one(none).heredocs.is_empty(), "{none}");
    }
    let Kind::Copy(copy) = one("COPY [\"<<A\", \"/d\"]").kind else { panic!("no COPY") };
    assert_eq!(copy.sources, [Source::Path("<<A".into())], "JSON has no heredocs");
    check_refused("FROM a\n\nRUN <<A <<B\nA\n", 3, &["\"B\"", "put B alone on a line"]);
    check_refused("FROM a\nCOPY <<A\nA\n", 2, &["source and a destination"]);
    check_refused("FROM a\nADD x <<A\nA\n", 2, &["ADD", "cannot be the destination"]);
}

#[test]
fn run_forms_and_flags() {
    check_same(&["RUN x", "RUN --network=default x"].map(|_| "RUN x"));
    check_same(&["RUN [\"a\", \"b\"]", "RUN [ \"a\" , \"b\" ]", "RUN [\"a\",\\\n\"b\"]", "RUN [\"\\u0061\",\"b\"]"]);
    assert_eq!(one("RUN ['a']").kind, Kind::Run(run("['a']")));
    assert_eq!(one("RUN [ -e x ] && y").kind, Kind::Run(run("[ -e x ] && y")));
    assert_eq!(one("RUN -- --x").kind, Kind::Run(run("--x")));
    check_refused("FROM a\nRUN --network=hots x", 2, &["--network is \"hots\"", "default, none or host"]);
    check_refused("FROM a\nRUN --netwrok=host x", 2, &["did you mean --network?"]);
    check_refused("FROM a\nRUN --NETWORK=host x", 2, &["did you mean --network?"]);
    check_refused("FROM a\nRUN --security=none x", 2, &["sandbox or insecure"]);
    check_refused("FROM a\nRUN --mount=type=cache", 2, &["a command"]);
    check_refused("FROM a\nRUN --from=b x", 2, &["RUN has no flag --from", "--mount, --network, --security"]);
    check_refused("FROM a\nRUN [\"a\", null]", 2, &["only strings"]);
    check_refused("FROM a\nRUN [[\"a\"]]", 2, &["only strings"]);
}

#[test]
fn mounts() {
    let mount = |text: &str| {
        let Kind::Run(run) = one(&format!("RUN --mount={text} x")).kind else { panic!("no RUN") };
        run.mounts[0].resolve(&|word| Ok(word.to_owned())).unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    assert!(matches!(mount("target=/t"), Mount::Bind { from: None, read_only: true, .. }));
    assert!(matches!(mount("TYPE=Bind,DST=/t,RW"), Mount::Bind { read_only: false, .. }));
    assert!(
        matches!(mount("destination=t,src=s,from=0,ro"), Mount::Bind { from: Some(f), source, .. } if f == "0" && source == "s")
    );
    assert!(matches!(mount("type=cache,target=/t,ro"), Mount::Cache { read_only: true, sharing: Sharing::Shared, .. }));
    assert!(matches!(mount("type=cache,target=/t,sharing=PRIVATE"), Mount::Cache { sharing: Sharing::Private, .. }));
    assert!(matches!(mount("type=tmpfs,target=/t,size=1g"), Mount::Tmpfs { size: Some(0x4000_0000), .. }));
    assert!(
        matches!(mount("type=secret,target=/a/b"), Mount::Secret { id, required: false, mode: 0o400, .. } if id == "b")
    );
    assert!(matches!(mount("type=secret,src=s,required=true"), Mount::Secret { id, required: true, .. } if id == "s"));
    assert!(matches!(mount("type=secret,id=s,env=E,target=/t"), Mount::Secret { env: Some(_), target: Some(_), .. }));
    assert!(matches!(mount("type=ssh,required"), Mount::Ssh { required: true, target: None, mode: 0o600, .. }));
    let cases = [
        ("type=bnd,target=/t", "did you mean bind?"),
        ("type=cache,target=/t,sharring=locked", "did you mean sharing?"),
        ("type=cache,target=/t,sharing=lock", "shared, private or locked"),
        ("type=cache", "needs target=PATH"),
        ("type=bind", "needs target=PATH"),
        ("type=tmpfs", "needs target=PATH"),
        ("type=tmpfs,target=/t,size=-1", "a size such as 64m"),
        ("type=secret", "needs id=NAME or target=PATH"),
        ("type=secret,id=a,source=b", "left out where there is an id"),
        ("type=secret,id=a,from=b", "has no option \"from\""),
        ("type=secret,id=a,sharing=locked", "has no option \"sharing\""),
        ("type=bind,target=/t,uid=1", "has no option \"uid\""),
        ("type=bind,target=/t,required", "has no option \"required\""),
        ("type=ssh,mode=9", "an octal mode"),
        ("type=cache,target=/t,uid=me", "a number"),
        ("type=cache,target", "followed by =VALUE"),
        ("type=cache,,target=/t", "an option is empty"),
        ("", "an option is empty"),
    ];
    for (text, says) in cases {
        check_refused(&format!("FROM a\nRUN --mount={text} x"), 2, &[says]);
    }
}

#[test]
fn copy_and_add() {
    let Kind::Copy(copy) = one("COPY --from= --chown= --chmod= --link= --exclude=a --exclude=b x y").kind else {
        panic!("no COPY")
    };
    assert_eq!((copy.from, copy.chown, copy.chmod, copy.link, copy.exclude.len()), (None, None, None, true, 2));
    check_same(&["COPY a b c", "COPY  a\tb \\\n c", "copy [\"a\",\"b\",\"c\"]"]);
    check_same(&["ADD --unpack a b", "ADD --unpack=true a b", "ADD --unpack=TRUE a b"]);
    check_same(&["COPY [a b", "COPY  [a  b"]);
    check_refused("FROM a\nCOPY [\"a\"]", 2, &["source and a destination"]);
    check_refused("FROM a\nCOPY [\"a\", 1]", 2, &["only strings"]);
    check_refused("FROM a\nCOPY --chmdo=1 a b", 2, &["did you mean --chmod?"]);
    check_refused("FROM a\nCOPY --checksum=x a b", 2, &["COPY has no flag --checksum"]);
    check_refused("FROM a\nADD --parents a b", 2, &["ADD has no flag --parents"]);
    check_refused("FROM a\nADD --keep-git-dir=1 a b", 2, &["true or false"]);
    check_refused("FROM a\nCOPY --link --link a b", 2, &["--link stands here a second time"]);
}

#[test]
fn names_and_values() {
    for keyword in ["ENV", "LABEL"] {
        check_refused(&format!("FROM a\n{keyword}"), 2, &[keyword, "NAME=VALUE"]);
        check_refused(&format!("FROM a\n{keyword} a"), 2, &[keyword, "NAME=VALUE"]);
        check_refused(&format!("FROM a\n{keyword} a=1 b c=2"), 2, &["\"b\" has no '='", "quotes around values"]);
        check_refused(&format!("FROM a\n{keyword} =1"), 2, &["empty name"]);
        check_refused(&format!("FROM a\n{keyword} --x a=1"), 2, &["takes no flags"]);
    }
    let env = |text: &str| {
        let values = parse(&format!("FROM a\n{text}")).envs(&[("OUT".into(), "o".into())]).expect(text);
        values.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(env("ENV A=1 B=2\nENV A=3"), ["A=3", "B=2"], "the first place, the last value");
    assert_eq!(env("ENV A=1\nENV A=2 B=$A"), ["A=2", "B=1"], "one instruction sees what was before it");
    assert_eq!(env("ENV A one  two \\\n three"), ["A=one  two  three"]);
    assert_eq!(env("ENV A \"one two\""), ["A=one two"]);
    assert_eq!(env("ENV A=a\\ b B='c \\d' C=\"e \\\"f\\\"\""), ["A=a b", "B=c \\d", "C=e \"f\""]);
    assert_eq!(env("ENV A=$OUT B=\\$OUT C='$OUT' D=\"$OUT\""), ["A=o", "B=$OUT", "C=$OUT", "D=o"]);
    assert_eq!(env("ENV A=${NO:-${OUT:+y}} B=${OUT%o}z C=${OUT/o/${OUT}x}"), ["A=y", "B=z", "C=ox"]);
    assert_eq!(env("ENV \"A\"=1"), ["A=1"]);
    assert_eq!(env("ENV A=\nENV B="), ["A=", "B="]);
    assert_eq!(env("ENV a=b=c d=\"=\""), ["a=b=c", "d=="]);
    check_refused("FROM a\nARG", 2, &["NAME or NAME=DEFAULT"]);
    check_refused("FROM a\nARG =x", 2, &["empty name"]);
    let labels = |text: &str| parse(text).labels(&[]).map_err(|error| error.to_string());
    let error = labels("FROM a\n\nLABEL a=\"${X:?set it}\"").expect_err("required");
    assert!(error.starts_with("Dockerfile:3: "), "{error}");
    assert!(labels("FROM a\nLABEL a=\"x").is_err());
}

#[test]
fn the_others() {
    check_refused("FROM a\nWORKDIR", 2, &["WORKDIR needs a path"]);
    check_refused("FROM a\nSTOPSIGNAL", 2, &["STOPSIGNAL needs a signal"]);
    check_refused("FROM a\nMAINTAINER", 2, &["MAINTAINER needs a name"]);
    check_refused("FROM a\nVOLUME", 2, &["one path or more"]);
    check_refused("FROM a\nVOLUME []", 2, &["one path or more"]);
    check_refused("FROM a\nSHELL []", 2, &["JSON array"]);
    check_refused("FROM a\nSHELL [\"a\", 1]", 2, &["only strings"]);
    check_refused("FROM a\nSHELL ['a']", 2, &["JSON array"]);
    check_same(&["VOLUME /a /b", "VOLUME [\"/a\", \"/b\"]", "VOLUME /a \\\n/b"]);
    check_same(&["EXPOSE 80/tcp 90-91/udp", "expose   80/tcp\t90-91/udp"]);
    check_same(&["CMD [\"a\"]", "cmd [\"a\"]  "]);
    assert_eq!(one("CMD [\"a\", b]").kind, Kind::Cmd(shell("[\"a\", b]")));
    assert_eq!(one("ENTRYPOINT").kind, Kind::Entrypoint(shell("")));
    assert_eq!(one("WORKDIR \"/a b\"").kind, Kind::Workdir("\"/a b\"".into()), "quotes go when it is expanded");
    let file = parse("FROM a\nCMD [\"a\", b]\nMAINTAINER x");
    let warnings: Vec<_> = file.warnings().iter().map(|warning| (warning.position.line, warning.message)).collect();
    assert!(warnings[0].0 == 2 && warnings[0].1.contains("double quotes"), "{warnings:?}");
    assert!(warnings[1].0 == 3 && warnings[1].1.contains("LABEL maintainer"), "{warnings:?}");
}

#[test]
fn healthcheck() {
    let all = "HEALTHCHECK --interval=500ms --timeout=1h2m3.5s --start-period=1m --start-interval=5s --retries=2 CMD x";
    let Kind::Healthcheck(Healthcheck::Command { interval, timeout, start_period, start_interval, retries, .. }) =
        one(all).kind
    else {
        panic!("no HEALTHCHECK")
    };
    let millis = [interval, timeout, start_period, start_interval].map(|time| time.expect("given").as_millis());
    assert_eq!((millis, retries), ([500, 3_723_500, 60_000, 5000], Some(2)));
    check_same(&["HEALTHCHECK CMD x", "HEALTHCHECK --interval=0s --retries=0 CMD x", "healthcheck --timeout= cmd x"]);
    check_refused("FROM a\nHEALTHCHECK --intreval=1s CMD x", 2, &["did you mean --interval?"]);
    check_refused("FROM a\nHEALTHCHECK --interval=1us CMD x", 2, &["at least 1ms"]);
    check_refused("FROM a\nHEALTHCHECK --timeout=1d CMD x", 2, &["such as 30s"]);
    check_refused("FROM a\nHEALTHCHECK --retries=x CMD y", 2, &["a number from 0"]);
    check_refused("FROM a\nHEALTHCHECK curl x", 2, &["NONE alone, or CMD and a command"]);
    check_refused("FROM a\nHEALTHCHECK CMD []", 2, &["NONE alone, or CMD and a command"]);
}

#[test]
fn onbuild() {
    for (text, trigger) in [
        ("ONBUILD RUN a \\\n b", "RUN a  b"),
        ("onbuild  copy a b", "copy a b"),
        ("ONBUILD ENV A=b", "ENV A=b"),
        ("ONBUILD RUN <<E\nx\nE", "RUN <<E\nx\nE"),
    ] {
        let Kind::Onbuild { text: found, .. } = one(text).kind else { panic!("no ONBUILD") };
        assert_eq!(found, trigger);
    }
    check_refused("FROM a\nONBUILD onbuild RUN x", 2, &["ONBUILD is not allowed after ONBUILD"]);
    check_refused("FROM a\nONBUILD FROM x", 2, &["FROM is not allowed after ONBUILD"]);
    check_refused("FROM a\nONBUILD MAINTAINER x", 2, &["MAINTAINER is not allowed after ONBUILD"]);
    check_refused("FROM a\nONBUILD RNU x", 2, &["did you mean RUN?"]);
    check_refused("FROM a\nONBUILD COPY a", 2, &["COPY needs at least one source"]);
    check_refused("FROM a\nONBUILD COPY --form=x a b", 2, &["did you mean --from?"]);
}

#[test]
fn what_is_unknown() {
    for (word, meant) in [
        ("FORM", "FROM"),
        ("RUNN", "RUN"),
        ("COPPY", "COPY"),
        ("EVN", "ENV"),
        ("LABLE", "LABEL"),
        ("WORKDIT", "WORKDIR"),
        ("EXPOES", "EXPOSE"),
        ("VOLUMES", "VOLUME"),
        ("ENTYPOINT", "ENTRYPOINT"),
        ("HEALTCHECK", "HEALTHCHECK"),
        ("STOPSINGAL", "STOPSIGNAL"),
        ("onbiuld", "ONBUILD"),
        ("MAINTANER", "MAINTAINER"),
        ("SHEL", "SHELL"),
        ("CMDS", "CMD"),
    ] {
        check_refused(&format!("FROM a\n\n{word} x"), 3, &[&format!("did you mean {meant}?")]);
    }
    check_refused("FROM a\nFUBAR x", 2, &["unknown instruction \"FUBAR\""]);
    check_refused("FROM a\nX", 2, &["unknown instruction \"X\""]);
    check_refused("FROM a\nRUN a &&\n  b", 3, &["unknown instruction \"b\"", "must end with a backslash"]);
    check_refused("F", 1, &["unknown instruction"]);
    let problems =
        parse("FROM a AS builder\nFROM b\nCOPY --from=bilder x y\nRUN --mount=from=2,target=/t x").check_copy_from();
    let told: Vec<_> = problems.iter().map(|problem| format!("{problem}; {}", problem.hint())).collect();
    assert!(
        told[0].starts_with("Dockerfile:3: COPY uses \"bilder\"") && told[0].ends_with("did you mean builder?"),
        "{told:?}"
    );
    assert!(told[1].starts_with("Dockerfile:4: RUN uses \"2\"") && told[1].contains("FROM 2 AS NAME"), "{told:?}");
}

#[test]
fn other_encodings() {
    let error = Dockerfile::parse_bytes(b"FROM a\n# M\xfcller\n", "Dockerfile").expect_err("Latin-1");
    assert_eq!(error.to_string(), "Dockerfile:2: the byte 0xfc is not UTF-8");
    assert!(error.hint().is_some_and(|hint| hint.contains("iconv")));
    assert!(Dockerfile::parse_bytes("FROM a\n# Müller\n".as_bytes(), "Dockerfile").is_ok());
    assert!(Dockerfile::parse_bytes(&vec![b'#'; 5 << 20], "Dockerfile").is_err());
}

#[test]
fn messages_are_fit_for_a_terminal() {
    let long = "x".repeat(100_000);
    for text in [
        format!("FROM a\n{long} y"),
        format!("FROM a\nCOPY --{long}=1 a b"),
        "FROM a\nCOPY --\x1b[31mred a b".to_owned(),
        format!("FROM a\nRUN --mount=type={long} x"),
        format!("FROM a\nRUN --mount={long}\x07=1 x"),
        format!("FROM a\nRUN --network={long} x"),
        format!("FROM a\nRUN <<{long}\nx\n"),
        format!("FROM a\nLABEL a=1 {long}"),
        format!("FROM a AS {long}\x08"),
        format!("# escape={long}\nFROM a"),
        format!("FROM a\nONBUILD {long} x"),
    ] {
        let error = Dockerfile::parse(&text, "Dockerfile").expect_err("wrong");
        let whole = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(whole.len() < 1000 && !whole.contains(char::is_control), "{whole}");
    }
}
