//! What follows an attempt: pure rules about when a call may be sent again. None of them ever repeats what was done.
//!
//! Must not wait, send or log.

use crate::wire::NoAnswer;
use crate::{Effect, Fault, FaultCode, KojiError};
use osbs_http::{HttpError, StatusCode, is_transient};
use osbs_types::ErrorKind;
use std::time::Duration;

/// A proxy's page that says 200 does not become a hub's answer by being asked for often.
const MAX_GARBAGE: u32 = 4;

/// Why an attempt brought no answer of a hub that works.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No connection: the call was not sent.
    NotReached(HttpError),
    /// The connection broke, or the hub was silent.
    Lost(HttpError),
    /// It will not be better next time, and nothing was done.
    Final(HttpError),
    /// It will not be better next time, but the hub has got the call.
    Unreadable(HttpError),
    /// Not 200.
    Status(u16, String),
    /// No XML-RPC.
    Garbage(String),
    /// The program that logs in with Kerberos got no answer; one that is [`ErrorKind::Remote`]'s fault may come.
    Kerberos { problem: String, kind: ErrorKind },
    /// A fault that says that nothing was done, and that ends by itself: 1014, or 1001.
    Offline(Fault),
}

impl From<HttpError> for Trouble {
    fn from(error: HttpError) -> Self {
        match &error {
            HttpError::Connect { source, .. } if source.is_connect() => Self::NotReached(error),
            HttpError::Resolve { .. } => Self::NotReached(error),
            HttpError::Connect { .. } | HttpError::Interrupted { .. } | HttpError::Timeout { .. } => Self::Lost(error),
            HttpError::TooLarge { .. } => Self::Unreadable(error),
            HttpError::Tls { source, .. } if !source.is_connect() => Self::Unreadable(error),
            _ => Self::Final(error),
        }
    }
}

impl From<NoAnswer> for Trouble {
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::Status(status, text) => Self::Status(status, text),
            NoAnswer::Garbage(problem) => Self::Garbage(problem),
        }
    }
}

impl Trouble {
    fn may_pass(&self) -> bool {
        match self {
            Self::NotReached(_) | Self::Lost(_) | Self::Garbage(_) | Self::Offline(_) => true,
            Self::Kerberos { kind, .. } => *kind == ErrorKind::Remote,
            Self::Final(_) | Self::Unreadable(_) => false,
            Self::Status(status, _) => StatusCode::from_u16(*status).is_ok_and(is_transient),
        }
    }

    /// Whether the hub may have done what was asked.
    fn may_be_done(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Unreadable(_) | Self::Garbage(_) => true,
            // Another login does no harm.
            Self::NotReached(_) | Self::Final(_) | Self::Offline(_) | Self::Kerberos { .. } => false,
            // 429 and 503 are said before a program is asked.
            Self::Status(status, _) => *status >= 500 && *status != 503,
        }
    }

    /// One line for the log.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::NotReached(error) | Self::Lost(error) | Self::Final(error) | Self::Unreadable(error) => {
                error.to_string()
            }
            Self::Status(status, _) => format!("status {status}"),
            Self::Garbage(problem) | Self::Kerberos { problem, .. } => problem.clone(),
            Self::Offline(fault) => crate::error::one_line(&fault.to_string()),
        }
    }

    fn into_error(self, call: &Sent<'_>, waited: Duration) -> KojiError {
        let (action, hub) = (call.action.to_owned(), call.hub.to_owned());
        match self {
            Self::NotReached(source) | Self::Lost(source) | Self::Final(source) | Self::Unreadable(source) => {
                KojiError::Transport { action, hub, waited, source }
            }
            Self::Status(status, detail) => KojiError::Status { action, hub, status, detail },
            Self::Garbage(problem) => KojiError::Protocol { action, hub, problem },
            Self::Kerberos { problem, kind } => KojiError::Kerberos { hub, problem, kind },
            Self::Offline(fault) => KojiError::Fault { action, hub, fault },
        }
    }
}

/// A call, as the rules see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'a> {
    /// Its name in errors.
    pub(crate) action: &'a str,
    /// Host and port.
    pub(crate) hub: &'a str,
    pub(crate) effect: Effect,
    /// It carries a number, and the hub looks at it: it may be sent again whatever it does.
    pub(crate) numbered: bool,
}

/// What is known of a call that was sent already.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Attempts that brought nothing.
    pub(crate) attempts: u32,
    /// One of them may have been done.
    pub(crate) maybe_done: bool,
    garbage: u32,
}

/// Whether to send again after trouble; `pause` is how long would be waited, `waited` how long it was tried.
///
/// # Errors
/// No.
pub(crate) fn again(
    call: &Sent<'_>,
    history: &mut History,
    trouble: Trouble,
    waited: Duration,
    time_is_up: bool,
) -> Result<String, KojiError> {
    history.attempts += 1;
    history.maybe_done |= trouble.may_be_done();
    history.garbage += u32::from(matches!(trouble, Trouble::Garbage(_)));
    let at_risk = history.maybe_done && call.effect == Effect::Changes;
    let may_repeat = trouble.may_pass() && history.garbage < MAX_GARBAGE && (call.numbered || !at_risk);
    if may_repeat && !time_is_up {
        return Ok(trouble.reason());
    }
    if !at_risk {
        return Err(trouble.into_error(call, waited));
    }
    let source = match trouble {
        Trouble::NotReached(error) | Trouble::Lost(error) | Trouble::Unreadable(error) => Some(error),
        _ => None,
    };
    Err(KojiError::AnswerLost { action: call.action.to_owned(), hub: call.hub.to_owned(), done: false, source })
}

/// What was already tried to bring a session in order, for one call.
#[derive(Debug, Default)]
pub(crate) struct Mended {
    pub(crate) renewed: bool,
    pub(crate) remade: bool,
    pub(crate) renumbered: bool,
}

/// What follows a fault in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is the caller's.
    Give,
    /// The call was done, its answer is lost.
    WasDone,
    /// Nobody can say whether it was done.
    Unknown,
    /// The same with another number.
    Renumber,
    /// Renew the session, then again.
    Renew,
    /// Look whether the session still lives: 1002 says both that it does not and that the call is not allowed.
    Probe,
    /// The session is of no use any more; make another, then again.
    Remake,
}

/// The rules for faults in a session (client-and-koji 5.3).
pub(crate) fn after_fault(
    fault: &Fault,
    effect: Effect,
    says_nothing: bool,
    history: &History,
    mended: &Mended,
) -> Next {
    // A fault about the session says that this attempt was not done; an earlier one may have been.
    let at_risk = history.maybe_done && effect == Effect::Changes;
    match fault.class() {
        FaultCode::RetryError if effect == Effect::Changes || says_nothing => Next::WasDone,
        FaultCode::RetryError if !mended.renumbered => Next::Renumber,
        FaultCode::AuthExpired | FaultCode::SequenceError if at_risk => Next::Unknown,
        FaultCode::AuthExpired if !mended.renewed => Next::Renew,
        FaultCode::SequenceError if !mended.remade => Next::Remake,
        FaultCode::AuthError if !mended.remade => Next::Probe,
        _ => Next::Give,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: fn() -> Trouble = || Trouble::Garbage("<html>".to_owned());
    const ERROR: fn() -> Trouble = || Trouble::Status(502, String::new());
    const BUSY: fn() -> Trouble = || Trouble::Status(503, String::new());
    const DENIED: fn() -> Trouble = || Trouble::Status(403, String::new());
    const OFFLINE: fn() -> Trouble = || Trouble::Offline(Fault::new(FaultCode::ServerOffline, "maintenance"));

    /// What follows one trouble: `again`, or the name of the error.
    #[track_caller]
    fn check_again(trouble: fn() -> Trouble, effect: Effect, numbered: bool, time_is_up: bool, expected: &str) {
        let call = Sent { action: "x", hub: "h", effect, numbered };
        let result = again(&call, &mut History::default(), trouble(), Duration::ZERO, time_is_up);
        let found = match result {
            Ok(_) => "again",
            Err(KojiError::AnswerLost { done: false, .. }) => "lost",
            Err(KojiError::Status { .. }) => "status",
            Err(KojiError::Protocol { .. }) => "protocol",
            Err(KojiError::Fault { .. }) => "fault",
            Err(error) => panic!("{error}"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_may_be_sent_again() {
        use Effect::{Changes, Reads, Repeatable};
        for trouble in [PAGE, ERROR] {
            check_again(trouble, Reads, false, false, "again");
            check_again(trouble, Repeatable, false, false, "again");
            check_again(trouble, Changes, true, false, "again");
            check_again(trouble, Changes, false, false, "lost");
            check_again(trouble, Changes, true, true, "lost");
        }
        // Not done for sure.
        for trouble in [BUSY, OFFLINE] {
            check_again(trouble, Changes, false, false, "again");
        }
        check_again(BUSY, Changes, false, true, "status");
        check_again(OFFLINE, Changes, false, true, "fault");
        check_again(DENIED, Reads, true, false, "status");
        check_again(PAGE, Reads, true, true, "protocol");
    }

    #[test]
    fn pages_are_not_asked_for_forever() {
        let call = Sent { action: "x", hub: "h", effect: Effect::Reads, numbered: true };
        let mut history = History::default();
        for _ in 1..MAX_GARBAGE {
            assert!(again(&call, &mut history, PAGE(), Duration::ZERO, false).is_ok());
        }
        assert!(again(&call, &mut history, PAGE(), Duration::ZERO, false).is_err());
    }

    #[test]
    fn faults_of_sessions() {
        use Effect::{Changes, Reads, Repeatable};
        let table = [
            (FaultCode::RetryError, Changes, true, Next::WasDone),
            (FaultCode::RetryError, Repeatable, true, Next::Renumber),
            (FaultCode::RetryError, Reads, false, Next::Renumber),
            (FaultCode::AuthExpired, Changes, false, Next::Renew),
            (FaultCode::AuthExpired, Changes, true, Next::Unknown),
            (FaultCode::AuthExpired, Repeatable, true, Next::Renew),
            (FaultCode::SequenceError, Changes, false, Next::Remake),
            (FaultCode::SequenceError, Changes, true, Next::Unknown),
            (FaultCode::SequenceError, Reads, true, Next::Remake),
            (FaultCode::AuthError, Changes, true, Next::Probe),
            (FaultCode::AuthError, Reads, false, Next::Probe),
            (FaultCode::AuthLockError, Reads, false, Next::Give),
            (FaultCode::GenericError, Changes, true, Next::Give),
        ];
        for (code, effect, maybe_done, expected) in table {
            let history = History { maybe_done, ..History::default() };
            let found = after_fault(&Fault::new(code, ""), effect, false, &history, &Mended::default());
            assert_eq!(found, expected, "{code} {effect:?} {maybe_done}");
            let mended = Mended { renewed: true, remade: true, renumbered: true };
            let found = after_fault(&Fault::new(code, ""), effect, false, &history, &mended);
            assert!(matches!(found, Next::Give | Next::WasDone | Next::Unknown), "{code} ends");
        }
    }
}
