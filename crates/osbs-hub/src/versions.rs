//! Rows that are never changed but revoked: what held at an event can be asked for later.
//!
//! Must not know tables: callers name them, as constants, never from outside.

use crate::call::Call;
use crate::call_error::CallError;
use rusqlite::{ToSql, params_from_iter};

/// SQL: the row of `table` holds now, or held at `event`. Only integers of ours go into it.
pub(crate) fn held(table: &str, event: Option<i64>) -> String {
    match event {
        None => format!("{table}.revoke_event IS NULL"),
        Some(event) => format!(
            "{table}.create_event <= {event} AND ({table}.revoke_event IS NULL OR {table}.revoke_event > {event})"
        ),
    }
}

/// Revokes the rows that hold now and meet `condition`, in this call's event. Says how many there were.
///
/// # Errors
/// Nobody is logged in, or the database failed.
pub(crate) fn revoke(
    call: &Call<'_>,
    table: &'static str,
    condition: &str,
    values: &[&dyn ToSql],
) -> Result<usize, CallError> {
    let sql = format!("SELECT 1 FROM {table} WHERE revoke_event IS NULL AND ({condition})");
    if !call.tx.prepare_cached(&sql)?.exists(params_from_iter(values))? {
        return Ok(0);
    }
    let (event, user) = (call.event()?, call.user()?.user_id);
    // Both are integers of ours.
    let sql = format!(
        "UPDATE {table} SET revoke_event = {event}, revoker_id = {user} WHERE revoke_event IS NULL AND ({condition})"
    );
    Ok(call.tx.execute(&sql, params_from_iter(values))?)
}

/// Adds a row that holds from this call's event on.
///
/// # Errors
/// Nobody is logged in, or the database failed.
pub(crate) fn insert(
    call: &Call<'_>,
    table: &'static str,
    columns: &[(&'static str, &dyn ToSql)],
) -> Result<(), CallError> {
    let (event, user) = (call.event()?, call.user()?.user_id);
    let mut names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    names.extend(["create_event", "creator_id"]);
    let marks = vec!["?"; names.len()].join(", ");
    let sql = format!("INSERT INTO {table} ({}) VALUES ({marks})", names.join(", "));
    let own: [&dyn ToSql; 2] = [&event, &user];
    let values = columns.iter().map(|(_, value)| *value).chain(own);
    call.tx.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(())
}
