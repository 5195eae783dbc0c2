//! Who we are, and who the hub is.

use super::positional;
use crate::objects::{SessionInfo, User};
use crate::{Arguments, MethodCall, SessionProof, Value};
use osbs_types::Secret;

/// `getAPIVersion`: 1.
pub fn get_api_version() -> MethodCall<i64> {
    MethodCall::new("getAPIVersion", Arguments::none(), Value::into_int)
}

/// `getKojiVersion`: `1.35.3`.
pub fn get_koji_version() -> MethodCall<String> {
    MethodCall::new("getKojiVersion", Arguments::none(), Value::into_text)
}

/// `login`. Sent by [`crate::Koji::log_in`].
pub fn login(user: &str, password: &Secret) -> MethodCall<SessionProof> {
    let arguments = positional([user.into(), password.reveal().into()]);
    MethodCall::new("login", arguments, SessionProof::read).named("opts", Value::Nil).hiding(password)
}

/// `sslLogin`. Sent by [`crate::Koji::log_in`], to a path of its own.
pub fn ssl_login(proxyuser: Option<&str>) -> MethodCall<SessionProof> {
    MethodCall::new("sslLogin", Arguments::none(), SessionProof::read).named("proxyuser", proxyuser)
}

/// The same login as a renewal of the session that it is sent with.
#[must_use]
pub fn renewing(login: MethodCall<SessionProof>) -> MethodCall<SessionProof> {
    login.named("renew", true).named("exclusive", false)
}

/// `logout` of the session that it is sent with. Sent by [`crate::Koji::log_out`].
pub fn logout() -> MethodCall<()> {
    MethodCall::order("logout", Arguments::none()).named("session_id", Value::Nil)
}

/// `logoutChild`: ends a subsession.
pub fn logout_child(session: i64) -> MethodCall<()> {
    MethodCall::order("logoutChild", positional([session.into()]))
}

/// `subsession`. Sent by [`crate::Koji::subsession`].
pub fn subsession() -> MethodCall<SessionProof> {
    MethodCall::new("subsession", Arguments::none(), SessionProof::read)
}

/// `exclusiveSession`. Sent by [`crate::Koji::exclusive_session`].
pub fn exclusive_session(force: bool) -> MethodCall<()> {
    MethodCall::order("exclusiveSession", Arguments::none()).named("force", force)
}

/// `getSessionInfo`; nothing without a session.
pub fn get_session_info() -> MethodCall<Option<SessionInfo>> {
    MethodCall::new("getSessionInfo", Arguments::none(), |answer| answer.into_option(SessionInfo::read))
}

/// `getLoggedInUser`; nobody without a session.
pub fn get_logged_in_user() -> MethodCall<Option<User>> {
    MethodCall::new("getLoggedInUser", Arguments::none(), |answer| answer.into_option(User::read))
}

/// `getPerms`: names of the caller's permissions.
pub fn get_perms() -> MethodCall<Vec<String>> {
    MethodCall::new("getPerms", Arguments::none(), |answer| answer.into_list(Value::into_text))
}
