//! What can go wrong with a hub. Says what was tried at which hub, and what to look at; never a password, key or token.

use crate::{Fault, FaultCode, LoginError, ServerUrlError};
use osbs_http::HttpError;
use osbs_types::ErrorKind;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Most characters of a hub's words that are shown: with some settings a fault is a whole traceback.
const SHOWN: usize = 1000;

/// The hub did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KojiError {
    /// No usable answer, and nothing was changed by the call.
    #[error("cannot call {action} at the Koji hub {hub}{}", after(*waited))]
    Transport {
        /// The method, or what is uploaded or downloaded.
        action: String,
        /// Host and port.
        hub: String,
        /// How long it was tried.
        waited: Duration,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// An answer that is none of a hub: a proxy's page.
    #[error("the Koji hub {hub} answered {action} with status {status}{}", told(detail))]
    Status {
        /// The method, or what is uploaded or downloaded.
        action: String,
        /// Host and port.
        hub: String,
        /// HTTP status.
        status: u16,
        /// Its words, on one line.
        detail: String,
    },
    /// The hub said no.
    #[error("the Koji hub {hub} refused {action}: {}", shown(fault))]
    Fault {
        /// The method, or what is uploaded.
        action: String,
        /// Host and port.
        hub: String,
        /// What it said.
        fault: Fault,
    },
    /// The hub does not let us log in.
    #[error("the Koji hub {hub} does not let {user} log in: {}", shown(fault))]
    Denied {
        /// Host and port.
        hub: String,
        /// Who.
        user: String,
        /// What it said.
        fault: Fault,
    },
    /// The hub has closed our session, and it cannot be made again behind the caller's back: it was exclusive, or a
    /// session of another one's.
    #[error("the session at the Koji hub {hub} is lost ({action}): {}", shown(fault))]
    SessionLost {
        /// The method, or what is uploaded.
        action: String,
        /// Host and port.
        hub: String,
        /// What it said.
        fault: Fault,
    },
    /// The call reached the hub, but not its answer us. It must not be repeated: look at the hub what there is.
    #[error("the Koji hub {hub} {}", lost(action, *done))]
    AnswerLost {
        /// The method.
        action: String,
        /// Host and port.
        hub: String,
        /// The hub says that it has done it (fault 1009); else it may have.
        done: bool,
        /// Why there was no answer.
        #[source]
        source: Option<HttpError>,
    },
    /// An answer that makes no sense.
    #[error("the Koji hub {hub} gave a senseless answer to {action}: {problem}")]
    Protocol {
        /// The method, or what is uploaded.
        action: String,
        /// Host and port.
        hub: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What the hub has got is not what was sent, or what was downloaded is not what the hub has.
    #[error("the Koji hub {hub} has {found} where {expected} was expected: {what}")]
    Mismatch {
        /// Host and port.
        hub: String,
        /// What was compared.
        what: String,
        /// Expected.
        expected: String,
        /// Found.
        found: String,
    },
    /// A file to be uploaded, or the place of a download, cannot be used.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a hub's URL.
    #[error(transparent)]
    Url(#[from] ServerUrlError),
    /// A login that cannot be used.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The certificates of the hub's authority, or our own, cannot be used.
    #[error("the {what} for the Koji hub {hub} cannot be used")]
    Certificate {
        /// Whose.
        what: &'static str,
        /// Host and port.
        hub: String,
        /// Why; never its content.
        #[source]
        source: HttpError,
    },
    /// A login with Kerberos.
    #[error("cannot log in to the Koji hub {hub} with Kerberos: {problem}")]
    Kerberos {
        /// Host and port.
        hub: String,
        /// Why.
        problem: String,
        /// Whose fault.
        kind: ErrorKind,
    },
    /// Something that needs to know where files are.
    #[error("no URL of Koji's files is configured, or {path:?} is no path below it")]
    NoTop {
        /// What was to be downloaded.
        path: String,
    },
    /// Somebody asked to stop. A call that was on its way may have been done.
    #[error("cancelled")]
    Cancelled,
}

fn told(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(", {detail}") }
}

fn after(waited: Duration) -> String {
    if waited.as_secs() < 2 { String::new() } else { format!(" (tried for {} s)", waited.as_secs()) }
}

fn lost(action: &str, done: bool) -> String {
    if done {
        format!("has done {action}, but its answer was lost")
    } else {
        format!("did not answer {action}: it may have done it or not")
    }
}

fn shown(fault: &Fault) -> String {
    one_line(&format!("{} ({})", fault, fault.code))
}

/// A peer's words on one line of bounded length.
pub(crate) fn one_line(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = printable.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

impl KojiError {
    /// Whose fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Transport { source, .. } => source.kind(),
            Self::Fault { fault, .. } => fault.kind(),
            Self::Kerberos { kind, .. } => *kind,
            Self::Denied { .. } | Self::Certificate { .. } | Self::NoTop { .. } | Self::Url(_) | Self::Login(_) => {
                ErrorKind::Policy
            }
            Self::Status { .. }
            | Self::SessionLost { .. }
            | Self::AnswerLost { .. }
            | Self::Protocol { .. }
            | Self::Mismatch { .. } => ErrorKind::Remote,
            Self::File { .. } => ErrorKind::Resource,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// What the hub said, if it said no.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault { fault, .. } | Self::Denied { fault, .. } | Self::SessionLost { fault, .. } => Some(fault),
            _ => None,
        }
    }

    /// Whether the hub said no with a fault of this class.
    pub fn is(&self, class: FaultCode) -> bool {
        self.fault().is_some_and(|fault| fault.class() == class)
    }

    /// What to look at next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Transport { source: HttpError::Tls { .. }, .. } => {
                "a certificate of the site's own authority needs the file serverca beside the login; a hub without TLS is \
                 written http://"
            }
            Self::Transport { .. } => "is the hub up, and is its URL right?",
            Self::Denied { .. } => {
                "is the login right? For certificates the hub's web server must ask for one when the connection is made \
                 (SSLVerifyClient optional for the whole host)"
            }
            Self::Kerberos { .. } => {
                "look at principal and keytab (klist -k KEYTAB), or at the ticket (klist; kinit gets one), and at krb5.conf"
            }
            Self::AnswerLost { .. } => "look at the hub what there is before it is done again",
            Self::SessionLost { .. } => {
                "is another process using the same session or user, or was the hub's database reset?"
            }
            error => error.kind().advice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_kind_and_words() {
        let hub = || "k.io".to_owned();
        let action = || "CGImport".to_owned();
        let fault = |code, text: &str| Fault::new(code, text);
        let cases = [
            (
                KojiError::Fault {
                    action: action(),
                    hub: hub(),
                    fault: fault(FaultCode::GenericError, "no\nway\u{7}"),
                },
                ErrorKind::Remote,
                "the Koji hub k.io refused CGImport: GenericError: no way (1000)",
            ),
            (
                KojiError::Denied { hub: hub(), user: "me".to_owned(), fault: fault(FaultCode::AuthError, "x") },
                ErrorKind::Policy,
                "the Koji hub k.io does not let me log in: AuthError: x (1002)",
            ),
            (
                KojiError::AnswerLost { action: action(), hub: hub(), done: true, source: None },
                ErrorKind::Remote,
                "the Koji hub k.io has done CGImport, but its answer was lost",
            ),
            (
                KojiError::AnswerLost { action: action(), hub: hub(), done: false, source: None },
                ErrorKind::Remote,
                "the Koji hub k.io did not answer CGImport: it may have done it or not",
            ),
            (
                KojiError::Kerberos { hub: hub(), problem: "no".to_owned(), kind: ErrorKind::Policy },
                ErrorKind::Policy,
                "cannot log in to the Koji hub k.io with Kerberos: no",
            ),
        ];
        for (error, kind, text) in cases {
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
            assert!(!error.hint().is_empty());
        }
        let traceback = fault(FaultCode::Exception, &"Traceback\n".repeat(10_000));
        assert!(KojiError::Fault { action: action(), hub: hub(), fault: traceback }.to_string().len() < 1200);
    }
}
