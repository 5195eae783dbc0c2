//! The way of a call: session, role, arguments, handler, all in one transaction. Must not know HTTP.

use crate::call::{Afterwards, Call};
use crate::call_error::{CallError, fault, refused};
use crate::database::Access;
use crate::hub::HubState;
use crate::methods;
use crate::methods::login;
use crate::parameters::{self, Bound};
use crate::role::Role;
use crate::sessions::{Caller, Purpose, Session};
use osbs_koji::{Arguments, Fault, FaultCode, Value};
use rusqlite::Transaction;
use std::sync::Arc;

/// Calls that a `multiCall` may not hold.
const NOT_IN_MULTICALL: &[&str] = &["login", "sslLogin", "multiCall", "system.multicall", "uploadFile"];

/// A session that is read with is marked as used at most this often, in microseconds.
const TOUCH: i64 = 300_000_000;

/// Answers a call.
///
/// # Errors
/// The fault that the caller gets.
pub(crate) async fn call(
    hub: Arc<HubState>,
    mut caller: Caller,
    method: String,
    params: Vec<Value>,
) -> Result<Value, Fault> {
    if method == "login" {
        caller.verified = login::verify(&hub, &caller, params.clone()).await?;
    }
    if method == "CGImport" {
        crate::import::measure(hub.clone(), caller.clone(), params.clone()).await?;
    }
    let many = matches!(method.as_str(), "multiCall" | "system.multicall");
    let calls = if many { Some(Item::all_of(&params).map_err(CallError::into_fault)) } else { None };
    let access = match &calls {
        None => access_of(&method, &caller),
        Some(Ok(items)) => items.iter().map(|item| item.access(&caller)).max().unwrap_or(Access::Read),
        Some(Err(_)) => Access::Read,
    };
    let renews = method == "login" || method == "sslLogin";
    let name = method.clone();
    in_transaction(hub, caller, name, access, renews, move |context| match calls {
        Some(items) => context.many(items?),
        None => context.one(&method, params),
    })
    .await
}

/// Whether a call may change something. One that will be refused need not keep others from it.
fn access_of(name: &str, caller: &Caller) -> Access {
    match methods::find(name) {
        None => Access::Read,
        Some(method) if method.role != Role::Anyone && caller.credentials.is_none() => Access::Read,
        Some(method) if method.name == "login" && caller.verified.is_none() => Access::Read,
        Some(method) => method.access,
    }
}

/// Does a piece of work as a call: the session is looked at as for a method of that name, `role` is asked for, and it
/// all happens in one transaction.
///
/// # Errors
/// The fault that the caller gets.
pub(crate) async fn work<T: Send + 'static>(
    hub: Arc<HubState>,
    caller: Caller,
    (name, access, role): (&'static str, Access, Role),
    work: impl FnOnce(&mut Call<'_>) -> Result<T, CallError> + Send + 'static,
) -> Result<T, Fault> {
    in_transaction(hub, caller, name.to_owned(), access, false, move |context| {
        role.check(context.tx, context.session)?;
        context.run(Bound::default(), work)
    })
    .await
}

/// What is to be done after a transaction, whichever way it ends, also by a panic.
#[derive(Default)]
struct Pending {
    on_failure: Vec<Afterwards>,
    on_success: Vec<Afterwards>,
}

impl Pending {
    fn succeeded(&mut self) {
        self.on_failure.clear();
        for then in self.on_success.drain(..) {
            then();
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        while let Some(undo) = self.on_failure.pop() {
            undo();
        }
    }
}

struct Context<'a> {
    tx: &'a Transaction<'a>,
    session: Option<&'a Session>,
    caller: &'a Caller,
    hub: &'a HubState,
    pending: &'a mut Pending,
}

async fn in_transaction<T: Send + 'static>(
    hub: Arc<HubState>,
    caller: Caller,
    method: String,
    access: Access,
    renews: bool,
    work: impl FnOnce(&mut Context<'_>) -> Result<T, CallError> + Send + 'static,
) -> Result<T, Fault> {
    let log = hub.clone();
    let name = method.clone();
    let done = tokio::task::spawn_blocking(move || {
        let mut pending = Pending::default();
        let mut stale = None;
        let result = hub.database.transaction(access, |tx| {
            let purpose = Purpose { method: &method, renews };
            let session = Session::establish(tx, &hub, &caller, purpose)?;
            let before = tx.total_changes();
            let context = (tx, session.as_ref(), &caller, &*hub);
            let (tx, session_ref, caller, state) = context;
            let mut context = Context { tx, session: session_ref, caller, hub: state, pending: &mut pending };
            let result = work(&mut context)?;
            if let Some(session) = &session {
                if tx.total_changes() != before {
                    session.remember(tx, hub.now())?;
                } else if hub.now() - session.update_time > TOUCH {
                    stale = Some(session.id);
                }
            }
            Ok::<_, CallError>(result)
        });
        if result.is_ok() {
            pending.succeeded();
        }
        if let Some(id) = stale {
            // Its failure matters to nobody: the next call tries again.
            let _ = hub.database.transaction(Access::Write, |tx| {
                tx.execute("UPDATE sessions SET update_time = ? WHERE id = ?", [hub.now(), id])
            });
        }
        result
    })
    .await;
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            if error.is_ours() {
                log.log(format_args!("{name}: {}", with_causes(&error)));
            }
            Err(error.into_fault())
        }
        Err(panic) => {
            log.log(format_args!("{name}: {panic}"));
            Err(Fault::new(FaultCode::Exception, "the hub has a fault of its own; its log says more"))
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl Context<'_> {
    /// One call of a method.
    fn one(&mut self, name: &str, params: Vec<Value>) -> Result<Value, CallError> {
        let method = methods::find(name).ok_or_else(|| refused(format!("Invalid method: {name}")))?;
        method.role.check(self.tx, self.session)?;
        let bound = parameters::bind(method.name, method.parameters, Arguments::from_params(params))?;
        self.run(bound, method.call)
    }

    fn run<T>(
        &mut self,
        bound: Bound,
        work: impl FnOnce(&mut Call<'_>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut call = Call::new(self.tx, self.session, self.caller, self.hub, bound);
        let result = work(&mut call);
        let (on_failure, on_success) = call.into_afterwards();
        // A call of a multiCall that fails is undone at once: others may follow it.
        let mut own = Pending { on_failure, on_success };
        if result.is_ok() {
            self.pending.on_failure.append(&mut own.on_failure);
            self.pending.on_success.append(&mut own.on_success);
        }
        result
    }

    /// The calls of a `multiCall`: one that fails is rolled back alone.
    fn many(&mut self, items: Vec<Item>) -> Result<Value, CallError> {
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            self.tx.execute_batch("SAVEPOINT one_call")?;
            let result = match item {
                Item::Call { name, .. } if NOT_IN_MULTICALL.contains(&name.as_str()) => {
                    Err(refused(format!("{name} cannot be called within a multiCall")))
                }
                Item::Call { name, params } => self.one(&name, params),
                Item::Malformed(error) => Err(CallError::Fault(error)),
            };
            let end = if result.is_ok() { "RELEASE one_call" } else { "ROLLBACK TO one_call; RELEASE one_call" };
            self.tx.execute_batch(end)?;
            answers.push(match result {
                Ok(value) => Value::Array(vec![value]),
                Err(error) => {
                    if error.is_ours() {
                        self.hub.log(format_args!("multiCall: {}", with_causes(&error)));
                    }
                    let Fault { code, text } = error.into_fault();
                    Value::members([
                        ("faultCode", code.into()),
                        ("faultString", text.into()),
                        ("traceback", Value::Array(Vec::new())),
                    ])
                }
            });
        }
        Ok(Value::Array(answers))
    }
}

/// One call of a `multiCall`.
enum Item {
    Call { name: String, params: Vec<Value> },
    Malformed(Fault),
}

impl Item {
    fn all_of(params: &[Value]) -> Result<Vec<Self>, CallError> {
        let [Value::Array(items)] = params else {
            return Err(fault(FaultCode::ParameterError, "multiCall() takes one list of calls"));
        };
        Ok(items.iter().map(Self::of).collect())
    }

    fn of(value: &Value) -> Self {
        let read = || {
            let (name, params) = (value.str_of("methodName")?, value.array_of("params")?);
            Ok::<_, CallError>(Self::Call { name: name.to_owned(), params: params.to_vec() })
        };
        read().unwrap_or_else(|error| Self::Malformed(error.into_fault()))
    }

    fn access(&self, caller: &Caller) -> Access {
        match self {
            Self::Call { name, .. } => access_of(name, caller),
            Self::Malformed(_) => Access::Read,
        }
    }
}

/// Calls a method and undoes whatever it did.
#[cfg(test)]
pub(crate) fn try_out(
    hub: &HubState,
    caller: &Caller,
    method: &'static methods::Method,
    params: Vec<Value>,
) -> Result<Value, CallError> {
    let mut answer = None;
    let mut pending = Pending::default();
    let undone: Result<(), CallError> = hub.database.transaction(method.access, |tx| {
        let session = Session::establish(tx, hub, caller, Purpose { method: method.name, renews: false })?;
        let mut context = Context { tx, session: session.as_ref(), caller, hub, pending: &mut pending };
        answer = Some(context.one(method.name, params));
        Err(refused("undone"))
    });
    answer.unwrap_or_else(|| Err(undone.expect_err("it always is")))
}
