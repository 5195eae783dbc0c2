//! The same files read by another parser, crate parse-dockerfile 0.1.9: both find the same instructions in the same lines.
//!
//! Known differences, left out of the pieces below; in each ours does as BuildKit:
//! - a stage name of wrong form, two FROM of one name: the other does not look, or refuses;
//! - an unknown flag, a wrong `--mount`, `CMD ["a", 1]`, `VOLUME [""]`: the other takes them;
//! - `COPY "a b" c`, and JSON arrays that are none: the other splits or refuses in its own way;
//! - heredocs of several words in a line that has a continuation before them, `<<` in quotes, `3<<EOF`;
//! - `ENV`, `LABEL` and `ARG`: the other gives the rest of the line, which is compared without its white space.

use osbs_dockerfile::{CommandForm, Dockerfile, Healthcheck, InstructionKind as Kind, Source};
use parse_dockerfile::{Command, HealthcheckArguments, Instruction as Other, JsonOrStringArray};
use proptest::prelude::*;

/// Instructions that both read alike.
const PIECES: [&str; 58] = [
    "FROM b:2 AS two",
    "FROM --platform=$BUILDPLATFORM c",
    "from scratch as  s3",
    "FROM \\\n d \\\n AS q",
    "FROM \\\n# comment\n d",
    "RUN a && b",
    "RUN a \\\n  # c\n  b",
    "RUN a \\\n\n  b",
    "RUN a \\  \n  b",
    "run [\"a\", \"b c\"]",
    "RUN [\"a\\n\",\\\n \"b\"]",
    "RUN --network=none --mount=type=tmpfs,target=/t x",
    "RUN --mount=type=cache,target=/c \\\n  --security=insecure \\\n  x",
    "RUN <<EOF\nFROM no\n# no\n\\\nEOF",
    "RUN <<-EOF\n\ta\n\tEOF",
    "RUN <<\"E F\"\na\nE F",
    "COPY a b /c/",
    "COPY --from=two --chown=1:2 a b",
    "COPY --link --parents --exclude=x a \\\n b",
    "COPY [\"a b\", \"c\"]",
    "ADD --checksum=sha256:1 https://x/y /b",
    "ADD a /",
    "LABEL a=1 b=\"2 $X\"",
    "LABEL k one  two",
    "LABEL k=1 \\\n  c=3",
    "ENV X=1 Y='2'",
    "ENV Z a b",
    "ENV A=b\\ c",
    "ARG A",
    "ARG A=1 B=\"x y\"",
    "USER u:g",
    "WORKDIR /a b",
    "WORKDIR /a/${X:-b}",
    "STOPSIGNAL SIGTERM",
    "MAINTAINER Me <a@b>",
    "VOLUME /a /b",
    "VOLUME [\"/a b\"]",
    "EXPOSE 80 443/tcp $P",
    "ENTRYPOINT [\"x\"]",
    "ENTRYPOINT x  y",
    "CMD [\"x\", \"y\\\\z\\u00e9\"]",
    "CMD x \\\n y",
    "cmd é",
    "SHELL [\"/bin/bash\", \"-c\"]",
    "HEALTHCHECK NONE",
    "HEALTHCHECK --interval=1m --retries=3 CMD x y",
    "HEALTHCHECK CMD [\"a\"]",
    "ONBUILD RUN x",
    "ONBUILD COPY --chown=1 a b",
    "onbuild env A=b",
    "# comment",
    "  # comment \\",
    "#",
    "",
    "   ",
    "\t",
    "  RUN indented",
    "RUN x # no comment",
];

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

/// What both parsers tell, in one form: first line, keyword, parts.
type Told = (usize, String, Vec<String>);

fn ours(text: &str) -> Vec<Told> {
    let file = Dockerfile::parse(text, "Dockerfile").unwrap_or_else(|error| panic!("{error}\n{text}"));
    let tell = |instruction: &osbs_dockerfile::Instruction| {
        let mut parts = our_parts(&instruction.kind, &instruction.logical);
        if instruction.keyword == "RUN" {
            parts.extend(instruction.heredocs.iter().map(osbs_dockerfile::Heredoc::text));
        }
        if let Kind::Onbuild { trigger, .. } = &instruction.kind {
            parts = our_parts(&trigger.kind, &trigger.logical);
        }
        let flags = match &instruction.kind {
            Kind::Onbuild { trigger, .. } => &trigger.flags,
            _ => &instruction.flags,
        };
        parts.extend(flags.iter().map(|flag| format!("{}={:?}", flag.name, flag.value)));
        (instruction.start_line, instruction.keyword.clone(), parts)
    };
    file.instructions().iter().map(tell).collect()
}

fn our_command(command: &CommandForm) -> Vec<String> {
    match command {
        CommandForm::Exec(words) => words.clone(),
        CommandForm::Shell(text) => vec![squeezed(text)],
    }
}

fn our_parts(kind: &Kind, logical: &str) -> Vec<String> {
    match kind {
        Kind::From { image, name, .. } => vec![image.clone(), name.clone().unwrap_or_default()],
        Kind::Run(run) if matches!(&run.command, CommandForm::Shell(text) if text.starts_with("<<")) => vec![],
        Kind::Run(run) => our_command(&run.command),
        Kind::Copy(transfer) | Kind::Add(transfer) => {
            let path = |source: &Source| match source {
                Source::Path(path) => path.clone(),
                Source::Heredoc(heredoc) => heredoc.text(),
            };
            transfer.sources.iter().map(path).chain([transfer.destination.clone()]).collect()
        }
        Kind::Workdir(text) | Kind::User(text) | Kind::Stopsignal(text) | Kind::Maintainer(text) => vec![text.clone()],
        Kind::Volume(words) | Kind::Expose(words) | Kind::Shell(words) => words.clone(),
        Kind::Entrypoint(command) | Kind::Cmd(command) | Kind::Healthcheck(Healthcheck::Command { command, .. }) => {
            our_command(command)
        }
        Kind::Healthcheck(Healthcheck::None) => vec!["NONE".to_owned()],
        Kind::Env(_) | Kind::Label(_) | Kind::Arg(_) => {
            vec![squeezed(logical.split_once(char::is_whitespace).expect("it has arguments").1)]
        }
        Kind::Onbuild { .. } => vec![],
    }
}

fn theirs(text: &str) -> Vec<Told> {
    let file = parse_dockerfile::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    file.instructions.iter().map(|instruction| tell_other(instruction, text)).collect()
}

/// Text in which the other parser leaves continuations as they stand.
fn without_continuations(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    squeezed(&lines.map(|line| line.trim_end().trim_end_matches('\\')).collect::<Vec<_>>().join("\n"))
}

fn other_command(command: &Command<'_>) -> Vec<String> {
    match command {
        Command::Exec(words) => words.value.iter().map(|word| word.value.clone().into_owned()).collect(),
        Command::Shell(text) => vec![without_continuations(text.value)],
        _ => panic!("another form"),
    }
}

fn tell_other(instruction: &Other<'_>, text: &str) -> Told {
    let line = |at: usize| text[..at].matches('\n').count() + 1;
    let flags = |flags: &[parse_dockerfile::Flag<'_>]| -> Vec<String> {
        flags.iter().map(|flag| format!("{}={:?}", flag.name.value, flag.value.as_ref().map(|v| &*v.value))).collect()
    };
    let source = |source: &parse_dockerfile::Source<'_>| match source {
        parse_dockerfile::Source::Path(path) => path.value.clone().into_owned(),
        parse_dockerfile::Source::HereDoc(heredoc) => heredoc.value.clone().into_owned(),
        _ => panic!("another form"),
    };
    let (at, keyword, parts, options) = match instruction {
        Other::From(from) => {
            let name = from.as_.as_ref().map(|(_, name)| name.value.to_ascii_lowercase()).unwrap_or_default();
            (&from.from, "FROM", vec![from.image.value.to_string(), name], flags(&from.options))
        }
        Other::Run(run) => {
            let mut parts = other_command(&run.arguments);
            if !run.here_docs.is_empty() {
                parts = run.here_docs.iter().map(|heredoc| heredoc.value.to_string()).collect();
            }
            (&run.run, "RUN", parts, flags(&run.options))
        }
        Other::Copy(copy) => {
            let parts = copy.src.iter().map(source).chain([copy.dest.value.to_string()]).collect();
            (&copy.copy, "COPY", parts, flags(&copy.options))
        }
        Other::Add(add) => {
            let parts = add.src.iter().map(source).chain([add.dest.value.to_string()]).collect();
            (&add.add, "ADD", parts, flags(&add.options))
        }
        Other::Env(env) => (&env.env, "ENV", vec![squeezed(&env.arguments.value)], vec![]),
        Other::Label(label) => (&label.label, "LABEL", vec![squeezed(&label.arguments.value)], vec![]),
        Other::Arg(arg) => (&arg.arg, "ARG", vec![squeezed(&arg.arguments.value)], vec![]),
        Other::User(user) => (&user.user, "USER", vec![user.arguments.value.to_string()], vec![]),
        Other::Workdir(workdir) => (&workdir.workdir, "WORKDIR", vec![workdir.arguments.value.to_string()], vec![]),
        Other::Stopsignal(stop) => (&stop.stopsignal, "STOPSIGNAL", vec![stop.arguments.value.to_string()], vec![]),
        Other::Maintainer(it) => (&it.maintainer, "MAINTAINER", vec![it.name.value.to_string()], vec![]),
        Other::Volume(volume) => {
            let words = match &volume.arguments {
                JsonOrStringArray::Json(words) => words.value.iter().map(|word| word.value.to_string()).collect(),
                JsonOrStringArray::String(words) => words.iter().map(|word| word.value.to_string()).collect(),
            };
            (&volume.volume, "VOLUME", words, vec![])
        }
        Other::Expose(expose) => {
            let words = expose.arguments.iter().map(|word| word.value.to_string()).collect();
            (&expose.expose, "EXPOSE", words, vec![])
        }
        Other::Shell(shell) => {
            let words = shell.arguments.iter().map(|word| word.value.to_string()).collect();
            (&shell.shell, "SHELL", words, vec![])
        }
        Other::Entrypoint(it) => (&it.entrypoint, "ENTRYPOINT", other_command(&it.arguments), vec![]),
        Other::Cmd(cmd) => (&cmd.cmd, "CMD", other_command(&cmd.arguments), vec![]),
        Other::Healthcheck(check) => {
            let parts = match &check.arguments {
                HealthcheckArguments::Cmd { arguments, .. } => other_command(arguments),
                HealthcheckArguments::None { .. } => vec!["NONE".to_owned()],
                _ => panic!("another form"),
            };
            (&check.healthcheck, "HEALTHCHECK", parts, flags(&check.options))
        }
        Other::Onbuild(onbuild) => {
            let (_, _, parts) = tell_other(&onbuild.instruction, text);
            (&onbuild.onbuild, "ONBUILD", parts, vec![])
        }
        _ => panic!("an instruction that did not exist"),
    };
    (line(at.span.start), keyword.to_owned(), parts.into_iter().chain(options).collect())
}

#[test]
fn every_piece_is_read_alike() {
    for piece in PIECES {
        let text = format!("FROM a\n{piece}\nUSER end\n");
        assert_eq!(ours(&text), theirs(&text), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whole_files_are_read_alike(
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..15),
        start in prop::sample::select(vec!["", "# syntax=docker/dockerfile:1\n", "# escape=\\\n", "\n# c\n", "ARG V=1\n"]),
        crlf in any::<bool>(),
    ) {
        // The other parser refuses a second stage of one name.
        let mut seen = Vec::new();
        let pieces: Vec<_> = pieces.into_iter().filter(|piece| {
            let new = !(piece.to_ascii_uppercase().starts_with("FROM") && seen.contains(piece));
            seen.push(*piece);
            new
        }).collect();
        let text = format!("{start}FROM a AS first\n{}\n", pieces.join("\n"));
        let text = if crlf { text.replace('\n', "\r\n") } else { text };
        prop_assert_eq!(ours(&text), theirs(&text), "{}", text);
    }
}
