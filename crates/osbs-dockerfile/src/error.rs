//! What can be wrong with a Dockerfile: always a place, what is allowed there, and a hint.

use crate::expand::ExpandError;
use crate::mount::MountError;
use osbs_types::{ErrorKind, Failure, Position, PullSpecError};
use std::error::Error;
use std::fmt;

/// A Dockerfile that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerfileError {
    /// Where.
    pub position: Position,
    /// What. Boxed, because results carry it everywhere.
    pub problem: Box<Problem>,
}

/// What is wrong, without the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No FROM at all.
    #[error("there is no FROM instruction")]
    NoFrom,
    /// The file is too large to be a Dockerfile.
    #[error("the file has {size} bytes, allowed are {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Another encoding: labels and commands could not go into an image.
    #[error("the byte 0x{byte:02x} is not UTF-8")]
    NotUtf8 {
        /// The first such byte.
        byte: u8,
    },
    /// More than anybody writes by hand, or would want to build.
    #[error("there are more than {limit} {what}")]
    TooMany {
        /// `stages` or `instructions`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// `# escape=` and others may stand once.
    #[error("the directive {name:?} stands here a second time")]
    RepeatedDirective {
        /// Its name.
        name: String,
    },
    /// `# escape=` with another character.
    #[error("the escape directive says {}, allowed are \\ and `", quoted(value))]
    EscapeDirective {
        /// What it says.
        value: String,
    },
    /// The keyword.
    #[error("unknown instruction {}", quoted(word))]
    UnknownInstruction {
        /// As written.
        word: String,
        /// What was probably meant.
        suggestion: Option<&'static str>,
    },
    /// Only ARG may stand before the first FROM.
    #[error("{keyword} stands before the first FROM, where only ARG is allowed")]
    BeforeFrom {
        /// The keyword.
        keyword: String,
    },
    /// A flag.
    #[error("{keyword} has no flag --{}{}", shown(flag), allowed_flags(allowed))]
    UnknownFlag {
        /// The keyword.
        keyword: &'static str,
        /// The flag.
        flag: String,
        /// The flags it has.
        allowed: &'static [&'static str],
        /// What was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A flag that may stand once.
    #[error("--{flag} stands here a second time")]
    RepeatedFlag {
        /// The flag.
        flag: String,
    },
    /// A flag's value.
    #[error("--{flag} is {}, it must be {expected}", quoted(value))]
    FlagValue {
        /// The flag.
        flag: String,
        /// As written, empty when missing.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// Number or form of the arguments.
    #[error("{keyword} needs {expected}")]
    Arguments {
        /// The keyword.
        keyword: &'static str,
        /// What is allowed.
        expected: &'static str,
    },
    /// `["a", 1]`.
    #[error("a JSON array in a Dockerfile may hold only strings in double quotes")]
    NotStrings,
    /// `LABEL a=1 b`.
    #[error(
        "{keyword} {} has no '=': the form is NAME=VALUE ..., with quotes around values that hold spaces",
        quoted(word)
    )]
    NoEqualsSign {
        /// The keyword.
        keyword: &'static str,
        /// The word.
        word: String,
    },
    /// `ENV =x`.
    #[error("{keyword} with an empty name")]
    BlankName {
        /// The keyword.
        keyword: &'static str,
    },
    /// `FROM x AS 1`.
    #[error("{} is no name for a stage: a letter, then letters, digits, '-', '_' and '.'", quoted(name))]
    StageName {
        /// As written.
        name: String,
    },
    /// No line ends the heredoc.
    #[error("no line {} ends the heredoc", quoted(name))]
    UnfinishedHeredoc {
        /// The delimiter.
        name: String,
    },
    /// `COPY x <<EOF`.
    #[error("{keyword}: a heredoc cannot be the destination")]
    HeredocDestination {
        /// The keyword.
        keyword: &'static str,
    },
    /// ONBUILD ONBUILD, ONBUILD FROM, ONBUILD MAINTAINER.
    #[error("{keyword} is not allowed after ONBUILD")]
    Trigger {
        /// The keyword.
        keyword: String,
    },
    /// A trigger of a parent image that is not one instruction.
    #[error("the ONBUILD trigger is not one instruction")]
    NotOneInstruction,
    /// `RUN --mount`.
    #[error("--mount={} cannot be used", shown(text))]
    Mount {
        /// As written.
        text: String,
        /// Why.
        #[source]
        source: MountError,
    },
    /// A variable.
    #[error("{} cannot be expanded", quoted(text))]
    Expand {
        /// As written.
        text: String,
        /// Why.
        #[source]
        source: ExpandError,
    },
    /// The image of a FROM.
    #[error("FROM {} names no image", quoted(text))]
    Image {
        /// As written.
        text: String,
        /// Why.
        #[source]
        source: PullSpecError,
    },
}

/// Most characters of a text from the file that a message repeats: enough to find it again.
const SHOWN: usize = 200;

/// Text from the file for a message: shortened, and without what a terminal would obey.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        match c {
            _ if count == SHOWN => return shown + "...",
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// The same in quotes.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn allowed_flags(allowed: &[&str]) -> String {
    if allowed.is_empty() {
        return ": it takes no flags".to_owned();
    }
    format!("; allowed are --{}", allowed.join(", --"))
}

impl DockerfileError {
    /// Always the author of the Dockerfile.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::User
    }

    /// What to do, when more is known.
    pub fn hint(&self) -> Option<String> {
        match &*self.problem {
            Problem::UnknownInstruction { suggestion: Some(suggestion), .. } => {
                Some(format!("did you mean {suggestion}?"))
            }
            Problem::UnknownInstruction { .. } => {
                Some("if the line belongs to the instruction above, that one must end with a backslash".to_owned())
            }
            Problem::UnknownFlag { suggestion: Some(suggestion), .. } => Some(format!("did you mean --{suggestion}?")),
            Problem::NotUtf8 { .. } => {
                Some("save the file as UTF-8, for example with: iconv -f latin1 -t utf-8".to_owned())
            }
            Problem::NoFrom => Some("start it with FROM IMAGE, or FROM scratch".to_owned()),
            Problem::UnfinishedHeredoc { name } => Some(format!(
                "put {} alone on a line, without spaces before it (tabs are allowed with <<-)",
                shown(name)
            )),
            Problem::Mount { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// As stored with a build.
    pub fn to_failure(&self) -> Failure {
        let failure = Failure::new(self.kind(), &*self.problem).at(self.position.clone());
        match self.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl fmt::Display for DockerfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.problem)
    }
}

impl Error for DockerfileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem.source()
    }
}
