//! One call of a method: its arguments, who calls, and the transaction that it runs in.
//!
//! Must not know any method.

use crate::call_error::{CallError, wrong_parameter};
use crate::hub::HubState;
use crate::parameters::Bound;
use crate::sessions::{Caller, Session};
use osbs_koji::{Struct, Value};
use rusqlite::{Transaction, params};
use std::cell::{Cell, RefCell};

/// What is done after the end of a call's transaction.
pub(crate) type Afterwards = Box<dyn FnOnce()>;

/// One call.
pub(crate) struct Call<'a> {
    /// The transaction: it is rolled back if the call fails.
    pub tx: &'a Transaction<'a>,
    /// Who calls, if logged in.
    pub session: Option<&'a Session>,
    /// How the request came.
    pub caller: &'a Caller,
    /// The hub.
    pub hub: &'a HubState,
    /// When the call began: microseconds since the epoch. The same for the whole call.
    pub now: i64,
    bound: Bound,
    event: Cell<Option<i64>>,
    on_failure: RefCell<Vec<Afterwards>>,
    on_success: RefCell<Vec<Afterwards>>,
}

/// How an object is named in an argument: by number or by name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Id {
    Number(i64),
    Name(String),
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        tx: &'a Transaction<'a>,
        session: Option<&'a Session>,
        caller: &'a Caller,
        hub: &'a HubState,
        bound: Bound,
    ) -> Self {
        let now = hub.now();
        let (event, on_failure, on_success) = Default::default();
        Self { tx, session, caller, hub, now, bound, event, on_failure, on_success }
    }

    /// Who calls; only in methods whose role demands a login.
    ///
    /// # Errors
    /// 1004: nobody is logged in.
    pub(crate) fn user(&self) -> Result<&'a Session, CallError> {
        self.session.ok_or_else(crate::role::not_logged_in)
    }

    /// The event of this call: made when first asked for, one a call.
    ///
    /// # Errors
    /// The database failed.
    pub(crate) fn event(&self) -> Result<i64, CallError> {
        if let Some(event) = self.event.get() {
            return Ok(event);
        }
        self.tx.prepare_cached("INSERT INTO events (at) VALUES (?)")?.execute(params![self.now])?;
        let event = self.tx.last_insert_rowid();
        self.event.set(Some(event));
        Ok(event)
    }

    /// Done, last first, if the call fails after this, or its transaction cannot be committed: files are put back.
    pub(crate) fn on_failure(&self, undo: impl FnOnce() + 'static) {
        self.on_failure.borrow_mut().push(Box::new(undo));
    }

    /// Done, in order, when the transaction is committed: files that nobody needs any more are removed.
    pub(crate) fn on_success(&self, then: impl FnOnce() + 'static) {
        self.on_success.borrow_mut().push(Box::new(then));
    }

    /// What is to be done afterwards: on failure, on success.
    pub(crate) fn into_afterwards(self) -> (Vec<Afterwards>, Vec<Afterwards>) {
        (self.on_failure.into_inner(), self.on_success.into_inner())
    }

    /// An argument as it came.
    pub(crate) fn value(&self, name: &str) -> &Value {
        self.bound.get(name)
    }

    /// Whether the caller gave an argument at all: nil is one.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.bound.is_given(name)
    }

    fn typed<'v, T>(
        &'v self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Result<T, CallError> {
        let value = self.value(name);
        read(value).ok_or_else(|| wrong_type(name, expected, value))
    }

    fn or_nil<'v, T>(
        &'v self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Result<Option<T>, CallError> {
        if self.value(name).is_nil() { Ok(None) } else { self.typed(name, expected, read).map(Some) }
    }

    /// An integer.
    pub(crate) fn int(&self, name: &str) -> Result<i64, CallError> {
        self.typed(name, "an integer", Value::as_int)
    }

    /// An integer or nil.
    pub(crate) fn int_or_nil(&self, name: &str) -> Result<Option<i64>, CallError> {
        self.or_nil(name, "an integer", Value::as_int)
    }

    /// A number: double or integer, finite.
    pub(crate) fn double(&self, name: &str) -> Result<f64, CallError> {
        self.typed(name, "a number", |value| value.as_double().filter(|number| number.is_finite()))
    }

    /// A number or nil.
    pub(crate) fn double_or_nil(&self, name: &str) -> Result<Option<f64>, CallError> {
        self.or_nil(name, "a number", |value| value.as_double().filter(|number| number.is_finite()))
    }

    /// A text.
    pub(crate) fn str(&self, name: &str) -> Result<&str, CallError> {
        self.typed(name, "a string", Value::as_str)
    }

    /// A text or nil.
    pub(crate) fn str_or_nil(&self, name: &str) -> Result<Option<&str>, CallError> {
        self.or_nil(name, "a string", Value::as_str)
    }

    /// A name for something new: not empty, no longer than Koji's 256, without control characters.
    pub(crate) fn new_name(&self, name: &str) -> Result<&str, CallError> {
        let text = self.str(name)?;
        check_new_name(name, text)?;
        Ok(text)
    }

    /// True as Python takes it: anything may be given.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.value(name).is_true()
    }

    /// True or false, or nil for "leave it".
    pub(crate) fn flag_or_nil(&self, name: &str) -> Option<bool> {
        let value = self.value(name);
        (!value.is_nil()).then(|| value.is_true())
    }

    /// The items of an array.
    pub(crate) fn array(&self, name: &str) -> Result<&[Value], CallError> {
        self.typed(name, "an array", Value::as_array)
    }

    /// The items of an array, or nil.
    pub(crate) fn array_or_nil(&self, name: &str) -> Result<Option<&[Value]>, CallError> {
        self.or_nil(name, "an array", Value::as_array)
    }

    /// The members of a struct, or nil.
    pub(crate) fn members_or_nil(&self, name: &str) -> Result<Option<&Struct>, CallError> {
        self.or_nil(name, "a struct", Value::as_struct)
    }

    /// An id or a name.
    pub(crate) fn id(&self, name: &str) -> Result<Id, CallError> {
        id_of(name, self.value(name))
    }

    /// An id or a name, or nil.
    pub(crate) fn id_or_nil(&self, name: &str) -> Result<Option<Id>, CallError> {
        if self.value(name).is_nil() { Ok(None) } else { self.id(name).map(Some) }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Reads an id or a name out of a value; of a struct its `id` or `name`.
///
/// # Errors
/// 1019: it is neither.
pub(crate) fn id_of(what: &str, value: &Value) -> Result<Id, CallError> {
    match value {
        Value::Int(id) => Ok(Id::Number(*id)),
        Value::String(name) => Ok(Id::Name(name.clone())),
        Value::Struct(members) if members.contains_key("id") => match value.get("id") {
            Value::Int(id) => Ok(Id::Number(*id)),
            other => Err(wrong_type(what, "an id", other)),
        },
        Value::Struct(members) if members.contains_key("name") => match value.get("name") {
            Value::String(name) => Ok(Id::Name(name.clone())),
            other => Err(wrong_type(what, "a name", other)),
        },
        _ => Err(wrong_type(what, "an id or a name", value)),
    }
}

/// 1019: an argument is of another type.
pub(crate) fn wrong_type(name: &str, expected: &str, found: &Value) -> CallError {
    wrong_parameter(format!("Invalid type for argument {name}: {} where {expected} must be", found.type_name()))
}

/// Refuses what Koji takes for no name: letters, digits and `/_.@+-` only, at most 256.
///
/// # Errors
/// 1024.
pub(crate) fn check_new_name(what: &str, text: &str) -> Result<(), CallError> {
    const LONGEST: usize = 256;
    let fits = |character: char| character.is_ascii_alphanumeric() || "/_.@+-".contains(character);
    if !text.is_empty() && text.len() <= LONGEST && text.chars().all(fits) {
        return Ok(());
    }
    let text = format!("{what}: {text:?} is no name: letters, digits and /_.@+- only, at most {LONGEST}");
    Err(crate::call_error::fault(osbs_koji::FaultCode::NameValidationError, text))
}
