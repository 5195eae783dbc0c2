//! Login, logout and what else is about sessions (client-and-koji 5.3).

use super::{Answer, Method, read, write};
use crate::call::Call;
use crate::call_error::{CallError, fault, refused};
use crate::database::Access;
use crate::hub::HubState;
use crate::parameters::{bind, flag, optional, required};
use crate::passwords;
use crate::role::{Role, has_permission};
use crate::sessions::{self, Caller, NewSession, Session};
use crate::times::{seconds_value, time_value};
use osbs_koji::{Arguments, Fault, FaultCode, Value};
use rusqlite::{OptionalExtension as _, params};
use std::sync::Arc;

const NORMAL: i64 = 0;
const SSL: i64 = 2;

const LOGIN: &[crate::parameters::Parameter] =
    &[required("user"), required("password"), optional("opts"), flag("renew"), flag("exclusive")];

pub(crate) const METHODS: &[Method] = &[
    write("login", Role::Anyone, LOGIN, login),
    write(
        "sslLogin",
        Role::Anyone,
        &[optional("proxyuser"), optional("proxyauthtype"), flag("renew"), optional("exclusive")],
        ssl_login,
    ),
    write("logout", Role::Session, &[optional("session_id")], logout),
    write("logoutChild", Role::Session, &[required("session_id")], logout_child),
    write("subsession", Role::Session, &[], subsession),
    write("exclusiveSession", Role::Session, &[flag("force")], exclusive_session),
    write("sharedSession", Role::Session, &[], shared_session),
    read("getSessionInfo", &[flag("details"), optional("user_id")], get_session_info),
    read("showSession", &[], show_session),
];

fn bad_login() -> CallError {
    fault(FaultCode::AuthError, "invalid username or password")
}

/// Checks the password of a `login`, outside of any transaction, for it takes its time. A wrong one is no error yet:
/// the handler says so, after the session was looked at.
///
/// # Errors
/// Too many were wrong, or the database failed.
pub(crate) async fn verify(hub: &Arc<HubState>, caller: &Caller, params: Vec<Value>) -> Result<Option<i64>, Fault> {
    // What is wrong with the arguments is told by the handler too.
    let Ok(bound) = bind("login", LOGIN, Arguments::from_params(params)) else { return Ok(None) };
    let (Some(user), Some(password)) = (bound.get("user").as_str(), bound.get("password").as_str()) else {
        return Ok(None);
    };
    let (user, password, address) = (user.to_owned(), password.to_owned(), caller.address);
    // Whoever comes while others' passwords are checked waits here, and counts as a failure until it is known better.
    let Ok(_turn) = hub.hashing.acquire().await else { return Ok(None) };
    if !hub.brake.allows(address, &user, hub.now()) {
        let text = "too many wrong passwords from this address: try again in a minute";
        return Err(Fault::new(FaultCode::AuthError, text));
    }
    let hub = hub.clone();
    let checked = tokio::task::spawn_blocking(move || {
        let stored: Option<(i64, Option<String>)> = hub.database.transaction(Access::Read, |tx| {
            tx.query_row("SELECT id, password FROM users WHERE name = ?", [&user], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })?;
        let hash = stored.as_ref().and_then(|(_, hash)| hash.as_deref());
        if passwords::is_right(hash, &password) {
            hub.brake.succeeded(address, &user);
            return Ok(stored.map(|(id, _)| id));
        }
        hub.brake.failed(address, &user, hub.now());
        hub.log(format_args!("login of {user:?} from {address}: wrong password or unknown"));
        Ok(None)
    });
    match checked.await {
        Ok(Ok(user)) => Ok(user),
        Ok(Err(error)) => Err(CallError::Database(error).into_fault()),
        Err(_) => Err(Fault::new(FaultCode::Exception, "the hub has a fault of its own")),
    }
}

fn login(call: &mut Call<'_>) -> Answer {
    call.str("user")?;
    call.str("password")?;
    check_not_logged_in(call)?;
    let user = call.caller.verified.ok_or_else(bad_login)?;
    open(call, user, NORMAL)
}

fn check_not_logged_in(call: &Call<'_>) -> Result<(), CallError> {
    match call.session {
        Some(session) if !(session.expired && call.flag("renew")) => {
            Err(fault(FaultCode::AuthError, "Already logged in"))
        }
        _ => Ok(()),
    }
}

/// Opens a session, or renews the one that the call came with.
fn open(call: &Call<'_>, user: i64, auth_type: i64) -> Answer {
    let (name, status): (String, i64) = call
        .tx
        .prepare_cached("SELECT name, status FROM users WHERE id = ?")?
        .query_row([user], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if status != 0 {
        return Err(fault(FaultCode::AuthError, format!("logins by {name} are not allowed")));
    }
    if let Some(session) = call.session {
        if session.user_id != user {
            return Err(fault(FaultCode::AuthError, "the session to renew belongs to another user"));
        }
        return sessions::renew(call.tx, session, call.now);
    }
    forget_old(call)?;
    let new = NewSession { user_id: user, auth_type, master: None };
    let (id, answer) = new.store(call.tx, call.caller.address, call.now)?;
    if call.flag("exclusive") {
        take_lock(call, id, user, false)?;
    }
    Ok(answer)
}

/// Sessions that were closed a day ago, or not used for a hundred days, are nobody's.
fn forget_old(call: &Call<'_>) -> Result<(), CallError> {
    const DAY: i64 = 86_400_000_000;
    call.tx
        .prepare_cached(
            "DELETE FROM sessions WHERE (closed = 1 AND update_time < ?1 OR update_time < ?2)
             AND id NOT IN (SELECT master FROM sessions WHERE master IS NOT NULL)",
        )?
        .execute([call.now - DAY, call.now - 100 * DAY])?;
    Ok(())
}

fn ssl_login(call: &mut Call<'_>) -> Answer {
    check_not_logged_in(call)?;
    let proxied = call.str_or_nil("proxyuser")?;
    let certificate = call.caller.certificate.as_ref().filter(|_| call.caller.at_ssl_login);
    let Some(certificate) = certificate else {
        return Err(fault(FaultCode::AuthError, "could not verify client: no certificate was given"));
    };
    let subject = &certificate.subject;
    let name = match proxied {
        Some(name) if call.hub.settings.proxy_subjects.contains(subject) => name,
        Some(_) => {
            let text = format!("{subject} is not authorized to login other users");
            return Err(fault(FaultCode::AuthError, text));
        }
        None => certificate.common_name.as_deref().ok_or_else(|| {
            fault(FaultCode::AuthError, format!("could not verify client: {subject} has no common name"))
        })?,
    };
    let known = call
        .tx
        .prepare_cached("SELECT id FROM users WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    let user = match known {
        Some(user) => user,
        None if call.hub.settings.login_creates_user => super::users::create(call, name, 0)?,
        None => return Err(fault(FaultCode::AuthError, format!("Unknown user: {name}"))),
    };
    open(call, user, SSL)
}

fn logout(call: &mut Call<'_>) -> Answer {
    let session = call.user()?;
    let id = call.int_or_nil("session_id")?.unwrap_or(session.id);
    if id != session.id {
        let owner: Option<i64> =
            call.tx.query_row("SELECT user_id FROM sessions WHERE id = ?", [id], |row| row.get(0)).optional()?;
        if owner != Some(session.user_id) && !has_permission(call.tx, session.user_id, "admin")? {
            return Err(fault(FaultCode::AuthError, "only admins or owner may logout other session"));
        }
    }
    call.tx
        .prepare_cached("UPDATE sessions SET closed = 1, exclusive = 0, update_time = ?2 WHERE id = ?1 OR master = ?1")?
        .execute([id, call.now])?;
    Ok(Value::Nil)
}

fn logout_child(call: &mut Call<'_>) -> Answer {
    call.tx
        .prepare_cached("UPDATE sessions SET closed = 1, exclusive = 0, update_time = ? WHERE id = ? AND master = ?")?
        .execute([call.now, call.int("session_id")?, call.user()?.id])?;
    Ok(Value::Nil)
}

fn subsession(call: &mut Call<'_>) -> Answer {
    let Session { id, user_id, auth_type, master, .. } = *call.user()?;
    let new = NewSession { user_id, auth_type, master: Some(master.unwrap_or(id)) };
    Ok(new.store(call.tx, call.caller.address, call.now)?.1)
}

fn exclusive_session(call: &mut Call<'_>) -> Answer {
    let session = call.user()?;
    if session.master.is_some() {
        return Err(refused("subsessions cannot become exclusive"));
    }
    take_lock(call, session.id, session.user_id, call.flag("force"))?;
    Ok(Value::Nil)
}

fn take_lock(call: &Call<'_>, id: i64, user: i64, force: bool) -> Result<(), CallError> {
    match sessions::exclusive_session(call.tx, user)? {
        Some(holder) if holder == id => return Ok(()),
        Some(holder) if force => {
            call.tx
                .prepare_cached("UPDATE sessions SET closed = 1, exclusive = 0 WHERE id = ?1 OR master = ?1")?
                .execute([holder])?;
        }
        Some(_) => return Err(fault(FaultCode::AuthLockError, "Cannot get exclusive session")),
        None => {}
    }
    call.tx.prepare_cached("UPDATE sessions SET exclusive = 1 WHERE id = ?")?.execute([id])?;
    Ok(())
}

fn shared_session(call: &mut Call<'_>) -> Answer {
    call.tx.prepare_cached("UPDATE sessions SET exclusive = 0 WHERE id = ?")?.execute([call.user()?.id])?;
    Ok(Value::Nil)
}

fn get_session_info(call: &mut Call<'_>) -> Answer {
    let Some(session) = call.session else { return Ok(Value::Nil) };
    let details = call.flag("details");
    let Some(user) = call.int_or_nil("user_id")? else {
        return Ok(describe(session, details.then(|| call.caller.address.to_string())));
    };
    if user != session.user_id && !has_permission(call.tx, session.user_id, "admin")? {
        return Err(fault(FaultCode::ActionNotAllowed, "only admins or owners may see all active sessions"));
    }
    let mut statement = call.tx.prepare_cached(
        "SELECT id, user_id, authtype, callnum, start_time, update_time, renew_time, master, exclusive, hostip
         FROM sessions WHERE user_id = ? AND closed = 0 ORDER BY id",
    )?;
    let rows = statement.query_map(params![user], |row| {
        let one = Session {
            id: row.get(0)?,
            user_id: row.get(1)?,
            user_name: String::new(),
            host_id: None,
            auth_type: row.get(2)?,
            last_call: row.get(3)?,
            call_number: None,
            start_time: row.get(4)?,
            update_time: row.get(5)?,
            renew_time: row.get(6)?,
            master: row.get(7)?,
            exclusive: row.get(8)?,
            expired: sessions::is_expired(call.hub, row.get(4)?, row.get(6)?),
        };
        Ok(describe(&one, Some(row.get(9)?)))
    })?;
    Ok(Value::Array(rows.collect::<Result<_, _>>()?))
}

fn describe(session: &Session, address: Option<String>) -> Value {
    let mut info = Value::members([
        ("authtype", session.auth_type.into()),
        ("callnum", session.last_call.into()),
        ("exclusive", session.exclusive.into()),
        ("expired", session.expired.into()),
        ("master", session.master.into()),
        ("renew_time", time_value(session.renew_time)),
        ("renew_ts", seconds_value(session.renew_time)),
        ("start_time", time_value(Some(session.start_time))),
        ("start_ts", seconds_value(Some(session.start_time))),
        ("update_time", time_value(Some(session.update_time))),
        ("update_ts", seconds_value(Some(session.update_time))),
        ("user_id", session.user_id.into()),
    ]);
    if let (Value::Struct(members), Some(address)) = (&mut info, address) {
        members.insert("id".to_owned(), session.id.into());
        members.insert("hostip".to_owned(), address.into());
    }
    info
}

#[expect(clippy::unnecessary_wraps, reason = "what a handler gives")]
fn show_session(call: &mut Call<'_>) -> Answer {
    Ok(match call.session {
        Some(session) => format!("Session {}: user {} ({})", session.id, session.user_id, session.user_name).into(),
        None => "Session None: not logged in".into(),
    })
}
