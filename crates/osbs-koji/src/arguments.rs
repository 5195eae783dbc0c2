//! Arguments of a call: positional ones, and by name in Koji's way.
//!
//! Must not know any method.

use crate::{Struct, Value};

/// The member that says that the last argument holds arguments by name (client-and-koji 5.1).
const STARSTAR: &str = "__starstar";

/// Arguments of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Arguments {
    /// By position.
    pub positional: Vec<Value>,
    /// By name.
    pub named: Struct,
}

impl Arguments {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// By position only.
    pub fn of<const N: usize>(positional: [Value; N]) -> Self {
        Self { positional: positional.into(), named: Struct::new() }
    }

    /// One more by name.
    pub fn named(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.named.insert(name.to_owned(), value.into());
        self
    }

    /// As they are sent: those by name in a struct at the end, if there are any.
    pub fn into_params(self) -> Vec<Value> {
        let Self { mut positional, mut named } = self;
        if !named.is_empty() {
            named.insert(STARSTAR.to_owned(), Value::Bool(true));
            positional.push(Value::Struct(named));
        }
        positional
    }

    /// From what was sent. Only a last argument with a *true* mark holds names; anywhere else it is data.
    pub fn from_params(mut params: Vec<Value>) -> Self {
        let named = match params.last_mut() {
            Some(Value::Struct(members)) if members.get(STARSTAR).is_some_and(Value::is_true) => {
                let mut members = std::mem::take(members);
                members.shift_remove(STARSTAR);
                params.pop();
                members
            }
            _ => Struct::new(),
        };
        Self { positional: params, named }
    }
}
