//! What can be wrong with a Dockerfile: always a place, what is allowed there, and a hint.

use osbs_types::{ErrorKind, Failure, Position};

/// A Dockerfile that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {problem}")]
pub struct DockerfileError {
    /// Where.
    pub position: Position,
    /// What.
    pub problem: Problem,
}

/// What is wrong, without the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No FROM at all.
    #[error("there is no FROM instruction")]
    NoFrom,
}

impl DockerfileError {
    /// Always the author of the Dockerfile.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::User
    }

    /// What to do, when more is known.
    pub fn hint(&self) -> Option<String> {
        None
    }

    /// As stored with a build.
    pub fn to_failure(&self) -> Failure {
        let failure = Failure::message(self.kind(), self.problem.to_string()).at(self.position.clone());
        match self.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}
