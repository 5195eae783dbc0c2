//! From one logical line to an instruction.

use crate::error::Problem;
use crate::flags::Flags;
use crate::instruction::{
    ArgDeclaration, CommandForm, Flag, Healthcheck, Heredoc, Instruction, InstructionKind, Pair, Run, RunNetwork,
    RunSecurity, Source, Transfer,
};
use crate::lines::{LineReader, LogicalLine};
use crate::mount::MountText;
use crate::words;
use crate::{duration, heredoc};
use std::time::Duration;

/// All keywords.
const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// The parts of a line whose keyword is known.
struct Parts<'a> {
    keyword: &'static str,
    flags: Vec<Flag>,
    rest: &'a str,
    escape: char,
}

fn split(line: &str, escape: char) -> Result<Parts<'_>, Problem> {
    let (word, arguments) = words::keyword(line);
    let Some(keyword) = KEYWORDS.into_iter().find(|keyword| keyword.eq_ignore_ascii_case(word)) else {
        let suggestion = words::nearest(word, KEYWORDS);
        return Err(Problem::UnknownInstruction { word: shorten(word), suggestion });
    };
    let (flags, rest) = words::flags(arguments, escape);
    Ok(Parts { keyword, flags, rest, escape })
}

/// Enough of a hostile word to find it again.
fn shorten(word: &str) -> String {
    word.chars().take(60).collect()
}

/// Reads the heredocs that the line opens, then makes the instruction. On an error the line number is that of the first
/// line of the instruction.
pub(crate) fn instruction(text: &str, line: &LogicalLine, reader: &mut LineReader<'_>) -> Result<Instruction, Problem> {
    let escape = reader.escape;
    let parts = split(&line.text, escape)?;
    let mut heredocs = if takes_heredocs(&parts)? { heredoc::in_line(&line.text) } else { Vec::new() };
    for heredoc in &mut heredocs {
        read_content(heredoc, reader)?;
    }
    let span = line.span.start..reader.offset();
    let original = text[span.clone()].trim_end_matches(['\r', '\n']).to_owned();
    let kind = kind(&parts, &heredocs, line)?;
    Ok(Instruction {
        keyword: parts.keyword.to_owned(),
        original,
        logical: line.text.trim().to_owned(),
        span,
        start_line: line.start_line,
        end_line: reader.line(),
        flags: parts.flags,
        heredocs,
        kind,
    })
}

fn takes_heredocs(parts: &Parts<'_>) -> Result<bool, Problem> {
    if parts.keyword == "ONBUILD" {
        // One level only: ONBUILD ONBUILD is refused, so this cannot recurse.
        let (word, _) = words::keyword(parts.rest);
        if word.is_empty() || word.eq_ignore_ascii_case("ONBUILD") {
            return Ok(false);
        }
        return takes_heredocs(&split(parts.rest, parts.escape)?);
    }
    Ok(matches!(parts.keyword, "RUN" | "COPY" | "ADD") && json_strings(parts.rest)?.is_none())
}

fn read_content(heredoc: &mut Heredoc, reader: &mut LineReader<'_>) -> Result<(), Problem> {
    while let Some((raw, _)) = reader.raw() {
        let line = raw.trim_end_matches(['\r', '\n']);
        let line = if heredoc.strip_tabs { line.trim_start_matches('\t') } else { line };
        if line == heredoc.name {
            return Ok(());
        }
        heredoc.content.push_str(raw);
    }
    Err(Problem::UnfinishedHeredoc { name: heredoc.name.clone() })
}

fn kind(parts: &Parts<'_>, heredocs: &[Heredoc], line: &LogicalLine) -> Result<InstructionKind, Problem> {
    let flags = Flags::check(parts.keyword, &parts.flags)?;
    Ok(match parts.keyword {
        "FROM" => from(parts, &flags)?,
        "RUN" => run(parts, &flags)?,
        "COPY" => InstructionKind::Copy(transfer(parts, &flags, heredocs)?),
        "ADD" => InstructionKind::Add(transfer(parts, &flags, heredocs)?),
        "ENV" => InstructionKind::Env(pairs(parts)?),
        "LABEL" => InstructionKind::Label(pairs(parts)?),
        "ARG" => InstructionKind::Arg(declarations(parts)?),
        "WORKDIR" => InstructionKind::Workdir(one(parts, "a path")?),
        "USER" => InstructionKind::User(one(parts, "USER[:GROUP]")?),
        "STOPSIGNAL" => InstructionKind::Stopsignal(one(parts, "a signal")?),
        "MAINTAINER" => InstructionKind::Maintainer(one(parts, "a name")?),
        "VOLUME" => {
            let paths: Vec<_> = list(parts)?.into_iter().map(|path| path.trim().to_owned()).collect();
            if paths.is_empty() || paths.iter().any(String::is_empty) {
                return Err(arguments(parts, "one path or more, none of them empty"));
            }
            InstructionKind::Volume(paths)
        }
        "EXPOSE" => {
            let ports = words::blank_separated(parts.rest);
            if ports.is_empty() {
                return Err(arguments(parts, "one PORT[/PROTOCOL] or more"));
            }
            InstructionKind::Expose(ports)
        }
        "ENTRYPOINT" => InstructionKind::Entrypoint(command(parts.rest)?),
        "CMD" => InstructionKind::Cmd(command(parts.rest)?),
        "SHELL" => match json_strings(parts.rest)? {
            Some(words) if !words.is_empty() => InstructionKind::Shell(words),
            _ => return Err(arguments(parts, "a JSON array such as [\"/bin/bash\", \"-c\"]")),
        },
        "HEALTHCHECK" => InstructionKind::Healthcheck(healthcheck(parts, &flags)?),
        "ONBUILD" => onbuild(parts, heredocs, line)?,
        other => unreachable!("{other} is in KEYWORDS, but has no rule"),
    })
}

fn arguments(parts: &Parts<'_>, expected: &'static str) -> Problem {
    Problem::Arguments { keyword: parts.keyword, expected }
}

fn one(parts: &Parts<'_>, expected: &'static str) -> Result<String, Problem> {
    if parts.rest.is_empty() { Err(arguments(parts, expected)) } else { Ok(parts.rest.to_owned()) }
}

/// The strings of a JSON array; `None` when the text is no JSON array.
fn json_strings(text: &str) -> Result<Option<Vec<String>>, Problem> {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(Problem::NotStrings),
    });
    strings.collect::<Result<_, _>>().map(Some)
}

fn command(text: &str) -> Result<CommandForm, Problem> {
    Ok(json_strings(text)?.map_or_else(|| CommandForm::Shell(text.to_owned()), CommandForm::Exec))
}

fn list(parts: &Parts<'_>) -> Result<Vec<String>, Problem> {
    Ok(json_strings(parts.rest)?.unwrap_or_else(|| words::blank_separated(parts.rest)))
}

fn from(parts: &Parts<'_>, flags: &Flags<'_>) -> Result<InstructionKind, Problem> {
    let words = words::blank_separated(parts.rest);
    let (image, name) = match words.as_slice() {
        [image] => (image, None),
        [image, word, name] if word.eq_ignore_ascii_case("as") => (image, Some(stage_name(name)?)),
        _ => return Err(arguments(parts, "IMAGE or IMAGE AS NAME")),
    };
    Ok(InstructionKind::From { image: image.clone(), name, platform: flags.text("platform") })
}

fn stage_name(name: &str) -> Result<String, Problem> {
    let lower = name.to_ascii_lowercase();
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    if lower.starts_with(|c: char| c.is_ascii_lowercase()) && lower.bytes().all(inner) {
        Ok(lower)
    } else {
        Err(Problem::StageName { name: shorten(name) })
    }
}

fn run(parts: &Parts<'_>, flags: &Flags<'_>) -> Result<InstructionKind, Problem> {
    let command = command(parts.rest)?;
    if matches!(&command, CommandForm::Exec(args) if args.is_empty()) || parts.rest.is_empty() {
        return Err(arguments(parts, "a command"));
    }
    let mounts = flags.texts("mount").into_iter().map(MountText).collect::<Vec<_>>();
    for mount in &mounts {
        mount.check().map_err(|source| Problem::Mount { text: mount.0.clone(), source })?;
    }
    let network = flags.parsed("network", "default, none or host", |value| match value {
        "default" => Some(RunNetwork::Default),
        "none" => Some(RunNetwork::None),
        "host" => Some(RunNetwork::Host),
        _ => None,
    })?;
    let security = flags.parsed("security", "sandbox or insecure", |value| match value {
        "sandbox" => Some(RunSecurity::Sandbox),
        "insecure" => Some(RunSecurity::Insecure),
        _ => None,
    })?;
    Ok(InstructionKind::Run(Run { command, mounts, network, security }))
}

fn transfer(parts: &Parts<'_>, flags: &Flags<'_>, heredocs: &[Heredoc]) -> Result<Transfer, Problem> {
    let as_json = json_strings(parts.rest)?;
    let is_json = as_json.is_some();
    let mut words = as_json.unwrap_or_else(|| words::blank_separated(parts.rest));
    let destination = words.pop().filter(|_| !words.is_empty());
    let destination = destination.ok_or_else(|| arguments(parts, "at least one source and a destination"))?;
    if !is_json && heredoc::parse_word(&destination).is_some() {
        return Err(Problem::HeredocDestination { keyword: parts.keyword });
    }
    let mut unused = heredocs.iter();
    let sources = words.into_iter().map(|word| {
        let name = heredoc::parse_word(&word).filter(|_| !is_json).map(|heredoc| heredoc.name);
        let found = name.and_then(|name| unused.find(|heredoc| heredoc.name == name));
        found.map_or(Source::Path(word), |heredoc| Source::Heredoc(heredoc.clone()))
    });
    Ok(Transfer {
        sources: sources.collect(),
        destination,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link")?.unwrap_or(false),
        parents: flags.switch("parents")?.unwrap_or(false),
        exclude: flags.texts("exclude"),
        checksum: flags.text("checksum"),
        keep_git_dir: flags.switch("keep-git-dir")?.unwrap_or(false),
        unpack: flags.switch("unpack")?,
    })
}

fn pairs(parts: &Parts<'_>) -> Result<Vec<Pair>, Problem> {
    let words = words::quoted_words(parts.rest, parts.escape);
    let Some(first) = words.first() else { return Err(arguments(parts, "NAME=VALUE ...")) };
    if !first.contains('=') {
        let (key, value) = parts
            .rest
            .split_once(words::BLANKS)
            .ok_or_else(|| arguments(parts, "a name and a value: NAME=VALUE ..."))?;
        let value = value.trim_start_matches(words::BLANKS).to_owned();
        return Ok(vec![Pair { key: key.to_owned(), value, legacy: true }]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(Problem::BlankName { keyword: parts.keyword }),
        Some((key, value)) => Ok(Pair { key: key.to_owned(), value: value.to_owned(), legacy: false }),
        None => Err(Problem::NoEqualsSign { keyword: parts.keyword, word: shorten(&word) }),
    };
    words.into_iter().map(pair).collect()
}

fn declarations(parts: &Parts<'_>) -> Result<Vec<ArgDeclaration>, Problem> {
    let words = words::quoted_words(parts.rest, parts.escape);
    if words.is_empty() {
        return Err(arguments(parts, "NAME or NAME=DEFAULT"));
    }
    let declaration = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(Problem::BlankName { keyword: parts.keyword }),
        Some((name, default)) => Ok(ArgDeclaration { name: name.to_owned(), default: Some(default.to_owned()) }),
        None => Ok(ArgDeclaration { name: word, default: None }),
    };
    words.into_iter().map(declaration).collect()
}

fn healthcheck(parts: &Parts<'_>, flags: &Flags<'_>) -> Result<Healthcheck, Problem> {
    let expected = "NONE alone, or CMD and a command";
    let (word, rest) = parts.rest.split_once(char::is_whitespace).unwrap_or((parts.rest, ""));
    let rest = rest.trim_start();
    if word.eq_ignore_ascii_case("NONE") && rest.is_empty() {
        return Ok(Healthcheck::None);
    }
    let command = command(rest)?;
    let empty = matches!(&command, CommandForm::Exec(args) if args.is_empty()) || rest.is_empty();
    if !word.eq_ignore_ascii_case("CMD") || empty {
        return Err(arguments(parts, expected));
    }
    let time = |name| {
        let read = |text: &str| match text {
            // As good as left out.
            "" => Some(Duration::ZERO),
            _ => duration::parse(text).filter(|time| time.is_zero() || time.as_millis() > 0),
        };
        let time = flags.parsed(name, "a duration of at least 1ms, such as 30s or 1m30s", read)?;
        Ok::<_, Problem>(time.filter(|time| !time.is_zero()))
    };
    let retries = flags.parsed("retries", "a number from 0", |text| match text {
        "" => Some(0),
        _ => text.parse::<u32>().ok().filter(|n| *n < 1 << 31),
    })?;
    Ok(Healthcheck::Command {
        command,
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries: retries.filter(|retries| *retries > 0),
    })
}

fn onbuild(parts: &Parts<'_>, heredocs: &[Heredoc], line: &LogicalLine) -> Result<InstructionKind, Problem> {
    if parts.rest.is_empty() {
        return Err(arguments(parts, "an instruction"));
    }
    let inner = split(parts.rest, parts.escape)?;
    if matches!(inner.keyword, "ONBUILD" | "FROM" | "MAINTAINER") {
        return Err(Problem::Trigger { keyword: inner.keyword.to_owned() });
    }
    let kind = kind(&inner, heredocs, line)?;
    let mut text = parts.rest.to_owned();
    for heredoc in heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    let trigger = Instruction {
        keyword: inner.keyword.to_owned(),
        original: text.clone(),
        logical: parts.rest.to_owned(),
        span: line.span.clone(),
        start_line: line.start_line,
        end_line: line.end_line,
        flags: inner.flags,
        heredocs: heredocs.to_vec(),
        kind,
    };
    Ok(InstructionKind::Onbuild { trigger: Box::new(trigger), text })
}
