//! What can go wrong with Pulp. Says what was tried at which server, and what to look at.

use osbs_http::HttpError;
use osbs_types::ErrorKind;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Pulp did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PulpError {
    /// No usable answer.
    #[error("cannot {action} at Pulp {server}")]
    Transport {
        /// What was tried.
        action: String,
        /// Host and port.
        server: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// It does not know us, or does not allow it.
    #[error("Pulp {server} does not let us {action}: status {status}{}", told(detail))]
    Denied {
        /// What was tried.
        action: String,
        /// Host and port.
        server: String,
        /// 401 or 403.
        status: u16,
        /// Pulp's own words, on one line.
        detail: String,
    },
    /// Any other status that is no success.
    #[error("Pulp {server} refused to {action}: status {status}{}", told(detail))]
    Refused {
        /// What was tried.
        action: String,
        /// Host and port.
        server: String,
        /// HTTP status.
        status: u16,
        /// Pulp's own words, on one line.
        detail: String,
    },
    /// An answer that makes no sense.
    #[error("Pulp {server} gave a senseless answer when asked to {action}: {problem}")]
    Protocol {
        /// What was tried.
        action: String,
        /// Host and port.
        server: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The task failed.
    #[error("Pulp {server} failed to {action}: {reason} (task {task})")]
    TaskFailed {
        /// What the task is for.
        action: String,
        /// Host and port.
        server: String,
        /// Its reference, for Pulp's administrator.
        task: String,
        /// Pulp's own words, on one line.
        reason: String,
    },
    /// Somebody else cancelled the task, or it was skipped.
    #[error("the task of Pulp {server} to {action} was {state} (task {task})")]
    TaskEnded {
        /// What the task is for.
        action: String,
        /// Host and port.
        server: String,
        /// Its reference.
        task: String,
        /// `canceled` or `skipped`.
        state: &'static str,
    },
    /// The task did not end in time. It was cancelled, if Pulp still answered.
    #[error("Pulp {server} did not {action} within {} s: its task is {state}{} (task {task})", limit.as_secs(), told(progress))]
    Deadline {
        /// What the task is for.
        action: String,
        /// Host and port.
        server: String,
        /// Its reference.
        task: String,
        /// Its state when last seen.
        state: &'static str,
        /// How far it was.
        progress: String,
        /// The limit that was passed.
        limit: Duration,
    },
    /// What was asked for is not what is there.
    #[error("Pulp {server} has {found} where {expected} was expected: {what}")]
    Mismatch {
        /// Host and port.
        server: String,
        /// What was compared.
        what: String,
        /// Expected.
        expected: String,
        /// Found.
        found: String,
    },
    /// The file to be uploaded cannot be read.
    #[error("cannot read {} for its upload to Pulp", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The build was cancelled; the task was, too.
    #[error("cancelled")]
    Cancelled,
}

fn told(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(", {detail}") }
}

impl PulpError {
    /// Whose fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Transport { source, .. } => source.kind(),
            Self::Denied { .. } => ErrorKind::Policy,
            Self::Refused { .. }
            | Self::Protocol { .. }
            | Self::TaskFailed { .. }
            | Self::TaskEnded { .. }
            | Self::Deadline { .. }
            | Self::Mismatch { .. } => ErrorKind::Remote,
            Self::File { .. } => ErrorKind::Resource,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// The HTTP status, if there was an answer with a bad one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Denied { status, .. } | Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What to look at next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Transport { source: HttpError::Tls { .. }, .. } => {
                "a certificate of the site's own authority needs `ca_file` in `pulp` of config.yaml; a Pulp without TLS is \
                 written http://"
            }
            Self::Transport { .. } => "is Pulp up, and is `pulp.url` in config.yaml right?",
            Self::Denied { .. } => "is the login of `pulp.auth` in config.yaml right, and may that user do this?",
            Self::Deadline { state: "waiting", .. } => {
                "no worker of Pulp has taken the task: are they running, or is `pulp.timeout` too short?"
            }
            Self::Deadline { .. } => "is Pulp busy, or is `pulp.timeout` in config.yaml too short?",
            Self::TaskFailed { .. } => {
                "does Pulp reach the registry at `pulp.sync_from`, with its login? Its administrator sees more under that task"
            }
            error => error.kind().advice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> (String, String) {
        ("list the tags".to_owned(), "pulp.example.com".to_owned())
    }

    #[test]
    fn every_error_has_its_kind_and_words() {
        let (action, server) = words();
        let task = "/pulp/api/v3/tasks/1/".to_owned();
        let limit = Duration::from_secs(5);
        let detail = "detail: no".to_owned();
        let cases: Vec<(PulpError, ErrorKind, &str)> = vec![
            (
                PulpError::Denied {
                    action: action.clone(),
                    server: server.clone(),
                    status: 401,
                    detail: detail.clone(),
                },
                ErrorKind::Policy,
                "Pulp pulp.example.com does not let us list the tags: status 401, detail: no",
            ),
            (
                PulpError::Refused {
                    action: action.clone(),
                    server: server.clone(),
                    status: 500,
                    detail: String::new(),
                },
                ErrorKind::Remote,
                "Pulp pulp.example.com refused to list the tags: status 500",
            ),
            (
                PulpError::TaskFailed {
                    action: action.clone(),
                    server: server.clone(),
                    task: task.clone(),
                    reason: "404".to_owned(),
                },
                ErrorKind::Remote,
                "Pulp pulp.example.com failed to list the tags: 404 (task /pulp/api/v3/tasks/1/)",
            ),
            (
                PulpError::Deadline { action, server, task, state: "waiting", progress: String::new(), limit },
                ErrorKind::Remote,
                "Pulp pulp.example.com did not list the tags within 5 s: its task is waiting (task /pulp/api/v3/tasks/1/)",
            ),
            (PulpError::Cancelled, ErrorKind::Cancelled, "cancelled"),
        ];
        for (error, kind, text) in cases {
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
            assert!(!error.hint().is_empty(), "{text}");
        }
    }
}
