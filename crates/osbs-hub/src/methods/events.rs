//! Events: points in the history of tags, targets, hosts and permissions.

use super::{Answer, Method, read};
use crate::call::Call;
use crate::call_error::{refused, wrong_parameter};
use crate::parameters::{Default, optional, or, required};
use crate::times::{micros_of, seconds};
use osbs_koji::Value;
use rusqlite::{OptionalExtension as _, params};

pub(crate) const METHODS: &[Method] = &[
    read("getEvent", &[required("id")], get),
    read("getLastEvent", &[optional("before"), or("strict", Default::Bool(true))], last),
];

fn event(id: i64, at: i64) -> Value {
    Value::members([("id", id.into()), ("ts", seconds(at).into())])
}

fn get(call: &mut Call<'_>) -> Answer {
    let id = call.int("id")?;
    let found =
        call.tx.prepare_cached("SELECT at FROM events WHERE id = ?")?.query_row([id], |row| row.get(0)).optional()?;
    found.map(|at| event(id, at)).ok_or_else(|| refused(format!("No such event: {id}")))
}

fn last(call: &mut Call<'_>) -> Answer {
    let before = match call.double_or_nil("before")? {
        None => i64::MAX,
        Some(seconds) => micros_of(seconds).ok_or_else(|| wrong_parameter("before is no time"))?,
    };
    let found: Option<(i64, i64)> = call
        .tx
        .prepare_cached("SELECT id, at FROM events WHERE at < ? ORDER BY id DESC LIMIT 1")?
        .query_row(params![before], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((id, at)) => Ok(event(id, at)),
        None if call.flag("strict") => Err(refused("No such event")),
        None => Ok(Value::Nil),
    }
}
