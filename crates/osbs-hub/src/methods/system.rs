//! What the hub says about itself: its methods, its versions.

use super::{Answer, Method, all, find, images, read};
use crate::call::Call;
use crate::call_error::refused;
use crate::parameters::{Default, Parameter, or, required};
use osbs_koji::Value;

pub(crate) const METHODS: &[Method] = &[
    read("system.listMethods", &[], list_methods),
    read("_listapi", &[], list_api),
    read("system.methodHelp", &[required("method")], method_help),
    read("system.methodSignature", &[required("method")], method_signature),
    read("getAPIVersion", &[], |_| Ok(1.into())),
    read("getKojiVersion", &[], |_| Ok(crate::KOJI_VERSION.into())),
    read("hello", &[or("args", Default::Rest)], |_| Ok("Hello World".into())),
    read("echo", &[or("args", Default::Rest)], |call| Ok(call.value("args").clone())),
    read("getPolicies", &[], |_| Ok(Value::members([]))),
    // Answered before it comes here: it is a call of calls.
    read("multiCall", &[required("calls")], |_| Err(refused("multiCall cannot be called within a multiCall"))),
    read("system.multicall", &[required("calls")], |_| Err(refused("multiCall cannot be called within a multiCall"))),
];

fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = all().map(|method| method.name).collect();
    names.sort_unstable();
    names
}

fn list_methods(call: &mut Call<'_>) -> Answer {
    let mut offered = Vec::new();
    for name in names() {
        if images::is_offered(call.tx, name)? {
            offered.push(Value::from(name));
        }
    }
    Ok(Value::Array(offered))
}

/// What `koji list-api` shows.
#[expect(clippy::unnecessary_wraps, reason = "what a handler gives")]
fn list_api(_: &mut Call<'_>) -> Answer {
    let describe = |name: &str| {
        let parameters = find(name).map_or(&[][..], |method| method.parameters);
        let args = parameters.iter().map(|parameter| match default_of(parameter) {
            None => Value::from(parameter.name),
            Some(default) => Value::Array(vec![parameter.name.into(), default]),
        });
        Value::members([
            ("name", name.into()),
            ("argdesc", format!("({})", signature(parameters)).into()),
            ("args", Value::Array(args.collect())),
            ("argspec", Value::Nil),
            ("doc", Value::Nil),
        ])
    };
    Ok(Value::Array(names().into_iter().map(describe).collect()))
}

fn default_of(parameter: &Parameter) -> Option<Value> {
    match parameter.default {
        Default::Required | Default::Rest | Default::NamedRest => None,
        Default::Nil => Some(Value::Nil),
        Default::Bool(value) => Some(value.into()),
        Default::Int(value) => Some(value.into()),
        Default::Text(value) => Some(value.into()),
    }
}

/// In Python's form: `tag, event=None, strict=False`.
fn signature(parameters: &[Parameter]) -> String {
    let one = |parameter: &Parameter| {
        let name = parameter.name;
        match parameter.default {
            Default::Required => name.to_owned(),
            Default::Rest => format!("*{name}"),
            Default::NamedRest => format!("**{name}"),
            Default::Nil => format!("{name}=None"),
            Default::Bool(true) => format!("{name}=True"),
            Default::Bool(false) => format!("{name}=False"),
            Default::Int(value) => format!("{name}={value}"),
            Default::Text(value) => format!("{name}='{value}'"),
        }
    };
    parameters.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn method_help(call: &mut Call<'_>) -> Answer {
    let name = call.str("method")?;
    let method = find(name).ok_or_else(|| refused(format!("Invalid method: {name}")))?;
    Ok(format!("{name}({})", signature(method.parameters)).into())
}

/// Koji's own hub knows none either.
fn method_signature(call: &mut Call<'_>) -> Answer {
    call.str("method")?;
    Ok("signatures not supported".into())
}
