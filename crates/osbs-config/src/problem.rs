//! What is wrong in a configuration file: where, what, and what is allowed instead.

use osbs_types::{ErrorKind, Failure, Position};
use std::fmt;

/// Whether a problem stops the use of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file is used all the same; the problem is told.
    Warning,
    /// The file is refused.
    Error,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// The text is not INI, YAML or JSON at all.
    #[error("{detail}")]
    Syntax {
        /// What the parser met.
        detail: String,
    },
    /// A key nobody reads.
    #[error("unknown key {key:?}{}", did_you_mean(nearest.as_deref()))]
    UnknownKey {
        /// As written.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A key that must be there.
    #[error("the required key {key:?} is missing")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// The type asked for.
        expected: &'static str,
        /// The type or value met.
        found: String,
    },
    /// The right type, but not a value this key can have.
    #[error("{value:?} is not {expected}")]
    BadValue {
        /// As written.
        value: String,
        /// What it should have been.
        expected: String,
    },
    /// Two keys that exclude each other, or must come together.
    #[error("{detail}")]
    Conflict {
        /// Which keys, and why not.
        detail: String,
    },
    /// The same key or section twice.
    #[error("{what} {name:?} is given twice, first in line {first}")]
    Duplicate {
        /// `key` or `section`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it was first.
        first: usize,
    },
    /// Works no more, or is read nowhere.
    #[error("{key} {advice}")]
    Obsolete {
        /// The key.
        key: String,
        /// What to know or do about it.
        advice: &'static str,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean {name:?}?"))
}

/// One problem of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub position: Position,
    /// The way to the value inside the file (`clusters.x86_64[0].name`, `[default] namespace`); empty for the whole.
    pub path: String,
    /// What.
    pub kind: ProblemKind,
    /// What could stand there, when that can be listed.
    pub allowed: Option<String>,
    /// Whether it matters.
    pub severity: Severity,
}

/// `file:line:column: path: what (allowed: ...)`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, Headless(self))
    }
}

/// A problem without its position, for a [`Failure`] that shows it apart.
struct Headless<'a>(&'a Problem);

impl fmt::Display for Headless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.path.is_empty() {
            write!(f, "{}: ", self.0.path)?;
        }
        self.0.kind.fmt(f)?;
        self.0.allowed.as_ref().map_or(Ok(()), |allowed| write!(f, " (allowed: {allowed})"))
    }
}

/// All problems of one file. Warnings come with the errors, so that one round mends everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    kind: ErrorKind,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// From at least one problem, in the order of the file.
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty(), "an error has a problem");
        problems.sort_by_key(|problem| (problem.position.line, problem.position.column));
        Self { kind: ErrorKind::User, problems }
    }

    /// For a value that came from nowhere in a file, such as a command line option.
    pub fn single(position: Position, path: &str, kind: ProblemKind, allowed: Option<String>) -> Self {
        Self::new(vec![Problem { position, path: path.to_owned(), kind, allowed, severity: Severity::Error }])
    }

    /// The same problems as somebody else's fault: a site's file is its administrator's ([`ErrorKind::Policy`]), a
    /// repository's file its author's ([`ErrorKind::User`], the default).
    #[must_use]
    pub fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Whose turn it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// All problems in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn first_error(&self) -> &Problem {
        self.problems
            .iter()
            .find(|problem| problem.severity == Severity::Error)
            .or_else(|| self.problems.first())
            .expect("a ConfigError has at least one problem")
    }

    /// As it is stored with a build and shown on one screen.
    pub fn to_failure(&self) -> Failure {
        let first = self.first_error();
        match &self.problems[..] {
            [only] => Failure::message(self.kind, Headless(only).to_string()).at(only.position.clone()),
            many => {
                let text = format!("{} has {} problems", first.position.file, many.len());
                let mut failure = Failure::message(self.kind, text).at(first.position.clone());
                failure.causes = many.iter().map(Problem::to_string).collect();
                failure
            }
        }
    }
}

/// Every problem on a line of its own.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A good value, and what is worth telling about its file all the same.
#[derive(Debug, Clone)]
pub struct Parsed<T> {
    /// The value.
    pub value: T,
    /// In the order of the file.
    pub warnings: Vec<Problem>,
}

impl<T> Parsed<T> {
    /// The value, or the error when one of the problems is one.
    pub(crate) fn from_problems(value: Option<T>, problems: Vec<Problem>) -> Result<Self, ConfigError> {
        match value {
            Some(value) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
                Ok(Self { value, warnings: problems })
            }
            _ => Err(ConfigError::new(problems)),
        }
    }
}
