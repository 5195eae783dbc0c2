//! The methods of the hub: one table, by area. Must not know how requests come.
//!
//! Every area exports `METHODS`. The role and the parameters of a method are data: a call without the role, or with
//! other arguments, does not reach the handler.

mod archives;
mod btypes;
mod builds;
mod channels;
mod containers;
mod content_generators;
mod events;
mod history;
mod host_calls;
mod hosts;
mod images;
mod imports;
pub(crate) mod inheritance;
pub(crate) mod login;
pub(crate) mod packages;
mod permissions;
mod rpms;
mod system;
mod tagging;
pub(crate) mod tags;
mod targets;
mod task_output;
mod tasks;
mod users;

use crate::call::Call;
use crate::call_error::CallError;
use crate::database::Access;
use crate::parameters::Parameter;
use crate::role::Role;
use osbs_koji::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What a handler gives.
pub(crate) type Answer = Result<Value, CallError>;

/// One method.
pub(crate) struct Method {
    pub name: &'static str,
    pub parameters: &'static [Parameter],
    pub role: Role,
    /// Whether it changes anything: if it does not, SQLite refuses a change.
    pub access: Access,
    pub call: fn(&mut Call<'_>) -> Answer,
}

/// A method that only reads, for anyone.
pub(crate) const fn read(
    name: &'static str,
    parameters: &'static [Parameter],
    call: fn(&mut Call<'_>) -> Answer,
) -> Method {
    Method { name, parameters, role: Role::Anyone, access: Access::Read, call }
}

/// A method that changes something, for those who have the role.
pub(crate) const fn write(
    name: &'static str,
    role: Role,
    parameters: &'static [Parameter],
    call: fn(&mut Call<'_>) -> Answer,
) -> Method {
    Method { name, parameters, role, access: Access::Write, call }
}

const AREAS: &[&[Method]] = &[
    archives::METHODS,
    btypes::METHODS,
    builds::METHODS,
    channels::METHODS,
    containers::METHODS,
    content_generators::METHODS,
    events::METHODS,
    history::METHODS,
    host_calls::METHODS,
    hosts::METHODS,
    images::METHODS,
    imports::METHODS,
    inheritance::METHODS,
    login::METHODS,
    packages::METHODS,
    permissions::METHODS,
    rpms::METHODS,
    system::METHODS,
    tagging::METHODS,
    tags::METHODS,
    targets::METHODS,
    task_output::METHODS,
    tasks::METHODS,
    users::METHODS,
];

static TABLE: LazyLock<HashMap<&'static str, &'static Method>> =
    LazyLock::new(|| all().map(|method| (method.name, method)).collect());

/// All methods, by area.
pub(crate) fn all() -> impl Iterator<Item = &'static Method> {
    AREAS.iter().flat_map(|area| area.iter())
}

/// A method by its name.
pub(crate) fn find(name: &str) -> Option<&'static Method> {
    TABLE.get(name).copied()
}

#[cfg(test)]
mod tests;
