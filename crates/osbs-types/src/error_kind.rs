//! Whose fault a failure is, and what follows from that: retry, mail and exit code.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The class of an error (`design.md` decision 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// The request, the repository or the command line: its author mends it.
    User,
    /// Allowed by nobody: `can_orchestrate`, allowed domains, source registry.
    Policy,
    /// A registry, Koji, git server: it may pass, so it was retried.
    Remote,
    /// This machine: disk full, no memory, a missing program or kernel feature.
    Resource,
    /// A mistake in this program.
    Internal,
    /// Somebody asked to stop. Never tolerated, never retried, nobody's fault.
    Cancelled,
}

/// Exit codes of `osbs`, a published contract.
pub mod exit_code {
    /// All went well.
    pub const SUCCESS: u8 = 0;
    /// [`super::ErrorKind::User`]: mend the request or the repository.
    pub const USER: u8 = 1;
    /// The command line could not be understood.
    pub const USAGE: u8 = 2;
    /// [`super::ErrorKind::Policy`].
    pub const POLICY: u8 = 3;
    /// [`super::ErrorKind::Remote`].
    pub const REMOTE: u8 = 4;
    /// [`super::ErrorKind::Resource`].
    pub const RESOURCE: u8 = 5;
    /// [`super::ErrorKind::Internal`].
    pub const INTERNAL: u8 = 6;
    /// [`super::ErrorKind::Cancelled`]: 128 + SIGINT, as shells have it.
    pub const CANCELLED: u8 = 130;
}

impl ErrorKind {
    /// The exit code of a program that ends with such an error.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::User => exit_code::USER,
            Self::Policy => exit_code::POLICY,
            Self::Remote => exit_code::REMOTE,
            Self::Resource => exit_code::RESOURCE,
            Self::Internal => exit_code::INTERNAL,
            Self::Cancelled => exit_code::CANCELLED,
        }
    }

    /// The kind a child process meant by its exit code; any other code is internal.
    pub fn from_exit_code(code: u8) -> Self {
        [Self::User, Self::Policy, Self::Remote, Self::Resource, Self::Cancelled]
            .into_iter()
            .find(|kind| kind.exit_code() == code)
            .unwrap_or(Self::Internal)
    }

    /// The word, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Policy => "policy",
            Self::Remote => "remote",
            Self::Resource => "resource",
            Self::Internal => "internal",
            Self::Cancelled => "cancelled",
        }
    }

    /// One line for people: whose turn it is.
    pub fn advice(self) -> &'static str {
        match self {
            Self::User => "mend the request or the repository, then build again",
            Self::Policy => "this site does not allow it: ask its administrator",
            Self::Remote => "another server failed, also after retries: build again when it is well",
            Self::Resource => "this machine lacks something: see above, then build again",
            Self::Internal => "this is a mistake in osbs: please report it with the build's log",
            Self::Cancelled => "nothing to do: somebody asked to stop",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in a text that somebody wrote. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// File name as the user knows it (`Dockerfile`, `container.yaml`).
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1; `None` for the whole line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        self.column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

/// An error as it is stored with a build and shown on one screen: what, where, whose fault, what next. Every error type
/// of the other crates can be turned into one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class.
    pub kind: ErrorKind,
    /// What happened, one line.
    pub message: String,
    /// The causes below it, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// The plugin or step it happened in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The place in the user's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What to do next, when more is known than [`ErrorKind::advice`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// From an error and its chain of sources.
    pub fn new(kind: ErrorKind, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self { kind, message: error.to_string(), causes, step: None, position: None, hint: None }
    }

    /// From a text.
    pub fn message(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), step: None, position: None, hint: None }
    }

    /// With the place in the user's file.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// With what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the plugin or step, unless one is known already.
    #[must_use]
    pub fn in_step(mut self, step: &str) -> Self {
        self.step.get_or_insert_with(|| step.to_owned());
        self
    }
}

impl Failure {
    /// What is shown of it on one screen, each line behind its label: what, why, where, whose fault, what next.
    pub fn screen(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("error", self.message.clone())];
        lines.extend(self.causes.iter().map(|cause| ("cause", cause.clone())));
        lines.extend(self.step.iter().map(|step| ("step", step.clone())));
        lines.extend(self.position.iter().map(|position| ("where", position.to_string())));
        lines.push(("kind", self.kind.to_string()));
        lines.push(("next", self.hint.clone().unwrap_or_else(|| self.kind.advice().to_owned())));
        lines
    }
}

/// `message: cause: cause`, on one line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = &self.position {
            write!(f, "{position}: ")?;
        }
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_name_their_kind() {
        for kind in [ErrorKind::User, ErrorKind::Policy, ErrorKind::Remote, ErrorKind::Resource, ErrorKind::Internal] {
            assert_eq!(ErrorKind::from_exit_code(kind.exit_code()), kind);
        }
        assert_eq!(ErrorKind::from_exit_code(101), ErrorKind::Internal, "a panic is our mistake");
    }

    #[test]
    fn a_failure_reads_as_one_line() {
        let at = Position { file: "Dockerfile".into(), line: 3, column: None };
        let failure = Failure::message(ErrorKind::User, "unknown instruction FORM").at(at);
        assert_eq!(failure.to_string(), "Dockerfile:3: unknown instruction FORM");
    }
}
