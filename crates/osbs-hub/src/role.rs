//! Who may call a method. The table of roles is data in `methods`; a call without the role ends here.

use crate::call_error::{CallError, fault};
use crate::sessions::Session;
use osbs_koji::FaultCode;
use rusqlite::{OptionalExtension as _, Transaction, params};

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Whoever asks.
    Anyone,
    /// Who is logged in; else 1004.
    LoggedIn,
    /// Who has a session; else 1002: calls about the session itself.
    Session,
    /// A host; else 1002.
    Host,
    /// Who is logged in, else 1002; the method itself looks at the content generator that is named.
    ContentGenerator,
    /// Who is logged in, else 1000: somebody must own the task.
    TaskOwner,
    /// Who has the permission, or `admin`; else 1004.
    Permission(&'static str),
}

/// 1004 for a call that needs a login.
pub(crate) fn not_logged_in() -> CallError {
    fault(FaultCode::ActionNotAllowed, "you must be logged in for this operation")
}

impl Role {
    /// Refuses a caller that does not have it.
    ///
    /// # Errors
    /// The fault that Koji gives for it.
    pub(crate) fn check(self, tx: &Transaction<'_>, session: Option<&Session>) -> Result<(), CallError> {
        let auth = |text: &str| Err(fault(FaultCode::AuthError, text));
        match (self, session) {
            (Self::Host, Some(session)) if session.host_id.is_none() => {
                auth(&format!("User {} is not a host", session.user_id))
            }
            (Self::Permission(name), session) => check_permission(tx, session, name),
            (Self::Anyone, _) | (_, Some(_)) => Ok(()),
            (Self::LoggedIn, None) => Err(not_logged_in()),
            (Self::Session | Self::Host, None) => auth("Not logged-in"),
            (Self::ContentGenerator, None) => auth("Content generator access required"),
            (Self::TaskOwner, None) => Err(fault(FaultCode::GenericError, "task must have an owner")),
        }
    }
}

/// Refuses who has neither the permission nor `admin`.
///
/// # Errors
/// 1004.
pub(crate) fn check_permission(tx: &Transaction<'_>, session: Option<&Session>, name: &str) -> Result<(), CallError> {
    let who = match session {
        Some(session) if has_permission(tx, session.user_id, name)? => return Ok(()),
        Some(session) => format!(" (logged in as {})", session.user_name),
        None => String::new(),
    };
    Err(fault(FaultCode::ActionNotAllowed, format!("{name} permission required{who}")))
}

/// Whether a user has the permission, or `admin`.
///
/// # Errors
/// The database failed.
pub(crate) fn has_permission(tx: &Transaction<'_>, user_id: i64, name: &str) -> Result<bool, CallError> {
    let found = tx
        .prepare_cached(
            "SELECT 1 FROM user_perms JOIN permissions ON permissions.id = perm_id
             WHERE user_id = ? AND revoke_event IS NULL AND name IN (?, 'admin')",
        )?
        .query_row(params![user_id, name], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}
