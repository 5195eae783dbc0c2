//! Parameters of methods, and how arguments are bound to them: by position and by name, as Python does for Koji.
//!
//! Must not look at the types of arguments: `Call` does.

use crate::call_error::{CallError, wrong_parameter};
use indexmap::IndexMap;
use osbs_koji::{Arguments, Struct, Value};

/// What a parameter is when no argument is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Default {
    /// It must be given.
    Required,
    Nil,
    Bool(bool),
    Int(i64),
    Text(&'static str),
    /// It takes all further arguments by position (`*args`).
    Rest,
    /// It takes all further arguments by name (`**kwargs`).
    NamedRest,
}

/// One parameter of a method.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    pub name: &'static str,
    pub default: Default,
}

/// A parameter that must be given.
pub(crate) const fn required(name: &'static str) -> Parameter {
    Parameter { name, default: Default::Required }
}

/// A parameter that is nil unless given.
pub(crate) const fn optional(name: &'static str) -> Parameter {
    Parameter { name, default: Default::Nil }
}

/// A parameter that is false unless given.
pub(crate) const fn flag(name: &'static str) -> Parameter {
    Parameter { name, default: Default::Bool(false) }
}

/// A parameter with another default.
pub(crate) const fn or(name: &'static str, default: Default) -> Parameter {
    Parameter { name, default }
}

impl Default {
    fn value(self) -> Value {
        match self {
            Self::Required | Self::Nil => Value::Nil,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Text(value) => Value::from(value),
            Self::Rest => Value::Array(Vec::new()),
            Self::NamedRest => Value::Struct(Struct::new()),
        }
    }
}

/// The arguments of one call, each under its parameter's name, and whether it was given.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    values: IndexMap<&'static str, (Value, bool)>,
}

const NIL: Value = Value::Nil;

impl Bound {
    /// The argument; nil for a name that is no parameter.
    pub(crate) fn get(&self, name: &str) -> &Value {
        debug_assert!(self.values.contains_key(name), "the method has no parameter {name}");
        self.values.get(name).map_or(&NIL, |(value, _)| value)
    }

    /// Whether the caller gave it.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|(_, given)| *given)
    }
}

/// Binds arguments to parameters.
///
/// # Errors
/// 1019, in Python's words: too many, unknown, twice, or missing.
pub(crate) fn bind(method: &str, parameters: &[Parameter], arguments: Arguments) -> Result<Bound, CallError> {
    let Arguments { positional, mut named } = arguments;
    let given = positional.len();
    let mut positional = positional.into_iter();
    let mut bound = Bound::default();
    let mut missing = Vec::new();
    for parameter in parameters {
        let by_position = match parameter.default {
            Default::Rest => Some(Value::Array(positional.by_ref().collect())),
            Default::NamedRest => Some(Value::Struct(std::mem::take(&mut named))),
            _ => positional.next(),
        };
        let special = matches!(parameter.default, Default::Rest | Default::NamedRest);
        let by_name = if special { None } else { named.shift_remove(parameter.name) };
        let argument = match (by_position, by_name) {
            (Some(_), Some(_)) => {
                let name = parameter.name;
                return Err(wrong_parameter(format!("{method}() got multiple values for argument '{name}'")));
            }
            (Some(value), None) | (None, Some(value)) => (value, true),
            (None, None) => {
                if parameter.default == Default::Required {
                    missing.push(format!("'{}'", parameter.name));
                }
                (parameter.default.value(), false)
            }
        };
        bound.values.insert(parameter.name, argument);
    }
    if positional.next().is_some() {
        let takes = parameters.len();
        return Err(wrong_parameter(format!("{method}() takes {takes} positional arguments but {given} were given")));
    }
    if let Some(name) = named.keys().next() {
        return Err(wrong_parameter(format!("{method}() got an unexpected keyword argument '{name}'")));
    }
    if !missing.is_empty() {
        let (count, plural) = (missing.len(), if missing.len() == 1 { "" } else { "s" });
        let names = missing.join(" and ");
        let text = format!("{method}() missing {count} required positional argument{plural}: {names}");
        return Err(wrong_parameter(text));
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: &[Parameter] = &[required("tag"), optional("event"), flag("strict")];
    const OPEN: &[Parameter] = &[required("tag"), or("rest", Default::Rest), or("named", Default::NamedRest)];

    fn check_binding(arguments: Arguments, expected: Result<[Value; 3], &str>) {
        match (bind("f", PARAMETERS, arguments), expected) {
            (Ok(bound), Ok(values)) => {
                assert_eq!(["tag", "event", "strict"].map(|name| bound.get(name).clone()), values);
            }
            (Err(error), Err(part)) => {
                let fault = error.into_fault();
                assert_eq!(fault.code, 1019);
                assert!(fault.text.contains(part), "{fault}");
            }
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn arguments_are_bound_as_python_does() {
        let tag = || Value::from("t");
        check_binding(Arguments::of([tag()]), Ok([tag(), Value::Nil, Value::Bool(false)]));
        check_binding(Arguments::of([tag()]).named("strict", true), Ok([tag(), Value::Nil, Value::Bool(true)]));
        check_binding(
            Arguments::none().named("tag", "t").named("event", 3),
            Ok([tag(), Value::Int(3), Value::Bool(false)]),
        );
        check_binding(Arguments::none(), Err("missing 1 required positional argument: 'tag'"));
        check_binding(Arguments::of([tag()]).named("tag", "t"), Err("multiple values for argument 'tag'"));
        check_binding(Arguments::of([tag()]).named("tags", "t"), Err("unexpected keyword argument 'tags'"));
        check_binding(Arguments::of([tag(), tag(), tag(), tag()]), Err("takes 3 positional arguments but 4"));
    }

    #[test]
    fn open_methods_take_the_rest() {
        let arguments = Arguments::of(["t", "u", "v"].map(Value::from)).named("x", 1);
        let bound = bind("f", OPEN, arguments).unwrap();
        assert_eq!(bound.get("rest"), &Value::Array(vec!["u".into(), "v".into()]));
        assert_eq!(bound.get("named").get("x"), &Value::Int(1));
    }
}
