//! What a parsed instruction is: data only, nothing here reads text or knows stages.
//!
//! All strings are as written in the file, before variables are substituted and quotes removed, unless a field says
//! otherwise: substitution needs the environment of the moment, which only a builder has ([`crate::expand`]).

use crate::mount::MountText;
use std::ops::Range;
use std::time::Duration;

/// One instruction with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The keyword in upper case: `FROM`, `RUN`, ...
    pub keyword: String,
    /// Exactly what the file says: all physical lines with continuations, comments among them and heredocs, without the
    /// line end of the last one.
    pub original: String,
    /// The logical line: continuations joined, comments in them dropped, surrounding white space removed, no heredoc
    /// bodies. What Docker shows in the history.
    pub logical: String,
    /// Bytes of the whole instruction in [`crate::Dockerfile::text`], the last line end included.
    pub span: Range<usize>,
    /// First physical line, from 1.
    pub start_line: usize,
    /// Last physical line, from 1.
    pub end_line: usize,
    /// Flags in order, as written.
    pub flags: Vec<Flag>,
    /// Heredocs in order. Only RUN, COPY, ADD and ONBUILD of these have any.
    pub heredocs: Vec<Heredoc>,
    /// The meaning.
    pub kind: InstructionKind,
}

/// A flag `--name=value` or `--name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Name without the dashes, as written (lower case by rule).
    pub name: String,
    /// The value; `None` without `=`.
    pub value: Option<String>,
}

/// An inline file, `<<NAME`, `<<-NAME`, `<<"NAME"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes; also the file's name when it is copied.
    pub name: String,
    /// Variables in it are substituted by the builder (COPY, ADD): no part of the delimiter was quoted.
    pub expand: bool,
    /// `<<-`: leading tabs of each line do not count ([`Heredoc::text`]).
    pub strip_tabs: bool,
    /// The number before `<<`, if any (`3<<EOF`).
    pub file_descriptor: Option<u32>,
    /// The lines between, with their line ends, before tabs are stripped.
    pub content: String,
}

impl Heredoc {
    /// The content, without leading tabs when `<<-` was written.
    pub fn text(&self) -> String {
        if !self.strip_tabs {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// How a command is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandForm {
    /// `["program", "argument"]`: run as it is. May be empty for CMD and ENTRYPOINT.
    Exec(Vec<String>),
    /// Text for the shell (the stage's SHELL). May be empty for CMD and ENTRYPOINT.
    Shell(String),
}

/// What a RUN really executes ([`Run::program`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunProgram {
    /// These arguments, without a shell.
    Exec(Vec<String>),
    /// One more argument for the stage's shell (`/bin/sh -c` by default).
    Shell(String),
    /// A lone heredoc with a `#!` line: an executable file of this name and content, to be run without a shell.
    Script {
        /// File name.
        name: String,
        /// Content.
        content: String,
    },
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command. With heredocs it is the shell text of the first line only; use [`Run::program`].
    pub command: CommandForm,
    /// `--mount=...`, in order, checked as far as no variable is in them.
    pub mounts: Vec<MountText>,
    /// `--network=default|none|host`.
    pub network: Option<RunNetwork>,
    /// `--security=sandbox|insecure`.
    pub security: Option<RunSecurity>,
}

/// `--network` of RUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunNetwork {
    /// What the build uses.
    Default,
    /// No network but loopback.
    None,
    /// The host's.
    Host,
}

/// `--security` of RUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunSecurity {
    /// The ordinary confinement.
    Sandbox,
    /// All privileges: a builder may refuse.
    Insecure,
}

/// A source of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path or pattern in the context (or stage, or image); for ADD also a URL or git address.
    Path(String),
    /// An inline file; its name is [`Heredoc::name`].
    Heredoc(Heredoc),
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transfer {
    /// At least one.
    pub sources: Vec<Source>,
    /// Where to; ends with `/` when it must be a folder.
    pub destination: String,
    /// COPY: `--from=` stage name, stage index or image.
    pub from: Option<String>,
    /// `--chown=USER[:GROUP]`.
    pub chown: Option<String>,
    /// `--chmod=MODE`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude=PATTERN`, each.
    pub exclude: Vec<String>,
    /// ADD: `--checksum=sha256:...`.
    pub checksum: Option<String>,
    /// ADD: `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// ADD: `--unpack[=false]`.
    pub unpack: Option<bool>,
}

/// `KEY=VALUE` of ENV and LABEL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Name, still with its quotes.
    pub key: String,
    /// Value, still with its quotes.
    pub value: String,
    /// Written as `KEY VALUE`, the old form: the value is the whole rest of the line.
    pub legacy: bool,
}

/// `NAME[=DEFAULT]` of ARG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// Name.
    pub name: String,
    /// Default, still with its quotes; `None` when no `=` was written.
    pub default: Option<String>,
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`: an inherited check is switched off.
    None,
    /// `HEALTHCHECK CMD ...`. Options that were not given, or given as zero, are `None`: inherited.
    Command {
        /// The command.
        command: CommandForm,
        /// `--interval`.
        interval: Option<Duration>,
        /// `--timeout`.
        timeout: Option<Duration>,
        /// `--start-period`.
        start_period: Option<Duration>,
        /// `--start-interval`.
        start_interval: Option<Duration>,
        /// `--retries`.
        retries: Option<u32>,
    },
}

/// The meaning of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `FROM [--platform=P] IMAGE [AS NAME]`.
    From {
        /// Image, `scratch` or name of an earlier stage.
        image: String,
        /// Stage name in lower case, in which they are compared.
        name: Option<String>,
        /// `--platform`.
        platform: Option<String>,
    },
    /// `RUN`.
    Run(Run),
    /// `COPY`.
    Copy(Transfer),
    /// `ADD`.
    Add(Transfer),
    /// `ENV`, at least one pair.
    Env(Vec<Pair>),
    /// `LABEL`, at least one pair.
    Label(Vec<Pair>),
    /// `ARG`, at least one.
    Arg(Vec<ArgDeclaration>),
    /// `WORKDIR`.
    Workdir(String),
    /// `USER`.
    User(String),
    /// `VOLUME`, at least one path.
    Volume(Vec<String>),
    /// `EXPOSE`, at least one `PORT[-PORT][/PROTOCOL]`; each may expand to several words.
    Expose(Vec<String>),
    /// `ENTRYPOINT`.
    Entrypoint(CommandForm),
    /// `CMD`.
    Cmd(CommandForm),
    /// `SHELL`, at least one word.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    Stopsignal(String),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `ONBUILD`.
    Onbuild {
        /// The instruction to run in a child's build; never ONBUILD, FROM or MAINTAINER.
        trigger: Box<Instruction>,
        /// Its text as it goes into the image config, heredoc bodies included.
        text: String,
    },
    /// `MAINTAINER`.
    Maintainer(String),
}

impl Run {
    /// What to execute, given the heredocs of the instruction (the field beside [`Instruction::kind`]).
    ///
    /// A lone heredoc is the script itself; in any other shell text the heredocs are put below it for the shell to read.
    pub fn program(&self, heredocs: &[Heredoc]) -> RunProgram {
        let text = match &self.command {
            CommandForm::Exec(args) => return RunProgram::Exec(args.clone()),
            CommandForm::Shell(text) => text,
        };
        match heredocs {
            [] => RunProgram::Shell(text.clone()),
            [only] if crate::heredoc::is_lone(text) => {
                let content = only.text();
                if content.starts_with("#!") {
                    RunProgram::Script { name: only.name.clone(), content }
                } else {
                    RunProgram::Shell(content)
                }
            }
            several => {
                let mut full = text.clone();
                for heredoc in several {
                    full.push('\n');
                    full.push_str(&heredoc.content);
                    full.push_str(&heredoc.name);
                }
                RunProgram::Shell(full)
            }
        }
    }
}
