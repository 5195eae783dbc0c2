//! What may be done by whoever holds the hub's folder: any call, as its first administrator, without a password.

use crate::call_error::{CallError, fault};
use crate::database::Access;
use crate::dispatch;
use crate::hub::Hub;
use crate::sessions::{Caller, Credentials, NewSession};
use osbs_koji::{Arguments, Fault, FaultCode, Value};
use rusqlite::OptionalExtension as _;
use std::net::{IpAddr, Ipv4Addr};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Password logins; the session ends with the call.
const AUTH_TYPE: i64 = 0;

impl Hub {
    /// Calls a method as the first administrator: the same checks, the same record of who did it, beside a running hub
    /// or without one.
    ///
    /// # Errors
    /// What the method refuses; 1004 if nobody is an administrator.
    pub async fn administer(&self, method: &str, arguments: Arguments) -> Result<Value, Fault> {
        let credentials = self.open_session().await?;
        let session = credentials.session_id;
        let caller = Caller {
            address: HERE,
            credentials: Some(credentials),
            certificate: None,
            at_ssl_login: false,
            verified: None,
        };
        let result = dispatch::call(self.state.clone(), caller, method.to_owned(), arguments.into_params()).await;
        self.blocking(move |hub| {
            hub.state.database.transaction(Access::Write, |tx| {
                tx.execute("UPDATE sessions SET closed = 1 WHERE id = ?1 OR master = ?1", [session])?;
                Ok(())
            })
        })
        .await?;
        result
    }

    async fn open_session(&self) -> Result<Credentials, Fault> {
        self.blocking(|hub| {
            hub.state.database.transaction(Access::Write, |tx| {
                let administrator: Option<i64> = tx
                    .query_row(
                        "SELECT min(users.id) FROM users JOIN user_perms ON user_id = users.id
                         JOIN permissions ON permissions.id = perm_id
                         WHERE permissions.name = 'admin' AND revoke_event IS NULL AND status = 0",
                        [],
                        |row| row.get(0),
                    )
                    .optional()?
                    .flatten();
                let user_id =
                    administrator.ok_or_else(|| fault(FaultCode::ActionNotAllowed, "this hub has no administrator"))?;
                let new = NewSession { user_id, auth_type: AUTH_TYPE, master: None };
                let (session_id, login) = new.store(tx, HERE, hub.state.now())?;
                let key = login.str_of("session-key")?.to_owned();
                Ok(Credentials { session_id, key, call_number: None })
            })
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, Fault> {
        let hub = self.clone();
        match tokio::task::spawn_blocking(move || work(&hub)).await {
            Ok(result) => result.map_err(CallError::into_fault),
            Err(_) => Err(Fault::new(FaultCode::Exception, "the hub has a fault of its own")),
        }
    }
}

/// Looks at a name before anything is made that it shall be of; `what` it is is for the message.
///
/// # Errors
/// The fault that ends a call with this name.
pub fn check_name(what: &str, name: &str) -> Result<(), Fault> {
    crate::call::check_new_name(what, name).map_err(CallError::into_fault)
}

/// The same for a list of architectures.
///
/// # Errors
/// The fault that ends a call with one of them.
pub fn check_arches(arches: &[String]) -> Result<(), Fault> {
    let arches = Value::Array(arches.iter().map(Value::from).collect());
    crate::methods::tags::arches_of("arches", &arches).map(drop).map_err(CallError::into_fault)
}
