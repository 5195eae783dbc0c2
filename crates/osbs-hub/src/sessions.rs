//! Sessions: who a request comes from, call numbers, expiry (client-and-koji 5.3). Must not know methods but by name.

use crate::call_error::{CallError, fault};
use crate::hub::HubState;
use osbs_koji::{FaultCode, Value};
use rand::RngExt as _;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;

/// Calls that may be repeated with the same number: doing them twice does no harm.
const REPEATABLE: &[&str] = &[
    "host.taskWait",
    "host.taskUnwait",
    "host.taskSetWait",
    "host.updateHost",
    "host.setBuildRootState",
    "repoExpire",
    "repoDelete",
    "repoProblem",
];

/// Calls that another's exclusive session does not prevent.
const DESPITE_LOCK: &[&str] = &["login", "sslLogin", "logout", "exclusiveSession"];

/// How a request came.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Where from.
    pub address: IpAddr,
    /// The session that it names.
    pub credentials: Option<Credentials>,
    /// The client's certificate, if the connection has one that was verified.
    pub certificate: Option<ClientCertificate>,
    /// Whether it was posted below `/ssllogin`.
    pub at_ssl_login: bool,
    /// Who has shown a right password, before the transaction of a `login`.
    pub verified: Option<i64>,
}

/// What a request says about its session.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub session_id: i64,
    pub key: String,
    pub call_number: Option<i64>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, {:?})", self.session_id, self.call_number)
    }
}

/// A verified client certificate's subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's common name: the user.
    pub common_name: Option<String>,
    /// The whole subject, for messages and for `proxy_subjects`.
    pub subject: String,
}

/// A session that is open and not expired, or is being renewed.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub id: i64,
    pub user_id: i64,
    pub user_name: String,
    /// If the user is a host.
    pub host_id: Option<i64>,
    pub auth_type: i64,
    /// The number of the last call that changed something.
    pub last_call: Option<i64>,
    /// The number of this call.
    pub call_number: Option<i64>,
    pub start_time: i64,
    pub update_time: i64,
    pub renew_time: Option<i64>,
    pub master: Option<i64>,
    pub exclusive: bool,
    pub expired: bool,
}

/// What the method is to the rules of sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose<'a> {
    /// Its name.
    pub method: &'a str,
    /// Whether it is a login that renews: an expired session is let through.
    pub renews: bool,
}

impl Session {
    /// The session that the request names, or none if it names none.
    ///
    /// # Errors
    /// 1002 bad session, 1007 expired, 1008 and 1009 call number, 1006 locked by another.
    pub(crate) fn establish(
        tx: &Transaction<'_>,
        hub: &HubState,
        caller: &Caller,
        purpose: Purpose<'_>,
    ) -> Result<Option<Self>, CallError> {
        let Some(credentials) = &caller.credentials else { return Ok(None) };
        let mut session = find(tx, hub, caller, credentials)?;
        let id = session.id;
        session.expired = is_expired(hub, session.start_time, session.renew_time);
        if session.expired && !purpose.renews {
            return Err(fault(FaultCode::AuthExpired, format!("session \"{id}\" has expired")));
        }
        session.call_number = credentials.call_number;
        check_call_number(&session, purpose.method)?;
        if !DESPITE_LOCK.contains(&purpose.method) {
            check_lock(tx, &session)?;
        }
        Ok(Some(session))
    }

    /// Remembers the call that changed something.
    pub(crate) fn remember(&self, tx: &Transaction<'_>, now: i64) -> Result<(), CallError> {
        tx.prepare_cached("UPDATE sessions SET callnum = coalesce(?, callnum), update_time = ? WHERE id = ?")?
            .execute(params![self.call_number, now, self.id])?;
        Ok(())
    }
}

/// Whether a session must be renewed: by its age since login or last renewal.
pub(crate) fn is_expired(hub: &HubState, start_time: i64, renew_time: Option<i64>) -> bool {
    let age = hub.now() - renew_time.unwrap_or(start_time);
    let allowed = i64::try_from(hub.settings.session_renewal.as_micros()).unwrap_or(i64::MAX);
    allowed != 0 && age > allowed
}

fn find(
    tx: &Transaction<'_>,
    hub: &HubState,
    caller: &Caller,
    credentials: &Credentials,
) -> Result<Session, CallError> {
    let found = tx
        .prepare_cached(
            "SELECT s.id, s.user_id, u.name, u.status, h.id AS host_id, s.authtype, s.callnum, s.start_time,
                    s.update_time, s.renew_time, s.master, s.exclusive, s.key_digest, s.hostip
             FROM sessions s JOIN users u ON u.id = s.user_id LEFT JOIN host h ON h.user_id = u.id
             WHERE s.id = ? AND s.closed = 0",
        )?
        .query_row(params![credentials.session_id], |row| {
            let session = read(row)?;
            let digest: Vec<u8> = row.get("key_digest")?;
            let address: String = row.get("hostip")?;
            let status: i64 = row.get("status")?;
            Ok((session, digest, address, status))
        })
        .optional()?;
    // One text for all, so that nobody learns which part was right.
    let bad = || fault(FaultCode::AuthError, "Invalid session or bad credentials");
    let (session, digest, address, status) = found.ok_or_else(bad)?;
    if !same(&digest, &key_digest(&credentials.key))
        || (hub.settings.check_client_ip && address != caller.address.to_string())
    {
        return Err(bad());
    }
    if status != 0 {
        let name = &session.user_name;
        return Err(fault(FaultCode::AuthError, format!("logins by {name} are not allowed")));
    }
    Ok(session)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        user_name: row.get("name")?,
        host_id: row.get("host_id")?,
        auth_type: row.get("authtype")?,
        last_call: row.get("callnum")?,
        call_number: None,
        start_time: row.get("start_time")?,
        update_time: row.get("update_time")?,
        renew_time: row.get("renew_time")?,
        master: row.get("master")?,
        exclusive: row.get("exclusive")?,
        expired: false,
    })
}

fn check_call_number(session: &Session, method: &str) -> Result<(), CallError> {
    let (Some(last), Some(number)) = (session.last_call, session.call_number) else { return Ok(()) };
    let id = session.id;
    if number < last {
        return Err(fault(FaultCode::SequenceError, format!("{last} > {number} (session {id})")));
    }
    if number == last && !REPEATABLE.contains(&method) {
        let text = format!("unable to retry call {number} (method {method}) for session {id}");
        return Err(fault(FaultCode::RetryError, text));
    }
    Ok(())
}

fn check_lock(tx: &Transaction<'_>, session: &Session) -> Result<(), CallError> {
    let holder = exclusive_session(tx, session.user_id)?;
    match holder {
        Some(holder) if holder != session.id && Some(holder) != session.master => {
            let text = format!("User {} has an exclusive session, another one", session.user_name);
            Err(fault(FaultCode::AuthLockError, text))
        }
        _ => Ok(()),
    }
}

/// The user's exclusive session, if there is one.
pub(crate) fn exclusive_session(tx: &Transaction<'_>, user_id: i64) -> Result<Option<i64>, CallError> {
    Ok(tx
        .prepare_cached("SELECT id FROM sessions WHERE user_id = ? AND exclusive = 1 AND closed = 0")?
        .query_row(params![user_id], |row| row.get(0))
        .optional()?)
}

/// A new session as it is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewSession {
    pub user_id: i64,
    pub auth_type: i64,
    pub master: Option<i64>,
}

impl NewSession {
    /// Stores it, and gives what the caller gets.
    pub(crate) fn store(self, tx: &Transaction<'_>, address: IpAddr, now: i64) -> Result<(i64, Value), CallError> {
        let key = new_key(self.user_id);
        tx.prepare_cached(
            "INSERT INTO sessions (user_id, key_digest, authtype, hostip, start_time, update_time, master)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            self.user_id,
            key_digest(&key),
            self.auth_type,
            address.to_string(),
            now,
            now,
            self.master
        ])?;
        let id = tx.last_insert_rowid();
        Ok((id, login_answer(id, key)))
    }
}

/// Gives an expired session a new key; its call number stays.
pub(crate) fn renew(tx: &Transaction<'_>, session: &Session, now: i64) -> Result<Value, CallError> {
    let key = new_key(session.user_id);
    tx.prepare_cached("UPDATE sessions SET key_digest = ?, renew_time = ?, update_time = ? WHERE id = ?")?
        .execute(params![key_digest(&key), now, now, session.id])?;
    Ok(login_answer(session.id, key))
}

fn login_answer(id: i64, key: String) -> Value {
    Value::members([("session-id", id.into()), ("session-key", key.into()), ("header-auth", true.into())])
}

/// `USERID-` and 19 letters and digits.
fn new_key(user_id: i64) -> String {
    let random: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(19).map(char::from).collect();
    format!("{user_id}-{random}")
}

/// A key has more than a hundred random bits: it needs no slow hash.
fn key_digest(key: &str) -> Vec<u8> {
    Sha256::digest(key.as_bytes()).to_vec()
}

/// Compares without telling by its time where the difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
